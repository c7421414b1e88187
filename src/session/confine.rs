//! What a session on a standby may not do there, although its first statement brought it there.
//!
//! A transaction stays where it is, and so does a session with something left on its server. What the primary would
//! answer differently is then refused, never answered wrongly in silence. What fails on the primary too, as writes of a
//! READ ONLY transaction do, is left to the standby to refuse.

use super::frontend::Turn;
use super::machine::{Context, Session};
use super::pins;
use crate::pg::SqlState;
use crate::routing::{Reason, Target};
use crate::sql::{Classified, NeedsPrimary, Prepared};
use crate::wire::backend::TransactionStatus;
use crate::wire::error_response::PgError;

impl Session {
    /// Returns what the catalog says of `class` within a READ ONLY transaction. EXECUTE of a statement that the protocol
    /// prepared is judged by that.
    pub(super) fn judge_within(
        &mut self,
        class: &Classified,
        context: &mut Context<'_>,
    ) -> Result<(), NeedsPrimary> {
        let path = self.search_path(context);
        class.judge_within(context.catalog, &path)?;
        for effects in &class.statements {
            let Some(Prepared::Execute(name)) = &effects.prepared else { continue };
            if let Some(named) = self.statements.get(name.as_bytes()) {
                named.statement.class.judge_within(context.catalog, &path)?;
            }
        }
        Ok(())
    }

    /// Returns the same for what decides where a READ ONLY transaction is. What comes later in it has to be judged too: on a
    /// standby all of that would be refused for as long as there is no catalog.
    pub(super) fn judge_block(
        &mut self,
        class: &Classified,
        context: &mut Context<'_>,
    ) -> Result<(), NeedsPrimary> {
        let known = if context.catalog.is_some() { Ok(()) } else { Err(NeedsPrimary::NoCatalog) };
        self.judge_within(class, context).and(known)
    }

    /// Tells whether proof, and no wish of the client, has brought the session to a standby that it may not leave now.
    fn is_confined(&self, turn: &Turn<'_, '_>) -> bool {
        let stays = match self.status {
            TransactionStatus::Idle => !self.pinned.is_empty(),
            TransactionStatus::InTransaction => true,
            TransactionStatus::Failed => false,
        };
        let proven = self.routed.is_some_and(|need| need.target == Target::Standby && !need.reason.is_wish());
        // Older servers do not say what they are.
        stays && proven && turn.server.reported("in_hot_standby") != Some("off")
    }

    /// Tells whether `class` would be refused for want of a catalog alone. One is about to come if the schema has just
    /// changed, so it is waited for, once.
    pub(super) fn lacks_catalog(&mut self, class: &Classified, turn: &mut Turn<'_, '_>) -> bool {
        let lacks = turn.context.catalog.is_none()
            && self.is_confined(turn)
            && self.judge_within(class, turn.context) == Err(NeedsPrimary::NoCatalog);
        self.catalog_asked = lacks && !self.catalog_asked;
        self.catalog_asked
    }

    /// Returns why `class` is refused on the standby where the session is, if it is.
    pub(super) fn unfit(&mut self, class: &Classified, turn: &mut Turn<'_, '_>) -> Option<PgError> {
        if !self.is_confined(turn) {
            return None;
        }
        let judged = self.judge_within(class, turn.context);
        self.unfit_for(judged, turn)
    }

    /// The same for a request of which no more is known than what speaks against it.
    pub(super) fn unfit_for(
        &mut self,
        judged: Result<(), NeedsPrimary>,
        turn: &Turn<'_, '_>,
    ) -> Option<PgError> {
        let needs = judged.err().filter(|_| self.is_confined(turn))?;
        let idle = self.status == TransactionStatus::Idle;
        let fails_anyway = matches!(needs, NeedsPrimary::Writes | NeedsPrimary::Locks | NeedsPrimary::Into);
        if fails_anyway && !idle {
            return None;
        }
        self.refused_on_standby += 1;
        let detail = Reason::Statement(needs).sentence();
        Some(if idle {
            let left: Vec<&str> = pins::names(self.pinned).collect();
            let message =
                format!("this session is kept on a standby by what it has left there ({})", left.join(", "));
            PgError::error(SqlState::READ_ONLY_SQL_TRANSACTION, message)
                .detail(detail)
                .hint("Remove what it has left (DEALLOCATE, CLOSE), or SET bellwether.route = 'primary' before it is made.")
        } else {
            let message = "a READ ONLY transaction on a standby cannot do what needs the primary";
            PgError::error(SqlState::READ_ONLY_SQL_TRANSACTION, message).detail(detail).hint(
                "Put /* bellwether: primary */ in front of its BEGIN, or SET LOCAL bellwether.route = 'primary' right behind it.",
            )
        })
    }
}
