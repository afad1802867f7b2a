/* retry.h - pure: after an attempt, try again at t or give up.
 *
 * Tried again: connection failures but permanent ones, timeouts, an answer cut short, 408, 423, 429 (not DAILY), 477,
 * 5xx. What must not be applied twice (HSA_ONCE) only if it surely was not applied. Waits are
 * "full jitter": a random part of 0.5 s doubled with each attempt, 8 s at most; Retry-After is waited
 * for in full. A wait that would not end before the deadline is not begun. The budget keeps a client
 * from multiplying the load of a server that only fails.
 *
 * 429, 423 and 477 are no failures: the server asks for patience. They cost neither attempts nor budget;
 * the deadline alone ends them. Where the server names no time, a 429 waits until the oldest send that
 * counts has left the window; if that does not help, or nothing counts, the pauses grow. */
#ifndef HSA_RETRY_H
#define HSA_RETRY_H

#include "result.h"

typedef struct hsa_budget {
  int64_t halves, most; /* half retries; most < 0: without end */
} hsa_budget;

/* So many retries (negative: without end); a success gives half a one back, never above what there was. */
void hsa_budget_init(hsa_budget *budget, int retries);
void hsa_budget_success(hsa_budget *budget);

typedef struct hsa_retry_input {
  const hsa_result *result;
  hsa_effect effect;
  bool refreshable; /* a token can be asked for, and has not been asked for again in this call */
  bool ambiguous;   /* an earlier attempt of the call may have been applied */
  int attempt;      /* 1: it was the first, of those that were not throttled */
  int max_attempts;
  int throttled;     /* attempts of the call before this one that were */
  bool is_paced;     /* sends are counted: then rate_wait tells what is known */
  int64_t rate_wait; /* us until the oldest send that counts has left the window; -1: unknown */
  int64_t now, deadline; /* points in time */
  double random;         /* 0 <= random < 1 */
} hsa_retry_input;

typedef enum hsa_action {
  HSA_GIVE_UP,
  HSA_RETRY,
  HSA_REFRESH,
  HSA_GO_ON /* the same attempt is sent once more, at once */
} hsa_action;

typedef struct hsa_verdict {
  hsa_action action;
  hsa_kind kind;       /* of the result; THROTTLED where it was that */
  int64_t delay;       /* us, with HSA_RETRY and with throttled */
  bool throttled;      /* the whole client is to hold still for `delay` */
  bool is_named;       /* with throttled: the server has said how long */
  bool out_of_budget;  /* only for want of budget it is not tried again */
  bool daily;          /* the daily limit is used up */
  bool ambiguous;      /* some attempt of the call may have been applied */
  bool retryable;      /* it may pass, and calling again is safe */
  int64_t retry_after; /* us until it is worth coming back; -1: unknown */
} hsa_verdict;

/* Was the attempt refused with 429, 423 or 477? */
bool hsa_retry_is_throttled(const hsa_result *result);

/* Judges what an attempt ended with; takes from the budget if the answer is HSA_RETRY. */
hsa_verdict hsa_retry_judge(const hsa_retry_input *input, hsa_budget *budget);

#endif
