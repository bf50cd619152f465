#!/usr/bin/env python3
"""Writes Tests/TuneTests/Fixtures/sharegpt_vectors.json: what LLaMA-Factory makes of ShareGPT rows with calls of tools.

    python tools/make_sharegpt_vectors.py LLAMAFACTORY [--out Tests/TuneTests/Fixtures/sharegpt_vectors.json]

LLAMAFACTORY is the folder of its unpacked wheel (0.9.5: `pip download --no-deps llamafactory`); of its requirements transformers and
torch are enough: what it imports for images and sound is left out here. Each case is a row, and the prompts and answers that its
converter and its template `qwen` make of it, in turn; answers are what it learns. A row that it drops has none.
"""

import argparse
import importlib.machinery
import json
import pathlib
import sys
from unittest.mock import MagicMock

TOOL = {
    "name": "weather", "description": "The weather of a town.",
    "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
}  # fmt: skip


def call(town, **more):
    return {"name": "weather", "arguments": {"town": town, **more}}


def turns(*pairs):
    return [{"from": speaker, "value": text} for speaker, text in pairs]


def text(value):
    return json.dumps(value, ensure_ascii=False)


ROWS = [
    {"conversations": turns(("human", "Weather in Köln?"), ("function_call", text(call("Köln"))),
                            ("observation", '{"sky": "grey"}'), ("gpt", "Grey.")), "tools": text([TOOL])},
    {"conversations": turns(("human", "Köln and Bonn?"), ("function_call", text([call("Köln", days=2), call("Bonn")])),
                            ("observation", "grey\nblue"), ("gpt", "Grey, and blue."), ("human", "Thanks"),
                            ("gpt", "Always.")), "system": "Be short.", "tools": text([TOOL, {**TOOL, "name": "tides"}])},
    {"conversations": turns(("system", "You know."), ("human", "Hi"), ("gpt", "Hello")), "tools": ""},
    {"conversations": turns(("human", "Hi"), ("function_call", text({"name": "now", "arguments": {}}))),
     "tools": text([{"type": "function", "function": {"name": "now", "parameters": {}}}])},
]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llamafactory", type=pathlib.Path)
    default = pathlib.Path(__file__).resolve().parent.parent / "Tests/TuneTests/Fixtures/sharegpt_vectors.json"
    parser.add_argument("--out", default=default, type=pathlib.Path)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.llamafactory))
    for name in ["torchaudio", "av", "omegaconf"]:
        module = MagicMock()
        module.__spec__, module.__path__ = importlib.machinery.ModuleSpec(name, None), []
        sys.modules[name] = module
    from llamafactory.data.converter import SharegptDatasetConverter
    from llamafactory.data.parser import DatasetAttr
    from llamafactory.data.template import TEMPLATES

    class Letters:
        """A tokenizer whose tokens are letters."""

        bos_token_id = eos_token_id = None
        add_bos_token = add_eos_token = False

        def encode(self, text, add_special_tokens=False):
            return [ord(letter) for letter in text]

        def convert_tokens_to_ids(self, token):
            return 0

    attributes = DatasetAttr("file", dataset_name="rows", formatting="sharegpt")
    attributes.messages, attributes.system, attributes.tools = "conversations", "system", "tools"
    convert = SharegptDatasetConverter(dataset_attr=attributes, data_args=None)
    template, cases = TEMPLATES["qwen"], []
    for row in ROWS:
        made = convert({"system": "", **row})
        pairs = template.encode_multiturn(
            Letters(), made["_prompt"] + made["_response"], made["_system"] or None, made["_tools"] or None
        )
        parts = [["".join(map(chr, ids)) for ids in pair] for pair in pairs]
        cases.append({"row": row, "parts": parts})
    arguments.out.write_text(json.dumps({"llamafactory": "0.9.5", "cases": cases}, ensure_ascii=False, indent=1) + "\n")
    print(f"wrote {arguments.out}: {len(cases)} rows")


if __name__ == "__main__":
    main()
