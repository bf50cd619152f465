/// Products with a weight and with its transpose, and the gradient of a LoRA factor. Threads share out pieces of the
/// output; each piece walks through the whole reduction in order, block by block, carrying its sums along.
#include <assert.h>
#include <string.h>

#include "isa.h"

enum {
    TALL_PIECE = 240,  ///< tokens of a piece where the width alone gives threads enough to share
    SHORT_PIECE = 48,
};

/// Buffers of one thread, on its stack: 128 KiB.
typedef struct scratch {
    _Alignas(64) float block[MK_BLOCK_FLOATS];
    _Alignas(64) float sums[TALL_PIECE * MK_BLOCK_WIDTH];
} scratch;

static int64_t piece_height(int64_t width) {
    return width >= 8 * MK_BLOCK_WIDTH ? TALL_PIECE : SHORT_PIECE;
}

/// y[t][0..width) (+)= sums[t][...].
static void write_sums(const float *sums, int64_t tokens, int64_t width, float *y, int64_t ldy, bool accumulate) {
    for (int64_t t = 0; t < tokens; t++, sums += MK_BLOCK_WIDTH, y += ldy) {
        if (accumulate) {
            for (int64_t i = 0; i < width; i++) y[i] += sums[i];
        } else {
            memcpy(y, sums, (size_t)width * sizeof(float));
        }
    }
}

static void linear_f32(const mk_context *ctx, const mk_matrix *w, const float *x, int64_t ldx, int64_t tokens, float *y,
                       int64_t ldy, bool accumulate) {
    const int64_t height = piece_height(w->rows);
    const int64_t wide = mk_ceil_div(w->rows, MK_BLOCK_WIDTH), tall = mk_ceil_div(tokens, height);
    const int threads = mk_threads(ctx, (double)tokens * (double)w->rows * (double)w->cols);
    mk_counter next = 0;
#pragma omp parallel num_threads(threads)
    for (int64_t piece; (piece = mk_next(&next)) < wide * tall;) {
        scratch s;
        const int64_t row0 = piece % wide * MK_BLOCK_WIDTH, t0 = piece / wide * height;
        const int64_t rows = mk_min(MK_BLOCK_WIDTH, w->rows - row0), count = mk_min(height, tokens - t0);
        memset(s.sums, 0, (size_t)count * MK_BLOCK_WIDTH * sizeof(float));
        for (int64_t col0 = 0; col0 < w->cols; col0 += MK_BLOCK_DEPTH) {
            const int64_t cols = mk_min(MK_BLOCK_DEPTH, w->cols - col0);
            mk_panels_of_rows(ctx->isa, w, row0, rows, col0, cols, s.block);
            ctx->isa->gemm(s.block, mk_ceil_div(rows, MK_PANEL_WIDTH), cols, x + t0 * ldx + col0, ldx, count, s.sums,
                           MK_BLOCK_WIDTH);
        }
        write_sums(s.sums, count, rows, y + t0 * ldy + row0, ldy, accumulate);
    }
}

void mk_linear_forward(const mk_context *ctx, int32_t compute, const mk_linear_output *outputs, int32_t count,
                       const float *x, int64_t ldx, int64_t tokens, void *workspace) {
    assert(mk_compute_available(ctx->isa, compute));
    if (compute == MK_COMPUTE_INT8) mk_linear_int8(ctx, outputs, count, x, ldx, tokens, workspace);
    for (int32_t i = 0; i < count; i++) {
        const mk_linear_output *o = outputs + i;
        if (compute == MK_COMPUTE_INT8 && mk_type_is_tiled(o->w->type)) continue;
        linear_f32(ctx, o->w, x, ldx, tokens, o->y, o->ldy, o->accumulate);
    }
}

void mk_linear_backward(const mk_context *ctx, const mk_matrix *w, const float *dy, int64_t lddy, int64_t tokens,
                        float *dx, int64_t lddx, bool accumulate) {
    const int64_t height = piece_height(w->cols);
    const int64_t wide = mk_ceil_div(w->cols, MK_BLOCK_WIDTH), tall = mk_ceil_div(tokens, height);
    const int threads = mk_threads(ctx, (double)tokens * (double)w->rows * (double)w->cols);
    mk_counter next = 0;
#pragma omp parallel num_threads(threads)
    for (int64_t piece; (piece = mk_next(&next)) < wide * tall;) {
        scratch s;
        const int64_t col0 = piece % wide * MK_BLOCK_WIDTH, t0 = piece / wide * height;
        const int64_t cols = mk_min(MK_BLOCK_WIDTH, w->cols - col0), count = mk_min(height, tokens - t0);
        memset(s.sums, 0, (size_t)count * MK_BLOCK_WIDTH * sizeof(float));
        for (int64_t row0 = 0; row0 < w->rows; row0 += MK_BLOCK_DEPTH) {
            const int64_t rows = mk_min(MK_BLOCK_DEPTH, w->rows - row0);
            mk_panels_of_cols(ctx->isa, w, col0, cols, row0, rows, s.block);
            ctx->isa->gemm(s.block, mk_ceil_div(cols, MK_PANEL_WIDTH), rows, dy + t0 * lddy + row0, lddy, count, s.sums,
                           MK_BLOCK_WIDTH);
        }
        write_sums(s.sums, count, cols, dx + t0 * lddx + col0, lddx, accumulate);
    }
}

void mk_outer_product(const mk_context *ctx, const float *dy, int64_t lddy, const float *x, int64_t ldx, int64_t tokens,
                      int64_t n, int64_t k, float scale, float *dw, bool accumulate) {
    enum { HEIGHT = 48 };
    const int64_t wide = mk_ceil_div(k, MK_BLOCK_WIDTH), tall = mk_ceil_div(n, HEIGHT);
    const int threads = mk_threads(ctx, (double)tokens * (double)n * (double)k);
    mk_counter next = 0;
#pragma omp parallel num_threads(threads)
    for (int64_t piece; (piece = mk_next(&next)) < wide * tall;) {
        _Alignas(64) float block[MK_BLOCK_FLOATS];
        _Alignas(64) float transposed[HEIGHT * MK_BLOCK_DEPTH];
        _Alignas(64) float sums[HEIGHT * MK_BLOCK_WIDTH] = {0};
        const int64_t col0 = piece % wide * MK_BLOCK_WIDTH, row0 = piece / wide * HEIGHT;
        const int64_t cols = mk_min(MK_BLOCK_WIDTH, k - col0), rows = mk_min(HEIGHT, n - row0);
        for (int64_t t0 = 0; t0 < tokens; t0 += MK_BLOCK_DEPTH) {
            const int64_t count = mk_min(MK_BLOCK_DEPTH, tokens - t0);
            mk_pack_cols(x + t0 * ldx + col0, ldx, count, cols, block, MK_PANEL_STRIDE);
            for (int64_t t = 0; t < count; t++) {
                for (int64_t r = 0; r < rows; r++) {
                    transposed[r * MK_BLOCK_DEPTH + t] = dy[(t0 + t) * lddy + row0 + r];
                }
            }
            ctx->isa->gemm(block, mk_ceil_div(cols, MK_PANEL_WIDTH), count, transposed, MK_BLOCK_DEPTH, rows, sums,
                           MK_BLOCK_WIDTH);
        }
        for (int64_t r = 0; r < rows; r++) {
            float *out = dw + (row0 + r) * k + col0;
            for (int64_t c = 0; c < cols; c++) {
                const float value = scale * sums[r * MK_BLOCK_WIDTH + c];
                out[c] = accumulate ? out[c] + value : value;
            }
        }
    }
}
