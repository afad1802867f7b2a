-- Which lines of the library's Lua files run, for `make coverage`: every Lua of its specs begins with this file
-- (LUA_INIT), and writes what it has seen into a file of its own in $HSA_LINES when it ends. Specs that set a hook of
-- their own end it.
local folder = os.getenv "HSA_LINES"
if not folder then return end

local getinfo = debug.getinfo -- a spec takes the standard library away
local seen = {} -- file -> line -> true
local names = {} -- source -> file, or false

local function name_of(source)
  local name = source:match "^@.*(lua/hubspot_assoc.*%.lua)$" or false
  names[source] = name
  if name and not seen[name] then seen[name] = {} end
  return name
end

local function hook(_, line)
  local source = getinfo(2, "S").source
  local name = names[source]
  if name == nil then name = name_of(source) end
  if name then seen[name][line] = true end
end

local function write()
  local file = io.open(("%s/%s"):format(folder, (os.tmpname():gsub(".*/", ""))), "w")
  for name, lines in pairs(seen) do
    for line in pairs(lines) do file:write(name, " ", line, "\n") end
  end
  file:close()
  seen = setmetatable({}, { __index = function() return {} end })
end

-- Each coroutine has a hook of its own.
local create = coroutine.create
local function watched(fn)
  local thread = create(fn)
  debug.sethook(thread, hook, "l")
  return thread
end

rawset(coroutine, "create", watched)
rawset(coroutine, "wrap", function(fn)
  local thread = watched(fn)
  return function(...)
    local function finish(ok, ...)
      if ok then return ... end
      error((...), 0)
    end
    return finish(coroutine.resume(thread, ...))
  end
end)

local exit = os.exit
function os.exit(...) -- luacheck: ignore
  write()
  exit(...)
end
_G["\0line coverage"] = setmetatable({}, { __gc = write })
debug.sethook(hook, "l")
