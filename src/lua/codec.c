/* codec.c - our own instance of lua-cjson, and Lua values to JSON by it.
 *
 * lua-cjson writes each number by printf, in 2,000 instructions. Where many are sent it gets strings in their place,
 * behind a byte that UTF-8 never has, and they lose mark and quotes in its text. */
#include <string.h>

#include "codec.h"

enum { MAX_DEPTH = 100 };
enum { MAX_TAIL = 16 }; /* of a text; with a comma */

/* Their addresses are keys in the registry. */
static const char new_key = 'n', encode_key = 'e', decode_key = 'd';

/* ---- the cjson instance ---- */

/* Pops what is kept from now on. */
static void keep(lua_State *L, const char *key)
{
  lua_pushlightuserdata(L, (void *)(uintptr_t)key);
  lua_insert(L, -2);
  lua_rawset(L, LUA_REGISTRYINDEX);
}

static void keep_function(lua_State *L, int cjson, const char *name, const char *key)
{
  lua_getfield(L, cjson, name);
  keep(L, key);
}

static void push_kept(lua_State *L, const char *key)
{
  lua_pushlightuserdata(L, (void *)(uintptr_t)key);
  lua_rawget(L, LUA_REGISTRYINDEX);
}

void lhsa_codec_open(lua_State *L)
{
  int cjson;

  lua_getglobal(L, "require");
  lua_pushliteral(L, "cjson");
  lua_call(L, 1, 1);
  keep_function(L, lua_gettop(L), "new", &new_key);
  push_kept(L, &new_key); /* the host's instance keeps its settings */
  lua_call(L, 0, 1);
  cjson = lua_gettop(L);
  lua_getfield(L, cjson, "decode_max_depth");
  lua_pushinteger(L, MAX_DEPTH);
  lua_call(L, 1, 0);
  lua_getfield(L, cjson, "decode_invalid_numbers"); /* NaN, hexadecimal: not JSON */
  lua_pushboolean(L, 0);
  lua_call(L, 1, 0);
  keep_function(L, cjson, "encode", &encode_key);
  keep_function(L, cjson, "decode", &decode_key);
  lua_pop(L, 2);
  lhsa_text_open(L);
}

void lhsa_push_decode(lua_State *L)
{
  push_kept(L, &decode_key);
}

/* ---- encoding ---- */

/* Pushes cjson's encode, for one at a time: it writes into memory of its instance, and Lua 5.1 and LuaJIT may run
 * finalizers before they make a string of that. One that needs it meanwhile gets another. */
static void take_encode(lua_State *L)
{
  push_kept(L, &encode_key);
  if (lua_toboolean(L, -1)) {
    lua_pushboolean(L, 0);
    keep(L, &encode_key);
    return;
  }
  lua_pop(L, 1);
  push_kept(L, &new_key);
  lua_call(L, 0, 1);
  lua_getfield(L, -1, "encode");
  lua_remove(L, -2);
}

/* Gives back the one at idx. */
static void give_encode(lua_State *L, int idx)
{
  lua_pushvalue(L, idx);
  keep(L, &encode_key);
}

void lhsa_encode(lua_State *L, int idx)
{
  take_encode(L);
  lua_pushvalue(L, -1);
  lua_pushvalue(L, idx);
  lua_call(L, 1, 1);
  give_encode(L, lua_gettop(L) - 1);
  lua_remove(L, -2);
}

/* Pushes the number, whole and not negative, as a string behind the mark. */
static void push_marked(lua_State *L, uint64_t number)
{
  char text[24], *p = text + sizeof text;

  do
    *--p = (char)('0' + number % 10);
  while ((number /= 10) > 0);
  *--p = LHSA_MARK;
  lua_pushlstring(L, p, (size_t)(text + sizeof text - p));
}

/* Sets the fields of the object at `to`, whose names begin at `names`, as the object at `from` has them. */
static void mark_numbers(lua_State *L, int from, int to, int names, int n)
{
  int name;

  for (name = names; name < names + n; name++) {
    lua_pushvalue(L, name);
    lua_pushvalue(L, name);
    lua_rawget(L, from);
    if (lua_type(L, -1) == LUA_TNUMBER) {
      push_marked(L, (uint64_t)lua_tonumber(L, -1));
      lua_replace(L, -2);
    }
    lua_rawset(L, to);
  }
}

/* Writes the JSON text without the marks and quotes about its numbers. */
static void write_unmarked(lhsa_text *w, const char *text, const char *end)
{
  const char *mark;

  while ((mark = memchr(text, (unsigned char)LHSA_MARK, (size_t)(end - text))) != NULL) {
    lhsa_text_put(w, text, (size_t)(mark - text) - 1);
    for (text = mark + 1; *text != '"'; text++)
      *w->end++ = *text;
    text++;
  }
  lhsa_text_put(w, text, (size_t)(end - text));
}

void lhsa_encode_objects(lua_State *L, int idx, int first, int last, const lhsa_field *fields, const char *head,
                         const char *tail)
{
  int n = 0, names, copy, i;
  const char *text;
  size_t len;
  lhsa_text w;

  lhsa_text_begin(&w, L);
  names = w.slot + 1;
  lhsa_text_put(&w, head, strlen(head));
  for (; fields[n].name; n++)
    lua_pushstring(L, fields[n].name);
  lua_createtable(L, 0, n); /* for one after the other */
  copy = lua_gettop(L);
  take_encode(L);
  for (i = first; i <= last; i++) {
    lua_rawgeti(L, idx, i);
    if (!lua_istable(L, copy + 2))
      luaL_error(L, "element %d of the list was changed while it was encoded (by a finalizer?)", i);
    mark_numbers(L, copy + 2, copy, names, n);
    lua_pushvalue(L, copy + 1);
    lua_pushvalue(L, copy);
    lua_call(L, 1, 1);
    text = lua_tolstring(L, -1, &len);
    if (!lhsa_text_has_room(&w, len + MAX_TAIL) && !lhsa_text_grow(&w, len + MAX_TAIL, (len + 1) * (size_t)(last - i)))
      luaL_error(L, "not enough memory");
    if (i > first)
      lhsa_text_put(&w, ",", 1);
    write_unmarked(&w, text, text + len);
    lua_settop(L, copy + 1);
  }
  give_encode(L, copy + 1);
  lhsa_text_put(&w, tail, strlen(tail));
  lhsa_text_push(&w);
  lua_replace(L, w.slot);
  lua_settop(L, w.slot);
}
