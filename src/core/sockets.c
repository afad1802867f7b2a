#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

static bool set_flags(int fd)
{
  return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
}

hsa_status hsa_sockets_init(hsa_sockets *sockets)
{
  *sockets = (hsa_sockets){.pipe = {-1, -1}};
  atomic_init(&sockets->is_woken, false);
  if (pipe(sockets->pipe) != 0) {
    sockets->pipe[0] = sockets->pipe[1] = -1;
    return HSA_NOMEM;
  }
  if (!set_flags(sockets->pipe[0]) || !set_flags(sockets->pipe[1]))
    return HSA_NOMEM;
  return hsa_sockets_watch(sockets, sockets->pipe[0], POLLIN);
}

void hsa_sockets_free(hsa_sockets *sockets)
{
  int i;

  for (i = 0; i < 2; i++)
    if (sockets->pipe[i] >= 0)
      close(sockets->pipe[i]);
  free(sockets->fds);
  *sockets = (hsa_sockets){.pipe = {-1, -1}};
}

/* What is moved to the place of one that is removed may be passed over this time: it is as ready the next time. */
static void forget(hsa_sockets *sockets, size_t i)
{
  sockets->fds[i] = sockets->fds[--sockets->n];
}

hsa_status hsa_sockets_watch(hsa_sockets *sockets, int fd, short events)
{
  struct pollfd *fds = sockets->fds;
  size_t i = 0, cap = sockets->cap ? sockets->cap * 2 : 8;

  while (i < sockets->n && fds[i].fd != fd)
    i++;
  if (i < sockets->n && !events)
    forget(sockets, i);
  else if (i < sockets->n)
    fds[i].events = events;
  if (i < sockets->n || !events)
    return HSA_OK;
  if (sockets->n == sockets->cap) {
    fds = realloc(fds, cap * sizeof *fds);
    if (!fds)
      return HSA_NOMEM;
    sockets->fds = fds;
    sockets->cap = cap;
  }
  fds[sockets->n++] = (struct pollfd){.fd = fd, .events = events};
  return HSA_OK;
}

/* The flag goes after the bytes: who sets it again in between has nothing to add, for we are awake. */
static void empty_pipe(hsa_sockets *sockets)
{
  char bytes[8];

  while (read(sockets->pipe[0], bytes, sizeof bytes) > 0)
    ;
  atomic_store(&sockets->is_woken, false);
}

void hsa_sockets_wait(hsa_sockets *sockets, int timeout)
{
  int n = poll(sockets->fds, (nfds_t)sockets->n, timeout);

  sockets->has_looked = true;
  sockets->cursor = n > 0 ? sockets->n : 1;
  if (n > 0 && sockets->fds[0].revents)
    empty_pipe(sockets);
}

void hsa_sockets_wake(hsa_sockets *sockets)
{
  ssize_t n;

  if (atomic_exchange(&sockets->is_woken, true))
    return;
  do
    n = write(sockets->pipe[1], "", 1);
  while (n < 0 && errno == EINTR);
}

int hsa_sockets_next(hsa_sockets *sockets, short *events)
{
  if (!sockets->has_looked)
    hsa_sockets_wait(sockets, 0);
  if (sockets->cursor > sockets->n)
    sockets->cursor = sockets->n;
  while (sockets->cursor > 1) {
    struct pollfd *entry = &sockets->fds[--sockets->cursor];

    if (entry->revents) {
      *events = entry->revents;
      entry->revents = 0;
      return entry->fd;
    }
  }
  sockets->has_looked = false;
  return -1;
}
