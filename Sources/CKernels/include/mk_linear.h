/// Products with weights, forward and backward, and LoRA terms (a family of CKernels.h).
#ifndef MERASER_MK_LINEAR_H
#define MERASER_MK_LINEAR_H

#include "mk_context.h"
#include "mk_types.h"

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
/// The most that it says for `count` inputs whose weights have `rows` rows in all.
size_t mk_linear_backward_workspace_bound(int32_t compute, int32_t count, int64_t rows, int64_t tokens);

/// dx[t][k] (+)= sum_i sum_n dy_i[t][n] * w_i[n][k] over 1 ... MK_GROUP_MAX inputs whose weights have the same K: one
/// fp32 chain over i and n in order. f32 and bf16 mean what they mean in the forward; the values of the weights are the
/// forward's. int8 is for tiled types without a minimum (int8_gradient.h): these inputs come first, in a chain of their
/// own, the others are computed in f32.
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

#endif
