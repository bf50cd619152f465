/// Row kernels that encoders have and decoders do not: LayerNorm and the activations between two linear layers.
/// Included once per instruction set, behind rows_body.h.
#ifndef MERASER_ENCODER_BODY_H
#define MERASER_ENCODER_BODY_H

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

static void layernorm(const float *x, const float *weight, const float *bias, float eps, int64_t k, float *y) {
    const float mean = (float)(central_sum(x, k, 0, 1) / (double)k);
    const float variance = (float)(central_sum(x, k, mean, 2) / (double)k);
    const float rstd = 1 / __builtin_sqrtf(variance + eps);
    for (int64_t i = 0; i < k; i++) y[i] = (x[i] - mean) * rstd * weight[i] + bias[i];
}

/// erfc(z) = exp(-z^2) * t * P(t) with t = 1 / (1 + z / 2), for z >= 0. P is a minimax fit of erfc(z) exp(z^2) / t over
/// z in [0, 10.5] (relative error 2.2e-8; 3e-7 as evaluated in fp32).
MK_INLINE mk_v16 erfc16(mk_v16 z) {
    const mk_v16 t = 1.0f / (1.0f + 0.5f * z);
    mk_v16 p = 0.01081364881247282f;
    p = p * t - 0.11545954644680023f;
    p = p * t + 0.41110390424728394f;
    p = p * t - 0.6470165848731995f;
    p = p * t + 0.4028594195842743f;
    p = p * t - 0.0888679176568985f;
    p = p * t + 0.22244307398796082f;
    p = p * t + 0.23926907777786255f;
    p = p * t + 0.28278711438179016f;
    p = p * t + 0.28206780552864075f;
    return exp16(-z * z) * (p * t);
}

/// x * Phi(x), Phi from the tail on the side of x: no cancellation for negative x.
MK_INLINE mk_v16 gelu16(mk_v16 x) {
    const mk_v16 size = select16(x < 0.0f, -x, x);
    const mk_v16 tail = 0.5f * erfc16(size * 0.70710678118654752f);
    return x * select16(x < 0.0f, tail, 1.0f - tail);
}

/// x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), with (1 + tanh u) / 2 = 1 / (1 + exp(-2 u)).
MK_INLINE mk_v16 gelu_tanh16(mk_v16 x) {
    return x / (1.0f + exp16(-1.5957691216057308f * (x + 0.044715f * x * x * x)));
}

MK_INLINE mk_v16 activate16(const int32_t kind, mk_v16 x) {
    switch (kind) {
        case MK_GELU:
            return gelu16(x);
        case MK_GELU_TANH:
            return gelu_tanh16(x);
        default:
            return select16(x < 0.0f, (mk_v16)0.0f, x);
    }
}

MK_INLINE void activate_all(const int32_t kind, int64_t n, float *x) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) store16(x + i, activate16(kind, load16(x + i)));
    if (i < n) store_part(x + i, n - i, activate16(kind, load_part(x + i, n - i, 0)));
}

static void activate(int32_t kind, int64_t n, float *x) {
    switch (kind) {
        case MK_GELU:
            activate_all(MK_GELU, n, x);
            break;
        case MK_GELU_TANH:
            activate_all(MK_GELU_TANH, n, x);
            break;
        case MK_RELU:
            activate_all(MK_RELU, n, x);
            break;
        default:
            for (int64_t i = 0; i < n; i++) x[i] = __builtin_tanhf(x[i]);
    }
}

#endif
