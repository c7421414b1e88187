// postgres.js: everything is prepared, and sent without waiting for the answer to what went before.
import { text } from 'node:stream/consumers'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

import postgres from 'postgres'

import { BIG, LINES, PLACE, SLEEPING, TLS, WORDS, expect, refusal, report, versionOf, waitUntil } from './checks.mjs'

function connect(options = {}) {
  return postgres({ ...PLACE, username: PLACE.user, ssl: TLS, max: 1, onnotice() {}, ...options })
}

async function one(query) {
  return Object.values((await query)[0])[0]
}

const sql = connect()
await report(versionOf('postgres'), {
  async login() {
    expect(await one(sql`SELECT current_user`), 'demo')
    return refusal(() => connect({ password: 'wrong' })`SELECT 1`)
  },

  async simple() {
    const results = await sql`SELECT 1 AS a; SELECT 'two' AS b`.simple()
    expect(results.map((rows) => [...rows]), [[{ a: 1 }], [{ b: 'two' }]])
  },

  async parameters() {
    const rows = await sql`SELECT ${41}::int + 1 AS n, ${WORDS}::text AS t, ${null}::text AS x`
    expect([...rows], [{ n: 42, t: WORDS, x: null }])
  },

  async named() {
    // All at once: the driver sends them without waiting.
    const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => one(sql`SELECT ${n}::int * 2`)))
    expect(answers, Array.from({ length: 50 }, (_, n) => 2 * n))
  },

  async transaction() {
    await sql`CREATE TABLE moved (n int PRIMARY KEY)`
    await sql.begin((sql) => [sql`INSERT INTO moved VALUES (${1})`, sql`INSERT INTO moved VALUES (${2})`])
    expect(await one(sql`SELECT count(*)::int FROM moved`), 2)
  },

  async rollback() {
    const codes = []
    await sql.begin(async (sql) => {
      await sql`INSERT INTO moved VALUES (3)`
      codes.push(await refusal(() => sql`SELECT 1 / 0`), await refusal(() => sql`SELECT 1`))
      throw new RangeError('enough')
    }).catch((error) => expect(error instanceof RangeError, true))
    expect(await one(sql`SELECT count(*)::int FROM moved`), 2)
    return codes.join(', ')
  },

  async savepoint() {
    let code
    await sql.begin(async (sql) => {
      await sql`INSERT INTO moved VALUES (4)`
      code = await refusal(() => sql.savepoint((sql) => sql`INSERT INTO moved VALUES (4)`))
      await sql`INSERT INTO moved VALUES (5)`
    })
    expect(await one(sql`SELECT count(*)::int FROM moved`), 4)
    return code
  },

  async 'copy in'() {
    await sql`CREATE TABLE copied (n int, word text)`
    await pipeline(Readable.from([LINES]), await sql`COPY copied FROM STDIN`.writable())
    expect(await one(sql`SELECT count(*)::int FROM copied`), 1000)
  },

  async 'copy out'() {
    expect(await text(await sql`COPY copied TO STDOUT`.readable()), LINES)
  },

  async cursor() {
    let total = 0
    for await (const rows of sql`SELECT n FROM generate_series(1, ${1000}::int) AS n`.cursor(100)) {
      total = rows.reduce((sum, row) => sum + row.n, total)
    }
    expect(total, 500500)
  },

  async cancel() {
    const sleeping = sql`SELECT pg_sleep(60)`.execute()
    const refused = refusal(() => sleeping)
    const other = connect()
    await waitUntil(async () => (await one(other.unsafe(SLEEPING))) === 1)
    await other.end()
    sleeping.cancel()
    const code = await refused
    expect(await one(sql`SELECT 1`), 1)
    return code
  },

  async notify() {
    let hear
    const heard = new Promise((resolve) => (hear = resolve))
    const { unlisten } = await sql.listen('bells', hear)
    const other = connect()
    await other.notify('bells', 'ding')
    await other.end()
    expect(await heard, 'ding')
    await unlisten()
  },

  async 'big row'() {
    expect((await one(sql`SELECT ${BIG}::text`)) === BIG, true)
  },

  async 'own writes'() {
    await sql`CREATE TABLE own (n int)`
    for (let n = 1; n <= 100; n++) {
      // Both in flight at once: what is not executed explicitly is when it is awaited.
      const inserted = sql`INSERT INTO own VALUES (${n})`.execute()
      expect(await one(sql`SELECT count(*)::int FROM own`), n)
      await inserted
    }
  },

  async altered() {
    const columns = async () => (await sql`SELECT * FROM changing`).columns.length
    await sql`CREATE TABLE changing AS SELECT 1 AS n`
    for (let n = 0; n < 10; n++) expect(await columns(), 1)
    const other = connect()
    await other`ALTER TABLE changing ADD COLUMN word text`
    await other.end()
    const seen = []
    for (let n = 0; n < 3; n++) {
      seen.push(await columns().then((count) => `${count} columns`, (error) => error.code))
    }
    return seen.join(', ')
  },
})
await sql.end()
process.exit()
