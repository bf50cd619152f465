/// Tiles to fp32 panels with AVX2: a tile's 64-byte rows in halves of 8 weight rows.
#ifndef MERASER_EXPAND_AVX2_H
#define MERASER_EXPAND_AVX2_H

MK_INLINE __m256i codebook256(const int8_t *codebook) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)codebook));
}

/// The scales of rows 8 h ... 8 h + 7.
MK_INLINE __m256 scales256(const uint8_t *tile, int h) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(tile + 16 * h)));
}

#define AFFINE_GEMV_GROUPS 1
MK_INLINE mk_v16 tile_scales(const uint8_t *p) {
    const __m256 halves[2] = {scales256(p, 0), scales256(p, 1)};
    mk_v16 scales;
    memcpy(&scales, halves, sizeof scales);
    return scales;
}
MK_INLINE mk_v16 affine_nibbles(mk_u16 dwords, int shift) {
    return __builtin_convertvector((mk_i16)(dwords >> (uint32_t)shift & 15), mk_v16);
}
#include "affine_body.h"

/// Byte c of each of 8 rows' dwords, times the rows' scales, to panel row c; c < 4.
MK_INLINE void store_columns(__m256i bytes, __m256 scales, float *panel) {
#pragma clang loop unroll(full)
    for (int c = 0; c < 4; c++) {
        const __m256i value = _mm256_srai_epi32(_mm256_slli_epi32(bytes, 24 - 8 * c), 24);
        _mm256_storeu_ps(panel + 16 * c, _mm256_mul_ps(scales, _mm256_cvtepi32_ps(value)));
    }
}

static void expand_rows(int32_t type, const uint8_t *group, int64_t first, int64_t count, float *panel) {
    if (mk_type_is_affine(type)) {
        affine_expand_rows(type, group, first, count, panel);
        return;
    }
    const int8_t *codebook = mk_codebook(type);
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i book = codebook256(codebook != NULL ? codebook : mk_codebook(MK_Q4_0));
    const int64_t tile_bytes = mk_tile_bytes(type);
    const uint8_t *tiles = group + first * tile_bytes;
    for (int64_t tile = 0; tile < count; tile++, tiles += tile_bytes, panel += MK_TILE_COLS * MK_PANEL_WIDTH) {
        for (int h = 0; h < 2; h++) {
            const __m256 scales = scales256(tiles, h);
            const uint8_t *bytes = tiles + 32 + 32 * h;
            float *out = panel + 8 * h;
            if (codebook == NULL) {
                for (int j = 0; j < 8; j++) {
                    store_columns(_mm256_loadu_si256((const __m256i *)(bytes + 64 * j)), scales, out + 64 * j);
                }
                continue;
            }
            for (int j = 0; j < 4; j++) {
                const __m256i packed = _mm256_loadu_si256((const __m256i *)(bytes + 64 * j));
                const __m256i low = _mm256_and_si256(packed, nibble);
                const __m256i high = _mm256_and_si256(_mm256_srli_epi16(packed, 4), nibble);
                store_columns(_mm256_shuffle_epi8(book, low), scales, out + 128 * j);
                store_columns(_mm256_shuffle_epi8(book, high), scales, out + 128 * j + 64);
            }
        }
    }
}

/// Transposes 4 x 4 dwords within each 128-bit lane.
MK_INLINE void transpose_lanes(__m256i v[4]) {
    const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpackhi_epi32(v[0], v[1]);
    const __m256i c = _mm256_unpacklo_epi32(v[2], v[3]), d = _mm256_unpackhi_epi32(v[2], v[3]);
    v[0] = _mm256_unpacklo_epi64(a, c);
    v[1] = _mm256_unpackhi_epi64(a, c);
    v[2] = _mm256_unpacklo_epi64(b, d);
    v[3] = _mm256_unpackhi_epi64(b, d);
}

/// 16 bytes, scaled, to one panel row.
MK_INLINE void store_row(__m128i bytes, float scale, float *panel) {
    const __m256 d = _mm256_set1_ps(scale);
    const __m128i rest = _mm_unpackhi_epi64(bytes, bytes);
    _mm256_storeu_ps(panel, _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))));
    _mm256_storeu_ps(panel + 8, _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(rest))));
}

/// Lane l of `bytes` holds 16 columns of row 4 l + i of 8.
MK_INLINE void store_rows(__m256i bytes, const float *scales, int i, float *panel) {
    store_row(_mm256_castsi256_si128(bytes), scales[i], panel + 16 * i);
    store_row(_mm256_extracti128_si256(bytes, 1), scales[4 + i], panel + 16 * (4 + i));
}

static void expand_cols(int32_t type, const uint8_t *group, int64_t block, int64_t stride, int64_t count, float *left,
                        float *right) {
    if (mk_type_is_affine(type)) {
        affine_expand_cols(type, group, block, stride, count, left, right);
        return;
    }
    const int8_t *codebook = mk_codebook(type);
    const uint8_t *tiles = group + block * mk_tile_bytes(type);
    const __m256i book = codebook256(codebook != NULL ? codebook : mk_codebook(MK_Q4_0));
    const __m256i nibble = _mm256_set1_epi8(15);
    for (int64_t tile = 0; tile < count; tile++, tiles += stride) {
        for (int h = 0; h < 2; h++, left += 128, right += 128) {
            _Alignas(32) float scales[8];
            _mm256_store_ps(scales, scales256(tiles, h));
            const uint8_t *bytes = tiles + 32 + 32 * h;
            __m256i v[4];
            if (codebook == NULL) {
                for (int side = 0; side < 2; side++) {
                    for (int j = 0; j < 4; j++) {
                        v[j] = _mm256_loadu_si256((const __m256i *)(bytes + 64 * (4 * side + j)));
                    }
                    transpose_lanes(v);
                    for (int i = 0; i < 4; i++) store_rows(v[i], scales, i, side == 0 ? left : right);
                }
                continue;
            }
            for (int j = 0; j < 4; j++) v[j] = _mm256_loadu_si256((const __m256i *)(bytes + 64 * j));
            transpose_lanes(v);
            for (int i = 0; i < 4; i++) {
                const __m256i low = _mm256_shuffle_epi8(book, _mm256_and_si256(v[i], nibble));
                const __m256i high = _mm256_shuffle_epi8(book, _mm256_and_si256(_mm256_srli_epi16(v[i], 4), nibble));
                store_rows(_mm256_unpacklo_epi32(low, high), scales, i, left);
                store_rows(_mm256_unpackhi_epi32(low, high), scales, i, right);
            }
        }
    }
}

static void pack_rows(const float *src, int64_t ld, int64_t rows, int64_t depth, float *panel) {
    int64_t c = 0;
    if (rows == MK_PANEL_WIDTH) {
        for (; c + 4 <= depth; c += 4, panel += 64) {
            for (int h = 0; h < 2; h++) {
                __m256i v[4];
                for (int i = 0; i < 4; i++) {
                    const float *p = src + (8 * h + i) * ld + c;
                    v[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p)),
                                                   _mm_loadu_si128((const __m128i *)(p + 4 * ld)), 1);
                }
                transpose_lanes(v);
                for (int j = 0; j < 4; j++) _mm256_storeu_si256((__m256i *)(panel + 16 * j + 8 * h), v[j]);
            }
        }
    } else {
        memset(panel, 0, (size_t)depth * MK_PANEL_WIDTH * sizeof(float));
    }
    for (; c < depth; c++, panel += 16) {
        for (int64_t r = 0; r < rows; r++) panel[r] = src[r * ld + c];
    }
}

/// `groups` x `tokens` x 2 chains; see gemv in isa.h. Constants where this is inlined.
MK_INLINE void gemv_groups(const bool four_bit, const int groups, const int tokens, __m256i book, const uint8_t *tiles,
                           int64_t stride, int64_t count, const float *x, int64_t ldx, float *sums) {
    __m256 sum[8][MK_GEMV_TOKENS];
#pragma clang loop unroll(full)
    for (int h = 0; h < 2 * groups; h++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) sum[h][t] = _mm256_setzero_ps();
    }
    const __m256i nibble = _mm256_set1_epi8(15);
    for (int64_t tile = 0; tile < count; tile++, x += MK_TILE_COLS) {
        __m256 scales[8];
#pragma clang loop unroll(full)
        for (int h = 0; h < 2 * groups; h++) scales[h] = scales256(tiles + h / 2 * stride, h % 2);
        for (int j = 0; j < 8; j++) {  // 4 columns: a row of bytes, or one half of its nibbles
#pragma clang loop unroll(full)
            for (int h = 0; h < 2 * groups; h++) {
                const uint8_t *row = tiles + h / 2 * stride + 32 + 32 * (h % 2) + 64 * (four_bit ? j / 2 : j);
                __m256i bytes = _mm256_loadu_si256((const __m256i *)row);
                if (four_bit) {
                    bytes = _mm256_and_si256(_mm256_srl_epi16(bytes, _mm_cvtsi32_si128(j % 2 * 4)), nibble);
                    bytes = _mm256_shuffle_epi8(book, bytes);
                }
#pragma clang loop unroll(full)
                for (int c = 0; c < 4; c++) {
                    const __m256i value = _mm256_srai_epi32(_mm256_slli_epi32(bytes, 24 - 8 * c), 24);
                    const __m256 w = _mm256_mul_ps(scales[h], _mm256_cvtepi32_ps(value));
#pragma clang loop unroll(full)
                    for (int t = 0; t < tokens; t++) {
                        const __m256 a = _mm256_set1_ps(x[t * ldx + 4 * j + c]);
                        sum[h][t] = _mm256_fmadd_ps(a, w, sum[h][t]);
                    }
                }
            }
        }
        tiles += four_bit ? MK_TILE_BYTES_4BIT : MK_TILE_BYTES_8BIT;
    }
#pragma clang loop unroll(full)
    for (int h = 0; h < 2 * groups; h++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) _mm256_storeu_ps(sums + t * MK_BLOCK_WIDTH + 8 * h, sum[h][t]);
    }
}

MK_INLINE void gemv_tokens(const int tokens, const int8_t *codebook, const uint8_t *tiles, int64_t stride,
                           int64_t groups, int64_t count, const float *x, int64_t ldx, float *sums) {
    enum { AT_ONCE = 2 };
    const __m256i book = codebook256(codebook != NULL ? codebook : mk_codebook(MK_Q4_0));
    for (; tokens <= 2 && groups >= AT_ONCE; groups -= AT_ONCE, tiles += AT_ONCE * stride, sums += 16 * AT_ONCE) {
        if (codebook != NULL) {
            gemv_groups(true, AT_ONCE, tokens, book, tiles, stride, count, x, ldx, sums);
        } else {
            gemv_groups(false, AT_ONCE, tokens, book, tiles, stride, count, x, ldx, sums);
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
