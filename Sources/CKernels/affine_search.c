/// Quantizes to the affine types (affine.h): the s and m of a part that leave the least squared error.
///
/// A grid of candidates clips some of the range at either end; the codes that a candidate gives have their best s and m
/// in closed form (least squares), and the best of all rounds the weights once more. K-quants then choose d and dmin
/// for the largest s and m of the row's super-block, and the integers of each part among the nine nearest, with the
/// codes that they give. docs/studies/kernels.md compares what this leaves with what llama.cpp's search leaves.
///
/// The sixteen lanes of a vector are the sixteen rows of a tile, so no sum crosses lanes and (with no fused
/// multiply-add in this file) every machine gives the same bits.
#include <math.h>

#include "affine.h"
#include "simd.h"

#pragma STDC FP_CONTRACT OFF

enum { COLS = MK_TILE_COLS, ROWS = MK_TILE_ROWS, SPAN = 8 * COLS };

MK_INLINE mk_v16 choose(mk_i16 mask, mk_v16 yes, mk_v16 no) {
    return (mk_v16)((mask & (mk_i16)yes) | (~mask & (mk_i16)no));
}

MK_INLINE mk_v16 lesser(mk_v16 a, mk_v16 b) {
    return choose(a < b, a, b);
}

MK_INLINE mk_v16 greater(mk_v16 a, mk_v16 b) {
    return choose(a > b, a, b);
}

MK_INLINE mk_v16 splat(float x) {
    return (mk_v16)(x);
}

/// a / b, or 0 where that is no finite number.
MK_INLINE mk_v16 divide(mk_v16 a, mk_v16 b) {
    const mk_v16 x = a / b;
    return choose(__builtin_elementwise_abs(x) <= splat(__FLT_MAX__), x, splat(0));
}

/// The integer nearest to y in low ... high (halves to even); low for a NaN.
MK_INLINE mk_v16 nearest(mk_v16 y, float low, float high) {
    y = choose(y > low, y, splat(low));
    y = choose(y < high, y, splat(high));
    return (y + 12582912.0f) - 12582912.0f;  // 1.5 * 2^23
}

/// The fp16 nearest to x * unit, as bits and, relative to the unit, as a number; not zero unless x is.
MK_INLINE mk_v16 representable(mk_v16 x, const float *unit, uint16_t bits[ROWS]) {
    mk_v16 back = splat(0);
    for (int r = 0; r < ROWS; r++) {
        bits[r] = mk_float_to_half(x[r] * unit[r] + 0.0f);  // no negative zero
        if ((bits[r] & 0x7fff) == 0 && x[r] != 0) bits[r] |= 1;
        back[r] = mk_half_to_float(bits[r]) / unit[r];
    }
    return back;
}

/// w = scale * q + minimum.
typedef struct {
    mk_v16 scale, minimum;
} line;

/// Sums over a part with given codes: what least squares needs.
typedef struct {
    mk_v16 q, qq, x, xq, xx;
} moments;

MK_INLINE void add(moments *m, mk_v16 x, mk_v16 q) {
    m->q += q;
    m->qq += q * q;
    m->x += x;
    m->xq += x * q;
    m->xx += x * x;
}

/// The best line through n points; `is_below`: with a minimum of at most 0.
MK_INLINE line fit(moments m, float n, bool is_below) {
    const mk_v16 scale = divide(n * m.xq - m.q * m.x, n * m.qq - m.q * m.q);
    line best = {scale, (m.x - scale * m.q) / n};
    if (is_below) {
        const mk_i16 is_above = best.minimum > 0.0f;
        best.scale = choose(is_above, divide(m.xq, m.qq), best.scale);
        best.minimum = choose(is_above, splat(0), best.minimum);
    }
    const mk_i16 falls = best.scale < 0.0f;
    best.scale = choose(falls, splat(0), best.scale);
    best.minimum = choose(falls, m.x / n, best.minimum);
    if (is_below) best.minimum = lesser(best.minimum, splat(0));
    return best;
}

/// The squared error of a line with the codes that the moments were taken of.
MK_INLINE mk_v16 error_of(moments m, float n, line l) {
    const mk_v16 cross = l.scale * m.xq + l.minimum * m.x;
    const mk_v16 own = l.scale * (l.scale * m.qq + 2.0f * l.minimum * m.q) + n * (l.minimum * l.minimum);
    return m.xx - 2.0f * cross + own;
}

/// The squared error of a line with the nearest codes.
MK_INLINE mk_v16 rounded_error(const mk_v16 *x, int n, line l, float low, float high) {
    const mk_v16 inverse = divide(splat(1), l.scale);
    mk_v16 error = splat(0);
    for (int c = 0; c < n; c++) {
        const mk_v16 rest = x[c] - (l.scale * nearest((x[c] - l.minimum) * inverse, low, high) + l.minimum);
        error += rest * rest;
    }
    return error;
}

MK_INLINE moments rounded_moments(const mk_v16 *x, int n, line l, float high) {
    const mk_v16 inverse = divide(splat(1), l.scale);
    moments m = {splat(0), splat(0), splat(0), splat(0), splat(0)};
    for (int c = 0; c < n; c++) add(&m, x[c], nearest((x[c] - l.minimum) * inverse, 0, high));
    return m;
}

/// The line of 32 weights with codes 0 ... high.
MK_INLINE line search_line(const mk_v16 *x, float high, bool is_below) {
    // Parts of the range that are left out at either end; wider ranges have codes that are not used.
    static const float cuts[] = {-0.03f, 0, 0.03f, 0.06f, 0.1f};
    enum { CUTS = sizeof cuts / sizeof cuts[0] };
    mk_v16 least = x[0], most = x[0], best_error = splat(INFINITY);
    for (int c = 1; c < COLS; c++) {
        least = lesser(least, x[c]);
        most = greater(most, x[c]);
    }
    if (is_below) least = lesser(least, splat(0));
    const mk_v16 range = most - least;
    line best = {splat(0), splat(0)};
    for (int i = 0; i < CUTS * CUTS + 2; i++) {
        line candidate = best;  // the last rounds go on from the best
        if (i < CUTS * CUTS) {
            candidate.minimum = least + range * cuts[i / CUTS];
            candidate.scale = range * ((1 - cuts[i / CUTS] - cuts[i % CUTS]) / high);
        }
        const moments m = rounded_moments(x, COLS, candidate, high);
        const line fitted = fit(m, COLS, is_below);
        const mk_v16 error = error_of(m, COLS, fitted);
        const mk_i16 better = error < best_error;
        best_error = choose(better, error, best_error);
        best.scale = choose(better, fitted.scale, best.scale);
        best.minimum = choose(better, fitted.minimum, best.minimum);
    }
    return best;
}

/// The scale of 16 weights with codes -32 ... 31 and no minimum.
MK_INLINE mk_v16 search_scale(const mk_v16 *x) {
    mk_v16 largest = splat(0), best_score = splat(0), best = splat(0);
    for (int c = 0; c < 16; c++) {
        largest = choose(__builtin_elementwise_abs(x[c]) > __builtin_elementwise_abs(largest), x[c], largest);
    }
    for (int i = 0; i < 24; i++) {
        // Each part of a step of the largest weight rounds the others anew.
        const float reach = i < 12 ? -32.49f + 0.25f * (float)i : 31.49f - 0.25f * (float)(i - 12);
        const mk_v16 inverse = divide(splat(reach), largest);
        mk_v16 cross = splat(0), square = splat(0);
        for (int c = 0; c < 16; c++) {
            const mk_v16 q = nearest(x[c] * inverse, -32, 31);
            cross += q * x[c];
            square += q * q;
        }
        const mk_v16 fitted = divide(cross, square), score = cross * fitted;
        const mk_i16 better = score > best_score;
        best_score = choose(better, score, best_score);
        best = choose(better, fitted, best);
    }
    return best;
}

/// A tile of 16 rows; x[c] are the weights of column c relative to the rows' units.
typedef struct {
    mk_v16 x[SPAN];
    float unit[ROWS];
    mk_affine_row rows[ROWS];
} tile;

static void set_codes(tile *t, int first, int n, line l, float low, float high) {
    const mk_v16 inverse = divide(splat(1), l.scale);
    for (int c = first; c < first + n; c++) {
        const mk_v16 q = nearest((t->x[c] - l.minimum) * inverse, low, high) - low;
        for (int r = 0; r < ROWS; r++) t->rows[r].codes[c] = (uint8_t)q[r];
    }
}

static void search_q4_1(tile *t) {
    line wanted = search_line(t->x, 15, false), best = {splat(0), splat(0)};
    mk_v16 best_error = splat(INFINITY);
    // The error is measured with the numbers that are stored.
    for (int round = 0; round < 3; round++) {
        uint16_t d[ROWS], m[ROWS];
        const line stored = {representable(wanted.scale, t->unit, d), representable(wanted.minimum, t->unit, m)};
        const mk_v16 error = rounded_error(t->x, COLS, stored, 0, 15);
        // A number that is too large shows as infinite; the caller refuses it.
        const mk_i16 better = round == 0 ? (mk_i16)(-1) : error < best_error;
        best_error = choose(better, error, best_error);
        best.scale = choose(better, stored.scale, best.scale);
        best.minimum = choose(better, stored.minimum, best.minimum);
        for (int r = 0; r < ROWS; r++) {
            if (better[r]) t->rows[r].d = d[r];
            if (better[r]) t->rows[r].dmin = m[r];
        }
        wanted = fit(rounded_moments(t->x, COLS, stored, 15), COLS, false);
    }
    set_codes(t, 0, COLS, best, 0, 15);
}

/// The integers of a part, those next to s / d and m / dmin, that leave the least error; returns their line.
MK_INLINE line choose_integers(const mk_v16 *x, float high, line wanted, mk_v16 d, mk_v16 dmin, mk_v16 *scale,
                               mk_v16 *minimum) {
    const mk_v16 s = nearest(divide(wanted.scale, d), 0, 63), m = nearest(divide(-wanted.minimum, dmin), 0, 63);
    mk_v16 best_error = splat(INFINITY);
    line best = {splat(0), splat(0)};
    for (int i = 0; i < 9; i++) {
        static const float steps[] = {0, -1, 1};
        const mk_v16 a = nearest(s + steps[i / 3], 0, 63), b = nearest(m + steps[i % 3], 0, 63);
        const line l = {d * a, -(dmin * b)};
        const mk_v16 error = rounded_error(x, COLS, l, 0, high);
        const mk_i16 better = i == 0 ? (mk_i16)(-1) : error < best_error;
        best_error = choose(better, error, best_error);
        best.scale = choose(better, l.scale, best.scale);
        best.minimum = choose(better, l.minimum, best.minimum);
        *scale = choose(better, a, *scale);
        *minimum = choose(better, b, *minimum);
    }
    return best;
}

static void search_k(tile *t, float high) {
    line wanted[8];
    mk_v16 largest = splat(0), lowest = splat(0);
    for (int b = 0; b < 8; b++) {
        wanted[b] = search_line(t->x + COLS * b, high, true);
        largest = greater(largest, wanted[b].scale);
        lowest = lesser(lowest, wanted[b].minimum);
    }
    uint16_t d[ROWS], dmin[ROWS];
    const mk_v16 unit = representable(largest / 63.0f, t->unit, d),
                 step = representable(lowest / -63.0f, t->unit, dmin);
    for (int b = 0; b < 8; b++) {
        mk_v16 scale = splat(0), minimum = splat(0);
        const line l = choose_integers(t->x + COLS * b, high, wanted[b], unit, step, &scale, &minimum);
        for (int r = 0; r < ROWS; r++) {
            t->rows[r].scales[b] = (uint8_t)scale[r];
            t->rows[r].minimums[b] = (uint8_t)minimum[r];
        }
        set_codes(t, COLS * b, COLS, l, 0, high);
    }
    for (int r = 0; r < ROWS; r++) {
        t->rows[r].d = d[r];
        t->rows[r].dmin = dmin[r];
    }
}

static void search_q6_k(tile *t) {
    mk_v16 wanted[16], largest = splat(0);
    for (int p = 0; p < 16; p++) {
        wanted[p] = search_scale(t->x + 16 * p);
        largest = choose(__builtin_elementwise_abs(wanted[p]) > __builtin_elementwise_abs(largest), wanted[p], largest);
    }
    uint16_t d[ROWS];
    const mk_v16 unit = representable(largest / -128.0f, t->unit, d);
    for (int p = 0; p < 16; p++) {
        const mk_v16 s = nearest(divide(wanted[p], unit), -128, 127);
        mk_v16 best_error = splat(INFINITY), integer = splat(0);
        for (int i = 0; i < 3; i++) {
            static const float steps[] = {0, -1, 1};
            const mk_v16 a = nearest(s + steps[i], -128, 127);
            const mk_v16 error = rounded_error(t->x + 16 * p, 16, (line){unit * a, splat(0)}, -32, 31);
            const mk_i16 better = i == 0 ? (mk_i16)(-1) : error < best_error;
            best_error = choose(better, error, best_error);
            integer = choose(better, a, integer);
        }
        for (int r = 0; r < ROWS; r++) t->rows[r].scales[p] = (uint8_t)(int8_t)integer[r];
        set_codes(t, 16 * p, 16, (line){unit * integer, splat(0)}, -32, 31);
    }
    for (int r = 0; r < ROWS; r++) t->rows[r].d = d[r];
}

/// The power of two below the largest magnitude of a row (within the range in which its inverse is normal too).
/// Dividing by it is exact and keeps squares of the weights away from overflow and underflow.
static float unit_of(const float *row, int64_t cols) {
    uint32_t largest = 0;
    for (int64_t c = 0; c < cols; c++) {
        const uint32_t bits = mk_float_to_bits(row[c]) & 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    const uint32_t exponent = largest >> 23;
    return mk_bits_to_float((exponent < 1 ? 1 : (exponent > 253 ? 253 : exponent)) << 23);
}

static void search(int32_t type, tile *t) {
    if (type == MK_Q4_1) search_q4_1(t);
    if (type == MK_Q4_K) search_k(t, 15);
    if (type == MK_Q5_K) search_k(t, 31);
    if (type == MK_Q6_K) search_q6_k(t);
}

void mk_affine_search(int32_t type, const mk_v16 *x, const float *unit, mk_affine_row *rows) {
    tile t;
    memset(&t, 0, sizeof t);
    memcpy(t.x, x, (size_t)mk_tile_columns(type) * sizeof *x);
    memcpy(t.unit, unit, sizeof t.unit);
    search(type, &t);
    memcpy(rows, t.rows, sizeof t.rows);
}

void mk_affine_quantize_group(int32_t type, const float *src, int rows, int64_t cols, uint8_t *dst) {
    tile t;
    memset(&t, 0, sizeof t);
    for (int r = 0; r < ROWS; r++) t.unit[r] = r < rows ? unit_of(src + r * cols, cols) : 1;
    const int64_t span = mk_tile_columns(type), bytes = mk_tile_bytes(type);
    for (int64_t c0 = 0; c0 < cols; c0 += span, dst += bytes) {
        for (int r = 0; r < rows; r++) {
            for (int64_t c = 0; c < span; c++) t.x[c][r] = src[r * cols + c0 + c] * (1 / t.unit[r]);
        }
        search(type, &t);
        memset(dst, 0, (size_t)bytes);
        for (int r = 0; r < rows; r++) mk_affine_store(type, t.rows + r, r, dst);
    }
}
