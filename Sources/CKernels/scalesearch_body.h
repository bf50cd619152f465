// One group of 16 rows, for the instruction set of the including file, which defines
//   BODY(name)        the function's name for this set
//   LINES             candidate scales that are tried at once: as many as the registers hold
//   ROUND             to the nearest integer, halves to even, for |y| < 2^22
//   NEAREST_IN_RANGE  the entry of the codebook nearest to y, for |y| < 148
//   NEAREST           the same for any y
//   NEAREST_CODE      its index

/// `yes` where the mask is set, else `no`.
MK_INLINE mk_v16 BODY(choose)(mk_i16 mask, mk_v16 yes, mk_v16 no) {
    return (mk_v16)((mask & (mk_i16)yes) | (~mask & (mk_i16)no));
}

/// The entry nearest to y; `is_candidate` says that y is in reach of the codebook.
MK_INLINE mk_v16 BODY(nearest)(const mk_grid *g, rounding kind, bool is_candidate, mk_v16 y) {
    if (kind == CODEBOOK) return is_candidate ? NEAREST_IN_RANGE(g, y) : NEAREST(g, y);
    if (kind == FOUR_BITS || !is_candidate) {
        const mk_v16 low = (mk_v16)(g->lowest), high = (mk_v16)(g->highest);
        y = BODY(choose)(y < low, low, y);
        y = BODY(choose)(y > high, high, y);
    }
    return ROUND(y);
}

/// The codes of y: indices of the codebook, or integers for 8 bits.
MK_INLINE mk_i16 BODY(nearest_code)(const mk_grid *g, rounding kind, mk_v16 y) {
    if (kind == CODEBOOK) return NEAREST_CODE(g, y);
    const float base = kind == FOUR_BITS ? g->lowest : 0;
    return __builtin_convertvector(BODY(nearest)(g, kind, false, y) - base, mk_i16);
}

/// 1 / d, or 0 if that is no finite number.
MK_INLINE mk_v16 BODY(invert)(mk_v16 d) {
    const mk_v16 inverse = 1.0f / d;
    return BODY(choose)((inverse >= -__FLT_MAX__) & (inverse <= __FLT_MAX__), inverse, (mk_v16)(0.0f));
}

/// The nearest scale that fp16 holds, as its bits; not zero unless d is. half.h says how; d is no NaN.
MK_INLINE mk_i16 BODY(representable)(mk_v16 d) {
    const mk_u16 bits = (mk_u16)d, sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
    const mk_u16 rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
    const mk_u16 tiny = (mk_u16)((mk_v16)magnitude + 0.5f) - 0x3f000000;
    const mk_u16 is_tiny = (mk_u16)(magnitude < 0x38800000), is_huge = (mk_u16)(magnitude >= 0x477ff000);
    mk_u16 half = (is_tiny & tiny) | (~is_tiny & ((rounded - 0x38000000) >> 13));
    half = (is_huge & 0x7c00) | (~is_huge & half);
    half |= (mk_u16)((half == 0) & (magnitude != 0)) & 1;
    return (mk_i16)(sign | half);
}

/// The fp32 of fp16 bits that are finite or infinite.
MK_INLINE mk_v16 BODY(from_half)(mk_i16 half) {
    const mk_u16 bits = (mk_u16)half, sign = (bits & 0x8000) << 16, magnitude = (bits & 0x7fff) << 13;
    const mk_u16 value = (mk_u16)((mk_v16)magnitude * 0x1p112f), is_infinite = (mk_u16)(magnitude >= (0x7c00 << 13));
    return (mk_v16)(sign | (is_infinite & 0x7f800000) | (~is_infinite & value));
}

/// Chooses the scales of the 16 blocks of a tile (fp16 bits) and the codes, codes[c] those of column c. x[c] are the
/// weights relative to `unit`, a power of two that keeps them below 4; `variance` is the mean square of the rows.
MK_INLINE mk_i16 BODY(search)(const mk_grid *g, rounding kind, const mk_v16 *x, mk_v16 unit, mk_v16 variance,
                              mk_i16 *codes) {
    const mk_v16 zero = (mk_v16)(0.0f);
    mk_v16 weight[COLS];
    mk_v16 largest = zero, zero_error = zero;
    for (int c = 0; c < COLS; c++) {
        const mk_v16 square = x[c] * x[c];
        largest = BODY(choose)(__builtin_elementwise_abs(x[c]) > __builtin_elementwise_abs(largest), x[c], largest);
        weight[c] = kind == CODEBOOK ? __builtin_elementwise_sqrt(variance + square) : (mk_v16)(1.0f);
        zero_error += kind == CODEBOOK ? weight[c] * square : square;
    }

    const mk_v16 inverse_largest = BODY(invert)(largest);
    mk_v16 best_score = zero, d = zero;
    for (int end = 0; end < g->ends; end++) {
        for (int i = 0; i < g->candidates; i += LINES) {
            mk_v16 inverse[LINES], cross[LINES], square[LINES];
            for (int line = 0; line < LINES; line++) {
                const float reach = (end == 0 ? g->highest : g->lowest) * (g->first + (float)(i + line) * g->spacing);
                inverse[line] = inverse_largest * reach;
                cross[line] = square[line] = zero;
            }
            for (int c = 0; c < COLS; c++) {
#pragma unroll
                for (int line = 0; line < LINES; line++) {
                    const mk_v16 v = BODY(nearest)(g, kind, true, x[c] * inverse[line]);
                    const mk_v16 wv = kind == CODEBOOK ? weight[c] * v : v;
                    cross[line] += wv * x[c];
                    square[line] += wv * v;
                }
            }
            for (int line = 0; line < LINES; line++) {
                // With its best scale the candidate's error is sum w x^2 - cross^2 / square.
                const mk_v16 fit = cross[line] / square[line], score = cross[line] * fit;
                const mk_i16 better = score > best_score;
                best_score = BODY(choose)(better, score, best_score);
                d = BODY(choose)(better, fit, d);
            }
        }
    }

    // From here on the error is measured with the scale that will be stored. Scale 0 is where it starts.
    mk_v16 best_error = zero_error, best_inverse = zero;
    mk_i16 scales = (mk_i16)(0);
    for (int round = 0; round < 3; round++) {
        const mk_i16 halves = BODY(representable)(d * unit);
        if (round == 0) {
            const mk_i16 is_infinite = (halves & 0x7fff) == 0x7c00;
            scales = is_infinite & halves;
            best_error = BODY(choose)(is_infinite, (mk_v16)(-1.0f), best_error);  // nothing replaces it
        }
        d = BODY(from_half)(halves) / unit;
        const mk_v16 inverse = BODY(invert)(d);
        mk_v16 error = zero, cross = zero, square = zero;
        for (int c = 0; c < COLS; c++) {
            const mk_v16 v = BODY(nearest)(g, kind, false, x[c] * inverse), rest = x[c] - d * v;
            const mk_v16 wv = kind == CODEBOOK ? weight[c] * v : v;
            error += kind == CODEBOOK ? weight[c] * (rest * rest) : rest * rest;
            cross += wv * x[c];
            square += wv * v;
        }
        const mk_i16 better = error < best_error;
        best_error = BODY(choose)(better, error, best_error);
        best_inverse = BODY(choose)(better, inverse, best_inverse);
        scales = (better & halves) | (~better & scales);
        d = BODY(choose)(square > 0.0f, cross / square, zero);
    }
    for (int c = 0; c < COLS; c++) codes[c] = BODY(nearest_code)(g, kind, x[c] * best_inverse);
    return scales;
}

/// The power of two below the largest magnitude of a row (within the range in which its inverse is normal too).
/// Dividing by it is exact and keeps squares of the weights away from overflow and underflow.
MK_INLINE float BODY(unit_of)(const float *row, int64_t cols) {
    mk_u16 largest = (mk_u16)(0);
    for (int64_t c = 0; c < cols; c += 16) {
        mk_u16 bits;
        memcpy(&bits, row + c, sizeof bits);
        largest = __builtin_elementwise_max(largest, bits & 0x7fffffff);
    }
    const uint32_t exponent = __builtin_reduce_max(largest) >> 23;
    return mk_bits_to_float((exponent < 1 ? 1 : (exponent > 253 ? 253 : exponent)) << 23);
}

/// Mean square of row / unit, the same on every machine: 16 interleaved chains.
MK_INLINE float BODY(mean_square)(const float *row, int64_t cols, float inverse_unit) {
    mk_v16 sums = (mk_v16)(0.0f);
    for (int64_t c = 0; c < cols; c += 16) {
        const mk_v16 x = *(const mk_v16_memory *)(row + c) * inverse_unit;
        sums += x * x;
    }
    float sum = 0;
    for (int lane = 0; lane < 16; lane++) sum += sums[lane];
    return sum / (float)cols;
}

/// columns[c][r] = rows[r][c], 16 x 16: four rounds of riffling row i with row i + 8.
MK_INLINE void BODY(transpose)(const mk_v16 *rows, mk_v16 *columns) {
    mk_v16 a[ROWS], b[ROWS];
    memcpy(a, rows, sizeof a);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 8; i++) {
            b[2 * i] = __builtin_shufflevector(a[i], a[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            b[2 * i + 1] =
                __builtin_shufflevector(a[i], a[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        }
        memcpy(a, b, sizeof a);
    }
    memcpy(columns, a, sizeof a);
}

/// Writes a tile: sixteen scales and the codes of its columns, those of the rows that are present.
MK_INLINE void BODY(store)(rounding kind, mk_i16 scales, const mk_i16 *codes, mk_i16 present, uint8_t *dst) {
    for (int r = 0; r < ROWS; r++) {
        const uint16_t half = (uint16_t)scales[r];
        memcpy(dst + 2 * r, &half, sizeof half);
    }
    dst += 2 * ROWS;
    // Bytes of 64 j + 4 r + c as docs/reference/format.md has them: one 32-bit word a row.
    const int step = kind == EIGHT_BITS ? 4 : 8;
    for (int c = 0; c < COLS; c += step, dst += 4 * ROWS) {
        mk_i16 word = (mk_i16)(0);
        for (int i = 0; i < 4; i++) {
            const mk_i16 byte = kind == EIGHT_BITS ? codes[c + i] & 255 : codes[c + i] | codes[c + 4 + i] << 4;
            word |= byte << (8 * i);
        }
        word &= present;
        memcpy(dst, &word, sizeof word);
    }
}

MK_INLINE void BODY(group)(const mk_grid *g, rounding kind, const float *src, int rows, int64_t cols, uint8_t *dst) {
    float unit[ROWS], inverse[ROWS], variance[ROWS];
    mk_i16 present;
    for (int r = 0; r < ROWS; r++) {
        unit[r] = r < rows ? BODY(unit_of)(src + r * cols, cols) : 1;
        inverse[r] = 1 / unit[r];
        variance[r] = r < rows ? BODY(mean_square)(src + r * cols, cols, inverse[r]) : 0;
        present[r] = r < rows ? -1 : 0;
    }
    mk_v16 units, variances;
    memcpy(&units, unit, sizeof units);
    memcpy(&variances, variance, sizeof variances);
    for (int64_t c0 = 0; c0 < cols; c0 += COLS) {
        mk_v16 x[COLS];
        for (int half = 0; half < 2; half++) {
            mk_v16 block[ROWS];
            for (int r = 0; r < ROWS; r++) {
                block[r] =
                    r < rows ? *(const mk_v16_memory *)(src + r * cols + c0 + 16 * half) * inverse[r] : (mk_v16)(0.0f);
            }
            BODY(transpose)(block, x + 16 * half);
        }
        mk_i16 codes[COLS];
        const mk_i16 scales = BODY(search)(g, kind, x, units, variances, codes) & present;
        BODY(store)(kind, scales, codes, present, dst);
        dst += kind == EIGHT_BITS ? MK_TILE_BYTES_8BIT : MK_TILE_BYTES_4BIT;
    }
}

static void BODY(mk_quantize_group)(const mk_grid *g, const float *src, int rows, int64_t cols, uint8_t *dst) {
    if (g->codebook == NULL) {
        BODY(group)(g, EIGHT_BITS, src, rows, cols, dst);
    } else if (g->linear) {
        BODY(group)(g, FOUR_BITS, src, rows, cols, dst);
    } else {
        BODY(group)(g, CODEBOOK, src, rows, cols, dst);
    }
}
