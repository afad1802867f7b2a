#include "retry.h"

#include <string.h>

enum { LOCKED = 423, TOO_MANY_REQUESTS = 429, BEING_MOVED = 477, UNAVAILABLE = 503 };
enum { TENTHS_MAX = 100, TENTHS_RETRY = 10, TENTHS_SUCCESS = 1 };

#define BACKOFF_BASE (HSA_SECOND / 2)
#define BACKOFF_CAP (8 * HSA_SECOND)
#define LOCKED_WAIT (2 * HSA_SECOND)
#define RATE_WAIT (10 * HSA_SECOND) /* HubSpot's burst window, where it does not tell */

void hsa_budget_init(hsa_budget *budget)
{
  budget->tenths = TENTHS_MAX;
}

void hsa_budget_success(hsa_budget *budget)
{
  if (budget->tenths < TENTHS_MAX)
    budget->tenths += TENTHS_SUCCESS;
}

static bool take(hsa_budget *budget)
{
  if (budget->tenths < TENTHS_RETRY)
    return false;
  budget->tenths -= TENTHS_RETRY;
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

/* May it be different next time? */
static bool is_passing(const hsa_result *result)
{
  int status = result->http_status;

  switch (result->kind) {
  case HSA_TIMEOUT:
  case HSA_TRANSPORT:
    return true;
  case HSA_PROTOCOL:
    return result->cut_short;
  case HSA_API:
    return status == 408 || status >= 500 || is_throttle(status);
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

static int64_t backoff(int attempt, double random)
{
  int64_t limit = BACKOFF_BASE;

  while (attempt-- > 1 && limit < BACKOFF_CAP)
    limit *= 2;
  return (int64_t)((double)(limit < BACKOFF_CAP ? limit : BACKOFF_CAP) * random);
}

/* What the server wants to be waited for, or -1. */
static int64_t wanted_wait(const hsa_result *result)
{
  if (result->http_status == LOCKED)
    return result->retry_after > LOCKED_WAIT ? result->retry_after : LOCKED_WAIT;
  if (result->retry_after >= 0)
    return result->retry_after;
  if (result->http_status == TOO_MANY_REQUESTS)
    return result->headers.rate.interval_ms > 0 && result->headers.rate.interval_ms <= 86400000
             ? result->headers.rate.interval_ms * 1000
             : RATE_WAIT;
  return -1;
}

static bool wants_refresh(const hsa_retry_input *in)
{
  return in->result->kind == HSA_API && in->result->http_status == 401 && in->refreshable &&
         in->attempt < in->max_attempts && in->now < in->deadline &&
         json_has(&in->result->body, "\"category\"", "\"EXPIRED_AUTHENTICATION\"");
}

hsa_verdict hsa_retry_judge(const hsa_retry_input *in, hsa_budget *budget)
{
  const hsa_result *result = in->result;
  hsa_verdict out = {.action = HSA_GIVE_UP, .kind = result->kind, .retry_after = -1};
  int64_t wanted = -1;

  if (result->kind == HSA_SUCCESS) {
    hsa_budget_success(budget);
    return out;
  }
  out.ambiguous = in->ambiguous || (in->effect != HSA_SAFE && may_be_applied(result));
  if (result->kind == HSA_API && is_throttle(result->http_status)) {
    out.kind = HSA_THROTTLED;
    out.daily = result->http_status == TOO_MANY_REQUESTS && json_has(&result->body, "\"policyName\"", "\"DAILY\"");
    out.throttled = result->http_status == TOO_MANY_REQUESTS && !out.daily;
  }
  if (wants_refresh(in)) {
    out.action = HSA_REFRESH;
    return out;
  }
  out.retry_after = result->retry_after;
  if (!is_passing(result) || out.daily)
    return out;
  wanted = wanted_wait(result);
  out.retry_after = wanted;
  out.retryable = in->effect != HSA_ONCE || !out.ambiguous;
  out.delay = backoff(in->attempt, in->random);
  if (wanted > out.delay)
    out.delay = wanted;
  if (out.retryable && in->attempt < in->max_attempts && out.delay < in->deadline - in->now && take(budget))
    out.action = HSA_RETRY;
  return out;
}
