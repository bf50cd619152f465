/// fp32 weights into tiles (and into the plain 16-bit types). The scales come from scalesearch.c.
#include <assert.h>

#include "half.h"
#include "scalesearch.h"

#pragma STDC FP_CONTRACT OFF

enum { COLS = MK_TILE_COLS, ROWS = MK_TILE_ROWS };

/// The power of two below the largest magnitude of a row (within the range in which its inverse is normal too).
/// Dividing by it is exact and keeps squares of the weights away from overflow and underflow.
static float unit_of(const float *row, int64_t cols) {
    uint32_t largest = 0;
    for (int64_t c = 0; c < cols; c++) {
        const uint32_t magnitude = mk_float_to_bits(row[c]) & 0x7fffffff;
        largest = magnitude > largest ? magnitude : largest;
    }
    const uint32_t exponent = largest >> 23;
    return mk_bits_to_float((exponent < 1 ? 1 : (exponent > 253 ? 253 : exponent)) << 23);
}

/// Mean square of row / unit, the same on every machine: 16 interleaved chains.
static float mean_square(const float *row, int64_t cols, float inverse_unit) {
    float sums[16] = {0};
    for (int64_t c = 0; c < cols; c += 16) {
        for (int lane = 0; lane < 16; lane++) {
            const float x = row[c + lane] * inverse_unit;
            sums[lane] += x * x;
        }
    }
    float sum = 0;
    for (int lane = 0; lane < 16; lane++) sum += sums[lane];
    return sum / (float)cols;
}

/// Writes the codes of a tile's rows: bytes of 64 j + 4 r + c as docs/format.md has them.
static void place(bool four_bit, uint8_t codes[COLS][ROWS], int rows, uint8_t *bytes) {
    for (int c = 0; c < COLS; c++) {
        uint8_t *column = bytes + (four_bit ? 64 * (c / 8) : 64 * (c / 4)) + (c & 3);
        const int shift = four_bit ? c & 4 : 0;
        for (int r = 0; r < rows; r++) column[4 * r] = (uint8_t)(column[4 * r] | codes[c][r] << shift);
    }
}

/// One group of up to 16 rows.
static void quantize_group(const mk_isa *isa, const mk_grid *grid, int64_t tile_bytes, const float *src, int rows,
                           int64_t cols, uint8_t *dst) {
    float unit[ROWS], inverse[ROWS], variance[ROWS];
    for (int r = 0; r < ROWS; r++) {
        unit[r] = r < rows ? unit_of(src + r * cols, cols) : 1;
        inverse[r] = 1 / unit[r];
        variance[r] = r < rows ? mean_square(src + r * cols, cols, inverse[r]) : 0;
    }
    float x[COLS][ROWS] = {{0}};
    for (int64_t c0 = 0; c0 < cols; c0 += COLS, dst += tile_bytes) {
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < COLS; c++) x[c][r] = src[r * cols + c0 + c] * inverse[r];
        }
        uint16_t scales[ROWS];
        uint8_t codes[COLS][ROWS];
        isa->scale_search(grid, x[0], unit, variance, scales, codes[0]);
        memset(dst, 0, (size_t)tile_bytes);
        memcpy(dst, scales, (size_t)rows * sizeof *scales);
        place(tile_bytes == MK_TILE_BYTES_4BIT, codes, rows, dst + sizeof scales);
    }
}

static void quantize_tiles(int32_t type, const float *src, int64_t rows, int64_t cols, uint8_t *dst) {
    const mk_isa *isa = mk_isa_find(NULL);  // the bytes are the same on all
    const mk_grid grid = mk_grid_make(type);
    const int64_t tile_bytes = mk_tile_bytes(type);
    for (int64_t row = 0; row < rows; row += ROWS) {
        quantize_group(isa, &grid, tile_bytes, src + row * cols, (int)mk_min(ROWS, rows - row), cols, dst);
        dst += tile_bytes * (cols / COLS);
    }
}

void mk_quantize(int32_t type, const float *src, int64_t rows, int64_t cols, void *dst) {
    const int64_t n = rows * cols;
    uint8_t *bytes = dst;
    switch (type) {
        case MK_F32:
            memcpy(dst, src, (size_t)n * 4);
            return;
        case MK_F16:
        case MK_BF16:
            for (int64_t i = 0; i < n; i++) {
                const uint16_t h = type == MK_F16 ? mk_float_to_half(src[i]) : mk_float_to_bfloat(src[i]);
                memcpy(bytes + 2 * i, &h, 2);
            }
            return;
        default:
            assert(mk_type_is_tiled(type) && cols % MK_TILE_COLS == 0);
            quantize_tiles(type, src, rows, cols, dst);
    }
}
