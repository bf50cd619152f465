/// The int8 product with byte products on 256 bits. 16 registers: the sums stay in L1, the registers are the
/// accumulators'. Written once for two kinds of accumulator; the including file has set the target attribute and
///   BYTES_(name)         the name of a function of this kind,
///   BYTES_DOT(a, w, q)   a + products of unsigned with signed bytes,
///   BYTES_RAW            0: accumulators of 32 bits; the weights' codes get 128 added (see int8_vnni512.h)
///                        1: of 16 bits, of pairs of columns; only for q4_0, whose weights are the nibbles less 8: the
///                        sum of 8 quads is at most 8 * 2 * 15 * 127 = 30480.

enum {
    BYTES_(TOKENS) = 6,    ///< 6 tokens x 16 rows: 12 accumulators
    BYTES_(AHEAD) = 2048,  ///< bytes of weights that are fetched in advance
};

/// Columns 4 j ... 4 j + 3 of rows 8 p ... 8 p + 7 of a tile, made unsigned.
MK_INLINE __m256i BYTES_(quad)(const bool nibbles, const uint8_t *tile, int j, int p, __m256i book) {
    const __m256i *line = (const __m256i *)(tile + 32 + 32 * p + 64 * (nibbles ? j / 2 : j));
    __m256i codes = _mm256_loadu_si256(line);
    if (!nibbles) return _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
    codes = _mm256_srl_epi16(codes, _mm_cvtsi32_si128(j % 2 * 4));
    codes = _mm256_and_si256(codes, _mm256_set1_epi8(15));
    return BYTES_RAW ? codes : _mm256_shuffle_epi8(book, codes);
}

/// The integers of an accumulator.
MK_INLINE __m256i BYTES_(whole)(__m256i dot) {
    return BYTES_RAW ? _mm256_madd_epi16(dot, _mm256_set1_epi16(1)) : dot;
}

/// What a block's integers begin with: what makes up for the unsigned weights, and the high digits.
MK_INLINE void BYTES_(begin)(const bool nibbles, const int tokens, __m256i book, const uint8_t *tile, const int32_t *x,
                             __m256i begin[2][BYTES_(TOKENS)]) {
    const uint32_t wide = (uint32_t)x[10 * tokens];
#pragma clang loop unroll(full)
    for (int t = 0; t < tokens; t++) {
        // -128 times the sum of the codes; nibbles as they are are 8 too large.
        begin[0][t] = begin[1][t] = _mm256_set1_epi32(BYTES_RAW ? x[8 * tokens + t] / 16 : x[8 * tokens + t]);
    }
    if (wide == 0) return;
    __m256i dot[2][BYTES_(TOKENS)];
#pragma clang loop unroll(full)
    for (int t = 0; t < tokens; t++) dot[0][t] = dot[1][t] = _mm256_setzero_si256();
    const int32_t *high = x + 10 * tokens + 1;
    for (uint32_t rest = wide; rest != 0; rest &= rest - 1) {
        const int j = __builtin_ctz(rest);
#pragma clang loop unroll(full)
        for (int p = 0; p < 2; p++) {
            const __m256i w = BYTES_(quad)(nibbles, tile, j, p, book);
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++)
                dot[p][t] = BYTES_DOT(dot[p][t], w, _mm256_set1_epi32(high[j * tokens + t]));
        }
    }
#pragma clang loop unroll(full)
    for (int t = 0; t < tokens; t++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < 2; p++) {
            begin[p][t] = _mm256_add_epi32(_mm256_slli_epi32(BYTES_(whole)(dot[p][t]), 7), begin[p][t]);
        }
    }
}

/// `tokens` x 16 outputs over all blocks.
MK_INLINE void BYTES_(tile)(const bool nibbles, const int tokens, __m256i book, const uint8_t *tile, int64_t blocks,
                            const int32_t *x, float *sums, int64_t width) {
    const int64_t tile_bytes = nibbles ? MK_TILE_BYTES_4BIT : MK_TILE_BYTES_8BIT;
    for (int64_t b = 0; b < blocks; b++, tile += tile_bytes, x += QUADS_BYTES / 4 * tokens) {
        __m256i dot[2][BYTES_(TOKENS)], begin[2][BYTES_(TOKENS)];
#pragma clang loop unroll(full)
        for (int line = 0; line < tile_bytes; line += 64) {
            _mm_prefetch((const char *)(tile + BYTES_(AHEAD) + line), _MM_HINT_T0);
        }
        BYTES_(begin)(nibbles, tokens, book, tile, x, begin);
#pragma clang loop unroll(full)
        for (int t = 0; t < tokens; t++) {
#pragma clang loop unroll(full)
            for (int p = 0; p < 2; p++) dot[p][t] = BYTES_RAW ? _mm256_setzero_si256() : begin[p][t];
        }
#pragma clang loop unroll(full)
        for (int j = 0; j < 8; j++) {
            const __m256i w[2] = {BYTES_(quad)(nibbles, tile, j, 0, book), BYTES_(quad)(nibbles, tile, j, 1, book)};
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) {
                const __m256i q = _mm256_set1_epi32(x[j * tokens + t]);
#pragma clang loop unroll(full)
                for (int p = 0; p < 2; p++) {
                    dot[p][t] = BYTES_DOT(dot[p][t], w[p], q);
                    // Without this the compiler makes a tree of the sums, for which there are not enough registers.
                    __asm__("" : "+x"(dot[p][t]));
                }
            }
        }
#pragma clang loop unroll(full)
        for (int p = 0; p < 2; p++) {
            const __m256 d = scales256(tile, p);
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) {
                float *sum = sums + t * width + 8 * p;
                const __m256 unit = _mm256_set1_ps(mk_bits_to_float((uint32_t)x[9 * tokens + t]));
                const __m256i whole = BYTES_RAW ? _mm256_add_epi32(BYTES_(whole)(dot[p][t]), begin[p][t]) : dot[p][t];
                const __m256 product = _mm256_cvtepi32_ps(whole);
                _mm256_storeu_ps(sum, _mm256_fmadd_ps(_mm256_mul_ps(d, unit), product, _mm256_loadu_ps(sum)));
            }
        }
    }
}

static void BYTES_(rows)(int32_t type, const uint8_t *tiles, int64_t stride, int64_t groups, int64_t blocks,
                         const void *strip, int64_t tokens, float *sums) {
    const int8_t *codebook = mk_codebook(type);
    const __m256i book =
        codebook == NULL ? _mm256_setzero_si256() : _mm256_xor_si256(codebook256(codebook), _mm256_set1_epi8(-128));
    const int64_t width = MK_TILE_ROWS * groups;
    for (int64_t g = 0; g < groups; g++, tiles += stride, sums += MK_TILE_ROWS) {
        switch (tokens) {
#define TOKENS(n)                                                            \
    case n:                                                                  \
        if (BYTES_RAW || codebook != NULL) {                                 \
            BYTES_(tile)(true, n, book, tiles, blocks, strip, sums, width);  \
        } else {                                                             \
            BYTES_(tile)(false, n, book, tiles, blocks, strip, sums, width); \
        }                                                                    \
        break
            TOKENS(1);
            TOKENS(2);
            TOKENS(3);
            TOKENS(4);
            TOKENS(5);
            TOKENS(6);
#undef TOKENS
            default:
                break;
        }
    }
}

#undef BYTES_
#undef BYTES_DOT
#undef BYTES_RAW
