/// The micro-kernel of the linear layers, for one instruction set and one kind of cell: GEMM_ROWS tokens x
/// GEMM_PANELS panels of accumulators stay in registers while a stretch of the reduction streams by. Two panels of a
/// stretch stay in L1; the activations, packed by token tile, are read once from front to back.
///
/// No include guard: the including file defines PACKED_NAME(x), GEMM_ROWS, GEMM_PANELS, the target attribute and
/// PACKED_STEP(sum, x, w): sum + x * w for one cell, x a broadcast.

MK_INLINE void PACKED_NAME(tile)(const int rows, const int panels, const float *block, int64_t depth, const float *a,
                                 float *sums) {
    mk_v16 sum[GEMM_ROWS][MK_BLOCK_PANELS];
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < panels; p++) sum[i][p] = load16(sums + i * MK_BLOCK_WIDTH + 16 * p);
    }
    for (int64_t d = 0; d < depth; d++, a += GEMM_ROWS) {
        mk_v16 w[MK_BLOCK_PANELS];
#pragma clang loop unroll(full)
        for (int p = 0; p < panels; p++) w[p] = load16(block + p * MK_PANEL_STRIDE + 16 * d);
#pragma clang loop unroll(full)
        for (int i = 0; i < rows; i++) {
            const mk_v16 x = a[i];
#pragma clang loop unroll(full)
            for (int p = 0; p < panels; p++) sum[i][p] = PACKED_STEP(sum[i][p], x, w[p]);
        }
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < panels; p++) store16(sums + i * MK_BLOCK_WIDTH + 16 * p, sum[i][p]);
    }
}

/// The last tile's `rows` < GEMM_ROWS tokens, a constant where this is inlined: as many panels at once as the
/// registers hold, to keep enough chains busy.
MK_INLINE void PACKED_NAME(rest)(const int rows, const float *block, int64_t panels, int64_t depth, const float *a,
                                 float *sums) {
    int64_t p = 0;
    if (4 * rows <= GEMM_ROWS * GEMM_PANELS) {
        for (; p + 4 <= panels; p += 4) {
            PACKED_NAME(tile)(rows, 4, block + p * MK_PANEL_STRIDE, depth, a, sums + 16 * p);
        }
    }
    if (2 * rows <= GEMM_ROWS * GEMM_PANELS) {
        for (; p + 2 <= panels; p += 2) {
            PACKED_NAME(tile)(rows, 2, block + p * MK_PANEL_STRIDE, depth, a, sums + 16 * p);
        }
    }
    for (; p < panels; p++) PACKED_NAME(tile)(rows, 1, block + p * MK_PANEL_STRIDE, depth, a, sums + 16 * p);
}

static void PACKED_NAME(gemm)(const float *block, int64_t panels, int64_t depth, const float *a, int64_t tokens,
                              float *sums) {
    const int64_t full = tokens / GEMM_ROWS * GEMM_ROWS;
    int64_t p = 0;
    for (; p + GEMM_PANELS <= panels; p += GEMM_PANELS) {
        for (int64_t t = 0; t < full; t += GEMM_ROWS) {
            PACKED_NAME(tile)
            (GEMM_ROWS, GEMM_PANELS, block + p * MK_PANEL_STRIDE, depth, a + t * depth,
             sums + t * MK_BLOCK_WIDTH + 16 * p);
        }
    }
    for (; p < panels; p++) {
        for (int64_t t = 0; t < full; t += GEMM_ROWS) {
            PACKED_NAME(tile)
            (GEMM_ROWS, 1, block + p * MK_PANEL_STRIDE, depth, a + t * depth, sums + t * MK_BLOCK_WIDTH + 16 * p);
        }
    }
    a += full * depth;
    sums += full * MK_BLOCK_WIDTH;
    switch (tokens - full) {
#define REST(rows)                                                                    \
    case rows:                                                                        \
        if (rows < GEMM_ROWS) PACKED_NAME(rest)(rows, block, panels, depth, a, sums); \
        break
        REST(1);
#if GEMM_ROWS > 2
        REST(2);
        REST(3);
        REST(4);
        REST(5);
#endif
#if GEMM_ROWS > 6
        REST(6);
        REST(7);
        REST(8);
        REST(9);
        REST(10);
        REST(11);
#endif
#undef REST
        default:
            break;
    }
}
