/* client.c - clients: their options, the environment, the default client. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lhsa.h"

#define CLIENT_TYPE "hubspot_assoc.client"
#define DIGITS "0123456789"

static const char default_key = 'c'; /* its address is the key of the default client in the registry */

/* Threads and sockets hang on a client, and Lua only knows of its few bytes. So the clients that are open are
 * counted: once there are twice as many as the last collection left, those that were dropped are collected. */
struct lhsa_census {
  int open, most;
};
static const char census_key = 'n'; /* likewise, of the one census of a Lua state */
enum { FEW = 16 };                  /* clients that need no collection */

static const lhsa_field options_field = {.type = LHSA_OBJECT, .secret = true, .fields = lhsa_client_options};

/* Who gave the options: the function's name and its caller's level on the call stack; and how many share the rate. */
typedef struct blame {
  const char *function;
  int level, shares;
} blame;

/* ---- the environment ---- */

static const char *environment(const char *name)
{
  const char *value = getenv(name);

  return value && *value ? value : NULL;
}

/* "v4", or a date: 2025-09 is the first. */
static const char *check_version(const char *version)
{
  int month;

  if (strcmp(version, "v4") == 0)
    return NULL;
  month = strlen(version) == 7 ? atoi(version + 5) : 0;
  if (strspn(version, DIGITS) == 4 && version[4] == '-' && strspn(version + 5, DIGITS) == 2 && month >= 1 &&
      month <= 12 && strcmp(version, "2025-09") >= 0)
    return NULL;
  return "must be \"v4\" or a date from \"2025-09\" on";
}

/* ---- from options to an engine ---- */

static void set_rate(lua_State *L, int options, hsa_config *config)
{
  config->rate_requests = 100;
  config->rate_interval = 10 * HSA_SECOND;
  lua_pushliteral(L, "rate");
  lua_rawget(L, options);
  if (lua_istable(L, -1)) {
    config->rate_requests = (int)lhsa_number_option(L, lua_gettop(L), "requests", 0);
    config->rate_interval = lhsa_seconds_option(L, lua_gettop(L), "interval", 0);
    config->rate_is_ceiling = true;
  } else if (lua_type(L, -1) == LUA_TBOOLEAN)
    config->rate_requests = 0;
  lua_pop(L, 1);
}

/* false: without end. */
static int retry_budget_of(lua_State *L, int options)
{
  if (!lhsa_boolean_option(L, options, "retry_budget", true))
    return -1;
  return (int)lhsa_number_option(L, options, "retry_budget", 100);
}

/* Raises unless the value at idx can be a limiter. */
static void check_methods(lua_State *L, int idx, const blame *who)
{
  static const char *const names[] = {"reserve", "observe"};
  size_t i;

  for (i = 0; i < sizeof names / sizeof *names; i++) {
    lua_getfield(L, idx, names[i]);
    if (!lua_isfunction(L, -1)) {
      lua_pushfstring(L, ".limiter: a table with methods reserve and observe expected; it has no %s", names[i]);
      lhsa_bad_argument(L, who->level, 1, who->function, "options");
    }
    lua_pop(L, 1);
  }
}

/* A limiter takes the place of the engine's own pacing. */
static void check_limiter(lua_State *L, int options, const blame *who)
{
  lua_pushliteral(L, "limiter");
  lua_rawget(L, options);
  if (!lua_isnil(L, -1)) {
    check_methods(L, lua_gettop(L), who);
    lua_pushliteral(L, "rate");
    lua_rawget(L, options);
    if (lua_istable(L, -1)) {
      lua_pushliteral(L, ".limiter: takes the place of options.rate; give one of them");
      lhsa_bad_argument(L, who->level, 1, who->function, "options");
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* Pushes the User-Agent: ours, libcurl's and Lua's, and what the user appends. */
static const char *push_user_agent(lua_State *L, int options)
{
  const char *extra = lhsa_string_option(L, options, "user_agent");

  lua_getglobal(L, "_VERSION");
  lua_pushfstring(L, "hubspot_assoc/" HSA_VERSION " (%s; %s)%s%s", hsa_transport_version(),
                         lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "Lua", extra ? " " : "",
                         extra ? extra : "");
  lua_remove(L, -2);
  return lua_tostring(L, -1);
}

/* Which of the engine's events somebody wants. */
static unsigned events_for(const lhsa_client *client)
{
  if (client->has_on_event)
    return ~0U;
  return client->has_limiter ? HSA_EVENT_BIT(HSA_EVENT_RETRY) | HSA_EVENT_BIT(HSA_EVENT_DONE) : 0;
}

static hsa_status make_engine(lua_State *L, int options, const char *base_url, int shares, lhsa_client *client)
{
  hsa_config config = {
    .base_url = base_url,
    .proxy = lhsa_string_option(L, options, "proxy"),
    .ca_file = lhsa_string_option(L, options, "ca_file"),
    .user_agent = push_user_agent(L, options),
    .connect_timeout = lhsa_seconds_option(L, options, "connect_timeout", 10 * HSA_SECOND),
    .max_response_bytes = (size_t)lhsa_number_option(L, options, "max_response_bytes", 32 * 1024 * 1024),
    .max_connections = (int)lhsa_number_option(L, options, "max_connections", 8),
  };

  config.events = events_for(client);
  config.skips_waits = lhsa_boolean_option(L, options, "skip_waits", false);
  config.rate_shares = shares;
  config.retry_budget = retry_budget_of(L, options);
  set_rate(L, options, &config);
  if (client->has_limiter)
    config.rate_requests = 0;
  return hsa_engine_new(&config, &client->engine);
}

/* Remembers that a setting of the environment cannot be used: not who makes the client is to blame. Lua keeps the text,
 * so that it is never lost: without it the calls would go to the default host. */
static void blame_environment(lua_State *L, int idx, lhsa_client *client, const char *name, const char *problem)
{
  const char *text = lua_pushfstring(L, "the environment's %s %s", name, problem);

  lhsa_getuservalue(L, idx);
  lua_insert(L, -2);
  lua_setfield(L, -2, "problem");
  lua_pop(L, 1);
  client->problem = text;
}

static const char *base_url_of(lua_State *L, int options, int idx, lhsa_client *client, const blame *who)
{
  const char *option = lhsa_string_option(L, options, "base_url"), *url = option, *problem;
  bool allow_http = lhsa_boolean_option(L, options, "allow_http", false);

  if (!url)
    url = environment("HUBSPOT_BASE_URL");
  if (!url)
    return "https://api.hubapi.com";
  problem = hsa_check_base_url(url, allow_http);
  if (problem && option) {
    lua_pushfstring(L, ".base_url: %s", problem);
    lhsa_bad_argument(L, who->level, 1, who->function, "options");
  }
  if (problem) {
    blame_environment(L, idx, client, "HUBSPOT_BASE_URL", problem);
    return "https://api.hubapi.com"; /* never used */
  }
  return url;
}

static void set_version(lua_State *L, int options, int idx, lhsa_client *client, const blame *who)
{
  const char *option = lhsa_string_option(L, options, "api_version");
  const char *version = option ? option : environment("HUBSPOT_API_VERSION");
  const char *problem = version ? check_version(version) : NULL;

  if (problem && option) {
    lua_pushfstring(L, ".api_version: %s", problem);
    lhsa_bad_argument(L, who->level, 1, who->function, "options");
  }
  if (problem && !client->problem)
    blame_environment(L, idx, client, "HUBSPOT_API_VERSION", problem);
  snprintf(client->version, sizeof client->version, "%s", version && !problem ? version : "v4");
}

/* Pushes the option: a function, the lines of a table, or nil. */
static void push_headers_option(lua_State *L, int options, const blame *who)
{
  lua_pushliteral(L, "headers");
  lua_rawget(L, options);
  if (!lua_istable(L, -1))
    return;
  if (!lhsa_push_headers(L, lua_gettop(L))) {
    lua_pushfstring(L, ".headers%s", lua_tostring(L, -1));
    lhsa_bad_argument(L, who->level, 1, who->function, "options");
  }
  lua_remove(L, -2);
}

/* The client's user value: functions and a limiter among the options, and the keepers that are not in use (run.c). */
static void keep_functions(lua_State *L, int options, int idx, lhsa_client *client, const blame *who)
{
  lua_createtable(L, 1, 7);
  lua_pushboolean(L, 0);
  lua_rawseti(L, -2, LHSA_KEEPERS);
  lua_pushliteral(L, "access_token");
  lua_rawget(L, options);
  client->has_token_function = !lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING;
  if (client->has_token_function)
    lua_setfield(L, -2, "access_token");
  else
    lua_pop(L, 1);
  client->has_on_event = lhsa_push_function_option(L, options, "on_event");
  lua_setfield(L, -2, "on_event");
  lua_pushliteral(L, "limiter");
  lua_rawget(L, options);
  client->has_limiter = !lua_isnil(L, -1);
  lua_setfield(L, -2, "limiter");
  client->has_transport = lhsa_push_function_option(L, options, "transport");
  lua_setfield(L, -2, "transport");
  push_user_agent(L, options);
  lua_setfield(L, -2, "user_agent");
  push_headers_option(L, options, who);
  client->has_headers = !lua_isnil(L, -1);
  lua_setfield(L, -2, "headers");
  lua_pushliteral(L, "loop");
  lua_rawget(L, options);
  lua_setfield(L, -2, "loop");
  lhsa_setuservalue(L, idx);
}

static void make_census(lua_State *L)
{
  lhsa_census *census;

  lua_pushlightuserdata(L, (void *)(uintptr_t)&census_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  if (lua_isnil(L, -1)) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)&census_key);
    census = lua_newuserdata(L, sizeof *census);
    *census = (lhsa_census){.most = FEW};
    lua_rawset(L, LUA_REGISTRYINDEX);
  }
  lua_pop(L, 1);
}

/* Returns the census, after a collection if it is due. */
static lhsa_census *take_census(lua_State *L)
{
  lhsa_census *census;

  lua_pushlightuserdata(L, (void *)(uintptr_t)&census_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  census = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (census->open >= census->most) {
    lua_gc(L, LUA_GCCOLLECT, 0);
    census->most = census->open < FEW / 2 ? FEW : 2 * census->open;
  }
  return census;
}

/* Frees the client's engine, if it still has it. */
static void close_client(lhsa_client *client)
{
  hsa_engine *engine = client->engine;

  if (!engine)
    return;
  hsa_engine_stats(engine, &client->stats);
  client->stats.in_flight = client->stats.queued = 0;
  client->engine = NULL;
  client->census->open--;
  hsa_engine_free(engine);
}

/* Pushes a client made from the options at idx, which have passed lhsa_accept. */
static void push_client(lua_State *L, int options, const blame *who)
{
  lhsa_client *client = lua_newuserdata(L, sizeof *client);
  int idx = lua_gettop(L);
  const char *base_url, *token;

  memset(client, 0, sizeof *client);
  client->census = take_census(L);
  luaL_getmetatable(L, CLIENT_TYPE);
  lua_setmetatable(L, idx);
  check_limiter(L, options, who);
  keep_functions(L, options, idx, client, who);
  client->timeout = lhsa_seconds_option(L, options, "timeout", 30 * HSA_SECOND);
  client->deadline = lhsa_seconds_option(L, options, "deadline", 120 * HSA_SECOND);
  client->max_attempts = (int)lhsa_number_option(L, options, "max_attempts", 4);
  client->may_have_thread = lhsa_boolean_option(L, options, "io_thread", true);
  base_url = base_url_of(L, options, idx, client, who);
  set_version(L, options, idx, client, who);
  token = client->has_token_function ? NULL : lhsa_string_option(L, options, "access_token");
  client->token = token ? strdup(token) : NULL;
  if ((token && !client->token) || make_engine(L, options, base_url, who->shares, client) != HSA_OK)
    luaL_error(L, "hubspot_assoc: out of memory");
  client->census->open++;
  lua_settop(L, idx);
}

/* Pushes a client made from the options at 1; upvalue 1 is the module. */
static int new_client(lua_State *L, const blame *who)
{
  if (lua_rawequal(L, 1, lua_upvalueindex(1))) {
    luaL_where(L, who->level);
    lua_pushfstring(L, "'%s' is a function of the module: call it with a dot, .%s(options)", who->function,
                    who->function);
    lua_concat(L, 2);
    return lua_error(L);
  }
  if (lua_isnone(L, 1))
    lua_settop(L, 1);
  if (lua_isnil(L, 1)) { /* what lies behind it stays: who->function may be there */
    lua_newtable(L);
    lua_replace(L, 1);
  }
  if (!lhsa_accept(L, 1, &options_field))
    return lhsa_bad_argument(L, who->level, 1, who->function, "options");
  push_client(L, lua_gettop(L), who);
  return 1;
}

int lhsa_client_new(lua_State *L)
{
  blame who = {.function = "new", .level = 1};

  if (!lua_rawequal(L, 1, lua_upvalueindex(1))) {
    who.level = (int)luaL_optinteger(L, 2, 1);
    who.function = luaL_optstring(L, 3, "new");
    who.shares = (int)luaL_optinteger(L, 4, 1);
  }
  return new_client(L, &who);
}

int lhsa_check_oauth(lua_State *L)
{
  const lhsa_field options = {.type = LHSA_OBJECT, .secret = true, .fields = lhsa_oauth_options};
  int level = (int)luaL_checkinteger(L, 2);

  lua_settop(L, 1);
  if (!lhsa_accept(L, 1, &options))
    return lhsa_bad_argument(L, level, 1, "oauth", "options");
  return 0;
}

static void keep_default(lua_State *L)
{
  lua_pushlightuserdata(L, (void *)(uintptr_t)&default_key);
  lua_pushvalue(L, -2);
  lua_rawset(L, LUA_REGISTRYINDEX);
}

int lhsa_configure(lua_State *L)
{
  new_client(L, &(blame){.function = "configure", .level = 1});
  keep_default(L);
  return 1;
}

void lhsa_default_client(lua_State *L, int idx)
{
  if (!lua_isnil(L, idx)) {
    if (!lhsa_to_client(L, idx))
      luaL_argerror(L, idx, "client expected");
    lua_pushvalue(L, idx);
    keep_default(L);
    return;
  }
  lua_pushlightuserdata(L, (void *)(uintptr_t)&default_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
}

void lhsa_push_default_client(lua_State *L)
{
  lua_pushlightuserdata(L, (void *)(uintptr_t)&default_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  if (!lua_isnil(L, -1))
    return;
  lua_pop(L, 1);
  lua_newtable(L);
  push_client(L, lua_gettop(L), &(blame){.function = "new", .level = 0});
  lua_remove(L, -2);
  keep_default(L);
}

lhsa_client *lhsa_to_client(lua_State *L, int idx)
{
  void *data = lua_touserdata(L, idx);
  bool same;

  if (!data || !lua_getmetatable(L, idx))
    return NULL;
  luaL_getmetatable(L, CLIENT_TYPE);
  same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same ? data : NULL;
}

void lhsa_client_value(lua_State *L, int client, const char *name)
{
  lhsa_getuservalue(L, client);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

/* ---- Lua: methods of a client, for the Lua layer ---- */

static lhsa_client *check_client(lua_State *L)
{
  lhsa_client *client = lhsa_to_client(L, 1);

  if (!client)
    luaL_error(L, "a client expected, got %s", luaL_typename(L, 1));
  return client;
}

/* client:keep_exchanges(): from now on its "done" events hold `request` and `answer`, for recordings */
static int client_keep_exchanges(lua_State *L)
{
  check_client(L)->keeps_exchanges = true;
  return 0;
}

/* client:wait(seconds): until client:next has a call to give, or the time is up */
static int client_wait(lua_State *L)
{
  lhsa_client *client = check_client(L);
  int64_t until = lhsa_until(luaL_checknumber(L, 2)), pause;

  while (client->engine) { /* the hook may close the client */
    pause = lhsa_next_pause(until);
    hsa_engine_run(client->engine, pause);
    if (pause == until || hsa_now() < pause)
      break;
    lhsa_run_hook(L);
  }
  return 0;
}

/* client:next() -> what call:submit has given for the next call that wants attention, or nil. (Of a call that was never
 * submitted, or is gone, nobody knows that.) */
static int client_next(lua_State *L)
{
  lhsa_client *client = check_client(L);
  hsa_call *call = client->engine ? hsa_engine_next(client->engine) : NULL;

  if (!call)
    return 0;
  lua_pushlightuserdata(L, hsa_call_user(call));
  return 1;
}

/* client:loop() -> the option, for the Lua layer */
static int client_loop(lua_State *L)
{
  check_client(L);
  lhsa_client_value(L, 1, "loop");
  return 1;
}

/* client:fd() -> descriptor; nil and why there is none; raises without an I/O thread: nobody would make it readable */
static int client_fd(lua_State *L)
{
  lhsa_client *client = check_client(L);
  int fd;

  if (!client->may_have_thread) {
    luaL_where(L, 2);
    lua_pushliteral(L, "'fd' needs the I/O thread: this client was made with io_thread = false");
    lua_concat(L, 2);
    return lua_error(L);
  }
  fd = client->engine ? hsa_engine_fd(client->engine) : -1;
  if (fd >= 0) {
    lua_pushinteger(L, fd);
    return 1;
  }
  lua_pushnil(L);
  if (client->engine)
    lua_pushfstring(L, "there is no descriptor for the event loop to watch: %s",
                    errno == EMFILE || errno == ENFILE ? HSA_NOFILES_TEXT : strerror(errno));
  else
    lua_pushliteral(L, "the client is closed");
  return 2;
}

/* client:listen() -> the path of a unix socket to connect to; or nil and why there is none */
static int client_listen(lua_State *L)
{
  lhsa_client *client = check_client(L);
  const char *path = client->engine ? hsa_engine_listen(client->engine) : NULL;

  if (path) {
    lua_pushstring(L, path);
    return 1;
  }
  lua_pushnil(L);
  if (client->engine)
    lua_pushfstring(L, "no unix socket can be made in the folders /tmp, /var/tmp or /dev/shm: %s "
                       "(TMPDIR may name another folder; nginx wants a line `env TMPDIR;` for that)", strerror(errno));
  else
    lua_pushliteral(L, "the client is closed");
  return 2;
}

/* client:accept() -> is the connection there? client:next's calls are told on it from now on. */
static int client_accept(lua_State *L)
{
  lhsa_client *client = check_client(L);

  lua_pushboolean(L, client->engine && hsa_engine_accept(client->engine));
  return 1;
}

/* client:announce(is_more): whether finished futures wait to be handed out; fd is readable then */
static int client_announce(lua_State *L)
{
  lhsa_client *client = check_client(L);

  if (client->engine)
    hsa_engine_announce(client->engine, lua_toboolean(L, 2));
  return 0;
}

/* The client's engine; its last counters are there already once it has none. */
static void take_stats(lhsa_client *client)
{
  if (client->engine)
    hsa_engine_stats(client->engine, &client->stats);
}

/* Sets a table of the numbers, by kind, on the table at the top. */
static void set_kinds(lua_State *L, const char *name, const int64_t *numbers, hsa_kind last)
{
  hsa_kind kind;

  lua_createtable(L, 0, HSA_PENDING);
  for (kind = HSA_API; kind <= last; kind++)
    lhsa_set_integer(L, hsa_kind_name(kind), numbers[kind]);
  lua_setfield(L, -2, name);
}

static void set_waits(lua_State *L, const hsa_stats *stats)
{
  hsa_wait wait;

  lua_createtable(L, 0, HSA_WAITS);
  for (wait = 0; wait < HSA_WAITS; wait++) {
    lua_createtable(L, 0, 2);
    lhsa_set_integer(L, "count", stats->waits[wait]);
    lhsa_set_number(L, "seconds", (double)stats->waited[wait] / (double)HSA_SECOND);
    lua_setfield(L, -2, hsa_wait_name(wait));
  }
  lua_setfield(L, -2, "waits");
}

/* client:stats() -> table: docstring in lua/hubspot_assoc/client.lua */
static int client_stats(lua_State *L)
{
  lhsa_client *client = check_client(L);
  const hsa_stats *stats = &client->stats;

  take_stats(client);
  lua_createtable(L, 0, 12);
  lhsa_set_integer(L, "calls", client->ncalls);
  lhsa_set_integer(L, "requests", stats->requests);
  lhsa_set_integer(L, "attempts", stats->attempts);
  set_kinds(L, "retries", stats->retries, HSA_PROTOCOL);
  lua_getfield(L, -1, "retries");
  lhsa_set_integer(L, "token", stats->refreshes);
  lua_pop(L, 1);
  set_waits(L, stats);
  set_kinds(L, "errors", client->errors, HSA_CONFIG);
  lhsa_set_integer(L, "bytes_sent", stats->bytes_sent);
  lhsa_set_integer(L, "bytes_received", stats->bytes_received);
  lhsa_set_integer(L, "connections_opened", stats->connections_opened);
  lhsa_set_integer(L, "connections_reused", stats->connections_reused);
  lhsa_set_integer(L, "in_flight", stats->in_flight);
  lhsa_set_integer(L, "queued", stats->queued);
  return 1;
}

static void set_known(lua_State *L, const char *name, int64_t value)
{
  if (value >= 0)
    lhsa_set_integer(L, name, value);
}

static void set_known_seconds(lua_State *L, const char *name, int64_t us)
{
  if (us >= 0)
    lhsa_set_number(L, name, (double)us / (double)HSA_SECOND);
}

/* client:rate_limit() -> table: likewise */
static int client_rate_limit(lua_State *L)
{
  lhsa_client *client = check_client(L);
  hsa_rate_state rate;

  lua_createtable(L, 0, 7);
  if (!client->engine)
    return 1;
  hsa_engine_rate(client->engine, &rate);
  set_known(L, "requests", rate.requests);
  if (rate.interval % HSA_SECOND == 0)
    set_known(L, "interval", rate.interval / HSA_SECOND);
  else
    set_known_seconds(L, "interval", rate.interval);
  set_known(L, "remaining", rate.remaining);
  set_known(L, "daily", rate.daily);
  set_known(L, "daily_remaining", rate.daily_remaining);
  set_known_seconds(L, "hold", rate.hold);
  set_known_seconds(L, "age", rate.age);
  return 1;
}

/* client:close(is_kept): cancels what is under way; calls made afterwards fail. If it is kept, fd and what listen and
 * accept have made stay until the next close. */
static int client_close(lua_State *L)
{
  lhsa_client *client = check_client(L);

  client->is_closed = true;
  if (!lua_toboolean(L, 2))
    close_client(client);
  else if (client->engine)
    hsa_engine_close(client->engine);
  return 0;
}

static int collect(lua_State *L)
{
  lhsa_client *client = lhsa_to_client(L, 1);

  if (!client)
    return 0;
  close_client(client);
  free(client->token);
  memset(client, 0, sizeof *client);
  client->is_closed = client->is_finalized = true; /* a finalizer that runs after this one may use it */
  return 0;
}

static int to_string(lua_State *L)
{
  lua_pushfstring(L, "hubspot_assoc client: %p", lua_topointer(L, 1));
  return 1;
}

void lhsa_client_open(lua_State *L)
{
  static const luaL_Reg methods[] = {
    {"wait", client_wait},         {"next", client_next},     {"fd", client_fd},
    {"listen", client_listen},     {"accept", client_accept}, {"announce", client_announce},
    {"close", client_close},       {"loop", client_loop},     {"keep_exchanges", client_keep_exchanges},
    {"stats", client_stats},       {"rate_limit", client_rate_limit},
    {NULL, NULL}};

  make_census(L);
  lhsa_push_type(L, CLIENT_TYPE, methods, collect);
  lua_pushcfunction(L, to_string);
  lua_setfield(L, -2, "__tostring");
  lua_pushliteral(L, CLIENT_TYPE); /* getmetatable tells this; the functions stay out of reach */
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

void lhsa_push_client_methods(lua_State *L)
{
  luaL_getmetatable(L, CLIENT_TYPE);
  lua_getfield(L, -1, "__index");
  lua_remove(L, -2);
}
