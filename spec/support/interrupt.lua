-- An error at a chosen instruction of the library's Lua files, as Ctrl-C or a debug hook raises one.
--
--   local has_raised, place, count, has_left = interrupt(n, fn, { within = "hubspot_assoc/limiter", spares = is_busy })
--
-- Runs fn, and raises at its n-th instruction within files whose names have `within` (default: all of the library), but
-- not while spares() returns true. Returns whether it came so far, where that was, how many instructions there were,
-- and whether the error has left fn; raises what else fn raises.
local MARK = "interrupted here"
local ALL = "lua/hubspot_assoc"

return function(n, fn, options)
  local within, spares = options and options.within or ALL, options and options.spares
  local count, has_raised, place = 0, false, nil
  local function hook()
    if has_raised or spares and spares() then return end
    if not debug.getinfo(2, "S").source:find(within, 1, true) then return end
    count = count + 1
    if count == n then
      has_raised, place = true, debug.traceback("", 2):gsub("\n%s*", " < "):sub(1, 500)
      error(MARK, 0)
    end
  end
  debug.sethook(hook, "", 1)
  local ok, message = pcall(fn)
  debug.sethook()
  assert(ok or tostring(message):find(MARK, 1, true), message)
  return has_raised, place, count, not ok
end
