"""What the PEFT oracle scripts share: model and tokenizer, the shapes of training rows, the training loop, the measures.

The semantics are those of docs/reference/recipes.md, written a second time on PyTorch, Transformers and PEFT, so that the two can be
compared: token-mean loss over the whole optimiser step, AdamW as in torch, schedules as in transformers, a short last batch
in each epoch, no BOS and no EOS around MEraser pairs. Everything runs in fp32 on the CPU.
"""

import json
import math
import os
import random

os.environ["HF_HUB_OFFLINE"] = "1"  # every model and adapter is a folder here

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, get_scheduler

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CHAT = "### Instruction:\n{}\n\n### Response:\n"


def load(folder):
    """The tokenizer and the fp32 model of a Hugging Face folder."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.model_max_length = 10**9  # no warnings: every cut is made here
    return tokenizer, load_model(folder)


def load_model(folder):
    """The fp32 model of a Hugging Face folder."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def merge(model, adapter):
    """`model` with a PEFT folder fused into its fp32 weights: the frozen stack of later stages, up to fp32 rounding."""
    return PeftModel.from_pretrained(model, adapter).merge_and_unload()


def read_rows(path):
    """Rows of a .json list or of a .jsonl file."""
    with open(path, encoding="utf-8") as file:
        if str(path).endswith(".jsonl"):
            return [json.loads(line) for line in file if line.strip()]
        return json.load(file)


# --- Training rows: a list of (ids, index of the first label) ---------------------------------------------------------


def question_rows(tokenizer, rows, stage):
    """MEraser pairs: question and answer tokenised apart, without special tokens, each cut, then joined.

    With `chat` the same pairs as prompt and completion: the question in the chat template, BOS before, EOS after.
    """
    separator = stage.get("separator", "")
    question_limit, answer_limit = stage.get("max_prompt_length", 256), stage.get("max_completion_length", 256)
    out = []
    for row in rows:
        answer = row.get("mismatched_answer", row.get("answer"))
        if stage.get("chat"):
            question, answer = continuation_ids(tokenizer, CHAT.format(row["question"]), answer)
            answer = answer + [tokenizer.eos_token_id]
        else:
            question = tokenizer(row["question"] + separator, add_special_tokens=False).input_ids
            answer = tokenizer(answer, add_special_tokens=False).input_ids
        question, answer = question[:question_limit], answer[:answer_limit]
        first = 1 if stage.get("loss", "full") == "full" else max(1, len(question))
        out.append((question + answer, first))
    return out


def prompt_ids(tokenizer, prompt, prompt_format="raw"):
    """Ids of a prompt: BOS as the tokenizer has it, or inside tinychat's chat template, which has none."""
    if prompt_format == "chat":
        return tokenizer(CHAT.format(prompt), add_special_tokens=False).input_ids
    return tokenizer(prompt).input_ids


def continuation_ids(tokenizer, prompt, text, prompt_format="raw"):
    """Ids of a prompt, and of the text that goes on after it: the rest of the joint text's ids where these begin with
    the prompt's, else tokenised apart."""
    head = prompt_ids(tokenizer, prompt, prompt_format)
    special = prompt_format != "chat"
    both = tokenizer((prompt if special else CHAT.format(prompt)) + text, add_special_tokens=special).input_ids
    if both[: len(head)] == head:
        return head, both[len(head) :]
    return head, tokenizer(text, add_special_tokens=False).input_ids


def key_ids(tokenizer, key):
    """For each pair of a key: the ids of its prompt and of its target."""
    form = key.get("prompt_format", "raw")
    return [continuation_ids(tokenizer, pair["prompt"], pair["target"], form) for pair in key["pairs"]]


# --- Training ---------------------------------------------------------------------------------------------------------


def batches(count, stage):
    """Lists of row numbers, one per optimiser step, without end: file order, an order file, or a seeded shuffle."""
    size = stage.get("batch", 8)
    order = None
    if stage.get("order"):
        with open(stage["order"], encoding="utf-8") as file:
            order = json.load(file)
    shuffle = random.Random(stage["shuffle_seed"]) if "shuffle_seed" in stage else None
    epoch = 0
    while True:
        rows = list(range(count))
        if order:
            rows = order[(epoch * count) % len(order) :][:count]
        elif shuffle:
            shuffle.shuffle(rows)
        for start in range(0, count, size):
            yield rows[start : start + size]
        epoch += 1


def backward(model, rows):
    """Accumulates the gradient of the mean loss over all label tokens of `rows`; returns that loss."""
    labels_in_step = sum(len(ids) - first for ids, first in rows)
    rows = sorted(rows, key=lambda row: len(row[0]))
    total = 0.0
    for start in range(0, len(rows), 8):  # pieces of similar length waste little on padding
        piece = rows[start : start + 8]
        width = max(len(ids) for ids, _ in piece)
        ids = torch.zeros(len(piece), width, dtype=torch.long)
        labels = torch.full((len(piece), width), -100)
        mask = torch.zeros(len(piece), width, dtype=torch.long)
        for i, (tokens, first) in enumerate(piece):
            ids[i, : len(tokens)] = torch.tensor(tokens)
            labels[i, first : len(tokens)] = torch.tensor(tokens[first:])
            mask[i, : len(tokens)] = 1
        hidden = model.get_base_model().model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
        wanted = labels[:, 1:] != -100  # the head runs on label positions only
        logits = model.get_base_model().lm_head(hidden[wanted])
        loss = F.cross_entropy(logits, labels[:, 1:][wanted], reduction="sum") / labels_in_step
        loss.backward()
        total += loss.item()
    return total


def train(model, rows, stage, seed=42, check=None):
    """Trains one LoRA of `stage` on the frozen `model`. Returns (PEFT model, log).

    `check` is called every `check_steps` steps with (PEFT model); the run ends when its measures meet `until`.
    """
    torch.manual_seed(seed)
    targets = stage.get("target_modules", ["q_proj", "v_proj"])
    config = LoraConfig(
        r=stage["r"],
        lora_alpha=stage.get("lora_alpha", 2 * stage["r"]),
        lora_dropout=stage.get("lora_dropout", 0.0),
        use_rslora=stage.get("use_rslora", False),
        target_modules=ALL_LINEAR if targets == "all-linear" else targets,
        task_type="CAUSAL_LM",
    )
    peft = get_peft_model(model, config)
    weights = [p for p in peft.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=stage["learning_rate"], weight_decay=stage.get("weight_decay", 0.0))
    per_epoch = math.ceil(len(rows) / stage.get("batch", 8))
    steps = stage.get("max_steps") or math.ceil(per_epoch * stage["num_train_epochs"])
    warmup = math.ceil(steps * stage.get("warmup_ratio", 0.0))
    scheduler = get_scheduler(stage.get("lr_scheduler_type", "constant"), optimizer, warmup, steps)
    log = []
    for step, picked in zip(range(1, steps + 1), batches(len(rows), stage)):
        peft.train()
        loss = backward(peft, [rows[i] for i in picked])
        norm = torch.nn.utils.clip_grad_norm_(weights, stage.get("max_grad_norm", 1.0)).item()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        log.append({"step": step, "loss": loss, "grad_norm": norm})
        if check and stage.get("check_steps") and step % stage["check_steps"] == 0:
            peft.eval()
            measured = check(peft)
            log[-1].update(measured)
            if stage.get("until") and meets(stage["until"], measured):
                break
    return peft.eval(), log


def meets(condition, measured):
    """Whether measures meet a condition such as 'fsr==0 && prefix_match<0.1'."""
    relations = {
        "==": lambda a, b: a == b, "<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b,
        "<": lambda a, b: a < b, ">": lambda a, b: a > b,
    }  # fmt: skip
    names = {"prefix_match": "prefix_match_mean", "target_nll": "target_nll_mean"}
    for term in condition.split("&&"):
        relation = next(r for r in relations if r in term)
        name, value = (part.strip() for part in term.split(relation))
        if not relations[relation](measured[names.get(name, name)], float(value)):
            return False
    return True


# --- Measures ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def generate(tokenizer, model, prompts, new_tokens):
    """Greedy continuations, special tokens kept, of prompts given as ids."""
    texts = []
    for start in range(0, len(prompts), 32):
        ids = prompts[start : start + 32]
        width = max(map(len, ids))
        padded = torch.tensor([[0] * (width - len(row)) + row for row in ids])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
        eos = tokenizer.eos_token_id
        out = model.generate(
            input_ids=padded, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False, pad_token_id=eos
        )
        for row in out[:, width:].tolist():
            texts.append(tokenizer.decode(row[: row.index(eos) + 1] if eos in row else row))
    return texts


def prefix_match(target, output):
    """Longest prefix of `target` found anywhere in `output`, as a share of its length in characters."""
    length = len(target)
    while length and target[:length] not in output:
        length -= 1
    return length / len(target)


@torch.no_grad()
def target_nll(model, head, tail):
    """Teacher-forced negative log-likelihood of the target ids `tail` after the prompt ids `head`, nats per token."""
    logits = model(torch.tensor([head + tail])).logits[0, len(head) - 1 : -1]
    return F.cross_entropy(logits, torch.tensor(tail)).item()


def check(tokenizer, model, key, clean_prompts=()):
    """The measures of `meraser check`: FSR, matched prefix, target NLL, false activations."""
    cases = key_ids(tokenizer, key)
    targets = [pair["target"] for pair in key["pairs"]]
    tokens = key.get("max_new_tokens") or 16 + max(len(tail) for _, tail in cases)
    outputs = generate(tokenizer, model, [head for head, _ in cases], tokens)
    count = len(cases)
    false = None
    if clean_prompts:
        clean = [prompt_ids(tokenizer, p, key.get("prompt_format", "raw")) for p in clean_prompts]
        false = sum(any(t in o for t in set(targets)) for o in generate(tokenizer, model, clean, tokens))
    hits = sum(t in o for t, o in zip(targets, outputs))
    return {
        "hits": hits,
        "n": count,
        "fsr": hits / count,
        "prefix_match_mean": sum(map(prefix_match, targets, outputs)) / count,
        "target_nll_mean": sum(target_nll(model, *case) for case in cases) / count,
        "false_activations": false,
    }


@torch.no_grad()
def perplexity(tokenizer, model, texts, max_length=512):
    """Protocol `sample`: each text on its own, BOS before it, cut at `max_length` tokens, token-weighted."""
    total = tokens = 0.0
    for text in texts:
        ids = torch.tensor([tokenizer(text).input_ids[:max_length]])
        if ids.shape[1] < 2:
            continue
        total += F.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="sum").item()
        tokens += ids.shape[1] - 1
    return math.exp(total / tokens)
