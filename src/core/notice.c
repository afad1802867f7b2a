#include "notice.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

void hsa_notice_init(hsa_notice *notice)
{
  notice->ends[0] = notice->ends[1] = -1;
  notice->is_set = false;
}

static void write_byte(const hsa_notice *notice)
{
  ssize_t n;

  do /* the pipe is empty: a byte fits */
    n = write(notice->ends[1], "", 1);
  while (n < 0 && errno == EINTR);
}

static bool set_flags(int fd)
{
  return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
}

int hsa_notice_fd(hsa_notice *notice)
{
  if (notice->ends[0] >= 0)
    return notice->ends[0];
  if (pipe(notice->ends) != 0) {
    notice->ends[0] = notice->ends[1] = -1;
    return -1;
  }
  if (!set_flags(notice->ends[0]) || !set_flags(notice->ends[1])) {
    hsa_notice_close(notice);
    return -1;
  }
  if (notice->is_set)
    write_byte(notice);
  return notice->ends[0];
}

void hsa_notice_set(hsa_notice *notice, bool is_set)
{
  char byte;
  ssize_t n;

  if (notice->is_set == is_set)
    return;
  notice->is_set = is_set;
  if (notice->ends[0] < 0)
    return;
  if (is_set)
    write_byte(notice);
  else
    do
      n = read(notice->ends[0], &byte, 1);
    while (n < 0 && errno == EINTR);
}

void hsa_notice_close(hsa_notice *notice)
{
  bool is_set = notice->is_set;

  if (notice->ends[0] >= 0) {
    close(notice->ends[0]);
    close(notice->ends[1]);
  }
  hsa_notice_init(notice);
  notice->is_set = is_set;
}
