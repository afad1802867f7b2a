#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef HSA_USE_EPOLL
#include <sys/epoll.h>
#endif

/* ---- the pipe that ends a wait ---- */

static bool set_flags(int fd)
{
  return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
}

static bool open_pipe(hsa_sockets *sockets)
{
  if (pipe(sockets->pipe) == 0)
    return set_flags(sockets->pipe[0]) && set_flags(sockets->pipe[1]);
  sockets->pipe[0] = sockets->pipe[1] = -1;
  return false;
}

static void close_one(int fd)
{
  if (fd >= 0)
    close(fd);
}

/* The flag goes after the byte: who sets it again in between has nothing to add, for we are awake. */
static void empty_pipe(hsa_sockets *sockets)
{
  char bytes[8]; /* there is one */
  ssize_t n;

  do
    n = read(sockets->pipe[0], bytes, sizeof bytes);
  while (n < 0 && errno == EINTR);
  atomic_store(&sockets->is_woken, false);
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

#ifdef HSA_USE_EPOLL

/* ---- epoll; its events have poll's values ---- */

hsa_status hsa_sockets_init(hsa_sockets *sockets)
{
  *sockets = (hsa_sockets){.epoll = -1, .pipe = {-1, -1}};
  atomic_init(&sockets->is_woken, false);
  sockets->epoll = epoll_create1(EPOLL_CLOEXEC);
  return sockets->epoll >= 0 && open_pipe(sockets) ? hsa_sockets_watch(sockets, sockets->pipe[0], POLLIN) : HSA_NOMEM;
}

void hsa_sockets_free(hsa_sockets *sockets)
{
  close_one(sockets->pipe[0]);
  close_one(sockets->pipe[1]);
  close_one(sockets->epoll);
  sockets->epoll = sockets->pipe[0] = sockets->pipe[1] = -1;
}

hsa_status hsa_sockets_watch(hsa_sockets *sockets, int fd, short events)
{
  struct epoll_event event = {.events = (uint32_t)events, .data.fd = fd};

  if (!events) {
    epoll_ctl(sockets->epoll, EPOLL_CTL_DEL, fd, &event);
    return HSA_OK;
  }
  if (epoll_ctl(sockets->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ||
      (errno == EEXIST && epoll_ctl(sockets->epoll, EPOLL_CTL_MOD, fd, &event) == 0))
    return HSA_OK;
  return HSA_NOMEM;
}

void hsa_sockets_wait(hsa_sockets *sockets, int timeout)
{
  struct epoll_event events[sizeof sockets->ready / sizeof *sockets->ready];
  int n = epoll_wait(sockets->epoll, events, sizeof events / sizeof *events, timeout), i;

  sockets->has_looked = true;
  sockets->n = 0;
  for (i = 0; i < n; i++)
    if (events[i].data.fd == sockets->pipe[0])
      empty_pipe(sockets);
    else
      sockets->ready[sockets->n++] = (struct pollfd){.fd = events[i].data.fd, .revents = (short)events[i].events};
}

int hsa_sockets_next(hsa_sockets *sockets, short *events)
{
  if (!sockets->has_looked)
    hsa_sockets_wait(sockets, 0);
  if (sockets->n > 0) {
    *events = sockets->ready[--sockets->n].revents;
    return sockets->ready[sockets->n].fd;
  }
  sockets->has_looked = false;
  return -1;
}

#else

/* ---- poll ---- */

hsa_status hsa_sockets_init(hsa_sockets *sockets)
{
  *sockets = (hsa_sockets){.pipe = {-1, -1}};
  atomic_init(&sockets->is_woken, false);
  return open_pipe(sockets) ? hsa_sockets_watch(sockets, sockets->pipe[0], POLLIN) : HSA_NOMEM;
}

void hsa_sockets_free(hsa_sockets *sockets)
{
  close_one(sockets->pipe[0]);
  close_one(sockets->pipe[1]);
  free(sockets->fds);
  sockets->fds = NULL;
  sockets->nfds = sockets->cap = sockets->n = 0;
  sockets->pipe[0] = sockets->pipe[1] = -1;
}

/* Makes room for one more, and answers its place. */
static struct pollfd *add(hsa_sockets *sockets)
{
  size_t cap = sockets->cap ? sockets->cap * 2 : 8;
  struct pollfd *fds;

  if (sockets->nfds == sockets->cap) {
    fds = realloc(sockets->fds, cap * sizeof *fds);
    if (!fds)
      return NULL;
    sockets->fds = fds;
    sockets->cap = cap;
  }
  return &sockets->fds[sockets->nfds++];
}

/* The last takes the place of one that is removed, and so may be passed over once. */
hsa_status hsa_sockets_watch(hsa_sockets *sockets, int fd, short events)
{
  struct pollfd *entry;
  size_t i = 0;

  while (i < sockets->nfds && sockets->fds[i].fd != fd)
    i++;
  entry = i < sockets->nfds ? &sockets->fds[i] : NULL;
  if (!events) {
    if (entry)
      *entry = sockets->fds[--sockets->nfds];
    return HSA_OK;
  }
  if (!entry)
    entry = add(sockets);
  if (!entry)
    return HSA_NOMEM;
  *entry = (struct pollfd){.fd = fd, .events = events};
  return HSA_OK;
}

void hsa_sockets_wait(hsa_sockets *sockets, int timeout)
{
  int n = poll(sockets->fds, (nfds_t)sockets->nfds, timeout);

  sockets->has_looked = true;
  sockets->n = n > 0 ? sockets->nfds : 0;
  if (n > 0 && sockets->fds[0].revents)
    empty_pipe(sockets);
}

int hsa_sockets_next(hsa_sockets *sockets, short *events)
{
  if (!sockets->has_looked)
    hsa_sockets_wait(sockets, 0);
  if (sockets->n > sockets->nfds)
    sockets->n = sockets->nfds;
  while (sockets->n > 1) {
    struct pollfd *entry = &sockets->fds[--sockets->n];

    if (entry->revents) {
      *events = entry->revents;
      return entry->fd;
    }
  }
  sockets->has_looked = false;
  return -1;
}

#endif
