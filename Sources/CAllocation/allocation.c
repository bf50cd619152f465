/// malloc and its family as glibc has them, with an end of the process that says what was missing. The symbols are
/// weak: a test that counts allocations has its own.
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "CAllocation.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif

#if defined(__GLIBC__) && !defined(HAS_SANITIZER)

#include <malloc.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

// malloc reaches nothing but globals; they are set once, as the process begins.
static _Atomic(const char *) line_prefix;
static atomic_int exit_status;

void allocation_failure_ends_process(const char *prefix, int status) {
    atomic_store(&exit_status, status);
    atomic_store(&line_prefix, prefix);
}

/// Writes the line without any memory, and ends the process.
static void end(const char *prefix, size_t size) {
    static const char before[] = "the system has no memory for ";
    static const char after[] = " bytes more (see the limits of memory, `ulimit -v` and `ulimit -d`)\n";
    char line[512], digits[24];
    size_t length = strnlen(prefix, 256), count = 0;
    memcpy(line, prefix, length);
    memcpy(line + length, before, sizeof before - 1);
    length += sizeof before - 1;
    do {
        digits[count++] = (char)('0' + size % 10);
        size /= 10;
    } while (size > 0);
    while (count > 0) line[length++] = digits[--count];
    memcpy(line + length, after, sizeof after - 1);
    length += sizeof after - 1;
    const ssize_t written = write(STDERR_FILENO, line, length);
    (void)written;
    _exit(atomic_load(&exit_status));
}

void allocation_release_freed(void) {
    malloc_trim(0);
}

static void *checked(void *block, size_t size) {
    if (block != NULL || size == 0) return block;
    const char *prefix = atomic_load_explicit(&line_prefix, memory_order_relaxed);
    if (prefix != NULL) end(prefix, size);
    errno = ENOMEM;
    return NULL;
}

__attribute__((weak)) void *malloc(size_t size) {
    return checked(__libc_malloc(size), size);
}

__attribute__((weak)) void *calloc(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) bytes = SIZE_MAX;
    return checked(__libc_calloc(count, size), bytes);
}

__attribute__((weak)) void *realloc(void *block, size_t size) {
    return checked(__libc_realloc(block, size), size);
}

__attribute__((weak)) void *memalign(size_t alignment, size_t size) {
    return checked(__libc_memalign(alignment, size), size);
}

__attribute__((weak)) void *aligned_alloc(size_t alignment, size_t size) {
    return checked(__libc_memalign(alignment, size), size);
}

__attribute__((weak)) int posix_memalign(void **block, size_t alignment, size_t size) {
    if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) return EINVAL;
    void *memory = checked(__libc_memalign(alignment, size), size);
    if (memory == NULL) return ENOMEM;
    *block = memory;
    return 0;
}

#else

void allocation_failure_ends_process(const char *prefix, int status) {
    (void)prefix;
    (void)status;
}

void allocation_release_freed(void) {}

#endif
