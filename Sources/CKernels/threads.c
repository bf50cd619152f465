/// The threads that drivers run on: helpers that come when they can.
///
/// A caller opens a job, does it as if it were alone, closes it, and waits for those who came to help, never for those
/// who did not: on a core that others keep busy a helper may come too late, and then the caller has done its share. Who
/// computes a piece never changes what it gives. A helper that was stopped inside has to be waited for: where that
/// takes longer than there was help before, the caller goes on alone for a while. Between jobs helpers look for the
/// next one for a while, because within a step of a model they follow each other in microseconds, then sleep.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "isa.h"

enum {
    INSIDE = 0x7ff,            ///< bits of `state`: how many helpers are inside the job
    OPEN = 0x800,              ///< helpers may come in
    JOB = 0x1000,              ///< the lowest bit of the job's number
    GLANCES = 4000,            ///< that a helper, or who waits for helpers, takes before it sleeps: 0.05 to 0.2 ms
    ALONE = 8,                 ///< times what a wait took the caller goes on alone
    STACK_BYTES = 4 << 20,     ///< of a helper: drivers keep panels there
    RESERVE_BYTES = 32 << 20,  ///< of address space that the C library wants beside the stacks
};

typedef struct helper {
    struct mk_pool *pool;
    int32_t number;
    pthread_t thread;
} helper;

struct mk_pool {
    int32_t threads;  ///< the caller's among them
    atomic_flag is_taken;
    int64_t alone_until;         ///< nanoseconds; the caller's, as the next one
    int64_t helped_since;        ///< when the helpers were let in again
    _Atomic uint32_t state;      ///< INSIDE, OPEN and the number of the job
    _Atomic bool helpers_sleep;  ///< perhaps; written under the mutex
    _Atomic bool caller_sleeps;  ///< written under the mutex
    _Atomic bool is_ending;      ///< written under the mutex
    void (^body)(int32_t thread);
    pthread_mutex_t mutex;
    pthread_cond_t opened, left;
    helper helpers[];
};

static void glance(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

/// True if the state is that of an open job that this helper has not been in.
static bool is_new(uint32_t state, uint32_t last) {
    return (state & OPEN) != 0 && state / JOB != last;
}

/// Waits for a job, and goes in. False at the pool's end.
static bool enter(mk_pool *pool, uint32_t *last) {
    for (;;) {
        uint32_t state = atomic_load(&pool->state);
        for (int i = 0; i < GLANCES && !is_new(state, *last); i++) {
            glance();
            state = atomic_load_explicit(&pool->state, memory_order_relaxed);
        }
        if (!is_new(state, *last)) {
            pthread_mutex_lock(&pool->mutex);
            for (;;) {
                atomic_store(&pool->helpers_sleep, true);
                state = atomic_load(&pool->state);
                if (is_new(state, *last) || atomic_load(&pool->is_ending)) break;
                pthread_cond_wait(&pool->opened, &pool->mutex);
            }
            pthread_mutex_unlock(&pool->mutex);
        }
        if (atomic_load(&pool->is_ending)) return false;
        // Only into the job that was seen: another one may have come, or this one may be over.
        while (is_new(state, *last)) {
            if (atomic_compare_exchange_weak(&pool->state, &state, state + 1)) {
                *last = state / JOB;
                return true;
            }
        }
    }
}

static void leave(mk_pool *pool) {
    const uint32_t before = atomic_fetch_sub(&pool->state, 1);
    if ((before & (INSIDE | OPEN)) != 1 || !atomic_load(&pool->caller_sleeps)) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_signal(&pool->left);
    pthread_mutex_unlock(&pool->mutex);
}

static void *help(void *argument) {
    const helper *self = argument;
    uint32_t last = 0;
    while (enter(self->pool, &last)) {
        self->pool->body(self->number);
        leave(self->pool);
    }
    return NULL;
}

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/// True if helpers cost more than they brought, not long ago.
static bool is_alone(mk_pool *pool) {
    if (pool->alone_until == 0) return false;
    if (nanoseconds() < pool->alone_until) return true;
    pool->alone_until = 0;
    return false;
}

/// Waits until nobody is inside.
static void wait_for_helpers(mk_pool *pool) {
    for (int i = 0; i < GLANCES; i++) {
        if ((atomic_load(&pool->state) & INSIDE) == 0) return;
        glance();
    }
    const int64_t start = nanoseconds();
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, true);
    while ((atomic_load(&pool->state) & INSIDE) != 0) pthread_cond_wait(&pool->left, &pool->mutex);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->mutex);
    const int64_t end = nanoseconds(), lost = end - start;
    const bool was_worth_it = start - pool->helped_since > lost;
    pool->alone_until = was_worth_it ? 0 : end + ALONE * lost;
    pool->helped_since = was_worth_it ? end : pool->alone_until;
}

void mk_share(const mk_context *ctx, double operations, MK_LENT void (^body)(int32_t thread)) {
    mk_pool *pool = ctx->pool;
    // A job that begins within another one, or beside it on another thread, is done by who begins it.
    if (pool == NULL || operations < MK_SHARED_OPERATIONS || atomic_flag_test_and_set(&pool->is_taken)) {
        body(0);
        return;
    }
    if (is_alone(pool)) {
        body(0);
        atomic_flag_clear(&pool->is_taken);
        return;
    }
    pool->body = body;
    const uint32_t number = atomic_load_explicit(&pool->state, memory_order_relaxed) / JOB + 1;
    atomic_store(&pool->state, number * JOB | OPEN);
    if (atomic_load(&pool->helpers_sleep)) {
        pthread_mutex_lock(&pool->mutex);
        atomic_store(&pool->helpers_sleep, false);
        pthread_cond_broadcast(&pool->opened);
        pthread_mutex_unlock(&pool->mutex);
    }
    body(0);
    atomic_fetch_and(&pool->state, ~(uint32_t)OPEN);
    wait_for_helpers(pool);
    atomic_flag_clear(&pool->is_taken);
}

void mk_for(const mk_context *ctx, double operations, int64_t pieces, MK_LENT void (^body)(int64_t piece)) {
    if (pieces <= 1 || ctx->pool == NULL || operations < MK_SHARED_OPERATIONS) {
        for (int64_t piece = 0; piece < pieces; piece++) body(piece);
        return;
    }
    // A few neighbouring pieces at a time, fewer as the end comes near: an atomic operation on a line that several
    // cores want costs as much as a piece of 2 KB.
    const int64_t shares = 4 * ctx->pool->threads;
    _Atomic int64_t begun = 0, *const next = &begun;
    // By its address: a block that holds a block would want the runtime library of blocks.
    void (^const *run)(int64_t) = &body;
    mk_share(ctx, operations, ^(int32_t thread) {
        (void)thread;
        for (int64_t first = atomic_load_explicit(next, memory_order_relaxed); first < pieces;) {
            const int64_t end = first + mk_max(1, (pieces - first) / shares);
            if (!atomic_compare_exchange_weak_explicit(next, &first, end, memory_order_relaxed, memory_order_relaxed)) {
                continue;
            }
            for (int64_t piece = first; piece < end; piece++) (*run)(piece);
            first = atomic_load_explicit(next, memory_order_relaxed);
        }
    });
}

void mk_for_spans(const mk_context *ctx, double operations, int64_t n, int64_t span,
                  MK_LENT void (^body)(int64_t start, int64_t count)) {
    void (^const *run)(int64_t, int64_t) = &body;
    mk_for(ctx, operations, mk_ceil_div(n, span), ^(int64_t piece) {
        (*run)(piece * span, mk_min(span, n - piece * span));
    });
}

mk_pool *mk_pool_start(int32_t threads) {
    if (threads < 2 || threads > MK_MAX_THREADS) return NULL;
    mk_pool *pool = calloc(1, sizeof *pool + (size_t)(threads - 1) * sizeof(helper));
    if (pool == NULL) return NULL;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->opened, NULL);
    pthread_cond_init(&pool->left, NULL);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    for (pool->threads = 1; pool->threads < threads; pool->threads++) {
        helper *h = pool->helpers + pool->threads - 1;
        *h = (helper){.pool = pool, .number = pool->threads};
        if (pthread_create(&h->thread, &attributes, help, h) != 0) break;
    }
    pthread_attr_destroy(&attributes);
    if (pool->threads == threads) return pool;
    mk_pool_end(pool);
    return NULL;
}

void mk_pool_end(mk_pool *pool) {
    if (pool == NULL) return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->is_ending, true);
    pthread_cond_broadcast(&pool->opened);
    pthread_mutex_unlock(&pool->mutex);
    for (int32_t i = 0; i < pool->threads - 1; i++) pthread_join(pool->helpers[i].thread, NULL);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->opened);
    pthread_cond_destroy(&pool->left);
    free(pool);
}

int32_t mk_pool_threads(const mk_pool *pool) {
    return pool == NULL ? 1 : pool->threads;
}

/// Waits until all the others have been made: only threads that live at once show that there is room for them.
static void *wait_at(void *gate) {
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

bool mk_threads_available(int32_t threads) {
    if (threads <= 1) return true;
    void *reserve =
        mmap(NULL, RESERVE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserve == MAP_FAILED) return false;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t made[MK_MAX_THREADS];
    const int32_t wanted = (int32_t)mk_min(threads, MK_MAX_THREADS) - 1;
    int32_t count = 0;
    pthread_mutex_lock(&gate);
    while (count < wanted && pthread_create(&made[count], NULL, wait_at, &gate) == 0) count++;
    pthread_mutex_unlock(&gate);
    for (int32_t i = 0; i < count; i++) pthread_join(made[i], NULL);
    munmap(reserve, RESERVE_BYTES);
    return count == wanted;
}
