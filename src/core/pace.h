/* pace.h - pure: how many sends a rolling window allows.
 *
 * The times of the last N sends are kept. A send is allowed when the N-th last is older than the
 * window and a margin; so no window of that length, wherever it begins, ever holds more than N
 * (a leaky bucket with a burst of N lets almost 2 N into one). The margin covers the difference in
 * travel time between two requests.
 *
 * The server's headers tell its own window. The configured one is replaced by it, or, if it is a
 * ceiling, both hold. Sends of others on the same account show in what remains; they are counted
 * as sends of this moment, the latest that they can have been.
 *
 * Where several processes share a rate, each takes an equal part of both windows, rounded down; where there are more
 * processes than sends, one send in a window that is longer by as much, so that the rate is right on average. What
 * remains then tells nothing: the sends of others are allowed for already. */
#ifndef HSA_PACE_H
#define HSA_PACE_H

#include "hsa.h"

typedef struct hsa_window {
  int64_t requests; /* 0: no such window */
  int64_t interval; /* us, margin included */
} hsa_window;

typedef struct hsa_pace {
  hsa_window own, server;
  bool is_ceiling; /* `own` stays when `server` is known */
  int shares;      /* 1: all of the rate is ours */
  int64_t hold;    /* nothing is sent before this point in time */
  int64_t *sends;  /* ring of points in time, never decreasing */
  size_t cap;
  uint64_t count; /* sends ever counted; the newest is at (count - 1) % cap */
} hsa_pace;

/* requests 0: no pacing at all, whatever the headers say. HSA_NOMEM. */
hsa_status hsa_pace_init(hsa_pace *pace, int64_t requests, int64_t interval, bool is_ceiling, int shares);
void hsa_pace_free(hsa_pace *pace);

/* The earliest point in time, now or later, at which one more may be sent. */
int64_t hsa_pace_next(const hsa_pace *pace, int64_t now);

/* Counts a send at `now`; answers its number for hsa_pace_sent. */
uint64_t hsa_pace_count(hsa_pace *pace, int64_t now);

/* The send counted as `number` left at `at`, later than counted: a handshake came before it. */
void hsa_pace_sent(hsa_pace *pace, uint64_t number, int64_t at);

/* Nothing is sent before `until`: the server said so. */
void hsa_pace_hold(hsa_pace *pace, int64_t until);

/* Learns from the headers of a response received at `now` to a request that left at `sent_at`: what remains was
 * counted when it arrived. HSA_NOMEM: nothing was learned. */
hsa_status hsa_pace_learn(hsa_pace *pace, const hsa_rate_limit *rate, int64_t sent_at, int64_t now);

#endif
