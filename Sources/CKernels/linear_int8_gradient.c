/// The backward of tiled weights in int8 (int8_gradient.h): the gradients are brought to units of their largest for all
/// columns at once, then threads share out pieces of the outputs, which walk through the reduction block by block.
#include <string.h>

#include "affine.h"
#include "isa.h"

enum {
    CHUNK = 516,         ///< most tokens that are prepared at once: 43 tiles of them
    PIECE_TOKENS = 132,  ///< of a piece: their gradients stay in L2 while the columns pass by
    ALIGNMENT = 64,      ///< of the parts of a workspace
};

/// One term of the sum, and its gradient in the workspace.
typedef struct term {
    const mk_linear_input *input;
    int64_t blocks;  ///< of 64 rows
    float *g;        ///< [block][padded tokens][64]
    float *unit;     ///< [block][padded tokens]
} term;

static int64_t padded(int64_t tokens) {
    return mk_ceil_div(tokens, MK_GRADIENT_TOKENS) * MK_GRADIENT_TOKENS;
}

bool mk_has_int8_gradient(const mk_matrix *w) {
    return mk_type_is_tiled(w->type) && !mk_type_is_affine(w->type);
}

size_t mk_int8_gradient_workspace(int64_t tokens, int64_t rows) {
    const int64_t blocks = mk_ceil_div(rows, MK_GRADIENT_ROWS), most = padded(mk_min(tokens, CHUNK));
    return (size_t)(blocks * mk_ceil_div(most * (MK_GRADIENT_ROWS + 1) * 4, ALIGNMENT)) * ALIGNMENT;
}

static void prepare_block(const mk_isa *isa, const term *term, int64_t t0, int64_t tokens, int64_t block) {
    const int64_t most = padded(tokens), row = block * MK_GRADIENT_ROWS;
    const int64_t rows = mk_min(MK_GRADIENT_ROWS, term->input->w->rows - row);
    float *g = term->g + block * most * MK_GRADIENT_ROWS, *unit = term->unit + block * most;
    for (int64_t t = 0; t < tokens; t++) {
        const float *dy = term->input->dy + (t0 + t) * term->input->lddy + row;
        unit[t] = isa->int8_gradient->prepare(dy, rows, g + t * MK_GRADIENT_ROWS);
    }
    memset(g + tokens * MK_GRADIENT_ROWS, 0, (size_t)((most - tokens) * MK_GRADIENT_ROWS) * sizeof(float));
    memset(unit + tokens, 0, (size_t)(most - tokens) * sizeof(float));
}

/// Adds one term's product for 32 columns and the tokens [t, t + tokens) of `all` prepared ones to the sums.
static void add_term(const mk_isa *isa, const term *term, int64_t column_block, int64_t t, int64_t tokens, int64_t all,
                     float *sums) {
    const mk_matrix *w = term->input->w;
    const int64_t stride = mk_group_bytes(w->type, w->cols);
    for (int64_t block = 0; block < term->blocks; block++) {
        mk_gradient_panel panel;
        const int64_t row = block * MK_GRADIENT_ROWS, rows = mk_min(MK_GRADIENT_ROWS, w->rows - row);
        const uint8_t *tile =
            (const uint8_t *)w->data + row / MK_TILE_ROWS * stride + column_block * mk_tile_bytes(w->type);
        isa->int8_gradient->scales(tile, stride, rows, &panel);
        isa->int8_gradient->unpack(w->type, tile, stride, mk_ceil_div(rows, MK_TILE_ROWS), &panel);
        for (int64_t i = 0; i < tokens; i += MK_GRADIENT_TOKENS) {
            const int64_t at = block * padded(all) + t + i;
            float unit[MK_GRADIENT_TOKENS];
            for (int k = 0; k < MK_GRADIENT_TOKENS; k++) unit[k] = term->unit[at + k] * panel.largest;
            isa->int8_gradient->rows(&panel, term->g + at * MK_GRADIENT_ROWS, unit, sums + i * MK_TILE_COLS);
        }
    }
}

void mk_linear_int8_gradient(const mk_context *ctx, const mk_linear_input *inputs, int32_t count, int64_t tokens,
                             float *dx, int64_t lddx, bool accumulate, void *workspace) {
    term all[MK_GROUP_MAX];
    const term *const terms = all;
    uint8_t *memory = workspace;
    int64_t blocks = 0;
    double operations = 0;
    const int64_t width = inputs[0].w->cols;
    for (int32_t i = 0; i < count; i++) {
        term *term = all + i;
        term->input = inputs + i;
        term->blocks = mk_ceil_div(inputs[i].w->rows, MK_GRADIENT_ROWS);
        term->g = (float *)(void *)memory;
        term->unit = term->g + term->blocks * padded(mk_min(tokens, CHUNK)) * MK_GRADIENT_ROWS;
        memory += mk_int8_gradient_workspace(tokens, inputs[i].w->rows);
        blocks += term->blocks;
        operations += (double)mk_min(tokens, CHUNK) * (double)width * (double)inputs[i].w->rows;
    }
    for (int64_t t0 = 0; t0 < tokens; t0 += CHUNK) {
        const int64_t now = mk_min(CHUNK, tokens - t0), tall = mk_ceil_div(now, PIECE_TOKENS);
        const int64_t height = padded(mk_ceil_div(now, tall)), wide = width / MK_TILE_COLS;
        mk_for(ctx, operations, blocks, ^(int64_t block) {
            const term *term = terms;
            for (; block >= term->blocks; term++) block -= term->blocks;
            prepare_block(ctx->isa, term, t0, now, block);
        });
        mk_for(ctx, operations, wide * tall, ^(int64_t piece) {
            _Alignas(64) float sums[PIECE_TOKENS * MK_TILE_COLS];
            const int64_t column = piece % wide, t = piece / wide * height, some = mk_min(height, now - t);
            if (some <= 0) return;
            memset(sums, 0, (size_t)(padded(some) * MK_TILE_COLS) * sizeof(float));
            for (int32_t i = 0; i < count; i++) add_term(ctx->isa, terms + i, column, t, some, now, sums);
            for (int64_t i = 0; i < some; i++) {
                float *out = dx + (t0 + t + i) * lddx + column * MK_TILE_COLS;
                for (int c = 0; c < MK_TILE_COLS; c++) {
                    out[c] = accumulate ? out[c] + sums[i * MK_TILE_COLS + c] : sums[i * MK_TILE_COLS + c];
                }
            }
        });
    }
}
