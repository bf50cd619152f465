/// Quantizing with error feedback: moments and factors against sums in double, and errors against the weights' own.
#include "check.h"

/// A buffer aligned to 64 that ends where it ends; `*owner` is to be released.
static void *aligned(size_t bytes, void **owner) {
    const size_t whole = (bytes + 63) / 64 * 64;
    *owner = guarded(whole + 64);
    return (void *)(((uintptr_t)*owner + 63) / 64 * 64);
}

static void check_type(const mk_context *ctx, int32_t type, int64_t rows, int64_t cols, const float *unit,
                       const float *weight, const double *h, double mean) {
    CASE("%s feedback %s %lldx%lld threads %d", mk_isa_name(ctx->isa), type_name(type), (long long)rows,
         (long long)cols, mk_pool_threads(ctx->pool));
    void *owner, *workspace = aligned(mk_feedback_workspace(mk_pool_threads(ctx->pool), cols), &owner);
    float *source = matrix(rows, cols, cols, 1), *errors = guarded((size_t)rows * sizeof(float));
    float *back = guarded((size_t)(rows * cols) * sizeof(float));
    void *data = guarded(mk_matrix_bytes(type, rows, cols));
    mk_quantize_feedback(ctx, type, source, rows, cols, unit, weight, data, errors, workspace);
    const mk_matrix m = {type, rows, cols, data};
    mk_dequantize(&m, 0, rows, back);
    for (int64_t r = 0; r < rows; r++) {
        double want = 0;
        for (int64_t i = 0; i < cols; i++) {
            for (int64_t j = 0; j < cols; j++) {
                want += (double)(source[r * cols + i] - back[r * cols + i]) * h[i * cols + j] / mean *
                        (double)(source[r * cols + j] - back[r * cols + j]);
            }
        }
        EXPECT(fabs((double)errors[r] - want) <= 2e-3 * want, "row %lld: %g, expected %g", (long long)r,
               (double)errors[r], want);
    }
    release(owner);
    release(source);
    release(errors);
    release(back);
    release(data);
}

static void check_inputs(const mk_context *ctx, int64_t tokens, int64_t cols, int64_t rows) {
    CASE("%s moments T %lld K %lld threads %d", mk_isa_name(ctx->isa), (long long)tokens, (long long)cols,
         mk_pool_threads(ctx->pool));
    const int64_t ld = cols + 3;
    const double damping = 0.1;
    float *x = matrix(tokens, cols, ld, 1), *weight = guarded((size_t)cols * sizeof(float));
    void *owners[3];
    double *h = aligned((size_t)(cols * cols) * sizeof(double), &owners[0]);
    double *want = malloc((size_t)(cols * cols) * sizeof(double)), mean = 0;
    memset(h, 0, (size_t)(cols * cols) * sizeof(double));
    mk_gram(ctx, x, ld, tokens, cols, h, aligned(mk_gram_workspace(mk_pool_threads(ctx->pool), cols), &owners[1]));
    for (int64_t i = 0; i < cols; i++) {
        for (int64_t j = 0; j < cols; j++) {
            double sum = 0;
            for (int64_t t = 0; t < tokens; t++) sum += (double)x[t * ld + i] * (double)x[t * ld + j];
            want[i * cols + j] = sum;
            if (j >= i)
                EXPECT(fabs(h[i * cols + j] - sum) <= 1e-4 * (double)tokens, "%lld %lld", (long long)i, (long long)j);
        }
        mean += want[i * cols + i] / (double)cols;
    }
    mk_feedback_factor(ctx, h, cols, damping, weight, aligned(mk_feedback_factor_workspace(cols), &owners[2]));
    const float *unit = (const float *)h;
    for (int64_t i = 0; i < cols; i++) {
        want[i * cols + i] += damping * mean;
        for (int64_t j = i; j < cols; j++) {
            double sum = 0;
            for (int64_t k = j; k < cols; k++) {
                sum += (double)unit[i * cols + k] * (double)weight[k] * (double)unit[j * cols + k];
            }
            EXPECT(fabs(sum * mean - want[i * cols + j]) <= 1e-4 * mean, "%lld %lld", (long long)i, (long long)j);
        }
    }
    for (size_t i = 0; i < sizeof check_types / sizeof check_types[0]; i++) {
        const int32_t type = check_types[i];
        if (mk_type_is_tiled(type) && cols % mk_tile_columns(type) == 0) {
            check_type(ctx, type, rows, cols, unit, weight, want, mean);
        }
    }
    release(x);
    release(weight);
    for (int i = 0; i < 3; i++) release(owners[i]);
    free(want);
}

void check_feedback(const mk_context *ctx) {
    check_inputs(ctx, 5, 1, 1);
    check_inputs(ctx, 300, 67, 1);
    check_inputs(ctx, 70, 96, 17);
    check_inputs(ctx, 1, 256, 3);
}
