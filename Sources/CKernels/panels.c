/// Packs weights of any type, and plain fp32 arrays, into the panels that the micro-kernel reads.
#include <string.h>

#include "isa.h"

/// fp32 copy of 16 x 256 plain weights: the way of the plain types into a panel.
typedef struct strip {
    _Alignas(64) float values[MK_TILE_ROWS * MK_BLOCK_DEPTH];
} strip;

static const uint8_t *plain_address(const mk_matrix *w, int64_t row, int64_t col) {
    return (const uint8_t *)w->data + (row * w->cols + col) * (w->type == MK_F32 ? 4 : 2);
}

void mk_panels_of_rows(const mk_isa *isa, const mk_matrix *w, int64_t row0, int64_t rows, int64_t col0, int64_t cols,
                       float *block) {
    for (int64_t row = 0; row < rows; row += MK_PANEL_WIDTH, block += MK_PANEL_STRIDE) {
        if (mk_type_is_tiled(w->type)) {
            const int64_t tile_bytes = mk_tile_bytes(w->type);
            const int64_t tile = (row0 + row) / MK_TILE_ROWS * (w->cols / MK_TILE_COLS) + col0 / MK_TILE_COLS;
            isa->expand_rows(mk_codebook(w->type), (const uint8_t *)w->data + tile * tile_bytes, cols / MK_TILE_COLS,
                             block);
            continue;
        }
        strip s;
        const int64_t count = mk_min(MK_PANEL_WIDTH, rows - row);
        for (int64_t r = 0; r < count; r++) {
            mk_plain_to_float(w->type, plain_address(w, row0 + row + r, col0), cols, s.values + r * MK_BLOCK_DEPTH);
        }
        isa->pack_rows(s.values, MK_BLOCK_DEPTH, count, cols, block);
    }
}

static void panels_of_plain_cols(const mk_matrix *w, int64_t col0, int64_t cols, int64_t row0, int64_t rows,
                                 float *block) {
    for (int64_t r = 0; r < rows; r++) {
        float values[MK_BLOCK_WIDTH] = {0};
        mk_plain_to_float(w->type, plain_address(w, row0 + r, col0), cols, values);
        for (int64_t c = 0; c < cols; c += MK_PANEL_WIDTH) {
            memcpy(block + c / MK_PANEL_WIDTH * MK_PANEL_STRIDE + r * MK_PANEL_WIDTH, values + c,
                   MK_PANEL_WIDTH * sizeof(float));
        }
    }
}

void mk_panels_of_cols(const mk_isa *isa, const mk_matrix *w, int64_t col0, int64_t cols, int64_t row0, int64_t rows,
                       float *block) {
    if (!mk_type_is_tiled(w->type)) {
        panels_of_plain_cols(w, col0, cols, row0, rows, block);
        return;
    }
    const int64_t tile_bytes = mk_tile_bytes(w->type);
    const int64_t stride = w->cols / MK_TILE_COLS * tile_bytes;
    const uint8_t *group = (const uint8_t *)w->data + row0 / MK_TILE_ROWS * stride;
    for (int64_t c = 0; c < cols; c += MK_TILE_COLS, block += 2 * MK_PANEL_STRIDE) {
        isa->expand_cols(mk_codebook(w->type), group + (col0 + c) / MK_TILE_COLS * tile_bytes, stride,
                         mk_ceil_div(rows, MK_TILE_ROWS), block, block + MK_PANEL_STRIDE);
    }
}

void mk_pack_cols(const float *src, int64_t ld, int64_t rows, int64_t cols, float *block, int64_t panel_stride) {
    for (int64_t c = 0; c < cols; c += MK_PANEL_WIDTH, block += panel_stride) {
        const int64_t count = mk_min(MK_PANEL_WIDTH, cols - c);
        for (int64_t r = 0; r < rows; r++) {
            float *row = block + r * MK_PANEL_WIDTH;
            if (count < MK_PANEL_WIDTH) memset(row, 0, MK_PANEL_WIDTH * sizeof(float));
            memcpy(row, src + r * ld + c, (size_t)count * sizeof(float));
        }
    }
}
