#!/usr/bin/env python3
"""Decoding beside busy processes: meraser and llama-bench in turn, in the same state.

    python tools/busy_bench.py --model MODEL.mqf --gguf MODEL.gguf [--busy 1] [--threads 2] [--tokens 64] [--rounds 3]
                               [--meraser .build/release/meraser] [--llama-bench /opt/peers/llama-native/llama-bench]

Starts --busy processes that count without end, then both programs in turn, --rounds times, and prints tokens a second of
each round and the best. What else runs on the machine disturbs both alike.
"""

import argparse
import json
import subprocess
import sys


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--busy", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--meraser", default=".build/release/meraser")
    parser.add_argument("--llama-bench", default="/opt/peers/llama-native/llama-bench")
    return parser.parse_args()


def output(command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def ours(args):
    report = json.loads(output([args.meraser, "bench", "--model", args.model, "-p", 0, "-n", args.tokens, "--rounds", 1,
                                "-t", args.threads, "--json", "--quiet"]))
    return report["results"][0]["median"]


def theirs(args):
    report = json.loads(output([args.llama_bench, "-m", args.gguf, "-p", 0, "-n", args.tokens, "-r", 1,
                                "-t", args.threads, "-o", "json"]))
    return report[0]["avg_ts"]


def main():
    args = arguments()
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
    speeds = {"meraser": [], "llama.cpp": []}
    try:
        for _ in range(args.rounds):
            speeds["meraser"].append(ours(args))
            speeds["llama.cpp"].append(theirs(args))
    finally:
        for loop in loops:
            loop.kill()
    for name, values in speeds.items():
        print(f"{name}: {' '.join(f'{value:.1f}' for value in values)} tok/s, best {max(values):.1f}")


if __name__ == "__main__":
    main()
