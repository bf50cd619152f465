/// Rotary position embedding on half-split pairs.
#include "isa.h"

/// (x1, x2) -> (x1 c - x2 s, x2 c + x1 s); `sign` is -1 for the inverse rotation.
static void rotate_head(float *x, int64_t half, const float *cos, const float *sin, float sign) {
    for (int64_t i = 0; i < half; i++) {
        const float a = x[i], b = x[half + i], s = sign * sin[i];
        x[i] = a * cos[i] - b * s;
        x[half + i] = b * cos[i] + a * s;
    }
}

void mk_rope(const mk_context *ctx, float *x, int64_t ldx, int64_t tokens, int64_t heads, int64_t d,
             const int32_t *positions, const float *cos, const float *sin, bool inverse) {
    const int64_t half = d / 2;
    mk_counter next = 0;
    const int threads = mk_threads(ctx, (double)tokens * (double)(heads * d));
#pragma omp parallel num_threads(threads)
    for (int64_t t; (t = mk_next(&next)) < tokens;) {
        const int64_t row = (int64_t)positions[t] * half;
        for (int64_t h = 0; h < heads; h++) {
            rotate_head(x + t * ldx + h * d, half, cos + row, sin + row, inverse ? -1 : 1);
        }
    }
}
