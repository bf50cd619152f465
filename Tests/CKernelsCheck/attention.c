/// Attention, forward over pages of keys and values, and backward.
#include "check.h"

enum { SEQUENCES = 3 };

/// Sequences packed behind each other, the queries of each the last of its positions.
typedef struct batch {
    mk_attention_shape shape;
    int64_t lengths[SEQUENCES];  ///< positions of each sequence
    int64_t earlier[SEQUENCES];  ///< of these, in a first call
    int64_t tokens;
    float *q, *k, *v;  ///< of all positions, [tokens][ld]
} batch;

static int64_t start_of(const batch *b, int s) {
    int64_t start = 0;
    for (int i = 0; i < s; i++) start += b->lengths[i];
    return start;
}

/// The attention of query i of sequence s and head h: weights p[j] over its keys; returns the log-sum-exp.
static double weights_of(const batch *b, int s, int64_t i, int64_t h, double *p) {
    const mk_attention_shape *shape = &b->shape;
    const int64_t d = shape->head_dim, first = start_of(b, s), g = h / (shape->heads / shape->kv_heads);
    const int64_t lo = shape->window > 0 && i + 1 > shape->window ? i + 1 - shape->window : 0;
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j <= i; j++) {
        p[j] = -INFINITY;
        if (j < lo) continue;
        double score = 0;
        for (int64_t c = 0; c < d; c++) {
            score += (double)b->q[(first + i) * shape->ldq + h * d + c] *
                     (double)b->k[(first + j) * shape->ldkv + g * d + c];
        }
        p[j] = score * (double)shape->scale;
        largest = fmax(largest, p[j]);
    }
    for (int64_t j = 0; j <= i; j++) sum += exp(p[j] - largest);
    for (int64_t j = 0; j <= i; j++) p[j] = exp(p[j] - largest) / sum;
    return largest + log(sum);
}

static void check_outputs(const batch *b, const float *out, const float *lse, double tolerance) {
    const mk_attention_shape *shape = &b->shape;
    const int64_t d = shape->head_dim, heads = shape->heads;
    double *p = malloc(1024 * sizeof(double));
    for (int s = 0; s < SEQUENCES; s++) {
        const int64_t first = start_of(b, s);
        for (int64_t i = 0; i < b->lengths[s]; i++) {
            for (int64_t h = 0; h < heads; h++) {
                const double norm = weights_of(b, s, i, h, p);
                const double got = (double)lse[(first + i) * heads + h];
                EXPECT(fabs(got - norm) <= 4 * tolerance * (1 + fabs(norm)), "lse is %g, expected %g", got, norm);
                const int64_t g = h / (heads / shape->kv_heads);
                for (int64_t c = 0; c < d; c++) {
                    double want = 0, size = 0;
                    for (int64_t j = 0; j <= i; j++) {
                        const double term = p[j] * (double)b->v[(first + j) * shape->ldkv + g * d + c];
                        want += term;
                        size += fabs(term);
                    }
                    const double value = (double)out[(first + i) * shape->ldq + h * d + c];
                    EXPECT(fabs(value - want) <= 8 * tolerance * (size + 0.05),
                           "out[%lld] of sequence %d is %g, expected %g", (long long)i, s, value, want);
                }
            }
        }
    }
    free(p);
}

/// The earlier positions of each sequence in one call, or the later ones.
static void forward(const mk_context *ctx, const batch *b, bool is_later, void **const *pages, float *out, float *lse) {
    mk_attention_keys seqs[SEQUENCES];
    for (int s = 0; s < SEQUENCES; s++) {
        const int64_t from = is_later ? b->earlier[s] : 0, to = is_later ? b->lengths[s] : b->earlier[s];
        const int64_t row = start_of(b, s) + from;
        seqs[s] = (mk_attention_keys){row, to - from, row, to - from, to, pages[s]};
    }
    void *workspace = NULL;
    const size_t bytes = mk_attention_workspace(&b->shape, seqs, SEQUENCES);
    if (bytes > 0 && posix_memalign(&workspace, 64, bytes) != 0) abort();
    mk_attention_forward(ctx, &b->shape, seqs, SEQUENCES, b->q, b->k, b->v, out, lse, workspace);
    free(workspace);
}

/// In f32 element by element; bf16 rounds every factor by up to 2^-9 and the scores' errors come on top, so there the
/// whole is compared, relative to its size or that of the terms where these cancel.
static void compare_gradient(int32_t type, const char *name, const float *got, int64_t rows, int64_t columns,
                             int64_t ld, const double *want) {
    double error = 0, size = 0;
    for (int64_t t = 0; t < rows; t++) {
        for (int64_t c = 0; c < columns; c++) {
            const double x = (double)got[t * ld + c], y = want[t * columns + c];
            error += (x - y) * (x - y);
            size += y * y;
            if (type == MK_F32) EXPECT(fabs(x - y) <= 1e-4 * (1 + fabs(y)), "%s is %g, expected %g", name, x, y);
        }
    }
    const double bound = 0x1p-6 * fmax(sqrt(size), 0.3 * sqrt((double)(rows * columns)));
    EXPECT(sqrt(error) <= bound, "%s is off by %g, expected %g at most", name, sqrt(error), bound);
}

static void check_gradients(const mk_context *ctx, batch *b, const float *out, const float *lse) {
    const mk_attention_shape *shape = &b->shape;
    const int64_t d = shape->head_dim, heads = shape->heads, width = heads * d, kv_width = shape->kv_heads * d;
    float *dout = matrix(b->tokens, width, shape->ldq, 1), *dq = matrix(b->tokens, width, shape->ldq, 1);
    float *dk = matrix(b->tokens, kv_width, shape->ldkv, 1), *dv = matrix(b->tokens, kv_width, shape->ldkv, 1);
    mk_attention_sequence seqs[SEQUENCES];
    for (int s = 0; s < SEQUENCES; s++) {
        const int64_t first = start_of(b, s), at = first * shape->ldkv;
        seqs[s] = (mk_attention_sequence){first, b->lengths[s], b->lengths[s], b->k + at, b->v + at, dk + at, dv + at};
    }
    mk_attention_backward(ctx, shape, seqs, SEQUENCES, b->q, out, lse, dout, dq);
    EXPECT(touched_gaps(dq, b->tokens, width, shape->ldq) == 0, "the gap behind a row of dq was written");
    EXPECT(touched_gaps(dk, b->tokens, kv_width, shape->ldkv) == 0, "the gap behind a row of dk was written");
    EXPECT(touched_gaps(dv, b->tokens, kv_width, shape->ldkv) == 0, "the gap behind a row of dv was written");
    double *want_q = calloc((size_t)(b->tokens * width), sizeof(double));
    double *want_k = calloc((size_t)(b->tokens * kv_width), sizeof(double));
    double *want_v = calloc((size_t)(b->tokens * kv_width), sizeof(double)), *p = malloc(1024 * sizeof(double));
    for (int s = 0; s < SEQUENCES; s++) {
        const int64_t first = start_of(b, s);
        for (int64_t i = 0; i < b->lengths[s]; i++) {
            for (int64_t h = 0; h < heads; h++) {
                const int64_t g = h / (heads / shape->kv_heads), row = first + i;
                weights_of(b, s, i, h, p);
                const float *gradient = dout + row * shape->ldq + h * d, *q = b->q + row * shape->ldq + h * d;
                double mean = 0;
                for (int64_t j = 0; j <= i; j++) {
                    for (int64_t c = 0; c < d; c++) {
                        mean += p[j] * (double)gradient[c] * (double)b->v[(first + j) * shape->ldkv + g * d + c];
                    }
                }
                for (int64_t j = 0; j <= i; j++) {
                    const int64_t at = (first + j) * shape->ldkv + g * d, to = (first + j) * kv_width + g * d;
                    double dot = 0;
                    for (int64_t c = 0; c < d; c++) dot += (double)gradient[c] * (double)b->v[at + c];
                    const double ds = p[j] * (dot - mean) * (double)shape->scale;
                    for (int64_t c = 0; c < d; c++) {
                        want_v[to + c] += p[j] * (double)gradient[c];
                        want_k[to + c] += ds * (double)q[c];
                        want_q[row * width + h * d + c] += ds * (double)b->k[at + c];
                    }
                }
            }
        }
    }
    compare_gradient(shape->kv_type, "dq", dq, b->tokens, width, shape->ldq, want_q);
    compare_gradient(shape->kv_type, "dk", dk, b->tokens, kv_width, shape->ldkv, want_k);
    compare_gradient(shape->kv_type, "dv", dv, b->tokens, kv_width, shape->ldkv, want_v);
    free(want_q);
    free(want_k);
    free(want_v);
    free(p);
    release(dout);
    release(dq);
    release(dk);
    release(dv);
}

static void check_pages(const mk_context *ctx, batch *b, int32_t type) {
    const mk_attention_shape *shape = &b->shape;
    b->shape.kv_type = type;
    // Two layers' parts in each page, of which the second is used.
    const size_t part = mk_attention_page_bytes(type, shape->kv_heads, shape->head_dim);
    b->shape.page_offset = (int64_t)part;
    void **pages[SEQUENCES];
    for (int s = 0; s < SEQUENCES; s++) {
        const int64_t count = (b->lengths[s] + MK_PAGE_KEYS - 1) / MK_PAGE_KEYS;
        pages[s] = malloc((size_t)count * sizeof(void *));
        for (int64_t i = 0; i < count; i++) {
            if (posix_memalign(&pages[s][i], 64, 2 * part) != 0) abort();
            memset(pages[s][i], 0xFF, 2 * part);
        }
    }
    const int64_t width = shape->heads * shape->head_dim;
    float *out = matrix(b->tokens, width, shape->ldq, 1), *lse = matrix(1, b->tokens * shape->heads, 1 << 20, 1);
    forward(ctx, b, false, pages, out, lse);
    forward(ctx, b, true, pages, out, lse);
    EXPECT(touched_gaps(out, b->tokens, width, shape->ldq) == 0, "the gap behind a row of out was written");
    check_outputs(b, out, lse, type == MK_BF16 ? 0x1p-8 : 2e-6);
    for (int s = 0; s < SEQUENCES; s++) {
        for (int64_t i = 0; i < (b->lengths[s] + MK_PAGE_KEYS - 1) / MK_PAGE_KEYS; i++) {
            const uint8_t *page = pages[s][i];
            for (size_t at = 0; at < part; at++) EXPECT(page[at] == 0xFF, "another layer's part of a page was written");
            free(pages[s][i]);
        }
        free(pages[s]);
    }
    check_gradients(ctx, b, out, lse);
    release(out);
    release(lse);
}

void check_attention(const mk_context *ctx) {
    const struct {
        int64_t heads, kv_heads, head_dim, window, gap, lengths[SEQUENCES], earlier[SEQUENCES];
    } cases[] = {
        {1, 1, 1, 0, 0, {1, 2, 3}, {0, 1, 3}},         {4, 2, 24, 0, 3, {67, 1, 33}, {64, 0, 5}},
        {3, 3, 32, 7, 1, {40, 5, 130}, {1, 0, 129}},   {40, 1, 3, 0, 0, {19, 65, 1}, {18, 64, 0}},
        {2, 2, 17, 64, 5, {97, 64, 128}, {0, 64, 64}}, {1, 1, 256, 0, 0, {35, 1, 2}, {34, 0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CASE("%s attention, case %zu, threads %d", mk_isa_name(ctx->isa), i, mk_pool_threads(ctx->pool));
        const int64_t width = cases[i].heads * cases[i].head_dim, kv_width = cases[i].kv_heads * cases[i].head_dim;
        batch b = {.shape = {.heads = cases[i].heads,
                             .kv_heads = cases[i].kv_heads,
                             .head_dim = cases[i].head_dim,
                             .ldq = width + cases[i].gap,
                             .ldkv = kv_width + cases[i].gap,
                             .window = cases[i].window,
                             .scale = 1 / sqrtf((float)cases[i].head_dim)}};
        for (int s = 0; s < SEQUENCES; s++) {
            b.lengths[s] = cases[i].lengths[s];
            b.earlier[s] = cases[i].earlier[s];
            b.tokens += b.lengths[s];
        }
        b.q = matrix(b.tokens, width, b.shape.ldq, 1);
        b.k = matrix(b.tokens, kv_width, b.shape.ldkv, 1);
        b.v = matrix(b.tokens, kv_width, b.shape.ldkv, 1);
        check_pages(ctx, &b, MK_F32);
        check_pages(ctx, &b, MK_BF16);
        release(b.q);
        release(b.k);
        release(b.v);
    }
}
