/// Weights s * q + m (affine.h) to fp32 panels, and few tokens at once in f32: written once for every instruction set.
/// The including file defines tile_scales, the fp32 of 16 fp16 numbers, and affine_nibbles (below).
#ifndef MERASER_AFFINE_BODY_H
#define MERASER_AFFINE_BODY_H

#include "affine.h"
#include "simd_math.h"

typedef uint8_t mk_bytes16 __attribute__((ext_vector_type(16)));
typedef int8_t mk_signed16 __attribute__((ext_vector_type(16)));
typedef uint8_t mk_bytes64 __attribute__((ext_vector_type(64)));
typedef uint16_t mk_words32 __attribute__((ext_vector_type(32)));
typedef mk_bytes16 mk_bytes16_memory __attribute__((aligned(1)));
typedef mk_signed16 mk_signed16_memory __attribute__((aligned(1)));
typedef mk_bytes64 mk_bytes64_memory __attribute__((aligned(1)));

/// Where a block of a group lies.
typedef struct {
    const uint8_t *tile, *pair, *codes;
} affine_place;

MK_INLINE affine_place affine_find(const int32_t type, const uint8_t *group, int64_t block) {
    const int64_t blocks = mk_affine_blocks(type), head = mk_affine_head(type), b = block % blocks;
    const uint8_t *tile = group + block / blocks * mk_affine_tile_bytes(type);
    return (affine_place){tile, tile + head - 32 * (blocks - b), tile + head + b * mk_affine_code_bytes(type)};
}

/// s and m of 16 rows, for the left and the right half of a block.
typedef struct {
    mk_v16 scale[2], minimum[2];
} affine_units;

MK_INLINE mk_v16 affine_integers(const uint8_t *p) {
    return __builtin_convertvector(*(const mk_bytes16_memory *)p, mk_v16);
}

MK_INLINE affine_units affine_units_of(const int32_t type, affine_place w) {
    const mk_v16 d = tile_scales(w.tile);
    affine_units u;
    if (type == MK_Q6_K) {
        for (int h = 0; h < 2; h++) {
            u.scale[h] = d * __builtin_convertvector(*(const mk_signed16_memory *)(w.pair + 16 * h), mk_v16);
            u.minimum[h] = u.scale[h] * -32.0f;
        }
        return u;
    }
    const mk_v16 dmin = tile_scales(w.tile + 32);
    u.scale[0] = u.scale[1] = type == MK_Q4_1 ? d : d * affine_integers(w.pair);
    u.minimum[0] = u.minimum[1] = type == MK_Q4_1 ? dmin : -(dmin * affine_integers(w.pair + 16));
    return u;
}

MK_INLINE mk_bytes64 load_bytes64(const uint8_t *p) {
    return *(const mk_bytes64_memory *)p;
}

/// Bits of 64 bytes moved down, then up; those of `mask` kept.
MK_INLINE mk_bytes64 affine_bits(mk_bytes64 x, int down, int up, int mask) {
    const mk_words32 moved = (mk_words32)x >> (uint16_t)down << (uint16_t)up;
    return (mk_bytes64)moved & (uint8_t)mask;
}

/// The codes of columns 4 j ... 4 j + 3 of a block, all 16 rows.
MK_INLINE mk_bytes64 affine_quad(const int32_t type, const uint8_t *codes, int j) {
    const mk_bytes64 low = affine_bits(load_bytes64(codes + 64 * (j / 2)), j % 2 * 4, 0, 15);
    if (type == MK_Q5_K) return low | affine_bits(load_bytes64(codes + 256), j, 4, 16);
    if (type == MK_Q6_K) {
        return low | affine_bits(load_bytes64(codes + 256 + 64 * (j / 4)), j % 4 * 2, 4, 48);
    }
    return low;
}

/// Column 4 j + c of a block as floats. affine_nibbles gives those of the four bits of each dword from `shift` on.
MK_INLINE mk_v16 affine_column(const int32_t type, const uint8_t *codes, int j, int c) {
    if (type == MK_Q4_1 || type == MK_Q4_K) {
        mk_u16 dwords;
        memcpy(&dwords, codes + 64 * (j / 2), sizeof dwords);
        return affine_nibbles(dwords, 8 * c + j % 2 * 4);
    }
    const mk_u16 column = (mk_u16)affine_quad(type, codes, j) >> (uint32_t)(8 * c) & 255;
    return __builtin_convertvector((mk_i16)column, mk_v16);
}

/// The type becomes a constant.
#define AFFINE_SWITCH(type, CALL) \
    switch (type) {               \
        case MK_Q4_1:             \
            CALL(MK_Q4_1);        \
            break;                \
        case MK_Q4_K:             \
            CALL(MK_Q4_K);        \
            break;                \
        case MK_Q5_K:             \
            CALL(MK_Q5_K);        \
            break;                \
        case MK_Q6_K:             \
            CALL(MK_Q6_K);        \
            break;                \
        default:                  \
            break;                \
    }

enum { AFFINE_AHEAD = 4096 };  ///< bytes of weights that are fetched in advance

/// Asks for a block's share of the bytes to come.
MK_INLINE void affine_prefetch(const int32_t type, affine_place w, int64_t block) {
    const int64_t bytes = mk_affine_tile_bytes(type) / mk_affine_blocks(type);
    const uint8_t *next = w.tile + block % mk_affine_blocks(type) * bytes + AFFINE_AHEAD;
#pragma clang loop unroll(full)
    for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(next + line);
}

MK_INLINE void affine_rows_of(const int32_t type, const uint8_t *group, int64_t first, int64_t count, float *panel) {
    for (int64_t b = first; b < first + count; b++, panel += MK_TILE_COLS * MK_PANEL_WIDTH) {
        const affine_place w = affine_find(type, group, b);
        const affine_units u = affine_units_of(type, w);
#pragma clang loop unroll(full)
        for (int j = 0; j < 8; j++) {
#pragma clang loop unroll(full)
            for (int c = 0; c < 4; c++) {
                const mk_v16 q = affine_column(type, w.codes, j, c);
                store16(panel + 16 * (4 * j + c), q * u.scale[j / 4] + u.minimum[j / 4]);
            }
        }
    }
}

static void affine_expand_rows(int32_t type, const uint8_t *group, int64_t first, int64_t count, float *panel){
#define CALL(constant) affine_rows_of(constant, group, first, count, panel)
    AFFINE_SWITCH(type, CALL)
#undef CALL
}

/// rows[r][i] = the codes of column 16 h + i of a block.
MK_INLINE void affine_transpose(const int32_t type, const uint8_t *codes, int h, uint8_t rows[16][16]) {
    mk_u16 v[4];
    for (int i = 0; i < 4; i++) v[i] = (mk_u16)affine_quad(type, codes, 4 * h + i);
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HIGH(a, b) __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LOW2(a, b) __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HIGH2(a, b) __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
    const mk_u16 a = LOW(v[0], v[1]), b = HIGH(v[0], v[1]), c = LOW(v[2], v[3]), d = HIGH(v[2], v[3]);
    // Dwords 4 l ... 4 l + 3 of number i are row 4 l + i.
    const mk_u16 lanes[4] = {LOW2(a, c), HIGH2(a, c), LOW2(b, d), HIGH2(b, d)};
#undef LOW
#undef HIGH
#undef LOW2
#undef HIGH2
    for (int i = 0; i < 4; i++) {
        uint8_t bytes[4][16];
        memcpy(bytes, lanes + i, sizeof bytes);
        for (int l = 0; l < 4; l++) memcpy(rows[4 * l + i], bytes[l], 16);
    }
}

/// Puts rows r and r + 1 (even r) of 16 columns into a panel.
typedef void affine_store(mk_v16 first, mk_v16 second, int r, float *panel);

/// A block of `count` groups, its halves to panels of `floats` each; a store is a constant where this is inlined.
MK_INLINE void affine_cols_of(const int32_t type, affine_store *const store, int64_t floats, const uint8_t *group,
                              int64_t block, int64_t stride, int64_t count, float *left, float *right) {
    affine_place w = affine_find(type, group, block);
    for (int64_t g = 0; g < count; g++, left += floats, right += floats) {
        const affine_units u = affine_units_of(type, w);
        for (int h = 0; h < 2; h++) {
            _Alignas(64) float scale[16], minimum[16];
            uint8_t rows[16][16];
            store16(scale, u.scale[h]);
            store16(minimum, u.minimum[h]);
            affine_transpose(type, w.codes, h, rows);
            for (int r = 0; r < 16; r += 2) {
                store(affine_integers(rows[r]) * scale[r] + minimum[r],
                      affine_integers(rows[r + 1]) * scale[r + 1] + minimum[r + 1], r, h == 0 ? left : right);
            }
        }
        w = (affine_place){w.tile + stride, w.pair + stride, w.codes + stride};
    }
}

MK_INLINE void affine_store_rows(mk_v16 first, mk_v16 second, int r, float *panel) {
    store16(panel + 16 * r, first);
    store16(panel + 16 * (r + 1), second);
}

static void affine_expand_cols(int32_t type, const uint8_t *group, int64_t block, int64_t stride, int64_t count,
                               float *left, float *right){
#define CALL(constant) affine_cols_of(constant, affine_store_rows, 256, group, block, stride, count, left, right)
    AFFINE_SWITCH(type, CALL)
#undef CALL
}

/// `groups` x `tokens` chains; see gemv in isa.h. Constants where this is inlined.
MK_INLINE void affine_gemv_groups(const int32_t type, const int groups, const int tokens, const uint8_t *group,
                                  int64_t stride, int64_t count, const float *x, int64_t ldx, float *sums) {
    mk_v16 sum[4][MK_GEMV_TOKENS];
#pragma clang loop unroll(full)
    for (int g = 0; g < groups; g++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) sum[g][t] = 0.0f;
    }
    for (int64_t b = 0; b < count; b++, x += MK_TILE_COLS) {
        const affine_place w = affine_find(type, group, b);
        affine_units u[4];
#pragma clang loop unroll(full)
        for (int g = 0; g < groups; g++) {
            u[g] = affine_units_of(type, (affine_place){w.tile + g * stride, w.pair + g * stride, NULL});
        }
#pragma clang loop unroll(full)
        for (int j = 0; j < 8; j++) {
#pragma clang loop unroll(full)
            for (int c = 0; c < 4; c++) {
#pragma clang loop unroll(full)
                for (int g = 0; g < groups; g++) {
                    const mk_v16 q = affine_column(type, w.codes + g * stride, j, c);
                    const mk_v16 weight = q * u[g].scale[j / 4] + u[g].minimum[j / 4];
#pragma clang loop unroll(full)
                    for (int t = 0; t < tokens; t++) sum[g][t] = weight * x[t * ldx + 4 * j + c] + sum[g][t];
                }
            }
        }
    }
#pragma clang loop unroll(full)
    for (int g = 0; g < groups; g++) {
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) store16(sums + t * MK_BLOCK_WIDTH + 16 * g, sum[g][t]);
    }
}

/// AFFINE_GEMV_GROUPS groups at a time: as many as the registers hold.
MK_INLINE void affine_gemv_tokens(const int32_t type, const int tokens, const uint8_t *group, int64_t stride,
                                  int64_t groups, int64_t count, const float *x, int64_t ldx, float *sums) {
    for (; groups >= AFFINE_GEMV_GROUPS; groups -= AFFINE_GEMV_GROUPS) {
        affine_gemv_groups(type, AFFINE_GEMV_GROUPS, tokens, group, stride, count, x, ldx, sums);
        group += AFFINE_GEMV_GROUPS * stride;
        sums += AFFINE_GEMV_GROUPS * MK_TILE_ROWS;
    }
    for (; groups > 0; groups--, group += stride, sums += MK_TILE_ROWS) {
        affine_gemv_groups(type, 1, tokens, group, stride, count, x, ldx, sums);
    }
}

MK_INLINE void affine_gemv(const int tokens, int32_t type, const uint8_t *group, int64_t stride, int64_t groups,
                           int64_t count, const float *x, int64_t ldx, float *sums) {
#define CALL(constant) affine_gemv_tokens(constant, tokens, group, stride, groups, count, x, ldx, sums)
    AFFINE_SWITCH(type, CALL)
#undef CALL
}

#endif
