/// Loads, stores and elementary functions on mk_v16. Included once per instruction set, under its target attribute.
#ifndef MERASER_SIMD_MATH_H
#define MERASER_SIMD_MATH_H

MK_INLINE mk_v16 load16(const float *p) {
    return *(const mk_v16_memory *)p;
}

MK_INLINE void store16(float *p, mk_v16 x) {
    *(mk_v16_memory *)p = x;
}

/// The first n < 16 floats at p, `fill` for the rest; nothing beyond p[n - 1] is read.
MK_INLINE mk_v16 load_part(const float *p, int64_t n, float fill) {
    float buffer[16];
    for (int i = 0; i < 16; i++) buffer[i] = fill;
    memcpy(buffer, p, (size_t)n * sizeof(float));
    return load16(buffer);
}

MK_INLINE void store_part(float *p, int64_t n, mk_v16 x) {
    float buffer[16];
    store16(buffer, x);
    memcpy(p, buffer, (size_t)n * sizeof(float));
}

MK_INLINE mk_v16 select16(mk_i16 mask, mk_v16 yes, mk_v16 no) {
    return (mk_v16)((mask & (mk_i16)yes) | (~mask & (mk_i16)no));
}

MK_INLINE float sum16(mk_v16 x) {
    float lane[16];
    store16(lane, x);
    for (int width = 8; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) lane[i] += lane[i + width];
    }
    return lane[0];
}

/// The largest lane; a NaN anywhere may be lost.
MK_INLINE float max16(mk_v16 x) {
    float lane[16];
    store16(lane, x);
    for (int width = 8; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) lane[i] = lane[i] > lane[i + width] ? lane[i] : lane[i + width];
    }
    return lane[0];
}

/// P(r) - 1 of exp16 for the integer n nearest to x / ln 2, accurate for small r.
MK_INLINE mk_v16 exp16_less_one(mk_v16 x, mk_v16 n) {
    mk_v16 r = x - n * 0.693359375f;  // the high part of ln 2 has 9 bits: exact products
    r = r - n * -2.12194440e-4f;
    mk_v16 p = 1.98412698e-4f;
    p = p * r + 1.38888889e-3f;
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    return p * r * r + r;
}

/// P(r) of exp16.
MK_INLINE mk_v16 exp16_remainder(mk_v16 x, mk_v16 n) {
    return exp16_less_one(x, n) + 1.0f;
}

/// exp to about 1 ulp: 2^n * P(r) with r = x - n ln 2 in [-ln 2 / 2, ln 2 / 2] and P the Taylor polynomial of degree 7
/// (remainder 2^-27). Below -87.33 the result is 0 (no subnormals), above 88.72 infinity; a NaN stays a NaN.
MK_INLINE mk_v16 exp16(mk_v16 x) {
    const mk_v16 magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    const mk_v16 n = (x * 1.44269504088896341f + magic) - magic;
    const mk_v16 p = exp16_remainder(x, n);
    // 2^n in two factors, so that n = 128 does not overflow before the product does. Out of range lanes are replaced.
    const mk_v16 bounded = select16((x > -88.0f) & (x < 89.0f), n, (mk_v16)0.0f);
    const mk_i16 whole = __builtin_convertvector(bounded, mk_i16);
    const mk_i16 half = whole >> 1;
    mk_v16 y = p * (mk_v16)((half + 127) << 23) * (mk_v16)((whole - half + 127) << 23);
    y = select16(x < -87.33f, (mk_v16)0.0f, y);
    return select16(x > 88.7228f, (mk_v16)__builtin_inff(), y);
}

#endif
