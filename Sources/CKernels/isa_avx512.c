/// AVX-512 (F, BW, VL, DQ): 32 registers of 16 floats.
#include "isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>

#include "half.h"
#include "simd.h"

#define GEMM_ROWS 12
#define GEMM_PANELS 2

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"))), \
                             apply_to = function)
#include "expand_avx512.h"
#include "kernels_body.h"
#pragma clang attribute pop

#define MK_ISA_TABLE mk_isa__avx512
#define MK_ISA_NAME "avx512"
#define MK_ISA_QUANTIZE_GROUP mk_quantize_group__avx512
#include "isa_table.h"
#endif
