/// Row kernels of one instruction set. Sums run in 16 fixed lanes over stretches of 512 elements, whose totals are
/// added in double: accurate for any length, and the order never depends on anything but the length.
#ifndef MERASER_ROWS_BODY_H
#define MERASER_ROWS_BODY_H

#include "simd_math.h"

enum { STRETCH = 512 };

static float dot(const float *x, const float *y, int64_t n) {
    double total = 0;
    for (int64_t start = 0; start < n; start += STRETCH) {
        const int64_t end = mk_min(start + STRETCH, n);
        mk_v16 sum = 0.0f;
        int64_t i = start;
        for (; i + 16 <= end; i += 16) sum = load16(x + i) * load16(y + i) + sum;
        if (i < end) sum = load_part(x + i, end - i, 0) * load_part(y + i, end - i, 0) + sum;
        total += sum16(sum);
    }
    return (float)total;
}

static void scale(float *x, int64_t n, float a) {
    for (int64_t i = 0; i < n; i++) x[i] *= a;
}

static float rmsnorm(const float *x, const float *weight, float eps, int64_t k, float *y) {
    const float rstd = 1 / __builtin_sqrtf(dot(x, x, k) / (float)k + eps);
    for (int64_t i = 0; i < k; i++) y[i] = weight[i] * (x[i] * rstd);
    return rstd;
}

/// With g = weight * dy: dx += rstd * (g - x * rstd^2 * mean(g x)).
static void rmsnorm_backward(const float *x, const float *weight, float rstd, const float *dy, int64_t k, float *dx) {
    double total = 0;
    for (int64_t start = 0; start < k; start += STRETCH) {
        const int64_t end = mk_min(start + STRETCH, k);
        mk_v16 sum = 0.0f;
        int64_t i = start;
        for (; i + 16 <= end; i += 16) sum = load16(x + i) * (load16(weight + i) * load16(dy + i)) + sum;
        if (i < end) {
            const int64_t rest = end - i;
            sum = load_part(x + i, rest, 0) * (load_part(weight + i, rest, 0) * load_part(dy + i, rest, 0)) + sum;
        }
        total += sum16(sum);
    }
    const float pull = (float)(total / (double)k) * rstd * rstd;
    for (int64_t i = 0; i < k; i++) dx[i] += rstd * (weight[i] * dy[i] - x[i] * pull);
}

MK_INLINE mk_v16 silu16(mk_v16 gate, mk_v16 *sigmoid) {
    *sigmoid = 1.0f / (1.0f + exp16(-gate));
    return gate * *sigmoid;
}

static void swiglu(const float *gate, const float *up, int64_t n, float *y) {
    mk_v16 sigmoid;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) store16(y + i, silu16(load16(gate + i), &sigmoid) * load16(up + i));
    if (i < n) {
        const mk_v16 activated = silu16(load_part(gate + i, n - i, 0), &sigmoid);
        store_part(y + i, n - i, activated * load_part(up + i, n - i, 0));
    }
}

MK_INLINE void swiglu_backward16(mk_v16 gate, mk_v16 up, mk_v16 dy, mk_v16 *dgate, mk_v16 *dup) {
    mk_v16 sigmoid;
    const mk_v16 activated = silu16(gate, &sigmoid);
    *dup = dy * activated;
    *dgate = dy * up * (sigmoid + activated * (1.0f - sigmoid));
}

static void swiglu_backward(const float *gate, const float *up, const float *dy, int64_t n, float *dgate, float *dup) {
    mk_v16 dg, du;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        swiglu_backward16(load16(gate + i), load16(up + i), load16(dy + i), &dg, &du);
        store16(dgate + i, dg);
        store16(dup + i, du);
    }
    if (i < n) {
        const int64_t rest = n - i;
        swiglu_backward16(load_part(gate + i, rest, 0), load_part(up + i, rest, 0), load_part(dy + i, rest, 0), &dg,
                          &du);
        store_part(dgate + i, rest, dg);
        store_part(dup + i, rest, du);
    }
}

/// The largest of n values, ignoring NaNs.
static float row_max(const float *x, int64_t n) {
    mk_v16 top = -__builtin_inff();
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const mk_v16 v = load16(x + i);
        top = select16(v > top, v, top);
    }
    if (i < n) {
        const mk_v16 v = load_part(x + i, n - i, -__builtin_inff());
        top = select16(v > top, v, top);
    }
    return max16(top);
}

static int64_t argmax(const float *x, int64_t n) {
    mk_v16 top = -__builtin_inff();
    mk_i16 place = -1;  // of each lane's largest: index / 16
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const mk_v16 v = load16(x + i);
        const mk_i16 above = v > top;
        top = select16(above, v, top);
        place = (above & (int32_t)(i / 16)) | (~above & place);
    }
    int64_t best = 0;
    float largest = -__builtin_inff();
    for (int lane = 0; lane < 16; lane++) {
        const int64_t index = (int64_t)place[lane] * 16 + lane;
        if (place[lane] < 0 || top[lane] < largest || (top[lane] == largest && index > best)) continue;
        largest = top[lane];
        best = index;
    }
    for (; i < n; i++) {
        if (x[i] > largest) largest = x[best = i];
    }
    return best;
}

static float logsumexp(const float *x, int64_t n) {
    const float top = row_max(x, n);
    double total = 0;
    for (int64_t start = 0; start < n; start += STRETCH) {
        const int64_t end = mk_min(start + STRETCH, n);
        mk_v16 sum = 0.0f;
        int64_t i = start;
        for (; i + 16 <= end; i += 16) sum += exp16(load16(x + i) - top);
        if (i < end) sum += exp16(load_part(x + i, end - i, -__builtin_inff()) - top);
        total += sum16(sum);
    }
    return (float)((double)top + log(total));
}

static void softmax_gradient(float *x, int64_t n, float lse, float factor) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) store16(x + i, exp16(load16(x + i) - lse) * factor);
    if (i < n) store_part(x + i, n - i, exp16(load_part(x + i, n - i, 0) - lse) * factor);
}

/// Philox 4x32-10 (Salmon et al. 2011): counter (feature / 4, position, sample, 0), one word for each feature.
static void dropout(const float *x, int64_t n, uint64_t key, uint32_t sample, uint32_t position, uint32_t threshold,
                    float factor, float *y, bool accumulate) {
    for (int64_t start = 0; start < n; start += 64) {
        mk_u16 c0, c1 = position, c2 = sample, c3 = 0;
        for (int i = 0; i < 16; i++) c0[i] = (uint32_t)(start / 4) + (uint32_t)i;
        uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
        for (int round = 0; round < 10; round++) {
            const mk_ul16 a = __builtin_convertvector(c0, mk_ul16) * 0xD2511F53u;
            const mk_ul16 b = __builtin_convertvector(c2, mk_ul16) * 0xCD9E8D57u;
            const mk_u16 next0 = __builtin_convertvector(b >> 32, mk_u16) ^ c1 ^ k0;
            const mk_u16 next2 = __builtin_convertvector(a >> 32, mk_u16) ^ c3 ^ k1;
            c1 = __builtin_convertvector(b, mk_u16);
            c3 = __builtin_convertvector(a, mk_u16);
            c0 = next0;
            c2 = next2;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        uint32_t words[4][16];
        memcpy(words[0], &c0, 64);
        memcpy(words[1], &c1, 64);
        memcpy(words[2], &c2, 64);
        memcpy(words[3], &c3, 64);
        const int64_t count = mk_min(64, n - start);
        for (int64_t i = 0; i < count; i++) {
            const float kept = words[i & 3][i >> 2] >= threshold ? x[start + i] * factor : 0;
            y[start + i] = accumulate ? y[start + i] + kept : kept;
        }
    }
}

static void to_bf16(const float *x, int64_t n, uint16_t *y) {
    for (int64_t i = 0; i < n; i++) y[i] = mk_float_to_bfloat(x[i]);
}

static void from_bf16(const uint16_t *x, int64_t n, float *y) {
    for (int64_t i = 0; i < n; i++) y[i] = mk_bfloat_to_float(x[i]);
}

#endif
