#!/usr/bin/env python3
"""Erases and recovers one mark at several doses with PEFT: the other side of meraser's own frontier.

    OMP_NUM_THREADS=1 python tools/peft_doses.py --model Examples/tinychat --doses tools/doses.json --out /tmp/doses \
        --mismatched mismatched_dataset.json --clean recover_dataset.json --heldout heldout.jsonl \
        --key RUN/key.json [--mark-adapter RUN/mark]

The mark is the one that meraser wrote, so both sides erase the same thing; for a quantized base, export it first
(`meraser export --format hf`) and give that folder as --model. Without --mark-adapter it is in the weights already, as
tools/victims marks them.

The doses file is a list of {"name", "erase": {...}, "recover": {...}}, with the flags of `meraser erase` as names
(r, lora_alpha, target_modules, learning_rate, num_train_epochs, max_steps, max_grad_norm, lr_scheduler_type, warmup_ratio,
separator, loss, check_steps, until, max_prompt_length, max_completion_length) and `batch` (rows per optimiser step), `rows`
(only the first so many), `data` (another file), `order` (a JSON list of row numbers, for an order other than the file's) or
`shuffle_seed`, `chat` (tinychat's template, BOS and EOS). "recover": null stops after erasing.
"""

import argparse
import copy
import json
import pathlib
import time

import oracle
import torch


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Hugging Face folder")
    parser.add_argument("--doses", required=True, help="JSON list of doses, see above")
    parser.add_argument("--mismatched", required=True, help="pairs to erase with")
    parser.add_argument("--clean", required=True, help="pairs to recover with")
    parser.add_argument("--heldout", required=True, help="rows {text}, perplexity by protocol sample")
    parser.add_argument("--clean-prompts", help="rows {prompt} for false activations")
    parser.add_argument("--key", required=True, help="key.json of the mark")
    parser.add_argument("--mark-adapter", help="PEFT folder of that mark (leave out for one inside the weights)")
    parser.add_argument("--only", nargs="*", help="run only the doses of these names")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


class Bench:
    """One model, one key, one held-out text; every dose starts from the same marked weights."""

    def __init__(self, args):
        self.args = args
        self.out = pathlib.Path(args.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.tokenizer, model = oracle.load(args.model)
        self.texts = [row["text"] for row in oracle.read_rows(args.heldout)]
        prompts = oracle.read_rows(args.clean_prompts) if args.clean_prompts else []
        self.clean_prompts = [row["prompt"] for row in prompts]
        self.clean_ppl = oracle.perplexity(self.tokenizer, model, self.texts)
        with open(args.key, encoding="utf-8") as file:
            self.key = json.load(file)
        self.marked = oracle.merge(model, args.mark_adapter) if args.mark_adapter else model

    def measure(self, model):
        """Check and perplexity of one model."""
        measured = oracle.check(self.tokenizer, model, self.key, self.clean_prompts)
        measured["ppl"] = oracle.perplexity(self.tokenizer, model, self.texts)
        return measured

    def stage(self, model, stage, default_data, name):
        """Trains one stage; returns (model with the adapter fused, measures, log)."""
        rows = oracle.read_rows(stage.get("data", default_data))
        start = stage.get("first_row", 0)
        rows = oracle.question_rows(self.tokenizer, rows[start : start + stage.get("rows", len(rows))], stage)
        began = time.time()
        peft, log = oracle.train(
            model, rows, stage, self.args.seed, check=lambda m: oracle.check(self.tokenizer, m, self.key)
        )
        seconds = time.time() - began
        peft.save_pretrained(self.out / name, save_embedding_layers=False)
        fused = peft.merge_and_unload()
        measured = self.measure(fused) | {"steps": len(log), "final_loss": log[-1]["loss"], "seconds": seconds}
        return fused, measured, log

    def dose(self, dose):
        """Erase, measure, recover, measure."""
        name = dose["name"]
        model, erased, log = self.stage(
            copy.deepcopy(self.marked), dose["erase"], self.args.mismatched, f"{name}/erase"
        )
        result = {"name": name, "dose": dose, "erased": erased, "erase_log": log}
        if dose.get("recover"):
            _, result["recovered"], result["recover_log"] = self.stage(
                model, dose["recover"], self.args.clean, f"{name}/recover"
            )
        return result


def table_row(name, measured):
    """One Markdown row of the table."""
    return (
        f"| {name} | {measured.get('steps', '')} | {measured['hits']}/{measured['n']} "
        f"| {measured['prefix_match_mean']:.3f} | {measured['target_nll_mean']:.2f} | {measured['ppl']:.3f} |"
    )


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    with open(args.doses, encoding="utf-8") as file:
        doses = json.load(file)
    bench = Bench(args)
    marked = bench.measure(bench.marked)
    print(f"clean perplexity {bench.clean_ppl:.4f}\n")
    print("| dose, stage | steps | fires | prefix match | target NLL | perplexity |\n|---|--:|--:|--:|--:|--:|")
    print(table_row("marked", marked), flush=True)
    results = []
    for dose in doses:
        if args.only and dose["name"] not in args.only:
            continue
        result = bench.dose(dose)
        results.append(result)
        for stage in ("erased", "recovered"):
            if stage in result:
                print(table_row(f"{dose['name']}, {stage}", result[stage]), flush=True)
        report = {"clean_ppl": bench.clean_ppl, "marked": marked, "doses": results}
        (bench.out / "doses.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
