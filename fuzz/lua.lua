--- What fuzz targets in Lua share. libFuzzer sees no branches of Lua code: these targets live from seeds, and from
-- mutations that know what their inputs are made of.
--
--   LUA fuzz/TARGET.lua SECONDS PREFIX FOLDER…    for so long; seeds are the folders' files; what it finds goes to a
--                                                 file whose name begins so
--   LUA fuzz/TARGET.lua FILE…                     these inputs alone: what was found

local fuzz = {}

local MOST_INSTRUCTIONS = 100000000 -- of one input: then it hangs

-- ---- chance: the same in all Luas ----

local seed = os.time() % 2147483646 + 1

--- 1 to n.
local function random(n)
  seed = seed * 16807 % 2147483647
  return math.floor(seed / 2147483647 * n) + 1
end

fuzz.random = random

function fuzz.pick(list) return list[random(#list)] end

-- ---- mutations: each function(text, words, other) -> text ----

local mutations = {}

local function cut(text)
  local first = random(#text + 1)
  return first, math.min(#text, first + random(random(3) == 1 and #text + 1 or 8) - 2)
end

mutations[1] = function(text) -- a byte is another one
  local at = random(#text + 1)
  return text:sub(1, at - 1) .. string.char(random(256) - 1) .. text:sub(at + 1)
end

mutations[2] = function(text) -- a part is missing
  local first, last = cut(text)
  return text:sub(1, first - 1) .. text:sub(last + 1)
end

mutations[3] = function(text) -- a part is there twice
  local first, last = cut(text)
  return text:sub(1, last) .. text:sub(first)
end

mutations[4] = function(text, words) -- a word comes in between, or in the place of a part
  local first, last = cut(text)
  return text:sub(1, first - 1) .. fuzz.pick(words) .. text:sub(random(2) == 1 and first or last + 1)
end

mutations[5] = function(text, _, other) -- another input's end
  return text:sub(1, random(#text + 1) - 1) .. other:sub(random(#other + 1))
end

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "[^\n]*\n?" do lines[#lines + 1] = line end
  return lines
end

mutations[6] = function(text) -- a line is elsewhere, or there twice
  local lines = lines_of(text)
  local from = random(#lines)
  local line = random(2) == 1 and table.remove(lines, from) or lines[from]
  table.insert(lines, random(#lines + 1), line)
  return table.concat(lines)
end

mutations[7] = function(text) return text:sub(1, random(#text + 1) - 1) end

local function mutate(text, words, seeds)
  for _ = 1, random(4) do
    text = fuzz.pick(mutations)(text, words, fuzz.pick(seeds))
  end
  return text
end

-- ---- running ----

local function read(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function try(check, text)
  debug.sethook(function() error "it takes too long" end, "", MOST_INSTRUCTIONS)
  local ok, message = xpcall(function() check(text) end, debug.traceback)
  debug.sethook()
  return ok, message
end

local function read_seeds(folders)
  local seeds = { "" }
  for _, folder in ipairs(folders) do
    local pipe = assert(io.popen("find '" .. folder .. "' -type f ! -name '*.lua' | sort"))
    for name in pipe:lines() do seeds[#seeds + 1] = read(name) end
    pipe:close()
  end
  return seeds
end

local function keep(prefix, text, message)
  local name = prefix .. os.time() .. "-" .. random(100000)
  local file = assert(io.open(name, "wb"))
  file:write(text)
  file:close()
  print(("%s\nthe input is in %s"):format(message, name))
  os.exit(1)
end

local function run_for(seconds, prefix, seeds, target)
  local ends, n = os.time() + seconds, 0
  repeat
    for _ = 1, 100 do
      local text = n < #seeds and seeds[n + 1] or target.generate and random(3) == 1 and target.generate()
        or fuzz.pick(seeds)
      if n >= #seeds and random(10) > 1 then text = mutate(text, target.words, seeds) end
      n = n + 1
      local ok, message = try(target.check, text)
      if not ok then keep(prefix, text, message) end
    end
  until os.time() >= ends
  print(("Done %d runs"):format(n))
end

--- Runs a target as its arguments say, and ends the process.
-- @param target { check = function(text) that raises if something does not hold, words = what mutations put in,
--   generate = function() -> text, or nil }
function fuzz.main(target)
  local seconds = tonumber(arg[1])
  if seconds then
    run_for(seconds, arg[2], read_seeds { select(3, (table.unpack or unpack)(arg)) }, target) -- luacheck: ignore
  end
  for i = 1, seconds and 0 or #arg do
    local ok, message = try(target.check, read(arg[i]))
    if not ok then
      print(message)
      os.exit(1)
    end
  end
  os.exit(0)
end

return fuzz
