use super::*;
use crate::auth::{
    ClientCert, ClientLogin, LoginFacts, LoginRandom, LoginStep, Method, ScramKeys, ScramVerifier, Secret,
    Verifier,
};

const SALT: &[u8] = b"0123456789abcdef";

fn facts(credentials: Credentials) -> ServerLoginFacts {
    ServerLoginFacts {
        user: "ann".into(),
        credentials: Arc::new(credentials),
        channel_binding: ChannelBinding::Prefer,
        tls: false,
        end_point: None,
        nonce: [3; NONCE_BYTES],
    }
}

fn password() -> Credentials {
    Credentials::from_password("pencil")
}

/// What a login of that user showed us.
fn keys() -> Credentials {
    Credentials { scram: Some(ScramKeys::derive(b"pencil", SALT, 16)), ..Credentials::default() }
}

fn end_point() -> Option<EndPointHash> {
    Some(EndPointHash::from(&[5; 32][..]))
}

/// Runs our login against a server that has a verifier; the server's side is checked on its own against another
/// implementation.
fn run(
    ours: ServerLoginFacts,
    method: Method,
    verifier: Verifier,
    certificate: Option<EndPointHash>,
) -> Result<(), ServerLoginError> {
    let server = LoginFacts {
        user: "ann".into(),
        method,
        client_cert: ClientCert::Off,
        verifier: Some(verifier),
        end_point: certificate,
        certificate: None,
    };
    let random = LoginRandom { nonce: [7; NONCE_BYTES], md5_salt: [1, 2, 3, 4], mock_secret: [9; 32] };
    let mut server = ClientLogin::new(server, random);
    let mut login = ServerLogin::new(ours);
    let mut requests = Vec::new();
    let mut step = server.begin(&mut requests);
    loop {
        let mut answer = Vec::new();
        if !requests.is_empty() {
            assert_eq!(login.handle(&requests[5..], &mut answer)?, ServerLoginStep::Continue);
            requests.clear();
        }
        match step {
            Ok(LoginStep::Continue) => step = server.handle(answer[0], &answer[5..], &mut requests),
            Ok(LoginStep::Done(_)) => {
                assert_eq!(login.handle(&[0; 4], &mut answer)?, ServerLoginStep::Done);
                return Ok(());
            }
            Err(error) => panic!("the server refused: {error}"),
        }
    }
}

fn scram() -> Verifier {
    Verifier::Scram(ScramVerifier::derive(b"pencil", SALT, 16))
}

#[test]
fn every_credential_answers_what_it_can() {
    let md5 = Md5Hash::of(b"pencil", "ann");
    let hash = || Credentials { md5: Some(md5.clone()), ..Credentials::default() };
    let user = || "ann".to_owned();
    for (known, method, verifier, expected) in [
        (password(), Method::Scram, scram(), Ok(())),
        (keys(), Method::Scram, scram(), Ok(())),
        (password(), Method::Md5, Verifier::Md5(md5.clone()), Ok(())),
        (hash(), Method::Md5, Verifier::Md5(md5.clone()), Ok(())),
        (password(), Method::Password, scram(), Ok(())),
        (hash(), Method::Scram, scram(), Err(ServerLoginError::NoScram { user: user() })),
        (keys(), Method::Password, scram(), Err(ServerLoginError::NoPassword { user: user() })),
        (keys(), Method::Md5, Verifier::Md5(md5.clone()), Err(ServerLoginError::NoMd5 { user: user() })),
        (Credentials::default(), Method::Scram, scram(), Err(ServerLoginError::NoScram { user: user() })),
    ] {
        assert_eq!(run(facts(known), method, verifier, None), expected);
    }
    // A server that trusts us.
    let mut login = ServerLogin::new(facts(Credentials::default()));
    assert_eq!(login.handle(&[0; 4], &mut Vec::new()), Ok(ServerLoginStep::Done));
}

#[test]
fn keys_are_for_one_verifier_only() {
    let other = || Verifier::Scram(ScramVerifier::derive(b"pencil", b"fedcba9876543210", 16));
    let error = run(facts(keys()), Method::Scram, other(), None).unwrap_err();
    assert_eq!(error, ServerLoginError::OtherVerifier { user: "ann".into() });
    // With the password at hand, new keys are derived.
    let both = Credentials { password: Some(Secret::from("pencil")), ..keys() };
    assert_eq!(run(facts(both), Method::Scram, other(), None), Ok(()));
}

#[test]
fn channel_binding_is_used_as_wished() {
    use ChannelBinding::{Disable, Prefer, Require};
    let run = |wish, tls, ours: Option<EndPointHash>, theirs| {
        let facts = ServerLoginFacts { channel_binding: wish, tls, end_point: ours, ..facts(keys()) };
        run(facts, Method::Scram, scram(), theirs)
    };
    assert_eq!(run(Require, true, end_point(), end_point()), Ok(()));
    assert_eq!(run(Prefer, true, end_point(), end_point()), Ok(()));
    assert_eq!(run(Disable, true, end_point(), end_point()), Ok(()));
    assert_eq!(run(Prefer, true, None, end_point()), Ok(()));
    assert_eq!(run(Prefer, true, end_point(), None), Ok(()));
    let required = ServerLoginError::BindingRequired;
    assert_eq!(run(Require, true, end_point(), None), Err(required("the server does not offer it")));
    assert_eq!(run(Require, false, None, None), Err(required("the connection is not on TLS")));
    let no_hash = required("the server's certificate has no hash to bind to");
    assert_eq!(run(Require, true, None, end_point()), Err(no_hash));
    assert_eq!(run(Prefer, false, None, end_point()), Err(ServerLoginError::BindingWithoutTls));
    // Nothing less will do, not even trust.
    let facts = || ServerLoginFacts {
        channel_binding: Require,
        tls: true,
        end_point: end_point(),
        ..facts(password())
    };
    for request in [&[0, 0, 0, 0][..], &[0, 0, 0, 3], &[0, 0, 0, 5, 1, 2, 3, 4]] {
        let error = ServerLogin::new(facts()).handle(request, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, ServerLoginError::BindingRequired(_)), "{error}");
    }
}

#[test]
#[should_panic(expected = "SCRAM channel binding check failed")]
fn a_server_with_another_certificate_notices() {
    let theirs = Some(EndPointHash::from(&[6; 32][..]));
    let facts = ServerLoginFacts { tls: true, end_point: end_point(), ..facts(keys()) };
    let _ = run(facts, Method::Scram, scram(), theirs);
}

/// Begins SCRAM and gives the challenge; returns the login and what came of it.
fn challenged(challenge: &str) -> (ServerLogin, Result<ServerLoginStep, ServerLoginError>) {
    let mut login = ServerLogin::new(facts(password()));
    let mut out = Vec::new();
    login.handle(b"\0\0\0\x0aSCRAM-SHA-256\0\0", &mut out).unwrap();
    let step = login.handle(&[b"\0\0\0\x0b", challenge.as_bytes()].concat(), &mut out);
    (login, step)
}

#[test]
fn challenges_are_checked() {
    let ours = scram::encode(&[3; NONCE_BYTES]);
    for (challenge, error) in [
        (String::new(), ServerLoginError::Scram("no nonce")),
        (format!("r={ours}"), ServerLoginError::Scram("no salt")),
        (format!("r={ours}x,s=AAAA"), ServerLoginError::Scram("no iteration count")),
        ("r=other,s=AAAA,i=1".to_owned(), ServerLoginError::Scram("nonce does not continue ours")),
        (format!("r={ours},s=AAAA,i=1"), ServerLoginError::Scram("nonce does not continue ours")),
        (format!("r={ours}x,s=*,i=1"), ServerLoginError::Scram("bad salt")),
        (format!("r={ours}x,s=,i=1"), ServerLoginError::Scram("bad salt")),
        (format!("r={ours}x,s=AAAA,i=0"), ServerLoginError::Scram("bad iteration count")),
        (format!("r={ours}x,s=AAAA,i=-1"), ServerLoginError::Scram("bad iteration count")),
        (format!("r={ours}x,s=AAAA,i=4000000000"), ServerLoginError::Iterations(4_000_000_000)),
        (format!("r={ours}x,s=AAAA,i=99999999999"), ServerLoginError::Iterations(99_999_999_999)),
    ] {
        assert_eq!(challenged(&challenge).1, Err(error), "{challenge}");
    }
}

#[test]
fn the_server_must_prove_itself() {
    let challenge = format!("r={}x,s=AAAA,i=1", scram::encode(&[3; NONCE_BYTES]));
    let after = |body: &[u8]| {
        let (mut login, step) = challenged(&challenge);
        assert_eq!(step, Ok(ServerLoginStep::Continue));
        login.handle(body, &mut Vec::new()).unwrap_err()
    };
    assert_eq!(after(&[0; 4]), ServerLoginError::NotProven);
    assert_eq!(after(b"\0\0\0\x03"), ServerLoginError::NotProven);
    assert_eq!(after(b"\0\0\0\x0cv=AAAA"), ServerLoginError::Scram("bad server signature"));
    assert_eq!(after(b"\0\0\0\x0cx=AAAA"), ServerLoginError::Scram("no server signature"));
    assert_eq!(after(b"\0\0\0\x0ce=no"), ServerLoginError::Refused("no".into()));
    assert_eq!(after(b"\0\0\0\x0br=again"), ServerLoginError::Scram("a second challenge"));
    let wrong = format!("\0\0\0\x0cv={}", scram::encode(&[1; 32]));
    assert_eq!(after(wrong.as_bytes()), ServerLoginError::ServerSignature);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let first = |body: &[u8]| ServerLogin::new(facts(password())).handle(body, &mut Vec::new()).unwrap_err();
    assert_eq!(first(b"\0\0\0\x07"), ServerLoginError::UnknownRequest(7));
    assert_eq!(first(b"\0\0"), ServerLoginError::Protocol("malformed"));
    assert_eq!(first(b"\0\0\0\x0aOAUTH\0X\0\0"), ServerLoginError::UnknownMechanisms("OAUTH, X".into()));
    assert!(matches!(first(b"\0\0\0\x0cv="), ServerLoginError::Protocol(_)));
    let mut login = ServerLogin::new(facts(password()));
    login.handle(b"\0\0\0\x03", &mut Vec::new()).unwrap();
    assert!(login.handle(b"\0\0\0\x03", &mut Vec::new()).is_err(), "one password is enough");
}
