/// Transposed products with weights, alone and as terms of a sum.
#include "check.h"

static void check_sum(const mk_context *ctx, int32_t compute, int32_t type, int64_t tokens, int64_t cols,
                      const int64_t *rows, int32_t count, bool accumulate) {
    CASE("%s backward %d %s T %lld K %lld N %lld x%d threads %d", mk_isa_name(ctx->isa), compute, type_name(type),
         (long long)tokens, (long long)cols, (long long)rows[0], count, mk_pool_threads(ctx->pool));
    const int64_t lddx = cols + 1;
    weight weights[4];
    mk_linear_input inputs[4];
    int64_t depth = 0;
    for (int32_t i = 0; i < count; i++) {
        weights[i] = make_weight(type, rows[i], cols);
        const int64_t lddy = rows[i] + 2 + i;
        inputs[i] = (mk_linear_input){&weights[i].matrix, matrix(tokens, rows[i], lddy, 1), lddy};
        depth += rows[i];
    }
    // How far the steps of int8 may lead away, by far: tests of the Swift package compare the bits.
    double steps = 0;
    for (int32_t i = 0; i < count && compute == MK_COMPUTE_INT8; i++) {
        double gradient = 0, value = 0;
        for (int64_t t = 0; t < tokens; t++) {
            for (int64_t n = 0; n < rows[i]; n++) gradient = fmax(gradient, fabs(inputs[i].dy[t * inputs[i].lddy + n]));
        }
        for (int64_t n = 0; n < rows[i] * cols; n++) value = fmax(value, fabs(weights[i].values[n]));
        steps += 0.05 * (double)rows[i] * gradient * value;
    }
    float *dx = matrix(tokens, cols, lddx, 1);
    const size_t bytes = (size_t)((tokens - 1) * lddx + cols) * sizeof(float);
    float *before = guarded(bytes);
    memcpy(before, dx, bytes);
    void *workspace = guarded(mk_linear_backward_workspace(compute, inputs, count, tokens));
    mk_linear_backward(ctx, compute, inputs, count, tokens, dx, lddx, accumulate, workspace);
    EXPECT(touched_gaps(dx, tokens, cols, lddx) == 0, "the gap behind a row of dx was written");
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t k = 0; k < cols; k++) {
            double want = accumulate ? (double)before[t * lddx + k] : 0, size = fabs(want);
            for (int32_t i = 0; i < count; i++) {
                for (int64_t n = 0; n < rows[i]; n++) {
                    const double product =
                        (double)inputs[i].dy[t * inputs[i].lddy + n] * (double)weights[i].values[n * cols + k];
                    want += product;
                    size += fabs(product);
                }
            }
            const double got = (double)dx[t * lddx + k],
                         unit = compute == MK_COMPUTE_BF16 ? 0x1p-7 : 2e-7 * sqrt((double)depth) + 1e-6,
                         bound = unit * size + steps;
            EXPECT(fabs(got - want) <= bound, "dx[%lld][%lld] is %g, expected %g +- %g", (long long)t, (long long)k,
                   got, want, bound);
        }
    }
    for (int32_t i = 0; i < count; i++) {
        release((void *)inputs[i].dy);
        free_weight(weights + i);
    }
    release(workspace);
    release(dx);
    release(before);
}

void check_backward(const mk_context *ctx) {
    const struct {
        int64_t tokens, cols, rows[4];
        int32_t count;
    } shapes[] = {
        {1, 32, {1}, 1},   {1, 288, {33, 16, 5}, 3}, {2, 64, {17}, 1},    {3, 96, {31, 48}, 2},
        {5, 544, {65}, 1}, {13, 64, {7}, 1},         {16, 320, {300}, 1}, {67, 96, {40, 24, 24, 9}, 4},
        {130, 32, {3}, 1}, {9, 1056, {130}, 1},
    };
    const int64_t odd[] = {3, 8};
    for (size_t i = 0; i < sizeof check_types / sizeof check_types[0]; i++) {
        for (int32_t compute = MK_COMPUTE_F32; compute <= MK_COMPUTE_INT8; compute++) {
            if (!mk_compute_available(ctx->isa, compute)) continue;
            for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
                check_sum(ctx, compute, check_types[i], shapes[s].tokens, whole_tiles(check_types[i], shapes[s].cols),
                          shapes[s].rows, shapes[s].count, s % 2 == 0);
            }
            if (!mk_type_is_tiled(check_types[i])) check_sum(ctx, compute, check_types[i], 7, 37, odd, 2, false);
        }
    }
}
