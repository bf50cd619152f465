#!/usr/bin/env python3
"""Measures meraser against llama.cpp, PyTorch, PEFT and bitsandbytes, and prints the table of ratios.

    python3 tools/compare.py --models DIR [--peers DIR] [--meraser .build/release/meraser] [--shapes 1.1b,7b|smollm2]
        [--rows prefill,decode,batched,lora,convert] [--isa native|avx2] [--rounds 3] --json OUT [--markdown OUT]

tools/peers/setup.sh sets up the opponents. Model files that are missing in --models are made first (7B: 40 GB). The row
`batched` takes the first of the shapes alone, `convert` the last.

Rounds are interleaved: everybody once, then everybody again. In the first round every setting of a peer runs, later
only those within a tenth of the best one. Figures are medians of the rounds, and the best peer counts. OUT keeps every
round that was measured: the same command goes on where it was stopped, --again PATTERN measures those contenders anew.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools/peers"))

from comparisons import MEMORY, markdown, table
from contenders import SHAPES, Contender, Figures, Setup, contenders, origin, recipe

ROWS = ["prefill", "decode", "batched", "lora", "convert"]
CLOSE = 0.9  # of its family's best figure: a setting that stays in the race after the first round
SETTING = re.compile(r", (flash attention|bf16 adapters|\d+ threads)")


class CommandFailed(Exception):
    """A command that ended with an error, and the end of what it said."""


class Record:
    """Every round ever measured, in a JSON file that is replaced after each."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.values: dict[str, Any] = {"machine": [], "rounds": {}, "table": []}
        if path.exists():
            self.values = json.loads(path.read_text(encoding="utf-8"))

    @property
    def rounds(self) -> dict[str, list[Figures]]:
        return self.values["rounds"]

    def forget(self, pattern: str) -> None:
        self.values["rounds"] = {key: value for key, value in self.rounds.items() if not re.search(pattern, key)}

    def save(self) -> None:
        self.values["table"] = table(self.rounds)
        temporary = self.path.with_name(self.path.name + ".new")
        temporary.write_text(json.dumps(self.values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(self.path)


class Runner:
    """Runs contenders on one machine."""

    def __init__(self, setup: Setup, wrap: list[str]) -> None:
        self.setup = setup
        self.wrap = wrap

    def command(self, words: list[str], environment: dict[str, str]) -> tuple[str, float, int]:
        """Standard output, seconds and largest resident size in bytes of one command."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "MERASER_"))}
        with tempfile.TemporaryFile("w+") as errors:
            started = time.perf_counter()
            process = subprocess.Popen(
                [*self.wrap, *words], env=clean | environment, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            assert process.stdout
            output = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                errors.seek(0)
                text = errors.read()[-2000:]
                raise CommandFailed(f"{shlex.join(words)}\nended with {process.returncode}:\n{text}")
        return output, seconds, usage.ru_maxrss * 1024

    def prepare(self, shape: str, kind: str) -> None:
        """Makes a model file unless it is there."""
        path = self.setup.model(shape, kind)
        if path.exists():
            return
        if source := origin(shape, kind):
            self.prepare(shape, source)
        print(f"making {path}", file=sys.stderr)
        self.command(recipe(self.setup, shape, kind), {})

    def measure(self, contender: Contender, shape: str) -> Figures:
        """One round of one contender."""
        if contender.leaves:  # it reads the checkpoint: let everybody read it from the disk
            forget_cached(self.setup.model(shape, contender.needs).rglob("*.safetensors"))
        done = []
        try:
            for words in contender.commands:
                done.append(self.command(words, contender.environment))
        finally:
            for path in contender.leaves:
                path.unlink(missing_ok=True)
        outputs, seconds, peaks = (list(column) for column in zip(*done, strict=True))
        return {MEMORY: max(peaks)} | contender.read(outputs, seconds)


def forget_cached(paths: Iterable[pathlib.Path]) -> None:
    """Drops files from the page cache."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rank(figures: Figures) -> float:
    """The greater the better, within one row."""
    if "seconds" in figures:
        return 1 / figures["seconds"]
    return max(value for name, value in figures.items() if name == "speed" or name.endswith("sequences"))


def race(runner: Runner, record: Record, shape: str, row: str, rounds: int) -> int:
    """All rounds of one row; returns how many contenders failed. The others run on without them."""
    everybody = contenders(runner.setup, row, shape)
    for contender in everybody:
        runner.prepare(shape, contender.needs)
    failed: set[str] = set()

    def measured(contender: Contender) -> list[Figures]:
        return record.rounds.setdefault(f"{shape}/{runner.setup.isa}/{row}/{contender.name}", [])

    for number in range(rounds):
        for contender in everybody:
            name = SETTING.sub("", contender.name)
            family = [measured(c) for c in everybody if SETTING.sub("", c.name) == name]
            leading = max((rank(done[0]) for done in family if done), default=0)
            if contender.name in failed or len(measured(contender)) > number:
                continue
            if number and rank(measured(contender)[0]) < CLOSE * leading:
                continue
            try:
                figures = runner.measure(contender, shape)
            except CommandFailed as failure:
                print(f"{shape} {row}: {contender.name} failed: {failure}", file=sys.stderr, flush=True)
                failed.add(contender.name)
                continue
            measured(contender).append(figures)
            record.save()
            values = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            print(f"{shape} {row}, round {number + 1}: {contender.name}: {values}", file=sys.stderr, flush=True)
    return len(failed)


def machine(setup: Setup) -> dict[str, Any]:
    """What the figures depend on."""
    cpu = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = re.search(r"^flags\s*: (.*)$", cpu, re.MULTILINE)
    name = re.search(r"^model name\s*: (.*)$", cpu, re.MULTILINE)
    memory = re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text(encoding="utf-8"))
    wanted = re.compile(r"avx|fma|f16c|amx|bf16|vnni")
    packages = subprocess.run(
        [setup.python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True
    )
    versions = {package["name"]: package["version"] for package in json.loads(packages.stdout)}
    build = subprocess.run([setup.llama("llama-bench"), "--version"], capture_output=True, text=True, check=False)
    head = ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=False)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": name[1] if name else platform.processor(),
        "flags": [flag for flag in flags[1].split() if wanted.search(flag)] if flags else [],
        "processors": len(os.sched_getaffinity(0)),
        "memory_bytes": int(memory[1]) * 1024 if memory else None,
        "load_average": os.getloadavg()[0],
        "isa": setup.isa,
        "threads": setup.threads,
        "peer_threads": setup.peer_threads,
        "meraser": commit.stdout.strip(),
        "llama.cpp": (build.stdout + build.stderr).strip(),
        "versions": {name: versions.get(name) for name in ("torch", "transformers", "peft", "bitsandbytes")},
    }


def physical_cores() -> int:
    """Cores among the processors that this process may use."""
    cores = set()
    for processor in os.sched_getaffinity(0):
        path = pathlib.Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        cores.add(path.read_text() if path.exists() else str(processor))
    return len(cores)


def listed(allowed: Iterable[str]):
    """A parser of lists with commas between the words."""

    def parse(text: str) -> list[str]:
        words = text.split(",")
        if unknown := set(words) - set(allowed):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected some of {', '.join(allowed)}")
        return words

    return parse


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, type=pathlib.Path, help="folder of the model files")
    parser.add_argument("--peers", default=pathlib.Path.home() / ".cache/meraser-peers", type=pathlib.Path)
    parser.add_argument("--meraser", default=ROOT / ".build/release/meraser", type=pathlib.Path, help="the binary")
    parser.add_argument("--rows", default=ROWS, type=listed(ROWS))
    parser.add_argument("--shapes", default=["1.1b", "7b"], type=listed(SHAPES))
    parser.add_argument("--isa", default="native", choices=["native", "avx2"])
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--threads", default=physical_cores(), type=int, help="default: the physical cores")
    parser.add_argument("--peer-threads", help="numbers of threads to try for the peers, such as 1,2 (--threads)")
    parser.add_argument("--again", help="forget the rounds whose shape/isa/row/contender matches this pattern")
    parser.add_argument("--wrap", default="", help="words before every command, such as 'taskset -c 0,1'")
    parser.add_argument("--json", required=True, type=pathlib.Path, help="all rounds; read first if it exists")
    parser.add_argument("--markdown", type=pathlib.Path, help="the table, which is printed too")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    threads = tuple(int(word) for word in (args.peer_threads or str(args.threads)).split(","))
    setup = Setup(args.models, args.peers, args.meraser, args.isa, args.threads, threads)
    record = Record(args.json)
    if args.again:
        record.forget(args.again)
    record.values["machine"].append(machine(setup))
    runner = Runner(setup, shlex.split(args.wrap))
    failures = 0
    for shape in args.shapes:
        for row in args.rows:
            if shape != {"batched": args.shapes[0], "convert": args.shapes[-1]}.get(row, shape):
                continue
            failures += race(runner, record, shape, row, 1 if row == "convert" else args.rounds)
    record.save()
    text = markdown(record.values["table"])
    print(text)
    if args.markdown:
        args.markdown.write_text(text + "\n", encoding="utf-8")
    if failures:
        raise SystemExit(f"{failures} contenders failed")


if __name__ == "__main__":
    main()
