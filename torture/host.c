/* host.c - a program that runs scenarios of torture/scenarios.lua, and has something fail in each: the first, second,
 * ... n-th time, once or from then on, until a scenario comes to its end without that.
 *
 *   [EVERY=3] host SCENARIO lua|c|instruction once|on [N]
 *     EVERY        the first, fourth, ... of a long scenario's instructions
 *     N            the N-th alone, in this process, for a debugger
 *     lua          Lua's allocator gives no memory
 *     c            malloc, calloc and realloc give none: to the engine, libcurl, lua-cjson and libc
 *     instruction  an error is raised by a debug hook, as Ctrl-C does
 *
 * Each try is a process of its own, which must end, without a crash, with what the scenario's check calls sound; then
 * it closes its Lua state, of which no memory and no descriptor may be left, and no more of C's memory than where
 * nothing fails. lua-cjson ends the process where its own buffers get no memory: that is counted apart. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOUND = 0, UNSOUND = 1, NOT_REACHED = 10, CJSON = 255 };
enum { MOST_TRIES = 50000, MOST_UNSOUND = 100, AT_ONCE = 8, MOST_FILES = 256 };
enum { PATIENCE = 60 /* s */, MOMENT = 10 /* ms */ };

#if LUA_VERSION_NUM == 501
#define LUA_OK 0
#undef luaL_newlib /* LuaJIT has one */
#define luaL_newlib(L, functions) (lua_newtable(L), luaL_register(L, NULL, functions))
#endif
#if LUA_VERSION_NUM >= 505
#define lua_newstate(allocator, data) lua_newstate(allocator, data, 0)
#endif

int luaopen_cjson(lua_State *L);
int luaopen_hubspot_assoc_core(lua_State *L);
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *block);

typedef enum kind { KIND_LUA, KIND_C, KIND_INSTRUCTION } kind;

static struct {
  kind kind;
  bool goes_on;      /* from the n-th on, all fail */
  atomic_bool armed; /* while the scenario runs */
  atomic_long count;
  atomic_bool has_failed;
  bool is_in_asked;  /* it was in a function of the user's */
} fault;

static atomic_long blocks; /* of C's memory that are in use, but for those of whom is_uncounted */
static atomic_long *left;  /* of each try, in the end; [0]: of one in which nothing failed. All processes have it */
static _Thread_local bool is_uncounted;

static bool fails(kind what)
{
  long left;

  if (fault.kind != what || !atomic_load(&fault.armed))
    return false;
  left = atomic_fetch_sub(&fault.count, 1);
  if (left > 1 || (left < 1 && !fault.goes_on))
    return false;
  atomic_store(&fault.has_failed, true);
  return true;
}

/* ---- memory ---- */

static void *count(void *block)
{
  if (block && !is_uncounted)
    atomic_fetch_add(&blocks, 1);
  return block;
}

static void *refuse(void)
{
  errno = ENOMEM;
  return NULL;
}

__attribute__((visibility("default"))) void *malloc(size_t size)
{
  return fails(KIND_C) ? refuse() : count(__libc_malloc(size));
}

__attribute__((visibility("default"))) void *calloc(size_t n, size_t size)
{
  return fails(KIND_C) ? refuse() : count(__libc_calloc(n, size));
}

__attribute__((visibility("default"))) void *realloc(void *old, size_t size)
{
  if (fails(KIND_C))
    return refuse();
  return old ? __libc_realloc(old, size) : count(__libc_realloc(old, size));
}

__attribute__((visibility("default"))) void free(void *block)
{
  if (block && !is_uncounted)
    atomic_fetch_sub(&blocks, 1);
  __libc_free(block);
}

/* What libc keeps of a thread, for the next one, is there as often as there were threads at the same time. */
__attribute__((visibility("default"))) int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                                                          void *(*start)(void *), void *data)
{
  int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  int status;

  *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
  is_uncounted = true;
  status = create(thread, attributes, start, data);
  is_uncounted = false;
  return status;
}

/* What libcurl and OpenSSL set up once per process, and leave behind in parts where that fails. (The linker puts these in
 * the functions' place.) */
int __real_curl_global_init(long flags);
int __wrap_curl_global_init(long flags);

int __wrap_curl_global_init(long flags)
{
  int code;

  is_uncounted = true;
  code = __real_curl_global_init(flags);
  is_uncounted = false;
  return code;
}

/* lua-cjson's buffers: where Lua's memory runs out while it decodes, or makes an instance, it leaves them behind. */
void __real_strbuf_init(void *buffer, int size);
void *__real_strbuf_new(int size);
void __real_strbuf_free(void *buffer);
void __wrap_strbuf_init(void *buffer, int size);
void *__wrap_strbuf_new(int size);
void __wrap_strbuf_free(void *buffer);

void __wrap_strbuf_init(void *buffer, int size)
{
  is_uncounted = true;
  __real_strbuf_init(buffer, size);
  is_uncounted = false;
}

void *__wrap_strbuf_new(int size)
{
  void *buffer;

  is_uncounted = true;
  buffer = __real_strbuf_new(size);
  is_uncounted = false;
  return buffer;
}

void __wrap_strbuf_free(void *buffer)
{
  is_uncounted = true;
  __real_strbuf_free(buffer);
  is_uncounted = false;
}

static long in_use; /* blocks, by Lua: LuaJIT miscounts their sizes where a table cannot grow */

static void *allocate(void *data, void *block, size_t old_size, size_t new_size)
{
  size_t had = block ? old_size : 0;
  void *now;

  (void)data;
  if (new_size == 0) {
    __libc_free(block);
    in_use -= block != NULL;
    return NULL;
  }
  if (new_size > had && fails(KIND_LUA))
    return NULL;
  now = __libc_realloc(block, new_size);
  if (now)
    in_use += !block;
  return now;
}

/* ---- what scenarios call ---- */

static void on_instruction(lua_State *L, lua_Debug *at)
{
  bool is_asked;

  lua_getinfo(L, "S", at);
  is_asked = strstr(at->source, "torture/asked") != NULL;
  if ((!is_asked && !strstr(at->source, "lua/hubspot_assoc")) || !fails(KIND_INSTRUCTION))
    return;
  fault.is_in_asked = is_asked;
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

/* is_readable(fd): within a moment */
static int is_readable(lua_State *L)
{
  struct pollfd wanted = {.fd = (int)luaL_checkinteger(L, 1), .events = POLLIN};

  lua_pushboolean(L, poll(&wanted, 1, MOMENT) > 0);
  return 1;
}

/* has_interrupted_asked(): was it a function of the user's that was interrupted? */
static int has_interrupted_asked(lua_State *L)
{
  lua_pushboolean(L, fault.is_in_asked);
  return 1;
}

static int open_host(lua_State *L)
{
  static const luaL_Reg functions[] = {
    {"with_fault", with_fault},   {"in_child", in_child},
    {"is_readable", is_readable}, {"has_interrupted_asked", has_interrupted_asked},
    {NULL, NULL}};

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

static int open_files(void)
{
  int fd, n = 0;

  for (fd = 0; fd < MOST_FILES; fd++)
    n += fcntl(fd, F_GETFD) >= 0;
  return n;
}

/* libcurl's threads for name lookups outlast their transfers, and then free what they had. */
static void wait_for_threads(void)
{
  struct stat threads;
  int i;

  for (i = 0; i < 200 && stat("/proc/self/task", &threads) == 0 && threads.st_nlink > 3; i++)
    usleep(1000 * MOMENT);
}

static _Noreturn void try_once(const char *scenario, long n)
{
  long had = atomic_load(&blocks);
  int files = open_files();
  lua_State *L = lua_newstate(allocate, NULL);
  int status = UNSOUND;

  if (!L) {
    fprintf(stderr, "    this Lua takes no allocator\n");
    exit(UNSOUND);
  }
  alarm(PATIENCE); /* what hangs is killed, and told */
  atomic_store(&fault.count, n);
  lua_pushcfunction(L, run_scenario);
  lua_pushstring(L, scenario);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK)
    fprintf(stderr, "    %s, at %ld: %s\n", scenario, n, lua_tostring(L, -1));
  else
    status = atomic_load(&fault.has_failed) ? SOUND : NOT_REACHED;
  lua_close(L);
  wait_for_threads();
  while (dlerror()) /* libc keeps the last one: of LuaJIT's search for modules */
    ;
  if (in_use != 0 || open_files() != files) {
    fprintf(stderr, "    %s, at %ld: %ld blocks of Lua's and %d files are left\n", scenario, n, in_use,
            open_files() - files);
    status = UNSOUND;
  }
  atomic_store(&left[status == NOT_REACHED || n >= MOST_TRIES ? 0 : n], atomic_load(&blocks) - had);
  exit(status);
}

/* ---- all tries ---- */

typedef struct tally {
  long tries, unsound, by_cjson;
  bool is_over; /* some try came to its end without the fault */
} tally;

static void count_leaks(tally *sum, const char *scenario)
{
  long usual = left[0], n;

  for (n = 1; n < MOST_TRIES; n++)
    if (left[n] > usual) {
      fprintf(stderr, "    %s, at %ld: %ld blocks of C's memory are left, where %ld would be\n", scenario, n, left[n],
              usual);
      sum->unsound++;
    }
}

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

static tally run_all(const char *scenario, long every)
{
  tally sum = {0, 0, 0, false};
  int running = 0;
  long n;

  for (n = 1; n < MOST_TRIES && !sum.is_over && sum.unsound < MOST_UNSOUND; n += every) {
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
  count_leaks(&sum, scenario);
  return sum;
}

int main(int argc, char **argv)
{
  const char *every = getenv("EVERY");
  tally sum;

  if (argc != 4 && argc != 5) {
    fprintf(stderr, "usage: host SCENARIO lua|c|instruction once|on [N]\n");
    return 2;
  }
  left = mmap(NULL, MOST_TRIES * sizeof *left, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (left == MAP_FAILED)
    return 2;
  fault.kind = argv[2][0] == 'l' ? KIND_LUA : argv[2][0] == 'c' ? KIND_C : KIND_INSTRUCTION;
  fault.goes_on = strcmp(argv[3], "on") == 0;
  if (argc == 5)
    try_once(argv[1], atol(argv[4]));
  sum = run_all(argv[1], every ? atol(every) : 1);
  printf("  %-14s %-12s %-5s %5ld tries, %ld unsound%s", argv[1], argv[2], argv[3], sum.tries, sum.unsound,
         sum.is_over ? "" : ", and no end");
  if (sum.by_cjson)
    printf(", %ld ended by lua-cjson", sum.by_cjson);
  printf("\n");
  return sum.unsound || !sum.is_over;
}
