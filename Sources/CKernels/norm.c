/// RMSNorm and LayerNorm, forward and backward: threads share out rows.
#include "isa.h"

void mk_rmsnorm_forward(const mk_context *ctx, const float *x, const float *weight, float eps, int64_t tokens,
                        int64_t k, float *y, float *rstd) {
    mk_for(ctx, (double)tokens * (double)k, tokens, ^(int64_t t) {
        rstd[t] = ctx->isa->rmsnorm(x + t * k, weight, eps, k, y + t * k);
    });
}

void mk_rmsnorm_backward(const mk_context *ctx, const float *x, const float *weight, const float *rstd, const float *dy,
                         int64_t tokens, int64_t k, float *dx) {
    mk_for(ctx, (double)tokens * (double)k, tokens, ^(int64_t t) {
        ctx->isa->rmsnorm_backward(x + t * k, weight, rstd[t], dy + t * k, k, dx + t * k);
    });
}

void mk_layernorm_forward(const mk_context *ctx, const float *x, const float *weight, const float *bias, int64_t sets,
                          float eps, int64_t tokens, int64_t k, float *y, float *rstd) {
    mk_for(ctx, (double)tokens * (double)k, tokens, ^(int64_t t) {
        const int64_t set = t % sets * k;
        const float root =
            ctx->isa->layernorm(x + t * k, weight + set, bias == NULL ? NULL : bias + set, eps, k, y + t * k);
        if (rstd != NULL) rstd[t] = root;
    });
}

void mk_layernorm_backward(const mk_context *ctx, const float *x, const float *weight, int64_t sets, const float *rstd,
                           const float *dy, int64_t tokens, int64_t k, float *dx) {
    mk_for(ctx, (double)tokens * (double)k, tokens, ^(int64_t t) {
        ctx->isa->layernorm_backward(x + t * k, weight + t % sets * k, rstd[t], dy + t * k, k, dx + t * k);
    });
}
