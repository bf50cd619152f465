/// Merging and pruning of weights (a family of CKernels.h).
#ifndef MERASER_MK_MERGE_H
#define MERASER_MK_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Arithmetic on weights as PyTorch does it on a CPU: numbers are fp32 that `type` (f32, f16 or bf16) can hold, each
// operation is done in fp32 and its result rounded to nearest even to `type`. Single-threaded: callers share pieces of
// a tensor out. Sums have the order of torch's on one thread of an x86 CPU.

/// x = x rounded to `type`.
void mk_merge_round(int32_t type, float *x, int64_t n);
/// x = x * factor.
void mk_merge_scale(int32_t type, float factor, float *x, int64_t n);
/// Each row of x [rows, cols] is scaled to the length that `lengths` has for it. Its own is summed in double and
/// rounded to fp32; of a row of zeros nothing finite is made.
void mk_merge_set_row_lengths(float *x, int64_t rows, int64_t cols, const float *lengths);
/// x = x - base.
void mk_merge_subtract(int32_t type, const float *base, float *x, int64_t n);
/// out = a * x + b * y, rounded to `type` at the end only.
void mk_merge_blend(int32_t type, float a, const float *x, float b, const float *y, int64_t n, float *out);
/// out = (sum_m weights[m] * x[m]) / divisor over `count` models, rounded to `type` at the end only.
void mk_merge_linear(int32_t type, const float *const *x, const float *weights, int64_t count, float divisor, int64_t n,
                     float *out);

/// How differences from a base are added to it.
typedef struct mk_merge_tasks {
    int64_t count;         ///< models without the base
    const float *weights;  ///< one a model, rounded to the type
    float lambda;          ///< on the sum
    bool elects_sign;      ///< TIES: only differences with the sign of their sum (0 counts as positive) are added
    bool normalizes;       ///< divides by the weights that were added, or by `divisor` without an election
    float divisor;         ///< sum of the weights
} mk_merge_tasks;
/// out = base + lambda * mix of weights[m] * deltas[m]; the deltas are overwritten.
void mk_merge_combine(int32_t type, const mk_merge_tasks *tasks, const float *base, float *const *deltas, int64_t n,
                      float *out);

/// Adds to counts[65536]: how many x have those upper 16 bits of |x|; with `upper` >= 0, of the x that have these upper
/// bits how many have those lower 16 bits.
void mk_merge_count(const float *x, int64_t n, int32_t upper, uint64_t *counts);
/// How many |x| have exactly these bits.
int64_t mk_merge_count_equal(const float *x, int64_t n, uint32_t threshold);
/// Zeroes the x whose |x| has bits below the threshold, and those equal to it after the first `equal` of them.
void mk_merge_trim(float *x, int64_t n, uint32_t threshold, int64_t equal);
/// Zeroes the x whose magnitude is below `low` or above `high`, of those equal to `low` the first `skipped`, of those
/// equal to `high` all but the first `equal`.
void mk_merge_band(float *x, int64_t n, uint32_t low, int64_t skipped, uint32_t high, int64_t equal);
/// Zeroes x[i] unless a 53-bit hash of (key, first + i) is below `keep`.
void mk_merge_drop(uint64_t key, uint64_t keep, int64_t first, int64_t n, float *x);

/// How DELLA thins the rows of a difference.
typedef struct mk_ranked_drop {
    uint64_t key;   ///< of the random numbers
    float epsilon;  ///< the largest magnitude of a row stays with the share density + epsilon
    float lowest;   ///< density - epsilon, subtracted in double: the share of the smallest
} mk_ranked_drop;
/// Zeroes x[i] of each row [cols] with a probability that falls with the rank of |x[i]| in it, of equal ones the first
/// ranks lowest; `type` rounds ranks and probabilities, `first` is the place of x[0] in the tensor. `scratch` has
/// room for 4 * cols numbers.
void mk_merge_drop_ranked(int32_t type, const mk_ranked_drop *drop, int64_t first, int64_t rows, int64_t cols,
                          uint32_t *scratch, float *x);

/// Square root of the sum of squares, as torch.linalg.vector_norm.
float mk_merge_norm(const float *x, int64_t n);
/// The same of a tensor that is read in pieces.
typedef struct mk_norm_sum {
    float lane[8];
} mk_norm_sum;
/// Adds n numbers, a multiple of 8.
void mk_norm_add(mk_norm_sum *sum, const float *x, int64_t n);
/// The norm with the last n numbers, fewer than 8.
float mk_norm_finish(const mk_norm_sum *sum, const float *rest, int64_t n);
/// Sum of (x / x_norm) * (y / y_norm), as torch.sum.
float mk_merge_unit_dot(const float *x, float x_norm, const float *y, float y_norm, int64_t n);

enum { MK_CASCADE_WIDTH = 32 };
/// torch.sum's partial sums: every 2^power rows of 32 numbers a level is added to the next and cleared.
typedef struct mk_cascade {
    float level[4][MK_CASCADE_WIDTH];
    int64_t rows;  ///< added so far
    int32_t power;
} mk_cascade;
/// The power for a sum of n numbers; `pairs` for 16-bit types, whose rows have 64.
int32_t mk_cascade_power(int64_t n, bool pairs);
/// Adds rows of |x|.
void mk_cascade_absolute(mk_cascade *sum, const float *x, int64_t rows, bool pairs);
/// Adds rows of x.
void mk_cascade_add(mk_cascade *sum, const float *x, int64_t rows, bool pairs);
/// Adds a sum that was begun at zero, 2^(3 power) rows after `sum` or a multiple of that.
void mk_cascade_append(mk_cascade *sum, const mk_cascade *next);
/// The total with the last n numbers, fewer than a row, as they are added; of a sum without rows they are all there is.
float mk_cascade_finish(const mk_cascade *sum, const float *rest, int64_t n, bool pairs);
/// Sum of n numbers.
float mk_cascade_sum(const float *x, int64_t n, bool pairs);

/// torch.sum over the rows of a matrix, in the order it has for each column.
typedef struct mk_column_sums {
    float *levels;  ///< 16 * cols numbers, 0 at first
    int64_t cols;
    int64_t total_rows;  ///< of the matrix
    int64_t rows;        ///< added so far
    bool pairs;          ///< 16-bit numbers
} mk_column_sums;
/// Adds the next rows.
void mk_column_sums_add(mk_column_sums *sums, const float *x, int64_t rows);
/// out[c] = the sum of column c; the memory of the sums is used up.
void mk_column_sums_finish(const mk_column_sums *sums, float *out);

/// x = x * y.
void mk_merge_multiply(int32_t type, float *x, const float *y, int64_t n);
/// x[i] = x[i] / divisors[i * stride], stride 0 or 1.
void mk_merge_divide(int32_t type, float *x, const float *divisors, int64_t stride, int64_t n);
/// sums[i] += x[i] * x[i], rounded to fp32.
void mk_merge_add_squares(float *sums, const float *x, int64_t n);
/// out = (sum_m x[m]) / count.
void mk_merge_average(int32_t type, const float *const *x, int64_t count, int64_t n, float *out);
/// out = t * out + (1 - t) * base; t is of the type.
void mk_merge_toward(int32_t type, float t, const float *base, int64_t n, float *out);

/// Factors of an arc between two vectors.
typedef struct mk_arc {
    float near;  ///< of the first
    float far;   ///< of the second
    float sine;  ///< what their sum is divided by; 0: nothing, they mix straight
} mk_arc;
/// out = (near * x + far * y) / sine, with the arc of each number if stride is 1, else one for all.
void mk_merge_arc(int32_t type, const mk_arc *arcs, int64_t stride, const float *x, const float *y, int64_t n,
                  float *out);

/// One step of the mean on a sphere.
typedef struct mk_sphere_step {
    const float *dots;     ///< of the mean with each unit vector
    const float *factors;  ///< of each tangent; 0: it is left out
    float norm;            ///< of their sum
    float cosine, sine;    ///< of that
    float length;          ///< of the mean behind the step, which it is divided by; 0: it is not
} mk_sphere_step;
/// out = sum_m factors[m] * (x[m] - dots[m] * mean).
void mk_sphere_tangent(int32_t type, const mk_sphere_step *step, const float *const *x, const float *mean,
                       int64_t count, int64_t n, float *out);
/// mean = (cosine * mean + sine * (tangent / norm)) / length.
void mk_sphere_move(int32_t type, const mk_sphere_step *step, const float *tangent, int64_t n, float *mean);
/// out = sum_m weight * x[m], rounded at every step.
void mk_sphere_begin(int32_t type, float weight, const float *const *x, int64_t count, int64_t n, float *out);
/// Sum of x * y in double.
double mk_merge_dot(const float *x, const float *y, int64_t n);

/// out[i][j] = the product of rows i and j of x [rows, cols], in double.
void mk_row_products(const float *x, int64_t rows, int64_t cols, double *out);
/// Eigenvalues of a symmetric matrix a [n, n], in no order, and the eigenvector of each, a row [n] of `vectors`; `a` is
/// used up. False: no memory, or no convergence.
bool mk_symmetric_eigen(int64_t n, double *a, double *values, double *vectors);
/// out[k] = vectors[k] x, for `count` vectors [rows] and x [rows, cols].
void mk_project(const double *vectors, int64_t count, const float *x, int64_t rows, int64_t cols, double *out);

/// Adds sum_c v[r][c] to row_sums[r] and sum_r v[r][c] to col_sums[c], v being |x| or x^2; in double, in order.
void mk_prune_sums(const float *x, int64_t rows, int64_t cols, bool squares, double *row_sums, double *col_sums);
/// Adds sum_r x[r][c] * y[r][c] to sums[c], in double, in order.
void mk_column_products(const float *x, const float *y, int64_t rows, int64_t cols, double *sums);
/// out[r][i] = x[r][kept[i]].
void mk_prune_columns(const float *x, int64_t rows, int64_t cols, const int64_t *kept, int64_t count, float *out);

/// A weight's score, and its column.
typedef struct {
    float score;
    int32_t column;
} mk_scored;

/// Zeroes in each row the `dropped` weights with the lowest abs(x) * norms[column], of equal ones those of the lower
/// columns first; `scratch` has room for a row.
void mk_wanda_rows(float *x, int64_t rows, int64_t cols, const float *norms, int64_t dropped, mk_scored *scratch);

#endif
