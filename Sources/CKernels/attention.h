/// What the forward and the backward of attention share (private to CKernels).
#ifndef MERASER_ATTENTION_H
#define MERASER_ATTENTION_H

#include <assert.h>

#include "isa.h"

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
