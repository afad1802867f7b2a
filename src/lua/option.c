/* option.c - reading options out of a table that has passed lhsa_accept. */
#include "lhsa.h"

static void push_option(lua_State *L, int idx, const char *name)
{
  lua_pushstring(L, name);
  lua_rawget(L, idx);
}

bool lhsa_push_function_option(lua_State *L, int idx, const char *name)
{
  push_option(L, idx, name);
  return lua_isfunction(L, -1);
}

const char *lhsa_string_option(lua_State *L, int idx, const char *name)
{
  const char *text;

  push_option(L, idx, name);
  text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
  lua_pop(L, 1);
  return text;
}

bool lhsa_boolean_option(lua_State *L, int idx, const char *name, bool otherwise)
{
  bool value;

  push_option(L, idx, name);
  value = lua_isnil(L, -1) ? otherwise : lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

double lhsa_number_option(lua_State *L, int idx, const char *name, double otherwise)
{
  double number;

  push_option(L, idx, name);
  number = lua_isnil(L, -1) ? otherwise : lua_tonumber(L, -1);
  lua_pop(L, 1);
  return number;
}

int64_t lhsa_seconds_option(lua_State *L, int idx, const char *name, int64_t otherwise)
{
  double seconds = lhsa_number_option(L, idx, name, -1);

  return seconds < 0 ? otherwise : (int64_t)(seconds * (double)HSA_SECOND);
}

int64_t lhsa_until(double seconds)
{
  if (seconds > 1e9)
    return INT64_MAX;
  return hsa_now() + (seconds > 0 ? (int64_t)(seconds * (double)HSA_SECOND) : 0);
}

#define PAUSE_INTERVAL (HSA_SECOND / 10)

int64_t lhsa_next_pause(int64_t until)
{
  int64_t pause = hsa_now() + PAUSE_INTERVAL;

  return pause < until ? pause : until;
}

static int do_nothing(lua_State *L)
{
  (void)L;
  return 0;
}

void lhsa_run_hook(lua_State *L)
{
  if (lua_gethookmask(L)) {
    lua_pushcfunction(L, do_nothing);
    lua_call(L, 0, 0);
  }
}
