-- TLS is verified, always, and http: is for this machine only.
local assoc = require "hubspot_assoc"
local fault_server = require "spec.support.fault_server"
local libcurl = require "spec.support.libcurl"
local shell = require "spec.support.shell"
local simulator = require "spec.support.simulator"
local wire = require "spec.support.wire"

local LATE = 10 -- s; what never ends here does not for 30

local function https_client(token, options)
  local all = { access_token = token, ca_file = simulator.ca_file }
  for name, value in pairs(options or {}) do all[name] = value end
  return wire.client(simulator.https_url, all)
end

local function assert_error(expected, outcome)
  local got = {}
  for name in pairs(expected) do got[name] = outcome.error[name] end
  assert.is_nil(outcome.results)
  assert.same(expected, got)
end

local function temporary_file(text)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(text)
  file:close()
  return name
end

-- A certificate that no authority known to anybody has signed.
local function make_certificate()
  local name = os.tmpname()
  local status = os.execute(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 "
    .. "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout %s -out %s 2>/dev/null")
    :format(shell.quote(name .. ".key"), shell.quote(name)))
  assert(status == true or status == 0, "openssl made no certificate")
  return name
end

describe("https", function()
  local token
  local files = {}

  before_each(function() token = simulator.token() end)
  after_each(fault_server.stop_all)
  teardown(function()
    for _, name in ipairs(files) do os.remove(name) end
  end)

  it("works with the authority of ca_file", function()
    local outcome = wire.good_call(https_client(token), "batch_update")
    assert.equal(5, outcome.results[1].userEnforcedMaxToObjectIds)
    assert.equal("https", simulator.log(token)[1].scheme)
  end)

  it("takes a head that is larger than libcurl's buffer", function()
    local headers = {}
    for i = 1, 40 do headers["X-Filler-" .. i] = ("x"):rep(1000) end
    simulator.fault(token, { headers = headers })
    local outcome = wire.good_call(https_client(token), "batch_update", { max_attempts = 1 })
    assert.equal(1, outcome.response.attempts)
    assert.is_true(outcome.seconds < LATE)
  end)

  it("speaks HTTP/2 where libcurl can be trusted with it, and keeps its connection", function()
    local protocol = libcurl.speaks_http2() and "HTTP/2.0" or "HTTP/1.1"
    local client = https_client(token)
    for _ = 1, 5 do wire.good_call(client, "batch_update") end
    local log = simulator.log(token)
    assert.equal(5, #log)
    for _, call in ipairs(log) do
      assert.equal(protocol, call.protocol)
      assert.equal(log[1].connection, call.connection)
    end
  end)

  it("is as good for the address as for the name", function()
    local client = wire.client((simulator.https_url:gsub("localhost", "127.0.0.1")),
      { access_token = token, ca_file = simulator.ca_file })
    wire.good_call(client, "batch_update")
  end)

  it("carries large bodies both ways", function()
    local inputs = {}
    for i = 1, 2000 do inputs[i] = { category = "USER_DEFINED", typeId = 36, maxToObjectIds = i % 20 + 1 } end
    local outcome = wire.timed(https_client(token), "batch_update", "contacts", "companies", inputs)
    assert.is_nil(outcome.errors)
    assert.equal(2000, #outcome.results)
  end)

  it("refuses a server whose authority it does not know", function()
    local client = wire.client(simulator.https_url, { access_token = token })
    local outcome = wire.call(client, "batch_create", { max_attempts = 1 })
    assert_error({ kind = "transport", code = "tls", attempts = 1, ambiguous = false }, outcome)
    assert.is_nil(outcome.response)
    assert.equal(0, simulator.log(token).count)
  end)

  it("refuses a server that another authority has signed", function()
    files[#files + 1] = make_certificate()
    files[#files + 1] = files[1] .. ".key"
    local outcome = wire.call(https_client(token, { ca_file = files[1] }), "batch_update", { max_attempts = 1 })
    assert_error({ kind = "transport", code = "tls", attempts = 1, ambiguous = false }, outcome)
    assert.equal(0, simulator.log(token).count)
  end)

  it("refuses a certificate of another name", function()
    -- The proxy leads to the simulator, whose certificate is for localhost only.
    local proxy = fault_server.start { "transport.tunnel", tonumber(simulator.https_url:match ":(%d+)$") }
    local client = wire.client("https://api.hubspot.test", { access_token = token, ca_file = simulator.ca_file,
      proxy = proxy.url })
    local outcome = wire.call(client, "batch_update", { max_attempts = 1 })
    assert_error({ kind = "transport", code = "tls", attempts = 1, ambiguous = false }, outcome)
    assert.truthy(outcome.error.message:find("api.hubspot.test", 1, true))
    assert.equal(0, simulator.log(token).count)
  end)

  it("to a server that speaks no TLS fails as tls", function()
    local server = fault_server.start { "acts.once", { "send", "HTTP/1.1 400 Bad\r\n\r\n" }, "wait_readable" }
    local client = wire.client((server.url:gsub("^http:", "https:")))
    assert_error({ kind = "transport", code = "tls", ambiguous = false },
      wire.call(client, "batch_create", { max_attempts = 1 }))
  end)

  it("to a server that never finishes the handshake ends with connect_timeout, not ambiguous", function()
    local server = fault_server.start { "acts.once", { "sleep", 30 } }
    local client = wire.client((server.url:gsub("^http:", "https:")), { connect_timeout = 0.3 })
    local outcome = wire.call(client, "batch_create", { max_attempts = 1 })
    assert_error({ kind = "timeout", attempts = 1, ambiguous = false, retryable = true }, outcome)
    assert.is_true(outcome.seconds >= 0.29 and outcome.seconds < 0.3 + LATE)
  end)

  it("with a ca_file that is none or not there is a matter of configuration", function()
    files[#files + 1] = temporary_file "this is no certificate"
    for _, name in ipairs { files[#files], "/nonexistent/ca.pem" } do
      local outcome = wire.call(https_client(token, { ca_file = name }), "batch_update")
      assert_error({ kind = "config", retryable = false, ambiguous = false }, outcome)
      assert.is_true(outcome.seconds < LATE)
    end
    assert.equal(0, simulator.log(token).count)
  end)

  it("is retried as http is", function()
    simulator.fault(token, { close = true })
    local outcome = wire.good_call(https_client(token), "batch_update")
    assert.equal(2, outcome.response.attempts)
    assert.equal(2, simulator.log(token).count)
  end)

  it("never has batch_create sent twice, though a stream was reset", function()
    local client = https_client(token)
    wire.good_call(client, "get_limits")
    simulator.fault(token, { close = true, after = true })
    local outcome = wire.call(client, "batch_create", { max_attempts = 4 })
    assert_error({ kind = "transport", attempts = 1, retryable = false, ambiguous = true }, outcome)
    assert.equal(1, wire.count(simulator.log(token), "batch_create"))
  end)
end)

describe("http", function()
  local function try(url, options)
    return pcall(wire.client, url, options)
  end

  for _, url in ipairs { "http://127.0.0.1", "http://localhost:8080", "http://[::1]:1", "http://127.255.0.1/prefix" } do
    it("is for this machine: " .. url, function()
      assert.is_true(try(url))
    end)
  end

  for _, url in ipairs {
    "http://api.hubapi.com", "http://10.0.0.1", "http://localhost.example", "http://127.0.0.1.example",
    "http://localhost@api.example", "http://example/localhost", "http://0.0.0.0", "http://128.0.0.1",
    "http://[::2]", "http://api.example#localhost", "http://api.example?@localhost", "HTTP://api.hubapi.com",
  } do
    it("is refused elsewhere: " .. url, function()
      local ok, message = try(url)
      assert.is_false(ok)
      assert.truthy(message:find("base_url", 1, true))
    end)
  end

  it("elsewhere needs allow_http", function()
    assert.is_true(try("http://api.example", { allow_http = true }))
  end)

  for _, url in ipairs { "ftp://127.0.0.1", "file:///etc/passwd", "gopher://127.0.0.1", "127.0.0.1", "" } do
    it(("and https are all there is: %q"):format(url), function()
      assert.is_false(try(url, { allow_http = true }))
    end)
  end

  it("is not what https falls back to when it is redirected", function()
    local token = simulator.token()
    simulator.fault(token, { status = 301, headers = { Location = simulator.url .. "/moved" } })
    local outcome = wire.call(https_client(token), "batch_update")
    assert_error({ kind = "protocol", http_status = 301, attempts = 1 }, outcome)
    assert.equal(1, simulator.log(token).count)
  end)

  it("is refused to the default client as well", function()
    assert.is_false(pcall(assoc.configure, { base_url = "http://api.example", access_token = wire.TOKEN }))
  end)
end)
