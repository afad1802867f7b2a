/* timer.h - pure: a heap of deadlines. The earliest comes first; of equals, the first set. */
#ifndef HSA_TIMER_H
#define HSA_TIMER_H

#include "hsa.h"

/* Lives inside what it belongs to; zeroed means not set. */
typedef struct hsa_timer {
  int64_t at;     /* point in time, us */
  uint64_t order; /* breaks ties */
  size_t place;   /* index in the heap plus one; 0: not set */
} hsa_timer;

typedef struct hsa_timers {
  hsa_timer **heap;
  size_t len, cap;
  uint64_t count; /* timers ever set */
} hsa_timers;

/* Makes room for one more timer to be set; HSA_NOMEM. hsa_timer_set then cannot fail. */
hsa_status hsa_timers_reserve(hsa_timers *timers, size_t total);

/* Sets the timer, or moves it if it is set. */
void hsa_timer_set(hsa_timers *timers, hsa_timer *timer, int64_t at);

/* Takes it out; nothing happens if it is not set. */
void hsa_timer_clear(hsa_timers *timers, hsa_timer *timer);

/* The earliest one, or NULL. */
hsa_timer *hsa_timers_first(const hsa_timers *timers);

/* Frees the heap's memory, not the timers. */
void hsa_timers_free(hsa_timers *timers);

#endif
