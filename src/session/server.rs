//! What the session on one server connection looks like: carried by the pool, read and changed by the machine.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::parameters::{self, Parameters, Settings};
use super::pipeline::Pipeline;
use super::placeholders::Placeholders;
use super::reported::Reported;
use super::sequences::Memory;
use super::shapes::Shape;
use super::statements::Statement;
use crate::sql::Lookups;

/// State of one server's session that outlives a checkout.
#[derive(Debug)]
pub struct ServerState {
    /// Settings that differ from those after connecting.
    pub(super) applied: Arc<Settings>,
    /// What sessions have made up there.
    pub(super) placeholders: Placeholders,
    /// What the server last reported.
    pub(super) reported: Reported,
    /// Shared statements prepared there.
    pub(super) prepared: ServerStatements,
    /// The shared statement that is its unnamed one, if it is one of ours, and the schema generation when it was parsed.
    pub(super) unnamed: Option<(Arc<Statement>, u64)>,
    /// The session in which code ran that may have changed settings unseen (a function's body).
    pub(super) unseen: Option<Arc<()>>,
    /// Whose sequence values it remembers.
    pub(super) sequences: Memory,
    /// It was asked something after which it may not be as it says.
    pub(super) spoiled: bool,
    /// For whoever has it: clients are many, and the server used last is used next.
    pub(super) workspace: Workspace,
}

/// Memory that a session needs while it has a server.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    pub pipeline: Pipeline,
    pub replay: Vec<u8>,
}

impl ServerState {
    /// Starts from the parameters the server reported when it was connected (ParameterStatus).
    pub fn new(reported: Vec<(Box<str>, Box<str>)>) -> Self {
        ServerState {
            applied: Arc::default(),
            placeholders: Placeholders::default(),
            reported: Reported::new(reported),
            prepared: ServerStatements::default(),
            unnamed: None,
            unseen: None,
            sequences: Memory::default(),
            spoiled: false,
            workspace: Workspace::default(),
        }
    }

    /// Tells whether nobody else should get it: a Query or FunctionCall within a group that no Sync had ended. PostgreSQL 18 says
    /// that it is ready after one, and may answer whatever comes next with `XX000` (StartTransactionCommand).
    pub fn is_spoiled(&self) -> bool {
        self.spoiled
    }

    /// Returns what the server last reported of parameter `name`.
    pub fn reported(&self, name: &str) -> Option<&str> {
        self.reported.get(name)
    }

    /// Returns everything the server last reported.
    pub fn all_reported(&self) -> &Reported {
        &self.reported
    }

    /// Notes a ParameterStatus that came while nobody had the server.
    pub fn note_reported(&mut self, name: &str, value: &str) {
        self.reported.set(name, value);
    }

    /// Takes the count of prepared statements that were there when needed, and that were not.
    pub fn take_lookups(&mut self) -> Lookups {
        std::mem::take(&mut self.prepared.found)
    }

    /// Returns the SQL that brings it to where a session is with its settings; `None` when nothing is to be done.
    pub(super) fn bring_to(&mut self, session: &Parameters, identity: &Arc<()>) -> Option<String> {
        let wanted = session.current();
        let made = session.placeholders.sql(&self.placeholders, wanted);
        if made.is_empty() && self.is_at_settings(wanted, identity) {
            return None;
        }
        match self.sync_sql(wanted, identity) {
            None if made.is_empty() => {
                self.applied = wanted.clone();
                None
            }
            sql => Some(made + &sql.unwrap_or_default()),
        }
    }

    /// Returns the SQL that brings it to `wanted` for the session `session`; `None` when nothing is to be done. Where
    /// another session may have changed settings unseen, all are reset first.
    pub(super) fn sync_sql(&mut self, wanted: &Settings, session: &Arc<()>) -> Option<String> {
        if self.unseen.as_ref().is_none_or(|unseen| Arc::ptr_eq(unseen, session)) {
            return parameters::sync_sql(&self.applied, wanted);
        }
        self.unseen = None;
        let all = parameters::sync_sql(&Settings::default(), wanted).unwrap_or_default();
        Some(format!("RESET ROLE;RESET SESSION AUTHORIZATION;RESET ALL;{all}"))
    }

    /// Tells whether it has the settings `wanted`, for the session `session`.
    fn is_at_settings(&self, wanted: &Arc<Settings>, session: &Arc<()>) -> bool {
        parameters::same(&self.applied, wanted)
            && self.unseen.as_ref().is_none_or(|unseen| Arc::ptr_eq(unseen, session))
    }

    /// Tells whether this is the server that [`Session::sequence_home`](super::Session::sequence_home) names.
    pub fn is_at(&self, place: &Arc<()>) -> bool {
        self.sequences.is_at(place)
    }

    /// Returns how many statements are prepared on the server.
    pub fn prepared_count(&self) -> usize {
        self.prepared.by_id.len()
    }
}

/// The shared statements prepared on one server, least recently used first out.
#[derive(Debug, Default)]
pub(super) struct ServerStatements {
    by_id: HashMap<u64, OnServer, RandomState>,
    uses: u64,
    found: Lookups,
}

#[derive(Debug)]
struct OnServer {
    /// Kept so that the name stays taken as long as the server has it.
    statement: Arc<Statement>,
    /// Schema generation when the server parsed it.
    generation: u64,
    /// To be closed and parsed again before its next use, whatever the generation. It may not be there at all.
    outdated: bool,
    /// The round of the session in which it was sent, until the server has confirmed it.
    unconfirmed: Option<u64>,
    /// Tells the last Parse or Close sent for it from those before.
    sent: u64,
    /// What rows it returns as parsed there, once that was asked.
    shape: Option<Shape>,
    /// The same of the types of its parameters.
    types: Option<Arc<[u8]>>,
    last_use: u64,
}

/// A Parse or Close of a shared statement, as it stands in the queue of requests.
#[derive(Debug)]
pub(super) struct Sent {
    statement: Arc<Statement>,
    sent: u64,
}

impl ServerStatements {
    /// Tells whether the server has `statement`, parsed at `generation` or later, and counts a use. What an earlier
    /// round than `round` was to prepare is not there if that round fails.
    pub fn touch(&mut self, statement: &Statement, generation: u64, round: u64) -> Presence {
        self.uses += 1;
        match self.by_id.get_mut(&statement.id) {
            Some(known)
                if known.generation >= generation
                    && !known.outdated
                    && known.unconfirmed.is_none_or(|sent| sent == round) =>
            {
                known.last_use = self.uses;
                self.found.hits += 1;
                Presence::Current
            }
            Some(_) => self.missed(Presence::Outdated),
            None => self.missed(Presence::Absent),
        }
    }

    fn missed(&mut self, presence: Presence) -> Presence {
        self.found.misses += 1;
        presence
    }

    /// Notes that the server is sent a Parse of `statement` in `round`.
    pub fn insert(&mut self, statement: Arc<Statement>, generation: u64, round: u64) -> Sent {
        let sent = self.send(statement);
        let (last_use, unconfirmed, statement) = (sent.sent, Some(round), sent.statement.clone());
        let known = OnServer {
            statement,
            generation,
            outdated: false,
            unconfirmed,
            sent: last_use,
            shape: None,
            types: None,
            last_use,
        };
        self.by_id.insert(known.statement.id, known);
        sent
    }

    /// Notes that the server is sent a Close of `statement`.
    pub fn send(&mut self, statement: Arc<Statement>) -> Sent {
        self.uses += 1;
        Sent { statement, sent: self.uses }
    }

    /// Returns what rows `statement` returns as parsed on the server at `generation` or later; `None` when that is not
    /// known.
    pub fn shape(&self, statement: &Statement, generation: u64) -> Option<Shape> {
        self.current(statement, generation)?.shape
    }

    /// Returns what types the parameters of `statement` have as parsed on the server at `generation` or later: `None`
    /// when it was not, `Some(None)` when that is not known.
    pub fn types(&self, statement: &Statement, generation: u64) -> Option<Option<&[u8]>> {
        self.current(statement, generation).map(|known| known.types.as_deref())
    }

    fn current(&self, statement: &Statement, generation: u64) -> Option<&OnServer> {
        self.by_id.get(&statement.id).filter(|known| !known.outdated && known.generation >= generation)
    }

    /// Returns what tells the present copy of `id` from others before and after it.
    pub fn copy(&self, id: u64) -> Option<u64> {
        self.by_id.get(&id).map(|known| known.sent)
    }

    /// Notes what rows `id` returns, if the server's copy is still `copy`.
    pub fn set_shape(&mut self, id: u64, copy: Option<u64>, shape: Shape) {
        if let Some(known) = self.by_id.get_mut(&id)
            && Some(known.sent) == copy
        {
            known.shape = Some(shape);
        }
    }

    /// Notes what types the parameters of `id` have, if the server's copy is still `copy`.
    pub fn set_types(&mut self, id: u64, copy: Option<u64>, types: &Arc<[u8]>) {
        if let Some(known) = self.by_id.get_mut(&id)
            && Some(known.sent) == copy
        {
            known.types = Some(types.clone());
        }
    }

    /// Notes that the server has carried out the Parse `done`, outside a transaction if `lasting`.
    pub fn confirm(&mut self, done: &Sent, lasting: bool) {
        if let Some(known) = self.by_id.get_mut(&done.statement.id)
            && known.sent == done.sent
        {
            known.unconfirmed = None;
            if lasting {
                known.statement.note_sound(known.generation);
            }
        }
    }

    /// Notes that the Parse or Close `undone` was not carried out, so that the server may have the statement or not.
    pub fn doubt(&mut self, undone: Sent) {
        let Sent { statement, sent } = undone;
        match self.by_id.get_mut(&statement.id) {
            // What was sent later decides, and begins with a Close.
            Some(known) if known.sent > sent => {}
            Some(known) => known.outdated = true,
            None => {
                let known = OnServer {
                    statement,
                    generation: 0,
                    outdated: true,
                    unconfirmed: None,
                    sent,
                    shape: None,
                    types: None,
                    last_use: sent,
                };
                self.by_id.insert(known.statement.id, known);
            }
        }
    }

    /// Notes that the server does not have it, or that it is to be closed.
    pub fn remove(&mut self, id: u64) -> Option<Arc<Statement>> {
        self.by_id.remove(&id).map(|known| known.statement)
    }

    /// Removes the statement used longest ago, if there are `limit` of them already.
    pub fn make_room(&mut self, limit: usize) -> Option<Arc<Statement>> {
        if self.by_id.len() < limit {
            return None;
        }
        let oldest = self.by_id.iter().min_by_key(|(_, known)| known.last_use).map(|(id, _)| *id)?;
        self.remove(oldest)
    }

    /// Notes that the plans may be out of date: each is parsed again at its next use.
    pub fn outdate(&mut self) {
        for known in self.by_id.values_mut() {
            known.outdated = true;
        }
    }

    /// Notes DEALLOCATE ALL.
    pub fn clear(&mut self) {
        self.by_id.clear();
    }
}

/// Whether a server has a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It has.
    Current,
    /// It has one parsed before the schema changed: close it and parse again.
    Outdated,
    /// It has not.
    Absent,
}

#[cfg(test)]
mod tests {
    use super::super::statements::StatementTable;
    use super::*;
    use crate::sql::Classified;

    #[test]
    fn the_statement_used_longest_ago_makes_room() {
        let class = || Arc::new(Classified::nothing());
        let mut table = StatementTable::new(0);
        let [a, b, c] = [b"a", b"b", b"c"].map(|text| table.intern(text, b"", 0, class));
        let mut server = ServerStatements::default();
        let sent = server.insert(a.clone(), 1, 7);
        server.insert(b.clone(), 1, 7);
        assert_eq!(server.touch(&a, 1, 7), Presence::Current);
        assert_eq!(server.touch(&a, 1, 8), Presence::Outdated);
        server.confirm(&sent, true);
        assert_eq!(server.touch(&a, 1, 8), Presence::Current);
        assert_eq!(server.touch(&a, 2, 8), Presence::Outdated);
        assert_eq!(server.touch(&c, 0, 8), Presence::Absent);
        assert!(server.make_room(3).is_none());
        assert_eq!(server.make_room(2).map(|gone| gone.id), Some(b.id));
        assert_eq!(server.touch(&b, 1, 8), Presence::Absent);
        server.outdate();
        assert_eq!(server.touch(&a, 0, 8), Presence::Outdated);
        let again = server.insert(a.clone(), 0, 8);
        server.doubt(sent);
        assert_eq!(server.touch(&a, 0, 8), Presence::Current);
        server.doubt(again);
        assert_eq!(server.touch(&a, 0, 8), Presence::Outdated);
    }
}
