/*
 * Keeps, for a test of power cuts, what a disk would still hold: for each file below SHADOW_ROOT its content at the last
 * fsync, for each folder its entries at the last fsync of the folder. Written to SHADOW_DIR as f-INODE and d-INODE.
 * Loaded with LD_PRELOAD. sync_file_range promises nothing about a power cut, so it is left alone.
 * Limit: an inode that is freed and used again inherits what its first owner had synced until it is synced itself.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void copy_file(const char *self, FILE *to) {
    char block[65536];
    size_t got;
    FILE *from = fopen(self, "r");
    if (from == NULL) abort();
    while ((got = fread(block, 1, sizeof block, from)) > 0)
        if (fwrite(block, 1, got, to) != got) abort();
    fclose(from);
}

static void copy_folder(const char *path, FILE *to) {
    struct dirent *entry;
    DIR *folder = opendir(path);
    if (folder == NULL) abort();
    while ((entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            fprintf(to, "%llu %c %s\n", (unsigned long long)entry->d_ino, entry->d_type == DT_DIR ? 'd' : 'f',
                    entry->d_name);
    closedir(folder);
}

static void keep(int fd) {
    const char *root = getenv("SHADOW_ROOT"), *shadow = getenv("SHADOW_DIR");
    char self[64], path[PATH_MAX], unfinished[PATH_MAX], finished[PATH_MAX];
    struct stat status;
    if (root == NULL || shadow == NULL) return;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(self, path, sizeof path - 1);
    if (length < 0 || fstat(fd, &status) != 0) return;
    path[length] = 0;
    if (strncmp(path, root, strlen(root)) != 0) return;
    int folder = S_ISDIR(status.st_mode);
    unsigned long long inode = (unsigned long long)status.st_ino;
    snprintf(finished, sizeof finished, "%s/%c-%llu", shadow, folder ? 'd' : 'f', inode);
    snprintf(unfinished, sizeof unfinished, "%s/unfinished", shadow);
    /* The content before the real fsync: what comes later may or may not reach the disk. */
    pthread_mutex_lock(&one_at_a_time);
    FILE *to = fopen(unfinished, "w");
    if (to == NULL) abort();
    if (folder) copy_folder(path, to); else copy_file(self, to);
    if (fclose(to) != 0 || rename(unfinished, finished) != 0) abort();
    pthread_mutex_unlock(&one_at_a_time);
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    keep(fd);
    return real(fd);
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    keep(fd);
    return real(fd);
}
