/// The cosine distance between rows, and steps along a gradient's signs: threads share out rows.
#include <math.h>

#include "isa.h"

/// Products of two rows with each other and with themselves, in double and in order.
typedef struct {
    double ab, aa, bb;
} products;

static products mk_products(const float *a, const float *b, int64_t k) {
    products p = {0, 0, 0};
    for (int64_t i = 0; i < k; i++) {
        p.ab += (double)a[i] * (double)b[i];
        p.aa += (double)a[i] * (double)a[i];
        p.bb += (double)b[i] * (double)b[i];
    }
    return p;
}

void mk_cosine_distance(const mk_context *ctx, const float *a, const float *b, int64_t rows, int64_t k, float *out) {
    mk_for(ctx, (double)rows * (double)k, rows, ^(int64_t t) {
        const products p = mk_products(a + t * k, b + t * k, k);
        const double lengths = sqrt(p.aa) * sqrt(p.bb);
        out[t] = lengths > 0 ? (float)(1 - p.ab / lengths) : 1;
    });
}

void mk_cosine_backward(const mk_context *ctx, const float *a, const float *b, int64_t rows, int64_t k, float scale,
                        float *da) {
    mk_for(ctx, (double)rows * (double)k, rows, ^(int64_t t) {
        const float *x = a + t * k, *y = b + t * k;
        const products p = mk_products(x, y, k);
        const double lengths = sqrt(p.aa) * sqrt(p.bb);
        if (!(lengths > 0)) return;
        const double own = scale * p.ab / lengths / p.aa, other = scale / lengths;
        for (int64_t i = 0; i < k; i++) da[t * k + i] += (float)(own * x[i] - other * y[i]);
    });
}

void mk_signs(const float *x, int64_t n, float scale, float *out) {
    for (int64_t i = 0; i < n; i++) out[i] = x[i] > 0 ? scale : x[i] < 0 ? -scale : 0;
}
