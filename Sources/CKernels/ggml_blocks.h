/// The blocks of weights that GGUF files hold (private to CKernels).
#ifndef MERASER_GGML_BLOCKS_H
#define MERASER_GGML_BLOCKS_H

#include <stdint.h>

#include "affine.h"
#include "half.h"

/// How many weights a block has, how many bytes it takes, and how it becomes fp32.
typedef struct {
    int32_t elements, bytes;
    void (*decode)(const uint8_t *block, float *dst);
} mk_ggml_format;

/// The format of a type whose blocks have 256 weights; NULL for other types.
const mk_ggml_format *mk_ggml_superblock(int32_t type);

/// The numbers of a block of an affine type (affine.h).
void mk_ggml_take(int32_t type, const uint8_t *block, mk_affine_row *row);
/// The block of those numbers.
void mk_ggml_put(int32_t type, const mk_affine_row *row, uint8_t *block);

/// An fp16 scale.
static inline float mk_ggml_half(const uint8_t *p) {
    return mk_half_to_float(mk_load16(p));
}

/// ggml's codebook of IQ4_NL and IQ4_XS: 32 weights from 16 bytes, weight j the low half of byte j, weight j + 16 the
/// high one, times d.
static inline void mk_ggml_nibbles_iq4(const int8_t *codebook, float d, const uint8_t *qs, float *dst) {
    for (int j = 0; j < 16; j++) dst[j] = d * (float)codebook[qs[j] & 15];
    for (int j = 0; j < 16; j++) dst[j + 16] = d * (float)codebook[qs[j] >> 4];
}

#endif
