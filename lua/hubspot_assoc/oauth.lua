--- OAuth: the access tokens of an app, refreshed ahead of their end, once for all who wait.
--
--     local oauth = assoc.oauth { client_id = "...", client_secret = "...", refresh_token = "...",
--       on_refresh = function(tokens) save(tokens.refresh_token) end }
--     local client = assoc.new { access_token = oauth }
--
-- HubSpot: Authentication > OAuth > Manage OAuth tokens.
--
-- A refresh is a request to HubSpot and then on_refresh; it is over when both have done their part, and only then are
-- its tokens used. In an event loop a coroutine of its own works on it, and those who wait follow as long as their
-- calls have; else the caller does. Who finds that nobody works on it any more has it gone on with from where it was
-- left off. The clock is the monotonic one: it may stand still while the machine sleeps, and then HubSpot's
-- EXPIRED_AUTHENTICATION tells that a token has died.

local call_of = require "hubspot_assoc.call"
local client_module = require "hubspot_assoc.client"
local core = require "hubspot_assoc.core"
local Future = require "hubspot_assoc.future"
local ask_user = require "hubspot_assoc.pcall".ask
local scheduler = require "hubspot_assoc.scheduler"

local error, pairs, rawequal, rawget = error, pairs, rawequal, rawget
local running, status = coroutine.running, coroutine.status
local setmetatable, tostring, type = setmetatable, tostring, type
local huge = 1 / 0
local now = core.now

local MARGIN, MARGIN_PART = 60, 1 / 10 -- s, or so much of its life if that is less, before its end a token is refreshed
local DEADLINE, MOMENT = 120, 0.001 -- s, a client's default, and its least
local AHEAD = 10 -- s that this may take, in one attempt: the old token is still good
local PAUSE = 5 -- s until it is tried again where it failed
local PATIENCE = 1 -- s, after which who follows looks whether the one who works on it is still there
local TAKE_OVER = 5 -- s, after which his place is taken where nobody can tell
local MAIN = {} -- stands for the main thread, where Lua 5.1 has no value for it
local NONE = {} -- stands for no event loop

local OWN_OPTIONS = { "client_id", "client_secret", "refresh_token", "on_refresh" }
-- The options that go to the client which asks HubSpot for tokens.
local CLIENT_OPTIONS = { "base_url", "timeout", "connect_timeout", "deadline", "max_attempts", "transport",
  "skip_waits", "proxy", "ca_file", "allow_http", "user_agent", "on_event", "loop" }

local oauth_module = {}

local function min(a, b)
  return a < b and a or b
end

local function max(a, b)
  return a > b and a or b
end

local function copy(fields)
  local result = {}
  for name, value in pairs(fields) do
    result[name] = value
  end
  return result
end

-- ---- HubSpot's answers ----

local ANEW = "%s; HubSpot takes this refresh token no more: the user must authorize the app anew, "
  .. "and then oauth:exchange(code, redirect_uri)"

local NOTHING_YET = "there is no refresh token: call oauth:exchange(code, redirect_uri) first, "
  .. "or give the option refresh_token"

local function config_errors(message, is_retryable)
  return core.errors({ { kind = "config", call = "oauth", retryable = is_retryable or false, message = message } }, 1)
end

--- Puts RFC 6749's code for what is wrong into the message.
local function explain(errors)
  local first = errors[1]
  local code, text = first.error, first.error_description
  if type(code) == "string" and first.message:sub(1, #code) ~= code then
    first.message = code .. ": " .. (type(text) == "string" and text or first.message)
  end
  return errors
end

--- Returns HubSpot's tokens, or nil and errors.
local function take_answer(answer, errors)
  if errors then
    return nil, explain(errors)
  elseif type(answer.access_token) ~= "string" then
    return nil, core.errors({ { kind = "protocol", call = "oauth", retryable = false,
      message = "HubSpot's answer has no access token" } }, 1)
  end
  return answer
end

local function is_final(errors)
  return errors[1].error == "invalid_grant"
end

--- Uses tokens from now on. They were asked for at the time `began`.
local function accept(state, tokens, began)
  local life = type(tokens.expires_in) == "number" and tokens.expires_in or huge
  state.access_token = tokens.access_token
  state.refresh_token = tokens.refresh_token or state.refresh_token
  state.good_until = began + life
  state.refresh_at = state.good_until - min(MARGIN, life * MARGIN_PART)
  state.try_again_at, state.untold, state.final = 0, nil, nil
end

-- ---- clients: one for each event loop in which somebody waits ----

local function client_of(state, loop)
  local client = state.clients[loop or NONE]
  if not client then
    local options = copy(state.client_options)
    options.loop = loop
    client = client_module.new(options, 2, "oauth")
    state.clients[loop or NONE] = client
  end
  return client
end

local function new_call(state, client, form, options)
  form.client_id, form.client_secret = state.client_id, state.client_secret
  local call = core.private_calls.oauth(client.core, form, options)
  return call
end

-- ---- a refresh ----

--- The options of a request. While the old token is good, nobody is kept waiting long for a new one. Where nobody can
-- follow, the call that waits has but so long.
local function haste(state, loop, left)
  local good_for = state.good_until - now()
  local longest = min(state.client_options.deadline or DEADLINE, loop and huge or left)
  if good_for > 0 then
    return { max_attempts = 1, deadline = max(MOMENT, min(longest, min(AHEAD, good_for))) }
  end
  return { deadline = max(MOMENT, longest) }
end

--- The refresh token as it is now: another process may have stored a new one.
-- @return token; or nil and errors
local function latest(state)
  local token, problem
  if state.source then
    token, problem = state.source()
  end
  token = token or state.refresh_token
  if type(token) ~= "string" or token == "" then
    return nil, config_errors(NOTHING_YET .. (type(problem) == "string" and ": " .. problem or ""))
  end
  return token
end

--- Asks HubSpot for new tokens, or waits for what another one has asked.
-- @return tokens, or nil and errors
local function ask(state, refresh, loop, left)
  local client = refresh.client
  if not refresh.future then
    local token, errors = latest(state)
    if not token or state.final and token == state.refused then
      return nil, errors or state.final
    end
    local call = new_call(state, client, { grant_type = "refresh_token", refresh_token = token },
      haste(state, loop, left))
    refresh.sent, refresh.began = token, now()
    if not loop then
      return take_answer(call_of.perform(client, nil, call, Future))
    end
    refresh.future = call_of.submit(client, call, Future, true)
  end
  return take_answer(call_of.wait_to_end(refresh.future, client.loop == loop and loop or nil))
end

--- Asks once more where another process was faster, and its refresh token has taken the place of the one that was sent.
-- @return tokens, or nil and errors
local function fetch(state, refresh, loop, left)
  local tokens, errors = ask(state, refresh, loop, left)
  if not errors or errors == state.final or not is_final(errors) then
    return tokens, errors
  end
  state.refused = refresh.sent
  if not state.source or latest(state) == refresh.sent then
    return nil, errors
  end
  refresh.future = nil
  return ask(state, refresh, loop, left)
end

--- What is to be stored. HubSpot may leave out a refresh token that stays the same.
local function tokens_to_keep(tokens, sent)
  local kept = copy(tokens)
  if type(kept.refresh_token) ~= "string" or kept.refresh_token == "" then
    kept.refresh_token = sent
  end
  return kept
end

--- Does what is left to do of a refresh, unless another one has taken the worker's place meanwhile.
-- @return nil, or errors
local function work(state, refresh, worker, loop, left)
  if not refresh.tokens then
    local tokens, errors = fetch(state, refresh, loop, left)
    if not tokens or refresh.worker ~= worker then
      return errors
    end
    refresh.tokens = tokens_to_keep(tokens, refresh.sent)
  end
  worker.since = now()
  if state.on_refresh and state.refresh == refresh then -- else there are newer tokens, of a code
    state.on_refresh(copy(refresh.tokens))
  end
end

local function hide(text, secret)
  return type(secret) == "string" and secret ~= "" and text:gsub(secret:gsub("%p", "%%%0"), "***") or text
end

--- What on_refresh, or a request that could not be begun, was stopped by; tokens are no part of it.
local function errors_of(refresh, message)
  local is_told = refresh.tokens ~= nil
  message = tostring(type(message) == "string" and message or "with a value that is no string")
  if is_told then
    message = hide(hide(message, refresh.tokens.access_token), refresh.tokens.refresh_token)
  end
  return config_errors(is_told and "on_refresh failed: " .. message or message, is_told)
end

--- A refresh is over; those who have followed go on. An error at any instruction here leaves it to be concluded again,
-- or over and without effect: is_over is set when all that others go by is in place.
local function conclude(state, refresh, errors)
  if errors and is_final(errors) and errors ~= state.final then
    errors[1].kind, errors[1].message = "config", ANEW:format(errors[1].message)
  end
  if state.refresh == refresh and not errors then
    accept(state, refresh.tokens, refresh.began)
  elseif state.refresh == refresh then
    state.untold = refresh.tokens and refresh
    state.final = is_final(errors) and errors or nil
    state.try_again_at = now() + PAUSE
  end
  refresh.errors = errors
  refresh.is_over = true
  if state.refresh == refresh then
    state.refresh = nil
  end
  scheduler.wake(refresh.client, refresh.waiting)
  call_of.look_around(refresh.client)
end

--- Works on a refresh, which the running function can be found to be doing as long as it does.
-- @param worker of this refresh, unless another one has taken its place
local function lead(state, refresh, worker, loop, left)
  if refresh.is_over or refresh.worker ~= worker then
    return
  end
  function worker.frame()
    worker.thread = running() or MAIN
    local errors = work(state, refresh, worker, loop, left)
    return errors -- no tail call: the frame stays on the stack
  end
  local ok, errors = ask_user(worker.frame)
  if refresh.worker == worker and not refresh.is_over then
    conclude(state, refresh, not ok and errors_of(refresh, errors) or errors or nil)
  end
end

--- Can nothing come any more of who works on a refresh?
local function is_gone(worker, loop)
  if not worker.thread then -- it has not begun
    return not loop or now() - worker.since > TAKE_OVER
  elseif worker.thread == (running() or MAIN) then
    return not core.is_running(worker.frame)
  elseif loop and loop.is_alive then
    return loop.is_alive(worker.thread) == nil and now() - worker.since > TAKE_OVER
  end
  return worker.thread ~= MAIN and status(worker.thread) == "dead"
end

--- Has the one who works on a refresh called who asks, by whatever way? He can go on only when that has returned.
local function is_inside(worker)
  if worker.thread == (running() or MAIN) then
    return core.is_running(worker.frame)
  end
  return worker.thread == MAIN or worker.thread and status(worker.thread) == "normal"
end

--- Is there somebody who works on a refresh?
local function is_worked_on(refresh, loop)
  return refresh.worker and not is_gone(refresh.worker, loop)
end

--- Waits, so many seconds at most, for the end of a refresh that another one works on.
local function follow(refresh, loop, seconds)
  local give_up_at = now() + seconds
  while not refresh.is_over and is_worked_on(refresh, loop) do
    local time_left = give_up_at - now()
    if time_left <= 0 then
      return
    end
    scheduler.wait(refresh.client, loop, refresh.waiting, min(PATIENCE, time_left))
  end
end

--- Has somebody work on a refresh: in an event loop a coroutine of its own, which nobody's deadline or end takes along;
-- else the caller, to its end.
local function have_worked_on(state, refresh, loop, left)
  local worker = { since = now() }
  refresh.worker = worker
  if loop then
    call_of.start_beside(loop, lead, state, refresh, worker, loop, left)
  else
    lead(state, refresh, worker, loop, left)
  end
end

--- Sees to it that a refresh comes to its end. In an event loop it waits so many seconds at most, and not at all while
-- the old token is good.
local function see_to(state, refresh, loop, left)
  local give_up_at = now() + left
  while not refresh.is_over do
    if not loop or not is_worked_on(refresh, loop) then
      have_worked_on(state, refresh, loop, give_up_at - now())
    end
    if loop and (now() < state.good_until or now() >= give_up_at) then
      return
    elseif loop then
      follow(refresh, loop, give_up_at - now())
    end
  end
end

-- ---- tokens for clients ----

--- The token in hand, if it can be used without waiting.
local function ready_token(state, loop)
  local time, refresh = now(), state.refresh
  local is_good = time < state.good_until
  local is_left = time < state.refresh_at or time < state.try_again_at or state.final
    or refresh and is_worked_on(refresh, loop)
  return is_good and is_left and state.access_token or nil
end

--- Refreshes the token.
-- @return token; or nil and errors
local function renew(state, client, loop, left)
  local refresh = state.refresh
  if refresh and refresh.is_over then
    refresh = nil -- an error kept it from being forgotten
  end
  if refresh and refresh.worker and is_inside(refresh.worker) then
    if refresh.tokens then -- on_refresh makes calls
      return refresh.tokens.access_token
    elseif not refresh.future then
      return nil, "a token is being asked for already, by a caller of this call"
    end
  end
  if not refresh then
    local untold = state.untold
    refresh = { client = client, waiting = {}, tokens = untold and untold.tokens, began = untold and untold.began }
    state.refresh = refresh
  end
  see_to(state, refresh, loop, left)
  if now() < state.good_until or refresh.is_over and not refresh.errors then
    return state.access_token
  end
  return nil, refresh.errors or core.errors({ { kind = "timeout", call = "oauth", retryable = true,
    message = "the deadline passed before HubSpot gave a token" } }, 1)
end

--- The token function of clients in this event loop; nil: without one.
local function give(state, loop, reason, rejected, left)
  if reason == "expired" and rejected == state.access_token then
    state.good_until = 0
  end
  local token = ready_token(state, loop)
  if token then
    return token
  elseif state.final and not state.source then
    return nil, state.final
  end
  local client = client_of(state, loop)
  local problem
  token, problem = renew(state, client, scheduler.loop_to_wait_in(client, "oauth", 2), left or huge)
  return token, problem
end

-- ---- what a program sees ----

local function check_text(value, name, position, is_optional)
  if is_optional and value == nil then
    return
  elseif type(value) ~= "string" or value == "" then
    error(("bad argument #%d to 'exchange' (%s: string expected, got %s)"):format(position, name,
      value == "" and "an empty one" or type(value)), 3)
  end
end

--- Trades the code, with which HubSpot has sent a user's browser to redirect_uri, for tokens, which are used from then
-- on. HubSpot: Authentication > OAuth > Manage OAuth tokens > Generate initial tokens.
-- @param code string; good once, and for a short time
-- @param redirect_uri string, the one that was asked for
-- @param code_verifier string or nil: of PKCE, whose challenge went along with that
-- @return tokens { access_token =, refresh_token =, expires_in = (s), token_type =, ... }, to be stored by the caller
--   (on_refresh does not get these); or nil and errors. Raises if an argument is wrong.
local function exchange(state, code, redirect_uri, code_verifier)
  local client = client_of(state, state.loop)
  local loop = scheduler.loop_to_wait_in(client, "exchange", 3)
  local call = new_call(state, client, { grant_type = "authorization_code", code = code, redirect_uri = redirect_uri,
    code_verifier = code_verifier })
  local began = now()
  local tokens, errors = take_answer(call_of.perform(client, loop, call, Future))
  if not tokens then
    return nil, errors
  end
  tokens = tokens_to_keep(tokens)
  state.refresh = nil -- one that is under way is of no use any more
  accept(state, tokens, began)
  return copy(tokens)
end

--- The object that a program has. What is secret is in no field of it.
local function wrap(state)
  local oauth = {}

  function oauth.exchange(self, code, redirect_uri, code_verifier)
    if not rawequal(self, oauth) then
      error("'exchange' is a method: call it with a colon, oauth:exchange(code, redirect_uri)", 2)
    end
    check_text(code, "code", 1)
    check_text(redirect_uri, "redirect_uri", 2)
    check_text(code_verifier, "code_verifier", 3, true)
    local tokens, errors = exchange(state, code, redirect_uri, code_verifier)
    return tokens, errors
  end

  --- The token function of clients in an event loop (client_module.new calls it).
  function oauth.for_loop(loop)
    return setmetatable({}, { __call = function(_, reason, rejected, left)
      local token, problem = give(state, loop, reason, rejected, left)
      return token, problem
    end })
  end

  return setmetatable(oauth, {
    __call = function(_, reason, rejected, left)
      local token, problem = give(state, state.loop, reason, rejected, left)
      return token, problem
    end,
    __tostring = function() return "hubspot_assoc.oauth" end,
    __name = "hubspot_assoc.oauth",
    __metatable = "hubspot_assoc.oauth",
  })
end

--- Makes what assoc.oauth returns.
-- @param level of the call stack that is to blame for wrong options: 2 is the caller's caller
function oauth_module.new(options, level)
  core.check_oauth(options, level + 1)
  local state = { clients = {}, client_options = {}, good_until = 0, refresh_at = 0, try_again_at = 0 }
  for i = 1, #OWN_OPTIONS do
    state[OWN_OPTIONS[i]] = rawget(options, OWN_OPTIONS[i])
  end
  for i = 1, #CLIENT_OPTIONS do
    state.client_options[CLIENT_OPTIONS[i]] = rawget(options, CLIENT_OPTIONS[i])
  end
  if type(state.refresh_token) ~= "string" then
    state.source, state.refresh_token = state.refresh_token, nil
  end
  local client = client_module.new(state.client_options, level + 1, "oauth")
  state.loop = client.loop
  state.clients[state.loop or NONE] = client
  return wrap(state)
end

return oauth_module
