/// Conversions between fp32 and the 16-bit floats, bit-exact on every machine (private to CKernels).
#ifndef MERASER_HALF_H
#define MERASER_HALF_H

#include <stdint.h>
#include <string.h>

static inline float mk_bits_to_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t mk_float_to_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/// IEEE binary16 to fp32; exact, a NaN stays a NaN (made quiet, as the hardware does).
static inline float mk_half_to_float(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t magnitude = h & 0x7fff;
    // The exponent is rebiased by a multiplication with 2^112, which also normalises subnormal halves.
    const float value = mk_bits_to_float(magnitude << 13) * 0x1p112f;
    const uint32_t quiet = magnitude > 0x7c00 ? 0x00400000 : 0;
    const uint32_t bits = magnitude >= 0x7c00 ? 0x7f800000 | (magnitude << 13) | quiet : mk_float_to_bits(value);
    return mk_bits_to_float(sign | bits);
}

/// fp32 to IEEE binary16, round to nearest even, overflow to infinity.
static inline uint16_t mk_float_to_half(float x) {
    const uint32_t bits = mk_float_to_bits(x);
    const uint16_t sign = (uint16_t)((bits >> 16) & 0x8000);
    const uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return sign | 0x7e00;
    if (magnitude >= 0x477ff000) return sign | 0x7c00;  // rounds to 65520 or more
    if (magnitude < 0x38800000) {
        // Subnormal half: adding 0.5 makes the fp32 adder round to multiples of 2^-24.
        const float shifted = mk_bits_to_float(magnitude) + 0.5f;
        return sign | (uint16_t)(mk_float_to_bits(shifted) - 0x3f000000);
    }
    const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
    return sign | (uint16_t)((rounded - 0x38000000) >> 13);
}

static inline float mk_bfloat_to_float(uint16_t h) {
    return mk_bits_to_float((uint32_t)h << 16);
}

/// fp32 to bfloat16, round to nearest even; a NaN stays a NaN.
static inline uint16_t mk_float_to_bfloat(float x) {
    // Both results, then a choice: loops over this vectorise.
    const uint32_t bits = mk_float_to_bits(x);
    const uint32_t quiet = (bits >> 16) | 0x40, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
}

/// Little-endian 16-bit load from any address.
static inline uint16_t mk_load16(const void *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return h;
}

#endif
