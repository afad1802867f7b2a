#include "notice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL /* macOS has SO_NOSIGPIPE instead */
#define MSG_NOSIGNAL 0
#endif

void hsa_notice_init(hsa_notice *notice)
{
  *notice = (hsa_notice){.ends = {-1, -1}, .listener = -1, .peer = -1};
}

static bool set_flags(int fd)
{
  return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
}

static void close_one(int *fd)
{
  if (*fd >= 0)
    close(*fd);
  *fd = -1;
}

/* ---- the pipe ---- */

static void write_byte(const hsa_notice *notice)
{
  ssize_t n;

  do /* the pipe is empty: a byte fits */
    n = write(notice->ends[1], "", 1);
  while (n < 0 && errno == EINTR);
}

static void read_byte(const hsa_notice *notice)
{
  char byte;
  ssize_t n;

  do
    n = read(notice->ends[0], &byte, 1);
  while (n < 0 && errno == EINTR);
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
    close_one(&notice->ends[0]);
    close_one(&notice->ends[1]);
    return -1;
  }
  if (notice->reasons)
    write_byte(notice);
  return notice->ends[0];
}

/* ---- the connection ---- */

/* A full buffer is no loss: what is in it has not been read yet, and will be. */
static void send_byte(hsa_notice *notice)
{
  ssize_t n;

  do
    n = send(notice->peer, "", 1, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
    close_one(&notice->peer); /* the host has closed its end */
}

/* errno stays. */
static void stop_listening(hsa_notice *notice)
{
  int saved = errno;
  char *slash;

  close_one(&notice->listener);
  if (!notice->path)
    return;
  unlink(notice->path);
  slash = strrchr(notice->path, '/');
  *slash = '\0';
  rmdir(notice->path);
  free(notice->path);
  notice->path = NULL;
  errno = saved;
}

static bool listen_at(hsa_notice *notice)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t len = strlen(notice->path);

  if (len >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return false;
  }
  memcpy(address.sun_path, notice->path, len + 1);
  notice->listener = socket(AF_UNIX, SOCK_STREAM, 0);
  return notice->listener >= 0 && set_flags(notice->listener) &&
         bind(notice->listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(notice->listener, 1) == 0;
}

static bool listen_in(hsa_notice *notice, const char *folder)
{
  static const char name[] = "/hubspot_assoc.XXXXXX", socket_name[] = "/s";
  size_t size = strlen(folder) + sizeof name + sizeof socket_name;
  char *path = malloc(size);

  if (!path)
    return false;
  snprintf(path, size, "%s%s", folder, name);
  if (!mkdtemp(path)) {
    free(path);
    return false;
  }
  memcpy(path + strlen(path), socket_name, sizeof socket_name);
  notice->path = path;
  if (listen_at(notice))
    return true;
  stop_listening(notice);
  return false;
}

const char *hsa_notice_listen(hsa_notice *notice)
{
  const char *folders[] = {getenv("TMPDIR"), "/tmp", "/var/tmp", "/dev/shm"};
  size_t i;

  stop_listening(notice);
  for (i = 0; i < sizeof folders / sizeof *folders; i++)
    if (folders[i] && *folders[i] == '/' && listen_in(notice, folders[i]))
      return notice->path;
  return NULL;
}

bool hsa_notice_accept(hsa_notice *notice)
{
  int peer = notice->listener < 0 ? -1 : accept(notice->listener, NULL, NULL);

  stop_listening(notice);
  if (peer < 0)
    return false;
#ifdef SO_NOSIGPIPE
  setsockopt(peer, SOL_SOCKET, SO_NOSIGPIPE, &(int){1}, sizeof(int));
#endif
  close_one(&notice->peer);
  notice->peer = peer;
  if (!set_flags(peer))
    close_one(&notice->peer);
  if (notice->peer >= 0 && notice->reasons)
    send_byte(notice);
  return notice->peer >= 0;
}

/* ---- both ---- */

void hsa_notice_set(hsa_notice *notice, unsigned reasons)
{
  unsigned before = notice->reasons;

  notice->reasons = reasons;
  if (notice->peer >= 0 && (reasons & ~before))
    send_byte(notice);
  if (notice->ends[0] < 0 || !reasons == !before)
    return;
  if (reasons)
    write_byte(notice);
  else
    read_byte(notice);
}

void hsa_notice_close(hsa_notice *notice)
{
  unsigned reasons = notice->reasons;

  stop_listening(notice);
  close_one(&notice->peer);
  close_one(&notice->ends[0]);
  close_one(&notice->ends[1]);
  hsa_notice_init(notice);
  notice->reasons = reasons;
}

void hsa_notice_abandon(hsa_notice *notice)
{
  free(notice->path);
  notice->path = NULL;
  hsa_notice_close(notice);
}
