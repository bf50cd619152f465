#!/usr/bin/env python3
"""Runs lm-evaluation-harness and `meraser eval` on the same model and rows and compares everything they report.

    /opt/lmeval/bin/python tools/lm_eval_parity.py --meraser .build/debug/meraser [--model Examples/tinychat]
        [--data Examples/data/tasks] [--compute f32] [--fixture Tests/PipelineTests/Fixtures/lm_eval.json]

Needs `pip install lm-eval` beside torch and transformers. lm-eval's own task files and Python functions are used; only
their data set is replaced by the local rows. The model runs in fp32 on both sides. Cases: every task without examples;
some with random examples (lm-eval's default sampler), with the first ones (`first_n`), and with a context so short that
contexts are cut. Prints a table in Markdown; exit code 1 if a measure or standard error differs, if a context, choice or
target differs, or if a log-likelihood differs by more than --tolerance, relatively.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import lm_eval
import torch
from lm_eval import simple_evaluate
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.utils import make_table

FILES = {
    "sciq": "sciq/sciq.yaml", "piqa": "piqa/piqa.yaml", "arc_easy": "arc/arc_easy.yaml",
    "arc_challenge": "arc/arc_challenge.yaml", "boolq": "super_glue/boolq/default.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml", "winogrande": "winogrande/default.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml", "copa": "super_glue/copa/default.yaml", "rte": "glue/rte/default.yaml",
    "cb": "super_glue/cb/default.yaml", "wic": "super_glue/wic/default.yaml", "wsc": "super_glue/wsc/default.yaml",
    "multirc": "super_glue/multirc/default.yaml",
}
# Name, tasks, examples, sampler, longest context.
CASES = [
    ("zero-shot", list(FILES), 0, "default", None),
    ("3 random examples", ["sciq", "boolq", "winogrande"], 3, "default", None),
    ("2 random examples", ["piqa"], 2, "default", None),
    ("2 first examples", ["sciq", "piqa", "winogrande"], 2, "first_n", None),
    ("context of 24 tokens", ["sciq", "boolq", "arc_easy", "wsc"], 0, "default", 24),
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meraser", required=True, help="the binary")
    parser.add_argument("--model", default="Examples/tinychat", help="Hugging Face folder")
    parser.add_argument("--data", default="Examples/data/tasks", help="folder of rows")
    parser.add_argument("--compute", default="f32", help="meraser's precision")
    parser.add_argument("--fixture", help="write lm-eval's side to this JSON file, for the tests")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest relative difference of a log-likelihood")
    return parser.parse_args()


def local_file(data, task, split, scored):
    stems = [f"{task}/{split}", f"{task}_{split}"] + ([task] if scored else [])
    for stem in stems:
        for suffix in (".jsonl", ".json"):
            if (data / (stem + suffix)).exists():
                return str(data / (stem + suffix))
    return None


def local_task(data, name, sampler):
    """lm-eval's task with the local rows; splits that are not there are dropped."""
    config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / FILES[name])
    scored = config.get("test_split") or config["validation_split"]
    files = {}
    for key in ("training_split", "validation_split", "test_split"):
        split = config.get(key)
        path = local_file(data, name, split, split == scored) if split else None
        if path:
            files[split] = path
        elif split and key != "training_split":
            config[key] = None if split != scored else split
    if "train" not in files:
        # A split must be there for lm-eval to begin; without examples nothing is drawn from it.
        files["train"] = files[scored]
    config.update(dataset_path="json", dataset_name=None, dataset_kwargs={"data_files": files})
    config["fewshot_config"] = {"sampler": sampler}
    return ConfigurableTask(config=config)


def reference(model, data, case):
    _, names, shots, sampler, max_length = case
    lm = HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=8, **(
        {"max_length": max_length} if max_length else {}))
    tasks = [local_task(data, name, sampler) for name in names]
    return simple_evaluate(model=lm, tasks=tasks, num_fewshot=shots, bootstrap_iters=1000, log_samples=True)


def ours(args, case):
    _, names, shots, sampler, max_length = case
    command = [
        args.meraser, "eval", "--model", args.model, "--tasks", ",".join(names), "--data", args.data, "--num-fewshot",
        str(shots), "--fewshot-sampler", sampler, "--compute", args.compute, "--log-samples", "--json", "-q"]
    if max_length:
        command += ["--max-length", str(max_length)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def gold(task, sample):
    """The index of the right choice as lm-eval finds it."""
    if task.multiple_input:
        return task.doc_to_text(sample["doc"])
    target = task.doc_to_target(sample["doc"])
    return task.doc_to_choice(sample["doc"]).index(target) if isinstance(target, str) else int(target)


def compare(name, want, got, tolerance):
    """The largest relative difference of a log-likelihood, and whether all else is equal."""
    problems = []
    wanted, found = want["results"][name], got["results"][name]
    for key, value in wanted.items():
        if key in ("name", "alias"):
            continue
        other = found.get(key)
        equal = value == other if not isinstance(value, float) else other is not None and abs(value - other) < 1e-12
        if not equal:
            problems.append(f"{name}: {key}: lm-eval {value}, meraser {other}")
    worst = 0.0
    for left, right in zip(want["samples"][name], got["samples"][name], strict=True):
        if [list(a) for a in left["arguments"]] != right["arguments"]:
            problems.append(f"{name} {left['doc_id']}: {left['arguments']} != {right['arguments']}")
        for (a, _), b in zip(left["filtered_resps"], right["filtered_resps"], strict=True):
            worst = max(worst, abs(a - b) / abs(a))
    if worst > tolerance:
        problems.append(f"{name}: a log-likelihood differs by {worst:.2e}, relatively")
    return worst, problems


def fixture_rows(samples, count):
    rows = []
    for sample in samples[:count]:
        contexts = [a[0] for a in sample["arguments"]]
        rows.append({
            "contexts": contexts if len(set(contexts)) > 1 else contexts[:1],
            "continuations": [a[1] for a in sample["arguments"]],
            "log_likelihoods": [round(r[0], 5) for r in sample["filtered_resps"]]})
    return rows


def main():
    args = arguments()
    torch.set_num_threads(2)
    data = Path(args.data)
    problems, fixture = [], []
    print(f"| case | task | rows | acc | acc_norm / F1 | stderr | equal | largest difference of a log-likelihood |")
    print("|---|---|--:|--:|--:|--:|---|--:|")
    for case in CASES:
        want, got = reference(args.model, data, case), ours(args, case)
        entry = {"case": case[0], "examples": case[2], "sampler": case[3], "max_length": case[4], "tasks": {}}
        for name in case[1]:
            worst, found = compare(name, want, got, args.tolerance)
            problems += found
            result = want["results"][name]
            second = next((result[k] for k in ("acc_norm,none", "f1,none") if k in result), None)
            print(
                f"| {case[0]} | {name} | {result['sample_len']} | {result['acc,none']:.4f} | "
                f"{'' if second is None else f'{second:.4f}'} | {result['acc_stderr,none']:.4f} | "
                f"{'no' if found else 'yes'} | {worst:.1e} |")
            entry["tasks"][name] = {
                "results": {k: v for k, v in result.items() if "," in k},
                "rows": fixture_rows(want["samples"][name], 1000 if case[0] == "zero-shot" else 2)}
        fixture.append(entry)
        if case is CASES[0]:
            table = make_table(got)
            assert "acc_norm" in table and "sciq" in table, "lm-eval's table tool does not read meraser's results"
    if args.fixture:
        text = json.dumps({"lm_eval": lm_eval.__version__, "cases": fixture}, ensure_ascii=False, indent=0)
        Path(args.fixture).write_text(text + "\n")
    print(f"\nlm-eval {lm_eval.__version__}; its `make_table` reads meraser's JSON.")
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
