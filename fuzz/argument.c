/* Arguments and options: whatever values come, a call raises a message that names the place, or sends sound JSON; nothing
 * is sent by one that raises. The input is a small program that builds values. */
#include "json.h"
#include "state.h"

static const char SCRIPT[] =
  "local core = ...\n"
  "local sent\n"
  "local function transport(request) sent = request; return { status = 204 } end\n"
  "local client = core.new { base_url = 'https://hubspot.example', access_token = 't', rate = false, transport = transport }\n"
  "local names = {}\n"
  "for name in pairs(core.calls) do names[#names + 1] = name end\n"
  "table.sort(names)\n"
  "return function(number, ...)\n"
  "  sent = nil\n"
  "  if number == 0 then\n"
  "    local ok, message = pcall(core.new, ...)\n"
  "    if ok then message:close() end\n"
  "    return ok, message, nil\n"
  "  end\n"
  "  local ok, results, errors = pcall(client[names[(number - 1) % #names + 1]], client, ...)\n"
  "  assert(ok or not sent, 'sent, and raised')\n"
  "  assert(not ok or results or errors, 'neither results nor errors')\n"
  "  return ok, results, sent and sent.body\n"
  "end\n";

static const char *const words[] = {
  "id", "from", "to", "types", "category", "typeId", "maxToObjectIds", "associationCategory", "associationTypeId", "label",
  "name", "inverseLabel", "after", "limit", "timeout", "deadline", "max_attempts", "batch_size", "USER_DEFINED", "contacts",
  "access_token", "base_url", "rate", "requests", "interval", "api_version", "2026-09", "https://h", "headers", "1",
};

static lua_State *L;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc;
  (void)argv;
  L = fuzz_state(SCRIPT);
  return 0;
}

static void push_value(fuzz_input *in, int depth);

static void push_table(fuzz_input *in, int depth)
{
  unsigned n = fuzz_below(in, 5);

  lua_newtable(L);
  for (; n > 0; n--) {
    unsigned key = fuzz_byte(in);

    if (key < 128)
      lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1) + 1);
    else
      lua_pushstring(L, words[key % (sizeof words / sizeof *words)]);
    push_value(in, depth + 1);
    lua_rawset(L, -3);
  }
}

/* NOLINTNEXTLINE(misc-no-recursion): to a depth of 5 */
static void push_value(fuzz_input *in, int depth)
{
  static const double numbers[] = {0, 1, -1, 0.5, 279, 2147483647., 2147483648., 9007199254740993., 1e300, 0. / 1};
  unsigned what = fuzz_byte(in);
  size_t len;
  const char *bytes;

  switch (what % 8) {
  case 0: lua_pushnil(L); break;
  case 1: lua_pushboolean(L, what & 8); break;
  case 2: lua_pushinteger(L, (lua_Integer)fuzz_byte(in) - 8); break;
  case 3: lua_pushnumber(L, numbers[fuzz_below(in, sizeof numbers / sizeof *numbers)]); break;
  case 4:
    bytes = fuzz_until(in, '\0', &len);
    lua_pushlstring(L, bytes, len);
    break;
  case 5: lua_pushstring(L, words[fuzz_below(in, sizeof words / sizeof *words)]); break;
  default:
    if (depth < 5)
      push_table(in, depth);
    else
      lua_pushlightuserdata(L, L);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
  fuzz_input in = fuzz_begin(data, len);
  int n;

  lua_settop(L, 1);
  lua_pushvalue(L, 1);
  lua_pushinteger(L, fuzz_byte(&in));
  for (n = 0; n < 5 && fuzz_more(&in); n++)
    push_value(&in, 0);
  if (lua_pcall(L, n + 1, 3, 0) != LUA_OK)
    fuzz_failed(lua_tostring(L, -1), __FILE__, __LINE__);
  if (!lua_toboolean(L, 2))
    MUST(lua_isstring(L, 3) && strstr(lua_tostring(L, 3), "bad argument #"));
  if (lua_isstring(L, 4)) {
    size_t body_len;
    const char *body = lua_tolstring(L, 4, &body_len);

    MUST(json_judge(body, body_len) != JSON_BAD);
  }
  return 0;
}
