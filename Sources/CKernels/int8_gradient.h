/// The backward of tiled weights in int8: dx[t][c] = sum over r of dy[t][r] * d[r][c / 32] * T[q[r][c]].
///
/// The scales vary along the reduction. Within a block of 32 columns they are numbers of the rows alone, so they go
/// into the gradient: v[t][r] = dy[t][r] * d[r], which is rounded to 127 steps of a unit for each token and block of 64
/// rows,
///     unit[t] = largest |dy[t][...]| / 127 * largest |d|,
/// a bound of |v| / 127 that costs no pass over v. The codes meet the tile's own, and what comes out is exact until
///     dx[t][c] = fma(unit[t], sum over the block of code[t][r] * T[q[r][c]], dx[t][c]),
/// block after block: one fp32 chain for each output, the same on every instruction set with fused multiply-add.
/// Rounding is to the nearest: errors of many blocks and tokens have no common sign (docs/studies/threads.md).
#ifndef MERASER_INT8_GRADIENT_H
#define MERASER_INT8_GRADIENT_H

#include <stdint.h>

enum {
    MK_GRADIENT_ROWS = 64,    ///< rows of a block: those of four tiles
    MK_GRADIENT_TILES = 4,    ///< of a block
    MK_GRADIENT_TOKENS = 12,  ///< of a call of `rows`; the driver fills up with zeros
};

/// A block of 64 rows x 32 columns of weights as an instruction set's `rows` reads it.
typedef struct mk_gradient_panel {
    _Alignas(64) int8_t codes[2 * MK_GRADIENT_ROWS * 32];  ///< in a layout of its own
    int32_t start[32];                                     ///< what an instruction set's sums begin with
    float scale[MK_GRADIENT_ROWS];  ///< of the rows, in units of the largest; 0 for those that are not there
    float largest;                  ///< magnitude of a scale; NaN where one is not finite
} mk_gradient_panel;

/// The int8 backward of an instruction set.
typedef struct mk_int8_gradient {
    /// g[r] = dy[r] * 127 / largest for a block of one token, missing rows 0; returns the unit largest / 127: NaN where
    /// a value is not finite, 0 where the largest is too small for codes.
    float (*prepare)(const float *dy, int64_t rows, float *g);
    /// Fills scale and largest of a panel of `rows` rows. Padding rows, whose scales a file may set to anything, do not
    /// count.
    void (*scales)(const uint8_t *tile, int64_t stride, int64_t rows, mk_gradient_panel *panel);
    /// Fills codes and start of a panel from `count` tiles of 16 rows, `stride` bytes apart; those of the missing ones
    /// become 0.
    void (*unpack)(int32_t type, const uint8_t *tile, int64_t stride, int64_t count, mk_gradient_panel *panel);
    /// Continues the chains of MK_GRADIENT_TOKENS x 32 sums with a block: g [MK_GRADIENT_TOKENS][64] is dy in units of
    /// its largest, times 127; `unit` has the tokens' units.
    void (*rows)(const mk_gradient_panel *panel, const float *g, const float *unit, float *sums);
} mk_int8_gradient;

#endif
