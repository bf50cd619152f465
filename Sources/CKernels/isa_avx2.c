/// AVX2 with FMA and F16C: 16 registers of 8 floats.
#include "isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>

#include "half.h"
#include "simd.h"

#define GEMM_ROWS 6
#define GEMM_PANELS 1

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#include "expand_avx2.h"
#include "kernels_body.h"
#pragma clang attribute pop

#define MK_ISA_TABLE mk_isa__avx2
#define MK_ISA_NAME "avx2"
#define MK_ISA_QUANTIZE_GROUP mk_quantize_group__avx2
#include "isa_table.h"
#endif
