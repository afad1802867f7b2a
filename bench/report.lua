--- What bench/run has measured, as tables and as a chart:  lua report.lua FOLDER LUA LUA_OF_LUA_HTTP

local folder, lua, lua_of_http = arg[1], arg[2], arg[3]

local NAMES = {
  raw = "raw libcurl loop", hubspot_assoc = "hubspot_assoc", hubspot_assoc_async = "hubspot_assoc, 200 in flight",
  luasocket = "luasocket + cjson, HTTP by hand", lua_http = ("lua-http + cjson (%s)"):format(lua_of_http),
  node = "HubSpot's client for Node",
  node_async = "HubSpot's client for Node, 200 in flight", cjson = "cjson.encode + cjson.decode",
}
local ORDER = { "raw", "hubspot_assoc", "hubspot_assoc_async", "luasocket", "lua_http", "node", "node_async" }

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
  for _, row in ipairs { { "batch_update", 1.3 }, { "associate", 1.5 } } do
    local ours, cjson = of[row[1] .. "_many"], of["cjson_" .. row[1] .. "_many"]
    print(("  %-42s %11d %11d %7.2f   goal: %.2f"):format(row[1], ours, cjson, ours / cjson, row[2]))
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

-- ---- the chart ----

local LEFT, BAR, WIDTH, HEIGHT = 300, 420, 800, 28 -- of names, of the longest bar, of the picture, of a row

--- Bars of processor time a call, shortest first.
local function chart(rows)
  table.sort(rows, function(a, b) return a.cpu < b.cpu end)
  local size = ([[width="%d" height="%d"]]):format(WIDTH, (#rows + 2) * HEIGHT)
  local lines = {
    '<svg xmlns="http://www.w3.org/2000/svg" ' .. size .. ' font-family="sans-serif" font-size="14">',
    '<rect width="100%" height="100%" fill="white"/>',
    '<text x="12" y="22" font-weight="bold">Processor time of one batch_update, microseconds</text>',
  }
  for i, row in ipairs(rows) do
    local y, width = (i + 0.5) * HEIGHT, math.max(2, row.cpu / rows[#rows].cpu * BAR)
    lines[#lines + 1] = ([[<text x="%d" y="%.0f" text-anchor="end">%s</text>]]):format(LEFT - 8, y + 15, row.name)
    lines[#lines + 1] = ([[<rect x="%d" y="%.0f" width="%.0f" height="20" fill="%s"/>]]):format(LEFT, y, width,
      row.is_ours and "#ff7a59" or "#9aa5b1")
    lines[#lines + 1] = ([[<text x="%.0f" y="%.0f">%.0f</text>]]):format(LEFT + width + 8, y + 15, row.cpu)
  end
  lines[#lines + 1] = "</svg>\n"
  return table.concat(lines, "\n")
end

local function write_chart(least)
  local rows = {}
  for _, what in ipairs(ORDER) do
    if least.http[what] then
      rows[#rows + 1] = { name = NAMES[what], cpu = least.http[what].cpu, is_ours = what:find "^hubspot" ~= nil }
    end
  end
  local path = folder .. "/chart.svg"
  local file = assert(io.open(path, "w"))
  assert(file:write(chart(rows)))
  assert(file:close())
  print("\n  chart: " .. path)
end

local least = read_rounds()
print_instructions(read_instructions())
print_rounds(least)
write_chart(least)
