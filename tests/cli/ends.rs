//! Exit codes, each produced by the real program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use bellwether::api::{End, Outcome, Progress};
use rustix::process::{Pid, Signal, kill_process};

use super::api::Api;
use super::program::{BELLWETHER, bellwether, text};
use super::scripted::{Scripted, end, step};

/// Runs a line against a scripted cluster; returns the code and what was said on standard error.
fn run(world: Scripted, line: &str) -> (i32, String) {
    let output = Api::serve(world).run(line);
    (output.status.code().expect("it exits"), text(&output.stderr))
}

#[test]
fn zero_done() {
    for line in ["status", "status --check", "pause --yes", "health"] {
        assert_eq!(run(Scripted::healthy(), line).0, 0, "{line}");
    }
    assert_eq!(run(Scripted::answering(|_| vec![end(Outcome::Accepted, "later")]), "switchover --yes").0, 0);
}

#[test]
fn one_failed() {
    let failing = Scripted::answering(|_| {
        vec![Progress::End(
            End::new(Outcome::Failed, "b was not promoted").cause("it hangs").hint("look at its log"),
        )]
    });
    let (code, said) = run(failing, "switchover --yes --to b");
    assert_eq!(
        (code, said.as_str()),
        (1, "error: b was not promoted\ncause: it hangs\nhint: look at its log\n")
    );
    let mut headless = Scripted::headless();
    headless.snapshot.nodes[2].serves_reads = false;
    let (code, said) = run(headless, "health");
    assert_eq!((code, said.as_str()), (1, ""), "silent");
    let astray = bellwether(&["health", "-c", "/no/such/file"], &[]);
    assert_eq!(astray.status.code(), Some(1), "{}", text(&astray.stderr));
    // Nobody there is not healthy either.
    assert_eq!(bellwether(&["health", "--api", "http://127.0.0.1:1"], &[]).status.code(), Some(1));
}

#[test]
fn two_usage_and_configuration() {
    for line in ["switchover", "failover --to b", "adopt", "node remove c"] {
        let (code, said) = run(Scripted::healthy(), line);
        assert_eq!(code, 2, "{line}");
        assert!(said.contains("cause: standard input is no terminal\nhint: add --yes"), "{said}");
    }
    let (code, said) =
        run(Scripted::answering(|_| vec![end(Outcome::NotFound, "there is no node x")]), "node drain x");
    assert_eq!((code, said.as_str()), (2, "error: there is no node x\n"));
    let (code, said) = run(Scripted::healthy(), "node show x");
    assert_eq!((code, said.as_str()), (2, "error: there is no node x\nhint: the nodes are a, b, c\n"));
    for line in [
        "nonsense",
        "status -o xml",
        "status --watch=1ms",
        "status --watch --check",
        "node set b weight",
        "switchover --at soon",
        "failover --allow-data-loss=much",
        "explain --database d",
        "pause --api https://h",
        "pause -c /no/such/file",
    ] {
        assert_eq!(run(Scripted::healthy(), line).0, 2, "{line}");
    }
    let api = Api::serve(Scripted::healthy());
    for (token, why) in [("", "this needs the token"), ("wrong", "that is not the token")] {
        let url = api.url();
        let output = bellwether(&["pause", "--api", &url], &[("BELLWETHER_HTTP_TOKEN", token)]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
}

#[test]
fn three_degraded_and_four_no_primary() {
    let mut degraded = Scripted::healthy();
    degraded.facts[1].warnings = vec!["its slot is missing".to_owned()];
    assert_eq!(run(degraded.clone(), "status --check").0, 3);
    assert_eq!(run(degraded, "status").0, 0);
    assert_eq!(run(Scripted::headless(), "status --check").0, 4);
    let no_primary = Scripted::answering(|_| vec![end(Outcome::NoPrimary, "there is no primary to move")]);
    assert_eq!(run(no_primary, "switchover --yes").0, 4);
}

#[test]
fn five_refused_with_the_ways_there_are() {
    let refusing = Scripted::answering(|_| {
        let refused = End::new(Outcome::Refused, "a is healthy (checked 0.4 s ago) and c is 24 MB behind")
            .instead("planned move", "bellwether switchover --to b")
            .instead("lose up to 24 MB anyway", "bellwether failover --to c --allow-data-loss=24MB");
        vec![Progress::End(refused)]
    });
    let (code, said) = run(refusing, "failover --to c --yes");
    let expected = "refused: a is healthy (checked 0.4 s ago) and c is 24 MB behind\n\
                    \u{20} planned move              bellwether switchover --to b\n\
                    \u{20} lose up to 24 MB anyway   bellwether failover --to c --allow-data-loss=24MB\n";
    assert_eq!((code, said.as_str()), (5, expected));
    let stale =
        Scripted::answering(|_| vec![end(Outcome::Stale, "the plan was made in term 8, and this is term 9")]);
    assert_eq!(run(stale, "switchover --yes").0, 5);
}

#[test]
fn six_unreachable() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let url = format!("http://{nobody}");
    for verb in ["status", "pause", "history"] {
        let output = bellwether(&[verb, "--api", &url], &[]);
        assert_eq!(output.status.code(), Some(6), "{verb}");
        let said = text(&output.stderr);
        assert!(
            said.starts_with(&format!("error: cannot reach the API of a proxy at {url}\ncause: ")),
            "{said}"
        );
        assert_eq!(said.lines().count(), 3, "{said}");
    }
    let etcd = || End::new(Outcome::Unreachable, "etcd does not answer");
    let world = Scripted { history: Err(etcd()), ..Scripted::healthy() };
    let (code, said) = run(world, "history");
    assert_eq!((code, said.as_str()), (6, "error: etcd does not answer\n"));
    let world = Scripted::answering(|_| vec![end(Outcome::Unreachable, "etcd does not answer")]);
    assert_eq!(run(world, "pause").0, 6);
    // A server of PostgreSQL, say, that speaks no HTTP; and one that says nothing.
    let (code, said) = against(b"E\0\0\0\x08oops\0", "status");
    assert_eq!(code, 6, "{said}");
    let (code, said) = against(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<html", "status");
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("no API of this kind"), "{said}");
    let (code, said) = against(b"", "status --timeout 200ms");
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("does not answer\ncause: nothing came within 0.2s"), "{said}");
}

#[test]
fn seven_unknown_says_how_to_find_out() {
    let breaking_off = Scripted::answering(|_| vec![step(0.1, "b promoted", None)]);
    let (code, said) = run(breaking_off, "switchover --yes");
    assert_eq!(code, 7);
    assert!(said.contains("hint: bellwether status shows where things stand"), "{said}");
    let hanging = Scripted { hangs: true, ..Scripted::answering(|_| vec![step(0.1, "holding", None)]) };
    let (code, said) = run(hanging, "switchover --yes --timeout 300ms");
    assert_eq!(code, 7);
    assert!(said.contains("cause: it is not over within the time given (--timeout)"), "{said}");
    // The reply is lost on the way, before it began and in its midst.
    let (code, said) = against(b"", "switchover --yes --timeout 200ms");
    assert_eq!(code, 7, "{said}");
    let (code, _) = against(b"\x16", "switchover --yes");
    assert_eq!(code, 7);
    let cut = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"eve";
    let (code, said) = against(cut, "switchover --yes");
    assert_eq!(code, 7, "{said}");
}

#[test]
fn a_hundred_and_thirty_interrupted() {
    let world = Scripted { hangs: true, ..Scripted::answering(|_| vec![step(0.1, "holding", None)]) };
    let api = Api::serve(world);
    let mut command = Command::new(BELLWETHER);
    command.args(["switchover", "--yes", "--api", &api.url(), "--token", super::api::TOKEN]).env_clear();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was built");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    out.read_line(&mut line).expect("it tells");
    assert!(line.ends_with("holding\n"), "{line}");
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a pid");
    kill_process(pid, Signal::INT).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let mut said = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut said).expect("it is text");
    assert!(said.contains("interrupted: what was asked for goes on without us"), "{said}");
}

#[test]
fn help_lists_the_codes() {
    let help = text(&bellwether(&["--help"], &[]).stdout);
    for code in ["0  done", "3  degraded", "7  timed out", "130  interrupted"] {
        assert!(help.contains(code), "{code} is missing in\n{help}");
    }
}

/// Runs a line against somebody who takes one connection, writes `answer` and says no more. With an answer the
/// connection is closed; without one it stays open.
fn against(answer: &'static [u8], line: &str) -> (i32, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (release, released) = std::sync::mpsc::channel::<()>();
    let served = std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(answer);
        if answer.is_empty() {
            let _ = released.recv();
        }
    });
    let words: Vec<&str> = line.split(' ').chain(["--api", &url]).collect();
    let output = bellwether(&words, &[]);
    drop(release);
    served.join().expect("it does not panic");
    (output.status.code().expect("it exits"), text(&output.stderr))
}
