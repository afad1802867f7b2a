/* lhsa.h - what the files of the binding share. Prefix lhsa_.
 *
 * Functions that "push" leave their values on the top of the Lua stack. Any of them may raise
 * Lua's out-of-memory error; what they hold then belongs to a userdata and is freed by its __gc. */
#ifndef LHSA_H
#define LHSA_H

#include "compat.h"
#include "hsa.h"

/* ---- check.c: shapes of arguments ---- */

typedef enum lhsa_type {
  LHSA_STRING,  /* not empty, UTF-8 */
  LHSA_LABEL,   /* UTF-8, may be empty */
  LHSA_SEGMENT, /* string that fits into a path: hsa_check_segment */
  LHSA_HEADER,  /* string that fits into a header: hsa_check_header_value */
  LHSA_ID,      /* record id: a string of digits, or an integer; becomes a string */
  LHSA_INTEGER, /* integer within min and max; a float without a fraction is one */
  LHSA_NUMBER,  /* number within min and max */
  LHSA_BOOLEAN,
  LHSA_FUNCTION,
  LHSA_TOKEN,   /* access token: hsa_check_token; or a function, or a table that can be called as one */
  LHSA_SECRET,  /* as LHSA_HEADER, or likewise */
  LHSA_HEADERS, /* function, or table: names of headers -> values, as hsa_check_header_name and _value want them */
  LHSA_LOOP,    /* string or table: hubspot_assoc.lua knows which */
  LHSA_TABLE,   /* any */
  LHSA_OBJECT,  /* table with `fields` */
  LHSA_SWITCH,  /* false, or as LHSA_OBJECT; without fields as LHSA_INTEGER */
  LHSA_LIST     /* of at least `min` elements; every element is a table with `fields` */
} lhsa_type;

typedef struct lhsa_field {
  const char *name;  /* NULL ends a list of fields */
  const char *alias; /* how other calls name the same, or NULL: it is not accepted, the message says what to write */
  lhsa_type type;
  bool required, secret; /* secret: its value is never shown */
  double min, max;
  const struct lhsa_field *fields;
  int column; /* of what identifies an input: 1, 2, ... of it, or of the record that it is the id of: LHSA_OUTER */
  const char *hint; /* what to write in place of a value that is no list, or NULL */
} lhsa_field;

enum { LHSA_OUTER = -1 };

/* Checks the value at idx (positive), by raw access only: no metamethod runs. Pushes the value as it is sent, itself
 * where nothing had to be changed, else a copy, and returns true; or leaves at the top what is wrong, to be put
 * behind the value's name, and returns false: "[2].typeId: integer expected, got string \"x\"". */
bool lhsa_accept(lua_State *L, int idx, const lhsa_field *field);

/* As lhsa_accept, for a list of inputs; keeps what identifies them in the identities at `kept`, which has room. */
bool lhsa_accept_inputs(lua_State *L, int idx, const lhsa_field *field, int kept);

/* The name among the fields that is most like this one, if any is like it at all; else NULL. */
const char *lhsa_nearest(const lhsa_field *fields, const char *name);

/* Replaces the table at the top by a copy of it, one level deep. */
void lhsa_copy_table(lua_State *L);

/* Raises "bad argument #arg to 'name' (<field's name><the message at the top>)", with the position of
 * the code at this level of the call stack (1: who called the C function). */
int lhsa_bad_argument(lua_State *L, int level, int arg, const char *call, const char *name);

/* Of a call's or a client's own options. */
#define LHSA_SECONDS(name_) {.name = name_, .type = LHSA_NUMBER, .min = 0.001, .max = 1e6}
#define LHSA_MORE_HEADERS {.name = "headers", .type = LHSA_HEADERS, .secret = true}
#define LHSA_ATTEMPTS {.name = "max_attempts", .type = LHSA_INTEGER, .min = 1, .max = 100}

/* ---- fields.c: the options of assoc.new and of assoc.oauth ---- */

extern const lhsa_field lhsa_client_options[], lhsa_oauth_options[];

/* ---- option.c: reading options out of a table that has passed lhsa_accept ----
 * A string is NULL if it is absent, and lives as long as the table. Seconds become microseconds. */

const char *lhsa_string_option(lua_State *L, int idx, const char *name);
bool lhsa_boolean_option(lua_State *L, int idx, const char *name, bool otherwise);
double lhsa_number_option(lua_State *L, int idx, const char *name, double otherwise);
bool lhsa_push_function_option(lua_State *L, int idx, const char *name); /* pushes it; is it a function? */
int64_t lhsa_seconds_option(lua_State *L, int idx, const char *name, int64_t otherwise);

/* The point in time this many seconds from now; over 1e9 is never. */
int64_t lhsa_until(double seconds);

/* The interpreter answers Ctrl-C by a debug hook, which runs only when Lua does. So who waits in C until a point in
 * time pauses on the way: at lhsa_next_pause the hook, if there is one, is given the chance. It may raise. */
int64_t lhsa_next_pause(int64_t until);
void lhsa_run_hook(lua_State *L);

/* ---- interrupt.c: Ctrl-C in a function of the user's ---- */

/* As lua_pcall without a message handler; but what interrupts the program is raised. */
int lhsa_pcall(lua_State *L, int nargs, int nresults);

/* The parts of that, for Lua: forget_interruption(), a message handler, and answered(xpcall(fn, note_interruption)) ->
 * what xpcall gave, of a failure two values: the first is nil where it was an interruption. */
int lhsa_forget_interruption(lua_State *L);
int lhsa_note_interruption(lua_State *L);
int lhsa_answered(lua_State *L);

/* ---- headers.c: more request headers ----
 * As the engine takes them: lines "Name: value", each ended by a line break. */

/* Pushes the lines of the value at idx, which has passed lhsa_accept as LHSA_HEADERS, or as it is if it is a string or
 * nil already. A function is called: it may not yield. Else pushes why there are none, and returns false: of a table
 * what goes behind its name, of a function a sentence. */
bool lhsa_push_headers(lua_State *L, int idx);

/* Replaces the two strings at the top by one: the upper one's lines go over those of the same name in the other. */
void lhsa_join_header_lines(lua_State *L);

/* The next of the lines, which are then those behind it; its name is so long. False: there is none. */
bool lhsa_next_header(const char **lines, hsa_param *header, size_t *name_len);

/* ---- endpoint.c: the API calls ---- */

enum { LHSA_MAX_ARGS = 5, LHSA_MAX_QUERY = 2, LHSA_MAX_IDENTITY = 2 };

typedef enum lhsa_place {
  LHSA_PATH,   /* the segment of that name in the path */
  LHSA_INPUTS, /* body {"inputs": [...]}, split into several requests where it is too long */
  LHSA_BODY,   /* the body itself */
  LHSA_FORM    /* the fields of the body, a form; those that are secret are masked wherever a server repeats them */
} lhsa_place;

typedef struct lhsa_argument {
  lhsa_place place;
  lhsa_field field;
} lhsa_argument;

typedef struct lhsa_query {
  const char *option, *name; /* the option's, and the query parameter's */
} lhsa_query;

/* What tells an input from others. Of a record, { id = }, its id counts. */
typedef struct lhsa_identity {
  const char *input;   /* its field */
  const char *result;  /* that of its result, if it has one */
  const char *context; /* in the context of its error; NULL: no result and no error tells it. Such rows come last */
  bool is_text;        /* else it is a whole number */
} lhsa_identity;

typedef enum lhsa_shape {
  LHSA_RESULTS, /* the array `results` of the answer; an answer without content gives {} */
  LHSA_WHOLE,   /* the answer's object */
  LHSA_TRUE     /* true; the answer has no content of interest */
} lhsa_shape;

typedef struct lhsa_endpoint {
  const char *name;
  const char *method;
  const char *path;    /* of the dated API versions; {version} stands for one */
  const char *path_v4; /* NULL: the same */
  const char *path_short, *path_short_v4; /* without the argument that is not required */
  lhsa_argument args[LHSA_MAX_ARGS]; /* up to the first whose field has no name */
  const lhsa_field *options; /* call options */
  lhsa_query query[LHSA_MAX_QUERY]; /* options that go into the query, up to the first without a name */
  lhsa_identity identity[LHSA_MAX_IDENTITY]; /* of inputs; each that differs has a result of its own, unless empty_ok */
  int max_inputs;            /* of one request */
  lhsa_shape shape;
  hsa_effect effect;
  bool empty_ok; /* LHSA_RESULTS: there is nothing to give but {} */
  bool is_private; /* no call of the API, but for a room above (core.private_calls): it bears no token, and its answers
                      are secret */
  bool is_counted; /* by the app's ten-second limit, from which HubSpot exempts the other calls */
} lhsa_endpoint;

extern const lhsa_endpoint lhsa_endpoints[]; /* the last one's name is NULL */

/* ---- codec.c, decode.c, text.c: JSON through a private cjson instance ---- */

/* Loads lua-cjson and keeps an instance of our own; raises if there is none. */
void lhsa_codec_open(lua_State *L);

/* Pushes the JSON text of the value at idx; it must have passed lhsa_accept. */
void lhsa_encode(lua_State *L, int idx);

/* Pushes that of the objects first to last of the list at idx, with commas between them, behind `head` and before
 * `tail`: the same, and faster, for objects whose numbers are whole and not negative. fields: that they have. */
void lhsa_encode_objects(lua_State *L, int idx, int first, int last, const lhsa_field *fields, const char *head,
                         const char *tail);

/* What one cannot see of a JSON text in its value. */
typedef struct lhsa_json {
  bool is_object; /* it begins as one does */
  bool has_list;  /* its field `results` is a list */
  bool is_out_of_memory; /* why it could not be decoded */
} lhsa_json;

/* Pushes the value of a JSON text, which ends with a NUL, and returns true: integers are integers, record ids strings,
 * nulls in objects absent. Else pushes what is wrong and returns false. */
bool lhsa_decode(lua_State *L, const char *json, size_t len, lhsa_json *shape);

/* Pushes a copy of the value at idx (positive), through and through, in which the call's token is masked. */
void lhsa_push_masked(lua_State *L, int idx, const hsa_call *call);

bool lhsa_is_utf8(const char *text, size_t len);

/* Where the element number n (from 1) of the JSON list begins whose '[' is at `list`; the list must have it. */
const char *lhsa_json_element(const char *list, int n);

typedef struct lhsa_client lhsa_client;

/* ---- identity.c: what identifies the inputs of a call ---- */

typedef struct lhsa_identities {
  const lhsa_identity *columns;
  int n, ncolumns, ntold; /* inputs; columns; those that results and errors have, too: the first ones */
  uint64_t ntexts;        /* different ones; number 1 is, mostly the only one: */
  char first_text[32];
  size_t first_len;       /* 0: there is none */
  bool has_texts;         /* others are in a table, their user value */
  const char *last_text;  /* of those, looked up last, and its number */
  uint64_t last_number;
  uint64_t value[];       /* a row for each input */
} lhsa_identities;

/* Pushes room for those of n inputs. */
lhsa_identities *lhsa_push_identities(lua_State *L, const lhsa_endpoint *endpoint, int n);

/* Keeps the value at idx as that of an input and a column, both from 0. `kept`: index of the identities. */
void lhsa_keep_identity(lua_State *L, int kept, lhsa_identities *ids, int input, int column, int idx);

/* As what the value at idx would have been kept; false: as nothing that any input has. */
bool lhsa_read_identity(lua_State *L, int kept, lhsa_identities *ids, int column, int idx, uint64_t *value);

/* ---- match.c: which input is meant ---- */

typedef struct lhsa_request_info {
  lhsa_client *client;
  const lhsa_endpoint *endpoint;
  const char *from, *to; /* as given to the call; or NULL */
  int first, last;       /* inputs of this request, 1-based */
  int left;              /* the one of them that nothing came for, if that is certain; or 0 */
  bool is_part;          /* one of several requests */
  const hsa_call *request; /* that the outcome is of; NULL: it was never sent */
} lhsa_request_info;

typedef struct lhsa_match {
  bool is_in_order; /* there is one result for each input, in their order, and no error */
  int promised; /* so many results belong to inputs that are not alike */
  int left;     /* the one input of the call for which nothing came, if that is certain; or 0 */
} lhsa_match;

/* Sets `index` on those of a request's results and errors, which are in two lists, of which it is certain what input
 * of the call they mean. kept: index of the call's identities. */
lhsa_match lhsa_match_inputs(lua_State *L, int kept, const lhsa_request_info *info, int results, int errors);

/* ---- error.c: error tables ---- */

/* Pushes a new list of errors. */
void lhsa_push_errors(lua_State *L);

/* Makes the table at the top an error. */
void lhsa_make_error(lua_State *L);

/* Lua: errors(list [, level]) -> a list of errors as a call returns it, of tables with at least kind and message, or of
 * strings, which become errors of kind "config". Errors of ours are taken as they are, other tables copied. Raises if
 * the list is empty or wrong, with the position of the code at this level of the call stack (1: the caller). */
int lhsa_errors(lua_State *L);

/* Set a field of the table at the top. A string that is NULL leaves it absent. */
void lhsa_set_string(lua_State *L, const char *name, const char *value);
void lhsa_set_number(lua_State *L, const char *name, double value);
void lhsa_set_integer(lua_State *L, const char *name, int64_t value);
void lhsa_set_boolean(lua_State *L, const char *name, bool value);

/* Pushes the metatable of a new type of userdata with these methods; `collect` is its __gc, or NULL. */
void lhsa_push_type(lua_State *L, const char *type, const luaL_Reg *methods, lua_CFunction collect);

/* ---- client.c ---- */

typedef struct lhsa_census lhsa_census;

struct lhsa_client {
  hsa_engine *engine;    /* NULL once closed and done with */
  bool is_closed;
  char *token;           /* NULL: a function's, or the environment's at the time of a call */
  const char *problem;   /* a setting of the environment cannot be used: calls fail with this; the user value has it */
  char version[8];       /* "v4", "2026-03" */
  bool is_finalized;     /* it is closed, and what it had is gone */
  bool has_token_function, has_on_event, has_limiter, has_transport; /* in the user value, by their options' names */
  bool has_headers;          /* likewise */
  bool may_have_thread;
  bool keeps_exchanges; /* "done" events hold request and answer: for recordings */
  int64_t timeout, deadline; /* us */
  int max_attempts;
  int64_t ncalls;            /* so many have been made */
  int64_t errors[HSA_PENDING]; /* so many their errors lists had, by kind */
  hsa_stats stats;           /* once the engine is gone: its last ones */
  lhsa_census *census;       /* of its Lua state */
};

void lhsa_client_open(lua_State *L);

/* Pushes the table of all clients' methods. */
void lhsa_push_client_methods(lua_State *L);

/* Lua: new(options [, level [, name [, shares]]]) -> client, a closure over the module. Raises if the options are
 * wrong, with the position of the code at this level of the call stack (as in `error`, 1: the caller) and this
 * function's name. So many processes share the rate (1). */
int lhsa_client_new(lua_State *L);

/* The client at idx, or NULL. */
lhsa_client *lhsa_to_client(lua_State *L, int idx);

/* Pushes the default client, made on first use. */
void lhsa_push_default_client(lua_State *L);

/* Makes the client at idx the default one, unless it is nil; pushes the default client, or nil if there is none yet. */
void lhsa_default_client(lua_State *L, int idx);

/* Lua: configure(options) -> client, likewise. Replaces the default client. */
int lhsa_configure(lua_State *L);

/* Lua: check_oauth(options, level): raises if the options of assoc.oauth are wrong; level as in `error`. */
int lhsa_check_oauth(lua_State *L);

enum { LHSA_KEEPERS = 1 }; /* the place of the first spare one in a client's user value, or false */

/* Pushes what the client has by this name: "access_token", "on_event", "limiter", "transport" (functions and a table of
 * the user's), "headers" (lines, or a function), "user_agent". */
void lhsa_client_value(lua_State *L, int client, const char *name);

/* ---- call.c (with call.h, make.c, run.c, question.c) ---- */

void lhsa_call_open(lua_State *L);

/* Lua closures over an endpoint (upvalue 1, light userdata):
 * start(client, ...) -> call, for the Lua layer; wrong arguments are blamed on its caller's caller;
 * check(client, ...) raises as start does, and makes nothing;
 * method(client, ...) and function(...) on the default client -> results, errors, response. */
int lhsa_start(lua_State *L);
int lhsa_check(lua_State *L);
int lhsa_method(lua_State *L);
int lhsa_function(lua_State *L);

/* ---- file.c: files as Lua's io does not give them ---- */

void lhsa_file_open(lua_State *L);

/* Lua: open_file(path) -> file, made for its owner alone if it is not there; or nil and why not. Its methods are told
 * where they are. Everything that can go wrong returns nil and what the system says. */
int lhsa_open_file(lua_State *L);

/* Lua: absolute_path(path) -> the same path, from the root, for who may change its folder before the file is opened. */
int lhsa_absolute_path(lua_State *L);

/* ---- reply.c: outcomes become results, errors and a response ---- */

/* What a call needs and what it has received so far is kept in a list, its user value, in these slots. */
enum {
  LHSA_CLIENT = 1,  /* keeps it alive */
  LHSA_BODIES,      /* JSON text; a list of them where there are several requests */
  LHSA_PARTS,       /* a stack of such texts: parts of a request whose answer was too large */
  LHSA_SENT_BODY,   /* that of the request under way */
  LHSA_HEADER_LINES, /* or nil */
  LHSA_IDENTITIES,  /* of all inputs */
  LHSA_RESULTS_SO_FAR,
  LHSA_ERRORS,
  LHSA_RESPONSE,    /* the last one */
  LHSA_REQUESTS,    /* all responses, where there are several requests */
  LHSA_NEW_TOKEN,   /* the one to send, while leave is asked for */
  LHSA_REFUSAL,     /* why it cannot go on */
  LHSA_EVENT_ERROR, /* what on_event raised */
  LHSA_SECRETS,     /* of a form: a list of texts, each as it is and as it is sent */
  LHSA_KEEPER,      /* of the request under way */
  LHSA_SLOTS = LHSA_KEEPER
};

/* Sets `rate_limit` on the table at the top, if the headers told anything of it. */
void lhsa_set_rate_limit(lua_State *L, const hsa_rate_limit *rate);

/* Pushes a table of what the headers told of the rate limit. */
void lhsa_push_rate_limit(lua_State *L, const hsa_rate_limit *rate);

/* How much there is, for what is added in several steps. */
typedef struct lhsa_reply_mark {
  bool is_dirty; /* something is being added */
  bool has_results;
  int results, errors, requests;
} lhsa_reply_mark;

/* Takes back what has been added since lhsa_reply_commit; allocates nothing. */
void lhsa_reply_rewind(lua_State *L, int reply, lhsa_reply_mark *mark);
void lhsa_reply_commit(lua_State *L, int reply, lhsa_reply_mark *mark);

/* Adds the outcome of a request, or of what was never sent. */
void lhsa_reply_add(lua_State *L, int reply, const lhsa_request_info *info, const hsa_outcome *outcome);

/* Pushes results, errors, response. */
int lhsa_reply_push(lua_State *L, int reply);

#endif
