//! Whatever a client says that it should not: the endpoint answers as the server itself does.
//!
//! Each case is said to a server and to the proxy in front of it, and what comes back is compared up to the end of the
//! connection. What differs on purpose is written down here.

use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};

use bellwether::lab::Options;

use crate::support::Bench;
use crate::support::raw::{self, Raw};

/// Role `strict` must log in by SCRAM, all others are trusted, by both.
fn bench() -> Bench {
    let hba = ["host all strict 127.0.0.1/32 scram-sha-256", "host all all 127.0.0.1/32 trust"];
    let options = Options { nodes: 1, hba: hba.map(String::from).into(), ..Options::default() };
    let rules = "auth.rules = [\"host all strict all scram-sha-256\", \"host all all all trust\"]";
    let bench = Bench::with(options, &[rules, "pool.size = 2", "pool.reserve = 0"]);
    bench.cluster.sql("a", "CREATE ROLE strict LOGIN PASSWORD 'strict'").expect("a role");
    bench.cluster.sql("a", "CREATE TABLE c (n int); GRANT ALL ON c TO demo").expect("a table");
    bench
}

/// What differs on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
enum But {
    Nothing,
    /// The server closes the connection without a word and writes to its log; the client of a proxy, whose operator
    /// reads another log, is told.
    Told,
    /// The same code, in words of our own: the server's speak of itself.
    Words,
    /// What cannot be is told before the client is let in, not after.
    Sooner,
    /// The server says this no more in the end, but something else.
    Ends(&'static str),
    /// The server does not send what it has answered already.
    More,
}

/// What comes back, a word or two a message, up to the end of the connection.
fn heard(raw: &mut Raw<TcpStream>) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        match raw.try_read() {
            // Settings may be reported at any time.
            Ok(message) if message.tag == 'S' => {}
            Ok(message) => heard.push(word(&message)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                heard.push("no end".to_owned());
                return heard;
            }
            Err(_) => return heard,
        }
    }
}

fn word(message: &raw::Message) -> String {
    let field = |letter| message.field(letter).unwrap_or_default();
    match message.tag {
        'E' | 'N' => format!("{} {} {}", field(b'V'), field(b'C'), field(b'M')),
        // The key of a cancel is different each time.
        'K' => "K".to_owned(),
        'v' => "v".to_owned(),
        // Types of the columns, and the salt of a login, are not what this is about.
        'T' | 'R' => format!("{}{}", message.tag, message.body.len()),
        tag => format!("{tag} {}", String::from_utf8_lossy(&message.body)),
    }
}

/// Compares what comes back from both.
fn compare(what: &str, but: But, server: &[String], proxy: &[String]) -> Result<(), String> {
    let codes = |words: &[String]| -> Vec<String> {
        words.iter().map(|word| word.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let last = |words: &[String], begin: &str| words.last().is_some_and(|last| last.starts_with(begin));
    let same = match but {
        But::Nothing => server == proxy,
        // What the server had not sent yet, it never does.
        But::Told => server.len() < proxy.len() && proxy.starts_with(server) && last(proxy, "FATAL 08P01 "),
        But::Words => codes(server) == codes(proxy),
        But::Sooner => server.first().is_some_and(|first| first == "R4") && server[1..] == *proxy,
        But::Ends(text) => server.len() == proxy.len() && last(proxy, text),
        But::More => proxy.starts_with(server),
    };
    if same { Ok(()) } else { Err(format!("{what}:\n  server {server:?}\n  proxy  {proxy:?}")) }
}

/// Runs all cases by `say` against both, and tells of all that differ.
fn differential(bench: &Bench, cases: Vec<(String, But, Vec<u8>)>, say: fn(u16, &[u8]) -> Vec<String>) {
    let (server, proxy) = (bench.cluster.port("a").expect("a node of ours"), bench.proxy.port());
    let run = |(what, but, bytes): &(String, But, Vec<u8>)| {
        compare(what, *but, &say(server, bytes), &say(proxy, bytes)).err()
    };
    let differing: Vec<String> = cases.iter().filter_map(run).collect();
    assert!(differing.is_empty(), "{} of {}:\n{}", differing.len(), cases.len(), differing.join("\n"));
    assert_eq!(bench.sql("SELECT 1"), "1");
}

/// A first packet with an honest length.
fn first(code: u32, parameters: &[u8]) -> Vec<u8> {
    raw::packet(code, parameters)
}

fn with_length(length: u32) -> Vec<u8> {
    [&length.to_be_bytes()[..], &raw::V3_0.to_be_bytes(), b"user\0demo\0database\0demo\0\0"].concat()
}

#[test]
fn first_packets() {
    use But::{Nothing, Sooner, Told, Words};
    let v3 = raw::V3_0;
    let demo = b"user\0demo\0database\0demo\0";
    let and = |more: &[u8]| first(v3, &[&demo[..], more].concat());
    let cases: Vec<(&str, But, Vec<u8>)> = vec![
        ("length 0", Told, with_length(0)),
        ("length 3", Told, with_length(3)),
        ("length 4", Told, with_length(4)),
        ("length 7", Told, with_length(7)),
        ("length 10001", Told, with_length(10_001)),
        ("length of four bytes set", Told, with_length(u32::MAX)),
        ("HTTP", Told, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a Query", Told, raw::query("SELECT 1")),
        ("half a length", Nothing, b"\0\0".to_vec()),
        ("half a packet", Nothing, and(b"\0")[..12].to_vec()),
        ("no parameters, no terminator", Nothing, first(v3, b"")),
        ("no parameters", Nothing, first(v3, b"\0")),
        ("no terminator", Nothing, and(b"")),
        ("a value without its end", Nothing, first(v3, b"user\0demo")),
        ("a name without its end", Nothing, and(b"application_name")),
        ("a name without a value", Nothing, and(b"application_name\0\0")),
        ("bytes behind the terminator", Nothing, and(b"\0x")),
        ("an empty name", Nothing, and(b"\0\0\0")),
        ("no user", Nothing, first(v3, b"database\0demo\0\0")),
        ("an empty user", Nothing, first(v3, b"user\0\0database\0demo\0\0")),
        ("an unknown user", Sooner, first(v3, b"user\0nobody\0database\0demo\0\0")),
        ("an unknown database", Sooner, first(v3, b"user\0demo\0database\0nothing\0\0")),
        ("a setting nobody knows", Sooner, and(b"nonsense\x001\0\0")),
        ("a value it cannot have", Sooner, and(b"work_mem\0x\0\0")),
        ("a kind of replication nobody knows", Nothing, and(b"replication\0maybe\0\0")),
        ("options that are none", Sooner, and(b"options\0x\0\0")),
        ("version 0", Words, first(0, &[&demo[..], b"\0"].concat())),
        ("version 4", Words, first(4 << 16, &[&demo[..], b"\0"].concat())),
        (
            "the second request for TLS",
            Words,
            [raw::packet(raw::SSL_REQUEST, &[]), raw::packet(raw::SSL_REQUEST, &[])].concat(),
        ),
        ("a cancel of nobody", Nothing, raw::cancel(1, &[1, 2, 3, 4])),
        ("a cancel without a key", Told, raw::cancel(1, &[])),
    ];
    let cases = cases.into_iter().map(|(what, but, bytes)| (what.to_owned(), but, bytes)).collect();
    differential(&bench(), cases, |port, bytes| {
        let mut raw = Raw::tcp(port);
        let (request, rest) = bytes.split_at(bytes.len().min(8));
        raw.send(request);
        // The answer to a request for encryption is a single letter.
        if request == raw::packet(raw::SSL_REQUEST, &[]) {
            raw.stream.read_exact(&mut [0]).expect("an answer");
        }
        let _ = std::io::Write::write_all(&mut raw.stream, rest);
        // A packet that is not all there ends with the connection.
        let length = request.first_chunk().map_or(u32::MAX, |length| u32::from_be_bytes(*length));
        if (bytes.len() as u64) < u64::from(length) {
            let _ = raw.stream.shutdown(Shutdown::Write);
        }
        heard(&mut raw)
    });
}

#[test]
fn what_comes_in_the_same_write() {
    use But::Nothing;
    let startup = raw::startup(raw::V3_0, &[("user", "demo"), ("database", "demo")]);
    // Not with GSSAPI, which a server may be built to begin with.
    let ssl = raw::packet(raw::SSL_REQUEST, &[]);
    let group =
        [raw::parse("", "SELECT 7"), raw::bind("", "", &[]), raw::execute("", 0), raw::sync()].concat();
    let goodbye = raw::message(b'X', &[]);
    let cases: Vec<(&str, But, Vec<u8>)> = vec![
        ("a request for TLS twice", Nothing, [&ssl[..], &ssl].concat()),
        ("a login behind a request for TLS", Nothing, [&ssl[..], &startup].concat()),
        ("one byte behind a request for TLS", Nothing, [&ssl[..], b"\x16"].concat()),
        ("a goodbye behind a login", Nothing, [&startup[..], &goodbye].concat()),
        ("a query behind a login", Nothing, [&startup[..], &raw::query("SELECT 1"), &goodbye].concat()),
        ("a group behind a login", Nothing, [&startup[..], &group, &goodbye].concat()),
        ("a password behind a login", Nothing, [&startup[..], &raw::password("x")].concat()),
    ];
    let cases = cases.into_iter().map(|(what, but, bytes)| (what.to_owned(), but, bytes)).collect();
    differential(&bench(), cases, |port, bytes| {
        let mut raw = Raw::tcp(port);
        raw.send(bytes);
        if bytes.starts_with(&raw::packet(raw::SSL_REQUEST, &[])) {
            // A single letter.
            raw.stream.read_exact(&mut [0]).expect("an answer");
        }
        heard(&mut raw)
    });
}

#[test]
fn answers_to_a_request_for_a_password() {
    use But::{Ends, Nothing};
    let sasl = |mechanism: &str, response: &[u8]| {
        let length = u32::try_from(response.len()).expect("it is short").to_be_bytes();
        raw::message(b'p', &[mechanism.as_bytes(), b"\0", &length, response].concat())
    };
    let scram = |response: &str| sasl("SCRAM-SHA-256", response.as_bytes());
    let cases: Vec<(&str, But, Vec<u8>)> = vec![
        ("a Query", Nothing, raw::query("SELECT 1")),
        ("a goodbye", Nothing, raw::message(b'X', &[])),
        ("a length below four", Ends("FATAL 08P01 invalid message length"), b"p\0\0\0\x03".to_vec()),
        ("too long", Ends("FATAL 08P01 invalid message length"), raw::message(b'p', &[b'x'; 5000])),
        ("nothing", Nothing, raw::message(b'p', &[])),
        ("a plain password", Nothing, raw::password("strict")),
        ("no such mechanism", Nothing, sasl("PLAIN", b"n,,n=,r=abc")),
        ("channel binding without TLS", Nothing, sasl("SCRAM-SHA-256-PLUS", b"p=x,,n=,r=abc")),
        ("a length past the end", Nothing, raw::message(b'p', b"SCRAM-SHA-256\0\0\0\0\x63n,,n=,r=abc")),
        ("a length below zero", Nothing, raw::message(b'p', b"SCRAM-SHA-256\0\xff\xff\xff\xfen,,n=,r=abc")),
        ("bytes behind the response", Nothing, raw::message(b'p', b"SCRAM-SHA-256\0\0\0\0\x01nmore")),
        ("an empty response", Nothing, scram("")),
        ("no header", Nothing, scram("r=abc")),
        ("a header nobody knows", Nothing, scram("x,,n=,r=abc")),
        ("a binding we did not offer", Nothing, scram("p=tls-unique,,n=,r=abc")),
        ("an identity of another", Nothing, scram("n,a=demo,n=,r=abc")),
        ("an extension", Nothing, scram("n,,m=x,n=,r=abc")),
        ("no nonce", Nothing, scram("n,,n=")),
        ("a nonce that cannot be printed", Nothing, scram("n,,n=,r=\u{1}\u{2}")),
        ("a zero byte in it", Nothing, scram("n,,n=,r=a\0bc")),
        (
            "a wrong proof",
            Nothing,
            [scram("n,,n=,r=abc"), raw::message(b'p', b"c=biws,r=abc,p=AAAA")].concat(),
        ),
        ("no proof", Nothing, [scram("n,,n=,r=abc"), raw::message(b'p', b"c=biws,r=abc")].concat()),
        ("an empty proof", Nothing, [scram("n,,n=,r=abc"), raw::message(b'p', b"")].concat()),
    ];
    let cases = cases.into_iter().map(|(what, but, bytes)| (what.to_owned(), but, bytes)).collect();
    differential(&bench(), cases, |port, bytes| {
        let mut raw = Raw::tcp(port);
        raw.send(&raw::startup(raw::V3_0, &[("user", "strict"), ("database", "demo")]));
        raw.send(bytes);
        let _ = raw.stream.shutdown(Shutdown::Write);
        let mut heard = heard(&mut raw);
        // The server's part of the nonce, and its salt.
        heard.iter_mut().filter(|word| word.starts_with('R')).for_each(|word| word.truncate(1));
        heard
    });
}

/// What was said before.
fn befores() -> Vec<(&'static str, Vec<u8>)> {
    let group = [raw::parse("", "SELECT 7"), raw::bind("", "", &[]), raw::execute("", 0)].concat();
    vec![
        ("at rest", Vec::new()),
        ("in a transaction", raw::query("BEGIN")),
        ("in a failed transaction", raw::query("BEGIN; SELECT 1/0")),
        ("behind a query", raw::query("SELECT 5")),
        ("in a group", group.clone()),
        ("in a failed group", [group, raw::bind("", "nobody", &[])].concat()),
    ]
}

/// Not here, because nobody would notice: a Sync or Flush with a body is taken for one without.
#[test]
fn messages_after_the_login() {
    use But::{More, Nothing, Told};
    let message = |tag: u8, body: &[u8]| raw::message(tag, body);
    let cases: Vec<(&str, But, Vec<u8>)> = vec![
        ("a kind nobody knows", Nothing, message(b'~', b"x")),
        ("kind zero", Nothing, message(0, b"")),
        ("kind 255", Nothing, message(255, b"")),
        ("a kind only servers send", Nothing, message(b'Z', b"I")),
        ("a password", Nothing, raw::password("x")),
        ("a startup packet", Nothing, raw::startup(raw::V3_0, &[("user", "demo")])),
        ("a length below four", Told, b"Q\0\0\0\x03".to_vec()),
        ("a length of zero", Told, b"Q\0\0\0\0".to_vec()),
        ("a negative length", Told, b"Q\xff\xff\xff\xff".to_vec()),
        ("a length beyond all", Told, b"Q\x7f\xff\xff\xff".to_vec()),
        ("a Sync beyond its kind", Told, b"S\0\x01\0\0".to_vec()),
        ("a Query without a text", Nothing, message(b'Q', b"")),
        ("a Query without its end", Nothing, message(b'Q', b"SELECT 1")),
        ("a Query with a zero byte in it", Nothing, message(b'Q', b"SELECT 1\0 + 1\0")),
        ("a Query that is not UTF-8", Nothing, message(b'Q', b"SELECT '\xff\xfe'\0")),
        ("a Query of an overlong zero", Nothing, message(b'Q', b"SELECT '\xc0\x80'\0")),
        ("an empty Parse", Nothing, message(b'P', b"")),
        ("a Parse without a text", Nothing, message(b'P', b"a\0")),
        ("a Parse without types", Nothing, message(b'P', b"a\0SELECT 1\0")),
        ("a Parse of more types than it has", Nothing, message(b'P', b"a\0SELECT 1\0\0\x02\0\0\0\x17")),
        ("a Parse of 65535 types that are not there", Nothing, message(b'P', b"a\0SELECT 1\0\xff\xff")),
        ("a Parse with bytes behind", Nothing, message(b'P', b"a\0SELECT 1\0\0\0x")),
        ("a Parse of a type nobody knows", Nothing, message(b'P', b"a\0SELECT $1\0\0\x01\x7f\0\0\0")),
        ("a Parse that is not UTF-8", Nothing, message(b'P', b"a\0SELECT '\xff'\0\0\0")),
        ("a name that is not UTF-8", Nothing, message(b'P', b"\xff\0SELECT 1\0\0\0")),
        ("an empty Bind", Nothing, message(b'B', b"")),
        ("a Bind without counts", Nothing, message(b'B', b"\0\0")),
        ("a Bind of an unknown statement", Nothing, message(b'B', b"\0who\0\0\0\0\0\0\0")),
        ("a Bind of more values than it has", Nothing, bind(b"\0\0\0\x02\0\0\0\x011\0\0")),
        ("a Bind of fewer values than needed", Nothing, bind(b"\0\0\0\0\0\0")),
        ("a Bind of more values than needed", Nothing, bind(b"\0\0\0\x02\0\0\0\x011\0\0\0\x011\0\0")),
        ("a value longer than the message", Nothing, bind(b"\0\0\0\x01\0\0\0\x631\0\0")),
        ("a value of length -2", Nothing, bind(b"\0\0\0\x01\xff\xff\xff\xfe\0\0")),
        ("a value of the greatest length", Nothing, bind(b"\0\0\0\x01\x7f\xff\xff\xff\0\0")),
        ("formats that do not fit", Nothing, bind(b"\0\x02\0\0\0\0\0\x01\0\0\0\x011\0\0")),
        ("a format nobody knows", Nothing, bind(b"\0\x01\0\x07\0\x01\0\0\0\x011\0\0")),
        ("a result format nobody knows", Nothing, bind(b"\0\0\0\x01\0\0\0\x011\0\x01\0\x07")),
        ("result formats that do not fit", Nothing, bind(b"\0\0\0\x01\0\0\0\x011\0\x03\0\0\0\0\0\0")),
        ("bytes behind a Bind", Nothing, bind(b"\0\0\0\x01\0\0\0\x011\0\0x")),
        ("a value with a zero byte", Nothing, bind(b"\0\0\0\x01\0\0\0\x031\x002\0\0")),
        ("a value that is not UTF-8", Nothing, bind(b"\0\0\0\x01\0\0\0\x01\xff\0\0")),
        ("a Describe of nothing", Nothing, message(b'D', b"")),
        ("a Describe of a kind nobody knows", Nothing, message(b'D', b"Qa\0")),
        ("a Describe without its end", Nothing, message(b'D', b"Sa")),
        ("a Describe with bytes behind", Nothing, message(b'D', b"S\0x")),
        ("a Close of a kind nobody knows", Nothing, message(b'C', b"Qa\0")),
        ("a Close with bytes behind", Nothing, message(b'C', b"Sa\0x")),
        ("an Execute without a limit", Nothing, message(b'E', b"\0")),
        ("an Execute of an unknown portal", Nothing, message(b'E', b"who\0\0\0\0\0")),
        ("an Execute with a limit below zero", Nothing, message(b'E', b"\0\xff\xff\xff\xff")),
        ("a FunctionCall of nothing", Nothing, message(b'F', b"")),
        ("a FunctionCall that ends early", Nothing, message(b'F', b"\0\0\x04\xd2\0\x01\0\x01\0\x05")),
        ("data of no COPY", Nothing, [raw::copy_data(b"1\n"), raw::copy_done()].concat()),
        ("the end of no COPY", Nothing, raw::copy_fail("no")),
        ("a goodbye in the middle", More, [message(b'X', b""), raw::query("SELECT 1")].concat()),
        ("a goodbye with a body", More, message(b'X', b"bye")),
    ];
    let mut all = Vec::new();
    for (what, but, bytes) in cases {
        for (place, before) in befores() {
            let after = [raw::sync(), raw::query("SELECT 42"), message(b'X', &[])].concat();
            all.push((format!("{what}, {place}"), but, [&before, &bytes[..], &after].concat()));
        }
    }
    differential(&bench(), all, |port, bytes| {
        let mut raw = Raw::demo(port);
        raw.send(bytes);
        heard(&mut raw)
    });
}

/// A Parse of `SELECT $1::text` and a Bind of it, whose bytes behind the names are given.
fn bind(rest: &[u8]) -> Vec<u8> {
    let body = [b"\0given\0", rest].concat();
    [raw::parse("given", "SELECT $1::text"), raw::message(b'B', &body), raw::execute("", 0)].concat()
}
