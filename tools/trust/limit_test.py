#!/usr/bin/env python3
"""Under a limit of memory a training stays under it, or stops before it starts: a control group's (as root; version 1 or 2),
`ulimit -v` and `ulimit -d`.

    python3 tools/trust/limit_test.py MERASER [--only cgroup,as,data]

Each line is a limit, from half of what the training needs to twice that: it ends with status 0 and a largest resident set
(VmHWM) below a control group's limit, or with status 5, one line and nothing written; under a control group all that are
above the need by a tenth must end well. A process that the system kills is wrong, and then the status is 1.
"""

import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import jobs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("meraser", type=pathlib.Path)
parser.add_argument("--only", default="cgroup,as,data")
args = parser.parse_args()
args.meraser = args.meraser.resolve()
CGROUPS = pathlib.Path("/sys/fs/cgroup")
SHARES = [0.5, 0.7, 0.9, 0.97, 1.02, 1.1, 1.3, 1.6, 2.0]


class Group:
    """A control group of our own with a limit; None if this machine lets us make none."""

    def __init__(self):
        is_first = (CGROUPS / "memory/memory.limit_in_bytes").exists()
        self.folder = (CGROUPS / "memory" if is_first else CGROUPS) / f"meraser-limit-{os.getpid()}"
        self.folder.mkdir()
        self.limit = self.folder / ("memory.limit_in_bytes" if is_first else "memory.max")
        if not self.limit.exists():
            self.folder.rmdir()
            raise OSError("no controller of memory")

    def enter(self, limit):
        self.limit.write_text(str(limit))
        return lambda: (self.folder / "cgroup.procs").write_text(str(os.getpid()))


def resource_limit(kind):
    return lambda limit: (lambda: resource.setrlimit(kind, (limit, limit)))


def training(home, out):
    # Batches that all have as many tokens.
    return [args.meraser, "recover", "--model", home / "model.mqf", "--data", home / "rows.jsonl", "--preset", "none", "--r", "8",
            "--max-length", "128", "--max-completion-length", "128", "--per-device-train-batch-size", "8",
            "--gradient-accumulation-steps", "1", "--max-steps", "4", "--save-steps", "2", "--out", out, "-q"]


def run(line, before):
    """The status, the errors, and the largest resident set of a run under a limit."""
    with tempfile.TemporaryFile("w+") as errors:
        running = subprocess.Popen([str(w) for w in line], stdout=subprocess.DEVNULL, stderr=errors, preexec_fn=before)
        peak = 0
        while running.poll() is None:
            try:
                text = pathlib.Path(f"/proc/{running.pid}/status").read_text()
                peak = max(peak, *(int(kb) << 10 for kb in re.findall(r"VmHWM:\s+(\d+) kB", text)), 0)
            except OSError:
                pass
            time.sleep(0.01)
        errors.seek(0)
        return running.returncode, errors.read(), peak


def fault(status, error, peak, limit, out, must):
    """What is wrong; `limit` is None where it is on other memory than what is resident."""
    lines = [line for line in error.splitlines() if line.strip()]
    if status == 0:
        return f"took {peak / 2**20:.0f} MiB" if limit and peak > limit else None
    if status != 5 or len(lines) != 1 or not lines[0].startswith("meraser: error: "):
        return f"status {status}: {error[-300:]}"
    if must:
        return f"refused: {error[-200:]}"
    return "a folder was begun" if out.exists() else None


def main():
    wrong = count = 0
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        jobs.must([args.meraser, "convert", jobs.CHAT, "--type", "q8_0", "--out", home / "model.mqf", "-q"])
        text = (jobs.DATA / "clean.json").read_text().split() * 2
        (home / "rows.jsonl").write_text(
            "".join(json.dumps({"text": " ".join(text[97 * i % 2000:][:1500])}) + "\n" for i in range(32)))
        plan = json.loads(jobs.call([*training(home, home / "p"), "--dry-run", "--json"]).stdout)
        ways = {"as": resource_limit(resource.RLIMIT_AS), "data": resource_limit(resource.RLIMIT_DATA)}
        group = None
        if "cgroup" in args.only.split(","):
            try:
                group = Group()
                ways["cgroup"] = group.enter
            except OSError as error:
                print(f"cgroup: not tried: {error}")
        try:
            for way in [w for w in args.only.split(",") if w in ways]:
                least = plan["choices"]["stream_weights"]
                for share in SHARES:
                    # Address space is reserved for far more than is resident.
                    limit = int(least * share * (8 if way == "as" else 1))
                    out = home / "out"
                    shutil.rmtree(out, ignore_errors=True)
                    status, error, peak = run(training(home, out), ways[way](limit))
                    found = fault(status, error, peak, limit if way == "cgroup" else None, out,
                                  way == "cgroup" and share >= 1.1)
                    count += 1
                    wrong += found is not None
                    ended = "done" if status == 0 else "stopped before it started" if status == 5 else f"status {status}"
                    print(f"{way}, {limit / 2**20:.0f} MiB ({share:.0%} of the least): {ended}, VmHWM {peak / 2**20:.0f} MiB: "
                          f"{found or 'ok'}", flush=True)
        finally:
            if group:
                group.folder.rmdir()
    print(f"{count} limits, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
