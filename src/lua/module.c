/* module.c - luaopen_hubspot_assoc_core: registration, nothing else. */
#include "lhsa.h"

__attribute__((visibility("default"))) int luaopen_hubspot_assoc_core(lua_State *L);

/* call(fn, ...): calls it so that it cannot yield */
static int call(lua_State *L)
{
  luaL_checkany(L, 1);
  lua_call(L, lua_gettop(L) - 1, 0);
  return 0;
}

/* now() -> seconds on the monotonic clock */
static int now(lua_State *L)
{
  lua_pushnumber(L, (lua_Number)hsa_now() / (lua_Number)HSA_SECOND);
  return 1;
}

static void set_closure(lua_State *L, const lhsa_endpoint *endpoint, lua_CFunction function, int module)
{
  lua_pushlightuserdata(L, (void *)(uintptr_t)endpoint);
  lua_pushvalue(L, module);
  lua_pushcclosure(L, function, 2);
  lua_setfield(L, -2, endpoint->name);
}

/* require "hubspot_assoc.core" -> {
 *   NAME(...)           every API call, on the default client -> results, errors, response
 *   new(options), configure(options) -> client, with client:NAME(...)
 *   call(fn, ...)       calls a function that must not yield
 *   now()               seconds on the monotonic clock
 *   calls               NAME -> start(client, ...) -> call: what hubspot_assoc.lua builds upon
 *   _VERSION }
 * A token function must not yield in calls made here; in those of hubspot_assoc.lua it may.
 * Raises if the libcurl that was found is too old. */
int luaopen_hubspot_assoc_core(lua_State *L)
{
  const lhsa_endpoint *endpoint;
  const char *problem = hsa_check_transport();
  int module;

  if (problem)
    return luaL_error(L, "hubspot_assoc cannot be used: %s", problem);
  lhsa_codec_open(L);
  lhsa_client_open(L);
  lhsa_call_open(L);
  lua_newtable(L);
  module = lua_gettop(L);
  for (endpoint = lhsa_endpoints; endpoint->name; endpoint++)
    set_closure(L, endpoint, lhsa_function, module);
  lua_newtable(L);
  for (endpoint = lhsa_endpoints; endpoint->name; endpoint++)
    set_closure(L, endpoint, lhsa_start, module);
  lua_setfield(L, module, "calls");
  lua_pushvalue(L, module);
  lua_pushcclosure(L, lhsa_client_new, 1);
  lua_setfield(L, module, "new");
  lua_pushvalue(L, module);
  lua_pushcclosure(L, lhsa_configure, 1);
  lua_setfield(L, module, "configure");
  lua_pushcfunction(L, call);
  lua_setfield(L, module, "call");
  lua_pushcfunction(L, now);
  lua_setfield(L, module, "now");
  lua_pushliteral(L, HSA_VERSION);
  lua_setfield(L, module, "_VERSION");
  return 1;
}
