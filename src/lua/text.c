/* text.c - a text that is being written, and UTF-8.
 *
 * Lua may run while one is written, a finalizer for instance, and write another one. */
#include <stdlib.h>
#include <string.h>

#include "codec.h"

static const char memory_key = 'm'; /* its address is a key in the registry */

static int free_memory(lua_State *L)
{
  char **memory = lua_touserdata(L, 1);

  free(*memory);
  *memory = NULL;
  return 0;
}

void lhsa_text_open(lua_State *L)
{
  lua_pushlightuserdata(L, (void *)(uintptr_t)&memory_key);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, free_memory);
  lua_setfield(L, -2, "__gc");
  lua_rawset(L, LUA_REGISTRYINDEX);
}

void lhsa_text_begin(lhsa_text *text, lua_State *L)
{
  text->L = L;
  lua_pushnil(L);
  text->slot = lua_gettop(L);
  text->memory = NULL;
  text->begin = text->end = text->small;
  text->limit = text->small + sizeof text->small;
}

bool lhsa_text_grow(lhsa_text *text, size_t n, size_t likely)
{
  size_t have = (size_t)(text->end - text->begin), size = have + have / 2 + likely + n;
  char *memory;

  if (!text->memory) {
    text->memory = lua_newuserdata(text->L, sizeof *text->memory);
    *text->memory = NULL;
    lua_pushlightuserdata(text->L, (void *)(uintptr_t)&memory_key);
    lua_rawget(text->L, LUA_REGISTRYINDEX);
    lua_setmetatable(text->L, -2);
    lua_replace(text->L, text->slot);
  }
  memory = realloc(*text->memory, size);
  if (!memory)
    return false;
  if (text->begin == text->small)
    memcpy(memory, text->begin, have);
  *text->memory = text->begin = memory;
  text->end = memory + have;
  text->limit = memory + size;
  return true;
}

void lhsa_text_push(lhsa_text *text)
{
  lua_pushlstring(text->L, text->begin, (size_t)(text->end - text->begin));
  if (text->memory) {
    free(*text->memory);
    *text->memory = NULL;
  }
}

/* ---- UTF-8 (RFC 3629) ---- */

size_t lhsa_utf8_length(const unsigned char *p, size_t left)
{
  size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
  size_t i;

  if (n == 0 || n > left)
    return 0;
  for (i = 1; i < n; i++)
    if ((p[i] & 0xc0) != 0x80)
      return 0;
  if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
      (p[0] == 0xf4 && p[1] > 0x8f))
    return 0; /* overlong, a surrogate, or beyond U+10FFFF */
  return n;
}

bool lhsa_is_utf8(const char *text, size_t len)
{
  const unsigned char *p = (const unsigned char *)text, *end = p + len;
  uint64_t eight;
  size_t n;

  while (p < end) {
    if (len >= sizeof eight) { /* mostly ASCII: eight bytes at a time, the last eight perhaps once more */
      memcpy(&eight, p < end - sizeof eight ? p : end - sizeof eight, sizeof eight);
      if (!(eight & UINT64_C(0x8080808080808080))) {
        p += sizeof eight;
        continue;
      }
    }
    n = lhsa_utf8_length(p, (size_t)(end - p));
    if (n == 0)
      return false;
    p += n;
  }
  return true;
}
