/// Activations between linear layers, plain and gated, and soft caps: elementwise work in fixed pieces.
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

void mk_gated_forward(const mk_context *ctx, int32_t kind, const float *gate, const float *up, int64_t n, float *y) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)n * 4);
#pragma omp parallel num_threads(threads)
    for (int64_t i; (i = PIECE * mk_next(&next)) < n;) {
        ctx->isa->gated(kind, gate + i, up == NULL ? NULL : up + i, mk_min(PIECE, n - i), y + i);
    }
}

void mk_gated_backward(const mk_context *ctx, int32_t kind, const float *gate, const float *up, const float *dy,
                       int64_t n, float *dgate, float *dup) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)n * 4);
#pragma omp parallel num_threads(threads)
    for (int64_t i; (i = PIECE * mk_next(&next)) < n;) {
        ctx->isa->gated_backward(kind, gate + i, up == NULL ? NULL : up + i, dy + i, mk_min(PIECE, n - i), dgate + i,
                                 up == NULL ? NULL : dup + i);
    }
}

void mk_activation(const mk_context *ctx, int32_t kind, int64_t n, float *x) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)n * 4);
#pragma omp parallel num_threads(threads)
    for (int64_t i; (i = PIECE * mk_next(&next)) < n;) ctx->isa->activate(kind, mk_min(PIECE, n - i), x + i);
}

void mk_soft_cap(const mk_context *ctx, float cap, int64_t n, float *x) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)n * 4);
#pragma omp parallel num_threads(threads)
    for (int64_t i; (i = PIECE * mk_next(&next)) < n;) ctx->isa->soft_cap(x + i, mk_min(PIECE, n - i), cap);
}
