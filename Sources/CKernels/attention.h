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

enum {
    MK_QUERY_ROWS = 32,  ///< rows of a query block: queries x heads that share the keys
};

/// The query heads of one key/value head in chunks of at most MK_QUERY_ROWS, and queries in blocks that fill the rows.
typedef struct mk_query_blocking {
    int64_t group;    ///< query heads of a key/value head
    int64_t chunk;    ///< heads of a chunk
    int64_t chunks;   ///< chunks of a group
    int64_t queries;  ///< queries of a block
} mk_query_blocking;

static inline mk_query_blocking mk_block_queries(const mk_attention_shape *shape) {
    assert(shape->kv_heads > 0 && shape->heads % shape->kv_heads == 0);
    assert(shape->head_dim > 0 && shape->head_dim <= MK_HEAD_DIM_MAX);
    mk_query_blocking b = {.group = shape->heads / shape->kv_heads};
    b.chunk = mk_min(b.group, MK_QUERY_ROWS);
    b.chunks = mk_ceil_div(b.group, b.chunk);
    b.queries = MK_QUERY_ROWS / b.chunk;
    return b;
}

/// The keys [lo, hi) that query i of a sequence sees.
static inline void mk_visible(const mk_attention_shape *shape, const mk_attention_sequence *seq, int64_t i, int64_t *lo,
                              int64_t *hi) {
    *hi = seq->kv_len - seq->q_len + i + 1;
    *lo = shape->window > 0 ? mk_max(0, *hi - shape->window) : 0;
}

static inline int64_t mk_clamp(int64_t x, int64_t lo, int64_t hi) {
    return x < lo ? lo : (x > hi ? hi : x);
}

#endif
