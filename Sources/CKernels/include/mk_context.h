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

/// What a driver runs on. Copyable, immutable.
typedef struct mk_context {
    const mk_isa *isa;
    int32_t threads;  ///< OpenMP threads, 1 to MK_MAX_THREADS
} mk_context;

#define MK_MAX_THREADS 1024

/// True if so many threads, this one among them, can live at once: limits of processes and of address space leave room.
bool mk_threads_available(int32_t threads);
/// Starts the threads that drivers on so many will use, before they are needed. False if the system does not give them
/// (limits of processes or of address space): a driver that needs them then would end the process.
bool mk_start_threads(int32_t threads);

/// Precision of the product with a quantized weight.
enum {
    MK_COMPUTE_F32 = 0,
    MK_COMPUTE_BF16 = 1,  ///< on the paths whose CPUs have bf16 dot products
    MK_COMPUTE_INT8 = 2,
};

/// True if this path implements that precision.
bool mk_compute_available(const mk_isa *isa, int32_t compute);

#endif
