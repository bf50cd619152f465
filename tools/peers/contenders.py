"""Who runs in tools/compare.py, and how: the commands, their environments, and what is read from their output.

A contender runs one work (`prefill`, `decode`, `batched`, `lora`, `convert`) once and reports figures by name: tokens a
second, or seconds for `convert`. Ours and theirs get the same tokens, the same threads and a warm-up. Variants of one
peer (flash attention, checkpointing, thread counts) are contenders of their own: the best counts.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable

Figures = dict[str, float]
SHAPES = {
    "tiny": "tiny", "1.1b": "tinyllama-1.1b", "7b": "llama-2-7b", "8b": "llama-3-8b", "smollm2": "smollm2-135m",
}  # fmt: skip
SMALL = ("tiny", "1.1b", "smollm2")
# The shape that is a real model: its makers' own GGUF file is what we and llama.cpp run, and what PEFT's folder is made of.
REAL = {"smollm2": "q4_1"}
PROMPT, GENERATE, TRAIN = 512, 128, 512
BATCHES, BATCH_PROMPT = (8, 32), 64


@dataclasses.dataclass(frozen=True)
class Setup:
    """Where everything is, and on what terms all run."""

    models: pathlib.Path
    peers: pathlib.Path
    meraser: pathlib.Path
    isa: str
    threads: int
    peer_threads: tuple[int, ...]

    @property
    def python(self) -> str:
        return str(self.peers / "venv/bin/python")

    def llama(self, program: str) -> str:
        return str(self.peers / f"llama-{self.isa}" / program)

    def model(self, shape: str, kind: str) -> pathlib.Path:
        """A model file: kind `hf` (a folder), `q4_0.gguf`, `iq4_nl.mqf`, …."""
        return self.models / (SHAPES[shape] if kind == "hf" else f"{SHAPES[shape]}-{kind}")


@dataclasses.dataclass(frozen=True)
class Contender:
    """One program with one setting."""

    name: str
    commands: list[list[str]]  # run one after the other
    read: Callable[[list[str], list[float]], Figures]  # standard outputs and seconds of the commands
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    needs: str = "hf"  # the kind of model file that must be there
    leaves: tuple[pathlib.Path, ...] = ()  # files to delete afterwards


def contenders(setup: Setup, work: str, shape: str) -> list[Contender]:
    """Everybody who does `work`."""
    makers = {"prefill": prefill, "decode": decode, "batched": batched, "lora": lora, "convert": convert}
    return makers[work](setup, shape)


# --- One row each -----------------------------------------------------------------------------------------------------


def prefill(setup: Setup, shape: str) -> list[Contender]:
    flags = ["-p", str(PROMPT), "-n", "0"]
    eight_bits = ["q8_0"] if shape in SMALL and shape not in REAL else []
    result = [ours(setup, shape, kind, "int8", flags) for kind in [*our_kinds(shape), *eight_bits]]
    result += llama_bench(setup, shape, [*llama_kinds(shape), *eight_bits], flags)
    script = ["torch_prefill.py", "--dtype", "bf16", "--tokens", str(PROMPT)]
    return result + torch(setup, shape, "PyTorch bf16", script)


def decode(setup: Setup, shape: str) -> list[Contender]:
    flags = ["-p", "0", "-n", str(GENERATE)]
    result = [ours(setup, shape, kind, "int8", flags) for kind in our_kinds(shape)]
    return result + llama_bench(setup, shape, llama_kinds(shape), flags)


def batched(setup: Setup, shape: str) -> list[Contender]:
    generate = GENERATE if shape in SMALL else GENERATE // 4
    batches = ",".join(map(str, BATCHES))
    flags = ["-p", "0", "-n", "0", "--batch", batches, "--batch-prompt", str(BATCH_PROMPT)]
    flags += ["--batch-generate", str(generate)]
    names = [f"{n} sequences" for n in BATCHES]
    result = [ours(setup, shape, kind, "int8", flags, names) for kind in our_kinds(shape)]
    for kind in llama_kinds(shape):
        for threads in setup.peer_threads:
            for flash in ("off", "on"):
                command = [setup.llama("llama-batched-bench"), "-m", str(setup.model(shape, f"{kind}.gguf"))]
                command += ["-t", str(threads), "-c", str(max(BATCHES) * (BATCH_PROMPT + generate)), "-fa", flash]
                command += ["-npl", batches, "-npp", str(BATCH_PROMPT), "-ntg", str(generate)]
                command += ["--output-format", "jsonl"]
                result.append(
                    Contender(
                        llama_name(setup, kind, flash == "on", threads), [command], read_batched_bench,
                        peer_environment(setup, threads), f"{kind}.gguf",
                    )
                )  # fmt: skip
    return result


def lora(setup: Setup, shape: str) -> list[Contender]:
    flags = ["-p", "0", "-n", "0", "--train", str(TRAIN)]
    computes = ("int8", "bf16", "f32") if setup.isa == "native" else ("int8", "f32")
    kind = our_kinds(shape)[-1]
    result = [ours(setup, shape, kind, compute, flags) for compute in computes]
    both = [*flags, "--backward", "int8"]
    result.append(dataclasses.replace(ours(setup, shape, kind, "int8", both), name=f"meraser {kind} int8 both ways"))
    script = ["peft_step.py", "--tokens", str(TRAIN), "--dtype"]
    result += torch(setup, shape, "PEFT bf16 + checkpointing", [*script, "bf16", "--checkpointing"])
    result += torch(setup, shape, "bitsandbytes NF4 + checkpointing", [*script, "nf4", "--checkpointing"])
    if shape in SMALL:  # nothing else of 7B fits into 24 GB
        result += torch(setup, shape, "PEFT bf16", [*script, "bf16"])
        result += torch(setup, shape, "PEFT bf16, bf16 adapters", [*script, "bf16", "--adapter-dtype", "same"])
        result += torch(setup, shape, "PEFT fp32", [*script, "fp32"])
    return result


def convert(setup: Setup, shape: str) -> list[Contender]:
    """To 4 bits; llama.cpp's IQ4_NL takes ten times as long as its Q4_0 and stays out."""
    result = []
    for kind in our_kinds(shape):
        out = setup.models / f"compare-{SHAPES[shape]}-{kind}.mqf"
        command = [str(setup.meraser), "convert", str(setup.model(shape, "hf")), "--out", str(out), "--type", kind]
        command += ["--threads", str(setup.threads)]
        result.append(Contender(f"meraser {kind}", [command], read_seconds, our_environment(setup), leaves=(out,)))
    half, small = (setup.models / f"compare-{SHAPES[shape]}-{kind}.gguf" for kind in ("f16", "q4_0"))
    commands = [to_f16(setup, shape, half), quantize(setup, half, small, "q4_0")]
    environment = peer_environment(setup, max(setup.peer_threads))
    name = "llama.cpp convert + quantize Q4_0"
    return [*result, Contender(name, commands, read_seconds, environment, leaves=(half, small))]


# --- Ours -------------------------------------------------------------------------------------------------------------


def our_kinds(shape: str) -> list[str]:
    """The types that ours runs with 4 bits: of a real model the one that it came in."""
    return [REAL[shape]] if shape in REAL else ["q4_0", "iq4_nl"]


def ours(
    setup: Setup, shape: str, kind: str, compute: str, flags: list[str], names: list[str] | None = None
) -> Contender:
    """`meraser bench`; `names` are those of its results, in order."""
    file = f"{kind}.gguf" if shape in REAL else f"{kind}.mqf"
    command = [str(setup.meraser), "bench", "--model", str(setup.model(shape, file)), *flags]
    command += ["--compute", compute, "--threads", str(setup.threads), "--json"]
    command += ["--rounds", "3" if shape in SMALL else "1"]

    def read(outputs: list[str], _: list[float]) -> Figures:
        report = json.loads(outputs[0])
        results = report["results"]
        figures = {name: result["median"] for name, result in zip(names or ["speed"], results, strict=True)}
        figures["peak_rss_bytes"] = max(result["peak_rss_bytes"] for result in results)
        if results[0].get("share_of_peak"):
            figures["share_of_peak"] = results[0]["share_of_peak"]
        return figures

    return Contender(f"meraser {kind} {compute}", [command], read, our_environment(setup), file)


def our_environment(setup: Setup) -> dict[str, str]:
    return {} if setup.isa == "native" else {"MERASER_ISA": setup.isa}


# --- Theirs -----------------------------------------------------------------------------------------------------------


def peer_environment(setup: Setup, threads: int) -> dict[str, str]:
    environment = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    if setup.isa == "avx2":  # PyTorch's own kernels, oneDNN, MKL; llama.cpp has a build of its own
        environment |= {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
        environment |= {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    return environment


def variant(setup: Setup, name: str, threads: int) -> str:
    return name if len(setup.peer_threads) == 1 else f"{name}, {threads} threads"


def llama_kinds(shape: str) -> list[str]:
    """llama.cpp's 4-bit types: IQ4_NL is slower at everything, and quantizing 7B to it takes a quarter of an hour."""
    if shape in REAL:
        return [REAL[shape]]
    return ["q4_0", "iq4_nl"] if shape in SMALL else ["q4_0"]


def llama_name(setup: Setup, kind: str, flash: bool, threads: int) -> str:
    return variant(setup, f"llama.cpp {kind.upper()}" + (", flash attention" if flash else ""), threads)


def llama_bench(setup: Setup, shape: str, kinds: list[str], flags: list[str]) -> list[Contender]:
    result = []
    for kind in kinds:
        for threads in setup.peer_threads:
            for flash in (0, 1):
                command = [setup.llama("llama-bench"), "-m", str(setup.model(shape, f"{kind}.gguf")), *flags]
                command += ["-t", str(threads), "-fa", str(flash), "-r", "3" if shape in SMALL else "1", "-o", "json"]
                result.append(
                    Contender(
                        llama_name(setup, kind, bool(flash), threads), [command], read_llama_bench,
                        peer_environment(setup, threads), f"{kind}.gguf",
                    )
                )  # fmt: skip
    return result


def read_llama_bench(outputs: list[str], _: list[float]) -> Figures:
    (result,) = json.loads(outputs[0])
    rates = sorted(result["samples_ts"])
    return {"speed": rates[len(rates) // 2]}


def read_batched_bench(outputs: list[str], _: list[float]) -> Figures:
    rows = [json.loads(line) for line in outputs[0].splitlines() if line.startswith("{")]
    return {f"{row['pl']} sequences": row["speed_tg"] for row in rows} | {"prompts": rows[-1]["speed_pp"]}


def torch(setup: Setup, shape: str, name: str, script: list[str]) -> list[Contender]:
    """One of the scripts beside this file, for every number of threads."""
    result = []
    for threads in setup.peer_threads:
        command = [setup.python, str(pathlib.Path(__file__).with_name(script[0])), *script[1:]]
        command += ["--model", str(setup.model(shape, "hf")), "--threads", str(threads)]
        command += ["--rounds", "3" if shape in SMALL else "1"]
        environment = peer_environment(setup, threads)
        result.append(Contender(variant(setup, name, threads), [command], read_torch, environment))
    return result


def read_torch(outputs: list[str], _: list[float]) -> Figures:
    report = json.loads(outputs[0].splitlines()[-1])
    return {"speed": report["median"], "peak_rss_bytes": report["peak_rss_bytes"]}


def read_seconds(_: list[str], seconds: list[float]) -> Figures:
    return {"seconds": sum(seconds)}


# --- Model files ------------------------------------------------------------------------------------------------------


def to_f16(setup: Setup, shape: str, out: pathlib.Path) -> list[str]:
    script = setup.peers / "llama.cpp/convert_hf_to_gguf.py"
    return [setup.python, str(script), str(setup.model(shape, "hf")), "--outtype", "f16", "--outfile", str(out)]


def quantize(setup: Setup, source: pathlib.Path, out: pathlib.Path, kind: str) -> list[str]:
    threads = str(max(setup.peer_threads))
    return [setup.llama("llama-quantize"), str(source), str(out), kind.upper(), threads]


def origin(shape: str, kind: str) -> str | None:
    """The kind of model file that this one is made of: a quantized GGUF of `f16.gguf`, all others of the `hf` folder; of a
    real model everything comes from its GGUF."""
    if shape in REAL:
        return f"{REAL[shape]}.gguf" if kind == "hf" else None
    if kind == "hf":
        return None
    return "f16.gguf" if kind.endswith(".gguf") and kind != "f16.gguf" else "hf"


def recipe(setup: Setup, shape: str, kind: str) -> list[str]:
    """The command that makes a model file of its `origin`."""
    path = setup.model(shape, kind)
    if shape in REAL:
        gguf = setup.model(shape, f"{REAL[shape]}.gguf")
        if kind != "hf":
            script = pathlib.Path(__file__).parent.parent / "real_model.sh"
            return ["bash", "-c", 'ln "$("$0" "$1")" "$2"', str(script), str(path.with_name("smollm2")), str(path)]
        return [str(setup.meraser), "export", "--model", str(gguf), "--format", "hf", "--out", str(path)]
    if kind == "hf":
        script = pathlib.Path(__file__).parent.parent / "make_model.py"
        return [setup.python, str(script), "--shape", SHAPES[shape], "--out", str(path)]
    name, suffix = kind.split(".")
    if suffix == "mqf":
        return [str(setup.meraser), "convert", str(setup.model(shape, "hf")), "--out", str(path), "--type", name]
    if name == "f16":
        return to_f16(setup, shape, path)
    return quantize(setup, setup.model(shape, "f16.gguf"), path, name)
