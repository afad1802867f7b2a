/* call.h - the inside of a call: make.c makes it of its arguments, run.c runs it until it asks something, question.c
 * puts what it asks and takes the answer, call.c is its face to Lua. They lean on each other in one direction:
 * call.c > question.c > run.c > make.c. */
#ifndef LHSA_CALL_H
#define LHSA_CALL_H

#include "lhsa.h"

#define LHSA_CALL_TYPE "hubspot_assoc.call"
#define LHSA_KEEPER_TYPE "hubspot_assoc.keeper"

#define LHSA_INPUTS_HEAD "{\"inputs\":" /* of a body with inputs */

enum { LHSA_MAX_PARAMS = LHSA_MAX_ARGS + 1 };
enum { LHSA_MAX_SECRETS = 8 }; /* of a form, each in two spellings */
enum { LHSA_MAX_PARTS = 16 }; /* halving gives one more each time, and ends at a single input: of 1,000, at eleven */

/* What a call needs from outside; it goes on when that is answered. The last two tell something: any answer will do. */
typedef enum lhsa_asks {
  LHSA_ASKS_NOTHING,
  LHSA_ASKS_TOKEN,
  LHSA_ASKS_LEAVE,    /* of the limiter, for one attempt */
  LHSA_ASKS_ANSWER,   /* of the option transport, in place of the network's */
  LHSA_TELLS_LIMITER, /* what an answer says of the rate */
  LHSA_TELLS_EVENT    /* on_event */
} lhsa_asks;

/* Frees the request under way when its call is collected. The call itself has no finalizer: Lua keeps what has one
 * until the next collection, and goes through all that it refers to in one go. A keeper serves one request after the
 * other; those that serve none are the client's. */
typedef struct lhsa_keeper {
  hsa_call *request; /* NULL once it was freed */
  bool is_finalized;
} lhsa_keeper;

/* Its user value has the slots of lhsa.h. */
typedef struct lhsa_call {
  const lhsa_endpoint *endpoint;
  lhsa_client *client;
  lhsa_keeper *keeper; /* of the request under way, or NULL; in its user value */
  int64_t number;    /* which of the client's calls it is, from 1 */
  int next;          /* index of the next request to begin */
  int nrequests, ninputs, batch_size;
  int first, last;   /* inputs of the request under way, or of the last one: 1-based */
  int nparts;        /* of a request whose answer was too large: they go before the next request */
  int part_inputs[LHSA_MAX_PARTS];
  bool is_halved;
  int64_t timeout, deadline; /* us; a point in time */
  int max_attempts;
  lhsa_asks asks;           /* the question that is open */
  unsigned question;        /* counts them: a late answer is known by it */
  unsigned engine_question; /* hsa_call_questions, where the engine asks */
  lhsa_asks overdue;        /* the deadline passed in this question */
  hsa_event event;          /* to be told */
  bool must_tell_limiter, must_tell_event;
  bool is_limiter_late;     /* the deadline passed while it was told: it is told no more */
  bool is_unfit;            /* it cannot begin; LHSA_REFUSAL says why */
  bool is_refused;          /* it was refused what it asked for; likewise */
  bool is_canceled;
  bool is_busy;             /* it is being worked on */
  bool has_canceled;        /* the reply does not have yet what came of the request that was under way then: */
  hsa_outcome canceled;
  lhsa_reply_mark mark;
  size_t nsegments, nquery;
  hsa_param segments[LHSA_MAX_PARAMS], query[LHSA_MAX_QUERY]; /* their values are in `text` */
  char text[];
} lhsa_call;

/* The request under way, or NULL. */
static inline hsa_call *lhsa_request_of(const lhsa_call *call)
{
  return call->keeper ? call->keeper->request : NULL;
}

/* What its requests are known by, to the engine and the Lua layer: not its address, which another may have soon. */
static inline void *lhsa_key_of(const lhsa_call *call)
{
  return (void *)(uintptr_t)call->number;
}

typedef enum lhsa_run_state { LHSA_DONE, LHSA_ASKS, LHSA_PENDING, LHSA_PAUSES, LHSA_GOES_ON } lhsa_run_state;

/* The endpoint of the running function: its upvalue 1. */
static inline const lhsa_endpoint *lhsa_endpoint_of(lua_State *L)
{
  return lua_touserdata(L, lua_upvalueindex(1));
}

/* ---- make.c ---- */

/* Pushes a call of the endpoint in upvalue 1, made from the client at 1 and the arguments behind it. All is checked
 * before; what is wrong raises, with the position of the code at this level of the call stack. */
lhsa_call *lhsa_push_new_call(lua_State *L, int level);

/* Checks the same, and makes nothing: no function in it is called. */
void lhsa_check_call(lua_State *L, int level);

/* What there is to tell of the request under way, or of the last one. */
lhsa_request_info lhsa_info_of(const lhsa_call *call);

/* ---- run.c ---- */

/* Drives the call at idx until it is done (LHSA_DONE) or asks something (LHSA_ASKS), or until the point in time
 * (LHSA_PENDING), or lhsa_run_hook is due (LHSA_PAUSES). Raises if memory runs out: then it can be run again. */
lhsa_run_state lhsa_run(lua_State *L, int idx, lhsa_call *call, int64_t until);

/* Ends the call, whatever it is doing; lhsa_run then finishes it. */
void lhsa_cancel(lhsa_call *call);

/* It asks for leave next, where it has asked for a token. */
void lhsa_ask_leave(lhsa_call *call);

/* ---- question.c ---- */

/* Pushes the open question of the call at idx: its kind, what is to be called, and that one's arguments; returns how
 * many values. kinds: "token" (function, reason, rejected), "leave" (limiter, cost, most), "answer" (function,
 * request), "observe" (limiter, rate_limit), "event" (function, event). */
int lhsa_push_question(lua_State *L, int idx, const lhsa_call *call);

/* Answers the question of this number with what pcall gave: ok, and two values on the stack. A late answer does
 * nothing. */
void lhsa_answer(lua_State *L, int idx, lhsa_call *call, unsigned question, bool ok, int value, int second);

#endif
