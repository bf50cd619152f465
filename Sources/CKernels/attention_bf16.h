/// The product with panels of bf16 pairs in bf16 dot products: the left operand is rounded to bf16 too, two steps of
/// the chain become one. Every product of the instruction set's attention takes this way, so that bits do not depend on
/// the number of rows. Included under a target attribute that has AVX512-BF16.
#ifndef MERASER_ATTENTION_BF16_H
#define MERASER_ATTENTION_BF16_H

#include "attention_body.h"

enum {
    DOT_ROWS = 12,
    /// Pairs of a row of the rounded operand; no multiple of a cache line, so that rows do not share L1 sets.
    DOT_PAIRS = MK_HEAD_DIM_MAX / 2 + 16,
};

MK_INLINE void dot_tile(const int rows, const int panels, const uint8_t *block, int64_t distance, int64_t pairs,
                        const uint32_t *a, float *acc, int64_t ldacc) {
    __m512 sum[DOT_ROWS][MK_BLOCK_PANELS];
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < panels; p++) sum[i][p] = _mm512_loadu_ps(acc + i * ldacc + 16 * p);
    }
    for (int64_t d = 0; d < pairs; d++, block += 64) {
        __m512bh w[MK_BLOCK_PANELS];
#pragma clang loop unroll(full)
        for (int p = 0; p < panels; p++) w[p] = (__m512bh)_mm512_loadu_si512(block + p * distance);
#pragma clang loop unroll(full)
        for (int i = 0; i < rows; i++) {
            const __m512bh x = (__m512bh)_mm512_set1_epi32((int32_t)a[i * DOT_PAIRS + d]);
#pragma clang loop unroll(full)
            for (int p = 0; p < panels; p++) sum[i][p] = _mm512_dpbf16_ps(sum[i][p], x, w[p]);
        }
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < panels; p++) _mm512_storeu_ps(acc + i * ldacc + 16 * p, sum[i][p]);
    }
}

MK_INLINE void dot_strip(const int rows, const uint8_t *block, int64_t panels, int64_t distance, int64_t depth,
                         const float *a, int64_t lda, float *acc, int64_t ldacc) {
    _Alignas(64) uint32_t rounded[DOT_ROWS * DOT_PAIRS];
    for (int i = 0; i < rows; i++) {
        for (int64_t d = 0; d < depth; d += 16) {
            const __m256i halves = (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(a + i * lda + d));
            _mm256_storeu_si256((__m256i *)(rounded + i * DOT_PAIRS + d / 2), halves);
        }
    }
    int64_t p = 0;
    if (rows <= 6) {
        for (; p + 4 <= panels; p += 4) {
            dot_tile(rows, 4, block + p * distance, distance, depth / 2, rounded, acc + 16 * p, ldacc);
        }
    }
    for (; p + 2 <= panels; p += 2) {
        dot_tile(rows, 2, block + p * distance, distance, depth / 2, rounded, acc + 16 * p, ldacc);
    }
    if (p < panels) dot_tile(rows, 1, block + p * distance, distance, depth / 2, rounded, acc + 16 * p, ldacc);
}

/// Rows of `a` are read up to the next multiple of 16.
static void panel_product_bf16(int32_t type, const void *block, int64_t panels, int64_t distance, int64_t depth,
                               const float *a, int64_t lda, int64_t m, float *acc, int64_t ldacc) {
    if (type != MK_BF16) {
        panel_rows(false, block, panels, distance, depth, a, lda, m, acc, ldacc);
        return;
    }
#define STRIPS(rows)                                                         \
    for (; m >= rows; m -= rows, a += rows * lda, acc += rows * ldacc) {     \
        dot_strip(rows, block, panels, distance, depth, a, lda, acc, ldacc); \
    }
    STRIPS(12)
    STRIPS(8)
    STRIPS(4)
    STRIPS(2)
    STRIPS(1)
#undef STRIPS
}

#endif
