/* Programs that use clients in any order: order.lua has what they do, and what must hold. Here are what makes a run
 * repeatable, a clock that moves only where somebody waits, and libFuzzer's sight of Lua code: its lines are counters. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../src/lua/lhsa.h"
#include "clock.h"
#include "engine.h"
#include "state.h"

enum { COUNTERS = 8192, BEGINNING = 1000, MOST_LINES = 1000000 };

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[COUNTERS];

static const char SCRIPT[] =
  "package.path = './?.lua;./lua/?.lua;' .. package.path\n"
  "return assert(loadfile 'fuzz/order.lua')\n";

static lua_State *L;

/* ---- the clock ---- */

static int64_t monotonic; /* us */

/* The process's, libcurl's too; each look takes a moment. */
int clock_gettime(clockid_t id, struct timespec *at)
{
  if (id != CLOCK_MONOTONIC)
    return (int)syscall(SYS_clock_gettime, id, at);
  monotonic++;
  *at = (struct timespec){.tv_sec = monotonic / HSA_SECOND, .tv_nsec = monotonic % HSA_SECOND * 1000};
  return 0;
}

/* Nothing ever happens on a descriptor: a wait is over at once. */
int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
  int n = (int)syscall(SYS_epoll_pwait, epoll, events, most, 0, NULL, 0);

  if (n == 0) {
    MUST(timeout >= 0);
    monotonic += (int64_t)timeout * 1000;
  }
  return n;
}

/* ---- for order.lua ---- */

static int lines; /* of Lua that the input has run */
static int lines_to_strike, instructions_to_strike; /* of the library, until it is interrupted; lines < 0: it is not */

static void count_line(lua_State *state)
{
  if (++lines < MOST_LINES)
    return;
  luaL_traceback(state, state, "it does not end", 0);
  fuzz_failed(lua_tostring(state, -1), __FILE__, __LINE__);
}

static bool is_of_library(const lua_Debug *at)
{
  static const char *source; /* the last one's: most follow one of their own */
  static bool is_it;

  if (at->source != source) {
    source = at->source;
    is_it = strstr(source, "lua/hubspot_assoc") != NULL;
  }
  return is_it;
}

static void hook(lua_State *state, lua_Debug *at);

static void strike(lua_State *state)
{
  lines_to_strike = -1;
  lua_sethook(state, hook, LUA_MASKLINE, 0);
  lua_pushliteral(state, "struck here");
  lua_error(state);
}

/* A line of the library, or an instruction behind one. */
static void hook(lua_State *state, lua_Debug *at)
{
  if (at->event == LUA_HOOKLINE)
    count_line(state);
  lua_getinfo(state, "Sl", at);
  if (!is_of_library(at))
    return;
  if (at->event == LUA_HOOKCOUNT) {
    if (lines_to_strike == 0)
      strike(state);
    return;
  }
  counters[((uintptr_t)at->source / 16 * 31 + (unsigned)at->currentline) % COUNTERS]++;
  if (lines_to_strike > 0 && --lines_to_strike == 0)
    lua_sethook(state, hook, LUA_MASKLINE | LUA_MASKCOUNT, instructions_to_strike);
}

/* interrupt(lines, instructions): so many from now; or without lines never */
static int interrupt(lua_State *state)
{
  int n = (int)luaL_checkinteger(state, 1);

  lines_to_strike = n > 0 ? n : -1;
  instructions_to_strike = (int)luaL_optinteger(state, 2, 1);
  lua_sethook(state, hook, LUA_MASKLINE, 0);
  return 0;
}

static int begin(lua_State *state)
{
  (void)state;
  lines = 0;
  monotonic = hsa_clock_monotonic(BEGINNING * HSA_SECOND);
  return 0;
}

static int advance(lua_State *state)
{
  monotonic += (int64_t)(luaL_checknumber(state, 1) * (double)HSA_SECOND);
  return 0;
}

static hsa_engine *engine_of(lua_State *state)
{
  return lhsa_to_client(state, 1)->engine;
}

/* Pauses are random, but the same each time. */
static int settle(lua_State *state)
{
  engine_of(state)->random = 1;
  return 0;
}

static int calls(lua_State *state)
{
  hsa_engine *engine = engine_of(state);

  lua_pushinteger(state, engine ? (lua_Integer)engine->ncalls : 0);
  return 1;
}

/* ---- libFuzzer ---- */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  static const luaL_Reg functions[] = {{"begin", begin},   {"advance", advance}, {"interrupt", interrupt},
                                       {"settle", settle}, {"calls", calls},     {NULL, NULL}};

  (void)argc;
  (void)argv;
  L = fuzz_state(SCRIPT);
  luaL_newlib(L, functions);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK)
    fuzz_failed(lua_tostring(L, -1), __FILE__, __LINE__);
  lua_sethook(L, hook, LUA_MASKLINE, 0);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
  lua_pushvalue(L, 1);
  lua_pushlstring(L, (const char *)data, len);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK)
    fuzz_failed(lua_tostring(L, -1), __FILE__, __LINE__);
  return 0;
}
