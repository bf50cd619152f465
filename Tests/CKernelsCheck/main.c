/// Runs every check on every path that this CPU has, with one thread and with three.
#include "check.h"

int check_failures = 0;
char check_case[256] = "";

enum { MARGIN = 256, CANARY = 0xA5 };

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif

/// In front of each buffer: where its memory begins and how long it is.
typedef struct header {
    void *memory;
    size_t bytes;
} header;

#ifdef HAS_ASAN
// The sanitizer's red zones lie around each block, to the byte at its end.
void *guarded(size_t bytes) {
    uint8_t *memory = malloc(sizeof(header) + 4 + bytes);
    if (memory == NULL) abort();
    const header h = {memory, bytes};
    memcpy(memory + 4, &h, sizeof h);
    return memory + sizeof(header) + 4;
}

void release(void *buffer) {
    header h;
    if (buffer == NULL) return;
    memcpy(&h, (uint8_t *)buffer - sizeof h, sizeof h);
    free(h.memory);
}
#else
void *guarded(size_t bytes) {
    uint8_t *memory = malloc(sizeof(header) + 2 * MARGIN + 4 + bytes);
    if (memory == NULL) abort();
    const header h = {memory, bytes};
    memset(memory, CANARY, sizeof(header) + 2 * MARGIN + 4 + bytes);
    memcpy(memory, &h, sizeof h);
    return memory + sizeof(header) + MARGIN + 4;
}

void release(void *buffer) {
    if (buffer == NULL) return;
    const uint8_t *p = buffer;
    header h;
    const uint8_t *start = p - MARGIN - 4 - sizeof h;
    memcpy(&h, start, sizeof h);
    EXPECT(h.memory == start, "the header in front of a buffer is damaged");
    if (h.memory != start) return;
    for (int i = 0; i < MARGIN; i++) {
        EXPECT(p[-1 - i] == CANARY, "byte %d in front of a buffer of %zu was written", -1 - i, h.bytes);
        EXPECT(p[h.bytes + (size_t)i] == CANARY, "byte %d behind a buffer of %zu was written", i, h.bytes);
    }
    free(h.memory);
}
#endif

static uint64_t state;

void seed(uint64_t value) {
    state = value * 0x9E3779B97F4A7C15u + 1;
}

static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

double gaussian(void) {
    const double a = ((double)(next() >> 11) + 0.5) / 9007199254740992.0;
    const double b = ((double)(next() >> 11) + 0.5) / 9007199254740992.0;
    return sqrt(-2 * log(a)) * cos(6.283185307179586 * b);
}

int64_t below(int64_t n) {
    return (int64_t)(next() % (uint64_t)n);
}

static uint32_t gap_bits(void) {
    return 0x7fc0dead;
}

float *matrix(int64_t rows, int64_t cols, int64_t ld, double spread) {
    const int64_t count = rows == 0 ? 0 : (rows - 1) * ld + cols;
    float *m = guarded((size_t)count * sizeof(float));
    const uint32_t gap = gap_bits();
    for (int64_t i = 0; i < count; i++) {
        const float value = (float)(spread * gaussian());
        memcpy(m + i, i % ld < cols ? (const void *)&value : (const void *)&gap, sizeof *m);
    }
    return m;
}

int64_t touched_gaps(const float *m, int64_t rows, int64_t cols, int64_t ld) {
    int64_t count = 0;
    const uint32_t gap = gap_bits();
    for (int64_t i = 0; i < (rows - 1) * ld + cols; i++)
        count += i % ld >= cols && memcmp(m + i, &gap, sizeof gap) != 0;
    return count;
}

const int32_t check_types[11] = {MK_F32, MK_F16,  MK_BF16, MK_Q8_0, MK_Q4_0, MK_IQ4_NL,
                                 MK_NF4, MK_Q4_1, MK_Q4_K, MK_Q5_K, MK_Q6_K};

const char *type_name(int32_t type) {
    switch (type) {
        case MK_F32:
            return "f32";
        case MK_F16:
            return "f16";
        case MK_BF16:
            return "bf16";
        case MK_Q8_0:
            return "q8_0";
        case MK_Q4_0:
            return "q4_0";
        case MK_IQ4_NL:
            return "iq4_nl";
        case MK_Q4_1:
            return "q4_1";
        case MK_Q4_K:
            return "q4_k";
        case MK_Q5_K:
            return "q5_k";
        case MK_Q6_K:
            return "q6_k";
        default:
            return "nf4";
    }
}

int64_t whole_tiles(int32_t type, int64_t cols) {
    const int64_t width = mk_type_is_tiled(type) ? mk_tile_columns(type) : 1;
    return (cols + width - 1) / width * width;
}

weight make_weight(int32_t type, int64_t rows, int64_t cols) {
    weight w;
    float *source = matrix(rows, cols, cols, 0.05);
    w.data = guarded(mk_matrix_bytes(type, rows, cols));
    mk_quantize(type, source, rows, cols, w.data);
    release(source);
    w.matrix = (mk_matrix){type, rows, cols, w.data};
    w.values = guarded((size_t)(rows * cols) * sizeof(float));
    mk_dequantize(&w.matrix, 0, rows, w.values);
    return w;
}

void free_weight(weight *w) {
    release(w->data);
    release(w->values);
}

/// All that blocks on the stack need of the runtime library of blocks, which Swift programs have.
void *_NSConcreteGlobalBlock[32];

int main(void) {
    CASE("weights");
    check_weights();
    for (int i = 0; mk_isa_known(i) != NULL; i++) {
        const mk_isa *isa = mk_isa_find(mk_isa_known(i));
        if (isa == NULL) {
            printf("%s: this CPU lacks it\n", mk_isa_known(i));
            continue;
        }
        const int before = check_failures;
        for (int32_t threads = 1; threads <= 3; threads += 2) {
            const mk_context ctx = {isa, mk_pool_start(threads)};
            seed(1);
            check_linear(&ctx);
            check_backward(&ctx);
            check_lowrank(&ctx);
            check_layers(&ctx);
            check_attention(&ctx);
            check_training(&ctx);
            check_feedback(&ctx);
            mk_pool_end(ctx.pool);
        }
        printf("%s: %s\n", mk_isa_name(isa), check_failures == before ? "ok" : "FAILED");
        fflush(stdout);
    }
    if (check_failures > 0) fprintf(stderr, "%d failures\n", check_failures);
    return check_failures > 0;
}
