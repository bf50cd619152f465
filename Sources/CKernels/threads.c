/// The threads that drivers run on. A system that has no room for them is found out here: OpenMP would end the process.
#include <pthread.h>

#include "isa.h"

/// Waits until all the others have been made: only threads that live at once show that there is room for them.
static void *wait_at(void *gate) {
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

bool mk_start_threads(int32_t threads) {
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t made[MK_MAX_THREADS];
    const int32_t wanted = (int32_t)mk_min(threads, MK_MAX_THREADS) - 1;
    int32_t count = 0;
    pthread_mutex_lock(&gate);
    while (count < wanted && pthread_create(&made[count], NULL, wait_at, &gate) == 0) count++;
    pthread_mutex_unlock(&gate);
    for (int32_t i = 0; i < count; i++) pthread_join(made[i], NULL);
    if (count < wanted) return false;
    // OpenMP keeps the threads of its first region for the later ones.
    mk_counter started = 0;
#pragma omp parallel num_threads(threads)
    mk_next(&started);
    return true;
}
