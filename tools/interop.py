#!/usr/bin/env python3
"""Proves what `meraser export` writes with the programs that read it: Transformers, PEFT and llama.cpp.

    interop.py [--meraser BIN] [--model HF_DIR] [--llama DIR] [--text FILE] [--types f32,q8_0,…]
               [--architectures DIR --peers DIR]

Of a small model (a Hugging Face folder), on the first chunks of a text:

- hf: Transformers gives our logits of the model with an adapter in it; peft: so does AutoPeftModelForCausalLM of the
  adapter;
- gguf: llama-perplexity's perplexity is within 0.05 % of `meraser ppl --protocol chunk` for f32, 0.5 % for others;
- gguf-lora: so it is with --lora (0.05 %), and the most likely token at every position is ours wherever the first two
  logits are more than 0.05 apart;
- with --architectures, of each model in that folder's folders: llama.cpp (through the bindings of tools/peers/setup.sh,
  in --peers) gives the logits of its GGUF file but for its fp16 cache of keys and values, or the export is refused by
  name.

A part whose program or model is missing is skipped with the reason. Exit status 1: a part failed. The adapter is
random, of two ranks with rsLoRA. Runs under any Python with numpy and safetensors; torch, transformers and peft are for
hf and peft.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
LIMITS = {"f32": 0.05}
MARGIN = 0.05


class Interop:
    def __init__(self, args, folder):
        self.args, self.folder = args, pathlib.Path(folder)
        self.rows, self.failed = [], False
        self.adapter = self.folder / "adapter"

    def note(self, part, result, figures):
        self.rows.append((part, result, figures))
        self.failed |= result == "FAILED"
        print(f"{part:<24} {result:<8} {figures}", flush=True)

    def run(self, *words, cwd=None):
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True, cwd=cwd)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, words))}\nended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done.stdout + done.stderr

    def meraser(self, *words):
        return self.run(self.args.meraser, *words, "--quiet")

    def export(self, form, out, *words):
        path = self.folder / out
        self.meraser("export", "--model", self.args.model, "--format", form, "--out", path, *words)
        return path

    # MARK: the adapter

    def write_adapter(self):
        """Random factors of ranks 4 and 2 on queries, keys and the MLP's output, with rsLoRA."""
        import numpy as np
        from safetensors.numpy import save_file

        config = json.loads((pathlib.Path(self.args.model) / "config.json").read_text())
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        size = config.get("head_dim") or hidden // heads
        shapes = {"self_attn.q_proj": (heads * size, hidden),
                  "self_attn.k_proj": (config.get("num_key_value_heads", heads) * size, hidden),
                  "mlp.down_proj": (hidden, config["intermediate_size"])}
        random, tensors = np.random.default_rng(1), {}
        for layer in range(config["num_hidden_layers"]):
            for name, (rows, columns) in shapes.items():
                rank = 2 if name.endswith("k_proj") else 4
                path = f"base_model.model.model.layers.{layer}.{name}"
                tensors[path + ".lora_A.weight"] = (random.standard_normal((rank, columns)) * 0.05).astype(np.float32)
                tensors[path + ".lora_B.weight"] = (random.standard_normal((rows, rank)) * 0.05).astype(np.float32)
        self.adapter.mkdir()
        save_file(tensors, self.adapter / "adapter_model.safetensors")
        (self.adapter / "adapter_config.json").write_text(json.dumps({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "lora_dropout": 0.0,
            "use_rslora": True, "bias": "none", "target_modules": ["q_proj", "k_proj", "down_proj"], "rank_pattern": {"k_proj": 2},
            "base_model_name_or_path": None, "inference_mode": True}))

    # MARK: Transformers and PEFT

    def check_torch(self):
        missing = [name for name in ("torch", "transformers", "peft") if importlib.util.find_spec(name) is None]
        if missing:
            return self.note("hf, peft", "skipped", f"no {', '.join(missing)} in {sys.executable}")
        import numpy as np
        import peft
        import torch
        import transformers
        from safetensors.numpy import load_file

        ids = [int(i) for i in np.random.default_rng(2).integers(0, 1000, 48)]
        words = ["--ids", ",".join(map(str, ids)), "--compute", "f32", "--overwrite", "--out"]

        def ours(*model):
            self.meraser("logits", *model, *words, self.folder / "logits.safetensors")
            return load_file(self.folder / "logits.safetensors")["logits"]

        def theirs(model):
            with torch.no_grad():
                return model.eval()(torch.tensor([ids])).logits[0].float().numpy()

        def compare(part, a, b, version):
            apart = float(np.abs(a - b).max())
            self.note(part, "ok" if apart < 2e-3 else "FAILED", f"logits at most {apart:.1e} apart ({version})")

        fused = self.export("hf", "hf", "--adapter", self.adapter, "--dtype", "f32")
        model = transformers.AutoModelForCausalLM.from_pretrained(fused, dtype=torch.float32)
        compare("hf", ours("--model", self.args.model, "--adapter", self.adapter), theirs(model),
                f"Transformers {transformers.__version__}")
        joined = self.export("peft", "peft", "--adapter", self.adapter, "--base", self.args.model)
        model = peft.AutoPeftModelForCausalLM.from_pretrained(joined, dtype=torch.float32)
        compare("peft", ours("--model", self.args.model, "--adapter", joined), theirs(model), f"PEFT {peft.__version__}")

    # MARK: llama.cpp

    def check_architectures(self):
        peers = pathlib.Path(self.args.peers)
        if not self.args.architectures or not (peers / "python").exists():
            return self.note("architectures", "skipped", "no --architectures, or no bindings in --peers")
        import numpy as np
        from argmax_parity import LlamaCpp
        from safetensors.numpy import load_file

        for folder in sorted(pathlib.Path(self.args.architectures).iterdir()):
            if not (folder / "config.json").exists():
                continue
            path, logits = self.folder / f"{folder.name}.gguf", self.folder / "logits.safetensors"
            done = subprocess.run([self.args.meraser, "export", "--model", folder, "--format", "gguf", "--dtype", "f32",
                                   "--out", path, "--quiet"], capture_output=True, text=True)
            if done.returncode == 3:
                self.note(folder.name, "refused", done.stderr.strip().splitlines()[-1].split(": ", 3)[-1])
                continue
            ids = [int(i) for i in np.random.default_rng(3).integers(0, 300, 12)]
            self.meraser("logits", "--model", folder, "--ids", ",".join(map(str, ids)), "--compute", "f32",
                         "--overwrite", "--out", logits)
            apart = float(np.abs(load_file(logits)["logits"] - LlamaCpp(peers, path, 64).logits(ids)).max())
            self.note(folder.name, "ok" if apart < 0.02 else "FAILED", f"logits at most {apart:.1e} apart")

    def perplexity(self, model, *words):
        program = pathlib.Path(self.args.llama) / "llama-perplexity"
        text = self.run(program, "-m", model, "-f", self.text, "-c", "512", "-t", str(os.cpu_count()), *words)
        return float(re.search(r"Final estimate: PPL = ([0-9.]+)", text).group(1))

    def our_perplexity(self, *words):
        found = self.meraser("ppl", *words, "--data", self.text, "--protocol", "chunk", "--max-length", "512", "--json")
        return json.loads(found[found.index("{"):])["ppl"]

    def compare(self, part, theirs, ours, limit):
        apart = abs(theirs / ours - 1) * 100
        self.note(part, "ok" if apart <= limit else "FAILED",
                  f"llama.cpp {theirs:.4f}, meraser {ours:.4f}: {apart:.4f} % apart, at most {limit} %")

    def check_llama(self):
        program = pathlib.Path(self.args.llama) / "llama-perplexity"
        if not program.exists():
            return self.note("gguf, gguf-lora", "skipped", f"no {program}")
        self.text = self.folder / "text.txt"
        self.text.write_text(pathlib.Path(self.args.text).read_text()[:self.args.characters])
        for kind in self.args.types.split(","):
            path = self.export("gguf", f"{kind}.gguf", "--dtype", kind)
            self.compare(f"gguf {kind}", self.perplexity(path), self.our_perplexity("--model", path, "--compute", "f32"),
                         LIMITS.get(kind, 0.5))
        base = self.folder / "f32.gguf"
        if not base.exists():
            base = self.export("gguf", "f32.gguf", "--dtype", "f32")
        lora = self.export("gguf-lora", "lora.gguf", "--adapter", self.adapter)
        logits = self.folder / "llama.logits"
        theirs = self.perplexity(base, "--lora", lora, "--kl-divergence-base", logits)
        stack = ["--model", self.args.model, "--adapter", self.adapter]
        self.compare("gguf-lora", theirs, self.our_perplexity(*stack, "--compute", "f32"), LIMITS["f32"])
        self.check_tokens(logits, stack)

    def check_tokens(self, path, stack):
        """The most likely tokens of the second half of the first window, from what llama-perplexity has saved."""
        import numpy as np
        from safetensors.numpy import load_file

        data = path.read_bytes()
        assert data[:8] == b"_logits_", "not what llama-perplexity saves"
        context, vocabulary, chunks = struct.unpack("<iii", data[8:20])
        ids = np.frombuffer(data, "<i4", context * chunks, 20)
        start, width = 20 + 4 * context * chunks, 2 * ((vocabulary + 1) // 2) + 4
        rows = context - 1 - context // 2
        packed = np.frombuffer(data, "<u2", rows * width, start).reshape(rows, width)
        theirs = packed[:, 4:4 + vocabulary]
        self.meraser("logits", *stack, "--ids", ",".join(map(str, ids[:context])), "--compute", "f32", "--overwrite",
                     "--out", self.folder / "logits.safetensors")
        ours = load_file(self.folder / "logits.safetensors")["logits"][context // 2:context - 1]
        two = np.sort(ours, axis=-1)[:, -2:]
        clear = two[:, 1] - two[:, 0] > MARGIN
        # Saved log-probabilities have 16 bits: ours may be one of several that are the highest there.
        chosen = theirs[np.arange(rows), ours.argmax(-1)]
        unlike = int(((chosen < theirs.max(-1)) & clear).sum())
        self.note("gguf-lora, argmax", "ok" if unlike == 0 else "FAILED",
                  f"{rows} positions, {int(clear.sum())} clear, {unlike} unlike")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meraser", default=".build/release/meraser", help="the program")
    parser.add_argument("--model", default="", help="a Hugging Face folder in Llama's layout")
    parser.add_argument("--llama", default="", help="the folder of llama-perplexity")
    parser.add_argument("--architectures", default="", help="a folder of small models of other architectures")
    parser.add_argument("--peers", default="", help="what tools/peers/setup.sh made")
    parser.add_argument("--text", default="README.md", help="a plain text")
    parser.add_argument("--characters", type=int, default=12000, help="of the text that are read")
    parser.add_argument("--types", default="f32,f16,bf16,q8_0,q4_0,iq4_nl", help="of GGUF files, with commas")
    args = parser.parse_args()
    if not shutil.which(args.meraser):
        print(f"skipped: no {args.meraser}; build it first (make build)")
        return 0
    if not (pathlib.Path(args.model) / "config.json").exists():
        print(f"skipped: no model at '{args.model}'; name a Hugging Face folder with --model (make interop MODEL=DIR)")
        return 0
    args.model = os.path.abspath(args.model)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MERASER_CACHE"] = folder + "/cache"
        interop = Interop(args, folder)
        interop.write_adapter()
        interop.check_torch()
        interop.check_llama()
        interop.check_architectures()
        return 1 if interop.failed else 0


if __name__ == "__main__":
    sys.exit(main())
