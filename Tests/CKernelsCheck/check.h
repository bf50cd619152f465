/// What the checks of the C kernels share: guarded buffers, seeded numbers, comparisons.
///
/// The checks call every kernel family in odd shapes on every path of the CPU and compare with plain double-precision
/// loops. Built with AddressSanitizer (`make asan`), every buffer ends where it ends; built without (`make cross`, for
/// CPUs that are emulated), canaries lie around it. Gaps between rows hold NaNs, so that reading them shows in the
/// results.
#ifndef MERASER_CHECK_H
#define MERASER_CHECK_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "CKernels.h"

/// A failed expectation is printed with the case it belongs to and counted.
extern int check_failures;
extern char check_case[256];
#define EXPECT(condition, ...)                                                              \
    do {                                                                                    \
        if (!(condition) && check_failures++ < 50) {                                        \
            fprintf(stderr, "%s:%d [%s] %s: ", __FILE__, __LINE__, check_case, #condition); \
            fprintf(stderr, __VA_ARGS__);                                                   \
            fputc('\n', stderr);                                                            \
        }                                                                                   \
    } while (0)
/// Names what is checked from here on.
#define CASE(...) snprintf(check_case, sizeof check_case, __VA_ARGS__)

/// A buffer of exactly `bytes` bytes, aligned to 4 but not to 8; freed by `release`, which looks at the canaries.
void *guarded(size_t bytes);
void release(void *buffer);

/// `rows` rows of `cols` floats, row distance `ld`, with Gaussian values of that spread; gaps hold NaNs.
float *matrix(int64_t rows, int64_t cols, int64_t ld, double spread);
/// Counts the gaps of such a matrix that no longer hold the NaN of `matrix`.
int64_t touched_gaps(const float *m, int64_t rows, int64_t cols, int64_t ld);

/// A Gaussian number; a uniform one below n. The sequence starts anew with `seed`.
void seed(uint64_t value);
double gaussian(void);
int64_t below(int64_t n);

/// A weight of that type with Gaussian values, quantized where the type demands it, and its exact fp32 values.
typedef struct weight {
    mk_matrix matrix;
    float *values;  ///< [rows][cols]
    void *data;
} weight;
weight make_weight(int32_t type, int64_t rows, int64_t cols);
void free_weight(weight *w);

extern const int32_t check_types[11];
/// So many columns, or more where the type's tiles are wider.
int64_t whole_tiles(int32_t type, int64_t cols);
/// The name of a type.
const char *type_name(int32_t type);

void check_weights(void);
void check_linear(const mk_context *ctx);
void check_backward(const mk_context *ctx);
void check_lowrank(const mk_context *ctx);
void check_layers(const mk_context *ctx);
void check_attention(const mk_context *ctx);
void check_training(const mk_context *ctx);
void check_feedback(const mk_context *ctx);

#endif
