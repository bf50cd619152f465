/// Products with tiled weights in int8: the activations are quantized once per call, 32 columns to a scale, for all the
/// weights that share them, and packed in strips of a few tokens as the micro-kernel reads them.
#include <assert.h>
#include <string.h>

#include "affine.h"
#include "isa.h"

enum {
    PACK_BLOCKS = 32,         ///< blocks that a thread quantizes at a time, for the tokens of a strip
    PIECE_TOKENS = 144,       ///< most tokens of a piece whose strips are narrow; they divide it
    FEW_TOKENS = 8,           ///< up to here the product runs at the speed of memory
    STREAM_BYTES = 64 << 10,  ///< weights of a piece then: small, so that threads end together
    PIECE_BYTES = 256 << 10,  ///< weights of a piece otherwise: they stay in L2 while its tokens pass by
};

/// What the activations are packed for.
typedef struct kind {
    const mk_int8 *kernels;  ///< NULL for plain weights
    float wide_cost;         ///< int8_pack.h
} kind;

/// Weights of six and eight bits are so near to what they stand for that the rounding of the activations would be most
/// of the error; beside the error of fewer bits it is little.
static kind kind_of(const mk_isa *isa, const mk_matrix *w) {
    if (!mk_type_is_tiled(w->type)) return (kind){0};
    const float wide_cost = w->type == MK_Q8_0 || w->type == MK_Q6_K ? WIDE_COST_FINE : WIDE_COST;
    if (mk_type_is_affine(w->type)) return (kind){isa->int8_affine, wide_cost};
    return (kind){w->type == MK_Q4_0 ? isa->int8_q4_0 : isa->int8, wide_cost};
}

static bool same_kind(kind a, kind b) {
    return a.kernels == b.kernels && a.wide_cost == b.wide_cost;
}

/// The activations in the workspace, and how they are cut.
typedef struct packed {
    const mk_isa *isa;
    kind kind;
    int64_t tokens, blocks;
    int64_t strips;  ///< of equal height, give or take one token
    uint8_t *data;
} packed;

static int64_t strip_start(const packed *x, int64_t strip) {
    return strip * x->tokens / x->strips;
}

static uint8_t *strip_data(const packed *x, int64_t strip) {
    return x->data + strip_start(x, strip) * x->blocks * x->kind.kernels->block_bytes;
}

static int64_t pack_pieces(const packed *x) {
    return x->strips * mk_ceil_div(x->blocks, PACK_BLOCKS);
}

static void pack_piece(const packed *p, const float *x, int64_t ldx, int64_t piece) {
    const int64_t strip = piece % p->strips, block = piece / p->strips * PACK_BLOCKS;
    const int64_t t0 = strip_start(p, strip), count = strip_start(p, strip + 1) - t0;
    p->kind.kernels->pack(x + t0 * ldx + block * MK_TILE_COLS, ldx, count, mk_min(PACK_BLOCKS, p->blocks - block),
                          p->kind.wide_cost, strip_data(p, strip) + block * count * p->kind.kernels->block_bytes);
}

/// How an output is cut: groups of 16 rows and strips to a piece.
typedef struct cut {
    int64_t groups, strips;  ///< of a piece
    int64_t wide, tall;      ///< pieces along the rows and along the tokens
} cut;

static cut cut_of(const mk_linear_output *o, const packed *x) {
    const int64_t group_bytes = mk_group_bytes(o->w->type, o->w->cols);
    const int64_t bytes = x->tokens <= FEW_TOKENS ? STREAM_BYTES : PIECE_BYTES;
    const int64_t groups = mk_max(2, bytes / group_bytes & -2);
    const int64_t tall = mk_ceil_div(x->tokens, PIECE_TOKENS);
    return (cut){.groups = groups,
                 .strips = mk_ceil_div(x->strips, tall),
                 .wide = mk_ceil_div(mk_ceil_div(o->w->rows, MK_TILE_ROWS), groups),
                 .tall = tall};
}

static int64_t product_pieces(const mk_linear_output *o, const packed *x) {
    if (!same_kind(kind_of(x->isa, o->w), x->kind)) return 0;
    const cut c = cut_of(o, x);
    return c.wide * c.tall;
}

/// What a piece is made of.
typedef struct piece {
    int64_t group0, group1, strip0, strip1;
} piece;

static piece piece_of(const mk_linear_output *o, const packed *x, int64_t index) {
    const cut c = cut_of(o, x);
    const int64_t group = index % c.wide * c.groups, strip = index / c.wide * c.strips;
    return (piece){.group0 = group,
                   .group1 = mk_min(group + c.groups, mk_ceil_div(o->w->rows, MK_TILE_ROWS)),
                   .strip0 = strip,
                   .strip1 = mk_min(strip + c.strips, x->strips)};
}

static const uint8_t *group_tiles(const mk_matrix *w, int64_t group) {
    return (const uint8_t *)w->data + group * mk_group_bytes(w->type, w->cols);
}

/// y[t0 + t][row0 ...] (+)= sums[t][0 ... width).
static void write_sums(const mk_linear_output *o, const float *sums, int64_t width, int64_t t0, int64_t tokens,
                       int64_t row0) {
    const int64_t rows = mk_min(width, o->w->rows - row0);
    for (int64_t t = 0; t < tokens; t++, sums += width) {
        float *y = o->y + (t0 + t) * o->ldy + row0;
        if (o->accumulate) {
            for (int64_t r = 0; r < rows; r++) y[r] += sums[r];
        } else {
            memcpy(y, sums, (size_t)rows * sizeof(float));
        }
    }
}

/// Strip after strip, each with all the rows: the tiles are unpacked in registers.
static void product_of_tiles(const mk_linear_output *o, const packed *x, piece p) {
    for (int64_t strip = p.strip0; strip < p.strip1; strip++) {
        const int64_t t0 = strip_start(x, strip), tokens = strip_start(x, strip + 1) - t0;
        for (int64_t group = p.group0; group < p.group1; group += MK_INT8_GROUPS) {
            _Alignas(64) float sums[MK_INT8_STRIP * MK_INT8_GROUPS * MK_TILE_ROWS];
            const int64_t groups = mk_min(MK_INT8_GROUPS, p.group1 - group), width = groups * MK_TILE_ROWS;
            memset(sums, 0, (size_t)(tokens * width) * sizeof(float));
            x->kind.kernels->rows(o->w->type, group_tiles(o->w, group), mk_group_bytes(o->w->type, o->w->cols), groups,
                                  x->blocks, strip_data(x, strip), tokens, sums);
            write_sums(o, sums, width, t0, tokens, group * MK_TILE_ROWS);
        }
    }
}

/// Tells the caches that y[t0 + t][row0 ...] is about to be written.
static void fetch_output(const mk_linear_output *o, int64_t width, int64_t t0, int64_t tokens, int64_t row0) {
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t r = 0; r < width; r += MK_TILE_ROWS) __builtin_prefetch(o->y + (t0 + t) * o->ldy + row0 + r, 1);
    }
}

/// A few groups after the other, a few blocks unpacked at a time for all the strips.
static void product_of_panels(const mk_linear_output *o, const packed *x, piece p) {
    const mk_int8 *kernels = x->kind.kernels;
    _Alignas(64) uint8_t panels[MK_INT8_PANEL_BYTES];
    _Alignas(64) float sums[PIECE_TOKENS * MK_INT8_GROUPS * MK_TILE_ROWS];
    const int64_t t0 = strip_start(x, p.strip0), stride = kernels->panel_blocks * kernels->panel_bytes;
    assert(strip_start(x, p.strip1) - t0 <= PIECE_TOKENS && kernels->panel_groups * stride <= MK_INT8_PANEL_BYTES);
    for (int64_t group = p.group0; group < p.group1; group += kernels->panel_groups) {
        const int64_t groups = mk_min(kernels->panel_groups, p.group1 - group), width = groups * MK_TILE_ROWS;
        memset(sums, 0, sizeof sums);
        for (int64_t block = 0; block < x->blocks; block += kernels->panel_blocks) {
            const int64_t blocks = mk_min(kernels->panel_blocks, x->blocks - block);
            const bool is_last = block + blocks == x->blocks;
            for (int64_t g = 0; g < groups; g++) {
                kernels->unpack(o->w->type, group_tiles(o->w, group + g), block, blocks, panels + g * stride);
            }
            for (int64_t strip = p.strip0; strip < p.strip1; strip++) {
                const int64_t t = strip_start(x, strip), tokens = strip_start(x, strip + 1) - t;
                const int64_t block_bytes = tokens * kernels->block_bytes;
                float *sum = sums + (t - t0) * width;
                if (is_last) fetch_output(o, width, t, tokens, group * MK_TILE_ROWS);
                kernels->panel_rows(panels, stride, groups, blocks, strip_data(x, strip) + block * block_bytes, tokens,
                                    x->blocks * block_bytes, sum);
                if (is_last) write_sums(o, sum, width, t, tokens, group * MK_TILE_ROWS);
            }
        }
    }
}

static void product_piece(const mk_linear_output *o, const packed *x, int64_t index) {
    const piece p = piece_of(o, x, index);
    if (x->kind.kernels->unpack != NULL && p.strip1 - p.strip0 >= x->kind.kernels->panel_strips) {
        product_of_panels(o, x, p);
    } else {
        product_of_tiles(o, x, p);
    }
}

size_t mk_linear_int8_workspace(int64_t tokens, int64_t cols) {
    return (size_t)tokens * (size_t)mk_ceil_div(cols, MK_TILE_COLS) * MK_INT8_BLOCK_BYTES;
}

/// The outputs of that kind.
static void linear(const mk_context *ctx, kind kind, const mk_linear_output *outputs, int32_t count, const float *x,
                   int64_t ldx, int64_t tokens, void *workspace) {
    packed p = {.isa = ctx->isa, .kind = kind, .tokens = tokens, .data = workspace};
    p.strips = mk_ceil_div(tokens, kind.kernels->height);
    int64_t pieces = 0;
    double operations = 0;
    for (int32_t i = 0; i < count; i++) {
        const mk_matrix *w = outputs[i].w;
        if (!same_kind(kind_of(ctx->isa, w), kind)) continue;
        p.blocks = w->cols / MK_TILE_COLS;
        pieces += product_pieces(outputs + i, &p);
        operations += (double)tokens * (double)w->rows * (double)w->cols;
    }
    if (tokens == 0 || pieces == 0) return;
    const packed *const packed = &p;
    // One token is packed sooner than a second thread is told to help.
    mk_for(ctx, tokens == 1 ? 0 : operations, pack_pieces(&p), ^(int64_t piece) {
        pack_piece(packed, x, ldx, piece);
    });
    mk_for(ctx, operations, pieces, ^(int64_t piece) {
        const mk_linear_output *o = outputs;
        for (int64_t own; piece >= (own = product_pieces(o, packed)); o++) piece -= own;
        product_piece(o, packed, piece);
    });
}

void mk_linear_int8(const mk_context *ctx, const mk_linear_output *outputs, int32_t count, const float *x, int64_t ldx,
                    int64_t tokens, void *workspace) {
    for (int32_t i = 0; i < count; i++) {
        const kind kind = kind_of(ctx->isa, outputs[i].w);
        bool is_new = kind.kernels != NULL;
        for (int32_t j = 0; j < i; j++) is_new = is_new && !same_kind(kind_of(ctx->isa, outputs[j].w), kind);
        if (is_new) linear(ctx, kind, outputs, count, x, ldx, tokens, workspace);
    }
}
