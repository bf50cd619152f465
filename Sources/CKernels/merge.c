/// Weight-space merging: elementwise arithmetic and sums with the roundings, and in the order, of PyTorch on a CPU, so
/// that a merge has the bits that mergekit gives. What is fused or reassociated would not: hence no contraction here.
#include "merge.h"

#include <math.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

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

/// Sorts the places 0 to n - 1 by the magnitudes of x upwards, of equal ones the first one first; `scratch` has room
/// for 4 n numbers, and what is returned lies in it. A byte at a time, the lowest first.
static const uint32_t *sorted_places(const float *x, int64_t n, uint32_t *scratch) {
    uint32_t *keys = scratch, *places = scratch + n, *next_keys = scratch + 2 * n, *next_places = scratch + 3 * n;
    for (int64_t i = 0; i < n; i++) {
        keys[i] = magnitude_bits(x[i]);
        places[i] = (uint32_t)i;
    }
    for (int shift = 0; shift < 32; shift += 8) {
        int64_t starts[257] = {0};
        for (int64_t i = 0; i < n; i++) starts[(keys[i] >> shift & 0xff) + 1]++;
        if (starts[(keys[0] >> shift & 0xff) + 1] == n) continue;
        for (int b = 1; b < 257; b++) starts[b] += starts[b - 1];
        for (int64_t i = 0; i < n; i++) {
            const int64_t place = starts[keys[i] >> shift & 0xff]++;
            next_keys[place] = keys[i];
            next_places[place] = places[i];
        }
        uint32_t *swap = keys;
        keys = next_keys;
        next_keys = swap;
        swap = places;
        places = next_places;
        next_places = swap;
    }
    return places;
}

INLINE void drop_ranked_all(int32_t type, const mk_ranked_drop *drop, int64_t first, int64_t rows, int64_t cols,
                            uint32_t *scratch, float *x) {
    // Ranks are of the type, so in 16 bits many of them are the same.
    const float lowest = round_to(type, drop->lowest);
    const float span = round_to(type, round_to(type, round_to(type, (float)(cols - 1)) + 1) - 1);
    for (int64_t r = 0; r < rows; r++, x += cols, first += cols) {
        const uint32_t *places = sorted_places(x, cols, scratch);
        for (int64_t rank = 0; rank < cols; rank++) {
            const int64_t i = places[rank];
            const float above = round_to(type, round_to(type, round_to(type, (float)rank) + 1) - 1);
            const float share = round_to(type, above / span);
            const float more = round_to(type, round_to(type, share * 2) * drop->epsilon);
            const double keep = (double)round_to(type, lowest + more) * 0x1p53;
            const uint64_t bits = mixed64(drop->key + (uint64_t)(first + i + 1) * 0x9e3779b97f4a7c15u) >> 11;
            x[i] *= bits < (uint64_t)keep ? 1.0f : 0.0f;
        }
    }
}

void mk_merge_drop_ranked(int32_t type, const mk_ranked_drop *drop, int64_t first, int64_t rows, int64_t cols,
                          uint32_t *scratch, float *x) {
    BY_TYPE(drop_ranked_all(T, drop, first, rows, cols, scratch, x));
}
