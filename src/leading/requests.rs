//! Wishes that the active coordinator takes up: put into the store, and followed there to their end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::timeout;

use bellwether::api::{End, Outcome, Progress, Requester, Step};
use bellwether::cluster::{
    self, Answer, Key, Operation, Phase, Record, Request, Revision, Selector, Term, Txn, TxnAnswer, View,
};
use bellwether::coordinator::lead::Lead;
use bellwether::store::{Store, records};

use super::Leading;
use crate::leadership::incarnation;

/// How long a coordinator may take to take a request up. One that takes over needs less than a second.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(15);
/// How long an operation may take before its outcome is called unknown. It goes on all the same.
const DONE_WITHIN: Duration = Duration::from_secs(60);
/// How long the last followers may take to follow before the operation is called done without them.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);
/// How long to wait for news before the store is asked again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Leading {
    /// Hands a request to the coordinator and tells what comes of it.
    pub(super) fn submit(&self, request: Request, by: Requester) -> mpsc::Receiver<Progress> {
        let (sender, receiver) = mpsc::channel(32);
        let following = Following::new(&self.lead, sender);
        tokio::spawn(async move {
            let end = following.carry_out(request, &by).await;
            // Whoever asked may be gone; it is done all the same.
            let _ = following.told.send(Progress::End(end)).await;
        });
        receiver
    }
}

/// One request on its way.
pub(super) struct Following {
    lead: Lead,
    store: Arc<dyn Store>,
    told: mpsc::Sender<Progress>,
}

impl Following {
    /// Prepares to follow a request; what happens on the way goes to `told`.
    pub(super) fn new(lead: &Lead, told: mpsc::Sender<Progress>) -> Self {
        Following { lead: lead.clone(), store: lead.store(), told }
    }

    /// Hands the request over and returns how it ended.
    pub(super) async fn carry_out(&self, request: Request, by: &Requester) -> End {
        let began = Instant::now();
        let id = format!("r-{}", incarnation());
        if let Some(who) = &by.by {
            tracing::info!(event = "request", id, by = who, reason = by.reason, "{request:?}");
        }
        let key = Key::Request(id.clone());
        let put = Txn::new().if_at(key.clone(), Revision(0)).put(key.clone(), Record::Request(request));
        let before = self.read(&id).await.and_then(|view| Some(view.term()?.number)).unwrap_or(0);
        let at = match records::answer(&records::commit(self.store.as_ref(), &put).await) {
            TxnAnswer::Applied(at) => at,
            TxnAnswer::Refused | TxnAnswer::Unknown => {
                return End::new(Outcome::Unreachable, "the request could not be handed over")
                    .cause("etcd did not answer")
                    .hint("bellwether status tells whether anything happens");
            }
        };
        let answer = match self.answer(&id).await {
            Some(answer) => answer,
            None => return self.withdraw(&key, at).await,
        };
        let gone = Key::Answer(id.clone());
        let _ = records::commit(self.store.as_ref(), &Txn::new().delete(gone)).await;
        if !answer.accepted {
            return End::new(Outcome::Refused, answer.text);
        }
        self.tell(began, answer.text.clone(), None).await;
        self.follow(began, before, &id, answer).await
    }

    /// Waits for the coordinator's answer; `None` when none came.
    async fn answer(&self, id: &str) -> Option<Answer> {
        let give_up = Instant::now() + TAKEN_UP_WITHIN;
        let key = Key::Answer(id.to_owned());
        while Instant::now() < give_up {
            if let Some(view) = self.read(id).await
                && let Some(Record::Answer(answer)) = view.record(&key)
            {
                return Some(answer.clone());
            }
            self.news().await;
        }
        None
    }

    /// Takes a request back that nobody took up, so that it does not come true later.
    async fn withdraw(&self, key: &Key, at: Revision) -> End {
        let txn = Txn::new().if_at(key.clone(), at).delete(key.clone());
        match records::answer(&records::commit(self.store.as_ref(), &txn).await) {
            TxnAnswer::Applied(_) => End::new(Outcome::Failed, "no coordinator took it up; nothing was done")
                .cause("no proxy with coordinator = true is active, or it is busy with an operation")
                .hint("bellwether explain tells what is waited for"),
            TxnAnswer::Refused | TxnAnswer::Unknown => {
                End::new(Outcome::Unknown, "it may have been begun").hint("bellwether status tells")
            }
        }
    }

    /// Tells the steps of the operation that the request began, if it began one.
    async fn follow(&self, began: Instant, before: u64, id: &str, answer: Answer) -> End {
        let done = || End::new(Outcome::Done, answer.text.clone());
        let (mut seen, mut opened, mut idle) = (None, None, 0);
        while began.elapsed() < DONE_WITHIN {
            let Some(view) = self.read(id).await else {
                self.news().await;
                continue;
            };
            let (Some(term), Some(operation)) = (view.term(), view.operation()) else { return done() };
            let ours = term.number > before || term.phase != Phase::Open;
            if !ours {
                // Pausing and the like are done with the answer; a switchover is held in the same transaction.
                idle += 1;
                if idle > 2 {
                    return done();
                }
            } else if seen != Some((term.number, term.phase, operation.step)) {
                seen = Some((term.number, term.phase, operation.step));
                let (what, note) = words(term, operation);
                self.tell(began, what, note).await;
            }
            if ours && term.phase == Phase::Open {
                let since = *opened.get_or_insert_with(Instant::now);
                if operation.step == cluster::Step::Settled || since.elapsed() > SETTLED_WITHIN {
                    return self.ended(&view, term, operation);
                }
            }
            self.news().await;
        }
        End::new(Outcome::Unknown, format!("it is not over after {} s, and goes on", DONE_WITHIN.as_secs()))
            .hint("bellwether explain tells what it waits for")
    }

    fn ended(&self, view: &View, term: &Term, operation: &Operation) -> End {
        let history = match view.record(&Key::History(term.number)) {
            Some(Record::History(history)) => Some(history),
            _ => None,
        };
        let moved = history.is_none_or(|history| history.before.as_ref() != Some(&term.leader));
        let leads = format!("{} leads in term {}", term.leader, term.number);
        match (moved, history) {
            (true, Some(history)) if history.lost_bytes > 0 => {
                End::new(Outcome::Done, leads).cause(format!("{} bytes of WAL were lost", history.lost_bytes))
            }
            (true, _) => End::new(Outcome::Done, leads),
            (false, Some(history)) => End::new(Outcome::Failed, format!("given up: {leads} as before"))
                .cause(history.reason.clone()),
            (false, None) => End::new(Outcome::Failed, format!("given up: {leads} as before"))
                .cause(operation.reason.clone()),
        }
    }

    async fn read(&self, id: &str) -> Option<View> {
        let term = self.lead.state().view.and_then(|view| view.term().map(|term| term.number)).unwrap_or(0);
        let wanted =
            [Key::Term, Key::Op, Key::Answer(id.to_owned()), Key::History(term), Key::History(term + 1)];
        records::read(self.store.as_ref(), &wanted.map(Selector::One)).await.ok()
    }

    async fn news(&self) {
        let mut watch = self.lead.watch();
        watch.mark_unchanged();
        let _ = timeout(LOOK_AGAIN, watch.changed()).await;
    }

    async fn tell(&self, began: Instant, what: String, note: Option<String>) {
        let step = Step { what, note };
        let _ = self.told.send(Progress::Step { seconds: began.elapsed().as_secs_f64(), step }).await;
    }
}

/// Says what a step means.
fn words(term: &Term, operation: &Operation) -> (String, Option<String>) {
    let candidate = || operation.candidate.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
    match (term.phase, operation.step) {
        (Phase::Hold, _) => ("clients are held".to_owned(), Some("running transactions may end".to_owned())),
        (Phase::Frozen, cluster::Step::Chosen) => {
            (format!("{} is chosen and promoted", candidate()), Some(format!("term {}", term.number)))
        }
        (Phase::Frozen, _) => {
            (format!("{} is frozen", term.leader), Some("no proxy may talk to it any more".to_owned()))
        }
        (Phase::Open, cluster::Step::Settled) => ("every standby that answers follows".to_owned(), None),
        (Phase::Open, _) => (
            format!("{} leads", term.leader),
            Some(format!("term {}, timeline {}", term.number, term.lineage.last().timeline)),
        ),
    }
}
