/// Dropout, noise and the optimiser (a family of CKernels.h).
#ifndef MERASER_MK_TRAINING_H
#define MERASER_MK_TRAINING_H

#include "mk_context.h"

/// y[t][k] (+)= x[t][k] * keep / (1 - p), keep from a counter-based generator keyed by
/// (seed, step, site, sample[t], position[t], k). The same call on a gradient is its backward. x may equal y if not
/// accumulating.
void mk_dropout(const mk_context *ctx, const float *x, int64_t tokens, int64_t k, float p, uint64_t seed, uint64_t step,
                uint32_t site, const int32_t *sample, const int32_t *position, float *y, bool accumulate);

/// x[t][j] += magnitude[t] * u, u uniform in (-1, 1) from a counter-based generator keyed by (seed, step, sample[t],
/// position[t], j). One thread: a token takes as long as a few of its embedding's.
void mk_add_noise(float *x, int64_t tokens, int64_t k, const float *magnitude, uint64_t seed, uint64_t step,
                  const int32_t *sample, const int32_t *position);

/// One AdamW step as torch.optim.AdamW: decoupled decay, bias correction by `step` (1-based); grad is scaled first.
void mk_adamw(const mk_context *ctx, int64_t n, float *param, const float *grad, float *m, float *v, float grad_scale,
              double lr, double beta1, double beta2, double eps, double weight_decay, int64_t step);

/// out[t] = 1 - cos(a[t], b[t]) of rows of k numbers, in double; 1 where a row is zero.
void mk_cosine_distance(const mk_context *ctx, const float *a, const float *b, int64_t rows, int64_t k, float *out);
/// da[t] += scale * d(1 - cos(a[t], b[t]))/da[t]; with a and b exchanged it is that of b.
void mk_cosine_backward(const mk_context *ctx, const float *a, const float *b, int64_t rows, int64_t k, float scale,
                        float *da);
/// out[i] = scale * sign(x[i]), 0 of 0.
void mk_signs(const float *x, int64_t n, float scale, float *out);

/// out[t * ldout] = x[t] . v in double, of rows of k numbers.
void mk_row_dots(const mk_context *ctx, const float *x, int64_t rows, int64_t k, const float *v, float *out,
                 int64_t ldout);
/// x[t] += z[t * ldz] * (v - base).
void mk_add_outer(const mk_context *ctx, const float *z, int64_t ldz, int64_t rows, const float *v, const float *base,
                  int64_t k, float *x);
/// out += sum over t of weights[t] * z[t * ldz] * x[t], in order.
void mk_add_moment(const float *z, int64_t ldz, const float *weights, const float *x, int64_t rows, int64_t k,
                   float *out);

/// Sum of squares in double, fixed order.
double mk_sum_squares(const mk_context *ctx, const float *x, int64_t n);

#endif
