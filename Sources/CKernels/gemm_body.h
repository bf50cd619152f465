/// The fp32 micro-kernel of one instruction set: GEMM_ROWS x GEMM_PANELS accumulators stay in registers while the
/// panels stream by. The file that includes this defines both and the target attribute.
#ifndef MERASER_GEMM_BODY_H
#define MERASER_GEMM_BODY_H

#include "simd_math.h"

enum {
    /// Row distance of the copied operand: a constant, and no multiple of 4 KiB, so that its rows do not share L1 sets.
    GEMM_LDA = MK_BLOCK_DEPTH + 16,
};

MK_INLINE void gemm_tile(const int rows, const int panels, const float *block, int64_t depth, const float *a,
                         int64_t lda, float *acc, int64_t ldacc) {
    mk_v16 sum[GEMM_ROWS][MK_BLOCK_PANELS];
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < panels; p++) sum[i][p] = load16(acc + i * ldacc + 16 * p);
    }
    for (int64_t d = 0; d < depth; d++) {
        mk_v16 w[MK_BLOCK_PANELS];
#pragma clang loop unroll(full)
        for (int p = 0; p < panels; p++) w[p] = load16(block + p * MK_PANEL_STRIDE + 16 * d);
#pragma clang loop unroll(full)
        for (int i = 0; i < rows; i++) {
            const mk_v16 x = a[i * lda + d];
#pragma clang loop unroll(full)
            for (int p = 0; p < panels; p++) sum[i][p] = x * w[p] + sum[i][p];
        }
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < panels; p++) store16(acc + i * ldacc + 16 * p, sum[i][p]);
    }
}

/// Up to GEMM_ROWS rows, a constant where this is inlined; few rows take more panels at once, to keep enough chains
/// busy.
MK_INLINE void gemm_strip(const int rows, const float *block, int64_t panels, int64_t depth, const float *a,
                          int64_t lda, float *acc, int64_t ldacc) {
    int64_t p = 0;
    if (4 * rows <= GEMM_ROWS * GEMM_PANELS) {
        for (; p + 4 <= panels; p += 4) {
            gemm_tile(rows, 4, block + p * MK_PANEL_STRIDE, depth, a, lda, acc + 16 * p, ldacc);
        }
    }
    if (2 * rows <= GEMM_ROWS * GEMM_PANELS) {
        for (; p + 2 <= panels; p += 2) {
            gemm_tile(rows, 2, block + p * MK_PANEL_STRIDE, depth, a, lda, acc + 16 * p, ldacc);
        }
    }
    for (; p < panels; p++) {
        gemm_tile(rows, 1, block + p * MK_PANEL_STRIDE, depth, a, lda, acc + 16 * p, ldacc);
    }
}

static void gemm(const float *block, int64_t panels, int64_t depth, const float *a, int64_t lda, int64_t m, float *acc,
                 int64_t ldacc) {
    _Alignas(64) float copy[GEMM_ROWS * GEMM_LDA];
    for (; m >= GEMM_ROWS; m -= GEMM_ROWS, a += GEMM_ROWS * lda, acc += GEMM_ROWS * ldacc) {
        for (int i = 0; i < GEMM_ROWS; i++) memcpy(copy + i * GEMM_LDA, a + i * lda, (size_t)depth * sizeof(float));
        gemm_strip(GEMM_ROWS, block, panels, depth, copy, GEMM_LDA, acc, ldacc);
    }
    switch (m) {
#define STRIP(rows)                                                                       \
    case rows:                                                                            \
        if (rows < GEMM_ROWS) gemm_strip(rows, block, panels, depth, a, lda, acc, ldacc); \
        break
        STRIP(1);
#if GEMM_ROWS > 2
        STRIP(2);
        STRIP(3);
#endif
#if GEMM_ROWS > 4
        STRIP(4);
        STRIP(5);
#endif
#if GEMM_ROWS > 6
        STRIP(6);
        STRIP(7);
        STRIP(8);
        STRIP(9);
        STRIP(10);
        STRIP(11);
#endif
#undef STRIP
        default:
            break;
    }
}

#endif
