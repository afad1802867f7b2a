/* endpoint.c - the API calls: one row a call.
 *
 * Reference: HubSpot's developer documentation, CRM associations (limits: "association definitions
 * configurations"), https://developers.hubspot.com/docs/api-reference */
#include "lhsa.h"

#define INT32_MAXIMUM 2147483647.0

/* What one batch of limit configurations may hold; HubSpot documents no number. */
enum { MAX_LIMITS = 2000 };

static const lhsa_field limit_fields[] = {
  {.name = "category", .type = LHSA_STRING, .required = true},
  {.name = "typeId", .type = LHSA_INTEGER, .required = true, .max = INT32_MAXIMUM},
  {.name = "maxToObjectIds", .type = LHSA_INTEGER, .required = true, .max = INT32_MAXIMUM},
  {.name = NULL},
};

static const lhsa_field limit_id_fields[] = {
  {.name = "category", .type = LHSA_STRING, .required = true},
  {.name = "typeId", .type = LHSA_INTEGER, .required = true, .max = INT32_MAXIMUM},
  {.name = NULL},
};

static const lhsa_field call_options[] = {
  LHSA_SECONDS("timeout"),
  LHSA_SECONDS("deadline"),
  LHSA_ATTEMPTS,
  {.name = NULL},
};

static const lhsa_field batch_options[] = {
  LHSA_SECONDS("timeout"),
  LHSA_SECONDS("deadline"),
  LHSA_ATTEMPTS,
  {.name = "batch_size", .type = LHSA_INTEGER, .min = 1, .max = INT32_MAXIMUM},
  {.name = NULL},
};

#define FROM {.place = LHSA_PATH, .field = {.name = "from", .type = LHSA_SEGMENT, .required = true}}
#define TO {.place = LHSA_PATH, .field = {.name = "to", .type = LHSA_SEGMENT, .required = true}}
#define INPUTS(fields_) {.place = LHSA_INPUTS, .field = {.name = "inputs", .type = LHSA_LIST, .required = true, .fields = fields_}}

const lhsa_endpoint lhsa_endpoints[] = {
  {
    .name = "batch_update",
    .method = "POST",
    .path = "/crm/associations/{version}/definitions/configurations/{from}/{to}/batch/update",
    .args = {FROM, TO, INPUTS(limit_fields)},
    .options = batch_options,
    .max_inputs = MAX_LIMITS,
    .shape = LHSA_RESULTS,
    .effect = HSA_IDEMPOTENT,
  },
  {
    .name = "batch_create",
    .method = "POST",
    .path = "/crm/associations/{version}/definitions/configurations/{from}/{to}/batch/create",
    .args = {FROM, TO, INPUTS(limit_fields)},
    .options = batch_options,
    .max_inputs = MAX_LIMITS,
    .shape = LHSA_RESULTS,
    .effect = HSA_ONCE,
  },
  {
    .name = "batch_purge",
    .method = "POST",
    .path = "/crm/associations/{version}/definitions/configurations/{from}/{to}/batch/purge",
    .args = {FROM, TO, INPUTS(limit_id_fields)},
    .options = batch_options,
    .max_inputs = MAX_LIMITS,
    .shape = LHSA_RESULTS,
    .empty_ok = true,
    .effect = HSA_IDEMPOTENT,
  },
  {
    .name = "get_limits",
    .method = "GET",
    .path = "/crm/associations/{version}/definitions/configurations/{from}/{to}",
    .args = {FROM, TO},
    .options = call_options,
    .shape = LHSA_RESULTS,
    .effect = HSA_SAFE,
  },
  {
    .name = "get_all_limits",
    .method = "GET",
    .path = "/crm/associations/{version}/definitions/configurations/all",
    .options = call_options,
    .shape = LHSA_RESULTS,
    .effect = HSA_SAFE,
  },
  {.name = NULL},
};
