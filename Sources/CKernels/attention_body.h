/// Products of a few rows with panels of keys or values, and the steps of the online softmax. attention.h describes the
/// panels.
#ifndef MERASER_ATTENTION_BODY_H
#define MERASER_ATTENTION_BODY_H

#include "gemm_body.h"
#include "simd_math.h"

typedef uint32_t mk_u16_memory __attribute__((ext_vector_type(16), aligned(4)));

MK_INLINE mk_u16 load_words(const void *p) {
    return *(const mk_u16_memory *)p;
}

MK_INLINE void store_words(void *p, mk_u16 x) {
    *(mk_u16_memory *)p = x;
}

/// Each float as bfloat16 in the low half of its lane: rounded to nearest even, a NaN stays a NaN.
MK_INLINE mk_u16 round_bfloats(mk_v16 x) {
    const mk_u16 bits = (mk_u16)x;
    const mk_u16 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const mk_u16 quiet = (bits >> 16) | 0x40;
    const mk_u16 is_nan = (mk_u16)((bits & 0x7fffffff) > 0x7f800000);
    return (is_nan & quiet) | (~is_nan & rounded);
}

/// Two steps of the reduction at once where they lie in pairs of bfloat16, the even one first.
MK_INLINE void panel_tile(const int rows, const int panels, const bool halves, const uint8_t *block, int64_t distance,
                          int64_t depth, const float *a, int64_t lda, float *acc, int64_t ldacc) {
    mk_v16 sum[GEMM_ROWS][MK_BLOCK_PANELS];
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < panels; p++) sum[i][p] = load16(acc + i * ldacc + 16 * p);
    }
    for (int64_t d = 0; d < depth; d += halves ? 2 : 1, block += 64) {
        mk_v16 even[MK_BLOCK_PANELS], odd[MK_BLOCK_PANELS];
#pragma clang loop unroll(full)
        for (int p = 0; p < panels; p++) {
            const mk_u16 words = load_words(block + p * distance);
            even[p] = (mk_v16)(halves ? words << 16 : words);
            odd[p] = (mk_v16)(words & 0xffff0000u);
        }
#pragma clang loop unroll(full)
        for (int i = 0; i < rows; i++) {
            const mk_v16 x = a[i * lda + d];
#pragma clang loop unroll(full)
            for (int p = 0; p < panels; p++) sum[i][p] = x * even[p] + sum[i][p];
            if (!halves) continue;
            const mk_v16 y = a[i * lda + d + 1];
#pragma clang loop unroll(full)
            for (int p = 0; p < panels; p++) sum[i][p] = y * odd[p] + sum[i][p];
        }
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < panels; p++) store16(acc + i * ldacc + 16 * p, sum[i][p]);
    }
}

/// Few rows take more panels at once, to keep enough chains busy.
MK_INLINE void panel_strip(const int rows, const bool halves, const uint8_t *block, int64_t panels, int64_t distance,
                           int64_t depth, const float *a, int64_t lda, float *acc, int64_t ldacc) {
    int64_t p = 0;
    if (4 * rows <= GEMM_ROWS * GEMM_PANELS) {
        for (; p + 4 <= panels; p += 4) {
            panel_tile(rows, 4, halves, block + p * distance, distance, depth, a, lda, acc + 16 * p, ldacc);
        }
    }
    if (2 * rows <= GEMM_ROWS * GEMM_PANELS) {
        for (; p + 2 <= panels; p += 2) {
            panel_tile(rows, 2, halves, block + p * distance, distance, depth, a, lda, acc + 16 * p, ldacc);
        }
    }
    for (; p < panels; p++) {
        panel_tile(rows, 1, halves, block + p * distance, distance, depth, a, lda, acc + 16 * p, ldacc);
    }
}

MK_INLINE void panel_rows(const bool halves, const uint8_t *block, int64_t panels, int64_t distance, int64_t depth,
                          const float *a, int64_t lda, int64_t m, float *acc, int64_t ldacc) {
#define STRIPS(rows)                                                                   \
    for (; m >= rows; m -= rows, a += rows * lda, acc += rows * ldacc) {               \
        panel_strip(rows, halves, block, panels, distance, depth, a, lda, acc, ldacc); \
    }
#if GEMM_ROWS >= 12
    STRIPS(12)
    STRIPS(8)
#elif GEMM_ROWS >= 6
    // Both halves of a pair wait in registers: 6 rows would not leave enough of 16 for them.
    if (!halves) {
        STRIPS(6)
    }
#endif
#if GEMM_ROWS >= 4
    STRIPS(4)
#endif
    STRIPS(2)
    STRIPS(1)
#undef STRIPS
}

static void panel_product(int32_t type, const void *block, int64_t panels, int64_t distance, int64_t depth,
                          const float *a, int64_t lda, int64_t m, float *acc, int64_t ldacc) {
    if (type == MK_BF16) {
        panel_rows(true, block, panels, distance, depth, a, lda, m, acc, ldacc);
    } else {
        panel_rows(false, block, panels, distance, depth, a, lda, m, acc, ldacc);
    }
}

MK_INLINE mk_v16 load_some(const float *x, int64_t n) {
    return n >= 16 ? load16(x) : load_part(x, n, 0);
}

static void panel_store_key(int32_t type, const float *x, int64_t d, int64_t lane, void *panel) {
    for (int64_t i = 0; i < d; i += 16) {
        const mk_v16 values = load_some(x + i, d - i);
        if (type == MK_BF16) {
            const mk_u16 halves = round_bfloats(values);
            uint8_t *place = (uint8_t *)panel + 32 * i + 4 * lane;
            uint32_t words[16];
            store_words(words, halves);
            for (int j = 0; j < 8; j++) {
                const uint32_t pair = words[2 * j] | words[2 * j + 1] << 16;
                memcpy(place + 64 * j, &pair, 4);
            }
        } else {
            float *place = (float *)panel + 16 * i + lane;
            for (int j = 0; j < 16; j++) place[16 * j] = values[j];
        }
    }
}

static void panel_store_value(int32_t type, const float *x, int64_t d, int64_t key, void *block, int64_t distance) {
    for (int64_t i = 0; i < d; i += 16, block = (uint8_t *)block + distance) {
        const mk_v16 values = load_some(x + i, d - i);
        if (type == MK_BF16) {
            const mk_u16 halves = round_bfloats(values);
            uint8_t *place = (uint8_t *)block + 32 * (key & -2);
            // The first of a pair clears the second: products run over whole pairs.
            store_words(place, (key & 1) == 0 ? halves : ((load_words(place) & 0xffff) | halves << 16));
        } else {
            store16((float *)block + 16 * key, values);
        }
    }
}

/// exp of x <= 0 to about 1 ulp, as exp16; below -87 it is 0, a NaN stays a NaN.
MK_INLINE mk_v16 exp16_of_negative(mk_v16 x) {
    const mk_v16 magic = 12582912.0f;  // 1.5 * 2^23: adding it leaves the integer in the low bits
    const mk_v16 shifted = x * 1.44269504088896341f + magic;
    const mk_v16 n = shifted - magic;
    const mk_v16 p = exp16_remainder(x, n);
    const mk_v16 y = p * (mk_v16)(((mk_u16)shifted << 23) + (127u << 23));
    return select16(x < -87.0f, (mk_v16)0.0f, y);
}

static float softmax_page(float *s, int64_t lo, int64_t hi, float *max, float *sum) {
    const mk_i16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    mk_v16 part[MK_PAGE_KEYS / 16], top = -__builtin_inff();
    for (int i = 0; i < MK_PAGE_KEYS / 16; i++) {
        const mk_i16 seen = (lane >= (int32_t)lo - 16 * i) & (lane < (int32_t)hi - 16 * i);
        part[i] = select16(seen, load16(s + 16 * i), (mk_v16)-__builtin_inff());
        top = select16(part[i] > top, part[i], top);
    }
    const float old = *max, largest = max16(top), now = largest > old ? largest : old;
    mk_v16 total = 0.0f;
    for (int i = 0; i < MK_PAGE_KEYS / 16; i++) {
        const mk_v16 p = exp16_of_negative(part[i] - now);
        total += p;
        store16(s + 16 * i, p);
    }
    float shrink = 1;
    if (now > old) {
        const mk_v16 fall = old - now;  // -inf at first: nothing is left of what was there
        shrink = exp16_of_negative(fall)[0];
    }
    store16(sum, load16(sum) * shrink + total);
    *max = now;
    return shrink;
}

static void softmax_merge(float *out, float *sum, float *max, const float *out2, const float *sum2, float max2,
                          int64_t d) {
    const float now = *max > max2 ? *max : max2;
    // A part that saw no key has no maximum and adds nothing.
    const mk_v16 fall = *max - now, fall2 = max2 - now;
    const float keep = *max == now || *max == -__builtin_inff() ? 1 : exp16_of_negative(fall)[0];
    const float take = max2 == now || max2 == -__builtin_inff() ? 1 : exp16_of_negative(fall2)[0];
    for (int64_t i = 0; i < d; i += 16) store16(out + i, load16(out + i) * keep + load16(out2 + i) * take);
    store16(sum, load16(sum) * keep + load16(sum2) * take);
    *max = now;
}

static void attention_gradient(float *s, float *dp, int64_t n, int32_t key, const int32_t *lo, const int32_t *hi,
                               const float *lse, const float *delta, float scale) {
    for (int64_t i = 0; i < n; i += 16) {
        const mk_i16 seen = ((mk_i16)load_words(lo + i) <= key) & ((mk_i16)load_words(hi + i) > key);
        const mk_v16 p = exp16(load16(s + i) - load16(lse + i));
        const mk_v16 ds = p * (load16(dp + i) - load16(delta + i)) * scale;
        // What a row does not see may be anything, even no number.
        store16(s + i, select16(seen, p, (mk_v16)0.0f));
        store16(dp + i, select16(seen, ds, (mk_v16)0.0f));
    }
}

#endif
