#include "url.h"

#include <string.h>

#include "bytes.h"

enum { MAX_SEGMENT = 255 };

static bool is_unreserved(unsigned char c)
{
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

/* Writes one byte; returns how many characters that took, three at most. */
static size_t encode(unsigned char c, char *out)
{
  static const char hex[] = "0123456789ABCDEF";

  if (is_unreserved(c)) {
    out[0] = (char)c;
    return 1;
  }
  out[0] = '%';
  out[1] = hex[c >> 4];
  out[2] = hex[c & 15];
  return 3;
}

size_t hsa_percent_encode(const char *bytes, size_t len, char *out)
{
  size_t i, n = 0;

  for (i = 0; i < len; i++)
    n += encode((unsigned char)bytes[i], out + n);
  out[n] = '\0';
  return n;
}

hsa_status hsa_url_encode(hsa_buf *out, const char *bytes, size_t len)
{
  hsa_status status = HSA_OK;
  char code[3];
  size_t i = 0, from;

  while (i < len && status == HSA_OK) {
    for (from = i; i < len && is_unreserved((unsigned char)bytes[i]); i++)
      ;
    if (i > from)
      status = hsa_buf_add(out, bytes + from, i - from);
    else
      status = hsa_buf_add(out, code, encode((unsigned char)bytes[i++], code));
  }
  return status;
}

/* Dots alone are refused because no encoding keeps them: %2E%2E is ".." to many servers. */
const char *hsa_check_segment(const char *value, size_t len)
{
  if (len == 0)
    return "must not be empty";
  if (len > MAX_SEGMENT)
    return "must not be longer than 255 bytes";
  if ((len == 1 && value[0] == '.') || (len == 2 && value[0] == '.' && value[1] == '.'))
    return "must not be '.' or '..'";
  if (!hsa_are_within(value, len, ' ', 0xff) || memchr(value, 0x7f, len))
    return "must not contain control characters";
  return NULL;
}

const char *hsa_check_header_value(const char *value, size_t len)
{
  if (len == 0)
    return "must not be empty";
  return hsa_are_within(value, len, ' ', '~') ? NULL
                                              : "must have printable ASCII characters only (no line break, no NUL)";
}

const char *hsa_check_token(const char *token, size_t len)
{
  const char *problem = hsa_check_header_value(token, len);

  if (problem)
    return problem;
  return memchr(token, ' ', len) ? "must have no blanks in it (give the token alone, without \"Bearer\")" : NULL;
}

/* Is the name one of these, letter case aside? One that ends with '*' stands for all that begin so. */
static bool is_one_of(const char *name, size_t len, const char *const *names)
{
  size_t i;

  for (; *names; names++) {
    for (i = 0; i < len && (*names)[i] && (*names)[i] != '*'; i++)
      if ((name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]) != (*names)[i])
        break;
    if ((*names)[i] == '*' || (i == len && !(*names)[i]))
      return true;
  }
  return false;
}

const char *hsa_check_header_name(const char *name, size_t len)
{
  static const char *const ours[] = {"accept", "accept-encoding", "content-*", "expect", "host", NULL};
  static const char *const framing[] = {"connection", "http2-settings", "keep-alive", "proxy-*", "te", "trailer",
                                        "transfer-encoding", "upgrade", NULL};
  static const char *const token[] = {"authorization", NULL}, *const agent[] = {"user-agent", NULL};
  size_t i;

  if (len == 0)
    return "is no name of a header: it is empty";
  for (i = 0; i < len; i++) /* RFC 9110, 5.6.2 */
    if (name[i] <= ' ' || name[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", name[i]))
      return "is no name of a header (letters, digits, '-' and '_', as a rule)";
  if (is_one_of(name, len, token))
    return "this header is made from the option access_token";
  if (is_one_of(name, len, agent))
    return "give the option user_agent instead";
  if (is_one_of(name, len, ours))
    return "the library sets this header itself";
  return is_one_of(name, len, framing) ? "this header is about the connection, which is the library's" : NULL;
}

hsa_status hsa_check_header_lines(const char *lines)
{
  const char *line, *end;
  size_t name;

  for (line = lines; *line; line = end + 1) {
    end = strchr(line, '\n');
    name = strcspn(line, ":");
    if (!end || line + name + 2 > end || line[name + 1] != ' ' || hsa_check_header_name(line, name) ||
        hsa_check_header_value(line + name + 2, (size_t)(end - line) - name - 2))
      return HSA_INVALID;
  }
  return HSA_OK;
}

static const hsa_param *find(const hsa_param *params, size_t n, const char *name, size_t len)
{
  size_t i;

  for (i = 0; i < n; i++)
    if (strlen(params[i].name) == len && memcmp(params[i].name, name, len) == 0)
      return &params[i];
  return NULL;
}

static hsa_status add_path(hsa_buf *out, const char *path, const hsa_request *request)
{
  hsa_status status = HSA_OK;

  while (*path && status == HSA_OK) {
    const char *brace = strchr(path, '{'), *end = brace ? strchr(brace, '}') : NULL;
    const hsa_param *segment;

    if (!brace)
      return hsa_buf_adds(out, path);
    segment = end ? find(request->segments, request->nsegments, brace + 1, (size_t)(end - brace) - 1) : NULL;
    if (!segment || hsa_check_segment(segment->value, segment->len))
      return HSA_INVALID;
    status = hsa_buf_add(out, path, (size_t)(brace - path));
    if (status == HSA_OK)
      status = hsa_url_encode(out, segment->value, segment->len);
    path = end + 1;
  }
  return status;
}

static hsa_status add_query(hsa_buf *out, const hsa_request *request)
{
  hsa_status status = HSA_OK;
  size_t i;

  for (i = 0; i < request->nquery && status == HSA_OK; i++) {
    const hsa_param *param = &request->query[i];

    status = hsa_buf_adds(out, i ? "&" : "?");
    if (status == HSA_OK)
      status = hsa_buf_adds(out, param->name);
    if (status == HSA_OK)
      status = hsa_buf_adds(out, "=");
    if (status == HSA_OK)
      status = hsa_url_encode(out, param->value, param->len);
  }
  return status;
}

hsa_status hsa_url_build(hsa_buf *out, const char *base, const hsa_request *request)
{
  size_t len = strlen(base);
  hsa_status status;

  while (len && base[len - 1] == '/')
    len--;
  status = hsa_buf_add(out, base, len);
  if (status == HSA_OK)
    status = add_path(out, request->path, request);
  if (status == HSA_OK)
    status = add_query(out, request);
  return status;
}
