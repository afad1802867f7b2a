/* call.c - one API call: checks its arguments, splits its inputs, sends, joins what comes back. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lhsa.h"

#define CALL_TYPE "hubspot_assoc.call"

#define INPUTS_HEAD "{\"inputs\":"

enum { MAX_PARAMS = LHSA_MAX_ARGS + 1 };
enum { MAX_PARTS = 32 }; /* halving gives one more each time, and ends at a single input */

/* Its user value has the slots of lhsa.h. */
typedef struct lhsa_call {
  const lhsa_endpoint *endpoint;
  lhsa_client *client;
  hsa_call *request; /* the one under way, or NULL */
  int next;          /* index of the next request to begin */
  int nrequests, ninputs, batch_size;
  int first, last;   /* inputs of the request under way, or of the last one: 1-based */
  int nparts;        /* of a request whose answer was too large: they go before the next request */
  int part_inputs[MAX_PARTS];
  bool is_halved;
  int64_t timeout, deadline; /* us; a point in time */
  int max_attempts;
  bool is_in_callback;   /* its on_event or limiter is being called: it does not move on */
  bool must_be_canceled; /* there */
  size_t nsegments, nquery;
  hsa_param segments[MAX_PARAMS], query[LHSA_MAX_QUERY]; /* their values are in `text` */
  char text[];
} lhsa_call;

typedef enum run_state { RUN_DONE, RUN_PARKED, RUN_PENDING } run_state;

/* ---- arguments ----
 *
 * On the stack while a call is made: the client at 1, the arguments behind it, the options behind them. */

static const lhsa_endpoint *endpoint_of(lua_State *L)
{
  return lua_touserdata(L, lua_upvalueindex(1));
}

static int count_args(const lhsa_endpoint *endpoint)
{
  int n = 0;

  while (n < LHSA_MAX_ARGS && endpoint->args[n].field.name)
    n++;
  return n;
}

static void blame(lua_State *L, int level, int arg, const char *name)
{
  lhsa_bad_argument(L, level, arg, endpoint_of(L)->name, name);
}

static lhsa_client *check_client(lua_State *L, int level)
{
  const char *name = endpoint_of(L)->name;
  lhsa_client *client = lhsa_to_client(L, 1);

  if (client)
    return client;
  luaL_where(L, level);
  lua_pushfstring(L, "'%s' is a method of a client: call it with a colon, client:%s(...)", name, name);
  lua_concat(L, 2);
  lua_error(L);
  return NULL;
}

static void check_count(lua_State *L, int level)
{
  const lhsa_endpoint *endpoint = endpoint_of(L);
  int most = count_args(endpoint) + 1, given = lua_gettop(L) - 1;

  if (given > most) {
    lua_pushfstring(L, ": '%s' takes no more than %d arguments", endpoint->name, most);
    blame(L, level, most + 1, "one too many");
  }
  lua_settop(L, most + 1);
}

/* Path segments and query parameters are text. */
static void make_text(lua_State *L, int idx)
{
  if (lua_type(L, idx) != LUA_TNUMBER)
    return;
  lua_pushfstring(L, "%d", (int)lua_tonumber(L, idx));
  lua_replace(L, idx);
}

/* Puts every argument on the stack into the shape that is sent, or raises. */
static void take_arguments(lua_State *L, int level)
{
  const lhsa_endpoint *endpoint = endpoint_of(L);
  const lhsa_field options = {.type = LHSA_OBJECT, .fields = endpoint->options};
  int n = count_args(endpoint), i;

  if (!lua_isnil(L, n + 2) && !lhsa_take(L, n + 2, &options))
    blame(L, level, n + 1, "options");
  lua_settop(L, n + 2);
  for (i = 0; i < n; i++) {
    if (!lhsa_take(L, i + 2, &endpoint->args[i].field))
      blame(L, level, i + 1, endpoint->args[i].field.name);
    lua_replace(L, i + 2);
    if (endpoint->args[i].place == LHSA_PATH)
      make_text(L, i + 2);
  }
}

/* ---- making a call ---- */

static void set_options(lua_State *L, int level, int options, lhsa_call *call)
{
  const lhsa_client *client = call->client;
  int64_t deadline = client->deadline;

  call->timeout = client->timeout;
  call->max_attempts = client->max_attempts;
  call->batch_size = call->endpoint->max_inputs;
  if (lua_istable(L, options)) {
    deadline = lhsa_seconds_option(L, options, "deadline", deadline);
    call->timeout = lhsa_seconds_option(L, options, "timeout", call->timeout);
    call->max_attempts = (int)lhsa_number_option(L, options, "max_attempts", call->max_attempts);
    call->batch_size = (int)lhsa_number_option(L, options, "batch_size", call->batch_size);
  }
  call->deadline = hsa_now() + deadline;
  if (call->batch_size > call->endpoint->max_inputs) {
    lua_pushfstring(L, ".batch_size: HubSpot takes %d inputs a request at most", call->endpoint->max_inputs);
    blame(L, level, options - 1, "options");
  }
}

/* Copies the text at idx to *end, as the value of param. */
static void set_param(lua_State *L, int idx, const char *name, hsa_param *param, char **end)
{
  const char *text = lua_tolstring(L, idx, &param->len);

  param->name = name;
  param->value = memcpy(*end, text, param->len + 1);
  *end += param->len + 1;
}

/* The query options lie at the top of the stack, as texts or nil, in the endpoint's order. */
static void set_params(lua_State *L, lhsa_call *call, int query)
{
  const lhsa_endpoint *endpoint = call->endpoint;
  int n = count_args(endpoint), i;
  char *end = call->text;

  for (i = 0; i < n; i++)
    if (endpoint->args[i].place == LHSA_PATH)
      set_param(L, i + 2, endpoint->args[i].field.name, &call->segments[call->nsegments++], &end);
  call->segments[call->nsegments++] =
    (hsa_param){.name = "version", .value = call->client->version, .len = strlen(call->client->version)};
  for (i = 0; i < LHSA_MAX_QUERY && endpoint->query[i]; i++)
    if (!lua_isnil(L, query + i))
      set_param(L, query + i, endpoint->query[i], &call->query[call->nquery++], &end);
}

/* Pushes the query options as texts or nil; answers how many bytes the texts of the call take. */
static size_t push_query(lua_State *L, int options)
{
  const lhsa_endpoint *endpoint = endpoint_of(L);
  int n = count_args(endpoint), i;
  size_t size = 0;

  for (i = 0; i < n; i++)
    if (endpoint->args[i].place == LHSA_PATH)
      size += lua_rawlen(L, i + 2) + 1;
  for (i = 0; i < LHSA_MAX_QUERY && endpoint->query[i]; i++) {
    lua_pushstring(L, endpoint->query[i]);
    if (lua_istable(L, options))
      lua_rawget(L, options);
    else {
      lua_pushnil(L);
      lua_replace(L, -2);
    }
    make_text(L, lua_gettop(L));
    size += lua_isnil(L, -1) ? 0 : lua_rawlen(L, -1) + 1;
  }
  return size;
}

/* Pushes the body {"inputs": [...]} with the inputs first to last of the list at idx. */
static void push_inputs(lua_State *L, int idx, int first, int last)
{
  int i;

  lua_pushliteral(L, INPUTS_HEAD);
  if (first == 1 && last == (int)lua_rawlen(L, idx))
    lua_pushvalue(L, idx);
  else {
    lua_createtable(L, last - first + 1, 0);
    for (i = first; i <= last; i++) {
      lua_rawgeti(L, idx, i);
      lua_rawseti(L, -2, i - first + 1);
    }
  }
  lhsa_encode(L, lua_gettop(L));
  lua_remove(L, -2);
  lua_pushliteral(L, "}");
  lua_concat(L, 3);
}

/* Of the request under way, or the last one. */
static lhsa_request_info info_of(const lhsa_call *call)
{
  lhsa_request_info info = {
    .endpoint = call->endpoint,
    .first = call->first,
    .last = call->last,
    .is_part = call->nrequests > 1 || call->is_halved,
  };
  size_t i;

  for (i = 0; i < call->nsegments; i++)
    if (strcmp(call->segments[i].name, "from") == 0)
      info.from = call->segments[i].value;
    else if (strcmp(call->segments[i].name, "to") == 0)
      info.to = call->segments[i].value;
  return info;
}

/* Pushes the bodies of all requests: one text, or a list of them. */
static void push_batches(lua_State *L, int idx, lhsa_call *call)
{
  int i, first, last;

  call->ninputs = (int)lua_rawlen(L, idx);
  call->nrequests = (call->ninputs + call->batch_size - 1) / call->batch_size;
  if (call->nrequests == 1) {
    push_inputs(L, idx, 1, call->ninputs);
    return;
  }
  lua_createtable(L, call->nrequests, 0);
  for (i = 0; i < call->nrequests; i++) {
    first = i * call->batch_size + 1;
    last = call->ninputs - first < call->batch_size ? call->ninputs : first + call->batch_size - 1;
    push_inputs(L, idx, first, last);
    lua_rawseti(L, -2, i + 1);
  }
}

static void set_bodies(lua_State *L, int user, lhsa_call *call)
{
  int n = count_args(call->endpoint), i;

  call->nrequests = 1;
  for (i = 0; i < n; i++) {
    if (call->endpoint->args[i].place == LHSA_INPUTS)
      push_batches(L, i + 2, call);
    else if (call->endpoint->args[i].place == LHSA_BODY)
      lhsa_encode(L, i + 2);
    else
      continue;
    lua_rawseti(L, user, LHSA_BODIES);
  }
}

/* Pushes a call made from the client at 1 and the arguments behind it; all is checked before. */
static lhsa_call *push_call(lua_State *L, int level)
{
  const lhsa_endpoint *endpoint = endpoint_of(L);
  lhsa_client *client = check_client(L, level);
  lhsa_call *call;
  size_t size;
  int options = count_args(endpoint) + 2, idx, user;

  check_count(L, level);
  take_arguments(L, level);
  size = sizeof *call + push_query(L, options);
  call = lua_newuserdata(L, size);
  idx = lua_gettop(L);
  memset(call, 0, sizeof *call);
  luaL_getmetatable(L, CALL_TYPE);
  lua_setmetatable(L, idx);
  call->endpoint = endpoint;
  call->client = client;
  set_options(L, level, options, call);
  set_params(L, call, options + 1);
  lua_createtable(L, LHSA_SLOTS, 0);
  user = lua_gettop(L);
  lua_pushvalue(L, 1);
  lua_rawseti(L, user, LHSA_CLIENT);
  set_bodies(L, user, call);
  lhsa_setuservalue(L, idx);
  return call;
}

/* ---- requests ---- */

static bool has_next(const lhsa_call *call)
{
  return call->nparts > 0 || call->next < call->nrequests;
}

/* One error for all inputs of the requests not begun yet; none of them is sent. retry_after: us, or -1. */
static void stop_rest(lua_State *L, int user, lhsa_call *call, hsa_kind kind, int64_t retry_after, const char *message)
{
  lhsa_request_info info = info_of(call);
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
  lua_pushliteral(L, INPUTS_HEAD "[");
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

  if (n < 2 || call->endpoint->effect != HSA_SAFE || call->nparts + 2 > MAX_PARTS)
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
  list = body + strlen(INPUTS_HEAD);
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
    stop_rest(L, user, call, HSA_CONFIG, -1, problem);
    return;
  }
  if (call->next > 0 && hsa_now() >= call->deadline) {
    stop_rest(L, user, call, HSA_TIMEOUT, -1, "not sent: the call's deadline passed");
    return;
  }
  status = start_request(L, user, call, token);
  if (status != HSA_OK)
    stop_rest(L, user, call, HSA_CONFIG, -1,
              status == HSA_TOOLARGE ? "the URL would be longer than 8 KiB" : "libcurl could not be set up (out of memory?)");
}

/* After an answer that rules out the others, the rest is not sent. */
static void stop_after(lua_State *L, int user, lhsa_call *call, const hsa_outcome *outcome)
{
  if (outcome->http_status == 401 || outcome->http_status == 403) {
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

/* Adds what the request under way has come to. */
static void take_outcome(lua_State *L, int user, lhsa_call *call, hsa_outcome *outcome)
{
  lhsa_request_info info = info_of(call);

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
  lhsa_request_info info = info_of(call);

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

/* Tells the limiter. An error in it harms no call, likewise. */
static void tell_limiter(lua_State *L, int user, lhsa_call *call, const hsa_event *event)
{
  int top = lua_gettop(L);

  if (!call->client->has_limiter)
    return;
  lua_rawgeti(L, user, LHSA_CLIENT);
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

/* Ends the call, whatever it is doing. */
static void cancel(lua_State *L, int user, lhsa_call *call)
{
  lhsa_request_info info;
  hsa_outcome outcome;

  call->must_be_canceled = false;
  if (call->request && hsa_call_state(call->request) != HSA_DONE) {
    info = info_of(call);
    outcome = hsa_call_cancel(call->request);
    call->request = NULL;
    lhsa_reply_add(L, user, &info, &outcome);
    tell_event(L, user, call, &(hsa_event){.type = HSA_EVENT_DONE, .attempt = outcome.attempts, .kind = HSA_CANCELED});
  } else if (call->request)
    finish(L, user, call);
  stop_rest(L, user, call, HSA_CANCELED, -1, "not sent: the call was canceled");
}

/* Lets a parked call go on, as soon as its limiter gives leave; token: NULL keeps the one it has. */
static void let_go(lua_State *L, int user, lhsa_call *call, const char *token, const char *problem)
{
  int64_t delay = 0;
  int top = lua_gettop(L);

  if (!problem && call->client->has_limiter) {
    lua_rawgeti(L, user, LHSA_CLIENT);
    call->is_in_callback = true;
    problem = lhsa_limiter_reserve(L, top + 1, call->deadline - hsa_now(), &delay);
    call->is_in_callback = false;
  }
  if (call->must_be_canceled) {
    cancel(L, user, call);
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

/* Drives the call until it is done or wants a token, or until the point in time. */
static run_state run(lua_State *L, int idx, lhsa_call *call, int64_t until)
{
  run_state result = RUN_DONE;
  hsa_state state;
  int user;

  lhsa_getuservalue(L, idx);
  user = lua_gettop(L);
  while (result == RUN_DONE && (call->request || has_next(call))) {
    if (!call->request) {
      begin(L, user, call);
      continue;
    }
    state = hsa_call_run(call->request, until);
    hand_out_events(L, user, call);
    if (call->must_be_canceled)
      cancel(L, user, call);
    else if (hsa_call_state(call->request) == HSA_DONE)
      finish(L, user, call);
    else if (state == HSA_PARKED && wants_token(call))
      result = RUN_PARKED;
    else if (state == HSA_PARKED)
      let_go(L, user, call, NULL, NULL);
    else if (hsa_now() >= until)
      result = RUN_PENDING;
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

/* Lets a parked call go on with what its token function returned: ok, token, message. */
static void go(lua_State *L, int idx, lhsa_call *call, bool ok, int token, int message)
{
  const char *problem = check_token(L, ok, token, message);

  if (!call->request)
    return;
  lhsa_getuservalue(L, idx);
  let_go(L, lua_gettop(L), call, lua_tostring(L, token), problem);
  lua_pop(L, 1);
}

/* Pushes the token function of the parked call at idx, and its argument. */
static void push_token_function(lua_State *L, int idx, const lhsa_call *call)
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

/* Runs the call at idx to its end in this C frame: a token function may not yield here. */
static void run_to_end(lua_State *L, int idx, lhsa_call *call)
{
  int top = lua_gettop(L);

  while (run(L, idx, call, INT64_MAX) == RUN_PARKED) {
    push_token_function(L, idx, call);
    if (lua_pcall(L, 1, 2, 0) == 0)
      go(L, idx, call, true, lua_gettop(L) - 1, lua_gettop(L));
    else
      go(L, idx, call, false, lua_gettop(L), lua_gettop(L));
    lua_settop(L, top);
  }
}

/* Pushes results, errors, response. */
static int push_results(lua_State *L, int idx)
{
  lhsa_getuservalue(L, idx);
  return lhsa_reply_push(L, lua_gettop(L));
}

/* ---- Lua ---- */

static lhsa_call *check_call(lua_State *L)
{
  return luaL_checkudata(L, 1, CALL_TYPE);
}

/* call:run([seconds]) -> true, results, errors, response; or, when it is parked, false, the token function and its
 * argument; or nothing when the time is up */
static int call_run(lua_State *L)
{
  lhsa_call *call = check_call(L);
  run_state state = RUN_PENDING;

  if (!call->is_in_callback)
    state = run(L, 1, call, lhsa_until(luaL_optnumber(L, 2, HUGE_VAL)));

  if (state == RUN_PENDING)
    return 0;
  lua_pushboolean(L, state == RUN_DONE);
  if (state == RUN_DONE)
    return 1 + push_results(L, 1);
  push_token_function(L, 1, call);
  return 3;
}

/* call:go(ok, token, message) -> has it ended here? What pcall(token_function, reason) returned. */
static int call_go(lua_State *L)
{
  lhsa_call *call = check_call(L);

  lua_settop(L, 4);
  go(L, 1, call, lua_toboolean(L, 2), 3, 4);
  lua_pushboolean(L, !call->request || call->client->is_closed); /* its limiter may have canceled it, or closed the client */
  return 1;
}

/* call:submit([problem]): from now on the client's I/O thread works on it, if it may have one, and client:next gives
 * it. With a problem, which is then its error, it does not begin. */
static int call_submit(lua_State *L)
{
  lhsa_call *call = check_call(L);
  lhsa_client *client = call->client;
  const char *problem = luaL_optstring(L, 2, NULL);

  lhsa_getuservalue(L, 1);
  lua_rawgeti(L, -1, LHSA_CLIENT);
  lhsa_remember_call(L, lua_gettop(L), 1);
  if (!problem && !client->is_closed && client->may_have_thread && hsa_engine_start_thread(client->engine) != HSA_OK)
    problem = "the client's I/O thread cannot be started";
  if (problem) {
    lhsa_getuservalue(L, 1);
    stop_rest(L, lua_gettop(L), call, HSA_CONFIG, -1, problem);
  }
  return 0;
}

/* call:cancel(): ends it; call:run then gives what it has. In its own on_event or limiter it ends as soon as
 * that returns. */
static int call_cancel(lua_State *L)
{
  lhsa_call *call = check_call(L);

  lhsa_getuservalue(L, 1);
  if (call->is_in_callback)
    call->must_be_canceled = true;
  else
    cancel(L, lua_gettop(L), call);
  return 0;
}

/* call:is_in_callback() -> is its on_event or limiter being called? It does not move on there. */
static int call_is_in_callback(lua_State *L)
{
  lua_pushboolean(L, check_call(L)->is_in_callback);
  return 1;
}

/* call:pending() -> an error list that says that it is still under way */
static int call_pending(lua_State *L)
{
  lhsa_call *call = check_call(L);
  lhsa_request_info info = info_of(call);
  const hsa_outcome outcome = {
    .kind = HSA_PENDING, .retry_after = -1, .detail = "the call goes on", .body = "", .correlation_id = ""};

  info.is_part = false;
  lua_createtable(L, LHSA_SLOTS, 0);
  lhsa_reply_add(L, lua_gettop(L), &info, &outcome);
  lua_rawgeti(L, -1, LHSA_ERRORS);
  return 1;
}

static int call_collect(lua_State *L)
{
  lhsa_call *call = check_call(L);

  hsa_call_free(call->request);
  call->request = NULL;
  return 0;
}

int lhsa_start(lua_State *L)
{
  push_call(L, 2);
  return 1;
}

int lhsa_method(lua_State *L)
{
  lhsa_call *call = push_call(L, 1);
  int idx = lua_gettop(L);

  run_to_end(L, idx, call);
  return push_results(L, idx);
}

int lhsa_function(lua_State *L)
{
  const lhsa_endpoint *endpoint = endpoint_of(L);

  if (lua_rawequal(L, 1, lua_upvalueindex(2)))
    return luaL_error(L, "'%s' is a function of the module: call it with a dot, .%s(...)", endpoint->name,
                      endpoint->name);
  lhsa_push_default_client(L);
  lua_insert(L, 1);
  return lhsa_method(L);
}

void lhsa_call_open(lua_State *L)
{
  static const luaL_Reg methods[] = {
    {"run", call_run},       {"go", call_go},           {"submit", call_submit},
    {"cancel", call_cancel}, {"pending", call_pending}, {"is_in_callback", call_is_in_callback},
    {NULL, NULL}};
  const luaL_Reg *method;

  luaL_newmetatable(L, CALL_TYPE);
  lua_pushcfunction(L, call_collect);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  for (method = methods; method->name; method++) {
    lua_pushcfunction(L, method->func);
    lua_setfield(L, -2, method->name);
  }
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
