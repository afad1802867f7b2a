/* connection.c - what is known of each connection, beside what libcurl knows: whether a request may be sent on it. */
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "handles.h"

#ifdef POLLRDHUP
#define END_OF_STREAM POLLRDHUP /* seen behind what has not been read yet */
#else
#define END_OF_STREAM 0
#endif

static void unref(hsa_connection *connection)
{
  if (--connection->users == 0)
    free(connection);
}

void hsa_connection_opened(hsa_transport *transport, int fd)
{
  hsa_connection *connection = fd >= 0 ? calloc(1, sizeof *connection) : NULL;

  if (!connection)
    return; /* then nothing is known of it */
  connection->fd = fd;
  connection->users = 1;
  connection->silent_since = INT64_MIN;
  connection->last_stream = INT64_MAX;
  connection->next = transport->connections;
  transport->connections = connection;
  transport->nopening++;
}

void hsa_connection_closed(hsa_transport *transport, int fd)
{
  hsa_connection **at = &transport->connections, *connection;

  while ((connection = *at) != NULL && connection->fd != fd)
    at = &connection->next;
  if (!connection)
    return;
  *at = connection->next;
  transport->nopening -= !connection->is_up;
  connection->fd = -1;
  unref(connection);
}

void hsa_connection_free_all(hsa_transport *transport)
{
  while (transport->connections)
    hsa_connection_closed(transport, transport->connections->fd);
}

/* Our end's port; 0 before it has one. */
static int port_of(int fd)
{
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage storage;
  } address = {.any.sa_family = AF_UNSPEC};
  socklen_t size = sizeof address;

  if (getsockname(fd, &address.any, &size) != 0)
    return 0;
  if (address.any.sa_family == AF_INET)
    return ntohs(address.v4.sin_port);
  return address.any.sa_family == AF_INET6 ? ntohs(address.v6.sin6_port) : 0;
}

hsa_connection *hsa_connection_at(const hsa_transport *transport, int port)
{
  hsa_connection *connection, *found = NULL;

  for (connection = transport->connections; connection; connection = connection->next) {
    if (!connection->port)
      connection->port = port_of(connection->fd);
    if (connection->port != port)
      continue;
    if (found)
      return NULL; /* to different addresses; nobody knows which it is */
    found = connection;
  }
  return found;
}

void hsa_connection_hold(hsa_transfer *transfer, hsa_connection *connection)
{
  if (connection)
    connection->users++;
  if (transfer->connection)
    unref(transfer->connection);
  transfer->connection = connection;
  transfer->is_reused = connection && connection->is_up;
  transfer->stream = 0;
}

/* Is what waits to be read a record of TLS? A new connection may have session tickets there, a proxy's too. */
static bool is_tls_record(int fd)
{
  unsigned char type = 0;

  return recv(fd, &type, 1, MSG_PEEK | MSG_DONTWAIT) == 1 && type >= 20 && type <= 23;
}

/* Over HTTP/1.1 nothing comes unasked: what does is no answer, or the end. Over HTTP/2 the server may write at any
 * time. */
bool hsa_connection_is_fit(const hsa_connection *connection, bool is_https)
{
  struct pollfd look = {.fd = connection->fd, .events = POLLIN | END_OF_STREAM};

  if (connection->silent_since > connection->came_at)
    return false;
  if (poll(&look, 1, 0) <= 0)
    return true;
  if (connection->is_http1 || look.revents & (POLLHUP | POLLERR | POLLNVAL | END_OF_STREAM))
    return false;
  return is_https || is_tls_record(connection->fd);
}

void hsa_connection_use(hsa_transport *transport, hsa_connection *connection)
{
  transport->nopening -= !connection->is_up;
  connection->is_up = true;
}

void hsa_connection_came(const hsa_transport *transport, int fd)
{
  hsa_connection *connection = transport->connections;

  while (connection && connection->fd != fd)
    connection = connection->next;
  if (connection)
    connection->came_at = hsa_now();
}

/* The number behind the words, or -1. */
static int64_t number_behind(const char *text, const char *words)
{
  const char *at = strstr(text, words);

  return at ? strtoll(at + strlen(words), NULL, 10) : -1;
}

int hsa_connection_listen(CURL *easy, curl_infotype type, char *text, size_t len, void *data)
{
  hsa_transfer *transfer = data;
  char line[160];
  int64_t number;

  (void)easy;
  if (type != CURLINFO_TEXT || !transfer->connection || !transfer->result.sent)
    return 0;
  if (len > sizeof line - 1)
    len = sizeof line - 1;
  memcpy(line, text, len);
  line[len] = '\0';
  if (strstr(line, "ived GOAWAY, ") && (number = number_behind(line, "last_stream=")) >= 0)
    transfer->connection->last_stream = number;
  else if ((number = number_behind(line, "Using Stream ID: ")) > 0 || /* before 8.4 */
           (strstr(line, "] OPENED stream") && (number = number_behind(line, "[HTTP/2] [")) > 0))
    transfer->stream = number;
  return 0;
}

bool hsa_connection_has_refused(const hsa_transfer *transfer)
{
  return transfer->connection && transfer->header_bytes == 0 && transfer->stream > transfer->connection->last_stream;
}

void hsa_connection_learn(const hsa_transfer *transfer, CURLcode code)
{
  hsa_connection *connection = transfer->result.sent ? transfer->connection : NULL;
  long version = 0;

  if (!connection)
    return;
  /* libcurl reads while it writes a request, too: then no socket was ready, but this has been answered since. */
  if (transfer->header_bytes > 0 && connection->came_at < transfer->result.sent_at)
    connection->came_at = transfer->result.sent_at;
  if (code == CURLE_OPERATION_TIMEDOUT && connection->came_at < transfer->result.sent_at)
    connection->silent_since = transfer->result.sent_at;
  else if (code == CURLE_OK && curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_VERSION, &version) == CURLE_OK) {
    connection->is_http1 = version == CURL_HTTP_VERSION_1_0 || version == CURL_HTTP_VERSION_1_1;
    transfer->transport->is_http1 = connection->is_http1;
  }
}
