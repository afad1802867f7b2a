/* match.c - which input is meant? Results and errors are matched with the inputs of their request by what identifies
 * these: HubSpot promises no order of its results, and gives its errors no index.
 *
 * When a call is made, what identifies each input is kept, a value a column of the endpoint's row, in one flat list.
 * Inputs that are the same in it are alike: they form a group, known by its first member. Positions are those within
 * the request, from 1; 0 is none.
 *
 * 1. What names a single input means that one.
 * 2. What names inputs that are alike is given to them in order, if it is a result for each or an error for each.
 * 3. An error that names none means the one input for which nothing came, if it is the only such error and everything
 *    else was matched one to one.
 * Whatever else has no index. docs/design.md has the reasons. */
#include <stdio.h>
#include <string.h>

#include "lhsa.h"

/* An input. */
typedef struct member {
  int first; /* of its group */
  /* of the first one: */
  int size, came, failed; /* inputs, results, errors */
  int given;              /* the last member that was given one */
  bool is_apart;          /* what no result tells differs in them, perhaps */
} member;

typedef struct matching {
  const lhsa_identity *identity;
  int ncolumns;
  int kept, offset; /* what identifies the call's inputs; how many come before the request's */
  int ninputs, nresults, nerrors;
  int ntold;        /* columns that results and errors have, too: the first ones; they tell groups apart */
  int results, errors; /* lists */
  int groups;       /* table: what tells a group, as a text -> first member */
  int columns;      /* list, a table a column: value as a text -> first member; AMBIGUOUS: several groups have it */
  member *member;   /* [1] is the first input; [0] counts what names none */
  int *result_group, *error_group; /* of result and error number: a first member, or none */
} matching;

enum { AMBIGUOUS = -1, FOREIGN = -2 }; /* no group: several may be meant; none of the inputs is */

static int count_columns(const lhsa_endpoint *endpoint)
{
  int n = 0;

  while (n < LHSA_MAX_IDENTITY && endpoint->identity[n].input)
    n++;
  return n;
}

/* Puts a record's id in its place at the top, if it is a record: { id = }. */
static void take_id(lua_State *L)
{
  if (!lua_istable(L, -1))
    return;
  lua_pushliteral(L, "id");
  lua_rawget(L, -2);
  lua_replace(L, -2);
}

void lhsa_push_identities(lua_State *L, const lhsa_endpoint *endpoint, int inputs)
{
  int ncolumns = count_columns(endpoint), n = (int)lua_rawlen(L, inputs), names = lua_gettop(L) + 1, kept, i, c;

  luaL_checkstack(L, LHSA_MAX_IDENTITY + 6, NULL);
  for (c = 0; c < ncolumns; c++)
    lua_pushstring(L, endpoint->identity[c].input);
  lua_createtable(L, n * ncolumns, 0);
  kept = lua_gettop(L);
  for (i = 0; i < n; i++) {
    lua_rawgeti(L, inputs, i + 1);
    for (c = 0; c < ncolumns; c++) {
      lua_pushvalue(L, names + c);
      lua_rawget(L, kept + 1);
      take_id(L);
      if (lua_isnil(L, -1)) { /* the list has no holes */
        lua_pop(L, 1);
        lua_pushboolean(L, 0);
      }
      lua_rawseti(L, kept, i * ncolumns + c + 1);
    }
    lua_pop(L, 1);
  }
  lua_replace(L, names);
  lua_settop(L, names);
}

/* ---- results in the order of the inputs, which cost next to nothing ---- */

/* Does the table at the top have in the columns, whose names in results begin at `names`, what the input has? */
static bool is_result_of(lua_State *L, const matching *m, int names, int input)
{
  int result = lua_gettop(L), c;
  bool is_same = true;

  for (c = 0; c < m->ncolumns && is_same; c++) {
    if (m->identity[c].result) {
      lua_pushvalue(L, names + c);
      lua_rawget(L, result);
      take_id(L);
    } else
      lua_pushboolean(L, 0); /* an input that has this may be apart from one that is alike */
    lua_rawgeti(L, m->kept, (m->offset + input - 1) * m->ncolumns + c + 1);
    is_same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
  }
  return is_same;
}

/* Gives each result its index; false, and some may have one, if there is not one for each input in their order. */
static bool match_in_order(lua_State *L, const matching *m)
{
  int names = lua_gettop(L) + 1, name_of_index = names + m->ncolumns, i, c;
  bool is_same = m->nerrors == 0 && m->nresults == m->ninputs;

  for (c = 0; c < m->ncolumns; c++)
    lua_pushstring(L, m->identity[c].result);
  lua_pushliteral(L, "index");
  for (i = 1; i <= m->ninputs && is_same; i++) {
    lua_rawgeti(L, m->results, i);
    is_same = lua_istable(L, -1) && is_result_of(L, m, names, i);
    if (is_same) {
      lua_pushvalue(L, name_of_index);
      lua_pushinteger(L, m->offset + i);
      lua_rawset(L, -3);
    }
    lua_pop(L, 1);
  }
  lua_settop(L, names - 1);
  return is_same;
}

/* ---- groups ---- */

/* Makes a text of the value at the top: "007" is the record "7". False, and the value is gone, if it is none. */
static bool make_text(lua_State *L)
{
  char number[32];
  const char *text = NULL;

  if (lua_type(L, -1) == LUA_TNUMBER) {
    snprintf(number, sizeof number, "%.0f", lua_tonumber(L, -1)); /* 279.0 is 279, too */
    text = number;
  } else if (lua_type(L, -1) == LUA_TSTRING)
    text = lua_tostring(L, -1) + strspn(lua_tostring(L, -1), "0");
  if (text)
    lua_pushstring(L, text);
  lua_remove(L, text ? -2 : -1);
  return text != NULL;
}

/* Replaces the texts at the top, one for each column that tells groups apart, by one. */
static void join(lua_State *L, const matching *m)
{
  if (m->ntold < 2)
    return;
  lua_pushliteral(L, "\n");
  lua_insert(L, -2);
  lua_concat(L, 3);
}

/* Pops a text; what the table at idx has for it. */
static int look_up(lua_State *L, int idx)
{
  int found;

  lua_rawget(L, idx);
  found = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return found;
}

/* Sets what the table at idx has for the text at the top, which is kept. */
static void note(lua_State *L, int idx, int value)
{
  lua_pushvalue(L, -1);
  lua_pushinteger(L, value);
  lua_rawset(L, idx);
}

static void push_kept(lua_State *L, const matching *m, int input, int column)
{
  lua_rawgeti(L, m->kept, (m->offset + input - 1) * m->ncolumns + column + 1);
}

/* Has the input anything in a column that no result and no error tells? */
static bool is_apart(lua_State *L, const matching *m, int input)
{
  bool has = false;
  int c;

  for (c = m->ntold; c < m->ncolumns; c++) {
    push_kept(L, m, input, c);
    has = has || lua_toboolean(L, -1);
    lua_pop(L, 1);
  }
  return has;
}

static int group_inputs(lua_State *L, matching *m)
{
  int i, c, first, ngroups = 0;

  for (i = 1; i <= m->ninputs; i++) {
    for (c = 0; c < m->ntold; c++) {
      push_kept(L, m, i, c);
      make_text(L);
    }
    join(L, m);
    lua_pushvalue(L, -1);
    first = look_up(L, m->groups);
    if (first == 0) {
      first = i;
      ngroups++;
      note(L, m->groups, first);
    }
    lua_pop(L, 1);
    m->member[i].first = first;
    m->member[first].size++;
    m->member[first].is_apart = m->member[first].is_apart || is_apart(L, m, i);
  }
  return ngroups;
}

/* Pushes the table that finds groups by one column alone; it is made when it is first needed. */
static void push_column(lua_State *L, const matching *m, int column)
{
  int i, table, other;

  lua_rawgeti(L, m->columns, column + 1);
  if (!lua_isnil(L, -1))
    return;
  lua_pop(L, 1);
  lua_newtable(L);
  table = lua_gettop(L);
  for (i = 1; i <= m->ninputs; i++) {
    push_kept(L, m, i, column);
    make_text(L);
    lua_pushvalue(L, -1);
    other = look_up(L, table);
    note(L, table, other == 0 || other == m->member[i].first ? m->member[i].first : AMBIGUOUS);
    lua_pop(L, 1);
  }
  lua_pushvalue(L, -1);
  lua_rawseti(L, m->columns, column + 1);
}

/* Pops a text; the group that alone has it in the column, 0 or AMBIGUOUS. */
static int find_in_column(lua_State *L, const matching *m, int column)
{
  int found;

  push_column(L, m, column);
  lua_insert(L, -2);
  found = look_up(L, lua_gettop(L) - 1);
  lua_pop(L, 1);
  return found;
}

/* ---- what results and errors name ---- */

/* The group that the result at the top is of, or 0; pops it. */
static int group_of_result(lua_State *L, const matching *m)
{
  int result = lua_gettop(L), found = 0, c;

  for (c = 0; c < m->ntold && lua_istable(L, result); c++) {
    lua_getfield(L, result, m->identity[c].result);
    take_id(L);
    if (!make_text(L))
      break;
  }
  if (c == m->ntold) {
    join(L, m);
    found = look_up(L, m->groups);
  }
  lua_settop(L, result - 1);
  return found;
}

/* Pushes the one value, as a text, that the error at idx has by this name in its context: HubSpot gives lists of
 * strings. False, and nothing is pushed, if there is none, or several. */
static bool push_named(lua_State *L, int idx, const char *name)
{
  int top = lua_gettop(L);

  lua_getfield(L, idx, "context");
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, name);
    if (lua_istable(L, -1) && lua_rawlen(L, -1) == 1)
      lua_rawgeti(L, -1, 1);
    if (make_text(L)) {
      lua_replace(L, top + 1);
      lua_settop(L, top + 1);
      return true;
    }
  }
  lua_settop(L, top);
  return false;
}

/* The group of the record, of whichever side, that the error at idx names; AMBIGUOUS: it is not the only one. */
static int group_of_id(lua_State *L, const matching *m, int idx)
{
  static const char *const names[] = {"objectId", "id", "ids", "objectIds", NULL};
  int i, c, found = 0, other;

  for (i = 0; names[i] && found == 0; i++)
    for (c = 0; c < m->ntold && push_named(L, idx, names[i]); c++) {
      other = find_in_column(L, m, c);
      found = found == 0 || found == other ? other : other == 0 ? found : AMBIGUOUS;
    }
  return found;
}

/* The group that the error at idx names in its context; 0: it names none. */
static int group_in_context(lua_State *L, const matching *m, int idx)
{
  int top = lua_gettop(L), last = 0, named = 0, found, c;

  for (c = 0; c < m->ntold; c++)
    if (push_named(L, idx, m->identity[c].context)) {
      named++;
      last = c;
    }
  if (named == 0)
    return group_of_id(L, m, idx);
  if (named == m->ntold) {
    join(L, m);
    found = look_up(L, m->groups);
  } else
    found = find_in_column(L, m, last); /* there are two columns at most */
  lua_settop(L, top);
  return found ? found : FOREIGN;
}

/* The group that the error at the top names, in its own context or in that of its only detail, or 0; pops it. */
static int group_of_error(lua_State *L, const matching *m)
{
  int error = lua_gettop(L), found = group_in_context(L, m, error);

  if (found == 0) {
    lua_getfield(L, error, "errors");
    if (lua_istable(L, -1) && lua_rawlen(L, -1) == 1) {
      lua_rawgeti(L, -1, 1);
      if (lua_istable(L, -1))
        found = group_in_context(L, m, lua_gettop(L));
    }
  }
  lua_settop(L, error - 1);
  return found;
}

static void find_named(lua_State *L, matching *m)
{
  int i, group;

  for (i = 1; i <= m->nresults; i++) {
    lua_rawgeti(L, m->results, i);
    m->result_group[i] = group_of_result(L, m);
    m->member[m->result_group[i]].came++;
  }
  for (i = 1; i <= m->nerrors; i++) {
    lua_rawgeti(L, m->errors, i);
    group = group_of_error(L, m);
    m->error_group[i] = group;
    m->member[group > 0 ? group : 0].failed++;
  }
}

/* ---- giving ---- */

/* The input that is meant by the next result, or error, that names this group; 0: none is certain. */
static int next_of_group(matching *m, int group, bool is_error)
{
  member *first = &m->member[group];
  int size = first->size;

  if (group == 0 || size == 1)
    return group;
  if (first->is_apart || (is_error ? first->failed != size || first->came : first->came != size || first->failed))
    return 0;
  do
    first->given++;
  while (m->member[first->given].first != group);
  return first->given;
}

/* Sets or removes the index of element i of the list at idx. */
static void set_index(lua_State *L, const matching *m, int idx, int i, int input)
{
  lua_rawgeti(L, idx, i);
  if (lua_istable(L, -1)) {
    if (input)
      lua_pushinteger(L, m->offset + input);
    else
      lua_pushnil(L); /* whatever the server put there */
    lua_setfield(L, -2, "index");
  }
  lua_pop(L, 1);
}

/* The one input for which nothing came, while for each other one thing did; or 0. */
static int find_left(const matching *m)
{
  int i, left = 0;

  if (m->member[0].came > 0) /* results of nobody knows what */
    return 0;
  for (i = 1; i <= m->ninputs; i++) {
    const member *group = &m->member[i];

    if (group->first != i || group->came + group->failed == group->size)
      continue;
    if (left || group->size > 1 || group->came + group->failed > 0)
      return 0;
    left = i;
  }
  return left;
}

/* left: the input that is meant by an error which names none, if it is the only one. */
static void give(lua_State *L, matching *m, int left)
{
  int i, group;

  for (i = 1; i <= m->nresults; i++)
    set_index(L, m, m->results, i, next_of_group(m, m->result_group[i], false));
  for (i = 1; i <= m->nerrors; i++) {
    group = m->error_group[i];
    if (m->ninputs == 1)
      group = 1;
    else if (group > 0)
      group = next_of_group(m, group, true);
    else
      group = group != FOREIGN && m->member[0].failed == 1 ? left : 0;
    set_index(L, m, m->errors, i, group);
  }
}

static lhsa_match match_groups(lua_State *L, matching *m, bool has_results)
{
  lhsa_match match;
  size_t n = (size_t)(m->ninputs + 1) * sizeof *m->member + (size_t)(m->nresults + m->nerrors + 2) * sizeof(int);

  luaL_checkstack(L, 20, NULL);
  m->member = memset(lua_newuserdata(L, n), 0, n);
  m->result_group = (int *)(m->member + m->ninputs + 1);
  m->error_group = m->result_group + m->nresults + 1;
  lua_newtable(L);
  m->groups = lua_gettop(L);
  lua_newtable(L);
  m->columns = lua_gettop(L);
  match.promised = group_inputs(L, m);
  find_named(L, m);
  match.left = has_results ? find_left(m) : 0;
  give(L, m, match.left);
  match.left += match.left ? m->offset : 0;
  return match;
}

lhsa_match lhsa_match_inputs(lua_State *L, int kept, const lhsa_request_info *info, int results, int errors)
{
  int top = lua_gettop(L);
  matching m = {
    .identity = info->endpoint->identity,
    .ncolumns = count_columns(info->endpoint),
    .kept = kept,
    .offset = info->first - 1,
    .ninputs = info->last - info->first + 1,
    .results = results,
    .nresults = (int)lua_rawlen(L, results),
    .errors = errors,
    .nerrors = (int)lua_rawlen(L, errors),
  };
  lhsa_match match = {.promised = m.ninputs};

  while (m.ntold < m.ncolumns && m.identity[m.ntold].context)
    m.ntold++;
  if (info->endpoint->empty_ok && m.nerrors == 0)
    match.promised = 0;
  else if (!match_in_order(L, &m))
    match = match_groups(L, &m, !info->endpoint->empty_ok);
  lua_settop(L, top);
  return match;
}
