--- Reads files of `[section]` and `key = value` lines; `#` and `;` begin a comment. Pure.

--- @param content string
-- @return section -> { key = value }; or nil, the line's number and what is wrong with it
return function(content)
  local sections, current = {}, nil
  local number = 0
  for line in (content .. "\n"):gmatch("(.-)\r?\n") do
    number = number + 1
    local stripped = line:match("^%s*(.-)%s*$")
    local section = stripped:match("^%[%s*(.-)%s*%]$")
    local key, value = stripped:match("^([%w_%-]+)%s*=%s*(.-)$")
    if section then
      if section == "" then return nil, number, "a profile needs a name" end
      if sections[section] then return nil, number, ("profile '%s' is there twice"):format(section) end
      current = {}
      sections[section] = current
    elseif key then
      if not current then return nil, number, "a line '[NAME]' must come first: the profile that this belongs to" end
      current[key] = value:match('^"(.*)"$') or value
    elseif stripped ~= "" and not stripped:find("^[#;]") then
      return nil, number, "this is neither '[NAME]' nor 'KEY = VALUE'"
    end
  end
  return sections
end
