/* call.c - a call's face to Lua. */
#include <math.h>

#include "call.h"

/* Raises if the call is being worked on. */
static void check_free(lua_State *L, const lhsa_call *call)
{
  if (call->is_busy)
    luaL_error(L, "the call is being worked on, and cannot be used meanwhile (in a finalizer)");
}

/* As lua_call, of what works on the call. A finalizer can run wherever Lua's memory is asked for, and would take away
 * what is looked at: so it may not work on the same call. An interruption is noted here, for it is raised anew. */
static void occupy(lua_State *L, lhsa_call *call, lua_CFunction fn, int nargs, int nresults)
{
  int handler = lua_gettop(L) - nargs + 1, status;

  luaL_checkstack(L, 4, NULL);
  lua_pushcfunction(L, lhsa_note_interruption);
  lua_insert(L, handler);
  lua_pushcfunction(L, fn);
  lua_insert(L, handler + 1);
  check_free(L, call);
  call->is_busy = true;
  status = lua_pcall(L, nargs, nresults, handler);
  call->is_busy = false;
  lua_remove(L, handler);
  if (status != 0)
    lua_error(L);
}

typedef struct run {
  int64_t until;
  lhsa_run_state state;
} run;

/* Arguments: the call, its run. */
static int go_on(lua_State *L)
{
  lhsa_call *call = lua_touserdata(L, 1);
  run *run = lua_touserdata(L, 2);

  run->state = lhsa_run(L, 1, call, run->until);
  if (run->state != LHSA_ASKS)
    return 0;
  lua_pushnumber(L, call->question);
  return 1 + lhsa_push_question(L, 1, call);
}

/* Drives the call at idx as lhsa_run does. Where it asks, pushes the question's number and what lhsa_push_question
 * pushes. */
static lhsa_run_state drive(lua_State *L, int idx, lhsa_call *call, int64_t until)
{
  run run = {.until = until, .state = LHSA_PAUSES};

  while (run.state == LHSA_PAUSES) {
    lua_pushvalue(L, idx);
    lua_pushlightuserdata(L, &run);
    occupy(L, call, go_on, 2, LUA_MULTRET);
    if (run.state == LHSA_PAUSES)
      lhsa_run_hook(L); /* it may raise, or cancel the call */
  }
  return run.state;
}

/* Arguments: the call, the question's number, what pcall gave. */
static int take_answer(lua_State *L)
{
  lhsa_answer(L, 1, lua_touserdata(L, 1), (unsigned)lua_tonumber(L, 2), lua_toboolean(L, 3), 4, 5);
  return 0;
}

/* A limiter's method, looked up inside lhsa_pcall, for that may raise, too: name, limiter, arguments -> what it
 * returns. */
static int call_method(lua_State *L)
{
  lua_pushvalue(L, 1);
  lua_gettable(L, 2);
  lua_replace(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

/* Puts the question behind its number, at `number`, to whom it is for; pops both. What is called may not yield here.
 * What interrupts it leaves the call. */
static void ask_here(lua_State *L, int idx, lhsa_call *call, int number)
{
  bool is_method = call->asks == LHSA_ASKS_LEAVE || call->asks == LHSA_TELLS_LIMITER, ok;
  int kind = number + 1, n = lua_gettop(L) - number;

  if (is_method) {
    lua_pushcfunction(L, call_method);
    lua_insert(L, kind);
    lua_pushstring(L, call->asks == LHSA_ASKS_LEAVE ? "reserve" : "observe");
    lua_replace(L, kind + 1);
    n++;
  } else
    lua_remove(L, kind);
  ok = lhsa_pcall(L, n - (is_method ? 1 : 2), 2) == 0;
  lua_settop(L, kind + 1);
  lua_pushvalue(L, idx);
  lua_insert(L, number);
  lua_pushboolean(L, ok);
  lua_insert(L, number + 2);
  occupy(L, call, take_answer, 5, 0);
}

/* Runs the call at idx to its end in this C frame. */
static void run_to_end(lua_State *L, int idx, lhsa_call *call)
{
  int top = lua_gettop(L);

  while (drive(L, idx, call, INT64_MAX) == LHSA_ASKS)
    ask_here(L, idx, call, top + 1);
}

/* Pushes results, errors, response. */
static int push_results(lua_State *L, int idx)
{
  lhsa_getuservalue(L, idx);
  return lhsa_reply_push(L, lua_gettop(L));
}

/* ---- Lua ---- */

static lhsa_call *check_call(lua_State *L)
{
  return luaL_checkudata(L, 1, LHSA_CALL_TYPE);
}

/* call:run([seconds]) -> true, results, errors, response; or, when it asks something, false, the number of the question
 * and what lhsa_push_question pushes; or nothing when the time is up */
static int call_run(lua_State *L)
{
  lhsa_call *call = check_call(L);
  int64_t until = lhsa_until(luaL_optnumber(L, 2, HUGE_VAL));
  lhsa_run_state state;

  lua_settop(L, 1);
  lua_pushboolean(L, 0);
  state = drive(L, 1, call, until);
  if (state == LHSA_PENDING)
    return 0;
  if (state != LHSA_DONE)
    return lua_gettop(L) - 1;
  lua_pushboolean(L, 1);
  return 1 + push_results(L, 1);
}

/* call:answer(number, ok, value, second): what pcall gave for the question of that number. A late answer does
 * nothing. */
static int call_answer(lua_State *L)
{
  lhsa_call *call = check_call(L);

  luaL_checknumber(L, 2);
  lua_settop(L, 5);
  occupy(L, call, take_answer, 5, 0);
  return 0;
}

/* call:submit([problem]) -> what client:next gives for it. From now on the client's I/O thread works on it, if it may
 * have one. With a problem, which is then its error, it does not begin. */
static int call_submit(lua_State *L)
{
  lhsa_call *call = check_call(L);
  lhsa_client *client = call->client;
  const char *problem = luaL_optstring(L, 2, NULL);
  hsa_status status;

  if (!problem && !client->is_closed && client->may_have_thread) {
    status = hsa_engine_start_thread(client->engine);
    if (status == HSA_NOFILES)
      problem = "the client's I/O thread cannot be started: " HSA_NOFILES_TEXT;
    else if (status != HSA_OK)
      problem = "the client's I/O thread cannot be started: no memory or no thread is left (ulimit -v, ulimit -u); "
                "the option io_thread = false does without";
  }
  if (problem) {
    lhsa_getuservalue(L, 1);
    lua_pushstring(L, problem);
    lua_rawseti(L, -2, LHSA_REFUSAL);
    call->is_unfit = true;
  }
  lua_pushlightuserdata(L, lhsa_key_of(call));
  return 1;
}

/* call:cancel(): ends it; call:run then gives what it has. */
static int call_cancel(lua_State *L)
{
  lhsa_call *call = check_call(L);

  check_free(L, call);
  lhsa_cancel(call);
  return 0;
}

/* call:pending() -> an error list that says that it is still under way */
static int call_pending(lua_State *L)
{
  lhsa_call *call = check_call(L);
  lhsa_request_info info = lhsa_info_of(call);
  const hsa_outcome outcome = {
    .kind = HSA_PENDING, .retry_after = -1, .detail = "the call goes on", .body = "", .correlation_id = ""};

  info.is_part = false;
  lua_createtable(L, LHSA_SLOTS, 0);
  lhsa_reply_add(L, lua_gettop(L), &info, &outcome);
  lua_rawgeti(L, -1, LHSA_ERRORS);
  return 1;
}

static int keeper_collect(lua_State *L)
{
  lhsa_keeper *keeper = luaL_checkudata(L, 1, LHSA_KEEPER_TYPE);

  hsa_call_free(keeper->request);
  *keeper = (lhsa_keeper){.is_finalized = true}; /* should a finalizer run the call after this one */
  return 0;
}

int lhsa_check(lua_State *L)
{
  lhsa_check_call(L, 2);
  return 0;
}

int lhsa_start(lua_State *L)
{
  lhsa_push_new_call(L, 2);
  return 1;
}

int lhsa_method(lua_State *L)
{
  lhsa_call *call = lhsa_push_new_call(L, 1);
  int idx = lua_gettop(L);

  run_to_end(L, idx, call);
  return push_results(L, idx);
}

int lhsa_function(lua_State *L)
{
  const lhsa_endpoint *endpoint = lhsa_endpoint_of(L);

  if (lua_rawequal(L, 1, lua_upvalueindex(2)))
    return luaL_error(L, "'%s' is a function of the module: call it with a dot, .%s(...)", endpoint->name,
                      endpoint->name);
  lhsa_push_default_client(L);
  lua_insert(L, 1);
  return lhsa_method(L);
}

void lhsa_call_open(lua_State *L)
{
  static const luaL_Reg no_methods[] = {{NULL, NULL}};
  static const luaL_Reg methods[] = {
    {"run", call_run},       {"answer", call_answer},   {"submit", call_submit},
    {"cancel", call_cancel}, {"pending", call_pending}, {NULL, NULL}};
  const lhsa_endpoint *endpoint;

  lhsa_push_type(L, LHSA_CALL_TYPE, methods, NULL);
  lhsa_push_type(L, LHSA_KEEPER_TYPE, no_methods, keeper_collect);
  lua_pop(L, 2);
  lhsa_push_client_methods(L);
  for (endpoint = lhsa_endpoints; endpoint->name; endpoint++) {
    if (endpoint->is_private)
      continue;
    lua_pushlightuserdata(L, (void *)(uintptr_t)endpoint);
    lua_pushcclosure(L, lhsa_method, 1);
    lua_setfield(L, -2, endpoint->name);
  }
  lua_pop(L, 1);
}
