/// Types, quantization, checksums.
#include "check.h"

static void check_types_of(int32_t type) {
    const int64_t shapes[][2] = {{1, 32}, {16, 64}, {17, 96}, {31, 32}, {40, 160}, {33, 512}, {1, 7}, {3, 33}, {5, 1}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        const int64_t rows = shapes[s][0], cols = shapes[s][1];
        CASE("quantize %s %lldx%lld", type_name(type), (long long)rows, (long long)cols);
        const size_t bytes = mk_matrix_bytes(type, rows, cols);
        if (mk_type_is_tiled(type) && cols % mk_tile_columns(type) != 0) {
            EXPECT(bytes == 0, "%zu bytes for a shape that has no tiles", bytes);
            continue;
        }
        float *source = matrix(rows, cols, cols, 1);
        for (int64_t c = 0; c < cols; c++) source[(rows - 1) * cols + c] *= s % 2 == 0 ? 1e-6f : 100;
        void *data = guarded(bytes);
        memset(data, 0xEE, bytes);
        mk_quantize(type, source, rows, cols, data);
        const mk_matrix m = {type, rows, cols, data};
        float *back = guarded((size_t)(rows * cols) * sizeof(float));
        mk_dequantize(&m, 0, rows, back);
        // A step is d times the widest gap of the grid: amax / 8 for 4 bits, amax / 127 for 8, half of it the error;
        // the search may clip the largest weight by a few steps of its line.
        const double relative = type == MK_F32 ? 0 : type == MK_F16 ? 0x1p-11 : type == MK_BF16 ? 0x1p-8 : 0;
        const double step = type == MK_Q8_0 ? 0.11 : mk_type_is_tiled(type) ? 0.45 : 0;
        // A part whose weights are tiny beside its super-block's gets scale and minimum 0.
        const int64_t share = mk_type_is_tiled(type) ? mk_tile_columns(type) : 32;
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t c = 0; c < cols; c++) {
                const int64_t block = c / share * share;
                double largest = 0;
                for (int64_t i = block; i < block + share && i < cols; i++) {
                    largest = fmax(largest, fabs((double)source[r * cols + i]));
                }
                const double want = (double)source[r * cols + c], got = (double)back[r * cols + c];
                EXPECT(fabs(got - want) <= relative * fabs(want) + step * largest + 0x1p-25, "%g, expected %g", got,
                       want);
            }
        }
        if (rows > 2) {
            float *part = guarded((size_t)cols * sizeof(float));
            mk_dequantize(&m, rows - 2, 1, part);
            EXPECT(memcmp(part, back + (rows - 2) * cols, (size_t)cols * sizeof(float)) == 0, "a row differs");
            release(part);
        }
        release(source);
        release(data);
        release(back);
    }
}

static void check_checksums(void) {
    for (size_t n = 0; n < 70; n++) {
        CASE("crc32c of %zu bytes", n);
        uint8_t *bytes = guarded(n);
        uint32_t crc = 0xffffffff;
        for (size_t i = 0; i < n; i++) {
            bytes[i] = (uint8_t)below(256);
            crc ^= bytes[i];
            for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
        }
        EXPECT(mk_crc32c(0, bytes, n) == ~crc, "wrong");
        release(bytes);
    }
    for (int64_t n = 0; n < 3000; n = n * 3 / 2 + 1) {
        CASE("nonfinite among %lld", (long long)n);
        float *x = matrix(1, n, n + 1, 1);
        EXPECT(mk_find_nonfinite(x, n) == -1, "found one where there is none");
        if (n > 0) {
            x[n - 1] = INFINITY;
            EXPECT(mk_find_nonfinite(x, n) == n - 1, "missed the last");
        }
        release(x);
    }
}

/// GGUF's blocks: nothing outside them is read or written, and a row is its blocks. (Values: GGMLTypeTests.)
static void check_ggml_blocks(void) {
    for (int32_t type = 0; type < 64; type++) {
        const int64_t elements = mk_ggml_block_elements(type), bytes = mk_ggml_block_bytes(type);
        CASE("ggml type %d", type);
        EXPECT((elements == 0) == (bytes == 0), "%lld weights in %lld bytes", (long long)elements, (long long)bytes);
        if (elements == 0) continue;
        const int64_t blocks = 3;
        uint8_t *data = guarded((size_t)(blocks * bytes));
        for (int64_t i = 0; i < blocks * bytes; i++) data[i] = (uint8_t)below(256);
        float *row = guarded((size_t)(blocks * elements) * sizeof(float));
        float *part = guarded((size_t)elements * sizeof(float));
        mk_ggml_to_float(type, data, blocks * elements, row);
        for (int64_t i = 0; i < blocks; i++) {
            mk_ggml_to_float(type, data + i * bytes, elements, part);
            EXPECT(memcmp(part, row + i * elements, (size_t)elements * sizeof(float)) == 0, "block %lld differs",
                   (long long)i);
        }
        release(data);
        release(row);
        release(part);
    }
}

/// Codes of other programs in words of 32 bits: each is found again where it was put, whatever the piece of rows.
static void check_grouped(int32_t layout, int32_t bits) {
    static const int order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    const int64_t rows = 48, cols = 96, count = 3, per = 32 / bits;
    const bool awq = layout == MK_PACK_AWQ;
    CASE("unpack layout %d, %d bits", layout, bits);
    uint32_t *words = guarded((size_t)(rows * cols / per) * 4), *points = guarded((size_t)(count * rows / per) * 4);
    float *scales = matrix(count, rows, rows, 1), *zeros = guarded((size_t)(count * rows) * 4);
    int32_t *groups = guarded((size_t)cols * 4);
    float *want = guarded((size_t)(rows * cols) * 4), *got = guarded((size_t)(rows * cols) * 4);
    memset(words, 0, (size_t)(rows * cols / per) * 4);
    memset(points, 0, (size_t)(count * rows / per) * 4);
    for (int64_t k = 0; k < cols; k++) groups[k] = (int32_t)below(count);
    for (int64_t g = 0; g < count; g++) {
        for (int64_t place = 0; place < rows; place++) {
            const int64_t n = awq ? place / 8 * 8 + order[place % 8] : place;
            const uint32_t code = (uint32_t)below(1 << bits);
            points[(g * rows + place) / per] |= code << bits * (place % per);
            zeros[g * rows + n] = (float)code + 1;
        }
    }
    uint8_t *codes = guarded((size_t)(rows * cols));
    for (int64_t k = 0; k < cols; k++) {
        for (int64_t place = 0; place < rows; place++) {
            const int64_t n = awq ? place / 8 * 8 + order[place % 8] : place;
            const uint32_t code = (uint32_t)below(1 << bits);
            if (awq) {
                words[(k * rows + place) / 8] |= code << 4 * (place % 8);
            } else {
                words[k / per * rows + n] |= code << bits * (k % per);
            }
            codes[n * cols + k] = (uint8_t)code;
            want[n * cols + k] = scales[groups[k] * rows + n] * ((float)code - zeros[groups[k] * rows + n]);
        }
    }
    float *found = guarded((size_t)(count * rows) * 4);
    mk_unpack_zeros(layout, bits, points, count, rows, 1, found);
    EXPECT(memcmp(found, zeros, (size_t)(count * rows) * 4) == 0, "other zero points");
    const mk_grouped w = {layout, bits, rows, cols, words, scales, zeros, groups};
    for (int64_t first = 0; first < rows; first += 7) {
        const int64_t n = first + 7 < rows ? 7 : rows - first;
        mk_unpack_grouped(&w, first, n, got + first * cols);
    }
    EXPECT(memcmp(got, want, (size_t)(rows * cols) * 4) == 0, "other weights");
    if (!awq && bits == 4) {
        uint8_t *blocks = guarded((size_t)(rows * cols / 32) * 18);
        mk_grouped_to_q4_0(&w, 0, rows, blocks);
        for (int64_t i = 0; i < rows * cols; i++) {
            const uint8_t byte = blocks[i / 32 * 18 + 2 + i % 16];
            EXPECT((i % 32 < 16 ? byte & 15 : byte >> 4) == codes[i], "code %lld", (long long)i);
        }
        release(blocks);
    }
    void *all[] = {words, points, scales, zeros, groups, want, got, found, codes};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/// bitsandbytes' blocks: pieces begin and end within bytes and blocks.
static void check_blocks(void) {
    CASE("unpack blocks");
    const int64_t n = 64 * 3 + 5;
    uint8_t *packed = guarded((size_t)(n + 1) / 2);
    for (int64_t i = 0; i < (n + 1) / 2; i++) packed[i] = (uint8_t)below(256);
    float *scales = matrix(1, 4, 4, 1), *values = matrix(1, 16, 16, 1);
    for (int64_t first = 0; first < n; first += 13) {
        for (int64_t count = 0; first + count <= n; count += 31) {
            float *got = guarded((size_t)count * 4);
            mk_unpack_blocks(packed + first / 2, first, count, 64, scales + first / 64, values, got);
            for (int64_t i = first; i < first + count; i++) {
                const int code = i % 2 ? packed[i / 2] & 15 : packed[i / 2] >> 4;
                EXPECT(got[i - first] == values[code] * scales[i / 64], "weight %lld", (long long)i);
            }
            release(got);
        }
    }
    release(packed);
    release(scales);
    release(values);
}

void check_weights(void) {
    seed(7);
    for (int32_t bits = 2; bits <= 8; bits *= 2) check_grouped(MK_PACK_GPTQ, bits);
    check_grouped(MK_PACK_AWQ, 4);
    check_blocks();
    for (size_t i = 0; i < sizeof check_types / sizeof check_types[0]; i++) check_types_of(check_types[i]);
    check_checksums();
    check_ggml_blocks();
}
