#!/usr/bin/env python3
"""Writes Tests/TuneTests/Fixtures/objectives.safetensors: the losses of NPO and CROW and their LoRA gradients, from PyTorch in fp32.

    python tools/make_objective_fixture.py [--out Tests/TuneTests/Fixtures/objectives.safetensors]

Model, adapters and sequences are those of make_kl_fixture.py, read from its fixture. `npo` is the mean over both sequences of
-(2/beta) log sigmoid(-beta log(p/p_ref)) with beta 0.5, p of all labels together. `crow` is the mean over all tokens and over the
layers but the first and the last of 1 - cos(stream before, stream behind), `crow.slope` its gradient with respect to the
embeddings; `crow.moved` and `grad.crow.*` are the same sum at embeddings that were moved by 0.1 along the signs of the slope.
"""

import argparse
import pathlib

import oracle
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "Tests/TuneTests/Fixtures"
BETA, EPSILON = 0.5, 0.1


def consistency(hidden):
    """Of the hidden states of one sequence: the sum over tokens of the mean over inner layers of 1 - cos."""
    before, behind = torch.stack(hidden[1:-2]), torch.stack(hidden[2:-1])
    return (1 - F.cosine_similarity(before, behind, dim=-1, eps=1e-8)).mean(dim=0).sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=FIXTURES / "objectives.safetensors", type=pathlib.Path)
    out = parser.parse_args().out
    case = load_file(FIXTURES / "divergence.safetensors")
    _, model = oracle.load(ROOT / "Examples/tinychat")
    with torch.no_grad():
        model.model.layers[0].self_attn.v_proj.weight += 2.0 * case["frozen.b"] @ case["frozen.a"]
    config = LoraConfig(
        r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"], layers_to_transform=[1, 4], task_type="CAUSAL_LM"
    )  # fmt: skip
    peft = get_peft_model(model, config).eval()
    parameters = {n.replace(".default", ""): p for n, p in peft.named_parameters() if "lora_" in n}
    for name, parameter in parameters.items():
        parameter.data = case[f"param.{name}"].clone()
    sequences = [case[f"ids.{i}"].long() for i in (0, 1)]
    tensors = {}

    def take(prefix):
        for name, parameter in parameters.items():
            gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            tensors[f"{prefix}.{name}"] = gradient.clone().contiguous()
            parameter.grad = None

    def likelihood(ids, first):
        logits = F.log_softmax(peft(ids[None]).logits[0, first - 1 : -1], dim=-1)
        return logits.gather(1, ids[first:, None]).sum()

    loss = 0.0
    for ids, first in zip(sequences, case["first_label"].tolist()):
        with torch.no_grad(), peft.disable_adapter():
            reference = likelihood(ids, first)
        loss = loss - 2 / BETA * F.logsigmoid(-BETA * (likelihood(ids, first) - reference)) / len(sequences)
    loss.backward()
    tensors["npo"] = loss.detach().reshape(1)
    take("grad.npo")

    def pass_over(shifts):
        total, embeddings = 0.0, []
        for ids, shift in zip(sequences, shifts):
            embedded = (model.get_input_embeddings()(ids).detach() + shift).requires_grad_()
            embeddings.append(embedded)
            hidden = peft(inputs_embeds=embedded[None], output_hidden_states=True).hidden_states
            total = total + consistency([h[0] for h in hidden])
        total = total / sum(len(ids) for ids in sequences)
        total.backward()
        return total.detach().reshape(1), torch.cat([e.grad for e in embeddings])

    tensors["crow"], tensors["crow.slope"] = pass_over([0.0, 0.0])
    take("grad.unmoved")
    shifts = (EPSILON * tensors["crow.slope"].sign()).split([len(ids) for ids in sequences])
    tensors["crow.moved"], _ = pass_over(shifts)
    take("grad.crow")
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("grad.unmoved")}
    save_file(tensors, out)
    print(f"npo {loss.item():.6f}, crow {tensors['crow'].item():.6f}, moved {tensors['crow.moved'].item():.6f}")


if __name__ == "__main__":
    main()
