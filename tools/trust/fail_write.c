// Makes writing fail, for tools/trust/write_faults.py: a library for LD_PRELOAD.
//
//   FAULT_BELOW=DIR    only files and folders below it count
//   FAULT_COUNT=FILE   the number of operations is written there at the end
//   FAULT_AT=N         the Nth operation fails (from 1), and with FAULT_STICKY=1 all after it
//   FAULT_ERRNO=N      with this errno
//
// Operations: write, pwrite, writev, pwritev, fsync, fdatasync, ftruncate, posix_fallocate, opening to write, mkdir,
// rename. Deleting never fails: a full disk can be tidied.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long operations;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

/// Whether a path counts, and the operation on it is to fail.
static bool fails(const char *path) {
    const char *below = getenv("FAULT_BELOW");
    if (!below || strncmp(path, below, strlen(below)) != 0) return false;
    const long at = number("FAULT_AT");
    const long now = atomic_fetch_add(&operations, 1) + 1;
    if (at == 0 || now < at || (now > at && !number("FAULT_STICKY"))) return false;
    errno = (int)number("FAULT_ERRNO");
    return true;
}

static bool fails_open(int fd) {
    struct stat info;
    char link[64], path[PATH_MAX];
    const int before = errno;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) return errno = before, false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return false;
    path[length] = 0;
    return fails(path);
}

static bool fails_at(int folder, const char *name) {
    char whole[2 * PATH_MAX], link[64], path[PATH_MAX] = "";
    if (name[0] == '/') return fails(name);
    snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
    const int before = errno;
    const ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return false;
    snprintf(whole, sizeof whole, "%s/%s", path, name);
    return fails(whole);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t count) {
    return fails_open(fd) ? -1 : REAL(write)(fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    return fails_open(fd) ? -1 : REAL(pwrite)(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    return fails_open(fd) ? -1 : REAL(pwrite64)(fd, bytes, count, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    return fails_open(fd) ? -1 : REAL(writev)(fd, parts, count);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return fails_open(fd) ? -1 : REAL(pwritev)(fd, parts, count, offset);
}

int fsync(int fd) {
    return fails_open(fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd) {
    return fails_open(fd) ? -1 : REAL(fdatasync)(fd);
}

int ftruncate(int fd, off_t length) {
    return fails_open(fd) ? -1 : REAL(ftruncate)(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    return fails_open(fd) ? -1 : REAL(ftruncate64)(fd, length);
}

int posix_fallocate(int fd, off_t offset, off_t length) {
    return fails_open(fd) ? errno : REAL(posix_fallocate)(fd, offset, length);
}

int mkdir(const char *path, mode_t mode) {
    return fails_at(AT_FDCWD, path) ? -1 : REAL(mkdir)(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    return fails_at(folder, path) ? -1 : REAL(mkdirat)(folder, path, mode);
}

int rename(const char *from, const char *to) {
    return fails_at(AT_FDCWD, to) ? -1 : REAL(rename)(from, to);
}

int renameat(int a, const char *from, int b, const char *to) {
    return fails_at(b, to) ? -1 : REAL(renameat)(a, from, b, to);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    return fails_at(b, to) ? -1 : REAL(renameat2)(a, from, b, to, flags);
}

static bool creates(int flags) {
    return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
}

#define OPEN(name)                                                                      \
    int name(const char *path, int flags, ...) {                                        \
        va_list rest;                                                                   \
        va_start(rest, flags);                                                          \
        const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                                   \
        if (creates(flags) && fails_at(AT_FDCWD, path)) return -1;                      \
        return REAL(name)(path, flags, mode);                                           \
    }

#define OPENAT(name)                                                                    \
    int name(int folder, const char *path, int flags, ...) {                            \
        va_list rest;                                                                   \
        va_start(rest, flags);                                                          \
        const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                                   \
        if (creates(flags) && fails_at(folder, path)) return -1;                        \
        return REAL(name)(folder, path, flags, mode);                                   \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("FAULT_COUNT");
    if (!path) return;
    const int fd = REAL(open)(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) return;
    char text[32];
    const int length = snprintf(text, sizeof text, "%ld\n", atomic_load(&operations));
    if (REAL(write)(fd, text, (size_t)length) < 0) abort();
    close(fd);
}
