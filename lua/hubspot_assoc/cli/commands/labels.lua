--- labels get | create | update | delete

local options = require "hubspot_assoc.cli.options"
local problem = require "hubspot_assoc.cli.problem"
local text = require "hubspot_assoc.cli.text"

local LABEL = { name = "label", argname = "LABEL",
  description = "The label as it is now; where two have the same text, USER_DEFINED:ID." }
local INVERSE = { name = "--inverse", argname = "TEXT", description = "What it is called from TO to FROM." }

local function show(run, args, list)
  if args.json then return run.terminal:json { results = list } end
  local rows = {}
  for i, kind in ipairs(list) do rows[i] = { kind.label or "(unlabelled)", kind.category, kind.typeId } end
  run.terminal:table({ { title = "LABEL" }, { title = "CATEGORY" }, { title = "TYPE ID", right = true } }, rows)
end

local function get(run, args)
  show(run, args, (problem.check(run:client():get_labels(args.from, args.to))))
end

-- HubSpot wants an internal name: small letters, digits and underscores.
local function internal_name(label)
  local name = label:lower():gsub("[^%w]+", "_"):gsub("^_+", ""):gsub("_+$", "")
  if name == "" then
    problem.raise(("no internal name can be made of '%s'"):format(label),
      "Give one with --name, of letters and digits.")
  end
  return name
end

local function create(run, args)
  show(run, args, (problem.check(run:client():create_label(args.from, args.to, {
    name = args.name or internal_name(args.label), label = args.label, inverseLabel = args.inverse,
  }))))
end

local function done(run, args, message)
  if args.json then return run.terminal:json { results = {} } end
  run.terminal:note(message)
end

-- The type id that a label has from FROM to TO.
local function find(run, args)
  local types = problem.check(run:client():label_types(args.from, args.to))
  return problem.check(types:of(args.label))[1].associationTypeId
end

local function update(run, args)
  problem.check(run:client():update_label(args.from, args.to, {
    associationTypeId = find(run, args), label = args.new_label, inverseLabel = args.inverse,
  }))
  done(run, args, ("'%s' is called '%s' now"):format(text.escape(args.label), text.escape(args.new_label)))
end

local function confirm_deletion(run, args)
  local answer = run.terminal:ask(("Delete the label '%s' of %s -> %s in both directions, with its limits? "
    .. "Records lose it. [y/N]"):format(text.escape(args.label), args.from, args.to))
  if not answer then
    problem.raise("nothing was deleted: there is nobody to ask", "Give --yes.")
  elseif not answer:lower():find("^y") then
    problem.raise "nothing was deleted"
  end
end

local function delete(run, args)
  local type_id = find(run, args)
  if not args.yes then confirm_deletion(run, args) end
  problem.check(run:client():delete_label(args.from, args.to, type_id))
  done(run, args, ("deleted '%s'"):format(text.escape(args.label)))
end

return {
  name = "labels", summary = "Labels of an object pair: get, create, update, delete.",
  commands = {
    {
      name = "get", summary = "Show the association types of a pair.",
      arguments = { options.from, options.to }, options = { options.json },
      examples = { "hubspot-assoc labels get contacts companies" },
      run = get,
    },
    {
      name = "create", summary = "Make a label.",
      description = "Makes a label. With --inverse it is paired: it has another text in the other direction.",
      arguments = { options.from, options.to, options.with(LABEL, { description = "Its text." }) },
      options = { INVERSE, { name = "--name", argname = "NAME",
        description = "HubSpot's internal name; made of the label if it is not given." }, options.json },
      examples = {
        "hubspot-assoc labels create contacts companies Consultant",
        { "hubspot-assoc labels create contacts companies Employee --inverse Employer", "a paired one" },
      },
      run = create,
    },
    {
      name = "update", summary = "Give a label another text.",
      arguments = { options.from, options.to, LABEL,
        { name = "new_label", argname = "NEW", description = "What it is to be called." } },
      options = { INVERSE, options.json },
      examples = { "hubspot-assoc labels update contacts companies Consultant Adviser" },
      run = update,
    },
    {
      name = "delete", summary = "Delete a label, its limits, and the label on records.",
      description = "Deletes a label in both directions, with its limits. Records lose it; they stay associated.",
      arguments = { options.from, options.to, LABEL }, options = { options.yes, options.json },
      examples = { "hubspot-assoc labels delete contacts companies Consultant" },
      run = delete,
    },
  },
}
