/* reply.c - outcomes become results, errors and a response. The call decides their shape, never the
 * server. `reply` is the call's user value: what it has received so far. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lhsa.h"

enum { NO_CONTENT = 204, MULTI_STATUS = 207, PROXY_LOGIN = 407 };
enum { MAX_KEPT_BODY = 1024, MAX_SHOWN_BODY = 200 };
enum { MOST_ERRORS = 10000 }; /* of one answer: some hundred bytes each, whose JSON may be three */
enum { MAX_TOKEN = 64 * 1024 }; /* what is masked begins before the end of what is kept, and may end behind it */

/* ---- tables ---- */

/* Is the table at idx a list (or empty)? */
static bool is_list(lua_State *L, int idx)
{
  bool list;

  if (!lua_istable(L, idx))
    return false;
  lua_pushnil(L);
  if (!lua_next(L, idx))
    return true;
  list = lua_type(L, -2) == LUA_TNUMBER;
  lua_pop(L, 2);
  return list;
}

/* Pushes a field of the table at idx and removes it there. */
static void take_field(lua_State *L, int idx, const char *name)
{
  lua_getfield(L, idx, name);
  if (lua_isnil(L, -1))
    return;
  lua_pushnil(L);
  lua_setfield(L, idx, name);
}

/* Appends the value at the top to the list in the slot; pops it. */
static void append(lua_State *L, int reply, int slot)
{
  lua_rawgeti(L, reply, slot);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    if (slot == LHSA_ERRORS)
      lhsa_push_errors(L);
    else
      lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawseti(L, reply, slot);
  }
  lua_insert(L, -2);
  lua_rawseti(L, -2, (int)lua_rawlen(L, -2) + 1);
  lua_pop(L, 1);
}

static void set_rate_field(lua_State *L, const char *name, int64_t value)
{
  if (value >= 0)
    lhsa_set_integer(L, name, value);
}

void lhsa_push_rate_limit(lua_State *L, const hsa_rate_limit *rate)
{
  lua_createtable(L, 0, 5);
  set_rate_field(L, "max", rate->max);
  set_rate_field(L, "remaining", rate->remaining);
  set_rate_field(L, "interval_ms", rate->interval_ms);
  set_rate_field(L, "daily", rate->daily);
  set_rate_field(L, "daily_remaining", rate->daily_remaining);
}

void lhsa_set_rate_limit(lua_State *L, const hsa_rate_limit *rate)
{
  if (rate->max < 0 && rate->remaining < 0 && rate->interval_ms < 0 && rate->daily < 0 && rate->daily_remaining < 0)
    return;
  lhsa_push_rate_limit(L, rate);
  lua_setfield(L, -2, "rate_limit");
}

/* ---- errors ---- */

/* Sets what every error tells on the table at the top, makes it an error and appends it; pops it. */
static void add_error(lua_State *L, int reply, const lhsa_request_info *info, hsa_kind kind)
{
  lhsa_set_string(L, "kind", hsa_kind_name(kind));
  lhsa_set_string(L, "call", info->endpoint->name);
  lhsa_set_string(L, "from", info->from);
  lhsa_set_string(L, "to", info->to);
  lhsa_make_error(L);
  append(L, reply, LHSA_ERRORS);
  if (kind < HSA_PENDING) /* that one says that nothing has come of it yet */
    info->client->errors[kind]++;
}

/* Sets a number, or removes what the server put there. */
static void set_or_remove(lua_State *L, const char *name, bool is_set, double value)
{
  if (!is_set)
    lua_pushnil(L);
  else if (value == floor(value))
    lua_pushinteger(L, (lua_Integer)value);
  else
    lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

/* Sets `message` on the error at the top, unless HubSpot gave one. */
static void set_message(lua_State *L, const char *message)
{
  bool has_message;

  lua_getfield(L, -1, "message");
  has_message = lua_type(L, -1) == LUA_TSTRING;
  lua_pop(L, 1);
  if (!has_message)
    lhsa_set_string(L, "message", message);
}

static void set_correlation_id(lua_State *L, const hsa_outcome *outcome)
{
  bool has_id;

  lua_getfield(L, -1, "correlationId");
  has_id = !lua_isnil(L, -1);
  lua_pop(L, 1);
  if (!has_id && outcome->correlation_id[0])
    lhsa_set_string(L, "correlationId", outcome->correlation_id);
}

/* What one can do about an answer that is too large. */
static const char *push_too_large(lua_State *L, const lhsa_request_info *info, const hsa_outcome *outcome)
{
  const char *remedy = info->endpoint->max_inputs == 0 ? "raise it"
                       : info->last > info->first     ? "raise it, or give a smaller batch_size"
                                                      : "raise it (a smaller batch_size is of no use, it is one input)";

  return lua_pushfstring(L, "%s: %s", outcome->detail, remedy);
}

/* Pushes what we say of an outcome; pushes nothing and returns NULL where its status alone decides. */
static const char *push_own_message(lua_State *L, const lhsa_request_info *info, const hsa_outcome *outcome)
{
  bool is_hubspots = outcome->kind == HSA_API && outcome->http_status != 0 && outcome->http_status != PROXY_LOGIN;

  if (outcome->too_large && outcome->kind == HSA_PROTOCOL)
    return push_too_large(L, info, outcome);
  if (outcome->detail[0] && !is_hubspots)
    return lua_pushfstring(L, "%s", outcome->detail);
  return NULL;
}

/* Pushes the message of an answer with a status of 400 and above. At the top: the error as it came, which may have kept
 * a body that is no JSON: a short plain text, as an edge server gives, tells more than nothing. */
static const char *push_status_message(lua_State *L, const hsa_outcome *outcome)
{
  const char *body, *end;
  size_t len;

  lua_getfield(L, -1, "body");
  body = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
  body += strspn(body, " \t\r\n");
  end = body + strcspn(body, "\r\n");
  len = (size_t)(end - body);
  if (len > 0 && len <= MAX_SHOWN_BODY && *body != '<' && *body != '{' && lhsa_is_utf8(body, len)) {
    lua_pushfstring(L, "HTTP %d: ", outcome->http_status);
    lua_pushlstring(L, body, len);
    lua_concat(L, 2);
  } else
    lua_pushfstring(L, "HTTP %d without a message from HubSpot", outcome->http_status);
  lua_remove(L, -2);
  return lua_tostring(L, -1);
}

/* What an answer that is no JSON object began with, for whoever must find out what answered. */
static void keep_body(lua_State *L, const lhsa_request_info *info, const hsa_outcome *outcome)
{
  size_t len = outcome->body_len < MAX_KEPT_BODY ? outcome->body_len : MAX_KEPT_BODY;

  if (len == 0 || (info->endpoint->is_private && outcome->http_status < 400))
    return;
  lua_pushlstring(L, outcome->body, outcome->body_len < len + MAX_TOKEN ? outcome->body_len : len + MAX_TOKEN);
  lhsa_push_masked(L, lua_gettop(L), info->request); /* before it is cut */
  lua_pushlstring(L, lua_tostring(L, -1), len);
  lua_setfield(L, -4, "body");
  lua_pop(L, 2);
}

/* Adds the error of a request that failed as a whole. At the top: HubSpot's error object or an empty
 * table; pops it. */
static void add_failure(lua_State *L, int reply, const lhsa_request_info *info, const hsa_outcome *outcome,
                        const char *message)
{
  set_message(L, message);
  set_correlation_id(L, outcome);
  set_or_remove(L, "first", info->is_part, info->first);
  set_or_remove(L, "last", info->is_part, info->last);
  set_or_remove(L, "index", info->left || info->first == info->last, info->left ? info->left : info->first);
  set_or_remove(L, "http_status", outcome->http_status != 0, outcome->http_status);
  set_or_remove(L, "retry_after", outcome->retry_after >= 0, (double)outcome->retry_after / (double)HSA_SECOND);
  lhsa_set_integer(L, "attempts", outcome->attempts);
  lhsa_set_boolean(L, "retryable", outcome->retryable);
  lhsa_set_boolean(L, "ambiguous", outcome->ambiguous);
  if (outcome->out_of_budget)
    lua_pushboolean(L, true);
  else
    lua_pushnil(L); /* whatever the server put there */
  lua_setfield(L, -2, "out_of_budget");
  lhsa_set_string(L, "code", hsa_code_name(outcome->code));
  add_error(L, reply, info, outcome->kind);
}

/* Removes from the error at the top what would be ours, and the server put there. */
static void remove_ours(lua_State *L)
{
  static const char *const ours[] = {"first", "last", "retry_after", "out_of_budget", NULL};
  int i;

  for (i = 0; ours[i]; i++) {
    lua_pushnil(L);
    lua_setfield(L, -2, ours[i]);
  }
}

/* Adds an error that came inside a 2xx. At the top: the error's object as it came; pops it. outcome: of the answer. */
static void add_partial(lua_State *L, int reply, const lhsa_request_info *info, const hsa_outcome *outcome)
{
  lhsa_push_masked(L, lua_gettop(L), info->request);
  lua_remove(L, -2);
  set_message(L, "HubSpot reports an error without a message");
  set_correlation_id(L, outcome);
  remove_ours(L);
  lhsa_set_integer(L, "http_status", outcome->http_status);
  lhsa_set_integer(L, "attempts", outcome->attempts);
  lhsa_set_boolean(L, "retryable", false);
  lhsa_set_boolean(L, "ambiguous", false);
  add_error(L, reply, info, HSA_API);
}

/* ---- answers ---- */

/* Sets our own fields on the response at the top and makes it the reply's; pops it. */
static void add_response(lua_State *L, int reply, const lhsa_request_info *info, const hsa_outcome *outcome)
{
  lhsa_set_integer(L, "http_status", outcome->http_status);
  lhsa_set_integer(L, "attempts", outcome->attempts);
  lhsa_set_number(L, "elapsed", (double)outcome->elapsed / (double)HSA_SECOND);
  set_correlation_id(L, outcome);
  lhsa_set_rate_limit(L, &outcome->rate);
  if (info->is_part) {
    lua_pushvalue(L, -1);
    append(L, reply, LHSA_REQUESTS);
  }
  lua_rawseti(L, reply, LHSA_RESPONSE);
}

/* Pushes a response with the fields of an envelope that the object at idx has. */
static void push_envelope(lua_State *L, int idx)
{
  static const char *const fields[] = {"status",        "startedAt", "completedAt", "requestedAt", "numErrors",
                                       "correlationId", "links",     "paging",      NULL};
  int i;

  lua_newtable(L);
  for (i = 0; fields[i]; i++) {
    lua_getfield(L, idx, fields[i]);
    lua_setfield(L, -2, fields[i]);
  }
}

/* Adds the elements of the list at the top to the reply's results; pops it. */
static void add_results(lua_State *L, int reply)
{
  int from = lua_gettop(L), n = (int)lua_rawlen(L, from), have, i;

  lua_rawgeti(L, reply, LHSA_RESULTS_SO_FAR);
  if (lua_isnil(L, -1)) {
    lua_pushvalue(L, from);
    lua_rawseti(L, reply, LHSA_RESULTS_SO_FAR);
  } else {
    have = (int)lua_rawlen(L, -1);
    for (i = 1; i <= n; i++) {
      lua_rawgeti(L, from, i);
      lua_rawseti(L, -2, have + i);
    }
  }
  lua_settop(L, from - 1);
}

/* Leaves MOST_ERRORS of the n in the list at idx, and one that counts the others; returns how many there are now. */
static int cut_errors(lua_State *L, int idx, int n)
{
  int i;

  if (n <= MOST_ERRORS)
    return n;
  for (i = n; i > MOST_ERRORS; i--) {
    lua_pushnil(L);
    lua_rawseti(L, idx, i);
  }
  lua_newtable(L);
  lua_pushfstring(L, "HubSpot reports %d errors more, which no batch can have", n - MOST_ERRORS);
  lua_setfield(L, -2, "message");
  lua_rawseti(L, idx, MOST_ERRORS + 1);
  return MOST_ERRORS + 1;
}

/* Pushes the errors in the field `errors` of the object at idx, which is removed there: a list of objects, or nil. */
static void push_listed(lua_State *L, int idx)
{
  int n, i, errors;

  take_field(L, idx, "errors");
  errors = lua_gettop(L);
  if (lua_isnil(L, errors))
    return;
  if (!is_list(L, errors)) { /* a single one without its list */
    lua_newtable(L);
    lua_pushvalue(L, errors);
    lua_rawseti(L, -2, 1);
    lua_replace(L, errors);
  }
  n = cut_errors(L, errors, (int)lua_rawlen(L, errors));
  for (i = 1; i <= n; i++) {
    lua_rawgeti(L, errors, i);
    if (!lua_istable(L, -1)) {
      lua_newtable(L);
      if (lua_type(L, -2) == LUA_TSTRING) {
        lua_pushvalue(L, -2);
        lua_setfield(L, -2, "message");
      }
      lua_rawseti(L, errors, i);
    }
    lua_settop(L, errors);
  }
}

/* Pushes what is said in place of a list of errors: HubSpot only counts them, or the batch is not complete. Pushes
 * nothing and returns false if nothing is amiss. */
static bool push_unlisted(lua_State *L, int idx)
{
  double reported;
  bool is_complete;

  lua_getfield(L, idx, "numErrors");
  reported = lua_tonumber(L, -1);
  lua_getfield(L, idx, "status");
  is_complete = lua_isnil(L, -1) || (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "COMPLETE") == 0);
  if (reported > 0)
    lua_pushfstring(L, "HubSpot reports %d errors and does not say which",
                    reported < INT_MAX ? (int)reported : INT_MAX);
  else if (!is_complete)
    lua_pushfstring(L, "HubSpot answered with the status %s: not all of it is done",
                    lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1));
  else {
    lua_pop(L, 2);
    return false;
  }
  lua_replace(L, -3);
  lua_pop(L, 1);
  return true;
}

/* Does the 2xx whose object is at idx tell of errors? */
static bool has_partials(lua_State *L, int idx)
{
  bool has;

  lua_getfield(L, idx, "errors");
  has = !lua_isnil(L, -1) && !(is_list(L, lua_gettop(L)) && lua_rawlen(L, -1) == 0);
  lua_pop(L, 1);
  if (!has && push_unlisted(L, idx)) {
    has = true;
    lua_pop(L, 1);
  }
  return has;
}

/* Pushes a list of the errors inside the 2xx whose object is at idx, empty or nil if there are none. Those that HubSpot
 * only counts are one. */
static void push_partials(lua_State *L, int idx)
{
  push_listed(L, idx);
  if (lua_rawlen(L, -1) == 0 && push_unlisted(L, idx)) {
    lua_createtable(L, 1, 0);
    lua_replace(L, -3);
    lua_newtable(L);
    lua_insert(L, -2);
    lua_setfield(L, -2, "message");
    lua_rawseti(L, -2, 1);
  }
}

/* Adds the errors in the list at `errors` (or nil), of the 2xx whose object is at idx; false if there are none. */
static bool add_partials(lua_State *L, int reply, int idx, const lhsa_request_info *info, const hsa_outcome *outcome,
                         int errors)
{
  hsa_outcome answer = *outcome;
  int n = (int)lua_rawlen(L, errors), i;

  if (n == 0)
    return false;
  lua_getfield(L, idx, "correlationId"); /* of those that have none */
  lhsa_push_masked(L, lua_gettop(L), info->request);
  if (lua_type(L, -1) == LUA_TSTRING)
    answer.correlation_id = lua_tostring(L, -1);
  for (i = 1; i <= n; i++) {
    lua_rawgeti(L, errors, i);
    add_partial(L, reply, info, &answer);
  }
  lua_pop(L, 2);
  return true;
}

/* ---- is there a result for each input? ---- */

/* How many objects has the list at the top? JSON null, which keeps its place among the results, is none. */
static int count_objects(lua_State *L)
{
  int list = lua_gettop(L), n = (int)lua_rawlen(L, list), objects = 0, i;

  for (i = 1; i <= n; i++) {
    lua_rawgeti(L, list, i);
    objects += lua_istable(L, -1);
    lua_pop(L, 1);
  }
  return objects;
}

/* Adds an error if the list of results at the top has fewer than the request promises: nobody knows what became of the
 * others. */
static bool add_missing(lua_State *L, int reply, const lhsa_request_info *info, const hsa_outcome *outcome,
                        const lhsa_match *match)
{
  hsa_outcome missing = *outcome;
  lhsa_request_info whose = *info;
  int n;

  if (match->is_in_order || outcome->http_status == NO_CONTENT)
    return false;
  n = count_objects(L);
  if (n >= match->promised)
    return false;
  missing.kind = HSA_PROTOCOL;
  missing.retryable = info->endpoint->effect != HSA_ONCE;
  missing.ambiguous = outcome->ambiguous || info->endpoint->effect != HSA_SAFE;
  whose.left = match->left;
  lua_pushfstring(L, "HTTP %d tells of no error, but has %d of %d results", outcome->http_status, n, match->promised);
  lua_newtable(L);
  add_failure(L, reply, &whose, &missing, lua_tostring(L, -2));
  lua_pop(L, 1);
  return true;
}

/* Has the object at idx any field that tells what became of a batch? */
static bool has_envelope(lua_State *L, int idx)
{
  static const char *const fields[] = {"results", "status", "errors", "numErrors", NULL};
  bool has = false;
  int i;

  for (i = 0; fields[i] && !has; i++) {
    lua_getfield(L, idx, fields[i]);
    has = !lua_isnil(L, -1);
    lua_pop(L, 1);
  }
  return has;
}

/* Pushes the object of a 2xx, empty where there is no content, or what keeps it from being used: false, and the error's
 * kind. */
static bool push_answer(lua_State *L, const lhsa_request_info *info, const hsa_outcome *outcome, hsa_kind *kind)
{
  lhsa_shape shape = info->endpoint->shape;
  bool may_be_empty = shape == LHSA_TRUE || info->endpoint->empty_ok || outcome->http_status == NO_CONTENT;
  const char *problem = NULL;
  int answer = lua_gettop(L) + 1;
  lhsa_json json;

  if (outcome->body_len == 0 && may_be_empty && outcome->http_status != MULTI_STATUS)
    lua_newtable(L);
  else if (outcome->body_len == 0)
    problem = "it is empty";
  else if (!lhsa_decode(L, outcome->body, outcome->body_len, &json)) {
    *kind = json.is_out_of_memory ? HSA_CONFIG : HSA_PROTOCOL;
    return false;
  } else if (!lua_istable(L, answer) || !json.is_object)
    problem = "it is not a JSON object";
  else if (outcome->http_status == MULTI_STATUS && !has_envelope(L, answer))
    problem = "it does not say what became of the inputs";
  else if (shape == LHSA_RESULTS) {
    lua_getfield(L, answer, "results");
    if (!lua_isnil(L, -1) && !(lua_istable(L, -1) && json.has_list))
      problem = "its results are not a list";
    else if (lua_isnil(L, -1) && !may_be_empty && !has_partials(L, answer))
      problem = "it has no results";
    lua_pop(L, 1);
  }
  if (problem)
    lua_pushstring(L, problem);
  *kind = HSA_PROTOCOL;
  return problem == NULL;
}

static void remove_results(lua_State *L, int idx)
{
  lua_pushnil(L);
  lua_setfield(L, idx, "results");
}

/* Adds what the 2xx whose object is at idx says of the inputs of a batch, or lists. True if there are errors. */
static bool add_list(lua_State *L, int reply, int idx, const lhsa_request_info *info, const hsa_outcome *outcome)
{
  int errors, results;
  bool has_errors;
  lhsa_match match = {.promised = 0};

  push_partials(L, idx);
  errors = lua_gettop(L);
  lua_getfield(L, idx, "results");
  if (lua_isnil(L, -1) || info->endpoint->empty_ok) {
    lua_pop(L, 1);
    lua_newtable(L);
  }
  results = lua_gettop(L);
  lua_rawgeti(L, reply, LHSA_IDENTITIES);
  if (lua_isuserdata(L, -1))
    match = lhsa_match_inputs(L, results + 1, info, results, errors);
  lua_pop(L, 1);
  has_errors = add_partials(L, reply, idx, info, outcome, errors) ||
               add_missing(L, reply, info, outcome, &match);
  add_results(L, reply);
  lua_pop(L, 1);
  return has_errors;
}

/* Adds the response that comes of the envelope at idx. */
static void add_rest(lua_State *L, int reply, int idx, const lhsa_request_info *info, const hsa_outcome *outcome,
                     bool has_errors)
{
  if (has_errors) { /* it is shown beside the errors, in a log perhaps */
    remove_results(L, idx);
    lhsa_push_masked(L, idx, info->request);
  } else
    lua_pushvalue(L, idx);
  add_response(L, reply, info, outcome);
  remove_results(L, idx); /* not before: Lua's tables grow by what is in them, and so this one grows once */
}

/* Adds the 2xx whose object is at idx. */
static void add_answer(lua_State *L, int reply, int idx, const lhsa_request_info *info, const hsa_outcome *outcome)
{
  bool is_whole = info->endpoint->shape == LHSA_WHOLE, has_errors;

  if (info->endpoint->shape == LHSA_RESULTS)
    has_errors = add_list(L, reply, idx, info, outcome);
  else {
    push_partials(L, idx);
    has_errors = add_partials(L, reply, idx, info, outcome, lua_gettop(L));
    if (is_whole)
      lua_pushvalue(L, idx);
    else
      lua_pushboolean(L, 1);
    lua_rawseti(L, reply, LHSA_RESULTS_SO_FAR);
    if (is_whole)
      push_envelope(L, idx);
  }
  add_rest(L, reply, is_whole ? lua_gettop(L) : idx, info, outcome, has_errors);
}

/* Adds a 2xx that cannot be used; what is wrong with it is at the top. */
static void add_unusable(lua_State *L, int reply, const lhsa_request_info *info, const hsa_outcome *outcome,
                         hsa_kind kind)
{
  hsa_outcome unusable = *outcome;

  unusable.kind = kind;
  unusable.ambiguous = outcome->ambiguous || info->endpoint->effect != HSA_SAFE; /* it may well have been applied */
  lua_pushfstring(L, "HTTP %d, but the answer cannot be used: %s", outcome->http_status, lua_tostring(L, -1));
  lua_newtable(L);
  keep_body(L, info, outcome);
  add_failure(L, reply, info, &unusable, lua_tostring(L, -2));
  lua_newtable(L);
  add_response(L, reply, info, outcome);
}

static void add_success(lua_State *L, int reply, const lhsa_request_info *info, const hsa_outcome *outcome)
{
  hsa_kind kind;

  if (push_answer(L, info, outcome, &kind))
    add_answer(L, reply, lua_gettop(L), info, outcome);
  else
    add_unusable(L, reply, info, outcome, kind);
}

static void add_not_success(lua_State *L, int reply, const lhsa_request_info *info, const hsa_outcome *outcome)
{
  bool is_error_body = outcome->kind == HSA_API || outcome->kind == HSA_THROTTLED;
  lhsa_json json;
  bool is_object = is_error_body && outcome->body_len && lhsa_decode(L, outcome->body, outcome->body_len, &json) &&
                   json.is_object;
  int object;

  if (!is_object) {
    lua_newtable(L);
    keep_body(L, info, outcome);
  }
  lhsa_push_masked(L, lua_gettop(L), info->request);
  object = lua_gettop(L);
  push_envelope(L, object);
  if (!push_own_message(L, info, outcome)) {
    lua_pushvalue(L, object);
    push_status_message(L, outcome);
    lua_remove(L, -2);
  }
  lua_pushvalue(L, object);
  add_failure(L, reply, info, outcome, lua_tostring(L, -2));
  lua_pop(L, 1);
  if (outcome->http_status)
    add_response(L, reply, info, outcome);
}

void lhsa_reply_add(lua_State *L, int reply, const lhsa_request_info *info, const hsa_outcome *outcome)
{
  int top = lua_gettop(L);

  luaL_checkstack(L, 20, NULL);
  if (outcome->kind == HSA_SUCCESS)
    add_success(L, reply, info, outcome);
  else
    add_not_success(L, reply, info, outcome);
  lua_settop(L, top);
}

/* Sets the value at the top on the table below it; pops it. */
static void set_unless_nil(lua_State *L, const char *name)
{
  if (lua_isnil(L, -1))
    lua_pop(L, 1);
  else
    lua_setfield(L, -2, name);
}

int lhsa_reply_push(lua_State *L, int reply)
{
  luaL_checkstack(L, 8, NULL);
  lua_rawgeti(L, reply, LHSA_RESULTS_SO_FAR);
  lua_rawgeti(L, reply, LHSA_ERRORS);
  lua_rawgeti(L, reply, LHSA_RESPONSE);
  if (lua_isnil(L, -3) && lua_isnil(L, -2)) { /* empty inputs: nothing was sent */
    lua_newtable(L);
    lua_replace(L, -4);
    lua_newtable(L);
    lhsa_set_integer(L, "attempts", 0);
    lhsa_set_integer(L, "elapsed", 0);
    lua_replace(L, -2);
  }
  if (!lua_istable(L, -1))
    return 3;
  lua_rawgeti(L, reply, LHSA_REQUESTS);
  if (lua_istable(L, -1)) {
    lua_pushvalue(L, -2);
    lhsa_copy_table(L); /* not itself among them: a cycle would be a trap */
    lua_replace(L, -3);
  }
  set_unless_nil(L, "requests");
  lua_rawgeti(L, reply, LHSA_EVENT_ERROR);
  set_unless_nil(L, "on_event_error");
  return 3;
}

static void shorten(lua_State *L, int reply, int slot, int n, bool is_kept)
{
  int i;

  lua_rawgeti(L, reply, slot);
  if (lua_istable(L, -1))
    for (i = (int)lua_rawlen(L, -1); i > n; i--) {
      lua_pushnil(L);
      lua_rawseti(L, -2, i);
    }
  if (n == 0 && !is_kept) {
    lua_pushnil(L);
    lua_rawseti(L, reply, slot);
  }
  lua_pop(L, 1);
}

void lhsa_reply_rewind(lua_State *L, int reply, lhsa_reply_mark *mark)
{
  shorten(L, reply, LHSA_RESULTS_SO_FAR, mark->results, mark->has_results);
  shorten(L, reply, LHSA_ERRORS, mark->errors, false);
  shorten(L, reply, LHSA_REQUESTS, mark->requests, false);
  mark->is_dirty = false;
}

void lhsa_reply_commit(lua_State *L, int reply, lhsa_reply_mark *mark)
{
  int top = lua_gettop(L);

  lua_rawgeti(L, reply, LHSA_RESULTS_SO_FAR);
  lua_rawgeti(L, reply, LHSA_ERRORS);
  lua_rawgeti(L, reply, LHSA_REQUESTS);
  *mark = (lhsa_reply_mark){
    .has_results = !lua_isnil(L, top + 1),
    .results = (int)lua_rawlen(L, top + 1), /* 0 of what is no list */
    .errors = (int)lua_rawlen(L, top + 2),
    .requests = (int)lua_rawlen(L, top + 3),
  };
  lua_settop(L, top);
}
