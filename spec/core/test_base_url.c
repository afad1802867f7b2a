/* What may be a base URL: https, or http to this machine; nothing that hides where it leads. */
#include "unit.h"

#include <stdbool.h>

#include "base_url.h"

/* Who may use it. */
enum { NO, HTTP = 1, ALWAYS = 2 }; /* HTTP: with allow_http only */

typedef struct row {
  const char *url;
  int allowed;
} row;

static void check(const row *rows, size_t n)
{
  size_t i;

  for (i = 0; i < n; i++) {
    const char *without = hsa_check_base_url(rows[i].url, false), *with = hsa_check_base_url(rows[i].url, true);

    expect_int(rows[i].url, "accepted", without == NULL, rows[i].allowed == ALWAYS);
    expect_int(rows[i].url, "accepted with allow_http", with == NULL, rows[i].allowed != NO);
    if (without)
      assert_true(strlen(without) > 10); /* a reason to show */
  }
}

static void https_to_anywhere(void **state)
{
  static const row rows[] = {
    {"https://api.hubapi.com", ALWAYS},   {"https://api.hubapi.com/", ALWAYS}, {"HTTPS://API.HUBAPI.COM", ALWAYS},
    {"https://api.hubapi.com:8443", ALWAYS}, {"https://h/prefix/more", ALWAYS}, {"https://10.0.0.1", ALWAYS},
    {"https://[2001:db8::1]:443/p", ALWAYS}, {"https://127.0.0.1", ALWAYS},   {"https://localhost", ALWAYS},
    {"https://h:1/", ALWAYS},             {"https://h:65535", ALWAYS},         {"https://h.example.", ALWAYS},
    {"https://under_score", ALWAYS},      {"https://h/p/@:\\%,", ALWAYS},       {"https://1.2.3.4.5", ALWAYS},
  };

  (void)state;
  check(rows, COUNT(rows));
}

static void http_to_this_machine(void **state)
{
  static const row rows[] = {
    {"http://localhost", ALWAYS},
    {"http://LocalHost:8080/p", ALWAYS},
    {"HTTP://127.0.0.1", ALWAYS},
    {"http://127.0.0.1:1", ALWAYS},
    {"http://127.255.255.254", ALWAYS},
    {"http://[::1]", ALWAYS},
    {"http://[::1]:8080/p", ALWAYS},
    {"http://[0:0:0:0:0:0:0:1]", ALWAYS},
  };

  (void)state;
  check(rows, COUNT(rows));
}

/* Names and addresses that look like loopback and are not, or not surely. */
static void http_elsewhere(void **state)
{
  static const row rows[] = {
    {"http://api.hubapi.com", HTTP},
    {"http://localhost.evil.com", HTTP},
    {"http://notlocalhost", HTTP},
    {"http://localhos", HTTP},
    {"http://127.0.0.1.evil.com", HTTP},
    {"http://localhost.", HTTP},
    {"http://127.1", HTTP},
    {"http://127.0.0.01", HTTP},
    {"http://0x7f000001", HTTP},
    {"http://2130706433", HTTP},
    {"http://128.0.0.1", HTTP},
    {"http://126.255.255.255", HTTP},
    {"http://0.0.0.0", HTTP},
    {"http://10.0.0.1", HTTP},
    {"http://[::2]", HTTP},
    {"http://[::]", HTTP},
    {"http://[fe80::1]", HTTP},
    {"http://[::ffff:8.8.8.8]", HTTP},
  };

  (void)state;
  check(rows, COUNT(rows));
}

static void other_schemes(void **state)
{
  static const row rows[] = {
    {"ftp://localhost", NO},       {"file:///etc/passwd", NO}, {"ws://localhost", NO}, {"httpss://h", NO},
    {"api.hubapi.com", NO},        {"localhost:8080", NO},     {"//api.hubapi.com", NO}, {"/crm", NO},
    {"https", NO},                 {"https:", NO},             {"https://", NO},       {"https:///", NO},
    {"http://", NO},               {"", NO},                   {"unix:/run/x.sock", NO}, {"https:/h", NO},
    {"https:////h", NO},           {"http:\\\\localhost", NO},
  };

  (void)state;
  check(rows, COUNT(rows));
}

/* Before an @ a host's name fools a reader; and the token is the only credential. */
static void user_and_password(void **state)
{
  static const row rows[] = {
    {"https://user@h", NO},
    {"https://user:password@h", NO},
    {"https://:password@h", NO},
    {"https://@h", NO},
    {"https://:@h", NO},
    {"https://api.hubapi.com@evil.com", NO},
    {"https://api.hubapi.com:443@evil.com", NO},
    {"http://localhost@evil.com", NO},
    {"http://localhost\\@evil.com", NO},
    {"http://user@localhost", NO},
  };

  (void)state;
  check(rows, COUNT(rows));
}

/* The path is appended: these would swallow it. */
static void query_and_fragment(void **state)
{
  static const row rows[] = {
    {"https://h?a=b", NO},  {"https://h/?", NO}, {"https://h/p?a", NO}, {"https://h#x", NO},
    {"https://h/p#", NO},   {"http://localhost#@evil.com", NO}, {"http://localhost?@evil.com", NO},
    {"https://h/p%3Fa", ALWAYS}, /* a name in the path */
  };

  (void)state;
  check(rows, COUNT(rows));
}

static void what_cannot_be_sent(void **state)
{
  static const row rows[] = {
    {"https://h\r\nX: y", NO},   {"https://h/\n", NO},      {"https://h/\x7f", NO}, {"https://h/\xc3\xa9", NO},
    {"\thttps://h", NO},         {"https://h h", NO},       {"https://h/a b", NO},  {" https://h", NO},
    {"https://h:99999", NO},     {"https://h:-1", NO},      {"https://h:http", NO}, {"https://[::1", NO},
    {"https://[1.2.3.4]", NO},   {"https://a,b", NO},       {"https://h%00.evil.com", NO},
    {"https://h%0d%0a", NO},     {"https://h:", NO},        {"https://h:0", NO},    {"https://h:/p", NO},
    {"https://h:65536", NO},     {"https://h:4294967739", NO}, {"https://h:443x", NO}, {"https://h:443:443", NO},
    {"https://[]", NO},          {"https://[::1]x", NO},    {"https://[::1]:x", NO}, {"https://::1", NO},
    {"https://[::1%25lo]", NO},  {"https://[::1::2]", NO},  {"https://.", NO},      {"https://.h", NO},
    {"https://a..b", NO},        {"https://h\\p", NO},     {"https://h;p", NO},    {"https://a+b", NO},
    {"https://*.h", NO},         {"https://h|p", NO},       {"https://127.0.0.1%2eevil.com", NO},
  };

  (void)state;
  check(rows, COUNT(rows));
}

static void what_is_too_long(void **state)
{
  char host[] = "https://" /* 253 */
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb."
    "ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc.ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd/";
  char path[2050];

  (void)state;
  assert_null(hsa_check_base_url(host, false));
  host[strlen(host) - 1] = 'd';
  assert_non_null(hsa_check_base_url(host, false));
  memset(path, 'p', sizeof path - 1);
  memcpy(path, "https://h/", 10);
  path[sizeof path - 1] = '\0';
  assert_non_null(hsa_check_base_url(path, false));
  path[sizeof path - 2] = '\0';
  assert_null(hsa_check_base_url(path, false));
}

static void names_its_host(void **state)
{
  static const struct { const char *url, *host; bool is_https, is_loopback; } rows[] = {
    {"https://api.hubapi.com/p", "api.hubapi.com", true, false}, {"HTTP://LocalHost:1", "LocalHost", false, true},
    {"https://127.0.0.9:1", "127.0.0.9", true, true},            {"http://[0:0:0:0:0:0:0:1]", "::1", false, true},
    {"https://[2001:DB8:0::1]:443", "2001:db8::1", true, false},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_base_url base;

    assert_null(hsa_base_url_read(rows[i].url, true, &base));
    assert_string_equal(base.host, rows[i].host);
    expect_int(rows[i].url, "https", base.is_https, rows[i].is_https);
    expect_int(rows[i].url, "loopback", base.is_loopback, rows[i].is_loopback);
  }
}

static void says_why(void **state)
{
  (void)state;
  assert_non_null(strstr(hsa_check_base_url("http://api.hubapi.com", false), "allow_http"));
  assert_non_null(strstr(hsa_check_base_url("ftp://h", true), "https://"));
  assert_non_null(strstr(hsa_check_base_url("https://u@h", true), "user"));
  assert_non_null(strstr(hsa_check_base_url("https://h?q", true), "query"));
  assert_non_null(strstr(hsa_check_base_url("https://h:99999", true), "port"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(https_to_anywhere),  cmocka_unit_test(http_to_this_machine), cmocka_unit_test(http_elsewhere),
    cmocka_unit_test(other_schemes),      cmocka_unit_test(user_and_password),    cmocka_unit_test(query_and_fragment),
    cmocka_unit_test(what_cannot_be_sent), cmocka_unit_test(what_is_too_long),
    cmocka_unit_test(names_its_host),     cmocka_unit_test(says_why),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
