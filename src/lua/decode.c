/* decode.c - JSON to Lua values, by lua-cjson.
 *
 * lua-cjson reads numbers as doubles, in the host's locale, and null as a light userdata; it takes more than JSON
 * allows, and an empty list for an empty object. So an answer is looked through first, and cjson gets a copy in
 * which every number is a string, behind a byte that UTF-8 never has (a record id: without). They are put right
 * afterwards. */
#include <locale.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"

enum { MAX_EXACT_DIGITS = 15, MAX_SURE_DIGITS = 18 }; /* of an integer that a double, an int64_t can hold in any case */
enum { MAX_WRITTEN_DIGITS = 64 };
enum { MAX_LEARNED = 8, SETTLE_SLOTS = MAX_LEARNED + 8 }; /* keys; on the stack, for each table in another */
enum { MAX_EXPONENT = 100000 }; /* of any use */

#define NO_MEMORY "there is not enough memory for it"

/* ---- looking a text through before cjson reads it ---- */

typedef struct scan {
  const char *begin, *end;
  const char *copied;  /* up to here */
  const char *problem; /* what is not JSON, or NULL */
  int depth, max_depth;
  size_t nodd; /* numbers and nulls that are to be put right */
  lhsa_json *shape;
  lhsa_text out; /* the copy */
} scan;

static bool is_digit(char c)
{
  return c >= '0' && c <= '9';
}

static const char *skip_space(const char *p)
{
  while (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')
    p++;
  return p;
}

static const char *skip_digits(const char *p)
{
  while (is_digit(*p))
    p++;
  return p;
}

/* Skips characters of a string that are ASCII, and neither control characters, quotes nor backslashes, by eights. */
static const unsigned char *skip_plain(const unsigned char *p, const unsigned char *end)
{
  const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
  uint64_t eight;

  while (end - p >= 8) {
    memcpy(&eight, p, sizeof eight);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    eight = __builtin_bswap64(eight);
#endif
    /* The lowest byte in which the high bit is set is right; those above may have it by a borrow. */
    eight = (((eight ^ (ones * '"')) - ones) | ((eight ^ (ones * '\\')) - ones) | (eight - ones * ' ') | eight) & high;
    if (eight)
      return p + (__builtin_ctzll(eight) >> 3);
    p += 8;
  }
  while (p < end && *p >= ' ' && *p < 0x80 && *p != '"' && *p != '\\')
    p++;
  return p;
}

/* Notes what is not JSON; NULL. */
static const char *fail(scan *s, const char *problem)
{
  s->problem = problem;
  return NULL;
}

/* Returns the end of the string that begins with the quote at p, or NULL. cjson checks the escapes. */
static const char *scan_string(scan *s, const char *start)
{
  const unsigned char *p = (const unsigned char *)start + 1, *end = (const unsigned char *)s->end;
  size_t n;

  while ((p = skip_plain(p, end)) < end && *p != '"') {
    n = *p == '\\' ? 2 : *p < ' ' ? 0 : lhsa_utf8_length(p, (size_t)(end - p));
    if (n == 0)
      return fail(s, *p < ' ' ? "it is not JSON (a control character in a string)" : "it is not valid UTF-8");
    if ((size_t)(end - p) < n)
      break;
    p += n;
  }
  if (p >= end || *p != '"')
    return fail(s, "it is not JSON (a string does not end)");
  return (const char *)p + 1;
}

/* ---- the copy ---- */

/* Copies what has been passed since the last copy, up to `to`, with room for n bytes more behind it. */
static bool copy_until(scan *s, const char *to, size_t n)
{
  size_t len = (size_t)(to - s->copied), left = (size_t)(s->end - s->copied);

  /* As a rule that is enough at once. */
  if (!lhsa_text_has_room(&s->out, len + n) && !lhsa_text_grow(&s->out, len + n, left + left / 4)) {
    s->shape->is_out_of_memory = true;
    s->problem = NO_MEMORY;
    return false;
  }
  lhsa_text_put(&s->out, s->copied, len);
  s->copied = to;
  return true;
}

/* Does the key that ends in the quote at `quote` have this name? */
static bool ends_key(const scan *s, const char *quote, const char *name, ptrdiff_t len)
{
  return quote - s->begin > len + 1 && memcmp(quote - len, name, (size_t)len) == 0 && quote[-len - 1] == '"' &&
         quote[-len - 2] != '\\';
}

static const char *skip_space_back(const scan *s, const char *p)
{
  while (p > s->begin && (p[-1] == ' ' || p[-1] == '\t' || p[-1] == '\r' || p[-1] == '\n'))
    p--;
  return p;
}

/* Is the number at `start` a record id, or the place in a list from which to go on? */
static bool is_id(const scan *s, const char *start)
{
  const char *p = skip_space_back(s, start);

  if (p == s->begin || p[-1] != ':')
    return false;
  p = skip_space_back(s, p - 1);
  if (p - s->begin < 2)
    return false;
  p--; /* the key's closing quote */
  if (p[-1] == 'd')
    return ends_key(s, p, "id", 2) || ends_key(s, p, "toObjectId", 10) || ends_key(s, p, "fromObjectId", 12) ||
           ends_key(s, p, "objectId", 8);
  return p[-1] == 'r' && ends_key(s, p, "after", 5);
}

/* Writes the integer that the literal stands for, "-12300" for "-1.23e4", with its NUL; false if it is none, or one of
 * more than MAX_WRITTEN_DIGITS. */
static bool write_integer(const char *literal, char out[MAX_WRITTEN_DIGITS + 2])
{
  bool is_negative = *literal == '-', is_behind_point = false;
  const char *p = literal + is_negative;
  char *digits = out + is_negative;
  long n = 0, scale = 0, exponent = 0; /* the value is the digits times 10^scale */

  for (; is_digit(*p) || *p == '.'; p++) {
    if (*p == '.') {
      is_behind_point = true;
      continue;
    }
    scale -= is_behind_point;
    if (n == 0 && *p == '0')
      continue;
    if (n == MAX_WRITTEN_DIGITS)
      return false;
    digits[n++] = *p;
  }
  if (*p == 'e' || *p == 'E')
    exponent = strtol(p + 1, NULL, 10);
  scale += exponent > MAX_EXPONENT ? MAX_EXPONENT : exponent < -MAX_EXPONENT ? -MAX_EXPONENT : exponent;
  for (; n > 0 && scale < 0 && digits[n - 1] == '0'; n--)
    scale++;
  if (n == 0) {
    memcpy(out, "0", 2);
    return true;
  }
  if (scale < 0 || n + scale > MAX_WRITTEN_DIGITS)
    return false;
  memset(digits + n, '0', (size_t)scale);
  digits[n + scale] = '\0';
  if (is_negative)
    out[0] = '-';
  return true;
}

/* Copies the number from `start` to `end` as a string: a record id's digits (what is no integer, as it is); any other
 * behind the mark. Returns its end, or NULL. */
static const char *copy_number(scan *s, const char *start, const char *end, bool is_plain)
{
  size_t len = (size_t)(end - start);
  char digits[MAX_WRITTEN_DIGITS + 2];

  if (*skip_space(end) == ':')
    return fail(s, "it is not JSON (a number in the place of a key)"); /* as a string it might be */
  if (!copy_until(s, start, len + sizeof digits))
    return NULL;
  s->copied = end;
  *s->out.end++ = '"';
  if (!is_id(s, start)) {
    s->nodd++;
    *s->out.end++ = LHSA_MARK;
    lhsa_text_put(&s->out, start, len);
  } else if ((is_plain && *start != '-') || !write_integer(start, digits))
    lhsa_text_put(&s->out, start, len);
  else
    lhsa_text_put(&s->out, digits, strlen(digits));
  *s->out.end++ = '"';
  return end;
}

static const char *scan_number(scan *s, const char *start)
{
  const char *digits = start + (*start == '-'), *p = skip_digits(digits), *part;
  bool is_sound = p > digits && (*digits != '0' || p == digits + 1);
  bool is_plain = *p != '.' && *p != 'e' && *p != 'E';

  if (*p == '.') {
    part = ++p;
    p = skip_digits(p);
    is_sound = is_sound && p > part;
  }
  if (*p == 'e' || *p == 'E') {
    part = p += 1 + (p[1] == '+' || p[1] == '-');
    p = skip_digits(p);
    is_sound = is_sound && p > part;
  }
  if (!is_sound)
    return fail(s, "it is not JSON (a number that is none)");
  return copy_number(s, start, p, is_plain);
}

/* Is the string from `start` to `end` the outermost object's key `results`, and has it a list? */
static void note_results(scan *s, const char *start, const char *end)
{
  static const char key[] = "\"results\"";
  const char *p = skip_space(end);

  if (end - start == sizeof key - 1 && memcmp(start, key, sizeof key - 1) == 0 && *p == ':')
    s->shape->has_list = *skip_space(p + 1) == '[';
}

/* Returns the end of the string that begins at `start`, and of what mostly follows. NULL: s->problem. */
static inline const char *scan_text(scan *s, const char *start)
{
  const char *end = scan_string(s, start);

  if (!end)
    return NULL;
  if (s->depth == 1)
    note_results(s, start, end);
  return *end == ':' || *end == ',' ? end + 1 : end;
}

/* The same for what is no string: a number, or a single character. */
static const char *scan_other(scan *s, const char *start)
{
  switch (*start) {
  case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
    return scan_number(s, start);
  case '{': case '[':
    if (++s->depth > s->max_depth)
      s->max_depth = s->depth;
    break;
  case '}': case ']':
    s->depth--;
    break;
  case 'n':
    s->nodd++;
    break;
  case '\0':
    return fail(s, "it is not JSON (it contains a NUL)"); /* cjson would stop reading there */
  default:
    if ((unsigned char)*start >= 0x80)
      return fail(s, lhsa_utf8_length((const unsigned char *)start, (size_t)(s->end - start))
                       ? "it is not JSON (outside of its strings is a character that is not ASCII: a byte order mark?)"
                       : "it is not valid UTF-8");
  }
  return start + 1;
}

/* Looks through the whole text, which ends with a NUL, and pushes the copy for cjson; or what is not JSON: false. */
static bool push_copy(lua_State *L, scan *s)
{
  const char *p = s->begin;

  s->shape->is_object = *skip_space(p) == '{';
  while (p && p < s->end)
    p = *p == '"' ? scan_text(s, p) : scan_other(s, p);
  if (s->copied > s->begin && !s->problem)
    copy_until(s, s->end, 0);
  if (s->problem)
    lua_pushstring(L, s->problem);
  else if (s->copied == s->begin)
    lua_pushlstring(L, s->begin, (size_t)(s->end - s->begin));
  else
    lhsa_text_push(&s->out);
  return !s->problem;
}

/* ---- after decoding: numbers and nulls ---- */

/* Pushes the literal as a double, whatever the host's locale. */
static void push_double(lua_State *L, const char *literal)
{
  double number = strtod(luaL_gsub(L, literal, ".", localeconv()->decimal_point), NULL);

  lua_pop(L, 1);
  lua_pushnumber(L, number);
}

/* Pushes the integer with these digits, where Lua can hold it; false also if it has a fraction or an exponent. */
static bool push_integer(lua_State *L, const char *digits, size_t len)
{
  const char *p = digits + (*digits == '-');
  int64_t number = 0;
  char text[32];

  if (len <= (LHSA_HAS_INTEGERS ? MAX_SURE_DIGITS : MAX_EXACT_DIGITS)) {
    for (; is_digit(*p); p++)
      number = number * 10 + (*p - '0');
    if (*p)
      return false;
    number = *digits == '-' ? -number : number;
  } else if (LHSA_HAS_INTEGERS) {
    number = strtoll(digits, NULL, 10);
    snprintf(text, sizeof text, "%lld", (long long)number);
    if (strcmp(text, digits) != 0)
      return false;
  } else
    return false;
#if LHSA_HAS_INTEGERS
  lua_pushinteger(L, number);
#else
  lua_pushnumber(L, (double)number);
#endif
  return true;
}

/* Pushes what a number that was made a string stands for: an integer where Lua can hold it, else one without fraction
 * and exponent as its digits, any other as a double. */
static void push_number(lua_State *L, const char *literal, size_t len)
{
  char digits[MAX_WRITTEN_DIGITS + 2];

  if (push_integer(L, literal, len))
    return;
  if (!strpbrk(literal, ".eE"))
    lua_pushlstring(L, literal, len);
  else if (!write_integer(literal, digits) || !push_integer(L, digits, strlen(digits)))
    push_double(L, literal);
}

typedef struct settling {
  size_t nleft; /* so many are still to be put right */
  bool is_hasty; /* elements of a list are taken to be alike */
} settling;

static void settle(lua_State *L, int idx, settling *s);

/* Is the value at idx to be put right, or has it perhaps something inside that is? */
static bool is_odd(lua_State *L, int idx)
{
  int type = lua_type(L, idx);

  return type == LUA_TTABLE || type == LUA_TLIGHTUSERDATA ||
         (type == LUA_TSTRING && lua_tostring(L, idx)[0] == LHSA_MARK);
}

/* Puts the value at the top right, which the table at idx has by the key at `key`; leaves something in its place. */
static void put_right(lua_State *L, int idx, int key, settling *s)
{
  const char *text;
  size_t len;

  switch (lua_type(L, -1)) {
  case LUA_TTABLE:
    settle(L, lua_gettop(L), s);
    break;
  case LUA_TSTRING:
    text = lua_tolstring(L, -1, &len);
    if (text[0] != LHSA_MARK)
      break;
    lua_pushvalue(L, key);
    push_number(L, text + 1, len - 1);
    lua_rawset(L, idx); /* an existing field: a traversal goes on */
    s->nleft--;
    break;
  case LUA_TLIGHTUSERDATA: /* null: absent in an object; a list keeps its place */
    if (lua_type(L, key) != LUA_TSTRING)
      break;
    lua_pushvalue(L, key);
    lua_pushnil(L);
    lua_rawset(L, idx);
    s->nleft--;
    break;
  default:
    break;
  }
}

/* Pushes the keys of the object at idx whose values are odd; returns how many, or 0 if they are too many. */
static int push_odd_keys(lua_State *L, int idx)
{
  int first = lua_gettop(L) + 1, n = 0;

  lua_pushnil(L);
  while (n <= MAX_LEARNED && lua_next(L, idx)) {
    if (is_odd(L, first + n + 1)) { /* the key stays, below itself */
      lua_pushvalue(L, first + n);
      lua_replace(L, first + n + 1);
      n++;
    } else
      lua_pop(L, 1);
  }
  n = n <= MAX_LEARNED ? n : 0;
  lua_settop(L, first + n - 1);
  return n;
}

/* Goes through the list at idx, of objects, as if all had what is odd by the same keys as the first one. False: that
 * has none. */
static bool settle_alike(lua_State *L, int idx, settling *s)
{
  int n = (int)lua_rawlen(L, idx), keys = lua_gettop(L) + 1, nkeys = 0, i, k;

  if (n < 2)
    return false;
  lua_rawgeti(L, idx, 1);
  if (lua_istable(L, keys) && lua_rawlen(L, keys) == 0)
    nkeys = push_odd_keys(L, keys);
  lua_remove(L, keys);
  for (i = 1; nkeys > 0 && i <= n; i++) {
    int element = keys + nkeys;

    lua_rawgeti(L, idx, i);
    if (lua_istable(L, element))
      for (k = keys; k < element; k++) {
        lua_pushvalue(L, k);
        lua_rawget(L, element);
        put_right(L, element, k, s);
      }
    lua_settop(L, element - 1);
  }
  lua_settop(L, keys - 1);
  return nkeys > 0;
}

/* Goes through the table at idx. Takes SETTLE_SLOTS on the stack, and as many for each table in it. */
static void settle(lua_State *L, int idx, settling *s)
{
  int key = lua_gettop(L) + 1;

  if (s->is_hasty && settle_alike(L, idx, s))
    return;
  lua_pushnil(L);
  while (s->nleft > 0 && lua_next(L, idx)) {
    put_right(L, idx, key, s);
    lua_settop(L, key);
  }
  lua_settop(L, key - 1);
}

/* Puts right so many numbers and nulls in the table at the top: results are alike, as a rule, and where they are not it
 * is gone through once more. */
static void settle_all(lua_State *L, size_t nodd)
{
  settling s = {.nleft = nodd, .is_hasty = true};

  settle(L, lua_gettop(L), &s);
  s.is_hasty = false;
  settle(L, lua_gettop(L), &s);
}

/* ---- decoding ---- */

/* lua-cjson ends the process where it finds no memory. So much can be had. */
static bool has_memory(size_t len)
{
  void *volatile probe = malloc(len);

  free(probe);
  return probe != NULL;
}

/* Is it what cjson says of a text? All else was raised into it: by the hook with which Lua answers Ctrl-C, say. */
static bool is_of_cjson(const char *message)
{
  return message && (strncmp(message, "Expected ", 9) == 0 || strncmp(message, "Found too many ", 15) == 0 ||
                     strncmp(message, "JSON parser ", 12) == 0);
}

/* Has cjson decode the text at the top, which takes its place; false: why it cannot, likewise. */
static bool decode(lua_State *L, lhsa_json *shape)
{
  int status = LUA_ERRMEM;

  if (has_memory(2 * lua_rawlen(L, -1))) {
    lhsa_push_decode(L);
    lua_insert(L, -2);
    status = lua_pcall(L, 1, 1, 0);
  }
  if (status == 0)
    return true;
  shape->is_out_of_memory = status == LUA_ERRMEM;
  if (shape->is_out_of_memory)
    lua_pushliteral(L, NO_MEMORY);
  else if (!is_of_cjson(lua_tostring(L, -1)))
    lua_error(L);
  else
    lua_pushfstring(L, "it is not JSON (%s)", lua_tostring(L, -1));
  lua_replace(L, -2);
  return false;
}

bool lhsa_decode(lua_State *L, const char *json, size_t len, lhsa_json *shape)
{
  scan s;
  bool ok;

  *shape = (lhsa_json){false, false, false};
  memset(&s, 0, offsetof(scan, out));
  s.begin = s.copied = json;
  s.end = json + len;
  s.shape = shape;
  lhsa_text_begin(&s.out, L);
  ok = push_copy(L, &s) && decode(L, shape);
  lua_replace(L, s.out.slot);
  if (ok && lua_istable(L, -1) && s.nodd > 0) {
    luaL_checkstack(L, SETTLE_SLOTS * s.max_depth, NULL); /* cjson has seen that it is not too deep */
    settle_all(L, s.nodd);
  }
  return ok;
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
