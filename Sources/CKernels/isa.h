/// The table of micro-kernels of one instruction set, and the shapes they share with the drivers (private to CKernels).
///
/// A *panel* holds 16 outputs side by side for a stretch of the reduction: panel[depth][16] cells, a *cell* being one
/// fp32 or a pair of bf16 in the 32 bits of a float. Up to four panels lie behind each other at a fixed distance and
/// form a block of 64 outputs. Every product in floats (forward, backward, attention) packs one operand into panels and
/// calls a micro-kernel; each output is one chain in reduction order, which the accumulators carry from block to block.
#ifndef MERASER_ISA_H
#define MERASER_ISA_H

#include <stdatomic.h>

#include "CKernels.h"
#include "int8_gradient.h"

enum {
    MK_PANEL_WIDTH = 16,         ///< outputs of a panel
    MK_BLOCK_PANELS = 4,         ///< panels of a block
    MK_BLOCK_WIDTH = 64,         ///< outputs of a block
    MK_BLOCK_DEPTH = 256,        ///< longest stretch of the reduction that a panel holds
    MK_PANEL_STRIDE = 256 * 16,  ///< floats from one panel of a block to the next
    MK_BLOCK_FLOATS = 4 * 256 * 16,
    MK_INT8_GROUPS = 2,           ///< most groups of 16 weight rows in a call of mk_int8.rows
    MK_INT8_STRIP = 64,           ///< most tokens of a strip on any instruction set
    MK_INT8_PANEL_BYTES = 18432,  ///< most bytes of the unpacked blocks of a call of mk_int8.panel_rows
    MK_INT8_BLOCK_BYTES = 84,     ///< most bytes of a packed block of a token
    MK_GEMV_TOKENS = 4,           ///< most tokens of one call of gemv
    MK_LOWRANK_TOKENS = 24,       ///< tokens of a piece of a LoRA term
    MK_LOWRANK_WIDTH = 256,       ///< columns of a piece of a LoRA gradient
};

/// What a wide quad of activations costs; see int8_pack.h, and linear_int8.c for which weights have which.
#define WIDE_COST 32.0f
#define WIDE_COST_FINE 12.0f

/// The int8 product of an instruction set. Activations are quantized per token and block of 32 columns (int8_pack.h)
/// and packed in strips of up to `height` tokens, in a layout of its own: block after block, all tokens of a block
/// together.
typedef struct mk_int8 {
    int64_t height;       ///< most tokens of a strip
    int64_t block_bytes;  ///< of a token
    /// Quantizes `blocks` blocks of `tokens` rows of x into part of a strip.
    void (*pack)(const float *x, int64_t ldx, int64_t tokens, int64_t blocks, float wide_cost, void *strip);
    /// Continues the chains sums[t][16 g + r] += (d * scale) * (T[q] . codes) over the blocks in order, r < 16, g <
    /// groups <= 2 (with a minimum: see affine_int8_body.h). The groups lie `stride` bytes apart.
    void (*rows)(int32_t type, const uint8_t *group, int64_t stride, int64_t groups, int64_t blocks, const void *strip,
                 int64_t tokens, float *sums);
    /// Where unpacking costs much, pieces of `panel_strips` strips or more have their weights unpacked once for all of
    /// them, `panel_blocks` blocks of `panel_groups` groups at a time; `unpack` NULL: never.
    int64_t panel_bytes, panel_groups, panel_blocks, panel_strips;
    /// `count` blocks of a group from block `first` on to a panel, panel_bytes each.
    void (*unpack)(int32_t type, const uint8_t *group, int64_t first, int64_t count, uint8_t *panel);
    /// `rows` with panels, `stride` bytes apart. The strip that comes next lies `next` bytes behind this one, or
    /// nothing does: it may be fetched in advance.
    void (*panel_rows)(const uint8_t *panel, int64_t stride, int64_t groups, int64_t blocks, const void *strip,
                       int64_t tokens, int64_t next, float *sums);
} mk_int8;

/// What of quantizing depends on the instruction set; see feedback.h.
typedef struct mk_quantizer mk_quantizer;

struct mk_isa {
    const char *name;

    const mk_quantizer *quantizer;

    /// Weights of tiled types. A *group* is 16 rows: tiles side by side; a *block* is 32 of its columns.
    /// panel[c][r] = w[r][c] of `count` blocks of a group from block `first` on.
    void (*expand_rows)(int32_t type, const uint8_t *group, int64_t first, int64_t count, float *panel);
    /// left[r][c] = w[r][c], right[r][c] = w[r][16 + c] of block `block` of `count` groups, `stride` bytes apart.
    void (*expand_cols)(int32_t type, const uint8_t *group, int64_t block, int64_t stride, int64_t count, float *left,
                        float *right);
    /// panel[c][r] = src[r][c] for rows <= 16 rows of `depth` columns; missing rows are 0.
    void (*pack_rows)(const float *src, int64_t ld, int64_t rows, int64_t depth, float *panel);
    /// acc[i][j] = the chain acc[i][j] + a[i][0] * panel[0][j] + a[i][1] * panel[1][j] ..., i < m, j < 16 * panels.
    void (*gemm)(const float *block, int64_t panels, int64_t depth, const float *a, int64_t lda, int64_t m, float *acc,
                 int64_t ldacc);

    const mk_int8 *int8;
    /// For the weights of q4_0, where their small range allows more; elsewhere the same as int8.
    const mk_int8 *int8_q4_0;
    /// For the types of affine.h.
    const mk_int8 *int8_affine;
    /// The int8 backward of types without a minimum.
    const mk_int8_gradient *int8_gradient;

    /// Tokens of a tile of packed activations: those that the micro-kernels of the linear layers keep in registers.
    int64_t token_tile;
    /// out[d][i] = src[i][d] of rows <= token_tile rows of `depth` cells; a row of `out` is token_tile cells long.
    void (*interleave)(const float *src, int64_t ld, int64_t rows, int64_t depth, float *out);
    /// sums[t][j] = the chain sums[t][j] + x[t][0] * panel[0][j] + x[t][1] * panel[1][j] ..., j < 16 * panels, for
    /// packed activations x[tile][depth][token_tile]; a row of sums is MK_BLOCK_WIDTH floats long.
    void (*packed_gemm)(const float *block, int64_t panels, int64_t depth, const float *x, int64_t tokens, float *sums);

    /// sums[t][16 g + r] = the chain x[t][0] * w[0] + x[t][1] * w[1] ... of row r of `groups` <= 4 groups, `stride`
    /// bytes apart, each of `count` blocks; t < tokens <= MK_GEMV_TOKENS. The bits of packed_gemm. NULL on the portable
    /// path.
    void (*gemv)(int32_t type, const uint8_t *group, int64_t stride, int64_t groups, int64_t count, const float *x,
                 int64_t ldx, int64_t tokens, float *sums);

    /// The linear kernels on pairs of bf16 (see bf16_body.h); all NULL where the CPU has no bf16.
    void (*bf16_round)(const float *x, int64_t n, float *cells);
    void (*bf16_expand_rows)(int32_t type, const uint8_t *group, int64_t first, int64_t count, float *panel);
    void (*bf16_expand_cols)(int32_t type, const uint8_t *group, int64_t block, int64_t stride, int64_t count,
                             float *left, float *right);
    void (*bf16_gemm)(const float *block, int64_t panels, int64_t depth, const float *x, int64_t tokens, float *sums);

    /// The LoRA terms of some tokens and a factor in panels[width / 16][rank][16]; see lowrank_body.h and mk_linear.h.
    /// reduce: at most MK_LOWRANK_TOKENS tokens; gradient: sums[ranks][MK_LOWRANK_WIDTH] of width <= MK_LOWRANK_WIDTH
    /// are added to.
    void (*lowrank_reduce)(const float *x, int64_t ldx, int64_t tokens, int64_t width, const float *panels,
                           int64_t rank, float scale, float *u);
    void (*lowrank_expand)(const float *u, int64_t tokens, int64_t rank, const float *panels, int64_t width, float *y,
                           int64_t ldy, bool accumulate);
    void (*lowrank_gradient)(const float *u, int64_t rank, int64_t ranks, const float *x, int64_t ldx, int64_t tokens,
                             int64_t width, float *sums);

    /// Row kernels; see rows_body.h, layernorm_body.h and activation_body.h.
    float (*rmsnorm)(const float *x, const float *weight, float eps, int64_t k, float *y);
    void (*rmsnorm_backward)(const float *x, const float *weight, float rstd, const float *dy, int64_t k, float *dx);
    float (*layernorm)(const float *x, const float *weight, const float *bias, float eps, int64_t k, float *y);
    void (*layernorm_backward)(const float *x, const float *weight, float rstd, const float *dy, int64_t k, float *dx);
    void (*activate)(int32_t kind, int64_t n, float *x);
    /// y = f(gate) * up; without `up` f(gate). The backward writes dgate, and dup where there is an `up`.
    void (*gated)(int32_t kind, const float *gate, const float *up, int64_t n, float *y);
    void (*gated_backward)(int32_t kind, const float *gate, const float *up, const float *dy, int64_t n, float *dgate,
                           float *dup);
    /// x = cap tanh(x / cap); dx *= the slope there, y being the forward's result.
    void (*soft_cap)(float *x, int64_t n, float cap);
    void (*soft_cap_gradient)(float *dx, const float *y, int64_t n, float cap);
    void (*swiglu)(const float *gate, const float *up, int64_t n, float *y);
    void (*swiglu_backward)(const float *gate, const float *up, const float *dy, int64_t n, float *dgate, float *dup);
    /// log(sum(exp(x))) of n values.
    float (*logsumexp)(const float *x, int64_t n);
    /// The index of the largest of n values, the lowest among equals; NaNs are never the largest.
    int64_t (*argmax)(const float *x, int64_t n);
    /// x = scale * exp(x - lse).
    void (*softmax_gradient)(float *x, int64_t n, float lse, float scale);

    /// Attention; see attention_body.h, and attention.h for the panels.
    /// acc[i][j] = the chain acc[i][j] + a[i][0] * panel[0][j] + a[i][1] * panel[1][j] ..., i < m, j < 16 * panels,
    /// over `depth` steps (even for bf16) of panels that lie `distance` bytes apart.
    void (*panel_product)(int32_t type, const void *block, int64_t panels, int64_t distance, int64_t depth,
                          const float *a, int64_t lda, int64_t m, float *acc, int64_t ldacc);
    /// Output `lane` of a panel of keys = x[0..d), zeros up to the next multiple of 16.
    void (*panel_store_key)(int32_t type, const float *x, int64_t d, int64_t lane, void *panel);
    /// Step `key` of the panels of values = x[0..d), zeros as above; for an even key the next one becomes 0 (bf16).
    void (*panel_store_value)(int32_t type, const float *x, int64_t d, int64_t key, void *block, int64_t distance);
    /// One step of the online softmax over a page: s becomes exp(s - max') on [lo, hi) and 0 elsewhere on [0, 64),
    /// where max' includes the new scores; updates max and the 16 partial sums, returns exp(max - max').
    float (*softmax_page)(float *s, int64_t lo, int64_t hi, float *max, float *sum);
    /// Adds the online softmax (out2, sum2, max2) to the first; d is a multiple of 16.
    void (*softmax_merge)(float *out, float *sum, float *max, const float *out2, const float *sum2, float max2,
                          int64_t d);
    /// One key against n rows, a multiple of 16: where a row sees the key, lo <= key < hi, s becomes the probability
    /// p = exp(s - lse), and dp becomes p * (dp - delta) * scale; elsewhere both become 0.
    void (*attention_gradient)(float *s, float *dp, int64_t n, int32_t key, const int32_t *lo, const int32_t *hi,
                               const float *lse, const float *delta, float scale);
    /// x[0..n) *= a.
    void (*scale)(float *x, int64_t n, float a);
    float (*dot)(const float *x, const float *y, int64_t n);
    /// y (+)= x * keep / (1 - p) over n features; see dropout.c for the generator.
    void (*dropout)(const float *x, int64_t n, uint64_t key, uint32_t sample, uint32_t position, uint32_t threshold,
                    float scale, float *y, bool accumulate);
    /// bf16 of n values, round to nearest even, and back.
    void (*to_bf16)(const float *x, int64_t n, uint16_t *y);
    void (*from_bf16)(const uint16_t *x, int64_t n, float *y);
};

extern const mk_isa mk_isa__portable;
#if defined(__aarch64__)
extern const mk_isa mk_isa__neon;
#endif
#if defined(__x86_64__)
extern const mk_isa mk_isa__avx2;
extern const mk_isa mk_isa__avxvnni;
extern const mk_int8 mk_int8__nibbles256;  ///< q4_0 with AVX2
extern const mk_isa mk_isa__avx512;
extern const mk_isa mk_isa__avx512vnni;
extern const mk_isa mk_isa__avx512bf16;
extern const mk_isa mk_isa__avx512intel;
#endif

extern const mk_quantizer mk_quantizer__portable;
#if defined(__x86_64__)
extern const mk_quantizer mk_quantizer__avx2;
extern const mk_quantizer mk_quantizer__avx512;
#endif

uint32_t mk_crc32c__portable(uint32_t crc, const void *data, size_t n);
#if defined(__x86_64__)
uint32_t mk_crc32c__sse42(uint32_t crc, const void *data, size_t n);
#endif

/// mk_linear_forward for those of the outputs whose weights are tiled.
void mk_linear_int8(const mk_context *ctx, const mk_linear_output *outputs, int32_t count, const float *x, int64_t ldx,
                    int64_t tokens, void *workspace);
/// Bytes of workspace that it needs.
size_t mk_linear_int8_workspace(int64_t tokens, int64_t cols);

/// True if the weights have an int8 backward: tiled ones without a minimum.
bool mk_has_int8_gradient(const mk_matrix *w);
/// mk_linear_backward for inputs whose weights all have one.
void mk_linear_int8_gradient(const mk_context *ctx, const mk_linear_input *inputs, int32_t count, int64_t tokens,
                             float *dx, int64_t lddx, bool accumulate, void *workspace);
/// Bytes of workspace that it needs for an input of `rows` rows.
size_t mk_int8_gradient_workspace(int64_t tokens, int64_t rows);

/// Panels of a block of up to 64 rows of `w` over `cols` <= MK_BLOCK_DEPTH columns from `col0` (a multiple of 32): the
/// forward's. With `pairs` a cell holds two columns as bf16; of an odd last column the partner is 0.
void mk_panels_of_rows(const mk_isa *isa, bool pairs, const mk_matrix *w, int64_t row0, int64_t rows, int64_t col0,
                       int64_t cols, float *block);
/// Panels of a block of up to 64 columns of `w` over `rows` <= MK_BLOCK_DEPTH rows from `row0` (a multiple of 32): the
/// backward's. With `pairs` a cell holds two rows as bf16; of an odd last row the partner is 0.
void mk_panels_of_cols(const mk_isa *isa, bool pairs, const mk_matrix *w, int64_t col0, int64_t cols, int64_t row0,
                       int64_t rows, float *block);
/// Panels of the columns of a plain fp32 array: block[j / 16][r][j % 16] = src[r][j]; the last panel is filled with 0.
void mk_pack_cols(const float *src, int64_t ld, int64_t rows, int64_t cols, float *block, int64_t panel_stride);
/// `n` weights of a plain type as fp32.
void mk_plain_to_float(int32_t type, const void *src, int64_t n, float *dst);

static inline int64_t mk_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static inline int64_t mk_max(int64_t a, int64_t b) {
    return a > b ? a : b;
}
static inline int64_t mk_ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/// Bytes of a group of 16 rows of `cols` weights of a tiled type: tiles side by side.
static inline int64_t mk_group_bytes(int32_t type, int64_t cols) {
    return cols / mk_tile_columns(type) * mk_tile_bytes(type);
}

/// Elementary operations of a loop that is worth sharing: waking helpers costs more than a smaller one saves. It
/// depends on the size only, and results never depend on it.
#define MK_SHARED_OPERATIONS 32768

/// A block that is not kept: it lies on the caller's stack and needs no runtime library but one symbol.
#define MK_LENT __attribute__((noescape))

/// Runs `body` on the calling thread, and on those of the pool that come before it has returned there; each has a
/// number of its own, from 0 on and below mk_pool_threads. Returns when all have. The body takes pieces of the work
/// from a counter until none is left.
void mk_share(const mk_context *ctx, double operations, MK_LENT void (^body)(int32_t thread));
/// Runs `body` for the pieces 0 ... pieces - 1 in any order, shared likewise.
void mk_for(const mk_context *ctx, double operations, int64_t pieces, MK_LENT void (^body)(int64_t piece));
/// The same for the spans start ... start + count - 1 of 0 ... n - 1; all but the last are `span` long.
void mk_for_spans(const mk_context *ctx, double operations, int64_t n, int64_t span,
                  MK_LENT void (^body)(int64_t start, int64_t count));

/// Hands out the pieces of a body of mk_share.
typedef _Atomic int64_t mk_counter;
static inline int64_t mk_next(mk_counter *counter) {
    return atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

#endif
