/// Quantizing so that the outputs keep what the weights lose: for inputs X with H = X^T X the error of a row is
/// (w - v) H (w - v)^T, v being its rounded weights.
///
/// With H = S D S^T, S having ones on its diagonal and nothing below it, that is sum_c D_c (target_c - v_c)^2, where
/// target_c = w_c + sum_{k < c} (w_k - v_k) S_kc: rounding column after column to the target adds the least at every
/// step. It is the order and the feedback of GPTQ (Frantar et al. 2022), without an inverse, and it says what each
/// column's rounding costs, so the scale of a block can be searched by what it costs in the end (feedback_body.h).
///
/// H is summed and factored in fp64. Every sum has one order, whatever the number of threads.
#include "feedback.h"

#include <assert.h>
#include <math.h>

#include "affine.h"
#include "half.h"

#pragma STDC FP_CONTRACT OFF

enum { GRAM_TOKENS = MK_BLOCK_DEPTH, PANEL = MK_FACTOR_PANEL };

size_t mk_gram_workspace(int32_t threads, int64_t cols) {
    return (size_t)cols * GRAM_TOKENS * sizeof(float) +
           (size_t)threads * (MK_BLOCK_FLOATS + MK_BLOCK_WIDTH * MK_BLOCK_WIDTH) * sizeof(float);
}

void mk_gram(const mk_context *ctx, const float *x, int64_t ldx, int64_t tokens, int64_t cols, double *h,
             void *workspace) {
    float *turned = workspace;
    const double work = (double)tokens * (double)cols * (double)cols;
    const int64_t blocks = mk_ceil_div(cols, MK_BLOCK_WIDTH);
    for (int64_t t0 = 0; t0 < tokens; t0 += GRAM_TOKENS) {
        const int64_t count = mk_min(GRAM_TOKENS, tokens - t0);
        const float *rows = x + t0 * ldx;
        mk_for(ctx, work, cols, ^(int64_t c) {
            for (int64_t t = 0; t < count; t++) turned[c * GRAM_TOKENS + t] = rows[t * ldx + c];
        });
        mk_counter begun = 0, *const next = &begun;
        mk_share(ctx, work, ^(int32_t thread) {
            float *block = turned + cols * GRAM_TOKENS + thread * (MK_BLOCK_FLOATS + 64 * 64);
            float *sums = block + MK_BLOCK_FLOATS;
            for (int64_t b; (b = mk_next(next)) < blocks;) {
                const int64_t c0 = b * MK_BLOCK_WIDTH, width = mk_min(MK_BLOCK_WIDTH, cols - c0);
                mk_pack_cols(rows + c0, ldx, count, width, block, MK_PANEL_STRIDE);
                // What lies above the diagonal and on it.
                for (int64_t i0 = 0; i0 < c0 + width; i0 += MK_BLOCK_WIDTH) {
                    const int64_t height = mk_min(MK_BLOCK_WIDTH, cols - i0);
                    memset(sums, 0, MK_BLOCK_WIDTH * MK_BLOCK_WIDTH * sizeof *sums);
                    ctx->isa->gemm(block, mk_ceil_div(width, MK_PANEL_WIDTH), count, turned + i0 * GRAM_TOKENS,
                                   GRAM_TOKENS, height, sums, MK_BLOCK_WIDTH);
                    for (int64_t i = 0; i < height; i++) {
                        double *out = h + (i0 + i) * cols + c0;
                        for (int64_t j = 0; j < width; j++) out[j] += sums[i * MK_BLOCK_WIDTH + j];
                    }
                }
            }
        });
    }
}

size_t mk_feedback_factor_workspace(int64_t cols) {
    return (size_t)cols * PANEL * sizeof(double);
}

/// The columns first ... first + PANEL of S and D, from bottom to top; `panel` becomes their transpose.
static void factor_panel(const mk_context *ctx, double *h, int64_t n, int64_t first, double floor, double *panel) {
    const int64_t end = mk_min(first + PANEL, n);
    for (int64_t j = end - 1; j >= first; j--) {
        h[j * n + j] = fmax(h[j * n + j], floor);
        for (int64_t k = first; k < j; k++) h[k * n + j] /= h[j * n + j];
        for (int64_t k = first; k < j; k++) {
            const double a = h[k * n + j] * h[j * n + j];
            for (int64_t l = k; l < j; l++) h[k * n + l] -= a * h[l * n + j];
        }
    }
    mk_for(ctx, (double)first * (double)(PANEL * PANEL), first, ^(int64_t k) {
        double *row = h + k * n;
        for (int64_t j = end - 1; j >= first; j--) {
            const double a = row[j];
            row[j] = a / h[j * n + j];
            for (int64_t l = first; l < j; l++) row[l] -= a * h[l * n + j];
        }
        for (int64_t j = first; j < end; j++) panel[(j - first) * n + k] = row[j];
    });
}

void mk_feedback_factor(const mk_context *ctx, double *h, int64_t n, double damping, float *weight, void *workspace) {
    double *panel = workspace, mean = 0;
    for (int64_t c = 0; c < n; c++) mean += h[c * n + c] / (double)n;
    // Inputs that are zero everywhere, or beyond fp64, say nothing: all columns count the same.
    const bool is_empty = !(mean > 0 && mean <= 1e300);
    for (int64_t k = 0; k < n && is_empty; k++) {
        for (int64_t l = k; l < n; l++) h[k * n + l] = 0;
    }
    const double floor = is_empty ? 1 : damping * mean;
    for (int64_t c = 0; c < n; c++) h[c * n + c] += floor;
    for (int64_t first = (n - 1) / PANEL * PANEL; first >= 0; first -= PANEL) {
        memset(panel, 0, mk_feedback_factor_workspace(n));
        factor_panel(ctx, h, n, first, floor / 2, panel);
        mk_for(ctx, (double)first * (double)(first * PANEL), first, ^(int64_t k) {
            double a[PANEL] = {0}, *row = h + k * n;
            for (int64_t j = first; j < mk_min(first + PANEL, n); j++) a[j - first] = row[j] * h[j * n + j];
            ctx->isa->quantizer->subtract(a, panel, n, k, first, row);
        });
    }
    // fp32 from here on, in the same place: no row begins before it has been read.
    const double scale = floor > 0 ? 1 / (mean > 0 && !is_empty ? mean : 1) : 1;
    char *unit = (char *)h;
    for (int64_t k = 0; k < n; k++) {
        weight[k] = (float)(h[k * n + k] * scale);
        for (int64_t l = 0; l < n; l++) {
            const float s = l > k ? (float)h[k * n + l] : l == k;
            memcpy(unit + (k * n + l) * (int64_t)sizeof s, &s, sizeof s);
        }
    }
}

size_t mk_feedback_workspace(int32_t threads, int64_t cols) {
    return (size_t)threads * (size_t)cols * MK_FEEDBACK_VECTORS * sizeof(mk_v16);
}

static mk_grid grid_of(int32_t type) {
    if (!mk_type_is_affine(type)) return mk_grid_make(type);
    mk_grid g = {.linear = true, .lowest = 0, .highest = type == MK_Q5_K ? 31 : 15};
    if (type == MK_Q6_K) {
        g.lowest = -32;
        g.highest = 31;
        g.ends = 2;
        g.candidates = 8;
        g.first = 32.49f / 32;
        g.spacing = -0.375f / 32;
    }
    return g;
}

void mk_quantize_feedback(const mk_context *ctx, int32_t type, const float *src, int64_t rows, int64_t cols,
                          const float *unit, const float *weight, void *dst, float *errors, void *workspace) {
    assert(mk_type_is_tiled(type) && cols % mk_tile_columns(type) == 0);
    const mk_feedback feedback = {.type = type, .grid = grid_of(type), .cols = cols, .unit = unit, .weight = weight};
    const mk_feedback *const f = &feedback;
    const int64_t groups = mk_ceil_div(rows, MK_TILE_ROWS);
    mk_counter begun = 0, *const next = &begun;
    mk_share(ctx, (double)rows * (double)cols * (double)cols, ^(int32_t thread) {
        mk_v16 *memory = (mk_v16 *)workspace + thread * MK_FEEDBACK_VECTORS * cols;
        for (int64_t g; (g = mk_next(next)) < groups;) {
            const int64_t row = g * MK_TILE_ROWS;
            ctx->isa->quantizer->feedback(f, src + row * cols, (int)mk_min(MK_TILE_ROWS, rows - row),
                                          (uint8_t *)dst + g * mk_group_bytes(type, cols), errors + row, memory);
        }
    });
}
