/* host.c - a program that runs scenarios of torture/scenarios.lua, and has something fail in each: the first, second, ...
 * n-th time, once or from then on, until a scenario comes to its end without that.
 *
 *   host SCENARIO lua|c|instruction once|on
 *     lua          Lua's allocator gives no memory
 *     c            malloc, calloc and realloc give none: to the engine, libcurl, lua-cjson and libc
 *     instruction  an error is raised by a debug hook, as Ctrl-C does
 *
 * Each try is a process of its own, which must end, without a crash, with what the scenario's check calls sound. lua-cjson
 * ends the process where its own buffers get no memory: that is counted apart ("ended by lua-cjson"). */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOUND = 0, UNSOUND = 1, NOT_REACHED = 10, CJSON = 255 };
enum { MOST_TRIES = 20000, AT_ONCE = 8, PATIENCE = 60 /* s */ };

int luaopen_cjson(lua_State *L);
int luaopen_hubspot_assoc_core(lua_State *L);
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

typedef enum kind { KIND_LUA, KIND_C, KIND_INSTRUCTION } kind;

static struct {
  kind kind;
  bool goes_on;      /* from the n-th on, all fail */
  atomic_bool armed; /* while the scenario runs */
  atomic_long left;
  atomic_bool has_failed;
} fault;

static bool fails(kind what)
{
  long left;

  if (fault.kind != what || !atomic_load(&fault.armed))
    return false;
  left = atomic_fetch_sub(&fault.left, 1);
  if (left > 1 || (left < 1 && !fault.goes_on))
    return false;
  atomic_store(&fault.has_failed, true);
  return true;
}

/* ---- memory ---- */

__attribute__((visibility("default"))) void *malloc(size_t size)
{
  if (!fails(KIND_C))
    return __libc_malloc(size);
  errno = ENOMEM;
  return NULL;
}

__attribute__((visibility("default"))) void *calloc(size_t n, size_t size)
{
  if (!fails(KIND_C))
    return __libc_calloc(n, size);
  errno = ENOMEM;
  return NULL;
}

__attribute__((visibility("default"))) void *realloc(void *old, size_t size)
{
  if (!fails(KIND_C))
    return __libc_realloc(old, size);
  errno = ENOMEM;
  return NULL;
}

static size_t in_use; /* by Lua */

static void *allocate(void *data, void *block, size_t old_size, size_t new_size)
{
  size_t had = block ? old_size : 0;
  void *now;

  (void)data;
  if (new_size == 0) {
    free(block);
    in_use -= had;
    return NULL;
  }
  if (new_size > had && fails(KIND_LUA))
    return NULL;
  now = __libc_realloc(block, new_size);
  if (now)
    in_use += new_size - had;
  return now;
}

/* ---- what scenarios call ---- */

static void on_instruction(lua_State *L, lua_Debug *at)
{
  lua_getinfo(L, "S", at);
  if (strstr(at->source, "lua/hubspot_assoc") && fails(KIND_INSTRUCTION))
    luaL_error(L, "interrupted by the host");
}

/* with_fault(fn, ...): calls it while things may fail; as pcall. */
static int with_fault(lua_State *L)
{
  int status;

  if (fault.kind == KIND_INSTRUCTION)
    lua_sethook(L, on_instruction, LUA_MASKCOUNT, 1);
  atomic_store(&fault.armed, true);
  status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  atomic_store(&fault.armed, false);
  lua_sethook(L, NULL, 0, 0);
  lua_pushboolean(L, status == LUA_OK);
  lua_insert(L, 1);
  return lua_gettop(L);
}

/* in_child(fn): calls it in a child process; returns the child's exit status: 0 if fn returned true. */
static int in_child(lua_State *L)
{
  pid_t pid = fork();
  int status;

  if (pid == 0) {
    status = lua_pcall(L, 0, 1, 0);
    _exit(status == LUA_OK && lua_toboolean(L, -1) ? 0 : 1);
  }
  if (pid < 0 || waitpid(pid, &status, 0) != pid)
    return luaL_error(L, "no child process");
  lua_pushinteger(L, WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status));
  return 1;
}

static int open_host(lua_State *L)
{
  static const luaL_Reg functions[] = {{"with_fault", with_fault}, {"in_child", in_child}, {NULL, NULL}};

  luaL_newlib(L, functions);
  return 1;
}

/* ---- one try ---- */

static void preload(lua_State *L, const char *name, lua_CFunction open)
{
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "preload");
  lua_pushcfunction(L, open);
  lua_setfield(L, -2, name);
  lua_pop(L, 2);
}

/* The scenario raises what is not sound. */
static int run_scenario(lua_State *L)
{
  luaL_openlibs(L);
  preload(L, "cjson", luaopen_cjson);
  preload(L, "hubspot_assoc.core", luaopen_hubspot_assoc_core);
  preload(L, "host", open_host);
  if (luaL_loadfile(L, "torture/scenarios.lua") != LUA_OK)
    return lua_error(L);
  lua_call(L, 0, 1);
  lua_getfield(L, -1, lua_tostring(L, 1));
  lua_call(L, 0, 0);
  return 0;
}

static _Noreturn void try_once(const char *scenario, long n)
{
  lua_State *L = lua_newstate(allocate, NULL);
  int status = UNSOUND;

  alarm(PATIENCE); /* what hangs is killed, and told */
  atomic_store(&fault.left, n);
  lua_pushcfunction(L, run_scenario);
  lua_pushstring(L, scenario);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK)
    fprintf(stderr, "    %s, at %ld: %s\n", scenario, n, lua_tostring(L, -1));
  else
    status = atomic_load(&fault.has_failed) ? SOUND : NOT_REACHED;
  lua_close(L);
  if (in_use != 0) {
    fprintf(stderr, "    %s, at %ld: %zu bytes of Lua's are left\n", scenario, n, in_use);
    status = UNSOUND;
  }
  exit(status);
}

/* ---- all tries ---- */

typedef struct tally {
  long tries, unsound, by_cjson;
  bool is_over; /* some try came to its end without the fault */
} tally;

static void wait_for_one(tally *sum, const char *scenario)
{
  int status;

  wait(&status);
  sum->tries++;
  if (WIFSIGNALED(status))
    fprintf(stderr, "    %s: %s\n", scenario, strsignal(WTERMSIG(status)));
  if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_REACHED)
    sum->is_over = true;
  else if (WIFEXITED(status) && WEXITSTATUS(status) == CJSON)
    sum->by_cjson++;
  else if (!WIFEXITED(status) || WEXITSTATUS(status) != SOUND)
    sum->unsound++;
}

static tally run_all(const char *scenario)
{
  tally sum = {0, 0, 0, false};
  int running = 0;
  long n;

  for (n = 1; n < MOST_TRIES && !sum.is_over; n++) {
    pid_t pid = fork();

    if (pid == 0)
      try_once(scenario, n);
    running++;
    if (running == AT_ONCE) {
      wait_for_one(&sum, scenario);
      running--;
    }
  }
  for (; running > 0; running--)
    wait_for_one(&sum, scenario);
  return sum;
}

int main(int argc, char **argv)
{
  tally sum;

  if (argc != 4) {
    fprintf(stderr, "usage: host SCENARIO lua|c|instruction once|on\n");
    return 2;
  }
  fault.kind = argv[2][0] == 'l' ? KIND_LUA : argv[2][0] == 'c' ? KIND_C : KIND_INSTRUCTION;
  fault.goes_on = strcmp(argv[3], "on") == 0;
  sum = run_all(argv[1]);
  printf("  %-14s %-12s %-5s %5ld tries, %ld unsound%s", argv[1], argv[2], argv[3], sum.tries, sum.unsound,
         sum.is_over ? "" : ", and no end");
  if (sum.by_cjson)
    printf(", %ld ended by lua-cjson", sum.by_cjson);
  printf("\n");
  return sum.unsound || !sum.is_over;
}
