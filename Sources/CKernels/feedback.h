/// Quantizing with error feedback: what the instruction sets share (private to CKernels; see feedback.c).
#ifndef MERASER_FEEDBACK_H
#define MERASER_FEEDBACK_H

#include "scalesearch.h"
#include "simd.h"

/// What a group of 16 rows is quantized by.
typedef struct mk_feedback {
    int32_t type;
    mk_grid grid;  ///< of the affine types the range of their integers
    int64_t cols;
    const float *unit;    ///< S [cols][cols], 1 on the diagonal, what lies below it is not read
    const float *weight;  ///< D [cols]
} mk_feedback;

/// What the weights of a part are rounded to, w = scale * q + minimum, and the numbers that are stored for it: fp16
/// bits, or integers of a super-block.
typedef struct {
    mk_v16 scale, minimum;
    mk_i16 scale_bits, minimum_bits;
} mk_line;

/// Rows of vectors that a group works in, for a column each.
enum {
    MK_FEEDBACK_VECTORS = 2,
    MK_FEEDBACK_SPAN = 256,  ///< columns whose targets are kept at once
    MK_FACTOR_PANEL = 64,    ///< columns that are factored at once
    FEED_COLS = 4,           ///< columns whose sums are in registers
    FEED_ROWS = 64,          ///< rows of S that stay in the cache
};

/// What of quantizing an instruction set does in its own way, with the same result as all others.
struct mk_quantizer {
    /// Quantizes `rows` <= 16 rows of `cols` weights to tiles side by side; missing rows become zero.
    void (*group)(const mk_grid *grid, const float *src, int rows, int64_t cols, uint8_t *dst);
    /// The same with error feedback, and the error of each row; memory: MK_FEEDBACK_VECTORS * cols vectors.
    void (*feedback)(const mk_feedback *f, const float *src, int rows, uint8_t *dst, float *errors, mk_v16 *memory);
    /// row[l] -= sum over j < MK_FACTOR_PANEL of a[j] * panel[j * stride + l], first <= l < end.
    void (*subtract)(const double *a, const double *panel, int64_t stride, int64_t first, int64_t end, double *row);
};

#endif
