#!/usr/bin/env python3
"""What each type of ours and of llama.cpp costs a model: KL from the float weights, perplexity ratio, same top token, bytes.

    quantization_table.py --meraser BIN --llama FOLDER --model HF --gguf F32.gguf --work DIR \\
        --calibrate TEXT --imatrix F.gguf --text wiki=FILE code=FILE --only iq4_nl IQ4_NL

Their files are made by llama-quantize from F32.gguf, the same weights as HF, and converted to f32 by us without loss (`convert
--type f32`), so that all are measured by one arithmetic: `meraser ppl --protocol chunk --reference HF --compute f32`, which is what
llama-perplexity's --kl-divergence measures. Rows that are in DIR/rows.jsonl already are not measured again; --only names rows.
--own TEXT... measures their files by llama-perplexity's own --kl-divergence against F32.gguf too, whose activations are
int8; it reads no special tokens, so texts in a chat template are none of these. Bytes and bits are those of all tensors.
--imatrix-of TEXT makes F.gguf, in the format of llama-imatrix, of the inputs of Transformers' modules (q, k, v, o, gate, up,
down of Llama models). Needs: llama-quantize, llama-perplexity for --own; gguf; torch and transformers.
"""
import argparse
import json
import os
import re
import struct
import subprocess

MODULES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
           "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
           "mlp.down_proj": "ffn_down"}


def mqf_sizes(path):
    """Bytes and weights of the tensors of an MQF file (docs/reference/format.md)."""
    with open(path, "rb") as file:
        header = file.read(64)
        count, = struct.unpack_from("<I", header, 20)
        offset, = struct.unpack_from("<Q", header, 32)
        length, = struct.unpack_from("<I", header, 44)
        file.seek(offset)
        data = file.read(length)
    place = total = weights = 0
    for _ in range(count):
        name_length, = struct.unpack_from("<Q", data, place)
        place += 8 + name_length
        _, rank = struct.unpack_from("<II", data, place)
        shape = struct.unpack_from(f"<{rank}Q", data, place + 8)
        place += 8 + 8 * rank
        total += struct.unpack_from("<Q", data, place + 8)[0]
        place += 20
        product = 1
        for n in shape:
            product *= n
        weights += product
    return total, weights


def gguf_sizes(path):
    import gguf
    tensors = gguf.GGUFReader(path).tensors
    return sum(int(t.n_bytes) for t in tensors), sum(int(t.n_elements) for t in tensors)


def make_imatrix(model, text, out, count):
    """Sums of squared inputs of each matrix, over windows of 512 tokens that lie spread over the text."""
    import gguf
    import numpy
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    raw = open(text).read()
    if text.endswith(".jsonl"):
        raw = "\n\n".join(json.loads(line)["text"] for line in raw.splitlines())
    ids = tokenizer(raw, add_special_tokens=False).input_ids
    windows = [ids[i:i + 512] for i in range(0, len(ids), 512)]
    step = max(1, len(windows) * 512 // count)
    sums, counts = {}, {}

    def watch(key):
        def hook(_, inputs):
            x = inputs[0].reshape(-1, inputs[0].shape[-1])
            sums[key] = sums.get(key, 0) + x.pow(2).sum(0)
            counts[key] = counts.get(key, 0) + len(x)
        return hook

    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear) and ".layers." in name:
            layer, kind = name.split(".layers.")[1].split(".", 1)
            module.register_forward_pre_hook(watch(f"blk.{layer}.{MODULES[kind]}.weight"))
    with torch.no_grad():
        for window in windows[::step]:
            network.model(torch.tensor([window]))
    writer = gguf.GGUFWriter(out, "imatrix")
    writer.add_string("general.type", "imatrix")
    writer.add_array("imatrix.datasets", [text])
    writer.add_uint32("imatrix.chunk_count", len(windows[::step]))
    writer.add_uint32("imatrix.chunk_size", 512)
    for key, value in sums.items():
        writer.add_tensor(key + ".in_sum2", value.numpy().astype(numpy.float32)[None])
        writer.add_tensor(key + ".counts", numpy.array([[counts[key]]], dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Table:
    def __init__(self, options):
        self.options = options
        self.path = os.path.join(options.work, "rows.jsonl")
        self.rows = {}
        if os.path.exists(self.path):
            for line in open(self.path):
                row = json.loads(line)
                self.rows[row["name"]] = row

    def run(self, *arguments):
        result = subprocess.run([self.options.meraser, *arguments], capture_output=True, text=True)
        if result.returncode != 0:
            raise SystemExit(f"meraser {' '.join(arguments)}: {result.stderr}")
        return result.stdout

    def wants(self, name):
        return name not in self.rows and (not self.options.only or name in self.options.only)

    def measure(self, name, path, sizes, own=None):
        size, weights = sizes
        row = {"name": name, "bytes": size, "bits": 8 * size / weights, "texts": {}}
        for text in self.options.text:
            label, file = text.split("=", 1)
            kl = json.loads(self.run("ppl", "--model", path, "--data", file, "--protocol", "chunk", "--reference",
                                     self.options.model, "--compute", "f32", "--json", "-q"))
            row["texts"][label] = {"kl": kl["kl"]["mean"], "stderr": kl["kl"]["stderr"],
                                   "ratio": kl["kl"]["ppl_ratio"], "top": kl["kl"]["same_top"]}
        if own:
            row["own"] = own
        self.rows[name] = row
        with open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")
        cells = [f"{t['kl']:.4f} | {t['ratio']:.4f} | {100 * t['top']:.1f} %" for t in row["texts"].values()]
        cells += [f"{value:.4f}" for value in (own or {}).values()]
        print(f"| {name} | {size / 1e6:.2f} | {row['bits']:.2f} | " + " | ".join(cells) + " |", flush=True)

    def own(self, made):
        """Mean KL of their file by their program, for each text of --own."""
        divergences = {}
        for text in self.options.own:
            label, file = text.split("=", 1)
            logits = os.path.join(self.options.work, label + ".logits")
            command = [os.path.join(self.options.llama, "llama-perplexity"), "-f", file, "-c", "512",
                       "--kl-divergence-base", logits]
            if not os.path.exists(logits):
                self.llama(*command, "-m", self.options.gguf)
            found = re.search(r"Mean\s+KLD:\s+([0-9.]+)", self.llama(*command, "-m", made, "--kl-divergence"))
            divergences[label] = float(found.group(1))
        return divergences

    def llama(self, *command):
        folder = self.options.llama
        result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LD_LIBRARY_PATH": folder})
        if result.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: {result.stderr[-2000:]}")
        return result.stdout + result.stderr

    def ours(self, name, *arguments):
        if not self.wants(name):
            return
        path = os.path.join(self.options.work, "ours.mqf")
        self.run("convert", self.options.model, "--out", path, "--overwrite", "-q", *arguments)
        self.measure(name, path, mqf_sizes(path))
        os.remove(path)

    def theirs(self, name, kind, *arguments):
        if not self.wants(name):
            return
        made, path = (os.path.join(self.options.work, n) for n in ("theirs.gguf", "theirs.mqf"))
        self.llama(os.path.join(self.options.llama, "llama-quantize"), *arguments, self.options.gguf, made, kind)
        self.run("convert", made, "--out", path, "--type", "f32", "--overwrite", "-q")
        self.measure(name, path, gguf_sizes(made), self.own(made))
        os.remove(made)
        os.remove(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meraser", required=True)
    parser.add_argument("--llama", required=True, help="the folder of llama-quantize")
    parser.add_argument("--model", required=True)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--calibrate", required=True)
    parser.add_argument("--imatrix")
    parser.add_argument("--imatrix-of")
    parser.add_argument("--tokens", default="16384")
    parser.add_argument("--bits", nargs="*", default=[])
    parser.add_argument("--text", nargs="+", required=True, metavar="NAME=FILE")
    parser.add_argument("--own", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    os.makedirs(options.work, exist_ok=True)
    if options.imatrix_of and not os.path.exists(options.imatrix):
        make_imatrix(options.model, options.imatrix_of, options.imatrix, int(options.tokens))
    table = Table(options)
    labels = [text.split("=", 1)[0] for text in options.text]
    print("| weights | MB | bits | " + " | ".join(f"{l}: KL | ratio | top" for l in labels) + " | their own KL")
    print("|---" * (3 + 3 * len(labels)) + "|")
    calibrated = ("--calibrate", options.calibrate, "--calibration-tokens", options.tokens)
    for kind in ("iq4_nl", "q4_0", "q4_1", "q4_k", "q5_k", "q6_k", "q8_0"):
        table.ours(kind, "--type", kind)
        table.ours(kind + ", calibrated", "--type", kind, *calibrated)
        if kind in ("iq4_nl", "q4_k"):
            table.ours(kind + ", self", "--type", kind, "--calibrate", "self", "--calibration-tokens", options.tokens)
    for bits in options.bits:
        table.ours(f"--bits {bits}", "--bits", bits, *calibrated)
    for kind in ("Q4_0", "Q4_1", "IQ4_NL", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"):
        table.theirs(f"llama.cpp {kind}", kind)
        if options.imatrix and kind in ("IQ4_NL", "Q4_K_M"):
            table.theirs(f"llama.cpp {kind}, imatrix", kind, "--imatrix", options.imatrix)


if __name__ == "__main__":
    main()
