/* run.c - runs a call: its requests one after the other, its questions for a token, its limiter and its events. */
#include <stdlib.h>
#include <string.h>

#include "call.h"

/* ---- requests ---- */

static bool has_next(const lhsa_call *call)
{
  return call->nparts > 0 || call->next < call->nrequests;
}

void lhsa_stop_rest(lua_State *L, int user, lhsa_call *call, hsa_kind kind, int64_t retry_after, const char *message)
{
  lhsa_request_info info = lhsa_info_of(call);
  hsa_outcome outcome = {
    .kind = kind,
    .retryable = kind == HSA_TIMEOUT || retry_after >= 0,
    .retry_after = retry_after,
    .detail = message,
    .body = "",
    .correlation_id = "",
  };

  if (!has_next(call))
    return;
  info.first = call->last + 1;
  info.last = call->ninputs;
  lhsa_reply_add(L, user, &info, &outcome);
  call->next = call->nrequests;
  call->nparts = 0;
}

/* The token to send: NULL where a function gives it; *problem where there is none. */
static const char *find_token(const lhsa_client *client, const char **problem)
{
  const char *token = client->token;

  *problem = client->is_closed ? "the client is closed" : client->problem;
  if (*problem || client->has_token_function)
    return NULL;
  if (!token)
    token = getenv("HUBSPOT_ACCESS_TOKEN");
  if (!token || !*token)
    *problem = "no access token: set HUBSPOT_ACCESS_TOKEN in the environment, or give the option access_token "
               "(nginx clears its workers' environment: it needs the line \"env HUBSPOT_ACCESS_TOKEN;\")";
  else if (hsa_check_header_value(token, strlen(token)))
    *problem = "the environment's HUBSPOT_ACCESS_TOKEN must have printable ASCII characters only (is there a "
               "line break at its end?)";
  return token;
}

static const char *path_of(const lhsa_call *call)
{
  const lhsa_endpoint *endpoint = call->endpoint;

  return endpoint->path_v4 && strcmp(call->client->version, "v4") == 0 ? endpoint->path_v4 : endpoint->path;
}

/* Pushes the body of the next request, or nil; answers how many inputs it has. */
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
static void push_part(lua_State *L, int parts, lhsa_call *call, const char *from, const char *to, int ninputs)
{
  lua_pushliteral(L, LHSA_INPUTS_HEAD "[");
  lua_pushlstring(L, from, (size_t)(to - from));
  lua_pushliteral(L, "]}");
  lua_concat(L, 3);
  call->part_inputs[call->nparts++] = ninputs;
  lua_rawseti(L, parts, call->nparts);
}

/* The answer to the request under way, a reading one, was too large: it is asked again in halves, as long as it has more
 * than one input. False if it has not. */
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
  push_part(L, top + 1, call, middle, end, n / 2);
  push_part(L, top + 1, call, list + 1, middle - 1, n - n / 2);
  call->last = call->first - 1;
  call->is_halved = true;
  lua_settop(L, top);
  return true;
}

/* Begins the next request. */
static hsa_status start_request(lua_State *L, int user, lhsa_call *call, const char *token)
{
  hsa_request request = {
    .method = call->endpoint->method,
    .path = path_of(call),
    .segments = call->segments,
    .nsegments = call->nsegments,
    .query = call->query,
    .nquery = call->nquery,
    .effect = call->endpoint->effect,
    .rate_group = call->endpoint->is_counted ? 1 : 0,
    .park = call->client->has_limiter ? HSA_PARK_EVERY : token ? HSA_PARK_NEVER : HSA_PARK_FIRST,
    .token = token,
    .timeout = call->timeout,
    .deadline = call->deadline,
    .max_attempts = call->max_attempts,
    .user = call,
  };
  int ninputs = push_next_body(L, user, call);
  hsa_status status;

  if (!lua_isnil(L, -1))
    request.body = lua_tolstring(L, -1, &request.body_len);
  status = hsa_call_start(call->client->engine, &request, &call->request);
  if (status == HSA_OK)
    count_next(L, user, call, ninputs);
  else
    lua_pop(L, 1);
  return status;
}

/* Begins the next request, or adds the error that keeps it from beginning. */
static void begin(lua_State *L, int user, lhsa_call *call)
{
  const char *problem, *token = find_token(call->client, &problem);
  hsa_status status;

  if (problem) {
    lhsa_stop_rest(L, user, call, HSA_CONFIG, -1, problem);
    return;
  }
  if (call->next > 0 && hsa_now() >= call->deadline) {
    lhsa_stop_rest(L, user, call, HSA_TIMEOUT, -1, "not sent: the call's deadline passed");
    return;
  }
  status = start_request(L, user, call, token);
  if (status != HSA_OK)
    lhsa_stop_rest(L, user, call, HSA_CONFIG, -1,
              status == HSA_TOOLARGE ? "the URL would be longer than 8 KiB" : "libcurl could not be set up (out of memory?)");
}

/* After an answer that rules out the others, the rest is not sent. */
static void stop_after(lua_State *L, int user, lhsa_call *call, const hsa_outcome *outcome)
{
  if (outcome->http_status == 401 || outcome->http_status == 403) {
    lua_pushfstring(L, "not sent: an earlier request of this call was refused with HTTP %d", outcome->http_status);
    lhsa_stop_rest(L, user, call, outcome->kind, -1, lua_tostring(L, -1));
    lua_pop(L, 1);
  } else if (outcome->daily)
    lhsa_stop_rest(L, user, call, HSA_THROTTLED, -1, "not sent: the daily limit is used up");
  else if (outcome->kind == HSA_CONFIG || outcome->kind == HSA_CANCELED)
    lhsa_stop_rest(L, user, call, outcome->kind, -1, "not sent: an earlier request of this call could not be sent");
  else if (outcome->retry_after >= call->deadline - hsa_now() && outcome->retry_after >= 0)
    lhsa_stop_rest(L, user, call, outcome->kind, outcome->retry_after,
              "not sent: HubSpot's limit outlasts the deadline of this call");
}

/* Adds what the request under way has come to. */
static void take_outcome(lua_State *L, int user, lhsa_call *call, hsa_outcome *outcome)
{
  lhsa_request_info info = lhsa_info_of(call);

  lua_rawgeti(L, user, LHSA_REFUSAL);
  if (lua_isstring(L, -1))
    outcome->detail = lua_tostring(L, -1);
  info.request = call->request;
  lhsa_reply_add(L, user, &info, outcome);
  lua_pop(L, 1);
  stop_after(L, user, call, outcome);
}

/* Takes in what the request under way has come to. */
static void finish(lua_State *L, int user, lhsa_call *call)
{
  hsa_outcome outcome = *hsa_call_outcome(call->request);

  if (outcome.kind != HSA_PROTOCOL || !outcome.too_large || !halve(L, user, call))
    take_outcome(L, user, call, &outcome);
  hsa_call_free(call->request);
  call->request = NULL;
}

/* ---- events ---- */

static void push_event(lua_State *L, const lhsa_call *call, const hsa_event *event)
{
  static const char *const types[] = {"attempt", "retry", "wait", "done"};
  lhsa_request_info info = lhsa_info_of(call);

  lua_createtable(L, 0, 8);
  lhsa_set_string(L, "type", types[event->type]);
  lhsa_set_string(L, "call", call->endpoint->name);
  lhsa_set_integer(L, "attempt", event->attempt);
  if (info.is_part) {
    lhsa_set_integer(L, "first", info.first);
    lhsa_set_integer(L, "last", info.last);
  }
  if (event->http_status && event->type != HSA_EVENT_ATTEMPT)
    lhsa_set_integer(L, "http_status", event->http_status);
  if (event->type == HSA_EVENT_RETRY || event->type == HSA_EVENT_DONE)
    lhsa_set_string(L, "kind", hsa_kind_name(event->kind));
  if (event->type == HSA_EVENT_RETRY || event->type == HSA_EVENT_WAIT)
    lhsa_set_number(L, "delay", (double)event->delay / (double)HSA_SECOND);
}

/* Calls on_event. An error in it harms no call: its message comes back in the response. */
static void tell_event(lua_State *L, int user, lhsa_call *call, const hsa_event *event)
{
  if (!call->client->has_on_event)
    return;
  lua_rawgeti(L, user, LHSA_CLIENT);
  lhsa_client_value(L, lua_gettop(L), "on_event");
  lua_remove(L, -2);
  push_event(L, call, event);
  call->is_in_callback = true;
  if (lua_pcall(L, 1, 0, 0) != 0)
    lua_rawseti(L, user, LHSA_EVENT_ERROR);
  call->is_in_callback = false;
}

static void push_limiter(lua_State *L, int user)
{
  lua_rawgeti(L, user, LHSA_CLIENT);
  lhsa_client_value(L, lua_gettop(L), "limiter");
  lua_replace(L, -2);
}

/* Tells the limiter. An error in it harms no call, likewise. */
static void tell_limiter(lua_State *L, int user, lhsa_call *call, const hsa_event *event)
{
  int top = lua_gettop(L);

  if (!call->client->has_limiter)
    return;
  push_limiter(L, user);
  call->is_in_callback = true;
  if (!lhsa_limiter_observe(L, top + 1, event))
    lua_rawseti(L, user, LHSA_EVENT_ERROR);
  call->is_in_callback = false;
  lua_settop(L, top);
}

/* Hands out the events of the request under way. */
static void hand_out_events(lua_State *L, int user, lhsa_call *call)
{
  hsa_event event;

  if (!call->client->has_on_event && !call->client->has_limiter)
    return;
  while (!call->must_be_canceled && hsa_call_event(call->request, &event)) {
    tell_limiter(L, user, call, &event);
    tell_event(L, user, call, &event);
  }
}

/* ---- running ---- */

void lhsa_cancel(lua_State *L, int user, lhsa_call *call)
{
  lhsa_request_info info;
  hsa_outcome outcome;

  call->must_be_canceled = false;
  if (call->request && hsa_call_state(call->request) != HSA_DONE) {
    info = lhsa_info_of(call);
    outcome = hsa_call_cancel(call->request);
    call->request = NULL;
    lhsa_reply_add(L, user, &info, &outcome);
    tell_event(L, user, call, &(hsa_event){.type = HSA_EVENT_DONE, .attempt = outcome.attempts, .kind = HSA_CANCELED});
  } else if (call->request)
    finish(L, user, call);
  lhsa_stop_rest(L, user, call, HSA_CANCELED, -1, "not sent: the call was canceled");
}

/* Lets a parked call go on, as soon as its limiter gives leave; token: NULL keeps the one it has. */
static void let_go(lua_State *L, int user, lhsa_call *call, const char *token, const char *problem)
{
  int64_t delay = 0;
  int top = lua_gettop(L);

  if (!problem && call->client->has_limiter) {
    push_limiter(L, user);
    call->is_in_callback = true;
    problem = lhsa_limiter_reserve(L, top + 1, call->deadline - hsa_now(), &delay);
    call->is_in_callback = false;
  }
  if (call->must_be_canceled) {
    lhsa_cancel(L, user, call);
    lua_settop(L, top);
    return;
  }
  if (!problem && hsa_call_go(call->request, token, delay) != HSA_OK)
    problem = "out of memory";
  if (problem) {
    lua_pushstring(L, problem);
    lua_rawseti(L, user, LHSA_REFUSAL);
    hsa_call_refuse(call->request);
  }
  lua_settop(L, top);
}

static bool wants_token(const lhsa_call *call)
{
  return call->client->has_token_function && hsa_call_reason(call->request) != HSA_REASON_RETRY;
}

lhsa_run_state lhsa_run(lua_State *L, int idx, lhsa_call *call, int64_t until)
{
  lhsa_run_state result = LHSA_DONE;
  hsa_state state;
  int user;

  lhsa_getuservalue(L, idx);
  user = lua_gettop(L);
  while (result == LHSA_DONE && (call->request || has_next(call))) {
    if (!call->request) {
      begin(L, user, call);
      continue;
    }
    state = hsa_call_run(call->request, until);
    hand_out_events(L, user, call);
    if (call->must_be_canceled)
      lhsa_cancel(L, user, call);
    else if (hsa_call_state(call->request) == HSA_DONE)
      finish(L, user, call);
    else if (state == HSA_PARKED && wants_token(call))
      result = LHSA_PARKED;
    else if (state == HSA_PARKED)
      let_go(L, user, call, NULL, NULL);
    else if (hsa_now() >= until)
      result = LHSA_PENDING;
  }
  lua_settop(L, user - 1);
  return result;
}

/* Why the value at idx is no token, or NULL. */
static const char *check_token(lua_State *L, bool ok, int idx, int message)
{
  size_t len;
  const char *token = lua_type(L, idx) == LUA_TSTRING ? lua_tolstring(L, idx, &len) : NULL, *problem;

  if (!ok)
    return lua_pushfstring(L, "the token function failed: %s", lua_isstring(L, idx) ? lua_tostring(L, idx) : "with a value that is no string");
  if (!token)
    return lua_pushfstring(L, "the token function gave no token%s%s", lua_isstring(L, message) ? ": " : "",
                           lua_isstring(L, message) ? lua_tostring(L, message) : "");
  problem = hsa_check_header_value(token, len);
  return problem ? lua_pushfstring(L, "the token function's token %s", problem) : NULL;
}

void lhsa_go(lua_State *L, int idx, lhsa_call *call, bool ok, int token, int message)
{
  const char *problem = check_token(L, ok, token, message);

  if (!call->request)
    return;
  lhsa_getuservalue(L, idx);
  let_go(L, lua_gettop(L), call, lua_tostring(L, token), problem);
  lua_pop(L, 1);
}

void lhsa_push_token_function(lua_State *L, int idx, const lhsa_call *call)
{
  lhsa_getuservalue(L, idx);
  lua_rawgeti(L, -1, LHSA_CLIENT);
  lhsa_client_value(L, lua_gettop(L), "access_token");
  lua_replace(L, -3);
  if (hsa_call_reason(call->request) == HSA_REASON_EXPIRED)
    lua_pushliteral(L, "expired");
  else
    lua_pushnil(L);
  lua_replace(L, -2);
}
