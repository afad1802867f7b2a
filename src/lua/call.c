/* call.c - a call's face to Lua. */
#include <math.h>

#include "call.h"

/* Runs the call at idx to its end in this C frame: a token function may not yield here. */
static void run_to_end(lua_State *L, int idx, lhsa_call *call)
{
  int top = lua_gettop(L);

  while (lhsa_run(L, idx, call, INT64_MAX) == LHSA_PARKED) {
    lhsa_push_token_function(L, idx, call);
    if (lua_pcall(L, 1, 2, 0) == 0)
      lhsa_go(L, idx, call, true, lua_gettop(L) - 1, lua_gettop(L));
    else
      lhsa_go(L, idx, call, false, lua_gettop(L), lua_gettop(L));
    lua_settop(L, top);
  }
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

/* call:run([seconds]) -> true, results, errors, response; or, when it is parked, false, the token function and its
 * argument; or nothing when the time is up */
static int call_run(lua_State *L)
{
  lhsa_call *call = check_call(L);
  lhsa_run_state state = LHSA_PENDING;

  if (!call->is_in_callback)
    state = lhsa_run(L, 1, call, lhsa_until(luaL_optnumber(L, 2, HUGE_VAL)));

  if (state == LHSA_PENDING)
    return 0;
  lua_pushboolean(L, state == LHSA_DONE);
  if (state == LHSA_DONE)
    return 1 + push_results(L, 1);
  lhsa_push_token_function(L, 1, call);
  return 3;
}

/* call:go(ok, token, message) -> has it ended here? What pcall(token_function, reason) returned. */
static int call_go(lua_State *L)
{
  lhsa_call *call = check_call(L);

  lua_settop(L, 4);
  lhsa_go(L, 1, call, lua_toboolean(L, 2), 3, 4);
  lua_pushboolean(L, !call->request || call->client->is_closed); /* its limiter may have canceled it, or closed the client */
  return 1;
}

/* call:submit([problem]): from now on the client's I/O thread works on it, if it may have one, and client:next gives
 * it. With a problem, which is then its error, it does not begin. */
static int call_submit(lua_State *L)
{
  lhsa_call *call = check_call(L);
  lhsa_client *client = call->client;
  const char *problem = luaL_optstring(L, 2, NULL);

  lhsa_getuservalue(L, 1);
  lua_rawgeti(L, -1, LHSA_CLIENT);
  lhsa_remember_call(L, lua_gettop(L), 1);
  if (!problem && !client->is_closed && client->may_have_thread && hsa_engine_start_thread(client->engine) != HSA_OK)
    problem = "the client's I/O thread cannot be started";
  if (problem) {
    lhsa_getuservalue(L, 1);
    lhsa_stop_rest(L, lua_gettop(L), call, HSA_CONFIG, -1, problem);
  }
  return 0;
}

/* call:cancel(): ends it; call:run then gives what it has. In its own on_event or limiter it ends as soon as
 * that returns. */
static int call_cancel(lua_State *L)
{
  lhsa_call *call = check_call(L);

  lhsa_getuservalue(L, 1);
  if (call->is_in_callback)
    call->must_be_canceled = true;
  else
    lhsa_cancel(L, lua_gettop(L), call);
  return 0;
}

/* call:is_in_callback() -> is its on_event or limiter being called? It does not move on there. */
static int call_is_in_callback(lua_State *L)
{
  lua_pushboolean(L, check_call(L)->is_in_callback);
  return 1;
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

static int call_collect(lua_State *L)
{
  lhsa_call *call = check_call(L);

  hsa_call_free(call->request);
  call->request = NULL;
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
  static const luaL_Reg methods[] = {
    {"run", call_run},       {"go", call_go},           {"submit", call_submit},
    {"cancel", call_cancel}, {"pending", call_pending}, {"is_in_callback", call_is_in_callback},
    {NULL, NULL}};
  const luaL_Reg *method;
  const lhsa_endpoint *endpoint;

  luaL_newmetatable(L, LHSA_CALL_TYPE);
  lua_pushcfunction(L, call_collect);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  for (method = methods; method->name; method++) {
    lua_pushcfunction(L, method->func);
    lua_setfield(L, -2, method->name);
  }
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lhsa_push_client_methods(L);
  for (endpoint = lhsa_endpoints; endpoint->name; endpoint++) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)endpoint);
    lua_pushcclosure(L, lhsa_method, 1);
    lua_setfield(L, -2, endpoint->name);
  }
  lua_pop(L, 1);
}
