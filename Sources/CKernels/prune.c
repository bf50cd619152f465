/// Sums over rows and columns of a weight, and the columns that pruning leaves.
#include <math.h>
#include <stdlib.h>

#include "isa.h"

void mk_prune_sums(const float *x, int64_t rows, int64_t cols, bool squares, double *row_sums, double *col_sums) {
    for (int64_t r = 0; r < rows; r++, x += cols) {
        double sum = 0;
        for (int64_t c = 0; c < cols; c++) {
            const double value = squares ? (double)x[c] * (double)x[c] : fabs((double)x[c]);
            sum += value;
            col_sums[c] += value;
        }
        row_sums[r] += sum;
    }
}

void mk_column_products(const float *x, const float *y, int64_t rows, int64_t cols, double *sums) {
    for (int64_t r = 0; r < rows; r++, x += cols, y += cols) {
        for (int64_t c = 0; c < cols; c++) sums[c] += (double)x[c] * (double)y[c];
    }
}

void mk_prune_columns(const float *x, int64_t rows, int64_t cols, const int64_t *kept, int64_t count, float *out) {
    for (int64_t r = 0; r < rows; r++, x += cols) {
        for (int64_t i = 0; i < count; i++) *out++ = x[kept[i]];
    }
}

/// By score, and of equal ones by column.
static int mk_compare_scores(const void *a, const void *b) {
    const mk_scored *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return (x->column > y->column) - (x->column < y->column);
}

void mk_wanda_rows(float *x, int64_t rows, int64_t cols, const float *norms, int64_t dropped, mk_scored *scratch) {
    for (int64_t r = 0; r < rows; r++, x += cols) {
        for (int64_t c = 0; c < cols; c++) scratch[c] = (mk_scored){fabsf(x[c]) * norms[c], (int32_t)c};
        qsort(scratch, (size_t)cols, sizeof *scratch, mk_compare_scores);
        for (int64_t i = 0; i < dropped; i++) x[scratch[i].column] = 0;
    }
}
