/// Few tokens in f32: the weights are expanded in registers and used at once, without the way through a panel. Needs
/// the instruction set's gemv_tokens (expand_NAME.h).
#ifndef MERASER_GEMV_BODY_H
#define MERASER_GEMV_BODY_H

static void gemv(const int8_t *codebook, const uint8_t *tiles, int64_t stride, int64_t groups, int64_t count,
                 const float *x, int64_t ldx, int64_t tokens, float *sums) {
    switch (tokens) {
#define TOKENS(n)                                                             \
    case n:                                                                   \
        gemv_tokens(n, codebook, tiles, stride, groups, count, x, ldx, sums); \
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
