--- Applies a plan: shows it, has it confirmed, and reports each step. For apply and copy.

local files = require "hubspot_assoc.cli.files"
local options = require "hubspot_assoc.cli.options"
local problem = require "hubspot_assoc.cli.problem"
local text = require "hubspot_assoc.cli.text"

local MOST_UNASKED = 50 -- changes; more must be confirmed by their digest

local applying = {}

applying.options = {
  options.yes,
  { name = "--confirm", argname = "DIGEST", description = "The plan with this digest is meant, and no other. "
    .. "A plan that deletes labels, or has more than 50 changes, is applied with this only." },
  options.json,
}

applying.statuses = {
  { 0, "the account is as wanted" },
  { 1, "an error: it says what is done and what is not; running it again does the rest" },
}

-- ---- consent ----

local function why_digest(plan)
  if plan.deletes > 0 then return "it deletes " .. files.counted(plan.deletes, "label") end
  if plan.count > MOST_UNASKED then return ("it has %d changes"):format(plan.count) end
end

local function check_digest(args, plan)
  if args.confirm ~= plan.digest then
    problem.raise(("the plan's digest is %s, not %s: another plan was confirmed; nothing was sent")
      :format(plan.digest, args.confirm), "Look at the plan as it is now, and confirm that.")
  end
end

-- Whoever asks for JSON is a program, to which no plan has been shown.
local function may_ask(args)
  return not args.yes and not args.json
end

local function ask_digest(run, args, plan, why)
  local answer = may_ask(args) and run.terminal:ask(("This plan must be confirmed, for %s. Type its digest, %s, to "
    .. "apply it:"):format(why, plan.digest))
  if answer == plan.digest then return end
  problem.raise(("nothing was sent: a plan must be confirmed by its digest where %s"):format(why),
    ("Look at the plan; if it is right, run this again with --confirm %s."):format(plan.digest))
end

local function ask(run, args, plan)
  if args.yes then return end
  local answer = may_ask(args) and run.terminal:ask(("Apply %s? [y/N]"):format(files.summary(plan)))
  if not answer then
    problem.raise("nothing was sent: there is nobody to ask", "Give --yes, or --confirm " .. plan.digest .. ".")
  elseif not answer:lower():find "^y" then
    problem.raise("nothing was sent", "As you said.")
  end
end

local function get_consent(run, args, plan)
  local why = why_digest(plan)
  if args.confirm then
    check_digest(args, plan)
  elseif why then
    ask_digest(run, args, plan, why)
  else
    ask(run, args, plan)
  end
end

-- ---- applying ----

local SIGNS = { create_label = "+", rename_label = "~", delete_label = "-", remove_limit = "-" }

local function sign_of(step)
  return SIGNS[step.kind] or (step.old and "~" or "+")
end

local WORDS = { done = { "done", "green" }, failed = { "failed", "red" }, unknown = { "unknown", "yellow" } }

local function teller(run, args, plan)
  local n = 0
  return function(step, status, errors)
    n = n + 1
    run.terminal:progress(("applying: %d of %d"):format(n, plan.count))
    if args.json or (run.terminal.quiet and status == "done") then return end
    local word = WORDS[status] or { status, "yellow" }
    run.terminal:print(("%s %s %s"):format(run.terminal:paint(word[2], text.pad(word[1], 7)), sign_of(step),
      text.escape(files.schema().step_text(step))))
    if errors then run.terminal:complain(problem.describe(errors)) end
    run.terminal:flush()
  end
end

local function errors_for_json(errors)
  local list = {}
  for i, failure in ipairs(errors or {}) do
    list[i] = { message = failure.message, kind = failure.kind, category = failure.category,
      http_status = failure.http_status, ambiguous = failure.ambiguous }
  end
  return list
end

local function report_for_json(plan, report)
  return { status = report.status, digest = plan.digest, message = report.message,
    done = files.steps_for_json(report.done), failed = files.steps_for_json(report.failed),
    left = files.steps_for_json(report.left), errors = errors_for_json(report.errors),
    plan = report.plan and files.plan_for_json(report.plan) }
end

local function tell_report(run, args, plan, report)
  if args.json then run.terminal:json(report_for_json(plan, report)) end
  if report.status == "done" then
    if not args.json then run.terminal:note(("applied %s"):format(files.summary(plan))) end
    return problem.status.done
  end
  local done, failed, left = #(report.done or {}), #(report.failed or {}), #(report.left or {})
  local counts = done + failed > 0 and (" (%d done, %d failed, %d not done)"):format(done, failed, left) or ""
  if report.status == "changed" then
    if not args.json and report.plan then files.show_plan(run, "the file", report.plan) end
    problem.raise((report.message or "the account has changed since the plan was made") .. counts,
      "Run this again: it plans anew.")
  end
  local why = report.message or (report.errors and problem.describe(report.errors)) or "it failed"
  problem.raise(why .. counts, (report.errors and problem.advice(report.errors) or "")
    .. " What is done is done: run the same command again, and it does the rest.")
end

--- Shows a plan, has it confirmed, applies it, and tells what became of it.
-- @param run, args of the command
-- @param name of the file, for messages
-- @param client of the account
-- @param plan as hubspot_assoc.schema makes them
-- @return exit status; raises a problem
function applying.apply(run, args, name, client, plan)
  local is_agreed = args.yes or args.confirm
  if not args.json and not (run.terminal.quiet and is_agreed) then files.show_plan(run, name, plan) end
  files.check_problems(run, name, plan)
  if plan.count == 0 then
    if args.json then run.terminal:json(report_for_json(plan, { status = "done" })) end
    run.terminal:note("nothing to do: the account is as wanted")
    return problem.status.done
  end
  get_consent(run, args, plan)
  run:begin_changes("What is done is done: run the same command again, and it does the rest.")
  local report = problem.check(files.schema().apply(client, plan, { on_step = teller(run, args, plan) }))
  run.terminal:clear_progress()
  return tell_report(run, args, plan, report)
end

return applying
