#!/usr/bin/env python3
"""The same bits whatever the threads, the batches and the stops: every command that writes, and every one that only asks.

    python3 tools/trust/determinism.py MERASER [--threads 1,2,3,4,5,6,7,8] [--seed 1] [--only erase,check]

Each line is a command: with each number of threads its output, or its answer as JSON, has the hash of one thread's. Commands
that only ask go through the sizes of batches too. Those that can be resumed are stopped (SIGTERM) at a random moment and taken
up with another number of threads. The last line is the sum; the status is 1 if anything differed. `make determinism` runs it.
"""

import argparse
import hashlib
import json
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
parser.add_argument("--threads", default="1,2,3,4,5,6,7,8")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--only", help="names of commands, with commas")
parser.add_argument("--inputs", type=pathlib.Path, help="where what the commands read is, or is to be made")
args = parser.parse_args()
args.meraser = args.meraser.resolve()
THREADS = [int(n) for n in args.threads.split(",")]


class Sum:
    def __init__(self):
        self.runs = self.wrong = 0

    def tell(self, name, found, wanted, how):
        self.runs += 1
        if found != wanted:
            self.wrong += 1
            print(f"{name}, {how}: {found}", flush=True)


def answer(line):
    done = jobs.call(line)
    if done.returncode not in {0, 4}:
        return f"status {done.returncode}: {done.stderr[-300:]}"
    return hashlib.sha256(json.dumps(jobs.plain(json.loads(done.stdout))).encode()).hexdigest()


def made(job, folder, more):
    done = jobs.call(job.line(args.meraser, folder, ["-q", *more]))
    return jobs.digest(job.outputs(folder)) if done.returncode in job.fine else f"status {done.returncode}: {done.stderr[-300:]}"


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def stopped(job, folder, seconds, first, second):
    """Stopped after that many seconds with `first` threads, and taken up with `second`."""
    running = subprocess.Popen(job.line(args.meraser, fresh(folder), ["-q", "--threads", str(first)]),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        running.wait(seconds)
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGTERM)
        running.wait()
    return made(job, folder, [word for word in [job.resume] if word] + ["--threads", str(second)])


def main():
    draw, total = random.Random(args.seed), Sum()
    names = args.only.split(",") if args.only else None
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        inputs = jobs.inputs(args, home)
        for name, words, batches in jobs.questions(inputs):
            if names and name not in names:
                continue
            before = total.wrong
            line = [args.meraser, *words, "--json", "-q"]
            wanted = answer(line + ["--threads", "1"])
            for threads in THREADS:
                total.tell(name, answer(line + ["--threads", threads]), wanted, f"{threads} threads")
            for size in batches:
                total.tell(name, answer(line + ["--threads", "2", "--batch-size", size]), wanted, f"batches of {size}")
            print(f"{name}: {len(THREADS)} numbers of threads, {len(batches)} sizes of batches: "
                  + ("the same" if total.wrong == before else "DIFFERENT"), flush=True)
        for job in jobs.jobs(inputs):
            if names and job.name not in names:
                continue
            before, folder = total.wrong, home / job.name
            started = time.monotonic()
            wanted = made(job, fresh(folder), ["--threads", "1"])
            seconds = time.monotonic() - started
            for threads in THREADS:
                total.tell(job.name, made(job, fresh(folder), ["--threads", str(threads)]), wanted, f"{threads} threads")
            stops = 3 if job.resume is not None else 0
            for _ in range(stops):
                first, second = draw.sample(THREADS, 2) if len(THREADS) > 1 else (THREADS[0], THREADS[0])
                moment = draw.random() * seconds
                total.tell(job.name, stopped(job, folder, moment, first, second), wanted,
                           f"stopped after {moment:.2f} s with {first} threads, taken up with {second}")
            print(f"{job.name}: {len(THREADS)} numbers of threads, {stops} stops: "
                  + ("the same" if total.wrong == before else "DIFFERENT"), flush=True)
    print(f"{total.runs} runs, {total.wrong} different")
    return 1 if total.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
