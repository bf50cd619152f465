/// What the files of merging share: rounding as PyTorch does it.
#ifndef MERASER_MERGE_H
#define MERASER_MERGE_H

#include "half.h"
#include "isa.h"

#define INLINE static inline __attribute__((always_inline))

/// x rounded to nearest even to what f16 holds; branch-free, so that loops over it vectorise.
INLINE float round_f16(float x) {
    const uint32_t bits = mk_float_to_bits(x), sign = bits & 0x80000000u, magnitude = bits & 0x7fffffffu;
    const uint32_t normal = (magnitude + 0xfff + ((magnitude >> 13) & 1)) & ~0x1fffu;
    // Adding 0.5 makes the fp32 adder round to multiples of 2^-24, the subnormal step.
    const uint32_t small = mk_float_to_bits((mk_bits_to_float(magnitude) + 0.5f) - 0.5f);
    uint32_t rounded = magnitude < 0x38800000u ? small : normal;
    rounded = magnitude >= 0x477ff000u ? 0x7f800000u : rounded;
    rounded = magnitude > 0x7f800000u ? 0x7fc00000u : rounded;
    return mk_bits_to_float(sign | rounded);
}

INLINE float round_bf16(float x) {
    const uint32_t bits = mk_float_to_bits(x), rounded = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
    return mk_bits_to_float((bits & 0x7fffffffu) > 0x7f800000u ? bits : rounded);
}

INLINE float round_to(int32_t type, float x) {
    return type == MK_BF16 ? round_bf16(x) : type == MK_F16 ? round_f16(x) : x;
}

/// Runs `call` with T as the type, a constant, so that each type gets a loop of its own.
#define BY_TYPE(call)             \
    switch (type) {               \
        case MK_BF16: {           \
            enum { T = MK_BF16 }; \
            call;                 \
            break;                \
        }                         \
        case MK_F16: {            \
            enum { T = MK_F16 };  \
            call;                 \
            break;                \
        }                         \
        default: {                \
            enum { T = MK_F32 };  \
            call;                 \
        }                         \
    }

/// Elements that stay in the first-level cache while all models pass over them.
enum { STRETCH = 1024 };

#endif
