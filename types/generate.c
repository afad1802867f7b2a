/* generate.c - writes the type annotations (LuaCATS) of the library to stdout: the hand-written part, given as a file,
 * with classes and functions made of the endpoint table and the lists of options in it. It needs no Lua.
 *
 * In the hand-written part, a line
 *   --: NAME text      describes a call, an argument, a field or an option; CALL.NAME goes before NAME
 *   --= functions      stands for the calls as functions of the module; methods: of a client; async: of client.async
 *   --= options        for the options of assoc.new and assoc.oauth
 *   function both:NAME(...) end, with the comment before it, stands for a function of the module and a method of clients
 * Everything else is copied. For each call it must have an alias hubspot_assoc.result.CALL, and for each option that is
 * a function or a table of a shape of its own, hubspot_assoc.option.NAME. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lhsa.h"

enum { MAX_LINE = 4096, MAX_DESCRIPTIONS = 500, MAX_CLASSES = 100, MAX_NAME = 120 };

static char *descriptions[MAX_DESCRIPTIONS]; /* "NAME text" */
static int ndescriptions;

/* Lists of fields that a class has been written for. */
static struct {
  const lhsa_field *fields;
  char name[MAX_NAME];
} classes[MAX_CLASSES];
static int nclasses;

static void fail(const char *what, const char *name)
{
  fprintf(stderr, "types: %s%s\n", what, name);
  exit(1);
}

/* ---- descriptions ---- */

static const char *find(const char *name)
{
  size_t len = strlen(name);
  int i;

  for (i = 0; i < ndescriptions; i++)
    if (strncmp(descriptions[i], name, len) == 0 && descriptions[i][len] == ' ')
      return descriptions[i] + len + 1;
  return NULL;
}

/* The description of a name, in a call perhaps. */
static const char *describe(const char *call, const char *name)
{
  char full[MAX_NAME];
  const char *text;

  snprintf(full, sizeof full, "%s.%s", call, name);
  text = find(full);
  text = text ? text : find(name);
  if (!text)
    fail("nothing describes ", full);
  return text;
}

static void read_descriptions(FILE *file)
{
  char line[MAX_LINE];

  while (fgets(line, sizeof line, file)) {
    if (strncmp(line, "--: ", 4) != 0)
      continue;
    line[strcspn(line, "\n")] = '\0';
    if (ndescriptions == MAX_DESCRIPTIONS || !(descriptions[ndescriptions++] = strdup(line + 4)))
      fail("too many descriptions", "");
  }
  rewind(file);
}

/* ---- types ---- */

static const char *class_of(const lhsa_field *fields)
{
  int i;

  for (i = 0; i < nclasses; i++)
    if (classes[i].fields == fields)
      return classes[i].name;
  return NULL;
}

static void write_class(const char *call, const char *name, const lhsa_field *fields);

/* Writes the class of the fields that a value has, unless that has been done. */
static void write_inner_class(const char *call, const char *outer, const lhsa_field *field)
{
  char name[MAX_NAME];

  if (!field->fields || class_of(field->fields))
    return;
  snprintf(name, sizeof name, "%s.%s", outer, field->name);
  write_class(call, name, field->fields);
}

static void write_type(const lhsa_field *field)
{
  switch (field->type) {
  case LHSA_INTEGER:
    printf("integer");
    break;
  case LHSA_NUMBER:
    printf("number");
    break;
  case LHSA_BOOLEAN:
    printf("boolean");
    break;
  case LHSA_ID:
    printf("hubspot_assoc.Id");
    break;
  case LHSA_OBJECT:
    printf("%s", class_of(field->fields));
    break;
  case LHSA_LIST:
    printf("%s[]", class_of(field->fields));
    break;
  case LHSA_SWITCH:
    printf("false|%s", field->fields ? class_of(field->fields) : "integer");
    break;
  case LHSA_FUNCTION:
  case LHSA_TOKEN:
  case LHSA_SECRET:
  case LHSA_HEADERS:
  case LHSA_LOOP:
  case LHSA_TABLE:
    printf("hubspot_assoc.option.%s", field->name);
    break;
  default:
    printf("string");
  }
}

static void write_class(const char *call, const char *name, const lhsa_field *fields)
{
  const lhsa_field *field;

  if (class_of(fields))
    return;
  if (nclasses == MAX_CLASSES)
    fail("too many classes", "");
  for (field = fields; field->name; field++)
    write_inner_class(call, name, field);
  classes[nclasses].fields = fields;
  snprintf(classes[nclasses++].name, MAX_NAME, "%s", name);
  printf("---@class %s\n", name);
  for (field = fields; field->name; field++) {
    printf("---@field %s%s ", field->name, field->required ? "" : "?");
    write_type(field);
    printf(" %s\n", describe(call, field->name));
  }
  printf("\n");
}

/* ---- calls ---- */

typedef enum variant { FUNCTION, METHOD, ASYNC } variant;

static void write_classes(const lhsa_endpoint *endpoint)
{
  char name[MAX_NAME];
  int i;

  snprintf(name, sizeof name, "hubspot_assoc.%s", endpoint->name);
  for (i = 0; i < LHSA_MAX_ARGS && endpoint->args[i].field.name; i++)
    write_inner_class(endpoint->name, name, &endpoint->args[i].field);
  snprintf(name, sizeof name, "hubspot_assoc.%s.options", endpoint->name);
  write_class(endpoint->name, name, endpoint->options);
}

static void write_params(const lhsa_endpoint *endpoint)
{
  int i;

  for (i = 0; i < LHSA_MAX_ARGS && endpoint->args[i].field.name; i++) {
    const lhsa_field *field = &endpoint->args[i].field;

    printf("---@param %s%s ", field->name, field->required ? "" : "?");
    write_type(field);
    printf(" %s\n", describe(endpoint->name, field->name));
  }
  printf("---@param options? %s\n", class_of(endpoint->options));
}

static void write_head(const lhsa_endpoint *endpoint, variant which)
{
  static const char *const prefixes[] = {"assoc.", "Client:", "Async:"};
  int i;

  printf("function %s%s(", prefixes[which], endpoint->name);
  for (i = 0; i < LHSA_MAX_ARGS && endpoint->args[i].field.name; i++)
    printf("%s, ", endpoint->args[i].field.name);
  printf("options) end\n\n");
}

static void write_call(const lhsa_endpoint *endpoint, variant which)
{
  const char *text = find(endpoint->name);

  if (!text)
    fail("nothing describes the call ", endpoint->name);
  printf("---%s\n---\n---HubSpot: `%s %s`\n", text, endpoint->method, endpoint->path);
  write_params(endpoint);
  if (which == ASYNC)
    printf("---@return hubspot_assoc.Future future whose results are hubspot_assoc.result.%s\n", endpoint->name);
  else
    printf("---@return hubspot_assoc.result.%s? results\n---@return hubspot_assoc.Errors? errors\n"
           "---@return hubspot_assoc.Response? response\n",
           endpoint->name);
  write_head(endpoint, which);
}

static void write_calls(variant which)
{
  const lhsa_endpoint *endpoint;

  for (endpoint = lhsa_endpoints; endpoint->name; endpoint++) {
    if (endpoint->is_private)
      continue;
    write_classes(endpoint);
    write_call(endpoint, which);
  }
}

/* ---- the whole ---- */

static void write_part(const char *name)
{
  if (strcmp(name, "functions") == 0)
    write_calls(FUNCTION);
  else if (strcmp(name, "methods") == 0)
    write_calls(METHOD);
  else if (strcmp(name, "async") == 0)
    write_calls(ASYNC);
  else if (strcmp(name, "options") == 0) {
    write_class("new", "hubspot_assoc.options", lhsa_client_options);
    write_class("oauth", "hubspot_assoc.oauth.options", lhsa_oauth_options);
  } else
    fail("unknown part ", name);
}

/* The comment lines right before the line that is read. */
static char comment[16 * MAX_LINE];

static void keep_comment(const char *line)
{
  if (strlen(comment) + strlen(line) >= sizeof comment)
    fail("too long a comment: ", line);
  strcat(comment, line);
}

static void write_line(char *line)
{
  static const char both[] = "function both:";

  if (strncmp(line, both, strlen(both)) == 0) {
    printf("%sfunction assoc.%s\n", comment, line + strlen(both));
    printf("%sfunction Client:%s", comment, line + strlen(both));
  } else if (strncmp(line, "--= ", 4) == 0) {
    line[strcspn(line, "\n")] = '\0';
    printf("%s", comment);
    write_part(line + 4);
  } else
    printf("%s%s", comment, line);
  comment[0] = '\0';
}

int main(int argc, char **argv)
{
  FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
  char line[MAX_LINE];

  if (!file)
    fail("usage: types HAND-WRITTEN-PART > FILE", "");
  read_descriptions(file);
  while (fgets(line, sizeof line, file))
    if (strncmp(line, "---", 3) == 0)
      keep_comment(line);
    else if (strncmp(line, "--: ", 4) != 0)
      write_line(line);
  printf("%s", comment);
  return fclose(file) != 0 || fflush(stdout) != 0;
}
