#include "notifier.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "descriptor.h"

#ifndef MSG_NOSIGNAL /* macOS has SO_NOSIGPIPE instead */
#define MSG_NOSIGNAL 0
#endif

void hsa_notifier_init(hsa_notifier *notifier)
{
  *notifier = (hsa_notifier){.ends = {-1, -1}, .listener = -1, .peer = -1};
}

/* ---- the pipe ---- */

static void write_byte(const hsa_notifier *notifier)
{
  ssize_t n;

  do /* the pipe is empty: a byte fits */
    n = write(notifier->ends[1], "", 1);
  while (n < 0 && errno == EINTR);
}

static void read_byte(const hsa_notifier *notifier)
{
  char byte;
  ssize_t n;

  do
    n = read(notifier->ends[0], &byte, 1);
  while (n < 0 && errno == EINTR);
}

int hsa_notifier_fd(hsa_notifier *notifier)
{
  if (notifier->ends[0] < 0 && hsa_fd_pipe(notifier->ends) && notifier->reasons)
    write_byte(notifier);
  return notifier->ends[0];
}

/* ---- the connection ---- */

/* A full buffer is no loss: what is in it has not been read yet, and will be. */
static void send_byte(hsa_notifier *notifier)
{
  ssize_t n;

  do
    n = send(notifier->peer, "", 1, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
    hsa_fd_close(&notifier->peer); /* the host has closed its end */
}

/* errno stays. */
static void stop_listening(hsa_notifier *notifier)
{
  int saved = errno;
  char *slash;

  hsa_fd_close(&notifier->listener);
  if (!notifier->path)
    return;
  unlink(notifier->path);
  slash = strrchr(notifier->path, '/');
  *slash = '\0';
  rmdir(notifier->path);
  free(notifier->path);
  notifier->path = NULL;
  errno = saved;
}

static bool listen_at(hsa_notifier *notifier)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t len = strlen(notifier->path);

  if (len >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return false;
  }
  memcpy(address.sun_path, notifier->path, len + 1);
  notifier->listener = hsa_fd_keep_clear(socket(AF_UNIX, SOCK_STREAM, 0));
  return notifier->listener >= 0 && hsa_fd_set_flags(notifier->listener) &&
         bind(notifier->listener, (struct sockaddr *)&address, sizeof address) == 0 &&
         listen(notifier->listener, 1) == 0;
}

static bool listen_in(hsa_notifier *notifier, const char *folder)
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
  notifier->path = path;
  if (listen_at(notifier))
    return true;
  stop_listening(notifier);
  return false;
}

const char *hsa_notifier_listen(hsa_notifier *notifier)
{
  const char *folders[] = {getenv("TMPDIR"), "/tmp", "/var/tmp", "/dev/shm"};
  size_t i;

  stop_listening(notifier);
  for (i = 0; i < sizeof folders / sizeof *folders; i++)
    if (folders[i] && *folders[i] == '/' && listen_in(notifier, folders[i]))
      return notifier->path;
  return NULL;
}

bool hsa_notifier_accept(hsa_notifier *notifier)
{
  int peer = notifier->listener < 0 ? -1 : hsa_fd_keep_clear(accept(notifier->listener, NULL, NULL));

  stop_listening(notifier);
  if (peer < 0)
    return false;
#ifdef SO_NOSIGPIPE
  setsockopt(peer, SOL_SOCKET, SO_NOSIGPIPE, &(int){1}, sizeof(int));
#endif
  hsa_fd_close(&notifier->peer);
  notifier->peer = peer;
  if (!hsa_fd_set_flags(peer))
    hsa_fd_close(&notifier->peer);
  if (notifier->peer >= 0 && notifier->reasons)
    send_byte(notifier);
  return notifier->peer >= 0;
}

/* ---- both ---- */

void hsa_notifier_set(hsa_notifier *notifier, unsigned reasons)
{
  unsigned before = notifier->reasons;

  notifier->reasons = reasons;
  if (notifier->peer >= 0 && (reasons & ~before))
    send_byte(notifier);
  if (notifier->ends[0] < 0 || !reasons == !before)
    return;
  if (reasons)
    write_byte(notifier);
  else
    read_byte(notifier);
}

void hsa_notifier_close(hsa_notifier *notifier)
{
  unsigned reasons = notifier->reasons;

  stop_listening(notifier);
  hsa_fd_close(&notifier->peer);
  hsa_fd_close(&notifier->ends[0]);
  hsa_fd_close(&notifier->ends[1]);
  hsa_notifier_init(notifier);
  notifier->reasons = reasons;
}

void hsa_notifier_abandon(hsa_notifier *notifier)
{
  free(notifier->path);
  notifier->path = NULL;
  hsa_notifier_close(notifier);
}
