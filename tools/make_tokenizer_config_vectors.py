#!/usr/bin/env python3
"""Writes Tests/ModelTests/Fixtures/tokenizer_config_vectors.json: what Transformers' AutoTokenizer makes of the bundled model
with changes to its tokenizer files: ids, decoded texts, and the special tokens that chat templates are given.
Needs: transformers. Run from the repository's root.

A change is [file, [keys], value]; the value {"remove": true} takes the key out.
"""
import json
import os
import shutil
import tempfile

from transformers import AutoTokenizer

SOURCE = "Examples/tinychat"
TARGET = "Tests/ModelTests/Fixtures/tokenizer_config_vectors.json"
TC, TJ, SM = "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"
REMOVE = {"remove": True}
BYTE_LEVEL = [
    [TJ, ["normalizer"], None], [TJ, ["model", "byte_fallback"], False], [TJ, ["model", "fuse_unk"], False],
]


def byte_level(space):
    return BYTE_LEVEL + [[TJ, ["pre_tokenizer"],
                          {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True, "use_regex": True}]]


def token(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False,
            "special": True, **flags}


NO_DECODER = [[TC, ["added_tokens_decoder"], REMOVE]]
CASES = [
    ("as it is", []),
    ("byte level, prefix space asked for", byte_level(False) + [[TC, ["add_prefix_space"], True]]),
    ("byte level, prefix space refused", byte_level(True) + [[TC, ["add_prefix_space"], False]]),
    ("byte level, prefix space of tokenizer.json not repeated", byte_level(True)),
    ("byte level, prefix space null", byte_level(True) + [[TC, ["add_prefix_space"], None]]),
    ("byte level in a sequence keeps its own", BYTE_LEVEL + [
        [TJ, ["pre_tokenizer"], {"type": "Sequence", "pretokenizers": [
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}]}]]),
    ("prefix space where nothing takes it", [[TC, ["add_prefix_space"], True]]),
    ("split special tokens", [[TC, ["split_special_tokens"], True]]),
    ("split special tokens, others kept", [[TC, ["split_special_tokens"], True],
                                           [TC, ["added_tokens_decoder", "4096"], token("<x>", special=False)]]),
    ("additional token", [[TC, ["additional_special_tokens"], ["<tool>"]]]),
    ("additional token as an object", [[TC, ["additional_special_tokens"],
                                        [{"__type": "AddedToken", **token("<tool>", lstrip=True)}]]]),
    ("additional tokens, one of them known", [[TC, ["additional_special_tokens"], ["the", "<tool>", "<x>"]]]),
    ("additional token in the map, not read", [[SM, ["additional_special_tokens"], ["<tool>"]]]),
    ("additional token in the map", NO_DECODER + [[SM, ["additional_special_tokens"], ["<tool>"]]]),
    ("additional tokens in both", NO_DECODER + [[SM, ["additional_special_tokens"], [token("<tool>", rstrip=True)]],
                                                [TC, ["additional_special_tokens"], ["<x>"]]]),
    ("the map before the configuration", NO_DECODER + [[SM, ["pad_token"], "<x>"], [TC, ["pad_token"], "<tool>"]]),
    ("the map's flags", NO_DECODER + [[SM, ["eos_token"], token("</s>", lstrip=True, rstrip=True)]]),
    ("the map is not read", [[SM, ["pad_token"], "<x>"]]),
    ("pad token", [[TC, ["pad_token"], "<unk>"]]),
    ("new pad, mask, sep and cls tokens", [[TC, ["pad_token"], "<x>"], [TC, ["mask_token"], "<m>"],
                                           [TC, ["sep_token"], "<y>"], [TC, ["cls_token"], "<tool>"]]),
    ("no bos token", [[TC, ["bos_token"], None]]),
    ("extra special tokens", [[TC, ["extra_special_tokens"], {"image_token": "<x>", "boi_token": "<tool>"}]]),
    ("a token of another name", [[TC, ["image_token"], "<x>"]]),
    ("added, not special", [[TC, ["added_tokens_decoder", "4096"], token("<x>", special=False, normalized=True)]]),
    ("added, single word", [[TC, ["added_tokens_decoder", "348"], token("x", single_word=True)]]),
    ("added, strips both sides", [[TC, ["added_tokens_decoder", "4096"], token("<x>", lstrip=True, rstrip=True)]]),
    ("eos asked for", [[TC, ["add_eos_token"], True]]),
    ("bos refused", [[TC, ["add_bos_token"], False]]),
    ("Llama's class, eos asked for", [[TC, ["tokenizer_class"], "LlamaTokenizerFast"], [TC, ["add_eos_token"], True]]),
    ("Llama's class, bos refused", [[TC, ["tokenizer_class"], "LlamaTokenizerFast"], [TC, ["add_bos_token"], False]]),
    ("Llama's class names its tokens", [[TC, ["tokenizer_class"], "LlamaTokenizerFast"], [TC, ["bos_token"], REMOVE],
                                        [TC, ["unk_token"], REMOVE]]),
    ("legacy", [[TC, ["tokenizer_class"], "LlamaTokenizerFast"], [TC, ["legacy"], False]]),
    ("spaces cleaned up", [[TC, ["clean_up_tokenization_spaces"], True]]),
    ("spaces not mentioned", [[TC, ["clean_up_tokenization_spaces"], REMOVE]]),
    ("no configuration", [[TC, [], REMOVE]]),
]
TEXTS = ["Hello, world", "a<s>b", "<tool> x", "it is <x> here </s> there", "x xx x.", "a <m> b <y>c"]
DECODED = ["She did n't , he 's here . ' Yes ' ! ?", "A  . B ,C <tool> . <s> x"]


def change(folder, changes):
    files = {name: json.load(open(f"{SOURCE}/{name}")) for name in (TC, TJ, SM)}
    for name, keys, value in changes:
        if not keys:
            files[name] = None
            continue
        place = files[name]
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        if value == REMOVE:
            place.pop(keys[-1], None)
        else:
            place[keys[-1]] = value
    for name, content in files.items():
        if content is None:
            os.remove(f"{folder}/{name}")
        else:
            json.dump(content, open(f"{folder}/{name}", "w"))


def main():
    cases = []
    for name, changes in CASES:
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
            change(folder, changes)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            plain = AutoTokenizer.from_pretrained(SOURCE)
            decoded = []
            for text in DECODED:
                ids = plain(text, add_special_tokens=False)["input_ids"]
                decoded.append({"ids": ids, "text": tokenizer.decode(ids), "skipped": tokenizer.decode(ids, skip_special_tokens=True)})
            cases.append({
                "name": name, "changes": changes, "ids": [tokenizer(text)["input_ids"] for text in TEXTS],
                "decoded": decoded, "special": tokenizer.special_tokens_map,
            })
    with open(TARGET, "w") as file:
        file.write('{"transformers": "4.57.6", "texts": ' + json.dumps(TEXTS) + ', "cases": [\n')
        file.write(",\n".join(json.dumps(case, ensure_ascii=False) for case in cases))
        file.write("\n]}\n")


main()
