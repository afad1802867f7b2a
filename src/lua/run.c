/* run.c - runs a call: its requests one after the other, until it asks something. */
#include <stdlib.h>
#include <string.h>

#include "call.h"

/* ---- requests ---- */

static bool has_next(const lhsa_call *call)
{
  return !(call->keeper && call->keeper->is_finalized) && (call->nparts > 0 || call->next < call->nrequests);
}

/* Adds to the reply: if memory runs out in it, what it has added is taken back before the step is made again. */
static void add(lua_State *L, int user, lhsa_call *call, const lhsa_request_info *info, const hsa_outcome *outcome)
{
  call->mark.is_dirty = true;
  lhsa_reply_add(L, user, info, outcome);
}

/* One error for all inputs of the requests not begun yet; none of them is sent. retry_after: us, or -1. */
static void stop_rest_as(lua_State *L, int user, lhsa_call *call, hsa_kind kind, bool retryable, int64_t retry_after,
                      const char *message)
{
  lhsa_request_info info = lhsa_info_of(call);
  hsa_outcome outcome = {
    .kind = kind,
    .retryable = retryable,
    .retry_after = retry_after,
    .detail = message,
    .body = "",
    .correlation_id = "",
  };

  if (!has_next(call))
    return;
  info.first = call->last + 1;
  info.last = call->ninputs;
  add(L, user, call, &info, &outcome);
  call->next = call->nrequests;
  call->nparts = 0;
}

static void stop_rest(lua_State *L, int user, lhsa_call *call, hsa_kind kind, int64_t retry_after, const char *message)
{
  stop_rest_as(L, user, call, kind, kind == HSA_TIMEOUT || retry_after >= 0, retry_after, message);
}

static const char closed[] = "the client is closed";

/* The token to send: NULL where a function gives it, or none is borne; *problem where there is none. */
static const char *find_token(const lhsa_call *call, const char **problem)
{
  const lhsa_client *client = call->client;
  const char *token = client->token;

  *problem = client->is_closed ? closed : client->problem;
  if (*problem || client->has_token_function || call->endpoint->is_private)
    return NULL;
  if (token)
    return token; /* it has passed lhsa_accept */
  token = getenv("HUBSPOT_ACCESS_TOKEN");
  if (!token || !*token)
    *problem = "no access token: set HUBSPOT_ACCESS_TOKEN in the environment, or give the option access_token "
               "(nginx clears its workers' environment: it needs the line \"env HUBSPOT_ACCESS_TOKEN;\")";
  else if (hsa_check_token(token, strlen(token)))
    *problem = hsa_check_header_value(token, strlen(token))
                 ? "the environment's HUBSPOT_ACCESS_TOKEN must have printable ASCII characters only (is there a line "
                   "break at its end?)"
                 : "the environment's HUBSPOT_ACCESS_TOKEN must have no blanks in it (is it the token alone, without "
                   "\"Bearer\"?)";
  return token;
}

static const char *path_of(const lhsa_call *call)
{
  const lhsa_endpoint *endpoint = call->endpoint;
  bool is_short = endpoint->path_short && call->nsegments == 1; /* the version alone */
  const char *path_v4 = is_short ? endpoint->path_short_v4 : endpoint->path_v4;

  if (path_v4 && strcmp(call->client->version, "v4") == 0)
    return path_v4;
  return is_short ? endpoint->path_short : endpoint->path;
}

/* Pushes the body of the next request, or nil; returns how many inputs it has. */
static int push_next_body(lua_State *L, int user, const lhsa_call *call)
{
  int left = call->ninputs - call->last;

  if (call->nparts > 0) {
    lua_rawgeti(L, user, LHSA_PARTS);
    lua_rawgeti(L, -1, call->nparts);
    lua_replace(L, -2);
    return call->part_inputs[call->nparts - 1];
  }
  lua_rawgeti(L, user, LHSA_BODIES);
  if (lua_istable(L, -1)) {
    lua_rawgeti(L, -1, call->next + 1);
    lua_replace(L, -2);
  }
  return left < call->batch_size ? left : call->batch_size;
}

/* The request that has begun is the one under way. Its body is at the top; pops it. */
static void count_next(lua_State *L, int user, lhsa_call *call, int ninputs)
{
  lua_rawseti(L, user, LHSA_SENT_BODY);
  call->first = call->last + 1;
  call->last += ninputs;
  if (call->nparts > 0)
    call->nparts--;
  else
    call->next++;
}

/* Puts a part of the request under way, the inputs in the text from `from` to `to`, before the next one. */
static void push_part(lua_State *L, int parts, lhsa_call *call, int part, const char *from, const char *to, int ninputs)
{
  lua_pushliteral(L, LHSA_INPUTS_HEAD "[");
  lua_pushlstring(L, from, (size_t)(to - from));
  lua_pushliteral(L, "]}");
  lua_concat(L, 3);
  call->part_inputs[part] = ninputs;
  lua_rawseti(L, parts, part + 1);
}

/* The answer to the request under way, a reading one, was too large: it is asked again in halves, as long as it has
 * more than one input. False if it has not. */
static bool halve(lua_State *L, int user, lhsa_call *call)
{
  int n = call->last - call->first + 1, top = lua_gettop(L);
  const char *body, *list, *middle, *end;
  size_t len;

  if (n < 2 || call->endpoint->effect != HSA_SAFE || call->nparts + 2 > LHSA_MAX_PARTS)
    return false;
  lua_rawgeti(L, user, LHSA_PARTS);
  if (lua_isnil(L, -1)) {
    lua_newtable(L);
    lua_replace(L, -2);
    lua_pushvalue(L, -1);
    lua_rawseti(L, user, LHSA_PARTS);
  }
  lua_rawgeti(L, user, LHSA_SENT_BODY);
  body = lua_tolstring(L, -1, &len);
  list = body + strlen(LHSA_INPUTS_HEAD);
  end = body + len - strlen("]}");
  middle = lhsa_json_element(list, n - n / 2 + 1);
  push_part(L, top + 1, call, call->nparts, middle, end, n / 2);
  push_part(L, top + 1, call, call->nparts + 1, list + 1, middle - 1, n - n / 2);
  call->nparts += 2;
  call->last = call->first - 1;
  call->is_halved = true;
  lua_settop(L, top);
  return true;
}

/* Fills in the secrets of the call's form, which the user value keeps; returns how many. */
static size_t find_secrets(lua_State *L, int user, hsa_param *secrets)
{
  size_t n = 0;

  lua_rawgeti(L, user, LHSA_SECRETS);
  if (lua_istable(L, -1))
    for (; n < LHSA_MAX_SECRETS && n < lua_rawlen(L, -1); n++) {
      lua_rawgeti(L, -1, (int)n + 1);
      secrets[n].name = "";
      secrets[n].value = lua_tolstring(L, -1, &secrets[n].len);
      lua_pop(L, 1);
    }
  lua_pop(L, 1);
  return n;
}

/* ---- keepers; spare ones are a chain: the client's user value has the first, each one's the next, or false ---- */

enum { NEXT = 1 };

static void push_client_values(lua_State *L, int user)
{
  lua_rawgeti(L, user, LHSA_CLIENT);
  lhsa_getuservalue(L, -1);
  lua_remove(L, -2);
}

/* Pushes a new one. What is needed to give it back is made now, for nothing may fail then. */
static void push_new_keeper(lua_State *L)
{
  lhsa_keeper *keeper = lua_newuserdata(L, sizeof *keeper);

  *keeper = (lhsa_keeper){.request = NULL};
  luaL_getmetatable(L, LHSA_KEEPER_TYPE);
  lua_setmetatable(L, -2);
  lua_createtable(L, NEXT, 0);
  lua_pushboolean(L, 0);
  lua_rawseti(L, -2, NEXT);
  lhsa_setuservalue(L, -2);
}

/* Pushes one that is not in use; false: there is none. The client's values are at the top. */
static bool push_spare_keeper(lua_State *L)
{
  const lhsa_keeper *keeper;

  lua_rawgeti(L, -1, LHSA_KEEPERS);
  keeper = lua_touserdata(L, -1);
  if (keeper) {
    lhsa_getuservalue(L, -1);
    lua_rawgeti(L, -1, NEXT);
    lua_rawseti(L, -4, LHSA_KEEPERS);
    lua_pushboolean(L, 0); /* else it would keep that alive */
    lua_rawseti(L, -2, NEXT);
    lua_pop(L, 1);
    if (!keeper->is_finalized) /* else the Lua state is closed */
      return true;
  }
  lua_pop(L, 1);
  return false;
}

static void take_keeper(lua_State *L, int user, lhsa_call *call)
{
  if (call->keeper)
    return; /* memory ran out before it was of use */
  push_client_values(L, user);
  if (!push_spare_keeper(L))
    push_new_keeper(L);
  call->keeper = lua_touserdata(L, -1);
  lua_rawseti(L, user, LHSA_KEEPER);
  lua_pop(L, 1);
}

/* The request has been freed. */
static void give_keeper(lua_State *L, int user, lhsa_call *call)
{
  call->keeper->request = NULL;
  if (call->keeper->is_finalized)
    return; /* it would not be another time */
  push_client_values(L, user);
  lua_rawgeti(L, user, LHSA_KEEPER);
  lhsa_getuservalue(L, -1);
  lua_rawgeti(L, -3, LHSA_KEEPERS);
  lua_rawseti(L, -2, NEXT);
  lua_pop(L, 1);
  lua_rawseti(L, -2, LHSA_KEEPERS);
  lua_pop(L, 1);
  lua_pushnil(L);
  lua_rawseti(L, user, LHSA_KEEPER);
  call->keeper = NULL;
}

/* ---- the next request ---- */

/* Begins it. A keeper has been taken for it. */
static hsa_status start_request(lua_State *L, int user, lhsa_call *call, const char *token)
{
  hsa_param secrets[LHSA_MAX_SECRETS];
  bool is_private = call->endpoint->is_private;
  hsa_request request = {
    .method = call->endpoint->method,
    .path = path_of(call),
    .segments = call->segments,
    .nsegments = call->nsegments,
    .query = call->query,
    .nquery = call->nquery,
    .effect = call->endpoint->effect,
    .rate_group = call->endpoint->is_counted ? 1 : 0,
    .asks_answer = call->client->has_transport,
    .park = call->client->has_limiter ? HSA_PARK_EVERY
            : token || is_private     ? HSA_PARK_NEVER
                                      : HSA_PARK_FIRST,
    .token = token,
    .bears_no_token = is_private,
    .is_form = is_private,
    .secrets = secrets,
    .timeout = call->timeout,
    .deadline = call->deadline,
    .max_attempts = call->max_attempts,
    .user = lhsa_key_of(call),
  };
  int ninputs = push_next_body(L, user, call);
  hsa_status status;

  request.nsecrets = find_secrets(L, user, secrets);
  lua_rawgeti(L, user, LHSA_HEADER_LINES);
  request.headers = lua_tostring(L, -1); /* the list keeps it */
  lua_pop(L, 1);
  if (!lua_isnil(L, -1))
    request.body = lua_tolstring(L, -1, &request.body_len);
  if (!call->client->engine)
    status = HSA_INVALID;
  else
    status = hsa_call_start(call->client->engine, &request, &call->keeper->request);
  if (status == HSA_OK)
    count_next(L, user, call, ninputs);
  else
    lua_pop(L, 1);
  return status;
}

/* The call ends before its next request has begun. on_event is told, as of a request. */
static void end_unsent(lua_State *L, int user, lhsa_call *call, hsa_kind kind, const char *message)
{
  stop_rest(L, user, call, kind, -1, message);
  call->first = call->last + 1;
  call->last = call->ninputs;
  call->event =
    (hsa_event){.type = HSA_EVENT_DONE, .kind = kind, .sent_at = -1, .hold = -1, .rate = {-1, -1, -1, -1, -1}};
  call->must_tell_event = call->client->has_on_event;
}
/* Begins the next request, or adds the error that keeps it from beginning. */
static void begin(lua_State *L, int user, lhsa_call *call)
{
  const char *problem, *token = find_token(call, &problem);
  hsa_status status;

  lua_rawgeti(L, user, LHSA_REFUSAL);
  if (call->is_unfit)
    end_unsent(L, user, call, HSA_CONFIG, lua_tostring(L, -1));
  else if (call->is_canceled)
    end_unsent(L, user, call, HSA_CANCELED, "not sent: the call was canceled");
  else if (problem)
    end_unsent(L, user, call, HSA_CONFIG, problem);
  else if (call->next > 0 && hsa_now() >= call->deadline)
    end_unsent(L, user, call, HSA_TIMEOUT, "not sent: the call's deadline passed");
  else {
    take_keeper(L, user, call);
    status = start_request(L, user, call, token);
    if (status != HSA_OK) {
      give_keeper(L, user, call);
      end_unsent(L, user, call, HSA_CONFIG,
                 !call->client->engine    ? closed
                 : status == HSA_NOFILES  ? HSA_NOFILES_TEXT
                 : status == HSA_TOOLARGE ? "the URL would be longer than 8 KiB"
                                          : "libcurl could not be set up (out of memory?)");
    }
  }
  lua_pop(L, 1);
}

/* After an answer that rules out the others, the rest is not sent. */
static void stop_after(lua_State *L, int user, lhsa_call *call, const hsa_outcome *outcome)
{
  if (call->is_refused)
    stop_rest_as(L, user, call, outcome->kind, outcome->retryable, -1,
              "not sent: an earlier request of this call could not be sent");
  else if (outcome->http_status == 401 || outcome->http_status == 403) {
    lua_pushfstring(L, "not sent: an earlier request of this call was refused with HTTP %d", outcome->http_status);
    stop_rest(L, user, call, outcome->kind, -1, lua_tostring(L, -1));
    lua_pop(L, 1);
  } else if (outcome->daily)
    stop_rest(L, user, call, HSA_THROTTLED, -1, "not sent: the daily limit is used up");
  else if (outcome->kind == HSA_CONFIG || outcome->kind == HSA_CANCELED)
    stop_rest(L, user, call, outcome->kind, -1, "not sent: an earlier request of this call could not be sent");
  else if (outcome->retry_after >= call->deadline - hsa_now() && outcome->retry_after >= 0)
    stop_rest(L, user, call, outcome->kind, outcome->retry_after,
              "not sent: HubSpot's limit outlasts the deadline of this call");
}

/* What it was that the call's deadline passed in, where it was a question. */
static const char *detail_of(lua_State *L, int user, const lhsa_call *call, const hsa_outcome *outcome)
{
  static const char *const overdue[] = {
    [LHSA_ASKS_TOKEN] = "the deadline passed before the token function gave a token",
    [LHSA_ASKS_LEAVE] = "the deadline passed before the limiter gave leave",
  };

  if (outcome->kind == HSA_TIMEOUT && call->overdue < LHSA_ASKS_ANSWER && overdue[call->overdue])
    return overdue[call->overdue];
  lua_rawgeti(L, user, LHSA_REFUSAL); /* the list keeps it */
  return call->is_refused && lua_isstring(L, -1) ? lua_tostring(L, -1) : outcome->detail;
}

/* Adds what the request under way has come to. */
static void take_outcome(lua_State *L, int user, lhsa_call *call, hsa_outcome *outcome)
{
  lhsa_request_info info = lhsa_info_of(call);
  int top = lua_gettop(L);

  outcome->detail = detail_of(L, user, call, outcome);
  info.request = lhsa_request_of(call);
  add(L, user, call, &info, outcome);
  lua_settop(L, top);
  stop_after(L, user, call, outcome);
}

/* Takes in what the request under way has come to. */
static void finish(lua_State *L, int user, lhsa_call *call)
{
  hsa_outcome outcome = *hsa_call_outcome(lhsa_request_of(call));

  if (outcome.kind != HSA_PROTOCOL || !outcome.too_large || !halve(L, user, call))
    take_outcome(L, user, call, &outcome);
  hsa_call_free(call->keeper->request);
  give_keeper(L, user, call);
}

/* Adds the request that was under way when the call was canceled. */
static void finish_canceled(lua_State *L, int user, lhsa_call *call)
{
  const hsa_outcome *outcome = &call->canceled;
  lhsa_request_info info = lhsa_info_of(call);

  add(L, user, call, &info, outcome);
  stop_rest(L, user, call, HSA_CANCELED, -1, "not sent: the call was canceled");
  call->has_canceled = false;
  give_keeper(L, user, call);
  call->event = (hsa_event){
    .type = HSA_EVENT_DONE, .attempt = outcome->attempts, .kind = HSA_CANCELED, .elapsed = outcome->elapsed,
    .rate = {-1, -1, -1, -1, -1}};
  call->must_tell_event = call->client->has_on_event;
}

/* ---- questions ---- */

static void ask(lhsa_call *call, lhsa_asks asks)
{
  call->asks = asks;
  call->question++;
}

void lhsa_ask_leave(lhsa_call *call)
{
  ask(call, LHSA_ASKS_LEAVE);
}

static void ask_for_engine(lhsa_call *call)
{
  hsa_reason reason = hsa_call_reason(lhsa_request_of(call));

  call->engine_question = hsa_call_questions(lhsa_request_of(call));
  if (reason == HSA_REASON_SEND)
    ask(call, LHSA_ASKS_ANSWER);
  else
    ask(call, call->client->has_token_function && reason != HSA_REASON_RETRY ? LHSA_ASKS_TOKEN : LHSA_ASKS_LEAVE);
}

/* Does the answer that the event is of tell anything of the rate? */
static bool tells_rate(const hsa_event *event)
{
  return (event->type == HSA_EVENT_RETRY || event->type == HSA_EVENT_DONE) &&
         (event->sent_at >= 0 || event->hold >= 0 || event->rate.max >= 0);
}

/* Takes the next event that the limiter or on_event is to be told of; false: there is none. */
static bool next_event(lhsa_call *call)
{
  const lhsa_client *client = call->client;

  if (!client->has_on_event && !client->has_limiter)
    return false;
  while (!call->must_tell_limiter && !call->must_tell_event) {
    if (!hsa_call_event(lhsa_request_of(call), &call->event))
      return false;
    call->must_tell_limiter = client->has_limiter && !call->is_limiter_late && tells_rate(&call->event);
    call->must_tell_event = client->has_on_event;
  }
  return true;
}

/* Is the question still open that the call asks for its request? A deadline may have passed. */
static bool is_open(const lhsa_call *call, hsa_state state)
{
  return call->asks && state == HSA_PARKED && call->engine_question == hsa_call_questions(lhsa_request_of(call));
}

/* Is the call telling somebody something? A limiter's observe may yield for ever: the deadline ends that, or a
 * close. */
static bool is_telling(lhsa_call *call)
{
  if (call->asks == LHSA_TELLS_LIMITER && (call->client->is_closed || hsa_now() >= call->deadline)) {
    call->asks = LHSA_ASKS_NOTHING;
    call->must_tell_limiter = false;
    call->is_limiter_late = true;
  }
  return call->asks >= LHSA_TELLS_LIMITER;
}

/* ---- running ---- */

void lhsa_cancel(lhsa_call *call)
{
  call->asks = LHSA_ASKS_NOTHING;
  call->must_tell_limiter = call->must_tell_event = false;
  call->is_canceled = true;
  if (lhsa_request_of(call) && hsa_call_state(lhsa_request_of(call)) != HSA_DONE) {
    call->canceled = hsa_call_cancel(lhsa_request_of(call));
    call->has_canceled = true;
    call->keeper->request = NULL;
  }
}

/* Moves the call on by one step; LHSA_GOES_ON: there is another one. Where memory runs out it raises, and the step
 * can be made again. */
static lhsa_run_state step(lua_State *L, int user, lhsa_call *call, int64_t until)
{
  hsa_state state;
  int64_t pause;

  if (is_telling(call))
    return LHSA_ASKS;
  if (call->mark.is_dirty)
    lhsa_reply_rewind(L, user, &call->mark);
  if (call->must_tell_limiter || call->must_tell_event)
    ask(call, call->must_tell_limiter ? LHSA_TELLS_LIMITER : LHSA_TELLS_EVENT);
  else if (call->has_canceled)
    finish_canceled(L, user, call);
  else if (!lhsa_request_of(call) && !has_next(call))
    return LHSA_DONE;
  else if (!lhsa_request_of(call))
    begin(L, user, call);
  else {
    pause = lhsa_next_pause(until);
    state = hsa_call_run(lhsa_request_of(call), pause);
    if (is_open(call, state))
      return LHSA_ASKS;
    if (call->asks) /* and its time is over */
      call->overdue = call->asks;
    call->asks = LHSA_ASKS_NOTHING;
    if (next_event(call))
      return LHSA_GOES_ON;
    if (hsa_call_state(lhsa_request_of(call)) == HSA_DONE)
      finish(L, user, call);
    else if (state == HSA_PARKED)
      ask_for_engine(call);
    else if (hsa_now() >= until)
      return LHSA_PENDING;
    else if (hsa_now() >= pause)
      return LHSA_PAUSES;
  }
  if (call->mark.is_dirty)
    lhsa_reply_commit(L, user, &call->mark);
  return LHSA_GOES_ON;
}

lhsa_run_state lhsa_run(lua_State *L, int idx, lhsa_call *call, int64_t until)
{
  lhsa_run_state state;
  int user;

  lhsa_getuservalue(L, idx);
  user = lua_gettop(L);
  do
    state = step(L, user, call, until);
  while (state == LHSA_GOES_ON);
  lua_settop(L, user - 1);
  return state;
}
