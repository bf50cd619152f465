#!/usr/bin/env python3
"""lm-evaluation-harness through `meraser serve` beside `meraser eval`, and the openai client's streaming.

    VENV/bin/python tools/serve_parity.py MERASER [--model Examples/tinychat] [--data Examples/data/tasks]
        [--tasks sciq,piqa,...] [--compute f32]

Needs `pip install "lm-eval[api]" openai`. lm-eval's `local-completions` asks for the log-probabilities of every choice (echo, tokens as ids) and
finds the figures itself; its task files are used, its rows replaced by the local ones (tools/lm_eval_parity.py). Prints both sides; exit code 1 if
a figure differs, or if what the client streams is not what it gets whole.
"""

import argparse
import json
import subprocess
import sys

import openai
from lm_eval import simple_evaluate
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval_parity import local_task
from pathlib import Path

TASKS = "sciq,piqa,arc_easy,arc_challenge,openbookqa,copa,hellaswag,winogrande,rte,boolq"


def through_server(url, args):
    # The client leaves special tokens out unless it is told otherwise; a model run by lm-eval itself gets them.
    config = json.loads((Path(args.model) / "tokenizer_config.json").read_text(encoding="utf-8"))
    model = LocalCompletionsAPI(model="served", base_url=f"{url}/v1/completions", tokenizer=args.model,
                                tokenizer_backend="huggingface", batch_size=8, num_concurrent=1, max_length=args.context,
                                add_bos_token=config.get("add_bos_token", False))  # fmt: skip
    tasks = [local_task(Path(args.data), name, "default") for name in args.tasks.split(",")]
    return simple_evaluate(model=model, tasks=tasks, num_fewshot=0, bootstrap_iters=0)["results"]


def streams(url):
    """Whether the openai client's pieces are its whole answer."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    asked = {"model": "served", "messages": [{"role": "user", "content": "What is a loop?"}], "max_tokens": 40,
             "temperature": 0}  # fmt: skip
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    print(f"openai {openai.__version__}: {len(chunks)} chunks, {chunks[-1].usage.completion_tokens} tokens")
    return text == whole.choices[0].message.content and chunks[-1].usage == whole.usage


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meraser")
    parser.add_argument("--model", default="Examples/tinychat")
    parser.add_argument("--data", default="Examples/data/tasks")
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--compute", default="f32")
    parser.add_argument("--context", type=int, default=1024)
    args = parser.parse_args()
    words = [args.meraser, "serve", "--model", args.model, "--alias", "served", "--port", "0", "--json", "-q", "--compute", args.compute]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    problems = []
    try:
        url = json.loads(server.stdout.readline())["url"]
        if not streams(url):
            problems.append("the openai client's stream is not its whole answer")
        theirs = through_server(url, args)
    finally:
        server.terminate()
    ours = json.loads(subprocess.run(
        [args.meraser, "eval", "--model", args.model, "--tasks", args.tasks, "--data", args.data, "--compute", args.compute,
         "--json", "-q"], check=True, capture_output=True, text=True).stdout)["results"]  # fmt: skip
    print("| task | measure | lm-eval through the server | meraser eval |\n|---|---|--:|--:|")
    for task in args.tasks.split(","):
        for key, value in theirs[task].items():
            if not isinstance(value, float) or "stderr" in key:
                continue
            other = ours[task].get(key)
            print(f"| {task} | {key} | {value:.4f} | {other if other is None else round(other, 4)} |")
            if other is None or abs(value - other) > 1e-12:
                problems.append(f"{task}: {key}: {value} through the server, {other} by meraser eval")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
