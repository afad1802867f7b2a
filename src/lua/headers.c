/* headers.c - the option `headers`: more request headers, of a client and of a call.
 *
 * They are kept as the engine takes them: lines "Name: value", each ended by a line break. A client's are made once. */
#include <string.h>

#include "lhsa.h"

enum { MAX_LINES = 8192 }; /* bytes: what servers take as a rule */

/* Pushes the string at idx in small letters; those beyond ASCII are in no name. */
static void push_small(lua_State *L, const char *text, size_t len)
{
  luaL_Buffer small;
  size_t i;

  luaL_buffinit(L, &small);
  for (i = 0; i < len; i++)
    luaL_addchar(&small, (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]));
  luaL_pushresult(&small);
}

/* Pushes the lines of the accepted table at idx; or what is wrong, to be put behind its name, and returns false. */
static bool push_table_lines(lua_State *L, int idx)
{
  int seen, lines;
  const char *name;

  lua_newtable(L);
  seen = lua_gettop(L);
  lua_pushliteral(L, "");
  lines = lua_gettop(L);
  lua_pushnil(L);
  while (lua_next(L, idx)) {
    name = lua_tostring(L, -2);
    push_small(L, name, strlen(name));
    lua_pushvalue(L, -1);
    lua_rawget(L, seen);
    if (lua_toboolean(L, -1)) {
      lua_pushfstring(L, "[\"%s\"]: is there twice: case does not matter in a header's name", name);
      return false;
    }
    lua_pop(L, 1);
    lua_pushboolean(L, 1);
    lua_rawset(L, seen);
    lua_pushfstring(L, "%s%s: %s\n", lua_tostring(L, lines), name, lua_tostring(L, -1));
    lua_replace(L, lines);
    lua_settop(L, lines + 1);
  }
  if (lua_rawlen(L, lines) > MAX_LINES) {
    lua_pushfstring(L, ": longer than %d bytes together", MAX_LINES);
    return false;
  }
  lua_remove(L, seen);
  return true;
}

bool lhsa_next_header(const char **lines, hsa_param *header, size_t *name_len)
{
  const char *line = *lines, *end = line ? strchr(line, '\n') : NULL;

  if (!end)
    return false;
  header->name = line;
  *name_len = strcspn(line, ":");
  header->value = line + *name_len + 2;
  header->len = (size_t)(end - header->value);
  *lines = end + 1;
  return true;
}

/* Notes the names of the lines in the table at idx. */
static void note_names(lua_State *L, int idx, const char *lines)
{
  hsa_param header;
  size_t name_len;

  while (lhsa_next_header(&lines, &header, &name_len)) {
    push_small(L, header.name, name_len);
    lua_pushboolean(L, 1);
    lua_rawset(L, idx);
  }
}

void lhsa_join_header_lines(lua_State *L)
{
  int over = lua_gettop(L), names;
  const char *lines = lua_tostring(L, over - 1);
  hsa_param header;
  size_t name_len;

  lua_newtable(L);
  names = lua_gettop(L);
  note_names(L, names, lua_tostring(L, over));
  lua_pushvalue(L, over);
  while (lhsa_next_header(&lines, &header, &name_len)) {
    push_small(L, header.name, name_len);
    lua_rawget(L, names);
    if (!lua_toboolean(L, -1)) {
      lua_pushlstring(L, header.name, (size_t)(lines - header.name));
      lua_replace(L, -2);
      lua_concat(L, 2);
    } else
      lua_pop(L, 1);
  }
  lua_replace(L, over - 1);
  lua_settop(L, over - 1);
}

/* Pushes the lines of what the function at idx returns; or why there are none, and returns false. */
static bool push_called_lines(lua_State *L, int idx)
{
  const lhsa_field field = {.type = LHSA_HEADERS, .secret = true};
  int top = lua_gettop(L);

  lua_pushvalue(L, idx);
  if (lhsa_pcall(L, 0, 1) != 0) {
    lua_pushfstring(L, "the headers function failed: %s",
                    lua_isstring(L, -1) ? lua_tostring(L, -1) : "with a value that is no string");
    return false;
  }
  if (lua_isnil(L, -1)) {
    lua_pushliteral(L, "");
    return true;
  }
  if (lua_istable(L, -1) && lhsa_accept(L, top + 1, &field) && push_table_lines(L, lua_gettop(L)))
    return true;
  if (lua_istable(L, top + 1))
    lua_pushfstring(L, "the headers function's table cannot be used: headers%s", lua_tostring(L, -1));
  else
    lua_pushfstring(L, "the headers function returned no table, but %s", luaL_typename(L, top + 1));
  return false;
}

bool lhsa_push_headers(lua_State *L, int idx)
{
  int top = lua_gettop(L);
  bool ok = true;

  if (lua_isfunction(L, idx))
    ok = push_called_lines(L, idx);
  else if (lua_istable(L, idx))
    ok = push_table_lines(L, idx);
  else
    lua_pushvalue(L, idx);
  lua_insert(L, top + 1);
  lua_settop(L, top + 1);
  return ok;
}
