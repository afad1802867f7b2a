/* head.h - pure: the head of a response, line by line: is it sound HTTP, and has it ended?
 *
 * Versions of libcurl differ in what they let pass; who counts on an answer wants all of them to refuse the same. */
#ifndef HSA_HEAD_H
#define HSA_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum hsa_head_stage {
  HSA_HEAD_AWAITED,
  HSA_HEAD_STATUS, /* its status line has come, and no field yet */
  HSA_HEAD_FIELDS,
  HSA_HEAD_ENDED,   /* its empty line has come */
  HSA_HEAD_TRAILERS /* fields behind a body in chunks */
} hsa_head_stage;

typedef struct hsa_head {
  hsa_head_stage stage;
  bool is_interim;         /* a 1xx: another head follows */
  bool is_encoded;         /* the body is compressed */
  bool is_length_last;     /* the last field was Content-Length */
  int64_t content_length;  /* -1: none was given */
  const char *problem;     /* why this is no sound HTTP, for people; NULL: it is, so far */
} hsa_head;

/* A response is awaited. */
void hsa_head_reset(hsa_head *head);

/* Reads the next line as received, "...\r\n"; false: it is not sound, and `problem` says why. */
bool hsa_head_add(hsa_head *head, const char *line, size_t len);

/* May a line that begins with this byte come next? False: it would continue a field, and there is none; `problem` says
 * so. */
bool hsa_head_expects(hsa_head *head, char first);

/* Has a head begun that has not ended? */
bool hsa_head_is_open(const hsa_head *head);

/* Has the head of the final response ended? */
bool hsa_head_has_ended(const hsa_head *head);

/* Is this the name, in ASCII and in whatever case? The host's locale has no say: in a Turkish one "I" and "i" differ.
 * (Inline, for most names differ in their length, which the compiler knows.) */
static inline bool hsa_is_name(const char *text, size_t len, const char *name)
{
  size_t i;

  if (len != strlen(name))
    return false;
  if (memcmp(text, name, len) == 0) /* as it is written mostly */
    return true;
  for (i = 0; i < len; i++) {
    char letter = (char)(text[i] | 0x20);

    if (text[i] != name[i] && (letter != (name[i] | 0x20) || letter < 'a' || letter > 'z'))
      return false;
  }
  return true;
}

#endif
