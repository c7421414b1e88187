// node-postgres, with its companions for COPY and cursors.
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { text } from 'node:stream/consumers'

import pg from 'pg'
import { from, to } from 'pg-copy-streams'
import Cursor from 'pg-cursor'

import { BIG, LINES, NotApplicable, PLACE, TLS, WORDS, expect, refusal, report, versionOf } from './checks.mjs'

async function connect(options = {}) {
  const client = new pg.Client({ ...PLACE, ssl: TLS, ...options })
  await client.connect()
  return client
}

async function one(query, values) {
  return Object.values((await client.query(query, values)).rows[0])[0]
}

const client = await connect()
await report(versionOf('pg'), {
  async login() {
    expect(await one('SELECT current_user'), 'demo')
    expect(client.connection.stream.authorized, true)
    return refusal(() => connect({ password: 'wrong' }))
  },

  async simple() {
    const results = await client.query("SELECT 1 AS a; SELECT 'two' AS b")
    expect(results.map((result) => result.rows), [[{ a: 1 }], [{ b: 'two' }]])
  },

  async parameters() {
    const { rows } = await client.query('SELECT $1::int + 1 AS n, $2::text AS t, $3::text AS x', [41, WORDS, null])
    expect(rows, [{ n: 42, t: WORDS, x: null }])
  },

  async named() {
    for (let n = 0; n < 50; n++) {
      expect(await one({ name: 'doubled', text: 'SELECT $1::int * 2', values: [n] }), 2 * n)
    }
  },

  async transaction() {
    await client.query('CREATE TABLE moved (n int PRIMARY KEY)')
    await client.query('BEGIN')
    await client.query('INSERT INTO moved VALUES ($1)', [1])
    await client.query('INSERT INTO moved VALUES ($1)', [2])
    await client.query('COMMIT')
    expect(await one('SELECT count(*)::int FROM moved'), 2)
  },

  async rollback() {
    await client.query('BEGIN')
    await client.query('INSERT INTO moved VALUES (3)')
    const first = await refusal(() => client.query('SELECT 1 / 0'))
    const second = await refusal(() => client.query('SELECT $1::int', [1]))
    await client.query('ROLLBACK')
    expect(await one('SELECT count(*)::int FROM moved'), 2)
    return `${first}, ${second}`
  },

  async savepoint() {
    await client.query('BEGIN')
    await client.query('INSERT INTO moved VALUES (4)')
    await client.query('SAVEPOINT before')
    const code = await refusal(() => client.query('INSERT INTO moved VALUES ($1)', [4]))
    await client.query('ROLLBACK TO SAVEPOINT before')
    await client.query('INSERT INTO moved VALUES (5)')
    await client.query('COMMIT')
    expect(await one('SELECT count(*)::int FROM moved'), 4)
    return code
  },

  async 'copy in'() {
    await client.query('CREATE TABLE copied (n int, word text)')
    await pipeline(Readable.from([LINES]), client.query(from('COPY copied FROM STDIN')))
    expect(await one('SELECT count(*)::int FROM copied'), 1000)
  },

  async 'copy out'() {
    expect(await text(client.query(to('COPY copied TO STDOUT'))), LINES)
  },

  async cursor() {
    const cursor = client.query(new Cursor('SELECT n FROM generate_series(1, $1::int) AS n', [1000]))
    let [total, rows] = [0, []]
    do {
      rows = await cursor.read(100)
      total = rows.reduce((sum, row) => sum + row.n, total)
    } while (rows.length > 0)
    await cursor.close()
    expect(total, 500500)
  },

  async cancel() {
    throw new NotApplicable('no documented call for it')
  },

  async notify() {
    await client.query('LISTEN bells')
    const heard = once(client, 'notification')
    const other = await connect()
    await other.query("NOTIFY bells, 'ding'")
    await other.end()
    const [{ channel, payload }] = await heard
    expect([channel, payload], ['bells', 'ding'])
    await client.query('UNLISTEN bells')
  },

  async 'big row'() {
    expect((await one('SELECT $1::text', [BIG])) === BIG, true)
  },

  async 'own writes'() {
    await client.query('CREATE TABLE own (n int)')
    for (let n = 1; n <= 100; n++) {
      await client.query('INSERT INTO own VALUES ($1)', [n])
      expect(await one('SELECT count(*)::int FROM own'), n)
    }
  },

  async altered() {
    const columns = async () => {
      const { rows } = await client.query({ name: 'changing', text: 'SELECT * FROM changing' })
      return Object.keys(rows[0]).length
    }
    await client.query('CREATE TABLE changing AS SELECT 1 AS n')
    for (let n = 0; n < 10; n++) expect(await columns(), 1)
    const other = await connect()
    await other.query('ALTER TABLE changing ADD COLUMN word text')
    await other.end()
    const seen = []
    for (let n = 0; n < 3; n++) {
      seen.push(await columns().then((count) => `${count} columns`, (error) => error.code))
    }
    return seen.join(', ')
  },
})
await client.end()
