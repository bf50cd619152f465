/// What stands between two linear layers, and the soft cap of scores and logits. Included once per instruction set,
/// behind rows_body.h.
#ifndef MERASER_ACTIVATION_BODY_H
#define MERASER_ACTIVATION_BODY_H

#include "rows_body.h"

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

/// tanh to a few ulps: (e^2x - 1) / (e^2x + 1) for |x| <= 10, beyond which it is 1 in fp32; a NaN stays a NaN.
MK_INLINE mk_v16 tanh16(mk_v16 x) {
    const mk_i16 sign = (mk_i16)x & (int32_t)0x80000000u;
    const mk_v16 size = (mk_v16)((mk_i16)x & 0x7fffffff);
    const mk_v16 twice = 2.0f * select16(size > 10.0f, (mk_v16)10.0f, size);
    const mk_v16 magic = 12582912.0f;  // 1.5 * 2^23: adding it leaves the integer in the low bits
    const mk_v16 shifted = twice * 1.44269504088896341f + magic;
    const mk_v16 n = shifted - magic;
    const mk_v16 power = (mk_v16)(((mk_u16)shifted << 23) + (127u << 23));
    const mk_v16 less = power * exp16_less_one(twice, n) + (power - 1.0f);
    return (mk_v16)((mk_i16)(less / (less + 2.0f)) | sign);
}

/// x = cap * tanh(x / cap).
static void soft_cap(float *x, int64_t n, float cap) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) store16(x + i, cap * tanh16(load16(x + i) / cap));
    if (i < n) store_part(x + i, n - i, cap * tanh16(load_part(x + i, n - i, 0) / cap));
}

/// dx *= 1 - (y / cap)^2, y being the soft cap's result; a gradient of 0 stays 0 whatever y is.
static void soft_cap_gradient(float *dx, const float *y, int64_t n, float cap) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const mk_v16 d = load16(dx + i), t = load16(y + i) / cap;
        store16(dx + i, select16(d == 0.0f, (mk_v16)0.0f, d * (1.0f - t * t)));
    }
    for (; i < n; i++) {
        const float t = y[i] / cap;
        dx[i] = dx[i] == 0 ? 0 : dx[i] * (1 - t * t);
    }
}

/// f(x), and its slope.
MK_INLINE mk_v16 activation_slope16(const int32_t kind, mk_v16 x, mk_v16 *slope) {
    mk_v16 y, s;
    switch (kind) {
        case MK_GELU: {
            const mk_v16 size = select16(x < 0.0f, -x, x);
            const mk_v16 tail = 0.5f * erfc16(size * 0.70710678118654752f);
            const mk_v16 share = select16(x < 0.0f, tail, 1.0f - tail);
            *slope = share + x * exp16(-0.5f * x * x) * 0.39894228040143268f;
            return x * share;
        }
        case MK_GELU_TANH:
            s = 1.0f / (1.0f + exp16(-1.5957691216057308f * (x + 0.044715f * x * x * x)));
            y = s * (1.0f - s);
            // Where the curve is flat, x^3 may be beyond fp32.
            *slope = s + select16(y > 0.0f, x * y * (1.5957691216057308f * (1.0f + 0.134145f * x * x)), (mk_v16)0.0f);
            return x * s;
        case MK_RELU:
            *slope = select16(x > 0.0f, (mk_v16)1.0f, (mk_v16)0.0f);
            return select16(x < 0.0f, (mk_v16)0.0f, x);
        case MK_TANH:
            y = tanh16(x);
            *slope = 1.0f - y * y;
            return y;
        default:
            y = silu16(x, &s);
            *slope = s + y * (1.0f - s);
            return y;
    }
}

MK_INLINE mk_v16 activation16(const int32_t kind, mk_v16 x) {
    mk_v16 unused;
    switch (kind) {
        case MK_SILU:
            return silu16(x, &unused);
        case MK_TANH:
            return tanh16(x);
        default:
            return activate16(kind, x);
    }
}

MK_INLINE mk_v16 load_up_to_16(const float *p, int64_t n) {
    return n == 16 ? load16(p) : load_part(p, n, 0);
}

MK_INLINE void store_up_to_16(float *p, int64_t n, mk_v16 x) {
    if (n == 16) {
        store16(p, x);
    } else {
        store_part(p, n, x);
    }
}

MK_INLINE void gated_all(const int32_t kind, const float *gate, const float *up, int64_t n, float *y) {
    for (int64_t i = 0; i < n; i += 16) {
        const int64_t count = mk_min(16, n - i);
        mk_v16 v = activation16(kind, load_up_to_16(gate + i, count));
        if (up != NULL) v *= load_up_to_16(up + i, count);
        store_up_to_16(y + i, count, v);
    }
}

MK_INLINE void gated_backward_all(const int32_t kind, const float *gate, const float *up, const float *dy, int64_t n,
                                  float *dgate, float *dup) {
    for (int64_t i = 0; i < n; i += 16) {
        const int64_t count = mk_min(16, n - i);
        mk_v16 slope, incoming = load_up_to_16(dy + i, count);
        const mk_v16 value = activation_slope16(kind, load_up_to_16(gate + i, count), &slope);
        if (up != NULL) {
            const mk_v16 factor = load_up_to_16(up + i, count);
            store_up_to_16(dup + i, count, incoming * value);
            incoming *= factor;
        }
        store_up_to_16(dgate + i, count, incoming * slope);
    }
}

#define EACH_ACTIVATION(call)   \
    switch (kind) {             \
        case MK_GELU:           \
            call(MK_GELU);      \
            break;              \
        case MK_GELU_TANH:      \
            call(MK_GELU_TANH); \
            break;              \
        case MK_RELU:           \
            call(MK_RELU);      \
            break;              \
        case MK_TANH:           \
            call(MK_TANH);      \
            break;              \
        default:                \
            call(MK_SILU);      \
            break;              \
    }

static void gated(int32_t kind, const float *gate, const float *up, int64_t n, float *y) {
#define CALL(k) gated_all(k, gate, up, n, y)
    EACH_ACTIVATION(CALL)
#undef CALL
}

static void gated_backward(int32_t kind, const float *gate, const float *up, const float *dy, int64_t n, float *dgate,
                           float *dup) {
#define CALL(k) gated_backward_all(k, gate, up, dy, n, dgate, dup)
    EACH_ACTIVATION(CALL)
#undef CALL
}

#undef EACH_ACTIVATION

#endif
