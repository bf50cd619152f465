/// The int8 backward's gradients and scales in units of their largest, for
/// every instruction set.
#ifndef MERASER_INT8_GRADIENT_BODY_H
#define MERASER_INT8_GRADIENT_BODY_H

#include "int8_gradient.h"
#include "simd_math.h"

enum { GRADIENT_VECTORS = MK_GRADIENT_ROWS / MK_PANEL_WIDTH };

/// The largest magnitude; as bits, which are ordered like it: infinities and
/// NaNs come last.
MK_INLINE uint32_t gradient_largest(const mk_v16 *x) {
    mk_u16 top = 0;
#pragma clang loop unroll(full)
    for (int k = 0; k < GRADIENT_VECTORS; k++) {
        top = __builtin_elementwise_max(top, (mk_u16)x[k] & 0x7fffffff);
    }
    return __builtin_reduce_max(top);
}

static float gradient_prepare(const float *dy, int64_t rows, float *g) {
    mk_v16 x[GRADIENT_VECTORS];
#pragma clang loop unroll(full)
    for (int k = 0; k < GRADIENT_VECTORS; k++) {
        const int64_t some = mk_min(MK_PANEL_WIDTH, rows - MK_PANEL_WIDTH * k);
        x[k] = some == MK_PANEL_WIDTH ? load16(dy + MK_PANEL_WIDTH * k)
               : some > 0             ? load_part(dy + MK_PANEL_WIDTH * k, some, 0)
                                      : 0;
    }
    const uint32_t bits = gradient_largest(x);
    const float largest = mk_bits_to_float(bits), inverse = 127 / largest;
    // What is too small for a unit is nothing. A NaN or an infinity has no code;
    // a NaN as the unit carries it on.
    const bool is_finite = bits < 0x7f800000, has_codes = is_finite && inverse <= __FLT_MAX__;
#pragma clang loop unroll(full)
    for (int k = 0; k < GRADIENT_VECTORS; k++) store16(g + MK_PANEL_WIDTH * k, has_codes ? x[k] * inverse : 0);
    return has_codes ? largest / 127 : is_finite ? 0 : __builtin_nanf("");
}

static void gradient_scales(const uint8_t *tile, int64_t stride, int64_t rows, mk_gradient_panel *panel) {
    const mk_i16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    mk_v16 d[GRADIENT_VECTORS];
    for (int k = 0; k < GRADIENT_VECTORS; k++) {
        const int32_t left = (int32_t)rows - MK_TILE_ROWS * k;
        d[k] = left > 0 ? tile_scales(tile + k * stride) : 0;
        d[k] = select16(lane < left, d[k], 0);
    }
    const uint32_t bits = gradient_largest(d);
    const bool is_finite = bits < 0x7f800000, has_codes = is_finite && bits > 0;
    const float largest = mk_bits_to_float(bits);
    for (int k = 0; k < GRADIENT_VECTORS; k++) store16(panel->scale + 16 * k, has_codes ? d[k] / largest : 0);
    panel->largest = is_finite ? largest : __builtin_nanf("");
}

#endif
