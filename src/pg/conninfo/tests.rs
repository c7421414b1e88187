use super::*;

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp { host: host.to_owned(), port }
}

fn unix(directory: &str, port: u16) -> Address {
    Address::Unix { directory: directory.into(), port }
}

fn check(text: &str, hosts: &[Address], settings: &[(&str, &str)]) {
    let read: ConnInfo = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(read.hosts, hosts, "{text}");
    let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert_eq!(read.settings, settings, "{text}");
}

fn check_error(text: &str, expected: &str) {
    let error = text.parse::<ConnInfo>().expect_err(text);
    assert_eq!(error.0, expected, "{text}");
}

#[test]
fn reads_uris() {
    check("postgres://", &[], &[]);
    check("postgresql://localhost", &[tcp("localhost", 5432)], &[]);
    check("postgres://a:5433/db", &[tcp("a", 5433)], &[("dbname", "db")]);
    check("postgres://app@a/", &[tcp("a", 5432)], &[("user", "app")]);
    check("postgres://app:s%40%2Fe@a", &[tcp("a", 5432)], &[("user", "app"), ("password", "s@/e")]);
    check(
        "postgres://u@a:1,b,c:3/d?sslmode=require&application_name=x%20y",
        &[tcp("a", 1), tcp("b", 5432), tcp("c", 3)],
        &[("application_name", "x y"), ("dbname", "d"), ("sslmode", "require"), ("user", "u")],
    );
    check("postgres://[::1]:5433,[fe80::1%25eth0]", &[tcp("::1", 5433), tcp("fe80::1%eth0", 5432)], &[]);
    check("postgres://%2Fvar%2Frun/db", &[unix("/var/run", 5432)], &[("dbname", "db")]);
    check("postgres:///db?host=/tmp&port=6432", &[unix("/tmp", 6432)], &[("dbname", "db")]);
    check("postgres://a,b?port=7000&ssl=true", &[tcp("a", 7000), tcp("b", 7000)], &[("sslmode", "require")]);
    check("postgres://a?host=b", &[tcp("b", 5432)], &[]);
}

#[test]
fn reads_keywords_and_values() {
    check("", &[], &[]);
    check("host=a port=5433 user = app", &[tcp("a", 5433)], &[("user", "app")]);
    check("host=a,/tmp port=1,2", &[tcp("a", 1), unix("/tmp", 2)], &[]);
    check("host='a, b' port=,5433", &[tcp("a", 5432), tcp("b", 5433)], &[]);
    check("hostaddr=10.0.0.1", &[tcp("10.0.0.1", 5432)], &[]);
    check(r"password='it\'s \\ it' dbname=a\ b", &[], &[("password", r"it's \ it"), ("dbname", "a b")]);
    check("user='' dbname=x dbname=y", &[], &[("user", ""), ("dbname", "y")]);
}

#[test]
fn says_what_is_wrong() {
    let port = "the port of host 1 is not a number from 1 to 65535";
    check_error("postgres://a:b", port);
    check_error("postgres://a:0", port);
    check_error("host=a port=65536", port);
    check_error("host=a port=+1", port);
    check_error("host=a,b,c port=1,2", "2 ports for 3 hosts");
    check_error("postgres://a,,b", "host 2 of the list is empty");
    check_error("port=5433", "a port is given without a host");
    check_error("host=a hostaddr=b", "host and hostaddr are both given; give one of them");
    check_error("postgres://[::1", "\"[\" without \"]\"");
    check_error("postgres://[::1]5432", "after \"]\" only \":\" and a port may follow");
    check_error("postgres://a%2Cb", "a host contains an escaped comma");
    check_error("postgres://a/d?sslmode", "a parameter after \"?\" has no \"=\"");
    check_error("postgres://a/d?x=1=2", "parameter \"x\" has a second \"=\"; write it as %3D");
    check_error("postgres://a/%zz", {
        "the database name: \"%\" must be followed by two hexadecimal digits (a plain one is %25)"
    });
    check_error("postgres://a/%e", {
        "the database name: \"%\" must be followed by two hexadecimal digits (a plain one is %25)"
    });
    check_error("postgres://a/x%00", "the database name: %00 is not allowed");
    check_error("postgres://a/%ff", "the database name: not valid UTF-8 after decoding");
    check_error("host", "no \"=\" after \"host\" (the other form begins with postgres://)");
    check_error("user=x 'secret", "expected keyword=value pairs, or a URI that begins with postgres://");
    check_error("mysql://a", "expected keyword=value pairs, or a URI that begins with postgres://");
    check_error("password='open", "the quoted value of \"password\" is not closed");
}

#[test]
fn no_password_in_errors_or_debug_output() {
    for text in ["postgres://u:p@hunter2@h/", "postgres://u:hunter2/x@h", "postgres://u:hunter2%@h"] {
        let error = text.parse::<ConnInfo>().expect_err(text);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let read: ConnInfo = "postgres://u:hunter2@h/".parse().expect("valid");
    assert!(!format!("{read:?}").contains("hunter2"), "{read:?}");
}
