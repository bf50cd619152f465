/// ggml's blocks of 32 weights as tiles (docs/format.md): a permutation of the same bits.
#include <assert.h>
#include <string.h>

#include "isa.h"

enum { BLOCK = 32 };

/// The code of weight `column` of a block of 4 bits: weight j is the low half of byte j, weight j + 16 the high one.
static uint8_t code4(const uint8_t *quants, int column) {
    return column < BLOCK / 2 ? quants[column] & 15 : quants[column - BLOCK / 2] >> 4;
}

/// Puts a block in its row of a tile.
static void put_block(const uint8_t *block, int is4bit, int row, uint8_t *tile) {
    memcpy(tile + 2 * row, block, 2);
    const uint8_t *quants = block + 2;
    uint8_t *out = tile + 2 * MK_TILE_ROWS + 4 * row;
    if (is4bit) {
        for (int j = 0; j < 4; j++) {
            for (int c = 0; c < 4; c++) {
                out[64 * j + c] = (uint8_t)(code4(quants, 8 * j + c) | code4(quants, 8 * j + 4 + c) << 4);
            }
        }
    } else {
        for (int j = 0; j < 8; j++) memcpy(out + 64 * j, quants + 4 * j, 4);
    }
}

void mk_ggml_to_tiles(int32_t type, const void *src, int64_t rows, int64_t cols, void *dst) {
    const int64_t bytes = mk_ggml_block_bytes(type);
    assert(mk_type_is_tiled(type) && bytes > 0 && cols % BLOCK == 0);
    const int is4bit = type != MK_Q8_0;
    const int64_t blocks = cols / BLOCK;
    const int64_t tile_bytes = 2 * MK_TILE_ROWS + MK_TILE_ROWS * (is4bit ? BLOCK / 2 : BLOCK);
    const int64_t groups = (rows + MK_TILE_ROWS - 1) / MK_TILE_ROWS;
    memset(dst, 0, (size_t)(groups * blocks * tile_bytes));
    for (int64_t r = 0; r < rows; r++) {
        const uint8_t *block = (const uint8_t *)src + r * blocks * bytes;
        uint8_t *tile = (uint8_t *)dst + r / MK_TILE_ROWS * blocks * tile_bytes;
        for (int64_t b = 0; b < blocks; b++, block += bytes, tile += tile_bytes) {
            put_block(block, is4bit, (int)(r % MK_TILE_ROWS), tile);
        }
    }
}
