/// Quantized activations, and the int8 product in plain vectors: exact integers held in floats (32 products of at most
/// 127 * 128 stay below 2^24). The versions with byte dot products give the same integers.
#ifndef MERASER_INT8_BODY_H
#define MERASER_INT8_BODY_H

#include "gemm_body.h"
#include "simd_math.h"

/// Every instruction set has its own; see isa.h.
static void expand_rows(int32_t type, const uint8_t *group, int64_t first, int64_t count, float *panel);

typedef int8_t mk_c16 __attribute__((ext_vector_type(16)));

/// To the nearest even integer: the sum's last bits are those of the integer.
MK_INLINE mk_i16 int8_codes(mk_v16 x, float inverse) {
#pragma clang fp contract(off)  // the same codes on every instruction set
    const mk_v16 shifted = x * inverse + 12582912.0f;
    return (mk_i16)shifted - 0x4b400000;
}

/// Quantizes 32 values to integers of at most 127 in magnitude: x = scale * codes. Returns the scale.
MK_INLINE float int8_block(const float *x, mk_i16 *left, mk_i16 *right) {
    const mk_v16 a = load16(x), b = load16(x + 16);
    // Magnitudes are ordered like their bits; infinities and NaNs come last.
    const mk_u16 p = (mk_u16)a & 0x7fffffff, q = (mk_u16)b & 0x7fffffff;
    const uint32_t top = __builtin_reduce_max(__builtin_elementwise_max(p, q));
    const float unit = mk_bits_to_float(top) / 127;
    const float inverse = 1 / unit;
    if (top >= 0x7f800000 || !(inverse <= __FLT_MAX__)) {
        *left = *right = 0;
        // A NaN or an infinity has no code; a NaN as the scale carries it into every output, where it is reported.
        return top >= 0x7f800000 ? __builtin_nanf("") : 0;
    }
    *left = int8_codes(a, inverse);
    *right = int8_codes(b, inverse);
    return unit;
}

/// Packs a strip in quads: for each block the codes [8][tokens] as dwords of 4 columns, -128 times the sum of the codes
/// [tokens], the scales [tokens].
static void pack_quads(const float *x, int64_t ldx, int64_t tokens, int64_t blocks, void *strip) {
    for (int64_t t = 0; t < tokens; t++, x += ldx) {
        int32_t *out = (int32_t *)strip + t;
        for (int64_t b = 0; b < blocks; b++, out += 10 * tokens) {
            mk_i16 left, right;
            const float scale = int8_block(x + MK_TILE_COLS * b, &left, &right);
            const mk_c16 bytes[2] = {__builtin_convertvector(left, mk_c16), __builtin_convertvector(right, mk_c16)};
            int32_t quads[8];
            memcpy(quads, bytes, sizeof quads);
            for (int j = 0; j < 8; j++) out[j * tokens] = quads[j];
            out[8 * tokens] = -128 * __builtin_reduce_add(left + right);
            memcpy(out + 9 * tokens, &scale, sizeof scale);
        }
    }
}

enum { QUADS_BYTES = 40, AFFINE_BLOCK_BYTES = 48, PLAIN_STRIP = 64 };

/// Packs a strip for affine_int8_body.h: for each block the codes [8][tokens] as dwords of 4 columns, -32 times the sum
/// of the left half's codes [tokens] and of the right half's, the scales [tokens], scale times sum of all codes
/// [tokens].
static void pack_affine(const float *x, int64_t ldx, int64_t tokens, int64_t blocks, void *strip) {
    for (int64_t t = 0; t < tokens; t++, x += ldx) {
        int32_t *out = (int32_t *)strip + t;
        for (int64_t b = 0; b < blocks; b++, out += AFFINE_BLOCK_BYTES / 4 * tokens) {
            mk_i16 half[2];
            const float scale = int8_block(x + MK_TILE_COLS * b, half, half + 1);
            const mk_c16 bytes[2] = {__builtin_convertvector(half[0], mk_c16),
                                     __builtin_convertvector(half[1], mk_c16)};
            int32_t quads[8];
            memcpy(quads, bytes, sizeof quads);
            for (int j = 0; j < 8; j++) out[j * tokens] = quads[j];
            const int32_t left = __builtin_reduce_add(half[0]), right = __builtin_reduce_add(half[1]);
            const float part = scale * (float)(left + right);
            out[8 * tokens] = -32 * left;
            out[9 * tokens] = -32 * right;
            memcpy(out + 10 * tokens, &scale, sizeof scale);
            memcpy(out + 11 * tokens, &part, sizeof part);
        }
    }
}

static void plain_rows(int32_t type, const uint8_t *group, int64_t stride, int64_t groups, int64_t blocks,
                       const void *strip, int64_t tokens, float *sums) {
    const int64_t tile_bytes = mk_tile_bytes(type);
    _Alignas(64) float values[MK_TILE_COLS * MK_TILE_ROWS], codes[PLAIN_STRIP * MK_TILE_COLS];
    _Alignas(64) float products[PLAIN_STRIP * MK_TILE_ROWS];
    // A tile whose scales are all 1 expands to the values of its codes.
    uint8_t unscaled[MK_TILE_BYTES_8BIT];
    for (int r = 0; r < MK_TILE_ROWS; r++) memcpy(unscaled + 2 * r, &(const uint16_t){0x3c00}, 2);
    for (int64_t g = 0; g < groups; g++) {
        const uint8_t *tile = group + g * stride;
        const int8_t *x = strip;
        for (int64_t b = 0; b < blocks; b++, tile += tile_bytes, x += QUADS_BYTES * tokens) {
            float scales[16];
            for (int r = 0; r < 16; r++) scales[r] = mk_half_to_float(mk_load16(tile + 2 * r));
            memcpy(unscaled + 2 * MK_TILE_ROWS, tile + 2 * MK_TILE_ROWS, (size_t)tile_bytes - 2 * MK_TILE_ROWS);
            expand_rows(type, unscaled, 0, 1, values);
            for (int64_t t = 0; t < tokens; t++) {
                for (int c = 0; c < MK_TILE_COLS; c++) {
                    codes[t * MK_TILE_COLS + c] = x[(c / 4 * tokens + t) * 4 + c % 4];
                }
            }
            memset(products, 0, (size_t)tokens * MK_TILE_ROWS * sizeof(float));
            gemm(values, 1, MK_TILE_COLS, codes, MK_TILE_COLS, tokens, products, MK_TILE_ROWS);
            for (int64_t t = 0; t < tokens; t++) {
                float scale, *sum = sums + (t * groups + g) * MK_TILE_ROWS;
                memcpy(&scale, x + (9 * tokens + t) * 4, sizeof scale);
                store16(sum, load16(scales) * scale * load16(products + 16 * t) + load16(sum));
            }
        }
    }
}

__attribute__((unused)) static const mk_int8 int8_plain = {
    .height = PLAIN_STRIP, .block_bytes = QUADS_BYTES, .pack = pack_quads, .rows = plain_rows};

#endif
