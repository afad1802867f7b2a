/* interrupt.c - what interrupts a program while it is in a function of its own that the library has called: Ctrl-C,
 * which Lua's interpreters answer by an error out of a debug hook, and whatever else a hook raises. Such a function has
 * not answered what it was asked, and the error is not its call's: it goes on to who waits.
 *
 * It is told by two things. While a hook runs, Lua runs no other: so where a message handler finds hooks off that are
 * on around it, a hook has raised the error. And by the text of Ctrl-C in lua and luajit, for the function may have
 * caught the error and handed it on (luasocket does). */
#include <string.h>

#include "lhsa.h"

static const char of_lua[] = "interrupted!";
static char raised_by_hook; /* its address is a key of the registry: the last such error of what is being called */

/* A hook that takes itself away. */
static void vanish(lua_State *L, lua_Debug *at)
{
  (void)at;
  lua_sethook(L, NULL, 0, 0);
}

static int do_nothing(lua_State *L)
{
  (void)L;
  return 0;
}

/* Would a hook run here? */
static bool runs_hooks(lua_State *L)
{
  lua_Hook hook = lua_gethook(L), left;
  int mask = lua_gethookmask(L), count = lua_gethookcount(L);

  lua_pushcfunction(L, do_nothing);
  lua_sethook(L, vanish, LUA_MASKCALL, 0);
  if (lua_pcall(L, 0, 0, 0) != 0)
    lua_pop(L, 1);
  left = lua_gethook(L);
  if (left == vanish || !left) /* else a signal has set its own meanwhile */
    lua_sethook(L, hook, mask, count);
  return left != vanish;
}

/* Remembers the error at the top, or nil. */
static void remember(lua_State *L)
{
  lua_pushlightuserdata(L, &raised_by_hook);
  lua_insert(L, -2);
  lua_rawset(L, LUA_REGISTRYINDEX);
}

static void push_remembered(lua_State *L)
{
  lua_pushlightuserdata(L, &raised_by_hook);
  lua_rawget(L, LUA_REGISTRYINDEX);
}

int lhsa_forget_interruption(lua_State *L)
{
  push_remembered(L);
  if (!lua_isnil(L, -1)) {
    lua_pushnil(L);
    remember(L);
  }
  lua_pop(L, 1);
  return 0;
}

int lhsa_note_interruption(lua_State *L)
{
  lua_settop(L, 1);
  luaL_checkstack(L, 4, NULL);
  if (!runs_hooks(L)) {
    lua_pushvalue(L, 1);
    remember(L);
  }
  return 1;
}

/* Is the error at the top the one that a hook raised last? Where a hook has called the library, nobody knows. */
static bool is_of_hook(lua_State *L)
{
  bool same;

  push_remembered(L);
  same = !lua_isnil(L, -1) && lua_rawequal(L, -1, -2);
  lua_pop(L, 1);
  return same && runs_hooks(L);
}

/* Is the error at the top Lua's own, with a position or without? */
static bool is_of_lua(lua_State *L)
{
  size_t len, n = sizeof of_lua - 1;
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;

  return text && len >= n && strcmp(text + len - n, of_lua) == 0 &&
         (len == n || (len >= n + 2 && memcmp(text + len - n - 2, ": ", 2) == 0));
}

/* Is the error at the top no answer? */
static bool is_interruption(lua_State *L)
{
  return is_of_hook(L) || is_of_lua(L);
}

int lhsa_pcall(lua_State *L, int nargs, int nresults)
{
  int base = lua_gettop(L) - nargs, status;

  lhsa_forget_interruption(L);
  lua_pushcfunction(L, lhsa_note_interruption);
  lua_insert(L, base);
  status = lua_pcall(L, nargs, nresults, base);
  lua_remove(L, base);
  if (status != 0 && is_interruption(L))
    lua_error(L);
  return status;
}

int lhsa_answered(lua_State *L)
{
  if (lua_toboolean(L, 1))
    return lua_gettop(L);
  lua_settop(L, 2);
  if (is_interruption(L)) {
    lua_pushnil(L);
    lua_replace(L, 1);
  }
  return 2;
}
