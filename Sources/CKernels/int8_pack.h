/// Activations as integers: 32 of a token to a scale, x = scale * code.
///
/// A block's scale is the step of its largest values, and every value of the block is rounded to that step. Models have
/// columns that are many times larger than those beside them, which would be rounded away. So a block may have *wide*
/// quads (4 neighbouring columns), whose codes have two digits, code = low + 128 * high, and the scale is that of the
/// largest of the other quads. A wide quad costs the products one more of a block's eight steps. Of k quads wide, those
/// with the largest values, the block takes the k for which
///     m * m + k * wide_cost * a * a
/// is least, m being the largest magnitude of the other quads and a the mean magnitude of the block: m * m is what the
/// rounding costs, up to a factor, and it is weighed against what the values have. docs/studies/kernels.md has the
/// curve of error against cost. A block decides by its own values alone, so a token is the same integers in every
/// batch, and on every instruction set.
#ifndef MERASER_INT8_PACK_H
#define MERASER_INT8_PACK_H

#include "simd_math.h"

typedef int8_t mk_c16 __attribute__((ext_vector_type(16)));
typedef int32_t mk_i8 __attribute__((ext_vector_type(8)));
typedef float mk_f8 __attribute__((ext_vector_type(8)));
typedef bool mk_b8 __attribute__((ext_vector_type(8)));

enum {
    PLAIN_STRIP = 64,        ///< most tokens of a strip of any instruction set
    QUADS = 8,               ///< of a block
    DIGIT = 128,             ///< base of a code's two digits
    WIDEST = 127 * DIGIT,    ///< the largest code of a wide quad
    QUADS_BYTES = 76,        ///< of a token's block, as pack_quads has it
    AFFINE_BLOCK_BYTES = 84  ///< and as pack_affine
};

/// A block of a token.
typedef struct {
    float scale;
    uint32_t wide;   ///< bit j: quad j, columns 4 j ... 4 j + 3, is wide
    mk_i16 code[2];  ///< of the left and the right half; at most 127 in magnitude where the quad is not wide
} int8_block;

/// To the nearest even integer: the sum's last bits are those of the integer.
MK_INLINE mk_i16 int8_codes(mk_v16 x, float inverse) {
#pragma clang fp contract(off)  // the same codes on every instruction set
    const mk_v16 shifted = x * inverse + 12582912.0f;
    return (mk_i16)shifted - 0x4b400000;
}

/// The larger of each lane and the one that lies `distance` beside it, in groups of four.
#define QUAD_MAX(v, a, b, c, d)                                                                                      \
    __builtin_elementwise_max(v, __builtin_shufflevector(v, v, a, b, c, d, 4 + a, 4 + b, 4 + c, 4 + d, 8 + a, 8 + b, \
                                                         8 + c, 8 + d, 12 + a, 12 + b, 12 + c, 12 + d))

/// The wide quads of a block with these magnitudes, as bits, `price` being what one costs; `largest` becomes the
/// largest magnitude of the others.
MK_INLINE uint32_t wide_quads(mk_u16 left, mk_u16 right, float price, float *largest) {
#pragma clang fp contract(off)  // the same choice on every instruction set
    left = QUAD_MAX(left, 1, 0, 3, 2);
    right = QUAD_MAX(right, 1, 0, 3, 2);
    left = QUAD_MAX(left, 2, 3, 0, 1);
    right = QUAD_MAX(right, 2, 3, 0, 1);
    const mk_i8 top = (mk_i8)__builtin_shufflevector(left, right, 0, 4, 8, 12, 16, 20, 24, 28);
    // The rank of a quad is the number of those in front of it: larger, or equal and further left. It is the largest
    // of the quads that are not wide if as many are wide as its rank says.
    const mk_i8 lane = {0, 1, 2, 3, 4, 5, 6, 7};
    mk_i8 rank = 0;
#pragma clang loop unroll(full)
    for (int j = 0; j < QUADS; j++) rank -= (top[j] - (lane > j)) > top;
    const mk_f8 m = (mk_f8)top, cost = m * m + __builtin_convertvector(rank, mk_f8) * price;
    // Costs are not negative: ordered like their bits, of which the last three make room for the rank.
    const int32_t chosen = __builtin_reduce_min(((mk_i8)cost & ~7) | rank) & 7;
    *largest = mk_bits_to_float((uint32_t)__builtin_reduce_max((rank >= chosen) & top));
    const mk_b8 is_wide = __builtin_convertvector(rank < chosen, mk_b8);
    uint8_t bits;
    memcpy(&bits, &is_wide, sizeof bits);
    return bits;
}

/// Quantizes 32 values.
MK_INLINE int8_block int8_quantize(const float *x, float wide_cost) {
    const mk_v16 half[2] = {load16(x), load16(x + 16)};
    // Magnitudes are ordered like their bits; infinities and NaNs come last.
    const mk_u16 left = (mk_u16)half[0] & 0x7fffffff, right = (mk_u16)half[1] & 0x7fffffff;
    const uint32_t top = __builtin_reduce_max(__builtin_elementwise_max(left, right));
    // A NaN or an infinity has no code; a NaN as the scale carries it into every output, where it is reported.
    if (top >= 0x7f800000) return (int8_block){.scale = __builtin_nanf("")};
    const float mean = sum16((mk_v16)left + (mk_v16)right) / MK_TILE_COLS, price = wide_cost * (mean * mean);
    float largest = mk_bits_to_float(top);
    int8_block block = {.scale = largest / 127};
    // Else a wide quad costs more than it could bring.
    if (largest * largest > price) {
        block.wide = wide_quads(left, right, price, &largest);
        const float narrow = largest / 127, widest = mk_bits_to_float(top) / WIDEST;
        if (block.wide != 0) block.scale = narrow > widest ? narrow : widest;
    }
    const float inverse = 1 / block.scale;
    if (!(inverse <= __FLT_MAX__)) return (int8_block){0};
    for (int h = 0; h < 2; h++) block.code[h] = int8_codes(half[h], inverse);
    return block;
}

/// Puts 32 codes of a quad's four bytes each at out[j * tokens].
MK_INLINE void int8_put_bytes(mk_i16 left, mk_i16 right, int64_t tokens, int32_t *out) {
    const mk_c16 bytes[2] = {__builtin_convertvector(left, mk_c16), __builtin_convertvector(right, mk_c16)};
    int32_t quads[QUADS];
    memcpy(quads, bytes, sizeof quads);
    for (int j = 0; j < QUADS; j++) out[j * tokens] = quads[j];
}

/// Puts token t into a strip's block: its codes at low[8][tokens] as dwords of 4 columns, those of the wide quads
/// without their high digits, which go to plane[1 ...][8][tokens]. The first dword of the plane says which quads are
/// wide in any token: of these all tokens' high digits are there.
MK_INLINE void int8_put(const int8_block *block, int64_t t, int64_t tokens, int32_t *low, int32_t *plane) {
    if (t == 0) *plane = 0;
    if (block->wide == 0) {
        int8_put_bytes(block->code[0], block->code[1], tokens, low + t);
        return;
    }
    const mk_i16 bit = {1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8};
    mk_i16 carry[2], rest[2];
    for (int h = 0; h < 2; h++) {
        const mk_i16 is_wide = ((int32_t)(block->wide >> 4 * h) & bit) != 0;
        carry[h] = is_wide & ((block->code[h] + DIGIT / 2) >> 7);
        rest[h] = block->code[h] - carry[h] * DIGIT;
    }
    int8_put_bytes(rest[0], rest[1], tokens, low + t);
    if (*plane == 0) memset(plane + 1, 0, (size_t)(QUADS * tokens) * sizeof(int32_t));
    int8_put_bytes(carry[0], carry[1], tokens, plane + 1 + t);
    *plane |= (int32_t)block->wide;
}

/// Packs a strip in quads: for each block the low digits [8][tokens] as dwords of 4 columns, -128 times the sum of the
/// codes [tokens], the scales [tokens], the plane.
static void pack_quads(const float *x, int64_t ldx, int64_t tokens, int64_t blocks, float wide_cost, void *strip) {
    int32_t *out = strip;
    for (int64_t b = 0; b < blocks; b++, out += QUADS_BYTES / 4 * tokens) {
        for (int64_t t = 0; t < tokens; t++) {
            const int8_block block = int8_quantize(x + t * ldx + MK_TILE_COLS * b, wide_cost);
            int8_put(&block, t, tokens, out, out + 10 * tokens);
            out[8 * tokens + t] = -128 * __builtin_reduce_add(block.code[0] + block.code[1]);
            memcpy(out + 9 * tokens + t, &block.scale, sizeof block.scale);
        }
    }
}

/// Packs a strip for affine_int8_body.h: for each block the low digits [8][tokens] as dwords of 4 columns, -32 times
/// the sum of the left half's codes [tokens] and of the right half's, the scales [tokens], scale times sum of all codes
/// [tokens], the plane.
static void pack_affine(const float *x, int64_t ldx, int64_t tokens, int64_t blocks, float wide_cost, void *strip) {
    int32_t *out = strip;
    for (int64_t b = 0; b < blocks; b++, out += AFFINE_BLOCK_BYTES / 4 * tokens) {
        for (int64_t t = 0; t < tokens; t++) {
            const int8_block block = int8_quantize(x + t * ldx + MK_TILE_COLS * b, wide_cost);
            int8_put(&block, t, tokens, out, out + 12 * tokens);
            const int32_t left = __builtin_reduce_add(block.code[0]), right = __builtin_reduce_add(block.code[1]);
            const float part = block.scale * (float)(left + right);
            out[8 * tokens + t] = -32 * left;
            out[9 * tokens + t] = -32 * right;
            memcpy(out + 10 * tokens + t, &block.scale, sizeof block.scale);
            memcpy(out + 11 * tokens + t, &part, sizeof part);
        }
    }
}

#endif
