/// Dropout whose mask is a function of what is dropped, not of when: packing and accumulation change nothing.
#include "isa.h"

/// The finaliser of SplitMix64: a bijection that mixes all bits.
static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void mk_add_noise(float *x, int64_t tokens, int64_t k, const float *magnitude, uint64_t seed, uint64_t step,
                  const int32_t *sample, const int32_t *position) {
#pragma STDC FP_CONTRACT OFF
    const uint64_t golden = 0x9E3779B97F4A7C15u;
    // The site of no module: the noise shares no number with a dropout.
    const uint64_t key = mix(mix(mix(seed + golden) + step + golden) + UINT32_MAX + golden);
    for (int64_t t = 0; t < tokens; t++) {
        const uint64_t row = mix(key + ((uint64_t)(uint32_t)sample[t] << 32) + (uint32_t)position[t] + golden);
        for (int64_t j = 0; j < k; j++) {
            // 23 bits centred in their interval: exact in fp32, never -1 or 1.
            const uint32_t bits = (uint32_t)(mix(row + (uint64_t)j * golden) >> 41);
            x[t * k + j] += magnitude[t] * (((float)bits + 0.5f) * (1.0f / 4194304.0f) - 1.0f);
        }
    }
}

void mk_dropout(const mk_context *ctx, const float *x, int64_t tokens, int64_t k, float p, uint64_t seed, uint64_t step,
                uint32_t site, const int32_t *sample, const int32_t *position, float *y, bool accumulate) {
    const uint64_t golden = 0x9E3779B97F4A7C15u;
    const uint64_t key = mix(mix(mix(seed + golden) + step + golden) + site + golden);
    const double cut = (double)p * 4294967296.0;
    const bool all = !(p < 1);
    const uint32_t threshold = all || cut >= 4294967295.0 ? UINT32_MAX : (uint32_t)cut;
    const float factor = all ? 0 : 1 / (1 - p);
    mk_for(ctx, (double)tokens * (double)k * 4, tokens, ^(int64_t t) {
        ctx->isa->dropout(x + t * k, k, key, (uint32_t)sample[t], (uint32_t)position[t], threshold, factor, y + t * k,
                          accumulate);
    });
}
