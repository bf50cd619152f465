/// The products with LoRA factors.
#include "check.h"

static double factor_at(const mk_factor *f, const float *values, int64_t j, int64_t k) {
    return (double)values[f->by_feature ? k * f->rank + j : j * f->width + k];
}

static void check_factor(const mk_context *ctx, int64_t rank, int64_t width, int64_t tokens, bool by_feature) {
    CASE("%s low rank %lldx%lld T %lld %s", mk_isa_name(ctx->isa), (long long)rank, (long long)width, (long long)tokens,
         by_feature ? "B" : "A");
    const int64_t ld = width + 3;
    float *values = matrix(1, rank * width, 1 << 30, 1), *x = matrix(tokens, width, ld, 1);
    float *u = matrix(tokens, rank, rank, 1), *y = matrix(tokens, width, ld, 1), *before = matrix(tokens, width, ld, 1);
    float *gradient = matrix(1, rank * width, 1 << 30, 1);
    const mk_factor f = {values, rank, width, by_feature};
    void *workspace = guarded(mk_lowrank_workspace(rank, width));
    mk_lowrank_reduce(ctx, &f, x, ld, tokens, 0.5f, u, workspace);
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t j = 0; j < rank; j++) {
            double want = 0, size = 0;
            for (int64_t k = 0; k < width; k++) {
                const double product = 0.5 * (double)x[t * ld + k] * factor_at(&f, values, j, k);
                want += product;
                size += fabs(product);
            }
            EXPECT(fabs((double)u[t * rank + j] - want) <= 4e-6 * size, "u is %g, expected %g", (double)u[t * rank + j],
                   want);
        }
    }
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        memcpy(before, y, (size_t)((tokens - 1) * ld + width) * sizeof(float));
        mk_lowrank_expand(ctx, &f, u, tokens, y, ld, accumulate, workspace);
        EXPECT(touched_gaps(y, tokens, width, ld) == 0, "the gap behind a row of y was written");
        for (int64_t t = 0; t < tokens; t++) {
            for (int64_t k = 0; k < width; k++) {
                double want = accumulate ? (double)before[t * ld + k] : 0, size = fabs(want);
                for (int64_t j = 0; j < rank; j++) {
                    const double product = (double)u[t * rank + j] * factor_at(&f, values, j, k);
                    want += product;
                    size += fabs(product);
                }
                EXPECT(fabs((double)y[t * ld + k] - want) <= 4e-6 * size, "y is %g, expected %g", (double)y[t * ld + k],
                       want);
            }
        }
    }
    float *start = guarded((size_t)(rank * width) * sizeof(float));
    memcpy(start, gradient, (size_t)(rank * width) * sizeof(float));
    mk_lowrank_gradient(ctx, &f, u, x, ld, tokens, gradient);
    for (int64_t j = 0; j < rank; j++) {
        for (int64_t k = 0; k < width; k++) {
            double want = factor_at(&f, start, j, k), size = fabs(want);
            for (int64_t t = 0; t < tokens; t++) {
                const double product = (double)u[t * rank + j] * (double)x[t * ld + k];
                want += product;
                size += fabs(product);
            }
            EXPECT(fabs(factor_at(&f, gradient, j, k) - want) <= 1e-5 * size, "gradient is %g, expected %g",
                   factor_at(&f, gradient, j, k), want);
        }
    }
    float *all[] = {values, x, u, y, before, gradient, start};
    for (int i = 0; i < 7; i++) release(all[i]);
    release(workspace);
}

void check_lowrank(const mk_context *ctx) {
    const int64_t shapes[][3] = {{1, 1, 1},   {8, 33, 7},  {16, 64, 40}, {3, 100, 1},
                                 {17, 31, 5}, {64, 47, 9}, {8, 256, 13}, {130, 20, 300}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        check_factor(ctx, shapes[i][0], shapes[i][1], shapes[i][2], false);
        check_factor(ctx, shapes[i][0], shapes[i][1], shapes[i][2], true);
    }
}
