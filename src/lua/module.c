/* module.c - luaopen_hubspot_assoc_core: registration, nothing else. */
#include <signal.h>

#include "lhsa.h"

__attribute__((visibility("default"))) int luaopen_hubspot_assoc_core(lua_State *L);

/* call(fn, ...): calls it so that it cannot yield */
static int call(lua_State *L)
{
  luaL_checkany(L, 1);
  lua_call(L, lua_gettop(L) - 1, 0);
  return 0;
}

/* Takes the field at the key out of the table, both on the stack, if there is a table; pushes it. */
static void take_out(lua_State *L, int table, int key)
{
  if (!lua_istable(L, table) || lua_isnil(L, key)) {
    lua_pushnil(L);
    return;
  }
  lua_pushvalue(L, key);
  lua_rawget(L, table);
  lua_pushvalue(L, key);
  lua_pushnil(L);
  lua_rawset(L, table);
}

/* call_once(table, key [, other, its_key, ...]) -> what table[key](...) returns, if that is not nil. Both fields are
 * nil when it is called, and nothing comes in between. It cannot yield. */
static int call_once(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  if (lua_gettop(L) < 4)
    lua_settop(L, 4);
  take_out(L, 3, 4);
  lua_pop(L, 1);
  take_out(L, 1, 2);
  if (lua_isnil(L, -1))
    return 0;
  lua_insert(L, 5);
  lua_call(L, lua_gettop(L) - 5, 1);
  return 1;
}

/* call_into(table, key, fn, ...) -> what fn(...) returns, of which table[key] becomes the first; nothing comes in
 * between. It cannot yield. */
static int call_into(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 3);
  lua_call(L, lua_gettop(L) - 3, 2);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, -3);
  lua_rawset(L, 1);
  return 2;
}

/* is_running(fn [, thread]) -> is it among the callers of who asks, or of what another coroutine does? */
static int is_running(lua_State *L)
{
  lua_State *thread = lua_isthread(L, 2) ? lua_tothread(L, 2) : L;
  lua_Debug frame;
  int level;
  bool is_it = false;

  luaL_checkstack(thread, 1, NULL);
  for (level = 0; !is_it && lua_getstack(thread, level, &frame); level++) {
    lua_getinfo(thread, "f", &frame);
    lua_xmove(thread, L, 1);
    is_it = lua_rawequal(L, -1, 1);
    lua_pop(L, 1);
  }
  lua_pushboolean(L, is_it);
  return 1;
}

/* default([client]) -> the default client, or nil; with one, makes it that */
static int default_client(lua_State *L)
{
  lua_settop(L, 1);
  lhsa_default_client(L, 1);
  return 1;
}

/* decode(json) -> its value as in results: integers, exact ids, no nulls in objects; or nil and what is wrong */
static int decode(lua_State *L)
{
  size_t len;
  const char *json = luaL_checklstring(L, 1, &len);
  lhsa_json shape;

  if (lhsa_decode(L, json, len, &shape))
    return 1;
  lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

/* now() -> seconds on the monotonic clock */
static int now(lua_State *L)
{
  lua_pushnumber(L, (lua_Number)hsa_now() / (lua_Number)HSA_SECOND);
  return 1;
}

/* common_now() -> the same, as all processes of the machine see it: never put forward by skip_waits */
static int common_now(lua_State *L)
{
  lua_pushnumber(L, (lua_Number)hsa_common_now() / (lua_Number)HSA_SECOND);
  return 1;
}

/* ignore_write_signals(): for a program that changes something: that nobody reads what it writes, or that a file may
 * not be so large, it is told by an error, and not ended by a signal in the midst of it. A library leaves that to its
 * host. */
static int ignore_write_signals(lua_State *L)
{
  (void)L;
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  return 0;
}

/* Pushes the fields by which inputs of the call are told apart. */
static void push_identity(lua_State *L, const lhsa_endpoint *endpoint)
{
  int i;

  lua_newtable(L);
  for (i = 0; i < LHSA_MAX_IDENTITY && endpoint->identity[i].input; i++) {
    lua_pushstring(L, endpoint->identity[i].input);
    lua_rawseti(L, -2, i + 1);
  }
}

/* Pushes what one must know of the calls with inputs that change something: NAME -> { most = inputs of a request,
 * is_once = it must not be applied twice, has_results = one for each input, identity = names of fields }. */
static void push_batches(lua_State *L)
{
  const lhsa_endpoint *endpoint;

  lua_newtable(L);
  for (endpoint = lhsa_endpoints; endpoint->name; endpoint++) {
    if (endpoint->max_inputs == 0 || endpoint->effect == HSA_SAFE)
      continue;
    lua_createtable(L, 0, 4);
    lhsa_set_integer(L, "most", endpoint->max_inputs);
    lhsa_set_boolean(L, "is_once", endpoint->effect == HSA_ONCE);
    lhsa_set_boolean(L, "has_results", !endpoint->empty_ok);
    push_identity(L, endpoint);
    lua_setfield(L, -2, "identity");
    lua_setfield(L, -2, endpoint->name);
  }
}

/* Sets fields of the table at the top, one for each endpoint that is private, or is not. */
static void set_closures(lua_State *L, bool is_private, lua_CFunction function, int module)
{
  const lhsa_endpoint *endpoint;

  for (endpoint = lhsa_endpoints; endpoint->name; endpoint++) {
    if (endpoint->is_private != is_private)
      continue;
    lua_pushlightuserdata(L, (void *)(uintptr_t)endpoint);
    lua_pushvalue(L, module);
    lua_pushcclosure(L, function, 2);
    lua_setfield(L, -2, endpoint->name);
  }
}

/* require "hubspot_assoc.core" -> {
 *   NAME(...)           every API call, on the default client -> results, errors, response
 *   new(options), configure(options) -> client, with client:NAME(...)
 *   call(fn, ...)       calls a function that must not yield
 *   call_once, call_into, is_running, default, decode   for the Lua layer: above
 *   forget_interruption, note_interruption, answered   likewise: interrupt.c
 *   now(), common_now()     seconds on the monotonic clock
 *   ignore_write_signals()  for programs: above
 *   errors(list)        a list of errors as a call returns it
 *   batches             of calls with inputs that change something: push_batches
 *   open_file(path), absolute_path(path)     a file to be locked, read and written: file.c
 *   calls               NAME -> start(client, ...) -> call: what the Lua layer builds upon
 *   checks              NAME -> check(client, ...): raises as start does, and makes nothing
 *   private_calls       likewise, what is no call of the API: oauth(client, form)
 *   check_oauth(options, level)   raises if they are wrong
 *   _VERSION }
 * What the user's functions are called for they must do without yielding here; in calls of hubspot_assoc they may
 * yield. Raises if the libcurl that was found is too old. */
int luaopen_hubspot_assoc_core(lua_State *L)
{
  const char *problem = hsa_check_transport();
  int module;

  if (problem)
    return luaL_error(L, "hubspot_assoc cannot be used: %s", problem);
  lhsa_codec_open(L);
  lhsa_client_open(L);
  lhsa_call_open(L);
  lhsa_file_open(L);
  lua_newtable(L);
  module = lua_gettop(L);
  set_closures(L, false, lhsa_function, module);
  lua_newtable(L);
  set_closures(L, false, lhsa_start, module);
  lua_setfield(L, module, "calls");
  lua_newtable(L);
  set_closures(L, false, lhsa_check, module);
  lua_setfield(L, module, "checks");
  lua_newtable(L);
  set_closures(L, true, lhsa_start, module);
  lua_setfield(L, module, "private_calls");
  lua_pushcfunction(L, lhsa_check_oauth);
  lua_setfield(L, module, "check_oauth");
  lua_pushvalue(L, module);
  lua_pushcclosure(L, lhsa_client_new, 1);
  lua_setfield(L, module, "new");
  lua_pushvalue(L, module);
  lua_pushcclosure(L, lhsa_configure, 1);
  lua_setfield(L, module, "configure");
  lua_pushcfunction(L, call);
  lua_setfield(L, module, "call");
  lua_pushcfunction(L, call_once);
  lua_setfield(L, module, "call_once");
  lua_pushcfunction(L, call_into);
  lua_setfield(L, module, "call_into");
  lua_pushcfunction(L, is_running);
  lua_setfield(L, module, "is_running");
  lua_pushcfunction(L, ignore_write_signals);
  lua_setfield(L, module, "ignore_write_signals");
  lua_pushcfunction(L, lhsa_forget_interruption);
  lua_setfield(L, module, "forget_interruption");
  lua_pushcfunction(L, lhsa_note_interruption);
  lua_setfield(L, module, "note_interruption");
  lua_pushcfunction(L, lhsa_answered);
  lua_setfield(L, module, "answered");
  lua_pushcfunction(L, default_client);
  lua_setfield(L, module, "default");
  push_batches(L);
  lua_setfield(L, module, "batches");
  lua_pushcfunction(L, lhsa_open_file);
  lua_setfield(L, module, "open_file");
  lua_pushcfunction(L, lhsa_absolute_path);
  lua_setfield(L, module, "absolute_path");
  lua_pushcfunction(L, now);
  lua_setfield(L, module, "now");
  lua_pushcfunction(L, common_now);
  lua_setfield(L, module, "common_now");
  lua_pushcfunction(L, decode);
  lua_setfield(L, module, "decode");
  lua_pushcfunction(L, lhsa_errors);
  lua_setfield(L, module, "errors");
  lua_pushliteral(L, HSA_VERSION);
  lua_setfield(L, module, "_VERSION");
  return 1;
}
