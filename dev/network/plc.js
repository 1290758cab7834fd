// The reference PLC directory, in memory.
const { Database, PlcServer } = require('@did-plc/server')

exports.startPlc = async ({ host, port }) => {
  // `port` reaches Node's listen() unchanged, which takes an address with the port as well.
  await PlcServer.create({ db: Database.mock(), port: { host, port } }).start()
  return `http://${host}:${port}`
}
