#!/usr/bin/env python3
"""Memory: does it grow over many steps and many generations, and is a training's peak what its plan says?

    python3 tools/trust/soak.py MERASER [--steps 1000] [--generations 1000] [--requests 30000] [--only train,generate,serve,plan]
                                [--plan-model FILE …]

train: a training of that many steps whose resident memory (VmRSS) is read twenty times a second: the largest value of the last
quarter beside that of the second. generate: the same over that many answers. serve: over that many requests of eight
clients, some broken off, some wrong. plan: what `--dry-run` says that a training
takes, beside the largest resident set (VmHWM) that it had, over models (tinychat, and those of --plan-model), batches and what
is recomputed, and with 40 MB of data. Growth above --growth, a peak above the plan, or one below by more than a tenth, is wrong;
then the status is 1. The first quarter is left out: pools and caches fill.
"""

import argparse
import http.client
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import jobs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("meraser", type=pathlib.Path)
parser.add_argument("--steps", type=int, default=1000)
parser.add_argument("--generations", type=int, default=1000)
parser.add_argument("--requests", type=int, default=30000)
parser.add_argument("--only", default="train,generate,serve,plan")
# A heap breathes by some pages; a leak of 4 KiB a step would be 4 MB.
parser.add_argument("--growth", type=int, default=2, help="MiB between the second and the last quarter that are no growth")
parser.add_argument("--plan-model", type=pathlib.Path, action="append", default=[])
args = parser.parse_args()
args.meraser = args.meraser.resolve()
GROWTH = args.growth << 20


def resident(pid, name="VmRSS"):
    try:
        return int(re.search(rf"{name}:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) << 10
    except (OSError, TypeError):
        return None


def watch(line):
    """The resident memory of a run over its time, and its largest."""
    with tempfile.TemporaryFile("w+") as errors:
        running = subprocess.Popen([str(w) for w in line], stdout=subprocess.DEVNULL, stderr=errors)
        seen, peak = [], 0
        while running.poll() is None:
            if now := resident(running.pid):
                seen.append(now)
                peak = max(peak, resident(running.pid, "VmHWM") or 0)
            time.sleep(0.05)
        errors.seek(0)
        if running.returncode != 0:
            sys.exit(f"{' '.join(map(str, line))}: status {running.returncode}: {errors.read()[-400:]}")
    return seen, peak


def grown(name, line, what):
    started = time.monotonic()
    seen, _ = watch(line)
    return judged(name, seen, what, started)


def judged(name, seen, what, started):
    if len(seen) < 40:
        sys.exit(f"{name}: over after {len(seen)} readings; ask for more")
    quarter = len(seen) // 4
    early, late = max(seen[quarter:2 * quarter]), max(seen[3 * quarter:])
    wrong = late - early > GROWTH
    print(f"{name}: {what} in {time.monotonic() - started:.0f} s, {early / 2**20:.1f} MiB in the second quarter, "
          f"{late / 2**20:.1f} MiB in the last, {len(seen)} readings: {'GROWS' if wrong else 'ok'}", flush=True)
    return wrong


def training(home, out, *words):
    given = [] if "--model" in words else ["--model", home / "model.mqf", "--data", jobs.DATA / "clean.json"]
    return [args.meraser, "recover", *given, "--preset", "none", "--r", "8",
            "--gradient-accumulation-steps", "1", "--save-steps", "0", "--out", out, "--json", "-q", *words]


def train(home):
    words = ["--per-device-train-batch-size", "2", "--max-steps", args.steps]
    return grown("train", training(home, home / "long", *words), f"{args.steps} steps of 2 samples")


def generate(home):
    clean = [json.loads(line)["prompt"] for line in (jobs.DATA / "clean_prompts.jsonl").read_text().splitlines() if line]
    prompts = [clean[i % len(clean)] for i in range(args.generations)]
    (home / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    line = [args.meraser, "generate", "--model", home / "model.mqf", "--prompts", home / "prompts.jsonl", "-n", "16",
            "--batch-size", "1", "--temperature", "0.8", "--json", "-q"]
    return grown("generate", line, f"{args.generations} answers of up to 16 tokens")


def client(port, number, count, failures):
    """That many requests, each on a connection of its own: answers, streams that are broken off, and bodies that are wrong."""
    for turn in range(count):
        kind = (number + turn) % 8
        body = {"messages": [{"role": "user", "content": f"What is {number}.{turn}?"}], "max_tokens": 8, "temperature": 0.8}
        text = json.dumps({**body, "stream": kind in (2, 3)}) if kind else '{"messages": [' * 9
        wanted = 200 if kind else 400
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            connection.request("POST", "/v1/chat/completions", text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status != wanted:
                failures.append(f"status {answer.status}, wanted {wanted}")
            # A stream that is broken off after its first bytes.
            answer.read(64 if kind == 3 else None)
            connection.close()
        except OSError as error:
            failures.append(str(error))


def serve(home):
    started = time.monotonic()
    server = subprocess.Popen([str(args.meraser), "serve", "--model", str(home / "model.mqf"), "--port", "0", "--json", "-q"],
                              stdout=subprocess.PIPE, text=True)
    port = int(json.loads(server.stdout.readline())["url"].rsplit(":", 1)[1])
    failures, seen = [], []
    clients = [threading.Thread(target=client, args=(port, n, args.requests // 8, failures)) for n in range(8)]
    for one in clients:
        one.start()
    while any(one.is_alive() for one in clients):
        seen.append(resident(server.pid) or 0)
        time.sleep(0.05)
    server.terminate()
    if server.wait(30) != 0 or failures:
        print(f"serve: status {server.returncode}, {len(failures)} wrong answers, such as {failures[:1]}")
        return True
    return judged("serve", seen, f"{8 * (args.requests // 8)} requests of 8 clients", started)


def planned(line):
    done = jobs.call(line + ["--dry-run"])
    if done.returncode != 0:
        sys.exit(f"--dry-run: status {done.returncode}: {done.stderr[-300:]}")
    return json.loads(done.stdout)


def texts(path, count, words):
    """Rows of text that are all longer than what a sample may have."""
    text = (jobs.DATA / "clean.json").read_text().split() * 2
    rows = [f"{i} " + " ".join(text[97 * i % 2000:][:words]) for i in range(count)]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return path


def compared(home, name, model, data, batch, policy, words):
    """Whether a training's peak is its plan's, with memory for no other policy than that."""
    words = [*words, "--per-device-train-batch-size", batch, "--max-steps", 2, "--model", model, "--data", data]
    needed = planned(training(home, home / "p", *words, "--memory", "8G"))["choices"][policy]
    words += ["--memory", f"{(needed >> 20) + 1}M"]
    total = planned(training(home, home / "p", *words))["total_bytes"]
    _, peak = watch(training(home, home / "p", *words, "--overwrite"))
    wrong = not 0.9 * total <= peak <= total
    print(f"plan: {name}, batch {batch}, {policy}: planned {total / 2**20:.0f} MiB, peak {peak / 2**20:.0f} MiB "
          f"({100 * (peak / total - 1):+.1f} %): {'WRONG' if wrong else 'ok'}", flush=True)
    return wrong


def plan(home):
    wrong = 0
    rows = texts(home / "rows.jsonl", 32, 1500)
    policies = ["keep_all", "recompute_MLPs", "recompute_layers", "stream_weights"]
    for model in [home / "model.mqf", *args.plan_model]:
        length = ["--max-length", "128", "--max-completion-length", "128"]
        for batch in [1, 4, 16] if model.parent == home else [1, 4]:
            wrong += sum(compared(home, model.stem, model, rows, batch, policy, length) for policy in policies)
    much = texts(home / "much.jsonl", 6000, 1200)
    length = ["--max-length", "256", "--max-completion-length", "256"]
    wrong += compared(home, "40 MB of data", home / "model.mqf", much, 1, "keep_all", length)
    return wrong > 0


def main():
    wrong = []
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        jobs.must([args.meraser, "convert", jobs.CHAT, "--type", "q8_0", "--out", home / "model.mqf", "-q"])
        for name in args.only.split(","):
            if {"train": train, "generate": generate, "serve": serve, "plan": plan}[name](home):
                wrong.append(name)
    print(f"{len(args.only.split(','))} parts, wrong: {', '.join(wrong) or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
