#!/usr/bin/env python3
"""A model file that becomes shorter while it is mapped: the command ends with one clear line and status 3, or had read what it
needed; what it was to write is absent or whole.

    python3 tools/trust/shrink_test.py MERASER [--cuts 60] [--seed 1] [--only check,erase]

Each line is a fault, the last line the sum; the status is 1 if there was a fault. A server's file is cut under it too: it ends.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

import jobs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("meraser", type=pathlib.Path)
parser.add_argument("--cuts", type=int, default=60)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--only", help="names of commands, with commas")
parser.add_argument("--inputs", type=pathlib.Path, help="where what the commands read is, or is to be made")
args = parser.parse_args()
args.meraser = args.meraser.resolve()


def commands(home):
    """Name, words (MODEL is the file that is cut, OUT a folder) and outputs of commands that read a model all along."""
    on = ["--model", "MODEL", "--adapter", home / "mark"]
    trained = ["--data", jobs.DATA / "erase_source.json", *jobs.STEPS]
    return [
        jobs.Job("check", ["check", *on, "--key", home / "mark/key.json", "--decoys", "999"], []),
        jobs.Job("ppl", ["ppl", *on, "--data", jobs.DATA / "heldout.jsonl"], []),
        jobs.Job("generate", ["generate", *on, "--prompts", jobs.DATA / "clean_prompts.jsonl", "-n", "8"], []),
        jobs.Job("erase", ["erase", *on, *trained, "--out", "OUT/t"], ["OUT/t"], resume="--resume"),
        jobs.Job("streamed", ["erase", *on, *trained, "--memory", "FEW", "--out", "OUT/t"], ["OUT/t"], resume="--resume"),
        jobs.Job("export-gguf", ["export", *on, "--format", "gguf", "--out", "OUT/e.gguf"], ["OUT/e.gguf", "OUT/e.README.md"]),
        jobs.Job("prune", ["prune", "--model", "MODEL", "--ratio", "0.2", "--out", "OUT/p"], ["OUT/p"]),
        jobs.Job("convert", ["convert", "GGUF", "--type", "q8_0", "--out", "OUT/m.mqf"], ["OUT/m.mqf"]),
        jobs.Job("inspect", ["inspect", "MODEL", "--verify"], []),
    ]


class Cut:
    def __init__(self, job, inputs, home):
        self.job, self.inputs, self.folder = job, inputs, home / job.name
        self.model = home / f"cut-{job.name}{'.gguf' if 'GGUF' in job.words else '.mqf'}"
        self.few = "1G"
        if "FEW" in job.words:
            self.fresh()
            plan = jobs.call([*self.line(), "--dry-run", "--json"])
            self.few = f"{(json.loads(plan.stdout)['choices']['stream_weights'] >> 20) + 1}M"
        started = time.monotonic()
        done = self.fresh_run()
        self.seconds = time.monotonic() - started
        if done.returncode != 0:
            sys.exit(f"{job.name}: status {done.returncode}: {done.stderr[-300:]}")
        self.wanted = jobs.digest(job.outputs(self.folder))

    def line(self):
        words = {"MODEL": str(self.model), "GGUF": str(self.model), "FEW": self.few}
        return [words.get(word, word) for word in self.job.line(args.meraser, self.folder, ["-q"])]

    def fresh(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        shutil.copy(self.inputs / f"model{self.model.suffix}", self.model)

    def fresh_run(self):
        self.fresh()
        return jobs.call(self.line())

    def cut(self, moment, share):
        """How it ended when its model was cut to a share of its bytes after that many seconds, and what is wrong with that."""
        self.fresh()
        running = subprocess.Popen(self.line(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(moment)
        os.truncate(self.model, int(self.model.stat().st_size * share))
        error = running.communicate()[1]
        lines = [line for line in error.splitlines() if line.strip()]
        outputs = self.job.outputs(self.folder)
        if running.returncode == 0:
            # What it had read by then was all of the file.
            return "done", None if jobs.digest(outputs) == self.wanted else "status 0, and the output is another"
        if running.returncode != 3 or len(lines) != 1 or not lines[0].startswith("meraser: error: "):
            return "ended", f"status {running.returncode}: {error[-300:]}"
        if self.job.resume is None and jobs.digest(outputs) not in {None, self.wanted}:
            return "ended", "the output is neither absent nor whole"
        return "ended", self.again(outputs)

    def again(self, outputs):
        """What is wrong once the file is whole again; as after a kill, locks lie there until then."""
        shutil.copy(self.inputs / f"model{self.model.suffix}", self.model)
        done = jobs.call(self.line() + ([self.job.resume] if self.job.resume else self.job.again if outputs else []))
        left = [p.name for p in self.folder.iterdir() if p not in outputs]
        if done.returncode != 0 or jobs.digest(outputs) != self.wanted:
            return f"done again it is another: status {done.returncode}: {done.stderr[-200:]}"
        return f"left behind: {', '.join(left)}" if left else None


def served(inputs, home):
    """What is wrong when a server's model is cut, and it is asked afterwards."""
    model = home / "served.mqf"
    shutil.copy(inputs / "model.mqf", model)
    server = subprocess.Popen([args.meraser, "serve", "--model", model, "--port", "0", "--json", "-q"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    url = json.loads(server.stdout.readline())["url"]
    os.truncate(model, 4096)
    try:
        urllib.request.urlopen(urllib.request.Request(
            f"{url}/v1/completions", json.dumps({"prompt": "a"}).encode(), {"Content-Type": "application/json"}), timeout=60).read()
        answered = True
    except OSError:
        answered = False
    if answered:
        server.terminate()
    error = server.communicate()[1]
    if not answered and (server.returncode != 3 or not error.startswith("meraser: error: ")):
        return f"status {server.returncode}: {error[-300:]}"
    return None


def main():
    draw, names = random.Random(args.seed), args.only.split(",") if args.only else None
    counts, wrong = {"ended": 0, "done": 0}, 0
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        inputs = jobs.inputs(args, home)
        cuts = [Cut(job, inputs, home) for job in commands(inputs) if names is None or job.name in names]
        for number in range(args.cuts):
            cut = cuts[number % len(cuts)]
            moment, share = draw.random() * cut.seconds, draw.choice([0, 0.001, 0.3, 0.9])
            state, fault = cut.cut(moment, share)
            counts[state] += 1
            if fault:
                wrong += 1
                print(f"{cut.job.name}, cut to {share:.1%} after {moment:.3f} of {cut.seconds:.3f} s: {fault}", flush=True)
        if names is None and (fault := served(inputs, home)):
            wrong += 1
            print(f"serve: {fault}")
    print(f"{args.cuts} cuts: {counts['ended']} ended with a line, {counts['done']} had read all; {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
