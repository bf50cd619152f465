/// Weights as other quantizers pack them, as fp32 (a family of CKernels.h).
#ifndef MERASER_MK_UNPACK_H
#define MERASER_MK_UNPACK_H

#include <stdint.h>

/// Weights [first, first + n) of a matrix in bitsandbytes' 4 bits: two a byte, the first one in the upper half;
/// `packed` begins with the byte of weight `first`, scales[0] is that of its block. dst[i] = values[code] * scale of
/// the block. Single-threaded.
void mk_unpack_blocks(const uint8_t *packed, int64_t first, int64_t n, int64_t block, const float *scales,
                      const float *values, float *dst);

/// How a matrix [N, K] of codes lies in words of 32 bits, several codes a word.
enum {
    MK_PACK_GPTQ = 0,  ///< words [K / per, N]: the codes of a word follow each other in a column, the lowest first
    MK_PACK_AWQ = 1,   ///< words [K, N / 8]: of 8 columns 0 2 4 6 1 3 5 7, the lowest first; 4 bits
};

/// A matrix w[n][k] = scales[g][n] * (code[n][k] - zeros[g][n]), g = groups[k]. Words are little-endian as in memory.
typedef struct mk_grouped {
    int32_t layout;
    int32_t bits;  ///< of a code: 2, 4 or 8
    int64_t rows;  ///< N, of AWQ a multiple of 8
    int64_t cols;  ///< K, of GPTQ a multiple of the codes of a word
    const uint32_t *words;
    const float *scales;    ///< [groups, N]
    const float *zeros;     ///< [groups, N]
    const int32_t *groups;  ///< [K], each below the number of groups: the caller has checked it
} mk_grouped;

/// Rows [row0, row0 + rows) of the matrix into dst[rows][K]. Single-threaded.
void mk_unpack_grouped(const mk_grouped *w, int64_t row0, int64_t rows, float *dst);
/// The same rows of a matrix of GPTQ with 4 bits as ggml's blocks of q4_0, row after row: exact where every zero point
/// is 8 and the 32 columns of each block have one scale, of fp16. Single-threaded.
void mk_grouped_to_q4_0(const mk_grouped *w, int64_t row0, int64_t rows, uint8_t *dst);
/// The codes of `rows` x `n` zero points in words [rows, n / per], in the layout's order of columns (GPTQ: the lowest
/// first), plus `offset`. Single-threaded.
void mk_unpack_zeros(int32_t layout, int32_t bits, const uint32_t *words, int64_t rows, int64_t n, float offset,
                     float *dst);

#endif
