/* A disk that loses power: what was written to a database file and not synced is undone when
 * SIGUSR2 arrives, and the process ends at once. Preloaded (ld.so(8)); one big lock, for a test. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct change {
    struct change *before;
    int fd;
    ino_t file;
    off64_t at;
    off64_t size; /* of the file, before */
    size_t length;
    char old[];
};

static struct change *changes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_truncate)(int, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

/* Databases and their logs; not the index of a log, which is memory. */
static int is_watched(int fd, struct stat64 *found) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    char *end = strstr(path, ".db");
    return end && (!strcmp(end, ".db") || !strcmp(end, ".db-wal")) && !fstat64(fd, found);
}

static void note(int fd, off64_t at, size_t length) {
    struct stat64 found;
    if (!is_watched(fd, &found)) return;
    size_t kept = at >= found.st_size ? 0 : (size_t)(found.st_size - at);
    if (kept > length) kept = length;
    struct change *change = malloc(sizeof *change + kept);
    change->before = changes;
    change->fd = dup(fd);
    change->file = found.st_ino;
    change->at = at;
    change->size = found.st_size;
    change->length = kept;
    if (kept && pread64(fd, change->old, kept, at) != (ssize_t)kept) abort();
    changes = change;
}

static void forget(int fd) {
    struct stat64 found;
    if (!is_watched(fd, &found)) return;
    for (struct change **next = &changes; *next;) {
        struct change *change = *next;
        if (change->file == found.st_ino) {
            *next = change->before;
            close(change->fd);
            free(change);
        } else {
            next = &change->before;
        }
    }
}

static void *lose_power(void *signals) {
    int got;
    sigwait(signals, &got);
    pthread_mutex_lock(&lock);
    int undone = 0;
    for (struct change *change = changes; change; change = change->before, undone++) {
        if (change->length) real_pwrite(change->fd, change->old, change->length, change->at);
        real_truncate(change->fd, change->size);
    }
    dprintf(2, "power lost: %d writes undone\n", undone);
    _exit(9);
}

__attribute__((constructor)) static void start(void) {
    static sigset_t signals;
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_truncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, lose_power, &signals);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    pthread_mutex_lock(&lock);
    note(fd, at, length);
    ssize_t written = real_pwrite(fd, data, length, at);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    return pwrite64(fd, data, length, at);
}

ssize_t write(int fd, const void *data, size_t length) {
    struct stat64 found;
    if (!is_watched(fd, &found)) return real_write(fd, data, length);
    pthread_mutex_lock(&lock);
    note(fd, lseek64(fd, 0, SEEK_CUR), length);
    ssize_t written = real_write(fd, data, length);
    pthread_mutex_unlock(&lock);
    return written;
}

int ftruncate64(int fd, off64_t size) {
    struct stat64 found;
    pthread_mutex_lock(&lock);
    if (is_watched(fd, &found) && size < found.st_size) note(fd, size, found.st_size - size);
    int done = real_truncate(fd, size);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

/* The lock is not held while the disk works, so that a loss of power can come in between. */
static int synced(int fd, int (*sync)(int)) {
    int done = sync(fd);
    pthread_mutex_lock(&lock);
    if (!done) forget(fd);
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }
