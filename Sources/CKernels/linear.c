/// Products in f32 and bf16 with weights and with their transposes: one driver, whose panels come from the weights'
/// rows (forward) or columns (backward).
///
/// The activations are packed by token tile once for all the products that share them, a stretch of the reduction after
/// the other, then threads share out pieces of the outputs. A piece walks through the whole reduction in order, stretch
/// by stretch, carrying its sums along: one fp32 chain for each output, whatever the batch, the piece or the thread.
#include <assert.h>
#include <string.h>

#include "isa.h"

enum {
    STRETCH = 128,     ///< cells of the reduction in a panel: two panels are half of a small L1
    CHUNK = 516,       ///< most tokens that are packed at once: a multiple of every token_tile
    SHORT = 48,        ///< tokens of a piece where the width alone does not give threads enough to share
    ALIGNMENT = 64,    ///< of the parts of a workspace
    WIDEST_TILE = 12,  ///< the largest token_tile
};

/// Activations [T][depth] on their way into the micro-kernel.
typedef struct operand {
    const float *x;
    int64_t ldx;
    int64_t depth;
    bool pairs;     ///< cells are pairs of bf16
    float *packed;  ///< [stretch][token tile][cell][token_tile]
} operand;

/// y (+)= sum over the terms of operand * w, or * w^T where `transposed`.
typedef struct product {
    const mk_matrix *w[MK_GROUP_MAX];
    const operand *x[MK_GROUP_MAX];
    int32_t terms;
    bool direct;      ///< few tokens: x as it is, the weights expanded in registers
    bool transposed;  ///< the outputs are the weights' columns: the backward
    int64_t width;    ///< outputs of a token
    float *y;
    int64_t ldy;
    bool accumulate;
} product;

/// Buffers of one thread, on its stack: 196 KiB.
typedef struct scratch {
    _Alignas(64) float block[MK_BLOCK_FLOATS];
    _Alignas(64) float sums[CHUNK * MK_BLOCK_WIDTH];
} scratch;

static int64_t cells_of(const operand *o) {
    return o->pairs ? mk_ceil_div(o->depth, 2) : o->depth;
}

static size_t operand_bytes(bool pairs, int64_t tokens, int64_t depth) {
    const int64_t tokens_at_once = mk_ceil_div(mk_min(tokens, CHUNK), WIDEST_TILE) * WIDEST_TILE;
    const operand o = {.depth = depth, .pairs = pairs};
    const size_t bytes = (size_t)tokens_at_once * (size_t)cells_of(&o) * sizeof(float);
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/// Packs one stretch of one token tile.
static void pack_unit(const mk_isa *isa, const operand *o, int64_t t0, int64_t tokens, int64_t unit) {
    const int64_t height = isa->token_tile, tiles = mk_ceil_div(tokens, height), cells = cells_of(o);
    const int64_t tile = unit % tiles, cell0 = unit / tiles * STRETCH, depth = mk_min(STRETCH, cells - cell0);
    const int64_t rows = mk_min(height, tokens - tile * height);
    const float *x = o->x + (t0 + tile * height) * o->ldx;
    float *out = o->packed + (tiles * cell0 + tile * depth) * height;
    if (o->pairs) {
        _Alignas(64) float rounded[WIDEST_TILE * STRETCH];
        for (int64_t i = 0; i < rows; i++) {
            const int64_t first = 2 * cell0;
            isa->bf16_round(x + i * o->ldx + first, mk_min(2 * STRETCH, o->depth - first), rounded + i * STRETCH);
        }
        isa->interleave(rounded, STRETCH, rows, depth, out);
    } else {
        isa->interleave(x + cell0, o->ldx, rows, depth, out);
    }
}

static int64_t units_of(const mk_isa *isa, const operand *o, int64_t tokens) {
    return mk_ceil_div(tokens, isa->token_tile) * mk_ceil_div(cells_of(o), STRETCH);
}

/// Adds one term's product for outputs [first, first + width) and packed tokens [t, t + tokens) of `all` to the sums.
static void add_term(const mk_isa *isa, const mk_matrix *w, bool transposed, const operand *o, int64_t first,
                     int64_t width, int64_t t, int64_t tokens, int64_t all, scratch *s) {
    const int64_t height = isa->token_tile, tiles = mk_ceil_div(all, height), cells = cells_of(o);
    for (int64_t cell0 = 0; cell0 < cells; cell0 += STRETCH) {
        const int64_t depth = mk_min(STRETCH, cells - cell0);
        const int64_t d0 = o->pairs ? 2 * cell0 : cell0;
        const int64_t length = mk_min(o->pairs ? 2 * STRETCH : STRETCH, o->depth - d0);
        (transposed ? mk_panels_of_cols : mk_panels_of_rows)(isa, o->pairs, w, first, width, d0, length, s->block);
        (o->pairs ? isa->bf16_gemm : isa->packed_gemm)(s->block, mk_ceil_div(width, MK_PANEL_WIDTH), depth,
                                                       o->packed + (tiles * cell0 + t / height * depth) * height,
                                                       tokens, s->sums);
    }
}

/// y[t][0..width) (+)= sums[t][...].
static void write_sums(const float *sums, int64_t tokens, int64_t width, float *y, int64_t ldy, bool accumulate) {
    for (int64_t t = 0; t < tokens; t++, sums += MK_BLOCK_WIDTH, y += ldy) {
        if (accumulate) {
            for (int64_t i = 0; i < width; i++) y[i] += sums[i];
        } else {
            memcpy(y, sums, (size_t)width * sizeof(float));
        }
    }
}

/// One piece of a product: MK_BLOCK_WIDTH outputs of up to `height` of the packed tokens [t0, t0 + tokens).
static void compute_piece(const mk_isa *isa, const product *p, int64_t t0, int64_t tokens, int64_t height,
                          int64_t piece) {
    scratch s;
    const int64_t wide = mk_ceil_div(p->width, MK_BLOCK_WIDTH);
    const int64_t first = piece % wide * MK_BLOCK_WIDTH, width = mk_min(MK_BLOCK_WIDTH, p->width - first);
    const int64_t t = piece / wide * height, count = mk_min(height, tokens - t);
    if (p->direct) {
        const mk_matrix *w = p->w[0];
        const int64_t stride = mk_group_bytes(w->type, w->cols);
        isa->gemv(w->type, (const uint8_t *)w->data + first / MK_TILE_ROWS * stride, stride,
                  mk_ceil_div(width, MK_TILE_ROWS), w->cols / MK_TILE_COLS, p->x[0]->x, p->x[0]->ldx, count, s.sums);
        write_sums(s.sums, count, width, p->y + first, p->ldy, p->accumulate);
        return;
    }
    memset(s.sums, 0, (size_t)count * MK_BLOCK_WIDTH * sizeof(float));
    for (int32_t i = 0; i < p->terms; i++) {
        add_term(isa, p->w[i], p->transposed, p->x[i], first, width, t, count, tokens, &s);
    }
    write_sums(s.sums, count, width, p->y + (t0 + t) * p->ldy + first, p->ldy, p->accumulate);
}

/// All the products of a group. `operands` are those that the products' terms point to.
static void compute(const mk_context *ctx, const operand *operands, int32_t operand_count, const product *products,
                    int32_t count, int64_t tokens) {
    int64_t blocks = 0;
    double operations = 0;
    for (int32_t i = 0; i < count; i++) {
        blocks += mk_ceil_div(products[i].width, MK_BLOCK_WIDTH);
        for (int32_t j = 0; j < products[i].terms; j++) {
            operations += (double)tokens * (double)products[i].width * (double)products[i].x[j]->depth;
        }
    }
    if (tokens == 0 || blocks == 0) return;
    const mk_isa *isa = ctx->isa;
    const int64_t chunk = mk_ceil_div(mk_ceil_div(tokens, mk_ceil_div(tokens, CHUNK)), WIDEST_TILE) * WIDEST_TILE;
    const int64_t height = blocks >= 8 ? chunk : SHORT;
    for (int64_t t0 = 0; t0 < tokens; t0 += chunk) {
        const int64_t now = mk_min(chunk, tokens - t0), tall = mk_ceil_div(now, height);
        int64_t units = 0;
        for (int32_t i = 0; i < operand_count; i++) units += units_of(isa, operands + i, now);
        mk_for(ctx, operations, units, ^(int64_t unit) {
            const operand *o = operands;
            for (int64_t own; unit >= (own = units_of(isa, o, now)); o++) unit -= own;
            pack_unit(isa, o, t0, now, unit);
        });
        mk_for(ctx, operations, blocks * tall, ^(int64_t piece) {
            const product *p = products;
            for (int64_t own; piece >= (own = mk_ceil_div(p->width, MK_BLOCK_WIDTH) * tall); p++) piece -= own;
            compute_piece(isa, p, t0, now, height, piece);
        });
    }
}

/// bf16 where it is asked for and loses nothing that the weight has: f32 and f16 weights stay in f32.
static bool in_pairs(int32_t compute, const mk_matrix *w) {
    return compute == MK_COMPUTE_BF16 && (mk_type_is_tiled(w->type) || w->type == MK_BF16);
}

/// The backward in int8 where it is asked for and the weight has one.
static bool in_int8(int32_t compute, const mk_matrix *w) {
    return compute == MK_COMPUTE_INT8 && mk_has_int8_gradient(w);
}

size_t mk_linear_workspace(int32_t compute_code, int64_t tokens, int64_t cols) {
    size_t bytes = operand_bytes(false, tokens, cols);
    if (compute_code == MK_COMPUTE_BF16) bytes += operand_bytes(true, tokens, cols);
    // int8 comes before the rest of a group, in the same memory.
    if (compute_code == MK_COMPUTE_INT8)
        bytes = (size_t)mk_max((int64_t)bytes, (int64_t)mk_linear_int8_workspace(tokens, cols));
    return bytes;
}

void mk_linear_forward(const mk_context *ctx, int32_t compute_code, const mk_linear_output *outputs, int32_t count,
                       const float *x, int64_t ldx, int64_t tokens, void *workspace) {
    assert(count >= 0 && count <= MK_GROUP_MAX && mk_compute_available(ctx->isa, compute_code));
    if (compute_code == MK_COMPUTE_INT8) mk_linear_int8(ctx, outputs, count, x, ldx, tokens, workspace);
    operand operands[2];
    product products[MK_GROUP_MAX];
    int32_t operand_count = 0, product_count = 0;
    const operand *packed[2] = {NULL, NULL};
    const operand unpacked = {.x = x, .ldx = ldx, .depth = count > 0 ? outputs[0].w->cols : 0};
    uint8_t *memory = workspace;
    for (int32_t i = 0; i < count; i++) {
        const mk_linear_output *o = outputs + i;
        if (compute_code == MK_COMPUTE_INT8 && mk_type_is_tiled(o->w->type)) continue;
        const bool pairs = in_pairs(compute_code, o->w);
        const bool direct =
            !pairs && tokens <= MK_GEMV_TOKENS && ctx->isa->gemv != NULL && mk_type_is_tiled(o->w->type);
        if (!direct && packed[pairs] == NULL) {
            operands[operand_count] = (operand){x, ldx, o->w->cols, pairs, (float *)(void *)memory};
            memory += operand_bytes(pairs, tokens, o->w->cols);
            packed[pairs] = operands + operand_count++;
        }
        products[product_count++] = (product){.w = {o->w},
                                              .x = {direct ? &unpacked : packed[pairs]},
                                              .terms = 1,
                                              .direct = direct,
                                              .width = o->w->rows,
                                              .y = o->y,
                                              .ldy = o->ldy,
                                              .accumulate = o->accumulate};
    }
    compute(ctx, operands, operand_count, products, product_count, tokens);
}

size_t mk_linear_backward_workspace(int32_t compute_code, const mk_linear_input *inputs, int32_t count,
                                    int64_t tokens) {
    size_t bytes = 0, int8 = 0;
    for (int32_t i = 0; i < count; i++) {
        if (in_int8(compute_code, inputs[i].w)) {
            int8 += mk_int8_gradient_workspace(tokens, inputs[i].w->rows);
        } else {
            bytes += operand_bytes(in_pairs(compute_code, inputs[i].w), tokens, inputs[i].w->rows);
        }
    }
    // One after the other in the same memory.
    return bytes > int8 ? bytes : int8;
}

size_t mk_linear_backward_workspace_bound(int32_t compute_code, int32_t count, int64_t rows, int64_t tokens) {
    // Each input is rounded up by itself.
    const size_t packed = operand_bytes(false, tokens, rows) + (size_t)count * ALIGNMENT;
    const size_t int8 = mk_int8_gradient_workspace(tokens, rows + count * (MK_GRADIENT_ROWS - 1));
    return compute_code == MK_COMPUTE_INT8 && int8 > packed ? int8 : packed;
}

void mk_linear_backward(const mk_context *ctx, int32_t compute_code, const mk_linear_input *inputs, int32_t count,
                        int64_t tokens, float *dx, int64_t lddx, bool accumulate, void *workspace) {
    assert(count > 0 && count <= MK_GROUP_MAX && mk_compute_available(ctx->isa, compute_code));
    mk_linear_input int8[MK_GROUP_MAX];
    int32_t int8_count = 0, operand_count = 0;
    operand operands[MK_GROUP_MAX];
    product p = {.transposed = true, .width = inputs[0].w->cols, .y = dx, .ldy = lddx};
    uint8_t *memory = workspace;
    for (int32_t i = 0; i < count; i++) {
        const mk_linear_input *input = inputs + i;
        assert(input->w->cols == p.width);
        if (in_int8(compute_code, input->w)) {
            int8[int8_count++] = *input;
            continue;
        }
        const bool pairs = in_pairs(compute_code, input->w);
        operands[operand_count] = (operand){input->dy, input->lddy, input->w->rows, pairs, (float *)(void *)memory};
        memory += operand_bytes(pairs, tokens, input->w->rows);
        p.w[operand_count] = input->w;
        p.x[operand_count] = operands + operand_count;
        operand_count++;
    }
    if (int8_count > 0) mk_linear_int8_gradient(ctx, int8, int8_count, tokens, dx, lddx, accumulate, workspace);
    p.terms = operand_count;
    p.accumulate = accumulate || int8_count > 0;
    if (operand_count > 0) compute(ctx, operands, operand_count, &p, 1, tokens);
}
