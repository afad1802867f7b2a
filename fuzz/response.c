/* Responses over the network: whatever bytes come, a call ends, with a success only where an independent reader finds a
 * whole 2xx in them, and the engine is as good as new for the next call.
 *
 * The server is a thread of this process. It answers a request with the input, and a request to /good as it should. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "hsa.h"

static const char GOOD[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

enum { MAX_INPUT = 4096 };

static struct {
  int listener;
  hsa_engine *engine;
  pthread_mutex_t lock; /* of the input: its call may be over before it is answered, and another one begun */
  uint8_t data[MAX_INPUT]; /* what the next odd request is answered with */
  size_t len;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void set_input(const uint8_t *data, size_t len)
{
  pthread_mutex_lock(&server.lock);
  server.len = len < MAX_INPUT ? len : MAX_INPUT;
  if (server.len)
    memcpy(server.data, data, server.len);
  pthread_mutex_unlock(&server.lock);
}

static void send_input(int fd)
{
  uint8_t data[MAX_INPUT];
  size_t len;

  pthread_mutex_lock(&server.lock);
  len = server.len;
  memcpy(data, server.data, len);
  pthread_mutex_unlock(&server.lock);
  (void)!send(fd, data, len, MSG_NOSIGNAL);
}

static void serve(int fd)
{
  char head[4096];
  size_t len = 0;
  ssize_t n;

  while (len < sizeof head - 1 && (n = recv(fd, head + len, sizeof head - 1 - len, 0)) > 0) {
    len += (size_t)n;
    head[len] = '\0';
    if (!strstr(head, "\r\n\r\n"))
      continue;
    if (strncmp(head, "GET /good", 9) != 0) {
      send_input(fd);
      break;
    }
    (void)!send(fd, GOOD, sizeof GOOD - 1, MSG_NOSIGNAL);
    len = 0;
  }
  shutdown(fd, SHUT_WR);
  while (recv(fd, head, sizeof head, 0) > 0) /* no reset, which might overtake the answer */
    ;
  close(fd);
}

static void *serve_one(void *data)
{
  serve((int)(intptr_t)data);
  return NULL;
}

static void *accept_all(void *data)
{
  (void)data;
  for (;;) {
    int fd = accept(server.listener, NULL, NULL);
    pthread_t thread;

    MUST(fd >= 0 && pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)fd) == 0);
    pthread_detach(thread);
  }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof address;
  char url[64];
  hsa_config config = {.base_url = url, .user_agent = "fuzz", .connect_timeout = 9 * HSA_SECOND, .max_response_bytes = 4096,
                       .max_connections = 2, .retry_budget = -1};
  pthread_t thread;

  (void)argc;
  (void)argv;
  server.listener = socket(AF_INET, SOCK_STREAM, 0);
  MUST(bind(server.listener, (struct sockaddr *)&address, len) == 0 && listen(server.listener, 16) == 0);
  MUST(getsockname(server.listener, (struct sockaddr *)&address, &len) == 0);
  MUST(pthread_create(&thread, NULL, accept_all, NULL) == 0);
  snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
  MUST(hsa_engine_new(&config, &server.engine) == HSA_OK);
  return 0;
}

static hsa_call *finish(const char *path, int64_t time)
{
  hsa_request request = {.method = "GET", .path = path, .effect = HSA_SAFE, .token = "t", .timeout = 9 * HSA_SECOND,
                         .deadline = hsa_now() + time, .max_attempts = 1};
  hsa_call *call;

  MUST(hsa_call_start(server.engine, &request, &call) == HSA_OK);
  MUST(hsa_call_run(call, INT64_MAX) == HSA_DONE);
  return call;
}

static bool begins_success(const char *at)
{
  return strncmp(at, "HTTP/2 2", 8) == 0 || (strncmp(at, "HTTP/1.", 7) == 0 && at[7] && strncmp(at + 8, " 2", 2) == 0);
}

/* Is there a head of a 2xx that ends, wherever it begins? (A reader that knows less than libcurl.) */
static bool has_whole_success(void)
{
  char *text = fuzz_copy((const char *)server.data, server.len), *at = text;
  bool found = false;

  while (!found && (size_t)(at - text) < server.len) {
    size_t left = server.len - (size_t)(at - text);

    found = begins_success(at) && (memmem(at, left, "\n\r\n", 3) || memmem(at, left, "\n\n", 2));
    at++;
  }
  free(text);
  return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
  hsa_call *call;
  const hsa_outcome *outcome;

  set_input(data, len);
  call = finish("/odd", HSA_SECOND / 10); /* a 429 is tried again until then */
  outcome = hsa_call_outcome(call);
  if (outcome->kind == HSA_SUCCESS)
    MUST(outcome->http_status / 100 == 2 && has_whole_success());
  MUST(outcome->body_len <= 4096 && outcome->detail && strlen(outcome->correlation_id) < 64);
  hsa_call_free(call);
  call = finish("/good", 9 * HSA_SECOND);
  outcome = hsa_call_outcome(call);
  MUST(outcome->kind == HSA_SUCCESS && outcome->body_len == 2 && memcmp(outcome->body, "{}", 2) == 0);
  hsa_call_free(call);
  return 0;
}
