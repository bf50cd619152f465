/// The scale of each block: the d that minimises sum_i w_i (x_i - d T[q_i])^2 with w_i = sqrt(s + x_i^2), s being the
/// mean square of the row, for the codebooks that are denser near 0, and w_i = 1 for the evenly spaced ones.
/// docs/benchmarks.md ("Scale search") says what else was tried and what it gave.
///
/// A line of candidate scales rounds the weights to codebook entries v, and the best scale for these is known in closed
/// form, (sum w x v) / (sum w v^2). The best of the line is rounded to fp16, rounds the weights again, and is refitted,
/// as long as the error falls. 24 candidates come within 0.1 % of the error that a search over 400 finds.
///
/// The sixteen lanes of a vector are the sixteen rows of a tile, so no sum crosses lanes and (with no fused
/// multiply-add in this file) every instruction set gives the same bits: which one runs changes the speed only.
#include "scalesearch.h"

#include "half.h"
#include "simd.h"

#pragma STDC FP_CONTRACT OFF

enum { COLS = MK_TILE_COLS, ROWS = MK_TILE_ROWS };

mk_grid mk_grid_make(int32_t type) {
    mk_grid g = {.codebook = mk_codebook(type)};
    if (g.codebook == NULL) {
        g.linear = true;
        g.lowest = -127;
        g.highest = 127;
        g.ends = 1;
        // Each half step of the largest weight rounds the others anew: more draws, of which the best is kept.
        g.candidates = 24;
        g.first = 127.49f / 127;
        g.spacing = -0.5f / 127;
        return g;
    }
    const int8_t *t = g.codebook;
    g.linear = type == MK_Q4_0;
    g.lowest = t[0];
    g.highest = t[15];
    g.nearest_zero = t[0];
    for (int i = 0; i < 15; i++) {
        g.midpoints[i] = 0.5f * (float)(t[i] + t[i + 1]);
        g.steps[i] = (float)(t[i + 1] - t[i]);
    }
    for (int i = 0; i < 16; i++) {
        if (t[i] * t[i] < g.nearest_zero * g.nearest_zero) g.nearest_zero = t[i];
    }
    // Codebooks are lopsided, so the largest weight is tried at both ends; one of them makes d negative.
    g.ends = 2;
    g.candidates = 12;
    g.first = 0.72f;
    g.spacing = 0.04f;
    return g;
}

/// `yes` where the mask is set, else `no`.
MK_INLINE mk_v16 choose(mk_i16 mask, mk_v16 yes, mk_v16 no) {
    return (mk_v16)((mask & (mk_i16)yes) | (~mask & (mk_i16)no));
}

/// The entry of the codebook nearest to y.
MK_INLINE mk_v16 nearest(const mk_grid *g, mk_v16 y) {
    if (g->linear) {
        const mk_v16 low = (mk_v16)(g->lowest), high = (mk_v16)(g->highest), magic = (mk_v16)(12582912.0f);
        const mk_v16 clamped = choose(y < low, low, choose(y > high, high, y));
        return (clamped + magic) - magic;  // 1.5 * 2^23: to nearest even
    }
    mk_v16 value = (mk_v16)(g->lowest);
    for (int m = 0; m < 15; m++) {
        value += (mk_v16)((y > (mk_v16)(g->midpoints[m])) & (mk_i16)((mk_v16)(g->steps[m])));
    }
    return value;
}

/// 1 / d, or 0 if that is no finite number.
MK_INLINE mk_v16 invert(mk_v16 d) {
    const mk_v16 inverse = 1.0f / d;
    return choose((inverse >= -__FLT_MAX__) & (inverse <= __FLT_MAX__), inverse, (mk_v16)(0.0f));
}

/// The nearest scale that fp16 holds; not zero unless d is.
static uint16_t representable(float d) {
    const uint16_t half = mk_float_to_half(d);
    return (half & 0x7fff) == 0 && d != 0 ? half | 1 : half;
}

MK_INLINE void search(const mk_grid *g, const float *values, const float *unit, const float *variance, uint16_t *scales,
                      uint8_t *codes) {
    mk_v16 x[COLS], weight[COLS], s, power;
    memcpy(x, values, sizeof x);
    memcpy(&s, variance, sizeof s);
    memcpy(&power, unit, sizeof power);

    const mk_v16 zero = (mk_v16)(0.0f);
    mk_v16 largest = zero, zero_error = zero;
    for (int c = 0; c < COLS; c++) {
        const mk_v16 square = x[c] * x[c];
        largest = choose(__builtin_elementwise_abs(x[c]) > __builtin_elementwise_abs(largest), x[c], largest);
        weight[c] = g->linear ? (mk_v16)(1.0f) : __builtin_elementwise_sqrt(s + square);
        zero_error += weight[c] * square;
    }

    const mk_v16 inverse_largest = invert(largest);
    mk_v16 best_score = zero, d = zero;
    for (int end = 0; end < g->ends; end++) {
        for (int i = 0; i < g->candidates; i++) {
            const float reach = (end == 0 ? g->highest : g->lowest) * (g->first + (float)i * g->spacing);
            const mk_v16 inverse = inverse_largest * reach;
            mk_v16 cross = zero, square = zero;
            for (int c = 0; c < COLS; c++) {
                const mk_v16 v = nearest(g, x[c] * inverse), wv = weight[c] * v;
                cross += wv * x[c];
                square += wv * v;
            }
            // With its best scale the candidate's error is sum w x^2 - cross^2 / square.
            const mk_v16 fit = cross / square, score = cross * fit;
            const mk_i16 better = score > best_score;
            best_score = choose(better, score, best_score);
            d = choose(better, fit, d);
        }
    }

    // From here on the error is measured with the scale that will be stored. Scale 0 is where it starts.
    mk_v16 best_error = zero_error, best_inverse = zero;
    memset(scales, 0, ROWS * sizeof *scales);
    for (int round = 0; round < 3; round++) {
        const mk_v16 wanted = d * power;
        uint16_t halves[ROWS];
        for (int r = 0; r < ROWS; r++) {
            halves[r] = representable(wanted[r]);
            d[r] = mk_half_to_float(halves[r]);
            if (round == 0 && (halves[r] & 0x7fff) == 0x7c00) {
                scales[r] = halves[r];
                best_error[r] = -1;  // nothing replaces it
            }
        }
        d /= power;
        const mk_v16 inverse = invert(d);
        mk_v16 error = zero, cross = zero, square = zero;
        for (int c = 0; c < COLS; c++) {
            const mk_v16 v = nearest(g, x[c] * inverse), rest = x[c] - d * v, wv = weight[c] * v;
            error += weight[c] * (rest * rest);
            cross += wv * x[c];
            square += wv * v;
        }
        const mk_i16 better = error < best_error;
        best_error = choose(better, error, best_error);
        best_inverse = choose(better, inverse, best_inverse);
        for (int r = 0; r < ROWS; r++) {
            if (better[r]) scales[r] = halves[r];
        }
        d = choose(square > 0.0f, cross / square, zero);
    }

    for (int c = 0; c < COLS; c++) {
        const mk_v16 y = x[c] * best_inverse;
        mk_i16 code = (mk_i16)(0);
        if (g->linear) {
            const float base = g->codebook == NULL ? 0 : g->lowest;
            code = __builtin_convertvector(nearest(g, y) - base, mk_i16);
        } else {
            for (int m = 0; m < 15; m++) code -= y > (mk_v16)(g->midpoints[m]);
        }
        for (int r = 0; r < ROWS; r++) codes[c * ROWS + r] = (uint8_t)code[r];
    }
}

void mk_scale_search__portable(const mk_grid *grid, const float *x, const float *unit, const float *variance,
                               uint16_t *scales, uint8_t *codes) {
    search(grid, x, unit, variance, scales, codes);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void mk_scale_search__avx2(const mk_grid *grid, const float *x, const float *unit,
                                                           const float *variance, uint16_t *scales, uint8_t *codes) {
    search(grid, x, unit, variance, scales, codes);
}

__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl"))) void mk_scale_search__avx512(
    const mk_grid *grid, const float *x, const float *unit, const float *variance, uint16_t *scales, uint8_t *codes) {
    search(grid, x, unit, variance, scales, codes);
}

#endif
