/// What is asked of rows of logits: softmax cross-entropy and divergence from a reference with their gradients in
/// place, and the largest. Threads share out rows.
#include <math.h>
#include <string.h>

#include "isa.h"

/// Columns of a row of logits that a divergence, or a gradient through a soft cap, takes at a time.
#define MK_KL_COLUMNS 1024

/// The gradient for what went into the soft cap whose results are in `row`, some columns at a time: both are needed.
static void capped_gradient(const mk_context *ctx, float *row, int64_t vocab, int32_t target, float lse, float dscale,
                            float cap) {
    float capped[MK_KL_COLUMNS];
    for (int64_t i = 0; i < vocab; i += MK_KL_COLUMNS) {
        const int64_t n = mk_min(MK_KL_COLUMNS, vocab - i);
        memcpy(capped, row + i, (size_t)n * sizeof(float));
        ctx->isa->softmax_gradient(row + i, n, lse, dscale);
        if (target >= i && target < i + n) row[target] -= dscale;
        ctx->isa->soft_cap_gradient(row + i, capped, n, cap);
    }
}

void mk_softmax_cross_entropy(const mk_context *ctx, float *logits, int64_t ldl, int64_t rows, int64_t vocab,
                              const int32_t *targets, float dscale, float cap, float *nll) {
    mk_for(ctx, (double)rows * (double)vocab * 4, rows, ^(int64_t t) {
        float *row = logits + t * ldl;
        if (targets[t] < 0) {
            nll[t] = 0;
            if (dscale != 0) memset(row, 0, (size_t)vocab * sizeof(float));
            return;
        }
        const float lse = ctx->isa->logsumexp(row, vocab);
        nll[t] = lse - row[targets[t]];
        if (dscale == 0) return;
        if (cap > 0) {
            capped_gradient(ctx, row, vocab, targets[t], lse, dscale, cap);
            return;
        }
        ctx->isa->softmax_gradient(row, vocab, lse, dscale);
        row[targets[t]] -= dscale;
    });
}

/// sum of p (r - z) over n columns, p = exp(r - lse_r), in double; z becomes dscale (exp(z - lse_z) - p) unless dscale
/// is 0, times the slope of the soft cap that gave z where there is one. n is at most MK_KL_COLUMNS.
static double kl_piece(const mk_context *ctx, float *z, const float *r, int64_t n, float lse_z, float lse_r,
                       float dscale, float cap) {
    enum { LANES = 8 };
    float p[MK_KL_COLUMNS], capped[MK_KL_COLUMNS];
    double sums[LANES] = {0};
    memcpy(p, r, (size_t)n * sizeof(float));
    ctx->isa->softmax_gradient(p, n, lse_r, 1);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) sums[l] += (double)p[i + l] * ((double)r[i + l] - (double)z[i + l]);
    }
    for (; i < n; i++) sums[0] += (double)p[i] * ((double)r[i] - (double)z[i]);
    if (dscale != 0) {
        if (cap > 0) memcpy(capped, z, (size_t)n * sizeof(float));
        ctx->isa->softmax_gradient(z, n, lse_z, dscale);
        for (int64_t k = 0; k < n; k++) z[k] -= dscale * p[k];
        if (cap > 0) ctx->isa->soft_cap_gradient(z, capped, n, cap);
    }
    double sum = 0;
    for (int l = 0; l < LANES; l++) sum += sums[l];
    return sum;
}

void mk_kl_divergence(const mk_context *ctx, float *logits, int64_t ldl, const float *reference, int64_t ldr,
                      int64_t rows, int64_t vocab, float dscale, float cap, float *kl) {
    mk_for(ctx, (double)rows * (double)vocab * 10, rows, ^(int64_t t) {
        float *z = logits + t * ldl;
        const float *r = reference + t * ldr;
        const float lse_z = ctx->isa->logsumexp(z, vocab);
        const float lse_r = ctx->isa->logsumexp(r, vocab);
        double sum = (double)lse_z - (double)lse_r;
        for (int64_t i = 0; i < vocab; i += MK_KL_COLUMNS) {
            const int64_t n = vocab - i < MK_KL_COLUMNS ? vocab - i : MK_KL_COLUMNS;
            sum += kl_piece(ctx, z + i, r + i, n, lse_z, lse_r, dscale, cap);
        }
        kl[t] = (float)sum;
    });
}

void mk_limit_probability(const mk_context *ctx, float *logits, int64_t ldl, int64_t rows, int64_t vocab,
                          const int32_t *tokens, const float *log_limit) {
    for (int64_t t = 0; t < rows; t++) {
        if (log_limit[t] >= 0) continue;
        float *row = logits + t * ldl;
        const float logit = row[tokens[t]];
        // What all others come to, without the cancellation of 1 - p where p is near 1.
        row[tokens[t]] = -1e30f;
        const double others = (double)ctx->isa->logsumexp(row, vocab);
        const double limit = (double)log_limit[t];
        row[tokens[t]] = fminf(logit, (float)(others + limit - log1p(-exp(limit))));
    }
}

void mk_argmax(const mk_context *ctx, const float *logits, int64_t ldl, int64_t rows, int64_t vocab, int32_t *ids) {
    mk_for(ctx, (double)rows * (double)vocab / 4, rows, ^(int64_t t) {
        ids[t] = (int32_t)ctx->isa->argmax(logits + t * ldl, vocab);
    });
}
