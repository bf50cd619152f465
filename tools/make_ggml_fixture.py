#!/usr/bin/env python3
"""Golden rows of ggml's block types: random blocks and the weights that gguf's own reader makes of them.

    make_ggml_fixture.py [Tests/QuantTests/Fixtures/ggml_blocks.safetensors]

Needs numpy, gguf (0.19 made the file that is checked in) and safetensors. Each type has ROWS rows: with scales of ordinary
size, subnormal, the largest, negative and zero ones, all of them finite. `TYPE.blocks` holds the bytes (U8), `TYPE.floats`
what gguf.quants.dequantize makes of them (F32).
"""

import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from safetensors.numpy import save_file

# Where the fp16 scales of a block begin.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0], "Q2_K": [80, 82],
    "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_XS": [0],
}
SPECIAL = [0x0001, 0x03FF, 0x7BFF, 0xFBFF, 0x8000, 0x0000, 0x0400, 0x3C00]
COLUMNS, ROWS = 512, 3


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else "Tests/QuantTests/Fixtures/ggml_blocks.safetensors"
    random = np.random.default_rng(12)
    tensors = {}
    for name, places in SCALES.items():
        kind = GGMLQuantizationType[name]
        elements, size = GGML_QUANT_SIZES[kind]
        count = ROWS * COLUMNS // elements
        blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
        for i in range(count):
            for k, place in enumerate(places):
                scale = np.float16(random.normal() * 0.02).view(np.uint16)
                # Every other block has an extreme scale, or an extreme offset beside an ordinary scale.
                if i % 2 == 1:
                    scale = SPECIAL[(i // 2 + 3 * k) % len(SPECIAL)]
                blocks[i, place:place + 2] = np.array([scale], dtype="<u2").view(np.uint8)
        rows = blocks.reshape(ROWS, -1)
        floats = dequantize(rows, kind)
        assert floats.shape == (ROWS, COLUMNS) and np.isfinite(floats).all(), name
        tensors[f"{name.lower()}.blocks"] = rows
        tensors[f"{name.lower()}.floats"] = floats.astype(np.float32)
    save_file(tensors, path)


if __name__ == "__main__":
    main()
