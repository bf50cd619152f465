/// Vectors of 16 floats in the compiler's own vector types: the same source becomes four SSE or NEON registers, two AVX
/// registers or one AVX-512 register, by the target attribute of the file that includes it (private to CKernels).
///
/// a * b + c may contract to a fused multiply-add where the target has one, so instruction sets differ in the last bit;
/// within one the results are fixed.
#ifndef MERASER_SIMD_H
#define MERASER_SIMD_H

#include <stdint.h>
#include <string.h>

typedef float mk_v16 __attribute__((ext_vector_type(16)));
typedef int32_t mk_i16 __attribute__((ext_vector_type(16)));
typedef uint32_t mk_u16 __attribute__((ext_vector_type(16)));
typedef uint64_t mk_ul16 __attribute__((ext_vector_type(16)));
/// The same without alignment, for memory operands.
typedef float mk_v16_memory __attribute__((ext_vector_type(16), aligned(4)));

// Vectors are passed only between functions that are always inlined: no calling convention is involved.
#pragma clang diagnostic ignored "-Wpsabi"

#define MK_INLINE static inline __attribute__((always_inline))

#endif
