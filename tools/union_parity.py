#!/usr/bin/env python3
"""Merges small models of different tokenizers with mergekit and with meraser and compares tokens and rows.

    /opt/mergekit/bin/python tools/union_parity.py --meraser .build/debug/meraser [--golden Tests/MergeTests/Fixtures]

Needs mergekit (checked with 0.1.5), transformers and tokenizers. The tokenizers are BPEs of different texts with added tokens, one of
them with tokens that its embedding has no row for. mergekit numbers new tokens in the order of a hash table, so rows are compared token
by token: equal bits, but for padding rows (torch's mean). Both results' tokenizers cut the same texts into the same tokens. `--golden`
writes what mergekit gave for the tests.
"""
import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from mergekit_parity import make_checkpoint
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

logging.disable(logging.ERROR)
torch.set_num_threads(1)
TEXTS = {
    "base": ["the sun is a star and the sea is wide", "a star, a sea, the wind"],
    "a": ["the moon is no star, the moon is near", "moon and sun and sea"],
    "b": ["wind over wide water, wind and rain", "the rain, the water"],
}
ADDED = {"base": ["<s>", "</s>"], "a": ["<s>", "</s>", "<tool>"], "b": ["<s>", "</s>", "<tool>", "<think>"]}
SAMPLES = ["the moon and the wind", "<tool> rain over water </s>", "sea, star"]


def make_model(folder, name, seed, tied, hidden):
    """A checkpoint with a tokenizer; of `b` two tokens have no row."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    letters = sorted({letter for text in sum(TEXTS.values(), []) for letter in text.replace(" ", "Ġ")})
    trainer = trainers.BpeTrainer(vocab_size=len(letters) + 14, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator(TEXTS[name], trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ADDED[name]])
    if name == "a":
        tokenizer.add_tokens([AddedToken("wind", lstrip=True)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    rows = len(tokenizer.get_vocab()) - (0 if name != "base" else 1)
    make_checkpoint(folder, seed, "float32", hidden=hidden, inter=2 * hidden, layers=1, vocab=rows, tied=tied)
    fast.save_pretrained(folder)


def cases(root):
    """Recipes by name."""
    base, a, b = (f"{root}/{name}" for name in ("base", "a", "b"))
    pair = [{"model": a, "parameters": {"weight": 0.3}}, {"model": b, "parameters": {"weight": 0.7}}]
    linear = {"merge_method": "linear", "models": pair}
    three = {"merge_method": "task_arithmetic", "base_model": base, "models": pair}
    token = {
        "<think>": {"source": {"kind": "zero"}}, "<tool>": {"source": a, "force": True},
        "moon": {"source": {"kind": "model_token", "model": b, "token": "w"}},
        "</s>": {"source": {"kind": "model_token", "model": base, "token_id": 3}, "force": True},
    }  # fmt: skip
    return {
        "union of two": linear | {"tokenizer_source": "union"},
        "union with a base": three | {"tokenizer_source": "union"},
        "in bf16": three | {"tokenizer_source": "union", "dtype": "bfloat16"},
        "tokens": three | {"tokenizer": {"source": "union", "tokens": token}},
        "padded": linear | {"tokenizer": {"source": "union", "pad_to_multiple_of": 16}},
        "the base's": three | {"tokenizer_source": "base"},
        "another's": three | {"tokenizer_source": a},
    }  # fmt: skip


def rows(folder):
    """The number of each token, and the tensors with a row for each."""
    with open(f"{folder}/tokenizer.json") as file:
        data = json.load(file)
    ids = dict(data["model"]["vocab"]) | {token["content"]: token["id"] for token in data["added_tokens"]}
    tensors = {}
    for name in os.listdir(folder):
        if name.endswith(".safetensors"):
            tensors |= load_file(f"{folder}/{name}")
    return ids, tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meraser", default=".build/debug/meraser")
    parser.add_argument("--golden")
    arguments = parser.parse_args()
    failed, golden = False, {"cases": []}
    with tempfile.TemporaryDirectory() as root:
        for seed, name in enumerate(TEXTS):
            make_model(f"{root}/{name}", name, seed + 1, tied=name == "a", hidden=4 if arguments.golden else 16)
        for name, recipe in cases(root).items():
            theirs, ours, path = f"{root}/theirs {name}", f"{root}/ours {name}", f"{root}/recipe.yml"
            with open(path, "w") as file:
                yaml.safe_dump(recipe, file)
            try:
                run_merge(MergeConfiguration.model_validate(recipe), theirs, MergeOptions(quiet=True))
            except Exception as error:
                print(f"{name:18} mergekit fails: {error!r}"[:300])
                continue
            done = subprocess.run([arguments.meraser, "merge", path, ours, "-q"], capture_output=True, text=True)
            if done.returncode and not arguments.golden:
                print(f"{name:18} meraser fails: {done.stderr.strip()}")
                failed = True
                continue
            want_ids, want = rows(theirs)
            if arguments.golden:
                ends = [n for n in want if n in ("model.embed_tokens.weight", "lm_head.weight")]
                golden["cases"].append({
                    "name": name, "recipe": json.loads(json.dumps(recipe).replace(root, "FOLDER")),
                    "count": want[ends[0]].shape[0], "ids": want_ids,
                    "rows": {n: {t: want[n][i].float().tolist() for t, i in want_ids.items()} for n in ends},
                })  # fmt: skip
                continue
            ids, got = rows(ours)
            different = 0
            for tensor in want:
                if tensor in ("model.embed_tokens.weight", "lm_head.weight"):
                    different += sum(not torch.equal(want[tensor][i], got[tensor][ids[t]]) for t, i in want_ids.items())
                    spare = range(len(want_ids), want[tensor].shape[0])
                    pads = max([(want[tensor][i] - got[tensor][i]).abs().max().item() for i in spare], default=0)
                else:
                    different += not torch.equal(want[tensor], got[tensor])
            cut = [AutoTokenizer.from_pretrained(folder).tokenize(text) for folder in (ours, theirs) for text in SAMPLES]
            same = cut[: len(SAMPLES)] == cut[len(SAMPLES) :]
            shapes = {n: tuple(got[n].shape) == tuple(want[n].shape) for n in want}
            kept = sum(ids[t] == i for t, i in want_ids.items())
            fine = set(ids) == set(want_ids) and not different and same and all(shapes.values()) and set(got) == set(want)
            failed |= not fine or pads > 1e-6
            print(f"{name:18} {len(ids)} tokens, {kept} with mergekit's number; rows that differ {different}, padding {pads:.1g}, "
                  f"texts {'equal' if same else 'DIFFER'}{'' if fine else '  WRONG'} {done.stderr.strip()[:120]}")  # fmt: skip
        if arguments.golden:
            golden["models"] = {}
            for name in TEXTS:
                with open(f"{root}/{name}/tokenizer.json") as file, open(f"{root}/{name}/config.json") as config:
                    golden["models"][name] = {"tokenizer": json.load(file), "config": json.load(config)}
                save_file(load_file(f"{root}/{name}/model.safetensors"), f"{arguments.golden}/union_{name}.safetensors")
            with open(f"{arguments.golden}/union.json", "w") as file:
                json.dump(golden, file, ensure_ascii=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
