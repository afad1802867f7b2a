/* json.h - a strict reader of JSON (RFC 8259), for nothing but its verdict: an oracle, written apart from the library. */
#ifndef JSON_H
#define JSON_H

#include "fuzz.h"

enum { JSON_DEPTH = 90 }; /* the library ends at 100 */

typedef struct json {
  const unsigned char *at, *end;
  int depth;
  bool is_open; /* deeper than JSON_DEPTH, or half a surrogate pair: readers may take it or not */
} json;

static inline int json_peek(const json *j)
{
  return j->at < j->end ? *j->at : -1;
}

static inline void json_space(json *j)
{
  while (j->at < j->end && (*j->at == ' ' || *j->at == '\t' || *j->at == '\n' || *j->at == '\r'))
    j->at++;
}

static inline bool json_word(json *j, const char *word)
{
  size_t len = strlen(word);

  if ((size_t)(j->end - j->at) < len || memcmp(j->at, word, len) != 0)
    return false;
  j->at += len;
  return true;
}

static inline bool json_digits(json *j)
{
  const unsigned char *start = j->at;

  while (json_peek(j) >= '0' && json_peek(j) <= '9')
    j->at++;
  return j->at > start;
}

static inline bool json_number(json *j)
{
  if (json_peek(j) == '-')
    j->at++;
  if (json_peek(j) == '0')
    j->at++;
  else if (!json_digits(j))
    return false;
  if (json_peek(j) == '.') {
    j->at++;
    if (!json_digits(j))
      return false;
  }
  if (json_peek(j) == 'e' || json_peek(j) == 'E') {
    j->at++;
    if (json_peek(j) == '+' || json_peek(j) == '-')
      j->at++;
    return json_digits(j);
  }
  return true;
}

/* Four hexadecimal digits; -1: there are none. */
static inline int json_unit(json *j)
{
  int i, unit = 0;

  for (i = 0; i < 4; i++, j->at++) {
    int c = json_peek(j);
    int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;

    if (digit < 0)
      return -1;
    unit = unit << 4 | digit;
  }
  return unit;
}

static inline bool json_escape(json *j)
{
  int c = json_peek(j);
  int unit;

  j->at++;
  if (c > 0 && strchr("\"\\/bfnrt", c))
    return true;
  unit = c == 'u' ? json_unit(j) : -1;
  j->is_open = j->is_open || (unit >= 0xd800 && unit <= 0xdfff);
  return unit >= 0;
}

/* One character of UTF-8, without overlong forms and surrogates. */
static inline bool json_utf8(json *j)
{
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  unsigned c = *j->at++;
  int more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : -1, i;
  uint32_t code = more == 0 ? c : more == 1 ? c & 31 : more == 2 ? c & 15 : c & 7;

  if (more < 0)
    return false;
  for (i = 0; i < more; i++, j->at++) {
    if (j->at >= j->end || (*j->at & 0xc0) != 0x80)
      return false;
    code = code << 6 | (*j->at & 63);
  }
  return code >= least[more] && code < 0x110000 && (code < 0xd800 || code > 0xdfff);
}

static inline bool json_string(json *j)
{
  for (j->at++; j->at < j->end;) {
    if (*j->at == '"') {
      j->at++;
      return true;
    }
    if (*j->at < ' ')
      return false;
    if (*j->at == '\\') {
      j->at++;
      if (!json_escape(j))
        return false;
    } else if (!json_utf8(j))
      return false;
  }
  return false;
}

static bool json_value(json *j);

static inline bool json_list(json *j, char end, bool is_object)
{
  j->at++;
  json_space(j);
  if (json_peek(j) == end) {
    j->at++;
    return true;
  }
  for (;;) {
    json_space(j);
    if (is_object) {
      if (json_peek(j) != '"' || !json_string(j))
        return false;
      json_space(j);
      if (json_peek(j) != ':')
        return false;
      j->at++;
    }
    if (!json_value(j))
      return false;
    json_space(j);
    if (json_peek(j) == end) {
      j->at++;
      return true;
    }
    if (json_peek(j) != ',')
      return false;
    j->at++;
  }
}

/* NOLINTNEXTLINE(misc-no-recursion): to a depth of JSON_DEPTH */
static bool json_value(json *j)
{
  bool ok;

  json_space(j);
  if (++j->depth > JSON_DEPTH) {
    j->is_open = true;
    return false;
  }
  switch (json_peek(j)) {
  case '{': ok = json_list(j, '}', true); break;
  case '[': ok = json_list(j, ']', false); break;
  case '"': ok = json_string(j); break;
  case 't': ok = json_word(j, "true"); break;
  case 'f': ok = json_word(j, "false"); break;
  case 'n': ok = json_word(j, "null"); break;
  default: ok = json_number(j);
  }
  j->depth--;
  return ok;
}

typedef enum json_verdict { JSON_BAD, JSON_OBJECT, JSON_OTHER, JSON_OPEN } json_verdict;

static inline json_verdict json_judge(const void *text, size_t len)
{
  json j = {.at = text, .end = (const unsigned char *)text + len};
  json_verdict verdict;

  json_space(&j);
  verdict = json_peek(&j) == '{' ? JSON_OBJECT : JSON_OTHER;
  if (json_value(&j)) {
    json_space(&j);
    if (j.at == j.end)
      return j.is_open ? JSON_OPEN : verdict;
  }
  return j.depth > JSON_DEPTH ? JSON_OPEN : JSON_BAD;
}

#endif
