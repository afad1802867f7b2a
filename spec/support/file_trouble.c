/* LD_PRELOAD: FILE_TROUBLE=n,what: before the n-th operation on a locked file (flock, pwrite, ftruncate), the process is
 * killed (what: K) or stopped (S); or from then on the disk is full (F). With W the n-th write is cut in half and the
 * process killed. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static int operations;

static char trouble(void)
{
  const char *text = getenv("FILE_TROUBLE");
  char *what = NULL;
  long n = text ? strtol(text, &what, 10) : 0;

  operations++;
  if (!n || (*what == ',' && what[1] == 'F' ? operations < n : operations != n))
    return 0;
  if (what[1] == 'K')
    raise(SIGKILL);
  if (what[1] == 'S')
    raise(SIGSTOP);
  return what[1];
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
  ssize_t (*next)(int, const void *, size_t, off_t) =
    (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
  char what = trouble();

  if (what == 'F') {
    errno = ENOSPC;
    return -1;
  }
  if (what == 'W') {
    next(fd, bytes, len / 2, offset);
    raise(SIGKILL);
  }
  return next(fd, bytes, len, offset);
}

int flock(int fd, int operation)
{
  int (*next)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");

  trouble();
  return next(fd, operation);
}

int ftruncate(int fd, off_t size)
{
  int (*next)(int, off_t) = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate");

  trouble();
  return next(fd, size);
}
