/// ggml's blocks of 32 weights to fp32: an fp16 scale, then quants. Source: ggml-common.h, ggml-quants.c
/// (docs/merging.md).
#include <assert.h>

#include "half.h"
#include "isa.h"

enum { BLOCK = 32 };

int64_t mk_ggml_block_bytes(int32_t type) {
    switch (type) {
        case MK_Q8_0:
            return 2 + BLOCK;
        case MK_Q4_0:
        case MK_IQ4_NL:
            return 2 + BLOCK / 2;
        default:
            return 0;
    }
}

void mk_ggml_to_float(int32_t type, const void *src, int64_t n, float *dst) {
    const int64_t bytes = mk_ggml_block_bytes(type);
    assert(bytes > 0 && n % BLOCK == 0);
    const int8_t *codebook = mk_codebook(type);
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += BLOCK, block += bytes) {
        const float d = mk_half_to_float(mk_load16(block));
        for (int j = 0; j < BLOCK; j++) {
            // 4 bits: weight j is the low half of byte j, weight j + 16 the high one.
            const uint8_t byte = block[2 + (codebook == NULL ? j : j % (BLOCK / 2))];
            const int8_t q = codebook == NULL ? (int8_t)byte : codebook[j < BLOCK / 2 ? byte & 15 : byte >> 4];
            dst[i + j] = d * (float)q;
        }
    }
}
