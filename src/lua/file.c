/* file.c - files as Lua's io does not give them: for their owner's eyes only, locked as long as their holder lives,
 * written at a place so that doing it once more does no harm. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lhsa.h"

#define FILE_TYPE "hubspot_assoc.file"

enum { OWNER_ONLY = 0600, MAX_READ = 1 << 20 };

#define FIRST_PAUSE (HSA_SECOND / 10000)
#define LONGEST_PAUSE (HSA_SECOND / 1000)

typedef struct lhsa_file {
  int fd; /* -1: closed */
  pid_t pid; /* who opened it: a child has the same descriptor, and so the same lock */
} lhsa_file;

/* Returns nil and what the system says. */
static int fail(lua_State *L)
{
  int code = errno;

  lua_pushnil(L);
  lua_pushstring(L, strerror(code));
  return 2;
}

static int succeed(lua_State *L)
{
  lua_pushboolean(L, 1);
  return 1;
}

/* The file at 1. A closed one's descriptor is -1, which the system refuses. */
static lhsa_file *check_file(lua_State *L)
{
  return luaL_checkudata(L, 1, FILE_TYPE);
}

static off_t check_offset(lua_State *L, int idx)
{
  lua_Number offset = luaL_checknumber(L, idx);

  luaL_argcheck(L, offset >= 0 && offset < 9e15, idx, "offset out of range");
  return (off_t)offset;
}

int lhsa_open_file(lua_State *L)
{
  const char *path = luaL_checkstring(L, 1);
  lhsa_file *file = lua_newuserdata(L, sizeof *file);

  file->fd = -1;
  file->pid = getpid();
  luaL_getmetatable(L, FILE_TYPE);
  lua_setmetatable(L, -2);
  file->fd = hsa_fd_keep_clear(open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, OWNER_ONLY));
  return file->fd < 0 ? fail(L) : 1;
}

int lhsa_absolute_path(lua_State *L)
{
  const char *path = luaL_checkstring(L, 1);
  char folder[PATH_MAX];

  if (path[0] == '/' || !getcwd(folder, sizeof folder))
    lua_pushvalue(L, 1);
  else
    lua_pushfstring(L, "%s/%s", folder, path);
  return 1;
}

/* Looks again every now and then, for nothing wakes who waits for a lock and may not wait for ever. */
static int try_lock(int fd, int64_t until)
{
  int64_t pause = FIRST_PAUSE;

  while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
    if (errno != EINTR && (errno != EWOULDBLOCK || hsa_now() >= until))
      return -1;
    nanosleep(&(struct timespec){.tv_nsec = (long)(pause * (1000000000 / HSA_SECOND))}, NULL);
    pause = pause * 2 < LONGEST_PAUSE ? pause * 2 : LONGEST_PAUSE;
  }
  return 0;
}

/* file:lock() -> true; false: another holder, in whatever process, has it; nil and why it cannot be locked */
static int lock(lua_State *L)
{
  int result = try_lock(check_file(L)->fd, 0);

  if (result < 0 && errno != EWOULDBLOCK)
    return fail(L);
  lua_pushboolean(L, result == 0);
  return 1;
}

/* file:unlock() -> true; or nil and why not */
static int unlock(lua_State *L)
{
  return flock(check_file(L)->fd, LOCK_UN) < 0 ? fail(L) : succeed(L);
}

/* file:locked(seconds, fn, ...) -> true and what fn(...) returned while it was locked; false: another holder has had it
 * for so long; nil and why it cannot be locked. What fn raises, or a hook meanwhile, is raised when it is unlocked. */
static int locked(lua_State *L)
{
  lhsa_file *file = check_file(L);
  int64_t until = lhsa_until(luaL_checknumber(L, 2));
  int status;

  luaL_checktype(L, 3, LUA_TFUNCTION);
  if (try_lock(file->fd, until) < 0) {
    if (errno != EWOULDBLOCK)
      return fail(L);
    lua_pushboolean(L, 0);
    return 1;
  }
  lua_pushcfunction(L, lhsa_note_interruption);
  lua_insert(L, 3);
  status = lua_pcall(L, lua_gettop(L) - 4, LUA_MULTRET, 3);
  lua_remove(L, 3);
  flock(file->fd, LOCK_UN);
  if (status)
    return lua_error(L);
  lua_pushboolean(L, 1);
  lua_replace(L, 2);
  return lua_gettop(L) - 1;
}

/* file:is_at(path) -> is it still what is found there, and was it opened by this process? */
static int is_at(lua_State *L)
{
  lhsa_file *file = check_file(L);
  const char *path = luaL_checkstring(L, 2);
  struct stat ours, found;

  lua_pushboolean(L, file->pid == getpid() && fstat(file->fd, &ours) == 0 && stat(path, &found) == 0 &&
                       ours.st_dev == found.st_dev && ours.st_ino == found.st_ino);
  return 1;
}

/* file:size() -> bytes; or nil and why not */
static int size(lua_State *L)
{
  struct stat status;

  if (fstat(check_file(L)->fd, &status) < 0)
    return fail(L);
  lua_pushinteger(L, (lua_Integer)status.st_size);
  return 1;
}

/* file:read(offset, most) -> text, "" at the end; or nil and why not */
static int read_at(lua_State *L)
{
  lhsa_file *file = check_file(L);
  off_t offset = check_offset(L, 2);
  lua_Number most = luaL_checknumber(L, 3);
  ssize_t n;
  char *buffer;

  luaL_argcheck(L, most >= 0 && most <= MAX_READ, 3, "too much at once");
  buffer = lua_newuserdata(L, (size_t)most + 1);
  do
    n = pread(file->fd, buffer, (size_t)most, offset);
  while (n < 0 && errno == EINTR);
  if (n < 0)
    return fail(L);
  lua_pushlstring(L, buffer, (size_t)n);
  return 1;
}

/* Would a file that ends there be larger than this process may make one (ulimit -f)? To write it would raise SIGXFSZ,
 * which ends the process if nobody has said otherwise. */
static bool is_too_large(off_t end)
{
  struct rlimit most;

  return getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur != RLIM_INFINITY && (rlim_t)end > most.rlim_cur;
}

/* file:write(text, offset) -> true; or nil and why not all of it was written */
static int write_at(lua_State *L)
{
  lhsa_file *file = check_file(L);
  size_t len;
  const char *text = luaL_checklstring(L, 2, &len);
  off_t offset = check_offset(L, 3);
  ssize_t n;

  if (is_too_large(offset + (off_t)len)) {
    errno = EFBIG;
    return fail(L);
  }
  while (len > 0) {
    n = pwrite(file->fd, text, len, offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return fail(L);
    text += n;
    offset += n;
    len -= (size_t)n;
  }
  return succeed(L);
}

/* file:truncate(size) -> true; or nil and why not */
static int truncate_to(lua_State *L)
{
  return ftruncate(check_file(L)->fd, check_offset(L, 2)) < 0 ? fail(L) : succeed(L);
}

/* file:sync() -> true when it has reached the disk; or nil and why not */
static int sync_file(lua_State *L)
{
  return fsync(check_file(L)->fd) < 0 ? fail(L) : succeed(L);
}

/* file:close(): gives up its lock, too. Also what collects it. */
static int close_file(lua_State *L)
{
  lhsa_file *file = check_file(L);

  if (file->fd >= 0)
    close(file->fd);
  file->fd = -1;
  return 0;
}

void lhsa_file_open(lua_State *L)
{
  static const luaL_Reg methods[] = {
    {"lock", lock},         {"unlock", unlock}, {"locked", locked}, {"is_at", is_at},
    {"size", size},         {"read", read_at},  {"write", write_at}, {"truncate", truncate_to},
    {"sync", sync_file},    {"close", close_file}, {NULL, NULL}};

  lhsa_push_type(L, FILE_TYPE, methods, close_file);
  lua_pop(L, 1);
}
