#!/usr/bin/env python3
"""Writes a Hugging Face checkpoint of a known shape: random weights, a real tokenizer, for measurements.

    python3 tools/make_model.py --shape llama-2-7b --out /tmp/llama-2-7b [--dtype bf16|f16] [--shard-size 5GB]
                                [--seed 42] [--tokenizer DIR]

Needs numpy alone, holds some 20 MB, and writes as fast as the disk takes it. Matrices and embeddings are near
N(0, 0.02), norms are 1. The tokenizer is that of Examples/tinychat, or a copy of --tokenizer's; if the shape has more
tokens, unused ones (`<unused_4096>`, no merge leads to them) fill its vocabulary.

Weight i of the checkpoint is `normal[i mod P] ^ flips[i mod Q]`: P and Q are primes, the pools hold random values and
random signs with low mantissa bits, so no row of any tensor repeats (the period is P · Q = 4.4e12) and nothing is
computed per weight but one XOR.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKENIZER_FILES = [
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
]  # fmt: skip
POOL, FLIPS = 4194301, 1048573  # primes
DEVIATION = 0.02
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}  # as in transformers: decimal


@dataclasses.dataclass(frozen=True)
class Shape:
    """The numbers of a Llama-like architecture."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    positions: int
    rope_theta: float = 10000.0
    model_type: str = "llama"

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes, in file order."""
        head = self.hidden // self.heads
        yield "model.embed_tokens.weight", (self.vocabulary, self.hidden)
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            yield prefix + "input_layernorm.weight", (self.hidden,)
            yield prefix + "self_attn.q_proj.weight", (self.heads * head, self.hidden)
            yield prefix + "self_attn.k_proj.weight", (self.kv_heads * head, self.hidden)
            yield prefix + "self_attn.v_proj.weight", (self.kv_heads * head, self.hidden)
            yield prefix + "self_attn.o_proj.weight", (self.hidden, self.heads * head)
            yield prefix + "post_attention_layernorm.weight", (self.hidden,)
            yield prefix + "mlp.gate_proj.weight", (self.intermediate, self.hidden)
            yield prefix + "mlp.up_proj.weight", (self.intermediate, self.hidden)
            yield prefix + "mlp.down_proj.weight", (self.hidden, self.intermediate)
        yield "model.norm.weight", (self.hidden,)
        yield "lm_head.weight", (self.vocabulary, self.hidden)

    def config(self, dtype: str, bos: int | None, eos: int | None) -> dict[str, Any]:
        """config.json."""
        config = {
            "architectures": [{"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM"}[self.model_type]],
            "attention_dropout": 0.0,
            "bos_token_id": bos,
            "eos_token_id": eos,
            "head_dim": self.hidden // self.heads,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": DEVIATION,
            "intermediate_size": self.intermediate,
            "max_position_embeddings": self.positions,
            "model_type": self.model_type,
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "rms_norm_eps": 1e-05,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": False,
            "torch_dtype": {"bf16": "bfloat16", "f16": "float16"}[dtype],
            "use_cache": True,
            "vocab_size": self.vocabulary,
        }
        if self.model_type == "mistral":
            return config | {"sliding_window": None}
        return config | {"attention_bias": False, "mlp_bias": False, "pretraining_tp": 1, "rope_scaling": None}


SHAPES = {
    "tiny": Shape(64, 160, 2, 4, 2, 4096, 512),
    "45m": Shape(1024, 2816, 4, 16, 4, 4096, 2048),  # the least whose widths all types take
    "tinyllama-1.1b": Shape(2048, 5632, 22, 32, 4, 32000, 2048),
    "llama-2-7b": Shape(4096, 11008, 32, 32, 32, 32000, 4096),
    "llama-3-8b": Shape(4096, 14336, 32, 32, 8, 128256, 8192, rope_theta=500000.0),
    "mistral-7b": Shape(4096, 14336, 32, 32, 8, 32000, 32768, rope_theta=1000000.0, model_type="mistral"),
}


def half(values: np.ndarray, dtype: str) -> np.ndarray:
    """Bits of float32 values rounded to bf16 (to nearest even; finite values only) or f16."""
    if dtype == "f16":
        return values.astype(np.float16).view(np.uint16)
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


class Weights:
    """The endless sequence of random 16-bit weights that the module's comment describes."""

    def __init__(self, dtype: str, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.normal = half(random.standard_normal(POOL, dtype=np.float32) * np.float32(DEVIATION), dtype)
        low = {"bf16": 0x7, "f16": 0x3F}[dtype]  # at most a sixteenth of the value
        self.flips = random.integers(0, 1 << 16, FLIPS, dtype=np.uint16) & np.uint16(0x8000 | low)
        self.next = 0

    def write(self, count: int, file: BinaryIO) -> None:
        """Writes the next `count` weights."""
        while count:
            a, b = self.next % POOL, self.next % FLIPS
            size = min(count, POOL - a, FLIPS - b)
            file.write(np.bitwise_xor(self.normal[a : a + size], self.flips[b : b + size]).data)
            self.next += size
            count -= size


def write_shard(path: pathlib.Path, dtype: str, tensors: list[tuple[str, tuple[int, ...]]], weights: Weights) -> None:
    """One safetensors file: length of the header (u64), header (JSON), data, everything at multiples of 8."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in tensors:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": dtype.upper(), "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape in tensors:
            if len(shape) == 1:
                file.write(half(np.ones(shape, np.float32), dtype).data)
            else:
                weights.write(int(np.prod(shape)), file)


def write_weights(folder: pathlib.Path, shape: Shape, dtype: str, shard_size: int, seed: int) -> int:
    """All shards, and their index if there are several; returns the bytes of all tensors."""
    shards: list[list[tuple[str, tuple[int, ...]]]] = []
    filled = total = 0
    for name, dimensions in shape.tensors():
        size = 2 * int(np.prod(dimensions))
        if not shards or filled + size > shard_size:
            shards.append([])
            filled = 0
        shards[-1].append((name, dimensions))
        filled += size
        total += size
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    names = ["model.safetensors"] if len(shards) == 1 else names
    weights = Weights(dtype, seed)
    for name, tensors in zip(names, shards, strict=True):
        print(f"{name}: {len(tensors)} tensors", file=sys.stderr)
        write_shard(folder / name, dtype, tensors, weights)
    if len(shards) > 1:
        mapped = {tensor: name for name, tensors in zip(names, shards, strict=True) for tensor, _ in tensors}
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(mapped.items()))}
        write_json(folder / "model.safetensors.index.json", index)
    return total


def write_tokenizer(folder: pathlib.Path, source: pathlib.Path, shape: Shape) -> tuple[int | None, int | None]:
    """Copies the tokenizer, fills its vocabulary up to the shape's, and returns the ids of BOS and EOS."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    ids = vocabulary | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    first = max(ids.values()) + 1
    if first > shape.vocabulary:
        raise SystemExit(f"{source}: the tokenizer has {first} tokens, the shape {shape.vocabulary}")
    if first < shape.vocabulary:
        if tokenizer["model"]["type"] != "BPE" or (source / "tokenizer.model").exists():
            raise SystemExit(f"{source}: {first} tokens of {shape.vocabulary}; only a BPE's vocabulary can be filled")
        vocabulary |= {f"<unused_{i}>": i for i in range(first, shape.vocabulary)}
        write_json(folder / "tokenizer.json", tokenizer)
    config_path = folder / "tokenizer_config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    write_json(config_path, config | {"model_max_length": shape.positions})

    def special(key: str) -> int | None:
        token = config.get(key)
        return ids.get(token["content"] if isinstance(token, dict) else token)

    return special("bos_token"), special("eos_token")


def write_json(path: pathlib.Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def byte_count(text: str) -> int:
    """`5GB`, `200MB`, `1000000`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(KB|MB|GB)?", text.upper())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 5GB, 200MB or a number of bytes")
    return int(float(match[1]) * UNITS[match[2] or ""])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", required=True, choices=SHAPES)
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder to write; must not exist")
    parser.add_argument("--dtype", default="bf16", choices=["bf16", "f16"])
    parser.add_argument("--shard-size", default="5GB", type=byte_count, help="largest shard (5GB)")
    parser.add_argument("--seed", default=42, type=int)
    parser.add_argument("--tokenizer", default=ROOT / "Examples/tinychat", type=pathlib.Path, help="folder to copy")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    shape = SHAPES[args.shape]
    if args.out.exists():
        raise SystemExit(f"{args.out} exists already")
    need = sum(2 * int(np.prod(dimensions)) for _, dimensions in shape.tensors())
    args.out.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(args.out.parent).free
    if free < need + 10**8:
        raise SystemExit(f"{args.out}: {need / 1e9:.1f} GB to write, {free / 1e9:.1f} GB free")
    with tempfile.TemporaryDirectory(dir=args.out.parent, prefix=args.out.name + ".") as temporary:
        folder = pathlib.Path(temporary) / "model"
        folder.mkdir()
        bos, eos = write_tokenizer(folder, args.tokenizer, shape)
        write_json(folder / "config.json", shape.config(args.dtype, bos, eos))
        write_json(folder / "generation_config.json", {"bos_token_id": bos, "eos_token_id": eos})
        write_weights(folder, shape, args.dtype, args.shard_size, args.seed)
        folder.rename(args.out)
    print(f"{args.out}: {need / 1e6:.1f} MB of {args.dtype} weights")


if __name__ == "__main__":
    main()
