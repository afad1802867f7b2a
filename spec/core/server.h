/* server.h - a scripted HTTP/1.1 server on 127.0.0.1 for one test: a process of its own, so that the test's process has
 * no threads when it forks and none of the server's sockets. What it saw is in shared memory.
 *
 * The n-th request that comes, on whatever connection, is answered by the n-th step; the last step serves all that
 * follow. */
#ifndef SERVER_H
#define SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SERVER_REQUESTS = 32, SERVER_HEAD = 2048, SERVER_BODY = 256, SERVER_BUFFER = 1200 * 1000 };

typedef enum server_after { SERVER_KEEP, SERVER_CLOSE, SERVER_RESET } server_after;

typedef struct server_step {
  const char *reply;  /* NULL: none */
  server_after after; /* what becomes of the connection */
  int delay;          /* ms before the reply */
  int together;       /* the reply waits until so many requests have come in all */
  size_t len;         /* of the reply, if it has NUL bytes */
} server_step;

typedef struct server_request {
  int connection; /* 0 for the first */
  char head[SERVER_HEAD], body[SERVER_BODY];
} server_request;

typedef struct server_log {
  _Atomic int connections, closed, requests;
  _Atomic int junk; /* connections that ended inside a request */
  server_request request[SERVER_REQUESTS];
} server_log;

typedef struct server {
  pid_t pid;
  int port;
  server_log *log;
} server;

/* ---- in the server's process ---- */

typedef struct server_connection {
  int fd, number;
  const server_step *steps;
  size_t nsteps;
  server_log *log;
  size_t len;
  char data[SERVER_BUFFER];
} server_connection;

static inline void server_sleep(int ms)
{
  nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

/* The length of the request at the front of the buffer, or 0 while it is not complete. */
static inline size_t server_request_len(server_connection *c, size_t *head)
{
  char *end, *length;

  c->data[c->len] = '\0';
  end = strstr(c->data, "\r\n\r\n");
  if (!end)
    return 0;
  *head = (size_t)(end + 4 - c->data);
  length = strcasestr(c->data, "\r\nContent-Length:");
  if (length && length < end) {
    size_t total = *head + strtoul(length + strlen("\r\nContent-Length:"), NULL, 10);

    return c->len >= total ? total : 0;
  }
  return *head;
}

/* Writes the request down; answers its number. */
static inline int server_note(server_connection *c, size_t head, size_t total)
{
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  int n;

  pthread_mutex_lock(&lock);
  n = atomic_load(&c->log->requests);
  if (n < SERVER_REQUESTS) {
    server_request *request = &c->log->request[n];

    request->connection = c->number;
    snprintf(request->head, sizeof request->head, "%.*s", (int)head, c->data);
    snprintf(request->body, sizeof request->body, "%.*s", (int)(total - head), c->data + head);
  }
  atomic_store(&c->log->requests, n + 1);
  pthread_mutex_unlock(&lock);
  return n;
}

static inline void server_send(int fd, const char *bytes, size_t len)
{
  while (len) {
    ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

    if (n <= 0)
      return;
    bytes += n;
    len -= (size_t)n;
  }
}

/* false: the connection is to be closed. */
static inline bool server_answer(server_connection *c, int n)
{
  const server_step *step = &c->steps[(size_t)n < c->nsteps ? (size_t)n : c->nsteps - 1];

  while (atomic_load(&c->log->requests) < step->together)
    server_sleep(1);
  server_sleep(step->delay);
  if (step->reply)
    server_send(c->fd, step->reply, step->len ? step->len : strlen(step->reply));
  if (step->after == SERVER_RESET)
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
  return step->after == SERVER_KEEP;
}

static inline bool server_serve_one(server_connection *c)
{
  size_t head = 0, total;

  while ((total = server_request_len(c, &head)) == 0) {
    ssize_t n = recv(c->fd, c->data + c->len, sizeof c->data - 1 - c->len, 0);

    if (n <= 0) {
      if (c->len)
        atomic_fetch_add(&c->log->junk, 1);
      return false;
    }
    c->len += (size_t)n;
  }
  if (!server_answer(c, server_note(c, head, total)))
    return false;
  memmove(c->data, c->data + total, c->len - total);
  c->len -= total;
  return true;
}

static inline void *server_connection_main(void *data)
{
  server_connection *c = data;

  while (server_serve_one(c))
    ;
  close(c->fd);
  atomic_fetch_add(&c->log->closed, 1);
  free(c);
  return NULL;
}

static inline void server_main(int listener, const server_step *steps, size_t nsteps, server_log *log)
{
  alarm(60); /* never outlives a test that crashed for long */
  for (;;) {
    server_connection *c = malloc(sizeof *c);
    pthread_t thread;

    if (!c)
      _exit(1);
    c->fd = accept(listener, NULL, NULL);
    if (c->fd < 0)
      _exit(1);
    c->number = atomic_fetch_add(&log->connections, 1);
    c->steps = steps;
    c->nsteps = nsteps;
    c->log = log;
    c->len = 0;
    if (pthread_create(&thread, NULL, server_connection_main, c) != 0)
      _exit(1);
    pthread_detach(thread);
  }
}

/* ---- in the test's process ---- */

/* A socket bound to a free port of 127.0.0.1. */
static inline int server_bind(int *port)
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  assert_true(fd >= 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
  *port = ntohs(address.sin_port);
  return fd;
}

static inline server server_start(const server_step *steps, size_t nsteps)
{
  server self;
  int listener = server_bind(&self.port);

  assert_int_equal(listen(listener, 16), 0);
  self.log = mmap(NULL, sizeof *self.log, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true(self.log != MAP_FAILED);
  fflush(NULL);
  self.pid = fork();
  assert_true(self.pid >= 0);
  if (self.pid == 0)
    server_main(listener, steps, nsteps, self.log);
  close(listener);
  return self;
}

static inline void server_stop(server *self)
{
  if (self->pid > 0) {
    kill(self->pid, SIGKILL);
    waitpid(self->pid, NULL, 0);
    munmap(self->log, sizeof *self->log);
  }
  self->pid = 0;
}

/* Waits until a counter of the log has come to n; fails after 5 s. */
static inline void server_expect(_Atomic int *counter, int n)
{
  int tries;

  for (tries = 0; tries < 5000 && atomic_load(counter) < n; tries++)
    server_sleep(1);
  assert_int_equal(atomic_load(counter), n);
}

#endif
