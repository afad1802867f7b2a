/* check.c - is an argument of the shape that a call takes? */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lhsa.h"

#define RECORD_ID "record id (a string of digits)"

enum { MAX_NAME = 32, MAX_SHOWN = 40, MAX_DIGITS = 19 };

/* ---- messages ---- */

static bool fail(lua_State *L, const char *problem)
{
  lua_pushfstring(L, ": %s", problem);
  return false;
}

/* "integer expected, got string "x"" */
static bool fail_type(lua_State *L, int idx, const lhsa_field *field, const char *expected)
{
  const char *type = luaL_typename(L, idx);
  size_t len = 0;
  const char *text = field->secret ? NULL : (lua_type(L, idx) == LUA_TSTRING) ? lua_tolstring(L, idx, &len) : NULL;

  if (text && len <= MAX_SHOWN && strlen(text) == len && lhsa_is_utf8(text, len))
    lua_pushfstring(L, ": %s expected, got string \"%s\"", expected, text);
  else if (!field->secret && lua_type(L, idx) == LUA_TNUMBER) {
    char number[40];

    snprintf(number, sizeof number, "%.14g", lua_tonumber(L, idx));
    lua_pushfstring(L, ": %s expected, got number %s", expected, number);
  } else
    lua_pushfstring(L, ": %s expected, got %s", expected, type);
  return false;
}

/* Put ".name" or "[i]" before the message at the top. */
static bool fail_in_field(lua_State *L, const char *name)
{
  lua_pushfstring(L, ".%s%s", name, lua_tostring(L, -1));
  return false;
}

static bool fail_in_element(lua_State *L, int i)
{
  lua_pushfstring(L, "[%d]%s", i, lua_tostring(L, -1));
  return false;
}

static size_t min3(size_t a, size_t b, size_t c)
{
  size_t least = a < b ? a : b;

  return least < c ? least : c;
}

/* Edit distance (Levenshtein), letter case aside. Both are at most MAX_NAME long. */
static size_t distance(const char *a, const char *b)
{
  size_t row[MAX_NAME + 1], i, j, m = strlen(a), n = strlen(b);

  for (j = 0; j <= n; j++)
    row[j] = j;
  for (i = 1; i <= m; i++) {
    size_t diagonal = row[0];

    row[0] = i;
    for (j = 1; j <= n; j++) {
      size_t above = row[j];
      bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);

      row[j] = min3(above + 1, row[j - 1] + 1, diagonal + !same);
      diagonal = above;
    }
  }
  return row[n];
}

static const char *nearest(const lhsa_field *fields, const char *name)
{
  const char *best = NULL;
  size_t least = MAX_NAME, far;

  if (strlen(name) > MAX_NAME)
    return NULL;
  for (; fields->name; fields++) {
    far = distance(fields->name, name);
    if (far < least) {
      least = far;
      best = fields->name;
    }
  }
  return best && least <= 1 + strlen(best) / 3 ? best : NULL;
}

static bool fail_unknown(lua_State *L, const lhsa_field *fields, const char *name)
{
  const char *known = nearest(fields, name);

  if (known)
    lua_pushfstring(L, ".%s: unknown field; did you mean '%s'?", name, known);
  else
    lua_pushfstring(L, ".%s: unknown field", name);
  return false;
}

/* ---- tables ---- */

/* Is the string at idx the name of a field? */
static bool is_known(lua_State *L, int idx, const lhsa_field *fields)
{
  size_t len;
  const char *name = lua_tolstring(L, idx, &len);

  for (; fields->name; fields++)
    if (strlen(fields->name) == len && memcmp(fields->name, name, len) == 0)
      return true;
  return false;
}

/* Has the table at idx no other keys than fields? */
static bool check_names(lua_State *L, int idx, const lhsa_field *fields)
{
  lua_pushnil(L);
  while (lua_next(L, idx)) {
    lua_pop(L, 1);
    if (lua_type(L, -1) != LUA_TSTRING)
      return fail(L, "table with named fields expected, got a list or other keys");
    if (!is_known(L, lua_gettop(L), fields))
      return fail_unknown(L, fields, lua_tostring(L, -1));
  }
  return true;
}

void lhsa_copy_table(lua_State *L)
{
  int original = lua_gettop(L);

  lua_newtable(L);
  lua_pushnil(L);
  while (lua_next(L, original)) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, original + 1);
  }
  lua_replace(L, original);
}

/* Pushes the table at idx, or a copy of it if it has a metatable: OpenResty's lua-cjson, which LuaRocks installs, would
 * encode what __index and __len say instead of what was checked. Answers where it is. */
static int push_plain(lua_State *L, int idx)
{
  lua_pushvalue(L, idx);
  if (lua_getmetatable(L, idx)) {
    lua_pop(L, 1);
    lhsa_copy_table(L);
  }
  return lua_gettop(L);
}

/* Takes the element at the top of the table at `original`; its key lies below it. A plain table in which nothing
 * changes is taken as it is; the first change makes `result` a copy. Pops key and element. */
static bool take_element(lua_State *L, int original, int result, const lhsa_field *field)
{
  int key = lua_gettop(L) - 1;

  if (!lhsa_take(L, key + 1, field))
    return false;
  if (!lua_rawequal(L, key + 1, key + 2)) {
    if (lua_rawequal(L, original, result)) {
      lua_pushvalue(L, result);
      lhsa_copy_table(L);
      lua_replace(L, result);
    }
    lua_pushvalue(L, key);
    lua_pushvalue(L, key + 2);
    lua_rawset(L, result);
  }
  lua_settop(L, key - 1);
  return true;
}

static bool take_object(lua_State *L, int idx, const lhsa_field *object)
{
  const lhsa_field *field;
  int result;

  if (!lua_istable(L, idx))
    return fail_type(L, idx, object, "table");
  if (!check_names(L, idx, object->fields))
    return false;
  result = push_plain(L, idx);
  for (field = object->fields; field->name; field++) {
    lua_pushstring(L, field->name);
    lua_pushvalue(L, -1);
    lua_rawget(L, idx);
    if (lua_isnil(L, -1) && !field->required)
      lua_settop(L, result);
    else if (!take_element(L, idx, result, field))
      return fail_in_field(L, field->name);
  }
  return true;
}

/* Has the table at idx a key that is none of 1 to n? Pushes what is wrong if so. */
static bool has_other_keys(lua_State *L, int idx, int n, const lhsa_field *fields)
{
  lua_pushnil(L);
  while (lua_next(L, idx)) {
    double i = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;

    lua_pop(L, 1);
    if (i >= 1 && i <= n && i == floor(i))
      continue;
    if (n == 0 && lua_type(L, -1) == LUA_TSTRING && is_known(L, lua_gettop(L), fields))
      fail(L, "list expected, got a single element; put it into a list: { { ... } }");
    else if (lua_type(L, -1) == LUA_TSTRING)
      lua_pushfstring(L, ": list expected, got the key '%s'", lua_tostring(L, -1));
    else
      fail(L, "list without holes expected");
    return true;
  }
  return false;
}

static bool take_list(lua_State *L, int idx, const lhsa_field *list)
{
  const lhsa_field element = {.type = LHSA_OBJECT, .fields = list->fields};
  int n, i, result;

  if (!lua_istable(L, idx))
    return fail_type(L, idx, list, "list");
  n = (int)lua_rawlen(L, idx);
  if (has_other_keys(L, idx, n, list->fields))
    return false;
  if (n < list->min)
    return fail(L, "at least one element expected");
  result = push_plain(L, idx);
  for (i = 1; i <= n; i++) {
    lua_pushinteger(L, i);
    lua_rawgeti(L, idx, i);
    if (!take_element(L, idx, result, &element))
      return fail_in_element(L, i);
  }
  return true;
}

/* ---- single values ---- */

static bool take_string(lua_State *L, int idx, const lhsa_field *field)
{
  const char *text, *problem = NULL;
  size_t len;

  if (lua_type(L, idx) != LUA_TSTRING)
    return fail_type(L, idx, field, field->type == LHSA_TOKEN ? "string or function" : "string");
  text = lua_tolstring(L, idx, &len);
  if (field->type == LHSA_HEADER || field->type == LHSA_TOKEN)
    problem = hsa_check_header_value(text, len);
  else if (field->type == LHSA_SEGMENT)
    problem = hsa_check_segment(text, len);
  else if (field->type == LHSA_STRING && len == 0)
    problem = "must not be empty";
  if (!problem && !lhsa_is_utf8(text, len))
    problem = "must be valid UTF-8";
  if (problem)
    return fail(L, problem);
  lua_pushvalue(L, idx);
  return true;
}

static bool take_number(lua_State *L, int idx, const lhsa_field *field)
{
  bool is_integer = field->type != LHSA_NUMBER;
  double number = lua_tonumber(L, idx);
  char expected[80];

  if (lua_type(L, idx) != LUA_TNUMBER || (is_integer && floor(number) != number))
    return fail_type(L, idx, field, is_integer ? "integer" : "number");
  if (!(number >= field->min && number <= field->max)) {
    snprintf(expected, sizeof expected, "%s from %.14g to %.14g", is_integer ? "integer" : "number", field->min,
             field->max);
    return fail_type(L, idx, field, expected);
  }
  lua_pushvalue(L, idx);
  return true;
}

static bool is_digits(const char *text, size_t len)
{
  return len > 0 && len <= MAX_DIGITS && strspn(text, "0123456789") == len;
}

/* A number is taken only where it is exact; it becomes the string that HubSpot expects. */
static bool take_id(lua_State *L, int idx, const lhsa_field *field)
{
  size_t len = 0;
  const char *text = lua_type(L, idx) == LUA_TSTRING ? lua_tolstring(L, idx, &len) : NULL;
  double number = lua_tonumber(L, idx);
  char digits[32];

  if (text && is_digits(text, len)) {
    lua_pushvalue(L, idx);
    return true;
  }
  if (text || lua_type(L, idx) != LUA_TNUMBER || number < 0)
    return fail_type(L, idx, field, RECORD_ID);
  if (lua_isinteger(L, idx))
    snprintf(digits, sizeof digits, "%lld", (long long)lua_tointeger(L, idx));
  else if (floor(number) == number && number < 9007199254740992.0) /* 2^53 may have been another number */
    snprintf(digits, sizeof digits, "%.0f", number);
  else
    return fail_type(L, idx, field, RECORD_ID);
  lua_pushstring(L, digits);
  return true;
}

static bool take_type(lua_State *L, int idx, const lhsa_field *field, int type)
{
  if (lua_type(L, idx) != type)
    return fail_type(L, idx, field, lua_typename(L, type));
  lua_pushvalue(L, idx);
  return true;
}

bool lhsa_take(lua_State *L, int idx, const lhsa_field *field)
{
  switch (field->type) {
  case LHSA_LIST:
    luaL_checkstack(L, 10, NULL);
    return take_list(L, idx, field);
  case LHSA_OBJECT:
    luaL_checkstack(L, 10, NULL);
    return take_object(L, idx, field);
  case LHSA_SWITCH:
    if (lua_type(L, idx) == LUA_TBOOLEAN && !lua_toboolean(L, idx))
      return take_type(L, idx, field, LUA_TBOOLEAN);
    if (lua_type(L, idx) != (field->fields ? LUA_TTABLE : LUA_TNUMBER))
      return fail_type(L, idx, field, field->fields ? "table or false" : "integer or false");
    return field->fields ? take_object(L, idx, field) : take_number(L, idx, field);
  case LHSA_INTEGER:
  case LHSA_NUMBER:
    return take_number(L, idx, field);
  case LHSA_ID:
    return take_id(L, idx, field);
  case LHSA_BOOLEAN:
    return take_type(L, idx, field, LUA_TBOOLEAN);
  case LHSA_FUNCTION:
    return take_type(L, idx, field, LUA_TFUNCTION);
  case LHSA_TABLE:
    return take_type(L, idx, field, LUA_TTABLE);
  case LHSA_LOOP:
    if (!lua_istable(L, idx) && lua_type(L, idx) != LUA_TSTRING)
      return fail_type(L, idx, field, "string or table");
    lua_pushvalue(L, idx);
    return true;
  case LHSA_TOKEN:
    if (lua_isfunction(L, idx))
      return take_type(L, idx, field, LUA_TFUNCTION);
    return take_string(L, idx, field);
  default:
    return take_string(L, idx, field);
  }
}

int lhsa_bad_argument(lua_State *L, int level, int arg, const char *call, const char *name)
{
  luaL_where(L, level);
  lua_pushfstring(L, "bad argument #%d to '%s' (%s%s)", arg, call, name, lua_tostring(L, -2));
  lua_concat(L, 2);
  return lua_error(L);
}
