// A whole AT Protocol network on one address: a PLC directory and PDSes, the reference implementations of both.
//   network --host ADDRESS [--name NAME] --plc-port PORT --pds-port PORT [--pds-port PORT…] --data DIR [--crawlers URL,…]
// Prints one line when all of them answer, "ready plc=URL pds=URL,…", and runs until it is killed. DIR should be new:
// the PLC directory is in memory. The nth PDS gives out handles under .pdsN.test, and asks the crawlers to crawl it when
// something happens there. A line "rotate N DID" on its standard input gives an account on the nth PDS a new signing key,
// which it answers with "rotated DID". The PDSes call themselves by NAME, if there is one, and not by ADDRESS.
const { mkdirSync } = require('node:fs')
const { join } = require('node:path')
const { createInterface } = require('node:readline')
const { parseArgs } = require('node:util')

const { values: options } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    name: { type: 'string' },
    'plc-port': { type: 'string' },
    'pds-port': { type: 'string', multiple: true, default: [] },
    data: { type: 'string' },
    crawlers: { type: 'string', default: '' },
  },
})

// The log of all servers; set before they are loaded, for they read it then.
mkdirSync(options.data, { recursive: true })
Object.assign(process.env, { LOG_ENABLED: 'true', LOG_DESTINATION: join(options.data, 'network.log') })
const { startPlc } = require('./plc')
const { rotateKey, startPds } = require('./pds')

async function main() {
  const { host, name: known = host, data } = options
  const crawlers = options.crawlers.split(',').filter(Boolean)
  const plc = await startPlc({ host, port: Number(options['plc-port']) })
  const pdses = []
  for (const [index, port] of options['pds-port'].entries()) {
    const name = `pds${index + 1}`
    const own = { port: Number(port), data: join(data, name), handleDomain: `.${name}.test` }
    pdses.push(await startPds({ host, known, plc, crawlers, ...own }))
  }
  console.log(`ready plc=${plc} pds=${pdses.map(({ url }) => url).join(',')}`)
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, number, did] = line.split(' ')
    if (command !== 'rotate') throw new Error(`this is no command: ${line}`)
    await rotateKey(pdses[number - 1], did)
    console.log(`rotated ${did}`)
  }
}

main().catch((error) => {
  console.error(error.message)
  process.exit(1)
})
