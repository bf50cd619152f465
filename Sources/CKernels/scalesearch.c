/// The scale of each block: the d that minimises sum_i w_i (x_i - d T[q_i])^2 with w_i = sqrt(s + x_i^2), s being the
/// mean square of the row, for the codebooks that are denser near 0, and w_i = 1 for the evenly spaced ones.
/// docs/studies/kernels.md ("Scale search") says what else was tried and what it gave.
///
/// A line of candidate scales rounds the weights to codebook entries v, and the best scale for these is known in closed
/// form, (sum w x v) / (sum w v^2). The best of the line is rounded to fp16, rounds the weights again, and is refitted,
/// as long as the error falls. 24 candidates come within 0.1 % of the error that a search over 400 finds.
///
/// The sixteen lanes of a vector are the sixteen rows of a tile, so no sum crosses lanes and (with no fused
/// multiply-add in this file) every instruction set gives the same bits: which one runs changes the speed only.
#include "scalesearch.h"

#include <math.h>

#include "affine.h"
#include "feedback.h"
#include "half.h"
#include "simd.h"

#pragma STDC FP_CONTRACT OFF

enum { COLS = MK_TILE_COLS, ROWS = MK_TILE_ROWS };

/// How weights are rounded: a constant for the compiler, one copy of the search for each.
typedef enum { CODEBOOK, FOUR_BITS, EIGHT_BITS } rounding;

static void make_cells(mk_grid *g) {
    for (int cell = -16; cell < 16; cell++) {
        const float start = ((float)cell - 0.5f) / MK_CELLS_PER_UNIT, end = ((float)cell + 0.5f) / MK_CELLS_PER_UNIT;
        float midpoint = INFINITY;
        int code = 0;
        for (int i = 0; i < 15; i++) {
            code += g->midpoints[i] < start;
            if (g->midpoints[i] >= start && g->midpoints[i] < end) midpoint = g->midpoints[i];
        }
        g->cell_midpoints[cell & 31] = midpoint;
        g->cell_codes[cell & 31] = code;
    }
    g->cell_codes[16] = 15;  // the cell behind the last, not the first
}

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
    g.linear = type == MK_Q4_0;
    for (int i = 0; i < 16; i++) {
        g.entries[i] = g.codebook[i];
        g.midpoints[i] = i < 15 ? 0.5f * (float)(g.codebook[i] + g.codebook[i + 1]) : INFINITY;
    }
    g.lowest = g.entries[0];
    g.highest = g.entries[15];
    make_cells(&g);
    // Codebooks are lopsided, so the largest weight is tried at both ends; one of them makes d negative.
    g.ends = 2;
    g.candidates = 12;
    g.first = 0.72f;
    g.spacing = 0.04f;
    return g;
}

// Nearest entries by comparison: what every machine has.
#define BODY(name) name##__portable
#define LINES 1
#define ROUND(y) (((y) + 12582912.0f) - 12582912.0f)  // 1.5 * 2^23
MK_INLINE mk_v16 nearest_portable(const mk_grid *g, mk_v16 y) {
    mk_v16 value = (mk_v16)(g->lowest);
    for (int m = 0; m < 15; m++) {
        const mk_v16 step = (mk_v16)(g->entries[m + 1] - g->entries[m]);
        value += (mk_v16)((y > (mk_v16)(g->midpoints[m])) & (mk_i16)step);
    }
    return value;
}
MK_INLINE mk_i16 nearest_code_portable(const mk_grid *g, mk_v16 y) {
    mk_i16 code = (mk_i16)(0);
    for (int m = 0; m < 15; m++) code -= y > (mk_v16)(g->midpoints[m]);
    return code;
}
#define NEAREST_IN_RANGE nearest_portable
#define NEAREST nearest_portable
#define NEAREST_CODE nearest_code_portable
#include "scalesearch_body.h"

// It uses the choices of the one before.
#include "feedback_body.h"
#undef BODY
#undef LINES
#undef ROUND
#undef NEAREST_IN_RANGE
#undef NEAREST
#undef NEAREST_CODE

#if defined(__x86_64__)
#include <immintrin.h>

// AVX2: a binary search, its midpoints looked up by what is known of the code so far.
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
MK_INLINE __m256i code_avx2(const mk_grid *g, __m256 y) {
    const float *m = g->midpoints;
    const __m256 first = _mm256_cmp_ps(y, _mm256_set1_ps(m[7]), _CMP_GT_OQ);
    const __m256 second =
        _mm256_cmp_ps(y, _mm256_blendv_ps(_mm256_set1_ps(m[3]), _mm256_set1_ps(m[11]), first), _CMP_GT_OQ);
    __m256i code = _mm256_and_si256(_mm256_castps_si256(first), _mm256_set1_epi32(2));
    code = _mm256_sub_epi32(code, _mm256_castps_si256(second));
    const __m256 quarters = _mm256_setr_ps(m[1], m[5], m[9], m[13], m[1], m[5], m[9], m[13]);
    const __m256 third = _mm256_cmp_ps(y, _mm256_permutevar_ps(quarters, code), _CMP_GT_OQ);
    code = _mm256_sub_epi32(_mm256_add_epi32(code, code), _mm256_castps_si256(third));
    const __m256 eighths = _mm256_setr_ps(m[0], m[2], m[4], m[6], m[8], m[10], m[12], m[14]);
    const __m256 fourth = _mm256_cmp_ps(y, _mm256_permutevar8x32_ps(eighths, code), _CMP_GT_OQ);
    return _mm256_sub_epi32(_mm256_add_epi32(code, code), _mm256_castps_si256(fourth));
}
MK_INLINE __m256 nearest_half_avx2(const mk_grid *g, __m256 y) {
    const __m256i code = code_avx2(g, y);
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(g->entries), code);
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(g->entries + 8), code);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(code, 28)));
}
MK_INLINE mk_v16 nearest_avx2(const mk_grid *g, mk_v16 y) {
    __m256 halves[2];
    memcpy(halves, &y, sizeof halves);
    for (int i = 0; i < 2; i++) halves[i] = nearest_half_avx2(g, halves[i]);
    memcpy(&y, halves, sizeof halves);
    return y;
}
MK_INLINE mk_i16 nearest_code_avx2(const mk_grid *g, mk_v16 y) {
    __m256 halves[2];
    __m256i codes[2];
    mk_i16 result;
    memcpy(halves, &y, sizeof halves);
    for (int i = 0; i < 2; i++) codes[i] = code_avx2(g, halves[i]);
    memcpy(&result, codes, sizeof codes);
    return result;
}
#define BODY(name) name##__avx2
#define LINES 1
#define ROUND __builtin_elementwise_roundeven
#define NEAREST_IN_RANGE nearest_avx2
#define NEAREST nearest_avx2
#define NEAREST_CODE nearest_code_avx2
#include "scalesearch_body.h"

// It uses the choices of the one before.
#include "feedback_body.h"
#undef BODY
#undef LINES
#undef ROUND
#undef NEAREST_IN_RANGE
#undef NEAREST
#undef NEAREST_CODE
#pragma clang attribute pop

// AVX-512: cells of equal width in two registers, and one comparison with the midpoint in the cell.
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2"))), apply_to = function)
MK_INLINE __m512i cell_avx512(const mk_grid *g, __m512 y) {
    const __m512i cell = _mm512_cvtps_epi32(_mm512_mul_ps(y, _mm512_set1_ps(MK_CELLS_PER_UNIT)));
    const __m512 midpoint =
        _mm512_permutex2var_ps(_mm512_loadu_ps(g->cell_midpoints), cell, _mm512_loadu_ps(g->cell_midpoints + 16));
    return _mm512_mask_add_epi32(cell, _mm512_cmp_ps_mask(y, midpoint, _CMP_GT_OQ), cell, _mm512_set1_epi32(1));
}
MK_INLINE __m512i cell_code_avx512(const mk_grid *g, __m512i cell) {
    return _mm512_permutex2var_epi32(_mm512_loadu_si512(g->cell_codes), cell, _mm512_loadu_si512(g->cell_codes + 16));
}
/// Into the cells that there are; what lies outside is beyond the first or last midpoint there too.
MK_INLINE __m512 confined_avx512(mk_v16 y) {
    return _mm512_min_ps(_mm512_max_ps((__m512)y, _mm512_set1_ps(-140)), _mm512_set1_ps(140));
}
MK_INLINE mk_v16 nearest_in_range_avx512(const mk_grid *g, mk_v16 y) {
    // The entries by cell; the compiler keeps all four tables in registers over the loops.
    const __m512 entries = _mm512_loadu_ps(g->entries);
    const __m512 low = _mm512_permutexvar_ps(_mm512_loadu_si512(g->cell_codes), entries);
    const __m512 high = _mm512_permutexvar_ps(_mm512_loadu_si512(g->cell_codes + 16), entries);
    return (mk_v16)_mm512_permutex2var_ps(low, cell_avx512(g, (__m512)y), high);
}
MK_INLINE mk_v16 nearest_avx512(const mk_grid *g, mk_v16 y) {
    return nearest_in_range_avx512(g, (mk_v16)confined_avx512(y));
}
MK_INLINE mk_i16 nearest_code_avx512(const mk_grid *g, mk_v16 y) {
    return (mk_i16)cell_code_avx512(g, cell_avx512(g, confined_avx512(y)));
}
#define BODY(name) name##__avx512
#define LINES 4
#define ROUND __builtin_elementwise_roundeven
#define NEAREST_IN_RANGE nearest_in_range_avx512
#define NEAREST nearest_avx512
#define NEAREST_CODE nearest_code_avx512
#include "scalesearch_body.h"

// It uses the choices of the one before.
#include "feedback_body.h"
#pragma clang attribute pop
#endif
