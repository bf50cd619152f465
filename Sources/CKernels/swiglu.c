/// SwiGLU, and y += a x: elementwise work in fixed pieces.
#include "isa.h"

enum { PIECE = 4096 };

void mk_swiglu_forward(const mk_context *ctx, const float *gate, const float *up, int64_t n, float *y) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)n * 4);
#pragma omp parallel num_threads(threads)
    for (int64_t i; (i = PIECE * mk_next(&next)) < n;) ctx->isa->swiglu(gate + i, up + i, mk_min(PIECE, n - i), y + i);
}

void mk_swiglu_backward(const mk_context *ctx, const float *gate, const float *up, const float *dy, int64_t n,
                        float *dgate, float *dup) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)n * 4);
#pragma omp parallel num_threads(threads)
    for (int64_t i; (i = PIECE * mk_next(&next)) < n;) {
        ctx->isa->swiglu_backward(gate + i, up + i, dy + i, mk_min(PIECE, n - i), dgate + i, dup + i);
    }
}

void mk_axpy(const mk_context *ctx, int64_t n, float a, const float *x, float *y) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)n);
#pragma omp parallel num_threads(threads)
    for (int64_t start; (start = PIECE * mk_next(&next)) < n;) {
        const int64_t end = mk_min(start + PIECE, n);
        for (int64_t i = start; i < end; i++) y[i] += a * x[i];
    }
}
