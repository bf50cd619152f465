/// Instruction sets, threads, precisions (a family of CKernels.h).
#ifndef MERASER_MK_CONTEXT_H
#define MERASER_MK_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// One instruction set's table of micro-kernels (private to CKernels).
typedef struct mk_isa mk_isa;

/// The table of that name ("portable", "avx2", "avx512", ...), or the best this CPU has if `name` is NULL.
/// NULL if the name is unknown or the CPU lacks it.
const mk_isa *mk_isa_find(const char *name);
/// Its name.
const char *mk_isa_name(const mk_isa *isa);
/// Name number i (0...) of all the paths this build knows, best last; NULL at the end. For error messages and tests.
const char *mk_isa_known(int i);

/// Which CPU this is, as CPUID names it: what is fast differs between CPUs that have the same instructions.
typedef struct mk_cpu {
    char vendor[13];  ///< "GenuineIntel", "AuthenticAMD"; empty where the CPU does not say
    int32_t family;   ///< extended family included
    int32_t model;    ///< extended model included
} mk_cpu;

/// This CPU. On a hybrid one the kind of core that asks.
mk_cpu mk_cpu_identity(void);

#define MK_MAX_THREADS 1024

/// Threads that help the one which calls a driver. They are waited for only where they came to help: beside busy
/// processes a driver is never slower than its caller alone, but for the piece that a helper was stopped in.
typedef struct mk_pool mk_pool;

/// A pool of so many threads, the caller's among them (2 to MK_MAX_THREADS). NULL if the system does not give them
/// (limits of processes or of address space), and for fewer than 2.
mk_pool *mk_pool_start(int32_t threads);
/// Ends the threads of a pool that no driver uses any more. NULL: nothing.
void mk_pool_end(mk_pool *pool);
/// How many they are; 1 for NULL.
int32_t mk_pool_threads(const mk_pool *pool);

/// What a driver runs on. Copyable, immutable. Several threads may call drivers with the same one: one of them has the
/// pool, the others work alone meanwhile.
typedef struct mk_context {
    const mk_isa *isa;
    mk_pool *pool;  ///< NULL: the calling thread alone
} mk_context;

/// True if so many threads, this one among them, can live at once: limits of processes and of address space leave room.
bool mk_threads_available(int32_t threads);

/// Precision of the product with a quantized weight.
enum {
    MK_COMPUTE_F32 = 0,
    MK_COMPUTE_BF16 = 1,  ///< on the paths whose CPUs have bf16 dot products
    MK_COMPUTE_INT8 = 2,
};

/// True if this path implements that precision.
bool mk_compute_available(const mk_isa *isa, int32_t compute);

#endif
