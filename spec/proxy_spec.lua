-- Proxies: loopback never goes through one, others go where they are told, and a proxy learns no more than it must.
local child = require "spec.support.child"
local fault_server = require "spec.support.fault_server"
local faults = require "spec.support.faults"
local simulator = require "spec.support.simulator"
local wire = require "spec.support.wire"

local HTTP = "http://api.hubspot.test" -- a name that nobody has; only a proxy could make something of it
local HTTPS = "https://api.hubspot.test"
local NOBODY = "http://127.0.0.1:1"

-- In a process with this environment: kind, code and http_status of a batch_update, with these options.
local function call_in_environment(environment, options)
  local all = { http_proxy = false, https_proxy = false, HTTPS_PROXY = false, all_proxy = false, ALL_PROXY = false,
    no_proxy = false, NO_PROXY = false, HUBSPOT_BASE_URL = false }
  for name, value in pairs(environment) do all[name] = value end
  local report = child.run(all, ([[
    local wire = require "spec.support.wire"
    local client = wire.client(nil, { %s })
    local outcome = wire.call(client, "batch_update", { max_attempts = 1 })
    return outcome.errors and outcome.error.kind or "well", outcome.error.code
  ]]):format(options))
  assert.equal("0", report.status, table.concat(report, "\n"))
  return report[1], report[2]
end

-- A client behind this proxy, which sends nothing twice.
local function behind(proxy, base_url, options)
  local all = { proxy = type(proxy) == "table" and proxy.url or proxy, allow_http = true, max_attempts = 1 }
  for name, value in pairs(options or {}) do all[name] = value end
  return wire.client(base_url, all)
end

local function assert_error(expected, outcome)
  local got = {}
  for name in pairs(expected) do got[name] = outcome.error[name] end
  assert.is_nil(outcome.results)
  assert.same(expected, got)
end

describe("loopback", function()
  local proxy, token

  before_each(function()
    proxy = fault_server.start(faults.none)
    token = simulator.token()
  end)
  after_each(fault_server.stop_all)

  local function assert_direct(environment, base_url, options)
    local kind = call_in_environment(environment, ("base_url = %q, access_token = %q, %s"):format(base_url, token,
      options or ""))
    assert.equal("well", kind)
    assert.equal(0, proxy:stop().connections)
    assert.equal(1, simulator.log(token).count)
  end

  for _, name in ipairs { "http_proxy", "all_proxy", "ALL_PROXY" } do
    it(("does not go through the environment's %s"):format(name), function()
      assert_direct({ [name] = proxy.url }, simulator.url)
    end)
  end

  it("does not go through it by name either", function()
    assert_direct({ http_proxy = proxy.url, all_proxy = proxy.url }, (simulator.url:gsub("127.0.0.1", "localhost")))
  end)

  for _, name in ipairs { "https_proxy", "HTTPS_PROXY", "ALL_PROXY" } do
    it(("does not go through the environment's %s over https"):format(name), function()
      assert_direct({ [name] = proxy.url }, simulator.https_url, ("ca_file = %q"):format(simulator.ca_file))
    end)
  end

  it("does not go through the proxy option", function()
    wire.good_call(behind(proxy, simulator.url, { access_token = token }), "batch_update")
    assert.equal(0, proxy:stop().connections)
    assert.equal(1, simulator.log(token).count)
  end)
end)

describe("a proxy", function()
  after_each(fault_server.stop_all)

  it("of the option is asked for http with the whole URL", function()
    local proxy = fault_server.start(faults.none)
    local client = behind(proxy, HTTP)
    for _ = 1, 2 do wire.good_call(client, "batch_update") end
    local seen = proxy:stop()
    assert.equal(2, #seen)
    assert.equal(1, seen.connections)
    assert.equal(HTTP .. "/crm/associations/v4/definitions/configurations/contacts/companies/batch/update",
      seen[1].path)
    assert.equal("api.hubspot.test", seen[1].headers.host)
    assert.equal("Bearer " .. wire.TOKEN, seen[1].headers.authorization)
  end)

  it("of the environment is used if no option says otherwise", function()
    local proxy = fault_server.start(faults.none)
    assert.equal("well", (call_in_environment({ http_proxy = proxy.url },
      ("base_url = %q, allow_http = true"):format(HTTP))))
    assert.equal(HTTP, proxy:stop()[1].path:sub(1, #HTTP))
  end)

  it("of the option goes before the environment's, and before no_proxy", function()
    local proxy, other = fault_server.start(faults.none), fault_server.start(faults.none)
    assert.equal("well", (call_in_environment({ http_proxy = other.url, all_proxy = other.url, no_proxy = "*" },
      ("base_url = %q, allow_http = true, proxy = %q"):format(HTTP, proxy.url))))
    assert.same({ 1, 0 }, { #proxy:stop(), other:stop().connections })
  end)

  it("is asked for a tunnel to https and never sees the token", function()
    local proxy = fault_server.start { "acts.once", "request", { "answer", 403, "no" }, "request" }
    wire.call(behind(proxy, HTTPS), "batch_update")
    local seen = proxy:stop()
    assert.same({ 1, "CONNECT", "api.hubspot.test:443" }, { #seen, seen[1].method, seen[1].path })
    assert.is_nil(seen[1].headers.authorization)
  end)

  it("gets the user and password of its URL, and no server does", function()
    local proxy = fault_server.start(faults.none)
    wire.good_call(behind((proxy.url:gsub("//", "//user:pass@")), HTTP), "batch_update")
    assert.equal("Basic dXNlcjpwYXNz", proxy:stop()[1].headers["proxy-authorization"])
  end)

  it("that speaks HTTP for another's server is that server to us: its errors are the API's", function()
    local proxy = fault_server.start(faults.html_error)
    assert_error({ kind = "api", http_status = 502, ambiguous = true }, wire.call(behind(proxy, HTTP), "batch_update"))
  end)

  for _, base_url in ipairs { HTTP, HTTPS } do
    for _, proxy in ipairs { NOBODY, (NOBODY:gsub("http", "socks5h")) } do
      it(("%s that cannot be reached for %s is named as the cause"):format(proxy, base_url), function()
        local outcome = wire.call(behind(proxy, base_url), "batch_create")
        assert_error({ kind = "transport", code = "proxy", attempts = 1, ambiguous = false, retryable = true }, outcome)
        assert.is_nil(outcome.response)
      end)
    end
  end

  for what, act in pairs {
    ["refuses the tunnel"] = { "answer", 502, "" },
    ["closes instead of opening the tunnel"] = "close",
    ["resets instead of opening the tunnel"] = "reset",
    ["talks nonsense instead of opening the tunnel"] = { "send", "nonsense\r\n\r\n" },
  } do
    it(("that %s is named as the cause, and nothing was sent"):format(what), function()
      local proxy = fault_server.start { "acts.once", "request", act, act[1] == "send" and "close" or "request" }
      local outcome = wire.call(behind(proxy, HTTPS), "batch_create")
      assert_error({ kind = "transport", code = "proxy", attempts = 1, ambiguous = false, retryable = true }, outcome)
      assert.is_nil(outcome.error.http_status)
      local seen = proxy:stop()
      assert.same({ 1, "CONNECT" }, { #seen, seen[1].method })
    end)
  end

  it("that opens no tunnel in time ends the attempt, and nothing was sent", function()
    local proxy = fault_server.start { "acts.once", "request", { "sleep", 30 } }
    local outcome = wire.call(behind(proxy, HTTPS, { connect_timeout = 0.3 }), "batch_create")
    assert_error({ kind = "timeout", attempts = 1, ambiguous = false, retryable = true }, outcome)
    assert.is_true(outcome.seconds >= 0.29 and outcome.seconds < 2)
  end)

  it("of SOCKS, which the environment alone asks for, is named as the cause, too", function()
    for answer, code in pairs { ["\5\255"] = "proxy", ["\5"] = "proxy" } do -- it takes no way to log in; it is cut off
      local proxy = fault_server.start { "acts.once", "wait_readable", { "send", answer }, "close" }
      local kind, found = call_in_environment({ ALL_PROXY = proxy.url:gsub("^http", "socks5h") .. "" },
        ('base_url = %q, access_token = "x"'):format(HTTPS))
      assert.same({ "transport", code }, { kind, found })
    end
  end)

  it("that leads to a server without TLS is not the cause", function()
    local proxy = fault_server.start { "acts.once", "request", { "send", "HTTP/1.1 200 Connected\r\n\r\n" },
      "wait_readable", { "send", "no TLS here" }, "close" }
    assert_error({ kind = "transport", code = "tls", ambiguous = false },
      wire.call(behind(proxy, HTTPS, { connect_timeout = 60, timeout = 60, deadline = 60 }), "batch_create"))
  end)

  it("'s password is in no error", function()
    local outcome = wire.call(behind((NOBODY:gsub("//", "//user:pass-word@")), HTTP), "batch_update")
    assert.is_nil(tostring(outcome.errors):find("pass-word", 1, true))
    for _, field in pairs(outcome.error) do assert.is_nil(tostring(field):find("pass-word", 1, true)) end
  end)
end)
