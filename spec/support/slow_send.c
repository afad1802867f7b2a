/* LD_PRELOAD: what is written to a socket has been answered before send returns, by whoever is quick. */
#include <dlfcn.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWERED 50000 /* us */

ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
  static ssize_t (*real)(int, const void *, size_t, int);
  ssize_t sent;

  if (!real)
    real = (ssize_t(*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
  sent = real(fd, bytes, size, flags);
  usleep(ANSWERED);
  return sent;
}
