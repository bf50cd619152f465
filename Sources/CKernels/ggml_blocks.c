/// ggml's blocks of 32 weights to fp32, and the table of all blocks that are read.
///
/// A block begins with an fp16 scale d and, in the types that have one, an fp16 offset m; all integers are
/// little-endian. Of 4 bits and a fifth one apart: weight j is the low half of byte j, weight j + 16 the high one, and
/// bit j of the word qh is weight j's. Every product and sum is rounded, as in ggml's own reference: no fused
/// multiply-add. Source of the formats: ggml-common.h; gguf/quants.py is what the tests compare with
/// (docs/reference/merging.md).
#include "ggml_blocks.h"

#include <assert.h>
#include <stddef.h>

#include "isa.h"

#pragma STDC FP_CONTRACT OFF

enum { BLOCK = 32, HALF = BLOCK / 2 };

/// The fifth bits of all weights, each 0 or 16.
static void fifth_bits(const uint8_t *qh, uint8_t bits[BLOCK]) {
    for (int j = 0; j < BLOCK; j++) bits[j] = (uint8_t)((qh[j / 8] >> (j % 8) & 1) << 4);
}

static void q4_0(const uint8_t *block, float *dst) {
    const float d = mk_ggml_half(block);
    const uint8_t *qs = block + 2;
    for (int j = 0; j < HALF; j++) dst[j] = d * (float)((qs[j] & 15) - 8);
    for (int j = 0; j < HALF; j++) dst[j + HALF] = d * (float)((qs[j] >> 4) - 8);
}

static void q4_1(const uint8_t *block, float *dst) {
    const float d = mk_ggml_half(block), m = mk_ggml_half(block + 2);
    const uint8_t *qs = block + 4;
    for (int j = 0; j < HALF; j++) dst[j] = d * (float)(qs[j] & 15) + m;
    for (int j = 0; j < HALF; j++) dst[j + HALF] = d * (float)(qs[j] >> 4) + m;
}

static void q5_0(const uint8_t *block, float *dst) {
    const float d = mk_ggml_half(block);
    const uint8_t *qs = block + 6;
    uint8_t high[BLOCK];
    fifth_bits(block + 2, high);
    for (int j = 0; j < HALF; j++) dst[j] = d * (float)(((qs[j] & 15) | high[j]) - 16);
    for (int j = 0; j < HALF; j++) dst[j + HALF] = d * (float)((qs[j] >> 4 | high[j + HALF]) - 16);
}

static void q5_1(const uint8_t *block, float *dst) {
    const float d = mk_ggml_half(block), m = mk_ggml_half(block + 2);
    const uint8_t *qs = block + 8;
    uint8_t high[BLOCK];
    fifth_bits(block + 4, high);
    for (int j = 0; j < HALF; j++) dst[j] = d * (float)((qs[j] & 15) | high[j]) + m;
    for (int j = 0; j < HALF; j++) dst[j + HALF] = d * (float)(qs[j] >> 4 | high[j + HALF]) + m;
}

static void q8_0(const uint8_t *block, float *dst) {
    const float d = mk_ggml_half(block);
    for (int j = 0; j < BLOCK; j++) dst[j] = d * (float)(int8_t)block[2 + j];
}

static void iq4_nl(const uint8_t *block, float *dst) {
    mk_ggml_nibbles_iq4(mk_codebook(MK_IQ4_NL), mk_ggml_half(block), block + 2, dst);
}

static const mk_ggml_format *format_of(int32_t type) {
    static const mk_ggml_format formats[] = {
        {BLOCK, 2 + HALF, q4_0}, {BLOCK, 4 + HALF, q4_1},  {BLOCK, 6 + HALF, q5_0},
        {BLOCK, 8 + HALF, q5_1}, {BLOCK, 2 + BLOCK, q8_0}, {BLOCK, 2 + HALF, iq4_nl},
    };
    switch (type) {
        case MK_Q4_0:
            return &formats[0];
        case MK_Q4_1:
            return &formats[1];
        case MK_GGML_Q5_0:
            return &formats[2];
        case MK_GGML_Q5_1:
            return &formats[3];
        case MK_Q8_0:
            return &formats[4];
        case MK_IQ4_NL:
            return &formats[5];
        default:
            return mk_ggml_superblock(type);
    }
}

int64_t mk_ggml_block_elements(int32_t type) {
    const mk_ggml_format *format = format_of(type);
    return format == NULL ? 0 : format->elements;
}

int64_t mk_ggml_block_bytes(int32_t type) {
    const mk_ggml_format *format = format_of(type);
    return format == NULL ? 0 : format->bytes;
}

void mk_ggml_to_float(int32_t type, const void *src, int64_t n, float *dst) {
    const mk_ggml_format *format = format_of(type);
    assert(format != NULL && n % format->elements == 0);
    const uint8_t *block = src;
    for (int64_t i = 0; i < n; i += format->elements, block += format->bytes) format->decode(block, dst + i);
}
