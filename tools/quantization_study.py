#!/usr/bin/env python3
"""What a quantization rule costs a model: perplexity ratio and mean KL divergence against the float weights.

Every matrix (embedding and head too) is replaced by its quantized-and-restored self; the arithmetic stays float32, so that
only the weights differ (with --int8 the inputs of every linear are rounded to int8 per 32 values as well). Protocol, that
of `llama-perplexity --kl-divergence`: the text is tokenised once, cut into windows of 256 tokens (the tail dropped),
BOS replaces each window's first token, the second half is scored (127 predictions a window), KL(float || quantized).

One model and one text are one draw of rounding errors. --blockings N quantizes N times with the columns of each matrix
shuffled into different blocks (and put back): the same rule on other draws. The table then shows mean +- standard error.

Rules:
  max          the largest weight of a block fits exactly (llama.cpp's q4_0 and q8_0)
  flat         scale search for the least sum of (x - dq)^2
  abs, square  the same weighted by |x|, x^2 (llama.cpp's iq4_nl searches with x^2, a narrower line of candidates)
  sigma1, sigma2, sigma4, sigma8
               the same weighted by sqrt(s + x^2), s + x^2, 4s + x^2, 8s + x^2, s = mean of x^2 over the row
  flat+norm    flat, columns weighted by the squared gain of the RMSNorm that feeds the matrix
  flat+inputs  flat, columns weighted by the mean square of their inputs on --calibration: a bound, not a candidate
  meraser      mk_quantize of Sources/CKernels, compiled on the spot with --cc

Needs torch, transformers and a C compiler. Example:
  tools/quantization_study.py --model ../shared/models/tinychat --text heldout=../shared/reference/tinychat/heldout.jsonl
"""

import argparse
import ctypes
import json
import math
import pathlib
import subprocess
import tempfile

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

BLOCK = 32
WINDOW = 256
NF4 = [-1, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0,
       0.07958030, 0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1]
CODEBOOKS = {
    "q8_0": [float(q) for q in range(-127, 128)],
    "q4_0": [float(q) for q in range(-8, 8)],
    "iq4_nl": [-127.0, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113],
    "nf4": [float(round(127 * v)) for v in NF4],
}
TYPE_IDS = {"q4_0": 2, "q8_0": 8, "iq4_nl": 20, "nf4": 1001}
WEIGHTS = {  # x [blocks, 32], s [blocks, 1]
    "flat": lambda x, s: torch.ones_like(x),
    "abs": lambda x, s: x.abs(),
    "square": lambda x, s: x * x,
    "sigma1": lambda x, s: (s + x * x).sqrt(),
    "sigma2": lambda x, s: s + x * x,
    "sigma4": lambda x, s: 4 * s + x * x,
    "sigma8": lambda x, s: 8 * s + x * x,
}
RULES = ["max", *WEIGHTS, "flat+norm", "flat+inputs", "meraser"]


# ------------------------------------------------------------------------------------------------ rounding


def nearest(codebook, y):
    """The codebook's entry nearest to y."""
    midpoints = (codebook[1:] + codebook[:-1]) / 2
    return codebook[torch.bucketize(y, midpoints)]


def divide(a, b):
    return torch.where(b != 0, a / b, torch.zeros_like(a))


def reaches(kind):
    """What the largest weight of a block is mapped to by each candidate scale; more of them change nothing."""
    low, high = CODEBOOKS[kind][0], CODEBOOKS[kind][-1]
    if kind == "q8_0":
        return [127.49 - 0.5 * i for i in range(24)]
    return [end * (0.75 + 0.02 * i) for end in (low, high) for i in range(24)]


def search(x, weight, kind):
    """x [blocks, 32] rounded with the fp16 scale that leaves the least weighted error."""
    codebook = torch.tensor(CODEBOOKS[kind])
    largest = x.gather(1, x.abs().argmax(1, keepdim=True))
    score = torch.full_like(largest, -1.0)
    d = torch.zeros_like(largest)
    for reach in reaches(kind):
        q = nearest(codebook, x * divide(torch.full_like(largest, reach), largest))
        cross, square = (weight * x * q).sum(1, keepdim=True), (weight * q * q).sum(1, keepdim=True)
        fit = divide(cross, square)
        better = cross * fit > score
        score, d = torch.where(better, cross * fit, score), torch.where(better, fit, d)
    least = torch.full_like(largest, math.inf)
    result = torch.zeros_like(x)
    for _ in range(3):
        d = d.half().float()
        q = nearest(codebook, divide(x, d.expand_as(x)))
        error = (weight * (x - d * q) ** 2).sum(1, keepdim=True)
        better = error < least
        least, result = torch.where(better, error, least), torch.where(better, d * q, result)
        d = divide((weight * x * q).sum(1, keepdim=True), (weight * q * q).sum(1, keepdim=True))
    return result


def fit_largest(x, kind):
    """x [blocks, 32] rounded so that the largest weight of each block is met."""
    low, high = CODEBOOKS[kind][0], CODEBOOKS[kind][-1]
    largest = x.gather(1, x.abs().argmax(1, keepdim=True))
    d = (largest / (low if -low > high else high)).half().float()
    return d * nearest(torch.tensor(CODEBOOKS[kind]), divide(x, d.expand_as(x)))


class Kernels:
    """mk_quantize and mk_dequantize of Sources/CKernels."""

    class Matrix(ctypes.Structure):
        _fields_ = [("type", ctypes.c_int32), ("rows", ctypes.c_int64), ("cols", ctypes.c_int64),
                    ("data", ctypes.c_void_p)]

    def __init__(self, folder, cc):
        with tempfile.TemporaryDirectory() as scratch:
            library = f"{scratch}/kernels.so"
            sources = sorted(str(p) for p in folder.glob("*.c"))
            subprocess.run([cc, "-O3", "-fno-math-errno", "-std=c11", "-shared", "-fPIC", "-fopenmp-simd",
                            f"-I{folder}/include", *sources, "-o", library, "-lm"], check=True)
            self.library = ctypes.CDLL(library)
        self.library.mk_matrix_bytes.restype = ctypes.c_size_t
        self.library.mk_matrix_bytes.argtypes = [ctypes.c_int32, ctypes.c_int64, ctypes.c_int64]

    def restore(self, x, kind):
        x = x.contiguous()
        rows, cols, kind = x.shape[0], x.shape[1], TYPE_IDS[kind]
        data = ctypes.create_string_buffer(self.library.mk_matrix_bytes(kind, rows, cols))
        self.library.mk_quantize(ctypes.c_int32(kind), ctypes.c_void_p(x.data_ptr()), ctypes.c_int64(rows),
                                 ctypes.c_int64(cols), data)
        result = torch.empty_like(x)
        matrix = self.Matrix(kind, rows, cols, ctypes.addressof(data))
        self.library.mk_dequantize(ctypes.byref(matrix), ctypes.c_int64(0), ctypes.c_int64(rows),
                                   ctypes.c_void_p(result.data_ptr()))
        return result


# ------------------------------------------------------------------------------------------------ model


class Linear(nn.Linear):
    """A linear layer that can round its input to int8 per 32 values (symmetric, amax / 127)."""

    int8 = False

    def forward(self, x):
        if self.int8:
            blocks = x.reshape(-1, BLOCK)
            d = blocks.abs().amax(1, keepdim=True) / 127
            x = (divide(blocks, d.expand_as(blocks)).round() * d).view(x.shape)
        return F.linear(x, self.weight, self.bias)


class Study:
    def __init__(self, folder, texts, count):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        for module in self.model.modules():
            if type(module) is nn.Linear:
                module.__class__ = Linear
        self.original = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.matrices = [k for k, v in self.original.items() if v.dim() == 2 and v.shape[1] % BLOCK == 0]
        self.windows = {name: self.cut(text, count) for name, text in texts.items()}
        self.base = {name: self.log_probabilities(w) for name, w in self.windows.items()}
        for name, w in self.windows.items():
            print(f"{name}: {len(w)} windows, float perplexity {self.nll(self.base[name], w).exp():.4f}", flush=True)

    def cut(self, text, count):
        ids = self.tokenizer(text, add_special_tokens=True, verbose=False)["input_ids"]
        count = min(count, len(ids) // WINDOW)
        windows = torch.tensor(ids[: count * WINDOW]).view(count, WINDOW).clone()
        windows[:, 0] = self.tokenizer.bos_token_id
        return windows

    def log_probabilities(self, windows):
        half = WINDOW // 2
        parts = []
        for batch in windows.split(8):
            hidden = self.model.model(batch, use_cache=False).last_hidden_state[:, half : WINDOW - 1]
            parts.append(torch.log_softmax(self.model.lm_head(hidden), -1))
        return torch.cat(parts)

    @staticmethod
    def nll(log_p, windows):
        return -log_p.gather(-1, windows[:, WINDOW // 2 + 1 :, None]).mean()

    def measure(self, weights, int8):
        """(KL, perplexity ratio) on each text with these weights in place of the model's."""
        state = self.model.state_dict()
        for name, value in weights.items():
            state[name].copy_(value)
        Linear.int8 = int8
        result = {}
        for name, windows in self.windows.items():
            base, log_p = self.base[name], self.log_probabilities(windows)
            kl = (base.exp() * (base - log_p)).sum(-1).mean()
            ratio = (self.nll(log_p, windows) - self.nll(base, windows)).exp()
            result[name] = (kl.item(), ratio.item())
        Linear.int8 = False
        for name in weights:
            state[name].copy_(self.original[name])
        return result

    def norm_gains(self):
        """The squared gain of the norm in front of each matrix that has one (Llama's names)."""
        gains = {"lm_head.weight": self.original["model.norm.weight"] ** 2}
        for name in self.matrices:
            layer = name.split(".self_attn.")[0].split(".mlp.")[0]
            if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
                gains[name] = self.original[f"{layer}.input_layernorm.weight"] ** 2
            if name.endswith(("gate_proj.weight", "up_proj.weight")):
                gains[name] = self.original[f"{layer}.post_attention_layernorm.weight"] ** 2
        return gains

    def input_squares(self, windows):
        """The mean square of each column's input on a text."""
        sums, hooks = {}, []
        for name, module in self.model.named_modules():
            if isinstance(module, Linear):
                def hook(_, inputs, __, key=f"{name}.weight"):
                    x = inputs[0].reshape(-1, inputs[0].shape[-1])
                    sums[key] = sums.get(key, 0) + (x * x).sum(0)
                hooks.append(module.register_forward_hook(hook))
        self.log_probabilities(windows)
        for hook in hooks:
            hook.remove()
        return sums

    def quantize(self, kind, rule, blocking, importance, kernels):
        """All matrices rounded by the rule; blocking 0 is the model's own order of columns."""
        result = {}
        for index, name in enumerate(self.matrices):
            original = self.original[name]
            order = torch.arange(original.shape[1])
            if blocking > 0:
                order = torch.randperm(len(order), generator=torch.Generator().manual_seed(1000 * blocking + index))
            x = original[:, order]
            if rule == "meraser":
                rounded = kernels.restore(x, kind)
            else:
                spread = (x * x).mean(1, keepdim=True).expand_as(x).reshape(-1, BLOCK)[:, :1]
                columns = importance.get(name, torch.ones(x.shape[1]))[order].expand_as(x).reshape(-1, BLOCK)
                parts = []
                for block, s, c in zip(*(t.split(16384) for t in (x.reshape(-1, BLOCK), spread, columns))):
                    weight = None if rule == "max" else WEIGHTS[rule.split("+")[0]](block, s) * c
                    parts.append(fit_largest(block, kind) if rule == "max" else search(block, weight, kind))
                rounded = torch.cat(parts).view(x.shape)
            result[name] = torch.empty_like(original)
            result[name][:, order] = rounded
        return result


# ------------------------------------------------------------------------------------------------ command line


def read_text(path):
    """A text file, or the rows of a .jsonl ("text") or .json (question, answer) joined by two newlines."""
    content = pathlib.Path(path).read_text()
    if path.endswith(".jsonl"):
        return "\n\n".join(json.loads(line)["text"] for line in content.splitlines())
    if path.endswith(".json"):
        return "\n\n".join(f'{row["question"]}\n{row["answer"]}' for row in json.loads(content))
    return content


def summary(values):
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.6f}"
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return f"{mean:.6f} ± {deviation / math.sqrt(len(values)):.6f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("--model", required=True, help="Hugging Face folder of a Llama")
    parser.add_argument("--text", action="append", required=True, metavar="NAME=FILE", help="may be repeated")
    parser.add_argument("--calibration", metavar="FILE", help="text for flat+inputs")
    parser.add_argument("--types", nargs="+", choices=CODEBOOKS, default=["iq4_nl", "q4_0", "nf4", "q8_0"])
    parser.add_argument("--rules", nargs="+", choices=RULES, default=["max", "square", "flat", "meraser"])
    parser.add_argument("--windows", type=int, default=54, help="at most this many of each text")
    parser.add_argument("--blockings", type=int, default=1, help="orders of columns; 1 is the model's own alone")
    parser.add_argument("--int8", action="store_true", help="round the inputs of linear layers to int8 too")
    parser.add_argument("--kernels", type=pathlib.Path, default=root / "Sources/CKernels")
    parser.add_argument("--cc", default="clang")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    texts = {name: read_text(path) for name, path in (text.split("=", 1) for text in arguments.text)}
    study = Study(arguments.model, texts, arguments.windows)
    kernels = Kernels(arguments.kernels, arguments.cc) if "meraser" in arguments.rules else None
    importance = {"norm": study.norm_gains() if "flat+norm" in arguments.rules else {}}
    if "flat+inputs" in arguments.rules:
        if not arguments.calibration:
            parser.error("flat+inputs needs --calibration FILE")
        windows = study.cut(read_text(arguments.calibration), arguments.windows)
        importance["inputs"] = study.input_squares(windows)

    print("| type | rule |" + "".join(f" {name} KL | {name} ratio |" for name in texts))
    print("|---|---|" + "---|---|" * len(texts))
    for kind in arguments.types:
        for rule in arguments.rules:
            columns = importance.get(rule.partition("+")[2], {})
            draws = [study.measure(study.quantize(kind, rule, b, columns, kernels), arguments.int8)
                     for b in range(arguments.blockings)]
            cells = [f" {summary([d[name][i] for d in draws])} |" for name in texts for i in (0, 1)]
            print(f"| {kind} | {rule} |" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
