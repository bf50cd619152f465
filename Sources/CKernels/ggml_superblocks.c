/// ggml's blocks of 256 weights (K-quants and IQ4_XS) to fp32.
///
/// A block has fp16 scales d (and dmin) over parts of 16 or 32 weights, which have small integer scales of their own. A
/// part's weights are scale · q − minimum, the scale being d times the integer, rounded to fp32 before it meets q.
/// Source of the formats: ggml-common.h; gguf/quants.py is what the tests compare with (docs/reference/merging.md).
#include <stddef.h>

#include "affine.h"
#include "ggml_blocks.h"
#include "isa.h"

#pragma STDC FP_CONTRACT OFF

enum { BLOCK = 256, PART = 32, SMALL = 16 };

/// dst[j] = scale · q[j] − minimum for n weights.
static inline void affine(const uint8_t *q, int n, float scale, float minimum, float *dst) {
    for (int j = 0; j < n; j++) dst[j] = scale * (float)q[j] - minimum;
}

/// dst[j] = scale · (q[j] − zero) for n weights.
static inline void centred(const uint8_t *q, int n, float scale, int zero, float *dst) {
    for (int j = 0; j < n; j++) dst[j] = scale * (float)((int)q[j] - zero);
}

/// q[j] = 2 bits of bytes[j].
static inline void two_bits(const uint8_t *bytes, int shift, uint8_t q[PART]) {
    for (int j = 0; j < PART; j++) q[j] = bytes[j] >> shift & 3;
}

/// q[j] = the low (shift 0) or high (shift 4) half of bytes[j].
static inline void four_bits(const uint8_t *bytes, int shift, uint8_t q[PART]) {
    for (int j = 0; j < PART; j++) q[j] = bytes[j] >> shift & 15;
}

// scales[16] (low half: scale, high half: minimum), qs[64], d, dmin. Of each 128 weights the four parts of 32 lie in
// the four pairs of bits of the same 32 bytes.
static void q2_k(const uint8_t *block, float *dst) {
    const uint8_t *scales = block, *qs = block + 16;
    const float d = mk_ggml_half(block + 80), dmin = mk_ggml_half(block + 82);
    for (int part = 0; part < BLOCK / PART; part++) {
        uint8_t q[PART];
        two_bits(qs + part / 4 * PART, part % 4 * 2, q);
        for (int small = 0; small < 2; small++) {
            const uint8_t s = scales[2 * part + small];
            affine(q + small * SMALL, SMALL, d * (float)(s & 15), dmin * (float)(s >> 4),
                   dst + part * PART + small * SMALL);
        }
    }
}

// hmask[32], qs[64], scales[12], d. Bit `part` of hmask[j] says that 4 is not subtracted. The 16 scales have 6 bits
// less 32: the low four in the halves of the first 8 bytes, the upper two in the pairs of bits of the last 4.
static void q3_k(const uint8_t *block, float *dst) {
    const uint8_t *mask = block, *qs = block + 32, *scales = block + 96;
    const float d = mk_ggml_half(block + 108);
    for (int part = 0; part < BLOCK / PART; part++) {
        uint8_t q[PART];
        two_bits(qs + part / 4 * PART, part % 4 * 2, q);
        for (int j = 0; j < PART; j++) q[j] |= (uint8_t)((mask[j] >> part & 1) << 2);
        for (int small = 0; small < 2; small++) {
            const int i = 2 * part + small;
            const int low = scales[i % 8] >> (i / 8 * 4) & 15, high = scales[8 + i % 4] >> (i / 4 * 2) & 3;
            centred(q + small * SMALL, SMALL, d * (float)((low | high << 4) - 32), 4, dst + i * SMALL);
        }
    }
}

/// Scale and minimum of a part of Q4_K and Q5_K, 6 bits each in 12 bytes: of parts 0 to 3 in the low bits of bytes 0 to
/// 3 and 4 to 7, of parts 4 to 7 the low four bits in bytes 8 to 11, the upper two in the top of those first bytes.
static inline void six_bits(const uint8_t *s, int part, uint8_t *scale, uint8_t *minimum) {
    if (part < 4) {
        *scale = s[part] & 63;
        *minimum = s[part + 4] & 63;
    } else {
        *scale = (uint8_t)((s[part + 4] & 15) | (s[part - 4] >> 6) << 4);
        *minimum = (uint8_t)(s[part + 4] >> 4 | (s[part] >> 6) << 4);
    }
}

// d, dmin, scales[12], qs[128]: two parts in the halves of 32 bytes.
static void take_q4_k(const uint8_t *block, mk_affine_row *row) {
    const uint8_t *scales = block + 4, *qs = block + 16;
    memcpy(&row->d, block, 2);
    memcpy(&row->dmin, block + 2, 2);
    for (int part = 0; part < BLOCK / PART; part++) {
        six_bits(scales, part, row->scales + part, row->minimums + part);
        four_bits(qs + part / 2 * PART, part % 2 * 4, row->codes + part * PART);
    }
}

// d, dmin, scales[12], qh[32], qs[128]: as Q4_K, the fifth bit of part p's weight j is bit p of qh[j].
static void take_q5_k(const uint8_t *block, mk_affine_row *row) {
    const uint8_t *scales = block + 4, *qh = block + 16, *qs = block + 48;
    memcpy(&row->d, block, 2);
    memcpy(&row->dmin, block + 2, 2);
    for (int part = 0; part < BLOCK / PART; part++) {
        uint8_t *q = row->codes + part * PART;
        six_bits(scales, part, row->scales + part, row->minimums + part);
        four_bits(qs + part / 2 * PART, part % 2 * 4, q);
        for (int j = 0; j < PART; j++) q[j] |= (uint8_t)((qh[j] >> part & 1) << 4);
    }
}

// ql[128], qh[64], int8 scales[16], d. Of each 128 weights parts 0 and 1 are the low halves of 64 bytes of ql, parts 2
// and 3 the high ones; their upper two bits are the pairs of bits of 32 bytes of qh. 32 is subtracted.
static void take_q6_k(const uint8_t *block, mk_affine_row *row) {
    const uint8_t *ql = block, *qh = block + 128;
    memcpy(row->scales, block + 192, 16);
    memcpy(&row->d, block + 208, 2);
    for (int part = 0; part < BLOCK / PART; part++) {
        const int group = part / 4, place = part % 4;
        const uint8_t *high = qh + group * PART;
        uint8_t *q = row->codes + part * PART;
        four_bits(ql + group * 64 + place % 2 * PART, place / 2 * 4, q);
        for (int j = 0; j < PART; j++) q[j] |= (uint8_t)((high[j] >> (2 * place) & 3) << 4);
    }
}

/// The inverse of six_bits, into bytes that are zero.
static inline void put_six_bits(uint8_t *s, int part, uint8_t scale, uint8_t minimum) {
    if (part < 4) {
        s[part] |= scale;
        s[part + 4] |= minimum;
    } else {
        s[part + 4] |= (uint8_t)((scale & 15) | minimum << 4);
        s[part - 4] |= (uint8_t)(scale >> 4 << 6);
        s[part] |= (uint8_t)(minimum >> 4 << 6);
    }
}

/// The inverse of four_bits, into bytes that are zero there.
static inline void put_four_bits(uint8_t *bytes, int shift, const uint8_t q[PART]) {
    for (int j = 0; j < PART; j++) bytes[j] |= (uint8_t)((q[j] & 15) << shift);
}

static void put_q4_k(const mk_affine_row *row, uint8_t *block) {
    memcpy(block, &row->d, 2);
    memcpy(block + 2, &row->dmin, 2);
    for (int part = 0; part < BLOCK / PART; part++) {
        put_six_bits(block + 4, part, row->scales[part], row->minimums[part]);
        put_four_bits(block + 16 + part / 2 * PART, part % 2 * 4, row->codes + part * PART);
    }
}

static void put_q5_k(const mk_affine_row *row, uint8_t *block) {
    memcpy(block, &row->d, 2);
    memcpy(block + 2, &row->dmin, 2);
    for (int part = 0; part < BLOCK / PART; part++) {
        const uint8_t *q = row->codes + part * PART;
        put_six_bits(block + 4, part, row->scales[part], row->minimums[part]);
        put_four_bits(block + 48 + part / 2 * PART, part % 2 * 4, q);
        for (int j = 0; j < PART; j++) block[16 + j] |= (uint8_t)(q[j] >> 4 << part);
    }
}

static void put_q6_k(const mk_affine_row *row, uint8_t *block) {
    memcpy(block + 192, row->scales, 16);
    memcpy(block + 208, &row->d, 2);
    for (int part = 0; part < BLOCK / PART; part++) {
        const int group = part / 4, place = part % 4;
        const uint8_t *q = row->codes + part * PART;
        put_four_bits(block + group * 64 + place % 2 * PART, place / 2 * 4, q);
        for (int j = 0; j < PART; j++) block[128 + group * PART + j] |= (uint8_t)(q[j] >> 4 << 2 * place);
    }
}

static void q4_k(const uint8_t *block, float *dst) {
    mk_affine_row row;
    take_q4_k(block, &row);
    mk_affine_values(MK_Q4_K, &row, dst);
}

static void q5_k(const uint8_t *block, float *dst) {
    mk_affine_row row;
    take_q5_k(block, &row);
    mk_affine_values(MK_Q5_K, &row, dst);
}

static void q6_k(const uint8_t *block, float *dst) {
    mk_affine_row row;
    take_q6_k(block, &row);
    mk_affine_values(MK_Q6_K, &row, dst);
}

// d, 8 times the upper two bits of a scale in 16 bits, 8 times the low four in 4 bytes, qs[128]: parts as in IQ4_NL.
static void iq4_xs(const uint8_t *block, float *dst) {
    const float d = mk_ggml_half(block);
    const int high = mk_load16(block + 2);
    const int8_t *codebook = mk_codebook(MK_IQ4_NL);
    for (int part = 0; part < BLOCK / PART; part++) {
        const int scale = (block[4 + part / 2] >> (part % 2 * 4) & 15) | (high >> (2 * part) & 3) << 4;
        mk_ggml_nibbles_iq4(codebook, d * (float)(scale - 32), block + 8 + part * SMALL, dst + part * PART);
    }
}

const mk_ggml_format *mk_ggml_superblock(int32_t type) {
    static const mk_ggml_format formats[] = {
        {BLOCK, 84, q2_k},  {BLOCK, 110, q3_k}, {BLOCK, 144, q4_k},
        {BLOCK, 176, q5_k}, {BLOCK, 210, q6_k}, {BLOCK, 136, iq4_xs},
    };
    switch (type) {
        case MK_GGML_Q2_K:
            return &formats[0];
        case MK_GGML_Q3_K:
            return &formats[1];
        case MK_Q4_K:
            return &formats[2];
        case MK_Q5_K:
            return &formats[3];
        case MK_Q6_K:
            return &formats[4];
        case MK_GGML_IQ4_XS:
            return &formats[5];
        default:
            return NULL;
    }
}

void mk_ggml_take(int32_t type, const uint8_t *block, mk_affine_row *row) {
    switch (type) {
        case MK_Q4_1:
            memcpy(&row->d, block, 2);
            memcpy(&row->dmin, block + 2, 2);
            for (int j = 0; j < PART / 2; j++) {
                row->codes[j] = block[4 + j] & 15;
                row->codes[j + PART / 2] = block[4 + j] >> 4;
            }
            return;
        case MK_Q4_K:
            take_q4_k(block, row);
            return;
        case MK_Q5_K:
            take_q5_k(block, row);
            return;
        default:
            take_q6_k(block, row);
    }
}

void mk_ggml_put(int32_t type, const mk_affine_row *row, uint8_t *block) {
    memset(block, 0, (size_t)mk_ggml_block_bytes(type));
    switch (type) {
        case MK_Q4_1:
            memcpy(block, &row->d, 2);
            memcpy(block + 2, &row->dmin, 2);
            for (int j = 0; j < PART / 2; j++) {
                block[4 + j] = (uint8_t)(row->codes[j] | row->codes[j + PART / 2] << 4);
            }
            return;
        case MK_Q4_K:
            put_q4_k(row, block);
            return;
        case MK_Q5_K:
            put_q5_k(row, block);
            return;
        default:
            put_q6_k(row, block);
    }
}
