/* fixture.h - an engine and the scripted server that it talks to, for one test. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "unit.h"

#include "hsa.h"
#include "server.h"

#define S HSA_SECOND
#define MS (HSA_SECOND / 1000)
#define LIMIT (10 * S) /* a test that takes this long has failed, also under valgrind */

#define OK_REPLY "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#define EXPIRED_REPLY \
  "HTTP/1.1 401 Unauthorized\r\nContent-Length: 37\r\n\r\n{\"category\":\"EXPIRED_AUTHENTICATION\"}"
/* Retried at once: Retry-After says "surely not applied", and 0 leaves the jitter alone (0.5 s at most). */
#define BUSY_REPLY "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"

typedef struct fixture {
  server server;
  hsa_config config;
  hsa_engine *engine;
  char base_url[64];
} fixture;

/* ---- setting up ---- */

static inline int set_up(void **state)
{
  fixture *f = calloc(1, sizeof *f);

  if (!f)
    return -1;
  f->config = (hsa_config){.base_url = f->base_url, .proxy = "", .user_agent = "unit-test/1", .connect_timeout = 5 * S,
                           .max_response_bytes = 10000, .max_connections = 4, .retry_budget = 100};
  *state = f;
  return 0;
}

static inline int tear_down(void **state)
{
  fixture *f = *state;

  hsa_engine_free(f->engine);
  server_stop(&f->server);
  free(f);
  return 0;
}

/* Starts the server and makes the engine, of f->config. */
static inline void begin(fixture *f, const server_step *steps, size_t nsteps)
{
  f->server = server_start(steps, nsteps);
  snprintf(f->base_url, sizeof f->base_url, "http://127.0.0.1:%d", f->server.port);
  assert_int_equal(hsa_engine_new(&f->config, &f->engine), HSA_OK);
}

/* For tests with a server per row. */
static inline void finish(fixture *f)
{
  hsa_engine_free(f->engine);
  f->engine = NULL;
  server_stop(&f->server);
}

static inline hsa_request request_of(hsa_effect effect, hsa_park park)
{
  return (hsa_request){.method = "POST", .path = "/x", .body = "{}", .body_len = 2, .effect = effect, .park = park,
                       .token = park == HSA_PARK_NEVER ? "token-one" : NULL, .timeout = LIMIT,
                       .deadline = hsa_now() + LIMIT, .max_attempts = 4};
}

static inline hsa_call *start(fixture *f, const hsa_request *request)
{
  hsa_call *call = NULL;

  assert_int_equal(hsa_call_start(f->engine, request, &call), HSA_OK);
  return call;
}

static inline hsa_call *start_simple(fixture *f, hsa_effect effect)
{
  const hsa_request request = request_of(effect, HSA_PARK_NEVER);

  return start(f, &request);
}

static inline const hsa_outcome *outcome_of(hsa_call *call)
{
  assert_int_equal(hsa_call_run(call, hsa_now() + LIMIT), HSA_DONE);
  return hsa_call_outcome(call);
}

/* A call from its beginning to its end; its status. */
static inline int status_of_one(fixture *f, hsa_effect effect)
{
  hsa_call *call = start_simple(f, effect);
  int status = outcome_of(call)->http_status;

  hsa_call_free(call);
  return status;
}

static inline server_request *seen(fixture *f, int n)
{
  assert_true(n < atomic_load(&f->server.log->requests));
  return &f->server.log->request[n];
}

static inline int requests(fixture *f)
{
  return atomic_load(&f->server.log->requests);
}

static inline int connections(fixture *f)
{
  return atomic_load(&f->server.log->connections);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

#endif
