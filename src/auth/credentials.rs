//! What we can log in to servers with on behalf of one user, and a shared cell that holds the newest.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::scram::ScramKeys;
use super::verifier::Md5Hash;

/// A password. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Returns the password's bytes, in the client's encoding.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(text.as_bytes().into())
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Secret(bytes.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// All that is known to log in to servers with. Each part answers other requests of a server; a password answers all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The password: from a client that sent it in clear, a verifier file, or the configuration.
    pub password: Option<Secret>,
    /// The md5 hash: answers a server that asks for md5.
    pub md5: Option<Md5Hash>,
    /// SCRAM keys: answer a server that has the same verifier.
    pub scram: Option<ScramKeys>,
}

impl Credentials {
    /// Makes credentials of a password.
    pub fn from_password(password: impl Into<Secret>) -> Self {
        Credentials { password: Some(password.into()), ..Credentials::default() }
    }

    /// Tells whether nothing is known: only a server that trusts us, or our certificate, can be logged in to.
    pub fn is_empty(&self) -> bool {
        *self == Credentials::default()
    }
}

/// The newest credentials of one user, shared by the logins that learn them and the pools that use them.
#[derive(Debug, Default)]
pub struct CredentialCell {
    current: ArcSwap<Credentials>,
    generation: AtomicU64,
}

impl CredentialCell {
    /// Makes a cell; its generation is 0.
    pub fn new(credentials: Credentials) -> Self {
        CredentialCell { current: ArcSwap::from_pointee(credentials), generation: AtomicU64::new(0) }
    }

    /// Takes over what a login has shown, and raises the generation if that is news; returns whether it was.
    ///
    /// Parts that it did not show stay (a client with a certificate shows none), unless its SCRAM verifier is another
    /// than the known one: then the password was changed, and what was known goes.
    pub fn learn(&self, shown: &Credentials) -> bool {
        let known = self.current.load();
        let changed = (shown.password.is_some() && shown.password != known.password)
            || (shown.md5.is_some() && shown.md5 != known.md5)
            || (shown.scram.is_some() && shown.scram != known.scram);
        if changed {
            let rotated = matches!((&shown.scram, &known.scram), (Some(new), Some(old)) if new != old);
            let kept = if rotated { Credentials::default() } else { Credentials::clone(&known) };
            self.replace(Credentials {
                password: shown.password.clone().or(kept.password),
                md5: shown.md5.clone().or(kept.md5),
                scram: shown.scram.clone().or(kept.scram),
            });
        }
        changed
    }

    /// Replaces everything and raises the generation (the password was changed, or the file re-read).
    pub fn replace(&self, credentials: Credentials) {
        self.current.store(Arc::new(credentials));
        // After the store: whoever sees the new number sees the new credentials.
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Returns the newest credentials; no lock, one reference count.
    pub fn load(&self) -> Arc<Credentials> {
        self.current.load_full()
    }

    /// Returns a number that grows with each change; a pool whose login failed tries again once it has grown.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_keeps_what_a_login_does_not_show() {
        let cell = CredentialCell::default();
        assert!(cell.load().is_empty());
        assert!(!cell.learn(&Credentials::default()));
        assert_eq!(cell.generation(), 0);

        assert!(cell.learn(&Credentials::from_password("sesame")));
        assert!(!cell.learn(&Credentials::from_password("sesame")));
        let keys = ScramKeys::derive(b"sesame", b"salt", 1);
        assert!(cell.learn(&Credentials { scram: Some(keys.clone()), ..Credentials::default() }));
        assert_eq!(cell.generation(), 2);
        let known = cell.load();
        assert_eq!(
            (known.password.as_ref(), known.scram.as_ref()),
            (Some(&Secret::from("sesame")), Some(&keys))
        );
        assert!(!format!("{known:?}").contains("sesame"));

        let rotated = ScramKeys::derive(b"two", b"salt", 1);
        assert!(cell.learn(&Credentials { scram: Some(rotated), ..Credentials::default() }));
        assert_eq!(cell.load().password, None);

        cell.replace(Credentials::default());
        assert!(cell.load().is_empty());
        assert_eq!(cell.generation(), 4);
    }
}
