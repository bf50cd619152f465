/// fp32 weights into tiles (and into the plain 16-bit types).
///
/// Each block of 32 weights gets the scale d that minimises sum_i w_i (x_i - d T[q_i])^2 over a search: a line of
/// candidate scales rounds the weights to codes, the codes give the best scale in closed form, and that scale, rounded
/// to fp16, rounds the weights once more. The result is the same on every machine: no fused multiply-add in this file.
#include <assert.h>

#include "half.h"
#include "isa.h"

#pragma STDC FP_CONTRACT OFF

enum { BLOCK = MK_TILE_COLS };

/// What a block may be rounded to: d * T[q].
typedef struct grid {
    const int8_t *codebook;  ///< ascending, 16 entries; NULL: the integers -127 ... 127
    float midpoints[15];     ///< between neighbours of the codebook
    float reach[2];          ///< the values that the largest weight may be mapped to
    int reaches;
    int steps;        ///< candidates on each side of an exact fit of the largest weight
    float step_size;  ///< relative distance of two candidates
} grid;

static grid make_grid(int32_t type) {
    grid g = {.codebook = mk_codebook(type)};
    if (g.codebook == NULL) {
        g.reach[0] = 127;
        g.reaches = 1;
        g.steps = 4;
        g.step_size = 0.002f;
        return g;
    }
    for (int i = 0; i < 15; i++) g.midpoints[i] = 0.5f * (float)(g.codebook[i] + g.codebook[i + 1]);
    // Codebooks are lopsided, so the largest weight is tried at both ends; one of them makes d negative.
    g.reach[0] = g.codebook[0];
    g.reach[1] = g.codebook[15];
    g.reaches = 2;
    g.steps = 8;
    g.step_size = 0.0125f;
    return g;
}

/// codes[i] = the index (or integer) nearest to x[i] * inverse, values[i] = what it stands for.
static void round_block(const grid *g, const float *x, float inverse, int32_t *codes, float *values) {
    if (g->codebook == NULL) {
        for (int i = 0; i < BLOCK; i++) {
            const float scaled = x[i] * inverse;
            const float clamped = scaled < -127 ? -127 : (scaled > 127 ? 127 : scaled);
            const float rounded = (clamped + 12582912.0f) - 12582912.0f;  // 1.5 * 2^23: to nearest even
            codes[i] = (int32_t)rounded;
            values[i] = rounded;
        }
        return;
    }
    for (int i = 0; i < BLOCK; i++) codes[i] = 0;
    for (int m = 0; m < 15; m++) {
        for (int i = 0; i < BLOCK; i++) codes[i] += x[i] * inverse > g->midpoints[m];
    }
    for (int i = 0; i < BLOCK; i++) values[i] = (float)g->codebook[codes[i]];
}

/// sum w x v and sum w v^2; their quotient is the best scale for these values.
static void correlate(const float *weight, const float *x, const float *values, float *cross, float *square) {
    float sums[2][4] = {{0}};
    for (int i = 0; i < BLOCK; i += 4) {
        for (int lane = 0; lane < 4; lane++) {
            const float wv = weight[i + lane] * values[i + lane];
            sums[0][lane] += wv * x[i + lane];
            sums[1][lane] += wv * values[i + lane];
        }
    }
    *cross = (sums[0][0] + sums[0][1]) + (sums[0][2] + sums[0][3]);
    *square = (sums[1][0] + sums[1][1]) + (sums[1][2] + sums[1][3]);
}

static float weighted_error(const float *weight, const float *x, const float *values, float d) {
    float error = 0;
    for (int i = 0; i < BLOCK; i++) {
        const float difference = x[i] - d * values[i];
        error += weight[i] * difference * difference;
    }
    return error;
}

static float invert(float d) {
    const float inverse = 1 / d;
    return __builtin_fabsf(inverse) <= __FLT_MAX__ ? inverse : 0;
}

/// Rounds a scale to fp16, keeping it finite.
static float representable(float d, uint16_t *half) {
    const float limited = d > 65504 ? 65504 : (d < -65504 ? -65504 : d);
    *half = mk_float_to_half(limited);
    return mk_half_to_float(*half);
}

/// The codes of one block; returns its scale as fp16 bits.
static uint16_t search_block(const grid *g, const float *x, int32_t *codes) {
    float weight[BLOCK], values[BLOCK];
    float largest = 0;
    for (int i = 0; i < BLOCK; i++) {
        if (__builtin_fabsf(x[i]) > __builtin_fabsf(largest)) largest = x[i];
    }
    uint16_t best_half = 0;
    round_block(g, x, 0, codes, values);
    if (largest == 0) return 0;
    // Relative weights: squares of the weights themselves could underflow.
    for (int i = 0; i < BLOCK; i++) {
        const float relative = x[i] / largest;
        weight[i] = relative * relative;
    }

    float best_d = 0, best_score = -1;
    for (int r = 0; r < g->reaches; r++) {
        for (int step = -g->steps; step <= g->steps; step++) {
            const float inverse = g->reach[r] / largest * (1 + (float)step * g->step_size);
            if (!(__builtin_fabsf(inverse) <= __FLT_MAX__)) continue;
            int32_t trial[BLOCK];
            round_block(g, x, inverse, trial, values);
            float cross, square;
            correlate(weight, x, values, &cross, &square);
            // The error that the best scale leaves is sum w x^2 - cross^2 / square.
            if (!(square > 0) || !(cross * (cross / square) > best_score)) continue;
            best_score = cross * (cross / square);
            best_d = cross / square;
        }
    }

    // Settle: round with the scale that will be stored, refit, keep the best of a few rounds.
    float best_error = __FLT_MAX__, d = best_d;
    for (int round = 0; round < 3; round++) {
        uint16_t half;
        d = representable(d, &half);
        int32_t trial[BLOCK];
        round_block(g, x, invert(d), trial, values);
        const float error = weighted_error(weight, x, values, d);
        // The first round stands even if its error overflows: a clamped scale tells the caller that the weights are too
        // large.
        if (round > 0 && !(error < best_error)) break;
        best_error = error;
        best_half = half;
        for (int i = 0; i < BLOCK; i++) codes[i] = trial[i];
        float cross, square;
        correlate(weight, x, values, &cross, &square);
        if (!(square > 0)) break;
        d = cross / square;
    }
    return best_half;
}

/// Where the code of (row, column) lies in a tile: a byte, and for 4 bits the nibble's shift.
static void place(bool four_bit, uint8_t *tile, int row, const int32_t *codes) {
    uint8_t *bytes = tile + 2 * MK_TILE_ROWS;
    for (int column = 0; column < BLOCK; column++) {
        if (four_bit) {
            const int shift = column & 4;
            uint8_t *byte = bytes + 64 * (column / 8) + 4 * row + (column & 3);
            *byte = (uint8_t)(*byte | codes[column] << shift);
        } else {
            bytes[64 * (column / 4) + 4 * row + (column & 3)] = (uint8_t)codes[column];
        }
    }
}

static void quantize_tiles(int32_t type, const float *src, int64_t rows, int64_t cols, uint8_t *dst) {
    const grid g = make_grid(type);
    const int64_t tile_bytes = mk_tile_bytes(type);
    for (int64_t row0 = 0; row0 < rows; row0 += MK_TILE_ROWS) {
        const int count = (int)mk_min(MK_TILE_ROWS, rows - row0);
        for (int64_t col0 = 0; col0 < cols; col0 += MK_TILE_COLS, dst += tile_bytes) {
            memset(dst, 0, (size_t)tile_bytes);
            for (int row = 0; row < count; row++) {
                int32_t codes[BLOCK];
                const uint16_t half = search_block(&g, src + (row0 + row) * cols + col0, codes);
                memcpy(dst + 2 * row, &half, 2);
                place(g.codebook != NULL, dst, row, codes);
            }
        }
    }
}

void mk_quantize(int32_t type, const float *src, int64_t rows, int64_t cols, void *dst) {
    const int64_t n = rows * cols;
    uint8_t *bytes = dst;
    switch (type) {
        case MK_F32:
            memcpy(dst, src, (size_t)n * 4);
            return;
        case MK_F16:
        case MK_BF16:
            for (int64_t i = 0; i < n; i++) {
                const uint16_t h = type == MK_F16 ? mk_float_to_half(src[i]) : mk_float_to_bfloat(src[i]);
                memcpy(bytes + 2 * i, &h, 2);
            }
            return;
        default:
            assert(mk_type_is_tiled(type) && cols % MK_TILE_COLS == 0);
            quantize_tiles(type, src, rows, cols, dst);
    }
}
