/// The scale search of the tiled types: one tile (16 rows x 32 columns) at a time (private to CKernels).
#ifndef MERASER_SCALESEARCH_H
#define MERASER_SCALESEARCH_H

#include "isa.h"

/// What the weights of a block may be rounded to: d * T[q], the codebook T ascending.
typedef struct mk_grid {
    const int8_t *codebook;  ///< 16 entries; NULL: the integers -127 ... 127
    bool linear;             ///< T[q] = q + lowest: rounding needs no comparisons
    float lowest, highest;   ///< first and last entry of T
    float midpoints[15];     ///< between neighbours of the codebook
    float steps[15];         ///< T[i + 1] - T[i]
    float nearest_zero;      ///< the entry of T nearest to 0
    int ends;                ///< 2: the largest weight is tried at both ends of T; 1: at `highest` only
    int candidates;          ///< scales tried at each end
    float first, spacing;    ///< candidate i maps the largest weight to end * (first + i * spacing)
} mk_grid;

/// The grid of a tiled type.
mk_grid mk_grid_make(int32_t type);

/// Chooses the scales of 16 blocks (fp16 bits) and their codes: codes[c][r] is that of column c of row r (4-bit types:
/// the index into the codebook; q8_0: the integer as its two's complement byte).
/// x[c][r] are the weights, relative to `unit[r]`, a power of two that keeps them below 4; `variance[r]` is the mean
/// square of the whole row in the same unit. The result is the same on every machine.
void mk_scale_search(const mk_grid *grid, const float x[MK_TILE_COLS][MK_TILE_ROWS], const float *unit,
                     const float *variance, uint16_t *scales, uint8_t codes[MK_TILE_COLS][MK_TILE_ROWS]);

#endif
