/* bytes.h - pure: looks at many bytes, eight at a time. Every call has some hundreds to be looked at: its path, its
 * token, the headers of its answer. */
#ifndef HSA_BYTES_H
#define HSA_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HSA_EACH_BYTE(c) (UINT64_C(0x0101010101010101) * (c))

/* Not 0 if one of eight bytes is less than `least` (at most 0x80) or more than `most` (less than 0x80, or 0xff). */
static inline uint64_t hsa_outside(uint64_t bytes, unsigned char least, unsigned char most)
{
  uint64_t below = (bytes - HSA_EACH_BYTE(least)) & ~bytes;
  uint64_t above = most < 0x80 ? (bytes + HSA_EACH_BYTE(0x7f - most)) | bytes : 0;

  return (below | above) & HSA_EACH_BYTE(0x80);
}

/* Are all bytes from `least` to `most`? Each of both as above. */
static inline bool hsa_are_within(const char *bytes, size_t len, unsigned char least, unsigned char most)
{
  uint64_t eight, outside = 0;
  size_t i;

  if (len < sizeof eight) {
    for (i = 0; i < len; i++)
      outside |= (unsigned char)bytes[i] < least || (unsigned char)bytes[i] > most;
    return outside == 0;
  }
  for (i = 0; i < len - sizeof eight; i += sizeof eight) {
    memcpy(&eight, bytes + i, sizeof eight);
    outside |= hsa_outside(eight, least, most);
  }
  memcpy(&eight, bytes + len - sizeof eight, sizeof eight); /* the last ones, some of them once more */
  return (outside | hsa_outside(eight, least, most)) == 0;
}

#endif
