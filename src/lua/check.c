/* check.c - is an argument of the shape that a call takes? */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lhsa.h"

#define RECORD_ID "record id (a string of digits)"
#define MAX_ID "9223372036854775807"

enum { MAX_NAME = 32, MAX_SHOWN = 40 };
enum { MAX_SLOTS = 50 }; /* on the stack: up to five tables in each other */

/* What becomes of a value: at the top is what is wrong, or nothing, or the value that is sent in its place. */
typedef enum accept_result { WRONG, AS_IT_IS, CHANGED } accept_result;

/* Which field a key turned out to be. */
typedef struct memory {
  const char *name;
  const lhsa_field *fields, *found;
} memory;

enum { MEMORY_SIZE = 16 };

/* What goes along while a value is checked. */
typedef struct checking {
  memory known[MEMORY_SIZE];
  const lhsa_field *inputs; /* a list, of whose elements it is kept what identifies them; NULL: of none */
  lhsa_identities *ids;     /* where ... */
  int kept;                 /* ... and their index */
  int input;                /* the element that is checked, from 0 */
  int outer;                /* column of the record that is, or 0 */
} checking;

static accept_result accept(lua_State *L, int idx, const lhsa_field *field, checking *at);

/* ---- messages ---- */

static accept_result fail(lua_State *L, const char *problem)
{
  lua_pushfstring(L, ": %s", problem);
  return WRONG;
}

/* Pushes a string or a number as it is written in Lua; pushes nothing and returns false if it is neither, or is not to
 * be shown. */
static bool push_literal(lua_State *L, int idx, const lhsa_field *field)
{
  const char *text;
  char number[40];
  size_t len;

  if (field->secret)
    return false;
  if (lua_type(L, idx) == LUA_TNUMBER) {
    snprintf(number, sizeof number, "%.14g", lua_tonumber(L, idx));
    lua_pushstring(L, number);
    return true;
  }
  text = lua_type(L, idx) == LUA_TSTRING ? lua_tolstring(L, idx, &len) : NULL;
  if (!text || len > MAX_SHOWN || strlen(text) != len || !lhsa_is_utf8(text, len))
    return false;
  lua_pushfstring(L, "\"%s\"", text);
  return true;
}

/* "integer expected, got string "x"" */
static accept_result fail_type(lua_State *L, int idx, const lhsa_field *field, const char *expected)
{
  const char *type = luaL_typename(L, idx);

  if (push_literal(L, idx, field))
    lua_pushfstring(L, ": %s expected, got %s %s", expected, type, lua_tostring(L, -1));
  else
    lua_pushfstring(L, ": %s expected, got %s", expected, type);
  return WRONG;
}

/* Put ".name" or "[i]" before the message at the top. */
static accept_result fail_in_field(lua_State *L, const char *name)
{
  lua_pushfstring(L, ".%s%s", name, lua_tostring(L, -1));
  return WRONG;
}

static accept_result fail_in_element(lua_State *L, int i)
{
  lua_pushfstring(L, "[%d]%s", i, lua_tostring(L, -1));
  return WRONG;
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

const char *lhsa_nearest(const lhsa_field *fields, const char *name)
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

/* Pushes what the table at idx has for the field, by its name or its alias. */
static void push_given(lua_State *L, int idx, const lhsa_field *field)
{
  lua_pushstring(L, field->name);
  lua_rawget(L, idx);
  if (!lua_isnil(L, -1) || !field->alias)
    return;
  lua_pop(L, 1);
  lua_pushstring(L, field->alias);
  lua_rawget(L, idx);
}

/* Is any field of the table at idx there by its alias? Then it is what another call returned. */
static bool has_alias(lua_State *L, int idx, const lhsa_field *fields)
{
  bool has = false;

  for (; fields->name && !has; fields++)
    if (fields->alias) {
      lua_pushstring(L, fields->alias);
      lua_rawget(L, idx);
      has = !lua_isnil(L, -1);
      lua_pop(L, 1);
    }
  return has;
}

/* Pushes what to write in place of the table at idx: "{ associationTypeId = 38, label = ... }" */
static void push_instead(lua_State *L, int idx, const lhsa_field *fields)
{
  const char *before = "{ ";

  lua_pushliteral(L, "");
  for (; fields->name; fields++) {
    if (!fields->required)
      continue;
    push_given(L, idx, fields);
    if (!push_literal(L, lua_gettop(L), fields))
      lua_pushliteral(L, "...");
    lua_remove(L, -2);
    lua_pushfstring(L, "%s%s%s = %s", lua_tostring(L, -2), before, fields->name, lua_tostring(L, -1));
    lua_replace(L, -3);
    lua_pop(L, 1);
    before = ", ";
  }
  lua_pushliteral(L, " }");
  lua_concat(L, 2);
}

/* The table at idx has a field of this name. */
static accept_result fail_unknown(lua_State *L, int idx, const lhsa_field *fields, const char *name)
{
  const char *known = lhsa_nearest(fields, name);

  if (has_alias(L, idx, fields)) {
    push_instead(L, idx, fields);
    lua_pushfstring(L, ".%s: unknown field; write %s", name, lua_tostring(L, -1));
  } else if (known)
    lua_pushfstring(L, ".%s: unknown field; did you mean '%s'?", name, known);
  else
    lua_pushfstring(L, ".%s: unknown field", name);
  return WRONG;
}

/* ---- tables ---- */

/* Which of the fields has the string at idx as its name? NULL: none. */
static const lhsa_field *find_field(lua_State *L, int idx, const lhsa_field *fields)
{
  size_t len;
  const char *name = lua_tolstring(L, idx, &len);

  for (; fields->name; fields++)
    if (fields->name[0] == name[0] && strcmp(fields->name, name) == 0 && strlen(name) == len)
      return fields;
  return NULL;
}

/* As find_field. Lua has equal short strings once, and those in a table stay: thousands of inputs have the same keys,
 * so what has been found is kept by its address. */
static const lhsa_field *recall_field(lua_State *L, int idx, const lhsa_field *fields, checking *at)
{
  const char *name = lua_tostring(L, idx);
  memory *place = at->known + ((uintptr_t)name / 16 + (uintptr_t)fields / 64) % MEMORY_SIZE;

  if (place->name != name || place->fields != fields)
    *place = (memory){name, fields, find_field(L, idx, fields)};
  return place->found;
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

/* Pushes nil, or a copy of the table at idx if it has a metatable: OpenResty's lua-cjson, which LuaRocks installs,
 * would encode what __index and __len say instead of what was checked. */
static void push_plain(lua_State *L, int idx)
{
  if (!lua_getmetatable(L, idx)) {
    lua_pushnil(L);
    return;
  }
  lua_pop(L, 1);
  lua_pushvalue(L, idx);
  lhsa_copy_table(L);
}

/* Takes the element at `key` + 1, which is part of what identifies an input: keeps it, if that is asked for. */
static accept_result take_column(lua_State *L, int key, const lhsa_field *field, checking *at)
{
  accept_result accepted;

  if (field->column != LHSA_OUTER)
    at->outer = field->column;
  accepted = accept(L, key + 1, field, at);
  if (at->ids && at->outer && accepted != WRONG && !field->fields)
    lhsa_keep_identity(L, at->kept, at->ids, at->input, at->outer - 1, accepted == CHANGED ? lua_gettop(L) : key + 1);
  return accepted;
}

/* Takes the element at `key` + 1 of the table at idx. A plain table in which nothing changes is accepted as it is; the
 * first change puts a copy at `result`, nil until then. */
static inline accept_result take_element(lua_State *L, int idx, int result, int key, const lhsa_field *field,
                                         checking *at)
{
  accept_result accepted = field->column ? take_column(L, key, field, at) : accept(L, key + 1, field, at);

  if (accepted != CHANGED)
    return accepted;
  if (lua_isnil(L, result)) {
    lua_pushvalue(L, idx);
    lhsa_copy_table(L);
    lua_replace(L, result);
  }
  lua_pushvalue(L, key);
  lua_insert(L, -2);
  lua_rawset(L, result);
  return AS_IT_IS;
}

/* The table whose copy, or nil, is at the top has been gone through. */
static accept_result end_table(lua_State *L)
{
  if (!lua_isnil(L, -1))
    return CHANGED;
  lua_pop(L, 1);
  return AS_IT_IS;
}

/* The first of the required fields that is not in the set, by their place in the list. */
static const lhsa_field *find_missing(const lhsa_field *fields, unsigned seen)
{
  int i;

  for (i = 0; fields[i].name; i++)
    if (fields[i].required && !(seen & 1U << i))
      return fields + i;
  return NULL;
}

static accept_result take_object(lua_State *L, int idx, const lhsa_field *object, checking *at)
{
  const lhsa_field *field;
  int result = lua_gettop(L) + 1, key = result + 1;
  unsigned seen = 0;

  if (!lua_istable(L, idx))
    return fail_type(L, idx, object, "table");
  push_plain(L, idx);
  lua_pushnil(L);
  while (lua_next(L, idx)) {
    if (lua_type(L, key) != LUA_TSTRING)
      return fail(L, "table with named fields expected, got a list or other keys");
    field = recall_field(L, key, object->fields, at);
    if (!field)
      return fail_unknown(L, idx, object->fields, lua_tostring(L, key));
    if (take_element(L, idx, result, key, field, at) == WRONG)
      return fail_in_field(L, field->name);
    seen |= 1U << (field - object->fields);
    lua_settop(L, key);
  }
  field = find_missing(object->fields, seen);
  if (!field)
    return end_table(L);
  lua_pushnil(L);
  accept(L, lua_gettop(L), field, at);
  return fail_in_field(L, field->name);
}

/* Adds to the message at the top what to write in place of a value that is no list. */
static accept_result add_hint(lua_State *L, const lhsa_field *list)
{
  if (list->hint)
    lua_pushfstring(L, "%s; %s", lua_tostring(L, -1), list->hint);
  return WRONG;
}

/* Pushes what is wrong with a list of n elements that has this key. */
static accept_result fail_key(lua_State *L, int key, int n, const lhsa_field *list)
{
  if (n == 0 && lua_type(L, key) == LUA_TSTRING && find_field(L, key, list->fields))
    return fail(L, "list expected, got a single element; put it into a list: { { ... } }");
  if (lua_type(L, key) != LUA_TSTRING)
    return fail(L, "list without holes expected");
  lua_pushfstring(L, ": list expected, got the key '%s'", lua_tostring(L, key));
  return add_hint(L, list);
}

/* Pushes what is wrong with the list at idx, in which one of 1 to n is nil. */
static accept_result fail_hole(lua_State *L, int idx, const lhsa_field *element)
{
  int i = 1;

  for (lua_rawgeti(L, idx, i); !lua_isnil(L, -1); lua_rawgeti(L, idx, i)) {
    lua_pop(L, 1);
    i++;
  }
  fail_type(L, lua_gettop(L), element, "table");
  return fail_in_element(L, i);
}

static accept_result take_list(lua_State *L, int idx, const lhsa_field *list, checking *at)
{
  const lhsa_field element = {.type = LHSA_OBJECT, .fields = list->fields};
  int result = lua_gettop(L) + 1, key = result + 1, seen = 0, n;
  double i;

  if (!lua_istable(L, idx)) {
    fail_type(L, idx, list, "list");
    return lua_type(L, idx) == LUA_TSTRING ? add_hint(L, list) : WRONG;
  }
  n = list == at->inputs ? at->ids->n : (int)lua_rawlen(L, idx); /* a finalizer may have added some meanwhile */
  at->outer = 0; /* the records in it are no column */
  push_plain(L, idx);
  lua_pushnil(L);
  while (lua_next(L, idx)) {
    i = lua_type(L, key) == LUA_TNUMBER ? lua_tonumber(L, key) : 0;
    if (i < 1 || i > n || (int)i != i)
      return fail_key(L, key, n, list);
    if (list == at->inputs)
      at->input = (int)i - 1;
    if (take_element(L, idx, result, key, &element, at) == WRONG)
      return fail_in_element(L, (int)i);
    seen++;
    lua_settop(L, key);
  }
  if (n < list->min)
    return fail(L, "at least one element expected");
  return seen < n ? fail_hole(L, idx, &element) : end_table(L);
}

/* ---- single values ---- */

static accept_result take_string(lua_State *L, int idx, const lhsa_field *field)
{
  bool may_be_function = field->type == LHSA_TOKEN || field->type == LHSA_SECRET;
  const char *text, *problem = NULL;
  size_t len;

  if (lua_type(L, idx) != LUA_TSTRING)
    return fail_type(L, idx, field, may_be_function ? "string or function" : "string");
  text = lua_tolstring(L, idx, &len);
  if (field->type == LHSA_TOKEN)
    problem = hsa_check_token(text, len);
  else if (field->type == LHSA_HEADER || field->type == LHSA_SECRET)
    problem = hsa_check_header_value(text, len);
  else if (field->type == LHSA_SEGMENT)
    problem = hsa_check_segment(text, len);
  else if (field->type == LHSA_STRING && len == 0)
    problem = "must not be empty";
  if (!problem && !lhsa_is_utf8(text, len))
    problem = "must be valid UTF-8";
  return problem ? fail(L, problem) : AS_IT_IS;
}

/* A zero is sent without its sign. */
static accept_result take_number(lua_State *L, int idx, const lhsa_field *field)
{
  bool is_integer = field->type != LHSA_NUMBER, has_no_fraction = lua_isinteger(L, idx);
  double number = has_no_fraction ? (double)lua_tointeger(L, idx) : lua_tonumber(L, idx);
  char expected[80];

  if (!has_no_fraction && (lua_type(L, idx) != LUA_TNUMBER || (is_integer && floor(number) != number)))
    return fail_type(L, idx, field, is_integer ? "integer" : "number");
  if (!(number >= field->min && number <= field->max)) {
    snprintf(expected, sizeof expected, "%s from %.14g to %.14g", is_integer ? "integer" : "number", field->min,
             field->max);
    return fail_type(L, idx, field, expected);
  }
  if (number != 0 || !signbit(number))
    return AS_IT_IS;
  lua_pushinteger(L, 0);
  return CHANGED;
}

/* Pushes what is wrong with the header at the top, of this name, and returns true; or false. */
static bool push_header_problem(lua_State *L, int key, const lhsa_field *field)
{
  const lhsa_field value = {.type = LHSA_HEADER, .secret = field->secret};
  int top = lua_gettop(L);
  size_t len;
  const char *name, *problem;

  if (lua_type(L, key) != LUA_TSTRING) {
    lua_pushliteral(L, ": names of headers expected, got a list or other keys");
    return true;
  }
  name = lua_tolstring(L, key, &len);
  problem = hsa_check_header_name(name, len);
  if (!problem && take_string(L, top, &value) == AS_IT_IS)
    return false;
  if (problem)
    lua_pushfstring(L, ": %s", problem);
  lua_pushfstring(L, "[\"%s\"]%s", len <= MAX_SHOWN && lhsa_is_utf8(name, len) ? name : "...", lua_tostring(L, -1));
  return true;
}

static accept_result take_headers(lua_State *L, int idx, const lhsa_field *field)
{
  int key;

  if (lua_isfunction(L, idx))
    return AS_IT_IS;
  if (!lua_istable(L, idx))
    return fail_type(L, idx, field, "table or function");
  push_plain(L, idx);
  lua_pushnil(L);
  key = lua_gettop(L);
  while (lua_next(L, idx)) {
    if (push_header_problem(L, key, field))
      return WRONG;
    lua_settop(L, key);
  }
  return end_table(L);
}

static bool is_digits(const char *text, size_t len)
{
  return len > 0 && strspn(text, "0123456789") == len;
}

/* HubSpot's ids are int64. */
static bool is_in_range(const char *digits, size_t len)
{
  size_t most = strlen(MAX_ID);

  return len < most || (len == most && strcmp(digits, MAX_ID) <= 0);
}

/* Accepts a string of digits. */
static accept_result take_digits(lua_State *L, int idx, const lhsa_field *field)
{
  size_t len;
  const char *text = lua_tolstring(L, idx, &len);

  if (!is_digits(text, len))
    return fail_type(L, idx, field, RECORD_ID);
  return is_in_range(text, len) ? AS_IT_IS : fail_type(L, idx, field, "record id (" MAX_ID " at most)");
}

/* A number is accepted only where it is exact; it becomes the string that HubSpot expects. */
static accept_result take_id(lua_State *L, int idx, const lhsa_field *field)
{
  double number;
  char digits[32];

  if (lua_type(L, idx) == LUA_TSTRING)
    return take_digits(L, idx, field);
  number = lua_tonumber(L, idx);
  if (lua_type(L, idx) != LUA_TNUMBER || number < 0)
    return fail_type(L, idx, field, RECORD_ID);
  if (lua_isinteger(L, idx))
    snprintf(digits, sizeof digits, "%lld", (long long)lua_tointeger(L, idx));
  else if (floor(number) == number && number < 9007199254740992.0) /* 2^53 may have been another number */
    snprintf(digits, sizeof digits, "%.0f", fabs(number));
  else
    return fail_type(L, idx, field, RECORD_ID);
  lua_pushstring(L, digits);
  return CHANGED;
}

/* Is it a table with the metamethod __call? */
static bool is_callable(lua_State *L, int idx)
{
  bool is_callable;

  if (!lua_istable(L, idx) || !lua_getmetatable(L, idx))
    return false;
  lua_pushliteral(L, "__call");
  lua_rawget(L, -2);
  is_callable = lua_isfunction(L, -1);
  lua_pop(L, 2);
  return is_callable;
}

static accept_result take_type(lua_State *L, int idx, const lhsa_field *field, int type)
{
  return lua_type(L, idx) == type ? AS_IT_IS : fail_type(L, idx, field, lua_typename(L, type));
}

static accept_result accept(lua_State *L, int idx, const lhsa_field *field, checking *at)
{
  switch (field->type) {
  case LHSA_LIST:
    return take_list(L, idx, field, at);
  case LHSA_OBJECT:
    return take_object(L, idx, field, at);
  case LHSA_SWITCH:
    if (lua_type(L, idx) == LUA_TBOOLEAN && !lua_toboolean(L, idx))
      return AS_IT_IS;
    if (lua_type(L, idx) != (field->fields ? LUA_TTABLE : LUA_TNUMBER))
      return fail_type(L, idx, field, field->fields ? "table or false" : "integer or false");
    return field->fields ? take_object(L, idx, field, at) : take_number(L, idx, field);
  case LHSA_INTEGER:
  case LHSA_NUMBER:
    return take_number(L, idx, field);
  case LHSA_ID:
    return take_id(L, idx, field);
  case LHSA_HEADERS:
    return take_headers(L, idx, field);
  case LHSA_BOOLEAN:
    return take_type(L, idx, field, LUA_TBOOLEAN);
  case LHSA_FUNCTION:
    return take_type(L, idx, field, LUA_TFUNCTION);
  case LHSA_TABLE:
    return take_type(L, idx, field, LUA_TTABLE);
  case LHSA_LOOP:
    if (lua_istable(L, idx) || lua_type(L, idx) == LUA_TSTRING)
      return AS_IT_IS;
    return fail_type(L, idx, field, "string or table");
  case LHSA_TOKEN:
  case LHSA_SECRET:
    return lua_isfunction(L, idx) || is_callable(L, idx) ? AS_IT_IS : take_string(L, idx, field);
  default:
    return take_string(L, idx, field);
  }
}

static bool accept_value(lua_State *L, int idx, const lhsa_field *field, checking *at)
{
  int top = lua_gettop(L);
  accept_result accepted;

  luaL_checkstack(L, MAX_SLOTS, NULL);
  accepted = accept(L, idx, field, at);
  if (accepted == AS_IT_IS)
    lua_pushvalue(L, idx);
  if (lua_gettop(L) > top + 1) {
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
  }
  return accepted != WRONG;
}

bool lhsa_accept(lua_State *L, int idx, const lhsa_field *field)
{
  checking at = {.inputs = NULL};

  return accept_value(L, idx, field, &at);
}

bool lhsa_accept_inputs(lua_State *L, int idx, const lhsa_field *field, int kept)
{
  checking at = {.inputs = field, .ids = lua_touserdata(L, kept), .kept = kept};

  return accept_value(L, idx, field, &at);
}

int lhsa_bad_argument(lua_State *L, int level, int arg, const char *call, const char *name)
{
  luaL_where(L, level);
  lua_pushfstring(L, "bad argument #%d to '%s' (%s%s)", arg, call, name, lua_tostring(L, -2));
  lua_concat(L, 2);
  return lua_error(L);
}
