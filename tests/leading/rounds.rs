//! Measures, fault by fault and round by round, what clients notice. Run by `./dev rounds`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use bellwether::lab::workload::Report;
use bellwether::lab::{EtcdOptions, Options};

use crate::support::{Clients, World, is_routine};

/// One fault, many times.
struct Fault {
    name: &'static str,
    /// What is done, for people.
    what: &'static str,
    /// How often, unless said otherwise.
    rounds: usize,
    settings: &'static [&'static str],
    /// What the measured time may be at most.
    target: Duration,
    /// What is measured.
    measured: Measured,
    /// Whether clients may get errors.
    errors: bool,
}

#[derive(Clone, Copy)]
enum Measured {
    /// From the last write acknowledged before to the first one after, whoever's they are.
    Outage,
    /// The longest that any client tried until a write or a read of its own succeeded.
    Stall,
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "kill",
        what: "the primary's postmaster is killed (SIGKILL)",
        rounds: 20,
        settings: &[],
        target: Duration::from_millis(1500),
        measured: Measured::Outage,
        errors: true,
    },
    Fault {
        name: "silent",
        what: "all processes of the primary stand still (SIGSTOP)",
        rounds: 20,
        // What keeps failovers apart has no say in how long one takes, only in how many rounds an hour holds.
        settings: &["leading.between_failovers = \"1s\""],
        target: Duration::from_millis(3000),
        measured: Measured::Outage,
        errors: true,
    },
    Fault {
        name: "switchover",
        what: "an operator moves the lead",
        rounds: 50,
        settings: &[],
        target: Duration::from_millis(500),
        measured: Measured::Stall,
        errors: false,
    },
    Fault {
        name: "sync",
        what: "durability = sync; the primary and all its processes are killed (SIGKILL)",
        rounds: 100,
        settings: &["leading.durability = \"sync\""],
        target: Duration::from_millis(1500),
        measured: Measured::Outage,
        errors: true,
    },
    Fault {
        name: "etcd",
        what: "the leader of three members of etcd is killed (SIGKILL)",
        rounds: 20,
        settings: &[],
        target: Duration::from_millis(2500),
        measured: Measured::Stall,
        errors: false,
    },
];

/// How many clients write and read, half of them at each proxy.
const CLIENTS: usize = 8;

#[test]
#[ignore = "run by ./dev rounds"]
fn rounds() {
    let wanted = std::env::var("BELLWETHER_ROUNDS_OF").unwrap_or_default();
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<usize>().expect("a number"));
    let mut missed = Vec::new();
    for fault in FAULTS.iter().filter(|fault| wanted.is_empty() || wanted == fault.name) {
        let rounds = number("BELLWETHER_ROUNDS").unwrap_or(fault.rounds);
        let told = measure(fault, rounds);
        println!("\n{}", told.table(fault));
        if !told.keeps(fault) {
            missed.push(fault.name);
        }
    }
    assert!(missed.is_empty(), "targets were missed: {}", missed.join(", "));
}

fn measure(fault: &Fault, rounds: usize) -> Told {
    println!("{}: {}, {rounds} rounds", fault.name, fault.what);
    let etcd = EtcdOptions { members: 3, ..EtcdOptions::default() };
    let world = World::as_it_comes(2, Options::default(), etcd, fault.settings);
    let mut told = Told::default();
    for nth in 1..=rounds {
        settle(&world);
        let logs = [0, 1].map(|proxy| world.proxies[proxy].log().len());
        let (report, end) = round(&world, fault);
        let measured = fault.measured.of(&report);
        println!("  {nth:>3}  {}", line(&report, &end));
        if measured > fault.target || !fault.errors && report.progress.error_count() > 0 {
            for (proxy, before) in logs.into_iter().enumerate() {
                let log = world.proxies[proxy].log();
                let lines = log[before..].lines().filter(|line| !is_routine(line));
                lines.for_each(|line| println!("         p{proxy} {line}"));
            }
        }
        told.add(measured, report);
    }
    told
}

/// Waits until all three nodes are what they should be.
fn settle(world: &World) {
    world.until("both standbys take reads and commits", |world| {
        let Some(leader) = world.leader(0) else { return false };
        let _ = world.cluster.note_primary(&leader);
        let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        let counts =
            "SELECT array_length(string_to_array(current_setting('synchronous_standby_names'), ','), 1)";
        let voters = world.cluster.sql(&leader, counts).unwrap_or_default();
        [0, 1].iter().all(|nth| world.readers(*nth).len() == 2)
            && world.cluster.sql(&leader, streaming).is_ok_and(|count| count == "2")
            && matches!(voters.as_str(), "" | "2")
    });
}

/// Has clients work, does the fault under them, waits until all is well for them, and mends the cluster. Returns what
/// the clients' books say, and what to tell of the way there.
fn round(world: &World, fault: &Fault) -> (Report, String) {
    let clients = Clients::start(world, CLIENTS);
    // So that it does not always meet the same moment between two probes.
    std::thread::sleep(Duration::from_millis(fastrand::u64(0..500)));
    let old = world.leader(0).expect("somebody leads");
    match fault.name {
        "kill" => world.cluster.kill_postmaster(&old).expect("it runs"),
        "silent" => world.cluster.freeze(&old).expect("it runs"),
        "sync" => world.cluster.kill9(&old).expect("it runs"),
        "etcd" => lose_etcd_leader(world, &clients),
        "switchover" => {
            let (status, said) = world.http(1, "POST", "/api/v1/switchover", "{}").expect("an answer");
            assert_eq!(status, 200, "{said}\n{}", world.evidence());
        }
        other => panic!("nobody knows how to do {other}"),
    }
    let leader = if fault.name == "etcd" { old.clone() } else { world.led_by_another(&old) };
    clients.write_on(world);
    let report = clients.end(world);
    let end = format!("{old} -> {leader}  {}", steps(world));
    if leader != old {
        world.bring_back(&old);
    }
    (report, end)
}

/// Kills the leader of etcd, and starts it again once the others had time for whatever follows from it.
fn lose_etcd_leader(world: &World, clients: &Clients) {
    let leader = world.etcd.leader().expect("etcd has a leader");
    world.etcd.kill(leader);
    let again = Instant::now() + Duration::from_secs(4);
    world.until("etcd has another leader", |world| world.etcd.leader().is_some_and(|now| now != leader));
    while Instant::now() < again {
        clients.write_on(world);
    }
    world.etcd.start_member(leader).expect("it starts");
    world.etcd.wait_healthy().expect("it is healthy");
}

/// The steps of the last operation with their milliseconds.
fn steps(world: &World) -> String {
    let term = world.status(0)["term"].as_u64().unwrap_or(0);
    world.record(&format!("history/{term:010}"))["steps_ms"].to_string()
}

fn line(report: &Report, end: &str) -> String {
    let progress = &report.progress;
    let millis = |time: Duration| time.as_millis();
    format!(
        "outage {:>5} ms, stall {:>5} ms (reads {:>5}); {} writes, {} lost, {} doubled, {} stale, {} unknown; \
         errors {:?}; {end}",
        millis(progress.outage),
        millis(progress.write_pause),
        millis(progress.read_pause),
        progress.writes,
        report.lost,
        report.duplicated,
        progress.stale,
        report.unknown.0,
        progress.errors,
    )
}

impl Measured {
    fn of(self, report: &Report) -> Duration {
        match self {
            Measured::Outage => report.progress.outage,
            Measured::Stall => report.progress.write_pause.max(report.progress.read_pause),
        }
    }
}

/// What all rounds came to.
#[derive(Default)]
struct Told {
    measured: Vec<Duration>,
    outages: Vec<Duration>,
    stalls: Vec<Duration>,
    errors: BTreeMap<String, u64>,
    writes: u64,
    reads: u64,
    lost: u64,
    duplicated: u64,
    stale: u64,
}

impl Told {
    fn add(&mut self, measured: Duration, report: Report) {
        let progress = report.progress;
        self.measured.push(measured);
        self.outages.push(progress.outage);
        self.stalls.push(progress.write_pause.max(progress.read_pause));
        for (code, count) in progress.errors {
            *self.errors.entry(code).or_default() += count;
        }
        self.writes += progress.writes;
        self.reads += progress.reads;
        self.lost += report.lost;
        self.duplicated += report.duplicated;
        self.stale += progress.stale;
    }

    fn keeps(&self, fault: &Fault) -> bool {
        let lossless = fault.name != "sync" && fault.errors || self.lost == 0;
        let quiet = fault.errors || self.errors.is_empty();
        lossless
            && quiet
            && self.duplicated == 0
            // Who lost a write cannot read it.
            && self.stale <= self.lost
            && quantile(&self.measured, 99) <= fault.target
    }

    fn table(&self, fault: &Fault) -> String {
        let mut text = String::new();
        let verdict = if self.keeps(fault) { "kept" } else { "MISSED" };
        let _ = writeln!(
            text,
            "{}: {}; target {} ms, {verdict}",
            fault.name,
            fault.what,
            fault.target.as_millis()
        );
        let _ = writeln!(
            text,
            "{:<32} {:>8} {:>8} {:>8}   ms, {} rounds",
            "",
            "p50",
            "p99",
            "max",
            self.measured.len()
        );
        for (name, times) in
            [("no write acknowledged", &self.outages), ("longest stall of a client", &self.stalls)]
        {
            let [p50, p99, max] = [50, 99, 100].map(|percent| quantile(times, percent).as_millis());
            let _ = writeln!(text, "{name:<32} {p50:>8} {p99:>8} {max:>8}");
        }
        let _ = writeln!(
            text,
            "{} writes acknowledged: {} lost, {} doubled; {} reads, {} stale; errors {:?}",
            self.writes, self.lost, self.duplicated, self.reads, self.stale, self.errors
        );
        text
    }
}

/// The nearest rank: with few rounds the 99th percentile is the slowest.
fn quantile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}
