#!/usr/bin/env python3
"""Times a LoRA step of PEFT: forward, loss over all tokens, backward, clipping, AdamW.

    python tools/peers/peft_step.py --model HF_FOLDER [--dtype bf16|fp32|nf4] [--checkpointing] [--tokens 512]
                                    [--batch 1] [--adapter-dtype fp32|same] [--r 8] [--alpha 16] [--threads 2]

q_proj and v_proj have adapters, without dropout (it would cost PEFT time). Prints one JSON object: tokens a second of
every step, their median, the peak of resident memory after loading.
"""

import torch
import torch_side
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training


def main() -> None:
    parser = torch_side.parser(__doc__)
    parser.add_argument("--batch", default=1, type=int, help="sequences of a step")
    parser.add_argument("--r", default=8, type=int)
    parser.add_argument("--alpha", default=16, type=int)
    parser.add_argument("--checkpointing", action="store_true", help="recompute every layer in the backward")
    parser.add_argument("--adapter-dtype", default="fp32", choices=["fp32", "same"], help="PEFT's own default is fp32")
    args = parser.parse_args()
    model = torch_side.load(args)
    if args.dtype == "nf4":
        # Freezes the model and turns what is not quantized into fp32, as PEFT's guide for QLoRA does.
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    config = LoraConfig(r=args.r, lora_alpha=args.alpha, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(model, config, autocast_adapter_dtype=args.adapter_dtype == "fp32").train()
    if args.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-4)
    ids = torch_side.token_ids(model, args.batch, args.tokens)

    def step() -> None:
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    torch_side.report(args, ids.numel(), step)


if __name__ == "__main__":
    main()
