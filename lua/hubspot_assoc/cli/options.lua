--- Options and arguments that several commands have.

local options = {}

options.json = { name = "--json", flag = true, description = "Write JSON, for programs." }
options.yes = { name = "-y --yes", flag = true, description = "Do not ask." }

options.from = { name = "from", argname = "FROM",
  description = "Object type: a name (contacts), an id (0-1, 2-1234567) or a custom object's name (p_thing)." }
options.to = { name = "to", argname = "TO", description = "Object type that it is associated with." }

options.names = { name = "--name", argname = "ID=NAME", count = "*",
  description = "What a custom object is called (2-1234567=p_car), for its id means nothing in other accounts." }

--- The same argument or option with changes.
function options.with(option, changes)
  local copy = {}
  for key, value in pairs(option) do copy[key] = value end
  for key, value in pairs(changes) do copy[key] = value end
  return copy
end

return options
