#!/usr/bin/env python3
"""No command but `serve`, and `check` and `eval` with --url, opens a network connection: each runs under strace, which writes
down every socket that the process or a child of it makes.

    python3 tools/trust/no_network.py MERASER [--only erase,check]

A socket of another family than AF_UNIX (the C library's, where it asks for a user) is wrong, and so is a command of `meraser
--help` that is tried by none of the lines here. `serve`, `check --url` and `scan --url` are tried too: they must be seen to open one, or
nothing could be seen. The status is 1 if anything was wrong. Needs strace.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import jobs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("meraser", type=pathlib.Path)
parser.add_argument("--only", help="names of lines, with commas")
parser.add_argument("--inputs", type=pathlib.Path, help="where what the commands read is, or is to be made")
args = parser.parse_args()
args.meraser = args.meraser.resolve()


def lines(inputs, home):
    """Name and words of every command, and whether it is to open a connection."""
    model = ["--model", inputs / "model.mqf"]
    for name, words, _ in jobs.questions(inputs):
        yield name, words, False
    yield "inspect", ["inspect", inputs / "model.mqf", "--verify"], False
    yield "tokenize", ["tokenize", *model, "a b"], False
    yield "decoys", ["decoys", *model, "--key", inputs / "mark/key.json", "--keys", "10", "--groups", "2", "--decoys", "99"], False
    yield "dataset-stats", ["dataset", "stats", jobs.DATA / "clean.json"], False
    yield "bench", ["bench", *model, "--rounds", "1", "-p", "16", "-n", "4"], False
    yield "cache", ["cache"], False
    yield "demo", ["demo", "--out", home / "demo"], False
    for job in jobs.jobs(inputs):
        folder = home / "out" / job.name
        yield job.name, job.line("", folder)[1:], False
    # Nobody listens on port 9: the connection is refused.
    yield "check --url", ["check", "--key", inputs / "mark/key.json", "--url", "http://127.0.0.1:9",
                          "--served-model", "m", "--max-retries", "0"], True
    yield "scan --url", ["scan", "--out", home / "scanned", "--url", "http://127.0.0.1:9", "--served-model", "m",
                         "--max-retries", "0"], True


def families(log):
    return set(re.findall(r"socket\((\w+)", log.read_text(errors="replace")))


def traced(words, log):
    strace = ["strace", "-f", "--seccomp-bpf", "-e", "trace=socket", "-o", log, args.meraser, *words]
    return [str(word) for word in strace]


def tried(words, home):
    """The families of sockets that a command makes, and how it ended."""
    log = home / "trace"
    done = subprocess.run(traced(words, log), capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    return families(log), done


def served(home):
    log = home / "trace"
    server = subprocess.Popen(traced(["serve", "--model", jobs.inputs(args, home) / "model.mqf", "--port", "0", "--json", "-q"], log),
                              stdout=subprocess.PIPE, text=True)
    json.loads(server.stdout.readline())
    # strace itself would let go of the server and leave it running.
    children = pathlib.Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGTERM)
    server.wait()
    return families(log)


def main():
    if not shutil.which("strace"):
        sys.exit("strace is missing (apt-get install strace)")
    wrong = count = 0
    named = set(re.findall(r"^  ([a-z-]+) {2,}\S", jobs.call([args.meraser, "--help"]).stdout.split("SUBCOMMANDS:")[1], re.M))
    names = args.only.split(",") if args.only else None
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        for name, words, is_open in lines(jobs.inputs(args, home), home):
            named.discard(str(words[0]))
            if names and name not in names:
                continue
            (home / "out" / name).mkdir(parents=True, exist_ok=True)
            found, done = tried(words, home)
            # A command that ends before it works shows nothing; 4 is a check that failed, and a connection is refused with 1.
            fault = None
            if done.returncode not in {0, 4} and not (is_open and done.returncode == 1):
                fault = f"status {done.returncode}: {done.stderr[-300:]}"
            elif bool(found - {"AF_UNIX"}) != is_open:
                fault = f"sockets of {', '.join(sorted(found)) or 'no family'}"
            count += 1
            wrong += fault is not None
            print(f"{name}: {fault or ('opens a connection' if is_open else 'no connection')}", flush=True)
        if not names or "serve" in names:
            found = served(home)
            wrong += "AF_INET" not in found
            print(f"serve: {'opens a connection' if 'AF_INET' in found else 'NOT SEEN'}")
    if not names and named - {"serve"}:
        wrong += 1
        print(f"not tried: {', '.join(sorted(named - {'serve'}))}")
    print(f"{count} commands, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
