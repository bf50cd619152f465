/// AVX2 with FMA and F16C: 16 registers of 8 floats; and the same with AVX-VNNI.
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
#include "gemv_body.h"
#include "kernels_body.h"
#define MADD_BITS 256
#include "int8_madd_body.h"
#define BYTES_(name) nibbles256_##name
#define BYTES_DOT(a, w, q) _mm256_add_epi16(a, _mm256_maddubs_epi16(w, q))
#define BYTES_RAW 1
#include "int8_bytes256_body.h"
const mk_int8 mk_int8__nibbles256 = {
    .height = nibbles256_TOKENS, .block_bytes = QUADS_BYTES, .pack = pack_quads, .rows = nibbles256_rows};
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("avxvnni,avx2,fma,f16c"))), apply_to = function)
#define BYTES_(name) vnni256_##name
#define BYTES_DOT _mm256_dpbusd_avx_epi32
#define BYTES_RAW 0
#include "int8_bytes256_body.h"
static const mk_int8 int8_vnni256 = {
    .height = vnni256_TOKENS, .block_bytes = QUADS_BYTES, .pack = pack_quads, .rows = vnni256_rows};
#pragma clang attribute pop

#define MK_ISA_GEMV
#define MK_ISA_TABLE mk_isa__avx2
#define MK_ISA_NAME "avx2"
#define MK_ISA_QUANTIZE_GROUP mk_quantize_group__avx2
#define MK_ISA_INT8 int8_madd
#define MK_ISA_INT8_Q4_0 mk_int8__nibbles256
#include "isa_table.h"

#define MK_ISA_TABLE mk_isa__avxvnni
#define MK_ISA_NAME "avxvnni"
#define MK_ISA_QUANTIZE_GROUP mk_quantize_group__avx2
#define MK_ISA_INT8 int8_vnni256
#define MK_ISA_INT8_Q4_0 int8_vnni256
#include "isa_table.h"
#endif
