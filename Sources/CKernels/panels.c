/// Packs weights of any type, and plain fp32 arrays, into the panels that the
/// micro-kernels read.
#include <string.h>

#include "half.h"
#include "isa.h"

/// Cells of 16 x 256 plain weights: the way of the plain types into a panel.
typedef struct strip {
    _Alignas(64) float cells[MK_TILE_ROWS * MK_BLOCK_DEPTH];
} strip;

static const uint8_t *plain_address(const mk_matrix *w, int64_t row, int64_t col) {
    return (const uint8_t *)w->data + (row * w->cols + col) * (w->type == MK_F32 ? 4 : 2);
}

/// One panel of up to 16 rows of a plain type. Pairs come from bf16 weights
/// only: two neighbours are a cell already.
static void panel_of_plain_rows(const mk_isa *isa, bool pairs, const mk_matrix *w, int64_t row0, int64_t rows,
                                int64_t col0, int64_t cols, float *panel) {
    strip s;
    const int64_t cells = pairs ? mk_ceil_div(cols, 2) : cols;
    for (int64_t r = 0; r < rows; r++) {
        float *row = s.cells + r * MK_BLOCK_DEPTH;
        if (pairs) {
            row[cells - 1] = 0;
            memcpy(row, plain_address(w, row0 + r, col0), (size_t)cols * 2);
        } else {
            mk_plain_to_float(w->type, plain_address(w, row0 + r, col0), cols, row);
        }
    }
    isa->pack_rows(s.cells, MK_BLOCK_DEPTH, rows, cells, panel);
}

void mk_panels_of_rows(const mk_isa *isa, bool pairs, const mk_matrix *w, int64_t row0, int64_t rows, int64_t col0,
                       int64_t cols, float *block) {
    for (int64_t row = 0; row < rows; row += MK_PANEL_WIDTH, block += MK_PANEL_STRIDE) {
        if (mk_type_is_tiled(w->type)) {
            const int64_t group = (row0 + row) / MK_TILE_ROWS;
            (pairs ? isa->bf16_expand_rows : isa->expand_rows)(
                w->type, (const uint8_t *)w->data + group * mk_group_bytes(w->type, w->cols), col0 / MK_TILE_COLS,
                cols / MK_TILE_COLS, block);
        } else {
            panel_of_plain_rows(isa, pairs, w, row0 + row, mk_min(MK_PANEL_WIDTH, rows - row), col0, cols, block);
        }
    }
}

/// Rows between a row that is packed and one that is asked for. They lie a
/// power of two apart as often as not: many more at once would share the few
/// ways of a cache set.
enum { ROWS_AHEAD = 8 };

/// Asks for MK_BLOCK_WIDTH weights of rows row0 + r ... of a stretch of `rows`:
/// rows are too far apart for the processor's own prefetching.
static void prefetch_rows(const mk_matrix *w, int64_t row0, int64_t r, int64_t count, int64_t rows, int64_t col0) {
    for (int64_t i = r; i < mk_min(r + count, rows); i++) {
        const uint8_t *row = plain_address(w, row0 + i, col0);
        __builtin_prefetch(row);
        __builtin_prefetch(row + 64);
    }
}

static void panels_of_plain_cols(bool pairs, const mk_matrix *w, int64_t col0, int64_t cols, int64_t row0, int64_t rows,
                                 float *block) {
    const int64_t step = pairs ? 2 : 1;
    for (int64_t r = 0; r < rows; r += step) {
        float cells[MK_BLOCK_WIDTH] = {0};
        prefetch_rows(w, row0, r + ROWS_AHEAD, step, rows, col0);
        if (pairs) {
            uint16_t halves[2][MK_BLOCK_WIDTH] = {{0}};
            memcpy(halves[0], plain_address(w, row0 + r, col0), (size_t)cols * 2);
            if (r + 1 < rows) memcpy(halves[1], plain_address(w, row0 + r + 1, col0), (size_t)cols * 2);
            for (int c = 0; c < MK_BLOCK_WIDTH; c++) {
                cells[c] = mk_bits_to_float(halves[0][c] | (uint32_t)halves[1][c] << 16);
            }
        } else {
            mk_plain_to_float(w->type, plain_address(w, row0 + r, col0), cols, cells);
        }
        for (int64_t c = 0; c < cols; c += MK_PANEL_WIDTH) {
            memcpy(block + c / MK_PANEL_WIDTH * MK_PANEL_STRIDE + r / step * MK_PANEL_WIDTH, cells + c,
                   MK_PANEL_WIDTH * sizeof(float));
        }
    }
}

/// Clears the second half of 16 pairs: the row that a stretch of odd length
/// does not have. (It is a padding row, whose scale a file may set to
/// anything.)
static void clear_partner(float *cells) {
    for (int i = 0; i < MK_PANEL_WIDTH; i++) cells[i] = mk_bits_to_float(mk_float_to_bits(cells[i]) & 0xffff);
}

void mk_panels_of_cols(const mk_isa *isa, bool pairs, const mk_matrix *w, int64_t col0, int64_t cols, int64_t row0,
                       int64_t rows, float *block) {
    if (!mk_type_is_tiled(w->type)) {
        panels_of_plain_cols(pairs, w, col0, cols, row0, rows, block);
        return;
    }
    const int64_t stride = mk_group_bytes(w->type, w->cols);
    const uint8_t *group = (const uint8_t *)w->data + row0 / MK_TILE_ROWS * stride;
    for (int64_t c = 0; c < cols; c += MK_TILE_COLS, block += 2 * MK_PANEL_STRIDE) {
        (pairs ? isa->bf16_expand_cols : isa->expand_cols)(w->type, group, (col0 + c) / MK_TILE_COLS, stride,
                                                           mk_ceil_div(rows, MK_TILE_ROWS), block,
                                                           block + MK_PANEL_STRIDE);
        if (pairs && rows % 2 != 0) {
            clear_partner(block + rows / 2 * MK_PANEL_WIDTH);
            clear_partner(block + MK_PANEL_STRIDE + rows / 2 * MK_PANEL_WIDTH);
        }
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
