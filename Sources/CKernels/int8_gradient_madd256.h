/// The int8 backward with vpmaddwd on 256 bits, for CPUs without products of bytes: both codes widened to 16 bits, so
/// that nothing saturates.
#ifndef MERASER_INT8_GRADIENT_MADD256_H
#define MERASER_INT8_GRADIENT_MADD256_H

#include "int8_gradient_body.h"

enum { MADD256_TOKENS = 6 };  ///< 6 tokens x 16 columns: 12 accumulators

/// Codes of 16 bits: [pair of rows][32 columns] of dwords. Pairs are in the order in which vpackssdw leaves the
/// gradient's: of 16 rows those of rows 0, 2, 8, 10, 4, 6, 12, 14.
static void madd256_gradient_unpack(int32_t type, const uint8_t *tile, int64_t stride, int64_t count,
                                    mk_gradient_panel *panel) {
    static const int first_row[8] = {0, 2, 8, 10, 4, 6, 12, 14};
    const int8_t *codebook = mk_codebook(type);
    const __m128i book = _mm_loadu_si128((const __m128i *)(codebook != NULL ? codebook : mk_codebook(MK_Q4_0)));
    const __m128i nibble = _mm_set1_epi8(15);
    if (count < MK_GRADIENT_TILES) memset(panel->codes, 0, sizeof panel->codes);
    for (int64_t k = 0; k < count; k++, tile += stride) {
        for (int pair = 0; pair < 8; pair++) {
            int8_t *out = panel->codes + 128 * (8 * k + pair);
            for (int j = 0; j < 8; j++, out += 16) {
                // Two rows' dwords of 4 columns each.
                const int line = codebook == NULL ? j : j / 2;
                __m128i bytes = _mm_loadl_epi64((const __m128i *)(tile + 32 + 64 * line + 4 * first_row[pair]));
                if (codebook != NULL) {
                    if (j % 2 != 0) bytes = _mm_srli_epi16(bytes, 4);
                    bytes = _mm_shuffle_epi8(book, _mm_and_si128(bytes, nibble));
                }
                bytes = _mm_unpacklo_epi8(bytes, _mm_srli_si128(bytes, 4));
                _mm_store_si128((__m128i *)out, _mm_cvtepi8_epi16(bytes));
            }
        }
    }
}

/// 6 tokens x 16 columns from column 16 h on.
MK_INLINE void madd256_gradient_tile(const mk_gradient_panel *panel, int h, const int32_t *codes, const float *unit,
                                     float *sums) {
    __m256i dot[MADD256_TOKENS][2];
#pragma clang loop unroll(full)
    for (int t = 0; t < MADD256_TOKENS; t++) dot[t][0] = dot[t][1] = _mm256_setzero_si256();
    for (int pair = 0; pair < MK_GRADIENT_ROWS / 2; pair++) {
        const __m256i *w = (const __m256i *)(panel->codes + 128 * pair + 64 * h);
        const __m256i left = _mm256_load_si256(w), right = _mm256_load_si256(w + 1);
#pragma clang loop unroll(full)
        for (int t = 0; t < MADD256_TOKENS; t++) {
            const __m256i x = _mm256_set1_epi32(codes[MK_GRADIENT_ROWS / 2 * t + pair]);
            dot[t][0] = _mm256_add_epi32(dot[t][0], _mm256_madd_epi16(left, x));
            dot[t][1] = _mm256_add_epi32(dot[t][1], _mm256_madd_epi16(right, x));
        }
    }
#pragma clang loop unroll(full)
    for (int t = 0; t < MADD256_TOKENS; t++) {
        const __m256 u = _mm256_set1_ps(unit[t]);
#pragma clang loop unroll(full)
        for (int p = 0; p < 2; p++) {
            float *sum = sums + MK_TILE_COLS * t + 16 * h + 8 * p;
            _mm256_storeu_ps(sum, _mm256_fmadd_ps(u, _mm256_cvtepi32_ps(dot[t][p]), _mm256_loadu_ps(sum)));
        }
    }
}

static void madd256_gradient_rows(const mk_gradient_panel *panel, const float *g, const float *unit, float *sums) {
    for (int t0 = 0; t0 < MK_GRADIENT_TOKENS; t0 += MADD256_TOKENS) {
        _Alignas(32) int32_t codes[MK_GRADIENT_ROWS / 2 * MADD256_TOKENS];
        for (int i = 0; i < MK_GRADIENT_ROWS / 16 * MADD256_TOKENS; i++) {
            const float *x = g + MK_GRADIENT_ROWS * t0 + 16 * i, *d = panel->scale + 16 * (i % MK_GRADIENT_TILES);
            const __m256 low = _mm256_mul_ps(_mm256_loadu_ps(x), _mm256_loadu_ps(d));
            const __m256 high = _mm256_mul_ps(_mm256_loadu_ps(x + 8), _mm256_loadu_ps(d + 8));
            const __m256i both = _mm256_packs_epi32(_mm256_cvtps_epi32(low), _mm256_cvtps_epi32(high));
            _mm256_store_si256((__m256i *)(codes + 8 * i), both);
        }
        for (int h = 0; h < 2; h++) madd256_gradient_tile(panel, h, codes, unit + t0, sums + MK_TILE_COLS * t0);
    }
}

static const mk_int8_gradient madd256_gradient = {.prepare = gradient_prepare,
                                                  .scales = gradient_scales,
                                                  .unpack = madd256_gradient_unpack,
                                                  .rows = madd256_gradient_rows};

#endif
