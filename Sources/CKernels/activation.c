/// Activations between linear layers, plain and gated, and soft caps: elementwise work in fixed pieces.
#include "isa.h"

enum { PIECE = 4096 };

void mk_swiglu_forward(const mk_context *ctx, const float *gate, const float *up, int64_t n, float *y) {
    mk_for_spans(ctx, (double)n * 4, n, PIECE, ^(int64_t i, int64_t count) {
        ctx->isa->swiglu(gate + i, up + i, count, y + i);
    });
}

void mk_swiglu_backward(const mk_context *ctx, const float *gate, const float *up, const float *dy, int64_t n,
                        float *dgate, float *dup) {
    mk_for_spans(ctx, (double)n * 4, n, PIECE, ^(int64_t i, int64_t count) {
        ctx->isa->swiglu_backward(gate + i, up + i, dy + i, count, dgate + i, dup + i);
    });
}

void mk_gated_forward(const mk_context *ctx, int32_t kind, const float *gate, const float *up, int64_t n, float *y) {
    mk_for_spans(ctx, (double)n * 4, n, PIECE, ^(int64_t i, int64_t count) {
        ctx->isa->gated(kind, gate + i, up == NULL ? NULL : up + i, count, y + i);
    });
}

void mk_gated_backward(const mk_context *ctx, int32_t kind, const float *gate, const float *up, const float *dy,
                       int64_t n, float *dgate, float *dup) {
    mk_for_spans(ctx, (double)n * 4, n, PIECE, ^(int64_t i, int64_t count) {
        ctx->isa->gated_backward(kind, gate + i, up == NULL ? NULL : up + i, dy + i, count, dgate + i,
                                 up == NULL ? NULL : dup + i);
    });
}

void mk_activation(const mk_context *ctx, int32_t kind, int64_t n, float *x) {
    mk_for_spans(ctx, (double)n * 4, n, PIECE, ^(int64_t i, int64_t count) {
        ctx->isa->activate(kind, count, x + i);
    });
}

void mk_soft_cap(const mk_context *ctx, float cap, int64_t n, float *x) {
    mk_for_spans(ctx, (double)n * 4, n, PIECE, ^(int64_t i, int64_t count) {
        ctx->isa->soft_cap(x + i, count, cap);
    });
}
