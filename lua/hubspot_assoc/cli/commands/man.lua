--- man: the manual page

local man_page = require "hubspot_assoc.cli.man_page"
local system = require "hubspot_assoc.cli.system"

local function man(run)
  local page = man_page(require("hubspot_assoc")._VERSION)
  if not run.terminal.is_out or not system.has "man" then
    return run.terminal:print((page:gsub("\n$", "")))
  end
  system.feed("man -l -", page)
end

return {
  name = "man", summary = "Show the manual page.",
  description = "Shows the manual page on a terminal; elsewhere writes its source.",
  examples = { "hubspot-assoc man", "hubspot-assoc man >hubspot-assoc.1" },
  run = man,
}
