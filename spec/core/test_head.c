/* Heads of responses: which are sound, and which have ended. */
#include "unit.h"

#include <stdlib.h>

#include "head.h"

/* Hands over a text line by line as libcurl does: without a NUL behind it. (A copy of its own, so that ASan and valgrind
 * see a read past its end.) Ends at the first line that is refused. */
static bool add_lines(hsa_head *head, const char *text, size_t size)
{
  const char *end = text + size;
  bool ok = true;

  while (ok && text < end) {
    const char *newline = memchr(text, '\n', (size_t)(end - text));
    size_t len = (size_t)((newline ? newline + 1 : end) - text);
    char *copy = malloc(len);

    assert_non_null(copy);
    memcpy(copy, text, len);
    ok = hsa_head_add(head, copy, len);
    free(copy);
    text += len;
  }
  return ok;
}

#define LINES(text) text, sizeof(text) - 1

static void tells_sound_heads(void **state)
{
  static const struct {
    const char *text;
    size_t size;
    bool has_ended, is_open, is_encoded;
    int64_t length;
  } rows[] = {
    {LINES("HTTP/1.1 200 OK\r\n\r\n"), true, false, false, -1},
    {LINES("HTTP/1.1 200 OK\n\n"), true, false, false, -1},
    {LINES("HTTP/2 200 \r\n\r\n"), true, false, false, -1},
    {LINES("HTTP/1.1 200\r\n\r\n"), true, false, false, -1},
    {LINES("HTTP/1.1 200 OK\r\n"), false, true, false, -1},
    {LINES("HTTP/1.1 200 OK\r\nX: y\r\n"), false, true, false, -1},
    {LINES("HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\tz\r\nA:\r\n\r\n"), true, false, false, -1},
    {LINES("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), true, false, false, 0},
    {LINES("HTTP/1.1 200 OK\r\ncontent-length:\t 0017 \r\n\r\n"), true, false, false, 17},
    {LINES("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\nContent-Length: 5, 5\r\n\r\n"), true, false, false, 5},
    {LINES("HTTP/1.1 200 OK\r\nContent-Length: 999999999999999999\r\n\r\n"), true, false, false, INT64_C(999999999999999999)},
    {LINES("HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\n\r\n"), true, false, false, -1},
    {LINES("HTTP/1.1 200 OK\r\nCONTENT-ENCODING: gzip\r\n\r\n"), true, false, true, -1},
    {LINES("HTTP/1.1 200 OK\r\nContent-Encoding: x-gzip\r\n\r\n"), true, false, true, -1},
    {LINES("HTTP/1.1 200 OK\r\nContent-Encoding:\r\nContent-Encoding: none\r\n\r\n"), true, false, false, -1},
    {LINES("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), true, false, false, -1},
    {LINES("HTTP/1.1 200 OK\r\ntransfer-encoding:  Chunked \r\n\r\n"), true, false, false, -1},
    {LINES("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nX-Trailer: 1\r\n folded\r\n"), true, false, false, -1},
    {LINES("HTTP/1.1 100 Continue\r\n\r\n"), false, false, false, -1},
    {LINES("HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), true, false, false, -1},
    {LINES("HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\n"), false, true, false, -1},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_head head;

    hsa_head_reset(&head);
    expect_int(rows[i].text, "sound", add_lines(&head, rows[i].text, rows[i].size), true);
    assert_null(head.problem);
    expect_int(rows[i].text, "ended", hsa_head_has_ended(&head), rows[i].has_ended);
    expect_int(rows[i].text, "open", hsa_head_is_open(&head), rows[i].is_open);
    expect_int(rows[i].text, "encoded", head.is_encoded, rows[i].is_encoded);
    expect_int(rows[i].text, "length", head.content_length, rows[i].length);
  }
}

#define OK "HTTP/1.1 200 OK\r\n"

static void refuses_unsound_heads(void **state)
{
  static const struct {
    const char *text;
    size_t size;
    const char *word; /* of the problem */
  } rows[] = {
    {LINES("X: y\r\n"), "status line"},
    {LINES("\r\n"), "status line"},
    {LINES("HTTP/1.1 103 Early\r\n\r\nX: y\r\n"), "status line"},
    {LINES("HTTP/1.1 2000 OK\r\n"), "status"},
    {LINES("HTTP/2.0 200 OK\r\n"), "status"},
    {LINES("HTTP/1 200 OK\r\n"), "status"},
    {LINES("HTTP/1.1 101 Switching Protocols\r\n"), "another protocol"},
    {LINES("HTTP/1.1 20 OK\r\n"), "status"},
    {LINES("HTTP/1.1 000 OK\r\n"), "status"},
    {LINES("HTTP/2 099 OK\r\n"), "status"},
    {LINES("HTTP/1.1  200 OK\r\n"), "status"},
    {LINES("HTTP/1.1 200x\r\n"), "status"},
    {LINES("HTTP/1.1 -20\r\n"), "status"},
    {LINES("HTTP/1.1 \r\n"), "status"},
    {LINES("HTTP/1.1\r\n"), "status"},
    {LINES("HTTP/..1 200 OK\r\n"), "version"},
    {LINES("HTTP/ 200 OK\r\n"), "version"},
    {LINES("HTTP/1. 200 OK\r\n"), "version"},
    {LINES("HTTP/1.1.1 200 OK\r\n"), "version"},
    {LINES("HTTP/11 200 OK\r\n"), "version"},
    {LINES("HTTP/1.1 200 OK"), "end"},
    {LINES(OK "Content-Ty"), "end"},
    {LINES(OK " X: y\r\n"), "continues"},
    {LINES(OK "\t\r\n"), "continues"},
    {LINES("HTTP/1.1 103 Early\r\nX: y\r\n\r\n" OK " X: y\r\n"), "continues"},
    {LINES(OK "X: y\r\n\r\n Trailer: y\r\n"), "continues"},
    {LINES("HTTP/1.1 200 \0OK\r\n"), "NUL"},
    {LINES(OK "X: \0\r\n"), "NUL"},
    {LINES(OK "X\r: y\r\n"), "carriage return"},
    {LINES(OK "\r\r\n"), "carriage return"},
    {LINES(OK "X: y\r\n\r\nTrailer\0: y\r\n"), "NUL"},
    {LINES(OK "no colon\r\n"), "name and a colon"},
    {LINES(OK ": no name\r\n"), "name and a colon"},
    {LINES(OK "Content-Length : 3\r\n"), "name and a colon"},
    {LINES(OK "X y: z\r\n"), "name and a colon"},
    {LINES(OK "X\x01: z\r\n"), "name and a colon"},
    {LINES(OK "X\n"), "name and a colon"},
    {LINES(OK "Transfer-Encoding: gzip, chunked\r\n"), "Transfer-Encoding"},
    {LINES(OK "Transfer-Encoding: identity\r\n"), "Transfer-Encoding"},
    {LINES(OK "Transfer-Encoding: xchunked\r\n"), "Transfer-Encoding"},
    {LINES(OK "Transfer-Encoding:\r\n"), "Transfer-Encoding"},
    {LINES(OK "Content-Encoding: br\r\n"), "Content-Encoding"},
    {LINES(OK "Content-Encoding: gzip, gzip\r\n"), "Content-Encoding"},
    {LINES(OK "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n"), "Content-Encoding"},
    {LINES(OK "Content-Length:\r\n"), "not a number"},
    {LINES(OK "Content-Length: 0x10\r\n"), "not a number"},
    {LINES(OK "Content-Length: -1\r\n"), "not a number"},
    {LINES(OK "Content-Length: +1\r\n"), "not a number"},
    {LINES(OK "Content-Length: 1.0\r\n"), "not a number"},
    {LINES(OK "Content-Length: 1e3\r\n"), "not a number"},
    {LINES(OK "Content-Length: 1 2\r\n"), "not a number"},
    {LINES(OK "Content-Length: 1,\r\n"), "not a number"},
    {LINES(OK "Content-Length: \"1\"\r\n"), "not a number"},
    {LINES(OK "Content-Length: 9999999999999999999\r\n"), "not a number"},
    {LINES(OK "Content-Length: 18446744073709551617\r\n"), "not a number"},
    {LINES(OK "Content-Length: 1, 2\r\n"), "different"},
    {LINES(OK "Content-Length: 1\r\nContent-Length: 2\r\n"), "different"},
    {LINES(OK "Content-Length: 1\r\n 2\r\n"), "second line"},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_head head;

    hsa_head_reset(&head);
    expect_int(rows[i].text, "sound", add_lines(&head, rows[i].text, rows[i].size), false);
    if (!head.problem || !strstr(head.problem, rows[i].word))
      fail_msg("%s: the problem is '%s', without '%s'", rows[i].text, head.problem ? head.problem : "none", rows[i].word);
  }
}

/* What libcurl shows before it looks at the line itself. */
static void expects_a_continued_line_behind_a_field_only(void **state)
{
  static const char *const heads[] = {"", OK, OK "\r\n", OK "X: y\r\n"};
  static const bool expected[] = {false, false, false, true};
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(heads); i++) {
    hsa_head head;

    hsa_head_reset(&head);
    assert_true(add_lines(&head, heads[i], strlen(heads[i])));
    assert_true(hsa_head_expects(&head, 'X'));
    assert_true(hsa_head_expects(&head, '\r'));
    assert_null(head.problem);
    assert_int_equal(hsa_head_expects(&head, ' '), expected[i]);
    assert_int_equal(head.problem == NULL, expected[i]);
  }
}

static void knows_names_in_any_case(void **state)
{
  (void)state;
  assert_true(hsa_is_name("x-hubspot-RATELIMIT-max", 23, "X-HubSpot-RateLimit-Max"));
  assert_false(hsa_is_name("X-HubSpot-RateLimit-Max", 22, "X-HubSpot-RateLimit-Max"));
  assert_false(hsa_is_name("X-HubSpot-RateLimit-Max ", 24, "X-HubSpot-RateLimit-Max"));
  assert_false(hsa_is_name("@", 1, "`"));
  assert_false(hsa_is_name("\xdd", 1, "i")); /* a capital I with its dot, in ISO 8859-9 */
  assert_true(hsa_is_name("", 0, ""));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(tells_sound_heads),
    cmocka_unit_test(refuses_unsound_heads),
    cmocka_unit_test(expects_a_continued_line_behind_a_field_only),
    cmocka_unit_test(knows_names_in_any_case),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
