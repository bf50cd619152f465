/// Attention of packed sequences over pages of keys and values, forward: causal, or of all keys in an encoder.
///
/// A query's keys are folded page by page into an online softmax, a new one every CHUNK_PAGES pages, and the chunks are
/// merged in order. All of it is fixed by the query's own position: its bits do not depend on the queries, heads or
/// sequences beside it, nor on how many calls its prompt took. So a prompt shares out its query blocks over threads,
/// and a block that is alone in its sequence (decoding) its chunks.
#include "attention.h"

#include <math.h>
#include <string.h>

enum {
    KEYS = MK_PAGE_KEYS,
    CHUNK_PAGES = 16,                   ///< pages that share an online softmax: 1024 keys
    ROWS = 48,                          ///< rows of a block: queries x heads that share the keys
    STRIP = 12,                         ///< rows that end at the same key in a product
    ROW_FLOATS = MK_HEAD_DIM_MAX + 16,  ///< row distances: no multiple of 4 KiB
    SCORE_FLOATS = KEYS + 16,
};

/// The online softmax of some rows: out = sum of p v in units of exp(max), and 16 partial sums of p.
typedef struct softmax_state {
    float *out;
    int64_t ld;
    float *sum;
    float *max;
} softmax_state;

/// One block of rows, on the stack of its thread: 180 KiB.
typedef struct row_block {
    _Alignas(64) float q[ROWS * ROW_FLOATS];
    _Alignas(64) float scores[ROWS * SCORE_FLOATS];
    _Alignas(64) float out[2][ROWS * ROW_FLOATS];
    _Alignas(64) float sum[2][ROWS * 16];
    float max[2][ROWS];
} row_block;

/// A call, and the sizes that follow from its shape.
typedef struct forward_call {
    const mk_isa *isa;
    const mk_attention_shape *shape;
    const mk_attention_keys *seqs;
    int64_t n_seqs;
    const float *q, *k, *v;
    float *out, *lse, *workspace;
    int64_t group;        ///< query heads of a key/value head
    int64_t head_chunk;   ///< of them, those of a block
    int64_t head_chunks;  ///< blocks that share a query
    int64_t queries;      ///< queries of a block
    int64_t width;        ///< D rounded up to 16
    int64_t element;      ///< bytes of an element of a page
    int64_t part;         ///< bytes of a page's keys, or values, of one head
} forward_call;

/// Walks through the pieces of all sequences; each thread's pieces come in rising order.
typedef struct cursor {
    int64_t s;      ///< the sequence
    int64_t piece;  ///< its first piece
    int64_t slot;   ///< its first slot of the workspace
} cursor;

static int64_t padded(int64_t d) {
    return mk_ceil_div(d, 16) * 16;
}

size_t mk_attention_page_bytes(int32_t type, int64_t kv_heads, int64_t head_dim) {
    assert(type == MK_F32 || type == MK_BF16);
    return (size_t)(kv_heads * 2 * KEYS * padded(head_dim)) * (type == MK_BF16 ? 2 : 4);
}

static forward_call make_call(const mk_attention_shape *shape, const mk_attention_keys *seqs, int64_t n_seqs) {
    assert(shape->kv_heads > 0 && shape->heads % shape->kv_heads == 0);
    assert(shape->head_dim > 0 && shape->head_dim <= MK_HEAD_DIM_MAX);
    assert(!shape->bidirectional || shape->window == 0);
    forward_call c = {.shape = shape, .seqs = seqs, .n_seqs = n_seqs};
    c.group = shape->heads / shape->kv_heads;
    c.head_chunk = mk_min(c.group, ROWS);
    c.head_chunks = mk_ceil_div(c.group, c.head_chunk);
    c.queries = ROWS / c.head_chunk;
    c.width = padded(shape->head_dim);
    c.element = shape->kv_type == MK_BF16 ? 2 : 4;
    c.part = KEYS * c.width * c.element;
    return c;
}

/// Where the keys of a head begin in a page; its values follow them.
static uint8_t *page_of(const forward_call *c, const mk_attention_keys *seq, int64_t page, int64_t kv_head) {
    return (uint8_t *)seq->pages[page] + c->shape->page_offset + 2 * kv_head * c->part;
}

// ---------------------------------------------------------------------------------------------- new keys and values

/// Pages that a sequence's new keys fall into, times heads.
static int64_t append_pieces(const forward_call *c, const mk_attention_keys *seq) {
    if (seq->new_len == 0) return 0;
    const int64_t first = (seq->kv_len - seq->new_len) / KEYS;
    return (mk_ceil_div(seq->kv_len, KEYS) - first) * c->shape->kv_heads;
}

static void append(const forward_call *c, const mk_attention_keys *seq, int64_t index) {
    const mk_attention_shape *shape = c->shape;
    const int64_t old = seq->kv_len - seq->new_len, d = shape->head_dim;
    const int64_t page = old / KEYS + index / shape->kv_heads, kv_head = index % shape->kv_heads;
    const int64_t from = mk_max(old, page * KEYS), to = mk_min(seq->kv_len, (page + 1) * KEYS);
    uint8_t *keys = page_of(c, seq, page, kv_head), *values = keys + c->part;
    for (int64_t j = from; j < to; j++) {
        const int64_t source = (seq->new_start + j - old) * shape->ldkv + kv_head * d, place = j % KEYS;
        c->isa->panel_store_key(shape->kv_type, c->k + source, d, place % 16,
                                keys + place / 16 * 16 * c->width * c->element);
        c->isa->panel_store_value(shape->kv_type, c->v + source, d, place, values, KEYS * 16 * c->element);
    }
}

// ---------------------------------------------------------------------------------------------- folding

/// Folds a page into `rows` rows; row = query * heads + head.
static void fold_page(const forward_call *c, const mk_attention_keys *seq, int64_t kv_head, int64_t page,
                      int64_t query0, int64_t heads, int64_t rows, row_block *b, softmax_state *state) {
    const uint8_t *keys = page_of(c, seq, page, kv_head), *values = keys + c->part;
    const int32_t type = c->shape->kv_type;
    for (int64_t row0 = 0; row0 < rows; row0 += STRIP) {
        const int64_t count = mk_min(STRIP, rows - row0);
        int64_t first, last, unused;
        mk_visible(c->shape, seq->kv_len, seq->q_len, query0 + row0 / heads, &first, &unused);
        mk_visible(c->shape, seq->kv_len, seq->q_len, query0 + (row0 + count - 1) / heads, &unused, &last);
        last = mk_min(last - page * KEYS, KEYS);
        if (last <= 0 || first - page * KEYS >= KEYS) continue;
        const int64_t panels = mk_ceil_div(last, 16);
        float *scores = b->scores + row0 * SCORE_FLOATS, *out = state->out + row0 * state->ld;
        memset(scores, 0, (size_t)(count * SCORE_FLOATS) * sizeof(float));
        c->isa->panel_product(type, keys, panels, 16 * c->width * c->element, c->width, b->q + row0 * ROW_FLOATS,
                              ROW_FLOATS, count, scores, SCORE_FLOATS);
        for (int64_t row = row0; row < row0 + count; row++) {
            int64_t lo, hi;
            mk_visible(c->shape, seq->kv_len, seq->q_len, query0 + row / heads, &lo, &hi);
            lo = mk_max(lo - page * KEYS, 0);
            hi = mk_min(hi - page * KEYS, KEYS);
            if (lo >= hi) {
                memset(b->scores + row * SCORE_FLOATS, 0, KEYS * sizeof(float));
                continue;
            }
            if (c->shape->soft_cap > 0) {
                c->isa->soft_cap(b->scores + row * SCORE_FLOATS, KEYS, c->shape->soft_cap);
            }
            const float shrink =
                c->isa->softmax_page(b->scores + row * SCORE_FLOATS, lo, hi, state->max + row, state->sum + row * 16);
            if (shrink != 1) c->isa->scale(state->out + row * state->ld, c->width, shrink);
        }
        c->isa->panel_product(type, values, c->width / 16, KEYS * 16 * c->element,
                              type == MK_BF16 ? (last + 1) & -2 : last, scores, SCORE_FLOATS, count, out, state->ld);
    }
}

/// A block of queries and heads, and the pages that they see.
typedef struct query_block {
    const mk_attention_keys *seq;
    int64_t kv_head, head0, heads, query0, rows;
    int64_t first_page, end_page;
} query_block;

/// Number `index` of the blocks of a sequence: those of a head follow each other, so that its keys stay in the cache.
static query_block block_at(const forward_call *c, const mk_attention_keys *seq, int64_t index) {
    const int64_t blocks = mk_ceil_div(seq->q_len, c->queries), column = index / blocks;
    query_block b = {.seq = seq, .kv_head = column / c->head_chunks, .query0 = index % blocks * c->queries};
    const int64_t offset = column % c->head_chunks * c->head_chunk;
    const int64_t queries = mk_min(c->queries, seq->q_len - b.query0);
    b.head0 = b.kv_head * c->group + offset;
    b.heads = mk_min(c->head_chunk, c->group - offset);
    b.rows = queries * b.heads;
    int64_t first, last, unused;
    mk_visible(c->shape, seq->kv_len, seq->q_len, b.query0, &first, &unused);
    mk_visible(c->shape, seq->kv_len, seq->q_len, b.query0 + queries - 1, &unused, &last);
    b.first_page = first / KEYS;
    b.end_page = mk_ceil_div(last, KEYS);
    return b;
}

static void load_queries(const forward_call *c, const query_block *q, row_block *b) {
    const int64_t d = c->shape->head_dim;
    for (int64_t row = 0; row < q->rows; row++) {
        const float *source =
            c->q + (q->seq->q_start + q->query0 + row / q->heads) * c->shape->ldq + (q->head0 + row % q->heads) * d;
        float *scaled = b->q + row * ROW_FLOATS;
        for (int64_t i = 0; i < d; i++) scaled[i] = source[i] * c->shape->scale;
        memset(scaled + d, 0, (size_t)(c->width - d) * sizeof(float));
    }
}

static void clear(const forward_call *c, int64_t rows, softmax_state *state) {
    for (int64_t row = 0; row < rows; row++) {
        memset(state->out + row * state->ld, 0, (size_t)c->width * sizeof(float));
        memset(state->sum + row * 16, 0, 16 * sizeof(float));
        state->max[row] = -INFINITY;
    }
}

static void merge(const forward_call *c, int64_t rows, softmax_state *total, const softmax_state *part) {
    for (int64_t row = 0; row < rows; row++) {
        c->isa->softmax_merge(total->out + row * total->ld, total->sum + row * 16, total->max + row,
                              part->out + row * part->ld, part->sum + row * 16, part->max[row], c->width);
    }
}

static void finish(const forward_call *c, const query_block *q, const softmax_state *state) {
    const int64_t d = c->shape->head_dim;
    for (int64_t row = 0; row < q->rows; row++) {
        const int64_t t = q->seq->q_start + q->query0 + row / q->heads, head = q->head0 + row % q->heads;
        float lanes[16];
        memcpy(lanes, state->sum + row * 16, sizeof lanes);
        for (int width = 8; width > 0; width /= 2) {
            for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
        }
        float *destination = c->out + t * c->shape->ldq + head * d;
        memcpy(destination, state->out + row * state->ld, (size_t)d * sizeof(float));
        c->isa->scale(destination, d, 1 / lanes[0]);
        c->lse[t * c->shape->heads + head] = state->max[row] + logf(lanes[0]);
    }
}

static void fold_chunk(const forward_call *c, const query_block *q, int64_t chunk, row_block *b, softmax_state *state) {
    clear(c, q->rows, state);
    const int64_t end = mk_min((chunk + 1) * CHUNK_PAGES, q->end_page);
    for (int64_t page = mk_max(chunk * CHUNK_PAGES, q->first_page); page < end; page++) {
        fold_page(c, q->seq, q->kv_head, page, q->query0, q->heads, q->rows, b, state);
    }
}

/// A whole block: all its chunks, merged as they come.
static void attend(const forward_call *c, const query_block *q) {
    row_block b;
    softmax_state total = {b.out[0], ROW_FLOATS, b.sum[0], b.max[0]}, part = {b.out[1], ROW_FLOATS, b.sum[1], b.max[1]};
    load_queries(c, q, &b);
    const int64_t first = q->first_page / CHUNK_PAGES;
    fold_chunk(c, q, first, &b, &total);
    for (int64_t chunk = first + 1; chunk < mk_ceil_div(q->end_page, CHUNK_PAGES); chunk++) {
        fold_chunk(c, q, chunk, &b, &part);
        merge(c, q->rows, &total, &part);
    }
    finish(c, q, &total);
}

// ---------------------------------------------------------------------------------------------- chunks of one block

/// Chunks that the only block of a sequence is cut into; 1 for a sequence of several blocks.
static int64_t split_of(const forward_call *c, const mk_attention_keys *seq) {
    if (seq->q_len == 0 || seq->q_len > c->queries) return 1;
    const query_block q = block_at(c, seq, 0);
    return mk_ceil_div(q.end_page, CHUNK_PAGES) - q.first_page / CHUNK_PAGES;
}

static int64_t columns_of(const forward_call *c) {
    return c->shape->kv_heads * c->head_chunks;
}

static int64_t slots_of(const forward_call *c, const mk_attention_keys *seq) {
    const int64_t split = split_of(c, seq);
    return split > 1 ? split * columns_of(c) : 0;
}

static int64_t slot_floats(const forward_call *c) {
    return ROWS * (c->width + 16 + 1);
}

static softmax_state state_in(const forward_call *c, int64_t slot) {
    float *base = c->workspace + slot * slot_floats(c);
    return (softmax_state){base, c->width, base + ROWS * c->width, base + ROWS * (c->width + 16)};
}

size_t mk_attention_workspace(const mk_attention_shape *shape, const mk_attention_keys *seqs, int64_t n_seqs) {
    const forward_call c = make_call(shape, seqs, n_seqs);
    int64_t slots = 0;
    for (int64_t s = 0; s < n_seqs; s++) slots += slots_of(&c, seqs + s);
    return (size_t)(slots * slot_floats(&c)) * sizeof(float);
}

/// One chunk of a sequence's only block, into its slot.
static void attend_chunk(const forward_call *c, const cursor *at, int64_t split, int64_t index) {
    row_block b;
    const query_block q = block_at(c, c->seqs + at->s, index / split);
    softmax_state state = state_in(c, at->slot + index);
    load_queries(c, &q, &b);
    fold_chunk(c, &q, q.first_page / CHUNK_PAGES + index % split, &b, &state);
}

static void merge_chunks(const forward_call *c, const cursor *at, int64_t split, int64_t column) {
    const query_block q = block_at(c, c->seqs + at->s, column);
    softmax_state total = state_in(c, at->slot + column * split);
    for (int64_t i = 1; i < split; i++) {
        const softmax_state part = state_in(c, at->slot + column * split + i);
        merge(c, q.rows, &total, &part);
    }
    finish(c, &q, &total);
}

// ---------------------------------------------------------------------------------------------- sharing out

typedef enum phase { APPEND, ATTEND, MERGE, PHASES } phase;

static int64_t pieces_of(const forward_call *c, const mk_attention_keys *seq, phase phase) {
    switch (phase) {
        case APPEND:
            return append_pieces(c, seq);
        case ATTEND:
            return mk_ceil_div(seq->q_len, c->queries) * columns_of(c) * split_of(c, seq);
        default:
            return split_of(c, seq) > 1 ? columns_of(c) : 0;
    }
}

static void run_phase(const forward_call *c, phase phase, mk_counter *next) {
    cursor at = {0};
    for (int64_t piece; at.s < c->n_seqs;) {
        piece = mk_next(next);
        int64_t count;
        while (at.s < c->n_seqs && piece >= at.piece + (count = pieces_of(c, c->seqs + at.s, phase))) {
            at.piece += count;
            at.slot += slots_of(c, c->seqs + at.s);
            at.s++;
        }
        if (at.s == c->n_seqs) return;
        const mk_attention_keys *seq = c->seqs + at.s;
        const int64_t split = split_of(c, seq), index = piece - at.piece;
        if (phase == APPEND) {
            append(c, seq, index);
        } else if (phase == MERGE) {
            merge_chunks(c, &at, split, index);
        } else if (split > 1) {
            attend_chunk(c, &at, split, index);
        } else {
            const query_block q = block_at(c, seq, index);
            attend(c, &q);
        }
    }
}

void mk_attention_forward(const mk_context *ctx, const mk_attention_shape *shape, const mk_attention_keys *seqs,
                          int64_t n_seqs, const float *q, const float *k, const float *v, float *out, float *lse,
                          void *workspace) {
    forward_call c = make_call(shape, seqs, n_seqs);
    c.isa = ctx->isa;
    c.q = q;
    c.k = k;
    c.v = v;
    c.out = out;
    c.lse = lse;
    c.workspace = workspace;
    double work = 0;
    for (int64_t s = 0; s < n_seqs; s++) work += (double)seqs[s].q_len * (double)seqs[s].kv_len;
    work *= (double)(shape->heads * shape->head_dim);
    const forward_call *const call = &c;
    for (phase phase = APPEND; phase < PHASES; phase++) {
        mk_counter begun = 0, *const next = &begun;
        mk_share(ctx, work, ^(int32_t thread) {
            (void)thread;
            run_phase(call, phase, next);
        });
    }
}
