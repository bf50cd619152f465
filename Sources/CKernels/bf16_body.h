/// bf16 on AVX-512 BF16: tiles to panels of bf16 pairs, activations to pairs, and the micro-kernel on vdpbf16ps.
///
/// A cell is two bf16 that are neighbours along the reduction, the first in the low half. Every value is the fp32 value
/// rounded to nearest even. vcvtne2ps2bf16 and vdpbf16ps take subnormal inputs as zero and flush subnormal results to
/// zero, whatever MXCSR says; infinities and NaNs propagate.
#ifndef MERASER_BF16_BODY_H
#define MERASER_BF16_BODY_H

/// Cells of lanes (2 i, 2 i + 1): `low` gives cells 0 ... 7, `high` cells 8 ... 15.
MK_INLINE void store_cells(__m512 low, __m512 high, float *cells) {
    _mm512_storeu_si512(cells, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/// x rounded to (n + 1) / 2 cells; an odd last one is filled with 0.
static void bf16_round(const float *x, int64_t n, float *cells) {
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) store_cells(_mm512_loadu_ps(x + i), _mm512_loadu_ps(x + i + 16), cells + i / 2);
    if (i == n) return;
    float values[32] = {0}, last[16];
    memcpy(values, x + i, (size_t)(n - i) * sizeof(float));
    store_cells(_mm512_loadu_ps(values), _mm512_loadu_ps(values + 16), last);
    memcpy(cells + i / 2, last, (size_t)((n - i + 1) / 2) * sizeof(float));
}

/// Lanes (2 i, 2 i + 1) = lane i of the lower half of x, and of the upper half.
MK_INLINE __m512i doubled(__m512i x, int half) {
    const __m512i low = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_epi32(half ? _mm512_add_epi32(low, _mm512_set1_epi32(8)) : low, x);
}

/// `even` in the even lanes, `odd` in the odd ones.
MK_INLINE __m512i alternating(int even, int odd) {
    return _mm512_set4_epi32(odd, even, odd, even);
}

/// Cells of the lanes of `even` and `odd`.
MK_INLINE void store_pairs(mk_v16 even, mk_v16 odd, float *cells) {
    const __m512i riffle = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                            21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even);
    _mm512_storeu_si512(cells, _mm512_permutexvar_epi16(riffle, halves));
}

/// Weights s * q + m (affine.h).
MK_INLINE void bf16_affine_rows_of(const int32_t type, const uint8_t *group, int64_t first, int64_t count,
                                   float *panel) {
    for (int64_t b = first; b < first + count; b++, panel += MK_TILE_COLS / 2 * MK_PANEL_WIDTH) {
        const affine_place w = affine_find(type, group, b);
        const affine_units u = affine_units_of(type, w);
#pragma clang loop unroll(full)
        for (int j = 0; j < 8; j++) {
#pragma clang loop unroll(full)
            for (int c = 0; c < 4; c += 2) {
                const mk_v16 even = affine_column(type, w.codes, j, c), odd = affine_column(type, w.codes, j, c + 1);
                store_pairs(even * u.scale[j / 4] + u.minimum[j / 4], odd * u.scale[j / 4] + u.minimum[j / 4],
                            panel + 16 * (2 * j + c / 2));
            }
        }
    }
}

static void bf16_affine_rows(int32_t type, const uint8_t *group, int64_t first, int64_t count, float *panel){
#define CALL(constant) bf16_affine_rows_of(constant, group, first, count, panel)
    AFFINE_SWITCH(type, CALL)
#undef CALL
}

MK_INLINE void bf16_store_pair(mk_v16 first, mk_v16 second, int r, float *panel) {
    store_pairs(first, second, panel + 16 * (r / 2));
}

static void bf16_affine_cols(int32_t type, const uint8_t *group, int64_t block, int64_t stride, int64_t count,
                             float *left, float *right) {
#define CALL(constant) affine_cols_of(constant, bf16_store_pair, 128, group, block, stride, count, left, right)
    AFFINE_SWITCH(type, CALL)
#undef CALL
}

static void bf16_expand_rows(int32_t type, const uint8_t *group, int64_t first, int64_t count, float *panel) {
    if (mk_type_is_affine(type)) {
        bf16_affine_rows(type, group, first, count, panel);
        return;
    }
    const int8_t *codebook = mk_codebook(type);
    const uint8_t *tiles = group + first * mk_tile_bytes(type);
    if (codebook == NULL) {
        for (int64_t tile = 0; tile < count; tile++, tiles += MK_TILE_BYTES_8BIT) {
            const __m512i d = _mm512_castps_si512(scales512(tiles));
            const __m512 d0 = _mm512_castsi512_ps(doubled(d, 0)), d1 = _mm512_castsi512_ps(doubled(d, 1));
            for (int j = 0; j < 8; j++, panel += 2 * MK_PANEL_WIDTH) {
                const __m512i bytes = _mm512_loadu_si512(tiles + 32 + 64 * j);
                const __m512i q0 = doubled(bytes, 0), q1 = doubled(bytes, 1);
#pragma clang loop unroll(full)
                for (int c = 0; c < 4; c += 2) {
                    // The wanted byte to the top of its lane and back.
                    const __m512i shift = alternating(24 - 8 * c, 16 - 8 * c);
                    const __m512i v0 = _mm512_srai_epi32(_mm512_sllv_epi32(q0, shift), 24);
                    const __m512i v1 = _mm512_srai_epi32(_mm512_sllv_epi32(q1, shift), 24);
                    store_cells(_mm512_mul_ps(d0, _mm512_cvtepi32_ps(v0)), _mm512_mul_ps(d1, _mm512_cvtepi32_ps(v1)),
                                panel + 8 * c);
                }
            }
        }
        return;
    }
    const __m512 book = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)codebook)));
    for (int64_t tile = 0; tile < count; tile++, tiles += MK_TILE_BYTES_4BIT) {
        const __m512i d = _mm512_castps_si512(scales512(tiles));
        const __m512 d0 = _mm512_castsi512_ps(doubled(d, 0)), d1 = _mm512_castsi512_ps(doubled(d, 1));
        for (int j = 0; j < 4; j++, panel += 4 * MK_PANEL_WIDTH) {
            const __m512i packed = _mm512_loadu_si512(tiles + 32 + 64 * j);
            const __m512i q0 = doubled(packed, 0), q1 = doubled(packed, 1);
#pragma clang loop unroll(full)
            for (int c = 0; c < 8; c += 2) {
                // Columns 0 ... 3 are the bytes' low nibbles, 4 ... 7 the high ones. The lookup uses the lowest four
                // bits of its index and ignores the others.
                const int first = c < 4 ? 8 * c : 8 * (c - 4) + 4;
                const __m512i shift = alternating(first, first + 8);
                const __m512 v0 = _mm512_permutexvar_ps(_mm512_srlv_epi32(q0, shift), book);
                const __m512 v1 = _mm512_permutexvar_ps(_mm512_srlv_epi32(q1, shift), book);
                store_cells(_mm512_mul_ps(d0, v0), _mm512_mul_ps(d1, v1), panel + 8 * c);
            }
        }
    }
}

/// Lane l of `first` and `second` holds 16 columns of rows 4 l + i and 4 l + i + 1, i even: scaled, to panel row
/// 2 l + i / 2.
MK_INLINE void bf16_store_rows(__m512i first, __m512i second, const float *scales, int i, float *panel) {
    _Alignas(64) int8_t low[64], high[64];
    _mm512_store_si512(low, _mm512_unpacklo_epi8(first, second));
    _mm512_store_si512(high, _mm512_unpackhi_epi8(first, second));
#pragma clang loop unroll(full)
    for (int l = 0; l < 4; l++) {
        double pair;  // the two rows' scales, moved as 64 bits
        memcpy(&pair, scales + 4 * l + i, sizeof pair);
        const __m512 d = _mm512_castpd_ps(_mm512_set1_pd(pair));
        const __m512i a = _mm512_cvtepi8_epi32(_mm_load_si128((const __m128i *)(low + 16 * l)));
        const __m512i b = _mm512_cvtepi8_epi32(_mm_load_si128((const __m128i *)(high + 16 * l)));
        store_cells(_mm512_mul_ps(d, _mm512_cvtepi32_ps(a)), _mm512_mul_ps(d, _mm512_cvtepi32_ps(b)),
                    panel + 16 * (2 * l + i / 2));
    }
}

static void bf16_expand_cols(int32_t type, const uint8_t *group, int64_t block, int64_t stride, int64_t count,
                             float *left, float *right) {
    if (mk_type_is_affine(type)) {
        bf16_affine_cols(type, group, block, stride, count, left, right);
        return;
    }
    const int8_t *codebook = mk_codebook(type);
    const uint8_t *tiles = group + block * mk_tile_bytes(type);
    const __m512i book = codebook512(codebook != NULL ? codebook : mk_codebook(MK_Q4_0));
    const __m512i nibble = _mm512_set1_epi8(15);
    for (int64_t tile = 0; tile < count; tile++, tiles += stride, left += 128, right += 128) {
        _Alignas(64) float scales[16];
        _mm512_store_ps(scales, scales512(tiles));
        __m512i v[4], w[4];
        for (int j = 0; j < 4; j++) v[j] = _mm512_loadu_si512(tiles + 32 + 64 * j);
        transpose_lanes(v);
        if (codebook == NULL) {
            for (int j = 0; j < 4; j++) w[j] = _mm512_loadu_si512(tiles + 32 + 64 * (4 + j));
            transpose_lanes(w);
        } else {
            for (int i = 0; i < 4; i++) {
                const __m512i low = _mm512_shuffle_epi8(book, _mm512_and_si512(v[i], nibble));
                const __m512i high = _mm512_shuffle_epi8(book, _mm512_and_si512(_mm512_srli_epi16(v[i], 4), nibble));
                v[i] = _mm512_unpacklo_epi32(low, high);
                w[i] = _mm512_unpackhi_epi32(low, high);
            }
        }
        for (int i = 0; i < 4; i += 2) {
            bf16_store_rows(v[i], v[i + 1], scales, i, left);
            bf16_store_rows(w[i], w[i + 1], scales, i, right);
        }
    }
}

#define PACKED_NAME(name) bf16_##name
#define PACKED_STEP(sum, x, w) ((mk_v16)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(x), (__m512bh)(w)))
#include "packed_body.h"
#undef PACKED_NAME
#undef PACKED_STEP

#endif
