"""Writes a tiny Llama as torch.save has it, whole and in shards, and the same numbers as safetensors (torch 2.x)."""
import json
import os
from collections import OrderedDict

import torch
from safetensors.torch import save_file

here = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(5)
bf16, f16, f32 = torch.bfloat16, torch.float16, torch.float32


def numbers(*shape, dtype=bf16):
    return (torch.randn(*shape) / 4).to(dtype)


layer = "model.layers.0."
keys_values = numbers(40, 32)  # k and v lie in it, from its fifth row on
embedding = numbers(16, 32)
state = OrderedDict()
state["model.embed_tokens.weight"] = torch.nn.Parameter(embedding)
state["lm_head.weight"] = embedding  # the same storage
state[layer + "self_attn.q_proj.weight"] = numbers(32, 32, dtype=f16)
state[layer + "self_attn.k_proj.weight"] = keys_values[4:20]
state[layer + "self_attn.v_proj.weight"] = keys_values[20:36]
state[layer + "self_attn.o_proj.weight"] = numbers(32, 32).t()  # columns first
state[layer + "mlp.gate_proj.weight"] = numbers(24, 40)[:, 5:37]  # every row has a gap
state[layer + "mlp.up_proj.weight"] = numbers(48, 64)[::2, 1::2]  # gaps in both
state[layer + "mlp.down_proj.weight"] = numbers(32, 24, dtype=f32)
state[layer + "input_layernorm.weight"] = numbers(64, dtype=f32)[::2]
state[layer + "post_attention_layernorm.weight"] = numbers(1, 32)[0]
state["model.norm.weight"] = numbers(40, dtype=f16)[8:]
state[layer + "self_attn.rotary_emb.inv_freq"] = torch.ones(8)
state["position_ids"] = torch.arange(7)
state._metadata = OrderedDict({"": {"version": 1}, "model": {"version": 2}})

torch.save(state, f"{here}/pytorch_model.bin")
names = list(state)
index = {"metadata": {"total_size": 1}, "weight_map": {}}
for number, part in enumerate([names[:5], names[5:]], 1):
    file = f"pytorch_model-0000{number}-of-00002.bin"
    torch.save({name: state[name] for name in part}, f"{here}/shards/{file}")
    index["weight_map"].update({name: file for name in part})
json.dump(index, open(f"{here}/shards/pytorch_model.bin.index.json", "w"), indent=1)
twin = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
os.makedirs(f"{here}/twin", exist_ok=True)
save_file(twin, f"{here}/twin/model.safetensors", metadata={"format": "pt"})
config = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 24,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 16,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2,
}
for folder in (here, f"{here}/shards", f"{here}/twin"):
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file, indent=1)
