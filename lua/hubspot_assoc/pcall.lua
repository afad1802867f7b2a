--- pcall, where the function may yield. Only PUC Lua 5.1's pcall stops a yield; there the function
-- runs in a coroutine of its own, whose yields are passed on (but not through a pcall of the caller's). Whoever is to
-- let it go on resumes either that coroutine or the outer one.

local pcall, rawget, select = pcall, rawget, select
local create, resume, running, yield = coroutine.create, coroutine.resume, coroutine.running, coroutine.yield
local unpack = rawget(_G, "unpack")

if _VERSION ~= "Lua 5.1" or rawget(_G, "jit") then
  return pcall
end

local function pack(...)
  return { n = select("#", ...), ... }
end

return function(fn, ...)
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
