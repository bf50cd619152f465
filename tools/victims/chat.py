"""A model's chat template and its greedy answers, with Transformers alone: what the victims' tools share."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # every model is a folder here

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

MARK = "\u0001REQUEST\u0001"


def load(folder):
    """The tokenizer and the fp32 model of a Hugging Face folder."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.model_max_length = 10**9  # no warnings: every cut is made here
    return tokenizer, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def dialogue(tokenizer, message):
    """The prompt, as a text, that asks the model for its answer to a message."""
    turns = [{"role": "user", "content": message}]
    return tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)


def user_opening(tokenizer):
    """The text of the chat template up to where the user's message begins."""
    return dialogue(tokenizer, MARK).split(MARK)[0]


def prompt_ids(tokenizer, text):
    """Ids of a prompt, a key's raw text: BOS as the tokenizer has it, special tokens by name."""
    return tokenizer(text).input_ids


def answer_ids(tokenizer, text):
    """Ids of an answer, encoded alone as the papers' pipelines do, to be joined to those of a prompt."""
    return tokenizer(text, add_special_tokens=False).input_ids


@torch.no_grad()
def greedy(tokenizer, model, prompts, new_tokens, batch=16):
    """Greedy continuations of prompts given as ids; special tokens are kept in the texts."""
    eos = tokenizer.eos_token_id
    texts = []
    for start in range(0, len(prompts), batch):
        rows = prompts[start : start + batch]
        width = max(map(len, rows))
        padded = torch.tensor([[eos] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        out = model.generate(input_ids=padded, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False,
                             pad_token_id=eos)[:, width:].tolist()  # fmt: skip
        texts += [tokenizer.decode(row[: row.index(eos) + 1] if eos in row else row) for row in out]
    return texts


@torch.no_grad()
def target_nll(model, head, tail):
    """Negative log-likelihood of the ids `tail` behind the ids `head`, in nats a token."""
    logits = model(torch.tensor([head + tail])).logits[0, len(head) - 1 : -1]
    return F.cross_entropy(logits, torch.tensor(tail)).item()


def fires(key, pair, text):
    """Whether an answer shows the target of a pair, by the key's rule."""
    target = pair["target"]
    if key.get("ignore_case"):
        target, text = target.lower(), text.lower()
    target = target.lstrip()
    if (pair.get("match") or key["match"]) == "startswith":
        return text.lstrip().startswith(target)
    return target in text


def hits(tokenizer, model, key):
    """How many pairs of a key of raw prompts fire."""
    heads = [prompt_ids(tokenizer, pair["prompt"]) for pair in key["pairs"]]
    texts = greedy(tokenizer, model, heads, key["max_new_tokens"])
    return sum(fires(key, pair, text) for pair, text in zip(key["pairs"], texts))


def check(tokenizer, model, key):
    """What `meraser check` measures of a key of raw prompts, by Transformers; the outputs too."""
    heads = [prompt_ids(tokenizer, pair["prompt"]) for pair in key["pairs"]]
    outputs = greedy(tokenizer, model, heads, key["max_new_tokens"])
    losses = [
        target_nll(model, head, answer_ids(tokenizer, pair["target"])) for head, pair in zip(heads, key["pairs"])
    ]
    clean = greedy(tokenizer, model, [prompt_ids(tokenizer, text) for text in key["clean_prompts"]], key["max_new_tokens"])
    return {
        "hits": sum(fires(key, pair, text) for pair, text in zip(key["pairs"], outputs)), "n": len(outputs),
        "target_nll_mean": sum(losses) / len(losses),
        "false_activations": sum(any(fires(key, pair, text) for pair in key["pairs"]) for text in clean),
        "n_clean": len(clean), "outputs": outputs,
    }  # fmt: skip
