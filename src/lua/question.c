/* question.c - what a call asks its user for: puts it into Lua values, and takes the answers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "call.h"

enum { MAX_HEADERS = 100 }; /* of an answer in place of the network's */

/* ---- putting questions ---- */

static void push_client_value(lua_State *L, int user, const char *name)
{
  lua_rawgeti(L, user, LHSA_CLIENT);
  lhsa_client_value(L, lua_gettop(L), name);
  lua_remove(L, -2);
}

static void push_seconds_left(lua_State *L, const lhsa_call *call)
{
  int64_t left = call->deadline - hsa_now();

  lua_pushnumber(L, (double)(left > 0 ? left : 0) / (double)HSA_SECOND);
}

/* A table that is called is also told how long the call can wait for it (hubspot_assoc.oauth makes a request). */
static int push_token_question(lua_State *L, int user, const lhsa_call *call)
{
  bool is_expired = hsa_call_reason(lhsa_request_of(call)) == HSA_REASON_EXPIRED;

  lua_pushliteral(L, "token");
  push_client_value(L, user, "access_token");
  if (is_expired)
    lua_pushliteral(L, "expired");
  else
    lua_pushnil(L);
  if (!lua_istable(L, -2) && !is_expired)
    return 3;
  lua_pushstring(L, is_expired ? hsa_call_token(lhsa_request_of(call)) : NULL);
  if (!lua_istable(L, -3))
    return 4;
  push_seconds_left(L, call);
  return 5;
}

static int push_leave_question(lua_State *L, int user, const lhsa_call *call)
{
  lua_pushliteral(L, "leave");
  push_client_value(L, user, "limiter");
  lua_pushinteger(L, 1);
  push_seconds_left(L, call);
  return 4;
}

/* Pushes the body of the request under way, or nil. */
static void push_shown_body(lua_State *L, int user, const lhsa_call *call)
{
  lua_rawgeti(L, user, LHSA_SENT_BODY);
  if (!call->endpoint->is_private)
    return;
  lhsa_push_masked(L, lua_gettop(L), lhsa_request_of(call));
  lua_remove(L, -2);
}

/* Sets the headers in the lines on the table at the top. */
static void set_more_headers(lua_State *L, int user)
{
  const char *lines;
  hsa_param header;
  size_t name_len;

  lua_rawgeti(L, user, LHSA_HEADER_LINES);
  lines = lua_tostring(L, -1);
  lua_pop(L, 1); /* the list keeps it */
  while (lhsa_next_header(&lines, &header, &name_len)) {
    lua_pushlstring(L, header.name, name_len);
    lua_pushlstring(L, header.value, header.len);
    lua_rawset(L, -3);
  }
}

/* As the network would have it, but without the token or a form's secrets. */
static int push_answer_question(lua_State *L, int user, const lhsa_call *call)
{
  lhsa_request_info info = lhsa_info_of(call);

  lua_pushliteral(L, "answer");
  push_client_value(L, user, "transport");
  lua_createtable(L, 0, 8);
  lhsa_set_string(L, "call", call->endpoint->name);
  lhsa_set_string(L, "from", info.from);
  lhsa_set_string(L, "to", info.to);
  lhsa_set_integer(L, "attempt", hsa_call_attempts(lhsa_request_of(call)));
  lhsa_set_string(L, "method", call->endpoint->method);
  lhsa_set_string(L, "url", hsa_call_url(lhsa_request_of(call)));
  push_shown_body(L, user, call);
  lua_createtable(L, 0, 3);
  lhsa_set_string(L, "Accept", "application/json");
  if (!lua_isnil(L, -2))
    lhsa_set_string(L, "Content-Type",
                    call->endpoint->is_private ? "application/x-www-form-urlencoded" : "application/json");
  push_client_value(L, user, "user_agent");
  lua_setfield(L, -2, "User-Agent");
  set_more_headers(L, user);
  lua_setfield(L, -3, "headers");
  lua_setfield(L, -2, "body");
  return 3;
}

static void set_seconds(lua_State *L, const char *name, int64_t us)
{
  if (us >= 0)
    lhsa_set_number(L, name, (double)us / (double)HSA_SECOND);
}

static int push_rate(lua_State *L, int user, const hsa_event *event)
{
  lua_pushliteral(L, "observe");
  push_client_value(L, user, "limiter");
  lhsa_push_rate_limit(L, &event->rate);
  set_seconds(L, "retry_after", event->hold);
  set_seconds(L, "late", event->late);
  if (event->sent_at >= 0)
    set_seconds(L, "age", hsa_now() - event->sent_at);
  return 3;
}

/* The headers of an answer that mean something here. */
static void push_answer_headers(lua_State *L, const hsa_outcome *outcome)
{
  const struct { const char *name; int64_t value; } rows[] = {
    {"X-HubSpot-RateLimit-Max", outcome->rate.max},
    {"X-HubSpot-RateLimit-Remaining", outcome->rate.remaining},
    {"X-HubSpot-RateLimit-Interval-Milliseconds", outcome->rate.interval_ms},
    {"X-HubSpot-RateLimit-Daily", outcome->rate.daily},
    {"X-HubSpot-RateLimit-Daily-Remaining", outcome->rate.daily_remaining},
    {"Retry-After", outcome->retry_after < 0 ? -1 : (outcome->retry_after + HSA_SECOND - 1) / HSA_SECOND},
  };
  char number[24];
  size_t i;

  lua_newtable(L);
  for (i = 0; i < sizeof rows / sizeof *rows; i++)
    if (rows[i].value >= 0) {
      snprintf(number, sizeof number, "%lld", (long long)rows[i].value);
      lhsa_set_string(L, rows[i].name, number);
    }
  if (outcome->correlation_id[0])
    lhsa_set_string(L, "X-HubSpot-Correlation-Id", outcome->correlation_id);
}

/* Sets what a request asked and what came of it on the event at the top, as the option transport knows both; nothing
 * where nothing came of it. The token is in neither. */
static void set_exchange(lua_State *L, int user, const lhsa_call *call)
{
  const hsa_outcome *outcome = lhsa_request_of(call) ? hsa_call_outcome(lhsa_request_of(call)) : NULL;

  if (call->endpoint->is_private)
    return;
  if (outcome && outcome->http_status && !outcome->too_large) {
    lua_createtable(L, 0, 3);
    lhsa_set_integer(L, "status", outcome->http_status);
    push_answer_headers(L, outcome);
    lua_setfield(L, -2, "headers");
    lua_pushlstring(L, outcome->body, outcome->body_len);
    lhsa_push_masked(L, lua_gettop(L), lhsa_request_of(call));
    lua_setfield(L, -3, "body");
    lua_pop(L, 1);
  } else if (outcome && (outcome->kind == HSA_TIMEOUT || outcome->kind == HSA_TRANSPORT) && outcome->attempts > 0)
    lua_pushstring(L, outcome->kind == HSA_TIMEOUT ? "timeout" : hsa_code_name(outcome->code));
  else
    return;
  lua_setfield(L, -2, "answer");
  lua_createtable(L, 0, 3);
  lhsa_set_string(L, "method", call->endpoint->method);
  lhsa_set_string(L, "url", hsa_call_url(lhsa_request_of(call)));
  lua_rawgeti(L, user, LHSA_SENT_BODY);
  lua_setfield(L, -2, "body");
  lua_setfield(L, -2, "request");
}

/* Adds to the event at the top what an attempt has ended with. */
static void add_answer(lua_State *L, const hsa_event *event)
{
  lhsa_set_string(L, "kind", hsa_kind_name(event->kind));
  if (event->correlation_id[0])
    lhsa_set_string(L, "correlationId", event->correlation_id);
  lhsa_set_rate_limit(L, &event->rate);
}

static int push_event(lua_State *L, int user, const lhsa_call *call)
{
  static const char *const types[] = {"attempt", "retry", "wait", "done"};
  const hsa_event *event = &call->event;
  lhsa_request_info info = lhsa_info_of(call);

  lua_pushliteral(L, "event");
  push_client_value(L, user, "on_event");
  lua_createtable(L, 0, 16);
  lhsa_set_string(L, "type", types[event->type]);
  lhsa_set_string(L, "call", call->endpoint->name);
  lhsa_set_integer(L, "number", call->number);
  lhsa_set_string(L, "from", info.from);
  lhsa_set_string(L, "to", info.to);
  lhsa_set_integer(L, "attempt", event->attempt);
  lhsa_set_number(L, "elapsed", (double)event->elapsed / (double)HSA_SECOND);
  if (info.is_part) {
    lhsa_set_integer(L, "first", info.first);
    lhsa_set_integer(L, "last", info.last);
  }
  if (event->http_status && event->type != HSA_EVENT_ATTEMPT)
    lhsa_set_integer(L, "http_status", event->http_status);
  if (event->type == HSA_EVENT_RETRY || event->type == HSA_EVENT_DONE)
    add_answer(L, event);
  if (event->type == HSA_EVENT_RETRY || event->type == HSA_EVENT_WAIT)
    lhsa_set_number(L, "delay", (double)event->delay / (double)HSA_SECOND);
  if (event->type == HSA_EVENT_DONE && call->client->keeps_exchanges)
    set_exchange(L, user, call);
  return 3;
}

int lhsa_push_question(lua_State *L, int idx, const lhsa_call *call)
{
  int user, n;

  luaL_checkstack(L, 16, NULL);
  lhsa_getuservalue(L, idx);
  user = lua_gettop(L);
  switch (call->asks) {
  case LHSA_ASKS_TOKEN:
    n = push_token_question(L, user, call);
    break;
  case LHSA_ASKS_LEAVE:
    n = push_leave_question(L, user, call);
    break;
  case LHSA_ASKS_ANSWER:
    n = push_answer_question(L, user, call);
    break;
  case LHSA_TELLS_LIMITER:
    n = push_rate(L, user, &call->event);
    break;
  default:
    n = push_event(L, user, call);
  }
  lua_remove(L, user);
  return n;
}

/* ---- taking answers ---- */

/* Why there is no answer: the kind and whether it may pass, as an error table says; the message is pushed. */
typedef struct failure {
  hsa_kind kind;
  bool retryable;
} failure;

static hsa_kind kind_named(const char *name)
{
  hsa_kind kind;

  for (kind = HSA_API; kind <= HSA_CONFIG; kind++)
    if (strcmp(hsa_kind_name(kind), name) == 0)
      return kind;
  return HSA_CONFIG;
}

/* Pushes the error table that the value at idx is, or the first one of a list of them; else false. */
static bool push_error_table(lua_State *L, int idx)
{
  if (!lua_istable(L, idx))
    return false;
  lua_pushvalue(L, idx);
  lua_pushliteral(L, "kind");
  lua_rawget(L, -2);
  if (lua_isnil(L, -1)) {
    lua_rawgeti(L, -2, 1);
    if (lua_istable(L, -1))
      lua_replace(L, -3);
    else
      lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return true;
}

/* Reads a value that a function has failed with: pushes its message, or `otherwise`. */
static failure push_failure(lua_State *L, int idx, const char *otherwise)
{
  failure why = {.kind = HSA_CONFIG};

  if (lua_isstring(L, idx))
    lua_pushstring(L, lua_tostring(L, idx));
  else if (push_error_table(L, idx)) {
    int table = lua_gettop(L);
    const char *kind = lhsa_string_option(L, table, "kind");

    why.kind = kind ? kind_named(kind) : HSA_CONFIG; /* at once: a finalizer may change the table */
    why.retryable = lhsa_boolean_option(L, table, "retryable", false);
    lua_pushliteral(L, "message");
    lua_rawget(L, table);
    if (lua_type(L, -1) != LUA_TSTRING) {
      lua_pop(L, 1);
      lua_pushstring(L, otherwise);
    }
    lua_remove(L, table);
  } else
    lua_pushstring(L, otherwise);
  return why;
}

/* Ends the call, which does not get what it asks for. At the top: what to say; pops it. */
static void refuse(lua_State *L, int user, lhsa_call *call, failure why)
{
  lua_rawseti(L, user, LHSA_REFUSAL);
  call->is_refused = true;
  hsa_call_refuse(lhsa_request_of(call), why.kind, why.retryable);
}

/* Ends the call because of what its function at idx failed with. */
static void fail(lua_State *L, int user, lhsa_call *call, const char *what, int idx)
{
  failure why = push_failure(L, idx, "with a value that is no string");

  lua_pushfstring(L, "%s failed: %s", what, lua_tostring(L, -1));
  lua_remove(L, -2);
  refuse(L, user, call, why);
}

static void refuse_config(lua_State *L, int user, lhsa_call *call, const char *text)
{
  lua_pushstring(L, text);
  refuse(L, user, call, (failure){.kind = HSA_CONFIG});
}

static void proceed(lua_State *L, int user, lhsa_call *call, const char *token, int64_t delay)
{
  if (hsa_call_proceed(lhsa_request_of(call), token, delay) != HSA_OK)
    refuse_config(L, user, call, "out of memory");
}

static void take_token(lua_State *L, int user, lhsa_call *call, int value, int second)
{
  size_t len = 0;
  const char *token = lua_type(L, value) == LUA_TSTRING ? lua_tolstring(L, value, &len) : NULL, *problem;

  if (!token) {
    failure why = push_failure(L, second, "");
    const char *text = lua_tostring(L, -1);

    lua_pushfstring(L, "the token function gave no token%s%s", *text ? ": " : "", text);
    lua_remove(L, -2);
    refuse(L, user, call, why);
  } else if ((problem = hsa_check_token(token, len)) != NULL) {
    lua_pushfstring(L, "the token function's token %s", problem);
    refuse(L, user, call, (failure){.kind = HSA_CONFIG});
  } else if (call->client->has_limiter) {
    lua_pushvalue(L, value);
    lua_rawseti(L, user, LHSA_NEW_TOKEN);
    lhsa_ask_leave(call);
  } else
    proceed(L, user, call, token, 0);
}

/* Pushes what the value at idx is, for a message. */
static void push_shown(lua_State *L, int idx)
{
  if (lua_type(L, idx) != LUA_TNUMBER)
    lua_pushstring(L, luaL_typename(L, idx));
  else if (isnan(lua_tonumber(L, idx)))
    lua_pushliteral(L, "nan");
  else
    lua_pushfstring(L, "%f", lua_tonumber(L, idx));
}

static void take_leave(lua_State *L, int user, lhsa_call *call, int value, int second)
{
  double seconds = lua_type(L, value) == LUA_TNUMBER ? lua_tonumber(L, value) : -1;

  if (seconds >= 0 && seconds < HUGE_VAL) {
    lua_rawgeti(L, user, LHSA_NEW_TOKEN); /* nil: it keeps the one it has */
    proceed(L, user, call, lua_tostring(L, -1),
            seconds < 1e9 ? (int64_t)(seconds * (double)HSA_SECOND) : INT64_MAX / 2);
    lua_pushnil(L);
    lua_rawseti(L, user, LHSA_NEW_TOKEN);
  } else if (lua_isnil(L, value) && !lua_isnil(L, second))
    fail(L, user, call, "the limiter", second);
  else {
    push_shown(L, value);
    lua_pushfstring(L, "the limiter failed: 'reserve' must return the seconds to wait, got %s", lua_tostring(L, -1));
    refuse(L, user, call, (failure){.kind = HSA_CONFIG});
  }
}

/* Of the list at the top, the values of a header that comes several times: leaves the first. */
static void take_first_value(lua_State *L)
{
  if (!lua_istable(L, -1))
    return;
  lua_rawgeti(L, -1, 1);
  lua_replace(L, -2);
}

/* Fills in the headers of the table at idx, or nil: name -> value, a text or a number, or a list of them. The texts
 * stay on the stack. Where one is no such thing: pushes what is wrong and returns -1. */
static int take_headers(lua_State *L, int idx, hsa_param *headers)
{
  int n = 0;

  if (lua_isnil(L, idx))
    return 0;
  if (!lua_istable(L, idx)) {
    lua_pushfstring(L, "the transport's answer has headers that are no table, but a %s", luaL_typename(L, idx));
    return -1;
  }
  lua_pushnil(L);
  while (n < MAX_HEADERS && lua_next(L, idx)) {
    take_first_value(L);
    if (lua_type(L, -2) != LUA_TSTRING) {
      lua_pushliteral(L, "the transport's answer has headers whose keys are no names: name -> value is expected");
      return -1;
    }
    if (!lua_isstring(L, -1)) {
      lua_pushfstring(L, "the transport's answer has the header '%s' with a value that is no string, but a %s",
                      lua_tostring(L, -2), luaL_typename(L, -1));
      return -1;
    }
    headers[n].name = lua_tostring(L, -2);
    headers[n].value = lua_tolstring(L, -1, &headers[n].len);
    n++;
    lua_pushvalue(L, -2); /* for lua_next, above the two that are kept */
  }
  return n;
}

/* What a transport's word for what went wrong stands for: "timeout", or a code. */
static hsa_answer answer_of(const char *word)
{
  hsa_answer answer = {.kind = HSA_TRANSPORT, .code = HSA_CODE_OTHER};
  hsa_code code;

  if (strcmp(word, "timeout") == 0)
    return (hsa_answer){.kind = HSA_TIMEOUT};
  for (code = HSA_CODE_RESOLVE; code < HSA_CODE_OTHER; code++)
    if (strcmp(hsa_code_name(code), word) == 0)
      answer.code = code;
  return answer;
}

static void give_answer(lua_State *L, int user, lhsa_call *call, const hsa_answer *answer)
{
  if (hsa_call_answer(lhsa_request_of(call), answer) != HSA_OK)
    refuse_config(L, user, call, "out of memory");
}

static void take_response(lua_State *L, int user, lhsa_call *call, int value)
{
  hsa_param headers[MAX_HEADERS];
  hsa_answer answer = {.kind = HSA_SUCCESS, .headers = headers};
  double status;
  int nheaders;

  lua_pushliteral(L, "status");
  lua_rawget(L, value);
  status = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
  if (!(status >= 200 && status <= 599 && status == floor(status))) {
    refuse_config(L, user, call, "the transport's answer has no status from 200 to 599");
    return;
  }
  answer.http_status = (int)status;
  lua_pushliteral(L, "body");
  lua_rawget(L, value);
  if (lua_type(L, -1) == LUA_TSTRING)
    answer.body = lua_tolstring(L, -1, &answer.body_len);
  else if (!lua_isnil(L, -1)) {
    refuse_config(L, user, call, "the transport's answer has a body that is no string");
    return;
  }
  lua_pushliteral(L, "headers");
  lua_rawget(L, value);
  luaL_checkstack(L, 2 * MAX_HEADERS + 8, NULL);
  nheaders = take_headers(L, lua_gettop(L), headers);
  if (nheaders < 0) {
    refuse(L, user, call, (failure){.kind = HSA_CONFIG});
    return;
  }
  answer.nheaders = (size_t)nheaders;
  give_answer(L, user, call, &answer);
}

static void take_answer(lua_State *L, int user, lhsa_call *call, int value, int second)
{
  hsa_answer answer;

  if (lua_istable(L, value))
    take_response(L, user, call, value);
  else if (lua_isnil(L, value) && lua_type(L, second) == LUA_TSTRING) {
    answer = answer_of(lua_tostring(L, second));
    give_answer(L, user, call, &answer);
  } else {
    push_shown(L, value);
    lua_pushfstring(L, "the transport must return a table { status =, headers =, body = }, or nil and what went wrong; "
                       "got %s",
                    lua_tostring(L, -1));
    refuse(L, user, call, (failure){.kind = HSA_CONFIG});
  }
}

/* Nothing depends on it; what was raised comes back in the response. */
static void take_told(lua_State *L, int user, lhsa_call *call, bool ok, int value)
{
  if (call->asks == LHSA_TELLS_LIMITER)
    call->must_tell_limiter = false;
  else
    call->must_tell_event = false;
  if (ok)
    return;
  lua_pushvalue(L, value);
  lua_rawseti(L, user, LHSA_EVENT_ERROR);
}

void lhsa_answer(lua_State *L, int idx, lhsa_call *call, unsigned question, bool ok, int value, int second)
{
  static const char *const functions[] = {
    [LHSA_ASKS_TOKEN] = "the token function", [LHSA_ASKS_LEAVE] = "the limiter", [LHSA_ASKS_ANSWER] = "the transport"};
  lhsa_asks asks = call->asks;
  int top = lua_gettop(L), user = top + 1;

  if (asks == LHSA_ASKS_NOTHING || question != call->question)
    return;
  luaL_checkstack(L, 16, NULL);
  lhsa_getuservalue(L, idx);
  if (asks >= LHSA_TELLS_LIMITER)
    take_told(L, user, call, ok, value);
  else if (hsa_call_state(lhsa_request_of(call)) != HSA_PARKED)
    ; /* it has ended meanwhile: the deadline passed, or the client was closed */
  else if (!ok)
    fail(L, user, call, functions[asks], value);
  else if (asks == LHSA_ASKS_TOKEN)
    take_token(L, user, call, value, second);
  else if (asks == LHSA_ASKS_LEAVE)
    take_leave(L, user, call, value, second);
  else
    take_answer(L, user, call, value, second);
  if (question == call->question) /* it asks nothing new */
    call->asks = LHSA_ASKS_NOTHING;
  lua_settop(L, top);
}
