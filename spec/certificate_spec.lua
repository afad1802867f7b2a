-- Certificates that will not do, authorities that are not there, proxies that want a password: nothing of that passes
-- by itself, so there is one attempt, and a text that says what to do.
local child = require "spec.support.child"
local fault_server = require "spec.support.fault_server"
local nginx = require "spec.support.nginx"
local shell = require "spec.support.shell"
local wire = require "spec.support.wire"

local folder, server

-- A root, an authority that it has signed, and certificates of those for servers. cert.NAME is what a server shows.
local MAKE = [[
set -e
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -subj "/CN=$2" "${@:3}"; }
sign() { # NAME BY SECTION [OPTIONS]
  openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -extfile extensions -extensions $3 \
    -out $1.pem "${@:4}"
}
cat >extensions <<END
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
[here]
subjectAltName = DNS:localhost, IP:127.0.0.1
[elsewhere]
subjectAltName = DNS:elsewhere.test
END
new root "a root" -x509 -days 30 -out root.pem -addext keyUsage=critical,keyCertSign
new middle "an authority" -out middle.csr
sign middle root authority -days 30
for name in good cut; do new $name localhost -out $name.csr; sign $name middle here -days 30; done
new expired localhost -out expired.csr
mkdir past && touch past/index.txt && echo 01 >past/serial
printf '[ca]\ndefault_ca=c\n[c]\ndatabase=past/index.txt\nserial=past/serial\nnew_certs_dir=past\n' >past/config
printf 'default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n' >>past/config
openssl ca -batch -config past/config -cert root.pem -keyfile root.key -in expired.csr -out expired.pem -notext \
  -extfile extensions -extensions here -startdate 20200101000000Z -enddate 20200201000000Z
new other localhost -out other.csr
sign other root elsewhere -days 30
new self localhost -x509 -days 30 -out self.pem -addext subjectAltName=DNS:localhost
cat good.pem middle.pem >chain.pem && mv chain.pem good.pem
mkdir authorities && cp root.pem authorities/ && openssl rehash authorities
]]

local SERVERS = { "good", "expired", "self", "other", "cut", "old" } -- on the server's port and those behind it

local function url_of(name)
  for i, each in ipairs(SERVERS) do
    if each == name then return ("https://localhost:%d"):format(server.port + i) end
  end
end

local function conf()
  local parts = {}
  for i, name in ipairs(SERVERS) do
    local old = name == "old"
    parts[i] = ([[ server { listen 127.0.0.1:@PORT%d@ ssl; ssl_certificate %s/%s.pem; ssl_certificate_key %s/%s.key;
      %s location / { return 200 '{"results":[{"typeId":1}]}'; } } ]]):format(i, folder, old and "good" or name, folder,
      old and "good" or name, old and "ssl_protocols TLSv1.1; ssl_ciphers DEFAULT@SECLEVEL=0;" or "")
  end
  return table.concat(parts)
end

-- One attempt, though more are allowed, and nothing that could be tried again as it is.
local function assert_permanent(expected, outcome)
  local err = outcome.error
  assert.is_nil(outcome.results)
  assert.same({ expected.kind or "transport", expected.code, 1, false, false },
    { err.kind, err.code, err.attempts, err.retryable, err.ambiguous })
  for _, words in ipairs(expected) do assert.truthy(err.message:find(words, 1, true), err.message) end
end

local function call(name, options)
  local all = { ca_file = folder .. "/root.pem", max_attempts = 4 }
  for option, value in pairs(options or {}) do all[option] = value end
  return wire.call(wire.client(url_of(name), all), "batch_create")
end

describe("TLS #nginx", function()
  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    local status = os.execute(("mkdir %s && cd %s && bash -c %s >log 2>&1 || { cat log; exit 1; }")
      :format(folder, folder, shell.quote(MAKE)))
    assert(status == true or status == 0, "openssl made no certificates")
    server = nginx.start { http = conf(), server = "location / { return 404; }" }
  end)

  teardown(function()
    server:quit()
    os.execute("rm -r " .. folder)
  end)

  describe("a certificate", function()
    it("that is good, with what lies between it and the root, is taken", function()
      assert.is_nil(call("good").errors)
    end)

    for name, words in pairs {
      expired = { "clock" }, self = { "ca_file" }, other = { "localhost", "base_url" }, cut = { "ca_file" },
      old = { "TLS 1.2" },
    } do
      it(("(%s) is refused at once, with a word on what to do"):format(name), function()
        words.code = "tls"
        assert_permanent(words, call(name))
      end)
    end

    it("is not what a handshake failed of that was cut off: it is tried again", function()
      local broken = fault_server.start { "acts.once", "wait_readable", "reset" }
      local client = wire.client((broken.url:gsub("^http:", "https:")), { max_attempts = 2 })
      local err = wire.call(client, "batch_create").error
      assert.same({ "transport", 2, true, false }, { err.kind, err.attempts, err.retryable, err.ambiguous })
      broken:stop()
    end)
  end)

  describe("certificate authorities", function()
    local CLEAN = { CURL_CA_BUNDLE = false, SSL_CERT_FILE = false, SSL_CERT_DIR = false }

    -- Of a call in a process with these variables: nothing if it went well, else kind and message.
    local function call_with(variables, ca_file)
      local environment = {}
      for name, value in pairs(CLEAN) do environment[name] = variables[name] or value end
      local report = child.run(environment, [[
        local url, ca_file = ...
        local wire = require "spec.support.wire"
        local outcome = wire.call(wire.client(url, { ca_file = ca_file }), "batch_update")
        return outcome.error.kind, outcome.error.message
      ]], url_of "good", ca_file)
      assert.equal("0", report.status, table.concat(report, "\n"))
      return report[1], report[2]
    end

    it("are those of SSL_CERT_FILE, SSL_CERT_DIR or CURL_CA_BUNDLE, as with curl", function()
      local root = folder .. "/root.pem"
      assert.equal("nil", (call_with { SSL_CERT_FILE = root }))
      assert.equal("nil", (call_with { SSL_CERT_DIR = folder .. "/authorities" }))
      assert.equal("nil", (call_with { CURL_CA_BUNDLE = root, SSL_CERT_FILE = "/nonexistent" }))
      assert.equal("nil",
        (call_with { SSL_CERT_FILE = "", CURL_CA_BUNDLE = "", SSL_CERT_DIR = folder .. "/authorities" }))
    end)

    it("are the system's if nobody names others", function()
      local kind, message = call_with {}
      assert.equal("transport", kind)
      assert.truthy(message:find("the system", 1, true), message)
    end)

    it("of a variable are named where they do not do", function()
      local kind, message = call_with { SSL_CERT_FILE = folder .. "/self.pem" }
      assert.equal("transport", kind)
      assert.truthy(message:find("SSL_CERT_FILE", 1, true), message)
    end)

    it("of ca_file go before those", function()
      local root = folder .. "/root.pem"
      assert.equal("nil", (call_with({ SSL_CERT_FILE = "/nonexistent", CURL_CA_BUNDLE = "/nonexistent" }, root)))
      assert.equal("transport", (call_with({ SSL_CERT_FILE = root }, folder .. "/self.pem")))
    end)

    it("that are not there, or are none, are a matter of configuration", function()
      local none = folder .. "/good.key"
      for _, file in ipairs { "/nonexistent/ca.pem", none } do
        assert_permanent({ kind = "config", "ca_file", file }, call("good", { ca_file = file }))
        for _, name in ipairs { "SSL_CERT_FILE", "CURL_CA_BUNDLE" } do
          local kind, message = call_with { [name] = file }
          assert.equal("config", kind)
          assert.truthy(message:find(name, 1, true) and message:find(file, 1, true), message)
        end
      end
    end)
  end)
end)

describe("a proxy that wants a password", function()
  after_each(fault_server.stop_all)

  for _, scheme in ipairs { "https", "http" } do
    it(("for %s is asked once, and the text says where it goes"):format(scheme), function()
      local proxy = fault_server.start [[ return function(conn) for _ in conn.request, conn do
        conn:answer(407, "", { ["Proxy-Authenticate"] = "Basic realm=x" }) end end ]]
      local client = wire.client(scheme .. "://api.hubspot.test",
        { proxy = proxy.url, allow_http = true, max_attempts = 4 })
      assert_permanent({ kind = scheme == "http" and "api" or nil, code = scheme == "https" and "proxy" or nil,
        "407", "user and password", "URL" }, wire.call(client, "batch_create"))
      assert.equal(1, #proxy:stop())
    end)
  end

  it("is no other than one that refuses what it is asked for", function()
    local proxy = fault_server.start { "acts.once", "request", { "answer", 403, "" }, "request" }
    assert_permanent({ code = "proxy" },
      wire.call(wire.client("https://api.hubspot.test", { proxy = proxy.url, max_attempts = 4 }), "batch_create"))
    assert.equal(1, #proxy:stop())
  end)
end)
