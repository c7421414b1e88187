//! Cables are pulled: every server and proxy is a host of its own, and what is sent to another one is dropped in silence.

use std::time::{Duration, Instant};

use bellwether::lab::{EtcdOptions, Host, Network, Options};

use crate::support::{Clients, PATIENT, World};

/// Servers, proxies and etcd, each on a host of its own, with synchronous commit.
struct Room {
    world: World,
    servers: [Host; 3],
    proxies: [Host; 2],
    etcd: Host,
    /// Last to go.
    _network: Network,
}

impl Room {
    fn new(settings: &[&str]) -> Room {
        let network = Network::start(6).unwrap_or_else(|error| panic!("{error}"));
        let servers = [0, 1, 2].map(|nth| network.host(nth));
        let proxies = [3, 4].map(|nth| network.host(nth));
        let etcd = network.host(5);
        let common: &[&str] = &["leading.durability = \"sync\"", "leading.between_failovers = \"1s\""];
        let settings = [PATIENT, common, settings].concat();
        let world = World::on(
            proxies.to_vec(),
            Options { hosts: servers.to_vec(), ..Options::default() },
            EtcdOptions { host: etcd.clone(), ..EtcdOptions::default() },
            &settings,
        );
        world.until_names("a", "ANY 1 (\"b\", \"c\")");
        Room { world, servers, proxies, etcd, _network: network }
    }
}

#[test]
fn a_primary_that_is_cut_off_is_replaced_and_loses_nothing() {
    let room = Room::new(&[]);
    let (world, a) = (&room.world, &room.servers[0]);
    let clients = Clients::start(world, 4);
    let began = Instant::now();
    a.cut_off().unwrap();
    let leader = world.led_by_another("a");
    clients.write_on(world);
    println!("written {:?} after the cut", began.elapsed());

    // It never heard of any of it, and is there again.
    assert_eq!(world.cluster.sql("a", "SELECT pg_is_in_recovery()").unwrap(), "f");
    a.heal().unwrap();
    world.until("the stray is named", |world| {
        world.status(0).to_string().contains("a takes writes and does not lead")
    });
    clients.write_on(world);
    assert_eq!(world.leader(1), Some(leader));
    world.bring_back("a");
    world.until("it takes reads", |world| world.readers(0).contains(&"a".to_owned()));

    // And one that hears everything, and whom nobody hears.
    let leader = world.leader(0).expect("somebody leads");
    let nth = world.cluster.names().iter().position(|name| *name == leader).expect("it is one of ours");
    world.until("commits wait for either standby", |world| {
        let names = world.cluster.sql(&leader, "SHOW synchronous_standby_names").unwrap_or_default();
        names.matches('"').count() == 4 && world.record("sync")["next"].is_null()
    });
    room.servers[nth].silence().unwrap();
    world.led_by_another(&leader);
    clients.write_on(world);
    clients.end_without_loss(world);
}

#[test]
fn a_proxy_that_is_cut_off_from_one_of_the_others_is_no_verdict() {
    // Reads that need not see what others wrote, so that they go on without a primary.
    let room = Room::new(&["routing.consistency = \"eventual\""]);
    let (world, [a, ..]) = (&room.world, &room.servers);
    let [first, second] = &room.proxies;
    world.insist(0, "CREATE TABLE t (n int)");

    // From the primary, one way: the other proxy serves, and nobody is promoted.
    first.ignore(a).unwrap();
    world.until("it is seen there", |world| world.leader(0).is_none());
    world.insist(1, "INSERT INTO t VALUES (1)");
    stays(world, 1, Duration::from_secs(5));
    first.heal().unwrap();
    world.insist(0, "INSERT INTO t VALUES (2)");

    // From etcd: its permission ends, whoever decides. Reads go on, and the other proxy serves writes.
    let cut = world.active();
    let (cut_host, other) = if cut == 0 { (first, 1) } else { (second, 0) };
    room.etcd.ignore(cut_host).unwrap();
    world.until("the other one decides", |world| world.active() == other);
    let mut refused = String::new();
    world.until("writes are refused there", |world| match world.sql(cut, "INSERT INTO t VALUES (3)") {
        Ok(_) => false,
        Err(error) => {
            refused = error;
            true
        }
    });
    assert!(refused.contains("primary"), "{refused}");
    assert_eq!(world.sql(cut, "SELECT count(*) > 0 FROM t").as_deref(), Ok("t"), "reads go on");
    world.insist(other, "INSERT INTO t VALUES (4)");
    room.etcd.heal().unwrap();
    world.insist(cut, "INSERT INTO t VALUES (5)");

    // A follower from the primary: commits wait for the other one.
    room.servers[1].ignore(a).unwrap();
    world.until_names("a", "ANY 1 (\"c\")");
    world.insist(0, "INSERT INTO t VALUES (6)");
    room.servers[1].heal().unwrap();
    world.until_names("a", "ANY 1 (\"b\", \"c\")");
    assert_eq!(world.status(0)["term"], 1, "nobody was ever promoted");
    let all = "SELECT string_agg(DISTINCT n::text, ',' ORDER BY n::text) FROM t WHERE n <> 3";
    assert_eq!(world.cluster.sql("a", all).unwrap(), "1,2,4,5,6");
}

/// Looks for a while whether the lead stays where it is.
fn stays(world: &World, proxy: usize, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert_eq!(world.status(proxy)["term"], 1, "{}", world.evidence());
        std::thread::sleep(Duration::from_millis(100));
    }
}
