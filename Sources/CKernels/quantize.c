/// fp32 weights into tiles (and into the plain 16-bit types). The scales come from scalesearch.c and affine_search.c.
#include <assert.h>

#include "affine.h"
#include "feedback.h"
#include "half.h"
#include "scalesearch.h"

static void quantize_tiles(int32_t type, const float *src, int64_t rows, int64_t cols, uint8_t *dst) {
    const mk_isa *isa = mk_isa_find(NULL);  // the bytes are the same on all
    const mk_grid grid = mk_grid_make(type);
    for (int64_t row = 0; row < rows; row += MK_TILE_ROWS, dst += mk_group_bytes(type, cols)) {
        const int count = (int)mk_min(MK_TILE_ROWS, rows - row);
        if (mk_type_is_affine(type)) {
            mk_affine_quantize_group(type, src + row * cols, count, cols, dst);
        } else {
            isa->quantizer->group(&grid, src + row * cols, count, cols, dst);
        }
    }
}

void mk_quantize(int32_t type, const float *src, int64_t rows, int64_t cols, void *dst) {
    const int64_t n = rows * cols;
    uint8_t *bytes = dst;
    switch (type) {
        case MK_F32:
            memcpy(dst, src, (size_t)n * 4);
            return;
        case MK_F16:
        case MK_BF16:
            for (int64_t i = 0; i < n; i++) {
                const uint16_t h = type == MK_F16 ? mk_float_to_half(src[i]) : mk_float_to_bfloat(src[i]);
                memcpy(bytes + 2 * i, &h, 2);
            }
            return;
        default:
            assert(mk_type_is_tiled(type) && cols % mk_tile_columns(type) == 0);
            quantize_tiles(type, src, rows, cols, dst);
    }
}
