/// The scale search of the tiled types: one tile (16 rows x 32 columns) at a time (private to CKernels).
#ifndef MERASER_SCALESEARCH_H
#define MERASER_SCALESEARCH_H

#include "isa.h"

/// What the weights of a block may be rounded to: d * T[q], the codebook T ascending.
struct mk_grid {
    const int8_t *codebook;  ///< 16 entries; NULL: the integers -127 ... 127
    bool linear;             ///< T[q] = q + lowest: rounding needs no comparisons
    float lowest, highest;   ///< first and last entry of T
    float midpoints[15];     ///< between neighbours of the codebook
    float steps[15];         ///< T[i + 1] - T[i]
    float nearest_zero;      ///< the entry of T nearest to 0
    int ends;                ///< 2: the largest weight is tried at both ends of T; 1: at `highest` only
    int candidates;          ///< scales tried at each end
    float first, spacing;    ///< candidate i maps the largest weight to end * (first + i * spacing)
};

/// The grid of a tiled type.
mk_grid mk_grid_make(int32_t type);

#endif
