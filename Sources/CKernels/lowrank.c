/// The LoRA terms: products with a factor that has only `rank` rows (A) or
/// columns (B), and its gradient. The factor is packed into panels first;
/// threads share out tokens, or the gradient's columns.
#include <string.h>

#include "isa.h"

size_t mk_lowrank_workspace(int64_t rank, int64_t width) {
    return (size_t)mk_ceil_div(width, MK_PANEL_WIDTH) * MK_PANEL_WIDTH * (size_t)rank * sizeof(float);
}

/// Panel number `panel` of the factor: 16 features of every rank.
static void pack_panel(const mk_isa *isa, const mk_factor *f, int64_t panel, float *panels) {
    const int64_t k0 = panel * MK_PANEL_WIDTH, count = mk_min(MK_PANEL_WIDTH, f->width - k0);
    float *out = panels + k0 * f->rank;
    if (f->by_feature) {
        isa->pack_rows(f->values + k0 * f->rank, f->rank, count, f->rank, out);
    } else {
        mk_pack_cols(f->values + k0, f->width, f->rank, count, out, 0);
    }
}

void mk_lowrank_reduce(const mk_context *ctx, const mk_factor *f, const float *x, int64_t ldx, int64_t tokens,
                       float scale, float *u, void *workspace) {
    float *panels = workspace;
    const int64_t pieces = mk_ceil_div(tokens, MK_LOWRANK_TOKENS), count = mk_ceil_div(f->width, MK_PANEL_WIDTH);
    const double work = (double)tokens * (double)f->rank * (double)f->width;
    mk_for(ctx, work, count, ^(int64_t panel) {
        pack_panel(ctx->isa, f, panel, panels);
    });
    mk_for(ctx, work, pieces, ^(int64_t piece) {
        const int64_t t = piece * MK_LOWRANK_TOKENS;
        ctx->isa->lowrank_reduce(x + t * ldx, ldx, mk_min(MK_LOWRANK_TOKENS, tokens - t), f->width, panels, f->rank,
                                 scale, u + t * f->rank);
    });
}

void mk_lowrank_expand(const mk_context *ctx, const mk_factor *f, const float *u, int64_t tokens, float *y, int64_t ldy,
                       bool accumulate, void *workspace) {
    float *panels = workspace;
    const int64_t pieces = mk_ceil_div(tokens, MK_LOWRANK_TOKENS), count = mk_ceil_div(f->width, MK_PANEL_WIDTH);
    const double work = (double)tokens * (double)f->rank * (double)f->width;
    mk_for(ctx, work, count, ^(int64_t panel) {
        pack_panel(ctx->isa, f, panel, panels);
    });
    mk_for(ctx, work, pieces, ^(int64_t piece) {
        const int64_t t = piece * MK_LOWRANK_TOKENS;
        ctx->isa->lowrank_expand(u + t * f->rank, mk_min(MK_LOWRANK_TOKENS, tokens - t), f->rank, panels, f->width,
                                 y + t * ldy, ldy, accumulate);
    });
}

void mk_lowrank_gradient(const mk_context *ctx, const mk_factor *f, const float *u, const float *x, int64_t ldx,
                         int64_t tokens, float *gradient) {
    enum { RANKS = 64, WIDTH = MK_LOWRANK_WIDTH };
    const int64_t wide = mk_ceil_div(f->width, WIDTH), tall = mk_ceil_div(f->rank, RANKS);
    mk_for(ctx, (double)tokens * (double)f->rank * (double)f->width, wide * tall, ^(int64_t piece) {
        _Alignas(64) float sums[RANKS * WIDTH];
        const int64_t k0 = piece % wide * WIDTH, j0 = piece / wide * RANKS;
        const int64_t width = mk_min(WIDTH, f->width - k0), ranks = mk_min(RANKS, f->rank - j0);
        memset(sums, 0, (size_t)ranks * WIDTH * sizeof(float));
        ctx->isa->lowrank_gradient(u + j0, f->rank, ranks, x + k0, ldx, tokens, width, sums);
        if (f->by_feature) {
            for (int64_t k = 0; k < width; k++) {
                float *out = gradient + (k0 + k) * f->rank + j0;
                for (int64_t j = 0; j < ranks; j++) out[j] += sums[j * WIDTH + k];
            }
        } else {
            for (int64_t j = 0; j < ranks; j++) {
                float *out = gradient + (j0 + j) * f->width + k0;
                for (int64_t k = 0; k < width; k++) out[k] += sums[j * WIDTH + k];
            }
        }
    });
}
