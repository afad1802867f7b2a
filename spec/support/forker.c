/* For Lua: forker.fork() -> pid or 0; forker.exit(status), at once, nothing is cleaned up; forker.wait(pid) -> status, or
 * 128 + signal. The functions of Lua used here are the same in every version, so that no header is needed. */
#include <sys/wait.h>
#include <unistd.h>

typedef struct lua_State lua_State;
double luaL_checknumber(lua_State *L, int arg);
void lua_createtable(lua_State *L, int narr, int nrec);
void lua_pushcclosure(lua_State *L, int (*function)(lua_State *), int n);
void lua_pushnumber(lua_State *L, double number);
void lua_setfield(lua_State *L, int idx, const char *name);

static int l_fork(lua_State *L)
{
  lua_pushnumber(L, fork());
  return 1;
}

static int l_exit(lua_State *L)
{
  _exit((int)luaL_checknumber(L, 1));
  return 0;
}

static int l_wait(lua_State *L)
{
  int status = 0;

  waitpid((pid_t)luaL_checknumber(L, 1), &status, 0);
  lua_pushnumber(L, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  return 1;
}

int luaopen_forker(lua_State *L)
{
  lua_createtable(L, 0, 3);
  lua_pushcclosure(L, l_fork, 0);
  lua_setfield(L, -2, "fork");
  lua_pushcclosure(L, l_exit, 0);
  lua_setfield(L, -2, "exit");
  lua_pushcclosure(L, l_wait, 0);
  lua_setfield(L, -2, "wait");
  return 1;
}
