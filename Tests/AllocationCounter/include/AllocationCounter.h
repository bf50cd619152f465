/// Counts heap allocations: in a test program that links this, malloc and its kin are wrappers around glibc's.
#ifndef ALLOCATION_COUNTER_H
#define ALLOCATION_COUNTER_H

#include <stdbool.h>

/// True where counting works: with glibc, and without a sanitizer that brings its own allocator.
bool allocation_counter_works(void);
/// Counts from now on the heap blocks that the calling thread asks for.
void allocation_counter_start(void);
/// Stops counting; the number of blocks since the start.
long allocation_counter_stop(void);

#endif
