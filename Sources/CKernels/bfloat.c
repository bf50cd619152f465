/// Whole arrays to bf16 and back: elementwise work in fixed pieces.
#include "isa.h"

enum { PIECE = 16384 };

void mk_float_to_bf16(const mk_context *ctx, int64_t n, const float *x, uint16_t *y) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)n);
#pragma omp parallel num_threads(threads)
    for (int64_t i; (i = PIECE * mk_next(&next)) < n;) ctx->isa->to_bf16(x + i, mk_min(PIECE, n - i), y + i);
}

void mk_bf16_to_float(const mk_context *ctx, int64_t n, const uint16_t *x, float *y) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)n);
#pragma omp parallel num_threads(threads)
    for (int64_t i; (i = PIECE * mk_next(&next)) < n;) ctx->isa->from_bf16(x + i, mk_min(PIECE, n - i), y + i);
}

void mk_round_to_bf16(const mk_context *ctx, int64_t n, float *x) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)n);
#pragma omp parallel num_threads(threads)
    for (int64_t start; (start = PIECE * mk_next(&next)) < n;) {
        const int64_t end = mk_min(start + PIECE, n);
        enum { STRETCH = 512 };
        for (int64_t i = start; i < end; i += STRETCH) {
            uint16_t rounded[STRETCH];
            const int64_t count = mk_min(STRETCH, end - i);
            ctx->isa->to_bf16(x + i, count, rounded);
            ctx->isa->from_bf16(rounded, count, x + i);
        }
    }
}
