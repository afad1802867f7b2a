/* Calls that wait for leave from outside, and calls that end before their time. */
#include "clock.h"
#include "fixture.h"

#include <poll.h>

/* ---- parking ---- */

/* A call with HSA_PARK_EVERY asks when its turn has come: the engine must be driven until then. */
static hsa_call *start_asking(fixture *f, const hsa_request *request)
{
  hsa_call *call = start(f, request);

  assert_int_equal(hsa_call_run(call, hsa_now() + LIMIT), HSA_PARKED);
  return call;
}

static void parks_first(void **state)
{
  static const server_step steps[] = {{.reply = BUSY_REPLY}, {.reply = OK_REPLY}};
  fixture *f = *state;
  const hsa_request request = request_of(HSA_ONCE, HSA_PARK_FIRST);
  hsa_call *call;

  begin(f, steps, COUNT(steps));
  call = start(f, &request);
  assert_int_equal(hsa_call_state(call), HSA_PARKED);
  assert_int_equal(hsa_call_run(call, hsa_now() + LIMIT), HSA_PARKED); /* at once */
  assert_int_equal(hsa_call_reason(call), HSA_REASON_FIRST);
  assert_int_equal(hsa_call_proceed(call, NULL, 0), HSA_INVALID); /* it has none to keep */
  assert_int_equal(hsa_call_proceed(call, "", 0), HSA_INVALID);
  assert_int_equal(hsa_call_proceed(call, "a\r\nb", 0), HSA_INVALID);
  assert_int_equal(hsa_call_state(call), HSA_PARKED);
  assert_int_equal(hsa_call_proceed(call, "fresh", 0), HSA_OK);
  assert_int_equal(outcome_of(call)->kind, HSA_SUCCESS); /* its second attempt asked nobody */
  assert_int_equal(hsa_call_outcome(call)->attempts, 2);
  assert_non_null(strstr(seen(f, 1)->head, "Bearer fresh\r\n"));
  hsa_call_free(call);
}

static void parks_every_attempt(void **state)
{
  static const server_step steps[] = {{.reply = BUSY_REPLY}, {.reply = BUSY_REPLY}, {.reply = OK_REPLY}};
  fixture *f = *state;
  const hsa_request request = request_of(HSA_ONCE, HSA_PARK_EVERY);
  hsa_call *call;

  begin(f, steps, COUNT(steps));
  call = start_asking(f, &request);
  assert_int_equal(hsa_call_reason(call), HSA_REASON_FIRST);
  assert_int_equal(hsa_call_proceed(call, "one", 0), HSA_OK);
  assert_int_equal(hsa_call_run(call, hsa_now() + LIMIT), HSA_PARKED);
  assert_int_equal(hsa_call_reason(call), HSA_REASON_RETRY);
  assert_int_equal(hsa_call_proceed(call, NULL, 20 * MS), HSA_OK); /* with the token it has */
  assert_int_equal(hsa_call_run(call, hsa_now() + LIMIT), HSA_PARKED);
  assert_int_equal(hsa_call_reason(call), HSA_REASON_RETRY);
  assert_int_equal(hsa_call_proceed(call, "three", 0), HSA_OK);
  assert_int_equal(outcome_of(call)->kind, HSA_SUCCESS);
  assert_non_null(strstr(seen(f, 0)->head, "Bearer one\r\n"));
  assert_non_null(strstr(seen(f, 1)->head, "Bearer one\r\n"));
  assert_non_null(strstr(seen(f, 2)->head, "Bearer three\r\n"));
  hsa_call_free(call);
}

/* Who was stopped between his leave and its use asks again; who is that slow each time need not for ever. */
static void asks_again_when_leave_is_old(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  const hsa_request request = request_of(HSA_ONCE, HSA_PARK_EVERY);
  hsa_call *call;

  begin(f, steps, COUNT(steps));
  call = start_asking(f, &request);
  assert_int_equal(hsa_call_proceed(call, "token", 0), HSA_OK);
  hsa_clock_skip(2 * S);
  assert_int_equal(hsa_call_run(call, hsa_now() + LIMIT), HSA_PARKED);
  assert_int_equal(hsa_call_reason(call), HSA_REASON_FIRST);
  assert_int_equal(hsa_call_proceed(call, "token", 0), HSA_OK);
  hsa_clock_skip(2 * S);
  assert_int_equal(outcome_of(call)->kind, HSA_SUCCESS);
  assert_int_equal(hsa_call_outcome(call)->attempts, 1);
  assert_int_equal(requests(f), 1);
  hsa_call_free(call);
}

/* The token that it has now, and none while it has none. */
static void masks_its_token(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  static const struct {
    const char *text, *masked;
  } rows[] = {
    {"", ""},
    {"abcdabcx", "abcdabcx"},
    {"abcdabcd", "********"},
    {"xabcdabcd", "x********"},
    {"abcdabcdx", "********x"},
    {"abcdabcdabcd", "********abcd"},
    {"abcdabcdabcdabcd", "****************"},
    {"abcdabc", "abcdabc"},
  };
  fixture *f = *state;
  const hsa_request request = request_of(HSA_ONCE, HSA_PARK_FIRST);
  hsa_call *call;
  size_t i;

  begin(f, steps, 1);
  call = start(f, &request);
  assert_false(hsa_call_mask(call, (char[]){"abcdabcd"}, 8));
  assert_false(hsa_call_mask(NULL, (char[]){"abcdabcd"}, 8));
  assert_int_equal(hsa_call_proceed(call, "abcdabcd", 0), HSA_OK);
  for (i = 0; i < COUNT(rows); i++) {
    char text[24];

    snprintf(text, sizeof text, "%s", rows[i].text);
    expect_int(rows[i].text, "had it", hsa_call_mask(call, text, strlen(text)),
               strcmp(rows[i].text, rows[i].masked) != 0);
    expect_str(rows[i].text, "masked", text, rows[i].masked);
  }
  hsa_call_free(call);
}

/* A form bears no token; what is secret in it is masked, wherever a server repeats it. */
static void sends_a_form_without_a_token(void **state)
{
  static const server_step steps[] = {
    {.reply = "HTTP/1.1 400 x\r\nX-HubSpot-Correlation-Id: id-two\r\nContent-Length: 9\r\n\r\none, two!"}};
  static const hsa_param secrets[] = {{"", "one", 3}, {"", "", 0}, {"", "two", 3}};
  fixture *f = *state;
  hsa_request request = request_of(HSA_IDEMPOTENT, HSA_PARK_NEVER);
  const hsa_outcome *outcome;
  hsa_call *call;
  char text[10];

  begin(f, steps, 1);
  request.token = NULL;
  request.bears_no_token = true;
  request.is_form = true;
  request.secrets = secrets;
  request.nsecrets = COUNT(secrets);
  call = start(f, &request);
  outcome = outcome_of(call);
  assert_int_equal(outcome->http_status, 400);
  assert_string_equal(outcome->correlation_id, "id-***");
  snprintf(text, sizeof text, "%s", outcome->body);
  assert_true(hsa_call_mask(call, text, strlen(text)));
  assert_string_equal(text, "***, ***!");
  assert_null(strstr(seen(f, 0)->head, "Authorization"));
  assert_non_null(strstr(seen(f, 0)->head, "Content-Type: application/x-www-form-urlencoded\r\n"));
  hsa_call_free(call);
}

/* What a limiter outside hears of the answers: when each attempt left, and for how long all are to hold still. */
static void tells_of_every_answer(void **state)
{
  static const server_step steps[] = {
    {.reply = EXPIRED_REPLY},
    {.reply = "HTTP/1.1 423 Locked\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"},
    {.reply = OK_REPLY}};
  static const int statuses[] = {401, 423, 200};
  static const int64_t holds[] = {-1, 2 * HSA_SECOND, -1};
  fixture *f = *state;
  const hsa_request request = request_of(HSA_ONCE, HSA_PARK_EVERY);
  hsa_call *call;
  hsa_event event;
  int64_t before;
  int n = 0;

  f->config.events = HSA_EVENT_BIT(HSA_EVENT_RETRY) | HSA_EVENT_BIT(HSA_EVENT_DONE);
  begin(f, steps, COUNT(steps));
  call = start_asking(f, &request);
  while (n < 3) {
    before = hsa_now();
    assert_int_equal(hsa_call_proceed(call, "token", 0), HSA_OK);
    while (!hsa_call_event(call, &event))
      hsa_call_run(call, hsa_now() + LIMIT);
    assert_int_equal(event.http_status, statuses[n]);
    assert_int_equal(event.hold, holds[n]);
    expect_within(event.sent_at, before, hsa_now());
    expect_within(event.late, 0, LIMIT);
    assert_int_equal(event.type, n < 2 ? HSA_EVENT_RETRY : HSA_EVENT_DONE);
    n++;
    while (n < 3 && hsa_call_state(call) != HSA_PARKED)
      hsa_call_run(call, hsa_now() + LIMIT);
  }
  hsa_call_free(call);
}

/* The one that was refused goes first, but not before the one that has leave, whose connection it would wait for. */
static void leave_goes_before_need(void **state)
{
  static const server_step steps[] = {{.reply = "HTTP/1.1 429 No\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"},
                                      {.reply = OK_REPLY}, {.reply = OK_REPLY}};
  fixture *f = *state;
  const hsa_request request = request_of(HSA_ONCE, HSA_PARK_EVERY);
  hsa_call *refused, *other;

  f->config.max_connections = 1;
  begin(f, steps, COUNT(steps));
  refused = start_asking(f, &request);
  other = start(f, &request);
  assert_int_equal(hsa_call_proceed(refused, "token", 0), HSA_OK);
  assert_int_equal(hsa_call_run(other, hsa_now() + LIMIT), HSA_PARKED);
  assert_int_equal(hsa_call_proceed(other, "token", 0), HSA_OK);
  assert_int_equal(outcome_of(other)->kind, HSA_SUCCESS);
  assert_int_equal(hsa_call_run(refused, hsa_now() + LIMIT), HSA_PARKED);
  assert_int_equal(hsa_call_proceed(refused, NULL, 0), HSA_OK);
  assert_int_equal(outcome_of(refused)->attempts, 2);
  hsa_call_free(refused);
  hsa_call_free(other);
}

/* The expired token is asked for once; a second EXPIRED answer is the outcome. */
static void parks_when_expired(fixture *f, hsa_park park, const char *second_answer)
{
  const server_step steps[] = {{.reply = EXPIRED_REPLY}, {.reply = second_answer}};
  const hsa_request request = request_of(HSA_ONCE, park);
  hsa_call *call;

  begin(f, steps, COUNT(steps));
  call = start_asking(f, &request);
  assert_int_equal(hsa_call_proceed(call, "stale", 0), HSA_OK);
  assert_int_equal(hsa_call_run(call, hsa_now() + LIMIT), HSA_PARKED);
  assert_int_equal(hsa_call_reason(call), HSA_REASON_EXPIRED);
  assert_int_equal(hsa_call_proceed(call, "fresh", 0), HSA_OK);
  assert_int_equal(outcome_of(call)->http_status, strncmp(second_answer, EXPIRED_REPLY, 12) == 0 ? 401 : 200);
  assert_int_equal(hsa_call_outcome(call)->attempts, 2);
  assert_non_null(strstr(seen(f, 1)->head, "Bearer fresh\r\n"));
  hsa_call_free(call);
  finish(f);
}

static void expired_tokens(void **state)
{
  static const server_step steps[] = {{.reply = EXPIRED_REPLY}};
  fixture *f = *state;

  parks_when_expired(f, HSA_PARK_FIRST, OK_REPLY);
  parks_when_expired(f, HSA_PARK_FIRST, EXPIRED_REPLY);
  parks_when_expired(f, HSA_PARK_EVERY, OK_REPLY);
  parks_when_expired(f, HSA_PARK_EVERY, EXPIRED_REPLY);
  begin(f, steps, 1);
  assert_int_equal(status_of_one(f, HSA_ONCE), 401); /* a fixed token: nobody to ask */
  assert_int_equal(requests(f), 1);
}

static void goes_after_a_delay(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  const hsa_request request = request_of(HSA_ONCE, HSA_PARK_EVERY);
  hsa_call *call;
  int64_t began;

  begin(f, steps, 1);
  call = start_asking(f, &request);
  began = hsa_now();
  assert_int_equal(hsa_call_proceed(call, "token", 50 * MS), HSA_OK);
  assert_int_equal(hsa_call_state(call), HSA_RUNNING);
  assert_int_equal(outcome_of(call)->kind, HSA_SUCCESS);
  expect_within(hsa_now() - began, 50 * MS, LIMIT);
  hsa_call_free(call);
}

static void delay_beyond_the_deadline(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  static const int64_t delays[] = {LIMIT + S, INT64_MAX};
  fixture *f = *state;
  size_t i;

  begin(f, steps, 1);
  for (i = 0; i < COUNT(delays); i++) {
    const hsa_request request = request_of(HSA_ONCE, HSA_PARK_EVERY);
    hsa_call *call = start_asking(f, &request);

    assert_int_equal(hsa_call_proceed(call, "token", delays[i]), HSA_OK);
    assert_int_equal(outcome_of(call)->kind, HSA_THROTTLED);
    assert_int_equal(hsa_call_outcome(call)->retry_after, delays[i]);
    assert_int_equal(hsa_call_outcome(call)->attempts, 0);
    expect_within(hsa_call_outcome(call)->elapsed, 0, LIMIT / 2);
    hsa_call_free(call);
  }
  assert_int_equal(requests(f), 0);
}

static void refused(void **state)
{
  static const server_step steps[] = {{.reply = EXPIRED_REPLY}};
  fixture *f = *state;
  const hsa_request request = request_of(HSA_ONCE, HSA_PARK_FIRST);
  hsa_call *first, *second;

  begin(f, steps, 1);
  first = start(f, &request);
  hsa_call_refuse(first, HSA_CONFIG, false);
  assert_int_equal(outcome_of(first)->kind, HSA_CONFIG);
  assert_int_equal(hsa_call_outcome(first)->attempts, 0);
  second = start(f, &request);
  assert_int_equal(hsa_call_proceed(second, "stale", 0), HSA_OK);
  hsa_call_refuse(second, HSA_CONFIG, false); /* not parked: nothing happens */
  assert_int_equal(hsa_call_run(second, hsa_now() + LIMIT), HSA_PARKED);
  hsa_call_refuse(second, HSA_CONFIG, false); /* no fresh token */
  assert_int_equal(outcome_of(second)->kind, HSA_CONFIG);
  assert_int_equal(hsa_call_outcome(second)->attempts, 1);
  assert_false(hsa_call_outcome(second)->retryable);
  hsa_call_free(first);
  hsa_call_free(second);
}

/* However the caller finds out: by running it, by running another, or by letting it go too late. */
static void deadline_while_parked(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY, .delay = 40}};
  fixture *f = *state;
  hsa_request request = request_of(HSA_ONCE, HSA_PARK_FIRST);
  hsa_call *calls[4];
  size_t i;

  begin(f, steps, 1);
  request.deadline = hsa_now() + 20 * MS;
  for (i = 0; i < 3; i++)
    calls[i] = start(f, &request);
  calls[3] = start_simple(f, HSA_ONCE);
  server_sleep(25);
  assert_int_equal(hsa_call_run(calls[0], hsa_now() + LIMIT), HSA_DONE);
  assert_int_equal(hsa_call_proceed(calls[1], "late", 0), HSA_OK);
  assert_int_equal(outcome_of(calls[3])->kind, HSA_SUCCESS);
  for (i = 0; i < 3; i++) {
    assert_int_equal(hsa_call_state(calls[i]), HSA_DONE);
    assert_int_equal(hsa_call_outcome(calls[i])->kind, HSA_TIMEOUT);
    assert_int_equal(hsa_call_outcome(calls[i])->attempts, 0);
    assert_false(hsa_call_outcome(calls[i])->ambiguous);
    assert_true(hsa_call_outcome(calls[i])->retryable);
  }
  for (i = 0; i < 4; i++)
    hsa_call_free(calls[i]);
  assert_int_equal(requests(f), 1);
}

/* ---- ends before their time ---- */

/* A call in each stage: done, parked, waiting, queued behind the rate, sending. */
static void start_in_all_stages(fixture *f, hsa_call *calls[5])
{
  const hsa_request parked = request_of(HSA_ONCE, HSA_PARK_FIRST);

  f->config.rate_requests = 2;
  f->config.rate_interval = LIMIT / 4;
  begin(f, (const server_step[]){{.reply = OK_REPLY}, {.reply = NULL}}, 2);
  calls[0] = start_simple(f, HSA_ONCE);
  outcome_of(calls[0]);
  calls[1] = start(f, &parked);
  calls[2] = start(f, &parked);
  assert_int_equal(hsa_call_proceed(calls[2], "token", LIMIT / 2), HSA_OK);
  calls[3] = start_simple(f, HSA_ONCE);
  calls[4] = start_simple(f, HSA_ONCE);
  while (requests(f) < 2)
    assert_int_equal(hsa_call_run(calls[3], hsa_now() + MS), HSA_RUNNING);
}

static void engine_goes_first(void **state)
{
  fixture *f = *state;
  hsa_call *calls[5];
  int i;

  start_in_all_stages(f, calls);
  hsa_engine_free(f->engine);
  f->engine = NULL;
  assert_int_equal(hsa_call_outcome(calls[0])->kind, HSA_SUCCESS);
  assert_string_equal(hsa_call_outcome(calls[0])->body, "{}");
  for (i = 1; i < 5; i++) {
    assert_int_equal(hsa_call_run(calls[i], hsa_now() + LIMIT), HSA_DONE);
    assert_int_equal(hsa_call_outcome(calls[i])->kind, HSA_CANCELED);
    assert_int_equal(hsa_call_outcome(calls[i])->ambiguous, i == 3); /* the one that was being sent */
    assert_int_equal(hsa_call_outcome(calls[i])->attempts, i == 3);
    assert_int_equal(hsa_call_proceed(calls[i], "late", 0), HSA_OK);
    hsa_call_refuse(calls[i], HSA_CONFIG, false);
    assert_int_equal(hsa_call_outcome(calls[i])->kind, HSA_CANCELED);
  }
  for (i = 0; i < 5; i++)
    hsa_call_free(calls[i]);
  assert_int_equal(requests(f), 2);
}

/* As if it had been freed, but for the descriptor: what its user has not handed on yet can still be announced. */
static void a_closed_engine_keeps_its_descriptor(void **state)
{
  fixture *f = *state;
  hsa_call *calls[5], *late;
  struct pollfd poll_fd = {.events = POLLIN};
  int i;

  start_in_all_stages(f, calls);
  poll_fd.fd = hsa_engine_fd(f->engine);
  hsa_engine_close(f->engine);
  hsa_engine_close(f->engine);
  assert_null(hsa_engine_next(f->engine));
  hsa_engine_run(f->engine, INT64_MAX); /* there is nothing to wait for */
  assert_int_equal(poll(&poll_fd, 1, 0), 0);
  hsa_engine_announce(f->engine, true);
  assert_int_equal(poll(&poll_fd, 1, 0), 1);
  hsa_engine_announce(f->engine, false);
  assert_int_equal(poll(&poll_fd, 1, 0), 0);
  assert_int_equal(hsa_call_start(f->engine, &(hsa_request){.method = "GET", .path = "/", .token = "x"}, &late), HSA_INVALID);
  for (i = 0; i < 5; i++) {
    assert_int_equal(hsa_call_outcome(calls[i])->kind, i == 0 ? HSA_SUCCESS : HSA_CANCELED);
    hsa_call_free(calls[i]);
  }
  assert_int_equal(requests(f), 2);
}

/* In every order in which a list can lose its members. */
static void calls_go_first(void **state)
{
  static const int orders[][5] = {{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 0, 4, 1, 3}};
  fixture *f = *state;
  size_t o, i;

  for (o = 0; o < COUNT(orders); o++) {
    hsa_call *calls[5];

    start_in_all_stages(f, calls);
    for (i = 0; i < 5; i++)
      hsa_call_free(calls[orders[o][i]]);
    finish(f);
  }
  hsa_call_free(NULL);
  hsa_engine_free(NULL);
}

/* The cancelled call's connection is closed, for its answer may still come; the engine goes on. */
static void cancel_in_flight(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY, .delay = 100}, {.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *call;

  begin(f, steps, COUNT(steps));
  call = start_simple(f, HSA_ONCE);
  while (requests(f) == 0)
    hsa_call_run(call, hsa_now() + MS);
  hsa_call_free(call);
  assert_int_equal(status_of_one(f, HSA_ONCE), 200);
  assert_int_equal(seen(f, 1)->connection, 1);
  server_expect(&f->server.log->closed, 1); /* by us, seen after its late answer */
  assert_int_equal(requests(f), 2);
}

/* A queue that loses its first, middle or last member still sends the others, in order. */
static void cancel_in_the_queue(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  int gone, i;

  for (gone = 0; gone < 3; gone++) {
    hsa_call *calls[3];

    begin(f, steps, 1);
    for (i = 0; i < 3; i++) {
      hsa_request request = request_of(HSA_SAFE, HSA_PARK_NEVER);

      request.path = (const char *const[]){"/0", "/1", "/2"}[i];
      calls[i] = start(f, &request);
    }
    hsa_call_free(calls[gone]);
    for (i = 0; i < 3; i++)
      if (i != gone) {
        assert_int_equal(outcome_of(calls[i])->kind, HSA_SUCCESS);
        hsa_call_free(calls[i]);
      }
    assert_int_equal(requests(f), 2);
    finish(f);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    TEST(parks_first),
    TEST(parks_every_attempt),
    TEST(asks_again_when_leave_is_old),
    TEST(masks_its_token),
    TEST(sends_a_form_without_a_token),
    TEST(expired_tokens),
    TEST(tells_of_every_answer),
    TEST(leave_goes_before_need),
    TEST(goes_after_a_delay),
    TEST(delay_beyond_the_deadline),
    TEST(refused),
    TEST(deadline_while_parked),
    TEST(engine_goes_first),
    TEST(a_closed_engine_keeps_its_descriptor),
    TEST(calls_go_first),
    TEST(cancel_in_flight),
    TEST(cancel_in_the_queue),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
