#!/usr/bin/env python3
"""What lm-evaluation-harness makes of every kind of task, chat templates and groups: the goldens of TaskOutputTests.

    /opt/lmeval/bin/python tools/lm_eval_tasks.py [--model Examples/tinychat] [--data Tests/PipelineTests/Fixtures/tasks]
        [--fixture Tests/PipelineTests/Fixtures/lm_eval_tasks.json]

Needs `pip install lm-eval` beside torch and transformers (checked with lm-eval 0.4.13, torch 2.13, transformers 5.24;
lm-eval's ReCoRD imports `transformers/data/metrics/squad_metrics.py`, which only transformers 4 has: it was copied).
lm-eval's own task files, Python functions, filters and groups are used; only the data are local rows, and what is
written is cut to 128 tokens. The model runs in fp32. A test compares every context, continuation, log-likelihood,
answer, measure and standard error with ours.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

os.environ["DISABLE_MULTIPROC"] = "1"

import lm_eval  # noqa: E402
import torch  # noqa: E402
from lm_eval import simple_evaluate  # noqa: E402
from lm_eval.api.group import Group  # noqa: E402
from lm_eval.api.task import ConfigurableTask  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.tasks._yaml_loader import load_yaml  # noqa: E402

from lm_eval_parity import local_file  # noqa: E402

FILES = {
    "mmlu_elementary_mathematics": "mmlu/default/mmlu_elementary_mathematics.yaml",
    "mmlu_astronomy": "mmlu/default/mmlu_astronomy.yaml", "mmlu_pro_math": "mmlu_pro/mmlu_pro_math.yaml",
    "mmlu_pro_computer_science": "mmlu_pro/mmlu_pro_computer_science.yaml", "anli_r1": "anli/anli_r1.yaml",
    "logiqa": "logiqa/logiqa.yaml", "headqa_en": "headqa/headqa_en.yaml", "record": "super_glue/record/default.yaml",
    "truthfulqa_mc1": "truthfulqa/truthfulqa_mc1.yaml", "truthfulqa_mc2": "truthfulqa/truthfulqa_mc2.yaml",
    "lambada_openai": "lambada/lambada_openai.yaml", "wikitext": "wikitext/wikitext.yaml", "gsm8k": "gsm8k/gsm8k.yaml",
    "gsm8k_cot": "gsm8k/gsm8k-cot.yaml",
}
GROUPS = {"mmlu_stem": "mmlu/default/_mmlu_stem.yaml", "mmlu_pro": "mmlu_pro/_mmlu_pro.yaml"}
# Rows of several tasks in one file: its name, the column and what it says.
SUBSETS = {
    "mmlu_elementary_mathematics": ("mmlu", "subject", "elementary_mathematics"),
    "mmlu_astronomy": ("mmlu", "subject", "astronomy"), "mmlu_pro_math": ("mmlu_pro", "category", "math"),
    "mmlu_pro_computer_science": ("mmlu_pro", "category", "computer science"),
}
DRAWS = 1000
# What tinychat's generation_config says, which Transformers takes before what lm-eval asks for.
TOKENS = 128
MMLU = ["mmlu_elementary_mathematics", "mmlu_astronomy"]
PRO = ["mmlu_pro_math", "mmlu_pro_computer_science"]
# tinychat's own template ends with a line, which swallows a choice that has no blank before it.
TEMPLATE = ("{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
            "{% if add_generation_prompt %}[assistant]:{% endif %}")
# Options of both programs, and the tasks.
CASES = [
    ({"name": "choices"}, MMLU + ["anli_r1", "logiqa", "headqa_en", "record", "truthfulqa_mc1", "truthfulqa_mc2"]),
    ({"name": "choices behind examples", "num_fewshot": 2}, MMLU + ["anli_r1"]),
    ({"name": "texts"}, ["lambada_openai", "wikitext"]),
    ({"name": "texts in short windows", "max_length": 40}, ["lambada_openai", "wikitext"]),
    ({"name": "answers", "num_fewshot": 1}, PRO + ["gsm8k"]),
    ({"name": "own task"}, ["echo"]),
    ({"name": "chat, turns", "chat": True, "multiturn": True, "num_fewshot": 1, "system": "Be brief.",
      "template": TEMPLATE}, MMLU + ["gsm8k", "anli_r1"]),
    ({"name": "chat, one turn", "chat": True, "multiturn": False, "num_fewshot": 2, "template": TEMPLATE},
     MMLU + ["gsm8k"]),
    ({"name": "the model's template", "chat": True, "multiturn": True, "num_fewshot": 1, "system": "Be brief."},
     ["gsm8k"]),
    ({"name": "chains of thought", "num_fewshot": 3}, ["gsm8k_cot"]),
]


def task(data, scratch, name, tokens):
    """lm-eval's task with the local rows."""
    own = data / f"{name}.yml"
    config = load_yaml(own if own.exists() else Path(lm_eval.__file__).parent / "tasks" / FILES[name])
    folder, column, value = SUBSETS.get(name, (name, None, None))
    scored = config.get("test_split") or config["validation_split"]
    splits = {config.get(key) for key in ("training_split", "validation_split", "test_split", "fewshot_split")} - {None}
    files = {}
    for split in splits:
        path = local_file(data, folder, split, split == scored)
        if path is None:
            continue
        rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
        rows = [row for row in rows if column is None or row[column] == value]
        files[split] = f"{scratch}/{name}-{split}.jsonl"
        Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for key in ("training_split", "validation_split", "test_split", "fewshot_split"):
        if config.get(key) not in files:
            config.pop(key, None)
    config.update(dataset_path="json", dataset_name=None, dataset_kwargs={"data_files": files})
    if config["output_type"] == "generate_until":
        config["generation_kwargs"] = {**config["generation_kwargs"], "max_gen_toks": tokens}
    return ConfigurableTask(config=config)


def row(sample_lines):
    """One document: the same sample for every filter."""
    sample = sample_lines[0]
    result = {"contexts": [], "continuations": []}
    if len(sample["arguments"][0]) == 1:
        result["continuations"] = [sample["arguments"][0][0]]
    elif isinstance(sample["arguments"][0][1], dict):
        result["contexts"] = [sample["arguments"][0][0]]
        result["text"] = sample["resps"][0][0]
        result["filtered"] = [line["filtered_resps"][0] for line in sample_lines]
        return result
    else:
        result["contexts"] = [a[0] for a in sample["arguments"]]
        result["continuations"] = [a[1] for a in sample["arguments"]]
    values = [r[0] if isinstance(r, (tuple, list)) else r for r in sample["filtered_resps"]]
    result["log_likelihoods"] = [round(float(v), 5) for v in values]
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="Examples/tinychat", help="Hugging Face folder")
    parser.add_argument("--data", default="Tests/PipelineTests/Fixtures/tasks", help="folder of rows")
    parser.add_argument("--fixture", default="Tests/PipelineTests/Fixtures/lm_eval_tasks.json", help="the file to write")
    parser.add_argument("--only", help="name of the one case to make anew; the others stay in the file as they are")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = Path(args.data)
    cases = []
    for options, names in CASES:
        if args.only not in (None, options["name"]):
            old = json.loads(Path(args.fixture).read_text())["cases"]
            cases.append(next(case for case in old if case["name"] == options["name"]))
            continue
        length = {"max_length": options["max_length"]} if "max_length" in options else {}
        lm = HFLM(pretrained=args.model, dtype="float32", device="cpu", batch_size=4, **length)
        if "template" in options:
            lm.tokenizer.chat_template = options["template"]
        with tempfile.TemporaryDirectory() as scratch:
            tasks = [task(data, scratch, name, TOKENS) for name in names]
            chat = {"apply_chat_template": True, "fewshot_as_multiturn": options["multiturn"],
                    "system_instruction": options.get("system")} if options.get("chat") else {}
            results = simple_evaluate(model=lm, tasks=tasks, num_fewshot=options.get("num_fewshot"), log_samples=True,
                                      bootstrap_iters=DRAWS, **chat)
        entry = {**options, "draws": DRAWS, "tokens": TOKENS, "tasks": {}, "groups": {}}
        for name in names:
            by_document = {}
            for sample in results["samples"][name]:
                by_document.setdefault(sample["doc_id"], []).append(sample)
            entry["tasks"][name] = {
                "results": {k: v for k, v in results["results"][name].items() if "," in k},
                "rows": [row(lines) for _, lines in sorted(by_document.items())]}
        for name, path in GROUPS.items():
            group = Group.from_config(load_yaml(Path(lm_eval.__file__).parent / "tasks" / path))
            inside = [t for t in tasks if t.config.task.startswith("mmlu_pro" if name == "mmlu_pro" else "mmlu_")]
            inside = [t for t in inside if name == "mmlu_pro" or not t.config.task.startswith("mmlu_pro")]
            for member in inside:
                group.add(member)
            if inside:
                aggregated = group.aggregate(results["results"])
                entry["groups"][name] = {k: v for k, v in aggregated.items() if k not in ("alias", "name")}
        cases.append(entry)
    text = json.dumps({"lm_eval": lm_eval.__version__, "cases": cases}, ensure_ascii=False, indent=0, default=float)
    Path(args.fixture).write_text(text + "\n")


if __name__ == "__main__":
    main()
