/// The int8 product with vpdpbusd on 512 bits: one instruction multiplies 4 columns of 16 rows with those of a token.
///
/// It wants unsigned times signed bytes: the weights' codes get 128 added (4 bits: in the codebook; 8 bits: by an
/// exclusive or), which the accumulator's first value takes back. Tiles are unpacked in registers, again for every
/// strip of tokens: where shuffles run beside the multiplications, the weights stream at their stored size. Where they
/// share its ports, many strips read panels that were unpacked once (int8_vnni512_panels): the same integers.
#ifndef MERASER_INT8_VNNI512_H
#define MERASER_INT8_VNNI512_H

enum {
    VNNI512_TOKENS = 6,    ///< 6 tokens x 32 rows: 12 accumulators and 12 sums, of 32 registers
    VNNI512_AHEAD = 4096,  ///< bytes of weights that are fetched in advance
    VNNI512_PANEL = 576,   ///< bytes of an unpacked tile: the codes plus 128, [quad][16 rows][4], then the scales
};

/// What the weights lie in.
enum { NIBBLE_TILES, BYTE_TILES, PANELS };

/// Columns 4 j ... 4 j + 3 of a tile, plus 128. `book` holds the codebook plus 128.
MK_INLINE __m512i vnni512_quad(const int source, const uint8_t *tile, int j, __m512i book) {
    if (source == PANELS) return _mm512_load_si512(tile + 64 * j);
    if (source == BYTE_TILES) return _mm512_xor_si512(_mm512_loadu_si512(tile + 32 + 64 * j), _mm512_set1_epi8(-128));
    __m512i packed = _mm512_loadu_si512(tile + 32 + 64 * (j / 2));
    packed = _mm512_srl_epi16(packed, _mm_cvtsi32_si128(j % 2 * 4));
    return _mm512_shuffle_epi8(book, _mm512_and_si512(packed, _mm512_set1_epi8(15)));
}

/// `tokens` x 16 `groups` outputs over all blocks; both counts are constants where this is inlined.
MK_INLINE void vnni512_tile(const int source, const int tokens, const int groups, __m512i book, const uint8_t *tiles,
                            int64_t stride, int64_t blocks, const int32_t *x, int64_t next, float *sums,
                            int64_t width) {
    const int64_t tile_bytes = source == PANELS         ? VNNI512_PANEL
                               : source == NIBBLE_TILES ? MK_TILE_BYTES_4BIT
                                                        : MK_TILE_BYTES_8BIT;
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
            for (int line = 0; source != PANELS && line < tile_bytes; line += 64) {
                _mm_prefetch((const char *)(tiles + g * stride + VNNI512_AHEAD + line), _MM_HINT_T0);
            }
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) dot[g][t] = _mm512_set1_epi32(wide == 0 ? x[8 * tokens + t] : 0);
        }
#pragma clang loop unroll(full)
        for (int line = 0; source == PANELS && line < QUADS_BYTES * tokens; line += 64) {
            _mm_prefetch((const char *)x + next + line, _MM_HINT_T0);
        }
        if (wide != 0) {
            const int32_t *high = x + 10 * tokens + 1;
            for (uint32_t rest = wide; rest != 0; rest &= rest - 1) {
                const int j = __builtin_ctz(rest);
#pragma clang loop unroll(full)
                for (int g = 0; g < groups; g++) {
                    const __m512i w = vnni512_quad(source, tiles + g * stride, j, book);
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
            for (int g = 0; g < groups; g++) w[g] = vnni512_quad(source, tiles + g * stride, j, book);
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) {
                const __m512i q = _mm512_set1_epi32(x[j * tokens + t]);
#pragma clang loop unroll(full)
                for (int g = 0; g < groups; g++) dot[g][t] = _mm512_dpbusd_epi32(dot[g][t], w[g], q);
            }
        }
#pragma clang loop unroll(full)
        for (int g = 0; g < groups; g++) {
            const uint8_t *tile = tiles + g * stride;
            const __m512 d = source == PANELS ? _mm512_load_ps((const float *)(tile + 512)) : scales512(tile);
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
MK_INLINE void vnni512_groups(const int source, const int tokens, __m512i book, const uint8_t *tiles, int64_t stride,
                              int64_t groups, int64_t blocks, const int32_t *x, int64_t next, float *sums) {
    const int64_t width = MK_TILE_ROWS * groups;
    if (tokens > 3 && groups == 2) {
        vnni512_tile(source, tokens, 2, book, tiles, stride, blocks, x, next, sums, width);
        return;
    }
    for (int64_t g = 0; g < groups; g++, tiles += stride, sums += MK_TILE_ROWS) {
        vnni512_tile(source, tokens, 1, book, tiles, stride, blocks, x, next, sums, width);
    }
}

/// The number of tokens becomes a constant.
MK_INLINE void vnni512_tokens(const int source, __m512i book, const uint8_t *tiles, int64_t stride, int64_t groups,
                              int64_t blocks, const void *strip, int64_t tokens, int64_t next, float *sums) {
    switch (tokens) {
#define TOKENS(n)                                                                          \
    case n:                                                                                \
        vnni512_groups(source, n, book, tiles, stride, groups, blocks, strip, next, sums); \
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

/// The codebook plus 128; of bytes, which have none, anything.
MK_INLINE __m512i vnni512_book(const int8_t *codebook) {
    if (codebook == NULL) return _mm512_setzero_si512();
    return _mm512_xor_si512(codebook512(codebook), _mm512_set1_epi8(-128));
}

static void vnni512_rows(int32_t type, const uint8_t *tiles, int64_t stride, int64_t groups, int64_t blocks,
                         const void *strip, int64_t tokens, float *sums) {
    const int8_t *codebook = mk_codebook(type);
    const __m512i book = vnni512_book(codebook);
    if (codebook != NULL) {
        vnni512_tokens(NIBBLE_TILES, book, tiles, stride, groups, blocks, strip, tokens, 0, sums);
    } else {
        vnni512_tokens(BYTE_TILES, book, tiles, stride, groups, blocks, strip, tokens, 0, sums);
    }
}

static void vnni512_unpack(int32_t type, const uint8_t *group, int64_t first, int64_t count, uint8_t *panel) {
    const int8_t *codebook = mk_codebook(type);
    const __m512i book = vnni512_book(codebook);
    const int64_t tile_bytes = codebook != NULL ? MK_TILE_BYTES_4BIT : MK_TILE_BYTES_8BIT;
    const uint8_t *tile = group + first * tile_bytes;
    for (int64_t i = 0; i < count; i++, tile += tile_bytes, panel += VNNI512_PANEL) {
#pragma clang loop unroll(full)
        for (int j = 0; j < 8; j++) {
            const __m512i quad =
                codebook != NULL ? vnni512_quad(NIBBLE_TILES, tile, j, book) : vnni512_quad(BYTE_TILES, tile, j, book);
            _mm512_store_si512(panel + 64 * j, quad);
        }
        _mm512_store_ps((float *)(panel + 512), scales512(tile));
    }
}

static void vnni512_panel_rows(const uint8_t *panel, int64_t stride, int64_t groups, int64_t blocks, const void *strip,
                               int64_t tokens, int64_t next, float *sums) {
    vnni512_tokens(PANELS, _mm512_setzero_si512(), panel, stride, groups, blocks, strip, tokens, next, sums);
}

static const mk_int8 int8_vnni512 = {
    .height = VNNI512_TOKENS, .block_bytes = QUADS_BYTES, .pack = pack_quads, .rows = vnni512_rows};

static const mk_int8 int8_vnni512_panels = {
    .height = VNNI512_TOKENS,
    .block_bytes = QUADS_BYTES,
    .pack = pack_quads,
    .rows = vnni512_rows,
    .panel_bytes = VNNI512_PANEL,
    .panel_groups = 2,
    .panel_blocks = 16,
    .panel_strips = 5,
    .unpack = vnni512_unpack,
    .panel_rows = vnni512_panel_rows,
};

#define AFFINE_(name) vnni512_affine_##name
#define AFFINE_TOKENS 6
#define AFFINE_GROUPS 2
#define AFFINE_SUM mk_i16
#define AFFINE_BEGIN(total) (total)
#define AFFINE_DOT(sum, w, x) ((mk_i16)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(w), _mm512_set1_epi32(x)))
#define AFFINE_END(sum, total) (sum)
#include "affine_int8_body.h"

#endif
