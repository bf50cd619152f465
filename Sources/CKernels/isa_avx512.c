/// AVX-512 (F, BW, VL, DQ): 32 registers of 16 floats; the same with VNNI; and with products of bf16 pairs too, as AMD
/// has them, and as Intel does.
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
#include "gemv_body.h"
#include "kernels_body.h"
#define MADD_BITS 512
#include "int8_gradient_madd256.h"
#include "int8_madd_body.h"
/// Without VNNI: pairs of columns in 16 bits.
MK_INLINE mk_words32 madd_affine_dot(mk_words32 sum, mk_bytes64 w, int32_t x) {
    return sum + (mk_words32)_mm512_maddubs_epi16((__m512i)w, _mm512_set1_epi32(x));
}
MK_INLINE mk_i16 madd_affine_end(mk_words32 sum, mk_i16 total) {
    return total + (mk_i16)_mm512_madd_epi16((__m512i)sum, _mm512_set1_epi16(1));
}
#define AFFINE_(name) madd_affine_##name
#define AFFINE_TOKENS 6
#define AFFINE_GROUPS 2
#define AFFINE_SUM mk_words32
#define AFFINE_BEGIN(total) 0
#define AFFINE_DOT madd_affine_dot
#define AFFINE_END madd_affine_end
#include "affine_int8_body.h"
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c"))), \
                             apply_to = function)
#include "int8_gradient_vnni512.h"
#include "int8_vnni512.h"
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c"))), \
                             apply_to = function)
#include "attention_bf16.h"
#include "bf16_body.h"
#pragma clang attribute pop

#define MK_ISA_GEMV
#define MK_ISA_TABLE mk_isa__avx512
#define MK_ISA_NAME "avx512"
#define MK_ISA_QUANTIZER mk_quantizer__avx512
#define MK_ISA_INT8 int8_madd
#define MK_ISA_INT8_Q4_0 mk_int8__nibbles256
#define MK_ISA_INT8_AFFINE madd_affine_int8
#define MK_ISA_INT8_GRADIENT madd256_gradient
#include "isa_table.h"

#define MK_ISA_TABLE mk_isa__avx512vnni
#define MK_ISA_NAME "avx512vnni"
#define MK_ISA_QUANTIZER mk_quantizer__avx512
#define MK_ISA_INT8 int8_vnni512
#define MK_ISA_INT8_Q4_0 int8_vnni512
#define MK_ISA_INT8_AFFINE vnni512_affine_int8
#define MK_ISA_INT8_GRADIENT vnni512_gradient
#include "isa_table.h"

#define MK_ISA_BF16
#define MK_ISA_PANEL_PRODUCT panel_product_bf16
#define MK_ISA_TABLE mk_isa__avx512bf16
#define MK_ISA_NAME "avx512bf16"
#define MK_ISA_QUANTIZER mk_quantizer__avx512
#define MK_ISA_INT8 int8_vnni512
#define MK_ISA_INT8_Q4_0 int8_vnni512
#define MK_ISA_INT8_AFFINE vnni512_affine_int8
#define MK_ISA_INT8_GRADIENT vnni512_gradient
#include "isa_table.h"

// vdpbf16ps has half the speed of fused multiply-adds: attention goes without. Two ports do all work on 512 bits, and
// only one of them shuffles: weights are unpacked once for many tokens.
#define MK_ISA_TABLE mk_isa__avx512intel
#define MK_ISA_NAME "avx512intel"
#define MK_ISA_QUANTIZER mk_quantizer__avx512
#define MK_ISA_INT8 int8_vnni512_panels
#define MK_ISA_INT8_Q4_0 int8_vnni512_panels
#define MK_ISA_INT8_AFFINE vnni512_affine_int8
#define MK_ISA_INT8_GRADIENT vnni512_gradient
#include "isa_table.h"
#endif
