/// CKernels: all unsafe arithmetic of meraser. Knows blocks, tiles and rows; no models, no files.
///
/// Legend of every shape comment: T tokens, N rows of a weight (output features), K columns of a weight (input
/// features), H query heads, G key/value heads, D head_dim, V vocabulary.
/// All activations are row-major fp32; `ld*` is the distance in floats between two rows.
/// Drivers (everything that takes an `mk_context`) share loops out over threads; these split outputs, never reductions,
/// into pieces whose shapes do not depend on the number of threads, so results are bit-identical for any thread count.
/// Nothing here allocates but mk_pool_start; nothing reads or writes outside the buffers it is given; pointers need
/// only the natural alignment of the element (weights of plain types: none at all). Callers check shapes; these
/// functions assert.
#ifndef MERASER_CKERNELS_H
#define MERASER_CKERNELS_H

#include "mk_attention.h"
#include "mk_context.h"
#include "mk_feedback.h"
#include "mk_layers.h"
#include "mk_linear.h"
#include "mk_merge.h"
#include "mk_peak.h"
#include "mk_training.h"
#include "mk_types.h"
#include "mk_unpack.h"

#endif
