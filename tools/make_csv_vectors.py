#!/usr/bin/env python3
"""Writes Tests/TuneTests/Fixtures/csv_vectors.json: texts of tables and the cells that Python's csv module reads in them.

    python tools/make_csv_vectors.py [--out Tests/TuneTests/Fixtures/csv_vectors.json]

The strict reader of the standard library, commas or tabs, empty lines left out; `rows` is null where it ends in an error. Texts are
random pieces of what is special in tables, and tables of nasty cells that csv.writer wrote.
"""

import argparse
import csv
import io
import json
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PIECES = ['"', '""', ",", "\t", "\n", "\r\n", "\r", " ", "a", "é", "e\u0301", "\u0301", "\ufe0f", "\u200d", "'", "\\", "\u2028", "b c", '"x"', '"x,y"']


def rows(text, tabs):
    try:
        return [r for r in csv.reader(io.StringIO(text, newline=""), delimiter="\t" if tabs else ",", strict=True) if r]
    except csv.Error:
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=ROOT / "Tests/TuneTests/Fixtures/csv_vectors.json", type=pathlib.Path)
    out = parser.parse_args().out
    generator = random.Random(5)
    cases = []
    for index in range(240):
        tabs = index % 4 == 3
        if index % 3 == 0:
            buffer = io.StringIO(newline="")
            writer = csv.writer(buffer, delimiter="\t" if tabs else ",", lineterminator=generator.choice(["\n", "\r\n"]))
            width = generator.randint(1, 4)
            for _ in range(generator.randint(1, 4)):
                writer.writerow(["".join(generator.choices(PIECES, k=generator.randint(0, 5))) for _ in range(width)])
            text = buffer.getvalue()
        else:
            text = "".join(generator.choices(PIECES, k=generator.randint(0, 12)))
        cases.append({"text": text, "tabs": tabs, "rows": rows(text, tabs)})
    made = {"python": sys.version.split()[0], "cases": cases}
    text = json.dumps(made, separators=(",", ":"))
    out.write_text(text.replace('{"text"', '\n{"text"') + "\n")
    print(f"wrote {out}: {len(cases)} tables, {sum(c['rows'] is None for c in cases)} of them refused")


if __name__ == "__main__":
    main()
