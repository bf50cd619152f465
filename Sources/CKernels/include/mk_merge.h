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

/// Square root of the sum of squares, as torch.linalg.vector_norm.
float mk_merge_norm(const float *x, int64_t n);
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
/// Adds a sum that was begun at zero, 2^(3 power) rows after `sum` or a multiple of that.
void mk_cascade_append(mk_cascade *sum, const mk_cascade *next);
/// The total with the last n numbers, fewer than a row; of a sum without rows they are all there is.
float mk_cascade_finish(const mk_cascade *sum, const float *rest, int64_t n, bool pairs);

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
