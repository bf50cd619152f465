#ifdef MERASER_MPI

// on_exit
#define _DEFAULT_SOURCE

#include "CMPI.h"

#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

// Debian has MPI's headers in a folder of its own below the standard one;
// elsewhere CPATH says where they are (`mpicc --showme:incdirs`).
#if __has_include(<mpi.h>)
#include <mpi.h>
#elif __has_include(<mpi/mpi.h>)
#include <mpi/mpi.h>
#else
#include <openmpi/mpi.h>
#endif

enum { PIECE = 1 << 30 };  // MPI counts in int

/// A message is sent on channel 0 as its length and its bytes.
enum { MESSAGES = 0 };

static void leave(int status, void *unused) {
    (void)unused;
    if (status != 0) MPI_Abort(MPI_COMM_WORLD, status);
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int other = 1; rank == 0 && other < size; other++) {
        const int64_t nothing = 0;
        MPI_Send(&nothing, sizeof nothing, MPI_BYTE, other, MESSAGES, MPI_COMM_WORLD);
    }
    MPI_Finalize();
}

int cmpi_join(cmpi_place *place) {
    int level;
    int error = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level);
    if (error != MPI_SUCCESS) return error;
    if (level < MPI_THREAD_SERIALIZED) return MPI_ERR_OTHER;
    on_exit(leave, NULL);
    MPI_Comm host;
    MPI_Comm_rank(MPI_COMM_WORLD, &place->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &place->size);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host);
    MPI_Comm_size(host, &place->on_host);
    MPI_Comm_free(&host);
    return 0;
}

typedef struct {
    int count;
    MPI_Request requests[];
} transfer;

static transfer *start(void *bytes, int64_t count, int rank, int channel, bool sends) {
    const int pieces = (int)((count + PIECE - 1) / PIECE);
    transfer *t = malloc(sizeof *t + (size_t)pieces * sizeof(MPI_Request));
    if (!t) abort();
    t->count = pieces;
    for (int i = 0; i < pieces; i++) {
        char *piece = (char *)bytes + (int64_t)i * PIECE;
        const int64_t rest = count - (int64_t)i * PIECE;
        const int length = rest < PIECE ? (int)rest : PIECE;
        if (sends) {
            MPI_Isend(piece, length, MPI_BYTE, rank, channel, MPI_COMM_WORLD, &t->requests[i]);
        } else {
            MPI_Irecv(piece, length, MPI_BYTE, rank, channel, MPI_COMM_WORLD, &t->requests[i]);
        }
    }
    return t;
}

void *cmpi_send(const void *bytes, int64_t count, int rank, int channel) {
    return start((void *)bytes, count, rank, channel, true);
}

void *cmpi_receive(void *bytes, int64_t count, int rank, int channel) {
    return start(bytes, count, rank, channel, false);
}

void cmpi_wait(void *opaque) {
    transfer *t = opaque;
    // Short at first, for what is on its way; a rank that has nothing to do
    // looks a thousand times a second.
    long pause = 5000;
    for (;;) {
        int done = 0;
        MPI_Testall(t->count, t->requests, &done, MPI_STATUSES_IGNORE);
        if (done) break;
        nanosleep(&(struct timespec){.tv_nsec = pause}, NULL);
        pause = pause * 5 / 4 < 1000000 ? pause * 5 / 4 : 1000000;
    }
    free(t);
}

#else

/// An empty file is none in C.
typedef int cmpi_nothing;

#endif
