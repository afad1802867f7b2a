#include "head.h"

#include <string.h>

#include "bytes.h"

static bool is_blank(char c)
{
  return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
  return c >= '0' && c <= '9';
}

static void begin(hsa_head *head, hsa_head_stage stage)
{
  *head = (hsa_head){.stage = stage, .content_length = -1};
}

void hsa_head_reset(hsa_head *head)
{
  begin(head, HSA_HEAD_AWAITED);
}

bool hsa_head_is_open(const hsa_head *head)
{
  return head->stage == HSA_HEAD_STATUS || head->stage == HSA_HEAD_FIELDS;
}

bool hsa_head_has_ended(const hsa_head *head)
{
  return head->stage >= HSA_HEAD_ENDED && !head->is_interim;
}

static bool refuse(hsa_head *head, const char *problem)
{
  head->problem = problem;
  return false;
}

bool hsa_head_expects(hsa_head *head, char first)
{
  if (is_blank(first) && head->stage != HSA_HEAD_FIELDS && head->stage != HSA_HEAD_TRAILERS)
    return refuse(head, "a response header line continues another one, and there is none");
  return true;
}

/* Reads one decimal number and the blanks around it; NULL if there is none, or more than 18 digits. */
static const char *read_length(const char *at, const char *end, int64_t *length)
{
  const char *digits;

  while (at < end && is_blank(*at))
    at++;
  for (digits = at, *length = 0; at < end && is_digit(*at) && at - digits < 18; at++)
    *length = *length * 10 + (*at - '0');
  if (at == digits)
    return NULL;
  while (at < end && is_blank(*at))
    at++;
  return at;
}

/* One number, or the same one several times (RFC 9112, 6.3). */
static bool add_length(hsa_head *head, const char *at, const char *end)
{
  int64_t length;

  for (;;) {
    at = read_length(at, end, &length);
    if (!at || (at < end && *at != ','))
      return refuse(head, "the response's Content-Length is not a number");
    if (head->content_length >= 0 && head->content_length != length)
      return refuse(head, "the response gives different values of Content-Length");
    head->content_length = length;
    if (at == end)
      return true;
    at++;
  }
}

/* gzip is all that was asked for. libcurl would undo others, and five upon one another: a few bytes could have it work
 * for hours, in any of its decoders. */
static bool add_encoding(hsa_head *head, const char *value, size_t len)
{
  if (len == 0 || hsa_is_name(value, len, "identity") || hsa_is_name(value, len, "none"))
    return true;
  if (head->is_encoded || !(hsa_is_name(value, len, "gzip") || hsa_is_name(value, len, "x-gzip")))
    return refuse(head, "the response has a Content-Encoding other than gzip, which nobody asked for");
  head->is_encoded = true;
  return true;
}

/* Where the name ends that the line begins with; NULL: it is none. */
static const char *end_of_name(hsa_head *head, const char *line, size_t len)
{
  const char *at = memchr(line, ':', len);

  if (at && at > line && hsa_are_within(line, (size_t)(at - line), '!', 0xff))
    return at;
  refuse(head, "a response header line does not begin with a name and a colon");
  return NULL;
}

static bool add_field(hsa_head *head, const char *line, size_t len)
{
  const char *end = line + len, *value = end_of_name(head, line, len);
  size_t name = value ? (size_t)(value - line) : 0;

  head->is_length_last = false;
  if (!value)
    return false;
  if ((*line | 0x20) != 'c' && (*line | 0x20) != 't')
    return true; /* most are none of these */
  for (value++; value < end && is_blank(*value);)
    value++;
  while (value < end && is_blank(end[-1]))
    end--;
  if (hsa_is_name(line, name, "Content-Length")) {
    head->is_length_last = true;
    return add_length(head, value, end);
  }
  if (hsa_is_name(line, name, "Content-Encoding"))
    return add_encoding(head, value, (size_t)(end - value));
  if (hsa_is_name(line, name, "Transfer-Encoding") && !hsa_is_name(value, (size_t)(end - value), "chunked"))
    return refuse(head, "the response has a Transfer-Encoding other than chunked, which nobody asked for");
  return true;
}

/* Where the status begins behind "HTTP/1.1 " or "HTTP/2 "; NULL: there is no such version. (libcurl 7.88 takes
 * "HTTP/2.0 " from a server that speaks HTTP/1.1.) */
static const char *skip_version(const char *line, size_t len)
{
  const char *at = line + 6, *end = line + len; /* behind the first digit */
  bool has_minor = len > 8 && *at == '.' && is_digit(at[1]);

  if (len < 6 || !is_digit(line[5]) || has_minor != (line[5] == '1'))
    return NULL;
  if (has_minor)
    at += 2;
  return at < end && *at == ' ' ? at + 1 : NULL;
}

/* "HTTP/1.1 103 Early Hints": libcurl reads 2000 as 200, takes "HTTP/..1" for a version, and "HTTP/2 000" for the
 * end. */
static bool begin_response(hsa_head *head, const char *line, size_t len)
{
  const char *status = skip_version(line, len);
  size_t rest = status ? len - (size_t)(status - line) : 0, digits = 0;

  if (!status)
    return refuse(head, "the response's status line has no version and status");
  while (digits < rest && is_digit(status[digits]))
    digits++;
  if (digits != 3 || *status == '0' || (rest > 3 && status[3] != ' '))
    return refuse(head, "the response's status is not a number of three digits");
  begin(head, HSA_HEAD_STATUS);
  head->is_interim = *status == '1';
  if (strncmp(status, "101", 3) == 0)
    return refuse(head, "the server changes to another protocol, which nobody asked for");
  return true;
}

bool hsa_head_add(hsa_head *head, const char *line, size_t len)
{
  bool is_awaited = head->stage == HSA_HEAD_AWAITED || (head->stage == HSA_HEAD_ENDED && head->is_interim);

  if (!len || line[len - 1] != '\n')
    return refuse(head, "a response header line does not end");
  len -= len > 1 && line[len - 2] == '\r' ? 2 : 1;
  if (!hsa_are_within(line, len, ' ', 0xff) && (memchr(line, '\0', len) || memchr(line, '\r', len)))
    return refuse(head, "a response header line has a NUL or a carriage return inside");
  if (len > 5 && memcmp(line, "HTTP/", 5) == 0 && (is_awaited || head->stage == HSA_HEAD_ENDED))
    return begin_response(head, line, len);
  if (is_awaited)
    return refuse(head, "the response does not begin with a status line");
  if (len == 0) {
    head->stage = HSA_HEAD_ENDED;
    return true;
  }
  if (is_blank(*line))
    return hsa_head_expects(head, *line) &&
           (!head->is_length_last || refuse(head, "the response's Content-Length goes on in a second line"));
  head->stage = head->stage >= HSA_HEAD_ENDED ? HSA_HEAD_TRAILERS : HSA_HEAD_FIELDS;
  return add_field(head, line, len);
}
