/// The int8 product with vpdpbusd on 512 bits: one instruction multiplies 4 columns of 16 rows with those of a token.
///
/// It wants unsigned times signed bytes: the weights' codes get 128 added (4 bits: in the codebook; 8 bits: by an
/// exclusive or), which the accumulator's first value takes back. Tiles are unpacked in registers, again for every
/// strip of tokens: the shuffles run beside the multiplications, and the weights stream at their stored size.
#ifndef MERASER_INT8_VNNI512_H
#define MERASER_INT8_VNNI512_H

enum {
    VNNI512_TOKENS = 6,    ///< 6 tokens x 32 rows: 12 accumulators and 12 sums, of 32 registers
    VNNI512_AHEAD = 4096,  ///< bytes of weights that are fetched in advance
};

/// Columns 4 j ... 4 j + 3 of a tile, plus 128. `book` holds the codebook plus 128.
MK_INLINE __m512i vnni512_quad(const bool nibbles, const uint8_t *tile, int j, __m512i book) {
    if (!nibbles) return _mm512_xor_si512(_mm512_loadu_si512(tile + 32 + 64 * j), _mm512_set1_epi8(-128));
    __m512i packed = _mm512_loadu_si512(tile + 32 + 64 * (j / 2));
    packed = _mm512_srl_epi16(packed, _mm_cvtsi32_si128(j % 2 * 4));
    return _mm512_shuffle_epi8(book, _mm512_and_si512(packed, _mm512_set1_epi8(15)));
}

/// `tokens` x 16 `groups` outputs over all blocks; both counts are constants where this is inlined.
MK_INLINE void vnni512_tile(const bool nibbles, const int tokens, const int groups, __m512i book, const uint8_t *tiles,
                            int64_t stride, int64_t blocks, const int32_t *x, float *sums, int64_t width) {
    const int64_t tile_bytes = nibbles ? MK_TILE_BYTES_4BIT : MK_TILE_BYTES_8BIT;
    __m512 sum[2][VNNI512_TOKENS];
#pragma clang loop unroll(full)
    for (int g = 0; g < groups; g++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) sum[g][t] = _mm512_loadu_ps(sums + t * width + 16 * g);
    }
    for (int64_t b = 0; b < blocks; b++, tiles += tile_bytes, x += QUADS_BYTES / 4 * tokens) {
        __m512i dot[2][VNNI512_TOKENS];
        const uint32_t wide = (uint32_t)x[10 * tokens];
#pragma clang loop unroll(full)
        for (int g = 0; g < groups; g++) {
#pragma clang loop unroll(full)
            for (int line = 0; line < tile_bytes; line += 64) {
                _mm_prefetch((const char *)(tiles + g * stride + VNNI512_AHEAD + line), _MM_HINT_T0);
            }
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) dot[g][t] = _mm512_set1_epi32(wide == 0 ? x[8 * tokens + t] : 0);
        }
        if (wide != 0) {
            const int32_t *high = x + 10 * tokens + 1;
            for (uint32_t rest = wide; rest != 0; rest &= rest - 1) {
                const int j = __builtin_ctz(rest);
#pragma clang loop unroll(full)
                for (int g = 0; g < groups; g++) {
                    const __m512i w = vnni512_quad(nibbles, tiles + g * stride, j, book);
#pragma clang loop unroll(full)
                    for (int t = 0; t < tokens; t++) {
                        dot[g][t] = _mm512_dpbusd_epi32(dot[g][t], w, _mm512_set1_epi32(high[j * tokens + t]));
                    }
                }
            }
#pragma clang loop unroll(full)
            for (int g = 0; g < groups; g++) {
#pragma clang loop unroll(full)
                for (int t = 0; t < tokens; t++) {
                    dot[g][t] = _mm512_add_epi32(_mm512_slli_epi32(dot[g][t], 7), _mm512_set1_epi32(x[8 * tokens + t]));
                }
            }
        }
#pragma clang loop unroll(full)
        for (int j = 0; j < 8; j++) {
            __m512i w[2];
#pragma clang loop unroll(full)
            for (int g = 0; g < groups; g++) w[g] = vnni512_quad(nibbles, tiles + g * stride, j, book);
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) {
                const __m512i q = _mm512_set1_epi32(x[j * tokens + t]);
#pragma clang loop unroll(full)
                for (int g = 0; g < groups; g++) dot[g][t] = _mm512_dpbusd_epi32(dot[g][t], w[g], q);
            }
        }
#pragma clang loop unroll(full)
        for (int g = 0; g < groups; g++) {
            const __m512 d = scales512(tiles + g * stride);
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) {
                const __m512 scale = _mm512_mul_ps(d, _mm512_castsi512_ps(_mm512_set1_epi32(x[9 * tokens + t])));
                sum[g][t] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(dot[g][t]), sum[g][t]);
            }
        }
    }
#pragma clang loop unroll(full)
    for (int t = 0; t < tokens; t++) {
#pragma clang loop unroll(full)
        for (int g = 0; g < groups; g++) _mm512_storeu_ps(sums + t * width + 16 * g, sum[g][t]);
    }
}

/// Few tokens walk through one group after the other, in the order of the file.
MK_INLINE void vnni512_groups(const bool nibbles, const int tokens, __m512i book, const uint8_t *tiles, int64_t stride,
                              int64_t groups, int64_t blocks, const int32_t *x, float *sums) {
    const int64_t width = MK_TILE_ROWS * groups;
    if (tokens > 3 && groups == 2) {
        vnni512_tile(nibbles, tokens, 2, book, tiles, stride, blocks, x, sums, width);
        return;
    }
    for (int64_t g = 0; g < groups; g++, tiles += stride, sums += MK_TILE_ROWS) {
        vnni512_tile(nibbles, tokens, 1, book, tiles, stride, blocks, x, sums, width);
    }
}

static void vnni512_rows(int32_t type, const uint8_t *tiles, int64_t stride, int64_t groups, int64_t blocks,
                         const void *strip, int64_t tokens, float *sums) {
    const int8_t *codebook = mk_codebook(type);
    const __m512i book =
        codebook == NULL ? _mm512_setzero_si512() : _mm512_xor_si512(codebook512(codebook), _mm512_set1_epi8(-128));
    switch (tokens) {
#define TOKENS(n)                                                                       \
    case n:                                                                             \
        if (codebook != NULL) {                                                         \
            vnni512_groups(true, n, book, tiles, stride, groups, blocks, strip, sums);  \
        } else {                                                                        \
            vnni512_groups(false, n, book, tiles, stride, groups, blocks, strip, sums); \
        }                                                                               \
        break
        TOKENS(1);
        TOKENS(2);
        TOKENS(3);
        TOKENS(4);
        TOKENS(5);
        TOKENS(6);
#undef TOKENS
        default:
            break;
    }
}

static const mk_int8 int8_vnni512 = {
    .height = VNNI512_TOKENS, .block_bytes = QUADS_BYTES, .pack = pack_quads, .rows = vnni512_rows};

#define AFFINE_(name) vnni512_affine_##name
#define AFFINE_TOKENS 6
#define AFFINE_GROUPS 2
#define AFFINE_SUM mk_i16
#define AFFINE_BEGIN(total) (total)
#define AFFINE_DOT(sum, w, x) ((mk_i16)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(w), _mm512_set1_epi32(x)))
#define AFFINE_END(sum, total) (sum)
#include "affine_int8_body.h"

#endif
