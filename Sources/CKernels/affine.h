/// The types whose weights are s * q + m: q4_1, and the K-quants q4_k, q5_k, q6_k (private to CKernels).
///
/// A tile has 16 rows and one block of 32 columns (q4_1) or a super-block of eight (K-quants). s and m are, of a block,
///   q4_1         d, m                     both fp16
///   q4_k, q5_k   d * scale, -dmin * min   fp16 d and dmin of the super-block, 6-bit integers of the block
///   q6_k         d * scale, -32 * s       fp16 d of the super-block, an int8 for each 16 columns
/// All these products, and s * q, are exact in fp32 (at most 11 + 7 + 6 bits): whether they meet in a fused
/// multiply-add or not, only the sum with m rounds, as in ggml's reference. Layout: docs/reference/format.md.
#ifndef MERASER_AFFINE_H
#define MERASER_AFFINE_H

#include "half.h"
#include "isa.h"
#include "simd.h"

static inline bool mk_type_is_affine(int32_t type) {
    return type == MK_Q4_1 || type == MK_Q4_K || type == MK_Q5_K || type == MK_Q6_K;
}

/// Blocks of 32 columns of a tile.
static inline int64_t mk_affine_blocks(int32_t type) {
    return type == MK_Q4_1 ? 1 : 8;
}

/// Bytes of a tile before its codes: fp16 d, fp16 m or dmin (zeros in q6_k), then of K-quants 32 bytes a block. The
/// codes begin at multiples of 64.
static inline int64_t mk_affine_head(int32_t type) {
    return type == MK_Q4_1 ? 64 : 64 + 256;
}

/// Bytes of a block's codes: 256 of four bits each, then the fifth bits (64) or the fifth and sixth (128).
static inline int64_t mk_affine_code_bytes(int32_t type) {
    switch (type) {
        case MK_Q5_K:
            return 320;
        case MK_Q6_K:
            return 384;
        default:
            return 256;
    }
}

static inline int64_t mk_affine_tile_bytes(int32_t type) {
    return mk_affine_head(type) + mk_affine_blocks(type) * mk_affine_code_bytes(type);
}

/// Columns that share s and m: 16 in q6_k, else 32.
static inline int mk_affine_part(int32_t type) {
    return type == MK_Q6_K ? 16 : 32;
}

/// A row of a tile in plain integers.
typedef struct {
    uint16_t d, dmin;     ///< fp16 bits; dmin is q4_1's m, and nothing in q6_k
    uint8_t scales[16];   ///< of the blocks, or (q6_k, int8) of the halves of blocks; nothing in q4_1
    uint8_t minimums[8];  ///< of q4_k and q5_k
    uint8_t codes[256];   ///< of all columns
} mk_affine_row;

/// Puts a row in its place of a tile whose codes are all zero there.
void mk_affine_store(int32_t type, const mk_affine_row *source, int row, uint8_t *tile);
/// Takes a row out of a tile.
void mk_affine_load(int32_t type, const uint8_t *tile, int row, mk_affine_row *target);
/// The weights of a row of a tile.
void mk_affine_values(int32_t type, const mk_affine_row *source, float *dst);

/// Quantizes `rows` <= 16 rows of `cols` weights to tiles side by side; missing rows become zero. The same bytes on
/// every machine.
void mk_affine_quantize_group(int32_t type, const float *src, int rows, int64_t cols, uint8_t *dst);

/// What mk_affine_quantize_group makes of a tile: x[c] are the weights of column c of 16 rows relative to the rows'
/// units.
void mk_affine_search(int32_t type, const mk_v16 *x, const float *unit, mk_affine_row *rows);

#endif
