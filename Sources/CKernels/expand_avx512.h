/// Tiles to fp32 panels with AVX-512.
#ifndef MERASER_EXPAND_AVX512_H
#define MERASER_EXPAND_AVX512_H

/// The 16-entry codebook in every 128-bit lane, for byte shuffles.
MK_INLINE __m512i codebook512(const int8_t *codebook) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)codebook));
}

MK_INLINE __m512 scales512(const uint8_t *tile) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)tile));
}

#define AFFINE_GEMV_GROUPS 4
MK_INLINE mk_v16 tile_scales(const uint8_t *p) {
    return (mk_v16)scales512(p);
}
/// A lookup uses the lowest four bits of its index: no mask, no conversion.
MK_INLINE mk_v16 affine_nibbles(mk_u16 dwords, int shift) {
    const __m512 values = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return (mk_v16)_mm512_permutexvar_ps((__m512i)(dwords >> (uint32_t)shift), values);
}
#include "affine_body.h"

/// Byte c of each of the 16 rows' dwords, times the rows' scales, to panel row c; c < 4.
MK_INLINE void store_columns(__m512i bytes, __m512 scales, float *panel) {
#pragma clang loop unroll(full)
    for (int c = 0; c < 4; c++) {
        const __m512i value = _mm512_srai_epi32(_mm512_slli_epi32(bytes, (unsigned)(24 - 8 * c)), 24);
        _mm512_storeu_ps(panel + 16 * c, _mm512_mul_ps(scales, _mm512_cvtepi32_ps(value)));
    }
}

static void expand_rows(int32_t type, const uint8_t *group, int64_t first, int64_t count, float *panel) {
    if (mk_type_is_affine(type)) {
        affine_expand_rows(type, group, first, count, panel);
        return;
    }
    const int8_t *codebook = mk_codebook(type);
    const uint8_t *tiles = group + first * mk_tile_bytes(type);
    if (codebook == NULL) {
        for (int64_t tile = 0; tile < count; tile++, tiles += MK_TILE_BYTES_8BIT) {
            const __m512 scales = scales512(tiles);
            for (int j = 0; j < 8; j++, panel += 4 * MK_PANEL_WIDTH) {
                store_columns(_mm512_loadu_si512(tiles + 32 + 64 * j), scales, panel);
            }
        }
        return;
    }
    const __m512i book = codebook512(codebook), nibble = _mm512_set1_epi8(15);
    for (int64_t tile = 0; tile < count; tile++, tiles += MK_TILE_BYTES_4BIT) {
        const __m512 scales = scales512(tiles);
        for (int j = 0; j < 4; j++, panel += 8 * MK_PANEL_WIDTH) {
            const __m512i packed = _mm512_loadu_si512(tiles + 32 + 64 * j);
            const __m512i low = _mm512_and_si512(packed, nibble);
            const __m512i high = _mm512_and_si512(_mm512_srli_epi16(packed, 4), nibble);
            store_columns(_mm512_shuffle_epi8(book, low), scales, panel);
            store_columns(_mm512_shuffle_epi8(book, high), scales, panel + 4 * MK_PANEL_WIDTH);
        }
    }
}

/// Transposes 4 x 4 dwords within each 128-bit lane: v[j] lane l dword i becomes v[i] lane l dword j.
MK_INLINE void transpose_lanes(__m512i v[4]) {
    const __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
    const __m512i c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
    v[0] = _mm512_unpacklo_epi64(a, c);
    v[1] = _mm512_unpackhi_epi64(a, c);
    v[2] = _mm512_unpacklo_epi64(b, d);
    v[3] = _mm512_unpackhi_epi64(b, d);
}

/// Lane l of `bytes` holds 16 columns of row 4 l + i: scaled, to panel rows i, 4 + i, 8 + i, 12 + i.
MK_INLINE void store_rows(__m512i bytes, const float *scales, int i, float *panel) {
#define LANE(l)                                                       \
    _mm512_storeu_ps(panel + 16 * (4 * l + i),                        \
                     _mm512_mul_ps(_mm512_set1_ps(scales[4 * l + i]), \
                                   _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32(bytes, l)))))
    LANE(0);
    LANE(1);
    LANE(2);
    LANE(3);
#undef LANE
}

static void expand_cols(int32_t type, const uint8_t *group, int64_t block, int64_t stride, int64_t count, float *left,
                        float *right) {
    if (mk_type_is_affine(type)) {
        affine_expand_cols(type, group, block, stride, count, left, right);
        return;
    }
    const int8_t *codebook = mk_codebook(type);
    const uint8_t *tiles = group + block * mk_tile_bytes(type);
    const __m512i book = codebook512(codebook != NULL ? codebook : mk_codebook(MK_Q4_0));
    const __m512i nibble = _mm512_set1_epi8(15);
    for (int64_t tile = 0; tile < count; tile++, tiles += stride, left += 256, right += 256) {
        _Alignas(64) float scales[16];
        _mm512_store_ps(scales, scales512(tiles));
        __m512i v[4];
        if (codebook == NULL) {
            for (int side = 0; side < 2; side++) {
                for (int j = 0; j < 4; j++) v[j] = _mm512_loadu_si512(tiles + 32 + 64 * (4 * side + j));
                transpose_lanes(v);
                for (int i = 0; i < 4; i++) store_rows(v[i], scales, i, side == 0 ? left : right);
            }
            continue;
        }
        for (int j = 0; j < 4; j++) v[j] = _mm512_loadu_si512(tiles + 32 + 64 * j);
        transpose_lanes(v);
        for (int i = 0; i < 4; i++) {
            const __m512i low = _mm512_shuffle_epi8(book, _mm512_and_si512(v[i], nibble));
            const __m512i high = _mm512_shuffle_epi8(book, _mm512_and_si512(_mm512_srli_epi16(v[i], 4), nibble));
            store_rows(_mm512_unpacklo_epi32(low, high), scales, i, left);
            store_rows(_mm512_unpackhi_epi32(low, high), scales, i, right);
        }
    }
}

/// Transposes by 4 x 4 blocks in lanes: 16 rows of 16 columns at a time.
static void pack_rows(const float *src, int64_t ld, int64_t rows, int64_t depth, float *panel) {
    int64_t c = 0;
    if (rows == MK_PANEL_WIDTH) {
        for (; c + 4 <= depth; c += 4, panel += 64) {
            __m512i v[4];
            for (int i = 0; i < 4; i++) {
                const float *p = src + i * ld + c;
                __m512i x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
                x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(p + 4 * ld)), 1);
                x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(p + 8 * ld)), 2);
                v[i] = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(p + 12 * ld)), 3);
            }
            // Lane l of v[i] is row 4 l + i, columns c ... c + 3; transposed, lane l of v[j] is column c + j, rows 4 l
            // ...
            transpose_lanes(v);
            for (int j = 0; j < 4; j++) _mm512_storeu_si512(panel + 16 * j, v[j]);
        }
    } else {
        memset(panel, 0, (size_t)depth * MK_PANEL_WIDTH * sizeof(float));
    }
    for (; c < depth; c++, panel += 16) {
        for (int64_t r = 0; r < rows; r++) panel[r] = src[r * ld + c];
    }
}

/// `groups` x `tokens` chains; see gemv in isa.h. Constants where this is inlined.
MK_INLINE void gemv_groups(const bool four_bit, const int groups, const int tokens, __m512 book, const uint8_t *tiles,
                           int64_t stride, int64_t count, const float *x, int64_t ldx, float *sums) {
    __m512 sum[4][MK_GEMV_TOKENS];
#pragma clang loop unroll(full)
    for (int g = 0; g < groups; g++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) sum[g][t] = _mm512_setzero_ps();
    }
    for (int64_t tile = 0; tile < count; tile++, x += MK_TILE_COLS) {
        __m512 scales[4];
#pragma clang loop unroll(full)
        for (int g = 0; g < groups; g++) scales[g] = scales512(tiles + g * stride);
        for (int j = 0; j < (four_bit ? 4 : 8); j++) {
            __m512i bytes[4];
#pragma clang loop unroll(full)
            for (int g = 0; g < groups; g++) bytes[g] = _mm512_loadu_si512(tiles + g * stride + 32 + 64 * j);
#pragma clang loop unroll(full)
            for (int c = 0; c < (four_bit ? 8 : 4); c++) {
#pragma clang loop unroll(full)
                for (int g = 0; g < groups; g++) {
                    __m512 w;
                    if (four_bit) {  // the lookup uses the lowest four bits of its index
                        const unsigned shift = (unsigned)(c < 4 ? 8 * c : 8 * (c - 4) + 4);
                        w = _mm512_permutexvar_ps(_mm512_srli_epi32(bytes[g], shift), book);
                    } else {
                        const __m512i top = _mm512_slli_epi32(bytes[g], (unsigned)(24 - 8 * c));
                        w = _mm512_cvtepi32_ps(_mm512_srai_epi32(top, 24));
                    }
                    w = _mm512_mul_ps(scales[g], w);
#pragma clang loop unroll(full)
                    for (int t = 0; t < tokens; t++) {
                        const __m512 a = _mm512_set1_ps(x[t * ldx + (four_bit ? 8 : 4) * j + c]);
                        sum[g][t] = _mm512_fmadd_ps(a, w, sum[g][t]);
                    }
                }
            }
        }
        tiles += four_bit ? MK_TILE_BYTES_4BIT : MK_TILE_BYTES_8BIT;
    }
#pragma clang loop unroll(full)
    for (int g = 0; g < groups; g++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) _mm512_storeu_ps(sums + t * MK_BLOCK_WIDTH + 16 * g, sum[g][t]);
    }
}

MK_INLINE void gemv_tokens(const int tokens, const int8_t *codebook, const uint8_t *tiles, int64_t stride,
                           int64_t groups, int64_t count, const float *x, int64_t ldx, float *sums) {
    const int8_t *values = codebook != NULL ? codebook : mk_codebook(MK_Q4_0);
    const __m512 book = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)values)));
    for (; groups >= 4; groups -= 4, tiles += 4 * stride, sums += 64) {
        if (codebook != NULL) {
            gemv_groups(true, 4, tokens, book, tiles, stride, count, x, ldx, sums);
        } else {
            gemv_groups(false, 4, tokens, book, tiles, stride, count, x, ldx, sums);
        }
    }
    for (; groups > 0; groups--, tiles += stride, sums += 16) {
        if (codebook != NULL) {
            gemv_groups(true, 1, tokens, book, tiles, stride, count, x, ldx, sums);
        } else {
            gemv_groups(false, 1, tokens, book, tiles, stride, count, x, ldx, sums);
        }
    }
}

#endif
