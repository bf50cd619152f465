/// Sums over tensors in the order of PyTorch's on one thread of an x86 CPU, which their bits depend on. What is fused
/// or reassociated would give others: hence no contraction here.
#include <assert.h>
#include <math.h>
#include <string.h>

#include "merge.h"

#pragma STDC FP_CONTRACT OFF

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

void mk_norm_add(mk_norm_sum *sum, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES) {
        for (int j = 0; j < LANES; j++) sum->lane[j] += x[i + j] * x[i + j];
    }
}

float mk_norm_finish(const mk_norm_sum *norm, const float *rest, int64_t n) {
    float sum = norm->lane[0];
    for (int j = 1; j < LANES; j++) sum += norm->lane[j];
    // What is left over torch's compiler multiplies by fours, and fuses the last one to three with the sum.
    const int64_t fours = n - n % 4;
    for (int64_t i = 0; i < fours; i++) sum += rest[i] * rest[i];
    for (int64_t i = fours; i < n; i++) sum = __builtin_fmaf(rest[i], rest[i], sum);
    return sqrtf(sum);
}

float mk_merge_norm(const float *x, int64_t n) {
    mk_norm_sum sum = {{0}};
    const int64_t whole = n - n % LANES;
    mk_norm_add(&sum, x, whole);
    return mk_norm_finish(&sum, x + whole, n - whole);
}

int32_t mk_cascade_power(int64_t n, bool pairs) {
    const int64_t rows = n / (MK_CASCADE_WIDTH * (pairs ? 2 : 1));
    int32_t bits = 0;
    while (bits < 62 && (INT64_C(1) << bits) < rows) bits++;
    return bits / 4 > 4 ? bits / 4 : 4;
}

INLINE float magnitude(bool absolute, float x) {
    return absolute ? fabsf(x) : x;
}

INLINE void add_rows(mk_cascade *sum, const float *x, int64_t rows, bool pairs, bool absolute) {
    for (int64_t r = 0; r < rows; r++) {
        float *level = sum->level[0];
        if (pairs) {
            for (int k = 0; k < COLUMNS; k++, x += 2 * LANES) {
                for (int j = 0; j < LANES; j++) {
                    level[LANES * k + j] += magnitude(absolute, x[j]) + magnitude(absolute, x[LANES + j]);
                }
            }
        } else {
            for (int j = 0; j < MK_CASCADE_WIDTH; j++) level[j] += magnitude(absolute, x[j]);
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

void mk_cascade_absolute(mk_cascade *sum, const float *x, int64_t rows, bool pairs) {
    add_rows(sum, x, rows, pairs, true);
}

void mk_cascade_add(mk_cascade *sum, const float *x, int64_t rows, bool pairs) {
    add_rows(sum, x, rows, pairs, false);
}

void mk_cascade_append(mk_cascade *sum, const mk_cascade *next) {
    for (int j = 0; j < MK_CASCADE_WIDTH; j++) sum->level[3][j] += next->level[3][j];
    memcpy(sum->level[0], next->level[0], sizeof sum->level[0] * 3);
    sum->rows += next->rows;
}

float mk_cascade_finish(const mk_cascade *sum, const float *rest, int64_t n, bool pairs) {
    const int64_t vector = LANES * (pairs ? 2 : 1);
    if (sum->rows == 0 && n < vector) return small_sum(rest, n);
    float row[MK_CASCADE_WIDTH];
    memcpy(row, sum->level[0], sizeof row);
    for (int l = 1; l < 4; l++) {
        for (int j = 0; j < MK_CASCADE_WIDTH; j++) row[j] += sum->level[l][j];
    }
    for (; n >= vector; n -= vector, rest += vector) {
        for (int j = 0; j < LANES; j++) row[j] += pairs ? rest[j] + rest[LANES + j] : rest[j];
    }
    for (int k = 1; k < COLUMNS; k++) {
        for (int j = 0; j < LANES; j++) row[j] += row[LANES * k + j];
    }
    float total = 0;
    for (int64_t i = 0; i < n; i++) total += rest[i];
    for (int j = 0; j < LANES; j++) total += row[j];
    return total;
}

float mk_cascade_sum(const float *x, int64_t n, bool pairs) {
    mk_cascade sum = {.power = mk_cascade_power(n, pairs)};
    const int64_t width = MK_CASCADE_WIDTH * (pairs ? 2 : 1), rows = n / width;
    mk_cascade_add(&sum, x, rows, pairs);
    return mk_cascade_finish(&sum, x + rows * width, n - rows * width, pairs);
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

// ---------------------------------------------------------------------------------------------- columns

/// Where a level of a chain begins in the memory of a sum over columns.
INLINE float *column_level(const mk_column_sums *sums, int64_t chain, int64_t level) {
    return sums->levels + (4 * chain + level) * sums->cols;
}

/// Adds a row to the columns of a chain, of which it is number `row` from 1, and folds what is full.
INLINE void add_column_row(const mk_column_sums *sums, int64_t chain, int32_t power, int64_t row, const float *x,
                           int64_t from, int64_t end) {
    float *first = column_level(sums, chain, 0);
    for (int64_t c = from; c < end; c++) first[c] += x[c];
    const int64_t step = INT64_C(1) << power;
    for (int l = 1; l < 4; l++) {
        if (row & ((step - 1) << ((l - 1) * power))) break;
        float *above = column_level(sums, chain, l), *below = column_level(sums, chain, l - 1);
        for (int64_t c = from; c < end; c++) {
            above[c] += below[c];
            below[c] = 0;
        }
    }
}

/// The levels of a chain added up into its first.
INLINE void fold_columns(const mk_column_sums *sums, int64_t chain, int64_t from, int64_t end) {
    float *first = column_level(sums, chain, 0);
    for (int l = 1; l < 4; l++) {
        float *level = column_level(sums, chain, l);
        for (int64_t c = from; c < end; c++) {
            first[c] += level[c];
            level[c] = 0;
        }
    }
}

INLINE int32_t row_power(int64_t rows) {
    return mk_cascade_power(rows * MK_CASCADE_WIDTH, false);
}

void mk_column_sums_add(mk_column_sums *sums, const float *x, int64_t rows) {
    // Columns that fill four vectors have one chain of rows; those left over have four, side by side.
    const int64_t width = MK_CASCADE_WIDTH * (sums->pairs ? 2 : 1), wide = sums->cols - sums->cols % width;
    const int64_t quarter = sums->total_rows / 4;
    for (int64_t r = 0; r < rows; r++, x += sums->cols) {
        const int64_t row = sums->rows++;
        add_column_row(sums, 0, row_power(sums->total_rows), row + 1, x, 0, wide);
        if (row < 4 * quarter) {
            add_column_row(sums, row % 4, row_power(quarter), row / 4 + 1, x, wide, sums->cols);
        } else {
            fold_columns(sums, 0, wide, sums->cols);
            float *first = column_level(sums, 0, 0);
            for (int64_t c = wide; c < sums->cols; c++) first[c] += x[c];
        }
    }
}

void mk_column_sums_finish(const mk_column_sums *sums, float *out) {
    const int64_t width = MK_CASCADE_WIDTH * (sums->pairs ? 2 : 1), wide = sums->cols - sums->cols % width;
    fold_columns(sums, 0, 0, sums->cols);
    for (int chain = 1; chain < 4; chain++) {
        fold_columns(sums, chain, wide, sums->cols);
        float *first = column_level(sums, 0, 0), *other = column_level(sums, chain, 0);
        for (int64_t c = wide; c < sums->cols; c++) first[c] += other[c];
    }
    memcpy(out, column_level(sums, 0, 0), (size_t)sums->cols * sizeof *out);
}
