#!/usr/bin/env python3
"""Measures every tiled type beside q4_0 in one run: prefill, decode and a LoRA step of one model.

    python3 tools/type_speed.py --models DIR [--shape 45m] [--types q4_0,iq4_nl,q4_1,q4_k,q5_k,q6_k,q8_0] [--rounds 5]
                                [-p 192] [-n 64] [--train 192] [--threads 1] [--compute int8] [--meraser .build/release/meraser]

The checkpoint and the files are made in DIR where they are missing (tools/make_model.py, `meraser convert`); embedding and
head are q8_0 in all. A round is one `meraser bench --rounds 1` of each type, in turn, each second round backwards, so that
all see the same minutes of the machine. The table has medians of the rounds: tokens a second, the time relative to q4_0's,
and that divided by the ratio of the bits of a weight ("at equal bits"); with quartiles of the rounds.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BITS = {"q4_0": 4.5, "iq4_nl": 4.5, "q4_1": 5, "q4_k": 4.625, "q5_k": 5.625, "q6_k": 6.625, "q8_0": 8.5}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, type=pathlib.Path, help="where checkpoint and files are")
    parser.add_argument("--shape", default="45m", help="of tools/make_model.py; widths in multiples of 256")
    parser.add_argument("--types", default=",".join(BITS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-p", default="192", help="tokens of the prompt")
    parser.add_argument("-n", default="64", help="tokens to generate")
    parser.add_argument("--train", default="192", help="tokens of a LoRA step")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--compute", default="int8", help="precision of the forward")
    parser.add_argument("--meraser", default=".build/release/meraser", help="the program")
    return parser.parse_args()


def main():
    args = arguments()
    types = args.types.split(",")
    source = args.models / args.shape
    if not source.exists():
        subprocess.run([sys.executable, ROOT / "tools/make_model.py", "--shape", args.shape, "--out", source], check=True)
    for kind in types:
        file = args.models / f"{args.shape}-{kind}.mqf"
        if not file.exists():
            subprocess.run([args.meraser, "convert", source, "--out", file, "--type", kind, "-q"], check=True,
                           stdout=subprocess.DEVNULL)

    seconds = {}
    for turn in range(args.rounds):
        for kind in types if turn % 2 == 0 else types[::-1]:
            out = subprocess.run(
                [args.meraser, "bench", "--model", args.models / f"{args.shape}-{kind}.mqf", "-p", args.p, "-n", args.n,
                 "--train", args.train, "--rounds", "1", "--threads", args.threads, "--compute", args.compute, "--json",
                 "-q"], check=True, stdout=subprocess.PIPE).stdout
            for result in json.loads(out)["results"]:
                rate = result["tokens_per_second"]
                rate = statistics.median(rate) if isinstance(rate, list) else rate
                seconds.setdefault(result["test"], {}).setdefault(kind, []).append(1 / rate)
        print(f"round {turn + 1} of {args.rounds}", file=sys.stderr)

    tests = list(seconds)
    print("| type | bits | " + " | ".join(f"{t} tok/s | time | at equal bits" for t in tests) + " |")
    print("|---|--:|" + "--:|--:|--:|" * len(tests))
    for kind in types:
        bits = BITS[kind] / BITS["q4_0"]
        cells = []
        for test in tests:
            ratios = [own / first for own, first in zip(seconds[test][kind], seconds[test]["q4_0"])]
            spread = statistics.quantiles(ratios) if len(ratios) > 1 else [ratios[0]] * 3
            middle = statistics.median(ratios)
            cells.append(f"{1 / statistics.median(seconds[test][kind]):.1f} | {middle:.2f} ({spread[0]:.2f} to {spread[2]:.2f}) "
                         f"| {middle / bits:.2f}")
        print(f"| {kind} | {BITS[kind]} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
