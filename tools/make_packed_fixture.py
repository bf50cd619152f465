#!/usr/bin/env python3
"""Writes the checkpoints of Tests/QuantTests/Fixtures/packed: a tiny Llama as other programs pack its weights.

    python tools/make_packed_fixture.py [--out Tests/QuantTests/Fixtures/packed]

A folder each, with config.json, model.safetensors and golden.safetensors: of every packed matrix `X.weight` the rows 0, 1 and
the last in fp32.

- `nf4`, `nf4_double`, `fp4`: written by Transformers and bitsandbytes on the CPU; the golden rows are what bitsandbytes makes
  of them in fp32. `nf4_double` has more blocks than a block of scales, in every matrix of its MLP. bitsandbytes 0.50.2 has
  two ways on a CPU, of which the kernel in C++ takes the wrong scales where the columns are an odd multiple of 32 (a matrix
  of 96 columns comes back with 27 % error instead of 9 %): the plain one is taken, and compared with the kernel elsewhere.
- `gptq`, `gptq_act`, `awq`: nothing that writes these runs here, so the codes are packed below by the layouts of AutoGPTQ
  (`pack`) and AutoAWQ (`WQLinear_GEMM`), and the golden rows are scale · (code - zero point) of the codes before packing.
  `gptq_act` has zero points other than 8 and inputs in an order of groups of their own.
"""

import argparse
import json
import pathlib
import shutil
import tempfile

import bitsandbytes
import numpy
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from bitsandbytes.functional import QuantState, dequantize_4bit, dequantize_blockwise
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

ROOT = pathlib.Path(__file__).resolve().parent.parent
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # the column of each nibble, the lowest first


def tiny(intermediate):
    torch.manual_seed(5)
    config = LlamaConfig(
        hidden_size=64, intermediate_size=intermediate, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=40, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(torch.bfloat16)


def unpack(packed, state):
    """The matrix of a weight that bitsandbytes packed, in fp32."""
    absmax = state.absmax
    if state.nested:
        absmax = dequantize_blockwise(absmax, state.state2) + state.offset
    matrix = _dequantize_4bit_compute(
        packed.reshape(-1), absmax, state.code, state.blocksize, state.shape, torch.float32
    )
    if state.shape[1] % 64 == 0:
        state.dtype = torch.float32
        assert torch.equal(matrix, dequantize_4bit(packed, state))
    return matrix


def rows(matrix):
    return matrix[[0, 1, -1]].float().contiguous()


def bitsandbytes_folder(out, kind, double, intermediate):
    with tempfile.TemporaryDirectory() as plain:
        tiny(intermediate).save_pretrained(plain)
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=double)
        model = AutoModelForCausalLM.from_pretrained(plain, quantization_config=config, dtype=torch.bfloat16)
    model.save_pretrained(out)
    stored = load_file(out / "model.safetensors")
    golden = {}
    for name in stored:
        if ".quant_state." not in name:
            continue
        weight = name.split(".quant_state.")[0]
        parts = {n[len(weight) + 1 :]: v for n, v in stored.items() if n.startswith(weight + ".")}
        state = QuantState.from_dict(parts, device="cpu")
        golden[weight] = rows(unpack(stored[weight], state))
    save_file(golden, out / "golden.safetensors")


def words(codes, order):
    """Eight codes a word of 32 bits along the last axis, the code of column order[i] at bit 4 i."""
    groups = codes.reshape(*codes.shape[:-1], -1, 8).astype(numpy.uint32)
    result = numpy.zeros(groups.shape[:-1], numpy.uint32)
    for place, column in enumerate(order):
        result |= groups[..., column] << numpy.uint32(4 * place)
    return torch.from_numpy(result.view(numpy.int32).copy())


def grouped_folder(out, method, group, act_order=False, symmetric=True):
    random = numpy.random.default_rng(11)
    model = tiny(96)
    tensors, golden = {}, {}
    for name, weight in model.state_dict().items():
        if ".layers." not in name or weight.dim() != 2:
            tensors[name] = weight.contiguous()
            continue
        matrix = weight.float().numpy()  # [N, K]
        outputs, inputs = matrix.shape
        count = inputs // group
        groups = numpy.arange(inputs) // group
        if act_order:
            groups = random.permutation(groups)
        scales = numpy.zeros((count, outputs), numpy.float16)
        zeros = numpy.full((count, outputs), 8) if symmetric else random.integers(1, 16, (count, outputs))
        for g in range(count):
            scales[g] = numpy.abs(matrix[:, groups == g]).max(1) / 7
        codes = numpy.rint(matrix.T / scales[groups].astype(numpy.float32)) + zeros[groups]  # [K, N]
        codes = codes.clip(0, 15).astype(numpy.int64)
        values = scales[groups].astype(numpy.float32) * (codes - zeros[groups]).astype(numpy.float32)
        golden[name] = rows(torch.from_numpy(values.T.copy()))
        module = name.removesuffix(".weight")
        tensors[module + ".scales"] = torch.from_numpy(scales)
        if method == "gptq":
            tensors[module + ".qweight"] = words(codes.T, range(8)).T.contiguous()
            tensors[module + ".qzeros"] = words(zeros - 1, range(8))
            tensors[module + ".g_idx"] = torch.from_numpy(groups.astype(numpy.int32))
        else:
            tensors[module + ".qweight"] = words(codes, AWQ_ORDER)
            tensors[module + ".qzeros"] = words(zeros, AWQ_ORDER)
    out.mkdir(parents=True)
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    save_file(golden, out / "golden.safetensors")
    settings = {"quant_method": method, "bits": 4, "group_size": group}
    if method == "gptq":
        settings |= {"desc_act": act_order, "sym": symmetric, "checkpoint_format": "gptq"}
    else:
        settings |= {"zero_point": True, "version": "gemm", "modules_to_not_convert": None}
    config = model.config.to_dict() | {"architectures": ["LlamaForCausalLM"], "quantization_config": settings}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=ROOT / "Tests/QuantTests/Fixtures/packed", type=pathlib.Path)
    out = parser.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    bitsandbytes_folder(out / "nf4", "nf4", False, 96)
    bitsandbytes_folder(out / "nf4_double", "nf4", True, 264)
    bitsandbytes_folder(out / "fp4", "fp4", False, 96)
    grouped_folder(out / "gptq", "gptq", 32)
    grouped_folder(out / "gptq_act", "gptq", 32, act_order=True, symmetric=False)
    grouped_folder(out / "awq", "awq", 32, symmetric=False)
    for folder in sorted(out.iterdir()):
        (folder / "generation_config.json").unlink(missing_ok=True)
        print(folder.name, sum(file.stat().st_size for file in folder.iterdir()), "bytes")
    print("bitsandbytes", bitsandbytes.__version__)


if __name__ == "__main__":
    main()
