//! As whom a server connection is logged in, and to which database.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::auth::CredentialCell;

/// Database, user, and what is known to log in with. Made by [`Registry::identity`](super::Registry::identity), so
/// that there is one cell of credentials for each user.
pub struct Identity {
    database: Arc<str>,
    user: Arc<str>,
    credentials: Arc<CredentialCell>,
    /// Its sessions ask for the present value of sequences.
    keeps_sequences: AtomicBool,
}

impl Identity {
    /// Tells whether a session ever asked for the present value of a sequence (`currval()`, `lastval()`).
    pub fn keeps_sequences(&self) -> bool {
        self.keeps_sequences.load(Ordering::Relaxed)
    }

    /// Notes that one did.
    pub fn note_sequences(&self) {
        self.keeps_sequences.store(true, Ordering::Relaxed);
    }

    /// Returns the database's name.
    pub fn database(&self) -> &Arc<str> {
        &self.database
    }

    /// Returns the user's name.
    pub fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// Returns the cell that logins put their credentials in and new server connections take them from.
    pub fn credentials(&self) -> &Arc<CredentialCell> {
        &self.credentials
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("database", &self.database).field("user", &self.user).finish()
    }
}

/// The identities in use. One that nobody uses any more is forgotten, and its credentials with it.
#[derive(Default)]
pub(super) struct Identities {
    identities: BTreeMap<(Arc<str>, Arc<str>), Weak<Identity>>,
    cells: BTreeMap<Arc<str>, Weak<CredentialCell>>,
    /// Number of identities at which the forgotten ones are swept out.
    sweep_at: usize,
}

impl Identities {
    /// Returns the identity of `user` in `database`, made at need.
    pub fn get(&mut self, database: &str, user: &str) -> Arc<Identity> {
        let (database, user): (Arc<str>, Arc<str>) = (database.into(), user.into());
        let key = (database.clone(), user.clone());
        if let Some(known) = self.identities.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        self.sweep();
        let credentials = self.cells.get(&user).and_then(Weak::upgrade).unwrap_or_default();
        self.cells.insert(user.clone(), Arc::downgrade(&credentials));
        let identity =
            Arc::new(Identity { database, user, credentials, keeps_sequences: AtomicBool::new(false) });
        self.identities.insert(key, Arc::downgrade(&identity));
        identity
    }

    fn sweep(&mut self) {
        if self.identities.len() >= self.sweep_at {
            self.identities.retain(|_, identity| identity.strong_count() > 0);
            self.cells.retain(|_, cell| cell.strong_count() > 0);
            self.sweep_at = 2 * self.identities.len() + 64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_identity_a_pair_and_one_cell_a_user() {
        let mut identities = Identities::default();
        let (a, b) = (identities.get("x", "ann"), identities.get("y", "ann"));
        assert!(Arc::ptr_eq(&a, &identities.get("x", "ann")));
        assert!(Arc::ptr_eq(a.credentials(), b.credentials()));
        assert!(!Arc::ptr_eq(a.credentials(), identities.get("x", "bob").credentials()));
        for index in 0..1000 {
            identities.get(&format!("db{index}"), "ann");
        }
        assert!(identities.identities.len() < 200);
    }
}
