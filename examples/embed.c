/* embed.c - a C program that carries everything in itself: engine, binding, Lua and lua-cjson are
 * linked statically; it needs no module on disk.
 *
 *   make embed && build/lua5.4/embed examples/embed.lua
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>

int luaopen_cjson(lua_State *L);
int luaopen_hubspot_assoc_core(lua_State *L);

/* Makes `require(name)` find a function of this program. */
static void preload(lua_State *L, const char *name, lua_CFunction open)
{
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "preload");
  lua_pushcfunction(L, open);
  lua_setfield(L, -2, name);
  lua_pop(L, 2);
}

int main(int argc, char **argv)
{
  lua_State *L = argc == 2 ? luaL_newstate() : NULL;
  int failed;

  if (!L) {
    fprintf(stderr, "usage: embed SCRIPT\n");
    return 2;
  }
  luaL_openlibs(L);
  preload(L, "cjson", luaopen_cjson);
  preload(L, "hubspot_assoc.core", luaopen_hubspot_assoc_core);
  failed = luaL_loadfile(L, argv[1]) || lua_pcall(L, 0, 0, 0);
  if (failed)
    fprintf(stderr, "embed: %s\n", lua_tostring(L, -1));
  lua_close(L);
  return failed;
}
