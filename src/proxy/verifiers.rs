//! What a login is checked against: from the verifier file, else asked of the primary and kept for a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::ask::{self, AskError};
use super::state::Shared;
use crate::auth::Verifier;
use crate::pg::SqlState;
use crate::pool::{Home, Patience};
use crate::wire::error_response::PgError;

/// How long an answer is used without asking again: spares the primary in a storm of logins, and is too short
/// for anyone to notice after a change of password.
const FRESH: Duration = Duration::from_secs(1);

/// How long an answer is used while the primary cannot be asked, so that reads can go on through a failover.
const USABLE: Duration = Duration::from_secs(3600);

/// Most users remembered; names come from strangers.
const MAX_REMEMBERED: usize = 10_000;

/// How long the primary may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The verifiers asked for so far.
#[derive(Debug, Default)]
pub struct Verifiers {
    known: Mutex<HashMap<Arc<str>, Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    login: Login,
    asked_at: Instant,
}

/// What the primary knows of a user's login.
#[derive(Clone, Debug)]
pub(super) struct Login {
    /// What a password is checked against; `None` when no password lets the user in.
    pub verifier: Option<Verifier>,
    /// Whether the role has LOGIN. Who has proved to be a user without it is told so, and nobody else.
    pub permitted: bool,
}

impl Login {
    fn of(verifier: Option<Verifier>) -> Self {
        Login { verifier, permitted: true }
    }
}

impl Shared {
    /// Returns what `user`'s login is checked against.
    pub(super) async fn login_of(&self, user: &str, home: Home) -> Result<Login, PgError> {
        let settings = self.settings.load();
        if let Some(listed) = settings.verifier_file.get(user) {
            return Ok(Login::of(listed.cloned()));
        }
        let known = self.verifiers.get(user);
        let usable = |limit| known.as_ref().filter(|known| known.asked_at.elapsed() < limit);
        if let Some(fresh) = usable(FRESH) {
            return Ok(fresh.login.clone());
        }
        match self.ask_for_login(user, home, &settings.auth_query).await {
            Ok(login) => {
                self.verifiers.put(user, &login);
                Ok(login)
            }
            Err(error) => match usable(USABLE) {
                Some(stale) => Ok(stale.login.clone()),
                None => {
                    tracing::warn!(event = "auth.query_failed", %error, "cannot check logins");
                    let message = "cannot check the password: no server answers";
                    Err(PgError::fatal(SqlState::CANNOT_CONNECT_NOW, message))
                }
            },
        }
    }

    /// Forgets what is known of `user`, after a login that failed.
    pub(super) fn forget_verifier(&self, user: &str) {
        self.verifiers.known.lock().expect("no panic happens under this lock").remove(user);
    }

    async fn ask_for_login(&self, user: &str, home: Home, query: &str) -> Result<Login, String> {
        // While there is no primary a standby knows as well.
        let snapshot = self.snapshot();
        let node = snapshot.primary.or_else(|| snapshot.readable_standbys().next().map(|view| view.node.id));
        let node = node.ok_or("no server is known")?;
        drop(snapshot);
        let pool = self.registry.pool(node, &self.cluster);
        let checkout = tokio::time::timeout(PATIENCE, pool.checkout(home, Patience::FailFast)).await;
        let mut server = checkout.map_err(|_| "no server in time")?.map_err(|error| error.to_string())?;
        let sql = guarded(&query.replace("$1", &quoted(user)));
        match ask::ask(&mut server, &sql, PATIENCE).await {
            Ok(rows) => {
                server.release();
                Ok(rows.first().map_or(Login::of(None), |row| read_row(row)))
            }
            Err(AskError::Refused(error)) => {
                server.release();
                Err(error.to_string())
            }
            Err(failed) => Err(failed.to_string()),
        }
    }
}

/// Reads a row: name and verifier, as `PgBouncer`'s `auth_query` returns them, or the verifier alone. A third column
/// tells whether the role may log in.
fn read_row(row: &[Option<String>]) -> Login {
    let verifier = row.get(1).or(row.first()).and_then(Option::as_deref);
    let permitted = row.get(2).is_none_or(|permitted| permitted.as_deref() == Some("t"));
    Login { verifier: verifier.and_then(Verifier::from_rolpassword), permitted }
}

/// Runs `query` where nothing that the login's own settings name comes before the system catalogs.
fn guarded(query: &str) -> String {
    format!("BEGIN READ ONLY;SET LOCAL search_path = pg_catalog;{query};COMMIT")
}

fn quoted(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

impl Verifiers {
    fn get(&self, user: &str) -> Option<Known> {
        self.known.lock().expect("no panic happens under this lock").get(user).cloned()
    }

    fn put(&self, user: &str, login: &Login) {
        let mut known = self.known.lock().expect("no panic happens under this lock");
        if known.len() >= MAX_REMEMBERED {
            known.retain(|_, entry| entry.asked_at.elapsed() < FRESH);
            if known.len() >= MAX_REMEMBERED {
                return;
            }
        }
        known.insert(user.into(), Known { login: login.clone(), asked_at: Instant::now() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_whatever_they_hold() {
        assert_eq!(quoted(r"o'b\c"), r"E'o''b\\c'");
    }

    #[test]
    fn the_verifier_stands_alone_or_behind_the_name() {
        let verifier = Some("md5abcdefabcdefabcdefabcdefabcdefab".to_owned());
        let name = Some("ann".to_owned());
        assert!(read_row(std::slice::from_ref(&verifier)).verifier.is_some());
        assert!(read_row(&[name.clone(), verifier.clone()]).verifier.is_some());
        assert!(read_row(&[name.clone(), None]).verifier.is_none());
        assert!(read_row(&[None]).verifier.is_none());
        assert!(read_row(&[]).verifier.is_none());
        let permitted =
            |told: &str| read_row(&[name.clone(), verifier.clone(), Some(told.to_owned())]).permitted;
        assert!(read_row(&[name.clone(), verifier.clone()]).permitted);
        assert!(permitted("t") && !permitted("f"));
    }
}
