/* error.c - error tables: an error is a table that prints as a sentence, a list of them prints too. */
#include <stdio.h>
#include <string.h>

#include "lhsa.h"

enum { MAX_SHOWN = 20 }; /* errors in the text of a list; the list has them all */

#define ERROR_TYPE "hubspot_assoc.error"
#define ERRORS_TYPE "hubspot_assoc.errors"

/* ---- fields ---- */

void lhsa_set_string(lua_State *L, const char *name, const char *value)
{
  if (!value)
    return;
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

void lhsa_set_number(lua_State *L, const char *name, double value)
{
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

void lhsa_set_integer(lua_State *L, const char *name, int64_t value)
{
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

void lhsa_set_boolean(lua_State *L, const char *name, bool value)
{
  lua_pushboolean(L, value);
  lua_setfield(L, -2, name);
}

void lhsa_push_type(lua_State *L, const char *type, const luaL_Reg *methods, lua_CFunction collect)
{
  luaL_newmetatable(L, type);
  if (collect) {
    lua_pushcfunction(L, collect);
    lua_setfield(L, -2, "__gc");
  }
  lua_newtable(L);
  for (; methods->name; methods++) {
    lua_pushcfunction(L, methods->func);
    lua_setfield(L, -2, methods->name);
  }
  lua_setfield(L, -2, "__index");
}

/* The string field `name` of the table at idx, or NULL. Pushes it, so that it stays alive. */
static const char *text_field(lua_State *L, int idx, const char *name)
{
  lua_pushstring(L, name);
  lua_rawget(L, idx);
  return lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
}

static double number_field(lua_State *L, int idx, const char *name, double none)
{
  double number;

  lua_pushstring(L, name);
  lua_rawget(L, idx);
  number = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : none;
  lua_pop(L, 1);
  return number;
}

static bool boolean_field(lua_State *L, int idx, const char *name)
{
  bool value;

  lua_pushstring(L, name);
  lua_rawget(L, idx);
  value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

/* ---- text ---- */

/* The text grows as one string at the top of the stack. */
static void append(lua_State *L, const char *text)
{
  lua_pushstring(L, text);
  lua_concat(L, 2);
}

/* Length of the control character at p (ASCII's, or U+0080 to U+009F), or 0. */
static size_t control_length(const unsigned char *p, size_t left)
{
  if (p[0] < ' ' || p[0] == 0x7f)
    return 1;
  return left > 1 && p[0] == 0xc2 && p[1] < 0xa0 ? 2 : 0;
}

/* Replaces the string at the top by one without control characters, which come from a server and might do things to the
 * terminal or the log that they are shown in: as Lua writes them, "\27[31m", but line breaks and tabs as spaces. */
static void make_printable(lua_State *L)
{
  size_t len, i, n;
  const unsigned char *text = (const unsigned char *)lua_tolstring(L, -1, &len);
  luaL_Buffer out;
  char code[8];

  for (i = 0; i < len && !control_length(text + i, len - i); i++)
    ;
  if (i == len)
    return;
  luaL_buffinit(L, &out);
  for (i = 0; i < len; i += n ? n : 1) {
    n = control_length(text + i, len - i);
    if (n == 0)
      luaL_addchar(&out, (char)text[i]);
    else if (text[i] == '\n' || text[i] == '\r' || text[i] == '\t')
      luaL_addchar(&out, ' ');
    else {
      snprintf(code, sizeof code, "\\%d", text[i + n - 1]);
      luaL_addstring(&out, code);
    }
  }
  luaL_pushresult(&out);
  lua_replace(L, -2);
}

static void append_field(lua_State *L, int idx, const char *before, const char *name, const char *after)
{
  if (!text_field(L, idx, name)) {
    lua_pop(L, 1);
    return;
  }
  make_printable(L);
  lua_pushstring(L, before);
  lua_insert(L, -2);
  lua_pushstring(L, after);
  lua_concat(L, 4);
}

/* Appends the texts in the list at the top that the text does not have yet, which lies below it; pops the list. */
static void append_list(lua_State *L, const char *before)
{
  int list = lua_gettop(L), n = lua_istable(L, list) ? (int)lua_rawlen(L, list) : 0, i;

  for (i = 1; i <= n && i <= MAX_SHOWN; i++) {
    lua_rawgeti(L, list, i);
    if (lua_type(L, -1) == LUA_TSTRING && !strstr(lua_tostring(L, list - 1), lua_tostring(L, -1))) {
      make_printable(L);
      lua_pushvalue(L, list - 1);
      lua_pushstring(L, strstr(lua_tostring(L, -1), before) ? ", " : before);
      lua_pushvalue(L, -3);
      lua_concat(L, 3);
      lua_replace(L, list - 1);
    }
    lua_settop(L, list);
  }
  lua_settop(L, list - 1);
}

/* Appends the scopes that the context of the error, or of one listed in it, says are missing. The error or that one is
 * at idx. */
static void append_context_scopes(lua_State *L, int idx)
{
  static const char *const names[] = {"missingScopes", "requiredGranularScopes", NULL};
  int text = lua_gettop(L), i;

  lua_pushliteral(L, "context");
  lua_rawget(L, idx);
  for (i = 0; names[i] && lua_istable(L, -1); i++) {
    lua_pushvalue(L, text);
    lua_pushstring(L, names[i]);
    lua_rawget(L, text + 1);
    append_list(L, "; it needs the scopes ");
    lua_replace(L, text);
  }
  lua_settop(L, text);
}

/* "; it needs the scopes a, b" */
static void append_scopes(lua_State *L, int idx)
{
  int text = lua_gettop(L), n, i;

  append_context_scopes(L, idx);
  lua_pushliteral(L, "errors");
  lua_rawget(L, idx);
  n = lua_istable(L, -1) ? (int)lua_rawlen(L, -1) : 0;
  for (i = 1; i <= n && i <= MAX_SHOWN; i++) {
    lua_pushvalue(L, text);
    lua_rawgeti(L, text + 1, i);
    if (lua_istable(L, -1)) {
      lua_insert(L, -2);
      append_context_scopes(L, text + 2);
      lua_replace(L, text);
    }
    lua_settop(L, text + 1);
  }
  lua_settop(L, text);
}

/* "batch_update contacts -> companies, inputs 1 to 2000: "; nothing where no call is known. */
static void append_place(lua_State *L, int idx)
{
  double first = number_field(L, idx, "first", 0);
  bool has_call = text_field(L, idx, "call") != NULL;

  lua_pop(L, 1);
  if (!has_call)
    return;
  append_field(L, idx, "", "call", "");
  append_field(L, idx, " ", "from", "");
  append_field(L, idx, " -> ", "to", "");
  if (first > 0) {
    lua_pushfstring(L, ", inputs %d to %d", (int)first, (int)number_field(L, idx, "last", first));
    lua_concat(L, 2);
  }
  append(L, ": ");
}

/* "VALIDATION_ERROR: text", "transport (connect): text" */
static void append_message(lua_State *L, int idx)
{
  bool has_category = text_field(L, idx, "category") != NULL;

  lua_pop(L, 1);
  if (has_category)
    append_field(L, idx, "", "category", ": ");
  else {
    append_field(L, idx, "", "kind", "");
    append_field(L, idx, " (", "code", ")");
    append(L, ": ");
  }
  append_field(L, idx, "", "message", "");
  append_scopes(L, idx);
}

/* Appends one of the facts in parentheses, which is at the top; pops it. The first one opens them. */
static void append_fact(lua_State *L, bool *has_facts, const char *separator)
{
  lua_pushstring(L, *has_facts ? separator : " (");
  lua_insert(L, -2);
  lua_concat(L, 3);
  *has_facts = true;
}

/* What to know before one calls again. */
static void append_advice(lua_State *L, int idx, double retry_after, bool *has_facts)
{
  char text[64];
  const char *policy;

  if (boolean_field(L, idx, "ambiguous")) {
    lua_pushliteral(L, "it may have been applied");
    append_fact(L, has_facts, "; ");
  }
  if (boolean_field(L, idx, "out_of_budget")) {
    lua_pushliteral(L, "not tried again: the client's retry_budget is used up");
    append_fact(L, has_facts, "; ");
  }
  if (retry_after >= 0) {
    snprintf(text, sizeof text, "come back in %.0f s", retry_after);
    lua_pushstring(L, text);
    append_fact(L, has_facts, "; ");
  }
  policy = text_field(L, idx, "policyName");
  if (policy && strcmp(policy, "DAILY") == 0) {
    lua_pop(L, 1);
    lua_pushliteral(L, "the daily limit is reset at midnight in the account's time zone");
    append_fact(L, has_facts, "; ");
  } else
    lua_pop(L, 1);
}

/* " (HTTP 400, correlationId x, 2 attempts; it may have been applied)", of that what is known */
static void append_facts(lua_State *L, int idx)
{
  int http_status = (int)number_field(L, idx, "http_status", 0);
  int attempts = (int)number_field(L, idx, "attempts", -1);
  double retry_after = number_field(L, idx, "retry_after", -1);
  char text[64];
  bool has_facts = false;

  snprintf(text, sizeof text, "HTTP %d", http_status);
  if (http_status && !strstr(lua_tostring(L, -1), text)) {
    lua_pushstring(L, text);
    append_fact(L, &has_facts, ", ");
  }
  if (text_field(L, idx, "correlationId")) {
    make_printable(L);
    lua_pushfstring(L, "correlationId %s", lua_tostring(L, -1));
    lua_remove(L, -2);
    append_fact(L, &has_facts, ", ");
  } else
    lua_pop(L, 1);
  if (attempts >= 0) {
    lua_pushfstring(L, attempts == 1 ? "%d attempt" : "%d attempts", attempts);
    append_fact(L, &has_facts, ", ");
  }
  append_advice(L, idx, retry_after, &has_facts);
  if (has_facts)
    append(L, ")");
}

static void push_error_text(lua_State *L, int idx)
{
  luaL_checkstack(L, 12, NULL);
  lua_pushliteral(L, "");
  append_place(L, idx);
  append_message(L, idx);
  append_facts(L, idx);
}

static void push_errors_text(lua_State *L, int idx)
{
  int n = (int)lua_rawlen(L, idx), i;

  if (n == 0)
    lua_pushliteral(L, "no errors");
  else if (n == 1)
    lua_pushliteral(L, "");
  else
    lua_pushfstring(L, "%d errors:", n);
  for (i = 1; i <= n && i <= MAX_SHOWN; i++) {
    if (n > 1)
      append(L, "\n- ");
    lua_rawgeti(L, idx, i);
    if (lua_istable(L, -1))
      push_error_text(L, lua_gettop(L));
    else
      lua_pushliteral(L, "?");
    lua_remove(L, -2);
    lua_concat(L, 2);
  }
  if (n > MAX_SHOWN) {
    lua_pushfstring(L, "\n- and %d more", n - MAX_SHOWN);
    lua_concat(L, 2);
  }
}

static bool has_metatable(lua_State *L, int idx, const char *type)
{
  bool same;

  if (!lua_istable(L, idx) || !lua_getmetatable(L, idx))
    return false;
  luaL_getmetatable(L, type);
  same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

/* Pushes the text of an operand of `..`. */
static void push_operand(lua_State *L, int idx)
{
  if (has_metatable(L, idx, ERROR_TYPE))
    push_error_text(L, idx);
  else if (has_metatable(L, idx, ERRORS_TYPE))
    push_errors_text(L, idx);
  else if (lua_isstring(L, idx)) {
    lua_pushvalue(L, idx);
    (void)lua_tostring(L, -1);
  } else
    luaL_error(L, "attempt to concatenate a %s value", luaL_typename(L, idx));
}

/* __tostring and __concat of both types. */
static int to_string(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  push_operand(L, 1);
  return 1;
}

static int concat(lua_State *L)
{
  lua_settop(L, 2);
  push_operand(L, 1);
  push_operand(L, 2);
  lua_concat(L, 2);
  return 1;
}

static void set_metatable(lua_State *L, const char *type)
{
  if (luaL_newmetatable(L, type)) {
    lua_pushcfunction(L, to_string);
    lua_setfield(L, -2, "__tostring");
    lua_pushcfunction(L, concat);
    lua_setfield(L, -2, "__concat");
    lua_pushstring(L, type);
    lua_setfield(L, -2, "__name");
  }
  lua_setmetatable(L, -2);
}

void lhsa_make_error(lua_State *L)
{
  set_metatable(L, ERROR_TYPE);
}

void lhsa_push_errors(lua_State *L)
{
  lua_newtable(L);
  set_metatable(L, ERRORS_TYPE);
}

/* ---- lists made by hand ---- */

enum { KINDS = HSA_PENDING };

/* Puts ".kind: unknown kind 'x'" at the top unless the string at idx is a kind; is it one? */
static bool check_kind(lua_State *L, int idx)
{
  lhsa_field kinds[KINDS + 1] = {{.name = NULL}};
  const char *kind = lua_tostring(L, idx), *known;
  int i;

  for (i = 0; i < KINDS; i++) {
    kinds[i].name = hsa_kind_name((hsa_kind)(i + 1));
    if (strcmp(kinds[i].name, kind) == 0)
      return true;
  }
  known = lhsa_nearest(kinds, kind);
  if (known)
    lua_pushfstring(L, ".kind: unknown kind '%s'; did you mean '%s'?", kind, known);
  else
    lua_pushfstring(L, ".kind: unknown kind '%s'; it is one of api, throttled, timeout, transport, protocol, "
                       "canceled, config, pending", kind);
  return false;
}

/* Is the field of the table at the top a string, as it has to be? Else what is wrong is at the top. */
static bool check_string_field(lua_State *L, const char *name)
{
  int table = lua_gettop(L);

  if (text_field(L, table, name))
    return strcmp(name, "kind") != 0 || check_kind(L, table + 1);
  lua_pushfstring(L, ".%s: string expected, got %s", name, luaL_typename(L, -1));
  return false;
}

/* Replaces the element at the top by an error of its own, or by what is wrong with it. */
static bool make_element(lua_State *L)
{
  int element = lua_gettop(L);

  if (has_metatable(L, element, ERROR_TYPE))
    return true;
  if (lua_type(L, element) == LUA_TSTRING) {
    lua_createtable(L, 0, 2);
    lua_insert(L, element);
    lua_setfield(L, element, "message");
    lhsa_set_string(L, "kind", hsa_kind_name(HSA_CONFIG));
  } else if (lua_istable(L, element))
    lhsa_copy_table(L);
  else {
    lua_pushfstring(L, ": table or string expected, got %s", luaL_typename(L, element));
    return false;
  }
  if (!check_string_field(L, "kind"))
    return false;
  lua_settop(L, element);
  if (!check_string_field(L, "message"))
    return false;
  lua_settop(L, element);
  lhsa_make_error(L);
  return true;
}

/* Raises what is wrong with the list, the text at the top, or with its element i. */
static int refuse_errors(lua_State *L, int level, int i)
{
  if (i > 0)
    lua_pushfstring(L, "[%d]%s", i, lua_tostring(L, -1));
  return lhsa_bad_argument(L, level, 1, "errors", "errors");
}

int lhsa_errors(lua_State *L)
{
  int level = (int)luaL_optinteger(L, 2, 1), n, i;

  lua_settop(L, 1);
  if (!lua_istable(L, 1)) {
    lua_pushfstring(L, ": list expected, got %s", luaL_typename(L, 1));
    return refuse_errors(L, level, 0);
  }
  n = (int)lua_rawlen(L, 1);
  if (n == 0) {
    lua_pushliteral(L, ": list of at least one error expected: { { kind = , message = }, ... }");
    return refuse_errors(L, level, 0);
  }
  lhsa_push_errors(L);
  for (i = 1; i <= n; i++) {
    lua_rawgeti(L, 1, i);
    if (!make_element(L))
      return refuse_errors(L, level, i);
    lua_rawseti(L, 2, i);
  }
  return 1;
}
