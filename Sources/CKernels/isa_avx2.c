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
#include "int8_gradient_madd256.h"
#include "int8_madd_body.h"
#define BYTES_(name) nibbles256_##name
#define BYTES_DOT(a, w, q) _mm256_add_epi16(a, _mm256_maddubs_epi16(w, q))
#define BYTES_RAW 1
#include "int8_bytes256_body.h"
const mk_int8 mk_int8__nibbles256 = {
    .height = nibbles256_TOKENS, .block_bytes = QUADS_BYTES, .pack = pack_quads, .rows = nibbles256_rows};

/// Two registers of 8 rows each.
typedef struct {
    __m256i part[2];
} pair256;
MK_INLINE pair256 pair256_of(const void *p) {
    pair256 x;
    memcpy(&x, p, sizeof x);
    return x;
}
/// Pairs of columns in 16 bits.
MK_INLINE pair256 madd_affine_dot(pair256 sum, mk_bytes64 w, int32_t x) {
    const pair256 bytes = pair256_of(&w);
    for (int p = 0; p < 2; p++) {
        const __m256i products = _mm256_maddubs_epi16(bytes.part[p], _mm256_set1_epi32(x));
        sum.part[p] = _mm256_add_epi16(sum.part[p], products);
        // Without this the compiler makes a tree of the sums, for which there are not enough registers.
        __asm__("" : "+x"(sum.part[p]));
    }
    return sum;
}
MK_INLINE mk_i16 madd_affine_end(pair256 sum, mk_i16 total) {
    mk_i16 whole;
    for (int p = 0; p < 2; p++) sum.part[p] = _mm256_madd_epi16(sum.part[p], _mm256_set1_epi16(1));
    memcpy(&whole, &sum, sizeof whole);
    return total + whole;
}
#define AFFINE_(name) madd_affine_##name
#define AFFINE_TOKENS 6
#define AFFINE_GROUPS 1
#define AFFINE_SUM pair256
#define AFFINE_BEGIN(total) ((pair256){{_mm256_setzero_si256(), _mm256_setzero_si256()}})
#define AFFINE_DOT madd_affine_dot
#define AFFINE_END madd_affine_end
#include "affine_int8_body.h"
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("avxvnni,avx2,fma,f16c"))), apply_to = function)
#define BYTES_(name) vnni256_##name
#define BYTES_DOT _mm256_dpbusd_avx_epi32
#define BYTES_RAW 0
#include "int8_bytes256_body.h"
static const mk_int8 int8_vnni256 = {
    .height = vnni256_TOKENS, .block_bytes = QUADS_BYTES, .pack = pack_quads, .rows = vnni256_rows};

MK_INLINE mk_i16 vnni256_affine_dot(mk_i16 sum, mk_bytes64 w, int32_t x) {
    pair256 parts = pair256_of(&sum);
    const pair256 bytes = pair256_of(&w);
    for (int p = 0; p < 2; p++) {
        parts.part[p] = _mm256_dpbusd_avx_epi32(parts.part[p], bytes.part[p], _mm256_set1_epi32(x));
    }
    memcpy(&sum, &parts, sizeof sum);
    return sum;
}
#define AFFINE_(name) vnni256_affine_##name
#define AFFINE_TOKENS 6
#define AFFINE_GROUPS 1
#define AFFINE_SUM mk_i16
#define AFFINE_BEGIN(total) (total)
#define AFFINE_DOT vnni256_affine_dot
#define AFFINE_END(sum, total) (sum)
#include "affine_int8_body.h"
#pragma clang attribute pop

#define MK_ISA_GEMV
#define MK_ISA_TABLE mk_isa__avx2
#define MK_ISA_NAME "avx2"
#define MK_ISA_QUANTIZER mk_quantizer__avx2
#define MK_ISA_INT8 int8_madd
#define MK_ISA_INT8_Q4_0 mk_int8__nibbles256
#define MK_ISA_INT8_AFFINE madd_affine_int8
#define MK_ISA_INT8_GRADIENT madd256_gradient
#include "isa_table.h"

#define MK_ISA_TABLE mk_isa__avxvnni
#define MK_ISA_NAME "avxvnni"
#define MK_ISA_QUANTIZER mk_quantizer__avx2
#define MK_ISA_INT8 int8_vnni256
#define MK_ISA_INT8_Q4_0 int8_vnni256
#define MK_ISA_INT8_AFFINE vnni256_affine_int8
#define MK_ISA_INT8_GRADIENT madd256_gradient
#include "isa_table.h"
#endif
