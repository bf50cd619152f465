/// The int8 backward in plain C: what the versions with byte products are compared with.
#ifndef MERASER_INT8_GRADIENT_PLAIN_H
#define MERASER_INT8_GRADIENT_PLAIN_H

#include "half.h"
#include "int8_gradient_body.h"
#include "int8_pack.h"

/// Codes as [row][column].
static void plain_gradient_unpack(int32_t type, const uint8_t *tile, int64_t stride, int64_t count,
                                  mk_gradient_panel *panel) {
    const int8_t *codebook = mk_codebook(type);
    memset(panel->codes, 0, sizeof panel->codes);
    for (int64_t r = 0; r < MK_TILE_ROWS * count; r++) {
        const uint8_t *bytes = tile + r / MK_TILE_ROWS * stride + 2 * MK_TILE_ROWS + 4 * (r % MK_TILE_ROWS);
        int8_t *codes = panel->codes + r * MK_TILE_COLS;
        for (int c = 0; c < MK_TILE_COLS; c++) {
            if (codebook == NULL) {
                codes[c] = (int8_t)bytes[64 * (c / 4) + (c & 3)];
            } else {
                const uint8_t byte = bytes[64 * (c / 8) + (c & 3)];
                codes[c] = codebook[c & 4 ? byte >> 4 : byte & 15];
            }
        }
    }
}

/// To the nearest even integer: the sum's last bits are those of the integer.
MK_INLINE int32_t gradient_code(float g, float scale) {
#pragma clang fp contract(off)  // the same codes on every instruction set
    return (int32_t)mk_float_to_bits(g * scale + 12582912.0f) - 0x4b400000;
}

static void plain_gradient_rows(const mk_gradient_panel *panel, const float *g, const float *unit, float *sums) {
    for (int t = 0; t < MK_GRADIENT_TOKENS; t++, g += MK_GRADIENT_ROWS, sums += MK_TILE_COLS) {
        mk_i16 dot[2] = {0, 0};
        for (int r = 0; r < MK_GRADIENT_ROWS; r++) {
            const int32_t code = gradient_code(g[r], panel->scale[r]);
            for (int h = 0; h < 2; h++) {
                mk_c16 q;
                memcpy(&q, panel->codes + r * MK_TILE_COLS + 16 * h, sizeof q);
                dot[h] += code * __builtin_convertvector(q, mk_i16);
            }
        }
        for (int h = 0; h < 2; h++) {
            store16(sums + 16 * h, unit[t] * __builtin_convertvector(dot[h], mk_v16) + load16(sums + 16 * h));
        }
    }
}

static const mk_int8_gradient plain_gradient = {.prepare = gradient_prepare,
                                                .scales = gradient_scales,
                                                .unpack = plain_gradient_unpack,
                                                .rows = plain_gradient_rows};

#endif
