/// Tiles and plain types back to fp32, by the letter of docs/reference/format.md; the reference of every faster path.
#include "affine.h"
#include "half.h"
#include "isa.h"

void mk_plain_to_float(int32_t type, const void *src, int64_t n, float *dst) {
    const uint8_t *bytes = src;
    switch (type) {
        case MK_F32:
            memcpy(dst, src, (size_t)n * 4);
            return;
        case MK_F16:
            for (int64_t i = 0; i < n; i++) dst[i] = mk_half_to_float(mk_load16(bytes + 2 * i));
            return;
        case MK_BF16:
            for (int64_t i = 0; i < n; i++) dst[i] = mk_bfloat_to_float(mk_load16(bytes + 2 * i));
            return;
        default:
            memset(dst, 0, (size_t)n * 4);
    }
}

static void tile_row(const int8_t *codebook, const uint8_t *tile, int row, float *dst) {
    const float d = mk_half_to_float(mk_load16(tile + 2 * row));
    const uint8_t *bytes = tile + 2 * MK_TILE_ROWS;
    for (int column = 0; column < MK_TILE_COLS; column++) {
        if (codebook != NULL) {
            const uint8_t byte = bytes[64 * (column / 8) + 4 * row + (column & 3)];
            dst[column] = d * (float)codebook[column & 4 ? byte >> 4 : byte & 15];
        } else {
            dst[column] = d * (float)(int8_t)bytes[64 * (column / 4) + 4 * row + (column & 3)];
        }
    }
}

void mk_dequantize(const mk_matrix *w, int64_t row0, int64_t rows, float *dst) {
    const uint8_t *data = w->data;
    if (!mk_type_is_tiled(w->type)) {
        const int64_t width = w->type == MK_F32 ? 4 : 2;
        mk_plain_to_float(w->type, data + row0 * w->cols * width, rows * w->cols, dst);
        return;
    }
    const int8_t *codebook = mk_codebook(w->type);
    const bool is_affine = mk_type_is_affine(w->type);
    const int64_t tile_bytes = mk_tile_bytes(w->type), tile_columns = mk_tile_columns(w->type);
    for (int64_t row = row0; row < row0 + rows; row++) {
        const uint8_t *tile = data + row / MK_TILE_ROWS * mk_group_bytes(w->type, w->cols);
        for (int64_t c = 0; c < w->cols; c += tile_columns, tile += tile_bytes, dst += tile_columns) {
            if (is_affine) {
                mk_affine_row numbers;
                mk_affine_load(w->type, tile, (int)(row % MK_TILE_ROWS), &numbers);
                mk_affine_values(w->type, &numbers, dst);
            } else {
                tile_row(codebook, tile, (int)(row % MK_TILE_ROWS), dst);
            }
        }
    }
}

void mk_gather_rows(const mk_context *ctx, const mk_matrix *table, const int32_t *ids, int64_t tokens, float *out,
                    int64_t ldout) {
    mk_for(ctx, (double)tokens * (double)table->cols, tokens, ^(int64_t t) {
        mk_dequantize(table, ids[t], 1, out + t * ldout);
    });
}
