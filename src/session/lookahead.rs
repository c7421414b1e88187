//! Where a request goes, seen from its first byte: an extended-protocol group is judged as a whole.

use std::sync::Arc;

use super::frontend::{WHOLE_MESSAGE, next_message};
use super::heal::Healing;
use super::machine::{Context, PoolMode, Session};
use super::prepare::only_prepares;
use crate::routing::{self, Asked, Need, Reason, Target};
use crate::sql::{Classified, Modes, NeedsPrimary, SearchPath};
use crate::wire::frame::{HEAD, Head, Malformed};
use crate::wire::frontend::{self, tag};

impl Session {
    /// Decides for the request at the start of `input`; `None` when more of it must arrive first.
    ///
    /// A standby gets a group only if all of it is there and every statement in it is a plain read: once it has bound
    /// anything, a group cannot move (data-plane rules 4a.17 and 4g.6). What is malformed goes to a server as well, which
    /// refuses it in its own words.
    pub(super) fn route(&mut self, input: &[u8], context: &mut Context<'_>) -> Option<Need> {
        if let Some(reason) = self.healing.take().and_then(Healing::reason) {
            return Some(Need::primary(reason));
        }
        if self.mode == PoolMode::Session {
            // A hint is about one statement, and the server is kept for all that follow.
            return Some(self.unseen(Reason::SessionMode));
        }
        let routed = match input.first() {
            Some(&tag::QUERY) => self.route_query(input, context).map(Some),
            Some(&tag::FUNCTION_CALL) => return Some(self.unseen(Reason::FunctionCall)),
            // For a transaction that may write there is nothing to look at.
            _ if self.holds() && self.route_held(Ok(()), None).target == Target::Primary => {
                return Some(self.route_held(Ok(()), None));
            }
            _ => self.route_group(input, context),
        };
        routed.unwrap_or_else(|_| Some(self.unseen(Reason::Statement(NeedsPrimary::Unparsed))))
    }

    /// Tells whether the request at the start of `input` may be sent behind those that a standby has not answered
    /// yet: what needs the primary waits until the standby has been given back. `None` when more of it must arrive
    /// first.
    pub(super) fn may_follow(&mut self, head: Head, input: &[u8], context: &mut Context<'_>) -> Option<bool> {
        let begins = !self.group_open || self.pipeline.ends_round();
        let asks = !matches!(
            head.tag,
            tag::SYNC | tag::FLUSH | tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL | tag::TERMINATE
        );
        let on_standby = self.routed.is_some_and(|need| need.target == Target::Standby);
        if !on_standby || !begins || !asks || self.pipeline.is_empty() {
            return Some(true);
        }
        let need = self.route(input, context)?;
        // A transaction is held back when the standby has been given back.
        Some(need.target == Target::Standby && need.reason != Reason::ReadOnly)
    }

    /// Tells whether transactions are serializable by default, which a standby refuses.
    pub(super) fn wants_serializable(&self) -> bool {
        let isolation = self.settings().get("default_transaction_isolation");
        isolation.is_some_and(|isolation| isolation.eq_ignore_ascii_case("serializable"))
    }

    /// Returns the search path of the session.
    pub(super) fn search_path(&mut self, context: &mut Context<'_>) -> Arc<SearchPath> {
        let settings = self.parameters.current();
        // The map is shared with what is kept here, so that a change makes another one.
        match &self.path {
            Some((of, path)) if Arc::ptr_eq(of, settings) => path.clone(),
            _ => {
                let path = context.paths.get(settings.get("search_path"));
                self.path = Some((settings.clone(), path.clone()));
                path
            }
        }
    }

    /// Decides for one text by what the catalog of the database says of it. `block` tells that it stands in a READ ONLY
    /// transaction that begins with the same requests, or begins one.
    fn judge(&mut self, class: &Classified, block: bool, context: &mut Context<'_>) -> Need {
        if self.holds() {
            let judged = self.judge_block(class, context);
            return self.route_held(judged, class.hint);
        }
        let modes = class.transaction_modes();
        // What a standby does not take is not asked for there.
        let asked = self.asked(class.hint).filter(|asked| asked.suits(modes.unwrap_or_default()));
        match asked {
            None if !context.split => Need::primary(Reason::SplitOff),
            None if block || self.is_read_only(modes) => match self.judge_block(class, context) {
                Ok(()) => Need { target: Target::Standby, reason: Reason::ReadOnly },
                Err(needs) => Need::primary(Reason::Statement(needs)),
            },
            None if modes.is_some_and(|modes| modes.read_only.unwrap_or_else(|| self.reads_only())) => {
                Need::primary(Reason::Statement(NeedsPrimary::SessionState))
            }
            None if modes.is_some() => Need::primary(Reason::ReadWrite),
            None if self.wants_serializable() => Need::primary(Reason::Statement(NeedsPrimary::SessionState)),
            asked => {
                let path = self.search_path(context);
                routing::of_text(class.judge(context.catalog, &path), asked)
            }
        }
    }

    /// Tells whether a transaction begun with `modes` is one for a standby.
    fn is_read_only(&self, modes: Option<Modes>) -> bool {
        modes.is_some_and(|modes| {
            modes.read_only.unwrap_or_else(|| self.reads_only())
                && !modes.serializable.unwrap_or_else(|| self.wants_serializable())
        })
    }

    /// Decides for what cannot be looked at, and would need the primary for `reason`.
    fn unseen(&self, reason: Reason) -> Need {
        if self.holds() {
            return self.route_held(Err(NeedsPrimary::Unparsed), None);
        }
        self.asked(None).map_or(Need::primary(reason), Asked::need)
    }

    /// Tells whether `input` is one Query or one group, and proven to be a plain read, wherever the client wishes it to
    /// run. What was proven when it was sent stays so: the catalog may be out of date by now.
    pub(super) fn is_plain_read(&mut self, input: &[u8], context: &mut Context<'_>) -> bool {
        let path = self.search_path(context);
        let sent_so = self.routed.is_some_and(|need| need.reason == Reason::PlainRead);
        let mut parsed = Parsed::default();
        let mut at = 0;
        while let Ok(Some((head, end))) = next_message(input, at) {
            if end - at < head.total {
                return false;
            }
            let body = &input[at + HEAD..end];
            at = end;
            let class = match head.tag {
                tag::QUERY => frontend::query(body).ok().map(|text| self.classify(text, context)),
                tag::PARSE => frontend::parse(body).ok().map(|parse| {
                    let class = self.classify(parse.text, context);
                    parsed.add(parse.name, class.clone());
                    class
                }),
                tag::BIND => {
                    frontend::bind(body).ok().and_then(|bind| self.class_of(bind.statement, &parsed))
                }
                tag::DESCRIBE | tag::EXECUTE | tag::CLOSE | tag::FLUSH => continue,
                tag::SYNC => break,
                _ => None,
            };
            let proven = |class: &Classified| sent_so || class.judge(context.catalog, &path).is_ok();
            if !class.is_some_and(|class| proven(&class)) {
                return false;
            }
            if head.tag == tag::QUERY {
                break;
            }
        }
        !input.is_empty() && at == input.len()
    }

    fn route_query(&mut self, input: &[u8], context: &mut Context<'_>) -> Result<Need, Malformed> {
        match next_message(input, 0)? {
            Some((head, end)) if end == head.total => {
                let text = frontend::query(&input[HEAD..end])?;
                let class = self.classify(text, context);
                if class.is_own() {
                    return Ok(Need { target: Target::Standby, reason: Reason::OwnAnswer });
                }
                if self.may_hold(&class, head.total, context) {
                    let read_only = self.is_read_only(class.transaction_modes());
                    let target = if read_only { Target::Standby } else { Target::Primary };
                    return Ok(Need { target, reason: Reason::Held });
                }
                Ok(self.judge(&class, false, context))
            }
            _ => Ok(self.unseen(Reason::Statement(NeedsPrimary::Unparsed))),
        }
    }

    fn route_group(&mut self, input: &[u8], context: &mut Context<'_>) -> Result<Option<Need>, Malformed> {
        let mut parsed = Parsed::default();
        let mut reason = Reason::PlainRead;
        // A READ ONLY transaction has begun in it.
        let mut block = false;
        let mut prepares = true;
        let mut at = 0;
        loop {
            let Some((head, end)) = next_message(input, at)? else {
                let long = input.len() >= WHOLE_MESSAGE;
                return Ok(long.then(|| self.unseen(Reason::OpenGroup)));
            };
            if end - at < head.total {
                return Ok(Some(self.unseen(Reason::OpenGroup)));
            }
            let body = &input[at + HEAD..end];
            prepares &= only_prepares(head, body);
            let need = match head.tag {
                tag::PARSE => {
                    let parse = frontend::parse(body)?;
                    let class = self.classify(parse.text, context);
                    let need = self.judge(&class, block, context);
                    parsed.add(parse.name, class);
                    Some(need)
                }
                tag::BIND => {
                    let statement = frontend::bind(body)?.statement;
                    Some(self.route_bind(statement, &parsed, &mut block, context))
                }
                tag::QUERY => {
                    let class = self.classify(frontend::query(body)?, context);
                    Some(self.judge(&class, block, context))
                }
                tag::FUNCTION_CALL => Some(self.unseen(Reason::FunctionCall)),
                // The client waits for answers before it goes on. What it says then in a READ ONLY transaction on a
                // standby is looked at as it comes (`confine`).
                tag::FLUSH if self.holds() => return Ok(Some(self.route_held(Ok(()), None))),
                // It ends here ([`flush`](Self::flush)), and what comes next is looked at for itself.
                tag::FLUSH if prepares => return Ok(Some(Need { target: Target::Standby, reason })),
                tag::FLUSH => return Ok(Some(self.unseen(Reason::OpenGroup))),
                // Only looked at to see whether they can be read.
                tag::DESCRIBE | tag::CLOSE => frontend::target(body).map(|_| None)?,
                tag::EXECUTE => frontend::execute(body).map(|_| None)?,
                _ => None,
            };
            match need {
                Some(need) if need.target == Target::Primary => return Ok(Some(need)),
                // One that is not proven makes the group so.
                Some(need) if reason.is_proof() && need.reason != Reason::PlainRead => reason = need.reason,
                _ => {}
            }
            if matches!(head.tag, tag::SYNC | tag::QUERY) {
                return Ok(Some(Need { target: Target::Standby, reason }));
            }
            at = end;
        }
    }

    fn route_bind(
        &mut self,
        statement: &[u8],
        parsed: &Parsed<'_>,
        block: &mut bool,
        context: &mut Context<'_>,
    ) -> Need {
        match self.class_of(statement, parsed) {
            Some(class) => {
                let need = self.judge(&class, *block, context);
                *block |= self.is_read_only(class.transaction_modes());
                need
            }
            None => self.unseen(Reason::Statement(NeedsPrimary::Unparsed)),
        }
    }

    /// What the statement of this name is, behind those parsed before it in its group.
    fn class_of(&self, statement: &[u8], parsed: &Parsed<'_>) -> Option<Arc<Classified>> {
        let in_group = parsed.find(statement);
        let class = in_group.or_else(|| self.statements.get(statement).map(|named| &named.statement.class));
        class.cloned()
    }
}

/// Statements parsed in the group looked at. Most groups have one, for which no memory is taken.
#[derive(Default)]
struct Parsed<'a> {
    last: Option<(&'a [u8], Arc<Classified>)>,
    earlier: Vec<(&'a [u8], Arc<Classified>)>,
}

impl<'a> Parsed<'a> {
    fn add(&mut self, name: &'a [u8], class: Arc<Classified>) {
        self.earlier.extend(self.last.replace((name, class)));
    }

    fn find(&self, statement: &[u8]) -> Option<&Arc<Classified>> {
        let mut newest_first = self.last.iter().chain(self.earlier.iter().rev());
        newest_first.find(|(name, _)| *name == statement).map(|(_, class)| class)
    }
}
