/// The int8 product in plain vectors: exact integers held in floats (32 products of at most 127 * 128 stay below 2^24).
/// The versions with byte dot products give the same integers.
#ifndef MERASER_INT8_BODY_H
#define MERASER_INT8_BODY_H

#include "gemm_body.h"
#include "int8_pack.h"
#include "simd_math.h"

/// Every instruction set has its own; see isa.h.
static void expand_rows(int32_t type, const uint8_t *group, int64_t first, int64_t count, float *panel);

/// products[t][r] = the sums of a tile's values with the bytes of the quads in `which`.
MK_INLINE void plain_products(const float *values, const int8_t *quads, uint32_t which, int64_t tokens,
                              float *products) {
    _Alignas(64) float codes[PLAIN_STRIP * MK_TILE_COLS];
    for (int64_t t = 0; t < tokens; t++) {
        for (int c = 0; c < MK_TILE_COLS; c++) {
            codes[t * MK_TILE_COLS + c] = (which >> c / 4 & 1) != 0 ? quads[(c / 4 * tokens + t) * 4 + c % 4] : 0;
        }
    }
    memset(products, 0, (size_t)tokens * MK_TILE_ROWS * sizeof(float));
    gemm(values, 1, MK_TILE_COLS, codes, MK_TILE_COLS, tokens, products, MK_TILE_ROWS);
}

static void plain_rows(int32_t type, const uint8_t *group, int64_t stride, int64_t groups, int64_t blocks,
                       const void *strip, int64_t tokens, float *sums) {
    const int64_t tile_bytes = mk_tile_bytes(type);
    _Alignas(64) float values[MK_TILE_COLS * MK_TILE_ROWS];
    _Alignas(64) float products[PLAIN_STRIP * MK_TILE_ROWS], high[PLAIN_STRIP * MK_TILE_ROWS];
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
            uint32_t wide;
            memcpy(&wide, x + 40 * tokens, sizeof wide);
            plain_products(values, x, 255, tokens, products);
            if (wide != 0) plain_products(values, x + 40 * tokens + 4, wide, tokens, high);
            for (int64_t t = 0; t < tokens; t++) {
                float scale, *sum = sums + (t * groups + g) * MK_TILE_ROWS;
                memcpy(&scale, x + (9 * tokens + t) * 4, sizeof scale);
                mk_v16 product = load16(products + 16 * t);
                if (wide != 0) {
                    const mk_i16 carry = __builtin_convertvector(load16(high + 16 * t), mk_i16);
                    product = __builtin_convertvector(__builtin_convertvector(product, mk_i16) + carry * DIGIT, mk_v16);
                }
                store16(sum, load16(scales) * scale * product + load16(sum));
            }
        }
    }
}

__attribute__((unused)) static const mk_int8 int8_plain = {
    .height = PLAIN_STRIP, .block_bytes = QUADS_BYTES, .pack = pack_quads, .rows = plain_rows};

#endif
