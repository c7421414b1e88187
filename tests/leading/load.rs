//! The lead moves under load, in every form in which clients speak.

use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::World;

/// One pgbench.
struct Bench {
    name: &'static str,
    /// Its `-M`.
    protocol: &'static str,
    script: &'static str,
    /// Rows that one run of the script writes.
    rows: u64,
}

const BENCHES: &[Bench] = &[
    Bench { name: "simple", protocol: "simple", script: "INSERT INTO hits VALUES ('simple');\n", rows: 1 },
    Bench {
        name: "extended",
        protocol: "extended",
        script: "INSERT INTO hits VALUES ('extended');\n",
        rows: 1,
    },
    Bench {
        name: "prepared",
        protocol: "prepared",
        script: "INSERT INTO hits VALUES ('prepared');\n",
        rows: 1,
    },
    Bench {
        name: "blocks",
        protocol: "prepared",
        script: "BEGIN;\nINSERT INTO hits VALUES ('blocks');\nSELECT count(*) FROM pg_class;\n\
                 INSERT INTO hits VALUES ('blocks');\nCOMMIT;\n",
        rows: 2,
    },
    Bench {
        name: "pipelined",
        protocol: "prepared",
        script: "\\startpipeline\nINSERT INTO hits VALUES ('pipelined');\nSELECT 1;\n\
                 INSERT INTO hits VALUES ('pipelined');\n\\endpipeline\n",
        rows: 2,
    },
];

/// How long each runs, in seconds.
const SECONDS: u32 = 14;

#[test]
fn no_protocol_notices_a_switchover_but_by_a_pause() {
    let world = World::start(2);
    world.insist(0, "CREATE TABLE hits (kind text)");
    world.cluster.wait_replayed().unwrap();
    let over = AtomicBool::new(false);
    let (ended, copied) = std::thread::scope(|scope| {
        let copying = scope.spawn(|| copy(&world, &over));
        let benches: Vec<Child> =
            BENCHES.iter().enumerate().map(|(nth, bench)| bench.start(&world, nth % 2)).collect();
        for to in ["b", "c"] {
            std::thread::sleep(Duration::from_secs(2));
            let wish = format!("{{\"to\": \"{to}\"}}");
            // On a busy machine a node may seem not to answer for a moment; then it is refused, with the reason.
            world.until("the switchover is done", |world| {
                world.http(0, "POST", "/api/v1/switchover", &wish).is_some_and(|(status, _)| status == 200)
            });
        }
        let ended: Vec<Output> = benches.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        over.store(true, Ordering::Relaxed);
        (ended, copying.join().expect("the copying thread does not panic"))
    });
    assert_eq!(world.leader(0).as_deref(), Some("c"));
    for (bench, output) in BENCHES.iter().zip(ended) {
        let told = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complaints}\n{told}\n{}", bench.name, world.evidence());
        let failed = number(&told, "number of failed transactions: ").unwrap_or(0);
        let done = number(&told, "number of transactions actually processed: ").expect("it says how many");
        println!("{}: {done} transactions", bench.name);
        assert_eq!(
            (failed, rows(&world, bench.name)),
            (0, done * bench.rows),
            "{}: {complaints}",
            bench.name
        );
    }
    println!("copied {copied} times");
    assert_eq!(rows(&world, "copy"), copied * 2);
}

impl Bench {
    fn start(&self, world: &World, proxy: usize) -> Child {
        let script = world.cluster.directory().join(format!("{}.sql", self.name));
        std::fs::write(&script, self.script).expect("the cluster's directory can be written to");
        let mut command = Command::new(world.cluster.binaries().program("pgbench"));
        command.args(["-n", "-c", "2", "-M", self.protocol, "-T", &SECONDS.to_string(), "-f"]).arg(script);
        command.arg(world.proxies[proxy].conninfo_as("demo", "demo"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("pgbench is installed beside the server")
    }
}

/// Copies two rows in and some out, again and again in sessions of some length; returns how often.
fn copy(world: &World, over: &AtomicBool) -> u64 {
    const TIMES: u64 = 50;
    let file = world.cluster.directory().join("copy.sql");
    let once = "COPY hits FROM STDIN;\ncopy\ncopy\n\\.\nCOPY (SELECT kind FROM hits LIMIT 5) TO STDOUT;\n";
    std::fs::write(&file, once.repeat(TIMES as usize)).expect("the cluster's directory can be written to");
    let mut times = 0;
    while !over.load(Ordering::Relaxed) {
        let endpoint = world.proxies[(times / TIMES % 2) as usize].endpoint();
        let copied = world.cluster.file_at(&endpoint, &file);
        copied.unwrap_or_else(|error| panic!("{error}\n{}", world.evidence()));
        times += TIMES;
    }
    times
}

fn rows(world: &World, kind: &str) -> u64 {
    let question = format!("SELECT count(*) FROM hits WHERE kind = '{kind}'");
    world.cluster.sql("c", &question).expect("c leads").parse().expect("a number")
}

fn number(text: &str, after: &str) -> Option<u64> {
    let (_, rest) = text.split_once(after)?;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}
