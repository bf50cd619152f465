/// The int8 backward with vpdpbusd on 512 bits: one instruction multiplies 4 rows of 16 columns with those of a token.
///
/// It wants unsigned times signed bytes: the gradient's codes get 128 added, which the sums' beginning takes back for
/// all tokens alike. The order of the quads of rows is that in which the codes leave the packing instructions.
#ifndef MERASER_INT8_GRADIENT_VNNI512_H
#define MERASER_INT8_GRADIENT_VNNI512_H

#include "int8_gradient_body.h"

/// Rows 4 l ... 4 l + 3 of lane l's four columns: four dwords of rows become four of columns.
MK_INLINE __m512i vnni512_turn(__m512i rows) {
    const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_shuffle_epi8(rows, _mm512_broadcast_i32x4(order));
}

/// Tile k's rows 4 l ... 4 l + 3 become quad 4 l + k: [quad][32 columns] of dwords.
static void vnni512_gradient_unpack(int32_t type, const uint8_t *tile, int64_t stride, int64_t count,
                                    mk_gradient_panel *panel) {
    const int8_t *codebook = mk_codebook(type);
    const __m512i book = codebook512(codebook != NULL ? codebook : mk_codebook(MK_Q4_0));
    const __m512i nibble = _mm512_set1_epi8(15), all = _mm512_set1_epi8(1);
    __m512i sum[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    if (count < MK_GRADIENT_TILES) memset(panel->codes, 0, sizeof panel->codes);
    for (int64_t k = 0; k < count; k++, tile += stride) {
#pragma clang loop unroll(full)
        for (int h = 0; h < 2; h++) {
            __m512i v[4];
#pragma clang loop unroll(full)
            for (int i = 0; i < 4; i++) {
                const int j = 4 * h + i;
                if (codebook == NULL) {
                    v[i] = _mm512_loadu_si512(tile + 32 + 64 * j);
                } else {
                    __m512i packed = _mm512_loadu_si512(tile + 32 + 64 * (j / 2));
                    if (j % 2 != 0) packed = _mm512_srli_epi16(packed, 4);
                    v[i] = _mm512_shuffle_epi8(book, _mm512_and_si512(packed, nibble));
                }
                v[i] = vnni512_turn(v[i]);
            }
            // Lane l of v[i]: rows 4 l ..., columns 4 j ...; 4 x 4 lanes are transposed.
            const __m512i a = _mm512_shuffle_i32x4(v[0], v[1], 0x44), b = _mm512_shuffle_i32x4(v[0], v[1], 0xee);
            const __m512i c = _mm512_shuffle_i32x4(v[2], v[3], 0x44), d = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
            const __m512i quads[4] = {_mm512_shuffle_i32x4(a, c, 0x88), _mm512_shuffle_i32x4(a, c, 0xdd),
                                      _mm512_shuffle_i32x4(b, d, 0x88), _mm512_shuffle_i32x4(b, d, 0xdd)};
#pragma clang loop unroll(full)
            for (int l = 0; l < 4; l++) {
                _mm512_store_si512(panel->codes + 128 * (4 * l + k) + 64 * h, quads[l]);
                sum[h] = _mm512_dpbusd_epi32(sum[h], all, quads[l]);
            }
        }
    }
    for (int h = 0; h < 2; h++) {
        const __m512i start = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sum[h], 7));
        _mm512_storeu_si512(panel->start + 16 * h, start);
    }
}

static void vnni512_gradient_rows(const mk_gradient_panel *panel, const float *g, const float *unit, float *sums) {
    _Alignas(64) int32_t codes[16 * MK_GRADIENT_TOKENS];
    const __m512i half = _mm512_set1_epi8(-128);
    __m512 scale[MK_GRADIENT_TILES];
#pragma clang loop unroll(full)
    for (int k = 0; k < MK_GRADIENT_TILES; k++) scale[k] = _mm512_loadu_ps(panel->scale + 16 * k);
#pragma clang loop unroll(full)
    for (int t = 0; t < MK_GRADIENT_TOKENS; t++) {
        __m512i v[MK_GRADIENT_TILES];
#pragma clang loop unroll(full)
        for (int k = 0; k < MK_GRADIENT_TILES; k++) {
            v[k] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(g + MK_GRADIENT_ROWS * t + 16 * k), scale[k]));
        }
        const __m512i bytes = _mm512_packs_epi16(_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3]));
        _mm512_store_si512(codes + 16 * t, _mm512_xor_si512(bytes, half));
    }
    __m512i dot[MK_GRADIENT_TOKENS][2];
#pragma clang loop unroll(full)
    for (int h = 0; h < 2; h++) {
        const __m512i start = _mm512_loadu_si512(panel->start + 16 * h);
#pragma clang loop unroll(full)
        for (int t = 0; t < MK_GRADIENT_TOKENS; t++) dot[t][h] = start;
    }
    for (int quad = 0; quad < MK_GRADIENT_ROWS / 4; quad++) {
        const __m512i left = _mm512_load_si512(panel->codes + 128 * quad);
        const __m512i right = _mm512_load_si512(panel->codes + 128 * quad + 64);
#pragma clang loop unroll(full)
        for (int t = 0; t < MK_GRADIENT_TOKENS; t++) {
            const __m512i x = _mm512_set1_epi32(codes[16 * t + quad]);
            dot[t][0] = _mm512_dpbusd_epi32(dot[t][0], x, left);
            dot[t][1] = _mm512_dpbusd_epi32(dot[t][1], x, right);
        }
    }
#pragma clang loop unroll(full)
    for (int t = 0; t < MK_GRADIENT_TOKENS; t++) {
        const __m512 u = _mm512_set1_ps(unit[t]);
#pragma clang loop unroll(full)
        for (int h = 0; h < 2; h++) {
            float *sum = sums + MK_TILE_COLS * t + 16 * h;
            _mm512_storeu_ps(sum, _mm512_fmadd_ps(u, _mm512_cvtepi32_ps(dot[t][h]), _mm512_loadu_ps(sum)));
        }
    }
}

static const mk_int8_gradient vnni512_gradient = {.prepare = gradient_prepare,
                                                  .scales = gradient_scales,
                                                  .unpack = vnni512_gradient_unpack,
                                                  .rows = vnni512_gradient_rows};

#endif
