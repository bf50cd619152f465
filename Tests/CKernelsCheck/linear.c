/// Products with weights, in groups and alone.
#include "check.h"

/// Relative to the sum of absolute products: fp32 chains, activations rounded to 8 bits in blocks (half a step of 1/127
/// of the block's largest, which a sum of absolute values bounds loosely), both factors rounded to bf16.
static double tolerance(int32_t compute, int64_t depth) {
    return compute == MK_COMPUTE_BF16 ? 0x1p-7 : 2e-7 * sqrt((double)depth) + 1e-6;
}

/// What int8 may be off by at y[t][n]: half a step of each activation.
static double int8_bound(const float *x, const float *w, int64_t cols) {
    double sum = 0;
    for (int64_t block = 0; block < cols; block += 32) {
        double largest = 0, weights = 0;
        for (int64_t c = block; c < block + 32; c++) {
            largest = fmax(largest, fabs((double)x[c]));
            weights += fabs((double)w[c]);
        }
        sum += 0.51 / 127 * largest * weights;
    }
    return sum;
}

static void check_forward(const mk_context *ctx, int32_t compute, int32_t type, int64_t tokens, int64_t cols,
                          const int64_t *rows, int32_t count) {
    CASE("%s forward %d %s T %lld K %lld N %lld x%d threads %d", mk_isa_name(ctx->isa), compute, type_name(type),
         (long long)tokens, (long long)cols, (long long)rows[0], count, mk_pool_threads(ctx->pool));
    const int64_t ldx = cols + 3;
    float *x = matrix(tokens, cols, ldx, 1);
    // Columns that are much larger than those beside them, in other places for each token: codes of two digits in int8.
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t k = t % 11; k < cols; k += 37) x[t * ldx + k] *= t % 3 == 0 ? 8 : 200;
    }
    weight weights[4];
    mk_linear_output outputs[4];
    float *before[4];
    for (int32_t i = 0; i < count; i++) {
        weights[i] = make_weight(type, rows[i], cols);
        const int64_t ldy = rows[i] + 5;
        float *y = matrix(tokens, rows[i], ldy, 1);
        const size_t bytes = (size_t)((tokens - 1) * ldy + rows[i]) * sizeof(float);
        before[i] = guarded(bytes);
        memcpy(before[i], y, bytes);
        outputs[i] = (mk_linear_output){&weights[i].matrix, y, ldy, i % 2 == 1};
    }
    void *workspace = guarded(mk_linear_workspace(compute, tokens, cols));
    mk_linear_forward(ctx, compute, outputs, count, x, ldx, tokens, workspace);
    const bool is_int8 = compute == MK_COMPUTE_INT8 && mk_type_is_tiled(type);
    for (int32_t i = 0; i < count; i++) {
        const mk_linear_output *o = outputs + i;
        EXPECT(touched_gaps(o->y, tokens, rows[i], o->ldy) == 0, "the gap behind a row of y was written");
        for (int64_t t = 0; t < tokens; t++) {
            for (int64_t n = 0; n < rows[i]; n++) {
                const float *w = weights[i].values + n * cols;
                double want = o->accumulate ? (double)before[i][t * o->ldy + n] : 0, size = fabs(want);
                for (int64_t k = 0; k < cols; k++) {
                    const double product = (double)x[t * ldx + k] * (double)w[k];
                    want += product;
                    size += fabs(product);
                }
                double bound = tolerance(compute, cols) * size;
                if (is_int8) bound += int8_bound(x + t * ldx, w, cols);
                const double got = (double)o->y[t * o->ldy + n];
                EXPECT(fabs(got - want) <= bound, "y[%lld][%lld] of %d is %g, expected %g +- %g", (long long)t,
                       (long long)n, i, got, want, bound);
            }
        }
        release(o->y);
        release(before[i]);
        free_weight(weights + i);
    }
    release(workspace);
    release(x);
}

static void check_gather(const mk_context *ctx, int32_t type) {
    CASE("%s gather %s", mk_isa_name(ctx->isa), type_name(type));
    const int64_t rows = 21, cols = whole_tiles(type, 64), ld = cols + 6;
    weight w = make_weight(type, rows, cols);
    const int32_t ids[5] = {20, 0, 15, 16, 20};
    int32_t *exact = guarded(sizeof ids);
    memcpy(exact, ids, sizeof ids);
    float *out = matrix(5, cols, ld, 1);
    mk_gather_rows(ctx, &w.matrix, exact, 5, out, ld);
    EXPECT(touched_gaps(out, 5, cols, ld) == 0, "the gap behind a row was written");
    for (int t = 0; t < 5; t++) {
        const size_t bytes = (size_t)cols * sizeof(float);
        EXPECT(memcmp(out + t * ld, w.values + ids[t] * cols, bytes) == 0, "row %d differs", t);
    }
    release(exact);
    release(out);
    free_weight(&w);
}

void check_linear(const mk_context *ctx) {
    const struct {
        int64_t tokens, cols, rows[4];
        int32_t count;
    } shapes[] = {
        {1, 32, {1}, 1},   {1, 288, {33, 16, 5}, 3}, {2, 64, {17}, 1},   {3, 96, {31, 48}, 2},
        {5, 544, {65}, 1}, {13, 64, {100, 7}, 2},    {16, 320, {16}, 1}, {67, 96, {40, 24, 24, 9}, 4},
        {130, 32, {3}, 1}, {9, 1056, {130}, 1},      {1, 2080, {64}, 1}, {300, 64, {50}, 1},
    };
    for (size_t i = 0; i < sizeof check_types / sizeof check_types[0]; i++) {
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            for (int32_t compute = 0; compute < 3; compute++) {
                if (!mk_compute_available(ctx->isa, compute)) continue;
                check_forward(ctx, compute, check_types[i], shapes[s].tokens,
                              whole_tiles(check_types[i], shapes[s].cols), shapes[s].rows, shapes[s].count);
            }
        }
        check_gather(ctx, check_types[i]);
    }
    // Plain weights may have any number of columns.
    const int64_t odd[] = {3, 8};
    for (int i = 0; i < 3; i++) {
        for (int32_t compute = 0; compute < 2; compute++) {
            if (!mk_compute_available(ctx->isa, compute)) continue;
            check_forward(ctx, compute, check_types[i], 5, 37, odd, 2);
            check_forward(ctx, compute, check_types[i], 21, 1, odd, 1);
        }
    }
}
