/// ggml's blocks as tiles (docs/reference/format.md) and tiles as ggml's blocks: the same numbers in other places.
#include <assert.h>
#include <string.h>

#include "ggml_blocks.h"
#include "isa.h"

enum { BLOCK = 32 };

/// The code of weight `column` of a block of 4 bits: weight j is the low half of byte j, weight j + 16 the high one.
static uint8_t code4(const uint8_t *quants, int column) {
    return column < BLOCK / 2 ? quants[column] & 15 : quants[column - BLOCK / 2] >> 4;
}

/// Puts a block in its row of a tile whose codes are all zero there.
static void put_block(int32_t type, const uint8_t *block, int row, uint8_t *tile) {
    if (mk_type_is_affine(type)) {
        mk_affine_row numbers;
        mk_ggml_take(type, block, &numbers);
        mk_affine_store(type, &numbers, row, tile);
        return;
    }
    memcpy(tile + 2 * row, block, 2);
    const uint8_t *quants = block + 2;
    uint8_t *out = tile + 2 * MK_TILE_ROWS + 4 * row;
    if (type != MK_Q8_0) {
        for (int j = 0; j < 4; j++) {
            for (int c = 0; c < 4; c++) {
                out[64 * j + c] = (uint8_t)(code4(quants, 8 * j + c) | code4(quants, 8 * j + 4 + c) << 4);
            }
        }
    } else {
        for (int j = 0; j < 8; j++) memcpy(out + 64 * j, quants + 4 * j, 4);
    }
}

/// Takes the block of a row out of its tile.
static void take_block(int32_t type, const uint8_t *tile, int row, uint8_t *block) {
    if (mk_type_is_affine(type)) {
        mk_affine_row numbers;
        mk_affine_load(type, tile, row, &numbers);
        mk_ggml_put(type, &numbers, block);
        return;
    }
    memcpy(block, tile + 2 * row, 2);
    uint8_t *quants = block + 2;
    const uint8_t *in = tile + 2 * MK_TILE_ROWS + 4 * row;
    if (type == MK_Q8_0) {
        for (int j = 0; j < 8; j++) memcpy(quants + 4 * j, in + 64 * j, 4);
        return;
    }
    // Columns 8j to 8j + 3 are the low halves of four bytes, 8j + 4 to 8j + 7 the high ones.
    uint8_t codes[BLOCK];
    for (int column = 0; column < BLOCK; column++) {
        codes[column] = in[64 * (column / 8) + column % 4] >> (column & 4) & 15;
    }
    for (int j = 0; j < BLOCK / 2; j++) quants[j] = (uint8_t)(codes[j] | codes[j + BLOCK / 2] << 4);
}

void mk_tiles_to_ggml(int32_t type, const void *src, int64_t rows, int64_t cols, void *dst) {
    const int64_t bytes = mk_ggml_block_bytes(type), tile_bytes = mk_tile_bytes(type);
    assert(tile_bytes > 0 && bytes > 0 && mk_ggml_block_elements(type) == mk_tile_columns(type));
    assert(cols % mk_tile_columns(type) == 0);
    const int64_t blocks = cols / mk_tile_columns(type);
    for (int64_t r = 0; r < rows; r++) {
        uint8_t *block = (uint8_t *)dst + r * blocks * bytes;
        const uint8_t *tile = (const uint8_t *)src + r / MK_TILE_ROWS * blocks * tile_bytes;
        for (int64_t b = 0; b < blocks; b++, block += bytes, tile += tile_bytes) {
            take_block(type, tile, (int)(r % MK_TILE_ROWS), block);
        }
    }
}

void mk_ggml_to_tiles(int32_t type, const void *src, int64_t rows, int64_t cols, void *dst) {
    const int64_t bytes = mk_ggml_block_bytes(type), tile_bytes = mk_tile_bytes(type);
    assert(tile_bytes > 0 && bytes > 0 && mk_ggml_block_elements(type) == mk_tile_columns(type));
    assert(cols % mk_tile_columns(type) == 0);
    const int64_t blocks = cols / mk_tile_columns(type);
    memset(dst, 0, mk_matrix_bytes(type, rows, cols));
    for (int64_t r = 0; r < rows; r++) {
        const uint8_t *block = (const uint8_t *)src + r * blocks * bytes;
        uint8_t *tile = (uint8_t *)dst + r / MK_TILE_ROWS * blocks * tile_bytes;
        for (int64_t b = 0; b < blocks; b++, block += bytes, tile += tile_bytes) {
            put_block(type, block, (int)(r % MK_TILE_ROWS), tile);
        }
    }
}
