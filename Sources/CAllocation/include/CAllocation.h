/// What a process does when the system has no memory left for it.
#ifndef MERASER_CALLOCATION_H
#define MERASER_CALLOCATION_H

/// From now on an allocation that fails writes one line to standard error, which begins with `prefix`, and ends the
/// process with that status. Swift and C++ cannot go on without memory: they would end it by a signal, in several
/// lines.
///
/// `prefix` must live as long as the process. Where the C library is not glibc, and under sanitizers, nothing changes.
void allocation_failure_ends_process(const char *prefix, int status);

/// Gives freed memory back to the system, which else counts as this process's until it ends. Thread-safe; does nothing
/// where the C library is not glibc, and under sanitizers.
void allocation_release_freed(void);

#endif
