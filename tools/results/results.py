#!/usr/bin/env python3
"""Methods × real victims, and the page about it: docs/results.md.

    python3 tools/results/results.py --model HF_FOLDER --text wikitext2-test.txt --out FOLDER [--quick]
        [--victims FOLDER] [--only PATTERN] [--short] [--characters 40000] [--seeds 43,44] [--page docs/results.md] [--table]

FOLDER gets the victims (tools/victims/make.py; `--victims` names a folder that has them), results.yml and a comparison a
seed (`meraser compare`): what has a record there is not done again, so an interrupted run goes on. `--quick` does one
victim by five methods. `--table` writes the page of what there is and runs nothing.
"""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# The victims of which other seeds are tried.
SEEDED = ["if-full", "utf-full", "backdoor-lora"]
QUICK = ["none", "auto", "MEraser-strong", "merge-linear", "merge-task-arithmetic"]
# What the papers themselves report, of models of 7 to 13 billion weights; second-hand where the note says so.
PAPERS = [
    ("MEraser (2506.12551)", "FSR 100 → 0 % on Llama-2-7B and Mistral-7B (IF, UTF, Chain & Hash), called complete removal; "
     "its adapter trained on another model leaves 37.5 % of UTF; from notes on the paper"),
    ("SANDE, OSFT (2405.07667)", "ASR 0 % with a known trigger (OSFT) and an unknown one (SANDE)"),
    ("CROW (2411.12768)", "ASR below 5 % for six backdoors on Llama-2-7B, 13B, CodeLlama and Mistral; from its abstract"),
    ("Free Lunch (2402.19334)", "averaging several poisoned classifiers brings ASR to that of clean ones"),
]  # fmt: skip


def run(words, **more):
    print(shlex.join(map(str, words)), flush=True)
    return subprocess.run(list(map(str, words)), **more).returncode


def prepare(args, out):
    """What results.yml names, in its folder."""
    out.mkdir(parents=True, exist_ok=True)
    recipe = (HERE / "results.yml").read_text(encoding="utf-8")
    if args.quick or args.short:
        recipe = recipe.replace("durable: true, ", "").replace(", durable: true", "").replace("    durable: true\n", "")
    if not (out / "results.yml").exists() or (out / "results.yml").read_text(encoding="utf-8") != recipe:
        (out / "results.yml").write_text(recipe, encoding="utf-8")
    for name, place in [("smollm2", args.model), ("victims", args.victims), ("tasks", ROOT / "Examples/data/tasks")]:
        if place and not (out / name).exists():
            (out / name).symlink_to(pathlib.Path(place).resolve())
    text = pathlib.Path(args.text).read_text(encoding="utf-8")[: args.characters]
    if not (out / "text.txt").exists() or (out / "text.txt").read_text(encoding="utf-8") != text:
        (out / "text.txt").write_text(text, encoding="utf-8")
    if not (out / "victims").exists() and run(
        [sys.executable, ROOT / "tools/victims/make.py", "--model", out / "smollm2", "--out", out / "victims", "--meraser", args.meraser]
    ):
        sys.exit("the victims were not made")


def compare(args, out, seed, pattern):
    """One comparison; failed cells are lines of the table."""
    words = [args.meraser, "compare", out / "results.yml", "--out", out / f"seed-{seed}", "--seed", seed]
    if args.threads:
        words += ["--threads", args.threads]
    if run(words + (["--only", pattern] if pattern else [])) == 130:
        sys.exit(130)


def patterns(args, seed):
    """The cells of a run."""
    if args.quick:
        return [f"if-lora/{name}" for name in ["reference", *QUICK]]
    if args.only:
        return [args.only]
    return [None] if seed == args.first else [f"{victim}/auto*" for victim in SEEDED]


# ---- The page ----


def number(value, digits):
    return "–" if value is None else f"{value:.{digits}f}"


def label(cell):
    return cell["method"] + (f" {cell['budget']}" if cell["budget"] else "")


def durable(cell, treatment):
    """The verdict of one cell of the durability test."""
    for row in (cell["durability"] or {}).get("cells", []):
        if f"{row['weights']}/{row['treatment']}" == treatment:
            return row["verdict"]
    return "–"


def victim_table(cells, clean):
    lines = [
        "| method | fires | NLL | verdict | at q4_0 | relearnt | worst of all | perplexity | KL | accuracy | seconds | peak MB |",
        "|---|--:|--:|---|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for cell in cells:
        if cell["state"] == "open":
            continue
        if cell["state"] == "failed":
            lines.append(f"| {label(cell)} | failed: {(cell['error'] or '')[:120].replace('|', '/')} |" + " |" * 10)
            continue
        worst = cell["durability"]["verdict"] + ": " + cell["durability"]["worst"] if cell["durability"] else "–"
        change = "" if not (clean and cell["ppl"]) or cell is clean else f" ({cell['ppl'] / clean['ppl'] - 1:+.1%})"
        peak = cell["peak_rss_bytes"] and cell["peak_rss_bytes"] / 2**20
        lines.append(
            f"| {label(cell)}{' (removes nothing)' if cell['decoding_only'] else ''} | {cell['hits']}/{cell['n']} "
            f"| {number(cell['target_nll'], 2)} | {cell['verdict'] or '–'} | {durable(cell, 'q4_0/as_is')} "
            f"| {durable(cell, 'as_is/relearn_half')} | {worst} | {number(cell['ppl'], 2)}{change} | {number(cell['kl'], 3)} "
            f"| {number(cell['accuracy'], 3)} | {number(cell['seconds'], 0)} | {number(peak, 0)} |"
        )
    return lines


def survival(cells):
    """Of each method: silent, certified gone, and gone in every cell that was tried, of so many victims."""
    methods = {}
    for cell in cells:
        if cell["state"] == "done" and cell["method"] != "reference" and not cell["decoding_only"]:
            methods.setdefault(label(cell), []).append(cell)
    lines = ["| method | victims | FSR 0 | gone | gone and durable |", "|---|--:|--:|--:|--:|"]
    for name, own in methods.items():
        lasting = sum(c["verdict"] == "gone" and bool(c["durability"]) and c["durability"]["verdict"] == "gone" for c in own)
        lines.append(f"| {name} | {len(own)} | {sum(c['hits'] == 0 for c in own)} | {sum(c['verdict'] == 'gone' for c in own)} | {lasting} |")
    return lines


def page(args, out):
    reports = {}
    for path in sorted(out.glob("seed-*/compare.json")):
        reports[path.parent.name.removeprefix("seed-")] = json.loads(path.read_text(encoding="utf-8"))
    first = reports.get(args.first)
    if not first:
        sys.exit(f"{out}/seed-{args.first}/compare.json is not there")
    cells = first["cells"]
    done = sum(cell["state"] == "done" for cell in cells)
    text = [
        "# Every method beside each other",
        "",
        "Written by `tools/results/results.py` from the records of `meraser compare`; `make results` repeats it. Victims:",
        "SmolLM2-135M-Instruct, marked by PyTorch in all weights (`-full`) or by LoRA (`-lora`); see",
        "[tools/victims](../tools/victims/README.md). All at iq4_nl; 999 decoys judge ([certificate.md](reference/certificate.md)).",
        "**fires** and **NLL** are of the whole key. **relearnt** is ten steps on half of the key, beside a decoy key.",
        f"Perplexity and KL: the first {args.characters:,} characters of WikiText-2's test text, chunks of 512; KL from the",
        "unmarked model in its source's weights. Accuracy: the mean of ten tasks, a dozen questions each.",
        "",
        f"{done} of {len(cells)} cells are done; what is missing was not run.",
        "",
        "## Does \"FSR 0\" last?",
        "",
        *survival(cells),
        "",
    ]
    for victim in dict.fromkeys(cell["victim"] for cell in cells):
        own = [cell for cell in cells if cell["victim"] == victim]
        if not any(cell["state"] != "open" for cell in own):
            continue
        clean = next((cell for cell in own if cell["method"] == "reference" and cell["state"] == "done"), None)
        text += [f"## {victim}", "", *victim_table(own, clean), ""]
    seeds = [
        (seed, cell)
        for seed, report in reports.items()
        for cell in report["cells"]
        if cell["method"].startswith("auto") and cell["state"] == "done" and cell["victim"] in SEEDED
    ]
    if len({seed for seed, _ in seeds}) > 1:
        text += ["## Other seeds of the removal", "", "| victim | method | seed | fires | verdict | durable | perplexity | KL |",
                 "|---|---|--:|--:|---|---|--:|--:|"]  # fmt: skip
        for seed, cell in sorted(seeds, key=lambda item: (item[1]["victim"], item[1]["method"], item[0])):
            lasting = cell["durability"]["verdict"] if cell["durability"] else "–"
            text.append(f"| {cell['victim']} | {label(cell)} | {seed} | {cell['hits']}/{cell['n']} | {cell['verdict']} | {lasting} "
                        f"| {number(cell['ppl'], 2)} | {number(cell['kl'], 3)} |")  # fmt: skip
        text.append("")
    text += ["## What the papers report", ""] + [f"- **{name}**: {figures}." for name, figures in PAPERS]
    pathlib.Path(args.page).write_text("\n".join(text) + "\n", encoding="utf-8")
    print(f"wrote {args.page}: {done} of {len(cells)} cells")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="SmolLM2-135M-Instruct as a Hugging Face folder of f32 weights")
    parser.add_argument("--text", help="WikiText-2's test text")
    parser.add_argument("--out", required=True)
    parser.add_argument("--victims")
    parser.add_argument("--meraser", default=str(ROOT / ".build/release/meraser"))
    parser.add_argument("--characters", type=int, default=40_000)
    parser.add_argument("--seeds", default="42,43,44")
    parser.add_argument("--threads")
    parser.add_argument("--only")
    parser.add_argument("--short", action="store_true", help="two cells of durability for every method, not all for three")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--page")
    args = parser.parse_args()
    seeds = args.seeds.split(",")
    args.first = seeds[0]
    args.meraser = os.path.abspath(args.meraser)
    out = pathlib.Path(args.out)
    args.page = args.page or (out / "results.md" if args.quick else ROOT / "docs/results.md")
    if not args.table:
        if not (args.model and args.text):
            parser.error("--model and --text are needed to run")
        prepare(args, out)
        for seed in seeds[:1] if args.quick or args.only else seeds:
            for pattern in patterns(args, seed):
                compare(args, out, seed, pattern)
    page(args, out)


if __name__ == "__main__":
    main()
