/// Whole arrays to bf16 and back: elementwise work in fixed pieces.
#include "isa.h"

enum { PIECE = 16384 };

void mk_float_to_bf16(const mk_context *ctx, int64_t n, const float *x, uint16_t *y) {
    mk_for_spans(ctx, (double)n, n, PIECE, ^(int64_t i, int64_t count) {
        ctx->isa->to_bf16(x + i, count, y + i);
    });
}

void mk_bf16_to_float(const mk_context *ctx, int64_t n, const uint16_t *x, float *y) {
    mk_for_spans(ctx, (double)n, n, PIECE, ^(int64_t i, int64_t count) {
        ctx->isa->from_bf16(x + i, count, y + i);
    });
}

void mk_round_to_bf16(const mk_context *ctx, int64_t n, float *x) {
    mk_for_spans(ctx, (double)n, n, PIECE, ^(int64_t start, int64_t count) {
        enum { STRETCH = 512 };
        for (int64_t i = start; i < start + count; i += STRETCH) {
            uint16_t rounded[STRETCH];
            const int64_t some = mk_min(STRETCH, start + count - i);
            ctx->isa->to_bf16(x + i, some, rounded);
            ctx->isa->from_bf16(rounded, some, x + i);
        }
    });
}
