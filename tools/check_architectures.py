#!/usr/bin/env python3
"""Makes tiny models of every architecture with random shapes and switches and compares meraser with Transformers and PEFT.

    python tools/check_architectures.py [--only gemma2,phi3] [--count 3] [--seed 0] [--meraser .build/release/meraser]
                                        [--isa portable,avx2] [--compute f32] [--keep DIR] [--fixtures DIR]

For each model: logits, hidden states, greedy continuation, and loss and gradients of a PEFT adapter of rank 2 on every linear
module, all in fp32 with eager attention. Prints a line a model and the config of one that differs by more than 2e-4 (logits,
hidden states; absolute) or 1e-4 (loss, gradients; relative); exit status 1 then. `--keep` leaves the models that differ.
`--fixtures` writes one small model of each with its golden values instead (Tests/ModelTests/Fixtures/small).
"""

import argparse
import copy
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers.modeling_utils import no_init_weights

transformers.logging.set_verbosity_error()


class Chance:
    """Random choices of a model."""

    def __init__(self, seed, small):
        self.random, self.small = random.Random(seed), small

    def of(self, *values):
        return self.random.choice(values)

    def yes(self, share=0.5):
        return self.random.random() < share


def decoder(c):
    """Sizes that Llama-like configs share."""
    heads, groups = c.of((4, 2), (4, 1), (3, 1), (2, 2), (6, 3))
    head = c.of(8, 10, 12, 16, 24) if not c.small else 8
    hidden = c.of(32, 40, 44, 64) if not c.small else 32
    return dict(
        vocab_size=c.of(61, 96, 131) if not c.small else 48, hidden_size=hidden, num_attention_heads=heads,
        num_key_value_heads=groups, head_dim=head, intermediate_size=c.of(36, 48, 80) if not c.small else 40,
        num_hidden_layers=c.of(1, 2, 3) if not c.small else 2, max_position_embeddings=64)


def even_heads(c, size):
    """Without `head_dim`: the hidden size is what the heads have."""
    size = dict(size)
    size["hidden_size"] = size["num_attention_heads"] * size.pop("head_dim")
    return size


def rope(c, size, share=1.0):
    """A rope_scaling, or none."""
    width = int(size.get("head_dim", size["hidden_size"] // size["num_attention_heads"]) * share)
    pairs = (width + 1) // 2
    kind = c.of(None, None, "linear", "dynamic", "yarn", "yarn", "longrope", "llama3")
    if kind == "linear":
        return dict(rope_type="linear", factor=c.of(2.0, 3.5))
    if kind == "dynamic" and width > 2:
        size["max_position_embeddings"] = c.of(16, 32, 64)
        return dict(rope_type="dynamic", factor=c.of(2.0, 4.0))
    if kind == "yarn" and width % 2 == 0:
        scaling = dict(rope_type="yarn", factor=c.of(2.0, 8.0), original_max_position_embeddings=c.of(16, 32))
        if c.yes(0.3):
            scaling |= dict(beta_fast=16.0, beta_slow=2.0)
        if c.yes(0.3):
            scaling["attention_factor"] = 1.1
        elif c.yes(0.3):
            scaling |= dict(mscale=0.8, mscale_all_dim=0.6)
        if c.yes(0.3):
            scaling["truncate"] = False
        return scaling
    if kind == "longrope":
        size["original_max_position_embeddings"] = c.of(16, 64)
        return dict(
            rope_type="longrope", factor=4.0, short_factor=[1.0 + 0.1 * i for i in range(pairs)],
            long_factor=[1.5 + 0.5 * i for i in range(pairs)])
    if kind == "llama3":
        return dict(
            rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=32)
    return None


def act(c, usual):
    return usual if c.small or c.yes() else c.of("silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "tanh")


def layer_types(c, size, default):
    if c.yes():
        return None
    return [c.of("sliding_attention", "full_attention") for _ in range(size["num_hidden_layers"])]


def llama(c):
    size = decoder(c)
    return transformers.LlamaConfig(
        **size, rope_scaling=rope(c, size), tie_word_embeddings=c.yes(), attention_bias=c.yes(), mlp_bias=c.yes(),
        hidden_act=act(c, "silu"), rope_theta=c.of(1e4, 5e5))


def mistral(c):
    size = decoder(c)
    return transformers.MistralConfig(**size, sliding_window=c.of(None, 5, 12), tie_word_embeddings=c.yes())


def qwen2(c):
    size = even_heads(c, decoder(c))
    use = c.yes()
    return transformers.Qwen2Config(
        **size, use_sliding_window=use, sliding_window=7, max_window_layers=c.of(0, 1), tie_word_embeddings=c.yes(),
        rope_scaling=rope(c, size))


def qwen3(c):
    size = decoder(c)
    return transformers.Qwen3Config(**size, attention_bias=c.yes(), tie_word_embeddings=c.yes(), rope_scaling=rope(c, size))


def phi3(c):
    size = even_heads(c, decoder(c))
    share = c.of(1.0, 0.75, 0.5)
    width = int(size["hidden_size"] // size["num_attention_heads"] * share)
    size["original_max_position_embeddings"] = c.of(16, 64)
    scaling = None
    if c.yes():
        scaling = dict(
            type="longrope", short_factor=[1.0 + 0.1 * i for i in range(width // 2)],
            long_factor=[1.5 + 0.5 * i for i in range(width // 2)])
    if width % 2:
        share, scaling = 1.0, None
    return transformers.Phi3Config(
        **size, partial_rotary_factor=share, rope_scaling=scaling, sliding_window=c.of(None, 6),
        tie_word_embeddings=c.yes(), hidden_act=act(c, "silu"), pad_token_id=0, bos_token_id=1, eos_token_id=2)


def gemma(c):
    size = decoder(c)
    name = act(c, "gelu_pytorch_tanh")
    return transformers.GemmaConfig(**size, hidden_act=name, hidden_activation=name, attention_bias=c.yes())


def gemma2(c):
    size = decoder(c)
    return transformers.Gemma2Config(
        **size, hidden_activation=act(c, "gelu_pytorch_tanh"), query_pre_attn_scalar=c.of(16, 20, 32), sliding_window=9,
        attn_logit_softcapping=c.of(None, 5.0, 50.0), final_logit_softcapping=c.of(None, 3.0, 30.0),
        layer_types=layer_types(c, size, None), attention_bias=c.yes(), tie_word_embeddings=c.yes(0.8))


def gemma3(c):
    size = decoder(c)
    return transformers.Gemma3TextConfig(
        **size, hidden_activation=act(c, "gelu_pytorch_tanh"), query_pre_attn_scalar=c.of(16, 20), sliding_window=8,
        layer_types=layer_types(c, size, None), sliding_window_pattern=2, rope_theta=1e6, rope_local_base_freq=c.of(1e4, 5e3),
        rope_scaling=c.of(None, dict(rope_type="linear", factor=8.0)), final_logit_softcapping=c.of(None, 10.0),
        attention_bias=c.yes())


def gpt_neox(c):
    size = even_heads(c, decoder(c))
    size.pop("num_key_value_heads")
    share = c.of(0.25, 0.5, 1.0)
    if c.yes(0.3) and not c.small:
        size["num_attention_heads"], size["hidden_size"] = 4, 80  # five features of a head are rotated
    scaling = c.of(None, dict(rope_type="linear", factor=2.0), dict(rope_type="dynamic", factor=2.0))
    width = int(size["hidden_size"] // size["num_attention_heads"] * share)
    return transformers.GPTNeoXConfig(
        **size, rotary_pct=share, rotary_emb_base=c.of(10_000, 2_000), use_parallel_residual=c.yes(0.7),
        attention_bias=c.yes(0.7), hidden_act=act(c, "gelu"), tie_word_embeddings=c.yes(0.3),
        rope_scaling=scaling if width > 2 else None)


def gptj(c):
    size = even_heads(c, decoder(c))
    head = size["hidden_size"] // size["num_attention_heads"]
    return transformers.GPTJConfig(
        vocab_size=size["vocab_size"], n_embd=size["hidden_size"], n_head=size["num_attention_heads"],
        n_layer=size["num_hidden_layers"], n_positions=64, n_inner=c.of(None, 44), rotary_dim=c.of(2, 4, head),
        activation_function=act(c, "gelu_new"), tie_word_embeddings=c.yes(0.3), bos_token_id=1, eos_token_id=2)


def olmo2(c):
    size = even_heads(c, decoder(c)) if c.yes() else decoder(c)
    return transformers.Olmo2Config(
        **size, attention_bias=c.yes(), tie_word_embeddings=c.yes(), hidden_act=act(c, "silu"), rope_theta=c.of(1e4, 5e5),
        rope_scaling=c.of(None, dict(type="linear", factor=2.0), dict(type="dynamic", factor=2.0)), pad_token_id=None,
        bos_token_id=1, eos_token_id=2)


def granite(c):
    size = even_heads(c, decoder(c)) if c.yes() else decoder(c)
    return transformers.GraniteConfig(
        **size, attention_bias=c.yes(), mlp_bias=c.yes(), tie_word_embeddings=c.yes(), embedding_multiplier=c.of(1.0, 12.0),
        logits_scaling=c.of(1.0, 8.0), residual_multiplier=c.of(1.0, 0.22), attention_multiplier=c.of(0.0625, 0.3),
        hidden_act=act(c, "silu"), rope_scaling=rope(c, size))


def smollm3(c):
    size = decoder(c)
    layers = size["num_hidden_layers"]
    return transformers.SmolLM3Config(
        **size, no_rope_layers=c.of(None, [c.of(0, 1) for _ in range(layers)]), no_rope_layer_interval=2,
        use_sliding_window=c.yes(), sliding_window=6, attention_bias=c.yes(), mlp_bias=c.yes(), pad_token_id=0,
        bos_token_id=1, eos_token_id=2, tie_word_embeddings=c.yes(), hidden_act=act(c, "silu"), rope_scaling=rope(c, size))


def stablelm(c):
    size = even_heads(c, decoder(c))
    head = size["hidden_size"] // size["num_attention_heads"]
    shares = [s for s in (0.25, 0.5, 1.0) if int(head * s) % 2 == 0]
    return transformers.StableLmConfig(
        **size, use_qkv_bias=c.yes(), qk_layernorm=c.yes(), use_parallel_residual=c.yes(), tie_word_embeddings=c.yes(0.3),
        partial_rotary_factor=c.of(*shares), hidden_act=act(c, "silu"))


def starcoder2(c):
    size = decoder(c)
    return transformers.Starcoder2Config(
        **size, use_bias=c.yes(0.7), sliding_window=c.of(None, 7), norm_epsilon=1e-5, tie_word_embeddings=c.yes(),
        hidden_act=act(c, "gelu_pytorch_tanh"), rope_scaling=rope(c, size), rope_theta=c.of(1e4, 1e5), bos_token_id=1,
        eos_token_id=2)


MAKERS = dict(
    llama=llama, mistral=mistral, qwen2=qwen2, qwen3=qwen3, phi3=phi3, gemma=gemma, gemma2=gemma2, gemma3=gemma3,
    gpt_neox=gpt_neox, gptj=gptj, olmo2=olmo2, granite=granite, smollm3=smollm3, stablelm=stablelm,
    starcoder2=starcoder2)


def make_model(config, seed):
    """The model with every parameter random, as bf16 holds them."""
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    # Transformers' own initialisation fails for norms without bias (StableLM's qk_layernorm).
    with no_init_weights():
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    model.eval().tie_weights()
    is_offset = "Gemma" in config.architectures[0] if config.architectures else "gemma" in config.model_type
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.3 if "emb" in name or "wte" in name else parameter.shape[1] ** -0.5)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
        else:
            torch.nn.init.normal_(parameter, mean=0 if is_offset else 1, std=0.2)
        parameter.data = parameter.data.bfloat16().float()
    return model


def save_model(model, folder):
    # A copy: the rotary buffers are to stay in fp32.
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)


def golden(model, ids, new_tokens):
    """What Transformers and PEFT give, under the names that `meraser logits` has."""
    tokens = torch.tensor([ids])
    with torch.no_grad():
        result = model(tokens, output_hidden_states=True, use_cache=False)
    tensors = {"logits": result.logits[0]}
    tensors |= {f"hidden_states.{i}": state[0] for i, state in enumerate(result.hidden_states)}
    greedy = list(ids[:8])
    for _ in range(new_tokens):  # without a cache, whose keys dynamic scalings leave as they were
        with torch.no_grad():
            greedy.append(model(torch.tensor([greedy]), use_cache=False).logits[0, -1].argmax().item())
    linear = sorted({n.split(".")[-1] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)} - {"lm_head", "embed_out"})
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=3, target_modules=linear, task_type="CAUSAL_LM"))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    loss = adapted(tokens, labels=tokens, use_cache=False).loss
    loss.backward()
    tensors["loss"] = loss.reshape(1)
    for name, parameter in adapted.named_parameters():
        if parameter.grad is not None:
            tensors[name.replace(".default.weight", ".weight")] = parameter.grad
    factors = {n.replace(".default.weight", ".weight"): p for n, p in adapted.named_parameters() if "lora_" in n}
    detach = lambda group: {name: tensor.detach().clone().contiguous() for name, tensor in group.items()}
    return detach(tensors), detach(factors), linear, greedy[8:]


def save_adapter(factors, linear, folder):
    os.makedirs(folder)
    save_file(factors, folder + "/adapter_model.safetensors")
    with open(folder + "/adapter_config.json", "w") as file:
        json.dump(dict(peft_type="LORA", r=2, lora_alpha=3, target_modules=linear, lora_dropout=0.0, bias="none"), file)


def run(args, isa, *words):
    environment = dict(os.environ, MERASER_ISA=isa) if isa else os.environ
    result = subprocess.run([args.meraser, *words, "-q"], env=environment, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(result.stderr.strip())
    return result.stdout


def compare(args, isa, folder, ids, want):
    """The largest differences of one run."""
    out = f"{folder}/out{isa}.safetensors"
    common = ["logits", "--model", folder + "/model", "--ids", ",".join(map(str, ids)), "--compute", args.compute]
    run(args, isa, *common, "--hidden", "--out", out, "--overwrite")
    plain = load_file(out)
    run(args, isa, *common, "--adapter", folder + "/adapter", "--gradients", "--out", out, "--overwrite")
    trained = load_file(out)
    worst = {"forward": 0.0, "loss": 0.0, "gradients": 0.0}
    for name, value in want.items():
        if name == "logits" or name.startswith("hidden_states."):
            kind, difference = "forward", (plain[name] - value).abs().max().item()
        else:
            kind = "loss" if name == "loss" else "gradients"
            # A gradient that is nothing but rounding has no relative error.
            difference = (trained[name] - value).norm().item() / max(value.norm().item(), 1e-3)
        worst[kind] = max(worst[kind], difference)
    return worst


def check(args, name, seed):
    c = Chance(f"{name}-{seed}", small=False)
    config = MAKERS[name](c)
    model = make_model(config, seed)
    limit = 48 if "max_position_embeddings" not in config.to_dict() else min(48, 2 * config.max_position_embeddings)
    scaling = getattr(config, "rope_scaling", None) or {}
    if scaling.get("rope_type") != "dynamic":
        limit = min(limit, config.max_position_embeddings)
    ids = [c.random.randrange(config.vocab_size) for _ in range(limit)]
    folder = tempfile.mkdtemp()
    try:
        save_model(model, folder + "/model")
        want, factors, linear, greedy = golden(model, ids, 0)
        save_adapter(factors, linear, folder + "/adapter")
        is_fine = True
        for isa in args.isa.split(","):
            try:
                worst = compare(args, isa, folder, ids, want)
            except RuntimeError as error:
                print(f"{name} {seed} {isa}: {error}")
                worst = {"forward": 9.0, "loss": 9.0, "gradients": 9.0}
            fine = worst["forward"] <= 2e-4 and worst["loss"] <= 1e-4 and worst["gradients"] <= 1e-4
            is_fine &= fine
            print(f"{name:9} {seed:3} {isa:12}", *(f"{kind} {value:.1e}" for kind, value in worst.items()), "" if fine else "WRONG")
        if not is_fine:
            print(open(folder + "/model/config.json").read().replace("\n", ""))
            if args.keep:
                shutil.copytree(folder, f"{args.keep}/{name}-{seed}", dirs_exist_ok=True)
        return is_fine
    finally:
        shutil.rmtree(folder)


def write_fixture(name, folder):
    c = Chance(f"fixture-{name}", small=True)
    config = MAKERS[name](c)
    model = make_model(config, 7)
    ids = [c.random.randrange(config.vocab_size) for _ in range(20)]
    shutil.rmtree(f"{folder}/{name}", ignore_errors=True)
    save_model(model, f"{folder}/{name}")
    want, factors, _, greedy = golden(model, ids, 8)
    tensors = {"ids": torch.tensor(ids, dtype=torch.int32), "greedy_from_first_8": torch.tensor(greedy, dtype=torch.int32)}
    tensors |= {n: t for n, t in want.items() if n == "logits"} | {"lora.loss": want["loss"]}
    tensors |= {f"lora.param.{n}": t for n, t in factors.items()} | {f"lora.grad.{n}": want[n] for n in factors}
    save_file(tensors, f"{folder}/{name}/golden.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="architectures, with commas")
    parser.add_argument("--count", type=int, default=3, help="models of each")
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    parser.add_argument("--meraser", default=".build/release/meraser", help="the program")
    parser.add_argument("--isa", default="", help="MERASER_ISA, several with commas")
    parser.add_argument("--compute", default="f32", help="meraser's precision")
    parser.add_argument("--keep", help="where models that differ are left")
    parser.add_argument("--fixtures", help="write small models with golden values here, compare nothing")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else list(MAKERS)
    if args.fixtures:
        for name in names:
            write_fixture(name, args.fixtures)
        return 0
    results = [check(args, name, args.seed + i) for name in names for i in range(args.count)]
    print(f"{sum(results)} of {len(results)} models agree")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
