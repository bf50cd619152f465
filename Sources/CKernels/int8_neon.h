/// The int8 product with sdot: one instruction multiplies 4 columns of 4 rows with those of a token.
#ifndef MERASER_INT8_NEON_H
#define MERASER_INT8_NEON_H

enum {
    NEON_TOKENS = 4,    ///< 4 tokens x 16 rows: 16 of 32 registers
    NEON_AHEAD = 2048,  ///< bytes of weights that are fetched in advance
};

/// Columns 4 j ... 4 j + 3 of rows 4 part ... 4 part + 3 of a tile.
MK_INLINE int8x16_t neon_quad(const bool nibbles, const uint8_t *tile, int j, int part, int8x16_t book) {
    if (!nibbles) return vreinterpretq_s8_u8(vld1q_u8(tile + 32 + 64 * j + 16 * part));
    const uint8x16_t packed = vld1q_u8(tile + 32 + 64 * (j / 2) + 16 * part);
    return vqtbl1q_s8(book, j % 2 != 0 ? vshrq_n_u8(packed, 4) : vandq_u8(packed, vdupq_n_u8(15)));
}

/// `tokens` x 16 outputs over all blocks; the count is a constant where this is inlined. The strip is packed in quads;
/// sdot takes signed bytes on both sides and needs no correction.
MK_INLINE void neon_tile(const bool nibbles, const int tokens, int8x16_t book, const uint8_t *tiles, int64_t blocks,
                         const int32_t *x, float *sums, int64_t width) {
    const int64_t tile_bytes = nibbles ? MK_TILE_BYTES_4BIT : MK_TILE_BYTES_8BIT;
    for (int64_t b = 0; b < blocks; b++, tiles += tile_bytes, x += QUADS_BYTES / 4 * tokens) {
        int32x4_t dot[NEON_TOKENS][4];
#pragma clang loop unroll(full)
        for (int line = 0; line < tile_bytes; line += 64) __builtin_prefetch(tiles + NEON_AHEAD + line);
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) {
            for (int part = 0; part < 4; part++) dot[t][part] = vdupq_n_s32(0);
        }
        const uint32_t wide = (uint32_t)x[10 * tokens];
        if (wide != 0) {
            const int32_t *high = x + 10 * tokens + 1;
            for (uint32_t rest = wide; rest != 0; rest &= rest - 1) {
                const int j = __builtin_ctz(rest);
#pragma clang loop unroll(full)
                for (int part = 0; part < 4; part++) {
                    const int8x16_t w = neon_quad(nibbles, tiles, j, part, book);
#pragma clang loop unroll(full)
                    for (int t = 0; t < tokens; t++) {
                        const int8x16_t q = vreinterpretq_s8_s32(vdupq_n_s32(high[j * tokens + t]));
                        dot[t][part] = vdotq_s32(dot[t][part], w, q);
                    }
                }
            }
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) {
                for (int part = 0; part < 4; part++) dot[t][part] = vshlq_n_s32(dot[t][part], 7);
            }
        }
#pragma clang loop unroll(full)
        for (int j = 0; j < 8; j++) {
#pragma clang loop unroll(full)
            for (int part = 0; part < 4; part++) {
                const int8x16_t w = neon_quad(nibbles, tiles, j, part, book);
#pragma clang loop unroll(full)
                for (int t = 0; t < tokens; t++) {
                    const int8x16_t q = vreinterpretq_s8_s32(vdupq_n_s32(x[j * tokens + t]));
                    dot[t][part] = vdotq_s32(dot[t][part], w, q);
                }
            }
        }
#pragma clang loop unroll(full)
        for (int part = 0; part < 4; part++) {
            float16x4_t halves;
            memcpy(&halves, tiles + 8 * part, sizeof halves);
            const float32x4_t d = vcvt_f32_f16(halves);
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) {
                float *sum = sums + t * width + 4 * part;
                const float32x4_t scale = vmulq_n_f32(d, mk_bits_to_float((uint32_t)x[9 * tokens + t]));
                vst1q_f32(sum, vfmaq_f32(vld1q_f32(sum), scale, vcvtq_f32_s32(dot[t][part])));
            }
        }
    }
}

static void neon_rows(int32_t type, const uint8_t *tiles, int64_t stride, int64_t groups, int64_t blocks,
                      const void *strip, int64_t tokens, float *sums) {
    const int8_t *codebook = mk_codebook(type);
    const int8x16_t book = codebook != NULL ? vld1q_s8(codebook) : vdupq_n_s8(0);
    const int64_t width = MK_TILE_ROWS * groups;
    for (int64_t g = 0; g < groups; g++, tiles += stride, sums += MK_TILE_ROWS) {
        switch (tokens) {
#define TOKENS(n)                                                         \
    case n:                                                               \
        if (codebook != NULL) {                                           \
            neon_tile(true, n, book, tiles, blocks, strip, sums, width);  \
        } else {                                                          \
            neon_tile(false, n, book, tiles, blocks, strip, sums, width); \
        }                                                                 \
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
}

static const mk_int8 int8_neon = {
    .height = NEON_TOKENS, .block_bytes = QUADS_BYTES, .pack = pack_quads, .rows = neon_rows};

/// sum + the products of 64 bytes of a tile, below 64, with those of x.
MK_INLINE mk_i16 neon_affine_dot(mk_i16 sum, mk_bytes64 w, int32_t x) {
    int32x4_t parts[4];
    int8x16_t bytes[4];
    memcpy(parts, &sum, sizeof parts);
    memcpy(bytes, &w, sizeof bytes);
    for (int i = 0; i < 4; i++) parts[i] = vdotq_s32(parts[i], bytes[i], vreinterpretq_s8_s32(vdupq_n_s32(x)));
    memcpy(&sum, parts, sizeof sum);
    return sum;
}
#define AFFINE_(name) neon_affine_##name
#define AFFINE_TOKENS 4
#define AFFINE_GROUPS 1
#define AFFINE_SUM mk_i16
#define AFFINE_BEGIN(total) (total)
#define AFFINE_DOT neon_affine_dot
#define AFFINE_END(sum, total) (sum)
#include "affine_int8_body.h"

#endif
