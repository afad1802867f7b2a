-- busted's plain report for people; and its counts for scripts/run-tests, one line "passed failed skipped" in the file
-- that HSA_COUNTS names. busted's exit code cannot say how many failed, nor that nothing ran.
return function(options)
  local busted = require "busted"
  local handler = require "busted.outputHandlers.plainTerminal"(options)
  local counts = os.getenv "HSA_COUNTS"
  if counts then
    busted.subscribe({ "suite", "end" }, function()
      local file = assert(io.open(counts, "w"))
      file:write(string.format("%d %d %d\n", handler.successesCount, handler.failuresCount + handler.errorsCount,
        handler.pendingsCount))
      file:close()
      return nil, true
    end)
  end
  return handler
end
