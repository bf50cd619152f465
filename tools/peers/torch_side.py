"""What the PyTorch opponents share: the model in a chosen precision, token ids, the loop that times, the report."""

import argparse
import importlib.metadata
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # every model is a folder here

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.utils import logging

logging.disable_progress_bar()


def parser(description: str | None) -> argparse.ArgumentParser:
    """The flags of both scripts."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--model", required=True, help="Hugging Face folder")
    result.add_argument("--dtype", default="bf16", choices=["bf16", "fp32", "nf4"])
    result.add_argument("--tokens", default=512, type=int, help="tokens of a sequence")
    result.add_argument("--threads", default=os.cpu_count(), type=int)
    result.add_argument("--warmup", default=1, type=int, help="rounds before the clock starts")
    result.add_argument("--rounds", default=3, type=int, help="timed rounds")
    result.add_argument("--seconds", default=1e9, type=float, help="stops after the round that passes this time")
    return result


def load(args: argparse.Namespace) -> PreTrainedModel:
    """The model in memory: weights in bf16 or fp32, or NF4 by bitsandbytes with bf16 arithmetic."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(42)
    if args.dtype == "nf4":
        four_bits = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
        return AutoModelForCausalLM.from_pretrained(
            args.model, quantization_config=four_bits, dtype=torch.bfloat16, device_map="cpu"
        )
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[args.dtype]
    return AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype)


def token_ids(model: PreTrainedModel, batch: int, tokens: int) -> torch.Tensor:
    """Random ids [batch, tokens]."""
    return torch.randint(3, model.config.vocab_size, (batch, tokens))


def forget_peak() -> None:
    """Lets the peak of resident memory start anew (Linux): what loading needed is not held against the work."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Largest resident memory since the last `forget_peak`."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status has no VmHWM")


def report(args: argparse.Namespace, tokens: int, work: Callable[[], Any]) -> None:
    """Times `work`, which handles `tokens` tokens a round, and prints one JSON object."""
    forget_peak()
    for _ in range(args.warmup):
        work()
    rates: list[float] = []
    started = time.perf_counter()
    while len(rates) < args.rounds and time.perf_counter() - started < args.seconds:
        before = time.perf_counter()
        work()
        rates.append(tokens / (time.perf_counter() - before))
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")}
    figures = {
        "tokens_per_second": rates,
        "median": statistics.median(rates),
        "peak_rss_bytes": peak_bytes(),
        "threads": torch.get_num_threads(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "versions": versions,
    }
    print(json.dumps(figures))
