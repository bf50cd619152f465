/// AdamW in torch's order of operations, and the sum of squares for gradient clipping. The same bits on every machine.
#include <math.h>

#include "isa.h"

#pragma STDC FP_CONTRACT OFF

void mk_adamw(const mk_context *ctx, int64_t n, float *param, const float *grad, float *m, float *v, float grad_scale,
              double lr, double beta1, double beta2, double eps, double weight_decay, int64_t step) {
    enum { PIECE = 4096 };
    // torch computes the scalars in double and the tensors in fp32.
    const float shrink = (float)(1 - lr * weight_decay);
    const float weight1 = (float)(1 - beta1), decay2 = (float)beta2, weight2 = (float)(1 - beta2);
    const float step_size = (float)(lr / (1 - pow(beta1, (double)step)));
    const float correction2 = (float)sqrt(1 - pow(beta2, (double)step));
    const float epsilon = (float)eps;
    mk_for_spans(ctx, (double)n * 4, n, PIECE, ^(int64_t start, int64_t count) {
        for (int64_t i = start; i < start + count; i++) {
            const float g = grad[i] * grad_scale;
            // lerp as torch writes it: from the nearer end.
            m[i] = weight1 < 0.5f ? m[i] + weight1 * (g - m[i]) : g - (g - m[i]) * (1 - weight1);
            v[i] = v[i] * decay2 + weight2 * g * g;
            const float denominator = sqrtf(v[i]) / correction2 + epsilon;
            param[i] = param[i] * shrink - step_size * m[i] / denominator;
        }
    });
}

double mk_sum_squares(const mk_context *ctx, const float *x, int64_t n) {
    enum { SLOTS = 64, LANES = 8 };
    double slots[SLOTS], *const partial = slots;
    const int64_t stretch = mk_ceil_div(n, SLOTS);
    mk_for(ctx, (double)n, SLOTS, ^(int64_t slot) {
        const int64_t start = mk_min(slot * stretch, n), end = mk_min(start + stretch, n);
        double lane[LANES] = {0};
        int64_t i = start;
        for (; i + LANES <= end; i += LANES) {
            for (int l = 0; l < LANES; l++) lane[l] += (double)x[i + l] * (double)x[i + l];
        }
        for (int l = 0; i < end; i++, l++) lane[l] += (double)x[i] * (double)x[i];
        double total = 0;
        for (int l = 0; l < LANES; l++) total += lane[l];
        partial[slot] = total;
    });
    double total = 0;
    for (int slot = 0; slot < SLOTS; slot++) total += slots[slot];
    return total;
}
