#!/usr/bin/env python3
"""libFuzzer over every reader of files: how many files were tried, what they reached, what they found.

    python3 tools/trust/fuzz.py FUZZ [--target gguf,mqf] [--time 60] [--until 0] [--keep 40]

FUZZ is what `make fuzz-build` makes. Each line is a target: executions, edges of our code that were passed, seconds since the
last new one, and what was found: files that crash, hang or take too much memory, which stay beside the corpus in
.build-fuzz/TARGET. The corpus of earlier runs is taken up, and their executions are in the sums of the second half of a line
(.build-fuzz/TARGET/tally.json). --until N goes round the targets, --time seconds for each, until each has had N executions in
all runs together. --keep N writes the smallest files that reach what the corpus
reaches, at most N of them, into Tests/Fuzz/corpus. The status is 1 if anything was found. `make fuzz` runs it.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("fuzz", type=pathlib.Path)
parser.add_argument("--target", default="all")
parser.add_argument("--time", type=int, default=60, help="seconds for each target")
parser.add_argument("--until", type=int, default=0, help="go on until each target has had so many executions in all")
parser.add_argument("--keep", type=int, default=0)
args = parser.parse_args()
args.fuzz = args.fuzz.resolve()
ROOT = pathlib.Path(__file__).resolve().parents[2]
KEPT = ROOT / "Tests/Fuzz/corpus"
# One file takes milliseconds, and less memory than a small model.
BOUNDS = ["-timeout=5", "-rss_limit_mb=1024", "-report_slow_units=3"]
ENVIRONMENT = dict(os.environ, SWIFT_BACKTRACE="enable=no")


def call(words, **more):
    return subprocess.run(list(map(str, words)), text=True, errors="replace", env=ENVIRONMENT, **more)


def watch(words, log):
    """Runs libFuzzer; its last executions and edges, and the seconds since the last new edge."""
    running = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               errors="replace", env=ENVIRONMENT)
    runs = edges = 0
    newest = time.monotonic()
    with open(log, "w") as file:
        for line in running.stderr:
            file.write(line)
            if found := re.match(r"#(\d+)\s.*?cov: (\d+)", line):
                runs = int(found[1])
                if int(found[2]) > edges:
                    edges, newest = int(found[2]), time.monotonic()
            elif found := re.search(r"number_of_executed_units: (\d+)", line):
                runs = int(found[1])
    status = running.wait()
    # libFuzzer ends the process itself.
    shutil.rmtree(f"/dev/shm/meraser-fuzz-{running.pid}", ignore_errors=True)
    return runs, edges, time.monotonic() - newest, status


class Tally:
    """What all runs of a target have done together."""

    def __init__(self, target):
        self.path = ROOT / ".build-fuzz" / target / "tally.json"
        self.sums = {"executions": 0, "seconds": 0, "edges": 0, "flat": 0}
        if self.path.exists():
            self.sums.update(json.loads(self.path.read_text()))

    def add(self, runs, seconds, edges, flat):
        """Of a run; `flat` is how long it went on after its last new edge."""
        sums = self.sums
        sums["flat"] = flat if edges > sums["edges"] else sums["flat"] + seconds
        sums["edges"] = max(sums["edges"], edges)
        sums["executions"] += runs
        sums["seconds"] += seconds
        self.path.write_text(json.dumps({k: round(v) for k, v in sums.items()}) + "\n")

    def __str__(self):
        return "in all {executions} in {seconds:.0f} s, {edges} edges, none new for {flat:.0f} s".format(**self.sums)


def fuzz(target):
    home = ROOT / ".build-fuzz" / target
    corpus, kept = home / "corpus", KEPT / target
    corpus.mkdir(parents=True, exist_ok=True)
    call([args.fuzz, "seeds", target, corpus], check=True)
    before = set(home.iterdir())
    folders = [corpus] + ([kept] if kept.exists() else [])
    tally = Tally(target)
    left = [f"-runs={max(1, args.until - tally.sums['executions'])}"] if args.until else []
    started = time.monotonic()
    runs, edges, flat, status = watch(
        [args.fuzz, "run", target, *BOUNDS, *left, f"-max_total_time={args.time}", "-print_final_stats=1",
         f"-artifact_prefix={home}/", *folders], home / "log")
    seconds = time.monotonic() - started
    tally.add(runs, seconds, edges, flat)
    found = sorted(p.name for p in set(home.iterdir()) - before if re.match("crash-|timeout-|oom-", p.name))
    print(f"{target}: {runs} executions in {seconds:.0f} s, {edges} edges, the last new one {flat:.0f} s before the end, "
          + (f"found {', '.join(found)}" if found else "nothing found") + f"; {tally}", flush=True)
    if args.keep and not found:
        keep(target, home, folders)
    return bool(found) or status != 0


def keep(target, home, folders):
    """The smallest files that reach as much, as the corpus that the repository has."""
    merged = home / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir()
    call([args.fuzz, "run", target, *BOUNDS, "-merge=1", merged, *folders], stdout=subprocess.DEVNULL,
         stderr=subprocess.DEVNULL)
    shutil.rmtree(KEPT / target, ignore_errors=True)
    (KEPT / target).mkdir(parents=True)
    for path in sorted(merged.iterdir(), key=lambda p: (p.stat().st_size, p.name))[:args.keep]:
        shutil.copy(path, KEPT / target / path.name[:16])


def main():
    names = call([args.fuzz], capture_output=True).stdout.split()
    chosen = names if args.target == "all" else args.target.split(",")
    unknown = [name for name in chosen if name not in names]
    if unknown:
        sys.exit(f"there is no target {', '.join(unknown)}: {' '.join(names)}")
    count, wrong = len(chosen), {name for name in chosen if fuzz(name)}
    while chosen := [name for name in chosen if name not in wrong and Tally(name).sums["executions"] < args.until]:
        wrong |= {name for name in chosen if fuzz(name)}
    print(f"{count} readers, {len(wrong)} with findings: {' '.join(sorted(wrong)) or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
