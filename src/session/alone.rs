//! Groups that need no server: they prepare what is known to be sound, give up names, and do nothing else.
//!
//! A client that prepares all its statements when it connects, as many do, would otherwise wait for a server with each
//! of them. One that waits for the answer while its other connections hold all servers would wait for ever.

use std::sync::Arc;

use super::frontend::next_message;
use super::machine::{Context, PoolMode, Session};
use super::outbox::Outbox;
use super::statements::{Named, Statement};
use crate::wire::backend::TransactionStatus;
use crate::wire::frame::HEAD;
use crate::wire::frontend::{self, Target, tag};
use crate::wire::write;

/// What a message of such a group does.
enum Act<'a> {
    Prepare(&'a [u8], Arc<Statement>),
    GiveUp(&'a [u8]),
}

impl Session {
    /// Answers the group at the start of `input` if no server needs to see it; returns its length.
    pub(super) fn group_alone(
        &mut self,
        input: &[u8],
        context: &mut Context<'_>,
        to_client: &mut Outbox,
    ) -> Option<usize> {
        let settled = self.pipeline.is_empty() && !self.group_open && !self.unsettled;
        let failed = self.status == TransactionStatus::Failed;
        if failed || !settled || self.attached || self.mode == PoolMode::Session {
            return None;
        }
        let generation = context.schema_generation;
        let (acts, length) = self.read_alone(input, context)?;
        for act in acts {
            let answer = match act {
                Act::Prepare(name, statement) => {
                    let named = Named::new(statement, generation, self.round);
                    self.statements.replace(name, Some(named));
                    write::PARSE_COMPLETE
                }
                Act::GiveUp(name) => {
                    self.statements.replace(name, None);
                    write::CLOSE_COMPLETE
                }
            };
            to_client.write(&[]).extend_from_slice(answer);
        }
        write::ready_for_query(to_client.write(&[]), self.status.byte());
        Some(length)
    }

    /// Reads a whole group, Sync included; `None` if it is not of this kind, or is not all there.
    fn read_alone<'a>(&self, input: &'a [u8], context: &mut Context<'_>) -> Option<(Vec<Act<'a>>, usize)> {
        let mut acts: Vec<Act<'a>> = Vec::new();
        let mut at = 0;
        loop {
            let (head, end) = next_message(input, at).ok().flatten()?;
            if end - at < head.total {
                return None;
            }
            let body = &input[at + HEAD..end];
            at = end;
            let act = match head.tag {
                tag::PARSE => self.prepares_alone(body, context)?,
                tag::CLOSE => self.gives_up_alone(body)?,
                tag::SYNC if !acts.is_empty() => return Some((acts, at)),
                _ => return None,
            };
            // A name that comes twice has different meanings, so that is left to the server.
            if acts.iter().any(|other| other.name() == act.name()) {
                return None;
            }
            acts.push(act);
        }
    }

    fn prepares_alone<'a>(&self, body: &'a [u8], context: &mut Context<'_>) -> Option<Act<'a>> {
        let parse = frontend::parse(body).ok()?;
        if parse.name.is_empty() || self.refusal(parse.name).is_some() {
            return None;
        }
        let known = context.statements.find(parse.text, parse.types, self.environment());
        if let Some(statement) = known
            && statement.is_sound(context.schema_generation)
        {
            return Some(Act::Prepare(parse.name, statement));
        }
        // Control of transactions every server parses, whatever there is in the schema. Clients begin with it, and hold a
        // server from then on: of many that begin at once, the last would find none for its BEGIN.
        if !parse.types.is_empty() || !parse.text.is_ascii() {
            return None;
        }
        let class = context.classifier.classify(parse.text, self.reading.standard_conforming_strings);
        let controls = matches!(&*class.statements, [only] if only.transaction.is_some());
        controls.then(|| Act::Prepare(parse.name, self.intern(context, parse).0))
    }

    fn gives_up_alone<'a>(&self, body: &'a [u8]) -> Option<Act<'a>> {
        match frontend::target(body).ok()? {
            Target::Statement(name) if self.statements.get(name).is_some() => {
                (!name.is_empty()).then_some(Act::GiveUp(name))
            }
            _ => None,
        }
    }
}

impl Act<'_> {
    fn name(&self) -> &[u8] {
        match self {
            Act::Prepare(name, _) | Act::GiveUp(name) => name,
        }
    }
}
