/// Types of weights, their tiles, and what is done with weights alone (a family of CKernels.h).
#ifndef MERASER_MK_TYPES_H
#define MERASER_MK_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Element types of weights. Ids are GGUF's where GGUF has the type; nf4 is ours (outside GGUF's range).
enum {
    MK_F32 = 0,
    MK_F16 = 1,
    MK_Q4_0 = 2,
    MK_Q4_1 = 3,
    MK_Q8_0 = 8,
    MK_Q4_K = 12,
    MK_Q5_K = 13,
    MK_Q6_K = 14,
    MK_IQ4_NL = 20,
    MK_BF16 = 30,
    MK_NF4 = 1001,
};

/// Types of GGUF files that are read and never computed with; ids are GGUF's.
enum {
    MK_GGML_Q5_0 = 6,
    MK_GGML_Q5_1 = 7,
    MK_GGML_Q2_K = 10,
    MK_GGML_Q3_K = 11,
    MK_GGML_IQ4_XS = 23,
};

enum {
    MK_TILE_ROWS = 16,         ///< rows interleaved in a tile
    MK_TILE_COLS = 32,         ///< columns of a block; of a tile too, but of the super-blocks' (mk_tile_columns)
    MK_TILE_BYTES_4BIT = 288,  ///< 16 fp16 scales + 16 x 32 / 2 nibbles
    MK_TILE_BYTES_8BIT = 544,  ///< 16 fp16 scales + 16 x 32 int8
};

/// A weight matrix where it lies in the file. Tiled types: see docs/reference/format.md; `rows` is the logical count,
/// the data holds it rounded up to 16, `cols` is a multiple of mk_tile_columns. Plain types: row-major, unaligned ok.
typedef struct mk_matrix {
    int32_t type;
    int64_t rows;
    int64_t cols;
    const void *data;
} mk_matrix;

/// True for the types that are stored in tiles of 16 rows.
bool mk_type_is_tiled(int32_t type);
/// Columns of a tile: 32, or 256 for types with super-blocks (q4_k q5_k q6_k); 0 for plain types.
int64_t mk_tile_columns(int32_t type);
/// Bytes of a tile; 0 for plain types.
int64_t mk_tile_bytes(int32_t type);
/// Bytes of a rows x cols matrix of this type, padding rows included; 0 for an unknown type or a tiled type whose
/// columns make no whole tiles. The caller has checked that the product fits.
size_t mk_matrix_bytes(int32_t type, int64_t rows, int64_t cols);
/// The 16-entry int8 codebook of a 4-bit type without a minimum (w = d * T[q]), NULL for other types.
const int8_t *mk_codebook(int32_t type);

/// Quantizes (or converts) `rows` x `cols` fp32 weights into `dst` (mk_matrix_bytes long). Tiled types: `rows` may be
/// any number, padding rows get zero scales; call it on slices that start at a multiple of 16 rows. Scales come from a
/// weighted error search (docs/studies/kernels.md) and are infinite where the weights are too large for fp16; the bytes
/// are the same on every machine. Single-threaded, so that callers share rows out as they like. Non-finite input is the
/// caller's to refuse.
void mk_quantize(int32_t type, const float *src, int64_t rows, int64_t cols, void *dst);
/// The inverse: rows [row0, row0 + rows) of `w` as fp32 into dst[rows][cols]. Single-threaded.
void mk_dequantize(const mk_matrix *w, int64_t row0, int64_t rows, float *dst);
/// Weights of a block as GGUF files hold them: 32 (q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl) or 256 (q2_k to q6_k, iq4_xs);
/// 0 for other types.
int64_t mk_ggml_block_elements(int32_t type);
/// Bytes of such a block; 0 for other types.
int64_t mk_ggml_block_bytes(int32_t type);
/// n weights (whole blocks) of such blocks as fp32, rounded as ggml's reference rounds. A scale that is not finite
/// gives weights that are not, which is the caller's to refuse. Single-threaded.
void mk_ggml_to_float(int32_t type, const void *src, int64_t n, float *dst);
/// Whole rows of blocks, row-major, as tiles of the same type (q8_0, q4_0, iq4_nl, q4_1, q4_k, q5_k, q6_k): the same
/// numbers in other places, padding rows zero. dst: mk_matrix_bytes. Single-threaded.
void mk_ggml_to_tiles(int32_t type, const void *src, int64_t rows, int64_t cols, void *dst);
/// The inverse: tiles of one of those types as whole rows of ggml's blocks. dst: rows times the bytes of a row's
/// blocks. Single-threaded.
void mk_tiles_to_ggml(int32_t type, const void *src, int64_t rows, int64_t cols, void *dst);
/// Index of the first non-finite value in x[0..n), or -1.
int64_t mk_find_nonfinite(const float *x, int64_t n);
/// CRC32C (Castagnoli) of n bytes, continuing from `crc` (0 to start). Hardware-accelerated where the CPU has it.
uint32_t mk_crc32c(uint32_t crc, const void *data, size_t n);

#endif
