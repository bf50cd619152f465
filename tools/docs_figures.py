#!/usr/bin/env python3
"""Writes the figures of README.md and docs/ from the records in docs/studies/records, so that they cannot drift.

Usage: tools/docs_figures.py [--check]            writes them; with --check only compares (part of `make lint`)
       tools/docs_figures.py --record NAME RUN    keeps what RUN/report.json says as the record NAME
       tools/docs_figures.py --demo FILE          keeps what `meraser demo` printed as the record of the demo

A page has a place for figures between the lines `<!-- figures: NAME -->` and `<!-- end of figures -->`; what stands there
is made by the function of that name here. `make docs-records` runs the recipes whose records are kept.
"""
import argparse
import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RECORDS = os.path.join(ROOT, "docs", "studies", "records")
PAGES = ["README.md", "docs/studies/doses.md"]
PLACE = re.compile(r"(<!-- figures: ([\w-]+) -->\n)(.*?)(<!-- end of figures -->)", re.S)


def load(name):
    with open(os.path.join(RECORDS, name + ".json"), encoding="utf-8") as file:
        return json.load(file)


def keep(name, run):
    """The parts of a report, or of a search, that figures are made of."""
    os.makedirs(RECORDS, exist_ok=True)
    search = os.path.join(run, "search.json")
    if os.path.exists(search):
        with open(search, encoding="utf-8") as file:
            found = json.load(file)
        kept = {key: found[key] for key in ("meraser_version", "commit", "numerics", "marked", "reference")}
        kept["tried"] = len(found["trials"])
        kept["frontier"] = [{key: value for key, value in trial.items() if key != "commands"}
                            for trial in found["trials"] if trial["on_frontier"]]
        return save(name, kept)
    with open(os.path.join(run, "report.json"), encoding="utf-8") as file:
        report = json.load(file)
    record = {
        "recipe": name + ".yml",
        **{key: report["run"].get(key) for key in ("meraser_version", "commit", "numerics", "isa", "seed")},
        "table": report["table"],
        "steps": {stage: training["result"]["steps"] for stage, training in report["training"].items()},
    }
    save(name, record)


def save(name, record):
    with open(os.path.join(RECORDS, name + ".json"), "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.write("\n")


def number(value, digits):
    return "–" if value is None else f"{value:.{digits}f}"


def demo():
    """What `make demo` prints, but for its progress."""
    with open(os.path.join(RECORDS, "demo.txt"), encoding="utf-8") as file:
        return "```\n$ make demo\n…\n" + file.read().rstrip("\n") + "\n```\n"


SCHEMES = [("utf", "utf"), ("if", "if"), ("hashchain", "hashchain"), ("backdoor", "backdoor, one trigger")]
STAGES = [("reference", "reference", None), ("before", "embedded", "fingerprint"), ("erased", "erased", "erase"),
          ("recovered", "recovered", "recover")]


def audits():
    """The four audits, stage by stage."""
    lines = ["| scheme | stage | fires | prefix match | target NLL | mean rank | false activations | perplexity |",
             "|---|---|---|--:|--:|--:|---|--:|"]
    for scheme, title in SCHEMES:
        record = load("audit-" + scheme)
        rows = {row["stage"]: row for row in record["table"]}
        first = True
        for stage, name, training in STAGES:
            if stage not in rows:
                continue
            row = rows[stage]
            steps = record["steps"].get(training) if training else None
            cells = [title if first else "", name + (f", {steps} steps" if steps else ""), f"{row['hits']}/{row['n']}",
                     number(row["prefix_match"], 2), number(row["target_nll"], 2), number(row["target_rank"], 1),
                     f"{row['false_activations']}/{row['n_clean']}", number(row["ppl"], 2)]
            lines.append("| " + " | ".join(cells) + " |")
            first = False
    return "\n".join(lines) + "\n"


def search():
    """The frontier that the shipped plan finds."""
    record = load("search")
    lines = ["| dose | erase + recover steps | fires | prefix match | target NLL | perplexity |",
             "|---|---|---|--:|--:|--:|"]

    def row(name, steps, figures):
        lines.append(f"| {name} | {steps} | {figures['hits']}/{figures['n']} | {number(figures['prefix_match_mean'], 2)} | "
                     f"{number(figures['target_nll_mean'], 2)} | {number(figures['ppl'], 2)} |")

    if record["reference"]:
        row("reference", "", record["reference"])
    row("marked model", "", record["marked"])
    for trial in sorted(record["frontier"], key=lambda trial: trial["ppl"]):
        dose = ", ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                         for key, value in trial["configuration"].items())
        row(dose, f"{trial['erase_steps']} + {trial['recover_steps']}", trial)
    return "\n".join(lines) + "\n"


def models():
    """The models that are served, from the reference's table: names, not architectures."""
    with open(os.path.join(ROOT, "docs", "reference", "models.md"), encoding="utf-8") as file:
        table = re.search(r"^\| architecture \| models .*?(?=^$)", file.read(), re.M | re.S)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().split("\n")]
    return "".join("| " + " | ".join(row[1:]) + " |\n" for row in [rows[0]]) + "|---" * (len(rows[0]) - 1) + "|\n" + \
        "".join("| " + " | ".join(row[1:]) + " |\n" for row in rows[2:])


FIGURES = {"models": models, "demo": demo, "audits": audits, "search": search}


def figures(place):
    """What belongs into a place; what stands there, where no record has been made yet."""
    try:
        return FIGURES[place[2]]()
    except FileNotFoundError:
        return place[3]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--record", nargs=2, metavar=("NAME", "RUN"))
    arguments.add_argument("--demo", metavar="FILE")
    options = arguments.parse_args()
    if options.record:
        keep(*options.record)
    if options.demo:
        os.makedirs(RECORDS, exist_ok=True)
        with open(options.demo, encoding="utf-8") as source, open(os.path.join(RECORDS, "demo.txt"), "w") as target:
            target.write(source.read())
    stale = []
    for page in PAGES:
        path = os.path.join(ROOT, page)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        made = PLACE.sub(lambda place: place[1] + figures(place) + place[4], text)
        if made != text and options.check:
            stale.append(page)
        elif made != text:
            with open(path, "w", encoding="utf-8") as file:
                file.write(made)
    if stale:
        print(f"{', '.join(stale)}: figures are not those of docs/studies/records; run make docs-figures", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
