/* frame_loop.c - a game's loop in C: 60 frames a second, in each of which Lua gets a little time.
 *
 *   make frame_loop && eval "$(make -s env)" && build/lua5.4/frame_loop examples/frame_loop.lua
 *
 * The script returns a function, which is called once a frame and returns false when it is done. Engine, binding, Lua and
 * lua-cjson are linked statically, as in embed.c; hubspot_assoc.lua is found by LUA_PATH. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <time.h>

#define FRAMES_PER_SECOND 60
#define SECOND 1000000000LL /* ns */

int luaopen_cjson(lua_State *L);
int luaopen_hubspot_assoc_core(lua_State *L);

typedef struct frames {
  long long count, late; /* late: longer than a frame may take */
  long long worst;       /* ns */
} frames;

static long long now(void)
{
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * SECOND + t.tv_nsec;
}

static void sleep_until(long long time)
{
  long long left = time - now();
  struct timespec t = {.tv_sec = (time_t)(left / SECOND), .tv_nsec = (long)(left % SECOND)};

  if (left > 0)
    nanosleep(&t, NULL);
}

/* Makes `require(name)` find a function of this program. */
static void preload(lua_State *L, const char *name, lua_CFunction open)
{
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "preload");
  lua_pushcfunction(L, open);
  lua_setfield(L, -2, name);
  lua_pop(L, 2);
}

/* Calls the function on top of the stack. 1: go on, 0: done, -1: it failed, and its message is on top. */
static int draw(lua_State *L)
{
  int goes_on;

  lua_pushvalue(L, -1);
  if (lua_pcall(L, 0, 1, 0) != 0)
    return -1;
  goes_on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return goes_on;
}

static int run(lua_State *L, frames *seen)
{
  const long long frame = SECOND / FRAMES_PER_SECOND;
  long long next = now(), started, took;
  int goes_on;

  do {
    started = now();
    goes_on = draw(L);
    took = now() - started;
    seen->count++;
    seen->late += took > frame;
    if (took > seen->worst)
      seen->worst = took;
    next += frame;
    sleep_until(next);
  } while (goes_on == 1);
  return goes_on;
}

int main(int argc, char **argv)
{
  lua_State *L = argc == 2 ? luaL_newstate() : NULL;
  frames seen = {0};
  int failed;

  if (!L) {
    fprintf(stderr, "usage: frame_loop SCRIPT\n");
    return 2;
  }
  luaL_openlibs(L);
  preload(L, "cjson", luaopen_cjson);
  preload(L, "hubspot_assoc.core", luaopen_hubspot_assoc_core);
  failed = luaL_loadfile(L, argv[1]) || lua_pcall(L, 0, 1, 0) || run(L, &seen) != 0;
  if (failed)
    fprintf(stderr, "frame_loop: %s\n", lua_tostring(L, -1));
  else
    printf("%lld frames; the worst took %.3f ms of %.1f, %lld were late\n", seen.count, (double)seen.worst / 1e6,
           1e3 / FRAMES_PER_SECOND, seen.late);
  lua_close(L);
  return failed;
}
