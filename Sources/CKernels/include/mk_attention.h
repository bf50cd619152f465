/// Attention over pages of keys and values, forward and backward (a family of CKernels.h).
#ifndef MERASER_MK_ATTENTION_H
#define MERASER_MK_ATTENTION_H

#include "mk_context.h"
#include "mk_types.h"

/// The longest head that attention handles: its rows live on the stack.
enum { MK_HEAD_DIM_MAX = 256 };

/// Positions of a page of keys and values.
enum { MK_PAGE_KEYS = 64 };

/// Bytes of the part of a page that one layer takes; `type` is MK_F32 or MK_BF16 (rounded to nearest even). What is in
/// it: attention.h.
size_t mk_attention_page_bytes(int32_t type, int64_t kv_heads, int64_t head_dim);

/// One sequence of a packed batch for the forward. Its last q_len positions have queries, rows [q_start, q_start +
/// q_len) of q; its last new_len keys and values are rows [new_start, new_start + new_len) of k and v, those before
/// them are in the pages already. Query i sees keys j <= kv_len - q_len + i and, with a window, j > kv_len - q_len + i
/// - window.
typedef struct mk_attention_keys {
    int64_t q_start;
    int64_t q_len;
    int64_t new_start;
    int64_t new_len;
    int64_t kv_len;      ///< >= q_len and new_len: the keys with the new ones
    void *const *pages;  ///< page i holds the positions from 64 i on; ceil(kv_len / 64) of them
} mk_attention_keys;

/// One sequence of a packed batch for the backward. Queries are rows [q_start, q_start + q_len) of q; query i sees keys
/// j <= kv_len - q_len + i and, with a window, j > kv_len - q_len + i - window.
typedef struct mk_attention_sequence {
    int64_t q_start;
    int64_t q_len;
    int64_t kv_len;  ///< >= q_len
    const float *k;  ///< [kv_len][G][D], row distance ldkv
    const float *v;  ///< the same shape
    float *dk;       ///< backward only: receives (overwritten) dK of this sequence, row distance ldkv; may be NULL
    float *dv;
} mk_attention_sequence;

/// Shape of an attention call.
typedef struct mk_attention_shape {
    int64_t heads;        ///< H
    int64_t kv_heads;     ///< G, divides H
    int64_t head_dim;     ///< D, at most MK_HEAD_DIM_MAX
    int64_t ldq;          ///< row distance of q, out, dq, dout
    int64_t ldkv;         ///< row distance of k, v, dk, dv
    int64_t window;       ///< sliding window, 0 = none
    float scale;          ///< usually 1/sqrt(D)
    float soft_cap;       ///< c: scores s become c tanh(s / c); 0 = none
    int32_t kv_type;      ///< MK_F32 or MK_BF16: of the pages, and of the backward's right operands
    int64_t page_offset;  ///< bytes from a page's start to this layer's part (forward only)
    bool bidirectional;   ///< every query sees all keys of its sequence (forward only, without a window)
} mk_attention_shape;

/// Bytes of workspace that mk_attention_forward needs (0 unless few queries see very many keys).
size_t mk_attention_workspace(const mk_attention_shape *shape, const mk_attention_keys *seqs, int64_t n_seqs);
/// Writes the new keys and values into the pages; then out[t][h] = softmax(cap(scale q k^T)) v, causal unless
/// bidirectional, block-diagonal over the sequences; lse [T][H] receives the log-sum-exp. The bits of a query's result
/// depend on its own q and keys only.
void mk_attention_forward(const mk_context *ctx, const mk_attention_shape *shape, const mk_attention_keys *seqs,
                          int64_t n_seqs, const float *q, const float *k, const float *v, float *out, float *lse,
                          void *workspace);
/// The backward: dq is overwritten for all queries, dk/dv of each sequence for all its keys (kv_len == q_len).
/// `kv_type` is that of the forward, whose probabilities then come out again.
void mk_attention_backward(const mk_context *ctx, const mk_attention_shape *shape, const mk_attention_sequence *seqs,
                           int64_t n_seqs, const float *q, const float *out, const float *lse, const float *dout,
                           float *dq);

#endif
