/// What the machine can do at most: loops of nothing but multiply-add on registers, and of nothing but reads.
#include <math.h>

#include "isa.h"
#include "simd.h"

/// A loop of `rounds` rounds on one core; returns the multiplications and additions that it did.
typedef double (*mk_peak_loop)(int64_t rounds);

/// CHAINS independent accumulators, so that latency does not show; `a` is made opaque, so that nothing leaves the loop.
#define PEAK_LOOP(name, target, vector, constraint, zero, one, CHAINS, LANES, step)  \
    target static double name(int64_t rounds) {                                      \
        vector sums[CHAINS];                                                         \
        for (int j = 0; j < CHAINS; j++) sums[j] = zero;                             \
        vector a = one, b = one;                                                     \
        for (int64_t i = 0; i < rounds; i++) {                                       \
            _Pragma("unroll") for (int j = 0; j < CHAINS; j++) {                     \
                __asm__("" : constraint(a), constraint(b));                          \
                step;                                                                \
            }                                                                        \
        }                                                                            \
        for (int j = 0; j < CHAINS; j++) __asm__ volatile("" : constraint(sums[j])); \
        return 2.0 * CHAINS * LANES * (double)rounds;                                \
    }

/// A register of vectors.
#if defined(__aarch64__)
#define REGISTER "+w"
#else
#define REGISTER "+x"
#endif

typedef float peak_v4 __attribute__((ext_vector_type(4)));

// The compiler's own vectors: what a path without intrinsics could reach.
PEAK_LOOP(f32_portable, , peak_v4, REGISTER, (peak_v4)(0.0f), (peak_v4)(1.0f), 12, 4, sums[j] = a * b + sums[j])

#if defined(__aarch64__)
#include <arm_neon.h>

PEAK_LOOP(int8_neon, __attribute__((__target__("dotprod"))), int8x16_t, REGISTER, vdupq_n_s8(0), vdupq_n_s8(1), 16, 16,
          sums[j] = vreinterpretq_s8_s32(vdotq_s32(vreinterpretq_s32_s8(sums[j]), a, b)))
#endif

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET(names) __attribute__((__target__(names)))
#define AVX2 TARGET("avx2,fma")
#define AVX512 TARGET("avx512f,avx512bw")

PEAK_LOOP(f32_avx2, AVX2, __m256, "+x", _mm256_setzero_ps(), _mm256_set1_ps(1), 12, 8,
          sums[j] = _mm256_fmadd_ps(a, b, sums[j]))
PEAK_LOOP(f32_avx512, AVX512, __m512, "+v", _mm512_setzero_ps(), _mm512_set1_ps(1), 16, 16,
          sums[j] = _mm512_fmadd_ps(a, b, sums[j]))
// Without a dot product of bytes: pairs to 16 bits, pairs of these to 32, one addition.
PEAK_LOOP(int8_avx2, AVX2, __m256i, "+x", _mm256_setzero_si256(), _mm256_set1_epi8(1), 8, 32,
          sums[j] = _mm256_add_epi32(sums[j], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), b)))
PEAK_LOOP(int8_avx512, AVX512, __m512i, "+v", _mm512_setzero_si512(), _mm512_set1_epi8(1), 16, 64,
          sums[j] = _mm512_add_epi32(sums[j], _mm512_madd_epi16(_mm512_maddubs_epi16(a, b), b)))
PEAK_LOOP(int8_avxvnni, TARGET("avx2,avxvnni"), __m256i, "+x", _mm256_setzero_si256(), _mm256_set1_epi8(1), 12, 32,
          sums[j] = _mm256_dpbusd_avx_epi32(sums[j], a, b))
PEAK_LOOP(int8_avx512vnni, TARGET("avx512f,avx512vnni"), __m512i, "+v", _mm512_setzero_si512(), _mm512_set1_epi8(1), 16,
          64, sums[j] = _mm512_dpbusd_epi32(sums[j], a, b))
PEAK_LOOP(bf16_avx512, TARGET("avx512f,avx512bf16"), __m512, "+v", _mm512_setzero_ps(), _mm512_set1_ps(1), 16, 32,
          sums[j] = _mm512_dpbf16_ps(sums[j], (__m512bh)a, (__m512bh)b))
#endif

/// The loops of each path; NULL where the path has no such instruction.
static const struct {
    const char *isa;
    mk_peak_loop f32, bf16, int8;
} paths[] = {
    {"portable", f32_portable, NULL, NULL},
#if defined(__aarch64__)
    {"neon", f32_portable, NULL, int8_neon},
#endif
#if defined(__x86_64__)
    {"avx2", f32_avx2, NULL, int8_avx2},
    {"avxvnni", f32_avx2, NULL, int8_avxvnni},
    {"avx512", f32_avx512, NULL, int8_avx512},
    {"avx512vnni", f32_avx512, NULL, int8_avx512vnni},
    {"avx512bf16", f32_avx512, bf16_avx512, int8_avx512vnni},
    {"avx512intel", f32_avx512, bf16_avx512, int8_avx512vnni},
#endif
};

double mk_peak_operations(const mk_context *ctx, int32_t compute, int64_t rounds) {
    mk_peak_loop loop = NULL;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        if (strcmp(paths[i].isa, ctx->isa->name) != 0) continue;
        loop = compute == MK_COMPUTE_INT8 ? paths[i].int8 : compute == MK_COMPUTE_BF16 ? paths[i].bf16 : paths[i].f32;
    }
    if (loop == NULL) return 0;
    // Several pieces a thread: one that comes late leaves some to the others.
    enum { PIECES = 16 };
    _Atomic int64_t total = 0, *const sum = &total;
    mk_for(ctx, INFINITY, PIECES * mk_pool_threads(ctx->pool), ^(int64_t piece) {
        const int64_t own = (piece % PIECES + 1) * rounds / PIECES - piece % PIECES * rounds / PIECES;
        atomic_fetch_add_explicit(sum, (int64_t)loop(own), memory_order_relaxed);
    });
    return (double)total;
}

uint64_t mk_peak_read(const mk_context *ctx, const void *data, size_t bytes) {
    enum { STRETCH = 1 << 20, LINE = 64, AHEAD = 4096 };
    const uint8_t *p = data;
    const int64_t stretches = mk_ceil_div((int64_t)bytes, STRETCH);
    _Atomic uint64_t total = 0, *const all = &total;
    mk_for(ctx, INFINITY, stretches, ^(int64_t s) {
        uint64_t sum = 0;
        const size_t end = (size_t)mk_min((s + 1) * STRETCH, (int64_t)bytes);
        mk_u16 lines = 0;
        size_t i = (size_t)s * STRETCH;
        for (; i + LINE <= end; i += LINE) {
            __builtin_prefetch(p + i + AHEAD, 0, 3);
            mk_u16 line;
            memcpy(&line, p + i, LINE);
            lines += line;
        }
        for (; i < end; i++) lines[0] += p[i];
        for (int lane = 0; lane < 16; lane++) sum += lines[lane];
        atomic_fetch_add_explicit(all, sum, memory_order_relaxed);
    });
    return total;
}
