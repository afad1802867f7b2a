/* fields.c - the options of clients and of assoc.oauth. */
#include "lhsa.h"

static const lhsa_field rate_fields[] = {
  {.name = "requests", .type = LHSA_INTEGER, .required = true, .min = 1, .max = 1000000},
  {.name = "interval", .type = LHSA_NUMBER, .required = true, .min = 0.001, .max = 86400},
  {.name = NULL},
};

const lhsa_field lhsa_client_options[] = {
  {.name = "access_token", .type = LHSA_TOKEN, .secret = true},
  {.name = "base_url", .type = LHSA_HEADER},
  {.name = "api_version", .type = LHSA_HEADER},
  LHSA_SECONDS("timeout"),
  LHSA_SECONDS("connect_timeout"),
  LHSA_SECONDS("deadline"),
  LHSA_ATTEMPTS,
  {.name = "max_response_bytes", .type = LHSA_INTEGER, .min = 1, .max = 2147483647},
  {.name = "rate", .type = LHSA_SWITCH, .fields = rate_fields},
  {.name = "limiter", .type = LHSA_TABLE},
  {.name = "retry_budget", .type = LHSA_SWITCH, .max = 1000000},
  {.name = "transport", .type = LHSA_FUNCTION},
  {.name = "skip_waits", .type = LHSA_BOOLEAN},
  {.name = "proxy", .type = LHSA_HEADER, .secret = true},
  {.name = "ca_file", .type = LHSA_HEADER},
  {.name = "allow_http", .type = LHSA_BOOLEAN},
  {.name = "max_connections", .type = LHSA_INTEGER, .min = 1, .max = 1000},
  {.name = "user_agent", .type = LHSA_HEADER},
  LHSA_MORE_HEADERS,
  {.name = "on_event", .type = LHSA_FUNCTION},
  {.name = "io_thread", .type = LHSA_BOOLEAN},
  {.name = "loop", .type = LHSA_LOOP},
  {.name = NULL},
};

/* Of assoc.oauth: its own, and those of the client that it has for itself. */
const lhsa_field lhsa_oauth_options[] = {
  {.name = "client_id", .type = LHSA_STRING, .required = true},
  {.name = "client_secret", .type = LHSA_STRING, .required = true, .secret = true},
  {.name = "refresh_token", .type = LHSA_SECRET, .secret = true},
  {.name = "on_refresh", .type = LHSA_FUNCTION, .secret = true},
  {.name = "base_url", .type = LHSA_HEADER},
  LHSA_SECONDS("timeout"),
  LHSA_SECONDS("connect_timeout"),
  LHSA_SECONDS("deadline"),
  LHSA_ATTEMPTS,
  {.name = "transport", .type = LHSA_FUNCTION},
  {.name = "skip_waits", .type = LHSA_BOOLEAN},
  {.name = "proxy", .type = LHSA_HEADER, .secret = true},
  {.name = "ca_file", .type = LHSA_HEADER},
  {.name = "allow_http", .type = LHSA_BOOLEAN},
  {.name = "user_agent", .type = LHSA_HEADER},
  {.name = "on_event", .type = LHSA_FUNCTION},
  {.name = "loop", .type = LHSA_LOOP},
  {.name = NULL},
};
