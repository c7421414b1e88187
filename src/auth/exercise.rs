//! Feeds arbitrary bytes to everything in this group that reads hostile ones. For fuzz targets and their replay.

use std::sync::Arc;

use super::{
    ChannelBinding, ClientCert, ClientCertificate, ClientLogin, Credentials, EndPointHash, HostRules,
    LoginFacts, LoginRandom, LoginStep, Method, NONCE_BYTES, ScramVerifier, ServerLogin, ServerLoginFacts,
    Verifier, VerifierFile,
};

/// Runs a login with messages cut from `data`. The first byte chooses method, verifier and channel; each message is led by
/// two bytes of length, and cut short where `data` ends.
///
/// Panics when anybody gets in by a method that needs to know the password.
pub fn client_login(data: &[u8]) {
    let (choice, mut rest) = data.split_first().map_or((0, data), |(choice, rest)| (*choice, rest));
    let method = [Method::Scram, Method::Md5, Method::Password, Method::Scram][usize::from(choice & 3)];
    let verifier = match (choice >> 2) & 3 {
        0 => None,
        1 => Verifier::from_rolpassword("md50123456789abcdef0123456789abcdef"),
        _ => Some(Verifier::Scram(ScramVerifier {
            iterations: 1,
            salt: vec![7; 16],
            stored_key: [1; 32],
            server_key: [2; 32],
        })),
    };
    let end_point = (choice & 16 != 0).then(|| EndPointHash::from(&[9; 32][..]));
    let facts = LoginFacts {
        user: "fuzz".to_owned(),
        method,
        client_cert: ClientCert::Off,
        verifier,
        end_point,
        certificate: None,
    };
    let random = LoginRandom { nonce: [3; NONCE_BYTES], md5_salt: [4; 4], mock_secret: [5; 32] };
    let mut login = ClientLogin::new(facts, random);
    let mut out = Vec::new();
    let mut step = login.begin(&mut out);
    while let (Ok(LoginStep::Continue), Some((tag, body, after))) = (&step, cut(rest)) {
        step = login.handle(tag, body, &mut out);
        rest = after;
    }
    assert!(!matches!(step, Ok(LoginStep::Done(_))), "nobody knows this password");
}

/// Runs our login to a server with messages cut from `data`, as [`client_login`] cuts them.
pub fn server_login(data: &[u8]) {
    let (choice, mut rest) = data.split_first().map_or((0, data), |(choice, rest)| (*choice, rest));
    let bindings = [ChannelBinding::Prefer, ChannelBinding::Disable, ChannelBinding::Require];
    let facts = ServerLoginFacts {
        user: "fuzz".to_owned(),
        credentials: Arc::new(Credentials::from_password("p")),
        channel_binding: bindings[usize::from(choice) % bindings.len()],
        tls: choice & 16 != 0,
        end_point: (choice & 32 != 0).then(|| EndPointHash::from(&[9; 32][..])),
        nonce: [3; NONCE_BYTES],
    };
    let mut login = ServerLogin::new(facts);
    let mut out = Vec::new();
    while let Some((_, body, after)) = cut(rest) {
        if login.handle(body, &mut out).is_err() {
            return;
        }
        rest = after;
    }
}

/// Reads `data` as a verifier file, as host rules, and as a certificate.
pub fn texts(data: &[u8]) {
    let _ = (EndPointHash::of_certificate(data), ClientCertificate::read(data));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = VerifierFile::parse(text);
    let _ = Verifier::from_rolpassword(text);
    let _ = HostRules::parse(text.lines());
}

/// Cuts tag, length and body off `data`; the tag is `p` unless the length's highest bit is set.
fn cut(data: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<2>()?;
    let length = u16::from_be_bytes(*length);
    let tag = if length & 0x8000 == 0 { b'p' } else { b'Q' };
    let (body, after) = rest.split_at(rest.len().min(usize::from(length & 0x7fff)));
    Some((tag, body, after))
}

#[cfg(test)]
mod tests;
