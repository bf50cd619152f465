/// Quantizing with error feedback (feedback.c).
#ifndef MERASER_MK_FEEDBACK_H
#define MERASER_MK_FEEDBACK_H

#include "mk_context.h"

/// Bytes of workspace of mk_gram. The workspaces of this family are aligned to 64.
size_t mk_gram_workspace(int32_t threads, int64_t cols);
/// h [K][K] += x^T x, on the diagonal and above it (what lies below may be anything), for x [T][K].
void mk_gram(const mk_context *ctx, const float *x, int64_t ldx, int64_t tokens, int64_t cols, double *h,
             void *workspace);
/// Bytes of workspace of mk_feedback_factor.
size_t mk_feedback_factor_workspace(int64_t cols);
/// Factors h + damping * (mean of its diagonal) * 1 = S D S^T, of which what lies below the diagonal is not read; zero
/// or infinite on the diagonal throughout counts as 1 there and 0 elsewhere. S becomes the first K * K floats of h, row
/// by row; `weight` [K] becomes D relative to the mean of the diagonal. damping > 0.
void mk_feedback_factor(const mk_context *ctx, double *h, int64_t cols, double damping, float *weight, void *workspace);
/// Bytes of workspace of mk_quantize_feedback.
size_t mk_feedback_workspace(int32_t threads, int64_t cols);
/// Quantizes as mk_quantize, all rows of a matrix and to tiled types only, so that the error of its outputs is small:
/// `unit` [K][K] and `weight` [K] are what mk_feedback_factor makes of the inputs. errors[r] becomes that of row r,
/// (w - v) (H / mean of its diagonal + damping) (w - v)^T, infinite where its weights are too large for fp16 scales.
/// The same bytes on every machine.
void mk_quantize_feedback(const mk_context *ctx, int32_t type, const float *src, int64_t rows, int64_t cols,
                          const float *unit, const float *weight, void *dst, float *errors, void *workspace);

#endif
