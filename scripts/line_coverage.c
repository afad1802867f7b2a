/* line_coverage.c - which lines of the library's Lua files run, for `make coverage`: every Lua 5.4 of its specs loads this
 * module first (LUA_INIT), and adds what it has seen to a file of its own in $HSA_LINES when it ends. Coroutines have the
 * hook of who makes them. Specs that set a hook of their own end it. */
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_FILES = 256, MOST_LINES = 2048 };

typedef struct seen_file {
  char name[128]; /* "lua/hubspot_assoc/..." */
  bool lines[MOST_LINES];
} seen_file;

static seen_file files[MOST_FILES];
static int nfiles;
static seen_file *file_of(const char *source)
{
  const char *name = *source == '@' ? strstr(source, "lua/hubspot_assoc") : NULL;
  static int last; /* most lines are of the same file as the line before */
  int i;

  if (!name || strlen(name) >= sizeof files[0].name)
    return NULL;
  if (last < nfiles && strcmp(files[last].name, name) == 0)
    return &files[last];
  for (i = 0; i < nfiles; i++)
    if (strcmp(files[i].name, name) == 0)
      return &files[last = i];
  if (nfiles == MOST_FILES)
    return NULL;
  snprintf(files[nfiles].name, sizeof files[0].name, "%s", name);
  return &files[nfiles++];
}

static void on_line(lua_State *L, lua_Debug *at)
{
  seen_file *file;

  lua_getinfo(L, "S", at);
  file = file_of(at->source);
  if (file && at->currentline >= 0 && at->currentline < MOST_LINES)
    file->lines[at->currentline] = true;
}

static void write_lines(void)
{
  char path[512];
  FILE *out;
  int i, line;

  snprintf(path, sizeof path, "%s/%ld", getenv("HSA_LINES"), (long)getpid());
  out = nfiles ? fopen(path, "a") : NULL;
  if (!out)
    return;
  for (i = 0; i < nfiles; i++)
    for (line = 0; line < MOST_LINES; line++)
      if (files[i].lines[line])
        fprintf(out, "%s %d\n", files[i].name, line);
  fclose(out);
}

int luaopen_line_coverage(lua_State *L);

int luaopen_line_coverage(lua_State *L)
{
  if (getenv("HSA_LINES") && atexit(write_lines) == 0)
    lua_sethook(L, on_line, LUA_MASKLINE, 0);
  return 0;
}
