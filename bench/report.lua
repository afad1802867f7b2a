--- What bench/run has measured, as tables:  lua report.lua FOLDER LUA LUA_OF_LUA_HTTP

package.path = "./?.lua;" .. package.path
local figures = require "bench.figures"

local folder, lua, lua_of_http = arg[1], arg[2], arg[3]

local NAMES = {
  raw = "raw libcurl loop", hubspot_assoc = "hubspot_assoc", hubspot_assoc_async = "hubspot_assoc, 200 in flight",
  luasocket = "luasocket + cjson, HTTP by hand", lua_http = ("lua-http + cjson (%s)"):format(lua_of_http),
  node = "HubSpot's client for Node",
  node_async = "HubSpot's client for Node, 200 in flight", cjson = "cjson.encode + cjson.decode",
}
local ORDER = { "raw", "hubspot_assoc", "hubspot_assoc_async", "luasocket", "lua_http", "node", "node_async" }
local MANY = {
  { call = "batch_update", name = "2,000 limits", goal = 1.3 },
  { call = "associate", name = "2,000 records", goal = 1.5 },
}

--- The least of each figure: scheme -> what -> { load, first, cpu, peak }
local function read_rounds()
  local least = { http = {}, https = {} }
  for line in io.lines(folder .. "/rounds") do
    local words = {}
    for word in line:gmatch "%S+" do words[#words + 1] = word end
    assert(#words == 6, "a round without figures: " .. line)
    local seen = least[words[1]][words[2]] or {}
    for i, name in ipairs { "load", "first", "cpu", "peak" } do
      seen[name] = math.min(seen[name] or math.huge, tonumber(words[i + 2]))
    end
    least[words[1]][words[2]] = seen
  end
  return least
end

local function read_instructions()
  local of = {}
  for line in io.lines(folder .. "/instructions") do
    local what, n = line:match "^(%S+) (%d+)$"
    of[assert(what, "no instructions: " .. line)] = tonumber(n)
  end
  return of
end

local function print_instructions(of)
  print(("\nOne batch_update with one input, one connection over loopback (%s): instructions a call\n"):format(lua))
  for _, what in ipairs { "raw", "cjson", "hubspot_assoc", "luasocket" } do
    print(("  %-42s %9d"):format(NAMES[what], of[what]))
  end
  print(("\n  hubspot_assoc : (raw + cjson)              %9.2f   goal: 1.10"):format(
    of.hubspot_assoc / (of.raw + of.cjson)))
  print "\n2,000 inputs: instructions a call                  ours     cjson alone"
  for _, row in ipairs(MANY) do
    local ours, cjson = of[row.call .. "_many"], of["cjson_" .. row.call .. "_many"]
    print(("  %-42s %11d %11d %7.2f   goal: %.2f"):format(row.call, ours, cjson, ours / cjson, row.goal))
  end
end

local function print_rounds(least)
  print "\nThe least of some rounds by turns; first: the first call after loading, its connection included\n"
  print(("  %-42s %8s %8s %10s %10s %11s"):format("", "CPU us", ": ours", "memory KiB", "load ms", "first ms"))
  for _, what in ipairs(ORDER) do
    local row, secure = least.http[what], least.https[what]
    if row then
      print(("  %-42s %8.1f %8.2f %10d %10.1f %11.1f%s"):format(NAMES[what], row.cpu,
        row.cpu / least.http.hubspot_assoc.cpu, row.peak, row.load / 1e3, row.first / 1e3,
        secure and ("   over TLS %.1f"):format(secure.first / 1e3) or ""))
    end
  end
  if least.http.node then
    print(("\n  calls per second of processor time : Node's  %6.1f   goal: 10"):format(
      least.http.node.cpu / least.http.hubspot_assoc.cpu))
    print(("  the same, 200 in flight                       %6.1f"):format(
      least.http.node_async.cpu / least.http.hubspot_assoc_async.cpu))
  end
end

--- For the chart.
local function add_figures(of, least)
  for _, what in ipairs(ORDER) do
    local row, secure = least.http[what], least.https[what]
    if row then
      figures.add("cpu", NAMES[what], row.cpu)
      if not what:find "_async$" then figures.add("memory", NAMES[what], row.peak / 1024) end
    end
    if secure then figures.add("first", NAMES[what], (secure.load + secure.first) / 1e3) end
  end
  figures.add("goal", "one input : raw libcurl + cjson", of.hubspot_assoc / (of.raw + of.cjson), 1.1)
  for _, row in ipairs(MANY) do
    figures.add("goal", row.name .. " : cjson", of[row.call .. "_many"] / of["cjson_" .. row.call .. "_many"], row.goal)
  end
end

local of, least = read_instructions(), read_rounds()
print_instructions(of)
print_rounds(least)
add_figures(of, least)
