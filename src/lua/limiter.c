/* limiter.c - a limiter of the user's, which decides when each attempt may be sent: a Lua table with two methods. */
#include "lhsa.h"

/* Pushes the client's limiter's method, and the limiter. */
static void push_method(lua_State *L, int client, const char *name)
{
  lhsa_client_value(L, client, "limiter");
  lua_getfield(L, -1, name);
  lua_insert(L, -2);
}

void lhsa_check_limiter(lua_State *L, int idx, int level, const char *call)
{
  static const char *const names[] = {"reserve", "observe"};
  size_t i;

  for (i = 0; i < sizeof names / sizeof *names; i++) {
    lua_getfield(L, idx, names[i]);
    if (!lua_isfunction(L, -1)) {
      lua_pushfstring(L, ".limiter: a table with methods reserve and observe expected; it has no %s", names[i]);
      lhsa_bad_argument(L, level, 1, call, "options");
    }
    lua_pop(L, 1);
  }
}

/* lua_pcall, but a NaN or what else is no number of seconds is a failure too: leaves a message, or the seconds. */
static bool call_reserve(lua_State *L)
{
  if (lua_pcall(L, 3, 1, 0) != 0)
    return false;
  if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) >= 0)
    return true;
  lua_pushfstring(L, "'reserve' must return seconds, got %s", luaL_typename(L, -1));
  return false;
}

const char *lhsa_limiter_reserve(lua_State *L, int client, int64_t most, int64_t *delay)
{
  double seconds;

  push_method(L, client, "reserve");
  lua_pushinteger(L, 1);
  lua_pushnumber(L, (double)(most > 0 ? most : 0) / (double)HSA_SECOND);
  if (!call_reserve(L))
    return lua_pushfstring(L, "the limiter failed: %s", lua_isstring(L, -1) ? lua_tostring(L, -1) : "with a value that is no string");
  seconds = lua_tonumber(L, -1);
  *delay = seconds < 1e9 ? (int64_t)(seconds * (double)HSA_SECOND) : INT64_MAX / 2;
  return NULL;
}

static void set_seconds(lua_State *L, const char *name, int64_t us)
{
  if (us >= 0)
    lhsa_set_number(L, name, (double)us / (double)HSA_SECOND);
}

bool lhsa_limiter_observe(lua_State *L, int client, const hsa_event *event)
{
  bool tells = event->late >= 0 || event->hold >= 0 || event->rate.max >= 0;

  if (!tells || (event->type != HSA_EVENT_RETRY && event->type != HSA_EVENT_DONE))
    return true;
  push_method(L, client, "observe");
  lhsa_push_rate_limit(L, &event->rate);
  set_seconds(L, "retry_after", event->hold);
  set_seconds(L, "late", event->late);
  return lua_pcall(L, 2, 0, 0) == 0;
}
