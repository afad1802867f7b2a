/* codec.h - the inside of JSON: decode.c and codec.c, which lean on text.c. */
#ifndef LHSA_CODEC_H
#define LHSA_CODEC_H

#include <string.h>

#include "lhsa.h"

#define LHSA_MARK '\xff' /* a number made a string begins with it, a byte that UTF-8 never has */

/* Pushes the decode of our cjson instance. */
void lhsa_push_decode(lua_State *L);

/* A text that is being written. */
typedef struct lhsa_text {
  lua_State *L;
  int slot; /* on the stack, for what holds the memory */
  char *begin, *end, *limit;
  char **memory; /* NULL: the text is in `small` still */
  char small[1024];
} lhsa_text;

/* Keeps the metatable of what holds memory of C, so that none is lost where Lua raises. */
void lhsa_text_open(lua_State *L);

/* Begins a text; pushes its slot. */
void lhsa_text_begin(lhsa_text *text, lua_State *L);

/* Moves the text to where there is room for n bytes more, and for as many as will be likely; false: no memory. */
bool lhsa_text_grow(lhsa_text *text, size_t n, size_t likely);

static inline bool lhsa_text_has_room(const lhsa_text *text, size_t n)
{
  return (size_t)(text->limit - text->end) >= n;
}

/* Adds so many bytes, for which there is room. */
static inline void lhsa_text_put(lhsa_text *text, const char *bytes, size_t len)
{
  memcpy(text->end, bytes, len);
  text->end += len;
}

/* Pushes the text, which is at its end. */
void lhsa_text_push(lhsa_text *text);

/* Length of the character at p, or 0 if it is not well-formed (RFC 3629). */
size_t lhsa_utf8_length(const unsigned char *p, size_t left);

#endif
