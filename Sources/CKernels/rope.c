/// Rotary position embedding on half-split or neighbouring pairs of a head's first features.
#include "isa.h"

/// (x1, x2) -> (x1 c - x2 s, x2 c + x1 s); `sign` is -1 for the inverse rotation.
static void rotate_halves(float *x, int64_t half, const float *cos, const float *sin, float sign) {
    for (int64_t i = 0; i < half; i++) {
        const float a = x[i], b = x[half + i], s = sign * sin[i];
        x[i] = a * cos[i] - b * s;
        x[half + i] = b * cos[i] + a * s;
    }
}

static void rotate_neighbours(float *x, int64_t half, const float *cos, const float *sin, float sign) {
    for (int64_t i = 0; i < half; i++) {
        const float a = x[2 * i], b = x[2 * i + 1], s = sign * sin[i];
        x[2 * i] = a * cos[i] - b * s;
        x[2 * i + 1] = b * cos[i] + a * s;
    }
}

void mk_rope(const mk_context *ctx, float *x, int64_t ldx, int64_t tokens, const mk_rope_shape *shape,
             const int32_t *positions, const float *cos, const float *sin, bool inverse) {
    const int64_t half = shape->width / 2, heads = shape->heads, d = shape->head_dim;
    mk_for(ctx, (double)tokens * (double)(heads * d), tokens, ^(int64_t t) {
        const int64_t row = (int64_t)positions[t] * half;
        for (int64_t h = 0; h < heads; h++) {
            float *head = x + t * ldx + h * d;
            if (shape->interleaved) {
                rotate_neighbours(head, half, cos + row, sin + row, inverse ? -1 : 1);
            } else {
                rotate_halves(head, half, cos + row, sin + row, inverse ? -1 : 1);
            }
        }
    });
}
