--- Three kinds of pcall for functions that may yield.
--
-- pcall is Lua's own but in PUC Lua 5.1, where that stops a yield; there the function runs in a coroutine of its own,
-- whose yields are passed on (but not through a pcall of the caller's). Whoever is to let it go on resumes either that
-- coroutine or the outer one.
--
-- ask and try are for functions of the user's, which something may interrupt that is no failure of theirs: Ctrl-C. Then
-- ask raises it, as if there were no pcall, and try returns nil and the error. (src/lua/interrupt.c tells what that is;
-- in the coroutines of PUC Lua 5.1 it is the text of Ctrl-C alone.)

local core = require "hubspot_assoc.core"

local error, pcall, rawget, select, xpcall = error, pcall, rawget, select, xpcall
local create, resume, running, yield = coroutine.create, coroutine.resume, coroutine.running, coroutine.yield
local unpack = rawget(_G, "unpack")
local answered, forget, note = core.answered, core.forget_interruption, core.note_interruption

local function raise_interruption(ok, ...)
  if ok == nil then
    error((...), 0)
  end
  return ok, ...
end

--- All three, of the first and the last.
local function kinds(yielding_pcall, try)
  return { pcall = yielding_pcall, try = try, ask = function(...) return raise_interruption(try(...)) end }
end

if _VERSION ~= "Lua 5.1" or rawget(_G, "jit") then
  return kinds(pcall, function(fn, ...)
    forget()
    return answered(xpcall(fn, note, ...))
  end)
end

local function pack(...)
  return { n = select("#", ...), ... }
end

local function pcall_in_coroutine(fn, ...)
  local outer, input = running(), pack(...)
  local is_passing_on, results
  local inner = create(function(...)
    results = pack(true, fn(...))
    if not is_passing_on then -- who resumed it knows nothing of the outer one
      resume(outer)
    end
  end)
  while true do
    is_passing_on = true
    local output = pack(resume(inner, unpack(input, 1, input.n)))
    is_passing_on = false
    if not results and output[1] and outer then
      input = pack(yield(unpack(output, 2, output.n)))
    end
    if results then
      return unpack(results, 1, results.n)
    elseif not output[1] then
      return false, output[2]
    elseif not outer then
      return false, "attempt to yield from outside a coroutine"
    end
  end
end

--- The main thread cannot yield, and hooks are set for it alone.
return kinds(pcall_in_coroutine, function(fn, ...)
  forget()
  if running() then
    return answered(pcall_in_coroutine(fn, ...))
  end
  local input = pack(...)
  return answered(xpcall(function() return fn(unpack(input, 1, input.n)) end, note))
end)
