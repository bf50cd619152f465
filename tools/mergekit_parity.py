#!/usr/bin/env python3
"""Merges the same checkpoints with meraser and with mergekit and prints the largest differences in units in the last place.

    /opt/mergekit/bin/python tools/mergekit_parity.py --meraser .build/debug/meraser [--tinychat Examples/tinychat]

Needs mergekit (checked with 0.1.5 from PyPI, torch 2.9, transformers 5.23) and PyYAML. mergekit runs in this process on one
torch thread, since torch's sums depend on the number of threads. Two things of mergekit are not a function of its input and
are replaced while it runs: TIES sorts magnitudes with a sort that is not stable (torch.argsort with x86-simd-sort), so that
among equal magnitudes chance decides which stay: `argsort` (`sort` for breadcrumbs) is made stable, and the column `as is` counts the numbers
that differ without that. DARE and DELLA draw their masks from torch's generator: they get ours, computed here from the
documented hash.
"""
import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
logging.disable(logging.WARNING)
torch.set_num_threads(1)

import mergekit.merge_methods.generalized_task_arithmetic as gta  # noqa: E402
import mergekit.sparsify as sparsify  # noqa: E402
from mergekit.config import MergeConfiguration  # noqa: E402
from mergekit.merge import run_merge  # noqa: E402
from mergekit.options import MergeOptions  # noqa: E402

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
MASK64 = (1 << 64) - 1
INCREMENT = 0x9E3779B97F4A7C15
SEED = 42


# ---------------------------------------------------------------------------------------------- meraser's masks

def mixed(z):
    """SplitMix64's finaliser, of an int or an array of uint64."""
    if isinstance(z, int):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
        return z ^ (z >> 31)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def mask_key(name, difference):
    """What the mask of one difference depends on."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK64
    return mixed((mixed(mixed((SEED + INCREMENT) & MASK64) ^ h) + INCREMENT * (difference + 1)) & MASK64)


def mask(name, difference, count, density):
    """True for the elements that stay; `density` is a number or an array of as many."""
    with np.errstate(over="ignore"):
        index = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(INCREMENT)
        bound = (np.asarray(density, dtype=np.float64) * 2.0**53).astype(np.uint64)
        return (mixed(index + np.uint64(mask_key(name, difference))) >> np.uint64(11)) < bound


class Patch:
    """mergekit with our masks, and with a stable sort unless `as_is`."""

    def __init__(self, as_is=False):
        self.as_is = as_is
        self.saved = (sparsify.bernoulli, sparsify.torch.argsort, gta.GeneralizedTaskArithmeticMerge.merge_group)
        self.sort, self.drawn, self.della = sparsify.torch.sort, torch.bernoulli, sparsify.della_magprune
        self.name, self.difference = None, 0

    def __enter__(self):
        argsort, merge_group = self.saved[1], self.saved[2]

        def bernoulli(tensor, density, rescale_norm=None):
            difference = self.difference
            self.difference += 1
            if density >= 1:
                return tensor
            keep = torch.from_numpy(mask(self.name, difference, tensor.numel(), density)).reshape(tensor.shape)
            # The types are those of mergekit's own function.
            work = tensor.dtype if tensor.dtype == torch.bfloat16 else torch.float32
            result = sparsify.rescaled_masked_tensor(tensor.to(work), keep.to(work), rescale_norm)
            return result.to(tensor.dtype)

        def named(method, group, /, **parameters):
            self.name, self.difference = group.metadata.name, 0
            return merge_group(method, group, **parameters)

        def della(*values, **options):
            # What it draws within is for this difference.
            torch.bernoulli = self.probabilities
            try:
                return self.della(*values, **options)
            finally:
                torch.bernoulli = self.drawn
                self.difference += 1

        sparsify.bernoulli, sparsify.della_magprune = bernoulli, della
        gta.GeneralizedTaskArithmeticMerge.merge_group = named
        if not self.as_is:
            sparsify.torch.argsort = lambda x, **options: argsort(x, **{**options, "stable": True})
            sparsify.torch.sort = lambda x, **options: self.sort(x, **{**options, "stable": True})
        return self

    def probabilities(self, shares):
        """Our mask in the place of torch's."""
        keep = mask(self.name, self.difference, shares.numel(), shares.double().numpy().reshape(-1))
        return torch.from_numpy(keep).reshape(shares.shape).to(shares.dtype)

    def __exit__(self, *_):
        sparsify.bernoulli, sparsify.torch.argsort, gta.GeneralizedTaskArithmeticMerge.merge_group = self.saved
        sparsify.torch.sort, sparsify.della_magprune = self.sort, self.della


# ---------------------------------------------------------------------------------------------- checkpoints

def make_checkpoint(folder, seed, dtype, like=None, noise=0.02, hidden=64, inter=176, layers=3, vocab=320, tied=False):
    """A small Llama checkpoint; `like` gives the weights that it is a variation of."""
    os.makedirs(folder, exist_ok=True)
    kv = hidden // 2
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": inter, "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": vocab, "rms_norm_eps": 1e-5, "tie_word_embeddings": tied, "torch_dtype": dtype,
        "max_position_embeddings": 128, "rope_theta": 10000.0, "hidden_act": "silu",
    }
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file)
    shapes = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,)}
    if not tied:
        shapes["lm_head.weight"] = (vocab, hidden)
    for i in range(layers):
        p = f"model.layers.{i}."
        shapes |= {
            p + "input_layernorm.weight": (hidden,), p + "post_attention_layernorm.weight": (hidden,),
            p + "self_attn.q_proj.weight": (hidden, hidden), p + "self_attn.k_proj.weight": (kv, hidden),
            p + "self_attn.v_proj.weight": (kv, hidden), p + "self_attn.o_proj.weight": (hidden, hidden),
            p + "mlp.gate_proj.weight": (inter, hidden), p + "mlp.up_proj.weight": (inter, hidden),
            p + "mlp.down_proj.weight": (hidden, inter),
        }
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator) * (0.05 if like is None else noise * 0.05)
        if like is not None:
            # Fine-tuning leaves some rows as they are.
            value[torch.rand(shape[0], generator=generator) < 0.2] = 0
            value = value + like[name].float()
        tensors[name] = value.to(DTYPES[dtype])
    save_file(tensors, f"{folder}/model.safetensors", metadata={"format": "pt"})
    return tensors


def variation(folder, source, seed, dtype, noise):
    """A copy of a checkpoint with noise on every matrix."""
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(source):
        if not name.endswith(".safetensors"):
            shutil.copy(f"{source}/{name}", f"{folder}/{name}")
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, value in load_file(f"{source}/model.safetensors").items():
        change = torch.randn(value.shape, generator=generator) * (noise * value.float().std())
        tensors[name] = (value.float() + (change if noise else 0)).to(DTYPES[dtype])
    save_file(tensors, f"{folder}/model.safetensors", metadata={"format": "pt"})


# ---------------------------------------------------------------------------------------------- recipes

def recipes(base, a, b, layers):
    """Every method with its parameters: name and recipe."""
    def models(*parameters):
        return [{"model": model, "parameters": p} for model, p in zip([a, b], parameters)]

    def tasks(method, shared, *parameters):
        return {"merge_method": method, "base_model": base, "models": models(*parameters), "parameters": shared}

    half = layers // 2
    gradient = [{"filter": "self_attn", "value": [0, 0.5, 1]}, {"filter": "mlp", "value": [1, 0.3]}, {"value": 0.4}]
    return {
        "linear": {"merge_method": "linear", "models": models({"weight": 0.3}, {"weight": 0.9})},
        "linear, wag of three": {"merge_method": "linear", "parameters": {"weight": 1},
                                 "models": [{"model": base}, {"model": a}, {"model": b}]},
        "linear, not normalized": {"merge_method": "linear", "parameters": {"normalize": False},
                                   "models": models({"weight": 0.3}, {"weight": [0.2, 1.1]})},
        "slerp": {"merge_method": "slerp", "base_model": base, "models": [{"model": base}, {"model": a}],
                  "parameters": {"t": 0.35}},
        "slerp, filters": {"merge_method": "slerp", "base_model": base, "models": [{"model": a}, {"model": base}],
                           "parameters": {"t": gradient}},
        "task_arithmetic": tasks("task_arithmetic", {}, {"weight": 0.7}, {"weight": -0.4}),
        "task_arithmetic, lambda": tasks("task_arithmetic", {"lambda": 0.6, "normalize": True},
                                         {"weight": 0.7}, {"weight": 0.6}),
        "ties": tasks("ties", {}, {"weight": 0.7, "density": 0.4}, {"weight": 0.5, "density": 0.7}),
        "ties, lambda": tasks("ties", {"normalize": False, "lambda": 1.3, "int8_mask": True},
                              {"weight": [0.2, 0.9], "density": 0.2}, {"weight": 0.5, "density": 1.0}),
        "ties, rescale": tasks("ties", {"rescale": True}, {"weight": 1, "density": 0.3}, {"weight": 1, "density": 0.6}),
        "dare_linear": tasks("dare_linear", {}, {"weight": 0.7, "density": 0.5}, {"weight": 0.5, "density": 0.25}),
        "dare_linear, plain": tasks("dare_linear", {"rescale": False, "normalize": True},
                                    {"weight": 0.7, "density": 0.5}, {"weight": 0.5, "density": 0.25}),
        "dare_ties": tasks("dare_ties", {}, {"weight": 0.7, "density": 0.5}, {"weight": 0.5, "density": 0.8}),
        "passthrough": {"merge_method": "passthrough", "slices": [
            {"sources": [{"model": a, "layer_range": [0, half + 1]}]},
            {"sources": [{"model": b, "layer_range": [half, layers], "parameters": {"scale": [
                {"filter": "o_proj", "value": 0.5}, {"filter": "down_proj", "value": 0.5}, {"value": 1}]}}]}]},
        "slerp, slices": {"merge_method": "slerp", "base_model": base, "parameters": {"t": [0.1, 0.9]}, "slices": [
            {"sources": [{"model": base, "layer_range": [0, layers]}, {"model": b, "layer_range": [0, layers]}]}]},
        "breadcrumbs": tasks("breadcrumbs", {}, {"weight": 0.7, "density": 0.6, "gamma": 0.1},
                             {"weight": 0.5, "density": 0.8, "gamma": 0.2}),
        "breadcrumbs_ties": tasks("breadcrumbs_ties", {"normalize": True, "rescale": True},
                                  {"weight": 0.7, "density": 0.5, "gamma": 0.3}, {"weight": 0.5, "density": 0.9}),
        "della": tasks("della", {}, {"weight": 0.7, "density": 0.5, "epsilon": 0.3}, {"weight": 0.5, "density": 0.6}),
        "della_linear": tasks("della_linear", {"lambda": 1.2}, {"weight": 0.7, "density": 0.4, "epsilon": 0.2},
                              {"weight": -0.5, "density": 0.7}),
        "model_stock": {"merge_method": "model_stock", "base_model": base, "models": [{"model": a}, {"model": b}]},
        "model_stock, rows": {"merge_method": "model_stock", "base_model": base, "models": [{"model": a}, {"model": b}],
                              "parameters": {"filter_wise": True}},
        "nuslerp": {"merge_method": "nuslerp", "models": models({"weight": 0.3}, {"weight": [0.2, 0.9]})},
        "nuslerp, base": tasks("nuslerp", {}, {"weight": 0.6}, {"weight": 0.7}),
        "nuslerp, rows": tasks("nuslerp", {"nuslerp_flatten": False}, {"weight": 0.6}, {"weight": 0.7}),
        "nuslerp, columns": tasks("nuslerp", {"nuslerp_flatten": False, "nuslerp_row_wise": True},
                                  {"weight": 0.6}, {"weight": 0.2}),
        "karcher": {"merge_method": "karcher", "models": [{"model": base}, {"model": a}, {"model": b}]},
        "karcher, one step": {"merge_method": "karcher", "models": [{"model": b}, {"model": a}, {"model": base}],
                              "parameters": {"max_iter": 1, "tol": 1e-8}},
    }


# ---------------------------------------------------------------------------------------------- comparing

def ordered(tensor):
    """Integers whose differences are units in the last place."""
    width = {2: torch.int16, 4: torch.int32}[tensor.element_size()]
    bits = tensor.contiguous().view(width).to(torch.int64)
    return torch.where(bits < 0, -(bits & (2 ** (8 * tensor.element_size() - 1) - 1)), bits)


def read(folder):
    """All tensors of a folder."""
    result = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            with safe_open(f"{folder}/{name}", "pt") as file:
                result |= {key: file.get_tensor(key) for key in file.keys()}
    return result


def compare(ours, theirs):
    """Largest difference in ulp, numbers that differ, numbers in all."""
    ours, theirs = read(ours), read(theirs)
    if set(ours) != set(theirs):
        sys.exit(f"different tensors: {set(ours) ^ set(theirs)}")
    worst, different, total = 0, 0, 0
    for name, want in theirs.items():
        got = ours[name]
        if got.dtype != want.dtype or got.shape != want.shape:
            sys.exit(f"{name}: {got.dtype} {tuple(got.shape)} and {want.dtype} {tuple(want.shape)}")
        distance = (ordered(got) - ordered(want)).abs()
        worst = max(worst, int(distance.max()))
        different += int((distance > 0).sum())
        total += distance.numel()
    return worst, different, total


def mergekit(recipe, out, as_is=False):
    """Runs mergekit in this process."""
    with Patch(as_is):
        run_merge(MergeConfiguration.model_validate(recipe), out,
                  MergeOptions(quiet=True, copy_tokenizer=False, write_model_card=False))


def run(binary, recipe, work, dtype_options, label, threads):
    """One row of the table."""
    recipe = {**recipe, **dtype_options}
    path = f"{work}/recipe.yml"
    with open(path, "w") as file:
        yaml.safe_dump(recipe, file)
    for name in ("ours", "theirs", "asis"):
        shutil.rmtree(f"{work}/{name}", ignore_errors=True)
    subprocess.run([binary, "merge", path, "--out", f"{work}/ours", "--threads", str(threads), "--seed", str(SEED), "-q"],
                   check=True, stdout=subprocess.DEVNULL)
    mergekit(recipe, f"{work}/theirs")
    worst, different, total = compare(f"{work}/ours", f"{work}/theirs")
    row = f"| {label} | {worst} | {different} of {total} |"
    if recipe["merge_method"] == "ties":
        mergekit(recipe, f"{work}/asis", as_is=True)
        row += f" {compare(f'{work}/ours', f'{work}/asis')[1]} |"
    else:
        row += " |"
    print(row, flush=True)
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meraser", default=".build/debug/meraser")
    parser.add_argument("--tinychat", help="also merge this model with variations of it")
    parser.add_argument("--only", default="", help="only recipes whose name has this in it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--golden", metavar="FOLDER", help="write a small fixture for the tests here instead")
    arguments = parser.parse_args()
    if arguments.golden:
        return golden(arguments.golden)
    worst = 0
    print("| recipe | largest difference, ulp | numbers that differ | as is |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        sets = []
        for dtype in DTYPES:
            folders = [f"{work}/{dtype}-{name}" for name in ("base", "a", "b")]
            base = make_checkpoint(folders[0], 1, dtype)
            make_checkpoint(folders[1], 2, dtype, like=base, noise=0.3)
            make_checkpoint(folders[2], 3, dtype, like=base, noise=1.5)
            sets.append((dtype, folders, 3, {}))
        mixed_folders = [f"{work}/{dtype}-{name}" for dtype, name in
                         [("bfloat16", "base"), ("float16", "a"), ("float32", "b")]]
        sets.append(("mixed types", mixed_folders, 3, {}))
        sets.append(("mixed, dtype bfloat16", mixed_folders, 3, {"dtype": "bfloat16"}))
        sets.append(("bfloat16, dtype float32, out_dtype float16", sets[0][1], 3,
                     {"dtype": "float32", "out_dtype": "float16"}))
        if arguments.tinychat:
            for dtype in ("bfloat16", "float32"):
                folders = [f"{work}/chat-{dtype}-{i}" for i in range(3)]
                for i, folder in enumerate(folders):
                    variation(folder, arguments.tinychat, 10 + i, dtype, [0, 0.02, 0.1][i])
                layers = json.load(open(f"{folders[0]}/config.json"))["num_hidden_layers"]
                sets.append((f"tinychat {dtype}", folders, layers, {}))
        for label, folders, layers, options in sets:
            for name, recipe in recipes(*folders, layers).items():
                if arguments.only in name:
                    worst = max(worst, run(arguments.meraser, recipe, work, options, f"{name}; {label}",
                                           arguments.threads))
    print(f"\nlargest difference: {worst} ulp")


GOLDEN = {
    "bfloat16": ["linear", "slerp", "slerp, filters", "task_arithmetic, lambda", "ties", "ties, rescale", "dare_linear",
                 "dare_ties", "passthrough", "breadcrumbs", "breadcrumbs_ties", "della", "della_linear", "model_stock",
                 "nuslerp, base", "nuslerp, columns", "karcher"],
    "float32": ["slerp", "ties", "breadcrumbs", "della", "model_stock", "model_stock, rows", "nuslerp, rows", "karcher"],
}


def golden(folder):
    """Three small checkpoints and what mergekit makes of them, for Tests/MergeTests/Fixtures."""
    os.makedirs(folder, exist_ok=True)
    size = {"hidden": 16, "inter": 24, "layers": 2, "vocab": 20}
    with tempfile.TemporaryDirectory() as work:
        folders = [f"{work}/{name}" for name in ("base", "a", "b")]
        base = make_checkpoint(folders[0], 1, "bfloat16", **size)
        for i in (1, 2):
            make_checkpoint(folders[i], 1 + i, "bfloat16", like=base, noise=[0, 0.3, 1.5][i], **size)
        for source in folders:
            shutil.copy(f"{source}/model.safetensors", f"{folder}/{os.path.basename(source)}.safetensors")
        shutil.copy(f"{folders[0]}/config.json", f"{folder}/config.json")
        for number, (name, recipe) in enumerate(recipes(*folders, 2).items()):
            for dtype in ("bfloat16", "float32"):
                # One recipe a method, and some that combine more: less than 200 kB.
                if name not in GOLDEN[dtype]:
                    continue
                out = f"{work}/{number}-{dtype}"
                mergekit({**recipe, "dtype": dtype}, out)
                save_file(read(out), f"{folder}/{number:02d}-{dtype}.safetensors", metadata={"format": "pt"})
                text = json.dumps({**recipe, "dtype": dtype}, indent=1).replace(work, "FOLDER")
                with open(f"{folder}/{number:02d}-{dtype}.json", "w") as file:
                    file.write(text + "\n")


if __name__ == "__main__":
    main()
