/// The scale search of the tiled types: a group of 16 rows at a time (private to CKernels).
#ifndef MERASER_SCALESEARCH_H
#define MERASER_SCALESEARCH_H

#include "isa.h"

/// What the weights of a block may be rounded to: d * T[q], the codebook T ascending.
typedef struct mk_grid {
    const int8_t *codebook;  ///< 16 entries; NULL: the integers -127 ... 127
    bool linear;             ///< T[q] = q + lowest: rounding needs no comparisons
    float lowest, highest;   ///< first and last entry of T
    int ends;                ///< 2: the largest weight is tried at both ends of T; 1: at `highest` only
    int candidates;          ///< scales tried at each end, a multiple of 4
    float first, spacing;    ///< candidate i maps the largest weight to end * (first + i * spacing)
    float entries[16];       ///< T
    float midpoints[16];     ///< between neighbours of the codebook, then infinity

    /// The same in cells of equal width, cell k (-16 ... 15) at index k & 31: at most one midpoint lies in a cell (else
    /// infinity), so T[cell_codes[k + 1]] is nearest behind it and T[cell_codes[k]] before it.
    float cell_midpoints[32];
    int32_t cell_codes[32];
} mk_grid;

/// Cells a unit of the codebook. Two midpoints of a codebook are 10 or more apart; candidates reach to 147.4.
#define MK_CELLS_PER_UNIT (1.0f / 9.6f)

/// The grid of a tiled type.
mk_grid mk_grid_make(int32_t type);

#endif
