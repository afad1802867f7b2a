/* pace.h - pure: when the next request may be sent.
 *
 * A server counts a request at some moment between its leaving and its answer. So a send holds its slot from its
 * leaving until its answer (or failure), and for the interval after that: no window of that length, wherever it begins
 * and whatever the travel times, then holds more than N. (A leaky bucket with a burst of N lets almost 2 N into one
 * window.) A small margin covers clocks that run at different speeds.
 *
 * The server's headers tell its own window. The configured one is replaced by it, or, if it is a ceiling, both hold.
 * That is for a minute: where no header tells it again, a single senseless one is forgotten.
 * Calls are of groups that the server may count apart (HubSpot exempts some from its limit), so headers are learned
 * for each group by itself. Every window counts the sends of all groups until the server has surely counted fewer.
 *
 * Sends of others on the same account show in what remains; they are counted as sends of this moment, the latest that
 * they can have been. While there are any, no more than half of what seems to be left is under way at a time, for they
 * send meanwhile. Where a ceiling leaves others a part of the server's rate, only what they send beyond that
 * counts.
 *
 * Who knows nothing yet, or has just been refused, sends one request and waits for its answer (PROBE_WAIT at most)
 * before sending more.
 *
 * Where several processes share a rate, each takes an equal part of both windows, rounded down; where there are more
 * processes than sends, one send in a window that is longer by as much, so that the rate is right on average. What
 * remains then tells nothing: the sends of others are allowed for already. */
#ifndef HSA_PACE_H
#define HSA_PACE_H

#include "hsa.h"

typedef enum hsa_send_kind { HSA_SEND_DONE, HSA_SEND_REFUSED, HSA_SEND_FOREIGN } hsa_send_kind;

typedef struct hsa_send {
  int64_t left, ended; /* points in time */
  hsa_send_kind kind;
} hsa_send;

typedef struct hsa_window {
  int64_t requests; /* 0: no such window */
  int64_t interval; /* us, margin included */
  int64_t open;     /* sends without an answer yet */
  hsa_send *sends;  /* the others, a ring in the order of `ended` */
  size_t cap;
  uint64_t count; /* ever in the ring; the newest is at (count - 1) % cap */
} hsa_window;

typedef struct hsa_group {
  hsa_window server;    /* as the headers tell it */
  int64_t told;         /* its interval, us, without margin */
  int64_t told_at;      /* when headers last told it */
  bool is_apart;        /* the server does not count the other groups' sends in it */
  int64_t heard_at;     /* when an answer last told, or could have told, of the rate */
  int64_t refused_at;   /* answers to what left before then tell nothing new */
  int64_t open;         /* sends of this group without an answer yet */
  int64_t probed_at;    /* when the first of them left */
  int64_t begun_at;     /* when the last of them did */
  int64_t foreign_at;   /* when others were last seen to send */
} hsa_group;

typedef struct hsa_pace {
  hsa_window own;
  int64_t own_interval; /* without margin */
  bool is_ceiling;      /* `own` stays when the server's is known */
  int shares;           /* 1: all of the rate is ours */
  bool is_mixed;        /* sends of more than one group were counted */
  int last_group;
  int64_t hold;         /* nothing is sent before this point in time ... */
  int hold_status;      /* ... for an answer had this HTTP status ... */
  bool is_hold_named;   /* ... and said how long, by Retry-After */
  hsa_group groups[HSA_RATE_GROUPS];
} hsa_pace;

/* A send that holds its slot: for hsa_pace_end. */
typedef struct hsa_slot {
  int group;
  int64_t left;
  unsigned windows; /* which count it */
} hsa_slot;

/* requests 0: no pacing at all, whatever the headers say. HSA_NOMEM. */
hsa_status hsa_pace_init(hsa_pace *pace, int64_t requests, int64_t interval, bool is_ceiling, int shares);
void hsa_pace_free(hsa_pace *pace);

typedef enum hsa_pace_reason {
  HSA_PACE_NOW,    /* nothing is in the way */
  HSA_PACE_OWN,    /* the configured rate */
  HSA_PACE_SERVER, /* the rate that the server's headers tell */
  HSA_PACE_HOLD,   /* the server has refused a request */
  HSA_PACE_PROBE   /* an answer is to come first, which tells more of the rate */
} hsa_pace_reason;

typedef struct hsa_leave {
  int64_t at; /* the earliest point in time, now or later, at which one more may be sent, as far as is known now */
  hsa_pace_reason reason;
} hsa_leave;

/* When a request of the group may be sent. */
hsa_leave hsa_pace_next(const hsa_pace *pace, int group, int64_t now);

/* A request of the group leaves: its slot is held until hsa_pace_end. */
hsa_slot hsa_pace_begin(hsa_pace *pace, int group, int64_t now);

typedef enum hsa_ending {
  HSA_ENDING_UNSENT, /* it did not leave: the slot is free again */
  HSA_ENDING_LOST,   /* given up before its answer */
  HSA_ENDING_DONE,   /* answered, or failed */
  HSA_ENDING_REFUSED /* answered with 429, 423 or 477 */
} hsa_ending;

/* The send has ended at `now`. */
void hsa_pace_end(hsa_pace *pace, const hsa_slot *slot, hsa_ending ending, int64_t now);

/* A request was refused with this HTTP status: nothing is sent before `until`, which is_named if the answer said how
 * long, and then one request first. */
void hsa_pace_hold(hsa_pace *pace, int64_t until, int http_status, bool is_named, int64_t now);

/* How long until the oldest send that counts for the group has left its window, in us; -1 if none counts. */
int64_t hsa_pace_oldest(const hsa_pace *pace, int group, int64_t now);

/* How many requests of the group may be sent at once, as far as is known; with pacing. */
int64_t hsa_pace_remaining(const hsa_pace *pace, int group, int64_t now);

/* Learns from the headers of a response received at `now` to a request that left at `sent_at`: what remains was
 * counted in between. HSA_NOMEM: nothing was learned. */
hsa_status hsa_pace_learn(hsa_pace *pace, int group, const hsa_rate_limit *rate, int64_t sent_at, int64_t now);

#endif
