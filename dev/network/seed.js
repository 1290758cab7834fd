// Gives the network something to say: one account with three posts on each PDS, made through the PDS's own HTTP API.
//   node seed.js PDS_URL…
// An account that is already there is left as it is, so that seeding twice changes nothing.
const POSTS = ['Hello from a real PDS.', 'This commit was signed by its own repository key.', 'It reached you through the relay.']

async function call(pds, method, body, token) {
  const headers = { 'content-type': 'application/json' }
  if (token) headers.authorization = `Bearer ${token}`
  const response = await fetch(`${pds}/xrpc/${method}`, { method: 'POST', headers, body: JSON.stringify(body) })
  return { ok: response.ok, ...(await response.json()) }
}

async function seed(pds) {
  const { availableUserDomains } = await (await fetch(`${pds}/xrpc/com.atproto.server.describeServer`)).json()
  const handle = `alice${availableUserDomains[0]}`
  const email = `alice@${handle}`
  const account = await call(pds, 'com.atproto.server.createAccount', { handle, email, password: 'password' })
  if (account.error === 'HandleNotAvailable' || /already taken/.test(account.message)) return
  if (!account.ok) throw new Error(`${pds} made no account ${handle}: ${account.message}`)

  for (const text of POSTS) {
    const record = { $type: 'app.bsky.feed.post', text, createdAt: new Date().toISOString() }
    const write = { repo: account.did, collection: 'app.bsky.feed.post', record }
    const post = await call(pds, 'com.atproto.repo.createRecord', write, account.accessJwt)
    if (!post.ok) throw new Error(`${pds} took no post of ${handle}: ${post.message}`)
  }
  console.log(`${handle} is ${account.did}, with ${POSTS.length} posts`)
}

Promise.all(process.argv.slice(2).map(seed)).catch((error) => {
  console.error(error.message)
  process.exit(1)
})
