-- SECURITY.md's promises name specs: each must be there, and each row must name one.

local function read(name)
  local file = assert(io.open(name, "rb"), name .. " is not there")
  local text = file:read "*a"
  file:close()
  return text
end

--- The titles of a spec file, or the pieces that they are made of.
local function titles(name)
  local found = {}
  for line in read(name):gmatch "%f[%w]it(%([^\n]*)" do
    for piece in line:gmatch '"([^"]*)"' do found[#found + 1] = piece end
  end
  return table.concat(found, "\n")
end

describe("SECURITY.md", function()
  local promises, proofs = 0, 0
  for promise, proof in read "SECURITY.md":gmatch "\n| ([^|]+) | ([^|]+) |" do
    if promise ~= "promise" then
      promises = promises + 1
      it("has a proof: " .. promise, function()
        local n = 0
        for file, names in proof:gmatch "%[(spec/[%w_/]+_spec%.lua)%]%([^)]+%)([^%[]*)" do
          local there = titles(file)
          for title in names:gmatch '"([^"]+)"' do
            assert.truthy(there:find(title, 1, true), ("%s has no spec %q"):format(file, title))
            n = n + 1
          end
        end
        assert.is_true(n > 0, "no spec is named")
        proofs = proofs + n
      end)
    end
  end

  it("was read", function()
    assert.is_true(promises > 15 and proofs >= promises)
  end)
end)
