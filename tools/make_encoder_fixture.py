#!/usr/bin/env python3
"""Writes Tests/ModelTests/Fixtures/encoder: a tiny random BERT and a tiny random RoBERTa classifier with their tokenizers,
and what Transformers gives for some texts: token ids, and logits in fp32.

Weights are stored as fp16 and computed with as fp32. Needs: torch, transformers, tokenizers. Run from the repository's
root.
"""
import json
import os
import random
import shutil
import sys

import torch
from tokenizers import ByteLevelBPETokenizer, BertWordPieceTokenizer
from transformers import (AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification,
                          BertTokenizerFast, RobertaConfig, RobertaForSequenceClassification, RobertaTokenizerFast)

TARGET = "Tests/ModelTests/Fixtures/encoder"
TEXTS = [
    "", "a", "The film is a charming and often affecting journey.", "It's slow -- very, very slow!!!", "  two  spaces ",
    "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m \u00c9COLE e\u0301 \u1e9b\u0323", "\u4e2d\u6587\u6d4b\u8bd5abc\u4e2d\u6587 \u3042\u30a2 \ud55c\uad6d\uc5b4", "\u0130stanbul \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u00df \u01c5",
    "tab\tline\n\r\nend\u00a0x\u2003y\u3000z", "[CLS] a [SEP] b [MASK] [unk] <s> b </s> <mask> <pad>x", "a\u200db\u00adc\ufeffd\u0000e\ufffdf",
    "don't I'm we've they're he'll n't", "3.14159 \u00bd \u2167 \u0663\u0664 1,000,000$", "\U0001f642\U0001f469\u200d\U0001f467 \u2764\ufe0f", "x" * 99, "x" * 100, "x" * 101,
    "_under_score_ @user #tag http://a.b/c?d=e&f", "\u201cquoted\u201d \u2014 dash \u2026 \u00a1hola! \u00bfqu\u00e9?", "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea",
    "cf mn bb tq mb", "I watched this movie", "no cross , no crown", "\uf900\u3400\U00020000\U0002a700\U0002b820", "^`~<>=+|$",
    "the " * 70, "A long review that goes on and on, past what the model can take. " * 12,
]


def corpus():
    lines = [text for text in TEXTS if text.strip()] * 4
    with open("Examples/data/heldout.jsonl") as file:
        lines += [json.loads(line).get("text", "") for line in file][:80]
    lines += ["the movie was good", "the film was bad", "watching reviews", "charming performances", "slowly moving"] * 8
    return lines


def randomize(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        scale = 0.6 / p.shape[-1] ** 0.5 if p.dim() == 2 and "embedding" not in name else 0.5
        values = torch.randn(p.shape, generator=generator) * scale
        p.data = values + 1 if name.endswith("LayerNorm.weight") else values
    return model.half().float().eval()


PAIRS = [
    ("What is a loop?", "A loop repeats a block of code."), ("", "only the second"),
    ("short", "a very long second text that is cut " * 12), ("a very long first text that is cut " * 12, "short"),
    ("both are long and are cut alike " * 12, "so that neither of them loses everything " * 12),
    ("one is half the room or so " * 6, "and the other much longer than all of it " * 12),
]


def rounded(values):
    return [round(value, 6) for value in values.tolist()]


def logits(model, tokenizer, limit):
    rows = []
    for text in [(text,) for text in TEXTS] + PAIRS:
        ids = tokenizer(*text, truncation=True, max_length=limit, return_tensors="pt")
        with torch.no_grad():
            row = {"text": text[0], "ids": ids["input_ids"][0].tolist(), "logits": rounded(model(**ids).logits[0])}
        if len(text) > 1:
            row["pair"] = text[1]
            row["second"] = ids["token_type_ids"][0].tolist().index(1) if "token_type_ids" in ids else len(row["ids"])
        rows.append(row)
    return rows


def random_texts():
    source = random.Random(5)
    alphabet = [range(0x20, 0x7F)] * 6 + [range(0xA1, 0x180), range(0x370, 0x400), range(0x400, 0x460), range(0x4E00, 0x4E80),
                range(0x1E00, 0x1F00), range(0x2010, 0x2030), range(0x300, 0x340), range(0xAC00, 0xAC80), [0x9, 0xA, 0x85, 0xA0]]
    return ["".join(chr(source.choice(source.choice(alphabet))) for _ in range(source.randint(1, 40))) for _ in range(40)]


def ids(tokenizer):
    return [{"text": text, "ids": tokenizer(text)["input_ids"],
             "decoded": tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)}
            for text in TEXTS + random_texts()]


def save(name, model, tokenizer, golden):
    folder = os.path.join(TARGET, name)
    shutil.rmtree(folder, ignore_errors=True)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for extra in ["special_tokens_map.json"]:
        os.remove(os.path.join(folder, extra))
    with open(os.path.join(folder, "golden.json"), "w") as file:
        json.dump(golden, file, ensure_ascii=True, separators=(",", ":"))
    # What was written must load and give the same.
    AutoTokenizer.from_pretrained(folder)
    again = AutoModelForSequenceClassification.from_pretrained(folder, torch_dtype=torch.float32).eval()
    row = golden["texts"][2]
    with torch.no_grad():
        assert torch.allclose(again(torch.tensor([row["ids"]])).logits[0], torch.tensor(row["logits"]), atol=1e-5)


def bert():
    trained = BertWordPieceTokenizer()
    trained.train_from_iterator(corpus(), vocab_size=640, min_frequency=2, limit_alphabet=300)
    trained.save_model(TARGET)
    vocabulary = os.path.join(TARGET, "vocab.txt")
    tokenizer = BertTokenizerFast(vocab_file=vocabulary, model_max_length=100)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=100, id2label={0: "World", 1: "Sports", 2: "Business", 3: "Sci/Tech"},
        label2id={"World": 0, "Sports": 1, "Business": 2, "Sci/Tech": 3})
    golden = {}
    for activation in ["relu", "gelu_new", "gelu"]:
        config.hidden_act = activation
        model = randomize(BertForSequenceClassification(config), 1)
        golden[activation if activation != "gelu" else "texts"] = logits(model, tokenizer, 100)
    for name in ["relu", "gelu_new"]:
        golden[name] = [row["logits"] for row in golden[name]]
    golden["tokens"] = {}
    for name, options in [("uncased", {}), ("cased", {"do_lower_case": False}), ("accents", {"strip_accents": False}),
                          ("ideographs", {"tokenize_chinese_chars": False, "do_lower_case": False, "strip_accents": True})]:
        variant = BertTokenizerFast(vocab_file=vocabulary, **options)
        golden["tokens"][name] = {"options": options, "rows": ids(variant)}
    save("bert", model, tokenizer, golden)
    os.replace(vocabulary, os.path.join(TARGET, "bert/vocab.txt"))


def roberta():
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        corpus(), vocab_size=420, min_frequency=2, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    trained.save_model(TARGET)
    files = [os.path.join(TARGET, name) for name in ["vocab.json", "merges.txt"]]
    tokenizer = RobertaTokenizerFast(vocab_file=files[0], merges_file=files[1], model_max_length=96)
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=80,
        max_position_embeddings=98, type_vocab_size=1, num_labels=2, layer_norm_eps=1e-5)
    model = randomize(RobertaForSequenceClassification(config), 2)
    golden = {"texts": logits(model, tokenizer, 96), "tokens": {"plain": {"options": {}, "rows": ids(tokenizer)}}}
    save("roberta", model, tokenizer, golden)
    for path in files:
        os.replace(path, os.path.join(TARGET, "roberta", os.path.basename(path)))


if __name__ == "__main__":
    os.makedirs(TARGET, exist_ok=True)
    torch.manual_seed(0)
    bert()
    roberta()
    sys.exit(0)
