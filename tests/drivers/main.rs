//! Drivers of many languages: each runs the same checks directly and through the endpoint, and must see the same.
//!
//! `./dev drivers [name ...]` installs them, builds what is compiled and runs this. A run of all writes
//! `docs/drivers.md`. The programs are in the folders beside this file, one a driver; what they print is in [`outcome`].

mod bench;
#[path = "../e2e/support/certificates.rs"]
mod certificates;
mod driver;
mod outcome;
mod pools;
mod table;
#[allow(dead_code)] // It belongs to the tests of leading.
#[path = "../leading/support.rs"]
mod world;

use bench::Bench;
use driver::{DRIVERS, Driver};
use outcome::Outcome;

#[test]
#[ignore = "takes drivers of eight languages: ./dev drivers"]
fn drivers() {
    let wished = std::env::var("BELLWETHER_DRIVERS").unwrap_or_default();
    let chosen = chosen(&wished);
    let bench = Bench::start();
    let mut outcomes = Vec::new();
    for driver in &chosen {
        let outcome = run(&bench, driver);
        println!("{:16} {}", driver.name, outcome.summary());
        outcomes.push((*driver, outcome));
    }
    let table = table::markdown(&outcomes);
    println!("\n{table}");
    let complaints: Vec<String> =
        outcomes.iter().flat_map(|(driver, outcome)| outcome.complaints(driver.name)).collect();
    if wished.is_empty() {
        table::keep(&table, &bench.when());
    }
    assert!(complaints.is_empty(), "{}\nproxy log:\n{}", complaints.join("\n"), bench.proxy.log_tail());
}

/// Directly first, so that what the second run meets was not left by a proxy.
fn run(bench: &Bench, driver: &Driver) -> Outcome {
    let direct = driver.run(&bench.direct(&bench.database(driver, "direct")));
    let database = bench.database(driver, "through");
    let before = bench.reads_on_standbys();
    let through = driver.run(&bench.through(&database));
    Outcome::of(direct, through, bench.reads_on_standbys() - before)
}

fn chosen(wished: &str) -> Vec<&'static Driver> {
    let wished: Vec<&str> = wished.split_whitespace().collect();
    for name in &wished {
        let known = || DRIVERS.iter().map(|driver| driver.key).collect::<Vec<_>>().join(", ");
        assert!(DRIVERS.iter().any(|driver| driver.key == *name), "no driver {name}; there are {}", known());
    }
    DRIVERS.iter().filter(|driver| wished.is_empty() || wished.contains(&driver.key)).collect()
}
