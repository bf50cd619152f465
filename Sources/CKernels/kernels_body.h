/// The kernels that are written once and compiled for each instruction set: included by isa_NAME.c under its target
/// attribute.
#ifndef MERASER_KERNELS_BODY_H
#define MERASER_KERNELS_BODY_H

#include "activation_body.h"
#include "attention_body.h"
#include "gemm_body.h"
#include "int8_body.h"
#include "interleave_body.h"
#include "layernorm_body.h"
#include "lowrank_body.h"
#include "rows_body.h"

#define PACKED_NAME(name) packed_##name
#define PACKED_STEP(sum, x, w) ((x) * (w) + (sum))
#include "packed_body.h"
#undef PACKED_NAME
#undef PACKED_STEP

#endif
