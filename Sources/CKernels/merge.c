/// Weight-space merging: elementwise arithmetic and sums with the roundings, and in the order, of PyTorch on a CPU, so
/// that a merge has the bits that mergekit gives. What is fused or reassociated would not: hence no contraction here.
#include <assert.h>
#include <math.h>
#include <string.h>

#include "half.h"
#include "isa.h"

#pragma STDC FP_CONTRACT OFF

#define INLINE static inline __attribute__((always_inline))

/// x rounded to nearest even to what f16 holds; branch-free, so that loops over it vectorise.
INLINE float round_f16(float x) {
    const uint32_t bits = mk_float_to_bits(x), sign = bits & 0x80000000u, magnitude = bits & 0x7fffffffu;
    const uint32_t normal = (magnitude + 0xfff + ((magnitude >> 13) & 1)) & ~0x1fffu;
    // Adding 0.5 makes the fp32 adder round to multiples of 2^-24, the subnormal step.
    const uint32_t small = mk_float_to_bits((mk_bits_to_float(magnitude) + 0.5f) - 0.5f);
    uint32_t rounded = magnitude < 0x38800000u ? small : normal;
    rounded = magnitude >= 0x477ff000u ? 0x7f800000u : rounded;
    rounded = magnitude > 0x7f800000u ? 0x7fc00000u : rounded;
    return mk_bits_to_float(sign | rounded);
}

INLINE float round_bf16(float x) {
    const uint32_t bits = mk_float_to_bits(x), rounded = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
    return mk_bits_to_float((bits & 0x7fffffffu) > 0x7f800000u ? bits : rounded);
}

INLINE float round_to(int32_t type, float x) {
    return type == MK_BF16 ? round_bf16(x) : type == MK_F16 ? round_f16(x) : x;
}

/// Runs `call` with T as the type, a constant, so that each type gets a loop of its own.
#define BY_TYPE(call)             \
    switch (type) {               \
        case MK_BF16: {           \
            enum { T = MK_BF16 }; \
            call;                 \
            break;                \
        }                         \
        case MK_F16: {            \
            enum { T = MK_F16 };  \
            call;                 \
            break;                \
        }                         \
        default: {                \
            enum { T = MK_F32 };  \
            call;                 \
        }                         \
    }

// ---------------------------------------------------------------------------------------------- elementwise

INLINE void round_all(int32_t type, float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = round_to(type, x[i]);
}

void mk_merge_round(int32_t type, float *x, int64_t n) {
    if (type == MK_F32) return;
    BY_TYPE(round_all(T, x, n));
}

INLINE void scale_all(int32_t type, float factor, float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = round_to(type, x[i] * factor);
}

void mk_merge_scale(int32_t type, float factor, float *x, int64_t n) {
    BY_TYPE(scale_all(T, factor, x, n));
}

INLINE void subtract_all(int32_t type, const float *base, float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = round_to(type, x[i] - base[i]);
}

void mk_merge_set_row_lengths(float *x, int64_t rows, int64_t cols, const float *lengths) {
    for (int64_t r = 0; r < rows; r++, x += cols) {
        double sum = 0;
        for (int64_t c = 0; c < cols; c++) sum += (double)x[c] * (double)x[c];
        const float factor = lengths[r] / (float)sqrt(sum);
        for (int64_t c = 0; c < cols; c++) x[c] *= factor;
    }
}

void mk_merge_subtract(int32_t type, const float *base, float *x, int64_t n) {
    BY_TYPE(subtract_all(T, base, x, n));
}

INLINE void blend_all(int32_t type, float a, const float *x, float b, const float *y, int64_t n, float *out) {
    for (int64_t i = 0; i < n; i++) out[i] = round_to(type, a * x[i] + b * y[i]);
}

void mk_merge_blend(int32_t type, float a, const float *x, float b, const float *y, int64_t n, float *out) {
    BY_TYPE(blend_all(T, a, x, b, y, n, out));
}

/// Elements that stay in the first-level cache while all models pass over them.
enum { STRETCH = 1024 };

INLINE void linear_all(int32_t type, const float *const *x, const float *weights, int64_t count, float divisor,
                       int64_t n, float *out) {
    for (int64_t start = 0; start < n; start += STRETCH) {
        const int64_t length = mk_min(STRETCH, n - start);
        float sum[STRETCH] = {0};
        for (int64_t m = 0; m < count; m++) {
            const float *row = x[m] + start, w = weights[m];
            // torch's addcmul is fused, alone among these.
            for (int64_t i = 0; i < length; i++) sum[i] = __builtin_fmaf(row[i], w, sum[i]);
        }
        for (int64_t i = 0; i < length; i++) out[start + i] = round_to(type, sum[i] / divisor);
    }
}

static void linear_portable(int32_t type, const float *const *x, const float *weights, int64_t count, float divisor,
                            int64_t n, float *out) {
    BY_TYPE(linear_all(T, x, weights, count, divisor, n, out));
}

#if defined __x86_64__
/// The same with the fused multiply-add that every path but the portable one has; else it is a call for each number.
__attribute__((target("avx2,fma"))) static void linear_avx2(int32_t type, const float *const *x, const float *weights,
                                                            int64_t count, float divisor, int64_t n, float *out) {
    BY_TYPE(linear_all(T, x, weights, count, divisor, n, out));
}
#endif

void mk_merge_linear(int32_t type, const float *const *x, const float *weights, int64_t count, float divisor, int64_t n,
                     float *out) {
#if defined __x86_64__
    if (strcmp(mk_isa_name(mk_isa_find(NULL)), "portable") != 0) {
        linear_avx2(type, x, weights, count, divisor, n, out);
        return;
    }
#endif
    linear_portable(type, x, weights, count, divisor, n, out);
}

/// Sums over the models as torch's sum over the first dimension adds them: sixteen at a time.
typedef struct column_sum {
    float group[STRETCH];
    float total[STRETCH];
} column_sum;

INLINE void fold(column_sum *sum, int64_t length) {
    for (int64_t i = 0; i < length; i++) {
        sum->total[i] += sum->group[i];
        sum->group[i] = 0;
    }
}

/// Σ d over the models with those signs (all of them without `signs`), and the same of the weights where `weight_sum`.
INLINE void sum_models(const mk_merge_tasks *tasks, float *const *deltas, int64_t start, int64_t length,
                       const float *elected, column_sum *sum, column_sum *weight_sum) {
    memset(sum, 0, sizeof *sum);
    if (weight_sum != NULL) memset(weight_sum, 0, sizeof *weight_sum);
    for (int64_t m = 0; m < tasks->count; m++) {
        const float *d = deltas[m] + start, w = tasks->weights[m];
        if (elected == NULL) {
            for (int64_t i = 0; i < length; i++) sum->group[i] += d[i];
        } else {
            for (int64_t i = 0; i < length; i++) {
                const int agrees = d[i] * elected[i] > 0;
                sum->group[i] += agrees ? d[i] : 0;
                weight_sum->group[i] += agrees ? w : 0;
            }
        }
        if (m % 16 == 15) {
            fold(sum, length);
            if (weight_sum != NULL) fold(weight_sum, length);
        }
    }
    fold(sum, length);
    if (weight_sum != NULL) fold(weight_sum, length);
}

INLINE void combine_all(int32_t type, const mk_merge_tasks *tasks, const float *base, float *const *deltas, int64_t n,
                        float *out) {
    for (int64_t m = 0; m < tasks->count; m++) scale_all(type, tasks->weights[m], deltas[m], n);
    column_sum sum, divisor;
    float elected[STRETCH];
    for (int64_t start = 0; start < n; start += STRETCH) {
        const int64_t length = mk_min(STRETCH, n - start);
        sum_models(tasks, deltas, start, length, NULL, &sum, NULL);
        if (tasks->elects_sign) {
            // A huge factor keeps the product with a subnormal difference from vanishing.
            for (int64_t i = 0; i < length; i++) elected[i] = round_to(type, sum.total[i]) >= 0 ? 0x1p100f : -0x1p100f;
            sum_models(tasks, deltas, start, length, elected, &sum, &divisor);
            for (int64_t i = 0; i < length; i++) {
                const float d = round_to(type, divisor.total[i]);
                divisor.total[i] = d == 0 ? 1 : d;
            }
        } else {
            for (int64_t i = 0; i < length; i++) divisor.total[i] = tasks->divisor;
        }
        for (int64_t i = 0; i < length; i++) {
            float mixed = round_to(type, sum.total[i]);
            if (tasks->normalizes) mixed = round_to(type, mixed / divisor.total[i]);
            mixed = round_to(type, mixed * tasks->lambda);
            out[start + i] = round_to(type, base[start + i] + mixed);
        }
    }
}

void mk_merge_combine(int32_t type, const mk_merge_tasks *tasks, const float *base, float *const *deltas, int64_t n,
                      float *out) {
    BY_TYPE(combine_all(T, tasks, base, deltas, n, out));
}

// ---------------------------------------------------------------------------------------------- sparsifying

INLINE uint32_t magnitude_bits(float x) {
    return mk_float_to_bits(x) & 0x7fffffffu;
}

void mk_merge_count(const float *x, int64_t n, int32_t upper, uint64_t *counts) {
    if (upper < 0) {
        for (int64_t i = 0; i < n; i++) counts[magnitude_bits(x[i]) >> 16]++;
    } else {
        for (int64_t i = 0; i < n; i++) {
            const uint32_t bits = magnitude_bits(x[i]);
            if (bits >> 16 == (uint32_t)upper) counts[bits & 0xffff]++;
        }
    }
}

int64_t mk_merge_count_equal(const float *x, int64_t n, uint32_t threshold) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += magnitude_bits(x[i]) == threshold;
    return count;
}

void mk_merge_trim(float *x, int64_t n, uint32_t threshold, int64_t equal) {
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = magnitude_bits(x[i]);
        const int keep = bits > threshold || (bits == threshold && equal > 0);
        equal -= bits == threshold;
        x[i] *= keep ? 1.0f : 0.0f;
    }
}

void mk_merge_band(float *x, int64_t n, uint32_t low, int64_t skipped, uint32_t high, int64_t equal) {
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = magnitude_bits(x[i]);
        const int above = bits > low || (bits == low && skipped <= 0);
        const int below = bits < high || (bits == high && equal > 0);
        skipped -= bits == low;
        equal -= bits == high;
        x[i] *= above && below ? 1.0f : 0.0f;
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
INLINE uint64_t mixed64(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void mk_merge_drop(uint64_t key, uint64_t keep, int64_t first, int64_t n, float *x) {
    for (int64_t i = 0; i < n; i++) {
        const uint64_t bits = mixed64(key + (uint64_t)(first + i + 1) * 0x9e3779b97f4a7c15u) >> 11;
        x[i] *= bits < keep ? 1.0f : 0.0f;
    }
}

// ---------------------------------------------------------------------------------------------- sums

/// Lanes of the vectors that torch reduces with, on AVX2 and AVX-512 alike.
enum { LANES = 8, COLUMNS = 4 };
_Static_assert(LANES *COLUMNS == MK_CASCADE_WIDTH, "a row of the cascade");

/// torch's sum of fewer numbers than a vector holds: four sums side by side, the rest to the first.
static float small_sum(const float *x, int64_t n) {
    float sum[COLUMNS] = {0};
    const int64_t whole = n - n % COLUMNS;
    for (int64_t i = 0; i < whole; i++) sum[i % COLUMNS] += x[i];
    for (int64_t i = whole; i < n; i++) sum[0] += x[i];
    for (int k = 1; k < COLUMNS; k++) sum[0] += sum[k];
    return sum[0];
}

float mk_merge_norm(const float *x, int64_t n) {
    float lane[LANES] = {0};
    const int64_t whole = n - n % LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        for (int j = 0; j < LANES; j++) lane[j] += x[i + j] * x[i + j];
    }
    float sum = lane[0];
    for (int j = 1; j < LANES; j++) sum += lane[j];
    // What is left over torch's compiler multiplies by fours, and fuses the last one to three with the sum.
    const int64_t fours = n - n % 4;
    for (int64_t i = whole; i < fours; i++) sum += x[i] * x[i];
    for (int64_t i = fours; i < n; i++) sum = __builtin_fmaf(x[i], x[i], sum);
    return sqrtf(sum);
}

int32_t mk_cascade_power(int64_t n, bool pairs) {
    const int64_t rows = n / (MK_CASCADE_WIDTH * (pairs ? 2 : 1));
    int32_t bits = 0;
    while (bits < 62 && (INT64_C(1) << bits) < rows) bits++;
    return bits / 4 > 4 ? bits / 4 : 4;
}

void mk_cascade_absolute(mk_cascade *sum, const float *x, int64_t rows, bool pairs) {
    for (int64_t r = 0; r < rows; r++) {
        float *level = sum->level[0];
        if (pairs) {
            for (int k = 0; k < COLUMNS; k++, x += 2 * LANES) {
                for (int j = 0; j < LANES; j++) level[LANES * k + j] += fabsf(x[j]) + fabsf(x[LANES + j]);
            }
        } else {
            for (int j = 0; j < MK_CASCADE_WIDTH; j++) level[j] += fabsf(x[j]);
            x += MK_CASCADE_WIDTH;
        }
        sum->rows++;
        const int64_t step = INT64_C(1) << sum->power;
        for (int l = 1; l < 4; l++) {
            if (sum->rows & ((step - 1) << ((l - 1) * sum->power))) break;
            for (int j = 0; j < MK_CASCADE_WIDTH; j++) {
                sum->level[l][j] += sum->level[l - 1][j];
                sum->level[l - 1][j] = 0;
            }
        }
    }
}

void mk_cascade_append(mk_cascade *sum, const mk_cascade *next) {
    for (int j = 0; j < MK_CASCADE_WIDTH; j++) sum->level[3][j] += next->level[3][j];
    memcpy(sum->level[0], next->level[0], sizeof sum->level[0] * 3);
    sum->rows += next->rows;
}

float mk_cascade_finish(const mk_cascade *sum, const float *rest, int64_t n, bool pairs) {
    const int64_t vector = LANES * (pairs ? 2 : 1);
    if (sum->rows == 0 && n < vector) {
        float small[2 * LANES];
        for (int64_t i = 0; i < n; i++) small[i] = fabsf(rest[i]);
        return small_sum(small, n);
    }
    float row[MK_CASCADE_WIDTH];
    memcpy(row, sum->level[0], sizeof row);
    for (int l = 1; l < 4; l++) {
        for (int j = 0; j < MK_CASCADE_WIDTH; j++) row[j] += sum->level[l][j];
    }
    for (; n >= vector; n -= vector, rest += vector) {
        for (int j = 0; j < LANES; j++) row[j] += pairs ? fabsf(rest[j]) + fabsf(rest[LANES + j]) : fabsf(rest[j]);
    }
    for (int k = 1; k < COLUMNS; k++) {
        for (int j = 0; j < LANES; j++) row[j] += row[LANES * k + j];
    }
    float total = 0;
    for (int64_t i = 0; i < n; i++) total += fabsf(rest[i]);
    for (int j = 0; j < LANES; j++) total += row[j];
    return total;
}

float mk_merge_unit_dot(const float *x, float x_norm, const float *y, float y_norm, int64_t n) {
    if (n < LANES) {
        float small[LANES];
        for (int64_t i = 0; i < n; i++) small[i] = (x[i] / x_norm) * (y[i] / y_norm);
        return small_sum(small, n);
    }
    // Products of either sign: the cascade's plain form, a row at a time.
    float level[4][MK_CASCADE_WIDTH] = {{0}};
    const int32_t power = mk_cascade_power(n, false);
    const int64_t step = INT64_C(1) << power, rows = n / MK_CASCADE_WIDTH;
    for (int64_t r = 1; r <= rows; r++, x += MK_CASCADE_WIDTH, y += MK_CASCADE_WIDTH) {
        for (int j = 0; j < MK_CASCADE_WIDTH; j++) level[0][j] += (x[j] / x_norm) * (y[j] / y_norm);
        for (int l = 1; l < 4; l++) {
            if (r & ((step - 1) << ((l - 1) * power))) break;
            for (int j = 0; j < MK_CASCADE_WIDTH; j++) {
                level[l][j] += level[l - 1][j];
                level[l - 1][j] = 0;
            }
        }
    }
    float *row = level[0];
    for (int l = 1; l < 4; l++) {
        for (int j = 0; j < MK_CASCADE_WIDTH; j++) row[j] += level[l][j];
    }
    int64_t rest = n - rows * MK_CASCADE_WIDTH;
    for (; rest >= LANES; rest -= LANES, x += LANES, y += LANES) {
        for (int j = 0; j < LANES; j++) row[j] += (x[j] / x_norm) * (y[j] / y_norm);
    }
    for (int k = 1; k < COLUMNS; k++) {
        for (int j = 0; j < LANES; j++) row[j] += row[LANES * k + j];
    }
    float total = 0;
    for (int64_t i = 0; i < rest; i++) total += (x[i] / x_norm) * (y[i] / y_norm);
    for (int j = 0; j < LANES; j++) total += row[j];
    return total;
}
