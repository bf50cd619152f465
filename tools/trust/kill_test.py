#!/usr/bin/env python3
"""SIGKILL at random moments over every command that writes: afterwards the output is absent or whole, and made again, or
resumed, it has the same bits.

    python3 tools/trust/kill_test.py MERASER [--kills 100] [--seed 1] [--only erase,run] [--pairs]

Ctrl-C ends it early, with the sum. --pairs runs each command twice at once instead, with the same output: one of them makes it, and the other does too or says
why not. `make kill-test N=1000` does both. Each line is a fault, the last line the sum; the status is 1 if there was a fault.
"""

import argparse
import itertools
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import jobs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("meraser", type=pathlib.Path)
parser.add_argument("--kills", type=int, default=100)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--pairs", action="store_true")
parser.add_argument("--only", help="names of jobs, with commas")
parser.add_argument("--inputs", type=pathlib.Path, help="where what the commands read is, or is to be made")
args = parser.parse_args()
args.meraser = args.meraser.resolve()
# A command that takes more than so many times what the middle one does has fewer turns.
SLOW = 4


class Killed:
    """One command, killed again and again."""

    def __init__(self, job, home):
        self.job, self.folder, self.kills = job, home / job.name, 0
        started = time.monotonic()
        self.wanted = self.make(["-q"])
        self.seconds = time.monotonic() - started

    def fresh(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def make(self, more):
        """The hash of what an undisturbed run makes."""
        self.fresh()
        return self.finish(more)

    def finish(self, more):
        done = jobs.call(self.job.line(args.meraser, self.folder, more))
        if done.returncode not in self.job.fine:
            return f"status {done.returncode}: {done.stderr[-300:]}"
        return jobs.digest(self.job.outputs(self.folder))

    def kill(self, moment):
        """What a kill after that many seconds leaves, and what is wrong with it."""
        self.fresh()
        running = subprocess.Popen(self.job.line(args.meraser, self.folder, ["-q"]), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            running.wait(moment)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
        outputs = self.job.outputs(self.folder)
        there = [o for o in outputs if o.exists()]
        state = "absent" if not there else "to resume" if self.job.resume is not None else "whole"
        if state == "whole":
            for output in there:
                wanted = jobs.digest([output])
                if wanted != self.whole(output):
                    return state, f"{output.name} is neither absent nor whole"
        more = ["-q"] + ([w for w in [self.job.resume] if w] if self.job.resume is not None else self.job.again)
        found = self.finish(more)
        left = [p.name for p in self.folder.iterdir() if p not in outputs]
        if found != self.wanted:
            return state, f"done again it is another: {found}"
        return state, f"left behind: {', '.join(left)}" if left else None

    def pair(self):
        """What is wrong after two at once."""
        self.fresh()
        line = self.job.line(args.meraser, self.folder, ["-q"])
        both = [subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        errors = [running.communicate()[1] for running in both]
        states = [running.returncode for running in both]
        refused = [state for state in states if state not in self.job.fine]
        if len(refused) == 2 or not set(refused) <= {1, 2}:
            return f"status {states}: {' '.join(errors)[-300:]}"
        if refused and not any("meraser: error: " in error for error in errors):
            return f"status {refused[0]} without a word"
        left = [p.name for p in self.folder.iterdir() if p not in self.job.outputs(self.folder)]
        if left:
            return f"left behind: {', '.join(left)}"
        return None if jobs.digest(self.job.outputs(self.folder)) == self.wanted else "the output is another"

    def whole(self, output):
        """The hash of one output of an undisturbed run."""
        if not hasattr(self, "kept"):
            kept = self.folder.with_name(self.folder.name + "-kept")
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir()
            jobs.must(self.job.line(args.meraser, kept, ["-q"]), self.job.fine)
            self.kept = {p.name: jobs.digest([p]) for p in self.job.outputs(kept)}
        return self.kept[output.name]


def main():
    draw = random.Random(args.seed)
    counts = {"absent": 0, "whole": 0, "to resume": 0}
    wrong = 0
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        inputs = jobs.inputs(args, home)
        names = args.only.split(",") if args.only else None
        victims = [Killed(j, home) for j in jobs.jobs(inputs) if names is None or j.name in names]
        if args.pairs:
            for victim in victims:
                fault = victim.pair()
                wrong += fault is not None
                print(f"{victim.job.name}, two at once: {fault or 'ok'}", flush=True)
            print(f"{len(victims)} pairs, {wrong} wrong")
            return 1 if wrong else 0
        # They are killed in turn, each at a moment of its own run; one that takes long is passed over in most rounds.
        middle = sorted(v.seconds for v in victims)[len(victims) // 2]
        rounds = (v for n in itertools.count() for v in victims if n % max(1, round(v.seconds / (SLOW * middle))) == 0)
        try:
            for victim in itertools.islice(rounds, args.kills):
                moment = draw.random() * victim.seconds * 1.05
                state, fault = victim.kill(moment)
                victim.kills += 1
                counts[state] += 1
                if fault:
                    wrong += 1
                    print(f"{victim.job.name}, killed after {moment:.3f} of {victim.seconds:.3f} s ({state}): {fault}", flush=True)
        except KeyboardInterrupt:
            print("stopped")
    print("kills of each: " + ", ".join(f"{v.job.name} {v.kills}" for v in victims))
    print(f"{sum(counts.values())} kills: " + ", ".join(f"{n} {state}" for state, n in counts.items()) + f"; {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
