/* match.c - which input is meant? Results and errors are matched with the inputs of their request by what identifies
 * these: HubSpot promises no order of its results, and gives its errors no index.
 *
 * What identifies each input was kept when the call was made (identity.c). Inputs that are the same in it are alike:
 * they form a group, known by its first member. Positions are those within the request, from 1; 0 is none.
 *
 * 1. What names a single input means that one.
 * 2. What names inputs that are alike is given to them in order, if it is a result for each or an error for each.
 * 3. An error that names none means the one input for which nothing came, if it is the only such error and everything
 *    else was matched one to one.
 * Whatever else has no index. docs/design.md has the reasons. */
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

/* A hash table of groups: by all columns that are told, or by one. */
typedef struct finder {
  int first_column, ncolumns;
  int *slot; /* a first member; negative: several groups have the same; 0: free. NULL: not made yet */
} finder;

typedef struct matching {
  const lhsa_identity *columns;
  const uint64_t *value; /* of the request's inputs, in rows */
  int ncolumns, ntold;   /* in a row; those that results and errors have, too: they tell groups apart */
  int kept;              /* index of the call's identities: */
  lhsa_identities *ids;
  int offset;            /* inputs of the call before those of the request */
  int ninputs, nresults, nerrors;
  int results, errors;   /* lists */
  size_t nslots;         /* of each finder: a power of 2 */
  finder groups, column[LHSA_MAX_IDENTITY];
  int *free_slots;       /* for finders */
  member *member;        /* [1] is the first input; [0] counts what names none */
  int *result_group, *error_group; /* of result and error number: a first member, or none */
} matching;

enum { AMBIGUOUS = -1, FOREIGN = -2 }; /* no group: several may be meant; none of the inputs is */

/* Puts a record's id in its place at the top, if it is a record: { id = }. */
static void take_id(lua_State *L)
{
  if (!lua_istable(L, -1))
    return;
  lua_pushliteral(L, "id");
  lua_rawget(L, -2);
  lua_replace(L, -2);
}

static const uint64_t *row_of(const matching *m, int input)
{
  return m->value + (size_t)(input - 1) * (size_t)m->ncolumns;
}

/* Has the input anything in a column that no result and no error tells? It may be apart from one that is alike. */
static bool is_apart(const matching *m, int input)
{
  int c;

  for (c = m->ntold; c < m->ncolumns; c++)
    if (row_of(m, input)[c])
      return true;
  return false;
}

/* ---- results in the order of the inputs, which cost next to nothing ---- */

/* Does the table at the top have in the columns, whose names in results begin at `names`, what the input has? Leaves
 * what it has looked at on the stack. */
static bool is_result_of(lua_State *L, const matching *m, int names, int input)
{
  int result = lua_gettop(L), c;
  bool is_same = !is_apart(m, input);
  uint64_t value;

  for (c = 0; c < m->ntold && is_same; c++) {
    lua_pushvalue(L, names + c);
    lua_rawget(L, result);
    take_id(L);
    is_same = lhsa_read_identity(L, m->kept, m->ids, c, result + 1 + c, &value) && value == row_of(m, input)[c];
  }
  return is_same;
}

/* Gives each result its index; false, and some may have one, if there is not one for each input in their order. */
static bool match_in_order(lua_State *L, const matching *m)
{
  int names = lua_gettop(L) + 1, name_of_index = names + m->ntold, i, c;
  bool is_same = m->nerrors == 0 && m->nresults == m->ninputs;

  for (c = 0; c < m->ntold; c++)
    lua_pushstring(L, m->columns[c].result);
  lua_pushliteral(L, "index");
  for (i = 1; i <= m->ninputs && is_same; i++) {
    lua_rawgeti(L, m->results, i);
    is_same = lua_istable(L, -1) && is_result_of(L, m, names, i);
    if (is_same) {
      lua_pushvalue(L, name_of_index);
      lua_pushinteger(L, m->offset + i);
      lua_rawset(L, name_of_index + 1);
    }
    lua_settop(L, name_of_index);
  }
  lua_settop(L, names - 1);
  return is_same;
}

/* ---- groups ---- */

/* Where the finder has the group with these values, of its columns, or would have it. */
static int *slot_of(const matching *m, const finder *finder, const uint64_t *values)
{
  uint64_t hash = 0;
  size_t at, mask = m->nslots - 1, size = (size_t)finder->ncolumns * sizeof *values;
  int c, input;

  for (c = 0; c < finder->ncolumns; c++)
    hash = (hash ^ values[c]) * UINT64_C(0x9E3779B97F4A7C15);
  for (at = (size_t)(hash >> 32) & mask; (input = finder->slot[at]) != 0; at = (at + 1) & mask)
    if (memcmp(row_of(m, input > 0 ? input : -input) + finder->first_column, values, size) == 0)
      break;
  return &finder->slot[at];
}

static void make_finder(matching *m, finder *finder, int first_column, int ncolumns)
{
  finder->first_column = first_column;
  finder->ncolumns = ncolumns;
  finder->slot = m->free_slots;
  m->free_slots += m->nslots;
}

static int group_inputs(matching *m)
{
  int i, ngroups = 0;

  make_finder(m, &m->groups, 0, m->ntold);
  for (i = 1; i <= m->ninputs; i++) {
    int *slot = slot_of(m, &m->groups, row_of(m, i));

    ngroups += *slot == 0;
    if (*slot == 0)
      *slot = i;
    m->member[i].first = *slot;
    m->member[*slot].size++;
    m->member[*slot].is_apart = m->member[*slot].is_apart || is_apart(m, i);
  }
  return ngroups;
}

/* The group that alone has this value in the column, 0 or AMBIGUOUS. */
static int find_in_column(matching *m, int column, uint64_t value)
{
  finder *finder = &m->column[column];
  int i, found;

  if (!finder->slot) {
    make_finder(m, finder, column, 1);
    for (i = 1; i <= m->ninputs; i++) {
      int *slot = slot_of(m, finder, row_of(m, i) + column), first = m->member[i].first;

      *slot = *slot == 0 || *slot == first ? first : *slot > 0 ? -*slot : *slot;
    }
  }
  found = *slot_of(m, finder, &value);
  return found < 0 ? AMBIGUOUS : found;
}

/* ---- what results and errors name ---- */

/* The group that the result at the top is of, or 0; pops it. */
static int group_of_result(lua_State *L, const matching *m)
{
  int result = lua_gettop(L), c;
  uint64_t values[LHSA_MAX_IDENTITY];

  for (c = 0; c < m->ntold && lua_istable(L, result); c++) {
    lua_getfield(L, result, m->columns[c].result);
    take_id(L);
    if (!lhsa_read_identity(L, m->kept, m->ids, c, result + 1, &values[c]))
      break;
    lua_pop(L, 1);
  }
  lua_settop(L, result - 1);
  return c == m->ntold ? *slot_of(m, &m->groups, values) : 0;
}

/* Pushes the one value that the error at idx has by this name in its context: HubSpot gives lists of strings. False,
 * and nothing is pushed, if there is none, or several. */
static bool push_named(lua_State *L, int idx, const char *name)
{
  int top = lua_gettop(L);

  lua_getfield(L, idx, "context");
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, name);
    if (lua_istable(L, -1) && lua_rawlen(L, -1) == 1)
      lua_rawgeti(L, -1, 1);
    if (lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER) {
      lua_replace(L, top + 1);
      lua_settop(L, top + 1);
      return true;
    }
  }
  lua_settop(L, top);
  return false;
}

/* The group of the record, of whichever side, that the error at idx names; AMBIGUOUS: it is not the only one. */
static int group_of_id(lua_State *L, matching *m, int idx)
{
  static const char *const names[] = {"objectId", "id", "ids", "objectIds", NULL};
  int i, c, found = 0, other;
  uint64_t value;

  for (i = 0; names[i] && found == 0; i++)
    for (c = 0; c < m->ntold && push_named(L, idx, names[i]); c++) {
      other = lhsa_read_identity(L, m->kept, m->ids, c, lua_gettop(L), &value) ? find_in_column(m, c, value) : 0;
      found = found == 0 || found == other ? other : other == 0 ? found : AMBIGUOUS;
      lua_pop(L, 1);
    }
  return found;
}

/* The group that the error at idx names in its context; 0: it names none. */
static int group_in_context(lua_State *L, matching *m, int idx)
{
  int last = 0, named = 0, found, c;
  bool is_foreign = false;
  uint64_t values[LHSA_MAX_IDENTITY];

  for (c = 0; c < m->ntold; c++)
    if (push_named(L, idx, m->columns[c].context)) {
      is_foreign = !lhsa_read_identity(L, m->kept, m->ids, c, lua_gettop(L), &values[c]) || is_foreign;
      lua_pop(L, 1);
      named++;
      last = c;
    }
  if (named == 0)
    return group_of_id(L, m, idx);
  if (is_foreign)
    return FOREIGN;
  if (named == m->ntold)
    found = *slot_of(m, &m->groups, values);
  else
    found = find_in_column(m, last, values[last]); /* there are two columns at most */
  return found ? found : FOREIGN;
}

/* The group that the error at the top names, in its own context or in that of its only detail, or 0; pops it. */
static int group_of_error(lua_State *L, matching *m)
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

/* Takes room for all that is counted. */
static void make_room(lua_State *L, matching *m)
{
  size_t nmembers = (size_t)m->ninputs + 1, nwhat = (size_t)m->nresults + (size_t)m->nerrors + 2, size;

  for (m->nslots = 8; m->nslots < 2 * nmembers; m->nslots *= 2)
    ;
  size = nmembers * sizeof *m->member + (nwhat + (1 + LHSA_MAX_IDENTITY) * m->nslots) * sizeof(int);
  m->member = memset(lua_newuserdata(L, size), 0, size);
  m->result_group = (int *)(m->member + nmembers);
  m->error_group = m->result_group + m->nresults + 1;
  m->free_slots = m->result_group + nwhat;
}

static lhsa_match match_groups(lua_State *L, matching *m, bool has_results)
{
  lhsa_match match = {.is_in_order = false};

  make_room(L, m);
  match.promised = group_inputs(m);
  find_named(L, m);
  match.left = has_results ? find_left(m) : 0;
  give(L, m, match.left);
  match.left += match.left ? m->offset : 0;
  return match;
}

lhsa_match lhsa_match_inputs(lua_State *L, int kept, const lhsa_request_info *info, int results, int errors)
{
  int top = lua_gettop(L);
  lhsa_identities *ids = lua_touserdata(L, kept);
  matching m = {
    .columns = ids->columns,
    .value = ids->value + (size_t)(info->first - 1) * (size_t)ids->ncolumns,
    .ncolumns = ids->ncolumns,
    .ntold = ids->ntold,
    .kept = kept,
    .ids = ids,
    .offset = info->first - 1,
    .ninputs = info->last - info->first + 1,
    .results = results,
    .nresults = (int)lua_rawlen(L, results),
    .errors = errors,
    .nerrors = (int)lua_rawlen(L, errors),
  };
  lhsa_match match = {.promised = m.ninputs};

  luaL_checkstack(L, 20, NULL);
  if (info->endpoint->empty_ok && m.nerrors == 0)
    match.promised = 0;
  else {
    match.is_in_order = match_in_order(L, &m);
    if (!match.is_in_order)
      match = match_groups(L, &m, !info->endpoint->empty_ok);
  }
  lua_settop(L, top);
  return match;
}
