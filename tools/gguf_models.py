#!/usr/bin/env python3
"""Converts Hugging Face models to GGUF with llama.cpp's converter and compares meraser's logits of both.

    gguf_models.py --llama-cpp DIR --meraser BIN [--type f32] [--fuse] FOLDER ...
    gguf_models.py --llama-cpp DIR --fixtures FOLDER ...    # writes Tests/ModelTests/Fixtures/gguf

Both must give the same numbers, to the bit, once the folder's config.json says what GGUF keeps of it: llama.cpp has no key
for some of transformers' (KEPT). A folder with golden.safetensors and nothing that is lost is held against it too (5e-5).
GPT-J, which llama.cpp names and does not convert, is written with gguf-py under that program's names. Files have no
vocabulary. Exits with 1 if logits differ. Needs: torch, transformers, safetensors; llama.cpp's source tree.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"


def kept(config):
    """The keys of config.json that come back with another value, and that value."""
    layers = config.get("num_hidden_layers", 0)
    name = config["architectures"][0]
    keys = {}
    usual = {"GPTNeoXForCausalLM": "gelu", "GPTJForCausalLM": "gelu_new", "Starcoder2ForCausalLM": "gelu_pytorch_tanh"}
    usual = usual.get(name, "gelu_pytorch_tanh" if name.startswith("Gemma") else "silu")
    keys |= {k: usual for k in ("hidden_act", "hidden_activation", "activation_function") if k in config}
    scaling = (config.get("rope_scaling") or {}).get("rope_type")
    # rope_freqs.weight is written for those that the converter derives from Llama.
    has_factors = name.startswith(("Llama", "Mistral", "Granite", "SmolLM3"))
    if scaling == "dynamic" or scaling == "llama3" and not has_factors:
        keys["rope_scaling"] = None
    if name in ("GemmaForCausalLM", "Gemma2ForCausalLM"):
        keys["tie_word_embeddings"] = True
    if name in ("Gemma2ForCausalLM", "Gemma3ForCausalLM"):
        keys["query_pre_attn_scalar"] = config["head_dim"]
    if name == "Gemma2ForCausalLM":
        keys["layer_types"] = ["full_attention" if i % 2 else "sliding_attention" for i in range(layers)]
        keys |= {k: config[k] or 1e6 for k in ("attn_logit_softcapping", "final_logit_softcapping")}
    if name == "Gemma3ForCausalLM":
        keys["layer_types"] = ["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(layers)]
        keys["rope_local_base_freq"] = 10000.0
    if name == "SmolLM3ForCausalLM":
        keys["use_sliding_window"] = False
        keys["layer_types"] = ["full_attention"] * layers
        keys["no_rope_layers"] = [0 if i % 4 == 3 else 1 for i in range(layers)]
    if name in ("MistralForCausalLM", "Starcoder2ForCausalLM"):
        keys["sliding_window"] = None
    if name == "StableLmForCausalLM" or name == "GPTNeoXForCausalLM":
        keys["rope_scaling"] = None
        keys["rotary_emb_base" if name == "GPTNeoXForCausalLM" else "rope_theta"] = 10000
    lost = {"truncate", "mscale", "mscale_all_dim"}
    if lost & set(config.get("rope_scaling") or {}):
        keys["rope_scaling"] = {k: v for k, v in config["rope_scaling"].items() if k not in lost}
    return {k: v for k, v in keys.items() if config.get(k) != v and (k in config or v not in (None, True))}


def copy_with(folder, target, keys):
    """The folder with those keys in its config.json, and a vocabulary of as many words as it has rows."""
    shutil.copytree(folder, target)
    config = json.load(open(f"{folder}/config.json"))
    os.chmod(target, 0o755)
    for name in ("config.json", "tokenizer.json"):
        if os.path.exists(f"{target}/{name}"):
            os.remove(f"{target}/{name}")
    json.dump(config | keys, open(f"{target}/config.json", "w"))
    vocabulary = {f"t{i}": i for i in range(config["vocab_size"])}
    json.dump({"model": {"type": "BPE", "vocab": vocabulary, "merges": []}, "added_tokens": []},
              open(f"{target}/tokenizer.json", "w"))
    return config | keys


def convert(folder, target, kind, fuse):
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class
    import gguf

    hparams = ModelBase.load_hparams(Path(folder), False)
    model = get_model_class(get_model_architecture(hparams, ModelType.TEXT))

    model.set_vocab = lambda self: self._set_vocab_none()
    file_type = {"f32": gguf.LlamaFileType.ALL_F32, "bf16": gguf.LlamaFileType.MOSTLY_BF16}[kind]
    extra = {"fuse_qkv": True} if fuse else {}
    model(Path(folder), file_type, Path(target), **extra).write()


GPTJ_NAMES = {
    "transformer.wte": "token_embd", "transformer.ln_f": "output_norm", "lm_head": "output", "ln_1": "attn_norm",
    "attn.q_proj": "attn_q", "attn.k_proj": "attn_k", "attn.v_proj": "attn_v", "attn.out_proj": "attn_output",
    "mlp.fc_in": "ffn_up", "mlp.fc_out": "ffn_down",
}


def write_gptj(folder, config, target, kind):
    import gguf
    import torch
    from safetensors.torch import load_file

    writer = gguf.GGUFWriter(target, "gptj")
    hidden = config["n_embd"]
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(hidden)
    writer.add_block_count(config["n_layer"])
    writer.add_feed_forward_length(config["n_inner"] or 4 * hidden)
    writer.add_head_count(config["n_head"])
    writer.add_rope_dimension_count(config["rotary_dim"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    for name, tensor in load_file(f"{folder}/model.safetensors").items():
        module, ending = name.rsplit(".", 1)
        parts = module.split(".")
        if parts[:2] == ["transformer", "h"]:
            name = f"blk.{parts[2]}.{GPTJ_NAMES['.'.join(parts[3:])]}.{ending}"
        else:
            name = f"{GPTJ_NAMES[module]}.{ending}"
        values = tensor.float().contiguous()
        if kind == "bf16" and values.dim() == 2:
            raw = values.to(torch.bfloat16).view(torch.uint8).numpy()
            writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(name, values.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write(folder, target, kind, work, fuse=False):
    """Writes the GGUF file; the folder that says what it keeps, and what that changes."""
    config = json.load(open(f"{folder}/config.json"))
    keys = kept(config)
    other = f"{work}/{Path(folder).name}"
    config = copy_with(folder, other, keys)
    if config["architectures"] == ["GPTJForCausalLM"]:
        write_gptj(folder, config, target, kind)
    else:
        convert(other, target, kind, fuse)
    return other, keys


def logits(meraser, model, ids, work):
    out = f"{work}/logits.safetensors"
    command = [meraser, "logits", "--model", model, "--ids", ids, "--out", out, "--overwrite", "--compute", "f32", "-q"]
    environment = dict(os.environ, MERASER_CACHE=f"{work}/cache")
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{model}: {run.stderr}")
    from safetensors.numpy import load_file

    return load_file(out)["logits"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    parser.add_argument("--llama-cpp", required=True, metavar="DIR")
    parser.add_argument("--meraser", metavar="BIN")
    parser.add_argument("--type", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--fuse", action="store_true", help="q, k and v in one tensor (--fuse-qkv)")
    parser.add_argument("--fixtures", action="store_true")
    arguments = parser.parse_args()
    sys.path[:0] = [arguments.llama_cpp + "/gguf-py", arguments.llama_cpp]
    good, changes = True, {}
    with tempfile.TemporaryDirectory() as work:
        for folder in arguments.folders:
            name = Path(folder).name
            if arguments.fixtures:
                target = Path("Tests/ModelTests/Fixtures/gguf")
                target.mkdir(exist_ok=True)
                changes[name] = write(folder, str(target / f"{name}.gguf"), "bf16", work)[1]
                continue
            file = f"{work}/{name}.gguf"
            other, keys = write(folder, file, arguments.type, work, arguments.fuse)
            from safetensors.numpy import load_file

            golden = load_file(f"{folder}/golden.safetensors")
            ids = ",".join(str(i) for i in golden["ids"].reshape(-1))
            ours = logits(arguments.meraser, file, ids, work)
            theirs = logits(arguments.meraser, other, ids, work)
            difference = abs(ours - theirs).max()
            line = f"{name}: GGUF - folder {difference:.1e}"
            good &= difference == 0
            if not keys:
                error = abs(ours - golden["logits"].reshape(ours.shape)).max()
                line += f", GGUF - golden {error:.1e}"
                good &= error < 5e-5
            print(line + (f"; not kept: {', '.join(keys)}" if keys else ""), flush=True)
    if arguments.fixtures:
        json.dump(changes, open("Tests/ModelTests/Fixtures/gguf/kept.json", "w"), indent=1, sort_keys=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
