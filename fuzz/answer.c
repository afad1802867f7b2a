/* Answers through the whole decode, beside a strict reader of JSON: what is no JSON is never a success, and what is
 * one is never called none. The first byte chooses the call and the status. */
#include "json.h"
#include "state.h"

static const char SCRIPT[] =
  "local core = ...\n"
  "local answer = {}\n"
  "local client = core.new { base_url = 'https://hubspot.example', access_token = 'pat-secret', rate = false,\n"
  "  retry_budget = false, transport = function() return answer end }\n"
  "local calls = {\n"
  "  function() return client:get_limits('a', 'b', { max_attempts = 1 }) end,\n"
  "  function() return client:read('a', 'b', { { id = '1' }, { id = '2' } }, { max_attempts = 1 }) end,\n"
  "  function() return client:get_records_at_limit('a', 'b', { max_attempts = 1 }) end,\n"
  "  function() return client:associate_default('a', 'b', { { from = { id = '1' }, to = { id = '2' } } }, { max_attempts = 1 }) end,\n"
  "}\n"
  "local function has_secret(value)\n"
  "  if type(value) == 'table' then\n"
  "    for k, v in pairs(value) do if has_secret(k) or has_secret(v) then return true end end\n"
  "  end\n"
  "  return type(value) == 'string' and value:find('pat-secret', 1, true) ~= nil\n"
  "end\n"
  "return function(number, status, body)\n"
  "  answer.status, answer.body = status, body\n"
  "  local results, errors, response = calls[number]()\n"
  "  assert(type(response) == 'table' and (results or errors), 'no answer at all')\n"
  "  assert(not errors or #errors > 0 and #tostring(errors) > 0, 'an empty list of errors')\n"
  "  assert(not has_secret(errors), 'the token is in an error')\n"
  "  local err = errors and errors[1]\n"
  "  return results ~= nil, err and err.kind == 'protocol' and err.message or ''\n"
  "end\n";

static lua_State *L;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc;
  (void)argv;
  L = fuzz_state(SCRIPT);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
  static const int statuses[] = {200, 207, 400, 201};
  unsigned choice = len ? data[0] : 0;
  int status = statuses[choice / 4 % 4];
  const char *body = (const char *)data + (len > 0), *message;
  json_verdict verdict;
  bool is_success;

  len -= len > 0;
  verdict = json_judge(body, len);
  lua_pushvalue(L, 1);
  lua_pushinteger(L, choice % 4 + 1);
  lua_pushinteger(L, status);
  lua_pushlstring(L, body, len);
  if (lua_pcall(L, 3, 2, 0) != LUA_OK)
    fuzz_failed(lua_tostring(L, -1), __FILE__, __LINE__);
  is_success = lua_toboolean(L, -2);
  message = lua_tostring(L, -1);
  if (status < 300 && len > 0) {
    if (verdict == JSON_BAD)
      MUST(!is_success && *message);
    if (verdict == JSON_OBJECT)
      MUST(!strstr(message, "it is not JSON") && !strstr(message, "UTF-8"));
  }
  lua_pop(L, 2);
  return 0;
}
