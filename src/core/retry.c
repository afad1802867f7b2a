#include "retry.h"

#include <string.h>

enum { LOCKED = 423, TOO_MANY_REQUESTS = 429, BEING_MOVED = 477, UNAVAILABLE = 503 };
enum { HALVES_RETRY = 2, HALVES_SUCCESS = 1 };

#define BACKOFF_BASE (HSA_SECOND / 2)
#define BACKOFF_CAP (8 * HSA_SECOND)
#define RATE_CAP (2 * HSA_SECOND) /* after a 429: the window is open again within seconds, and one request alone asks */
#define LOCKED_WAIT (2 * HSA_SECOND)
#define MAX_RATE_WAIT (60 * HSA_SECOND) /* that an interval in headers can make */

void hsa_budget_init(hsa_budget *budget, int retries)
{
  budget->most = (int64_t)retries * HALVES_RETRY;
  budget->halves = budget->most;
}

void hsa_budget_success(hsa_budget *budget)
{
  if (budget->halves < budget->most)
    budget->halves += HALVES_SUCCESS;
}

static bool spend(hsa_budget *budget)
{
  if (budget->most < 0)
    return true;
  if (budget->halves < HALVES_RETRY)
    return false;
  budget->halves -= HALVES_RETRY;
  return true;
}

/* Is there "name": "value" in this JSON text, at any depth? Near enough for a decision to wait. */
static bool json_has(const hsa_buf *json, const char *name, const char *value)
{
  const char *at = hsa_buf_str(json);
  size_t len = strlen(name);

  while ((at = strstr(at, name)) != NULL) {
    const char *p = at + len + strspn(at + len, " \t\r\n");

    at += len;
    if (*p != ':')
      continue;
    p += 1 + strspn(p + 1, " \t\r\n");
    if (strncmp(p, value, strlen(value)) == 0)
      return true;
  }
  return false;
}

static bool is_throttle(int http_status)
{
  return http_status == LOCKED || http_status == TOO_MANY_REQUESTS || http_status == BEING_MOVED;
}

bool hsa_retry_is_throttled(const hsa_result *result)
{
  return result->kind == HSA_API && is_throttle(result->http_status);
}

/* May it be different next time? */
static bool is_passing(const hsa_result *result)
{
  int status = result->http_status;

  switch (result->kind) {
  case HSA_TIMEOUT:
    return true;
  case HSA_TRANSPORT:
    return !result->is_permanent;
  case HSA_PROTOCOL:
    return result->cut_short;
  case HSA_API:
    return status == 408 || status >= 500;
  default:
    return false;
  }
}

/* Can it be that the server did what this attempt asked for? */
static bool may_be_applied(const hsa_result *result)
{
  int status = result->http_status;

  if (!result->sent)
    return false;
  if (result->kind != HSA_API)
    return true;
  if (status == UNAVAILABLE)
    return result->retry_after < 0;
  return status == 408 || (status >= 500 && !is_throttle(status));
}

/* The longest pause before the attempt that follows the n-th. */
static int64_t backoff_limit(int n, int64_t cap)
{
  int64_t limit = BACKOFF_BASE;

  while (n-- > 1 && limit < cap)
    limit *= 2;
  return limit < cap ? limit : cap;
}

/* How long a 429 that names no time asks for, or -1. */
static int64_t rate_wait(const hsa_retry_input *in)
{
  int64_t interval = in->result->headers.rate.interval_ms;

  if (in->rate_wait >= 0)
    return in->rate_wait;
  if (in->is_paced || interval <= 0)
    return -1;
  return interval < MAX_RATE_WAIT / 1000 ? interval * 1000 : MAX_RATE_WAIT; /* what counts is not known */
}

/* Sets how long the whole client is to hold still after a 429, 423 or 477. */
static void judge_throttle(const hsa_retry_input *in, hsa_verdict *out)
{
  const hsa_result *result = in->result;
  int n = in->throttled;

  out->throttled = true;
  out->is_named = result->retry_after > 0;
  out->delay = result->retry_after;
  if (!out->is_named) {
    if (result->http_status == TOO_MANY_REQUESTS && result->retry_after < 0)
      out->delay = rate_wait(in);
    if (out->delay < 0)
      n++; /* nobody knows how long */
    if (n > 0) { /* at least half, so that nothing is knocked at */
      int64_t limit = backoff_limit(n, result->http_status == TOO_MANY_REQUESTS ? RATE_CAP : BACKOFF_CAP);
      int64_t pause = (int64_t)((double)limit * (0.5 + in->random / 2));

      out->delay = out->delay > pause ? out->delay : pause;
    }
  }
  if (result->http_status == LOCKED && out->delay < LOCKED_WAIT)
    out->delay = LOCKED_WAIT;
  out->retry_after = out->delay;
  out->retryable = in->effect != HSA_ONCE || !out->ambiguous;
  if (out->retryable && out->delay < in->deadline - in->now)
    out->action = HSA_RETRY;
}

static void judge_failure(const hsa_retry_input *in, hsa_budget *budget, hsa_verdict *out)
{
  out->retryable = in->effect != HSA_ONCE || !out->ambiguous;
  out->delay = (int64_t)((double)backoff_limit(in->attempt, BACKOFF_CAP) * in->random);
  if (out->retry_after > out->delay)
    out->delay = out->retry_after;
  if (!out->retryable || in->attempt >= in->max_attempts || out->delay >= in->deadline - in->now)
    return;
  out->out_of_budget = !spend(budget);
  out->action = out->out_of_budget ? HSA_GIVE_UP : HSA_RETRY;
}

static bool wants_refresh
(const hsa_retry_input *in)
{
  return in->result->kind == HSA_API && in->result->http_status == 401 && in->refreshable &&
         in->attempt < in->max_attempts && in->now < in->deadline &&
         json_has(&in->result->body, "\"category\"", "\"EXPIRED_AUTHENTICATION\"");
}

/* Has a kept connection died, as if by chance in the moment of its use? Then the attempt has not failed, but where the
 * request has arrived the server has counted it, and may have applied it. */
static bool goes_on(const hsa_retry_input *in)
{
  return in->result->died && in->effect != HSA_ONCE && in->now < in->deadline;
}

hsa_verdict hsa_retry_judge(const hsa_retry_input *in, hsa_budget *budget)
{
  const hsa_result *result = in->result;
  hsa_verdict out = {.action = HSA_GIVE_UP, .kind = result->kind, .retry_after = -1};

  if (result->kind == HSA_SUCCESS) {
    hsa_budget_success(budget);
    return out;
  }
  out.ambiguous = in->ambiguous || (in->effect != HSA_SAFE && may_be_applied(result));
  out.retry_after = result->retry_after;
  if (goes_on(in))
    out.action = HSA_GO_ON;
  else if (wants_refresh(in)) {
    out.action = HSA_REFRESH;
    out.retry_after = -1;
  } else if (hsa_retry_is_throttled(result)) {
    out.kind = HSA_THROTTLED;
    out.daily = result->http_status == TOO_MANY_REQUESTS && json_has(&result->body, "\"policyName\"", "\"DAILY\"");
    if (!out.daily)
      judge_throttle(in, &out);
  } else if (is_passing(result))
    judge_failure(in, budget, &out);
  return out;
}
