/// AVX-512 (F, BW, VL, DQ): 32 registers of 16 floats; and the same with VNNI.
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
#define MADD_BITS 512
#include "int8_madd_body.h"
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c"))), \
                             apply_to = function)
#include "int8_vnni512.h"
#pragma clang attribute pop

#define MK_ISA_TABLE mk_isa__avx512
#define MK_ISA_NAME "avx512"
#define MK_ISA_QUANTIZE_GROUP mk_quantize_group__avx512
#define MK_ISA_INT8 int8_madd
#define MK_ISA_INT8_Q4_0 mk_int8__nibbles256
#include "isa_table.h"

#undef MK_ISA_TABLE
#undef MK_ISA_NAME
#undef MK_ISA_INT8
#undef MK_ISA_INT8_Q4_0
#define MK_ISA_TABLE mk_isa__avx512vnni
#define MK_ISA_NAME "avx512vnni"
#define MK_ISA_INT8 int8_vnni512
#define MK_ISA_INT8_Q4_0 int8_vnni512
#include "isa_table.h"
#endif
