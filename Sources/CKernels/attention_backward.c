/// Causal attention over packed sequences, backward. A piece is one key/value head of one sequence with all its query
/// heads, so that no two threads add to the same dK, dV or dQ. Probabilities are recomputed from the log-sum-exp.
///
/// Blocks of ROWS rows (queries x heads) meet blocks of KEYS keys. Scores are computed transposed, keys by rows: then
/// they, and their gradients, are the left operands of dV and dK as they lie, and only dQ needs a transposition. Right
/// operands are panels as the forward's pages have them (attention.h), so that its scores come out again to the bit.
#include <string.h>

#include "attention.h"

enum {
    ROWS = 48,                          ///< rows of a block: queries x heads that share the keys
    KEYS = 64,                          ///< keys of a block
    ROW_FLOATS = MK_HEAD_DIM_MAX + 16,  ///< row distances: no multiple of 4 KiB
    SCORE_FLOATS = ROWS + 16,
    TRANSPOSED_FLOATS = KEYS + 16,
};

/// Buffers of one piece, on the stack of its thread: 430 KiB for the largest heads, a third of it touched for 64.
typedef struct backward_block {
    // Panels of what the rows have: `by_feature` over the features, a lane for each row; `by_row` over the rows.
    _Alignas(64) float q_by_feature[ROWS * MK_HEAD_DIM_MAX];  ///< times the scale
    _Alignas(64) float dout_by_feature[ROWS * MK_HEAD_DIM_MAX];
    _Alignas(64) float q_by_row[ROWS * MK_HEAD_DIM_MAX];
    _Alignas(64) float dout_by_row[ROWS * MK_HEAD_DIM_MAX];
    _Alignas(64) float keys_by_key[KEYS * MK_HEAD_DIM_MAX];
    _Alignas(64) float rows[KEYS * ROW_FLOATS];  ///< keys or values, dK or dV
    _Alignas(64) float dq[ROWS * ROW_FLOATS];
    _Alignas(64) float p[KEYS * SCORE_FLOATS];   ///< transposed: a row for each key
    _Alignas(64) float ds[KEYS * SCORE_FLOATS];  ///< transposed
    _Alignas(64) float ds_of_rows[ROWS * TRANSPOSED_FLOATS];
    _Alignas(64) float transposed[ROWS * MK_PANEL_WIDTH];
    _Alignas(64) float lse[ROWS];
    _Alignas(64) float delta[ROWS];  ///< dout . out
    _Alignas(64) int32_t lo[ROWS];   ///< the keys [lo, hi) that a row sees
    _Alignas(64) int32_t hi[ROWS];
} backward_block;

/// The tensors of a call, and the sizes that follow from its shape.
typedef struct backward_call {
    const mk_isa *isa;
    const mk_attention_shape *shape;
    const float *q, *out, *lse, *dout;
    float *dq;
    int64_t width;    ///< D rounded up to 16
    int64_t element;  ///< bytes of an element of a panel
} backward_call;

/// Some query heads of one key/value head of one sequence.
typedef struct head_chunk {
    const mk_attention_sequence *seq;
    int64_t kv_head, head0, heads;
} head_chunk;

/// Rows of a block; row = query * heads + head.
typedef struct row_range {
    int64_t query0, count;
} row_range;

/// Steps of a reduction over `n` rows or keys: pairs of bf16 are whole.
static int64_t steps(const backward_call *c, int64_t n) {
    return c->shape->kv_type == MK_BF16 ? (n + 1) & -2 : n;
}

/// Packs the rows' queries and gradients, and notes what else belongs to a row.
static void load_rows(const backward_call *c, const head_chunk *h, row_range r, backward_block *b) {
    const mk_attention_shape *shape = c->shape;
    const int64_t d = shape->head_dim, lanes = MK_PANEL_WIDTH * c->width * c->element;
    for (int64_t row = 0; row < ROWS; row++) b->lo[row] = b->hi[row] = 0;
    memset(b->lse, 0, sizeof b->lse);
    memset(b->delta, 0, sizeof b->delta);
    for (int64_t row = 0; row < r.count; row++) {
        const int64_t query = r.query0 + row / h->heads, head = h->head0 + row % h->heads;
        const int64_t t = h->seq->q_start + query, source = t * shape->ldq + head * d;
        const int64_t panel = row / MK_PANEL_WIDTH * lanes, distance = ROWS * MK_PANEL_WIDTH * c->element;
        float scaled[MK_HEAD_DIM_MAX];
        for (int64_t i = 0; i < d; i++) scaled[i] = c->q[source + i] * shape->scale;
        c->isa->panel_store_key(shape->kv_type, scaled, d, row % MK_PANEL_WIDTH, (uint8_t *)b->q_by_feature + panel);
        c->isa->panel_store_key(shape->kv_type, c->dout + source, d, row % MK_PANEL_WIDTH,
                                (uint8_t *)b->dout_by_feature + panel);
        c->isa->panel_store_value(shape->kv_type, c->q + source, d, row, b->q_by_row, distance);
        c->isa->panel_store_value(shape->kv_type, c->dout + source, d, row, b->dout_by_row, distance);
        int64_t lo, hi;
        mk_visible(shape, h->seq->kv_len, h->seq->q_len, query, &lo, &hi);
        b->lo[row] = (int32_t)lo;
        b->hi[row] = (int32_t)hi;
        b->lse[row] = c->lse[t * shape->heads + head];
        b->delta[row] = c->isa->dot(c->dout + source, c->out + source, d);
    }
}

/// Copies `count` rows of a head; the destination's rows are filled with 0 up to the next multiple of 16.
static void copy_rows(const backward_call *c, const float *src, int64_t count, float *dst) {
    const int64_t d = c->shape->head_dim;
    for (int64_t j = 0; j < count; j++, src += c->shape->ldkv, dst += ROW_FLOATS) {
        memcpy(dst, src, (size_t)d * sizeof(float));
        memset(dst + d, 0, (size_t)(c->width - d) * sizeof(float));
    }
}

/// scores[key][row] = rows in b->rows . rows of the panels.
static void multiply_by_feature(const backward_call *c, const float *panels, int64_t keys, int64_t rows,
                                const backward_block *b, float *scores) {
    memset(scores, 0, (size_t)(keys * SCORE_FLOATS) * sizeof(float));
    c->isa->panel_product(c->shape->kv_type, panels, mk_ceil_div(rows, MK_PANEL_WIDTH),
                          MK_PANEL_WIDTH * c->width * c->element, c->width, b->rows, ROW_FLOATS, keys, scores,
                          SCORE_FLOATS);
}

/// gradient[key] += sum over the rows of left[key][row] * row of the panels; nothing where `gradient` is NULL.
static void add_gradient(const backward_call *c, const float *left, const float *panels, int64_t keys, int64_t rows,
                         backward_block *b, float *gradient) {
    if (gradient == NULL) return;
    copy_rows(c, gradient, keys, b->rows);
    c->isa->panel_product(c->shape->kv_type, panels, c->width / MK_PANEL_WIDTH, ROWS * MK_PANEL_WIDTH * c->element,
                          steps(c, rows), left, SCORE_FLOATS, keys, b->rows, ROW_FLOATS);
    for (int64_t j = 0; j < keys; j++) {
        memcpy(gradient + j * c->shape->ldkv, b->rows + j * ROW_FLOATS, (size_t)c->shape->head_dim * sizeof(float));
    }
}

/// b->dq += ds . keys.
static void add_query_gradient(const backward_call *c, const float *keys, int64_t count, int64_t rows,
                               backward_block *b) {
    const int64_t distance = KEYS * MK_PANEL_WIDTH * c->element;
    for (int64_t j = 0; j < count; j++) {
        c->isa->panel_store_value(c->shape->kv_type, keys + j * c->shape->ldkv, c->shape->head_dim, j, b->keys_by_key,
                                  distance);
    }
    for (int64_t j = 0; j < count; j += MK_PANEL_WIDTH) {
        c->isa->pack_rows(b->ds + j * SCORE_FLOATS, SCORE_FLOATS, mk_min(MK_PANEL_WIDTH, count - j), rows,
                          b->transposed);
        for (int64_t row = 0; row < rows; row++) {
            memcpy(b->ds_of_rows + row * TRANSPOSED_FLOATS + j, b->transposed + row * MK_PANEL_WIDTH,
                   MK_PANEL_WIDTH * sizeof(float));
        }
    }
    c->isa->panel_product(c->shape->kv_type, b->keys_by_key, c->width / MK_PANEL_WIDTH, distance, steps(c, count),
                          b->ds_of_rows, TRANSPOSED_FLOATS, rows, b->dq, ROW_FLOATS);
}

/// Adds what the rows and keys [k0, k0 + keys) give to dK, dV and the rows' dQ.
static void fold_keys(const backward_call *c, const head_chunk *h, int64_t k0, int64_t keys, int64_t rows,
                      backward_block *b) {
    const mk_attention_sequence *seq = h->seq;
    const int64_t corner = k0 * c->shape->ldkv + h->kv_head * c->shape->head_dim;
    copy_rows(c, seq->k + corner, keys, b->rows);
    multiply_by_feature(c, b->q_by_feature, keys, rows, b, b->p);
    copy_rows(c, seq->v + corner, keys, b->rows);
    multiply_by_feature(c, b->dout_by_feature, keys, rows, b, b->ds);
    for (int64_t j = 0; j < keys; j++) {
        float *p = b->p + j * SCORE_FLOATS, *ds = b->ds + j * SCORE_FLOATS, capped[ROWS];
        const float cap = c->shape->soft_cap;
        if (cap > 0) {
            c->isa->soft_cap(p, ROWS, cap);
            memcpy(capped, p, sizeof capped);
        }
        c->isa->attention_gradient(p, ds, ROWS, (int32_t)(k0 + j), b->lo, b->hi, b->lse, b->delta, c->shape->scale);
        if (cap > 0) c->isa->soft_cap_gradient(ds, capped, ROWS, cap);
    }
    add_gradient(c, b->p, b->dout_by_row, keys, rows, b, seq->dv == NULL ? NULL : seq->dv + corner);
    add_gradient(c, b->ds, b->q_by_row, keys, rows, b, seq->dk == NULL ? NULL : seq->dk + corner);
    add_query_gradient(c, seq->k + corner, keys, rows, b);
}

static void backward_rows(const backward_call *c, const head_chunk *h, row_range r, backward_block *b) {
    const int64_t d = c->shape->head_dim;
    load_rows(c, h, r, b);
    for (int64_t row = 0; row < r.count; row++) {
        memset(b->dq + row * ROW_FLOATS, 0, (size_t)c->width * sizeof(float));
    }
    const int64_t end = b->hi[r.count - 1];
    for (int64_t k0 = b->lo[0] / KEYS * KEYS; k0 < end; k0 += KEYS) {
        fold_keys(c, h, k0, mk_min(KEYS, end - k0), r.count, b);
    }
    for (int64_t row = 0; row < r.count; row++) {
        const int64_t t = h->seq->q_start + r.query0 + row / h->heads;
        memcpy(c->dq + t * c->shape->ldq + (h->head0 + row % h->heads) * d, b->dq + row * ROW_FLOATS,
               (size_t)d * sizeof(float));
    }
}

static void clear(const backward_call *c, const mk_attention_sequence *seq, int64_t kv_head, float *gradient) {
    if (gradient == NULL) return;
    for (int64_t j = 0; j < seq->kv_len; j++) {
        memset(gradient + j * c->shape->ldkv + kv_head * c->shape->head_dim, 0,
               (size_t)c->shape->head_dim * sizeof(float));
    }
}

/// One key/value head of one sequence.
static void backward_head(const backward_call *c, const mk_attention_sequence *seq, int64_t kv_head) {
    backward_block b;
    const int64_t group = c->shape->heads / c->shape->kv_heads;
    clear(c, seq, kv_head, seq->dk);
    clear(c, seq, kv_head, seq->dv);
    for (int64_t offset = 0; offset < group; offset += ROWS) {
        const head_chunk h = {seq, kv_head, kv_head * group + offset, mk_min(ROWS, group - offset)};
        const int64_t queries = ROWS / h.heads;
        for (int64_t query0 = 0; query0 < seq->q_len; query0 += queries) {
            backward_rows(c, &h, (row_range){query0, mk_min(queries, seq->q_len - query0) * h.heads}, &b);
        }
    }
}

void mk_attention_backward(const mk_context *ctx, const mk_attention_shape *shape, const mk_attention_sequence *seqs,
                           int64_t n_seqs, const float *q, const float *out, const float *lse, const float *dout,
                           float *dq) {
    assert(shape->kv_heads > 0 && shape->heads % shape->kv_heads == 0);
    assert(shape->head_dim > 0 && shape->head_dim <= MK_HEAD_DIM_MAX);
    const backward_call c = {.isa = ctx->isa,
                             .shape = shape,
                             .q = q,
                             .out = out,
                             .lse = lse,
                             .dout = dout,
                             .dq = dq,
                             .width = mk_ceil_div(shape->head_dim, 16) * 16,
                             .element = shape->kv_type == MK_BF16 ? 2 : 4};
    const backward_call *const call = &c;
    double work = 0;
    for (int64_t s = 0; s < n_seqs; s++) work += (double)seqs[s].q_len * (double)seqs[s].kv_len;
    mk_for(ctx, work * (double)(shape->heads * shape->head_dim), n_seqs * shape->kv_heads, ^(int64_t piece) {
        backward_head(call, seqs + piece / shape->kv_heads, piece % shape->kv_heads);
    });
}
