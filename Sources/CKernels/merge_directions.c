/// Merging by directions: interpolation towards an average (Model Stock), on an arc (NuSLERP) and the mean on a sphere
/// (Karcher), operation by operation as PyTorch rounds them. Hence no contraction here.
#include <math.h>

#include "merge.h"

#pragma STDC FP_CONTRACT OFF

INLINE void multiply_all(int32_t type, float *x, const float *y, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = round_to(type, x[i] * y[i]);
}

void mk_merge_multiply(int32_t type, float *x, const float *y, int64_t n) {
    BY_TYPE(multiply_all(T, x, y, n));
}

INLINE void divide_all(int32_t type, float *x, const float *divisors, int64_t stride, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = round_to(type, x[i] / divisors[i * stride]);
}

void mk_merge_divide(int32_t type, float *x, const float *divisors, int64_t stride, int64_t n) {
    BY_TYPE(divide_all(T, x, divisors, stride, n));
}

void mk_merge_add_squares(float *sums, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) sums[i] += x[i] * x[i];
}

double mk_merge_dot(const float *x, const float *y, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

// ---------------------------------------------------------------------------------------------- Model Stock

INLINE void average_all(int32_t type, const float *const *x, int64_t count, int64_t n, float *out) {
    for (int64_t start = 0; start < n; start += STRETCH) {
        const int64_t end = mk_min(n, start + STRETCH);
        for (int64_t i = start; i < end; i++) out[i] = x[0][i];
        for (int64_t m = 1; m < count; m++) {
            for (int64_t i = start; i < end; i++) out[i] = round_to(type, out[i] + x[m][i]);
        }
        for (int64_t i = start; i < end; i++) out[i] = round_to(type, out[i] / (float)count);
    }
}

void mk_merge_average(int32_t type, const float *const *x, int64_t count, int64_t n, float *out) {
    BY_TYPE(average_all(T, x, count, n, out));
}

INLINE void toward_all(int32_t type, float t, const float *base, int64_t n, float *out) {
    const float rest = round_to(type, 1 - t);
    for (int64_t i = 0; i < n; i++) {
        out[i] = round_to(type, round_to(type, t * out[i]) + round_to(type, rest * base[i]));
    }
}

void mk_merge_toward(int32_t type, float t, const float *base, int64_t n, float *out) {
    BY_TYPE(toward_all(T, t, base, n, out));
}

// ---------------------------------------------------------------------------------------------- NuSLERP

INLINE void arc_all(int32_t type, const mk_arc *arcs, int64_t stride, const float *x, const float *y, int64_t n,
                    float *out) {
    for (int64_t i = 0; i < n; i++) {
        const mk_arc arc = arcs[i * stride];
        const float sum = round_to(type, round_to(type, arc.near * x[i]) + round_to(type, arc.far * y[i]));
        out[i] = arc.sine == 0 ? sum : round_to(type, sum / arc.sine);
    }
}

void mk_merge_arc(int32_t type, const mk_arc *arcs, int64_t stride, const float *x, const float *y, int64_t n,
                  float *out) {
    BY_TYPE(arc_all(T, arcs, stride, x, y, n, out));
}

// ---------------------------------------------------------------------------------------------- Karcher

INLINE void begin_all(int32_t type, float weight, const float *const *x, int64_t count, int64_t n, float *out) {
    for (int64_t i = 0; i < n; i++) out[i] = 0;
    for (int64_t m = 0; m < count; m++) {
        for (int64_t i = 0; i < n; i++) out[i] = round_to(type, out[i] + round_to(type, weight * x[m][i]));
    }
}

void mk_sphere_begin(int32_t type, float weight, const float *const *x, int64_t count, int64_t n, float *out) {
    BY_TYPE(begin_all(T, weight, x, count, n, out));
}

INLINE void tangent_all(int32_t type, const mk_sphere_step *step, const float *const *x, const float *mean,
                        int64_t count, int64_t n, float *out) {
    for (int64_t i = 0; i < n; i++) out[i] = 0;
    for (int64_t m = 0; m < count; m++) {
        const float dot = step->dots[m], factor = step->factors[m];
        if (factor == 0) continue;
        for (int64_t i = 0; i < n; i++) {
            const float tangent = round_to(type, x[m][i] - round_to(type, dot * mean[i]));
            out[i] = round_to(type, out[i] + round_to(type, factor * tangent));
        }
    }
}

void mk_sphere_tangent(int32_t type, const mk_sphere_step *step, const float *const *x, const float *mean,
                       int64_t count, int64_t n, float *out) {
    BY_TYPE(tangent_all(T, step, x, mean, count, n, out));
}

INLINE void move_all(int32_t type, const mk_sphere_step *step, const float *tangent, int64_t n, float *mean) {
    for (int64_t i = 0; i < n; i++) {
        const float along = round_to(type, step->sine * round_to(type, tangent[i] / step->norm));
        const float moved = round_to(type, round_to(type, step->cosine * mean[i]) + along);
        mean[i] = step->length == 0 ? moved : round_to(type, moved / step->length);
    }
}

void mk_sphere_move(int32_t type, const mk_sphere_step *step, const float *tangent, int64_t n, float *mean) {
    BY_TYPE(move_all(T, step, tangent, n, mean));
}
