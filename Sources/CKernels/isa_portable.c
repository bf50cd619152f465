/// The path without intrinsics: what every machine runs, and the reference of the others. On arm64 it is compiled to
/// NEON and shared by the path `neon`, which adds the dot product of bytes.
#include <math.h>

#include "half.h"
#include "isa.h"
#include "simd.h"

#if defined(__aarch64__)
#define GEMM_ROWS 6  // 32 registers of 4 floats
#define GEMM_PANELS 1
#else
#define GEMM_ROWS 2  // 16 registers of 4 floats
#define GEMM_PANELS 1
#endif

#include "kernels_body.h"

MK_INLINE mk_v16 tile_scales(const uint8_t *p) {
    float scales[16];
    for (int r = 0; r < 16; r++) scales[r] = mk_half_to_float(mk_load16(p + 2 * r));
    return load16(scales);
}
MK_INLINE mk_v16 affine_nibbles(mk_u16 dwords, int shift) {
    return __builtin_convertvector((mk_i16)(dwords >> (uint32_t)shift & 15), mk_v16);
}
#define AFFINE_GEMV_GROUPS 1
#include "affine_body.h"
#include "int8_gradient_plain.h"

/// values[c][r] = T[q[r][c]] of a tile.
static void tile_values(const int8_t *codebook, const uint8_t *bytes, float *values) {
    if (codebook != NULL) {
        for (int j = 0; j < 4; j++) {
            for (int c = 0; c < 4; c++) {
                for (int r = 0; r < 16; r++) {
                    const uint8_t byte = bytes[64 * j + 4 * r + c];
                    values[16 * (8 * j + c) + r] = codebook[byte & 15];
                    values[16 * (8 * j + 4 + c) + r] = codebook[byte >> 4];
                }
            }
        }
    } else {
        for (int column = 0; column < MK_TILE_COLS; column++) {
            for (int r = 0; r < 16; r++) {
                values[16 * column + r] = (int8_t)bytes[64 * (column / 4) + 4 * r + (column & 3)];
            }
        }
    }
}

static void expand_rows(int32_t type, const uint8_t *group, int64_t first, int64_t count, float *panel) {
    if (mk_type_is_affine(type)) {
        affine_expand_rows(type, group, first, count, panel);
        return;
    }
    const int64_t tile_bytes = mk_tile_bytes(type);
    const uint8_t *tiles = group + first * tile_bytes;
    for (int64_t tile = 0; tile < count; tile++, tiles += tile_bytes, panel += MK_TILE_COLS * MK_PANEL_WIDTH) {
        const mk_v16 scales = tile_scales(tiles);
        tile_values(mk_codebook(type), tiles + 2 * MK_TILE_ROWS, panel);
        for (int c = 0; c < MK_TILE_COLS; c++) {
            store16(panel + 16 * c, scales * load16(panel + 16 * c));
        }
    }
}

static void expand_cols(int32_t type, const uint8_t *group, int64_t block, int64_t stride, int64_t count, float *left,
                        float *right) {
    if (mk_type_is_affine(type)) {
        affine_expand_cols(type, group, block, stride, count, left, right);
        return;
    }
    float values[MK_TILE_COLS * MK_TILE_ROWS];
    const uint8_t *tiles = group + block * mk_tile_bytes(type);
    for (int64_t tile = 0; tile < count; tile++, tiles += stride) {
        tile_values(mk_codebook(type), tiles + 2 * MK_TILE_ROWS, values);
        for (int r = 0; r < MK_TILE_ROWS; r++, left += MK_PANEL_WIDTH, right += MK_PANEL_WIDTH) {
            const float d = mk_half_to_float(mk_load16(tiles + 2 * r));
            for (int c = 0; c < MK_PANEL_WIDTH; c++) {
                left[c] = d * values[16 * c + r];
                right[c] = d * values[16 * (16 + c) + r];
            }
        }
    }
}

static void pack_rows(const float *src, int64_t ld, int64_t rows, int64_t depth, float *panel) {
    if (rows < MK_PANEL_WIDTH) memset(panel, 0, (size_t)depth * MK_PANEL_WIDTH * sizeof(float));
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < depth; c++) panel[16 * c + r] = src[r * ld + c];
    }
}

/// sum + the products of 64 bytes of a tile with the four signed bytes of x.
MK_INLINE mk_i16 plain_affine_dot(mk_i16 sum, mk_bytes64 w, int32_t x) {
    for (int c = 0; c < 4; c++) sum += (mk_i16)((mk_u16)w >> (uint32_t)(8 * c) & 255) * (int8_t)(x >> 8 * c);
    return sum;
}
#define AFFINE_(name) plain_affine_##name
#define AFFINE_TOKENS 4
#define AFFINE_GROUPS 1
#define AFFINE_SUM mk_i16
#define AFFINE_BEGIN(total) (total)
#define AFFINE_DOT plain_affine_dot
#define AFFINE_END(sum, total) (sum)
#include "affine_int8_body.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#include "int8_neon.h"
#pragma clang attribute pop

#define MK_ISA_TABLE mk_isa__neon
#define MK_ISA_NAME "neon"
#define MK_ISA_QUANTIZER mk_quantizer__portable
#define MK_ISA_INT8 int8_neon
#define MK_ISA_INT8_Q4_0 int8_neon
#define MK_ISA_INT8_AFFINE neon_affine_int8
#define MK_ISA_INT8_GRADIENT plain_gradient
#include "isa_table.h"
#endif

#define MK_ISA_TABLE mk_isa__portable
#define MK_ISA_NAME "portable"
#define MK_ISA_QUANTIZER mk_quantizer__portable
#define MK_ISA_INT8 int8_plain
#define MK_ISA_INT8_Q4_0 int8_plain
#define MK_ISA_INT8_AFFINE plain_affine_int8
#define MK_ISA_INT8_GRADIENT plain_gradient
#include "isa_table.h"
