/// What layers do beside products and attention: norms, rotations, activations, losses, sums (a family of CKernels.h).
#ifndef MERASER_MK_LAYERS_H
#define MERASER_MK_LAYERS_H

#include "mk_context.h"

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

/// Lowers logits[t][tokens[t]] to where its probability is exp(log_limit[t]) where it is larger; the others keep their
/// proportions. Rows with log_limit >= 0 are left as they are.
void mk_limit_probability(const mk_context *ctx, float *logits, int64_t ldl, int64_t rows, int64_t vocab,
                          const int32_t *tokens, const float *log_limit);

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

#endif
