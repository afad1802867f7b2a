/* make.c - makes a call of its arguments: checks them, splits the inputs, encodes the bodies. */
#include <string.h>

#include "call.h"

/* ---- arguments ----
 *
 * On the stack while a call is made: the client at 1, the arguments behind it, the options behind them. */

static int count_args(const lhsa_endpoint *endpoint)
{
  int n = 0;

  while (n < LHSA_MAX_ARGS && endpoint->args[n].field.name)
    n++;
  return n;
}

static void blame(lua_State *L, int level, int arg, const char *name)
{
  lhsa_bad_argument(L, level, arg, lhsa_endpoint_of(L)->name, name);
}

static lhsa_client *check_client(lua_State *L, int level)
{
  const char *name = lhsa_endpoint_of(L)->name;
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
  const lhsa_endpoint *endpoint = lhsa_endpoint_of(L);
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

/* Puts the list of inputs at idx into the shape that is sent, and what identifies them into options + 1. False: what is
 * wrong is at the top. */
static bool take_inputs(lua_State *L, int idx, const lhsa_field *field, int options)
{
  lhsa_push_identities(L, lhsa_endpoint_of(L), lua_istable(L, idx) ? (int)lua_rawlen(L, idx) : 0);
  lua_replace(L, options + 1);
  return lhsa_accept_inputs(L, idx, field, options + 1);
}

/* Puts every argument on the stack into the shape that is sent, or raises. What identifies the inputs, or nil, is
 * behind them then. */
static void take_arguments(lua_State *L, int level)
{
  const lhsa_endpoint *endpoint = lhsa_endpoint_of(L);
  const lhsa_field options = {.type = LHSA_OBJECT, .fields = endpoint->options};
  int n = count_args(endpoint), i;

  if (!lua_isnil(L, n + 2) && !lhsa_accept(L, n + 2, &options))
    blame(L, level, n + 1, "options");
  lua_settop(L, n + 3);
  lua_pushnil(L);
  lua_replace(L, n + 3);
  for (i = 0; i < n; i++) {
    const lhsa_field *field = &endpoint->args[i].field;
    bool is_list = endpoint->args[i].place == LHSA_INPUTS;

    if (!field->required && lua_isnil(L, i + 2))
      continue;
    if (!(is_list ? take_inputs(L, i + 2, field, n + 2) : lhsa_accept(L, i + 2, field)))
      blame(L, level, i + 1, field->name);
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
  int least;

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
  least = call->endpoint->max_inputs > 0; /* a finalizer may have changed what was checked */
  if (call->batch_size < least || call->batch_size > call->endpoint->max_inputs) {
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
    if (endpoint->args[i].place == LHSA_PATH && !lua_isnil(L, i + 2))
      set_param(L, i + 2, endpoint->args[i].field.name, &call->segments[call->nsegments++], &end);
  call->segments[call->nsegments++] =
    (hsa_param){.name = "version", .value = call->client->version, .len = strlen(call->client->version)};
  for (i = 0; i < LHSA_MAX_QUERY && endpoint->query[i].name; i++)
    if (!lua_isnil(L, query + i))
      set_param(L, query + i, endpoint->query[i].name, &call->query[call->nquery++], &end);
}

/* Pushes the query options as texts or nil; returns how many bytes the texts of the call take. */
static size_t push_query(lua_State *L, int options)
{
  const lhsa_endpoint *endpoint = lhsa_endpoint_of(L);
  int n = count_args(endpoint), i;
  size_t size = 0;

  for (i = 0; i < n; i++)
    if (endpoint->args[i].place == LHSA_PATH)
      size += lua_rawlen(L, i + 2) + 1;
  for (i = 0; i < LHSA_MAX_QUERY && endpoint->query[i].name; i++) {
    lua_pushstring(L, endpoint->query[i].option);
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

static bool has_numbers(const lhsa_field *fields)
{
  while (fields->name && fields->type != LHSA_INTEGER)
    fields++;
  return fields->name != NULL;
}

/* Pushes the body {"inputs": [...]} with the inputs first to last of the list at idx, which have these fields. */
static void push_inputs(lua_State *L, int idx, int first, int last, const lhsa_field *fields)
{
  int i;

  if (has_numbers(fields)) {
    lhsa_encode_objects(L, idx, first, last, fields, LHSA_INPUTS_HEAD "[", "]}");
    return;
  }
  lua_createtable(L, 0, 1);
  if (first == 1 && last == (int)lua_rawlen(L, idx))
    lua_pushvalue(L, idx);
  else {
    lua_createtable(L, last - first + 1, 0);
    for (i = first; i <= last; i++) {
      lua_rawgeti(L, idx, i);
      lua_rawseti(L, -2, i - first + 1);
    }
  }
  lua_setfield(L, -2, "inputs");
  lhsa_encode(L, lua_gettop(L));
  lua_remove(L, -2);
}

lhsa_request_info lhsa_info_of(const lhsa_call *call)
{
  lhsa_request_info info = {
    .client = call->client,
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

/* Pushes the bodies of all requests, of the n inputs that were checked: one text, or a list of them. */
static void push_batches(lua_State *L, int idx, int n, lhsa_call *call, const lhsa_field *fields)
{
  int i, first, last;

  call->ninputs = n;
  call->nrequests = (call->ninputs + call->batch_size - 1) / call->batch_size;
  if (call->nrequests == 1) {
    push_inputs(L, idx, 1, call->ninputs, fields);
    return;
  }
  lua_createtable(L, call->nrequests, 0);
  for (i = 0; i < call->nrequests; i++) {
    first = i * call->batch_size + 1;
    last = call->ninputs - first < call->batch_size ? call->ninputs : first + call->batch_size - 1;
    push_inputs(L, idx, first, last, fields);
    lua_rawseti(L, -2, i + 1);
  }
}

/* Pushes the string at the top, percent-encoded. */
static void push_encoded(lua_State *L)
{
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  char *encoded = lua_newuserdata(L, 3 * len + 1);

  lua_pushlstring(L, encoded, hsa_percent_encode(text, len, encoded));
  lua_remove(L, -2);
}

/* Appends the string at the top to the list of secrets; pops it. */
static void add_secret(lua_State *L, int secrets)
{
  lua_rawseti(L, secrets, (int)lua_rawlen(L, secrets) + 1);
}

/* Pushes the fields of the table at idx as a form, and keeps those that are secret. */
static void push_form(lua_State *L, int user, int idx, const lhsa_field *field)
{
  int secrets, text;

  lua_newtable(L);
  secrets = lua_gettop(L);
  lua_pushliteral(L, "");
  text = secrets + 1;
  for (; field->name; field++) {
    lua_pushstring(L, field->name);
    lua_rawget(L, idx);
    if (lua_isnil(L, -1)) {
      lua_pop(L, 1);
      continue;
    }
    push_encoded(L);
    lua_pushfstring(L, "%s%s%s=", lua_tostring(L, text), lua_rawlen(L, text) > 0 ? "&" : "", field->name);
    lua_pushvalue(L, -2);
    lua_concat(L, 2);
    lua_replace(L, text);
    if (field->secret) {
      add_secret(L, secrets);
      add_secret(L, secrets);
    }
    lua_settop(L, text);
  }
  lua_insert(L, secrets);
  lua_rawseti(L, user, LHSA_SECRETS);
}

static void set_bodies(lua_State *L, int user, lhsa_call *call)
{
  int n = count_args(call->endpoint), i;

  call->nrequests = 1;
  for (i = 0; i < n; i++) {
    if (call->endpoint->args[i].place == LHSA_INPUTS) {
      const lhsa_identities *ids = lua_touserdata(L, n + 3);

      lua_pushvalue(L, n + 3);
      lua_rawseti(L, user, LHSA_IDENTITIES);
      push_batches(L, i + 2, ids->n, call, call->endpoint->args[i].field.fields);
    } else if (call->endpoint->args[i].place == LHSA_BODY)
      lhsa_encode(L, i + 2);
    else if (call->endpoint->args[i].place == LHSA_FORM)
      push_form(L, user, i + 2, call->endpoint->args[i].field.fields);
    else
      continue;
    lua_rawseti(L, user, LHSA_BODIES);
  }
}

/* The call cannot begin; why is at the top: pops it. */
static void make_unfit(lua_State *L, int user, lhsa_call *call)
{
  lua_rawseti(L, user, LHSA_REFUSAL);
  call->is_unfit = true;
}

/* What is wrong with the headers in the options is at the top. */
static void blame_headers(lua_State *L, int level, int options)
{
  lua_pushfstring(L, ".headers%s", lua_tostring(L, -1));
  blame(L, level, options - 1, "options");
}

/* Pushes the lines of the headers in the options, or nil. */
static void push_more_headers(lua_State *L, int level, int options, int user, lhsa_call *call)
{
  bool ok;

  if (!lua_istable(L, options)) {
    lua_pushnil(L);
    return;
  }
  lua_pushliteral(L, "headers");
  lua_rawget(L, options);
  ok = lhsa_push_headers(L, lua_gettop(L));
  if (!ok && lua_istable(L, -2))
    blame_headers(L, level, options);
  lua_remove(L, -2);
  if (!ok) {
    make_unfit(L, user, call);
    lua_pushnil(L);
  }
}

/* Sets the headers that the call's requests have more: its client's, which its own go over. */
static void set_headers(lua_State *L, int level, int options, int user, lhsa_call *call)
{
  int top = lua_gettop(L);

  push_more_headers(L, level, options, user, call);
  if (call->client->has_headers) {
    lhsa_client_value(L, 1, "headers");
    if (!lhsa_push_headers(L, top + 2)) {
      make_unfit(L, user, call);
      lua_settop(L, top);
      return;
    }
    lua_pushvalue(L, top + 1);
    if (lua_isnil(L, -1))
      lua_pop(L, 1);
    else
      lhsa_join_header_lines(L);
  }
  if (!lua_isnil(L, -1))
    lua_rawseti(L, user, LHSA_HEADER_LINES);
  lua_settop(L, top);
}

void lhsa_check_call(lua_State *L, int level)
{
  lhsa_call unmade = {.endpoint = lhsa_endpoint_of(L), .client = check_client(L, level)};
  int options = count_args(unmade.endpoint) + 2;

  if (!unmade.client)
    return; /* it has raised */
  check_count(L, level);
  take_arguments(L, level);
  set_options(L, level, options, &unmade);
  if (!lua_istable(L, options))
    return;
  lua_pushliteral(L, "headers");
  lua_rawget(L, options);
  if (lua_istable(L, -1) && !lhsa_push_headers(L, lua_gettop(L)))
    blame_headers(L, level, options);
}

lhsa_call *lhsa_push_new_call(lua_State *L, int level)
{
  const lhsa_endpoint *endpoint = lhsa_endpoint_of(L);
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
  luaL_getmetatable(L, LHSA_CALL_TYPE);
  lua_setmetatable(L, idx);
  call->endpoint = endpoint;
  call->client = client;
  set_options(L, level, options, call);
  set_params(L, call, options + 2);
  lua_createtable(L, LHSA_SLOTS, 0);
  user = lua_gettop(L);
  lua_pushvalue(L, 1);
  lua_rawseti(L, user, LHSA_CLIENT);
  if (client->is_finalized) /* and lua-cjson perhaps, too */
    call->nrequests = 1;
  else {
    set_headers(L, level, options, user, call);
    set_bodies(L, user, call);
  }
  lhsa_setuservalue(L, idx);
  call->number = ++client->ncalls;
  return call;
}
