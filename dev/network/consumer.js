// The reference firehose consumer (@atproto/sync) with its verification on: signature and proof of every record.
//   node consumer.js --relay ws://HOST:PORT --plc URL [--cursor SEQ]
// Prints one JSON line per event and runs until it is killed. An event that fails its check, or a lost connection,
// is a line with "error" instead; the consumer then reconnects after the last seq it has seen.
const { setTimeout: wait } = require('node:timers/promises')
const { parseArgs } = require('node:util')
const { IdResolver, MemoryCache } = require('@atproto/identity')
const { Firehose, MemoryRunner } = require('@atproto/sync')

const { values: options } = parseArgs({
  options: { relay: { type: 'string' }, plc: { type: 'string' }, cursor: { type: 'string' } },
})

const print = (line) => process.stdout.write(JSON.stringify(line) + '\n')

// One event at a time, so that the lines come in the order of the firehose.
const startCursor = options.cursor === undefined ? undefined : Number(options.cursor)
const runner = new MemoryRunner({ startCursor, concurrency: 1 })

const firehose = new Firehose({
  service: options.relay,
  idResolver: new IdResolver({ plcUrl: options.plc, didCache: new MemoryCache() }),
  unauthenticatedCommits: false,
  unauthenticatedHandles: true, // handles of the test network have no DNS
  subscriptionReconnectDelay: 500, // ms
  runner,
  handleEvent: ({ seq, did, event, collection, rkey, cid, record, rev, active, status, time }) => {
    print({ seq, did, event, collection, rkey, cid: cid?.toString(), record, rev, active, status, time })
  },
  onError: (error) => {
    const { seq, did, repo } = error.event ?? error.value ?? {}
    print({ error: error.message, cause: String(error.cause), seq, did: did ?? repo })
  },
})

// A close frame, as of a relay that restarts, ends the stream without an error (@atproto/ws-client 0.0.4): begin again.
const follow = async () => {
  for (;;) {
    await firehose.start()
    print({ error: 'the relay has closed the stream' })
    await wait(500) // ms
  }
}

follow()
