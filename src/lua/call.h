/* call.h - the inside of a call: make.c makes it of its arguments, run.c runs it, call.c is its face to Lua. They lean on
 * each other in one direction: call.c > run.c > make.c. */
#ifndef LHSA_CALL_H
#define LHSA_CALL_H

#include "lhsa.h"

#define LHSA_CALL_TYPE "hubspot_assoc.call"

#define LHSA_INPUTS_HEAD "{\"inputs\":" /* of a body with inputs */

enum { LHSA_MAX_PARAMS = LHSA_MAX_ARGS + 1 };
enum { LHSA_MAX_PARTS = 32 }; /* halving gives one more each time, and ends at a single input */

/* Its user value has the slots of lhsa.h. */
typedef struct lhsa_call {
  const lhsa_endpoint *endpoint;
  lhsa_client *client;
  hsa_call *request; /* the one under way, or NULL */
  int next;          /* index of the next request to begin */
  int nrequests, ninputs, batch_size;
  int first, last;   /* inputs of the request under way, or of the last one: 1-based */
  int nparts;        /* of a request whose answer was too large: they go before the next request */
  int part_inputs[LHSA_MAX_PARTS];
  bool is_halved;
  int64_t timeout, deadline; /* us; a point in time */
  int max_attempts;
  bool is_in_callback;   /* its on_event or limiter is being called: it does not move on */
  bool must_be_canceled; /* there */
  size_t nsegments, nquery;
  hsa_param segments[LHSA_MAX_PARAMS], query[LHSA_MAX_QUERY]; /* their values are in `text` */
  char text[];
} lhsa_call;

typedef enum lhsa_run_state { LHSA_DONE, LHSA_PARKED, LHSA_PENDING } lhsa_run_state;

/* The endpoint of the running function: its upvalue 1. */
static inline const lhsa_endpoint *lhsa_endpoint_of(lua_State *L)
{
  return lua_touserdata(L, lua_upvalueindex(1));
}

/* ---- make.c ---- */

/* Pushes a call of the endpoint in upvalue 1, made from the client at 1 and the arguments behind it. All is checked
 * before; what is wrong raises, with the position of the code at this level of the call stack. */
lhsa_call *lhsa_push_new_call(lua_State *L, int level);

/* What there is to tell of the request under way, or of the last one. */
lhsa_request_info lhsa_info_of(const lhsa_call *call);

/* ---- run.c: `idx` is where the call lies on the stack, `user` its user value ---- */

/* Drives the call until it is done or wants a token, or until the point in time. */
lhsa_run_state lhsa_run(lua_State *L, int idx, lhsa_call *call, int64_t until);

/* Pushes the token function of the parked call at idx, and its argument. */
void lhsa_push_token_function(lua_State *L, int idx, const lhsa_call *call);

/* Lets a parked call go on with what its token function returned: ok, token, message. */
void lhsa_go(lua_State *L, int idx, lhsa_call *call, bool ok, int token, int message);

/* Ends the call, whatever it is doing. */
void lhsa_cancel(lua_State *L, int user, lhsa_call *call);

/* One error for all inputs of the requests not begun yet; none of them is sent. retry_after: us, or -1. */
void lhsa_stop_rest(lua_State *L, int user, lhsa_call *call, hsa_kind kind, int64_t retry_after, const char *message);

#endif
