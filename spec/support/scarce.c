/* For Lua: memory that runs out. scarce.begin(n): from the n-th allocation on Lua gets no more memory;
 * scarce.finish() -> how often it was refused some, and it gets memory again. The functions of Lua used here are the
 * same in every version, so that no header is needed. */
#include <stddef.h>

typedef struct lua_State lua_State;
typedef void *(*lua_Alloc)(void *data, void *block, size_t old_size, size_t new_size);
lua_Alloc lua_getallocf(lua_State *L, void **data);
void lua_setallocf(lua_State *L, lua_Alloc alloc, void *data);
double luaL_checknumber(lua_State *L, int arg);
void lua_createtable(lua_State *L, int narr, int nrec);
void lua_pushcclosure(lua_State *L, int (*function)(lua_State *), int n);
void lua_pushnumber(lua_State *L, double number);
void lua_setfield(lua_State *L, int idx, const char *name);

static lua_Alloc real;
static void *real_data;
static long left, refused;

static void *scarce(void *data, void *block, size_t old_size, size_t new_size)
{
  (void)data;
  if (new_size > (block ? old_size : 0) && --left < 0) {
    refused++;
    return NULL;
  }
  return real(real_data, block, old_size, new_size);
}

static int begin(lua_State *L)
{
  left = (long)luaL_checknumber(L, 1) - 1;
  refused = 0;
  real = lua_getallocf(L, &real_data);
  lua_setallocf(L, scarce, NULL);
  return 0;
}

static int finish(lua_State *L)
{
  lua_setallocf(L, real, real_data);
  lua_pushnumber(L, (double)refused);
  return 1;
}

__attribute__((visibility("default"))) int luaopen_scarce(lua_State *L);

int luaopen_scarce(lua_State *L)
{
  lua_createtable(L, 0, 2);
  lua_pushcclosure(L, begin, 0);
  lua_setfield(L, -2, "begin");
  lua_pushcclosure(L, finish, 0);
  lua_setfield(L, -2, "finish");
  return 1;
}
