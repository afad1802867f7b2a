#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int hsa_fd_keep_clear(int fd)
{
  int other;

  if (fd < 0 || fd > STDERR_FILENO)
    return fd;
  other = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  hsa_fd_close(&fd);
  return other;
}

bool hsa_fd_set_flags(int fd)
{
  return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
}

bool hsa_fd_pipe(int ends[2])
{
  if (pipe(ends) == 0) {
    ends[0] = hsa_fd_keep_clear(ends[0]);
    ends[1] = hsa_fd_keep_clear(ends[1]);
    if (ends[0] >= 0 && ends[1] >= 0 && hsa_fd_set_flags(ends[0]) && hsa_fd_set_flags(ends[1]))
      return true;
    hsa_fd_close(&ends[0]);
    hsa_fd_close(&ends[1]);
  }
  ends[0] = ends[1] = -1;
  return false;
}

void hsa_fd_close(int *fd)
{
  int saved = errno;

  if (*fd >= 0)
    close(*fd);
  *fd = -1;
  errno = saved;
}
