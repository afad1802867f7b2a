/* For Lua: what a spec wants to know of its own process and cannot ask in Lua. probe.poll(fd, seconds) -> is it readable;
 * probe.is_open(fd), probe.is_kept_from_programs(fd); probe.descriptors(), probe.threads() -> how many this process has;
 * probe.threads_block(signal) -> do all threads but the first; probe.deaf_port() -> a port of 127.0.0.1 where every
 * connect hangs; probe.alarm(seconds) ends the process then; probe.trim() gives back to the system what malloc has free.
 * The functions of Lua used here are the same in every version, so that no header is needed. */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct lua_State lua_State;
double luaL_checknumber(lua_State *L, int arg);
void lua_createtable(lua_State *L, int narr, int nrec);
void lua_pushboolean(lua_State *L, int value);
void lua_pushcclosure(lua_State *L, int (*function)(lua_State *), int n);
void lua_pushnumber(lua_State *L, double number);
void lua_setfield(lua_State *L, int idx, const char *name);

static int l_poll(lua_State *L)
{
  struct pollfd entry = {.fd = (int)luaL_checknumber(L, 1), .events = POLLIN};
  int n = poll(&entry, 1, (int)(luaL_checknumber(L, 2) * 1000));

  lua_pushboolean(L, n == 1 && (entry.revents & POLLIN));
  return 1;
}

static int l_is_open(lua_State *L)
{
  lua_pushboolean(L, fcntl((int)luaL_checknumber(L, 1), F_GETFD) >= 0);
  return 1;
}

static int l_is_kept_from_programs(lua_State *L)
{
  int flags = fcntl((int)luaL_checknumber(L, 1), F_GETFD);

  lua_pushboolean(L, flags >= 0 && (flags & FD_CLOEXEC));
  return 1;
}

/* Without "." and "..", and without the descriptor that reads a folder of descriptors. */
static int count_entries(const char *folder)
{
  DIR *dir = opendir(folder);
  struct dirent *entry;
  int n = 0;

  if (!dir)
    return -1;
  while ((entry = readdir(dir)) != NULL)
    if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(dir))
      n++;
  closedir(dir);
  return n;
}

static int l_descriptors(lua_State *L)
{
  lua_pushnumber(L, count_entries("/proc/self/fd"));
  return 1;
}

/* One that has been joined is listed for a moment longer. */
static int l_threads(lua_State *L)
{
  int n = count_entries("/proc/self/task"), before;

  do {
    before = n;
    poll(NULL, 0, 5);
    n = count_entries("/proc/self/task");
  } while (n != before);
  lua_pushnumber(L, n);
  return 1;
}

/* The signals that a thread blocks, as the kernel tells them. */
static unsigned long long blocked_signals(const char *task)
{
  char name[64], line[256];
  unsigned long long blocked = 0;
  FILE *file;

  snprintf(name, sizeof name, "/proc/self/task/%.20s/status", task);
  file = fopen(name, "r");
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, "SigBlk:", 7) == 0)
      blocked = strtoull(line + 7, NULL, 16);
  if (file)
    fclose(file);
  return blocked;
}

/* Do all threads but the first block this signal? */
static int l_threads_block(lua_State *L)
{
  int number = (int)luaL_checknumber(L, 1), ok = 1;
  DIR *dir = opendir("/proc/self/task");
  struct dirent *entry;

  while (dir && (entry = readdir(dir)) != NULL)
    if (entry->d_name[0] != '.' && atoi(entry->d_name) != getpid())
      ok = ok && (blocked_signals(entry->d_name) >> (number - 1) & 1);
  if (dir)
    closedir(dir);
  lua_pushboolean(L, dir && ok);
  return 1;
}

/* Ends the process after so many seconds, whatever it hangs in. */
static int l_alarm(lua_State *L)
{
  alarm((unsigned)luaL_checknumber(L, 1));
  return 0;
}

/* Its queue is full and nobody accepts: the kernel drops whoever knocks. */
static int l_deaf_port(lua_State *L)
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), i;

  if (bind(listener, (struct sockaddr *)&address, len) != 0 || listen(listener, 0) != 0 ||
      getsockname(listener, (struct sockaddr *)&address, &len) != 0)
    abort();
  for (i = 0; i < 4; i++)
    (void)!connect(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), (struct sockaddr *)&address, len);
  lua_pushnumber(L, ntohs(address.sin_port));
  return 1;
}

static int l_trim(lua_State *L)
{
  (void)L;
  malloc_trim(0);
  return 0;
}

static void add(lua_State *L, const char *name, int (*function)(lua_State *))
{
  lua_pushcclosure(L, function, 0);
  lua_setfield(L, -2, name);
}

int luaopen_probe(lua_State *L)
{
  lua_createtable(L, 0, 9);
  add(L, "poll", l_poll);
  add(L, "is_open", l_is_open);
  add(L, "is_kept_from_programs", l_is_kept_from_programs);
  add(L, "descriptors", l_descriptors);
  add(L, "threads", l_threads);
  add(L, "threads_block", l_threads_block);
  add(L, "alarm", l_alarm);
  add(L, "deaf_port", l_deaf_port);
  add(L, "trim", l_trim);
  return 1;
}
