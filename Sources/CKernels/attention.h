/// What the forward and the backward of attention share (private to CKernels).
#ifndef MERASER_ATTENTION_H
#define MERASER_ATTENTION_H

#include <assert.h>

#include "isa.h"

/// Pages of keys and values. A page holds MK_PAGE_KEYS positions: for each key/value head its keys, then its values, in
/// panels of 16 outputs side by side over a stretch of the reduction, `element(step, output)`. With W = D rounded up to
/// 16 (the rest is 0):
///   keys    4 panels of 16 keys, the steps are the W features;
///   values  W / 16 panels of 16 features, the steps are the 64 keys.
/// fp32: panel[step][16]. bf16: pairs of steps, panel[step / 2][16][2], so that one 64-byte load gives two steps, each
/// an fp32 vector after a shift or a mask, or one bf16 dot product.

/// The keys [lo, hi) that query i of a sequence sees.
static inline void mk_visible(const mk_attention_shape *shape, int64_t kv_len, int64_t q_len, int64_t i, int64_t *lo,
                              int64_t *hi) {
    *hi = shape->bidirectional ? kv_len : kv_len - q_len + i + 1;
    *lo = shape->window > 0 ? mk_max(0, *hi - shape->window) : 0;
}

#endif
