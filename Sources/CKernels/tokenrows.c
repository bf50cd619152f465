/// Single rows of an embedding, and the columns of logits that they give where it is the output head too.
#include "isa.h"

void mk_row_dots(const mk_context *ctx, const float *x, int64_t rows, int64_t k, const float *v, float *out,
                 int64_t ldout) {
    mk_for(ctx, (double)rows * (double)k, rows, ^(int64_t t) {
        double sum = 0;
        for (int64_t i = 0; i < k; i++) sum += (double)x[t * k + i] * (double)v[i];
        out[t * ldout] = (float)sum;
    });
}

void mk_add_outer(const mk_context *ctx, const float *z, int64_t ldz, int64_t rows, const float *v, const float *base,
                  int64_t k, float *x) {
    mk_for(ctx, (double)rows * (double)k, rows, ^(int64_t t) {
        const float factor = z[t * ldz];
        for (int64_t i = 0; i < k; i++) x[t * k + i] += factor * (v[i] - base[i]);
    });
}

void mk_add_moment(const float *z, int64_t ldz, const float *weights, const float *x, int64_t rows, int64_t k,
                   float *out) {
    for (int64_t t = 0; t < rows; t++) {
        const float factor = weights[t] * z[t * ldz];
        for (int64_t i = 0; i < k; i++) out[i] += factor * x[t * k + i];
    }
}
