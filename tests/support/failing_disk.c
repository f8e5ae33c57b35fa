/* Fails the n-th write, fsync, rename or open below a folder. Loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[4096];
static long left, seen;
static int failure, lasting;

void fail_operation(const char *below, long number, int error, int lasts) {
    strncpy(folder, below, sizeof folder - 1);
    failure = error;
    lasting = lasts;
    seen = 0;
    left = number;
}

long operations_seen(void) { return seen; }

static int fails(const char *path) {
    if (!left || strncmp(path, folder, strlen(folder))) return 0;
    long now = __sync_add_and_fetch(&seen, 1);
    if (now == left || (lasting && now > left)) { errno = failure; return 1; }
    return 0;
}

static int fails_file(int file) {
    char name[64], path[4096];
    if (!left) return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t size = readlink(name, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return fails(path);
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, #name, const char *, int, ...); \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        if ((flags & O_ACCMODE) != O_RDONLY && fails(path)) return -1; \
        return real(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

ssize_t write(int file, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return fails_file(file) ? -1 : real(file, data, size);
}

#define WRITES_AT(name, offset) \
    ssize_t name(int file, const void *data, size_t size, offset at) { \
        REAL(ssize_t, #name, int, const void *, size_t, offset); \
        return fails_file(file) ? -1 : real(file, data, size, at); \
    }
WRITES_AT(pwrite, off_t)
WRITES_AT(pwrite64, off64_t)

#define ON_FILE(name) \
    int name(int file) { \
        REAL(int, #name, int); \
        return fails_file(file) ? -1 : real(file); \
    }
ON_FILE(fsync)
ON_FILE(fdatasync)

#define CUTS(name, offset) \
    int name(int file, offset size) { \
        REAL(int, #name, int, offset); \
        return fails_file(file) ? -1 : real(file, size); \
    }
CUTS(ftruncate, off_t)
CUTS(ftruncate64, off64_t)

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    return fails(from) ? -1 : real(from, to);
}
