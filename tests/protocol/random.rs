//! Random sessions, each held against a server of its own: what a client sees must be the same with and without the
//! proxy, whatever servers its requests go to and however the bytes are cut.

use std::collections::BTreeMap;

use super::fake::{Database, Fake};
use super::messages::*;
use super::world::{Cut, World};
use bellwether::session::{Parting, PoolMode};
use fastrand::Rng;

/// How many sequences of requests are tried; a failing one prints its number.
const SEQUENCES: u64 = 1500;

/// Numbers of sequences that failed once, with what they found.
const ONCE_FAILED: [(u64, &str); 5] = [
    (2494, "a Query behind a group that failed did not drop the unnamed statement"),
    (4764, "the Sync of a helper behind a COPY was taken for one within it"),
    (4831, "known statements were taken to be prepared behind a BEGIN whose group failed later"),
    (6498, "set_config() by a portal with a row limit was not followed"),
    (6968, "an answer to one Parse was taken for that to a later one of the same statement"),
];

#[test]
fn sessions_are_as_with_a_server_of_their_own() {
    for seed in ONCE_FAILED.into_iter().map(|(seed, _)| seed).chain(0..SEQUENCES) {
        sequence(seed);
    }
}

/// One client, as it fares with and without the proxy.
struct Pair {
    direct: Fake,
    seen: Vec<String>,
    expected: Vec<String>,
    told: BTreeMap<String, String>,
    told_directly: BTreeMap<String, String>,
    /// An extended-protocol group is open, as far as the client knows.
    group: bool,
    has_startup: bool,
    history: Vec<String>,
}

fn sequence(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let cut = match seed % 4 {
        0 => Cut::Whole,
        1 => Cut::Bytes,
        _ => Cut::Random(seed),
    };
    let mut world = World::new(cut);
    world.prepared_limit = random.usize(1..6);
    world.clients.clear();
    let database = Database::default();
    let clients = random.usize(1..4);
    let mut pairs = Vec::new();
    for number in 0..clients {
        let startup: &[(&str, &str)] =
            if number == 1 { &[("application_name", "app"), ("a.x", "mine")] } else { &[] };
        let mode = if random.u8(..) < 20 { PoolMode::Session } else { PoolMode::Transaction };
        world.add_client(mode, startup);
        world.add_server(false);
        pairs.push(Pair {
            direct: Fake::new(database.clone(), startup, false),
            seen: Vec::new(),
            expected: Vec::new(),
            told: BTreeMap::new(),
            told_directly: BTreeMap::new(),
            group: false,
            has_startup: !startup.is_empty(),
            history: Vec::new(),
        });
    }
    world.scatter = true;
    for _ in 0..random.usize(5..40) {
        // A group that nobody waits for yet may run later through the proxy: nothing may happen in between.
        let open = pairs.iter().position(|pair| pair.group);
        let client = open.unwrap_or_else(|| random.usize(..clients));
        let (bytes, ends) = round(&mut random, &mut pairs[client]);
        pairs[client].direct.receive(&bytes);
        if pairs[client].direct.closed {
            // Something else amid the data of a COPY: not a legal sequence.
            return;
        }
        step(seed, &mut world, client, &mut pairs[client], &bytes, ends);
        assert_eq!(*world.database.borrow(), *database.borrow(), "seed {seed}: {:#?}", pairs[client].history);
    }
    finish(seed, &mut world, &mut random);
}

/// Sends the same to both and compares what comes back, if the server has to answer it all (`ends`).
fn step(seed: u64, world: &mut World, client: usize, pair: &mut Pair, bytes: &[u8], ends: bool) {
    let answers = show(&pair.direct.send());
    keep(&mut pair.expected, &mut pair.told_directly, answers);
    world.send_as(client, bytes);
    let answers = world.received_by(client);
    keep(&mut pair.seen, &mut pair.told, answers);
    assert!(world.clients[client].end.is_none(), "seed {seed}: {:?}", world.clients[client].end);
    if ends {
        if pair.seen != pair.expected {
            println!("{:?}", world.clients[client].session);
        }
        assert_eq!(pair.seen, pair.expected, "seed {seed}, client {client}: {:#?}", pair.history);
        assert_eq!(pair.told, pair.told_directly, "seed {seed}, client {client}: {:#?}", pair.history);
        pair.seen.clear();
        pair.expected.clear();
        let session = &world.clients[client].session;
        let kept = session.pin_names().count() > 0 || !(session.is_idle() || session.holds());
        if session.mode() == PoolMode::Transaction {
            assert_eq!(session.is_attached(), kept, "seed {seed}, client {client}: {:#?}", pair.history);
        }
    }
}

/// Sorts what came: reports by their last value, errors by their code.
fn keep(seen: &mut Vec<String>, told: &mut BTreeMap<String, String>, words: Vec<String>) {
    for word in words {
        if let Some((name, value)) = word.strip_prefix("S:").and_then(|report| report.split_once('=')) {
            told.insert(name.into(), value.into());
        } else if word.starts_with("E:") {
            seen.push(word[..7].into());
        } else if !word.starts_with("N:") {
            seen.push(word);
        }
    }
}

/// All clients leave; nothing of them may be found on any server.
fn finish(seed: u64, world: &mut World, random: &mut Rng) {
    for client in 0..world.clients.len() {
        if world.leave(client) == Parting::Nothing && random.bool() {
            continue;
        }
        world.clients[client].end = Some(super::world::End::Terminated);
    }
    world.scatter = false;
    for server in 0..world.servers.len() {
        world.primary = server;
        let next = world.add_client(PoolMode::Transaction, &[]);
        world.send_as(next, &query("begin; commit"));
        world.expect_as(next, "C:BEGIN, C:COMMIT, Z:I");
        let fake = &world.servers[server].fake;
        assert_eq!(fake.leftovers, Default::default(), "seed {seed}");
        assert!(
            fake.settings.differing().is_empty(),
            "seed {seed}: {:?} {:#?}",
            fake.settings.differing(),
            fake.log
        );
        let ours = |name: &String| name.starts_with("bellwether_");
        assert!(fake.prepared.keys().all(ours), "seed {seed}: {:?}", fake.prepared);
    }
}

/// Makes a client's next requests; tells whether the server has to answer them all at once.
fn round(random: &mut Rng, pair: &mut Pair) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let mut say = |what: String, message: Vec<u8>| {
        pair.history.push(what);
        bytes.extend(message);
    };
    if !pair.group && random.u8(..) < 110 {
        for _ in 0..random.usize(1..3) {
            simple(random, pair.has_startup, &mut say);
        }
        return (bytes, true);
    }
    let mut ends = false;
    for _ in 0..random.usize(1..4) {
        for _ in 0..random.usize(1..7) {
            extended(random, &mut say);
        }
        ends = random.u8(..) < 230;
        if ends {
            say("Sync".into(), sync());
        }
    }
    pair.group = !ends;
    (bytes, ends)
}

type Say<'a> = &'a mut dyn FnMut(String, Vec<u8>);

fn simple(random: &mut Rng, has_startup: bool, say: Say<'_>) {
    let roll = random.u8(..);
    if roll < 10 {
        let oid = random.u32(0..2);
        return say(format!("FunctionCall {oid}"), function_call(oid));
    }
    if roll < 30 {
        say("Query copy t from stdin".into(), query("copy t from stdin"));
        return copy(random, say);
    }
    // Within one Query nothing can be put between RESET and what follows.
    let sql = if roll < 60 || has_startup && roll < 90 {
        pick(random, &ALONE)
    } else {
        let count = random.usize(1..4);
        (0..count).map(|_| statement(random)).collect::<Vec<_>>().join("; ")
    };
    say(format!("Query {sql}"), query(&sql));
}

fn copy(random: &mut Rng, say: Say<'_>) {
    for _ in 0..random.usize(0..4) {
        let data = if random.u8(..) < 40 { "bad" } else { "good" };
        say(format!("CopyData {data}"), copy_data(data));
    }
    match random.u8(0..4) {
        0 => say("CopyFail".into(), copy_fail("no")),
        _ => say("CopyDone".into(), copy_done()),
    }
}

fn extended(random: &mut Rng, say: Say<'_>) {
    let portal = if random.u8(..) < 200 { "" } else { "p" };
    // Statements that SQL may execute have names of their own.
    let executable = random.u8(..) < 90;
    let names = if executable { ["q1", "q2", "q1"] } else { ["", "s1", "s2"] };
    let name = names[random.usize(..3)];
    match random.u8(0..100) {
        0..25 => {
            let sql = if executable { pick(random, &READS) } else { statement(random) };
            say(format!("Parse {name:?} {sql}"), parse(name, &sql));
        }
        25..50 => say(format!("Bind {portal:?} {name:?}"), bind(portal, name, &["a.x", "v"])),
        50..55 => say(format!("Describe {name:?}"), describe_statement(name)),
        55..58 => say(format!("Describe portal {portal:?}"), describe_portal(portal)),
        58..83 => {
            let limit = [0, 0, 0, 1, 2][random.usize(..5)];
            say(format!("Execute {portal:?} {limit}"), execute(portal, limit));
        }
        83..88 => say(format!("Close {name:?}"), close_statement(name)),
        88..90 => say(format!("Close portal {portal:?}"), close_portal(portal)),
        90..93 => say("Flush".into(), flush()),
        93..95 => {
            let sql = pick(random, &READS);
            say(format!("Query {sql}"), query(&sql));
        }
        95..97 => {
            say("copy in".into(), [parse("", "copy t from stdin"), run("", &[])].concat());
            copy(random, say);
        }
        _ => {
            let sql = if random.u8(..) < 100 { pick(random, &RESETS) } else { statement(random) };
            say(format!("once {sql}"), once(&sql));
        }
    }
}

fn pick(random: &mut Rng, from: &[&str]) -> String {
    from[random.usize(..from.len())].to_string()
}

fn statement(random: &mut Rng) -> String {
    match random.u8(0..10) {
        0..3 => pick(random, &READS),
        3..6 => pick(random, &TRANSACTIONS),
        6..8 => pick(random, &SETTINGS),
        _ => pick(random, &OTHERS),
    }
}

const READS: [&str; 8] = [
    "select 1",
    "select $1",
    "select * from t",
    "select generate_series(1, 3)",
    "select 1/0",
    "select current_setting('a.x')",
    "select current_setting('timezone')",
    "insert into t values (7)",
];

const TRANSACTIONS: [&str; 12] = [
    "begin",
    "begin",
    "start transaction read only",
    "set transaction read only",
    "set transaction read write",
    "commit",
    "rollback",
    "commit and chain",
    "savepoint s",
    "rollback to s",
    "release s",
    "insert into t values (1)",
];

const SETTINGS: [&str; 11] = [
    "set a.x = '1'",
    "set a.x = '2'",
    "set local a.x = '3'",
    "set a.x = invalid",
    "show a.x",
    "show role",
    "set timezone = 'Asia/Tokyo'",
    "set local timezone = 'Asia/Kabul'",
    "select set_config('a.x', '4', false)",
    "select set_config($1, $2, false)",
    "set role reader",
];

/// What a client that brought values returns to.
const RESETS: [&str; 5] =
    ["reset a.x", "reset application_name", "reset all", "set a.x to default", "set local a.x to default"];

const OTHERS: [&str; 12] = [
    "selec",
    "",
    "create temp table x (a int)",
    "drop table x",
    "select f()",
    "drop table hidden",
    "select pg_advisory_lock(1)",
    "select pg_advisory_lock(1), 1/0",
    "select pg_advisory_unlock(1)",
    "listen c",
    "unlisten *",
    "notify c",
];

/// Statements that stand alone in their Query.
const ALONE: [&str; 15] = [
    "set local a.x to default",
    "reset a.x",
    "reset all",
    "reset role",
    "reset session authorization",
    "set session authorization ann",
    "set application_name = 'b'",
    "reset application_name",
    "discard all",
    "deallocate all",
    "deallocate q1",
    "execute q1",
    "execute q2",
    "prepare q1 as select 5",
    "copy t to stdout",
];
