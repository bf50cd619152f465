/// The int8 product in plain vectors: exact integers held in floats (32 products of at most 127 * 128 stay below 2^24).
/// Its SIMD versions with byte dot products must give the same sums.
#ifndef MERASER_INT8_BODY_H
#define MERASER_INT8_BODY_H

#include "simd_math.h"

static void int8_quantize(const float *x, int64_t blocks, mk_int8_block *out) {
#pragma clang fp contract(off)  // the same codes on every instruction set
    for (int64_t b = 0; b < blocks; b++, x += MK_TILE_COLS) {
        float largest = 0;
        int finite = 1;
        for (int i = 0; i < MK_TILE_COLS; i++) {
            const float magnitude = __builtin_fabsf(x[i]);
            finite &= magnitude <= __FLT_MAX__;
            largest = magnitude > largest ? magnitude : largest;
        }
        const float unit = largest / 127;
        const bool usable = finite && 1 / unit <= __FLT_MAX__;
        const float inverse = usable ? 1 / unit : 0;
        // A NaN or an infinity has no code; a NaN as the scale carries it into every output, where it is reported.
        out[b].scale = usable ? unit : (finite ? 0 : __builtin_nanf(""));
        for (int i = 0; i < MK_TILE_COLS; i++) {
            float rounded = (x[i] * inverse + 12582912.0f) - 12582912.0f;  // to nearest even
            rounded = rounded > -127 ? rounded : -127;  // also where x is NaN: no undefined conversion
            rounded = rounded < 127 ? rounded : 127;
            out[b].q[i] = (int8_t)rounded;
        }
    }
}

/// values[c][r] = T[q[r][c]] of a tile.
static void tile_values(const int8_t *codebook, const uint8_t *bytes, float *values) {
    if (codebook != NULL) {
        for (int j = 0; j < 4; j++) {
            for (int c = 0; c < 4; c++) {
                for (int r = 0; r < 16; r++) {
                    const uint8_t byte = bytes[64 * j + 4 * r + c];
                    values[16 * (8 * j + c) + r] = codebook[byte & 15];
                    values[16 * (8 * j + 4 + c) + r] = codebook[byte >> 4];
                }
            }
        }
    } else {
        for (int column = 0; column < MK_TILE_COLS; column++) {
            for (int r = 0; r < 16; r++) {
                values[16 * column + r] = (int8_t)bytes[64 * (column / 4) + 4 * r + (column & 3)];
            }
        }
    }
}

static void int8_rows(const int8_t *codebook, const uint8_t *tiles, int64_t count, const mk_int8_block *x,
                      int64_t tokens, float *y) {
    const int64_t tile_bytes = codebook != NULL ? MK_TILE_BYTES_4BIT : MK_TILE_BYTES_8BIT;
    _Alignas(64) float values[MK_TILE_COLS * MK_TILE_ROWS];
    memset(y, 0, (size_t)tokens * MK_TILE_ROWS * sizeof(float));
    for (int64_t tile = 0; tile < count; tile++, tiles += tile_bytes) {
        float scales[16];
        for (int r = 0; r < 16; r++) scales[r] = mk_half_to_float(mk_load16(tiles + 2 * r));
        tile_values(codebook, tiles + 2 * MK_TILE_ROWS, values);
        for (int64_t t = 0; t < tokens; t++) {
            const mk_int8_block *block = x + t * count + tile;
            mk_v16 sum = 0.0f;
            for (int c = 0; c < MK_TILE_COLS; c++) sum = (mk_v16)(float)block->q[c] * load16(values + 16 * c) + sum;
            store16(y + 16 * t, (load16(scales) * block->scale) * sum + load16(y + 16 * t));
        }
    }
}

#endif
