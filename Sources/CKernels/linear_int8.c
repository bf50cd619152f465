/// Products with tiled weights in int8: the activations are quantized once per call, 32 columns to a scale, for all the
/// weights that share them.
#include "isa.h"

size_t mk_linear_workspace(int32_t compute, int64_t tokens, int64_t cols) {
    if (compute != MK_COMPUTE_INT8) return 0;
    return (size_t)tokens * (size_t)mk_ceil_div(cols, MK_TILE_COLS) * sizeof(mk_int8_block);
}

/// One piece: up to MK_INT8_TOKENS tokens by 16 rows.
static void product_piece(const mk_context *ctx, const mk_linear_output *o, const mk_int8_block *x, int64_t tokens,
                          int64_t piece) {
    enum { HEIGHT = MK_INT8_TOKENS };
    _Alignas(64) float sums[HEIGHT * MK_TILE_ROWS];
    const mk_matrix *w = o->w;
    const int64_t blocks = w->cols / MK_TILE_COLS, wide = mk_ceil_div(w->rows, MK_TILE_ROWS);
    const int64_t row0 = piece % wide * MK_TILE_ROWS, t0 = piece / wide * HEIGHT;
    const int64_t rows = mk_min(MK_TILE_ROWS, w->rows - row0), count = mk_min(HEIGHT, tokens - t0);
    const int64_t group_bytes = blocks * mk_tile_bytes(w->type);
    ctx->isa->int8_rows(mk_codebook(w->type), (const uint8_t *)w->data + piece % wide * group_bytes, blocks,
                        x + t0 * blocks, count, sums);
    for (int64_t t = 0; t < count; t++) {
        float *out = o->y + (t0 + t) * o->ldy + row0;
        for (int64_t r = 0; r < rows; r++) {
            const float sum = sums[t * MK_TILE_ROWS + r];
            out[r] = o->accumulate ? out[r] + sum : sum;
        }
    }
}

static int64_t pieces_of(const mk_linear_output *o, int64_t tokens) {
    if (!mk_type_is_tiled(o->w->type)) return 0;
    return mk_ceil_div(o->w->rows, MK_TILE_ROWS) * mk_ceil_div(tokens, MK_INT8_TOKENS);
}

void mk_linear_int8(const mk_context *ctx, const mk_linear_output *outputs, int32_t count, const float *x, int64_t ldx,
                    int64_t tokens, void *workspace) {
    int64_t pieces = 0, blocks = 0;
    double operations = 0;
    for (int32_t i = 0; i < count; i++) {
        const mk_matrix *w = outputs[i].w;
        if (!mk_type_is_tiled(w->type)) continue;
        blocks = w->cols / MK_TILE_COLS;
        pieces += pieces_of(outputs + i, tokens);
        operations += (double)tokens * (double)w->rows * (double)w->cols;
    }
    if (pieces == 0) return;
    mk_int8_block *quantized = workspace;
    const int threads = mk_threads(ctx, operations);
    mk_counter next_row = 0, next_piece = 0;
#pragma omp parallel num_threads(threads)
    {
        for (int64_t t; (t = mk_next(&next_row)) < tokens;) {
            ctx->isa->int8_quantize(x + t * ldx, blocks, quantized + t * blocks);
        }
#pragma omp barrier
        for (int64_t piece; (piece = mk_next(&next_piece)) < pieces;) {
            const mk_linear_output *o = outputs;
            while (piece >= pieces_of(o, tokens)) piece -= pieces_of(o++, tokens);
            product_piece(ctx, o, quantized, tokens, piece);
        }
    }
}
