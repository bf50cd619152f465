/// A row of a tile of the affine types, one weight after the other: the letter of docs/reference/format.md.
#include "affine.h"

#pragma STDC FP_CONTRACT OFF

/// Where the block's four bits of a column lie: byte 64 * (c / 8) + 4 * row + c % 4, low half first.
static uint8_t *nibble(uint8_t *codes, int row, int c) {
    return codes + 64 * (c / 8) + 4 * row + c % 4;
}

void mk_affine_store(int32_t type, const mk_affine_row *source, int row, uint8_t *tile) {
    memcpy(tile + 2 * row, &source->d, 2);
    if (type != MK_Q6_K) memcpy(tile + 32 + 2 * row, &source->dmin, 2);
    const int64_t blocks = mk_affine_blocks(type), head = mk_affine_head(type), bytes = mk_affine_code_bytes(type);
    for (int64_t b = 0; b < blocks; b++) {
        uint8_t *pair = tile + head - 32 * (blocks - b) + row, *codes = tile + head + b * bytes;
        if (type == MK_Q6_K) {
            pair[0] = source->scales[2 * b];
            pair[16] = source->scales[2 * b + 1];
        } else if (type != MK_Q4_1) {
            pair[0] = source->scales[b];
            pair[16] = source->minimums[b];
        }
        for (int c = 0; c < MK_TILE_COLS; c++) {
            const int q = source->codes[MK_TILE_COLS * b + c];
            *nibble(codes, row, c) |= (uint8_t)((q & 15) << (c & 4));
            uint8_t *high = codes + 256 + 4 * row + c % 4;
            if (type == MK_Q5_K) *high |= (uint8_t)((q >> 4) << c / 4);
            if (type == MK_Q6_K) high[64 * (c / 16)] |= (uint8_t)((q >> 4) << 2 * (c / 4 % 4));
        }
    }
}

/// The code of column c of a block.
static int code(int32_t type, const uint8_t *codes, int row, int c) {
    const int low = *nibble((uint8_t *)codes, row, c) >> (c & 4) & 15;
    const uint8_t *high = codes + 256 + 4 * row + c % 4;
    switch (type) {
        case MK_Q5_K:
            return low | (*high >> c / 4 & 1) << 4;
        case MK_Q6_K:
            return low | (high[64 * (c / 16)] >> 2 * (c / 4 % 4) & 3) << 4;
        default:
            return low;
    }
}

void mk_affine_values(int32_t type, const mk_affine_row *source, float *dst) {
    const float d = mk_half_to_float(source->d);
    const int64_t columns = mk_affine_blocks(type) * MK_TILE_COLS;
    for (int64_t c = 0; c < columns; c++) {
        const float q = source->codes[c];
        if (type == MK_Q6_K) {
            dst[c] = d * (float)(int8_t)source->scales[c / 16] * (q - 32);
        } else if (type == MK_Q4_1) {
            dst[c] = d * q + mk_half_to_float(source->dmin);
        } else {
            const float minimum = mk_half_to_float(source->dmin) * (float)source->minimums[c / MK_TILE_COLS];
            dst[c] = d * (float)source->scales[c / MK_TILE_COLS] * q - minimum;
        }
    }
}

void mk_affine_load(int32_t type, const uint8_t *tile, int row, mk_affine_row *target) {
    memcpy(&target->d, tile + 2 * row, 2);
    if (type != MK_Q6_K) memcpy(&target->dmin, tile + 32 + 2 * row, 2);
    const int64_t blocks = mk_affine_blocks(type), head = mk_affine_head(type), bytes = mk_affine_code_bytes(type);
    for (int64_t b = 0; b < blocks; b++) {
        const uint8_t *pair = tile + head - 32 * (blocks - b) + row, *codes = tile + head + b * bytes;
        if (type == MK_Q6_K) {
            target->scales[2 * b] = pair[0];
            target->scales[2 * b + 1] = pair[16];
        } else if (type != MK_Q4_1) {
            target->scales[b] = pair[0];
            target->minimums[b] = pair[16];
        }
        for (int c = 0; c < MK_TILE_COLS; c++) {
            target->codes[MK_TILE_COLS * b + c] = (uint8_t)code(type, codes, row, c);
        }
    }
}
