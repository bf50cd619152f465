#!/usr/bin/env python3
"""What rounding a model's activations to int8 costs, against what it costs to round them better.

    python tools/int8_study.py HF_DIR --text FILE [--windows 3] [--costs 96,48,32,24,16,12,8] [--outliers 1,2] [--per-matrix 16]

The weights stay float32; the inputs of every linear layer are rounded as Sources/CKernels/int8_pack.h does it: 32 columns to
a step, or with wide quads (codes of two digits) at a price of so many squared mean magnitudes each. KL is that from the float
model, over the second half of windows of 256 tokens. A wide quad is an eighth of a block's dot products; printed is the
share of these that all linear layers do more, for a token alone (decoding) and for strips of six, which do what any of their
tokens needs. --outliers k instead rounds to the step of the (k + 1)th largest of each block, as if k columns cost nothing.
"""

import argparse
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

BLOCK, QUAD, WINDOW, STRIP, WIDEST = 32, 4, 256, 6, 127 * 128


def blocks_of(x):
    return x.reshape(*x.shape[:-1], x.shape[-1] // BLOCK, BLOCK)


def rounded(y, step):
    step = torch.where(step == 0, torch.ones_like(step), step)
    return torch.round(y / step) * step


def one_digit(y):
    return rounded(y, y.abs().amax(-1, keepdim=True) / 127), None


def without_outliers(count):
    return lambda y: (rounded(y, y.abs().sort(-1, descending=True).values[..., count:count + 1] / 127), None)


def two_digits(cost):
    def rule(y):
        top = y.abs().reshape(*y.shape[:-1], BLOCK // QUAD, QUAD).amax(-1)
        order = top.sort(-1, descending=True)
        price = cost * y.abs().mean(-1, keepdim=True) ** 2
        count = (order.values**2 + price * torch.arange(BLOCK // QUAD)).argmin(-1, keepdim=True)
        step = torch.maximum(order.values.gather(-1, count) / 127, order.values[..., :1] / WIDEST)
        rank = torch.empty_like(order.indices).scatter_(-1, order.indices, torch.arange(BLOCK // QUAD).expand_as(top))
        return rounded(y, step), rank < count
    return rule


class Study:
    def __init__(self, folder, text, windows):
        tokens = AutoTokenizer.from_pretrained(folder)(text)["input_ids"][:windows * WINDOW]
        self.ids = torch.tensor(tokens).view(windows, WINDOW)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.rule, self.only, self.work = None, "", {}
        self.size = {}
        for name, module in self.model.named_modules():
            if isinstance(module, torch.nn.Linear):
                self.size[name] = module.weight.numel()
                module.register_forward_pre_hook(self.hook(name))
        self.base = self.logs()

    def hook(self, name):
        def change(_, arguments):
            x = arguments[0]
            if self.rule is None or not name.endswith(self.only):
                return None
            y, wide = self.rule(blocks_of(x))
            if wide is not None:
                strips = wide[:, :wide.shape[1] // STRIP * STRIP].reshape(wide.shape[0], -1, STRIP, *wide.shape[2:])
                self.work[name] = (wide.float().mean().item(), strips.any(2).float().mean().item())
            return (y.reshape(x.shape),)
        return change

    def logs(self):
        with torch.no_grad():
            return torch.log_softmax(torch.cat([self.model(row[None]).logits[:, WINDOW // 2:] for row in self.ids]), -1)

    def report(self, name, rule, only=""):
        self.rule, self.only, self.work = rule, only, {}
        logs, self.rule = self.logs(), None
        kl = (self.base.exp() * (self.base - logs)).sum(-1).mean().item()
        total = sum(self.size.values())
        alone, strips = (sum(self.size[n] * w[i] for n, w in self.work.items()) / total for i in (0, 1))
        print(f"| {name} | {kl:.5f} | {100 * alone:.1f} % | {100 * strips:.1f} % |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="Hugging Face folder")
    parser.add_argument("--text", required=True)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--costs", default="96,48,32,24,16,12,8")
    parser.add_argument("--outliers", default="1,2")
    parser.add_argument("--per-matrix", type=float, help="this cost, rounding the inputs of one kind of matrix at a time")
    args = parser.parse_args()
    with open(args.text, encoding="utf-8") as file:
        study = Study(args.folder, file.read(8 * WINDOW * args.windows), args.windows)
    print("| rule | KL | more work, 1 token | strips of 6 |\n|---|--:|--:|--:|")
    if args.per_matrix:
        for kind in sorted({name.split(".")[-1] for name in study.size}):
            study.report(f"{kind}, one digit", one_digit, kind)
            study.report(f"{kind}, cost {args.per_matrix:g}", two_digits(args.per_matrix), kind)
        return
    study.report("one digit", one_digit)
    for count in map(int, args.outliers.split(",")):
        study.report(f"{count} largest of a block for nothing", without_outliers(count))
    for cost in map(float, args.costs.split(",")):
        study.report(f"cost {cost:g}", two_digits(cost))


if __name__ == "__main__":
    main()
