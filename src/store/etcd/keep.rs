//! What goes on by itself: following a watch from member to member, and keeping a key for display alive.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::super::Failure;
use super::messages::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseRequest, LeaseRevokeResponse,
    PutRequest, PutResponse, RangeRequest, WatchRequest, WatchResponse,
};
use super::session::{Session, is_about_the_token};

/// Pause before the next try after a failure. Short, as the next member may be well; long enough not to matter to
/// one that is not.
const PAUSE: Duration = Duration::from_millis(250);

/// etcd grants no lease below this (measured), and rounds up to whole seconds.
const SHORTEST_LEASE: u64 = 2;

/// Rings `bell` for everything that may have changed in `range`, until nobody listens any more.
pub(super) async fn watch(session: Arc<Session>, range: RangeRequest, bell: watch::Sender<u64>) {
    let question = WatchRequest { create: Some(range) };
    loop {
        tokio::select! {
            () = bell.closed() => return,
            () = listen(&session, &question, &bell) => {}
        }
        tokio::select! {
            () = bell.closed() => return,
            () = sleep(PAUSE) => {}
        }
    }
}

/// Listens at one member until that fails.
async fn listen(session: &Session, question: &WatchRequest, bell: &watch::Sender<u64>) {
    let (index, member) = session.present_member();
    let mut trouble = member.trouble();
    let Ok((channel, token)) = session.prepare(member, Instant::now() + session.timeout()).await else {
        return session.pass_on(index);
    };
    // The headers come at once, the first answer when the watch is made; a member that hangs sends neither.
    let subscribed =
        timeout(session.timeout(), channel.subscribe("Watch/Watch", question, token.as_ref())).await;
    let mut answers = match subscribed {
        Ok(Ok(answers)) => answers,
        Ok(Err(trouble)) if is_about_the_token(&trouble) => return session.forget(token.as_ref()),
        Ok(Err(_)) | Err(_) => return session.pass_on(index),
    };
    loop {
        let answer = tokio::select! {
            answer = answers.next::<WatchResponse>() => answer,
            // Calls to this member fail, so it may have nothing to tell either.
            _ = trouble.changed() => return,
        };
        let Ok(answer) = answer else { return };
        // A watch that has just begun knows nothing of what happened before.
        if answer.created || !answer.events.is_empty() {
            bell.send_modify(|rings| *rings += 1);
        }
        if answer.canceled {
            return session.forget(token.as_ref());
        }
    }
}

/// Shows the latest of `values` under `key` until their sender is gone.
pub(super) async fn presence(
    session: Arc<Session>,
    key: Vec<u8>,
    lease: Duration,
    mut values: watch::Receiver<Vec<u8>>,
) {
    let whole = lease.as_secs() + u64::from(lease.subsec_nanos() > 0);
    let seconds = whole.clamp(SHORTEST_LEASE, 3600);
    while hold(&session, &key, seconds, &mut values).await.is_err() {
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = last_word(&mut values) => return,
        }
    }
}

/// Takes a lease and keeps it. Returns when the handle is gone; errs when the lease is.
async fn hold(
    session: &Session,
    key: &[u8],
    seconds: u64,
    values: &mut watch::Receiver<Vec<u8>>,
) -> Result<(), Failure> {
    let question = LeaseGrantRequest { ttl: seconds as i64 };
    let lease =
        session.repeatable("Lease/LeaseGrant", &question, |answer: LeaseGrantResponse| Ok(answer.id)).await?;
    // Two of three renewals may be lost. A put renews nothing, however often there is something new to show.
    let every = Duration::from_millis(seconds * 1000 / 4);
    let mut due = Instant::now() + every;
    let mut sayable = true;
    while sayable {
        let value = values.borrow_and_update().clone();
        let question = PutRequest { key: key.to_vec(), value, lease };
        session.repeatable("KV/Put", &question, |_: PutResponse| Ok(())).await?;
        sayable = keep_until_changed(session, lease, (&mut due, every), values).await?;
    }
    // Takes the key with it.
    session
        .repeatable("Lease/LeaseRevoke", &LeaseRequest { id: lease }, |_: LeaseRevokeResponse| Ok(()))
        .await
}

/// Keeps the lease until there is another value to show (`true`) or none any more (`false`).
async fn keep_until_changed(
    session: &Session,
    lease: i64,
    (due, every): (&mut Instant, Duration),
    values: &mut watch::Receiver<Vec<u8>>,
) -> Result<bool, Failure> {
    loop {
        tokio::select! {
            biased;
            () = sleep_until(*due) => *due = Instant::now() + every,
            changed = values.changed() => return Ok(changed.is_ok()),
        }
        let ttl = |answer: LeaseKeepAliveResponse| Ok(answer.ttl);
        let left = session.repeatable("Lease/LeaseKeepAlive", &LeaseRequest { id: lease }, ttl).await?;
        if left <= 0 {
            let member = session.present_member().1.name.clone();
            return Err(Failure::Refused { member, message: "the lease is gone".to_owned() });
        }
    }
}

/// Returns once the handle is gone.
async fn last_word(values: &mut watch::Receiver<Vec<u8>>) {
    while values.changed().await.is_ok() {}
}
