/* engine.h - the inside of the engine. hsa.c has its public functions, driver.c moves it on, call.c knows what a
 * call goes through, fork.c what a fork does to it, thread.c the thread that may drive it. They lean on each other
 * in one direction: hsa.c > thread.c > driver.c > fork.c > call.c.
 *
 * All functions here but those of thread.c and fork.c are called with the engine's lock held. */
#ifndef HSA_ENGINE_H
#define HSA_ENGINE_H

#include <pthread.h>
#include <sys/types.h>

#include "hsa.h"
#include "notifier.h"
#include "pace.h"
#include "retry.h"
#include "timer.h"
#include "transport.h"

/* A call goes PARKED -> (WAITING ->) QUEUED -> SENDING, from there to WAITING or PARKED for another
 * attempt, and from anywhere to ENDED. With HSA_PARK_EVERY it is QUEUED first, PARKED when its turn has
 * come, and then at the head of its queue. Its timer is set in all stages but ENDED. */
typedef enum stage { STAGE_PARKED, STAGE_WAITING, STAGE_QUEUED, STAGE_SENDING, STAGE_ENDED } stage;

struct hsa_call {
  hsa_engine *engine;       /* NULL once the engine is gone */
  hsa_call *prev, *next;    /* all calls of the engine */
  hsa_call *qprev, *qnext;  /* the queue, while QUEUED; the list of calls given up (qnext) */
  hsa_call *mprev, *mnext;  /* calls that want attention, while is_marked */
  bool is_marked;
  bool is_given_up;         /* freed by its user; the I/O thread frees it */
  stage stage;
  hsa_reason reason;        /* while PARKED */
  void *user;
  const char *method;
  char *url, *body, *token; /* the token is "" where it bears none */
  char *headers;            /* lines; or NULL */
  char *secrets;            /* of its body: texts that end with a NUL, one after the other; an empty one ends them */
  size_t body_len;
  hsa_effect effect;
  hsa_park park;
  bool asks_answer, is_form;
  unsigned questions;       /* how often it has been parked */
  int64_t timeout, deadline, started;
  int max_attempts, attempts;
  bool goes_on;             /* the attempt is to be sent once more: no new one */
  bool is_refreshable;      /* a fresh token can be asked for, once */
  bool ambiguous;
  bool has_leave;           /* HSA_PARK_EVERY: hsa_call_proceed has been called for the next attempt */
  bool has_asked_again;     /* for leave, because that of this attempt was too old */
  bool is_expected;         /* a connection is kept free for it: its turn has come, and it asks for leave, or has it */
  uint64_t ask_number;      /* of the engine's asks */
  bool told_wait;           /* this time in the queue has its WAIT event */
  bool is_first;            /* goes to the head of the queue: it was throttled, or has leave already */
  int group;                /* of the rate: which queue it waits in */
  uint64_t order;           /* among the queues: who came first */
  int64_t queued_at;        /* while QUEUED */
  hsa_wait waits_for;       /* HSA_WAITS: nothing; while QUEUED what held its queue up tells */
  int64_t waits_since;
  int resent;               /* so often the attempt was sent once more */
  int throttled;            /* attempts that 429, 423 or 477 ended */
  hsa_timer timer;
  hsa_transfer *transfer;   /* while SENDING */
  hsa_slot slot;            /* of the rate, while SENDING */
  int64_t asked_at;         /* point in time when the last attempt began */
  int64_t released;         /* when hsa_call_proceed let it go on; 0: it was never parked */
  hsa_result result;        /* of the last attempt */
  int64_t hold;             /* us that its last answer wants all calls to hold still, or -1 */
  bool is_news;             /* no event has told of it yet */
  hsa_outcome outcome;
  hsa_event *events;
  size_t nevents, next_event, events_cap;
};

/* The calls of one group of the rate that wait for their turn to be sent. */
typedef struct hsa_queue {
  hsa_call *first, *last;
  hsa_leave obstacle; /* what its first call last had to wait for */
} hsa_queue;

struct hsa_engine {
  hsa_config config;        /* its strings are owned; never changes */
  unsigned forks;           /* as hsa_forks when it was last used */
  hsa_transport *transport; /* NULL until the first call; used by who drives the engine, without the lock */
  pthread_mutex_t lock;     /* guards all that follows, and the calls */
  pthread_cond_t changed;   /* a call wants attention; the thread pauses or goes on */
  bool has_thread, must_stop, must_pause, is_paused;
  pthread_t thread;
  hsa_engine *next_threaded; /* fork.c */
  hsa_notifier notifier;         /* set while a call wants attention, or its user has something to hand on */
  bool is_announced;         /* the latter */
  bool is_closed;            /* no call may be started */
  bool is_ending;            /* the process is, and the thread pauses for good: calls end at once */
  hsa_call *marked_first, *marked_last;
  hsa_call *given_up;        /* for the thread to free */
  hsa_pace pace;
  hsa_budget budget;
  hsa_timers timers;
  hsa_call *calls;
  size_t ncalls;
  hsa_queue queues[HSA_RATE_GROUPS];
  uint64_t queued;          /* calls ever queued */
  int64_t queue_at;         /* when to look at the queues again */
  bool needs_room;          /* they wait for a free connection */
  int sending;              /* calls that are SENDING */
  int expected, asking;     /* calls for which one is kept free; those of them that have no leave yet */
  int64_t asked_at;         /* when a call began to ask last */
  uint64_t asks;            /* how often one did */
  uint64_t slow_number;     /* of those that ask, the ones up to this ask are slow: nothing is kept free for them */
  int slow;                 /* how many these are */
  uint64_t random;
  hsa_stats stats;          /* but what is so now */
  hsa_rate_limit told;      /* by headers, each when it was told last; -1: never */
  int64_t told_at;          /* when any was; INT64_MIN: never */
  int told_group;           /* of the call whose answer told it */
};

#define HSA_ENDING "nothing is sent any more: the process is ending"

static inline void hsa_engine_lock(hsa_engine *engine)
{
  pthread_mutex_lock(&engine->lock);
}

static inline void hsa_engine_unlock(hsa_engine *engine)
{
  pthread_mutex_unlock(&engine->lock);
}

/* ---- call.c ---- */

/* Puts the call into the queue, or lets it wait for hsa_call_proceed, or until a point in time. */
void hsa_call_enqueue(hsa_call *call);
void hsa_call_park(hsa_call *call, hsa_reason reason);
void hsa_call_wait(hsa_call *call, hsa_wait reason, int64_t at);

/* Ends a call that no answer decided. detail: static, or the call's own. */
void hsa_call_end_early(hsa_call *call, hsa_kind kind, int64_t retry_after, const char *detail);
void hsa_call_end_refused(hsa_call *call, hsa_kind kind, bool retryable);

/* Ends a call that a rate lets go only after its deadline: a limiter's, or that of its queue's obstacle. */
void hsa_call_end_limited(hsa_call *call, int64_t wait);
void hsa_call_end_rate_limited(hsa_call *call, int64_t now);

/* Cancels all calls that have not ended. detail: static. */
void hsa_engine_cancel_calls(hsa_engine *engine, const char *detail);

/* Can it be that HubSpot has done, or is doing, what the call asks for? */
bool hsa_call_may_be_applied(const hsa_call *call);

/* As hsa_call_mask. */
bool hsa_call_hide(const hsa_call *call, char *text, size_t len);

/* Takes the call out of whatever it is doing; only who drives the engine may do it to one that is SENDING. */
void hsa_call_stop(hsa_call *call);

/* The call wants attention, or no longer. */
void hsa_call_mark(hsa_call *call);
void hsa_call_unmark(hsa_call *call);

bool hsa_call_wants_attention(const hsa_call *call);

/* Makes the notifier say what is so. */
void hsa_engine_notify(hsa_engine *engine);

/* The turn of a queue's first call has come, but it needs leave: it asks for it, and has it. */
bool hsa_call_needs_leave(const hsa_call *call, int64_t now);
void hsa_call_ask_leave(hsa_call *call, int64_t now);

/* The same for a call that has just come, if nobody is before it and a connection is surely free. */
void hsa_call_ask_at_once(hsa_call *call);
void hsa_call_have_leave(hsa_call *call);

/* Begins the next attempt of a queue's first call. */
void hsa_call_send(hsa_call *call, int64_t now);

/* A queue's first call has to wait: records the event, once for each time in the queue. */
void hsa_call_tell_wait(hsa_call *call, int64_t delay);

/* Takes in an attempt that has ended. */
void hsa_call_end_attempt(hsa_transfer *transfer);

/* The same for an attempt whose answer comes from outside. HSA_NOMEM: nothing has happened. */
hsa_status hsa_call_take_answer(hsa_call *call, const hsa_answer *answer, int64_t now);

/* Ends a call whose deadline passed while it was PARKED or QUEUED. */
void hsa_call_end_past_deadline(hsa_call *call, int64_t now);

/* Takes the call out of the engine's list and frees it. */
void hsa_call_destroy(hsa_call *call);

/* ---- driver.c ---- */

/* Drives the engine a step further, and waits until `until` at most. Ends early when there is news: for
 * `awaited` if given, else for any call, or for the thread. Leaves the lock while it waits. */
void hsa_engine_turn(hsa_engine *engine, int64_t until, const hsa_call *awaited);

/* Drives the engine, or lets its thread do so, until the awaited call, or any, wants attention. */
void hsa_engine_drive(hsa_engine *engine, int64_t until, const hsa_call *awaited);

/* Frees the calls given up. */
void hsa_engine_reap(hsa_engine *engine);

/* ---- fork.c: without the lock ---- */

/* How often this process and its forebears were forked, so far as anybody counted: false if nobody can. (A
 * comparison of process ids would ask the system every time.) */
bool hsa_count_forks(unsigned *forks);

/* Around libcurl, for all but I/O threads: no fork comes meanwhile. */
void hsa_fork_enter(void);
void hsa_fork_leave(void);

/* In a forked child, when the engine is used for the first time: leaves the parent's connections to it. */
void hsa_engine_check_fork(hsa_engine *engine);

/* Makes the lock and the condition variable. */
bool hsa_engine_init_locks(hsa_engine *engine);

/* Sees to it that threads pause before a fork and at exit. False: it cannot be, or the process exits already. */
bool hsa_fork_guard(void);

/* Engines with a thread, which pause before a fork; both with the lock, which also keeps engines from being freed
 * during a fork, and is taken before an engine's own. */
extern pthread_mutex_t hsa_threaded_lock;
void hsa_fork_watch(hsa_engine *engine);
void hsa_fork_forget(hsa_engine *engine);

/* ---- thread.c ---- */

/* Ends the thread and waits for that: it sleeps in the network at most, from which it is woken. Without the lock. */
void hsa_engine_stop_thread(hsa_engine *engine);

#endif
