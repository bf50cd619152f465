/// Weights as bitsandbytes, GPTQ and AWQ pack them, as fp32. Products of a scale and a small code: one rounding, or
/// none.
#include <assert.h>
#include <string.h>

#include "half.h"
#include "isa.h"

/// Where AWQ has column c of eight: the inverse of 0 2 4 6 1 3 5 7.
static const int awq_places[8] = {0, 4, 1, 5, 2, 6, 3, 7};

void mk_unpack_blocks(const uint8_t *packed, int64_t first, int64_t n, int64_t block, const float *scales,
                      const float *values, float *dst) {
    const int64_t byte0 = first / 2, block0 = first / block;
    for (int64_t i = first; i < first + n; i++) {
        const uint8_t byte = packed[i / 2 - byte0];
        dst[i - first] = values[i % 2 == 0 ? byte >> 4 : byte & 15] * scales[i / block - block0];
    }
}

/// The bits below the one that column c has in its word.
static int shift_of(int32_t layout, int32_t bits, int64_t c) {
    return layout == MK_PACK_AWQ ? 4 * awq_places[c % 8] : bits * (int)(c % (32 / bits));
}

void mk_unpack_grouped(const mk_grouped *w, int64_t row0, int64_t rows, float *dst) {
    assert(row0 >= 0 && rows >= 0 && row0 + rows <= w->rows);
    const int per = 32 / w->bits;
    const uint32_t mask = (1u << w->bits) - 1;
    const bool down = w->layout == MK_PACK_GPTQ;
    const int64_t stride = down ? w->rows : w->rows / per;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t n = row0 + r;
        const uint32_t *words = w->words + (down ? n : n / per);
        const int shift = down ? 0 : shift_of(w->layout, w->bits, n);
        for (int64_t k = 0; k < w->cols; k++) {
            const uint32_t word = words[(down ? k / per : k) * stride];
            const uint32_t code = word >> (down ? w->bits * (int)(k % per) : shift) & mask;
            const int64_t place = w->groups[k] * w->rows + n;
            dst[r * w->cols + k] = w->scales[place] * ((float)code - w->zeros[place]);
        }
    }
}

void mk_grouped_to_q4_0(const mk_grouped *w, int64_t row0, int64_t rows, uint8_t *dst) {
    assert(w->layout == MK_PACK_GPTQ && w->bits == 4 && w->cols % 32 == 0);
    for (int64_t n = row0; n < row0 + rows; n++) {
        for (int64_t k = 0; k < w->cols; k += 32, dst += 18) {
            const uint16_t scale = mk_float_to_half(w->scales[w->groups[k] * w->rows + n]);
            memcpy(dst, &scale, 2);
            // Four words of eight columns; a byte has columns j and j + 16.
            for (int j = 0; j < 16; j++) {
                const uint32_t low = w->words[(k + j) / 8 * w->rows + n] >> 4 * (j % 8) & 15;
                const uint32_t high = w->words[(k + j + 16) / 8 * w->rows + n] >> 4 * (j % 8) & 15;
                dst[2 + j] = (uint8_t)(low | high << 4);
            }
        }
    }
}

void mk_unpack_zeros(int32_t layout, int32_t bits, const uint32_t *words, int64_t rows, int64_t n, float offset,
                     float *dst) {
    const int per = 32 / bits;
    const uint32_t mask = (1u << bits) - 1;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < n; c++) {
            const uint32_t word = words[r * (n / per) + c / per];
            dst[r * n + c] = (float)(word >> shift_of(layout, bits, c) & mask) + offset;
        }
    }
}
