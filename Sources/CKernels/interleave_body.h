/// Packs activations by token tile. Cells are moved, never computed with.
#ifndef MERASER_INTERLEAVE_BODY_H
#define MERASER_INTERLEAVE_BODY_H

typedef float mk_v4 __attribute__((ext_vector_type(4)));
typedef float mk_v4_memory __attribute__((ext_vector_type(4), aligned(4)));

/// out[d][i] = src[i][d] for i < rows <= GEMM_ROWS, d < depth; rows of `out` are GEMM_ROWS cells.
static void interleave(const float *src, int64_t ld, int64_t rows, int64_t depth, float *out) {
    int64_t i = 0;
    for (; i + 4 <= rows; i += 4) {
        const float *row = src + i * ld;
        float *o = out + i;
        int64_t d = 0;
        for (; d + 4 <= depth; d += 4, o += 4 * GEMM_ROWS) {
            const mk_v4 r0 = *(const mk_v4_memory *)(row + d), r1 = *(const mk_v4_memory *)(row + ld + d);
            const mk_v4 r2 = *(const mk_v4_memory *)(row + 2 * ld + d), r3 = *(const mk_v4_memory *)(row + 3 * ld + d);
            const mk_v4 a = __builtin_shufflevector(r0, r1, 0, 4, 1, 5),
                        b = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
            const mk_v4 c = __builtin_shufflevector(r0, r1, 2, 6, 3, 7),
                        e = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
            *(mk_v4_memory *)o = __builtin_shufflevector(a, b, 0, 1, 4, 5);
            *(mk_v4_memory *)(o + GEMM_ROWS) = __builtin_shufflevector(a, b, 2, 3, 6, 7);
            *(mk_v4_memory *)(o + 2 * GEMM_ROWS) = __builtin_shufflevector(c, e, 0, 1, 4, 5);
            *(mk_v4_memory *)(o + 3 * GEMM_ROWS) = __builtin_shufflevector(c, e, 2, 3, 6, 7);
        }
        for (; d < depth; d++, o += GEMM_ROWS) {
            for (int k = 0; k < 4; k++) o[k] = row[k * ld + d];
        }
    }
    for (; i < rows; i++) {
        for (int64_t d = 0; d < depth; d++) out[d * GEMM_ROWS + i] = src[i * ld + d];
    }
}

#endif
