/// The int8 product in plain vectors: exact integers held in floats (32 products of at most 127 * 128 stay below 2^24).
/// Its SIMD versions with byte dot products must give the same sums.
#ifndef MERASER_INT8_BODY_H
#define MERASER_INT8_BODY_H

#include "gemm_body.h"
#include "simd_math.h"

/// Every instruction set has its own; see isa.h.
static void expand_rows(const int8_t *codebook, const uint8_t *tiles, int64_t count, float *panel);

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

static void int8_rows(const int8_t *codebook, const uint8_t *tiles, int64_t count, const mk_int8_block *x,
                      int64_t tokens, float *y) {
    const int64_t tile_bytes = codebook != NULL ? MK_TILE_BYTES_4BIT : MK_TILE_BYTES_8BIT;
    _Alignas(64) float values[MK_TILE_COLS * MK_TILE_ROWS], codes[MK_INT8_TOKENS * MK_TILE_COLS];
    _Alignas(64) float sums[MK_INT8_TOKENS * MK_TILE_ROWS];
    // A tile whose scales are all 1 expands to the values of its codes.
    uint8_t unscaled[MK_TILE_BYTES_8BIT];
    for (int r = 0; r < MK_TILE_ROWS; r++) memcpy(unscaled + 2 * r, &(const uint16_t){0x3c00}, 2);
    memset(y, 0, (size_t)tokens * MK_TILE_ROWS * sizeof(float));
    for (int64_t tile = 0; tile < count; tile++, tiles += tile_bytes) {
        float scales[16];
        for (int r = 0; r < 16; r++) scales[r] = mk_half_to_float(mk_load16(tiles + 2 * r));
        memcpy(unscaled + 2 * MK_TILE_ROWS, tiles + 2 * MK_TILE_ROWS, (size_t)tile_bytes - 2 * MK_TILE_ROWS);
        expand_rows(codebook, unscaled, 1, values);
        for (int64_t t = 0; t < tokens; t++) {
            for (int c = 0; c < MK_TILE_COLS; c++) codes[t * MK_TILE_COLS + c] = x[t * count + tile].q[c];
        }
        memset(sums, 0, (size_t)tokens * MK_TILE_ROWS * sizeof(float));
        gemm(values, 1, MK_TILE_COLS, codes, MK_TILE_COLS, tokens, sums, MK_TILE_ROWS);
        for (int64_t t = 0; t < tokens; t++) {
            const mk_v16 scale = load16(scales) * x[t * count + tile].scale;
            store16(y + 16 * t, scale * load16(sums + 16 * t) + load16(y + 16 * t));
        }
    }
}

#endif
