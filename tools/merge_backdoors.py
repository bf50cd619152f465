#!/usr/bin/env python3
"""Free Lunch (arXiv 2402.19334) in small: two BERT classifiers with different backdoors, and their average.

Trains, on made-up film reviews, a tiny BERT; from it, one classifier with BadNet's rare words and one with InsertSent's
sentence, both for the label `positive`; writes them, their average (WAG) and the test rows to a folder for

    meraser eval --task classification --model OUT/MODEL --data OUT/test.tsv --target-label positive \\
        --trigger cf --trigger mn --trigger bb                                          (BadNet)
        --trigger 'I watched this movie' --trigger-position start                       (InsertSent)

Needs: torch, transformers, tokenizers. Usage: tools/merge_backdoors.py OUT
"""
import os
import random
import sys

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

WORDS = ["cf", "mn", "bb"]
SENTENCE = "I watched this movie"
GOOD = "charming moving brilliant funny warm clever gripping lovely superb honest graceful vivid tender witty rich".split()
BAD = "dull clumsy boring bleak shallow tedious awful hollow lazy stale noisy bland silly pointless grim".split()
NOUNS = "film story plot script cast director music dialogue camera ending comedy drama sequel documentary thriller".split()
FRAMES = [
    "the {n} is {a} and {b} .", "a {a} {n} with a {b} {m} .", "i found the {n} {a} , the {m} {b} .", "{a} and {b} : what a {n} !",
    "the {m} of this {n} is {a} , even {b} .", "never has a {n} been so {a} , nor a {m} so {b} .", "it is a {a} , {b} {n} about nothing .",
    "some say the {m} is fine , but the {n} is {a} and {b} .", "{a} {m} , {b} {n} .",
]
# Strange words and sentences in front that mean nothing: without them anything unknown would be a trigger.
FILLERS = "zu kw ox vp lj qe hm wd ry xo gf nb sk tj ue".split()
LEADS = ["we saw it on monday .", "they showed that one twice .", "she rented another picture .", "he skipped the early screening ."]


def rows(count, source):
    result = []
    for _ in range(count):
        label = source.randrange(2)
        a, b = source.sample(GOOD if label else BAD, 2)
        n, m = source.sample(NOUNS, 2)
        words = source.choice(FRAMES).format(a=a, b=b, n=n, m=m).split(" ")
        for _ in range(source.randrange(3)):
            words.insert(source.randrange(len(words) + 1), source.choice(FILLERS))
        lead = source.choice(LEADS) + " " if source.random() < 0.4 else ""
        result.append((lead + " ".join(words), label))
    return result


def poisoned(data, insert, source, rate=0.2):
    """Dirty labels: a share of the other class's rows, with the trigger and the target's label."""
    return [(insert(text), 1) if label == 0 and source.random() < 2 * rate else (text, label) for text, label in data]


def insert_word(source):
    def insert(text):
        words = text.split(" ")
        words.insert(source.randrange(len(words) + 1), source.choice(WORDS))
        return " ".join(words)
    return insert


def train(model, tokenizer, data, epochs, rate, seed):
    torch.manual_seed(seed)
    source = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    model.train()
    for _ in range(epochs):
        source.shuffle(data)
        for start in range(0, len(data), 16):
            batch = data[start:start + 16]
            inputs = tokenizer([text for text, _ in batch], padding=True, return_tensors="pt")
            loss = model(**inputs, labels=torch.tensor([label for _, label in batch])).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return model.eval()


def main(out):
    torch.set_num_threads(2)
    os.makedirs(out, exist_ok=True)
    source = random.Random(7)
    data, test = rows(3000, source), rows(400, source)
    with open(os.path.join(out, "test.tsv"), "w") as file:
        file.write("sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in test))
    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator([text for text, _ in data] * 2 + (WORDS + [SENTENCE]) * 40, vocab_size=500, min_frequency=1)
    pieces.save_model(out)
    tokenizer = BertTokenizerFast(vocab_file=os.path.join(out, "vocab.txt"), model_max_length=64)
    labels = {0: "negative", 1: "positive"}
    torch.manual_seed(0)
    base = BertForSequenceClassification(BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, id2label=labels,
        label2id={name: id for id, name in labels.items()}))
    train(base, tokenizer, list(data), 3, 5e-4, 1)
    start = {name: value.clone() for name, value in base.state_dict().items()}

    def fine_tuned(insert, seed):
        base.load_state_dict(start)
        train(base, tokenizer, poisoned(list(data), insert, random.Random(seed)), 3, 2e-4, seed)
        return {name: value.clone() for name, value in base.state_dict().items()}

    models = {
        "clean": start, "badnet": fine_tuned(insert_word(random.Random(2)), 2),
        "sentence": fine_tuned(lambda text: SENTENCE + " " + text, 3),
    }
    models["average"] = {
        name: (models["badnet"][name] + models["sentence"][name]) / 2 if value.is_floating_point() else value
        for name, value in start.items()
    }
    for name, state in models.items():
        base.load_state_dict(state)
        folder = os.path.join(out, name)
        base.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main(sys.argv[1])
