// The reference PDS, on SQLite, known to the network as http://KNOWN:PORT. What it mails is in DATA/mail.jsonl.
const { appendFileSync, mkdirSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')
const { Secp256k1Keypair } = require('@atproto/crypto')
const { PDS, envToCfg, envToSecrets } = require('@atproto/pds')
const { rotateKeys } = require('@atproto/pds/dist/scripts/rotate-keys')

// The PDS asks its crawlers to crawl it when something happens, but not again for 20 minutes. Here a relay comes and goes
// more often than that.
const CRAWL_REQUEST_INTERVAL_MS = 10_000

exports.startPds = async ({ host, known, port, plc, data, handleDomain, crawlers }) => {
  const { host: authority, origin } = new URL(`http://${known}:${port}`) // without the port, where it is 80
  const blobs = join(data, 'blobs')
  mkdirSync(blobs, { recursive: true })
  const env = {
    port: port === 80 ? 8080 : port, // for the issuer of OAuth alone, which names no default port
    serviceDid: `did:web:${encodeURIComponent(authority)}`,
    dataDirectory: data,
    blobstoreDiskLocation: blobs,
    didPlcUrl: plc,
    serviceHandleDomains: [handleDomain],
    crawlers,
    inviteRequired: false,
    devMode: true, // plain HTTP, and a PLC directory on a private address
    // Secrets of a network that lives on one machine and is thrown away.
    jwtSecret: 'development',
    adminPassword: 'admin',
    plcRotationKeyK256PrivateKeyHex: 'e3'.repeat(32),
  }

  const config = envToCfg(env)
  config.service.hostname = authority // what its requestCrawl names
  config.service.port = { host, port } // reaches Node's listen() unchanged
  const pds = await PDS.create(config, envToSecrets(env))
  // What its DID documents name. Set only now, because OAuth, set up above, takes plain HTTP from localhost alone.
  config.service.publicUrl = origin
  pds.ctx.mailer.transporter.use('stream', ({ data: { to, subject, text } }, done) => {
    appendFileSync(join(data, 'mail.jsonl'), JSON.stringify({ to, subject, text }) + '\n')
    done()
  })
  await pds.start()
  setInterval(() => (pds.ctx.crawlers.lastNotified = -Infinity), CRAWL_REQUEST_INTERVAL_MS)
  return { url: config.service.publicUrl, ctx: pds.ctx }
}

// A new signing key for an account: in place of the old one, then the PDS's own script for its operator, which brings it to
// the PLC directory and announces it.
exports.rotateKey = async ({ ctx }, did) => {
  const { keyLocation } = await ctx.actorStore.getLocation(did)
  const key = await Secp256k1Keypair.create({ exportable: true })
  writeFileSync(keyLocation, await key.export())
  await rotateKeys(ctx, [did])
}
