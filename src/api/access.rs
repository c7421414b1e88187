//! Who may change something: whoever shows the token, or can open the Unix socket.

use std::fmt;
use std::net::IpAddr;

use arc_swap::ArcSwapOption;
use hyper::StatusCode;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::answers::{Answer, error_with_hint};

/// Where a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The network, and from where: anybody may ask, changes need the token.
    Tcp(IpAddr),
    /// The socket file: its mode says who gets here.
    Socket,
}

/// Where somebody is who does not say who they are.
impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Door::Tcp(address) => address.to_canonical().fmt(f),
            Door::Socket => f.write_str("local socket"),
        }
    }
}

/// The token in force.
#[derive(Default)]
pub struct Access {
    /// A digest, so that comparing takes the same time whatever is shown.
    token: ArcSwapOption<[u8; 32]>,
}

impl Access {
    /// Accepts `token` from now on, and none before; `None` closes the network to changes.
    pub fn set_token(&self, token: Option<&str>) {
        self.token.store(token.map(|token| Sha256::digest(token).into()).map(std::sync::Arc::new));
    }

    /// Whether a change may be made; the answer to give if not. `authorization` is that header.
    pub(super) fn check(&self, door: Door, authorization: Option<&str>) -> Result<(), Box<Answer>> {
        if door == Door::Socket {
            return Ok(());
        }
        let Some(expected) = self.token.load_full() else {
            return Err(Box::new(error_with_hint(
                StatusCode::FORBIDDEN,
                "this is closed: the proxy has no http.token",
                "set http.token, or http.socket and use --api unix:PATH",
            )));
        };
        let shown = authorization.and_then(|header| header.split_once(' '));
        let token = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
        let Some(token) = token else {
            return Err(Box::new(unauthorized("this needs the token of the proxy")));
        };
        let digest: [u8; 32] = Sha256::digest(token.trim()).into();
        match bool::from(digest.ct_eq(&expected[..])) {
            true => Ok(()),
            false => Err(Box::new(unauthorized("that is not the token of the proxy"))),
        }
    }
}

fn unauthorized(message: &str) -> Answer {
    error_with_hint(
        StatusCode::UNAUTHORIZED,
        message,
        "give it in BELLWETHER_HTTP_TOKEN, by --token, or with the proxy's own file: -c FILE",
    )
}
