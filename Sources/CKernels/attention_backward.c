/// Causal attention over packed sequences, backward. A piece is one key/value head of one sequence with all its query
/// heads, so that no two threads add to the same dK, dV or dQ. Probabilities are recomputed from the log-sum-exp.
#include <string.h>

#include "attention.h"

enum { KEYS = 32 };

/// Buffers of one piece, on the stack of its thread: 340 KiB.
typedef struct backward_block {
    _Alignas(64) float keys[2 * MK_PANEL_STRIDE];    ///< K^T in panels: the scores
    _Alignas(64) float values[2 * MK_PANEL_STRIDE];  ///< V^T in panels: dP
    _Alignas(64) float panels[MK_BLOCK_FLOATS];      ///< Q, dO or K by columns
    _Alignas(64) float dk[KEYS * MK_HEAD_DIM_MAX];
    _Alignas(64) float dv[KEYS * MK_HEAD_DIM_MAX];
    _Alignas(64) float q[MK_QUERY_ROWS * MK_HEAD_DIM_MAX];
    _Alignas(64) float dout[MK_QUERY_ROWS * MK_HEAD_DIM_MAX];
    _Alignas(64) float dq[MK_QUERY_ROWS * MK_HEAD_DIM_MAX];
    _Alignas(64) float p[MK_QUERY_ROWS * KEYS];
    _Alignas(64) float ds[MK_QUERY_ROWS * KEYS];
    _Alignas(64) float transposed[KEYS * MK_QUERY_ROWS];
} backward_block;

/// The tensors of a call.
typedef struct operands {
    const mk_isa *isa;
    const mk_attention_shape *shape;
    const mk_attention_sequence *seq;
    const float *q, *out, *lse, *dout;
    float *dq;
} operands;

/// acc[i][0..D) += sum_j a[i][j] * rows[j][0..D) for j < depth.
static void multiply_rows(const mk_isa *isa, const float *rows, int64_t ld, int64_t depth, int64_t d, const float *a,
                          int64_t lda, int64_t m, float *panels, float *acc) {
    for (int64_t c = 0; c < d; c += MK_BLOCK_WIDTH) {
        const int64_t width = mk_min(MK_BLOCK_WIDTH, d - c);
        mk_pack_cols(rows + c, ld, depth, width, panels, MK_PANEL_STRIDE);
        isa->gemm(panels, mk_ceil_div(width, MK_PANEL_WIDTH), depth, a, lda, m, acc + c, MK_HEAD_DIM_MAX);
    }
}

static void transpose(const float *src, int64_t rows, int64_t keys, float *dst) {
    for (int64_t j = 0; j < keys; j++) {
        for (int64_t i = 0; i < rows; i++) dst[j * MK_QUERY_ROWS + i] = src[i * KEYS + j];
    }
}

/// p and ds of `rows` query rows against the keys in `b`; row = query * heads + head.
static void score_gradients(const operands *o, int64_t k0, int64_t keys, int64_t query0, int64_t head0, int64_t heads,
                            int64_t rows, backward_block *b) {
    const mk_attention_shape *shape = o->shape;
    const int64_t d = shape->head_dim, panels = mk_ceil_div(keys, MK_PANEL_WIDTH);
    memset(b->p, 0, sizeof b->p);
    memset(b->ds, 0, sizeof b->ds);
    o->isa->gemm(b->keys, panels, d, b->q, MK_HEAD_DIM_MAX, rows, b->p, KEYS);
    o->isa->gemm(b->values, panels, d, b->dout, MK_HEAD_DIM_MAX, rows, b->ds, KEYS);
    for (int64_t row = 0; row < rows; row++) {
        const int64_t t = o->seq->q_start + query0 + row / heads, head = head0 + row % heads;
        float *p = b->p + row * KEYS, *ds = b->ds + row * KEYS;
        int64_t lo, hi;
        mk_visible(shape, o->seq, query0 + row / heads, &lo, &hi);
        o->isa->softmax_from_lse(p, mk_clamp(lo - k0, 0, keys), mk_clamp(hi - k0, 0, keys), keys, shape->scale,
                                 o->lse[t * shape->heads + head]);
        const float delta = o->isa->dot(b->dout + row * MK_HEAD_DIM_MAX, o->out + t * shape->ldq + head * d, d);
        for (int64_t j = 0; j < keys; j++) ds[j] = p[j] * (ds[j] - delta) * shape->scale;
    }
}

/// Adds what queries [query0, query0 + queries) of `heads` heads contribute to dK, dV (in b) and dQ.
static void fold_queries(const operands *o, int64_t kv_head, int64_t k0, int64_t keys, int64_t query0, int64_t queries,
                         int64_t head0, int64_t heads, backward_block *b) {
    const mk_attention_shape *shape = o->shape;
    const int64_t d = shape->head_dim, rows = queries * heads;
    for (int64_t row = 0; row < rows; row++) {
        const int64_t t = o->seq->q_start + query0 + row / heads;
        const int64_t source = t * shape->ldq + (head0 + row % heads) * d;
        memcpy(b->q + row * MK_HEAD_DIM_MAX, o->q + source, (size_t)d * sizeof(float));
        memcpy(b->dout + row * MK_HEAD_DIM_MAX, o->dout + source, (size_t)d * sizeof(float));
    }
    score_gradients(o, k0, keys, query0, head0, heads, rows, b);

    transpose(b->p, rows, keys, b->transposed);
    multiply_rows(o->isa, b->dout, MK_HEAD_DIM_MAX, rows, d, b->transposed, MK_QUERY_ROWS, keys, b->panels, b->dv);
    transpose(b->ds, rows, keys, b->transposed);
    multiply_rows(o->isa, b->q, MK_HEAD_DIM_MAX, rows, d, b->transposed, MK_QUERY_ROWS, keys, b->panels, b->dk);

    memset(b->dq, 0, (size_t)rows * MK_HEAD_DIM_MAX * sizeof(float));
    multiply_rows(o->isa, o->seq->k + k0 * shape->ldkv + kv_head * d, shape->ldkv, keys, d, b->ds, KEYS, rows,
                  b->panels, b->dq);
    for (int64_t row = 0; row < rows; row++) {
        const int64_t t = o->seq->q_start + query0 + row / heads;
        float *dq = o->dq + t * shape->ldq + (head0 + row % heads) * d;
        for (int64_t i = 0; i < d; i++) dq[i] += b->dq[row * MK_HEAD_DIM_MAX + i];
    }
}

static void store_rows(const float *src, int64_t keys, int64_t d, int64_t ld, float *dst) {
    if (dst == NULL) return;
    for (int64_t j = 0; j < keys; j++) memcpy(dst + j * ld, src + j * MK_HEAD_DIM_MAX, (size_t)d * sizeof(float));
}

/// One key/value head of one sequence.
static void backward_head(const operands *o, const mk_query_blocking *blocking, int64_t kv_head) {
    backward_block b;
    const mk_attention_shape *shape = o->shape;
    const mk_attention_sequence *seq = o->seq;
    const int64_t d = shape->head_dim, first_head = kv_head * blocking->group;
    for (int64_t i = 0; i < seq->q_len; i++) {
        memset(o->dq + (seq->q_start + i) * shape->ldq + first_head * d, 0,
               (size_t)(blocking->group * d) * sizeof(float));
    }
    for (int64_t k0 = 0; k0 < seq->kv_len; k0 += KEYS) {
        const int64_t keys = mk_min(KEYS, seq->kv_len - k0);
        const int64_t corner = k0 * shape->ldkv + kv_head * d;
        for (int64_t j = 0; j < keys; j += MK_PANEL_WIDTH) {
            const int64_t count = mk_min(MK_PANEL_WIDTH, keys - j), panel = j / MK_PANEL_WIDTH * MK_PANEL_STRIDE;
            o->isa->pack_rows(seq->k + corner + j * shape->ldkv, shape->ldkv, count, d, b.keys + panel);
            o->isa->pack_rows(seq->v + corner + j * shape->ldkv, shape->ldkv, count, d, b.values + panel);
        }
        memset(b.dk, 0, sizeof b.dk);
        memset(b.dv, 0, sizeof b.dv);
        // Queries before the first key see none of them; with a window, neither do those far behind the last.
        const int64_t shift = seq->kv_len - seq->q_len;
        const int64_t first = mk_max(0, k0 - shift) / blocking->queries * blocking->queries;
        const int64_t end = shape->window > 0 ? mk_min(seq->q_len, k0 + keys - 1 + shape->window - shift) : seq->q_len;
        for (int64_t query0 = first; query0 < end; query0 += blocking->queries) {
            for (int64_t head = 0; head < blocking->group; head += blocking->chunk) {
                fold_queries(o, kv_head, k0, keys, query0, mk_min(blocking->queries, seq->q_len - query0),
                             first_head + head, mk_min(blocking->chunk, blocking->group - head), &b);
            }
        }
        store_rows(b.dk, keys, d, shape->ldkv, seq->dk == NULL ? NULL : seq->dk + corner);
        store_rows(b.dv, keys, d, shape->ldkv, seq->dv == NULL ? NULL : seq->dv + corner);
    }
}

void mk_attention_backward(const mk_context *ctx, const mk_attention_shape *shape, const mk_attention_sequence *seqs,
                           int64_t n_seqs, const float *q, const float *out, const float *lse, const float *dout,
                           float *dq) {
    const mk_query_blocking blocking = mk_block_queries(shape);
    double work = 0;
    for (int64_t s = 0; s < n_seqs; s++) work += (double)seqs[s].q_len * (double)seqs[s].kv_len;
    const int threads = mk_threads(ctx, work * (double)(shape->heads * shape->head_dim));
    mk_counter next = 0;
#pragma omp parallel num_threads(threads)
    for (int64_t piece; (piece = mk_next(&next)) < n_seqs * shape->kv_heads;) {
        const operands o = {
            .isa = ctx->isa,
            .shape = shape,
            .seq = seqs + piece / shape->kv_heads,
            .q = q,
            .out = out,
            .lse = lse,
            .dout = dout,
            .dq = dq,
        };
        backward_head(&o, &blocking, piece % shape->kv_heads);
    }
}
