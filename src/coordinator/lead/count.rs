//! What leading counts: calls to the store, and how each change of the lead went.

use std::time::{Duration, Instant, SystemTime};

use crate::cluster::{History, OperationKind, Record, Step, Txn, Write};
use crate::store::{Failure, Outcome, records};
use crate::telemetry::{self as counted, Kind, Leadership, StoreCall, StoreFailure};

/// Counts a reading that began at `asked`.
pub(super) fn reading<T>(to: Option<&Leadership>, asked: Instant, result: &Result<T, records::ReadError>) {
    let Some(to) = to else { return };
    match result {
        Ok(_) | Err(records::ReadError::Record { .. }) => to.store_answered(StoreCall::Read, asked.elapsed()),
        Err(records::ReadError::Store(failure)) => to.store_failed(StoreCall::Read, why(failure)),
    }
}

/// Counts a transaction that began at `asked`, and the change of the lead that it completed.
pub(super) fn transaction(to: Option<&Leadership>, asked: Instant, txn: &Txn, outcome: &Outcome) {
    let Some(to) = to else { return };
    match outcome {
        Outcome::Applied(_) => {
            to.store_answered(StoreCall::Commit, asked.elapsed());
            change(to, txn);
        }
        Outcome::Conflict(_) => to.store_answered(StoreCall::Commit, asked.elapsed()),
        Outcome::NotApplied(failure) => to.store_failed(StoreCall::Commit, why(failure)),
        Outcome::Unknown(_) => to.store_failed(StoreCall::Commit, StoreFailure::Unknown),
    }
}

fn why(failure: &Failure) -> StoreFailure {
    match failure {
        Failure::Silent { .. } | Failure::Unreachable { .. } => StoreFailure::Unavailable,
        Failure::Refused { .. } | Failure::Garbled { .. } => StoreFailure::Refused,
    }
}

/// A term that opens is written with its history and its operation.
fn change(to: &Leadership, txn: &Txn) {
    let (mut history, mut kind) = (None, None);
    for write in &txn.writes {
        match write {
            Write::Put(_, Record::History(found)) => history = Some(found),
            Write::Put(_, Record::Operation(operation)) => kind = Some(operation.kind),
            _ => {}
        }
    }
    let (Some(history), Some(kind)) = (history, kind) else { return };
    let Some(before) = &history.before else { return };
    let kind = match kind {
        OperationKind::Failover => Kind::Failover,
        OperationKind::Switchover => Kind::Switchover,
        OperationKind::Forced => Kind::Forced,
    };
    let kept = *before == history.leader;
    let outcome = if kept { counted::Outcome::Aborted } else { counted::Outcome::Done };
    steps(to, history);
    to.failover_ended(kind, outcome, SystemTime::now());
}

fn steps(to: &Leadership, history: &History) {
    let mut unwritable = Duration::ZERO;
    for (step, millis) in &history.steps_ms {
        let took = Duration::from_millis(*millis);
        let counted = match step {
            Step::Held => counted::Step::Hold,
            Step::Frozen => counted::Step::Freeze,
            Step::Chosen => counted::Step::Promote,
            Step::Open | Step::Settled => continue,
        };
        unwritable += took;
        to.step_took(counted, took);
    }
    to.step_took(counted::Step::Unwritable, unwritable);
}
