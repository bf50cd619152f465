#ifndef CMPI_H
#define CMPI_H

// What meraser needs of MPI. Swift does not see MPI's constants, which are
// macros with casts. Only there in a build with the trait MPI.
//
// MPI is used by one thread at a time. Whoever waits sleeps between two looks:
// MPI's own waits keep a core busy, which computes on the machine of a rank.

#include <stdint.h>

/// What this process is among the others.
typedef struct {
    int rank;
    int size;
    int on_host;  ///< ranks on this host, this one included
} cmpi_place;

/// Joins the job. From then on the end of the process is that of its part:
/// exit status 0 leaves (rank 0 dismisses the others first, with an empty
/// message), any other ends all ranks with that status. Returns 0, or MPI's
/// error.
int cmpi_join(cmpi_place *place);

/// Starts to send or to receive `count` bytes; the memory must stay until
/// cmpi_wait has returned. An error ends the job, as MPI has it.
void *cmpi_send(const void *bytes, int64_t count, int rank, int channel);
void *cmpi_receive(void *bytes, int64_t count, int rank, int channel);

/// Waits for a transfer and frees it.
void cmpi_wait(void *transfer);

#endif
