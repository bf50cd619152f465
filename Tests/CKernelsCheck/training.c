/// Dropout, AdamW and sums.
#include "check.h"

static void check_dropout(const mk_context *ctx, int64_t tokens, int64_t k) {
    CASE("%s dropout %lldx%lld", mk_isa_name(ctx->isa), (long long)tokens, (long long)k);
    float *x = matrix(tokens, k, k, 1), *y = matrix(tokens, k, k, 1);
    float *before = guarded((size_t)(tokens * k) * sizeof(float));
    memcpy(before, y, (size_t)(tokens * k) * sizeof(float));
    int32_t *sample = guarded((size_t)tokens * sizeof *sample), *position = guarded((size_t)tokens * sizeof *position);
    for (int64_t t = 0; t < tokens; t++) {
        sample[t] = (int32_t)(t / 3);
        position[t] = (int32_t)(t % 3);
    }
    mk_dropout(ctx, x, tokens, k, 0.25f, 11, 3, 5, sample, position, y, true);
    int64_t dropped = 0;
    for (int64_t i = 0; i < tokens * k; i++) {
        const double kept = (double)before[i] + (double)x[i] / 0.75;
        dropped += y[i] == before[i];
        EXPECT(y[i] == before[i] || fabs((double)y[i] - kept) < 1e-5, "%g is neither kept nor dropped", (double)y[i]);
    }
    const double n = (double)(tokens * k);
    EXPECT(fabs((double)dropped - n / 4) <= 6 * sqrt(n * 3 / 16) + 1, "%lld of %g dropped", (long long)dropped, n);
    release(x);
    release(y);
    release(before);
    release(sample);
    release(position);
}

static void check_adamw(const mk_context *ctx, int64_t n) {
    CASE("%s adamw %lld", mk_isa_name(ctx->isa), (long long)n);
    float *p = matrix(1, n, n, 1), *g = matrix(1, n, n, 1), *m = matrix(1, n, n, 0.1), *v = matrix(1, n, n, 0.1);
    double squares = 0;
    double *want = malloc((size_t)(n > 0 ? n : 1) * sizeof(double));
    for (int64_t i = 0; i < n; i++) {
        v[i] = fabsf(v[i]);
        const double gradient = 0.5 * (double)g[i];
        const double first = 0.9 * (double)m[i] + 0.1 * gradient,
                     second = 0.99 * (double)v[i] + 0.01 * gradient * gradient;
        const double step = first / (1 - pow(0.9, 4)) / (sqrt(second / (1 - pow(0.99, 4))) + 1e-8);
        want[i] = (double)p[i] * (1 - 0.01 * 0.1) - 0.01 * step;
        squares += (double)g[i] * (double)g[i];
    }
    EXPECT(fabs(mk_sum_squares(ctx, g, n) - squares) <= 1e-6 * squares, "sum of squares %g, expected %g",
           mk_sum_squares(ctx, g, n), squares);
    mk_adamw(ctx, n, p, g, m, v, 0.5f, 0.01, 0.9, 0.99, 1e-8, 0.1, 4);
    for (int64_t i = 0; i < n; i++) {
        EXPECT(fabs((double)p[i] - want[i]) <= 2e-6 * (1 + fabs(want[i])), "parameter %lld is %g, expected %g",
               (long long)i, (double)p[i], want[i]);
    }
    mk_axpy(ctx, n, 2, g, p);
    for (int64_t i = 0; i < n; i++) {
        EXPECT(fabs((double)p[i] - want[i] - 2 * (double)g[i]) <= 4e-6 * (1 + fabs(want[i]) + fabs((double)g[i])),
               "axpy gave %g", (double)p[i]);
    }
    free(want);
    release(p);
    release(g);
    release(m);
    release(v);
}

static void check_peaks(const mk_context *ctx) {
    CASE("%s peaks", mk_isa_name(ctx->isa));
    for (int32_t compute = 0; compute < 3; compute++) {
        const double one = mk_peak_operations(ctx, compute, 1);
        EXPECT(mk_peak_operations(ctx, compute, 5) == 5 * one, "operations of precision %d", compute);
    }
    for (size_t n = 0; n < 5000; n = 2 * n + 63) {
        uint8_t *bytes = guarded(n);
        memset(bytes, 0, n);
        EXPECT(mk_peak_read(ctx, bytes, n) == 0, "zeros do not sum to 0");
        if (n > 0) bytes[n - 1] = 1;
        EXPECT(n == 0 || mk_peak_read(ctx, bytes, n) != 0, "the last of %zu bytes was not read", n);
        release(bytes);
    }
}

void check_training(const mk_context *ctx) {
    const int64_t sizes[] = {0, 1, 15, 16, 17, 100, 50001};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) check_adamw(ctx, sizes[i]);
    check_dropout(ctx, 1, 1);
    check_dropout(ctx, 7, 33);
    check_dropout(ctx, 100, 512);
    check_peaks(ctx);
}
