--- A plan as lines for people. Pure; colour is the caller's.

local ipairs, tostring = ipairs, tostring

local difference = {}

local function name(label, inverse_label)
  if inverse_label and inverse_label ~= label then
    return ("'%s' / '%s'"):format(label, inverse_label)
  end
  return ("'%s'"):format(label)
end

local texts = {}

function texts.create_label(step)
  return "+", "label " .. name(step.label, step.inverse_label)
end

function texts.delete_label(step)
  -- Without a reason it is a difference between two accounts: nothing is deleted.
  return "-", "label " .. name(step.label) .. (step.why and " (records lose it, and stay associated)" or "")
end

function texts.rename_label(step)
  local old, new = step.old, step.new
  return "~", ("label %s -> %s"):format(name(old.label, old.inverse_label), name(new.label, new.inverse_label))
end

local function limit_of(step)
  return step.label and "limit of '" .. step.label .. "'" or "limit"
end

function texts.set_limit(step)
  if step.old then
    return "~", ("%s: %d -> %d"):format(limit_of(step), step.old, step.new)
  end
  return "+", ("%s: %d"):format(limit_of(step), step.new)
end

function texts.remove_limit(step)
  return "-", ("%s: %s"):format(limit_of(step), tostring(step.old))
end

--- The lines of a plan, its steps by direction; the order of sending may be another.
-- @return list of { sign = " " (a heading: "contacts -> companies"), "+", "-" or "~", text =, why =, step = }
function difference.lines(plan)
  local lines, groups, order = {}, {}, {}
  for _, step in ipairs(plan.steps) do
    local heading = ("%s -> %s"):format(step.from, step.to)
    if not groups[heading] then
      groups[heading] = {}
      order[#order + 1] = heading
    end
    local sign, text = texts[step.kind](step)
    groups[heading][#groups[heading] + 1] = { sign = sign, text = text, why = step.why, step = step }
  end
  for _, heading in ipairs(order) do
    lines[#lines + 1] = { sign = " ", text = heading }
    for _, line in ipairs(groups[heading]) do
      lines[#lines + 1] = line
    end
  end
  return lines
end

--- One step as a text: "contacts -> companies: limit of 'Employee': 5 -> 3".
function difference.text(step)
  local _, text = texts[step.kind](step)
  return ("%s -> %s: %s"):format(step.from, step.to, text)
end

return difference
