--- Bulk jobs that are killed on their way: the child of soak/bulk.lua.
--   soak/job.lua TOKEN JOURNAL JOURNAL FIRST COUNT SEED ID=MOST,…

package.path = "./?.lua;" .. package.path
local assoc = require "hubspot_assoc"
local bulk = require "soak.bulk"
local faults = require "soak.faults"

local limits = {}
for id, most in arg[7]:gmatch "(%d+)=(%d+)" do
  limits[#limits + 1] = { id = tonumber(id), most = tonumber(most) }
end
math.randomseed(tonumber(arg[6]))
local client = assoc.new { access_token = arg[1], base_url = os.getenv "SOAK_HTTPS_URL",
  ca_file = os.getenv "SIMULATOR_CA_FILE", timeout = 2, connect_timeout = 2, retry_budget = false,
  headers = faults.headers(35) }
bulk.run(client, { first = tonumber(arg[4]), count = tonumber(arg[5]), limits = limits, create = arg[2],
  associate = arg[3] })
