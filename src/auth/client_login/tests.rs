use postgres_protocol::authentication::sasl::{self, ScramSha256};

use super::*;

const RANDOM: LoginRandom =
    LoginRandom { nonce: [7; NONCE_BYTES], md5_salt: [1, 2, 3, 4], mock_secret: [9; 32] };

fn scram_verifier(password: &str) -> Verifier {
    Verifier::Scram(ScramVerifier::derive(password.as_bytes(), b"0123456789abcdef", 16))
}

fn plain(password: &str) -> Verifier {
    Verifier::from_file(password).unwrap()
}

fn md5_verifier(password: &str) -> Verifier {
    Verifier::Md5(Md5Hash::of(password.as_bytes(), "ann"))
}

fn facts(method: Method, verifier: Option<Verifier>) -> LoginFacts {
    LoginFacts {
        user: "ann".into(),
        method,
        client_cert: ClientCert::Off,
        verifier,
        end_point: None,
        certificate: None,
    }
}

fn end_point() -> EndPointHash {
    EndPointHash::from(&[5; 32][..])
}

/// A login that has begun, and what it sent: the bodies of its Authentication messages, one after the other.
struct Client {
    login: ClientLogin,
    out: Vec<u8>,
}

impl Client {
    fn begin(facts: LoginFacts) -> (Self, Vec<u8>) {
        let mut client = Client { login: ClientLogin::new(facts, RANDOM), out: Vec::new() };
        let step = client.login.begin(&mut client.out);
        assert!(matches!(step, Ok(LoginStep::Continue)), "{step:?}");
        let request = client.sent();
        (client, request)
    }

    fn send(&mut self, body: &[u8]) -> Result<LoginStep, PgError> {
        self.login.handle(b'p', body, &mut self.out)
    }

    /// Takes the body of the one message sent.
    fn sent(&mut self) -> Vec<u8> {
        let message = std::mem::take(&mut self.out);
        assert_eq!(
            (message[0], message[1..5].to_vec()),
            (b'R', (message.len() as u32 - 1).to_be_bytes().to_vec())
        );
        message[5..].to_vec()
    }

    fn initial(&mut self, mechanism: &str, message: &[u8]) -> Result<LoginStep, PgError> {
        let length = (message.len() as u32).to_be_bytes();
        self.send(&[mechanism.as_bytes(), b"\0", &length, message].concat())
    }

    /// Plays a whole exchange with the other implementation as the client.
    fn scram(
        &mut self,
        mechanism: &str,
        password: &str,
        binding: sasl::ChannelBinding,
    ) -> Result<LoginStep, PgError> {
        let mut peer = ScramSha256::new(password.as_bytes(), binding);
        self.initial(mechanism, peer.message())?;
        let challenge = self.sent();
        assert_eq!(challenge[..4], [0, 0, 0, 11]);
        peer.update(&challenge[4..]).unwrap();
        let step = self.send(peer.message())?;
        let last = self.sent();
        assert_eq!(last[..4], [0, 0, 0, 12]);
        peer.finish(&last[4..]).expect("our signature is right");
        Ok(step)
    }
}

fn proven(step: Result<LoginStep, PgError>) -> Credentials {
    match step {
        Ok(LoginStep::Done(proof)) => proof.credentials,
        other => panic!("not through: {other:?}"),
    }
}

fn failed(step: Result<LoginStep, PgError>) {
    let expected =
        PgError::fatal(SqlState::INVALID_PASSWORD, "password authentication failed for user \"ann\"");
    assert_eq!(step.map(|_| ()), Err(expected));
}

#[test]
fn scram_gives_the_keys_to_log_in_onward_with() {
    for method in [Method::Scram, Method::Md5] {
        let (mut client, request) = Client::begin(facts(method, Some(scram_verifier("pencil"))));
        assert_eq!(request, b"\0\0\0\x0aSCRAM-SHA-256\0\0");
        let step = client.scram("SCRAM-SHA-256", "pencil", sasl::ChannelBinding::unsupported());
        let keys = proven(step).scram.expect("keys");
        assert_eq!(keys, crate::auth::ScramKeys::derive(b"pencil", b"0123456789abcdef", 16));
    }
}

#[test]
fn a_plain_password_does_for_every_method() {
    let (mut client, _) = Client::begin(facts(Method::Scram, Some(plain("pencil"))));
    let known = proven(client.scram("SCRAM-SHA-256", "pencil", sasl::ChannelBinding::unsupported()));
    assert_eq!(known.password.unwrap().expose(), b"pencil");
    assert!(known.scram.is_some());

    let (mut client, _) = Client::begin(facts(Method::Md5, Some(plain("pencil"))));
    let answer = postgres_protocol::authentication::md5_hash(b"ann", b"pencil", RANDOM.md5_salt);
    let known = proven(client.send(&[answer.as_bytes(), b"\0"].concat()));
    assert_eq!(known.password.unwrap().expose(), b"pencil");
}

#[test]
fn channel_binding_is_offered_checked_and_cannot_be_stripped() {
    let begin = || {
        let facts = LoginFacts {
            end_point: Some(end_point()),
            ..facts(Method::Scram, Some(scram_verifier("pencil")))
        };
        let (client, request) = Client::begin(facts);
        assert_eq!(request, b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
        client
    };
    let bound = |hash: &[u8]| sasl::ChannelBinding::tls_server_end_point(hash.to_vec());
    proven(begin().scram("SCRAM-SHA-256-PLUS", "pencil", bound(&[5; 32])));
    proven(begin().scram("SCRAM-SHA-256", "pencil", sasl::ChannelBinding::unsupported()));
    failed(begin().scram("SCRAM-SHA-256-PLUS", "pencils", bound(&[5; 32])));

    let check = |step: Result<LoginStep, PgError>, message: &str, code| {
        let error = step.unwrap_err();
        assert_eq!((error.message.as_str(), error.code), (message, code));
        error.detail.unwrap_or_default()
    };
    // Another certificate: somebody is between the client and us.
    let step = begin().scram("SCRAM-SHA-256-PLUS", "pencil", bound(&[6; 32]));
    check(step, "SCRAM channel binding check failed", SqlState::INVALID_AUTHORIZATION);
    // The client could bind, and was told that we cannot.
    let step = begin().scram("SCRAM-SHA-256", "pencil", sasl::ChannelBinding::unrequested());
    let detail = check(step, "SCRAM channel binding negotiation error", SqlState::INVALID_AUTHORIZATION);
    assert!(detail.ends_with("However, this server does support channel binding."), "{detail}");
    let step = begin().scram("SCRAM-SHA-256-PLUS", "pencil", sasl::ChannelBinding::unsupported());
    let detail = check(step, "malformed SCRAM message", SqlState::PROTOCOL_VIOLATION);
    assert!(detail.starts_with("The client selected SCRAM-SHA-256-PLUS, but"), "{detail}");
    let step = begin().scram("SCRAM-SHA-256", "pencil", bound(&[5; 32]));
    let detail = check(step, "malformed SCRAM message", SqlState::PROTOCOL_VIOLATION);
    assert!(detail.starts_with("The client selected SCRAM-SHA-256 without channel binding"), "{detail}");
    // Without TLS nothing was offered, and "y" is a fair answer.
    let (mut client, _) = Client::begin(facts(Method::Scram, Some(scram_verifier("pencil"))));
    proven(client.scram("SCRAM-SHA-256", "pencil", sasl::ChannelBinding::unrequested()));
    let (mut client, _) = Client::begin(facts(Method::Scram, Some(scram_verifier("pencil"))));
    let step = client.scram("SCRAM-SHA-256-PLUS", "pencil", bound(&[5; 32]));
    let message = "client selected an invalid SASL authentication mechanism";
    check(step, message, SqlState::PROTOCOL_VIOLATION);
}

#[test]
fn who_is_not_there_looks_like_a_wrong_password() {
    let known = scram_verifier("pencil");
    for verifier in [None, Some(md5_verifier("pencil")), Some(known)] {
        let (mut client, _) = Client::begin(facts(Method::Scram, verifier));
        failed(client.scram("SCRAM-SHA-256", "wrong", sasl::ChannelBinding::unsupported()));
    }
    // An md5 verifier cannot prove SCRAM, even by the right password.
    let (mut client, _) = Client::begin(facts(Method::Scram, Some(md5_verifier("pencil"))));
    failed(client.scram("SCRAM-SHA-256", "pencil", sasl::ChannelBinding::unsupported()));
    // The made-up salt is the user's own, and stays.
    let salt = |user| server_scram::mock_verifier(user, &[9; 32]).salt;
    assert_eq!(salt("ann"), salt("ann"));
    assert_ne!(salt("ann"), salt("bob"));
    assert_eq!(salt("ann").len(), 16);
    // Nor does md5 tell who has no password: it is SCRAM then.
    let (mut client, request) = Client::begin(facts(Method::Md5, None));
    assert_eq!(request[3], 10);
    failed(client.scram("SCRAM-SHA-256", "pencil", sasl::ChannelBinding::unsupported()));
}

#[test]
fn md5_and_cleartext() {
    let (mut client, request) = Client::begin(facts(Method::Md5, Some(md5_verifier("pencil"))));
    assert_eq!(request, b"\0\0\0\x05\x01\x02\x03\x04");
    let answer = postgres_protocol::authentication::md5_hash(b"ann", b"pencil", RANDOM.md5_salt);
    assert!(proven(client.send(&[answer.as_bytes(), b"\0"].concat())).md5.is_some());
    let (mut client, _) = Client::begin(facts(Method::Md5, Some(md5_verifier("other"))));
    failed(client.send(&[answer.as_bytes(), b"\0"].concat()));

    for (verifier, has_keys) in
        [(scram_verifier("pencil"), true), (md5_verifier("pencil"), false), (plain("pencil"), false)]
    {
        let (mut client, request) = Client::begin(facts(Method::Password, Some(verifier.clone())));
        assert_eq!(request, b"\0\0\0\x03");
        let known = proven(client.send(b"pencil\0"));
        assert_eq!(known.password.unwrap().expose(), b"pencil");
        assert_eq!(known.scram.is_some(), has_keys);
        failed(Client::begin(facts(Method::Password, Some(verifier))).0.send(b"pencils\0"));
    }
    failed(Client::begin(facts(Method::Password, None)).0.send(b"pencil\0"));
    for (body, message) in [
        (&b"\0"[..], "empty password returned by client"),
        (b"", "invalid password packet size"),
        (b"pencil", "invalid password packet size"),
        (b"pen\0cil\0", "invalid password packet size"),
        (&[b'x'; 70_000], "invalid message length"),
    ] {
        let (mut client, _) = Client::begin(facts(Method::Password, Some(plain("pencil"))));
        assert_eq!(client.send(body).unwrap_err().message, message);
    }
}

#[test]
fn certificates_are_wanted_and_named() {
    let certificate = |name: &str| Some(ClientCertificate { common_name: Some(name.to_owned()) });
    let begin = |method, client_cert, certificate| {
        let facts = LoginFacts { client_cert, certificate, ..facts(method, Some(plain("pencil"))) };
        let mut login = ClientLogin::new(facts, RANDOM);
        let mut out = Vec::new();
        let step = login.begin(&mut out);
        if out.is_empty() { step } else { login.handle(b'p', b"pencil\0", &mut out) }
    };
    let message = |step: Result<LoginStep, PgError>| step.map(|_| ()).unwrap_err().message;
    use ClientCert::{Off, VerifyCa, VerifyFull};
    assert!(!proven(begin(Method::Cert, Off, certificate("ann"))).is_empty());
    assert!(!proven(begin(Method::Trust, Off, None)).is_empty());
    proven(begin(Method::Password, VerifyCa, certificate("bob")));
    proven(begin(Method::Password, VerifyFull, certificate("ann")));
    failed(begin(Method::Password, VerifyFull, certificate("bob")));
    failed(begin(Method::Password, VerifyFull, Some(ClientCertificate::default())));
    let wanted = "connection requires a valid client certificate";
    assert_eq!(message(begin(Method::Cert, Off, None)), wanted);
    assert_eq!(message(begin(Method::Password, VerifyCa, None)), wanted);
    assert_eq!(
        message(begin(Method::Cert, Off, certificate("bob"))),
        "certificate authentication failed for user \"ann\""
    );
    assert_eq!(
        message(begin(Method::Reject, Off, None)),
        "authentication failed for user \"ann\": host rejected"
    );
}

#[test]
fn the_first_message_may_come_late() {
    let (mut client, _) = Client::begin(facts(Method::Scram, Some(scram_verifier("pencil"))));
    client.send(b"SCRAM-SHA-256\0\xff\xff\xff\xff").unwrap();
    assert_eq!(client.sent(), b"\0\0\0\x0b");
    let mut peer = ScramSha256::new(b"pencil", sasl::ChannelBinding::unsupported());
    client.send(peer.message()).unwrap();
    peer.update(&client.sent()[4..]).unwrap();
    proven(client.send(peer.message()));
    // Whatever comes after the end.
    assert!(client.send(b"x").is_err());
}

/// Texts and details as `auth-scram.c` and `auth-sasl.c` have them.
#[test]
fn malformed_first_messages_get_postgresqls_words() {
    for (message, text) in [
        (&b""[..], "The message is empty."),
        (b"n,,n=,r=abc\0", "Message length does not match input length."),
        (b"x,,n=,r=abc", "Unexpected channel-binding flag \"'x'\"."),
        (b"\x01,,n=,r=abc", "Unexpected channel-binding flag \"0x01\"."),
        (b"n", "Comma expected, but found character \"0x00\"."),
        (b"nn,n=,r=abc", "Comma expected, but found character \"'n'\"."),
        (b"n,x,n=,r=abc", "Unexpected attribute \"'x'\" in client-first-message."),
        (b"n,,r=abc", "Expected attribute \"n\" but found \"'r'\"."),
        (b"n,,n,r=abc", "Expected character \"=\" for attribute \"n\"."),
        (b"n,,n=", "Expected attribute \"r\" but found \"0x00\"."),
        (b"n,,n=,r=abc,=", "Attribute expected, but found invalid character \"'='\"."),
        (b"n,,n=,r=abc,,", "Attribute expected, but found invalid character \"','\"."),
        (b"n,,n=,r=abc,x", "Expected character \"=\" for attribute \"x\"."),
        (b"n,a=ann,n=,r=abc", "client uses authorization identity, but it is not supported"),
        (b"n,,m=x,n=,r=abc", "client requires an unsupported SCRAM extension"),
        (b"n,,n=,r=a bc", "non-printable characters in SCRAM nonce"),
        (b"n,,n=,r=\xffabc", "non-printable characters in SCRAM nonce"),
    ] {
        let (mut client, _) = Client::begin(facts(Method::Scram, Some(scram_verifier("pencil"))));
        let error = client.initial("SCRAM-SHA-256", message).unwrap_err();
        let found = error.detail.as_deref().unwrap_or(&error.message);
        assert_eq!(found, text, "{:?}", String::from_utf8_lossy(message));
        assert_eq!(error.severity, crate::wire::error_response::Severity::Fatal);
    }
    let facts = LoginFacts { end_point: Some(end_point()), ..facts(Method::Scram, None) };
    let (mut client, _) = Client::begin(facts);
    let step = client.initial("SCRAM-SHA-256-PLUS", b"p=tls\xffunique,,n=,r=abc");
    assert_eq!(step.unwrap_err().message, "unsupported SCRAM channel-binding type \"tls?unique\"");
}

#[test]
fn malformed_last_messages_get_postgresqls_words() {
    let proof = scram::encode(&[1; 32]);
    let nonce = format!("abc{}", scram::encode(&RANDOM.nonce));
    for (message, text) in [
        (format!("r={nonce},p={proof}"), "Expected attribute \"c\" but found \"'r'\"."),
        (
            format!("c=eSws,r={nonce},p={proof}"),
            "unexpected SCRAM channel-binding attribute in client-final-message",
        ),
        (format!("c=biws,p={proof}"), "Expected attribute \"r\" but found \"'p'\"."),
        (format!("c=biws,r=other,p={proof}"), "Nonce does not match."),
        (format!("c=biws,r={nonce}x,p={proof}"), "Nonce does not match."),
        (format!("c=biws,r={nonce}"), "Attribute expected, but found end of string."),
        (format!("c=biws,r={nonce},p=AAAA"), "Malformed proof in client-final-message."),
        (format!("c=biws,r={nonce},p={proof}*"), "Malformed proof in client-final-message."),
        (format!("c=biws,r={nonce},p={proof},x=y"), "Garbage found at the end of client-final-message."),
        (format!("c=biws,r={nonce},x=y,p={proof}"), "password authentication failed for user \"ann\""),
    ] {
        let (mut client, _) = Client::begin(facts(Method::Scram, Some(scram_verifier("pencil"))));
        client.initial("SCRAM-SHA-256", b"n,,n=,r=abc").unwrap();
        let error = client.send(message.as_bytes()).unwrap_err();
        assert_eq!(error.detail.as_deref().unwrap_or(&error.message), text, "{message}");
    }
}

#[test]
fn malformed_packets_get_postgresqls_words() {
    for (tag, body, text) in [
        (b'Q', &b"x"[..], "expected SASL response, got message type 81"),
        (b'p', &[b'x'; 1025][..], "invalid message length"),
        (b'p', b"SCRAM-SHA-256", "invalid string in message"),
        (b'p', b"SCRAM-SHA-1\0\0\0\0\0", "client selected an invalid SASL authentication mechanism"),
        (b'p', b"SCRAM-SHA-256\0\0\0", "insufficient data left in message"),
        (b'p', b"SCRAM-SHA-256\0\x7f\xff\xff\xffn", "insufficient data left in message"),
        (b'p', b"SCRAM-SHA-256\0\xff\xff\xff\xfen", "insufficient data left in message"),
        (b'p', b"SCRAM-SHA-256\0\0\0\0\x01nn", "invalid message format"),
        (b'p', b"SCRAM-SHA-256\0\xff\xff\xff\xffn", "invalid message format"),
    ] {
        let (mut client, _) = Client::begin(facts(Method::Scram, Some(scram_verifier("pencil"))));
        let error = client.login.handle(tag, body, &mut client.out).unwrap_err();
        assert_eq!((error.message.as_str(), error.code), (text, SqlState::PROTOCOL_VIOLATION));
    }
}
