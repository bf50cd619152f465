/// Dropout and the optimiser (a family of CKernels.h).
#ifndef MERASER_MK_TRAINING_H
#define MERASER_MK_TRAINING_H

#include "mk_context.h"

/// y[t][k] (+)= x[t][k] * keep / (1 - p), keep from a counter-based generator keyed by
/// (seed, step, site, sample[t], position[t], k). The same call on a gradient is its backward. x may equal y if not
/// accumulating.
void mk_dropout(const mk_context *ctx, const float *x, int64_t tokens, int64_t k, float p, uint64_t seed, uint64_t step,
                uint32_t site, const int32_t *sample, const int32_t *position, float *y, bool accumulate);

/// One AdamW step as torch.optim.AdamW: decoupled decay, bias correction by `step` (1-based); grad is scaled first.
void mk_adamw(const mk_context *ctx, int64_t n, float *param, const float *grad, float *m, float *v, float grad_scale,
              double lr, double beta1, double beta2, double eps, double weight_decay, int64_t step);
/// Sum of squares in double, fixed order.
double mk_sum_squares(const mk_context *ctx, const float *x, int64_t n);

#endif
