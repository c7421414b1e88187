// What the programs for Node share: one line a check, its name, ok or fail or n/a, and what it saw.
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

const { PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, PGSSLROOTCERT } = process.env

export const PLACE = { host: PGHOST, port: Number(PGPORT), user: PGUSER, password: PGPASSWORD, database: PGDATABASE }
export const TLS = { ca: readFileSync(PGSSLROOTCERT, 'utf8'), rejectUnauthorized: true }
export const WORDS = 'grüße \'x\' \\ "y"'
export const LINES = Array.from({ length: 1000 }, (_, n) => `${n + 1}\tword ${n + 1}\n`).join('')
export const BIG = '0123456789abcdef'.repeat((8 * 1024 * 1024) / 16)
export const SLEEPING =
  "SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' " +
  "AND query LIKE 'SELECT pg_sleep%'"

// What is installed under that name.
export function versionOf(name) {
  const described = new URL(`node_modules/${name}/package.json`, import.meta.url)
  return `${name} ${JSON.parse(readFileSync(described, 'utf8')).version}`
}

// Thrown where the driver has no call for a check; says what is missing.
export class NotApplicable extends Error {}

// Runs every check; `checks` is an object of functions by name.
export async function report(version, checks) {
  console.log(`version\tok\t${version}, Node ${process.versions.node}`)
  for (const [name, check] of Object.entries(checks)) {
    let told = 'ok'
    let saw = ''
    try {
      saw = (await check()) ?? ''
    } catch (error) {
      told = error instanceof NotApplicable ? 'n/a' : 'fail'
      saw = told === 'n/a' ? error.message : `${error.code ?? ''} ${error.stack}`
    }
    console.log(`${name}\t${told}\t${saw.split(/\s+/).join(' ').trim()}`)
  }
}

export function expect(seen, wanted) {
  const [left, right] = [JSON.stringify(seen), JSON.stringify(wanted)]
  if (left !== right) throw new Error(`${left.slice(0, 200)} in place of ${right.slice(0, 200)}`)
}

// Runs what must fail, and returns its SQLSTATE.
export async function refusal(call) {
  try {
    await call()
  } catch (error) {
    if (!/^[0-9A-Z]{5}$/.test(error.code)) throw error
    return error.code
  }
  throw new Error('it was not refused')
}

export async function waitUntil(done) {
  for (const deadline = Date.now() + 30_000; !(await done()); await pause(10)) {
    if (Date.now() > deadline) throw new Error('it did not come to that')
  }
}
