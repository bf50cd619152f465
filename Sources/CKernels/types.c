/// The weight types: which are tiled, how long they are, what their codes mean.
#include "isa.h"

// clang-format off
static const int8_t codebook_q4_0[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
static const int8_t codebook_iq4_nl[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/// round(127 * NF4), NF4 being the quantiles of a normal distribution of the QLoRA paper.
static const int8_t codebook_nf4[16] = {-127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127};
// clang-format on

bool mk_type_is_tiled(int32_t type) {
    return type == MK_Q8_0 || type == MK_Q4_0 || type == MK_IQ4_NL || type == MK_NF4;
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
        if (cols % MK_TILE_COLS != 0) return 0;
        const size_t groups = (size_t)mk_ceil_div(rows, MK_TILE_ROWS);
        return groups * (size_t)(cols / MK_TILE_COLS) * (size_t)mk_tile_bytes(type);
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
