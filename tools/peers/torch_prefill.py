#!/usr/bin/env python3
"""Times PyTorch and Transformers on a prompt: one forward pass that fills the KV cache, logits of the last token only.

    python tools/peers/torch_prefill.py --model HF_FOLDER [--dtype bf16|fp32|nf4] [--tokens 512] [--threads 2]

Prints one JSON object: tokens a second of every round, their median, the peak of resident memory after loading.
"""

import torch
import torch_side


@torch.inference_mode()
def main() -> None:
    args = torch_side.parser(__doc__).parse_args()
    model = torch_side.load(args).eval()
    ids = torch_side.token_ids(model, 1, args.tokens)
    torch_side.report(args, ids.numel(), lambda: model(ids, use_cache=True, logits_to_keep=1))


if __name__ == "__main__":
    main()
