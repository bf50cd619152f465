/// What the machine can do at most (a family of CKernels.h).
#ifndef MERASER_MK_PEAK_H
#define MERASER_MK_PEAK_H

#include "mk_context.h"

/// Runs `rounds` rounds of nothing but the multiply-add that this path has for that precision (bytes into 32 bits, bf16
/// pairs, fp32) on all threads; returns how many multiplications and additions that were, 0 if the path has none.
double mk_peak_operations(const mk_context *ctx, int32_t compute, int64_t rounds);
/// Reads n bytes with all threads as fast as the memory gives them; returns some sum of them.
uint64_t mk_peak_read(const mk_context *ctx, const void *data, size_t n);

#endif
