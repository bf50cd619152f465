/// The LoRA terms of one instruction set: three products in which one side has
/// only `rank` rows or columns. The factor lies in panels[width /
/// 16][rank][16], filled with 0 beyond its width.
#ifndef MERASER_LOWRANK_BODY_H
#define MERASER_LOWRANK_BODY_H

#include "simd_math.h"

// Accumulators of each product: as many as the registers hold, and enough to
// hide the latency of the additions.
#if GEMM_ROWS >= 12
#define REDUCE_TOKENS 3
#define REDUCE_RANKS 8
#define EXPAND_TOKENS 6
#define EXPAND_PANELS 4
#define GRADIENT_RANKS 8
#define GRADIENT_PANELS 2
#elif GEMM_ROWS >= 6
#define REDUCE_TOKENS 3
#define REDUCE_RANKS 2
#define EXPAND_TOKENS 3
#define EXPAND_PANELS 2
#define GRADIENT_RANKS 4
#define GRADIENT_PANELS 1
#else
#define REDUCE_TOKENS 1
#define REDUCE_RANKS 2
#define EXPAND_TOKENS 1
#define EXPAND_PANELS 2
#define GRADIENT_RANKS 2
#define GRADIENT_PANELS 1
#endif

/// sums[i][j] += x[i] * factor[j], lane by lane, over `width` features; i <
/// tokens, j < ranks.
MK_INLINE void reduce_tile(const int tokens, const int ranks, const float *x, int64_t ldx, int64_t width,
                           const float *panels, int64_t rank, mk_v16 *sums) {
    mk_v16 sum[REDUCE_TOKENS][REDUCE_RANKS];
#pragma clang loop unroll(full)
    for (int i = 0; i < tokens; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < ranks; j++) sum[i][j] = sums[i * REDUCE_RANKS + j];
    }
    int64_t k = 0;
    for (; k + 16 <= width; k += 16, panels += 16 * rank) {
        mk_v16 a[REDUCE_TOKENS];
#pragma clang loop unroll(full)
        for (int i = 0; i < tokens; i++) a[i] = load16(x + i * ldx + k);
#pragma clang loop unroll(full)
        for (int j = 0; j < ranks; j++) {
            const mk_v16 w = load16(panels + 16 * j);
#pragma clang loop unroll(full)
            for (int i = 0; i < tokens; i++) sum[i][j] = a[i] * w + sum[i][j];
        }
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < tokens; i++) {
        const mk_v16 a = k < width ? load_part(x + i * ldx + k, width - k, 0) : (mk_v16)0.0f;
#pragma clang loop unroll(full)
        for (int j = 0; j < ranks; j++) {
            if (k < width) sum[i][j] = a * load16(panels + 16 * j) + sum[i][j];
            sums[i * REDUCE_RANKS + j] = sum[i][j];
        }
    }
}

/// Ranks [j, j + ranks) of up to MK_LOWRANK_TOKENS tokens.
MK_INLINE void reduce_ranks(const int ranks, const float *x, int64_t ldx, int64_t tokens, int64_t width,
                            const float *panels, int64_t rank, float scale, float *u) {
    enum { STRETCH_WIDTH = 512 };  // features whose factor stays in L1 while the tokens go by
    mk_v16 sums[MK_LOWRANK_TOKENS * REDUCE_RANKS];
    for (int64_t i = 0; i < tokens * REDUCE_RANKS; i++) sums[i] = 0.0f;
    for (int64_t k = 0; k < width; k += STRETCH_WIDTH) {
        const int64_t n = mk_min(STRETCH_WIDTH, width - k);
        int64_t t = 0;
        for (; t + REDUCE_TOKENS <= tokens; t += REDUCE_TOKENS) {
            reduce_tile(REDUCE_TOKENS, ranks, x + t * ldx + k, ldx, n, panels + k * rank, rank,
                        sums + t * REDUCE_RANKS);
        }
        for (; t < tokens; t++) {
            reduce_tile(1, ranks, x + t * ldx + k, ldx, n, panels + k * rank, rank, sums + t * REDUCE_RANKS);
        }
    }
    for (int64_t t = 0; t < tokens; t++) {
        for (int j = 0; j < ranks; j++) u[t * rank + j] = scale * sum16(sums[t * REDUCE_RANKS + j]);
    }
}

static void lowrank_reduce(const float *x, int64_t ldx, int64_t tokens, int64_t width, const float *panels,
                           int64_t rank, float scale, float *u) {
    int64_t j = 0;
    for (; j + REDUCE_RANKS <= rank; j += REDUCE_RANKS) {
        reduce_ranks(REDUCE_RANKS, x, ldx, tokens, width, panels + 16 * j, rank, scale, u + j);
    }
    for (; j + REDUCE_RANKS / 2 <= rank; j += REDUCE_RANKS / 2) {
        reduce_ranks(REDUCE_RANKS / 2, x, ldx, tokens, width, panels + 16 * j, rank, scale, u + j);
    }
    for (; j < rank; j++) reduce_ranks(1, x, ldx, tokens, width, panels + 16 * j, rank, scale, u + j);
}

/// y[i][0..16 * count) (+)= u[i] * factor. The last panel may be cut at
/// `width`.
MK_INLINE void expand_tile(const int tokens, const int count, const float *u, int64_t rank, const float *panels,
                           int64_t width, float *y, int64_t ldy, bool accumulate) {
    mk_v16 sum[EXPAND_TOKENS][EXPAND_PANELS];
#pragma clang loop unroll(full)
    for (int i = 0; i < tokens; i++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < count; p++) sum[i][p] = 0.0f;
    }
    for (int64_t j = 0; j < rank; j++) {
        mk_v16 w[EXPAND_PANELS];
#pragma clang loop unroll(full)
        for (int p = 0; p < count; p++) w[p] = load16(panels + 16 * (p * rank + j));
#pragma clang loop unroll(full)
        for (int i = 0; i < tokens; i++) {
            const mk_v16 a = u[i * rank + j];
#pragma clang loop unroll(full)
            for (int p = 0; p < count; p++) sum[i][p] = a * w[p] + sum[i][p];
        }
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < tokens; i++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < count; p++) {
            float *out = y + i * ldy + 16 * p;
            const int64_t rest = width - 16 * p;
            if (rest >= 16) {
                store16(out, accumulate ? load16(out) + sum[i][p] : sum[i][p]);
            } else {
                store_part(out, rest, accumulate ? load_part(out, rest, 0) + sum[i][p] : sum[i][p]);
            }
        }
    }
}

MK_INLINE void expand_tokens(const int tokens, const float *u, int64_t rank, const float *panels, int64_t width,
                             float *y, int64_t ldy, bool accumulate) {
    int64_t n = 0;
    for (; n + 16 * EXPAND_PANELS <= width; n += 16 * EXPAND_PANELS) {
        expand_tile(tokens, EXPAND_PANELS, u, rank, panels + n * rank, 16 * EXPAND_PANELS, y + n, ldy, accumulate);
    }
    for (; n < width; n += 16) {
        expand_tile(tokens, 1, u, rank, panels + n * rank, width - n, y + n, ldy, accumulate);
    }
}

static void lowrank_expand(const float *u, int64_t tokens, int64_t rank, const float *panels, int64_t width, float *y,
                           int64_t ldy, bool accumulate) {
    enum { BLOCK = 512 };  // columns whose factor stays in L2 while the tokens go by
    for (int64_t n = 0; n < width; n += BLOCK) {
        const int64_t count = mk_min(BLOCK, width - n);
        int64_t t = 0;
        for (; t + EXPAND_TOKENS <= tokens; t += EXPAND_TOKENS) {
            expand_tokens(EXPAND_TOKENS, u + t * rank, rank, panels + n * rank, count, y + t * ldy + n, ldy,
                          accumulate);
        }
        for (; t < tokens; t++) {
            expand_tokens(1, u + t * rank, rank, panels + n * rank, count, y + t * ldy + n, ldy, accumulate);
        }
    }
}

/// sums[j][0..16 * count) += sum over t of u[t][j] * x[t]; j < ranks.
MK_INLINE void gradient_tile(const int ranks, const int count, const float *u, int64_t rank, const float *x,
                             int64_t tokens, float *sums) {
    mk_v16 sum[GRADIENT_RANKS][GRADIENT_PANELS];
#pragma clang loop unroll(full)
    for (int j = 0; j < ranks; j++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < count; p++) sum[j][p] = load16(sums + j * MK_LOWRANK_WIDTH + 16 * p);
    }
    for (int64_t t = 0; t < tokens; t++) {
        mk_v16 a[GRADIENT_PANELS];
#pragma clang loop unroll(full)
        for (int p = 0; p < count; p++) a[p] = load16(x + t * MK_LOWRANK_WIDTH + 16 * p);
#pragma clang loop unroll(full)
        for (int j = 0; j < ranks; j++) {
            const mk_v16 w = u[t * rank + j];
#pragma clang loop unroll(full)
            for (int p = 0; p < count; p++) sum[j][p] = w * a[p] + sum[j][p];
        }
    }
#pragma clang loop unroll(full)
    for (int j = 0; j < ranks; j++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < count; p++) store16(sums + j * MK_LOWRANK_WIDTH + 16 * p, sum[j][p]);
    }
}

MK_INLINE void gradient_ranks(const int ranks, const float *u, int64_t rank, const float *x, int64_t tokens,
                              int64_t width, float *sums) {
    int64_t k = 0;
    for (; k + 16 * GRADIENT_PANELS <= width; k += 16 * GRADIENT_PANELS) {
        gradient_tile(ranks, GRADIENT_PANELS, u, rank, x + k, tokens, sums + k);
    }
    for (; k + 16 <= width; k += 16) gradient_tile(ranks, 1, u, rank, x + k, tokens, sums + k);
    for (; k < width; k++) {
        for (int j = 0; j < ranks; j++) {
            float sum = sums[j * MK_LOWRANK_WIDTH + k];
            for (int64_t t = 0; t < tokens; t++) sum += u[t * rank + j] * x[t * MK_LOWRANK_WIDTH + k];
            sums[j * MK_LOWRANK_WIDTH + k] = sum;
        }
    }
}

static void lowrank_gradient(const float *u, int64_t rank, int64_t ranks, const float *x, int64_t ldx, int64_t tokens,
                             int64_t width, float *sums) {
    // Tokens that are copied together: rows of x lie a power of two apart as
    // often as not and would share few cache sets.
    enum { BLOCK = 24 };
    _Alignas(64) float copy[BLOCK * MK_LOWRANK_WIDTH];
    for (int64_t t = 0; t < tokens; t += BLOCK, u += BLOCK * rank, x += BLOCK * ldx) {
        const int64_t count = mk_min(BLOCK, tokens - t);
        for (int64_t i = 0; i < count; i++) {
            memcpy(copy + i * MK_LOWRANK_WIDTH, x + i * ldx, (size_t)width * sizeof(float));
        }
        int64_t j = 0;
        for (; j + GRADIENT_RANKS <= ranks; j += GRADIENT_RANKS) {
            gradient_ranks(GRADIENT_RANKS, u + j, rank, copy, count, width, sums + j * MK_LOWRANK_WIDTH);
        }
        for (; j + GRADIENT_RANKS / 2 <= ranks; j += GRADIENT_RANKS / 2) {
            gradient_ranks(GRADIENT_RANKS / 2, u + j, rank, copy, count, width, sums + j * MK_LOWRANK_WIDTH);
        }
        for (; j < ranks; j++) gradient_ranks(1, u + j, rank, copy, count, width, sums + j * MK_LOWRANK_WIDTH);
    }
}

#endif
