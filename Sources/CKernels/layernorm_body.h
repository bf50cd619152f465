/// LayerNorm of one row, forward and backward. Included once per instruction set, behind rows_body.h.
#ifndef MERASER_LAYERNORM_BODY_H
#define MERASER_LAYERNORM_BODY_H

#include "rows_body.h"

/// Sum of (x - shift)^power, power 1 or 2: 16 fixed lanes over stretches, totals in double.
MK_INLINE double central_sum(const float *x, int64_t n, float shift, const int power) {
    double total = 0;
    for (int64_t start = 0; start < n; start += STRETCH) {
        const int64_t end = mk_min(start + STRETCH, n);
        mk_v16 sum = 0.0f;
        int64_t i = start;
        for (; i + 16 <= end; i += 16) {
            const mk_v16 d = load16(x + i) - shift;
            sum += power == 1 ? d : d * d;
        }
        if (i < end) {
            const mk_v16 d = load_part(x + i, end - i, shift) - shift;
            sum += power == 1 ? d : d * d;
        }
        total += sum16(sum);
    }
    return total;
}

/// Returns 1 / sqrt(var + eps). `bias` may be NULL.
static float layernorm(const float *x, const float *weight, const float *bias, float eps, int64_t k, float *y) {
    const float mean = (float)(central_sum(x, k, 0, 1) / (double)k);
    const float variance = (float)(central_sum(x, k, mean, 2) / (double)k);
    const float rstd = 1 / __builtin_sqrtf(variance + eps);
    if (bias != NULL) {
        for (int64_t i = 0; i < k; i++) y[i] = (x[i] - mean) * rstd * weight[i] + bias[i];
    } else {
        for (int64_t i = 0; i < k; i++) y[i] = (x[i] - mean) * rstd * weight[i];
    }
    return rstd;
}

/// With g = weight * dy and d = x - mean(x): dx += rstd * (g - mean(g) - d * rstd^2 * mean(g d)).
static void layernorm_backward(const float *x, const float *weight, float rstd, const float *dy, int64_t k, float *dx) {
    const float mean = (float)(central_sum(x, k, 0, 1) / (double)k);
    double total = 0, pulled = 0;
    for (int64_t start = 0; start < k; start += STRETCH) {
        const int64_t end = mk_min(start + STRETCH, k);
        mk_v16 sum = 0.0f, pull = 0.0f;
        int64_t i = start;
        for (; i + 16 <= end; i += 16) {
            const mk_v16 g = load16(weight + i) * load16(dy + i);
            sum += g;
            pull = g * (load16(x + i) - mean) + pull;
        }
        if (i < end) {
            const int64_t rest = end - i;
            const mk_v16 g = load_part(weight + i, rest, 0) * load_part(dy + i, rest, 0);
            sum += g;
            pull = g * (load_part(x + i, rest, mean) - mean) + pull;
        }
        total += sum16(sum);
        pulled += sum16(pull);
    }
    const float shift = (float)(total / (double)k), pull = (float)(pulled / (double)k) * rstd * rstd;
    for (int64_t i = 0; i < k; i++) dx[i] += rstd * (weight[i] * dy[i] - shift - (x[i] - mean) * pull);
}

#endif
