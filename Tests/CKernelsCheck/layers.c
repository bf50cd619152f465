/// Norms, rotation, SwiGLU, softmax and what else works on rows.
#include "check.h"

static void expect_close(const float *got, const double *want, int64_t n, double relative, double absolute,
                         const char *what) {
    for (int64_t i = 0; i < n; i++) {
        EXPECT(fabs((double)got[i] - want[i]) <= relative * fabs(want[i]) + absolute, "%s[%lld] is %g, expected %g",
               what, (long long)i, (double)got[i], want[i]);
    }
}

static void check_norm(const mk_context *ctx, int64_t tokens, int64_t k) {
    CASE("%s rmsnorm %lldx%lld", mk_isa_name(ctx->isa), (long long)tokens, (long long)k);
    float *x = matrix(tokens, k, k, 2), *weight = matrix(1, k, k, 1), *dy = matrix(tokens, k, k, 1);
    float *y = matrix(tokens, k, k, 1), *dx = matrix(tokens, k, k, 1), *rstd = matrix(1, tokens, tokens, 1);
    double *want = malloc((size_t)(tokens * k) * sizeof(double)),
           *gradient = malloc((size_t)(tokens * k) * sizeof(double));
    for (int64_t t = 0; t < tokens; t++) {
        double squares = 0, dot = 0;
        for (int64_t i = 0; i < k; i++) squares += (double)x[t * k + i] * (double)x[t * k + i];
        const double r = 1 / sqrt(squares / (double)k + 1e-5);
        for (int64_t i = 0; i < k; i++) dot += (double)dy[t * k + i] * (double)weight[i] * (double)x[t * k + i];
        for (int64_t i = 0; i < k; i++) {
            const int64_t at = t * k + i;
            want[at] = (double)x[at] * r * (double)weight[i];
            gradient[at] =
                (double)dx[at] + r * ((double)dy[at] * (double)weight[i] - (double)x[at] * r * r * dot / (double)k);
        }
    }
    mk_rmsnorm_forward(ctx, x, weight, 1e-5f, tokens, k, y, rstd);
    mk_rmsnorm_backward(ctx, x, weight, rstd, dy, tokens, k, dx);
    expect_close(y, want, tokens * k, 1e-5, 1e-6, "y");
    expect_close(dx, gradient, tokens * k, 1e-5, 2e-5, "dx");
    free(want);
    free(gradient);
    float *all[] = {x, weight, dy, y, dx, rstd};
    for (int i = 0; i < 6; i++) release(all[i]);
}

static void check_rope(const mk_context *ctx, int64_t tokens, int64_t heads, int64_t d) {
    CASE("%s rope T %lld H %lld D %lld", mk_isa_name(ctx->isa), (long long)tokens, (long long)heads, (long long)d);
    const int64_t half = d / 2, positions = 9, ld = heads * d + 3;
    float *x = matrix(tokens, heads * d, ld, 1), *cosines = matrix(positions, half, half, 1);
    float *sines = matrix(positions, half, half, 1);
    int32_t *at = guarded((size_t)tokens * sizeof *at);
    double *want = malloc((size_t)(tokens * heads * d) * sizeof(double));
    for (int64_t t = 0; t < tokens; t++) at[t] = (int32_t)below(positions);
    for (int inverse = 0; inverse < 2; inverse++) {
        for (int64_t t = 0; t < tokens; t++) {
            for (int64_t h = 0; h < heads; h++) {
                for (int64_t i = 0; i < half; i++) {
                    const double c = (double)cosines[at[t] * half + i];
                    const double s = (double)sines[at[t] * half + i] * (inverse ? -1 : 1);
                    const double a = (double)x[t * ld + h * d + i], b = (double)x[t * ld + h * d + half + i];
                    want[(t * heads + h) * d + i] = a * c - b * s;
                    want[(t * heads + h) * d + half + i] = b * c + a * s;
                }
            }
        }
        const mk_rope_shape shape = {.heads = heads, .head_dim = d, .width = d};
        mk_rope(ctx, x, ld, tokens, &shape, at, cosines, sines, inverse);
        for (int64_t t = 0; t < tokens; t++) expect_close(x + t * ld, want + t * heads * d, heads * d, 1e-6, 2e-6, "x");
        EXPECT(touched_gaps(x, tokens, heads * d, ld) == 0, "the gap behind a row was written");
    }
    free(want);
    release(x);
    release(cosines);
    release(sines);
    release(at);
}

static void check_swiglu(const mk_context *ctx, int64_t n) {
    CASE("%s swiglu %lld", mk_isa_name(ctx->isa), (long long)n);
    float *gate = matrix(1, n, n, 3), *up = matrix(1, n, n, 1), *dy = matrix(1, n, n, 1);
    float *y = matrix(1, n, n, 1), *dgate = matrix(1, n, n, 1), *dup = matrix(1, n, n, 1);
    double *want = malloc((size_t)n * 3 * sizeof(double));
    for (int64_t i = 0; i < n; i++) {
        const double g = (double)gate[i], u = (double)up[i], s = 1 / (1 + exp(-g));
        want[i] = g * s * u;
        want[n + i] = (double)dy[i] * u * s * (1 + g * (1 - s));
        want[2 * n + i] = (double)dy[i] * g * s;
    }
    mk_swiglu_forward(ctx, gate, up, n, y);
    mk_swiglu_backward(ctx, gate, up, dy, n, dgate, dup);
    expect_close(y, want, n, 2e-6, 2e-6, "y");
    expect_close(dgate, want + n, n, 2e-6, 4e-6, "dgate");
    expect_close(dup, want + 2 * n, n, 2e-6, 4e-6, "dup");
    free(want);
    float *all[] = {gate, up, dy, y, dgate, dup};
    for (int i = 0; i < 6; i++) release(all[i]);
}

static void check_layernorm(const mk_context *ctx, int64_t tokens, int64_t k) {
    CASE("%s layernorm %lldx%lld", mk_isa_name(ctx->isa), (long long)tokens, (long long)k);
    float *x = matrix(tokens, k, k, 2), *weight = matrix(1, k, k, 1), *bias = matrix(1, k, k, 1);
    double *want = malloc((size_t)(tokens * k) * sizeof(double));
    for (int64_t t = 0; t < tokens; t++) {
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < k; i++) mean += (double)x[t * k + i] / (double)k;
        for (int64_t i = 0; i < k; i++) variance += pow((double)x[t * k + i] - mean, 2) / (double)k;
        for (int64_t i = 0; i < k; i++) {
            want[t * k + i] =
                ((double)x[t * k + i] - mean) / sqrt(variance + 1e-5) * (double)weight[i] + (double)bias[i];
        }
    }
    mk_layernorm_forward(ctx, x, weight, bias, 1, 1e-5f, tokens, k, x, NULL);
    // A mean of some units in a variance of 1e-5, where k is 1 or 2, costs digits.
    expect_close(x, want, tokens * k, 1e-5, k < 3 ? 2e-3 : 2e-5, "y");
    mk_add_bias(ctx, bias, tokens, k, x, k, true);
    for (int64_t i = 0; i < tokens * k; i++) want[i] += (double)bias[i % k];
    expect_close(x, want, tokens * k, 1e-5, k < 3 ? 2e-3 : 2e-5, "y + bias");
    mk_add_bias(ctx, bias, tokens, k, x, k, false);
    for (int64_t i = 0; i < tokens * k; i++) EXPECT(x[i] == bias[i % k], "bias %lld", (long long)i);
    free(want);
    float *all[] = {x, weight, bias};
    for (int i = 0; i < 3; i++) release(all[i]);
}

static void check_activations(const mk_context *ctx, int64_t n) {
    double *want = malloc((size_t)n * sizeof(double));
    for (int32_t kind = MK_GELU; kind <= MK_TANH; kind++) {
        CASE("%s activation %d of %lld", mk_isa_name(ctx->isa), kind, (long long)n);
        float *x = matrix(1, n, n, 3);
        for (int64_t i = 0; i < n; i++) {
            const double a = (double)x[i];
            want[i] = kind == MK_GELU ? a * erfc(-a / sqrt(2)) / 2
                      : kind == MK_GELU_TANH
                          ? a / (1 + exp(-2 * sqrt(2 / 3.14159265358979) * (a + 0.044715 * a * a * a)))
                      : kind == MK_RELU ? fmax(a, 0)
                                        : tanh(a);
        }
        mk_activation(ctx, kind, n, x);
        // The exponent of a tail is rounded: its error grows with the square of x.
        expect_close(x, want, n, 1e-5, 1e-7, "y");
        release(x);
    }
    free(want);
}

static void check_softmax(const mk_context *ctx, int64_t rows, int64_t vocab) {
    CASE("%s cross entropy %lldx%lld", mk_isa_name(ctx->isa), (long long)rows, (long long)vocab);
    const int64_t ld = vocab + 3;
    float *logits = matrix(rows, vocab, ld, 4), *nll = matrix(1, rows, rows, 1);
    int32_t *targets = guarded((size_t)rows * sizeof *targets), *ids = guarded((size_t)rows * sizeof *ids);
    double *want = malloc((size_t)(rows * vocab) * sizeof(double)), *losses = malloc((size_t)rows * sizeof(double));
    for (int64_t t = 0; t < rows; t++) {
        targets[t] = t % 3 == 2 ? -1 : (int32_t)below(vocab);
        double sum = 0;
        for (int64_t v = 0; v < vocab; v++) sum += exp((double)logits[t * ld + v]);
        losses[t] = targets[t] < 0 ? 0 : log(sum) - (double)logits[t * ld + targets[t]];
        int64_t best = 0;
        for (int64_t v = 0; v < vocab; v++) {
            if (logits[t * ld + v] > logits[t * ld + best]) best = v;
            const double p = exp((double)logits[t * ld + v]) / sum;
            want[t * vocab + v] = targets[t] < 0 ? 0 : 0.25 * (p - (v == targets[t]));
        }
        ids[t] = (int32_t)best;
    }
    int32_t *found = guarded((size_t)rows * sizeof *found);
    mk_argmax(ctx, logits, ld, rows, vocab, found);
    EXPECT(memcmp(found, ids, (size_t)rows * sizeof *ids) == 0, "argmax differs");
    mk_softmax_cross_entropy(ctx, logits, ld, rows, vocab, targets, 0, 0, nll);
    expect_close(nll, losses, rows, 1e-5, 2e-5, "nll");
    mk_softmax_cross_entropy(ctx, logits, ld, rows, vocab, targets, 0.25f, 0, nll);
    for (int64_t t = 0; t < rows; t++) expect_close(logits + t * ld, want + t * vocab, vocab, 1e-4, 1e-6, "gradient");
    EXPECT(touched_gaps(logits, rows, vocab, ld) == 0, "the gap behind a row was written");

    float *reference = matrix(rows, vocab, ld, 4);
    for (int64_t t = 0; t < rows; t++) {
        double sums[2] = {0, 0};
        for (int64_t v = 0; v < vocab; v++) {
            sums[0] += exp((double)reference[t * ld + v]);
            sums[1] += exp((double)logits[t * ld + v]);
        }
        losses[t] = 0;
        for (int64_t v = 0; v < vocab; v++) {
            const double r = (double)reference[t * ld + v], z = (double)logits[t * ld + v];
            const double p = exp(r) / sums[0];
            losses[t] += p * (r - log(sums[0]) - z + log(sums[1]));
            want[t * vocab + v] = 0.5 * (exp(z) / sums[1] - p);
        }
    }
    mk_kl_divergence(ctx, logits, ld, reference, ld, rows, vocab, 0.5f, 0, nll);
    expect_close(nll, losses, rows, 1e-5, 2e-5, "divergence");
    for (int64_t t = 0; t < rows; t++) expect_close(logits + t * ld, want + t * vocab, vocab, 1e-4, 1e-6, "slope");
    EXPECT(touched_gaps(logits, rows, vocab, ld) == 0, "the gap behind a row was written");
    mk_kl_divergence(ctx, reference, ld, reference, ld, rows, vocab, 0, 0, nll);
    for (int64_t t = 0; t < rows; t++) EXPECT(nll[t] == 0, "a row diverges from itself by %g", (double)nll[t]);
    release(reference);
    free(want);
    free(losses);
    release(logits);
    release(nll);
    release(targets);
    release(ids);
    release(found);
}

void check_layers(const mk_context *ctx) {
    const int64_t widths[] = {1, 2, 15, 16, 17, 31, 64, 100, 257};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        check_norm(ctx, 1, widths[i]);
        check_norm(ctx, 300, widths[i]);
        check_swiglu(ctx, widths[i]);
        check_layernorm(ctx, 1, widths[i]);
        check_layernorm(ctx, 300, widths[i]);
        check_activations(ctx, widths[i]);
        check_softmax(ctx, 1, widths[i]);
        check_softmax(ctx, 7, widths[i]);
    }
    check_swiglu(ctx, 40001);
    check_activations(ctx, 40001);
    check_softmax(ctx, 5, 9001);
    check_rope(ctx, 1, 1, 2);
    check_rope(ctx, 5, 3, 6);
    check_rope(ctx, 3, 2, 32);
    check_rope(ctx, 70, 4, 34);
    check_rope(ctx, 2, 1, 256);
}
