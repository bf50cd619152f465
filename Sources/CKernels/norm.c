/// RMSNorm and LayerNorm, forward and backward: threads share out rows.
#include "isa.h"

void mk_rmsnorm_forward(const mk_context *ctx, const float *x, const float *weight, float eps, int64_t tokens,
                        int64_t k, float *y, float *rstd) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)tokens * (double)k);
#pragma omp parallel num_threads(threads)
    for (int64_t t; (t = mk_next(&next)) < tokens;) rstd[t] = ctx->isa->rmsnorm(x + t * k, weight, eps, k, y + t * k);
}

void mk_rmsnorm_backward(const mk_context *ctx, const float *x, const float *weight, const float *rstd, const float *dy,
                         int64_t tokens, int64_t k, float *dx) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)tokens * (double)k);
#pragma omp parallel num_threads(threads)
    for (int64_t t; (t = mk_next(&next)) < tokens;) {
        ctx->isa->rmsnorm_backward(x + t * k, weight, rstd[t], dy + t * k, k, dx + t * k);
    }
}

void mk_layernorm_forward(const mk_context *ctx, const float *x, const float *weight, const float *bias, int64_t sets,
                          float eps, int64_t tokens, int64_t k, float *y, float *rstd) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)tokens * (double)k);
#pragma omp parallel num_threads(threads)
    for (int64_t t; (t = mk_next(&next)) < tokens;) {
        const int64_t set = t % sets * k;
        const float root =
            ctx->isa->layernorm(x + t * k, weight + set, bias == NULL ? NULL : bias + set, eps, k, y + t * k);
        if (rstd != NULL) rstd[t] = root;
    }
}

void mk_layernorm_backward(const mk_context *ctx, const float *x, const float *weight, int64_t sets, const float *rstd,
                           const float *dy, int64_t tokens, int64_t k, float *dx) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)tokens * (double)k);
#pragma omp parallel num_threads(threads)
    for (int64_t t; (t = mk_next(&next)) < tokens;) {
        ctx->isa->layernorm_backward(x + t * k, weight + t % sets * k, rstd[t], dy + t * k, k, dx + t * k);
    }
}
