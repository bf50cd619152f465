/// The int8 product with weights s * q + m (affine.h), written once for every instruction set: of a block, in this
/// order,
///     sum += (s * unit) * (q . codes)          q6_k: for each half of the block, with q - 32
///     sum += m * (unit * (1 . codes))          but of q6_k
/// in fused multiply-adds, unit being the scale of the activations' block. The integers are exact.
///
/// Tiles are unpacked in registers, again for every strip: from panels, unpacked once for all strips, AVX-512 was
/// slower.
///
/// No include guard: the including file has set the target attribute and defines
///   AFFINE_(name)                the name of a function for this instruction set,
///   AFFINE_TOKENS                most tokens of a strip: 4 or 6,
///   AFFINE_GROUPS                groups that a strip is multiplied with at once: 1 or 2,
///   AFFINE_SUM                   the type of an accumulator of 16 rows,
///   AFFINE_BEGIN(total)          an accumulator, from whole integers,
///   AFFINE_DOT(sum, w, x)        sum + the products of w, 64 unsigned bytes below 64, with the four signed bytes of x,
///   AFFINE_END(sum, total)       the integers, of an accumulator that was begun from `total`.
/// A 16-bit accumulator has room for 8 quads of 4 bits, 4 of 5 and 2 of 6: 8 * 2 * 15 * 127 = 30480.

/// What the integers of a block, or of its half, begin with: what makes up for q6_k's 32, and the high digits of the
/// quads `wide`.
MK_INLINE void AFFINE_(begin)(const int32_t type, const int tokens, const int groups, const affine_place *w,
                              uint32_t wide, const int32_t *high, const int32_t *first,
                              mk_i16 total[AFFINE_GROUPS][AFFINE_TOKENS]) {
#pragma clang loop unroll(full)
    for (int g = 0; g < groups; g++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) total[g][t] = (mk_i16)(type == MK_Q6_K && wide == 0 ? first[t] : 0);
    }
    if (wide == 0) return;
    for (; wide != 0; wide &= wide - 1) {
        const int j = __builtin_ctz(wide);
#pragma clang loop unroll(full)
        for (int g = 0; g < groups; g++) {
            const mk_bytes64 quad = affine_quad(type, w[g].codes, j);
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) {
                const AFFINE_SUM dot = AFFINE_DOT(AFFINE_BEGIN(total[g][t]), quad, high[j * tokens + t]);
                total[g][t] = AFFINE_END(dot, total[g][t]);
            }
        }
    }
#pragma clang loop unroll(full)
    for (int g = 0; g < groups; g++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) total[g][t] = total[g][t] * DIGIT + (type == MK_Q6_K ? first[t] : 0);
    }
}

/// `tokens` x 16 `groups` outputs over all blocks; the counts are constants where this is inlined.
MK_INLINE void AFFINE_(tile)(const int32_t type, const int tokens, const int groups, const uint8_t *weights,
                             int64_t stride, int64_t blocks, const int32_t *x, float *sums, int64_t width) {
    const int quads = type == MK_Q6_K ? 2 : type == MK_Q5_K ? 4 : 8;
    mk_v16 sum[AFFINE_GROUPS][AFFINE_TOKENS];
#pragma clang loop unroll(full)
    for (int g = 0; g < groups; g++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) sum[g][t] = load16(sums + t * width + 16 * g);
    }
    for (int64_t b = 0; b < blocks; b++, x += AFFINE_BLOCK_BYTES / 4 * tokens) {
        affine_place w[AFFINE_GROUPS];
#pragma clang loop unroll(full)
        for (int g = 0; g < groups; g++) {
            w[g] = affine_find(type, weights + g * stride, b);
            affine_prefetch(type, w[g], b);
        }
        mk_i16 total[AFFINE_GROUPS][AFFINE_TOKENS];
        const uint32_t wide = (uint32_t)x[12 * tokens];
        const int32_t *high = x + 12 * tokens + 1;
        AFFINE_SUM dot[AFFINE_GROUPS][AFFINE_TOKENS];
#pragma clang loop unroll(full)
        for (int j = 0; j < 8; j++) {
            if (j == 0 || (type == MK_Q6_K && j == 4)) {
                const uint32_t here = type == MK_Q6_K ? wide & 15u << j : wide;
                AFFINE_(begin)(type, tokens, groups, w, here, high, x + (8 + j / 4) * tokens, total);
            }
            mk_bytes64 quad[AFFINE_GROUPS];
#pragma clang loop unroll(full)
            for (int g = 0; g < groups; g++) quad[g] = affine_quad(type, w[g].codes, j);
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) {
#pragma clang loop unroll(full)
                for (int g = 0; g < groups; g++) {
                    if (j % quads == 0) dot[g][t] = AFFINE_BEGIN(total[g][t]);
                    dot[g][t] = AFFINE_DOT(dot[g][t], quad[g], x[j * tokens + t]);
                    if (j % quads == quads - 1) total[g][t] = AFFINE_END(dot[g][t], total[g][t]);
                }
            }
            if (j != 7 && !(type == MK_Q6_K && j == 3)) continue;
#pragma clang loop unroll(full)
            for (int g = 0; g < groups; g++) {
                const affine_units u = affine_units_of(type, w[g]);
#pragma clang loop unroll(full)
                for (int t = 0; t < tokens; t++) {
                    float unit, part;
                    memcpy(&unit, x + 10 * tokens + t, sizeof unit);
                    memcpy(&part, x + 11 * tokens + t, sizeof part);
                    const mk_v16 scale = u.scale[j / 4] * unit;
                    sum[g][t] = scale * __builtin_convertvector(total[g][t], mk_v16) + sum[g][t];
                    if (type != MK_Q6_K) sum[g][t] = u.minimum[0] * part + sum[g][t];
                }
            }
        }
    }
#pragma clang loop unroll(full)
    for (int t = 0; t < tokens; t++) {
#pragma clang loop unroll(full)
        for (int g = 0; g < groups; g++) store16(sums + t * width + 16 * g, sum[g][t]);
    }
}

/// Few tokens walk through one group after the other, in the order of the file.
MK_INLINE void AFFINE_(groups)(const int32_t type, const int tokens, const uint8_t *weights, int64_t stride,
                               int64_t groups, int64_t blocks, const int32_t *x, float *sums) {
    const int64_t width = MK_TILE_ROWS * groups;
    if (tokens > 4 && groups == AFFINE_GROUPS) {
        AFFINE_(tile)(type, tokens, AFFINE_GROUPS, weights, stride, blocks, x, sums, width);
        return;
    }
    for (int64_t g = 0; g < groups; g++, weights += stride, sums += MK_TILE_ROWS) {
        AFFINE_(tile)(type, tokens, 1, weights, stride, blocks, x, sums, width);
    }
}

/// The type becomes a constant.
MK_INLINE void AFFINE_(types)(const int tokens, int32_t type, const uint8_t *weights, int64_t stride, int64_t groups,
                              int64_t blocks, const int32_t *x, float *sums) {
#define CALL(constant) AFFINE_(groups)(constant, tokens, weights, stride, groups, blocks, x, sums)
    AFFINE_SWITCH(type, CALL)
#undef CALL
}

static void AFFINE_(rows)(int32_t type, const uint8_t *weights, int64_t stride, int64_t groups, int64_t blocks,
                          const void *strip, int64_t tokens, float *sums) {
    switch (tokens) {
#define TOKENS(n)                                                              \
    case n:                                                                    \
        AFFINE_(types)(n, type, weights, stride, groups, blocks, strip, sums); \
        break
        TOKENS(1);
        TOKENS(2);
        TOKENS(3);
        TOKENS(4);
#if AFFINE_TOKENS > 4
        TOKENS(5);
        TOKENS(6);
#endif
#undef TOKENS
        default:
            break;
    }
}

static const mk_int8 AFFINE_(int8) = {
    .height = AFFINE_TOKENS, .block_bytes = AFFINE_BLOCK_BYTES, .pack = pack_affine, .rows = AFFINE_(rows)};

#undef AFFINE_
#undef AFFINE_TOKENS
#undef AFFINE_GROUPS
#undef AFFINE_SUM
#undef AFFINE_BEGIN
#undef AFFINE_DOT
#undef AFFINE_END
