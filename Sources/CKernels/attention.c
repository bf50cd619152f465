/// Causal attention over packed sequences, forward: an online softmax over blocks of 64 keys. The blocks start at key 0
/// of the sequence, so a query's sums are the same whichever queries, heads or sequences are computed beside it.
#include "attention.h"

#include <math.h>
#include <string.h>

enum { KEYS = 64 };

/// State of one block of query rows, on the stack of its thread: 140 KiB.
typedef struct forward_block {
    _Alignas(64) float panels[MK_BLOCK_FLOATS];
    _Alignas(64) float q[MK_QUERY_ROWS * MK_HEAD_DIM_MAX];
    _Alignas(64) float out[MK_QUERY_ROWS * MK_HEAD_DIM_MAX];
    _Alignas(64) float scores[MK_QUERY_ROWS * KEYS];
    float max[MK_QUERY_ROWS];
    float sum[MK_QUERY_ROWS];
} forward_block;

/// Folds keys [k0, k0 + keys) into the block's `rows` rows; row = query * heads + head.
static void fold_keys(const mk_isa *isa, const mk_attention_shape *shape, const mk_attention_sequence *seq,
                      int64_t kv_head, int64_t k0, int64_t keys, int64_t query0, int64_t heads, int64_t rows,
                      forward_block *b) {
    const int64_t d = shape->head_dim;
    const float *k = seq->k + k0 * shape->ldkv + kv_head * d;
    const float *v = seq->v + k0 * shape->ldkv + kv_head * d;
    for (int64_t j = 0; j < keys; j += MK_PANEL_WIDTH) {
        isa->pack_rows(k + j * shape->ldkv, shape->ldkv, mk_min(MK_PANEL_WIDTH, keys - j), d,
                       b->panels + j / MK_PANEL_WIDTH * MK_PANEL_STRIDE);
    }
    memset(b->scores, 0, sizeof b->scores);
    isa->gemm(b->panels, mk_ceil_div(keys, MK_PANEL_WIDTH), d, b->q, MK_HEAD_DIM_MAX, rows, b->scores, KEYS);
    for (int64_t row = 0; row < rows; row++) {
        int64_t lo, hi;
        mk_visible(shape, seq, query0 + row / heads, &lo, &hi);
        const float shrink =
            isa->softmax_step(b->scores + row * KEYS, mk_clamp(lo - k0, 0, keys), mk_clamp(hi - k0, 0, keys), keys,
                              shape->scale, b->max + row, b->sum + row);
        if (shrink != 1) isa->scale(b->out + row * MK_HEAD_DIM_MAX, MK_HEAD_DIM_MAX, shrink);
    }
    for (int64_t c = 0; c < d; c += MK_BLOCK_WIDTH) {
        const int64_t width = mk_min(MK_BLOCK_WIDTH, d - c);
        mk_pack_cols(v + c, shape->ldkv, keys, width, b->panels, MK_PANEL_STRIDE);
        isa->gemm(b->panels, mk_ceil_div(width, MK_PANEL_WIDTH), keys, b->scores, KEYS, rows, b->out + c,
                  MK_HEAD_DIM_MAX);
    }
}

/// Queries [query0, query0 + queries) of a sequence, heads [head0, head0 + heads) which share kv_head.
static void attend(const mk_isa *isa, const mk_attention_shape *shape, const mk_attention_sequence *seq,
                   int64_t kv_head, int64_t head0, int64_t heads, int64_t query0, int64_t queries, const float *q,
                   float *out, float *lse) {
    forward_block b;
    const int64_t d = shape->head_dim, rows = queries * heads;
    for (int64_t row = 0; row < rows; row++) {
        const int64_t t = seq->q_start + query0 + row / heads;
        memcpy(b.q + row * MK_HEAD_DIM_MAX, q + t * shape->ldq + (head0 + row % heads) * d, (size_t)d * sizeof(float));
        b.max[row] = -INFINITY;
        b.sum[row] = 0;
    }
    memset(b.out, 0, (size_t)rows * MK_HEAD_DIM_MAX * sizeof(float));

    int64_t first, last, unused;
    mk_visible(shape, seq, query0, &first, &unused);
    mk_visible(shape, seq, query0 + queries - 1, &unused, &last);
    for (int64_t k0 = first / KEYS * KEYS; k0 < last; k0 += KEYS) {
        fold_keys(isa, shape, seq, kv_head, k0, mk_min(KEYS, last - k0), query0, heads, rows, &b);
    }

    for (int64_t row = 0; row < rows; row++) {
        const int64_t t = seq->q_start + query0 + row / heads, head = head0 + row % heads;
        float *destination = out + t * shape->ldq + head * d;
        for (int64_t i = 0; i < d; i++) destination[i] = b.out[row * MK_HEAD_DIM_MAX + i] / b.sum[row];
        lse[t * shape->heads + head] = b.max[row] + logf(b.sum[row]);
    }
}

void mk_attention_forward(const mk_context *ctx, const mk_attention_shape *shape, const mk_attention_sequence *seqs,
                          int64_t n_seqs, const float *q, float *out, float *lse) {
    const mk_query_blocking blocking = mk_block_queries(shape);
    int64_t blocks = 0;
    double work = 0;
    for (int64_t s = 0; s < n_seqs; s++) {
        blocks += mk_ceil_div(seqs[s].q_len, blocking.queries);
        work += (double)seqs[s].q_len * (double)seqs[s].kv_len;
    }
    const int64_t heads = shape->kv_heads * blocking.chunks;
    const int threads = mk_threads(ctx, work * (double)(shape->heads * shape->head_dim));
    mk_counter next = 0;
#pragma omp parallel num_threads(threads)
    for (int64_t piece; (piece = mk_next(&next)) < blocks * heads;) {
        int64_t block = piece / heads, s = 0;
        for (; block >= mk_ceil_div(seqs[s].q_len, blocking.queries); s++) {
            block -= mk_ceil_div(seqs[s].q_len, blocking.queries);
        }
        const int64_t kv_head = piece % heads / blocking.chunks;
        const int64_t offset = piece % heads % blocking.chunks * blocking.chunk;
        const int64_t query0 = block * blocking.queries;
        attend(ctx->isa, shape, seqs + s, kv_head, kv_head * blocking.group + offset,
               mk_min(blocking.chunk, blocking.group - offset), query0,
               mk_min(blocking.queries, seqs[s].q_len - query0), q, out, lse);
    }
}
