/* sockets.h - the sockets that a transport waits for, and a way to end that wait from another thread. By epoll on
 * Linux, by poll elsewhere (or with HSA_USE_POLL). */
#ifndef HSA_SOCKETS_H
#define HSA_SOCKETS_H

#include <poll.h>
#include <stdatomic.h>

#include "hsa.h"

#if defined(__linux__) && !defined(HSA_USE_POLL)
#define HSA_USE_EPOLL 1
#endif

/* A socket whose end we are told of. */
typedef struct hsa_kept {
  bool is_kept;
  short wanted, asked; /* events: to wait for; that epoll looks for */
} hsa_kept;

typedef struct hsa_sockets {
#ifdef HSA_USE_EPOLL
  int epoll;
  hsa_kept *kept;          /* by descriptor */
  size_t nkept;
  struct pollfd ready[64]; /* what the last look found, */
  size_t n;                /* and has not been given */
#else
  struct pollfd *fds;      /* the first is the pipe's */
  size_t nfds, cap, n;     /* what lies before the n-th may be ready, and has not been given */
#endif
  bool has_looked;         /* since all that was ready was given */
  int pipe[2];
  atomic_bool is_woken;    /* there is a byte in the pipe, or about to be */
} hsa_sockets;

/* Why errno says that something could not be made: HSA_NOFILES where no descriptor was left, else HSA_NOMEM. */
hsa_status hsa_sockets_why_not(void);

/* HSA_NOMEM; HSA_NOFILES; hsa_sockets_free is fine in any case. */
hsa_status hsa_sockets_init(hsa_sockets *sockets);

/* Closes what is ours; in a forked child the parent does not notice. */
void hsa_sockets_free(hsa_sockets *sockets);

/* Which of POLLIN and POLLOUT the socket is waited for from now on; 0: for none. HSA_NOMEM. */
hsa_status hsa_sockets_watch(hsa_sockets *sockets, int fd, short events);

/* The socket is a new one, and hsa_sockets_forget will be called before it is closed: then it costs no system call that
 * a connection is not waited for while it is idle, and is again when it is used again. (Without memory it does.) */
void hsa_sockets_keep(hsa_sockets *sockets, int fd);

/* The socket is about to be closed. */
void hsa_sockets_forget(hsa_sockets *sockets, int fd);

/* Waits until a socket is ready or hsa_sockets_wake is called, `timeout` ms at most. */
void hsa_sockets_wait(hsa_sockets *sockets, int timeout);

/* From any thread: ends a wait under way, or else the next one. */
void hsa_sockets_wake(hsa_sockets *sockets);

/* Gives the next socket that is ready, if need be by looking without a wait; -1: none. Each look gives each once;
 * one that was passed over is given by the next. */
int hsa_sockets_next(hsa_sockets *sockets, short *events);

#endif
