/// Sums, factors, biases and copies of columns: threads share out rows or fixed pieces.
#include <string.h>

#include "isa.h"

enum { PIECE = 4096 };

void mk_axpy(const mk_context *ctx, int64_t n, float a, const float *x, float *y) {
    mk_for_spans(ctx, (double)n, n, PIECE, ^(int64_t start, int64_t count) {
        for (int64_t i = start; i < start + count; i++) y[i] += a * x[i];
    });
}

void mk_scale(const mk_context *ctx, int64_t n, float a, float *x) {
    mk_for_spans(ctx, (double)n, n, PIECE, ^(int64_t i, int64_t count) {
        ctx->isa->scale(x + i, count, a);
    });
}

void mk_add_bias(const mk_context *ctx, const float *bias, int64_t tokens, int64_t k, float *y, int64_t ldy,
                 bool accumulate) {
    mk_for(ctx, (double)tokens * (double)k, tokens, ^(int64_t t) {
        float *row = y + t * ldy;
        for (int64_t i = 0; i < k; i++) row[i] = accumulate ? row[i] + bias[i] : bias[i];
    });
}

void mk_take_columns(const mk_context *ctx, const mk_columns *columns, const float *x, int64_t ldx, int64_t tokens,
                     float *y, int64_t ldy) {
    mk_for(ctx, (double)tokens * (double)(columns->count * columns->width), tokens, ^(int64_t t) {
        const float *source = x + t * ldx + columns->first;
        for (int64_t i = 0; i < columns->count; i++) {
            memcpy(y + t * ldy + i * columns->width, source + i * columns->step,
                   (size_t)columns->width * sizeof(float));
        }
    });
}

void mk_put_columns(const mk_context *ctx, const mk_columns *columns, const float *x, int64_t ldx, int64_t tokens,
                    float *y, int64_t ldy) {
    mk_for(ctx, (double)tokens * (double)(columns->count * columns->width), tokens, ^(int64_t t) {
        float *target = y + t * ldy + columns->first;
        for (int64_t i = 0; i < columns->count; i++) {
            memcpy(target + i * columns->step, x + t * ldx + i * columns->width,
                   (size_t)columns->width * sizeof(float));
        }
    });
}
