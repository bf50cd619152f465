/// The kernels that are written once and compiled for each instruction set: included by isa_NAME.c under its target
/// attribute.
#ifndef MERASER_KERNELS_BODY_H
#define MERASER_KERNELS_BODY_H

#include "gemm_body.h"
#include "int8_body.h"
#include "rows_body.h"

#endif
