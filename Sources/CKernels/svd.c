/// Singular values and vectors in double precision, by way of the eigenvalues of x x^T: what is lost of singular values
/// below 1e-8 of the largest is below what fp32 weights hold of them.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "CKernels.h"

enum { LANES = 8 };

static double dot(const double *x, const double *y, int64_t n) {
    double lane[LANES] = {0}, sum = 0;
    const int64_t whole = n - n % LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        for (int j = 0; j < LANES; j++) lane[j] += x[i + j] * y[i + j];
    }
    for (int j = 0; j < LANES; j++) sum += lane[j];
    for (int64_t i = whole; i < n; i++) sum += x[i] * y[i];
    return sum;
}

static double dot_float(const float *x, const float *y, int64_t n) {
    double lane[LANES] = {0}, sum = 0;
    const int64_t whole = n - n % LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        for (int j = 0; j < LANES; j++) lane[j] += (double)x[i + j] * (double)y[i + j];
    }
    for (int j = 0; j < LANES; j++) sum += lane[j];
    for (int64_t i = whole; i < n; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

void mk_row_products(const float *x, int64_t rows, int64_t cols, double *out) {
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j <= i; j++) {
            out[i * rows + j] = out[j * rows + i] = dot_float(x + i * cols, x + j * cols, cols);
        }
    }
}

void mk_project(const double *vectors, int64_t count, const float *x, int64_t rows, int64_t cols, double *out) {
    memset(out, 0, (size_t)(count * cols) * sizeof *out);
    for (int64_t k = 0; k < count; k++) {
        double *line = out + k * cols;
        for (int64_t r = 0; r < rows; r++) {
            const double factor = vectors[k * rows + r];
            for (int64_t c = 0; c < cols; c++) line[c] += factor * (double)x[r * cols + c];
        }
    }
}

/// Householder's reduction of a symmetric matrix to a tridiagonal one: H_k = I - beta_k v_k v_k^T from k = 0 on, where
/// v_k begins at k + 1 and is left in row k of `a`.
static void tridiagonalize(int64_t n, double *a, double *diagonal, double *beside, double *beta, double *work) {
    for (int64_t k = 0; k < n; k++) {
        diagonal[k] = a[k * n + k];
        beta[k] = 0;
        if (k + 1 == n) break;
        double *v = a + k * n + k + 1;
        const int64_t m = n - k - 1;
        const double length = sqrt(dot(v, v, m)), rest = m > 1 ? dot(v + 1, v + 1, m - 1) : 0;
        if (rest == 0) {
            beside[k] = v[0];
            continue;
        }
        beside[k] = v[0] > 0 ? -length : length;
        v[0] -= beside[k];
        beta[k] = 2 / (v[0] * v[0] + rest);
        // w = beta (A v - beta/2 (v^T A v) v) of what is left of the matrix, and A - v w^T - w v^T.
        for (int64_t i = 0; i < m; i++) work[i] = beta[k] * dot(a + (k + 1 + i) * n + k + 1, v, m);
        const double half = beta[k] / 2 * dot(work, v, m);
        for (int64_t i = 0; i < m; i++) work[i] -= half * v[i];
        for (int64_t i = 0; i < m; i++) {
            double *row = a + (k + 1 + i) * n + k + 1;
            const double x = v[i], y = work[i];
            for (int64_t j = 0; j < m; j++) row[j] -= x * work[j] + y * v[j];
        }
    }
}

/// The QL algorithm with implicit shifts (Wilkinson and Reinsch 1971) on a tridiagonal matrix; rows of `vectors` are
/// turned with it. False: more than 60 steps for one value.
static bool diagonalize(int64_t n, double *diagonal, double *beside, double *vectors) {
    for (int64_t l = 0; l < n; l++) {
        for (int steps = 0;; steps++) {
            int64_t m = l;
            while (m + 1 < n) {
                const double size = fabs(diagonal[m]) + fabs(diagonal[m + 1]);
                if (size + fabs(beside[m]) == size) break;
                m++;
            }
            if (m == l) break;
            if (steps == 60) return false;
            double g = (diagonal[l + 1] - diagonal[l]) / (2 * beside[l]), r = hypot(g, 1);
            g = diagonal[m] - diagonal[l] + beside[l] / (g + copysign(r, g));
            double sine = 1, cosine = 1, shift = 0;
            int64_t i = m - 1;
            for (; i >= l; i--) {
                const double f = sine * beside[i], b = cosine * beside[i];
                r = hypot(f, g);
                beside[i + 1] = r;
                if (r == 0) {
                    diagonal[i + 1] -= shift;
                    beside[m] = 0;
                    break;
                }
                sine = f / r;
                cosine = g / r;
                g = diagonal[i + 1] - shift;
                r = (diagonal[i] - g) * sine + 2 * cosine * b;
                shift = sine * r;
                diagonal[i + 1] = g + shift;
                g = cosine * r - b;
                double *upper = vectors + i * n, *lower = vectors + (i + 1) * n;
                for (int64_t k = 0; k < n; k++) {
                    const double x = upper[k], y = lower[k];
                    lower[k] = sine * x + cosine * y;
                    upper[k] = cosine * x - sine * y;
                }
            }
            if (i >= l) continue;
            diagonal[l] -= shift;
            beside[l] = g;
            beside[m] = 0;
        }
    }
    return true;
}

bool mk_symmetric_eigen(int64_t n, double *a, double *values, double *vectors) {
    // One number more in `beside`: the algorithm clears the place behind the last.
    double *beside = calloc((size_t)(3 * n + 1), sizeof *beside);
    if (beside == NULL) return false;
    double *beta = beside + n + 1, *work = beta + n;
    tridiagonalize(n, a, values, beside, beta, work);
    memset(vectors, 0, (size_t)(n * n) * sizeof *vectors);
    for (int64_t i = 0; i < n; i++) vectors[i * n + i] = 1;
    const bool done = diagonalize(n, values, beside, vectors);
    for (int64_t i = 0; done && i < n; i++) {
        double *z = vectors + i * n;
        for (int64_t k = n - 2; k >= 0; k--) {
            if (beta[k] == 0) continue;
            const double *v = a + k * n + k + 1;
            const double factor = beta[k] * dot(v, z + k + 1, n - k - 1);
            for (int64_t j = 0; j < n - k - 1; j++) z[k + 1 + j] -= factor * v[j];
        }
    }
    free(beside);
    return done;
}
