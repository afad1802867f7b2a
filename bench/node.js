// HubSpot's own client for Node, beside which bench/run measures:  node node.js WHAT N
// It has no method for this call: apiRequest is what its README gives for such. Its limiter, 9 calls a second by
// default, is out of the way, and its connections are kept, as it does not by itself.
const { performance } = require('perf_hooks')

const begun = performance.now()
const { Client } = require('@hubspot/api-client')
const { Agent } = require(process.env.HUBSPOT_BASE_URL.split(':')[0])
const client = new Client({
  accessToken: process.env.HUBSPOT_ACCESS_TOKEN,
  basePath: process.env.HUBSPOT_BASE_URL,
  httpAgent: new Agent({ keepAlive: true, maxSockets: 8 }),
  limiterOptions: { minTime: 0, maxConcurrent: 1000 },
})
const loaded = performance.now()

async function call() {
  const response = await client.apiRequest({
    method: 'POST',
    path: '/crm/associations/v4/definitions/configurations/contacts/companies/batch/update',
    body: { inputs: [{ category: 'HUBSPOT_DEFINED', typeId: 279, maxToObjectIds: 200 }] },
  })
  if (response.status !== 200) throw new Error(`HTTP ${response.status}`)
  await response.json()
}

// n calls, so many of them under way at a time.
async function run(n, inFlight) {
  let left = n
  const work = async () => {
    while (left-- > 0) await call()
  }
  await Promise.all(Array.from({ length: inFlight }, work))
}

async function main(what, n) {
  await run(1, 1)
  const first = performance.now(), before = process.cpuUsage()
  await run(n, what === 'node_async' ? 200 : 1)
  const used = process.cpuUsage(before)
  const figures = [(loaded - begun) * 1000, (first - loaded) * 1000, (used.user + used.system) / n,
    process.resourceUsage().maxRSS]
  console.log(figures.map((figure) => figure.toFixed(1)).join(' '))
  process.exit()
}

main(process.argv[2], Number(process.argv[3]))
