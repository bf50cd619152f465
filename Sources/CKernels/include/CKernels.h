/// CKernels: all unsafe arithmetic of meraser. Knows blocks, tiles and rows; no models, no files.
///
/// Legend of every shape comment: T tokens, N rows of a weight (output features), K columns of a weight (input
/// features), H query heads, G key/value heads, D head_dim, V vocabulary.
/// All activations are row-major fp32; `ld*` is the distance in floats between two rows.
/// Drivers (everything that takes an `mk_context`) own the OpenMP loops; threads split outputs, never reductions, into
/// pieces whose shapes do not depend on the number of threads, so results are bit-identical for any thread count.
/// Nothing here allocates; nothing reads or writes outside the buffers it is given; pointers need only the natural
/// alignment of the element (weights of plain types: none at all). Callers check shapes; these functions assert.
#ifndef MERASER_CKERNELS_H
#define MERASER_CKERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---------------------------------------------------------------------------------------------- types and tiles

/// Element types of weights. Ids are GGUF's where GGUF has the type; nf4 is ours (outside GGUF's range).
enum {
    MK_F32 = 0,
    MK_F16 = 1,
    MK_Q4_0 = 2,
    MK_Q4_1 = 3,
    MK_Q8_0 = 8,
    MK_Q4_K = 12,
    MK_Q5_K = 13,
    MK_Q6_K = 14,
    MK_IQ4_NL = 20,
    MK_BF16 = 30,
    MK_NF4 = 1001,
};

/// Types of GGUF files that are read and never computed with; ids are GGUF's.
enum {
    MK_GGML_Q5_0 = 6,
    MK_GGML_Q5_1 = 7,
    MK_GGML_Q2_K = 10,
    MK_GGML_Q3_K = 11,
    MK_GGML_IQ4_XS = 23,
};

enum {
    MK_TILE_ROWS = 16,         ///< rows interleaved in a tile
    MK_TILE_COLS = 32,         ///< columns of a block; of a tile too, but of the super-blocks' (mk_tile_columns)
    MK_TILE_BYTES_4BIT = 288,  ///< 16 fp16 scales + 16 x 32 / 2 nibbles
    MK_TILE_BYTES_8BIT = 544,  ///< 16 fp16 scales + 16 x 32 int8
};

/// A weight matrix where it lies in the file. Tiled types: see docs/format.md; `rows` is the logical count, the data
/// holds it rounded up to 16, `cols` is a multiple of mk_tile_columns. Plain types: row-major, unaligned ok.
typedef struct mk_matrix {
    int32_t type;
    int64_t rows;
    int64_t cols;
    const void *data;
} mk_matrix;

/// True for the types that are stored in tiles of 16 rows.
bool mk_type_is_tiled(int32_t type);
/// Columns of a tile: 32, or 256 for types with super-blocks (q4_k q5_k q6_k); 0 for plain types.
int64_t mk_tile_columns(int32_t type);
/// Bytes of a tile; 0 for plain types.
int64_t mk_tile_bytes(int32_t type);
/// Bytes of a rows x cols matrix of this type, padding rows included; 0 for an unknown type or a tiled type whose
/// columns make no whole tiles. The caller has checked that the product fits.
size_t mk_matrix_bytes(int32_t type, int64_t rows, int64_t cols);
/// The 16-entry int8 codebook of a 4-bit type without a minimum (w = d * T[q]), NULL for other types.
const int8_t *mk_codebook(int32_t type);

/// Quantizes (or converts) `rows` x `cols` fp32 weights into `dst` (mk_matrix_bytes long). Tiled types: `rows` may be
/// any number, padding rows get zero scales; call it on slices that start at a multiple of 16 rows. Scales come from a
/// weighted error search (docs/benchmarks.md) and are infinite where the weights are too large for fp16; the bytes are
/// the same on every machine. Single-threaded, so that callers share rows out as they like. Non-finite input is the
/// caller's to refuse.
void mk_quantize(int32_t type, const float *src, int64_t rows, int64_t cols, void *dst);
/// The inverse: rows [row0, row0 + rows) of `w` as fp32 into dst[rows][cols]. Single-threaded.
void mk_dequantize(const mk_matrix *w, int64_t row0, int64_t rows, float *dst);
/// Weights of a block as GGUF files hold them: 32 (q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl) or 256 (q2_k to q6_k, iq4_xs);
/// 0 for other types.
int64_t mk_ggml_block_elements(int32_t type);
/// Bytes of such a block; 0 for other types.
int64_t mk_ggml_block_bytes(int32_t type);
/// n weights (whole blocks) of such blocks as fp32, rounded as ggml's reference rounds. A scale that is not finite
/// gives weights that are not, which is the caller's to refuse. Single-threaded.
void mk_ggml_to_float(int32_t type, const void *src, int64_t n, float *dst);
/// Whole rows of blocks, row-major, as tiles of the same type (q8_0, q4_0, iq4_nl, q4_1, q4_k, q5_k, q6_k): the same
/// numbers in other places, padding rows zero. dst: mk_matrix_bytes. Single-threaded.
void mk_ggml_to_tiles(int32_t type, const void *src, int64_t rows, int64_t cols, void *dst);
/// Index of the first non-finite value in x[0..n), or -1.
int64_t mk_find_nonfinite(const float *x, int64_t n);
/// CRC32C (Castagnoli) of n bytes, continuing from `crc` (0 to start). Hardware-accelerated where the CPU has it.
uint32_t mk_crc32c(uint32_t crc, const void *data, size_t n);

// ---------------------------------------------------------------------------------------------- dispatch

/// One instruction set's table of micro-kernels (private to CKernels).
typedef struct mk_isa mk_isa;

/// The table of that name ("portable", "avx2", "avx512", ...), or the best this CPU has if `name` is NULL.
/// NULL if the name is unknown or the CPU lacks it.
const mk_isa *mk_isa_find(const char *name);
/// Its name.
const char *mk_isa_name(const mk_isa *isa);
/// Name number i (0...) of all the paths this build knows, best last; NULL at the end. For error messages and tests.
const char *mk_isa_known(int i);

/// What a driver runs on. Copyable, immutable.
typedef struct mk_context {
    const mk_isa *isa;
    int32_t threads;  ///< OpenMP threads, 1 to MK_MAX_THREADS
} mk_context;

#define MK_MAX_THREADS 1024

/// True if so many threads, this one among them, can live at once: limits of processes and of address space leave room.
bool mk_threads_available(int32_t threads);
/// Starts the threads that drivers on so many will use, before they are needed. False if the system does not give them
/// (limits of processes or of address space): a driver that needs them then would end the process.
bool mk_start_threads(int32_t threads);

/// Precision of the product with a quantized weight.
enum {
    MK_COMPUTE_F32 = 0,
    MK_COMPUTE_BF16 = 1,  ///< on the paths whose CPUs have bf16 dot products
    MK_COMPUTE_INT8 = 2,
};

/// True if this path implements that precision.
bool mk_compute_available(const mk_isa *isa, int32_t compute);

// ---------------------------------------------------------------------------------------------- linear layers

/// Most products of a group.
enum { MK_GROUP_MAX = 8 };

/// One product of a group that shares its input x.
typedef struct mk_linear_output {
    const mk_matrix *w;
    float *y;         ///< [T][w->rows], row distance ldy
    int64_t ldy;      ///< in floats
    bool accumulate;  ///< adds to y instead of overwriting
} mk_linear_output;

/// Bytes of workspace mk_linear_forward needs, whatever the outputs: the activations quantized (int8), rounded to bf16
/// pairs (bf16) and packed by token tile (f32, and the weights that the other two do not take; memory that such a group
/// does not have is not touched). A float product packs at most 516 tokens at a time.
size_t mk_linear_workspace(int32_t compute, int64_t tokens, int64_t cols);

/// y_i[t][n] (+)= sum_k x[t][k] * w_i[n][k] for each of the outputs (at most MK_GROUP_MAX).   x [T][K] ldx; all weights
/// have the same K. x is prepared (quantized, rounded, packed) once for all of them. Each output is one fp32 chain in
/// column order whatever T is (batch-invariant) and whichever other products are in the group. int8 applies to tiled
/// types only, bf16 to these and to bf16 weights; the others are computed in f32. Padding rows are not written. The y_i
/// may not overlap x or each other.
///
/// bf16: x and d * T[q] are rounded to nearest even, products are added in fp32 by vdpbf16ps, which takes subnormal
/// inputs and results as zero. Infinities and NaNs propagate.
void mk_linear_forward(const mk_context *ctx, int32_t compute, const mk_linear_output *outputs, int32_t count,
                       const float *x, int64_t ldx, int64_t tokens, void *workspace);

/// One term of a sum of transposed products.
typedef struct mk_linear_input {
    const mk_matrix *w;
    const float *dy;  ///< [T][w->rows], row distance lddy
    int64_t lddy;     ///< in floats
} mk_linear_input;

/// Bytes of workspace mk_linear_backward needs: every dy, rounded if that is bf16, packed by token tile.
size_t mk_linear_backward_workspace(int32_t compute, const mk_linear_input *inputs, int32_t count, int64_t tokens);

/// dx[t][k] (+)= sum_i sum_n dy_i[t][n] * w_i[n][k] over 1 ... MK_GROUP_MAX inputs whose weights have the same K: one
/// fp32 chain over i and n in order. `compute` is f32 or bf16 (never int8: scales vary along n) and means what it means
/// in the forward; the values of the weights are the forward's.
void mk_linear_backward(const mk_context *ctx, int32_t compute, const mk_linear_input *inputs, int32_t count,
                        int64_t tokens, float *dx, int64_t lddx, bool accumulate, void *workspace);

/// One factor of a LoRA adapter, fp32: A [rank][width], or B [width][rank] where `by_feature`.
typedef struct mk_factor {
    const float *values;
    int64_t rank;
    int64_t width;  ///< features: K of an A, N of a B
    bool by_feature;
} mk_factor;

/// Bytes of workspace that mk_lowrank_reduce and mk_lowrank_expand need: the factor, packed.
size_t mk_lowrank_workspace(int64_t rank, int64_t width);

/// u[t][j] = scale * sum_k x[t][k] * factor[j][k], u [T][rank]: x * A^T in the forward, dy * B in the backward. 16 fp32
/// chains for each output, whatever T is.
void mk_lowrank_reduce(const mk_context *ctx, const mk_factor *factor, const float *x, int64_t ldx, int64_t tokens,
                       float scale, float *u, void *workspace);
/// y[t][k] (+)= sum_j u[t][j] * factor[j][k]: u * B^T in the forward, du * A in the backward.
void mk_lowrank_expand(const mk_context *ctx, const mk_factor *factor, const float *u, int64_t tokens, float *y,
                       int64_t ldy, bool accumulate, void *workspace);
/// gradient[j][k] += sum_t u[t][j] * x[t][k], laid out as the factor (whose values are not read).
void mk_lowrank_gradient(const mk_context *ctx, const mk_factor *factor, const float *u, const float *x, int64_t ldx,
                         int64_t tokens, float *gradient);

/// out[t] = row ids[t] of `table` [V][K] as fp32. ids are checked by the caller.
void mk_gather_rows(const mk_context *ctx, const mk_matrix *table, const int32_t *ids, int64_t tokens, float *out,
                    int64_t ldout);

// ---------------------------------------------------------------------------------------------- layer operations

/// y = x / sqrt(mean(x^2) + eps) * weight.   x, y [T][K]; rstd [T] receives 1/sqrt(...). (RMSNorm as in transformers.)
void mk_rmsnorm_forward(const mk_context *ctx, const float *x, const float *weight, float eps, int64_t tokens,
                        int64_t k, float *y, float *rstd);
/// dx += d(rmsnorm)/dx applied to dy, from the forward's x and rstd; the weight is frozen.
void mk_rmsnorm_backward(const mk_context *ctx, const float *x, const float *weight, const float *rstd, const float *dy,
                         int64_t tokens, int64_t k, float *dx);

/// What a rotation touches.
typedef struct mk_rope_shape {
    int64_t heads;
    int64_t head_dim;  ///< D
    int64_t width;     ///< R: the first features of a head that are rotated, even, at most D
    bool interleaved;  ///< pairs (2i, 2i + 1) as GPT-J, else (i, i + R/2) as Llama in Hugging Face's order
} mk_rope_shape;
/// Rotates x [T][heads][D] in place; cos/sin are [positions][R/2] tables, positions[t] indexes them. `inverse` is the
/// backward of the forward: it rotates back.
void mk_rope(const mk_context *ctx, float *x, int64_t ldx, int64_t tokens, const mk_rope_shape *shape,
             const int32_t *positions, const float *cos, const float *sin, bool inverse);

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

/// y = silu(gate) * up, all [n] elements.
void mk_swiglu_forward(const mk_context *ctx, const float *gate, const float *up, int64_t n, float *y);
/// dgate, dup from dy. dgate may be gate itself and dup may be up; other overlaps are not allowed.
void mk_swiglu_backward(const mk_context *ctx, const float *gate, const float *up, const float *dy, int64_t n,
                        float *dgate, float *dup);

/// y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias, the variance over k as in torch; x, y [T][K], y may be x.
/// weight and bias (may be NULL) are [sets][K], row t takes set t % sets: 1, or one for each head where rows are heads.
/// rstd [T] receives 1/sqrt(...), or is NULL.
void mk_layernorm_forward(const mk_context *ctx, const float *x, const float *weight, const float *bias, int64_t sets,
                          float eps, int64_t tokens, int64_t k, float *y, float *rstd);
/// dx += d(layernorm)/dx applied to dy, from the forward's x and rstd; weight and bias are frozen.
void mk_layernorm_backward(const mk_context *ctx, const float *x, const float *weight, int64_t sets, const float *rstd,
                           const float *dy, int64_t tokens, int64_t k, float *dx);
/// y[t][k] = bias[k], or += with `accumulate`; ldy in floats.
void mk_add_bias(const mk_context *ctx, const float *bias, int64_t tokens, int64_t k, float *y, int64_t ldy,
                 bool accumulate);

/// Activations.
enum {
    MK_GELU = 0,       ///< x Phi(x), Phi by erf
    MK_GELU_TANH = 1,  ///< Phi by tanh (gelu_new)
    MK_RELU = 2,
    MK_TANH = 3,
    MK_SILU = 4,  ///< x sigmoid(x)
};
/// x = activation(x) in place, n elements, of any kind but silu; relative error about 1e-6. A NaN stays a NaN.
void mk_activation(const mk_context *ctx, int32_t kind, int64_t n, float *x);
/// y = activation(gate) * up, all [n] elements; where `up` is NULL activation(gate). y may be neither.
void mk_gated_forward(const mk_context *ctx, int32_t kind, const float *gate, const float *up, int64_t n, float *y);
/// dgate, and dup where there is an `up`, from dy. dgate may be gate itself and dup may be up; no other overlaps.
void mk_gated_backward(const mk_context *ctx, int32_t kind, const float *gate, const float *up, const float *dy,
                       int64_t n, float *dgate, float *dup);
/// x = cap tanh(x / cap) in place, n elements; cap > 0.
void mk_soft_cap(const mk_context *ctx, float cap, int64_t n, float *x);

/// For each row t: nll[t] = logsumexp(logits[t]) - logits[t][target]; if `dscale` is not 0, logits become
/// dscale * (softmax - onehot) in place (the gradient). Rows with target < 0 are ignored: nll 0, gradient 0. With
/// `cap` (0: none) logits are the results of mk_soft_cap, and the gradient is that for what went into it.
void mk_softmax_cross_entropy(const mk_context *ctx, float *logits, int64_t ldl, int64_t rows, int64_t vocab,
                              const int32_t *targets, float dscale, float cap, float *nll);

/// For each row t: kl[t] = sum over v of p[v] (log p[v] - log q[v]), p = softmax(reference[t]), q = softmax(logits[t]);
/// if `dscale` is not 0, logits become dscale * (q - p) in place (the gradient). Equal rows give exactly 0, and with
/// dscale 1 a gradient of exactly 0. `cap` as above.
void mk_kl_divergence(const mk_context *ctx, float *logits, int64_t ldl, const float *reference, int64_t ldr,
                      int64_t rows, int64_t vocab, float dscale, float cap, float *kl);

/// ids[t] = the index of the largest of logits[t][0..vocab), the lowest among equals; NaNs are never the largest.
void mk_argmax(const mk_context *ctx, const float *logits, int64_t ldl, int64_t rows, int64_t vocab, int32_t *ids);

/// y += a * x over n elements.
void mk_axpy(const mk_context *ctx, int64_t n, float a, const float *x, float *y);
/// x *= a over n elements.
void mk_scale(const mk_context *ctx, int64_t n, float a, float *x);

/// Some columns of a row: `count` runs of `width`, the first at `first`, each `step` behind the one before.
typedef struct mk_columns {
    int64_t first;
    int64_t step;
    int64_t count;
    int64_t width;
} mk_columns;
/// y [T][count * width] = those columns of x.
void mk_take_columns(const mk_context *ctx, const mk_columns *columns, const float *x, int64_t ldx, int64_t tokens,
                     float *y, int64_t ldy);
/// Those columns of y = x [T][count * width].
void mk_put_columns(const mk_context *ctx, const mk_columns *columns, const float *x, int64_t ldx, int64_t tokens,
                    float *y, int64_t ldy);

/// y = x rounded to bf16 (to nearest even, a NaN stays a NaN), n elements; the same bits on every machine.
void mk_float_to_bf16(const mk_context *ctx, int64_t n, const float *x, uint16_t *y);
/// y = x, n elements; exact.
void mk_bf16_to_float(const mk_context *ctx, int64_t n, const uint16_t *x, float *y);
/// x = x rounded to bf16 and back, in place: the value that a round trip through the two above gives.
void mk_round_to_bf16(const mk_context *ctx, int64_t n, float *x);

// ---------------------------------------------------------------------------------------------- training

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

// ---------------------------------------------------------------------------------------------- merging

// Arithmetic on weights as PyTorch does it on a CPU: numbers are fp32 that `type` (f32, f16 or bf16) can hold, each
// operation is done in fp32 and its result rounded to nearest even to `type`. Single-threaded: callers share pieces of
// a tensor out. Sums have the order of torch's on one thread of an x86 CPU.

/// x = x rounded to `type`.
void mk_merge_round(int32_t type, float *x, int64_t n);
/// x = x * factor.
void mk_merge_scale(int32_t type, float factor, float *x, int64_t n);
/// x = x - base.
void mk_merge_subtract(int32_t type, const float *base, float *x, int64_t n);
/// out = a * x + b * y, rounded to `type` at the end only.
void mk_merge_blend(int32_t type, float a, const float *x, float b, const float *y, int64_t n, float *out);
/// out = (sum_m weights[m] * x[m]) / divisor over `count` models, rounded to `type` at the end only.
void mk_merge_linear(int32_t type, const float *const *x, const float *weights, int64_t count, float divisor, int64_t n,
                     float *out);

/// How differences from a base are added to it.
typedef struct mk_merge_tasks {
    int64_t count;         ///< models without the base
    const float *weights;  ///< one a model, rounded to the type
    float lambda;          ///< on the sum
    bool elects_sign;      ///< TIES: only differences with the sign of their sum (0 counts as positive) are added
    bool normalizes;       ///< divides by the weights that were added, or by `divisor` without an election
    float divisor;         ///< sum of the weights
} mk_merge_tasks;
/// out = base + lambda * mix of weights[m] * deltas[m]; the deltas are overwritten.
void mk_merge_combine(int32_t type, const mk_merge_tasks *tasks, const float *base, float *const *deltas, int64_t n,
                      float *out);

/// Adds to counts[65536]: how many x have those upper 16 bits of |x|; with `upper` >= 0, of the x that have these upper
/// bits how many have those lower 16 bits.
void mk_merge_count(const float *x, int64_t n, int32_t upper, uint64_t *counts);
/// How many |x| have exactly these bits.
int64_t mk_merge_count_equal(const float *x, int64_t n, uint32_t threshold);
/// Zeroes the x whose |x| has bits below the threshold, and those equal to it after the first `equal` of them.
void mk_merge_trim(float *x, int64_t n, uint32_t threshold, int64_t equal);
/// Zeroes x[i] unless a 53-bit hash of (key, first + i) is below `keep`.
void mk_merge_drop(uint64_t key, uint64_t keep, int64_t first, int64_t n, float *x);

/// Square root of the sum of squares, as torch.linalg.vector_norm.
float mk_merge_norm(const float *x, int64_t n);
/// Sum of (x / x_norm) * (y / y_norm), as torch.sum.
float mk_merge_unit_dot(const float *x, float x_norm, const float *y, float y_norm, int64_t n);

enum { MK_CASCADE_WIDTH = 32 };
/// torch.sum's partial sums: every 2^power rows of 32 numbers a level is added to the next and cleared.
typedef struct mk_cascade {
    float level[4][MK_CASCADE_WIDTH];
    int64_t rows;  ///< added so far
    int32_t power;
} mk_cascade;
/// The power for a sum of n numbers; `pairs` for 16-bit types, whose rows have 64.
int32_t mk_cascade_power(int64_t n, bool pairs);
/// Adds rows of |x|.
void mk_cascade_absolute(mk_cascade *sum, const float *x, int64_t rows, bool pairs);
/// Adds a sum that was begun at zero, 2^(3 power) rows after `sum` or a multiple of that.
void mk_cascade_append(mk_cascade *sum, const mk_cascade *next);
/// The total with the last n numbers, fewer than a row; of a sum without rows they are all there is.
float mk_cascade_finish(const mk_cascade *sum, const float *rest, int64_t n, bool pairs);

/// Adds sum_c v[r][c] to row_sums[r] and sum_r v[r][c] to col_sums[c], v being |x| or x^2; in double, in order.
void mk_prune_sums(const float *x, int64_t rows, int64_t cols, bool squares, double *row_sums, double *col_sums);
/// Adds sum_r x[r][c] * y[r][c] to sums[c], in double, in order.
void mk_column_products(const float *x, const float *y, int64_t rows, int64_t cols, double *sums);
/// out[r][i] = x[r][kept[i]].
void mk_prune_columns(const float *x, int64_t rows, int64_t cols, const int64_t *kept, int64_t count, float *out);

// ---------------------------------------------------------------------------------------------- machine peaks

/// Runs `rounds` rounds of nothing but the multiply-add that this path has for that precision (bytes into 32 bits, bf16
/// pairs, fp32) on all threads; returns how many multiplications and additions that were, 0 if the path has none.
double mk_peak_operations(const mk_context *ctx, int32_t compute, int64_t rounds);
/// Reads n bytes with all threads as fast as the memory gives them; returns some sum of them.
uint64_t mk_peak_read(const mk_context *ctx, const void *data, size_t n);

#endif
