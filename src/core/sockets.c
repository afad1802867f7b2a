#include "sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "descriptor.h"

#ifdef HSA_USE_EPOLL
#include <sys/epoll.h>
#endif

/* ---- the pipe that ends a wait ---- */

hsa_status hsa_sockets_why_not(void)
{
  return errno == EMFILE || errno == ENFILE ? HSA_NOFILES : HSA_NOMEM;
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
  sockets->epoll = hsa_fd_keep_clear(epoll_create1(EPOLL_CLOEXEC));
  if (sockets->epoll < 0 || !hsa_fd_pipe(sockets->pipe))
    return hsa_sockets_why_not();
  return hsa_sockets_watch(sockets, sockets->pipe[0], POLLIN);
}

void hsa_sockets_free(hsa_sockets *sockets)
{
  hsa_fd_close(&sockets->pipe[0]);
  hsa_fd_close(&sockets->pipe[1]);
  hsa_fd_close(&sockets->epoll);
  free(sockets->kept);
  sockets->kept = NULL;
  sockets->nkept = 0;
}

static hsa_status ask(const hsa_sockets *sockets, int fd, short events)
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

/* The entry of a socket that is kept, or NULL. */
static hsa_kept *kept_of(const hsa_sockets *sockets, int fd)
{
  return (size_t)fd < sockets->nkept && sockets->kept[fd].is_kept ? &sockets->kept[fd] : NULL;
}

void hsa_sockets_keep(hsa_sockets *sockets, int fd)
{
  size_t size = (size_t)fd + 1;
  hsa_kept *kept = sockets->kept;

  if (fd < 0)
    return;
  if (size > sockets->nkept) {
    size += size / 2;
    kept = realloc(sockets->kept, size * sizeof *kept);
    if (!kept)
      return;
    memset(kept + sockets->nkept, 0, (size - sockets->nkept) * sizeof *kept);
    sockets->kept = kept;
    sockets->nkept = size;
  }
  kept[fd] = (hsa_kept){.is_kept = true};
}

void hsa_sockets_forget(hsa_sockets *sockets, int fd)
{
  hsa_kept *kept = kept_of(sockets, fd);
  size_t i;

  ask(sockets, fd, 0);
  if (kept)
    *kept = (hsa_kept){.is_kept = false};
  for (i = 0; i < sockets->n; i++) /* the next socket of this number has nothing to do with it */
    if (sockets->ready[i].fd == fd)
      sockets->ready[i].fd = -1;
}

hsa_status hsa_sockets_watch(hsa_sockets *sockets, int fd, short events)
{
  hsa_kept *kept = kept_of(sockets, fd);
  hsa_status status;

  if (!kept)
    return ask(sockets, fd, events);
  kept->wanted = events;
  if (!events || events == kept->asked)
    return HSA_OK;
  status = ask(sockets, fd, events);
  kept->asked = status == HSA_OK ? events : 0;
  return status;
}

/* Something happens on a socket. If nobody waits for it (the other side has closed an idle connection), epoll need not
 * tell again. */
static bool is_wanted(hsa_sockets *sockets, int fd)
{
  hsa_kept *kept = kept_of(sockets, fd);

  if (!kept || kept->wanted)
    return true;
  kept->asked = 0;
  ask(sockets, fd, 0);
  return false;
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
  while (sockets->n > 0) {
    const struct pollfd *entry = &sockets->ready[--sockets->n];

    if (entry->fd >= 0 && is_wanted(sockets, entry->fd)) {
      *events = entry->revents;
      return entry->fd;
    }
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
  return hsa_fd_pipe(sockets->pipe) ? hsa_sockets_watch(sockets, sockets->pipe[0], POLLIN) : hsa_sockets_why_not();
}

void hsa_sockets_free(hsa_sockets *sockets)
{
  hsa_fd_close(&sockets->pipe[0]);
  hsa_fd_close(&sockets->pipe[1]);
  free(sockets->fds);
  sockets->fds = NULL;
  sockets->nfds = sockets->cap = sockets->n = 0;
}

/* Makes room for one more, and returns its place. */
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

void hsa_sockets_keep(hsa_sockets *sockets, int fd)
{
  (void)sockets; /* there is nothing to gain */
  (void)fd;
}

void hsa_sockets_forget(hsa_sockets *sockets, int fd)
{
  hsa_sockets_watch(sockets, fd, 0);
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
