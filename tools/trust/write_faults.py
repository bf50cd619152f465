#!/usr/bin/env python3
"""A disk that is full (ENOSPC, from the nth write on) or breaks once (EIO, at the nth) under every command that writes:
afterwards the output is absent or whole, nothing is left beside it, the error is one clear line, and a disk that works again
gives the same bits.

    python3 tools/trust/write_faults.py MERASER [--most 40] [--only erase,run]

A job with more writes than --most has that many tried, spread over all of them; 0 tries every one. The library that makes
writes fail is fail_write.c beside this file (clang or gcc builds it).
"""

import argparse
import errno
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import jobs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("meraser", type=pathlib.Path)
parser.add_argument("--most", type=int, default=40, help="writes of a job that are tried with each error; 0: all")
parser.add_argument("--only", help="names of jobs, with commas")
parser.add_argument("--inputs", type=pathlib.Path, help="where what the commands read is, or is to be made")
args = parser.parse_args()
args.meraser = args.meraser.resolve()

ERRORS = {"ENOSPC": (errno.ENOSPC, "1"), "EIO": (errno.EIO, "0")}


def library(home):
    compiler = shutil.which("clang") or shutil.which("gcc") or sys.exit("no C compiler")
    out = home / "fail_write.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", out, jobs.ROOT / "tools/trust/fail_write.c", "-ldl"], check=True)
    return out


def attempt(job, folder, shim, **fault):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    environment = {**os.environ, "LD_PRELOAD": str(shim), "FAULT_BELOW": str(folder)}
    environment.update({f"FAULT_{k.upper()}": str(v) for k, v in fault.items()})
    return jobs.call(job.line(args.meraser, folder, ["-q"]), env=environment)


def faults(job, folder, done, wanted):
    """What is wrong after a fault."""
    outputs = job.outputs(folder)
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    is_fine = done.returncode in job.fine
    if not is_fine and (done.returncode != 1 or not any("meraser: error: " in line for line in lines)):
        return f"status {done.returncode}: {done.stderr[-200:]}"
    if is_fine and jobs.digest(outputs) != wanted:
        return f"status {done.returncode}, and the output is not whole"
    left = [p.name for p in folder.iterdir() if p not in outputs]
    if left:
        return f"left behind: {', '.join(left)}"
    if not is_fine and job.resume is None and len(outputs) == 1 and outputs[0].exists() \
            and jobs.digest(outputs) != wanted:
        return f"{outputs[0].name} is neither absent nor whole"
    more = ["-q"] + ([w for w in [job.resume] if w] if job.resume is not None else job.again)
    again = jobs.call(job.line(args.meraser, folder, more))
    if again.returncode not in job.fine:
        return f"done again: status {again.returncode}: {again.stderr[-200:]}"
    return None if jobs.digest(outputs) == wanted else "done again it is another"


def main():
    total = wrong = 0
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        shim = library(home)
        inputs = jobs.inputs(args, home)
        names = args.only.split(",") if args.only else None
        for job in jobs.jobs(inputs):
            if names is not None and job.name not in names:
                continue
            folder, count = home / job.name, home / "count"
            done = attempt(job, folder, shim, count=count)
            if done.returncode not in job.fine:
                sys.exit(f"{job.name}: {done.stderr[-300:]}")
            wanted, writes = jobs.digest(job.outputs(folder)), int(count.read_text())
            step = 1 if args.most == 0 else max(1, -(-writes // args.most))
            places = range(1, writes + 1, step)
            failed = 0
            for name, (number, sticky) in ERRORS.items():
                for at in places:
                    done = attempt(job, folder, shim, at=at, errno=number, sticky=sticky)
                    fault = faults(job, folder, done, wanted)
                    total += 1
                    if fault:
                        failed += 1
                        print(f"{job.name}, {name} at {at} of {writes}: {fault}", flush=True)
            wrong += failed
            print(f"{job.name}: {writes} writes, {len(ERRORS) * len(places)} faults, {failed} wrong", flush=True)
    print(f"{total} faults, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
