/* endpoint.c - the API calls: one row a call.
 *
 * Reference: HubSpot's developer documentation, CRM associations (limits: "association definitions
 * configurations"), https://developers.hubspot.com/docs/api-reference */
#include "lhsa.h"

#define INT32_MAXIMUM 2147483647.0

/* What one batch may hold. HubSpot documents no number for limits. Of archivals it takes 100 distinct `from` ids: 100
 * inputs never have more. */
enum { MAX_LIMITS = 2000, MAX_ASSOCIATED = 2000, MAX_READ = 1000, MAX_ARCHIVED = 100 };

enum { MAX_PAGE = 500 }; /* records that `list` may ask for at a time */

/* Rows of get_labels and get_limits name the same things differently: aliases. */
static const lhsa_field limit_fields[] = {
  {.name = "category", .alias = "associationCategory", .type = LHSA_STRING, .required = true, .column = 1},
  {.name = "typeId",
   .alias = "associationTypeId",
   .type = LHSA_INTEGER,
   .required = true,
   .max = INT32_MAXIMUM,
   .column = 2},
  {.name = "maxToObjectIds",
   .alias = "userEnforcedMaxToObjectIds",
   .type = LHSA_INTEGER,
   .required = true,
   .max = INT32_MAXIMUM},
  {.name = NULL},
};

static const lhsa_field limit_id_fields[] = {
  {.name = "category", .alias = "associationCategory", .type = LHSA_STRING, .required = true, .column = 1},
  {.name = "typeId",
   .alias = "associationTypeId",
   .type = LHSA_INTEGER,
   .required = true,
   .max = INT32_MAXIMUM,
   .column = 2},
  {.name = NULL},
};

/* HubSpot judges the texts, the empty one too. */
static const lhsa_field new_label_fields[] = {
  {.name = "name", .type = LHSA_STRING, .required = true},
  {.name = "label", .type = LHSA_LABEL, .required = true},
  {.name = "inverseLabel", .type = LHSA_LABEL},
  {.name = NULL},
};

static const lhsa_field label_fields[] = {
  {.name = "associationTypeId", .alias = "typeId", .type = LHSA_INTEGER, .required = true, .max = INT32_MAXIMUM},
  {.name = "label", .type = LHSA_LABEL, .required = true},
  {.name = "inverseLabel", .type = LHSA_LABEL},
  {.name = NULL},
};

static const lhsa_field type_fields[] = {
  {.name = "associationCategory", .alias = "category", .type = LHSA_STRING, .required = true},
  {.name = "associationTypeId", .alias = "typeId", .type = LHSA_INTEGER, .required = true, .max = INT32_MAXIMUM},
  {.name = NULL},
};

static const lhsa_field record_fields[] = {
  {.name = "id", .type = LHSA_ID, .required = true, .column = LHSA_OUTER},
  {.name = NULL},
};

#define TYPES_HINT "types:of(\"Employee\") gives it, where types = client:label_types(from, to)"

static const lhsa_field labelled_fields[] = {
  {.name = "from", .type = LHSA_OBJECT, .required = true, .fields = record_fields, .column = 1},
  {.name = "to", .type = LHSA_OBJECT, .required = true, .fields = record_fields, .column = 2},
  {.name = "types", .type = LHSA_LIST, .required = true, .min = 1, .fields = type_fields, .hint = TYPES_HINT},
  {.name = NULL},
};

static const lhsa_field default_fields[] = {
  {.name = "from", .type = LHSA_OBJECT, .required = true, .fields = record_fields, .column = 1},
  {.name = "to", .type = LHSA_OBJECT, .required = true, .fields = record_fields, .column = 2},
  {.name = NULL},
};

static const lhsa_field read_fields[] = {
  {.name = "id", .type = LHSA_ID, .required = true, .column = 1},
  {.name = "after", .type = LHSA_STRING, .column = 2}, /* where the page before ended */
  {.name = NULL},
};

static const lhsa_field archive_fields[] = {
  {.name = "from", .type = LHSA_OBJECT, .required = true, .fields = record_fields, .column = 1},
  {.name = "to", .type = LHSA_LIST, .required = true, .min = 1, .fields = record_fields},
  {.name = NULL},
};

/* HubSpot takes the credentials in the body alone. */
static const lhsa_field oauth_fields[] = {
  {.name = "grant_type", .type = LHSA_STRING, .required = true},
  {.name = "client_id", .type = LHSA_STRING, .required = true},
  {.name = "client_secret", .type = LHSA_STRING, .required = true, .secret = true},
  {.name = "refresh_token", .type = LHSA_STRING, .secret = true},
  {.name = "code", .type = LHSA_STRING, .secret = true},
  {.name = "redirect_uri", .type = LHSA_STRING},
  {.name = "code_verifier", .type = LHSA_STRING, .secret = true},
  {.name = NULL},
};

#define CALL_OPTIONS LHSA_SECONDS("timeout"), LHSA_SECONDS("deadline"), LHSA_ATTEMPTS, LHSA_MORE_HEADERS

static const lhsa_field call_options[] = {
  CALL_OPTIONS,
  {.name = NULL},
};

static const lhsa_field batch_options[] = {
  CALL_OPTIONS,
  {.name = "batch_size", .type = LHSA_INTEGER, .min = 1, .max = INT32_MAXIMUM},
  {.name = NULL},
};

static const lhsa_field list_options[] = {
  CALL_OPTIONS,
  {.name = "after", .type = LHSA_STRING},
  {.name = "limit", .type = LHSA_INTEGER, .min = 1, .max = MAX_PAGE},
  {.name = NULL},
};

static const lhsa_field usage_options[] = {
  CALL_OPTIONS,
  {.name = "from", .type = LHSA_SEGMENT},
  {.name = "to", .type = LHSA_SEGMENT},
  {.name = NULL},
};

#define FROM {.place = LHSA_PATH, .field = {.name = "from", .type = LHSA_SEGMENT, .required = true}}
#define ANY_FROM {.place = LHSA_PATH, .field = {.name = "from", .type = LHSA_SEGMENT}}
#define TO {.place = LHSA_PATH, .field = {.name = "to", .type = LHSA_SEGMENT, .required = true}}
#define TYPE_ID \
  {.place = LHSA_PATH, .field = {.name = "typeId", .type = LHSA_INTEGER, .required = true, .max = INT32_MAXIMUM}}
#define PATH_ID(name_) {.place = LHSA_PATH, .field = {.name = name_, .type = LHSA_ID, .required = true}}
#define BODY(name_, type_, fields_) \
  {.place = LHSA_BODY, .field = {.name = name_, .type = type_, .required = true, .min = 1, .fields = fields_}}
#define LABEL_TYPES                                                                             \
  {.place = LHSA_BODY,                                                                          \
   .field = {.name = "types", .type = LHSA_LIST, .required = true, .min = 1, .fields = type_fields, .hint = TYPES_HINT}}
#define FORM(name_, fields_) \
  {.place = LHSA_FORM, .field = {.name = name_, .type = LHSA_OBJECT, .required = true, .fields = fields_}}
#define INPUTS(fields_) \
  {.place = LHSA_INPUTS, .field = {.name = "inputs", .type = LHSA_LIST, .required = true, .fields = fields_}}

#define LIMIT_IDENTITY {{"category", "category", "category", true}, {"typeId", "typeId", "typeId", false}}
#define PAIR_IDENTITY(from_, to_) {{"from", from_, "fromObjectId", false}, {"to", to_, "toObjectId", false}}

const lhsa_endpoint lhsa_endpoints[] = {
  {
    .name = "batch_update",
    .method = "POST",
    .path = "/crm/associations/{version}/definitions/configurations/{from}/{to}/batch/update",
    .args = {FROM, TO, INPUTS(limit_fields)},
    .options = batch_options,
    .max_inputs = MAX_LIMITS,
    .shape = LHSA_RESULTS,
    .identity = LIMIT_IDENTITY,
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
    .identity = LIMIT_IDENTITY,
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
    .identity = LIMIT_IDENTITY,
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
  {
    .name = "get_labels",
    .method = "GET",
    .path = "/crm/associations/{version}/{from}/{to}/labels",
    .args = {FROM, TO},
    .options = call_options,
    .shape = LHSA_RESULTS,
    .effect = HSA_SAFE,
  },
  {
    .name = "create_label",
    .method = "POST",
    .path = "/crm/associations/{version}/{from}/{to}/labels",
    .args = {FROM, TO, BODY("label", LHSA_OBJECT, new_label_fields)},
    .options = call_options,
    .shape = LHSA_RESULTS,
    .effect = HSA_ONCE,
  },
  {
    .name = "update_label",
    .method = "PUT",
    .path = "/crm/associations/{version}/{from}/{to}/labels",
    .args = {FROM, TO, BODY("label", LHSA_OBJECT, label_fields)},
    .options = call_options,
    .shape = LHSA_TRUE,
    .effect = HSA_IDEMPOTENT,
  },
  {
    .name = "delete_label",
    .method = "DELETE",
    .path = "/crm/associations/{version}/{from}/{to}/labels/{typeId}",
    .args = {FROM, TO, TYPE_ID},
    .options = call_options,
    .shape = LHSA_TRUE,
    .effect = HSA_IDEMPOTENT,
  },
  {
    .name = "associate",
    .method = "POST",
    .path = "/crm/associations/{version}/{from}/{to}/batch/create",
    .path_v4 = "/crm/v4/associations/{from}/{to}/batch/create",
    .args = {FROM, TO, INPUTS(labelled_fields)},
    .options = batch_options,
    .max_inputs = MAX_ASSOCIATED,
    .shape = LHSA_RESULTS,
    .identity = PAIR_IDENTITY("fromObjectId", "toObjectId"),
    .effect = HSA_IDEMPOTENT,
  },
  {
    .name = "associate_default",
    .method = "POST",
    .path = "/crm/associations/{version}/{from}/{to}/batch/associate/default",
    .path_v4 = "/crm/v4/associations/{from}/{to}/batch/associate/default",
    .args = {FROM, TO, INPUTS(default_fields)},
    .options = batch_options,
    .max_inputs = MAX_ASSOCIATED,
    .shape = LHSA_RESULTS,
    .identity = PAIR_IDENTITY("from", "to"),
    .effect = HSA_IDEMPOTENT,
  },
  {
    .name = "read",
    .method = "POST",
    .path = "/crm/associations/{version}/{from}/{to}/batch/read",
    .path_v4 = "/crm/v4/associations/{from}/{to}/batch/read",
    .args = {FROM, TO, INPUTS(read_fields)},
    .options = batch_options,
    .max_inputs = MAX_READ,
    .shape = LHSA_RESULTS,
    .identity = {{"id", "from", "fromObjectId", false}, {"after", NULL, NULL, true}},
    .effect = HSA_SAFE,
  },
  {
    .name = "archive",
    .method = "POST",
    .path = "/crm/associations/{version}/{from}/{to}/batch/archive",
    .path_v4 = "/crm/v4/associations/{from}/{to}/batch/archive",
    .args = {FROM, TO, INPUTS(archive_fields)},
    .options = batch_options,
    .max_inputs = MAX_ARCHIVED,
    .shape = LHSA_RESULTS,
    .identity = {{"from", NULL, "fromObjectId", false}},
    .empty_ok = true,
    .effect = HSA_IDEMPOTENT,
  },
  {
    .name = "archive_labels",
    .method = "POST",
    .path = "/crm/associations/{version}/{from}/{to}/batch/labels/archive",
    .path_v4 = "/crm/v4/associations/{from}/{to}/batch/labels/archive",
    .args = {FROM, TO, INPUTS(labelled_fields)},
    .options = batch_options,
    .max_inputs = MAX_ARCHIVED,
    .shape = LHSA_RESULTS,
    .identity = PAIR_IDENTITY(NULL, NULL),
    .empty_ok = true,
    .effect = HSA_IDEMPOTENT,
  },
  /* HubSpot's specification of associations 2026-09 has no such path; that of objects has it. */
  {
    .name = "list",
    .method = "GET",
    .path = "/crm/objects/{version}/{from}/{fromId}/associations/{to}",
    .path_v4 = "/crm/v4/objects/{from}/{fromId}/associations/{to}",
    .args = {FROM, PATH_ID("fromId"), TO},
    .options = list_options,
    .query = {{"after", "after"}, {"limit", "limit"}},
    .shape = LHSA_RESULTS,
    .effect = HSA_SAFE,
    .is_counted = true,
  },
  {
    .name = "associate_one",
    .method = "PUT",
    .path = "/crm/objects/{version}/{from}/{fromId}/associations/{to}/{toId}",
    .path_v4 = "/crm/v4/objects/{from}/{fromId}/associations/{to}/{toId}",
    .args = {FROM, PATH_ID("fromId"), TO, PATH_ID("toId"), LABEL_TYPES},
    .options = call_options,
    .shape = LHSA_WHOLE,
    .effect = HSA_IDEMPOTENT,
    .is_counted = true,
  },
  {
    .name = "associate_one_default",
    .method = "PUT",
    .path = "/crm/objects/{version}/{from}/{fromId}/associations/default/{to}/{toId}",
    .path_v4 = "/crm/v4/objects/{from}/{fromId}/associations/default/{to}/{toId}",
    .args = {FROM, PATH_ID("fromId"), TO, PATH_ID("toId")},
    .options = call_options,
    .shape = LHSA_WHOLE,
    .effect = HSA_IDEMPOTENT,
    .is_counted = true,
  },
  {
    .name = "archive_one",
    .method = "DELETE",
    .path = "/crm/objects/{version}/{from}/{fromId}/associations/{to}/{toId}",
    .path_v4 = "/crm/v4/objects/{from}/{fromId}/associations/{to}/{toId}",
    .args = {FROM, PATH_ID("fromId"), TO, PATH_ID("toId")},
    .options = call_options,
    .shape = LHSA_TRUE,
    .effect = HSA_IDEMPOTENT,
    .is_counted = true,
  },
  {
    .name = "request_usage_report",
    .method = "POST",
    .path = "/crm/associations/{version}/usage/high-usage-report/{userId}",
    .path_v4 = "/crm/v4/associations/usage/high-usage-report/{userId}",
    .args = {PATH_ID("userId")},
    .options = call_options,
    .shape = LHSA_WHOLE,
    .effect = HSA_ONCE,
    .is_counted = true,
  },
  /* Limits tracking: who is at or near a limit. */
  {
    .name = "get_types_at_limit",
    .method = "GET",
    .path = "/crm/limits/{version}/associations/records/{from}/to",
    .path_v4 = "/crm/v3/limits/associations/records/{from}/to",
    .path_short = "/crm/limits/{version}/associations/records/from",
    .path_short_v4 = "/crm/v3/limits/associations/records/from",
    .args = {ANY_FROM},
    .options = call_options,
    .shape = LHSA_RESULTS,
    .effect = HSA_SAFE,
    .is_counted = true,
  },
  {
    .name = "get_records_at_limit",
    .method = "GET",
    .path = "/crm/limits/{version}/associations/records/{from}/{to}",
    .path_v4 = "/crm/v3/limits/associations/records/{from}/{to}",
    .args = {FROM, TO},
    .options = call_options,
    .shape = LHSA_WHOLE,
    .effect = HSA_SAFE,
    .is_counted = true,
  },
  {
    .name = "get_label_usage",
    .method = "GET",
    .path = "/crm/limits/{version}/associations/labels",
    .path_v4 = "/crm/v3/limits/associations/labels",
    .options = usage_options,
    .query = {{"from", "fromObjectTypeId"}, {"to", "toObjectTypeId"}},
    .shape = LHSA_RESULTS,
    .effect = HSA_SAFE,
    .is_counted = true,
  },
  /* Tokens for a code or a refresh token. Each of them may be good for one answer only. If that is lost, whoever has
   * sent it can do nothing but send it again: so a repetition loses nothing, and mostly gets what it asks for. */
  {
    .name = "oauth",
    .method = "POST",
    .path = "/oauth/2026-09/token",
    .args = {FORM("form", oauth_fields)},
    .options = call_options,
    .shape = LHSA_WHOLE,
    .effect = HSA_IDEMPOTENT,
    .is_private = true,
  },
  {.name = NULL},
};
