/// The int8 product for CPUs without byte dot products: weights and activations widened to 16 bits, vpmaddwd and
/// vpaddd.
///
/// That is as many instructions as vpsignb, vpmaddubsw, vpmaddwd and vpaddd on bytes, but none that only one port has;
/// docs/studies/kernels.md compares the two. Written once for 256 and 512 bits: the including file has set the target
/// attribute and MADD_BITS.
#ifndef MERASER_INT8_MADD_BODY_H
#define MERASER_INT8_MADD_BODY_H

#if MADD_BITS == 256
typedef __m256i madd_ints;
typedef __m256 madd_floats;
#define MADD_REGISTER(x) "+x"(x)
#define MADD_(name) _mm256_##name
#define MADD_SI(name) _mm256_##name##_si256
#define madd_load(p) _mm256_loadu_si256((const __m256i *)(p))
#define madd_store(p, x) _mm256_storeu_si256((__m256i *)(p), x)
#define madd_halves(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p)))
#define madd_codebook(p) _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(p)))
enum { MADD_TOKENS = 6, MADD_PARTS = 2, MADD_LANES = 8 };
#else
typedef __m512i madd_ints;
typedef __m512 madd_floats;
#define MADD_REGISTER(x) "+v"(x)
#define MADD_(name) _mm512_##name
#define MADD_SI(name) _mm512_##name##_si512
#define madd_load(p) _mm512_loadu_si512(p)
#define madd_store(p, x) _mm512_storeu_si512(p, x)
#define madd_halves(p) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p)))
#define madd_codebook(p) _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(p)))
enum { MADD_TOKENS = 12, MADD_PARTS = 1, MADD_LANES = 16 };
#endif

/// Keeps the compiler from turning a chain of sums into a tree, for which there are not enough registers.
#define MADD_KEEP(sum) __asm__("" : MADD_REGISTER(sum))

enum {
    MADD_PANEL = 2 * MK_TILE_ROWS * MK_TILE_COLS + 4 * MK_TILE_ROWS,  ///< bytes of an unpacked tile
    MADD_AHEAD = 2048,                                                ///< bytes of weights that are fetched in advance
};

/// Packs a strip in pairs: for each block and quad j of columns the codes of columns 4 j and 4 j + 2 as 16-bit pairs
/// [tokens], those of columns 4 j + 1 and 4 j + 3 [tokens]; then the scales [tokens]. 16 bits hold both digits.
static void pack_pairs(const float *x, int64_t ldx, int64_t tokens, int64_t blocks, float wide_cost, void *strip) {
    for (int64_t t = 0; t < tokens; t++, x += ldx) {
        int32_t *out = (int32_t *)strip + t;
        for (int64_t b = 0; b < blocks; b++, out += 17 * tokens) {
            const int8_block block = int8_quantize(x + MK_TILE_COLS * b, wide_cost);
            int32_t q[MK_TILE_COLS];
            memcpy(q, block.code, sizeof q);
            for (int j = 0; j < 8; j++) {
                out[2 * j * tokens] = (int32_t)((uint32_t)q[4 * j + 2] << 16 | (uint16_t)q[4 * j]);
                out[(2 * j + 1) * tokens] = (int32_t)((uint32_t)q[4 * j + 3] << 16 | (uint16_t)q[4 * j + 1]);
            }
            memcpy(out + 16 * tokens, &block.scale, sizeof block.scale);
        }
    }
}

/// The rows of part p (8 or 16 of the 16) of quad j as bytes.
MK_INLINE madd_ints madd_quad(const bool nibbles, const uint8_t *tile, int j, int p, madd_ints book) {
    if (!nibbles) return madd_load(tile + 32 + 64 * j + 32 * p);
    madd_ints packed = madd_load(tile + 32 + 64 * (j / 2) + 32 * p);
    if (j % 2 != 0) packed = MADD_(srli_epi16)(packed, 4);
    return MADD_(shuffle_epi8)(book, MADD_SI(and)(packed, MADD_(set1_epi8)(15)));
}

/// Tiles to panels: [quad][even columns, odd columns][part] of 16-bit pairs, then the scales.
MK_INLINE void madd_unpack_tiles(const bool nibbles, const int8_t *codebook, const uint8_t *tile, int64_t count,
                                 uint8_t *panel) {
    const madd_ints book = nibbles ? madd_codebook(codebook) : MADD_SI(setzero)();
    for (int64_t i = 0; i < count;
         i++, tile += nibbles ? MK_TILE_BYTES_4BIT : MK_TILE_BYTES_8BIT, panel += MADD_PANEL) {
#pragma clang loop unroll(full)
        for (int j = 0; j < 8; j++) {
#pragma clang loop unroll(full)
            for (int p = 0; p < MADD_PARTS; p++) {
                const madd_ints bytes = madd_quad(nibbles, tile, j, p, book);
                madd_store(panel + 128 * j + 32 * p, MADD_(srai_epi16)(MADD_(slli_epi16)(bytes, 8), 8));
                madd_store(panel + 128 * j + 64 + 32 * p, MADD_(srai_epi16)(bytes, 8));
            }
        }
        for (int p = 0; p < MADD_PARTS; p++) {
            MADD_(storeu_ps)((float *)(panel + 1024) + MADD_LANES * p, madd_halves(tile + 16 * p));
        }
    }
}

static void madd_unpack(int32_t type, const uint8_t *group, int64_t first, int64_t count, uint8_t *panel) {
    const int8_t *codebook = mk_codebook(type);
    if (codebook != NULL) {
        madd_unpack_tiles(true, codebook, group + first * MK_TILE_BYTES_4BIT, count, panel);
    } else {
        madd_unpack_tiles(false, codebook, group + first * MK_TILE_BYTES_8BIT, count, panel);
    }
}

/// The pairs of columns 4 j + i and 4 j + 2 + i of part p: from a panel, or from the tile itself.
MK_INLINE madd_ints madd_pairs(const bool unpacked, const bool nibbles, const uint8_t *w, int j, int i, int p,
                               madd_ints book) {
    if (unpacked) return madd_load(w + 128 * j + 64 * i + 32 * p);
    const madd_ints bytes = madd_quad(nibbles, w, j, p, book);
    return MADD_(srai_epi16)(i == 0 ? MADD_(slli_epi16)(bytes, 8) : bytes, 8);
}

/// `tokens` x 16 outputs; the sums stay in L1, the registers are the accumulators'.
MK_INLINE void madd_tile(const bool unpacked, const bool nibbles, const int tokens, const int8_t *codebook,
                         const uint8_t *w, int64_t blocks, const int32_t *x, float *sums, int64_t width) {
    const int64_t step = unpacked ? MADD_PANEL : nibbles ? MK_TILE_BYTES_4BIT : MK_TILE_BYTES_8BIT;
    const madd_ints book = nibbles ? madd_codebook(codebook) : MADD_SI(setzero)();
    for (int64_t b = 0; b < blocks; b++, w += step, x += 17 * tokens) {
        madd_ints dot[MADD_PARTS][MADD_TOKENS];
        if (!unpacked) {
#pragma clang loop unroll(full)
            for (int line = 0; line < step; line += 64) {
                _mm_prefetch((const char *)(w + MADD_AHEAD + line), _MM_HINT_T0);
            }
        }
#pragma clang loop unroll(full)
        for (int i = 0; i < 16; i++) {
            madd_ints pairs[MADD_PARTS];
#pragma clang loop unroll(full)
            for (int p = 0; p < MADD_PARTS; p++) pairs[p] = madd_pairs(unpacked, nibbles, w, i / 2, i % 2, p, book);
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) {
                const madd_ints q = MADD_(set1_epi32)(x[i * tokens + t]);
#pragma clang loop unroll(full)
                for (int p = 0; p < MADD_PARTS; p++) {
                    const madd_ints product = MADD_(madd_epi16)(pairs[p], q);
                    dot[p][t] = i == 0 ? product : MADD_(add_epi32)(dot[p][t], product);
                    MADD_KEEP(dot[p][t]);
                }
            }
        }
#pragma clang loop unroll(full)
        for (int p = 0; p < MADD_PARTS; p++) {
            const madd_floats d =
                unpacked ? MADD_(loadu_ps)((const float *)(w + 1024) + MADD_LANES * p) : madd_halves(w + 16 * p);
#pragma clang loop unroll(full)
            for (int t = 0; t < tokens; t++) {
                float *sum = sums + t * width + MADD_LANES * p;
                const madd_floats unit = MADD_(set1_ps)(mk_bits_to_float((uint32_t)x[16 * tokens + t]));
                const madd_floats scale = MADD_(mul_ps)(d, unit);
                MADD_(storeu_ps)(sum, MADD_(fmadd_ps)(scale, MADD_(cvtepi32_ps)(dot[p][t]), MADD_(loadu_ps)(sum)));
            }
        }
    }
}

/// The number of tokens becomes a constant.
#define MADD_SWITCH(unpacked, nibbles)   \
    switch (tokens) {                    \
        MADD_CASE(1, unpacked, nibbles); \
        MADD_CASE(2, unpacked, nibbles); \
        MADD_CASE(3, unpacked, nibbles); \
        MADD_CASE(4, unpacked, nibbles); \
        MADD_CASE(5, unpacked, nibbles); \
        MADD_CASE(6, unpacked, nibbles); \
        MADD_MORE(unpacked, nibbles)     \
        default:                         \
            break;                       \
    }
#define MADD_CASE(n, unpacked, nibbles)                                           \
    case n:                                                                       \
        madd_tile(unpacked, nibbles, n, codebook, w, blocks, strip, sums, width); \
        break
#if MADD_BITS == 256
#define MADD_MORE(unpacked, nibbles)
#else
#define MADD_MORE(unpacked, nibbles)  \
    MADD_CASE(7, unpacked, nibbles);  \
    MADD_CASE(8, unpacked, nibbles);  \
    MADD_CASE(9, unpacked, nibbles);  \
    MADD_CASE(10, unpacked, nibbles); \
    MADD_CASE(11, unpacked, nibbles); \
    MADD_CASE(12, unpacked, nibbles);
#endif

static void madd_rows(int32_t type, const uint8_t *w, int64_t stride, int64_t groups, int64_t blocks, const void *strip,
                      int64_t tokens, float *sums) {
    const int8_t *codebook = mk_codebook(type);
    const int64_t width = MK_TILE_ROWS * groups;
    for (int64_t g = 0; g < groups; g++, w += stride, sums += MK_TILE_ROWS) {
        if (codebook != NULL) {
            MADD_SWITCH(false, true)
        } else {
            MADD_SWITCH(false, false)
        }
    }
}

/// One group, and nothing fetched in advance: `stride`, `groups` and `next` say nothing.
static void madd_panel_rows(const uint8_t *w, int64_t stride, int64_t groups, int64_t blocks, const void *strip,
                            int64_t tokens, int64_t next, float *sums) {
    (void)stride, (void)groups, (void)next;
    const int8_t *codebook = NULL;
    const int64_t width = MK_TILE_ROWS;
    MADD_SWITCH(true, false)
}

static const mk_int8 int8_madd = {
    .height = MADD_TOKENS,
    .block_bytes = 68,
    .pack = pack_pairs,
    .rows = madd_rows,
    .panel_bytes = MADD_PANEL,
    .panel_groups = 1,
    .panel_blocks = 8,
    .panel_strips = 2,
    .unpack = madd_unpack,
    .panel_rows = madd_panel_rows,
};

#endif
