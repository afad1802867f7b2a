/* retry.h - pure: after an attempt, try again at t or give up.
 *
 * Tried again: connection failures, timeouts, an answer cut short, 408, 423, 429 (not DAILY), 477,
 * 5xx. What must not be applied twice (HSA_ONCE) only if it surely was not applied. Waits are
 * "full jitter": a random part of 0.5 s doubled with each attempt, 8 s at most; Retry-After and
 * the server's rate interval are waited for in full. A wait that would not end before the deadline
 * is not begun. The budget keeps a client from multiplying the load of a server that only fails. */
#ifndef HSA_RETRY_H
#define HSA_RETRY_H

#include "result.h"

typedef struct hsa_budget {
  int tenths; /* tenths of a token */
} hsa_budget;

/* 10 tokens; a retry takes 1, a success gives back 0.1, never above 10. */
void hsa_budget_init(hsa_budget *budget);
void hsa_budget_success(hsa_budget *budget);

typedef struct hsa_retry_input {
  const hsa_result *result;
  hsa_effect effect;
  bool refreshable; /* a token can be asked for, and has not been asked for again in this call */
  bool ambiguous;   /* an earlier attempt of the call may have been applied */
  int attempt;      /* 1: it was the first */
  int max_attempts;
  int64_t now, deadline; /* points in time */
  double random;         /* 0 <= random < 1 */
} hsa_retry_input;

typedef enum hsa_action { HSA_GIVE_UP, HSA_RETRY, HSA_REFRESH } hsa_action;

typedef struct hsa_verdict {
  hsa_action action;
  hsa_kind kind;       /* of the result; THROTTLED where it was that */
  int64_t delay;       /* us, with HSA_RETRY */
  bool throttled;      /* the server wants the whole client to wait `retry_after` */
  bool daily;          /* the daily limit is used up */
  bool ambiguous;      /* some attempt of the call may have been applied */
  bool retryable;      /* it may pass, and calling again is safe */
  int64_t retry_after; /* us until it is worth coming back; -1: unknown */
} hsa_verdict;

/* Judges what an attempt ended with; takes from the budget if the answer is HSA_RETRY. */
hsa_verdict hsa_retry_judge(const hsa_retry_input *input, hsa_budget *budget);

#endif
