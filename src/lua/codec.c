/* codec.c - Lua tables to JSON and back, by lua-cjson.
 *
 * lua-cjson reads numbers as doubles and null as a light userdata. What it cannot keep exact is quoted
 * before it sees it, behind a byte that UTF-8 never has, and put right afterwards. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lhsa.h"

enum { MAX_DEPTH = 100, MAX_EXACT_DIGITS = 15 };

#define QUOTED '\xff'
#define TWO_63 9223372036854775808.0

static const char encode_key = 'e', decode_key = 'd'; /* their addresses are keys in the registry */

/* ---- the cjson instance ---- */

static void keep_function(lua_State *L, int cjson, const char *name, const char *key)
{
  lua_pushlightuserdata(L, (void *)(uintptr_t)key);
  lua_getfield(L, cjson, name);
  lua_rawset(L, LUA_REGISTRYINDEX);
}

static void push_function(lua_State *L, const char *key)
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
  lua_getfield(L, -1, "new"); /* the host's instance keeps its settings */
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
}

void lhsa_encode(lua_State *L, int idx)
{
  push_function(L, &encode_key);
  lua_pushvalue(L, idx);
  lua_call(L, 1, 1);
}

/* ---- UTF-8 (RFC 3629) ---- */

/* Length of the character at p, or 0 if it is not well-formed. */
static size_t utf8_length(const unsigned char *p, size_t left)
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
  const unsigned char *p = (const unsigned char *)text;
  uint64_t eight;
  size_t n;

  while (len) {
    if (len >= sizeof eight) { /* mostly ASCII: eight bytes at a time */
      memcpy(&eight, p, sizeof eight);
      if (!(eight & UINT64_C(0x8080808080808080))) {
        p += sizeof eight;
        len -= sizeof eight;
        continue;
      }
    }
    n = utf8_length(p, len);
    if (n == 0)
      return false;
    p += n;
    len -= n;
  }
  return true;
}

/* ---- integer literals that a double cannot hold ---- */

static bool is_digit(char c)
{
  return c >= '0' && c <= '9';
}

/* Is there a run of more than 15 digits anywhere? Looks at every 16th byte. */
static bool has_long_digits(const char *json, size_t len)
{
  size_t i, from, to;

  for (i = MAX_EXACT_DIGITS; i < len; i += MAX_EXACT_DIGITS + 1) {
    if (!is_digit(json[i]))
      continue;
    for (from = i; from > 0 && is_digit(json[from - 1]); from--)
      ;
    for (to = i; to < len && is_digit(json[to]); to++)
      ;
    if (to - from > MAX_EXACT_DIGITS)
      return true;
  }
  return false;
}

/* End of the string that begins with the quote at i. */
static size_t skip_string(const char *json, size_t len, size_t i)
{
  for (i++; i < len && json[i] != '"'; i++)
    if (json[i] == '\\')
      i++;
  return i < len ? i + 1 : len;
}

/* Does a colon follow, so that what ends here stands in the place of a key? */
static bool is_key(const char *json, size_t len, size_t end)
{
  while (end < len && json[end] && strchr(" \t\r\n", json[end]))
    end++;
  return end < len && json[end] == ':';
}

/* End of the number at i; says whether it is an integer of more than 15 digits. */
static size_t skip_number(const char *json, size_t len, size_t i, bool *is_long)
{
  size_t digits = i + (json[i] == '-'), end;

  for (end = digits; end < len && is_digit(json[end]); end++)
    ;
  *is_long = end - digits > MAX_EXACT_DIGITS && json[digits] != '0';
  while (end < len && json[end] && strchr("+-.eE0123456789", json[end])) {
    *is_long = false;
    end++;
  }
  if (*is_long && is_key(json, len, end))
    *is_long = false; /* a quote would make JSON of what is none */
  return end;
}

/* Pushes the JSON text with every long integer as "\xff<digits>". */
static void push_quoted(lua_State *L, const char *json, size_t len)
{
  luaL_Buffer out;
  size_t i = 0, end;
  bool is_long;

  luaL_buffinit(L, &out);
  while (i < len) {
    is_long = false;
    if (json[i] == '"')
      end = skip_string(json, len, i);
    else if (json[i] == '-' || is_digit(json[i]))
      end = skip_number(json, len, i, &is_long);
    else
      end = i + 1;
    if (is_long)
      luaL_addlstring(&out, "\"\xff", 2);
    luaL_addlstring(&out, json + i, end - i);
    if (is_long)
      luaL_addchar(&out, '"');
    i = end;
  }
  luaL_pushresult(&out);
}

/* ---- after decoding: integers, ids, nulls ---- */

/* Is it the name of a record id, or of the place in a list from which to go on? */
static bool is_id_key(lua_State *L, int idx)
{
  const char *key = lua_type(L, idx) == LUA_TSTRING ? lua_tostring(L, idx) : "";

  return strcmp(key, "id") == 0 || strcmp(key, "after") == 0 || strcmp(key, "toObjectId") == 0 || strcmp(key, "fromObjectId") == 0;
}

/* Pushes the value that the number at idx stands for; false if it is fine as it is. */
static bool push_number(lua_State *L, int idx, bool is_id)
{
  double number = lua_tonumber(L, idx);
  char digits[32];

  if (floor(number) != number || number >= TWO_63 || number < -TWO_63)
    return false;
  if (is_id) {
    snprintf(digits, sizeof digits, "%lld", (long long)number);
    lua_pushstring(L, digits);
    return true;
  }
#if LHSA_HAS_INTEGERS
  if (lua_isinteger(L, idx))
    return false;
  lua_pushinteger(L, (lua_Integer)number);
  return true;
#else
  return false;
#endif
}

/* Pushes what a quoted literal stands for: an integer where Lua can hold it, else its digits. */
static void push_long(lua_State *L, const char *digits, bool is_id)
{
#if LHSA_HAS_INTEGERS
  char text[32];
  long long number = strtoll(digits, NULL, 10);

  snprintf(text, sizeof text, "%lld", number);
  if (!is_id && strcmp(text, digits) == 0) {
    lua_pushinteger(L, number);
    return;
  }
#else
  (void)is_id;
#endif
  lua_pushstring(L, digits);
}

static void settle(lua_State *L, int idx, bool has_long);

/* Pushes the value to put in the place of the one at the top, or answers false. `key`: its index. */
static bool push_settled(lua_State *L, int key, bool has_long)
{
  int value = lua_gettop(L);
  size_t len;
  const char *text;

  switch (lua_type(L, value)) {
  case LUA_TTABLE:
    settle(L, value, has_long);
    return false;
  case LUA_TNUMBER:
    return push_number(L, value, is_id_key(L, key));
  case LUA_TSTRING:
    if (!has_long)
      return false;
    text = lua_tolstring(L, value, &len);
    if (len == 0 || text[0] != QUOTED)
      return false;
    push_long(L, text + 1, is_id_key(L, key));
    return true;
  case LUA_TLIGHTUSERDATA: /* null: absent in an object; a list keeps its place */
    if (lua_type(L, key) != LUA_TSTRING)
      return false;
    lua_pushnil(L);
    return true;
  default:
    return false;
  }
}

/* Goes through the table at idx; its depth is limited by cjson's decode_max_depth. has_long: there are
 * quoted integers. */
static void settle(lua_State *L, int idx, bool has_long)
{
  int key;

  luaL_checkstack(L, 8, "JSON nested too deeply");
  lua_pushnil(L);
  key = lua_gettop(L);
  while (lua_next(L, idx)) {
    if (push_settled(L, key, has_long)) {
      lua_pushvalue(L, key);
      lua_insert(L, -2);
      lua_rawset(L, idx); /* an existing field: the traversal goes on */
    }
    lua_settop(L, key);
  }
}

bool lhsa_decode(lua_State *L, const char *json, size_t len)
{
  bool has_long = has_long_digits(json, len);

  if (!lhsa_is_utf8(json, len)) {
    lua_pushliteral(L, "it is not valid UTF-8");
    return false;
  }
  if (memchr(json, '\0', len)) {
    lua_pushliteral(L, "it is not JSON (it contains a NUL)"); /* cjson would stop reading there */
    return false;
  }
  push_function(L, &decode_key);
  if (has_long)
    push_quoted(L, json, len);
  else
    lua_pushlstring(L, json, len);
  if (lua_pcall(L, 1, 1, 0) != 0) {
    lua_pushfstring(L, "it is not JSON (%s)", lua_tostring(L, -1));
    lua_remove(L, -2);
    return false;
  }
  if (lua_istable(L, -1))
    settle(L, lua_gettop(L), has_long);
  return true;
}

const char *lhsa_json_element(const char *list, int n)
{
  const char *p = list + 1;
  int depth = 0;

  for (; n > 1; p++)
    if (*p == '"')
      while (*++p != '"')
        p += *p == '\\';
    else if (*p == '{' || *p == '[')
      depth++;
    else if (*p == '}' || *p == ']')
      depth--;
    else if (*p == ',' && depth == 0)
      n--;
  return p;
}

/* ---- the token, where a server repeats it ---- */

static void push_masked_string(lua_State *L, int idx, const hsa_call *call)
{
  size_t len;
  const char *text = lua_tolstring(L, idx, &len);
  char *copy = lua_newuserdata(L, len + 1);

  memcpy(copy, text, len);
  hsa_call_mask(call, copy, len);
  lua_pushlstring(L, copy, len);
  lua_remove(L, -2);
}

void lhsa_push_masked(lua_State *L, int idx, const hsa_call *call)
{
  int copy;

  if (lua_type(L, idx) == LUA_TSTRING)
    push_masked_string(L, idx, call);
  else if (!lua_istable(L, idx))
    lua_pushvalue(L, idx);
  else {
    luaL_checkstack(L, 10, "JSON nested too deeply");
    lua_newtable(L);
    copy = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
      lhsa_push_masked(L, copy + 1, call);
      lhsa_push_masked(L, copy + 2, call);
      lua_rawset(L, copy);
      lua_settop(L, copy + 1);
    }
  }
}
