//! Query and Execute: the requests that carry statements out.

use super::environment::changes_parsing;
use super::frontend::{Turn, unparsed};
use super::machine::{Session, matters};
use super::pipeline::{Entry, Internal, Renamed, Request};
use crate::sql::{Classified, Discard, Effects, Hint, NeedsPrimary, Prepared, SessionState, SettingChange};
use crate::wire::frame::Malformed;
use crate::wire::frontend;
use crate::wire::write;

impl Session {
    pub(super) fn query(&mut self, turn: &mut Turn<'_, '_>) {
        // Within a group the helpers' Sync would end what the client has not ended.
        let within = self.group_open && !self.pipeline.ends_round();
        let mut shape = None;
        let class = if turn.is_whole() {
            let class = turn.class.take().unwrap_or_else(|| match frontend::query(turn.body()) {
                Ok(text) => self.classify(text, turn.context),
                // The server refuses it.
                Err(_) => unparsed().into(),
            });
            shape = class.shape();
            self.count_hint(&class);
            if self.refuses_round(&class, turn) {
                return;
            }
            self.before_sequences(&class, turn, within);
            self.note_dropped_database(&class);
            matters(&class).then_some(class)
        } else {
            if let Some(error) = self.unfit_for(Err(NeedsPrimary::Unparsed), turn) {
                return self.refuse_round(turn, error);
            }
            // Too long to be read: it may have changed any setting.
            self.pinned = self.pinned.union(SessionState::UNTRACKED_SETTING);
            Some(unparsed().into())
        };
        let lent = class.as_deref().filter(|_| !within).and_then(|class| self.to_lend(class));
        if let Some(name) = &lent {
            self.lend(name, turn);
            write::sync(turn.out());
            self.push_helper_sync();
        }
        // "A simple Query message also destroys the unnamed statement" (protocol-flow).
        turn.server.unnamed = None;
        let before = self.remove_name(b"").and_then(|removed| removed.before);
        // Noted even if there was none: a group that fails meanwhile may bring an older one back.
        let renamed = Some(Renamed { name: Box::default(), before });
        let holds_back = class.as_deref().is_some_and(|class| self.holds_back(class, &[]));
        let entry = Entry::forward(Request::Query, self.copies_ended);
        let entry = Entry { class, renamed, shape, holds_back, ..entry };
        match entry.class.clone().filter(|class| class.has_own()) {
            Some(class) => self.own_query(turn, &class, entry),
            None => self.send_round(turn, entry),
        }
        if let Some(name) = lent {
            self.lent.push(name);
            self.take_back_lent(turn);
        }
    }

    pub(super) fn execute(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), Malformed> {
        let (portal, _) = frontend::execute(turn.body())?;
        let Some(portal) = self.portals.get(portal).cloned() else {
            self.forward(turn, Request::Execute);
            return Ok(());
        };
        self.lend_to_group(&portal.class, turn);
        self.note_dropped_database(&portal.class);
        let holds_back = self.holds_back(&portal.class, &portal.bound);
        let entry = Entry::forward(Request::Execute, self.copies_ended);
        let own = self.own_portal(&portal.class, turn);
        self.send(turn, Entry { class: Some(portal.class), own, bound: portal.bound, holds_back, ..entry });
        Ok(())
    }

    /// Counts a hint that cannot be followed.
    pub(super) fn count_hint(&mut self, class: &Classified) {
        self.bad_hints += u32::from(class.hint == Some(Hint::Malformed));
    }

    fn note_dropped_database(&mut self, class: &Classified) {
        let dropped = class.statements.iter().find_map(|effects| effects.drops_database.as_ref());
        if let Some(database) = dropped {
            self.drops_database = Some(database.clone());
        }
    }

    /// Lends what `class` speaks of until the end of the group. EXECUTE is looked at by the server when its portal is
    /// made, not only when that is run.
    pub(super) fn lend_to_group(&mut self, class: &Classified, turn: &mut Turn<'_, '_>) {
        if let Some(name) = self.to_lend(class)
            && !self.lent.contains(&name)
        {
            self.lend(&name, turn);
            self.lent.push(name);
        }
    }

    /// Returns the client's name of a prepared statement that `class` speaks of in SQL, where the server has it under
    /// another name.
    fn to_lend(&self, class: &Classified) -> Option<Box<[u8]>> {
        let name = class.statements.iter().find_map(|effects| match &effects.prepared {
            Some(Prepared::Execute(name) | Prepared::Deallocate(name) | Prepared::Prepare(name)) => {
                Some(name.as_bytes())
            }
            _ => None,
        })?;
        (!name.is_empty() && self.statements.get(name).is_some()).then(|| name.into())
    }

    /// Prepares a statement under the client's own name, for SQL that speaks of it by that name.
    fn lend(&mut self, name: &[u8], turn: &mut Turn<'_, '_>) {
        let Some(named) = self.statements.get(name) else { return };
        let types = named.types.as_deref().unwrap_or(&named.statement.types);
        write::parse(turn.out(), name, named.statement.sent(), types);
        self.pipeline.push(Entry::internal(Request::Parse, Internal::Helper));
    }

    /// Closes what was lent, behind the end of the client's group: within it an error would skip the Close.
    pub(super) fn take_back_lent(&mut self, turn: &mut Turn<'_, '_>) {
        if self.lent.is_empty() {
            return;
        }
        for name in std::mem::take(&mut self.lent) {
            write::close_statement(turn.out(), &name);
            self.pipeline.push(Entry::internal(Request::Close, Internal::Helper));
        }
        write::sync(turn.out());
        self.push_helper_sync();
    }

    fn push_helper_sync(&mut self) {
        // Counted like the client's own, so that it is not taken for one that fell into a COPY.
        let copies_ended = self.copies_ended;
        self.pipeline.push(Entry { copies_ended, ..Entry::internal(Request::Sync, Internal::Helper) });
    }

    /// Tells whether executing `class` changes what names or texts mean, so that no request behind it can be
    /// understood before it is complete.
    fn holds_back(&self, class: &Classified, bound: &[SettingChange]) -> bool {
        class.statements.iter().any(|effects| self.effects_hold_back(effects))
            || bound.iter().any(|change| self.change_holds_back(change))
    }

    fn effects_hold_back(&self, effects: &Effects) -> bool {
        let names = matches!(
            effects.prepared,
            Some(Prepared::Prepare(_) | Prepared::Deallocate(_) | Prepared::DeallocateAll)
        );
        names
            || effects.discard == Some(Discard::All)
            || effects.settings.iter().any(|change| self.change_holds_back(change))
    }

    fn change_holds_back(&self, change: &SettingChange) -> bool {
        match change {
            SettingChange::Set { name, .. } => changes_parsing(name),
            // A startup value must be set again before anything else runs.
            SettingChange::Reset { name, .. } => {
                changes_parsing(name) || self.parameters.startup().get(name).is_some()
            }
            SettingChange::ResetAll => true,
            SettingChange::SetFromBind { name, .. } => {
                name.as_ref().map_or(true, |name| changes_parsing(name))
            }
        }
    }
}
