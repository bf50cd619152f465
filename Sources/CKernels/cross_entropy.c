/// What is asked of rows of logits: softmax cross-entropy with its gradient in place, and the largest. Threads share
/// out rows.
#include <string.h>

#include "isa.h"

void mk_softmax_cross_entropy(const mk_context *ctx, float *logits, int64_t ldl, int64_t rows, int64_t vocab,
                              const int32_t *targets, float dscale, float *nll) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)rows * (double)vocab * 4);
#pragma omp parallel num_threads(threads)
    for (int64_t t; (t = mk_next(&next)) < rows;) {
        float *row = logits + t * ldl;
        if (targets[t] < 0) {
            nll[t] = 0;
            if (dscale != 0) memset(row, 0, (size_t)vocab * sizeof(float));
            continue;
        }
        const float lse = ctx->isa->logsumexp(row, vocab);
        nll[t] = lse - row[targets[t]];
        if (dscale == 0) continue;
        ctx->isa->softmax_gradient(row, vocab, lse, dscale);
        row[targets[t]] -= dscale;
    }
}

void mk_argmax(const mk_context *ctx, const float *logits, int64_t ldl, int64_t rows, int64_t vocab, int32_t *ids) {
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)rows * (double)vocab / 4);
#pragma omp parallel num_threads(threads)
    for (int64_t t; (t = mk_next(&next)) < rows;) ids[t] = (int32_t)ctx->isa->argmax(logits + t * ldl, vocab);
}
