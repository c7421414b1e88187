//! The protocol byte by byte against real servers: negotiation, refusals, COPY given up, FunctionCall, garbage.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::raw::{self, Raw};
use crate::support::{Bench, applied_everywhere, eventually};

/// Clear-text passwords keep a byte-for-byte client short.
const PASSWORD: &str = "auth.rules = [\"host all,replication all all password\"]";

#[test]
fn what_comes_before_the_login() {
    let bench = Bench::with(applied_everywhere(), &[PASSWORD]);
    let port = bench.proxy.port();
    requests_for_encryption_are_refused(port);
    versions_and_options_are_negotiated(port);
    every_byte_on_its_own(port);
    garbage_is_refused(port);
    assert_eq!(bench.sql("SELECT 1"), "1");
}

fn requests_for_encryption_are_refused(port: u16) {
    let mut raw = Raw::tcp(port);
    for code in [raw::GSSENC_REQUEST, raw::SSL_REQUEST] {
        raw.send(&raw::packet(code, &[]));
        let mut answer = [0];
        std::io::Read::read_exact(&mut raw.stream, &mut answer).expect("an answer");
        assert_eq!(answer, *b"N");
    }
    raw.send(&raw::startup(raw::V3_0, &[("user", "demo"), ("database", "demo")]));
    raw.greeted("demo");
    assert_eq!(raw.query("SELECT 1"), "TDCZI");
    // Asked twice, as PostgreSQL does not allow either.
    let mut raw = Raw::tcp(port);
    raw.send(&raw::packet(raw::SSL_REQUEST, &[]));
    std::io::Read::read_exact(&mut raw.stream, &mut [0]).expect("an answer");
    raw.send(&raw::packet(raw::SSL_REQUEST, &[]));
    assert_eq!(raw.read().error().0, "0A000");
    raw.closed();
}

fn versions_and_options_are_negotiated(port: u16) {
    let user = [("user", "demo"), ("database", "demo")];
    let greet = |version: u32, more: &[(&str, &str)]| {
        let mut raw = Raw::tcp(port);
        raw.send(&raw::startup(version, &[&user[..], more].concat()));
        raw.greeted("demo")
    };
    let negotiated = |version: u32, options: &[&str]| {
        let mut body =
            [version.to_be_bytes(), u32::try_from(options.len()).expect("few").to_be_bytes()].concat();
        options.iter().for_each(|option| body.extend_from_slice(format!("{option}\0").as_bytes()));
        Some(body)
    };
    let v3_2 = raw::V3_0 | 2;
    let plain = greet(raw::V3_0, &[]);
    assert_eq!((plain.negotiated, plain.key.len()), (None, 4));
    let newer = greet(v3_2, &[]);
    assert_eq!((newer.negotiated, newer.key.len() > 4 && newer.key.len() <= 256), (None, true));
    let newest = greet(raw::V3_0 | 9999, &[]);
    assert_eq!((newest.negotiated, newest.key.len()), (negotiated(v3_2, &[]), newer.key.len()));
    let optional = greet(raw::V3_0, &[("_pq_.magic", "1"), ("application_name", "x"), ("_pq_.more", "")]);
    assert_eq!(optional.negotiated, negotiated(raw::V3_0, &["_pq_.magic", "_pq_.more"]));
    let named = optional.parameters.iter().find(|(name, _)| name == "application_name");
    assert_eq!(named.map(|(_, value)| &**value), Some("x"));
    for version in [2 << 16, 4 << 16] {
        let mut raw = Raw::tcp(port);
        raw.send(&raw::startup(version, &user));
        assert_eq!(raw.read().error().0, "0A000");
        raw.closed();
    }
}

fn every_byte_on_its_own(port: u16) {
    let mut raw = Raw::tcp(port);
    let dribble = |raw: &mut Raw<std::net::TcpStream>, bytes: &[u8]| {
        bytes.iter().for_each(|byte| raw.send(&[*byte]));
    };
    dribble(&mut raw, &raw::startup(raw::V3_0, &[("user", "demo"), ("database", "demo")]));
    assert_eq!(raw.read().body, [0, 0, 0, 3]);
    dribble(&mut raw, &raw::password("demo"));
    raw.until_ready();
    dribble(&mut raw, &raw::query("SELECT 1 AS one; SELECT 2"));
    assert_eq!(raw.tags(), "TDCTDCZI");
    let group = [
        raw::parse("s", "SELECT $1::text"),
        raw::describe('S', "s"),
        raw::bind("", "s", &[b"dribbled"]),
        raw::execute("", 0),
        raw::close('S', "s"),
        raw::sync(),
    ];
    dribble(&mut raw, &group.concat());
    assert_eq!(raw.tags(), "1tT2DC3ZI");
    // And everything in one write, the goodbye included.
    let all = [raw::query("SELECT 1"), group.concat(), raw::query("SELECT 2"), raw::message(b'X', &[])];
    raw.send(&all.concat());
    assert_eq!((raw.tags(), raw.tags(), raw.tags()), ("TDCZI".into(), "1tT2DC3ZI".into(), "TDCZI".into()));
    raw.closed();
}

fn garbage_is_refused(port: u16) {
    let endings: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0; 64],
        &[0xff; 64],
        b"\0\0\0\x08",
        // A client hello where no TLS is spoken.
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        &raw::packet(raw::V3_0, b"user\0demo\0"),
    ];
    for bytes in endings {
        let mut raw = Raw::tcp(port);
        raw.send(bytes);
        let _ = raw.stream.shutdown(std::net::Shutdown::Write);
        // Told or not, it is closed.
        while let Ok(message) = raw.try_read() {
            assert_eq!(message.tag, 'E', "{bytes:?}");
        }
    }
    // After the login: a message nobody knows, a length that cannot be, a password nobody asked for.
    for bytes in [&raw::message(b'~', b"x")[..], b"Q\0\0\0\x03", b"Q\xff\xff\xff\xff", &raw::password("x")] {
        let mut raw = Raw::demo(port);
        raw.send(bytes);
        assert_eq!(raw.read().error().0, "08P01", "{bytes:?}");
        raw.closed();
    }
}

#[test]
fn copies_given_up_in_every_way() {
    let bench = Bench::with(applied_everywhere(), &[PASSWORD, "pool.size = 1", "pool.reserve = 0"]);
    let port = bench.proxy.port();
    let mut raw = Raw::demo(port);
    assert_eq!(raw.query("CREATE TABLE c (n int)"), "CZI");
    let copy_in = raw::query("COPY c FROM STDIN");

    raw.say(&[&copy_in, &raw::copy_data(b"1\n2\n"), &raw::copy_done()]);
    assert_eq!(raw.tags(), "GCZI");
    raw.say(&[&copy_in, &raw::copy_data(b"3\n"), &raw::copy_fail("changed my mind")]);
    let answer = raw.until_ready();
    assert_eq!(answer[1].error().0, "57014");
    assert!(answer[1].error().1.contains("changed my mind"));
    bad_data(&mut raw, &copy_in);
    extended(&mut raw);
    something_else_instead(port, &copy_in);
    assert_eq!(raw.value("SELECT count(*) FROM c"), "2");
    // Out: read to the end, and not at all.
    assert_eq!(raw.query("COPY c TO STDOUT"), "HddcCZI");
    raw.send(&raw::query("COPY (SELECT 1/(2 - n) FROM generate_series(1, 2) AS n) TO STDOUT"));
    assert_eq!(raw.tags(), "HdEZI");
    drop(raw);
    killed(&bench);
}

/// What follows the bad line is still on its way when the error comes.
fn bad_data(raw: &mut Raw<std::net::TcpStream>, copy_in: &[u8]) {
    let many = raw::copy_data(&b"7\n".repeat(10_000));
    raw.say(&[copy_in, &many, &raw::copy_data(b"bad\n"), &many, &many, &raw::copy_done()]);
    assert_eq!(raw.tags(), "GEZI");
    // Left-over data long after the end is ignored, and the next request is answered.
    raw.say(&[&many, &raw::copy_done(), &raw::query("SELECT 5")]);
    assert_eq!(raw.tags(), "TDCZI");
}

fn extended(raw: &mut Raw<std::net::TcpStream>) {
    let begin = [raw::parse("", "COPY c FROM STDIN"), raw::bind("", "", &[]), raw::execute("", 0)].concat();
    raw.say(&[&begin, &raw::flush()]);
    assert_eq!((raw.read().tag, raw.read().tag, raw.read().tag), ('1', '2', 'G'));
    raw.say(&[&raw::copy_data(b"8\n"), &raw::copy_fail("no"), &raw::sync()]);
    assert_eq!(raw.tags(), "EZI");
    raw.say(&[&begin, &raw::copy_data(b"bad\n"), &raw::copy_data(b"9\n"), &raw::copy_done(), &raw::sync()]);
    assert_eq!(raw.tags(), "12GEZI");
    // The Sync that libpq sends with the COPY is ignored by the server while it copies.
    raw.say(&[&begin, &raw::sync(), &raw::copy_data(b"10\n"), &raw::copy_fail("no"), &raw::sync()]);
    assert_eq!(raw.tags(), "12GEZI");
    raw.say(&[&begin, &raw::sync(), &raw::copy_done(), &raw::sync(), &raw::query("SELECT 6")]);
    assert_eq!((raw.tags(), raw.tags()), ("12GCZI".into(), "TDCZI".into()));
}

/// PostgreSQL ends the connection when anything else is said while it copies.
fn something_else_instead(port: u16, copy_in: &[u8]) {
    let mut raw = Raw::demo(port);
    raw.say(&[copy_in, &raw::copy_data(b"11\n"), &raw::flush(), &raw::sync(), &raw::query("SELECT 7")]);
    assert_eq!(raw.read().tag, 'G');
    assert_eq!(raw.read().error().0, "08P01");
    // The server then gives the connection up; the client keeps its own, with every request answered.
    assert_eq!((raw.tags(), raw.tags()), ("ZI".into(), "EZI".into()));
    assert_eq!(raw.query("SELECT 8"), "TDCZI");
    // A goodbye in the middle is one.
    let mut raw = Raw::demo(port);
    raw.say(&[copy_in, &raw::copy_data(b"11\n")]);
    assert_eq!(raw.read().tag, 'G');
    raw.send(&raw::message(b'X', &[]));
    raw.closed();
}

/// The client dies in the middle: the one server is free again, and nothing of the copy is left.
fn killed(bench: &Bench) {
    let port = bench.proxy.port();
    for end in [&b""[..], &b"d\0\0\0\xff1\n"[..], &raw::copy_data(b"12\n")[..]] {
        let mut raw = Raw::demo(port);
        raw.say(&[&raw::query("COPY c FROM STDIN"), &raw::copy_data(b"12\n"), end]);
        assert_eq!(raw.read().tag, 'G');
        drop(raw);
        let mut raw = Raw::demo(port);
        assert_eq!(
            raw.value("SELECT count(*) FROM c FOR UPDATE OF c".trim_end_matches(" FOR UPDATE OF c")),
            "2"
        );
        assert_eq!(raw.query("BEGIN; LOCK TABLE c; COMMIT"), "CCCZI");
    }
    let mut raw = Raw::demo(port);
    raw.send(&raw::query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT"));
    assert_eq!(raw.read().tag, 'H');
    drop(raw);
    let mut raw = Raw::demo(port);
    assert_eq!(raw.query("BEGIN; LOCK TABLE c; COMMIT"), "CCCZI");
}

#[test]
fn functions_notices_and_large_messages() {
    let bench = Bench::with(applied_everywhere(), &[PASSWORD]);
    let mut raw = Raw::demo(bench.proxy.port());
    function_calls(&mut raw);
    raw.send(&raw::query("DO $$ BEGIN FOR n IN 1..5000 LOOP RAISE NOTICE 'notice %', n; END LOOP; END $$"));
    let answer = raw.until_ready();
    assert_eq!(answer.iter().filter(|message| message.tag == 'N').count(), 5000);
    assert_eq!(answer[4999].field(b'M').as_deref(), Some("notice 5000"));
    huge_messages(&bench, &mut raw);
}

fn function_calls(raw: &mut Raw<std::net::TcpStream>) {
    let oid = |raw: &mut Raw<_>, name: &str| -> u32 {
        raw.value(&format!("SELECT '{name}'::regproc::oid")).parse().expect("a number")
    };
    // lo_creat(int), and what it gave is unlinked again.
    let (create, unlink) = (oid(raw, "lo_creat"), oid(raw, "lo_unlink"));
    raw.send(&raw::function_call(create, &[&0x6_0000_u32.to_be_bytes()]));
    let answer = raw.until_ready();
    assert_eq!((answer[0].tag, answer[0].body.len()), ('V', 8));
    raw.send(&raw::function_call(unlink, &[&answer[0].body[4..]]));
    assert_eq!(raw.until_ready()[0].body, [0, 0, 0, 4, 0, 0, 0, 1]);
    raw.send(&raw::function_call(unlink, &[&1_u32.to_be_bytes()]));
    assert_eq!(raw.until_ready()[0].error().0, "42704");
    raw.send(&raw::function_call(1, &[]));
    assert_eq!(raw.tags(), "EZI");
    raw.say(&[
        &raw::query("BEGIN"),
        &raw::function_call(create, &[&0_u32.to_be_bytes()]),
        &raw::query("ROLLBACK"),
    ]);
    assert_eq!((raw.tags(), raw.tags(), raw.tags()), ("CZT".into(), "VZT".into(), "CZI".into()));
}

/// Each of these is larger than all memory the proxy may ever use.
fn huge_messages(bench: &Bench, raw: &mut Raw<std::net::TcpStream>) {
    const HUGE: usize = 300 << 20;
    raw.query("CREATE TABLE big (t text); ALTER TABLE big ALTER t SET STORAGE EXTERNAL");
    let before = peak_memory_kib(bench);
    // A parameter.
    raw.send(&raw::parse("", "SELECT length($1)"));
    let mut head = b"B\0\0\0\0\0\0\0\0\0\x01".to_vec();
    head[1..5].copy_from_slice(&u32::try_from(HUGE + 16).expect("it fits").to_be_bytes());
    head.extend_from_slice(&u32::try_from(HUGE).expect("it fits").to_be_bytes());
    raw.send(&head);
    send_much(raw, HUGE);
    raw.say(&[&[0, 0], &raw::execute("", 0), &raw::sync()]);
    let answer = raw.until_ready();
    assert_eq!(&answer[2].body[6..], HUGE.to_string().as_bytes());
    // A single CopyData.
    raw.send(&raw::query("COPY big FROM STDIN"));
    raw.send(&[b"d", &u32::try_from(HUGE + 5).expect("it fits").to_be_bytes()[..]].concat());
    send_much(raw, HUGE);
    raw.say(&[b"\n", &raw::copy_done()]);
    assert_eq!(raw.tags(), "GCZI");
    // A row, and the same as CopyData.
    for (sql, tags) in [("SELECT t FROM big", "TDCZ"), ("COPY big TO STDOUT", "HdcCZ")] {
        raw.send(&raw::query(sql));
        let answer = raw.until_ready();
        assert_eq!(answer.iter().map(|message| message.tag).collect::<String>(), tags);
        assert!(answer[1].body.len() >= HUGE, "{}", answer[1].body.len());
    }
    let grown = peak_memory_kib(bench) - before;
    // Buffers of a few hundred kilobytes, and what the allocator takes from the system at a time.
    assert!(grown < 32 * 1024, "the proxy's memory grew by {grown} KiB");
}

fn send_much(raw: &mut Raw<std::net::TcpStream>, mut bytes: usize) {
    let piece = vec![b'x'; 1 << 20];
    while bytes > 0 {
        let now = bytes.min(piece.len());
        raw.stream.write_all(&piece[..now]).expect("the proxy reads on");
        bytes -= now;
    }
}

/// The most memory the proxy ever had resident.
fn peak_memory_kib(bench: &Bench) -> usize {
    let status = format!("/proc/{}/status", bench.proxy.pid().expect("it runs"));
    let status = std::fs::read_to_string(status).expect("Linux tells");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line VmHWM");
    peak.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn strangers_cost_little_and_stop_nobody() {
    let settings =
        [PASSWORD, "auth.login_timeout = \"1s\"", "pool.max_clients = 20", "auth.max_logins = 200"];
    let bench = Bench::with(applied_everywhere(), &settings);
    let port = bench.proxy.port();
    a_silent_client_is_closed(port);
    too_many_clients(port);
    half_open_connections(&bench);
}

/// Before its first byte, in the middle of the startup packet, and while it is asked for its password.
fn a_silent_client_is_closed(port: u16) {
    let startup = raw::startup(raw::V3_0, &[("user", "demo"), ("database", "demo")]);
    for said in [&b""[..], &startup[..9], &startup[..]] {
        let began = Instant::now();
        let mut raw = Raw::tcp(port);
        raw.send(said);
        while raw.try_read().is_ok() {}
        let waited = began.elapsed();
        assert!(waited > Duration::from_millis(900) && waited < Duration::from_secs(10), "{waited:?}");
    }
}

fn too_many_clients(port: u16) {
    let mut inside: Vec<_> = (0..20).map(|_| Raw::demo(port)).collect();
    let mut one_more = Raw::tcp(port);
    one_more.send(&raw::startup(raw::V3_0, &[("user", "demo"), ("database", "demo")]));
    let (code, text) = one_more.read().error();
    assert_eq!((&*code, &*text), ("53300", "sorry, too many clients already"));
    one_more.closed();
    for raw in &mut inside {
        assert_eq!(raw.query("SELECT 1"), "TDCZI");
    }
    inside.pop();
    eventually("there is room again", || {
        let mut raw = Raw::tcp(port);
        raw.send(&raw::startup(raw::V3_0, &[("user", "demo"), ("database", "demo")]));
        raw.read().tag == 'R'
    });
}

fn half_open_connections(bench: &Bench) {
    let port = bench.proxy.port();
    let mut inside = Raw::demo(port);
    let before = peak_memory_kib(bench);
    let strangers: Vec<_> = (0..2000).map(|_| Raw::tcp(port)).collect();
    // Who is in does not notice, and others still come in.
    for _ in 0..50 {
        assert_eq!(inside.query("SELECT 1"), "TDCZI");
    }
    let began = Instant::now();
    assert_eq!(Raw::demo(port).query("SELECT 2"), "TDCZI");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(strangers);
    let grown = peak_memory_kib(bench) - before;
    assert!(grown < 32 * 1024, "the proxy's memory grew by {grown} KiB");
}
