//! Answers of the proxy's own: SET, SHOW and RESET of its settings, and EXPLAIN ROUTE.
//!
//! With no server attached they are given at once. In a transaction or a group the server is sent something harmless
//! in place of each such statement, so that it refuses what it must refuse and answers in turn; its rows are exchanged
//! for ours.

use std::sync::Arc;

use super::frontend::Turn;
use super::machine::{Context, FrontendStep, PoolMode, Session};
use super::outbox::Outbox;
use super::pipeline::Entry;
use super::substitute::{self, Work};
use crate::pg::SqlState;
use crate::routing::{Explanation, Need, OwnSetting, Reason, Target};
use crate::sql::{Classified, Effects, NeedsPrimary};
use crate::wire::backend::TransactionStatus;
use crate::wire::error_response::{PgError, Severity};
use crate::wire::frame::{HEAD, Head};
use crate::wire::frontend::{self, tag};
use crate::wire::{backend, write};

/// What the session must be told before it can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Where the session stands, as `SHOW bellwether.token` prints it.
    Token,
    /// The name of the node that would be chosen now; on lines of their own, what freshness has to do with it.
    Node(Need),
    /// Nothing but to wait a moment for a catalog of the present: without one the request would be refused on its standby.
    Catalog,
}

/// What the answer to a request of the proxy's own is made of.
#[derive(Debug)]
pub(super) struct OwnAnswer {
    pub class: Arc<Classified>,
    /// What the shell said.
    told: Option<Box<str>>,
    /// The lines of EXPLAIN ROUTE.
    lines: Vec<(&'static str, String)>,
}

impl OwnAnswer {
    /// Returns why statement number `place` is refused, if it is.
    pub fn refusal(&self, place: usize) -> Option<PgError> {
        let own = self.class.statements.get(place)?.own.as_ref()?;
        substitute::work(&own.act).err()
    }

    fn work(&self, place: usize) -> Option<Work<'_>> {
        self.class.statements.get(place).and_then(work_of)
    }
}

fn work_of(effects: &Effects) -> Option<Work<'_>> {
    effects.own.as_ref().and_then(|own| substitute::work(&own.act).ok())
}

impl Session {
    /// Takes the shell's answer to the question of a [`FrontendStep::Ask`]; there is none to [`Question::Catalog`].
    pub fn tell(&mut self, answer: &str) {
        self.heard = Some(answer.into());
    }

    /// Answers the Query at the start of `input`, if no server needs to see it; returns its length.
    pub(super) fn query_alone(
        &mut self,
        head: Head,
        input: &[u8],
        context: &mut Context<'_>,
        to_client: &mut Outbox,
    ) -> Result<usize, FrontendStep> {
        let Ok(text) = frontend::query(&input[HEAD..head.total]) else { return Ok(0) };
        let class = self.classify(text, context);
        if let Some(question) = self.question(&class, context) {
            return Err(FrontendStep::Ask(question));
        }
        self.count_hint(&class);
        let answer = self.own_answer(class.clone(), context);
        let out = to_client.write(&[]);
        for (place, effects) in class.statements.iter().enumerate() {
            let Some(own) = &effects.own else { continue };
            match substitute::work(&own.act) {
                Ok(work) => self.carry_out(&work, place, &answer, out),
                Err(error) => {
                    self.parameters.own.rollback();
                    self.fail_held();
                    error.write(out);
                    break;
                }
            }
        }
        if self.status == TransactionStatus::Idle {
            self.parameters.own.commit();
        }
        self.remove_name(b"");
        write::ready_for_query(out, self.status.byte());
        Ok(head.total)
    }

    /// Tells whether a Query for which there is no server may be answered without one.
    pub(super) fn may_answer_alone(&self) -> bool {
        let settled = self.pipeline.is_empty() && !self.group_open && !self.unsettled;
        settled && !self.attached && self.status != TransactionStatus::Failed
    }

    /// Writes the whole answer to one statement.
    fn carry_out(&mut self, work: &Work<'_>, place: usize, answer: &OwnAnswer, out: &mut Vec<u8>) {
        self.follow_own(work);
        match work {
            Work::Change { local, column: None, .. } => {
                if *local && answer.class.statements.len() == 1 && !self.holds() {
                    set_local_outside().write_notice(out);
                }
            }
            Work::Change { column: Some(column), .. } => write::text_row_description(out, &[column]),
            Work::Show(setting) => write::text_row_description(out, &[setting.name()]),
            Work::ExplainRoute(_) => write::text_row_description(out, &substitute::EXPLAIN_COLUMNS),
        }
        if substitute::has_rows(work) {
            self.write_rows(place, answer, out);
        }
        write::command_complete(out, work.tag());
    }

    fn write_rows(&self, place: usize, answer: &OwnAnswer, out: &mut Vec<u8>) {
        match answer.work(place) {
            Some(Work::Show(OwnSetting::Token)) => {
                write::text_row(out, [Some(answer.told.as_deref().unwrap_or_default())].into_iter());
            }
            Some(Work::Show(setting) | Work::Change { setting, .. }) => {
                write::text_row(out, [Some(&*self.wishes().show(setting))].into_iter());
            }
            Some(Work::ExplainRoute(_)) => {
                for (about, line) in &answer.lines {
                    write::text_row(out, [Some(*about), Some(&**line)].into_iter());
                }
            }
            None => {}
        }
    }

    /// Follows what a completed statement did.
    pub(super) fn follow_own(&mut self, work: &Work<'_>) {
        if let Work::Change { setting, value, local, .. } = work {
            self.parameters.own.change(*setting, *value, *local);
        }
    }

    /// Follows the statement of `effects`, which the server completed in its place.
    pub(super) fn followed_own(&mut self, effects: &Effects) {
        if let Some(work) = work_of(effects) {
            self.follow_own(&work);
        }
    }

    /// Tells what must be known before `class` is answered; `None` when nothing, or when it is known.
    fn question(&mut self, class: &Classified, context: &mut Context<'_>) -> Option<Question> {
        if self.heard.is_some() {
            return None;
        }
        class.statements.iter().filter_map(work_of).find_map(|work| match work {
            Work::Show(OwnSetting::Token) => Some(Question::Token),
            Work::ExplainRoute(sql) => Some(Question::Node(self.explanation(sql, context).need)),
            _ => None,
        })
    }

    /// Looks whether the request at hand needs an answer of the shell first. What a Query is stays with the turn.
    pub(super) fn must_ask_shell(&mut self, turn: &mut Turn<'_, '_>) -> Option<FrontendStep> {
        let lacks_catalog = turn.context.catalog.is_none();
        self.catalog_asked &= lacks_catalog;
        let class = match turn.head.tag {
            tag::QUERY if turn.is_whole() => {
                let class = self.classify(frontend::query(turn.body()).ok()?, turn.context);
                turn.class.insert(class).clone()
            }
            tag::BIND if lacks_catalog => {
                let statement = frontend::bind(turn.body()).ok()?.statement;
                let class = self.statements.get(statement)?.statement.class.clone();
                return self.lacks_catalog(&class, turn).then_some(FrontendStep::Ask(Question::Catalog));
            }
            tag::EXECUTE => {
                let (portal, _) = frontend::execute(turn.body()).ok()?;
                self.portals.get(portal)?.class.clone()
            }
            _ => return None,
        };
        if turn.head.tag == tag::QUERY && self.lacks_catalog(&class, turn) {
            return Some(FrontendStep::Ask(Question::Catalog));
        }
        if !class.has_own() {
            return None;
        }
        let question = self.question(&class, turn.context)?;
        // What was asked before must be done: it may have written.
        Some(if self.rounds_open() { FrontendStep::Busy } else { FrontendStep::Ask(question) })
    }

    /// Makes what `class` is answered with.
    pub(super) fn own_answer(&mut self, class: Arc<Classified>, context: &mut Context<'_>) -> OwnAnswer {
        let told = self.heard.take();
        let explained = class.statements.iter().filter_map(work_of).find_map(|work| match work {
            Work::ExplainRoute(sql) => Some(sql),
            _ => None,
        });
        let lines = explained.map_or(Vec::new(), |sql| {
            let mut told = told.as_deref().into_iter().flat_map(str::lines);
            let mut lines = self.explanation(sql, context).lines(told.next());
            lines.extend(told.map(|line| ("freshness", line.to_owned())));
            lines.extend(self.facts());
            lines
        });
        OwnAnswer { class, told, lines }
    }

    /// Exchanges what the server answers to the head of the queue, a request of the proxy's own, for our answer;
    /// returns whether it did.
    pub(super) fn exchange(&mut self, kind: u8, body: &[u8], input: &[u8], to_client: &mut Outbox) -> bool {
        let length = to_client.len();
        let out = to_client.write(input);
        let Some(head) = self.pipeline.head() else { return false };
        let Some(answer) = head.own.take() else { return false };
        let place = head.completed;
        let exchanged = match (kind, answer.work(place)) {
            (backend::tag::DATA_ROW, Some(work)) if substitute::has_rows(&work) => {
                self.write_rows(place, &answer, out);
                true
            }
            (backend::tag::ROW_DESCRIPTION, Some(Work::Show(setting))) => {
                rename_column(body, setting.name(), out)
            }
            (backend::tag::COMMAND_COMPLETE, Some(work)) => {
                write::command_complete(out, work.tag());
                true
            }
            _ => false,
        };
        // Nothing that is written to a client asks a server, so the head is still the same.
        if let Some(head) = self.pipeline.head() {
            head.own = Some(answer);
        }
        if exchanged {
            self.only_fabricated = false;
            self.replay.answered(length);
        }
        exchanged
    }

    /// Sends a Query with the proxy's own statements exchanged for harmless ones.
    pub(super) fn own_query(&mut self, turn: &mut Turn<'_, '_>, class: &Arc<Classified>, entry: Entry) {
        let text = frontend::query(turn.body()).unwrap_or_default();
        write::query(turn.out(), &substitute::sql(text, class));
        let own = Some(Box::new(self.own_answer(class.clone(), turn.context)));
        self.pipeline.push(Entry { own, round: self.round, ..entry });
        self.round += 1;
    }

    /// Returns what the answer to an Execute or Describe is made of, if its statement is the proxy's own.
    pub(super) fn own_portal(
        &mut self,
        class: &Arc<Classified>,
        turn: &mut Turn<'_, '_>,
    ) -> Option<Box<OwnAnswer>> {
        class.has_own().then(|| match turn.head.tag {
            tag::EXECUTE => Box::new(self.own_answer(class.clone(), turn.context)),
            _ => Box::new(OwnAnswer { class: class.clone(), told: None, lines: Vec::new() }),
        })
    }

    /// Says what of the session decides where its statements go.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        let mut say = |fact: String| facts.push(("session", fact));
        if self.mode == PoolMode::Session {
            say("keeps one server by its pool mode".into());
        }
        if self.holds() {
            say("in a transaction that waits for its first statement that needs a server".into());
        } else if self.status != TransactionStatus::Idle {
            let standby = self.routed.is_some_and(|need| need.target == Target::Standby);
            let node = if standby { "a standby" } else { "the primary" };
            say(format!("in a transaction on {node}; its statements stay there"));
        }
        for pin in self.pin_names() {
            say(format!("pinned to its server: {pin}"));
        }
        for setting in [OwnSetting::Route, OwnSetting::Consistency] {
            say(format!("{} = {}", setting.name(), self.wishes().show(setting)));
        }
        facts
    }

    /// Explains where `sql` would go if the session sent it now, outside a transaction.
    pub fn explanation(&mut self, sql: &[u8], context: &mut Context<'_>) -> Explanation {
        let mut request = Vec::with_capacity(sql.len() + HEAD + 1);
        write::query(&mut request, sql);
        // What is to be run again has nothing to do with this.
        let healing = self.healing.take();
        let need = self.route(&request, context);
        self.healing = healing;
        let need = need.unwrap_or(Need::primary(Reason::Statement(NeedsPrimary::Unparsed)));
        let path = context.paths.get(self.settings().get("search_path"));
        let standard = self.reading.standard_conforming_strings;
        Explanation::new(sql, standard, need, context.catalog, &path)
    }
}

/// Writes a RowDescription of one column under another name; tells whether it is one.
fn rename_column(body: &[u8], name: &str, out: &mut Vec<u8>) -> bool {
    let Some((count, rest)) = body.split_at_checked(2) else { return false };
    let Some(end) = rest.iter().position(|byte| *byte == 0) else { return false };
    write::message(out, b'T', |message| {
        message.extend_from_slice(count);
        message.extend_from_slice(name.as_bytes());
        message.extend_from_slice(&rest[end..]);
    });
    true
}

/// What PostgreSQL says of SET LOCAL outside a transaction block.
fn set_local_outside() -> PgError {
    let message = "SET LOCAL can only be used in transaction blocks";
    PgError { severity: Severity::Warning, ..PgError::error(SqlState::NO_ACTIVE_TRANSACTION, message) }
}
