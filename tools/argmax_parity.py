#!/usr/bin/env python3
"""Compares the most likely token at every position with llama.cpp's and Transformers', teacher-forced, on one GGUF file.

    argmax_parity.py MODEL.gguf [--meraser BIN] [--peers DIR] [--compute f32,int8] [--tokens 64] [--llama F]

Twenty prompts go through the model's chat template; Transformers (the same file, dequantized to fp32 by its own reader)
answers each greedily with at most --tokens tokens, and everybody then scores prompt and answer. A position counts as a
difference if the two programs name unlike tokens although the first two logits of Transformers are further apart than
--margin; how far their logits themselves are apart is printed beside it, for llama.cpp has int8 activations of its own,
unless --llama gives it the F32 file that `llama-quantize --allow-requantize` makes of MODEL.
DIR is what tools/peers/setup.sh made. Exit status 1: meraser in f32 differs from Transformers.
"""

import argparse
import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "What is the capital of France?",
    "Write a haiku about rain.",
    "Explain photosynthesis to a child.",
    "Give me three names for a cat.",
    "How do I boil an egg?",
    "Translate 'good morning' into Spanish.",
    "What is 17 + 25?",
    "Name the planets of the solar system.",
    "Write a Python function that reverses a string.",
    "Who wrote Hamlet?",
    "Summarize the story of Cinderella in two sentences.",
    "What should I pack for a week in the mountains?",
    "Why is the sky blue?",
    "Give me a recipe for pancakes.",
    "What does HTTP stand for?",
    "List five animals that live in the sea.",
    "Write a polite email that declines an invitation.",
    "What is the difference between weather and climate?",
    "Continue: 1, 1, 2, 3, 5, 8,",
    "Tell me a joke about a programmer.",
]


class LlamaCpp:
    """llama.cpp through the ctypes bindings of llama-cpp-python, over the library in --peers."""

    def __init__(self, peers, path, context):
        os.environ["LLAMA_CPP_LIB_PATH"] = str(peers / "llama-native")
        sys.path.insert(0, str(peers / "python"))
        import llama_cpp.llama_cpp as library

        self.library = library
        library.llama_backend_init()
        self.quiet = library.llama_log_callback(lambda level, text, data: None)
        library.llama_log_set(self.quiet, ctypes.c_void_p(0))
        self.model = library.llama_model_load_from_file(str(path).encode(), library.llama_model_default_params())
        settings = library.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = context
        settings.n_threads = settings.n_threads_batch = os.cpu_count()
        self.context = library.llama_init_from_model(self.model, settings)

    def logits(self, ids):
        library = self.library
        library.llama_memory_clear(library.llama_get_memory(self.context), True)
        batch = library.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
            batch.seq_id[i][0] = 0
        if library.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")
        vocabulary = library.llama_vocab_n_tokens(library.llama_model_get_vocab(self.model))
        rows = [np.ctypeslib.as_array(library.llama_get_logits_ith(self.context, i), (vocabulary,)).copy()
                for i in range(len(ids))]
        library.llama_batch_free(batch)
        return np.stack(rows)


def meraser_logits(binary, model, compute, ids, folder):
    out = os.path.join(folder, "logits.safetensors")
    subprocess.run(
        [binary, "logits", "--model", model, "--ids", ",".join(map(str, ids)), "--compute", compute, "--out", out,
         "--overwrite", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return load_file(out)["logits"]


class Tally:
    """How often one program's first token differs from another's."""

    def __init__(self):
        self.positions = self.clear = self.differences = self.unlike = 0
        self.farthest, self.widest = 0.0, 0.0

    def add(self, ours, theirs, margin):
        two = np.sort(theirs, axis=-1)[:, -2:]
        gap = two[:, 1] - two[:, 0]
        unlike = ours.argmax(-1) != theirs.argmax(-1)
        self.positions += len(gap)
        self.clear += int((gap > margin).sum())
        self.unlike += int(unlike.sum())
        self.differences += int((unlike & (gap > margin)).sum())
        self.farthest = max(self.farthest, float(np.abs(ours - theirs).max()))
        self.widest = max([self.widest] + gap[unlike].tolist())

    def __str__(self):
        return (f"{self.positions} positions, unlike at {self.unlike} (widest gap there {self.widest:.4f}), of the "
                f"{self.clear} clear ones at {self.differences}; logits at most {self.farthest:.2e} apart")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--meraser", default=".build/release/meraser")
    parser.add_argument("--peers", type=pathlib.Path, default=pathlib.Path.home() / ".cache/meraser-peers")
    parser.add_argument("--compute", default="f32,int8", help="meraser's precisions, with commas")
    parser.add_argument("--llama", type=pathlib.Path, help="the file that llama.cpp runs (default: MODEL)")
    parser.add_argument("--tokens", type=int, default=64, help="of each answer, at most")
    parser.add_argument("--margin", type=float, default=0.05, help="between the first two logits")
    args = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(args.model.parent, gguf_file=args.model.name)
    model = AutoModelForCausalLM.from_pretrained(
        args.model.parent, gguf_file=args.model.name, dtype=torch.float32, attn_implementation="eager").eval()
    llama = LlamaCpp(args.peers, args.llama or args.model, 512)
    precisions = args.compute.split(",")
    tallies = {f"meraser {p} | {peer}": Tally() for p in precisions for peer in ["Transformers", "llama.cpp"]}
    tallies["llama.cpp | Transformers"] = Tally()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for prompt in PROMPTS:
            ids = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt")
            ids = model.generate(ids, max_new_tokens=args.tokens, do_sample=False, pad_token_id=0)
            theirs = {"Transformers": model(ids).logits[0].numpy(), "llama.cpp": llama.logits(ids[0].tolist())}
            for precision in precisions:
                ours = meraser_logits(args.meraser, args.model, precision, ids[0].tolist(), folder)
                for peer, logits in theirs.items():
                    tallies[f"meraser {precision} | {peer}"].add(ours, logits, args.margin)
            tallies["llama.cpp | Transformers"].add(theirs["llama.cpp"], theirs["Transformers"], args.margin)
    for name, tally in tallies.items():
        print(f"{name}: {tally}")
    return 1 if tallies.get("meraser f32 | Transformers", Tally()).differences else 0


if __name__ == "__main__":
    sys.exit(main())
