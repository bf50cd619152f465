"""The table of ratios: which figures tools/compare.py sets against each other, and what ours must reach."""

import dataclasses
import re
import statistics
from collections.abc import Mapping
from typing import Any

from contenders import BATCHES, SHAPES, Figures

GB = 1e9
MEMORY = "peak_rss_bytes"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One line: the best of ours against the best of the peers, both named by a pattern."""

    row: str
    title: str
    ours: str
    peers: str | None  # None: the target is a bound on our own figure
    target: float | None = None
    figure: str = "speed"
    shapes: tuple[str, ...] = tuple(SHAPES)
    native_only: bool = False


FOUR_BITS = "^meraser (q4_0|q4_1|iq4_nl)"
LLAMA = "^llama.cpp (Q4_0|Q4_1|IQ4_NL)"
SMALL, LARGE = ("tiny", "1.1b", "smollm2"), ("7b", "8b")
COMPARISONS = [
    Comparison("prefill", "prefill, 512 tokens, 4 bits", FOUR_BITS, LLAMA, 2.5),
    Comparison("prefill", "prefill, 512 tokens, 8 bits", "^meraser q8_0", "^llama.cpp Q8_0", 2.5, shapes=SMALL),
    Comparison("prefill", "prefill, 512 tokens, 4 bits", FOUR_BITS, "^PyTorch"),
    Comparison("decode", "decode, 1 sequence", FOUR_BITS, LLAMA, 1.3),
    Comparison("decode", "decode, 1 sequence", FOUR_BITS, None, 0.85, "share_of_peak", native_only=True),
    *(
        Comparison("batched", f"decode, {n} sequences", FOUR_BITS, LLAMA, 2 if n == 32 else None, f"{n} sequences")
        for n in BATCHES
    ),
    *(
        line
        for compute in ("int8 both ways", "int8", "bf16", "f32")
        for line in (
            Comparison("lora", "LoRA step", f"^meraser .* {compute}$", ".", 1.6, shapes=SMALL),
            Comparison("lora", "LoRA step", f"^meraser .* {compute}$", r"\+ checkpointing", 2.5, shapes=SMALL),
            Comparison("lora", "LoRA step, memory", f"^meraser .* {compute}$", ".", 4, MEMORY, shapes=SMALL),
            Comparison(
                "lora", "LoRA step", f"^meraser .* {compute}$", "^PEFT bf16", 2.5 if "int8" in compute else 2,
                shapes=LARGE,
            ),
            Comparison("lora", "LoRA step", f"^meraser .* {compute}$", "^bitsandbytes", shapes=LARGE),
            Comparison("lora", "LoRA step, memory", f"^meraser .* {compute}$", None, 6 * GB, MEMORY, shapes=LARGE),
        )
    ),
    *(
        line
        for kind in ("q4_0", "iq4_nl")
        for line in (
            Comparison("convert", f"convert to {kind}, time", f"^meraser {kind}", "^llama.cpp", 1, "seconds"),
            Comparison("convert", f"convert to {kind}, memory", f"^meraser {kind}", None, 2 * GB, MEMORY),
        )
    ),
]  # fmt: skip


def medians(rounds: list[Figures]) -> Figures:
    """The median of every figure; of memory, the largest."""
    names = {name for figures in rounds for name in figures}
    return {
        name: (max if name == MEMORY else statistics.median)([f[name] for f in rounds if name in f]) for name in names
    }


def best(measured: Mapping[str, Figures], pattern: str, figure: str) -> tuple[str, Figures] | None:
    """The contender that `pattern` matches and that has the best `figure`; where that is memory, the fastest."""
    names = [name for name, figures in measured.items() if re.search(pattern, name) and figure in figures]
    if not names:
        return None
    rank = "speed" if figure == MEMORY and "speed" in measured[names[0]] else figure
    sign = -1 if rank in ("seconds", MEMORY) else 1
    name = max(names, key=lambda n: sign * measured[n][rank])
    return name, measured[name]


def table(rounds: Mapping[str, list[Figures]]) -> list[dict[str, Any]]:
    """A line for every comparison of which both sides were measured; keys of `rounds`: shape/isa/row/contender."""
    groups: dict[tuple[str, str, str], dict[str, Figures]] = {}
    for key, figures in rounds.items():
        shape, isa, row, name = key.split("/", 3)
        groups.setdefault((shape, isa, row), {})[name] = medians(figures)
    lines = []
    for (shape, isa, row), measured in groups.items():
        theirs = {name: figures for name, figures in measured.items() if not name.startswith("meraser ")}
        for comparison in COMPARISONS:
            if comparison.row != row or shape not in comparison.shapes or (comparison.native_only and isa != "native"):
                continue
            ours = best(measured, comparison.ours, comparison.figure)
            peer = best(theirs, comparison.peers, comparison.figure) if comparison.peers else None
            if ours and (peer or not comparison.peers):
                lines.append(line(comparison, shape, isa, ours, peer))
    return lines


def line(
    comparison: Comparison, shape: str, isa: str, ours: tuple[str, Figures], peer: tuple[str, Figures] | None
) -> dict[str, Any]:
    """One line of the table; `ratio` says how many times better ours is, or what a bound is compared with."""
    figure = comparison.figure
    lower = figure in ("seconds", MEMORY)
    mine = ours[1][figure]
    theirs = peer[1][figure] if peer else None
    target = comparison.target
    if isa != "native" and target and theirs:
        target = 1  # elsewhere the targets are those of the machine's own instructions
    if theirs is None:
        ratio = None
        met = mine <= target if lower else mine >= target
    else:
        ratio = theirs / mine if lower else mine / theirs
        met = None if target is None else ratio >= target
    return {
        "work": f"{shape} {comparison.title}",
        "isa": isa,
        "peer": peer[0] if peer else None,
        "peer_figure": theirs,
        "ours": ours[0],
        "our_figure": mine,
        "figure": figure,
        "ratio": ratio,
        "target": target,
        "met": met,
    }


def shown(value: float | None, figure: str) -> str:
    """A figure with its unit."""
    if value is None:
        return "–"
    if figure == MEMORY:
        return f"{value / GB:.2f} GB"
    if figure == "seconds":
        return f"{value:.0f} s"
    if figure == "share_of_peak":
        return f"{value:.0%} of the peak"
    return f"{value:.1f} tok/s" if value < 100 else f"{value:.0f} tok/s"


def markdown(lines: list[dict[str, Any]]) -> str:
    """The lines as a table."""
    rows = ["| work | ISA | peer | its figure | ours | our figure | ratio | target | met |"]
    rows.append("|---|---|---|---:|---|---:|---:|---:|---|")
    for entry in lines:
        figure = entry["figure"]
        lower = figure in ("seconds", MEMORY)
        if entry["target"] is None:
            target = "–"
        elif entry["peer"]:
            target = f"{entry['target']:g} ×"
        else:
            target = ("≤ " if lower else "≥ ") + shown(entry["target"], figure)
        cells = [entry["work"], entry["isa"], entry["peer"] or "–", shown(entry["peer_figure"], figure)]
        cells += [entry["ours"], shown(entry["our_figure"], figure)]
        cells += [f"{entry['ratio']:.2f} ×" if entry["ratio"] else "–", target]
        cells += [{True: "yes", False: "no", None: "–"}[entry["met"]]]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)
