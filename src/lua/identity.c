/* identity.c - what identifies the inputs of a call, kept as numbers: a row for each input, with the columns of its
 * endpoint. A record's id and a type's are what they are, for they fit ("007" is the record "7"); a text has a number
 * of its own. 0 is none. */
#include <math.h>
#include <string.h>

#include "lhsa.h"

enum { MAX_DIGITS = 19 };

lhsa_identities *lhsa_push_identities(lua_State *L, const lhsa_endpoint *endpoint, int n)
{
  lhsa_identities *ids;
  int ncolumns = 0;
  size_t size;

  while (ncolumns < LHSA_MAX_IDENTITY && endpoint->identity[ncolumns].input)
    ncolumns++;
  size = sizeof *ids + (size_t)n * (size_t)ncolumns * sizeof ids->value[0];
  ids = memset(lua_newuserdata(L, size), 0, size);
  ids->columns = endpoint->identity;
  ids->n = n;
  ids->ncolumns = ncolumns;
  while (ids->ntold < ncolumns && endpoint->identity[ids->ntold].context)
    ids->ntold++;
  return ids;
}

/* Pushes the table text -> number; it is made when there is a second text. */
static void push_texts(lua_State *L, int kept, lhsa_identities *ids)
{
  if (!ids->has_texts) {
    lua_newtable(L);
    lhsa_setuservalue(L, kept);
    ids->has_texts = true;
  }
  lhsa_getuservalue(L, kept);
}

/* The number of the text at idx; 0: it has none, or is given one. `kept`: of the identities. */
static uint64_t number_of_text(lua_State *L, int kept, lhsa_identities *ids, int idx, bool is_new)
{
  size_t len;
  const char *text = lua_tolstring(L, idx, &len);
  uint64_t number;

  if (ids->first_len > 0 && len == ids->first_len && memcmp(text, ids->first_text, len) == 0)
    return 1;
  if (text == ids->last_text) /* the table keeps it; Lua has short texts once */
    return ids->last_number;
  if (ids->ntexts == 0 && is_new && len <= sizeof ids->first_text) {
    memcpy(ids->first_text, text, len);
    ids->first_len = len;
    return ids->ntexts = 1;
  }
  if (!ids->has_texts && !is_new)
    return 0;
  push_texts(L, kept, ids);
  lua_pushvalue(L, idx);
  lua_rawget(L, -2);
  number = (uint64_t)lua_tointeger(L, -1);
  lua_pop(L, 1);
  if (number == 0 && is_new) {
    lua_pushvalue(L, idx);
    lua_pushinteger(L, (lua_Integer)(number = ++ids->ntexts));
    lua_rawset(L, -3);
    ids->last_text = text;
    ids->last_number = number;
  }
  lua_pop(L, 1);
  return number;
}

static inline bool read_digits(lua_State *L, int idx, uint64_t *value)
{
  size_t len;
  const char *text = lua_tolstring(L, idx, &len), *end = text + len;
  uint64_t sum = 0;
  unsigned digit;

  if (len == 0 || len > MAX_DIGITS)
    return false;
  for (; text < end; text++) {
    digit = (unsigned)(unsigned char)*text - '0';
    if (digit > 9)
      return false;
    sum = sum * 10 + digit;
  }
  *value = sum;
  return true;
}

static bool read_float(lua_State *L, int idx, uint64_t *value)
{
  double number = lua_type(L, idx) == LUA_TNUMBER ? lua_tonumber(L, idx) : -1;

  *value = number >= 0 && number < 9007199254740992.0 ? (uint64_t)number : 0;
  return number >= 0 && number == floor(number);
}

static inline bool read_value(lua_State *L, int kept, lhsa_identities *ids, int column, int idx, bool is_new,
                              uint64_t *value)
{
  if (ids->columns[column].is_text) {
    *value = lua_type(L, idx) == LUA_TSTRING ? number_of_text(L, kept, ids, idx, is_new) : 0;
    return *value > 0;
  }
  if (lua_isinteger(L, idx)) {
    lua_Integer number = lua_tointeger(L, idx);

    *value = (uint64_t)number;
    return number >= 0;
  }
  return lua_type(L, idx) == LUA_TSTRING ? read_digits(L, idx, value) : read_float(L, idx, value);
}

void lhsa_keep_identity(lua_State *L, int kept, lhsa_identities *ids, int input, int column, int idx)
{
  read_value(L, kept, ids, column, idx, true, &ids->value[input * ids->ncolumns + column]);
}

bool lhsa_read_identity(lua_State *L, int kept, lhsa_identities *ids, int column, int idx, uint64_t *value)
{
  return read_value(L, kept, ids, column, idx, false, value);
}
