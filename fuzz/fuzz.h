/* fuzz.h - what the fuzz targets share: input as numbers and strings, and claims that must hold. Each target is a file
 * with LLVMFuzzerTestOneInput, run by `make fuzz` (libFuzzer, with the address and undefined behaviour sanitizers). */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(claim) ((claim) ? (void)0 : fuzz_failed(#claim, __FILE__, __LINE__))

_Noreturn static inline void fuzz_failed(const char *claim, const char *file, int line)
{
  fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, claim);
  abort();
}

typedef struct fuzz_input {
  const uint8_t *at, *end;
} fuzz_input;

static inline fuzz_input fuzz_begin(const uint8_t *data, size_t len)
{
  return (fuzz_input){data, data + len};
}

static inline bool fuzz_more(const fuzz_input *in)
{
  return in->at < in->end;
}

static inline unsigned fuzz_byte(fuzz_input *in)
{
  return in->at < in->end ? *in->at++ : 0;
}

/* 0 <= n < most */
static inline unsigned fuzz_below(fuzz_input *in, unsigned most)
{
  unsigned n = fuzz_byte(in);

  if (most > 256)
    n = n << 8 | fuzz_byte(in);
  return n % most;
}

/* The bytes up to the next separator, which is dropped, or to the end: words that a fuzzer can mutate one by one. They
 * are not terminated. */
static inline const char *fuzz_until(fuzz_input *in, char separator, size_t *len)
{
  const uint8_t *start = in->at, *found = in->at < in->end ? memchr(in->at, separator, (size_t)(in->end - in->at)) : NULL;

  *len = (size_t)((found ? found : in->end) - start);
  in->at = found ? found + 1 : in->end;
  return (const char *)start;
}

/* A copy, terminated; the caller frees it. */
static inline char *fuzz_copy(const char *bytes, size_t len)
{
  char *copy = malloc(len + 1);

  MUST(copy);
  if (len)
    memcpy(copy, bytes, len);
  copy[len] = '\0';
  return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#endif
