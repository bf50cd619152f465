/// The threads that drivers run on. A system that has no room for them is found out here: OpenMP would end the process.
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/mman.h>

#include "isa.h"

/// Waits until all the others have been made: only threads that live at once show that there is room for them.
static void *wait_at(void *gate) {
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

bool mk_threads_available(int32_t threads) {
    if (threads <= 1) return true;
    // What OpenMP and the C library take beside the stacks.
    enum { RESERVE = 32 << 20 };
    void *reserve = mmap(NULL, RESERVE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserve == MAP_FAILED) return false;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t made[MK_MAX_THREADS];
    const int32_t wanted = (int32_t)mk_min(threads, MK_MAX_THREADS) - 1;
    int32_t count = 0;
    pthread_mutex_lock(&gate);
    while (count < wanted && pthread_create(&made[count], NULL, wait_at, &gate) == 0) count++;
    pthread_mutex_unlock(&gate);
    for (int32_t i = 0; i < count; i++) pthread_join(made[i], NULL);
    munmap(reserve, RESERVE);
    return count == wanted;
}

bool mk_start_threads(int32_t threads) {
    if (!mk_threads_available(threads)) return false;
    // OpenMP keeps the threads of its first region for the later ones.
    mk_counter started = 0;
#pragma omp parallel num_threads(threads)
    mk_next(&started);
    return true;
}
