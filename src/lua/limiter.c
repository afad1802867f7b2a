/* limiter.c - a limiter of the user's, which decides when each attempt may be sent: a Lua table with two methods. */
#include <math.h>

#include "lhsa.h"

/* Inside lua_pcall, for to look a method up may raise, too: name, limiter, arguments -> what the method returns. */
static int call_method(lua_State *L)
{
  lua_pushvalue(L, 1);
  lua_gettable(L, 2);
  lua_replace(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  return 1;
}

/* Pushes what is to be called with the arguments that follow: these three values come before them. */
static void push_method(lua_State *L, int limiter, const char *name)
{
  lua_pushcfunction(L, call_method);
  lua_pushstring(L, name);
  lua_pushvalue(L, limiter);
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

/* Pushes what the value at the top is, for a message. */
static void push_shown(lua_State *L)
{
  if (lua_type(L, -1) != LUA_TNUMBER)
    lua_pushstring(L, luaL_typename(L, -1));
  else if (isnan(lua_tonumber(L, -1)))
    lua_pushliteral(L, "nan");
  else
    lua_pushfstring(L, "%f", lua_tonumber(L, -1));
}

/* lua_pcall, but what is no number of seconds is a failure too: leaves a message, or the seconds. */
static bool call_reserve(lua_State *L)
{
  double seconds;

  if (lua_pcall(L, 4, 1, 0) != 0)
    return false;
  seconds = lua_tonumber(L, -1);
  if (lua_type(L, -1) == LUA_TNUMBER && seconds >= 0 && seconds < HUGE_VAL)
    return true;
  push_shown(L);
  lua_pushfstring(L, "'reserve' must return the seconds to wait, got %s", lua_tostring(L, -1));
  return false;
}

const char *lhsa_limiter_reserve(lua_State *L, int limiter, int64_t most, int64_t *delay)
{
  double seconds;

  push_method(L, limiter, "reserve");
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

bool lhsa_limiter_observe(lua_State *L, int limiter, const hsa_event *event)
{
  bool tells = event->sent_at >= 0 || event->hold >= 0 || event->rate.max >= 0;

  if (!tells || (event->type != HSA_EVENT_RETRY && event->type != HSA_EVENT_DONE))
    return true;
  push_method(L, limiter, "observe");
  lhsa_push_rate_limit(L, &event->rate);
  set_seconds(L, "retry_after", event->hold);
  set_seconds(L, "late", event->late);
  if (event->sent_at >= 0)
    set_seconds(L, "age", hsa_now() - event->sent_at);
  return lua_pcall(L, 3, 0, 0) == 0;
}
