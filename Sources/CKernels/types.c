/// The weight types: which are tiled, how long they are, what their codes mean.
#include "affine.h"
#include "isa.h"

// clang-format off
static const int8_t codebook_q4_0[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
static const int8_t codebook_iq4_nl[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/// round(127 * NF4), NF4 being the quantiles of a normal distribution of the QLoRA paper.
static const int8_t codebook_nf4[16] = {-127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127};
// clang-format on

int64_t mk_tile_bytes(int32_t type) {
    switch (type) {
        case MK_Q8_0:
            return MK_TILE_BYTES_8BIT;
        case MK_Q4_0:
        case MK_IQ4_NL:
        case MK_NF4:
            return MK_TILE_BYTES_4BIT;
        default:
            return mk_type_is_affine(type) ? mk_affine_tile_bytes(type) : 0;
    }
}

int64_t mk_tile_columns(int32_t type) {
    if (mk_tile_bytes(type) == 0) return 0;
    return mk_type_is_affine(type) ? MK_TILE_COLS * mk_affine_blocks(type) : MK_TILE_COLS;
}

bool mk_type_is_tiled(int32_t type) {
    return mk_tile_bytes(type) > 0;
}

const int8_t *mk_codebook(int32_t type) {
    switch (type) {
        case MK_Q4_0:
            return codebook_q4_0;
        case MK_IQ4_NL:
            return codebook_iq4_nl;
        case MK_NF4:
            return codebook_nf4;
        default:
            return NULL;
    }
}

size_t mk_matrix_bytes(int32_t type, int64_t rows, int64_t cols) {
    if (rows < 0 || cols < 0) return 0;
    if (mk_type_is_tiled(type)) {
        if (cols % mk_tile_columns(type) != 0) return 0;
        return (size_t)mk_ceil_div(rows, MK_TILE_ROWS) * (size_t)mk_group_bytes(type, cols);
    }
    switch (type) {
        case MK_F32:
            return (size_t)rows * (size_t)cols * 4;
        case MK_F16:
        case MK_BF16:
            return (size_t)rows * (size_t)cols * 2;
        default:
            return 0;
    }
}

int64_t mk_find_nonfinite(const float *x, int64_t n) {
    // Blocks first, so that the usual answer (none) is found by a loop that the compiler vectorises.
    for (int64_t start = 0; start < n; start += 1024) {
        const int64_t end = mk_min(start + 1024, n);
        int bad = 0;
        for (int64_t i = start; i < end; i++) bad |= !(__builtin_fabsf(x[i]) <= __FLT_MAX__);
        if (!bad) continue;
        for (int64_t i = start; i < end; i++) {
            if (!(__builtin_fabsf(x[i]) <= __FLT_MAX__)) return i;
        }
    }
    return -1;
}
