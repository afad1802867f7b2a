/* The rules of trying again. */
#include "unit.h"

#include "retry.h"

#define FAR (3600 * HSA_SECOND)
#define S HSA_SECOND
#define MS (HSA_SECOND / 1000)

enum { MAX_ATTEMPTS = 4, BUDGET = 10 };

/* How one attempt can end, and what follows from it (issue 2, "Retries"). */
typedef struct ending {
  const char *row;
  hsa_kind kind;
  int http_status;
  bool sent, cut_short;
  int64_t retry_after; /* us, by header; -1: none */
  bool passing;        /* may be tried again at all */
  bool applied;        /* the server may have done it: HSA_ONCE must not be sent again */
  int64_t wait;        /* worth coming back after, at least (us); -1: unknown, backoff alone */
} ending;

static const ending endings[] = {
  {"connect failed", HSA_TRANSPORT, 0, false, false, -1, true, false, -1},
  {"connect timed out", HSA_TIMEOUT, 0, false, false, -1, true, false, -1},
  {"broke after sending", HSA_TRANSPORT, 0, true, false, -1, true, true, -1},
  {"reset inside a 200", HSA_TRANSPORT, 200, true, false, -1, true, true, -1},
  {"timed out", HSA_TIMEOUT, 0, true, false, -1, true, true, -1},
  {"timed out inside a 200", HSA_TIMEOUT, 200, true, false, -1, true, true, -1},
  {"200 cut short", HSA_PROTOCOL, 200, true, true, -1, true, true, -1},
  {"no HTTP", HSA_PROTOCOL, 0, true, false, -1, false, true, -1},
  {"200 too large", HSA_PROTOCOL, 200, true, false, -1, false, true, -1},
  {"could not be set up", HSA_CONFIG, 0, false, false, -1, false, false, -1},
  {"400", HSA_API, 400, true, false, -1, false, false, -1},
  {"400 with Retry-After", HSA_API, 400, true, false, 1 * S, false, false, 1 * S},
  {"401", HSA_API, 401, true, false, -1, false, false, -1},
  {"403", HSA_API, 403, true, false, -1, false, false, -1},
  {"404", HSA_API, 404, true, false, -1, false, false, -1},
  {"409", HSA_API, 409, true, false, -1, false, false, -1},
  {"422", HSA_API, 422, true, false, -1, false, false, -1},
  {"499", HSA_API, 499, true, false, -1, false, false, -1},
  {"408", HSA_API, 408, true, false, -1, true, true, -1},
  {"423", HSA_API, 423, true, false, -1, true, false, 2 * S},
  {"423 with Retry-After", HSA_API, 423, true, false, 5 * S, true, false, 5 * S},
  {"429", HSA_API, 429, true, false, -1, true, false, S / 4},
  {"429 with Retry-After", HSA_API, 429, true, false, 1 * S, true, false, 1 * S},
  {"477", HSA_API, 477, true, false, -1, true, false, S / 4},
  {"477 with Retry-After", HSA_API, 477, true, false, 600 * S, true, false, 600 * S},
  {"500", HSA_API, 500, true, false, -1, true, true, -1},
  {"500 with Retry-After", HSA_API, 500, true, false, 3 * S, true, true, 3 * S},
  {"501", HSA_API, 501, true, false, -1, true, true, -1},
  {"502", HSA_API, 502, true, false, -1, true, true, -1},
  {"503", HSA_API, 503, true, false, -1, true, true, -1},
  {"503 with Retry-After", HSA_API, 503, true, false, 1 * S, true, false, 1 * S},
  {"503 with Retry-After: 0", HSA_API, 503, true, false, 0, true, false, 0},
  {"504", HSA_API, 504, true, false, -1, true, true, -1},
  {"599", HSA_API, 599, true, false, -1, true, true, -1},
};

static hsa_result make_result(const ending *how)
{
  hsa_result result = {.kind = how->kind, .http_status = how->http_status, .sent = how->sent,
                       .cut_short = how->cut_short, .retry_after = how->retry_after};

  hsa_headers_reset(&result.headers);
  hsa_buf_init(&result.body, 10000);
  return result;
}

static hsa_result api_result(int http_status, const char *body)
{
  const ending how = {.kind = HSA_API, .http_status = http_status, .sent = true, .retry_after = -1};
  hsa_result result = make_result(&how);

  assert_int_equal(hsa_buf_adds(&result.body, body), HSA_OK);
  return result;
}

static hsa_retry_input make_input(const hsa_result *result)
{
  return (hsa_retry_input){.result = result, .effect = HSA_IDEMPOTENT, .attempt = 1, .max_attempts = MAX_ATTEMPTS,
                           .rate_wait = -1, .now = 1000 * S, .deadline = 1000 * S + FAR};
}

/* With a full budget. */
static hsa_verdict judge(const hsa_retry_input *input)
{
  hsa_budget budget;

  hsa_budget_init(&budget, BUDGET);
  return hsa_retry_judge(input, &budget);
}

static bool is_throttle(int http_status)
{
  return http_status == 423 || http_status == 429 || http_status == 477;
}

/* With random = 0 the backoff is 0 (half of its limit after 423, 429, 477), so that only `wait` counts. */
static void check_ending(const ending *how, hsa_effect effect, int attempt, bool was_ambiguous, int64_t left)
{
  const hsa_result result = make_result(how);
  hsa_retry_input input = make_input(&result);
  bool ambiguous = was_ambiguous || (effect != HSA_SAFE && how->applied);
  bool retryable = how->passing && (effect != HSA_ONCE || !ambiguous);
  int64_t wait = how->wait > 0 ? how->wait : 0;
  bool is_free = is_throttle(how->http_status); /* of attempts: the deadline alone ends them */
  bool again = retryable && (is_free || attempt < MAX_ATTEMPTS) && wait < left;
  hsa_verdict verdict;

  input.effect = effect;
  input.attempt = attempt;
  input.ambiguous = was_ambiguous;
  input.deadline = input.now + left;
  verdict = judge(&input);
  expect_int(how->row, "action", verdict.action, again ? HSA_RETRY : HSA_GIVE_UP);
  expect_int(how->row, "kind", verdict.kind, is_throttle(how->http_status) ? HSA_THROTTLED : how->kind);
  expect_int(how->row, "ambiguous", verdict.ambiguous, ambiguous);
  expect_int(how->row, "retryable", verdict.retryable, retryable);
  expect_int(how->row, "retry_after", verdict.retry_after, how->wait);
  expect_int(how->row, "throttled", verdict.throttled, is_free);
  expect_int(how->row, "named", verdict.is_named, is_free && how->retry_after > 0);
  expect_int(how->row, "out of budget", verdict.out_of_budget, false);
  expect_int(how->row, "daily", verdict.daily, false);
  if (again)
    expect_int(how->row, "delay", verdict.delay, wait);
}

/* Of a kept connection that dies in the moment of its use. */
static void goes_on_free_of_charge(void **state)
{
  const ending how = {.kind = HSA_TRANSPORT, .sent = true, .retry_after = -1};
  hsa_result result = make_result(&how);
  hsa_retry_input input = make_input(&result);
  hsa_budget budget;
  hsa_verdict verdict;

  (void)state;
  result.died = true;
  input.max_attempts = 1;
  hsa_budget_init(&budget, 0);
  verdict = hsa_retry_judge(&input, &budget);
  assert_int_equal(verdict.action, HSA_GO_ON);
  assert_true(verdict.ambiguous);
  input.effect = HSA_SAFE;
  verdict = hsa_retry_judge(&input, &budget);
  assert_int_equal(verdict.action, HSA_GO_ON);
  assert_false(verdict.ambiguous);
  input.effect = HSA_ONCE;
  assert_int_equal(judge(&input).action, HSA_GIVE_UP);
  input.effect = HSA_IDEMPOTENT;
  input.now = input.deadline;
  assert_int_equal(judge(&input).action, HSA_GIVE_UP);
}

static void every_ending(void **state)
{
  static const hsa_effect effects[] = {HSA_SAFE, HSA_IDEMPOTENT, HSA_ONCE};
  size_t i, e;
  int attempt;

  (void)state;
  for (i = 0; i < COUNT(endings); i++)
    for (e = 0; e < COUNT(effects); e++)
      for (attempt = 1; attempt <= MAX_ATTEMPTS + 1; attempt++) {
        check_ending(&endings[i], effects[e], attempt, false, FAR);
        /* What was ambiguous once stays so, whatever comes later. */
        check_ending(&endings[i], effects[e], attempt, true, FAR);
      }
}

/* A wait that would not end before the deadline is not begun; retry_after still says when to come back. */
static void every_deadline(void **state)
{
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(endings); i++) {
    int64_t wait = endings[i].wait > 0 ? endings[i].wait : 0;

    check_ending(&endings[i], HSA_IDEMPOTENT, 1, false, wait + 1);
    check_ending(&endings[i], HSA_IDEMPOTENT, 1, false, wait);
    check_ending(&endings[i], HSA_IDEMPOTENT, 1, false, wait - 1);
    check_ending(&endings[i], HSA_IDEMPOTENT, 1, false, 0);
    check_ending(&endings[i], HSA_IDEMPOTENT, 1, false, -S); /* it has passed */
  }
}

static void success(void **state)
{
  const ending how = {.kind = HSA_SUCCESS, .http_status = 200, .sent = true, .retry_after = -1};
  const hsa_result result = make_result(&how);
  hsa_retry_input input = make_input(&result);
  hsa_verdict verdict;

  (void)state;
  input.ambiguous = true; /* settled now */
  verdict = judge(&input);
  assert_int_equal(verdict.action, HSA_GIVE_UP);
  assert_int_equal(verdict.kind, HSA_SUCCESS);
  assert_false(verdict.ambiguous);
  assert_false(verdict.retryable);
  assert_int_equal(verdict.retry_after, -1);
}

/* A random part of 0.5, 1, 2, 4, 8, 8, ... s. */
static void backs_off_with_full_jitter(void **state)
{
  static const int64_t limits[] = {S / 2, 1 * S, 2 * S, 4 * S, 8 * S, 8 * S, 8 * S};
  hsa_result result = api_result(500, "");
  hsa_retry_input input = make_input(&result);
  size_t i;

  (void)state;
  input.max_attempts = 1000000;
  for (i = 0; i < COUNT(limits); i++) {
    input.attempt = (int)i + 1;
    input.random = 0;
    assert_int_equal(judge(&input).delay, 0);
    input.random = 0.5;
    assert_int_equal(judge(&input).delay, limits[i] / 2);
    input.random = 0.9999999999999999;
    expect_between("at most", "delay", judge(&input).delay, limits[i] - 2, limits[i]);
  }
  input.attempt = 999999; /* doubled so often it would overflow */
  expect_between("late", "delay", judge(&input).delay, 8 * S - 2, 8 * S);
  hsa_buf_free(&result.body);
}

/* What the server asks for is a lower bound; so are HubSpot's own rules. */
static void waits_as_told(void **state)
{
  static const struct {
    const char *row;
    int http_status, attempt;
    int64_t retry_after, interval_ms;
    double random;
    int64_t delay;
  } rows[] = {
    {"Retry-After over backoff", 503, 1, 3 * S, -1, 0.9, 3 * S},
    {"backoff over Retry-After", 503, 5, 1 * S, -1, 0.5, 4 * S},
    {"Retry-After: 0", 503, 1, 0, -1, 0.5, S / 4},
    {"423", 423, 1, -1, -1, 0.9, 2 * S},
    {"423 waits 2 s in any case", 423, 1, 0, -1, 0, 2 * S},
    {"423 with a Retry-After of 1 s", 423, 1, 1 * S, -1, 0, 2 * S},
    {"423 again and again", 423, 5, -1, -1, 0.5, 6 * S},
    {"429, interval unknown", 429, 1, -1, -1, 0, S / 4},
    {"429, interval unknown, jitter", 429, 1, -1, -1, 0.5, 375 * MS},
    {"429, interval unknown, again", 429, 2, -1, -1, 0, S / 2},
    {"429, interval unknown, again and again", 429, 99, -1, -1, 0, 1 * S},
    {"429, interval", 429, 1, -1, 1000, 0, 1 * S},
    {"429, Retry-After over interval", 429, 1, 3 * S, 1000, 0, 3 * S},
    {"429, Retry-After: 0", 429, 1, 0, 1000, 0.5, 0},
    {"429, Retry-After: 0, again", 429, 2, 0, 1000, 0, S / 4},
    {"429, what is named is named each time", 429, 9, 1 * S, -1, 0.5, 1 * S},
    {"429, interval 0", 429, 1, -1, 0, 0, S / 4},
    {"429, interval of a day", 429, 1, -1, 86400000, 0, 60 * S},
    {"429, interval beyond sense", 429, 1, -1, INT64_MAX, 0, 60 * S},
    {"the interval is for 429 only", 500, 1, -1, 1000, 0, 0},
    {"477", 477, 1, 5 * S, -1, 0, 5 * S},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_result result = api_result(rows[i].http_status, "");
    hsa_retry_input input = make_input(&result);
    hsa_verdict verdict;

    result.retry_after = rows[i].retry_after;
    result.headers.rate.interval_ms = rows[i].interval_ms;
    input.attempt = rows[i].attempt;
    input.throttled = is_throttle(rows[i].http_status) ? rows[i].attempt - 1 : 0;
    input.max_attempts = 10;
    input.deadline = input.now + 2 * 86400 * S;
    input.random = rows[i].random;
    verdict = judge(&input);
    expect_int(rows[i].row, "action", verdict.action, HSA_RETRY);
    expect_int(rows[i].row, "delay", verdict.delay, rows[i].delay);
    hsa_buf_free(&result.body);
  }
}

/* A client that counts its sends knows when the oldest has left the window: that is when a 429 may come again. */
static void waits_for_the_oldest_send(void **state)
{
  static const struct {
    const char *row;
    int http_status, throttled;
    int64_t rate_wait, retry_after, delay;
  } rows[] = {
    {"one counts", 429, 0, 3 * S, -1, 3 * S},
    {"it leaves now", 429, 0, 0, -1, 0},
    {"none counts", 429, 0, -1, -1, S / 4},
    {"it did not help", 429, 1, 10 * MS, -1, S / 4},
    {"it did not help again and again", 429, 5, 10 * MS, -1, 1 * S},
    {"longer than the pause", 429, 2, 3 * S, -1, 3 * S},
    {"Retry-After", 429, 0, 3 * S, 1 * S, 1 * S},
    {"of 429 only", 477, 0, 3 * S, -1, S / 4},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_result result = api_result(rows[i].http_status, "");
    hsa_retry_input input = make_input(&result);

    result.headers.rate.interval_ms = 10000; /* as HubSpot tells it */
    result.retry_after = rows[i].retry_after;
    input.is_paced = true;
    input.rate_wait = rows[i].rate_wait;
    input.throttled = rows[i].throttled;
    expect_int(rows[i].row, "delay", judge(&input).delay, rows[i].delay);
    hsa_buf_free(&result.body);
  }
}

/* An account being moved says so for hours: the caller learns at once when to come back. */
static void moved_beyond_the_deadline(void **state)
{
  hsa_result result = api_result(477, "");
  hsa_retry_input input = make_input(&result);
  hsa_budget budget;
  hsa_verdict verdict;

  (void)state;
  hsa_budget_init(&budget, BUDGET);
  result.retry_after = 86400 * S;
  verdict = hsa_retry_judge(&input, &budget);
  assert_int_equal(verdict.action, HSA_GIVE_UP);
  assert_int_equal(verdict.kind, HSA_THROTTLED);
  assert_int_equal(verdict.retry_after, 86400 * S);
  assert_true(verdict.retryable);
  assert_int_equal(budget.halves, 2 * BUDGET); /* a retry that did not happen costs nothing */
  hsa_buf_free(&result.body);
}

static void daily_limit(void **state)
{
  static const struct {
    int http_status;
    const char *body;
    bool daily;
  } rows[] = {
    {429, "{\"status\":\"error\",\"policyName\":\"DAILY\"}", true},
    {429, "{\"policyName\" :\n \t\"DAILY\"}", true},
    {429, "{\"errors\":[{\"context\":{\"policyName\":\"DAILY\"}}]}", true},
    {429, "{\"policyName\":\"TEN_SECONDLY_ROLLING\"}", false},
    {429, "{\"policyName\":\"TEN_SECONDLY_ROLLING\",\"message\":\"not \\\"DAILY\\\"\"}", false},
    {429, "{\"policyName\":\"DAILY_ROLLING\"}", false},
    {429, "{\"message\":\"policyName: DAILY\"}", false},
    {429, "{\"policyName\":", false},
    {429, "{\"policyName\"", false},
    {429, "", false},
    {503, "{\"policyName\":\"DAILY\"}", false},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_result result = api_result(rows[i].http_status, rows[i].body);
    hsa_retry_input input = make_input(&result);
    hsa_verdict verdict = judge(&input);

    expect_int(rows[i].body, "daily", verdict.daily, rows[i].daily);
    expect_int(rows[i].body, "action", verdict.action, rows[i].daily ? HSA_GIVE_UP : HSA_RETRY);
    expect_int(rows[i].body, "kind", verdict.kind, rows[i].http_status == 429 ? HSA_THROTTLED : HSA_API);
    /* The rest of the day is not the rate's business: other calls are not held up by it. */
    expect_int(rows[i].body, "throttled", verdict.throttled, rows[i].http_status == 429 && !rows[i].daily);
    hsa_buf_free(&result.body);
  }
}

#define EXPIRED "{\"status\":\"error\",\"category\":\"EXPIRED_AUTHENTICATION\"}"

static void refreshes_the_token(void **state)
{
  static const struct {
    const char *row, *body;
    int http_status, attempt;
    bool refreshable;
    int64_t left;
    hsa_action action;
  } rows[] = {
    {"expired", EXPIRED, 401, 1, true, FAR, HSA_REFRESH},
    {"white space", "{ \"category\" : \"EXPIRED_AUTHENTICATION\" }", 401, 1, true, FAR, HSA_REFRESH},
    {"not twice, or there is no function", EXPIRED, 401, 2, false, FAR, HSA_GIVE_UP},
    {"one attempt left", EXPIRED, 401, MAX_ATTEMPTS - 1, true, FAR, HSA_REFRESH},
    {"none left", EXPIRED, 401, MAX_ATTEMPTS, true, FAR, HSA_GIVE_UP},
    {"time is up", EXPIRED, 401, 1, true, 0, HSA_GIVE_UP},
    {"another 401", "{\"category\":\"INVALID_AUTHENTICATION\"}", 401, 1, true, FAR, HSA_GIVE_UP},
    {"another field", "{\"subCategory\":\"EXPIRED_AUTHENTICATION\"}", 401, 1, true, FAR, HSA_GIVE_UP},
    {"no body", "", 401, 1, true, FAR, HSA_GIVE_UP},
    {"403", EXPIRED, 403, 1, true, FAR, HSA_GIVE_UP},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_result result = api_result(rows[i].http_status, rows[i].body);
    hsa_retry_input input = make_input(&result);
    hsa_budget budget = {0, 0}; /* a refresh needs none */
    hsa_verdict verdict;

    input.effect = HSA_ONCE;
    input.ambiguous = true;
    input.attempt = rows[i].attempt;
    input.refreshable = rows[i].refreshable;
    input.deadline = input.now + rows[i].left;
    verdict = hsa_retry_judge(&input, &budget);
    expect_int(rows[i].row, "action", verdict.action, rows[i].action);
    expect_int(rows[i].row, "kind", verdict.kind, HSA_API);
    expect_int(rows[i].row, "ambiguous", verdict.ambiguous, true);
    expect_int(rows[i].row, "budget", budget.halves, 0);
    hsa_buf_free(&result.body);
  }
}

/* Attempts that `calls` calls make in all while the server answers 500 to each. */
static int attempts_of_failing_calls(hsa_budget *budget, int calls)
{
  hsa_result result = api_result(500, "");
  hsa_retry_input input = make_input(&result);
  int attempts = 0;

  while (calls-- > 0) {
    input.attempt = 0;
    do {
      input.attempt++;
      attempts++;
    } while (hsa_retry_judge(&input, budget).action == HSA_RETRY);
  }
  hsa_buf_free(&result.body);
  return attempts;
}

static void budget_spares_a_server_that_only_fails(void **state)
{
  hsa_budget budget;

  (void)state;
  hsa_budget_init(&budget, BUDGET);
  /* 3 retries each for three calls, 1 for the fourth, none after. */
  assert_int_equal(attempts_of_failing_calls(&budget, 3), 12);
  assert_int_equal(attempts_of_failing_calls(&budget, 1), 2);
  assert_int_equal(attempts_of_failing_calls(&budget, 1000), 1000);
}

static void budget_comes_back_with_success(void **state)
{
  const ending how = {.kind = HSA_SUCCESS, .http_status = 200, .sent = true, .retry_after = -1};
  const hsa_result result = make_result(&how);
  const hsa_retry_input input = make_input(&result);
  hsa_budget budget;
  int i;

  (void)state;
  hsa_budget_init(&budget, BUDGET);
  attempts_of_failing_calls(&budget, 10);
  hsa_retry_judge(&input, &budget);
  assert_int_equal(attempts_of_failing_calls(&budget, 1), 1);
  hsa_retry_judge(&input, &budget); /* the second success pays for one retry */
  assert_int_equal(attempts_of_failing_calls(&budget, 2), 3);
  for (i = 0; i < 10000; i++)
    hsa_retry_judge(&input, &budget);
  assert_int_equal(attempts_of_failing_calls(&budget, 100), 110); /* never more than there was */
}

/* A budget that is used up ends the call, and the verdict says so; what it says of the error stays true. */
static void without_budget(void **state)
{
  hsa_result result = api_result(503, "");
  hsa_retry_input input = make_input(&result);
  hsa_budget budget = {1, 20};
  hsa_verdict verdict;

  (void)state;
  result.retry_after = 3 * S;
  verdict = hsa_retry_judge(&input, &budget);
  assert_int_equal(verdict.action, HSA_GIVE_UP);
  assert_int_equal(verdict.kind, HSA_API);
  assert_true(verdict.retryable);
  assert_true(verdict.out_of_budget);
  assert_int_equal(verdict.retry_after, 3 * S);
  assert_int_equal(budget.halves, 1);
  input.attempt = MAX_ATTEMPTS; /* not the budget ends it then */
  assert_false(hsa_retry_judge(&input, &budget).out_of_budget);
  hsa_buf_free(&result.body);
}

/* The server asks for patience: that costs no budget. */
static void throttling_needs_no_budget(void **state)
{
  static const int statuses[] = {423, 429, 477};
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(statuses); i++) {
    hsa_result result = api_result(statuses[i], "");
    hsa_retry_input input = make_input(&result);
    hsa_budget budget = {0, 0};

    input.attempt = 1000;
    assert_int_equal(hsa_retry_judge(&input, &budget).action, HSA_RETRY);
    assert_int_equal(budget.halves, 0);
    hsa_buf_free(&result.body);
  }
}

static void budget_without_end(void **state)
{
  hsa_budget budget;

  (void)state;
  hsa_budget_init(&budget, -1);
  assert_int_equal(attempts_of_failing_calls(&budget, 100), 100 * MAX_ATTEMPTS);
  hsa_budget_success(&budget);
  assert_int_equal(attempts_of_failing_calls(&budget, 1), MAX_ATTEMPTS);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_ending),
    cmocka_unit_test(goes_on_free_of_charge),
    cmocka_unit_test(every_deadline),
    cmocka_unit_test(success),
    cmocka_unit_test(backs_off_with_full_jitter),
    cmocka_unit_test(waits_as_told),
    cmocka_unit_test(waits_for_the_oldest_send),
    cmocka_unit_test(moved_beyond_the_deadline),
    cmocka_unit_test(daily_limit),
    cmocka_unit_test(refreshes_the_token),
    cmocka_unit_test(budget_spares_a_server_that_only_fails),
    cmocka_unit_test(budget_comes_back_with_success),
    cmocka_unit_test(without_budget),
    cmocka_unit_test(throttling_needs_no_budget),
    cmocka_unit_test(budget_without_end),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
