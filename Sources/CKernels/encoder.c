/// What encoders need beside linear layers and attention: LayerNorm, biases, activations. Threads share out rows or
/// fixed pieces.
#include "isa.h"

enum { PIECE = 4096 };

void mk_layernorm_forward(const mk_context *ctx, const float *x, const float *weight, const float *bias, float eps,
                          int64_t tokens, int64_t k, float *y) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)tokens * (double)k);
#pragma omp parallel num_threads(threads)
    for (int64_t t; (t = mk_next(&next)) < tokens;) ctx->isa->layernorm(x + t * k, weight, bias, eps, k, y + t * k);
}

void mk_activation(const mk_context *ctx, int32_t kind, int64_t n, float *x) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)n * 4);
#pragma omp parallel num_threads(threads)
    for (int64_t i; (i = PIECE * mk_next(&next)) < n;) ctx->isa->activate(kind, mk_min(PIECE, n - i), x + i);
}

void mk_add_bias(const mk_context *ctx, const float *bias, int64_t tokens, int64_t k, float *y, int64_t ldy,
                 bool accumulate) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)tokens * (double)k);
#pragma omp parallel num_threads(threads)
    for (int64_t t; (t = mk_next(&next)) < tokens;) {
        float *row = y + t * ldy;
        for (int64_t i = 0; i < k; i++) row[i] = accumulate ? row[i] + bias[i] : bias[i];
    }
}
