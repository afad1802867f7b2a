/* Path templates, percent-encoding, and what may be sent at all. */
#include "unit.h"

#include "url.h"

#define PARAM(name, text) \
  { name, text, sizeof(text) - 1 }

static const hsa_param segments[] = {
  PARAM("from", "contacts"), PARAM("fromId", "17"), PARAM("to", "a/b"), PARAM("up", "../x"), PARAM("dots", ".."),
  PARAM("nul", "a\0b"),      PARAM("empty", ""),
};

static void builds_paths(void **state)
{
  static const struct {
    const char *base, *path, *url; /* url NULL: HSA_INVALID */
  } rows[] = {
    {"https://h", "/crm/v4", "https://h/crm/v4"},
    {"https://h/", "/crm", "https://h/crm"},
    {"https://h/p//", "/crm", "https://h/p/crm"},
    {"https://h", "", "https://h"},
    {"https://h", "/{from}", "https://h/contacts"},
    {"https://h", "/{from}/{fromId}/x", "https://h/contacts/17/x"},
    {"https://h", "/{from}{fromId}", "https://h/contacts17"},
    {"https://h", "/x-{from}-y", "https://h/x-contacts-y"},
    {"https://h", "/{to}/z", "https://h/a%2Fb/z"},
    {"https://h", "/{up}", "https://h/..%2Fx"},
    {"https://h", "/{fro}", NULL}, /* neither a name's beginning ... */
    {"https://h", "/{fromIdx}", NULL},
    {"https://h", "/{From}", NULL}, /* ... nor another case */
    {"https://h", "/{}", NULL},
    {"https://h", "/{dots}", NULL},
    {"https://h", "/{nul}", NULL},
    {"https://h", "/{empty}", NULL},
    {"https://h", "/{from}/{unknown}", NULL},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_request request = {.path = rows[i].path, .segments = segments, .nsegments = COUNT(segments)};
    hsa_buf out;

    hsa_buf_init(&out, 1000);
    expect_int(rows[i].path, "status", hsa_url_build(&out, rows[i].base, &request),
               rows[i].url ? HSA_OK : HSA_INVALID);
    if (rows[i].url)
      expect_str(rows[i].path, "url", hsa_buf_str(&out), rows[i].url);
    hsa_buf_free(&out);
  }
}

static void appends_the_query(void **state)
{
  static const hsa_param query[] = {
    PARAM("after", "a b&c=d"),
    PARAM("limit", "500"),
    PARAM("empty", ""),
    PARAM("bytes", "\0\n\xc3\xa9"),
  };
  static const char *const urls[] = {
    "h/x",
    "h/x?after=a%20b%26c%3Dd",
    "h/x?after=a%20b%26c%3Dd&limit=500",
    "h/x?after=a%20b%26c%3Dd&limit=500&empty=",
    "h/x?after=a%20b%26c%3Dd&limit=500&empty=&bytes=%00%0A%C3%A9",
  };
  size_t n;

  (void)state;
  for (n = 0; n < COUNT(urls); n++) {
    hsa_request request = {.path = "/x", .query = query, .nquery = n};
    hsa_buf out;

    hsa_buf_init(&out, 1000);
    assert_int_equal(hsa_url_build(&out, "h", &request), HSA_OK);
    assert_string_equal(hsa_buf_str(&out), urls[n]);
    hsa_buf_free(&out);
  }
}

/* Whatever part it is that does not fit, the answer is the same. */
static void says_when_it_does_not_fit(void **state)
{
  static const hsa_param query[] = {PARAM("a", "1/2"), PARAM("b", "2")};
  static const char url[] = "https://h/c/a%2Fb/d?a=1%2F2&b=2";
  const hsa_request request = {
    .path = "/c/{to}/d", .segments = segments, .nsegments = COUNT(segments), .query = query, .nquery = 2};
  size_t max;

  (void)state;
  for (max = 0; max <= strlen(url); max++) {
    hsa_buf out;

    hsa_buf_init(&out, max);
    expect_int(url, "status", hsa_url_build(&out, "https://h/", &request),
               max < strlen(url) ? HSA_TOOLARGE : HSA_OK);
    expect_int(url, "begins alike", strncmp(hsa_buf_str(&out), url, out.len), 0);
    hsa_buf_free(&out);
  }
}

/* All 256 bytes: the unreserved ones of RFC 3986, 2.3, as they are, the others as %XX. */
static void encodes_every_byte(void **state)
{
  static const char unreserved[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
  char text[4];
  int c;

  (void)state;
  for (c = 0; c < 256; c++) {
    char byte = (char)c, expected[8];
    hsa_buf out;

    if (c && strchr(unreserved, c))
      snprintf(expected, sizeof expected, "%c", c);
    else
      snprintf(expected, sizeof expected, "%%%02X", (unsigned)c);
    hsa_buf_init(&out, 3);
    assert_int_equal(hsa_url_encode(&out, &byte, 1), HSA_OK);
    assert_string_equal(hsa_buf_str(&out), expected);
    hsa_buf_free(&out);
    assert_int_equal(hsa_percent_encode(&byte, 1, text), strlen(expected));
    assert_string_equal(text, expected);
  }
  assert_int_equal(hsa_percent_encode("", 0, text), 0);
  assert_string_equal(text, "");
}

static void encodes_whole_characters_only(void **state)
{
  hsa_buf out;

  (void)state;
  hsa_buf_init(&out, 4);
  assert_int_equal(hsa_url_encode(&out, "a/b", 3), HSA_TOOLARGE);
  assert_string_equal(hsa_buf_str(&out), "a%2F"); /* no half of a %XX */
  hsa_buf_free(&out);
}

static void checks_segments(void **state)
{
  static char longest[256];
  const struct {
    const char *row, *value;
    size_t len;
    bool ok;
  } rows[] = {
    {"a name", "contacts", 8, true},
    {"a custom object", "2-1234", 6, true},
    {"one byte", "x", 1, true},
    {"a space", " ", 1, true},
    {"a slash", "a/b", 3, true},
    {"UTF-8", "\xc3\xa9", 2, true},
    {"not UTF-8", "\xff", 1, true},
    {"three dots", "...", 3, true},
    {"dot and more", ".a", 2, true},
    {"dots and more", "../x", 4, true},
    {"percent", "%2e%2e", 6, true}, /* becomes %252e%252e */
    {"255 bytes", longest, 255, true},
    {"256 bytes", longest, 256, false},
    {"empty", "", 0, false},
    {"dot", ".", 1, false},
    {"dots", "..", 2, false},
    {"NUL", "a\0b", 3, false},
    {"NUL last", "a", 2, false},
    {"CR", "a\rb", 3, false},
    {"LF", "a\n", 2, false},
    {"tab", "\ta", 2, false},
    {"0x1f", "\x1f", 1, false},
    {"DEL", "a\x7f", 2, false},
  };
  size_t i;

  (void)state;
  memset(longest, 'x', sizeof longest);
  for (i = 0; i < COUNT(rows); i++)
    expect_int(rows[i].row, "accepted", hsa_check_segment(rows[i].value, rows[i].len) == NULL, rows[i].ok);
}

static void checks_header_values(void **state)
{
  int c;

  (void)state;
  assert_non_null(hsa_check_header_value("", 0));
  assert_null(hsa_check_header_value("pat-na1-x_y.z~ =/+", 18));
  for (c = 0; c < 256; c++) {
    const char value[3] = {'a', (char)c, 'b'};

    expect_int("byte between others", "accepted", hsa_check_header_value(value, 3) == NULL, c >= 0x20 && c <= 0x7e);
    expect_int("byte alone", "accepted", hsa_check_header_value(&value[1], 1) == NULL, c >= 0x20 && c <= 0x7e);
  }
}

static void checks_header_names(void **state)
{
  static const char *const free_ones[] = {"traceparent", "X-One", "Hosted", "Tea", "Cookie", "Accept-Language", "a_b",
                                          "Contentment"};
  static const char *const taken[] = {"", "Host", "AUTHORIZATION", "content-length", "Content-", "transfer-encoding",
                                      "TE", "Proxy-Connection", "user-agent", "a b", "a:", "a\nb", "\xff", "(a)"};
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(free_ones); i++)
    assert_null(hsa_check_header_name(free_ones[i], strlen(free_ones[i])));
  for (i = 0; i < COUNT(taken); i++)
    assert_non_null(hsa_check_header_name(taken[i], strlen(taken[i])));
  assert_non_null(hsa_check_header_name("a\0b", 3));
}

static void checks_header_lines(void **state)
{
  static const char *const good[] = {"", "a: b\n", "a: b c: d\nX-B:  e\n"};
  static const char *const bad[] = {"a", "a: b", "a:b\n", "a: \n", ": b\n", "a: b\n\n", "Host: b\n", "a: b\r\n",
                                    "a: b\nc", "a\n"};
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(good); i++)
    expect_int(good[i], "status", hsa_check_header_lines(good[i]), HSA_OK);
  for (i = 0; i < COUNT(bad); i++)
    expect_int(bad[i], "status", hsa_check_header_lines(bad[i]), HSA_INVALID);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(builds_paths),
    cmocka_unit_test(appends_the_query),
    cmocka_unit_test(says_when_it_does_not_fit),
    cmocka_unit_test(encodes_every_byte),
    cmocka_unit_test(encodes_whole_characters_only),
    cmocka_unit_test(checks_segments),
    cmocka_unit_test(checks_header_values),
    cmocka_unit_test(checks_header_names),
    cmocka_unit_test(checks_header_lines),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
