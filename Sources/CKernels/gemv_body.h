/// Few tokens in f32: the weights are expanded in registers and used at once, without the way through a panel. Needs
/// the instruction set's gemv_tokens (expand_NAME.h).
#ifndef MERASER_GEMV_BODY_H
#define MERASER_GEMV_BODY_H

static void gemv(int32_t type, const uint8_t *group, int64_t stride, int64_t groups, int64_t count, const float *x,
                 int64_t ldx, int64_t tokens, float *sums) {
    const int8_t *codebook = mk_codebook(type);
    const bool is_affine = mk_type_is_affine(type);
    switch (tokens) {
#define TOKENS(n)                                                                 \
    case n:                                                                       \
        if (is_affine) {                                                          \
            affine_gemv(n, type, group, stride, groups, count, x, ldx, sums);     \
        } else {                                                                  \
            gemv_tokens(n, codebook, group, stride, groups, count, x, ldx, sums); \
        }                                                                         \
        break
        TOKENS(1);
        TOKENS(2);
        TOKENS(3);
        TOKENS(4);
#undef TOKENS
        default:
            break;
    }
}

#endif
