/* A disk of limited size, without mounting one: LD_PRELOADed before a program, everything below T2I_DISK_FOLDER has
 * T2I_DISK_BYTES to share. With T2I_DISK_FILLED_BY=NAME the limit holds once NAME exists there, as if another program
 * filled the disk at that moment and left T2I_DISK_BYTES. With T2I_DISK_QUOTA it is a quota, of which statvfs knows
 * nothing. A write that does not fit is cut short, as disks do, and the next one fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static __thread long long counted;

static int add(const char* path, const struct stat* status, int kind, struct FTW* at) {
  (void)path, (void)at;
  if (kind == FTW_F) counted += status->st_size;
  return 0;
}

static int below(const char* path) {
  const char* folder = getenv("T2I_DISK_FOLDER");
  return folder && strncmp(path, folder, strlen(folder)) == 0;
}

/* -1: no limit at the moment */
static long long left(void) {
  static long long used_before = -1; /* when the disk was filled */
  const char *folder = getenv("T2I_DISK_FOLDER"), *name = getenv("T2I_DISK_FILLED_BY");
  char trigger[4096];
  snprintf(trigger, sizeof trigger, "%s/%s", folder, name ? name : "");
  if (name && used_before < 0 && access(trigger, F_OK) != 0) return -1;
  counted = 0;
  nftw(folder, add, 16, FTW_PHYS);
  if (used_before < 0) used_before = name ? counted : 0;
  long long free_bytes = atoll(getenv("T2I_DISK_BYTES")) + used_before - counted;
  return free_bytes > 0 ? free_bytes : 0;
}

ssize_t write(int fd, const void* bytes, size_t count) {
  ssize_t (*real)(int, const void*, size_t) = (ssize_t(*)(int, const void*, size_t))dlsym(RTLD_NEXT, "write");
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return real(fd, bytes, count);
  path[length] = 0;
  if (!below(path)) return real(fd, bytes, count);
  long long room = left();
  if (room < 0 || (long long)count <= room) return real(fd, bytes, count);
  if (room > 0) return real(fd, bytes, (size_t)room);
  errno = getenv("T2I_DISK_QUOTA") ? EDQUOT : ENOSPC;
  return -1;
}

int statvfs(const char* path, struct statvfs* out) {
  int (*real)(const char*, struct statvfs*) = (int (*)(const char*, struct statvfs*))dlsym(RTLD_NEXT, "statvfs");
  int done = real(path, out);
  char whole[4096];
  if (done != 0 || getenv("T2I_DISK_QUOTA") || !realpath(path, whole) || !below(whole)) return done;
  long long room = left();
  if (room >= 0) out->f_frsize = 1, out->f_bavail = (fsblkcnt_t)room;
  return 0;
}
