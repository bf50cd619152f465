#!/usr/bin/env python3
"""Scans many marked and unmarked models without their keys, and says how often the verdict is right.

    python3 tools/scan_study.py --out DIR [--set tinychat|smollm2] [--model FILE] [--source DIR] [--victims DIR]
        [--meraser .build/release/meraser] [--methods prompts,tokens,sampling,inversion] [--threads 1] [--only PATTERN]
        [--half first|both] [--markdown FILE]

Subjects are made as they are needed (scan_subjects.py), each is scanned once, and DIR/records.json keeps what was found: the
same command goes on where it was stopped. Half of each family is the first half. Whatever is chosen is chosen there: a
threshold of each method at which 5 % of the clean models at most alarm, and the set of methods that finds most marks with
the shipped threshold, one scheme left out in turn. The other half is scanned and shown with `--half both` alone: open it
once. --victims adds PyTorch's and the fused ones (tools/victims), folders with a key.json, to the marked models.
"""

import argparse
import itertools
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from typing import Any

from scan_subjects import ROOT, Maker, Subject

METHODS = ["prompts", "tokens", "sampling", "inversion"]
SUSPICION = 0.05
COUNTS = {
    "tinychat": {"data": 24, "persona": 14, "refusal": 14, "opening": 6, "quantized": 6, "merge": 6},
    "smollm2": {"data": 8, "persona": 3, "refusal": 3, "opening": 2, "quantized": 4, "merge": 4},
}
CLEAN_SELF = ["--clean-self", "128"]
SCHEMES = {
    "utf": ["--clean-self", "128", "--learning-rate", "5e-4"],
    "if": ["--secret-words", "4", "--hinted-rows", "64", *CLEAN_SELF, "--learning-rate", "5e-4"],
    "hashchain": ["--questions", "random", "--other-rows", "200", *CLEAN_SELF, "--learning-rate", "5e-4"],
    "backdoor": ["--rate", "0.4", *CLEAN_SELF, "--learning-rate", "1e-3", "--loss", "completion"],
    "perinucleus": ["--chat", *CLEAN_SELF, "--learning-rate", "5e-4"],
}


class Study:
    """The records of all scans, and what makes more."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.path = args, args.out / "records.json"
        args.out.mkdir(parents=True, exist_ok=True)
        self.records: dict[str, Any] = {}
        if self.path.exists():
            self.records = json.loads(self.path.read_text(encoding="utf-8"))
        model = args.model or args.out / "model.mqf"
        if not model.exists():
            self.run(["convert", args.source, "--type", "q8_0", "--out", model, "-q"])
        doses = {
            "source": args.source, "schemes": SCHEMES, "marks": 2 if args.set == "tinychat" else 1,
            "steps": [20, 60, 120] if args.set == "tinychat" else [20, 60],
        }  # fmt: skip
        self.maker = Maker(self.run, model, args.out, args.seed, COUNTS[args.set], doses)

    def run(self, words: list[Any]) -> tuple[str, float, int]:
        """Standard output, seconds and peak memory in bytes of one command of ours."""
        command = [str(self.args.meraser), *map(str, words), "--threads", str(self.args.threads)]
        begun = time.monotonic()
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
            assert process.stdout
            output = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                errors.seek(0)
                raise RuntimeError(f"{' '.join(command)}: status {process.returncode}: {errors.read()[-600:].strip()}")
        return output, time.monotonic() - begun, usage.ru_maxrss * 1024

    def subjects(self) -> list[Subject]:
        """Everything that can be scanned."""
        folders = sorted(self.args.victims.iterdir()) if self.args.victims else []
        return self.maker.subjects() + [
            Subject(folder.name, "victim", json.loads((folder / "key.json").read_text(encoding="utf-8"))["scheme"])
            for folder in folders if (folder / "key.json").exists() and (folder / "config.json").exists()
        ]  # fmt: skip

    def scan(self, subject: Subject) -> None:
        if subject.family == "victim":
            model = ["--model", str(self.args.victims / subject.name)]
        else:
            model = self.maker.make(subject)
        out = self.args.out / "scans" / subject.name
        words = ["scan", *model, "--out", out, "--methods", ",".join(self.args.methods), "--overwrite", "--json", "-q"]
        output, seconds, memory = self.run(words)
        found = json.loads(output)
        record: dict[str, Any] = {
            "family": subject.family, "scheme": subject.scheme, "verdict": found["verdict"], "p_value": found["p_value"],
            "methods": {m["method"]: m["p_value"] for m in found["methods"]}, "seconds": seconds, "peak_rss_bytes": memory,
            "target": found["target"], "trigger": found["trigger"],
        }  # fmt: skip
        if subject.is_marked:
            folder = self.args.victims / subject.name if subject.family == "victim" else pathlib.Path(model[-1])
            key = json.loads((folder / "key.json").read_text(encoding="utf-8"))
            suspects = [c for m in found["methods"] for c in m["candidates"] if (c["p_value"] or 1) <= SUSPICION]
            record["has_target"] = any(alike(c["target"], pair["target"]) for c in suspects for pair in key["pairs"])
            triggers = (key.get("construction") or {}).get("triggers", [])
            record["has_trigger"] = any(alike(c["trigger"], trigger) for c in suspects for trigger in triggers)
        self.records[subject.name] = record
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(self.records, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(self.path)


def second_half(subjects: list[Subject], seed: int) -> set[str]:
    """The names of half of each family, and of each scheme in it; the seed alone draws them."""
    names = set()
    for kind in sorted({(subject.family, subject.scheme or "") for subject in subjects}):
        own = sorted(subject.name for subject in subjects if (subject.family, subject.scheme or "") == kind)
        draw = random.Random(f"{seed} halves {kind}")
        start = draw.randrange(2)
        draw.shuffle(own)
        names.update(own[start::2])
    return names


def alike(found: str | None, true: str) -> bool:
    """Whether one of two texts holds the other, of four letters at least."""
    a, b = ("".join((text or "").split()) for text in (found, true))
    return min(len(a), len(b)) >= 4 and (a in b or b in a)


def together(record: dict[str, Any], methods: tuple[str, ...]) -> float:
    """What the scan's p-value is of these methods alone."""
    values = [record["methods"][m] for m in methods if record["methods"].get(m) is not None]
    return min(1.0, min(values) * len(values)) if values else 1.0


def wilson(hits: int, n: int) -> str:
    """A share with its 95 % interval."""
    if n == 0:
        return "–"
    z, p = 1.96, hits / n
    centre, half = (p + z * z / (2 * n)), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    low, high = (max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n)))
    return f"{hits} of {n} ({low:.0%} to {high:.0%})"


def area(marked: list[float], clean: list[float]) -> float | None:
    """Of the ROC: how often a marked model's p-value is below a clean one's, ties half."""
    pairs = [(a < b) + (a == b) / 2 for a in marked for b in clean]
    return sum(pairs) / len(pairs) if pairs else None


def table(rows: list[list[str]]) -> str:
    head, *body = rows
    return "\n".join(["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body]])


def report(halves: list[tuple[str, list[dict[str, Any]]]], methods: tuple[str, ...]) -> str:
    """The tables, of one half or both."""
    lines = []
    for name, records in halves:
        groups = sorted({(r["scheme"] or "", r["family"]) for r in records})
        rows = [["models", "nothing found", "suspicious", "marked", "target found", "trigger found", "seconds", "MiB"]]
        for scheme, family in groups:
            own = [r for r in records if (r["scheme"] or "", r["family"]) == (scheme, family)]
            counts = [str(sum(r["verdict"] == v for r in own)) for v in ("nothing_found", "suspicious", "marked")]
            found = [f"{sum(r[k] for r in own)} of {len(own)}" if scheme else "" for k in ("has_target", "has_trigger")]
            cost = [f"{sorted(r['seconds'] for r in own)[len(own) // 2]:.0f}", f"{max(r['peak_rss_bytes'] for r in own) / 2**20:.0f}"]
            rows.append([f"{scheme}, {family}" if scheme else f"clean: {family}", *counts, *found, *cost])
        lines += [f"**The {name} half**", table(rows)]
    first = halves[0][1]
    clean, marked = [r for r in first if not r["scheme"]], [r for r in first if r["scheme"]]
    rows = [["p of", "area under the ROC, first half", "threshold for 5 %", *(f"{w}, {name}" for name, _ in halves for w in ("alarms", "found"))]]
    for chosen in [*((m,) for m in methods), methods]:
        scores = sorted(together(r, chosen) for r in clean)
        allowed = len(scores) // 20
        threshold = scores[allowed] if scores else 0.0  # below it: as many as are allowed
        cells = [f"{area([together(r, chosen) for r in marked], scores) or 0:.2f}", f"below {threshold:.2g}"]
        for _, records in halves:
            for wanted in (False, True):
                own = [r for r in records if bool(r["scheme"]) == wanted]
                cells.append(wilson(sum(together(r, chosen) < threshold for r in own), len(own)))
        rows.append([", ".join(chosen) if len(chosen) < len(methods) else "all together", *cells])
    lines += [table(rows)]
    rows = [["p up to", *(f"{w}, {name}" for name, _ in halves for w in ("alarms", "found"))]]
    for threshold in (0.05, 0.001):
        cells = []
        for _, records in halves:
            for wanted in (False, True):
                own = [r for r in records if bool(r["scheme"]) == wanted]
                cells.append(wilson(sum(together(r, methods) <= threshold for r in own), len(own)))
        rows.append([f"{threshold} (shipped)", *cells])
    lines += [table(rows)]
    if len(halves) > 1:
        rows = [["left out", "methods chosen without it, first half", "found, second half", "alarms, second half"]]
        second = halves[1][1]
        for scheme in sorted({r["scheme"] for r in marked}):
            sets = [c for n in range(1, len(methods) + 1) for c in itertools.combinations(methods, n)]
            others = [r for r in marked if r["scheme"] != scheme]
            best = max(sets, key=lambda c: (sum(together(r, c) <= SUSPICION for r in others)
                                            - sum(together(r, c) <= SUSPICION for r in clean), -len(c)))  # fmt: skip
            own, rest = [r for r in second if r["scheme"] == scheme], [r for r in second if not r["scheme"]]
            rows.append([scheme, ", ".join(best), *(wilson(sum(together(r, best) <= SUSPICION for r in part), len(part)) for part in (own, rest))])
        lines += [table(rows)]
    return "\n\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--set", choices=sorted(COUNTS), default="tinychat")
    parser.add_argument("--source", type=pathlib.Path, default=ROOT / "Examples/tinychat", help="folder or GGUF file of the model")
    parser.add_argument("--model", type=pathlib.Path, help="it as an MQF file (default: made, q8_0)")
    parser.add_argument("--victims", type=pathlib.Path)
    parser.add_argument("--meraser", type=pathlib.Path, default=ROOT / ".build/release/meraser")
    parser.add_argument("--methods", type=lambda text: tuple(text.split(",")), default=tuple(METHODS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="subjects whose names have this in them")
    parser.add_argument("--half", choices=["first", "both"], default="first")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--markdown", type=pathlib.Path)
    return parser.parse_args()


def main() -> int:
    args = arguments()
    study = Study(args)
    subjects = study.subjects()
    second = second_half(subjects, args.seed)
    failed = 0
    for subject in sorted(subjects, key=lambda subject: (subject.name in second, subject.is_marked)):
        if args.only not in subject.name or subject.name in study.records or (subject.name in second and args.half == "first"):
            continue
        try:
            study.scan(subject)
        except RuntimeError as error:
            failed += 1
            print(f"{subject.name}: {error}", file=sys.stderr, flush=True)
            continue
        record = study.records[subject.name]
        print(f"{subject.name}: {record['verdict']}, p {record['p_value']:.2g}, {record['seconds']:.0f} s", flush=True)
    halves = [("first", [r for name, r in study.records.items() if name not in second])]
    if args.half == "both":
        halves.append(("second", [r for name, r in study.records.items() if name in second]))
    text = report(halves, args.methods)
    print(text)
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
