/* The engine against a server of its own: what calls end with, and what the server saw of them. */
#include "fixture.h"

/* ---- one attempt ---- */

static void sends_what_was_asked_for(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  char base[64], token[] = "token-1", body[] = "{\"a\":1}", agent[] = "agent/2";
  static const hsa_param segments[] = {{"from", "a/b", 3}}, query[] = {{"limit", "5", 1}};
  fixture *f = *state;
  hsa_request request = request_of(HSA_ONCE, HSA_PARK_NEVER);
  hsa_call *call;

  f->config.base_url = base;
  f->config.user_agent = agent;
  f->server = server_start(steps, 1);
  snprintf(base, sizeof base, "http://127.0.0.1:%d/prefix/", f->server.port);
  assert_int_equal(hsa_engine_new(&f->config, &f->engine), HSA_OK);
  request.path = "/crm/{from}";
  request.segments = segments;
  request.nsegments = 1;
  request.query = query;
  request.nquery = 1;
  request.token = token;
  request.body = body;
  request.body_len = strlen(body);
  call = start(f, &request);
  memset(base, 'x', sizeof base - 1); /* all of it was copied */
  memset(token, 'x', sizeof token - 1);
  memset(body, 'x', sizeof body - 1);
  memset(agent, 'x', sizeof agent - 1);
  assert_int_equal(outcome_of(call)->kind, HSA_SUCCESS);
  assert_int_equal(strncmp(seen(f, 0)->head, "POST /prefix/crm/a%2Fb?limit=5 HTTP/1.1\r\n", 41), 0);
  assert_non_null(strstr(seen(f, 0)->head, "\r\nAuthorization: Bearer token-1\r\n"));
  assert_non_null(strstr(seen(f, 0)->head, "\r\nUser-Agent: agent/2\r\n"));
  assert_non_null(strstr(seen(f, 0)->head, "\r\nContent-Type: application/json\r\n"));
  assert_null(strcasestr(seen(f, 0)->head, "\r\nExpect:"));
  assert_null(strcasestr(seen(f, 0)->head, "\r\nCookie:"));
  assert_string_equal(seen(f, 0)->body, "{\"a\":1}");
  hsa_call_free(call);
}

/* One after the other on one connection, so that nothing of one stays in the next. */
static void methods_and_bodies(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  static const struct {
    const char *method, *body, *head;
    bool has_length; /* of the body, be it 0 */
  } rows[] = {
    {"POST", "{}", "POST /x HTTP/1.1\r\n", true},   {"GET", NULL, "GET /x HTTP/1.1\r\n", false},
    {"PUT", "[]", "PUT /x HTTP/1.1\r\n", true},     {"DELETE", NULL, "DELETE /x HTTP/1.1\r\n", false},
    {"PUT", NULL, "PUT /x HTTP/1.1\r\n", true},     {"POST", NULL, "POST /x HTTP/1.1\r\n", true},
    {"GET", NULL, "GET /x HTTP/1.1\r\n", false},    {"POST", "[1]", "POST /x HTTP/1.1\r\n", true},
  };
  fixture *f = *state;
  size_t i;

  begin(f, steps, 1);
  for (i = 0; i < COUNT(rows); i++) {
    hsa_request request = request_of(HSA_IDEMPOTENT, HSA_PARK_NEVER);
    hsa_call *call;

    request.method = rows[i].method;
    request.body = rows[i].body;
    request.body_len = rows[i].body ? strlen(rows[i].body) : 0;
    call = start(f, &request);
    expect_int(rows[i].method, "kind", outcome_of(call)->kind, HSA_SUCCESS);
    expect_int(rows[i].head, "begins so", strncmp(seen(f, (int)i)->head, rows[i].head, strlen(rows[i].head)), 0);
    expect_int(rows[i].head, "length", strstr(seen(f, (int)i)->head, "\r\nContent-Length:") != NULL,
               rows[i].has_length);
    expect_int(rows[i].head, "type", strstr(seen(f, (int)i)->head, "\r\nContent-Type:") != NULL, rows[i].body != NULL);
    expect_str(rows[i].head, "body", seen(f, (int)i)->body, rows[i].body ? rows[i].body : "");
    hsa_call_free(call);
  }
  assert_int_equal(connections(f), 1);
}

/* libcurl's handles are used again: each call gets its own URL, whatever was asked for before. */
static void each_call_has_its_url(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  static const char *const paths[] = {"/a", "/b", "/b", "/a", "/", "/a/b"};
  fixture *f = *state;
  size_t i;

  begin(f, steps, 1);
  for (i = 0; i < COUNT(paths); i++) {
    hsa_request request = request_of(HSA_SAFE, HSA_PARK_NEVER);
    char expected[32];
    hsa_call *call;

    request.path = paths[i];
    request.deadline = INT64_MAX; /* none */
    call = start(f, &request);
    expect_int(paths[i], "kind", outcome_of(call)->kind, HSA_SUCCESS);
    snprintf(expected, sizeof expected, "POST %s HTTP/1.1\r\n", paths[i]);
    expect_int(paths[i], "sent", strncmp(seen(f, (int)i)->head, expected, strlen(expected)), 0);
    hsa_call_free(call);
  }
}

/* From 1 MB on libcurl would ask with Expect first, and wait a second for the answer. */
static void large_bodies_go_at_once(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  static const size_t lens[] = {2, 1100 * 1000, 2};
  static char body[1100 * 1000];
  fixture *f = *state;
  size_t i;

  begin(f, steps, 1);
  memset(body, ' ', sizeof body);
  for (i = 0; i < COUNT(lens); i++) {
    hsa_request request = request_of(HSA_ONCE, HSA_PARK_NEVER);
    char expected[40];
    hsa_call *call;

    request.body = body;
    request.body_len = lens[i];
    call = start(f, &request);
    assert_int_equal(outcome_of(call)->kind, HSA_SUCCESS);
    snprintf(expected, sizeof expected, "\r\nContent-Length: %zu\r\n", lens[i]);
    assert_non_null(strstr(seen(f, (int)i)->head, expected));
    assert_non_null(strstr(seen(f, (int)i)->head, "\r\nContent-Type: application/json\r\n"));
    assert_null(strcasestr(seen(f, (int)i)->head, "\r\nExpect:"));
    hsa_call_free(call);
  }
}

#define ENDLESS_HEADER "X-Filler: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n"

static char endless_headers[70 * 1024], large_body[11000 + 100];

static void make_large_replies(void)
{
  size_t len = (size_t)snprintf(endless_headers, sizeof endless_headers, "HTTP/1.1 200 OK\r\n");

  while (len + sizeof ENDLESS_HEADER < sizeof endless_headers)
    len += (size_t)snprintf(endless_headers + len, sizeof endless_headers - len, ENDLESS_HEADER);
  len = (size_t)snprintf(large_body, sizeof large_body, "HTTP/1.1 200 OK\r\nContent-Length: 10001\r\n\r\n");
  memset(large_body + len, ' ', 10001);
}

typedef struct ending {
  const char *row;
  server_step step;
  hsa_kind kind;
  hsa_code code;
  int http_status;
  bool ambiguous, retryable; /* of HSA_ONCE */
} ending;

static void check_ending(fixture *f, const ending *row)
{
  hsa_request request = request_of(HSA_ONCE, HSA_PARK_NEVER);
  const hsa_outcome *outcome;
  hsa_call *call;

  request.max_attempts = 1;
  if (row->kind == HSA_TIMEOUT)
    request.timeout = row->http_status ? S : 300 * MS; /* time for the head to come, also on a busy machine */
  begin(f, &row->step, 1);
  call = start(f, &request);
  outcome = outcome_of(call);
  expect_int(row->row, "kind", outcome->kind, row->kind);
  expect_int(row->row, "code", outcome->code, row->code);
  expect_int(row->row, "http_status", outcome->http_status, row->http_status);
  expect_int(row->row, "ambiguous", outcome->ambiguous, row->ambiguous);
  expect_int(row->row, "retryable", outcome->retryable, row->retryable);
  expect_int(row->row, "attempts", outcome->attempts, 1);
  expect_int(row->row, "requests", requests(f), 1);
  if (row->kind == HSA_PROTOCOL || row->kind == HSA_TRANSPORT || row->kind == HSA_TIMEOUT)
    expect_int(row->row, "says why", outcome->detail[0] != '\0', true);
  hsa_call_free(call);
  finish(f);
}

static void every_ending(void **state)
{
  static const ending rows[] = {
    {"200", {.reply = OK_REPLY}, HSA_SUCCESS, 0, 200, false, false},
    {"204", {.reply = "HTTP/1.1 204 No Content\r\n\r\n"}, HSA_SUCCESS, 0, 204, false, false},
    {"207", {.reply = "HTTP/1.1 207 M\r\nContent-Length: 0\r\n\r\n"}, HSA_SUCCESS, 0, 207, false, false},
    {"100, then 200", {.reply = "HTTP/1.1 100 Continue\r\n\r\n" OK_REPLY}, HSA_SUCCESS, 0, 200, false, false},
    {"404", {.reply = "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"}, HSA_API, 0, 404, false, false},
    {"400 cut short", {"HTTP/1.1 400 No\r\nContent-Length: 9\r\n\r\n{", SERVER_CLOSE, 0, 0, 0}, HSA_API, 0, 400, false,
     false},
    {"500", {.reply = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"}, HSA_API, 0, 500, true, false},
    {"429", {.reply = "HTTP/1.1 429 No\r\nRetry-After: 9999\r\nContent-Length: 0\r\n\r\n"}, HSA_THROTTLED, 0, 429, false, true},
    {"200 cut short", {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", SERVER_CLOSE, 0, 0, 0}, HSA_PROTOCOL, 0, 200,
     true, false},
    {"no HTTP", {"hello\r\n", SERVER_CLOSE, 0, 0, 0}, HSA_PROTOCOL, 0, 0, true, false},
    {"headers without end", {endless_headers, SERVER_CLOSE, 0, 0, 0}, HSA_PROTOCOL, 0, 200, true, false},
    {"larger than allowed", {.reply = large_body}, HSA_PROTOCOL, 0, 200, true, false},
    {"closed without a reply", {NULL, SERVER_CLOSE, 0, 0, 0}, HSA_TRANSPORT, HSA_CODE_RECEIVE, 0, true, false},
    {"reset without a reply", {NULL, SERVER_RESET, 0, 0, 0}, HSA_TRANSPORT, HSA_CODE_RECEIVE, 0, true, false},
    {"no answer in time", {NULL, SERVER_KEEP, 0, 0, 0}, HSA_TIMEOUT, 0, 0, true, false},
    {"half an answer in time", {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", SERVER_KEEP, 0, 0, 0}, HSA_TIMEOUT, 0,
     200, true, false},
  };
  size_t i;

  make_large_replies();
  for (i = 0; i < COUNT(rows); i++)
    check_ending(*state, &rows[i]);
}

/* Never followed: the token would go along. */
static void redirects(void **state)
{
  static const server_step steps[] = {
    {.reply = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"}, {.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *call;

  begin(f, steps, COUNT(steps));
  call = start_simple(f, HSA_SAFE);
  assert_int_equal(outcome_of(call)->kind, HSA_PROTOCOL);
  assert_int_equal(hsa_call_outcome(call)->http_status, 302);
  assert_int_equal(requests(f), 1);
  hsa_call_free(call);
}

static void nobody_listens(void **state)
{
  fixture *f = *state;
  hsa_request request = request_of(HSA_ONCE, HSA_PARK_NEVER);
  const hsa_outcome *outcome;
  hsa_call *call;
  int port, fd = server_bind(&port); /* bound, so that nobody else can listen there */

  snprintf(f->base_url, sizeof f->base_url, "http://127.0.0.1:%d", port);
  assert_int_equal(hsa_engine_new(&f->config, &f->engine), HSA_OK);
  request.max_attempts = 1;
  call = start(f, &request);
  outcome = outcome_of(call);
  assert_int_equal(outcome->kind, HSA_TRANSPORT);
  assert_int_equal(outcome->code, HSA_CODE_CONNECT);
  assert_false(outcome->ambiguous); /* surely not applied */
  assert_true(outcome->retryable);
  assert_int_equal(outcome->attempts, 1);
  hsa_call_free(call);
  close(fd);
}

static void outcome_tells_all(void **state)
{
  static const char reply[] = "HTTP/1.1 400 Bad\r\nX-HubSpot-RateLimit-Max: 9\r\nX-HubSpot-RateLimit-Remaining: 8\r\n"
                              "X-HubSpot-RateLimit-Interval-Milliseconds: 7\r\nX-HubSpot-RateLimit-Daily: 6\r\n"
                              "X-HubSpot-RateLimit-Daily-Remaining: 5\r\nX-HubSpot-Correlation-Id: id-token-one\r\n"
                              "Retry-After: 3\r\nContent-Length: 21\r\n\r\n<token-one>\0token-one";
  static const server_step steps[] = {{.reply = reply, .delay = 20, .len = sizeof reply - 1}};
  fixture *f = *state;
  const hsa_outcome *outcome;
  hsa_call *call;
  char text[21];

  begin(f, steps, 1);
  call = start_simple(f, HSA_SAFE);
  outcome = outcome_of(call);
  assert_int_equal(outcome->rate.max, 9);
  assert_int_equal(outcome->rate.remaining, 8);
  assert_int_equal(outcome->rate.interval_ms, 7);
  assert_int_equal(outcome->rate.daily, 6);
  assert_int_equal(outcome->rate.daily_remaining, 5);
  assert_int_equal(outcome->body_len, 21); /* NUL and all, as it came */
  assert_memory_equal(outcome->body, "<token-one>\0token-one", 22);
  memcpy(text, outcome->body, sizeof text); /* what is shown of it goes through hsa_call_mask */
  assert_true(hsa_call_mask(call, text, sizeof text));
  assert_memory_equal(text, "<*********>\0*********", sizeof text);
  assert_string_equal(outcome->correlation_id, "id-*********");
  expect_within(outcome->elapsed, 20 * MS, LIMIT);
  hsa_call_free(call);
}

/* Handles are used again; what one answer said is not said of the next. */
static void nothing_of_the_last_answer(void **state)
{
  static const server_step steps[] = {
    {.reply = "HTTP/1.1 400 Bad\r\nX-HubSpot-RateLimit-Max: 9\r\nX-HubSpot-Correlation-Id: id\r\nRetry-After: 3\r\n"
              "Content-Length: 1\r\n\r\nx"},
    {.after = SERVER_CLOSE}};
  fixture *f = *state;
  const hsa_outcome *outcome;
  hsa_call *call;

  begin(f, steps, COUNT(steps));
  assert_int_equal(status_of_one(f, HSA_ONCE), 400);
  call = start_simple(f, HSA_ONCE);
  outcome = outcome_of(call);
  assert_int_equal(outcome->kind, HSA_TRANSPORT);
  assert_int_equal(outcome->http_status, 0);
  assert_int_equal(outcome->retry_after, -1);
  assert_int_equal(outcome->rate.max, -1);
  assert_string_equal(outcome->correlation_id, "");
  assert_string_equal(outcome->body, "");
  hsa_call_free(call);
}

static void refuses_what_cannot_be_sent(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  static char longest[9000];
  const hsa_param query = {"q", longest, sizeof longest}, dots = {"from", "..", 2};
  fixture *f = *state;
  hsa_request request;
  hsa_call *call = NULL;

  begin(f, steps, 1);
  memset(longest, 'x', sizeof longest);
  request = request_of(HSA_SAFE, HSA_PARK_NEVER);
  request.query = &query;
  request.nquery = 1;
  assert_int_equal(hsa_call_start(f->engine, &request, &call), HSA_TOOLARGE);
  request = request_of(HSA_SAFE, HSA_PARK_NEVER);
  request.path = "/{from}";
  assert_int_equal(hsa_call_start(f->engine, &request, &call), HSA_INVALID);
  request.segments = &dots;
  request.nsegments = 1;
  assert_int_equal(hsa_call_start(f->engine, &request, &call), HSA_INVALID);
  request = request_of(HSA_SAFE, HSA_PARK_NEVER);
  request.token = "a\r\nX: y";
  assert_int_equal(hsa_call_start(f->engine, &request, &call), HSA_INVALID);
  request.token = "";
  assert_int_equal(hsa_call_start(f->engine, &request, &call), HSA_INVALID);
  request.token = NULL;
  assert_int_equal(hsa_call_start(f->engine, &request, &call), HSA_INVALID);
  assert_null(call);
  assert_int_equal(status_of_one(f, HSA_SAFE), 200); /* the engine is none the worse */
  assert_int_equal(requests(f), 1);
}

/* ---- connections ---- */

static void reuses_the_connection(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  int i;

  begin(f, steps, 1);
  for (i = 0; i < 5; i++)
    assert_int_equal(status_of_one(f, i % 2 ? HSA_ONCE : HSA_IDEMPOTENT), 200);
  assert_int_equal(requests(f), 5);
  assert_int_equal(connections(f), 1);
}

/* The server has closed the idle connection: nothing was sent on it, so even HSA_ONCE goes through, once. */
static void replaces_a_closed_connection(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY, .after = SERVER_CLOSE}};
  fixture *f = *state;

  begin(f, steps, 1);
  assert_int_equal(status_of_one(f, HSA_ONCE), 200);
  server_expect(&f->server.log->closed, 1);
  assert_int_equal(status_of_one(f, HSA_ONCE), 200);
  assert_int_equal(requests(f), 2);
  assert_int_equal(connections(f), 2);
}

/* A reused connection dies after the request was read. libcurl would send it again by itself. */
static void dying_connection(fixture *f, server_after after, hsa_effect effect)
{
  const server_step steps[] = {{.reply = OK_REPLY}, {.after = after}, {.reply = OK_REPLY}};
  const hsa_outcome *outcome;
  hsa_call *call;

  begin(f, steps, COUNT(steps));
  assert_int_equal(status_of_one(f, effect), 200);
  call = start_simple(f, effect);
  outcome = outcome_of(call);
  assert_int_equal(seen(f, 1)->connection, 0); /* it was the reused one */
  if (effect == HSA_ONCE) {
    assert_int_equal(outcome->kind, HSA_TRANSPORT);
    assert_int_equal(outcome->code, HSA_CODE_RECEIVE);
    assert_int_equal(outcome->http_status, 0); /* not that of the call before */
    assert_true(outcome->ambiguous);
    assert_false(outcome->retryable);
    assert_int_equal(requests(f), 2);
  } else {
    assert_int_equal(outcome->kind, HSA_SUCCESS);
    assert_false(outcome->ambiguous);
    assert_int_equal(outcome->attempts, 1); /* libcurl's own second try: without a wait, at no cost to the budget */
    assert_int_equal(requests(f), 3);
  }
  hsa_call_free(call);
  finish(f);
}

static void dying_connections(void **state)
{
  dying_connection(*state, SERVER_CLOSE, HSA_ONCE);
  dying_connection(*state, SERVER_RESET, HSA_ONCE);
  dying_connection(*state, SERVER_CLOSE, HSA_IDEMPOTENT);
  dying_connection(*state, SERVER_RESET, HSA_IDEMPOTENT);
  dying_connection(*state, SERVER_CLOSE, HSA_SAFE);
}

/* Neither answer is sent before both requests are there. */
static void two_calls_at_once(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY, .together = 2}};
  fixture *f = *state;
  hsa_call *a, *b;

  begin(f, steps, 1);
  a = start_simple(f, HSA_ONCE);
  b = start_simple(f, HSA_ONCE);
  assert_int_equal(outcome_of(a)->kind, HSA_SUCCESS);
  assert_int_equal(outcome_of(b)->kind, HSA_SUCCESS);
  assert_int_equal(connections(f), 2);
  hsa_call_free(a);
  hsa_call_free(b);
}

/* Driving one call drives the others. */
static void runs_all_calls(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY, .delay = 60, .together = 2}, {.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *slow, *quick;

  begin(f, steps, COUNT(steps));
  slow = start_simple(f, HSA_ONCE);
  while (requests(f) == 0) /* so that it gets the slow answer */
    assert_int_equal(hsa_call_run(slow, hsa_now() + MS), HSA_RUNNING);
  quick = start_simple(f, HSA_ONCE);
  assert_int_equal(outcome_of(slow)->kind, HSA_SUCCESS);
  assert_int_equal(hsa_call_state(quick), HSA_DONE);
  hsa_call_free(slow);
  hsa_call_free(quick);
}

static void run_returns_in_time(void **state)
{
  static const server_step steps[] = {{.reply = NULL}};
  fixture *f = *state;
  hsa_call *call;
  int64_t began;

  begin(f, steps, 1);
  call = start_simple(f, HSA_ONCE);
  began = hsa_now();
  assert_int_equal(hsa_call_run(call, began + 30 * MS), HSA_RUNNING);
  expect_within(hsa_now() - began, 30 * MS, LIMIT / 2);
  assert_int_equal(hsa_call_run(call, INT64_MIN), HSA_RUNNING); /* a look, no wait */
  hsa_call_free(call);
}

/* Polling alone, without ever waiting, brings a call to its end. */
static void polling_is_enough(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *call;
  int64_t limit = hsa_now() + LIMIT;

  begin(f, steps, 1);
  call = start_simple(f, HSA_ONCE);
  while (hsa_call_run(call, 0) == HSA_RUNNING && hsa_now() < limit)
    server_sleep(1);
  assert_int_equal(hsa_call_state(call), HSA_DONE);
  assert_int_equal(hsa_call_outcome(call)->kind, HSA_SUCCESS);
  hsa_call_free(call);
}

static void deadline_in_flight(void **state)
{
  static const server_step steps[] = {{.reply = NULL}};
  fixture *f = *state;
  hsa_request request = request_of(HSA_IDEMPOTENT, HSA_PARK_NEVER);
  hsa_call *call;

  begin(f, steps, 1);
  request.deadline = hsa_now() + 200 * MS; /* the attempt's own time would be longer */
  call = start(f, &request);
  assert_int_equal(outcome_of(call)->kind, HSA_TIMEOUT);
  assert_int_equal(hsa_call_outcome(call)->attempts, 1);
  assert_true(hsa_call_outcome(call)->ambiguous);
  expect_within(hsa_call_outcome(call)->elapsed, 150 * MS, LIMIT / 2);
  assert_int_equal(requests(f), 1);
  hsa_call_free(call);
}

/* A call that waits for a free connection has deadlines like any other, and nothing of it was sent. */
static void deadline_without_a_connection(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY, .delay = 1000}};
  fixture *f = *state;
  hsa_request request = request_of(HSA_ONCE, HSA_PARK_NEVER);
  hsa_call *first, *second;
  int64_t began;

  f->config.max_connections = 1;
  begin(f, steps, 1);
  first = start_simple(f, HSA_ONCE);
  while (requests(f) == 0)
    hsa_call_run(first, hsa_now() + MS);
  began = hsa_now();
  request.deadline = began + 50 * MS;
  second = start(f, &request);
  assert_int_equal(outcome_of(second)->kind, HSA_TIMEOUT);
  expect_within(hsa_now() - began, 50 * MS, 700 * MS);
  assert_false(hsa_call_outcome(second)->ambiguous);
  assert_int_equal(requests(f), 1);
  hsa_call_free(second);
  hsa_call_free(first);
}

/* ---- retries ---- */

static void tries_again(void **state)
{
  static const server_step steps[] = {{.reply = BUSY_REPLY}, {.reply = BUSY_REPLY, .after = SERVER_CLOSE},
                                      {.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *call;

  begin(f, steps, COUNT(steps));
  call = start_simple(f, HSA_ONCE);
  assert_int_equal(outcome_of(call)->kind, HSA_SUCCESS);
  assert_int_equal(hsa_call_outcome(call)->attempts, 3);
  assert_int_equal(hsa_call_outcome(call)->http_status, 200);
  assert_string_equal(hsa_call_outcome(call)->body, "{}");
  assert_string_equal(seen(f, 2)->body, "{}");
  hsa_call_free(call);
}

/* The answer says to come back after the deadline: nobody waits for that. */
static void fails_at_once_beyond_the_deadline(void **state)
{
  static const server_step steps[] = {
    {.reply = "HTTP/1.1 477 Moved\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"}};
  fixture *f = *state;
  const hsa_outcome *outcome;
  hsa_call *call;

  begin(f, steps, 1);
  call = start_simple(f, HSA_ONCE);
  outcome = outcome_of(call);
  assert_int_equal(outcome->kind, HSA_THROTTLED);
  assert_int_equal(outcome->attempts, 1);
  assert_int_equal(outcome->retry_after, 3600 * S);
  assert_true(outcome->retryable);
  expect_within(outcome->elapsed, 0, LIMIT / 2);
  hsa_call_free(call);
}

/* Retry-After on a 429 stops the whole client; the next call learns at once that it cannot be in time. */
static void a_429_holds_all_calls(void **state)
{
  static const server_step steps[] = {{.reply = "HTTP/1.1 429 No\r\nRetry-After: 100\r\nContent-Length: 0\r\n\r\n"},
                                      {.reply = OK_REPLY}};
  fixture *f = *state;
  const hsa_outcome *outcome;
  hsa_call *call;

  f->config.rate_requests = 100;
  f->config.rate_interval = 10 * S;
  begin(f, steps, COUNT(steps));
  assert_int_equal(status_of_one(f, HSA_SAFE), 429);
  call = start_simple(f, HSA_SAFE);
  outcome = outcome_of(call);
  assert_int_equal(outcome->kind, HSA_THROTTLED);
  assert_int_equal(outcome->attempts, 0);
  assert_int_equal(outcome->http_status, 0);
  assert_true(outcome->retryable);
  expect_within(outcome->retry_after, 95 * S, 100 * S);
  assert_int_equal(requests(f), 1);
  hsa_call_free(call);
}

/* Ambiguous once is ambiguous for good, whatever the last attempt says. */
static void ambiguity_stays(void **state)
{
  static const server_step steps[] = {{.after = SERVER_CLOSE}, {.reply = BUSY_REPLY}};
  fixture *f = *state;
  hsa_request request = request_of(HSA_IDEMPOTENT, HSA_PARK_NEVER);
  hsa_call *call;

  begin(f, steps, COUNT(steps));
  request.max_attempts = 2;
  call = start(f, &request);
  assert_int_equal(outcome_of(call)->kind, HSA_API);
  assert_int_equal(hsa_call_outcome(call)->http_status, 503); /* surely not applied, this one */
  assert_int_equal(hsa_call_outcome(call)->attempts, 2);
  assert_true(hsa_call_outcome(call)->ambiguous);
  assert_true(hsa_call_outcome(call)->retryable); /* it is idempotent */
  hsa_call_free(call);
}

/* ---- events ---- */

/* Runs a call to its end; writes its events as words into `text`. */
static void run_with_events(hsa_call *call, char *text, size_t size)
{
  static const char *const names[] = {"attempt", "retry", "wait", "done"};
  hsa_event event;
  hsa_state state;
  size_t len = 0;

  text[0] = '\0';
  do {
    state = hsa_call_run(call, hsa_now() + LIMIT);
    while (hsa_call_event(call, &event)) {
      len += (size_t)snprintf(text + len, size - len, "%s%s:%d", len ? " " : "", names[event.type], event.attempt);
      if (event.type == HSA_EVENT_RETRY || event.type == HSA_EVENT_DONE)
        len += (size_t)snprintf(text + len, size - len, "/%d", event.http_status);
      if (event.type == HSA_EVENT_RETRY || event.type == HSA_EVENT_WAIT)
        expect_within(event.delay, 0, S);
    }
  } while (state == HSA_RUNNING);
  assert_int_equal(state, HSA_DONE);
}

static void events_in_order(void **state)
{
  static const server_step steps[] = {{.reply = BUSY_REPLY}, {.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *call;
  hsa_event event;
  char text[200];

  f->config.events = ~0U;
  begin(f, steps, COUNT(steps));
  call = start_simple(f, HSA_ONCE);
  run_with_events(call, text, sizeof text);
  assert_string_equal(text, "attempt:1 retry:1/503 attempt:2 done:2/200");
  assert_false(hsa_call_event(call, &event));
  hsa_call_free(call);
}

static void a_wait_is_an_event(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *a, *b;
  char text[200];

  f->config.events = ~0U;
  f->config.rate_requests = 1;
  f->config.rate_interval = 50 * MS;
  begin(f, steps, 1);
  a = start_simple(f, HSA_ONCE);
  b = start_simple(f, HSA_ONCE);
  run_with_events(a, text, sizeof text);
  assert_string_equal(text, "attempt:1 done:1/200");
  run_with_events(b, text, sizeof text);
  assert_string_equal(text, "wait:0 attempt:1 done:1/200"); /* one wait, however often it was looked at */
  hsa_call_free(a);
  hsa_call_free(b);
}

/* Whoever does not read them still gets the outcome. */
static void events_unread(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *call;
  hsa_event event;

  f->config.events = ~0U;
  begin(f, steps, 1);
  call = start_simple(f, HSA_ONCE);
  assert_int_equal(hsa_call_run(call, hsa_now() + LIMIT), HSA_RUNNING); /* there is an event to read */
  hsa_engine_free(f->engine);
  f->engine = NULL;
  assert_int_equal(hsa_call_state(call), HSA_DONE);
  assert_true(hsa_call_event(call, &event));
  assert_int_equal(event.type, HSA_EVENT_ATTEMPT);
  assert_true(hsa_call_event(call, &event));
  assert_int_equal(event.type, HSA_EVENT_DONE);
  assert_int_equal(event.kind, HSA_CANCELED);
  assert_false(hsa_call_event(call, &event));
  hsa_call_free(call);
}

/* ---- pacing ---- */

static void keeps_the_rate(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  int64_t began = hsa_now();
  int i;

  f->config.rate_requests = 3;
  f->config.rate_interval = 100 * MS;
  begin(f, steps, 1);
  for (i = 0; i < 7; i++)
    assert_int_equal(status_of_one(f, HSA_SAFE), 200);
  expect_within(hsa_now() - began, 200 * MS, LIMIT); /* three, three, one */
}

/* What waited for a connection counts from when it left: two leave 200 ms apart, and so do the two after them. */
static void late_sends_count_late(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY, .delay = 200}, {.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *calls[4];
  int64_t began = hsa_now();
  size_t i;

  f->config.max_connections = 1;
  f->config.rate_requests = 2;
  f->config.rate_interval = 300 * MS;
  begin(f, steps, COUNT(steps));
  for (i = 0; i < COUNT(calls); i++)
    calls[i] = start_simple(f, HSA_ONCE);
  for (i = 0; i < COUNT(calls); i++) {
    assert_int_equal(outcome_of(calls[i])->kind, HSA_SUCCESS);
    hsa_call_free(calls[i]);
  }
  expect_within(hsa_now() - began, 500 * MS, LIMIT);
}

/* One that cannot be in time ends at once and does not stop those behind it. */
static void rate_beyond_the_deadline(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_request request = request_of(HSA_SAFE, HSA_PARK_NEVER);
  hsa_call *first, *hasty, *patient;

  f->config.rate_requests = 1;
  f->config.rate_interval = 200 * MS;
  begin(f, steps, 1);
  first = start_simple(f, HSA_SAFE);
  request.deadline = hsa_now() + 150 * MS;
  hasty = start(f, &request);
  patient = start_simple(f, HSA_SAFE);
  assert_int_equal(outcome_of(hasty)->kind, HSA_THROTTLED);
  assert_int_equal(hsa_call_outcome(hasty)->attempts, 0);
  expect_within(hsa_call_outcome(hasty)->retry_after, 100 * MS, LIMIT);
  assert_int_equal(hsa_call_state(patient), HSA_RUNNING);
  assert_int_equal(outcome_of(patient)->kind, HSA_SUCCESS);
  assert_int_equal(outcome_of(first)->kind, HSA_SUCCESS);
  hsa_call_free(first);
  hsa_call_free(hasty);
  hsa_call_free(patient);
}

/* ---- names ---- */

static void names(void **state)
{
  (void)state;
  assert_null(hsa_kind_name(HSA_SUCCESS));
  assert_string_equal(hsa_kind_name(HSA_API), "api");
  assert_string_equal(hsa_kind_name(HSA_THROTTLED), "throttled");
  assert_string_equal(hsa_kind_name(HSA_TIMEOUT), "timeout");
  assert_string_equal(hsa_kind_name(HSA_TRANSPORT), "transport");
  assert_string_equal(hsa_kind_name(HSA_PROTOCOL), "protocol");
  assert_string_equal(hsa_kind_name(HSA_CANCELED), "canceled");
  assert_string_equal(hsa_kind_name(HSA_CONFIG), "config");
  assert_null(hsa_code_name(HSA_CODE_NONE));
  assert_string_equal(hsa_code_name(HSA_CODE_RESOLVE), "resolve");
  assert_string_equal(hsa_code_name(HSA_CODE_CONNECT), "connect");
  assert_string_equal(hsa_code_name(HSA_CODE_TLS), "tls");
  assert_string_equal(hsa_code_name(HSA_CODE_PROXY), "proxy");
  assert_string_equal(hsa_code_name(HSA_CODE_SEND), "send");
  assert_string_equal(hsa_code_name(HSA_CODE_RECEIVE), "receive");
  assert_string_equal(hsa_code_name(HSA_CODE_OTHER), "other");
  assert_int_equal(strncmp(hsa_transport_version(), "libcurl/", 8), 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    TEST(sends_what_was_asked_for),
    TEST(methods_and_bodies),
    TEST(each_call_has_its_url),
    TEST(large_bodies_go_at_once),
    TEST(every_ending),
    TEST(redirects),
    TEST(nobody_listens),
    TEST(outcome_tells_all),
    TEST(nothing_of_the_last_answer),
    TEST(refuses_what_cannot_be_sent),
    TEST(reuses_the_connection),
    TEST(replaces_a_closed_connection),
    TEST(dying_connections),
    TEST(two_calls_at_once),
    TEST(runs_all_calls),
    TEST(run_returns_in_time),
    TEST(polling_is_enough),
    TEST(deadline_in_flight),
    TEST(deadline_without_a_connection),
    TEST(tries_again),
    TEST(fails_at_once_beyond_the_deadline),
    TEST(a_429_holds_all_calls),
    TEST(ambiguity_stays),
    TEST(events_in_order),
    TEST(a_wait_is_an_event),
    TEST(events_unread),
    TEST(keeps_the_rate),
    TEST(late_sends_count_late),
    TEST(rate_beyond_the_deadline),
    TEST(names),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
