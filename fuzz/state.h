/* state.h - a Lua state with the module in it, for targets that go through the binding. */
#ifndef STATE_H
#define STATE_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "fuzz.h"

int luaopen_cjson(lua_State *L);
int luaopen_hubspot_assoc_core(lua_State *L);

/* A state in which `script` has been run with hubspot_assoc.core as its argument; what it returned is at 1. */
static inline lua_State *fuzz_state(const char *script)
{
  lua_State *L = luaL_newstate();

  MUST(L);
  luaL_openlibs(L);
  luaL_requiref(L, "cjson", luaopen_cjson, 0);
  lua_pop(L, 1);
  MUST(luaL_loadstring(L, script) == LUA_OK);
  luaL_requiref(L, "hubspot_assoc.core", luaopen_hubspot_assoc_core, 0);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK)
    fuzz_failed(lua_tostring(L, -1), __FILE__, __LINE__);
  return L;
}

#endif
