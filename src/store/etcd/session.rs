//! Which member is asked, with which token, for how long, and what its errors mean.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::header::HeaderValue;
use prost::Message;
use tokio::time::{Instant, timeout_at};

use super::super::{Attendance, Failure, Outcome};
use super::Settings;
use super::channel::{Channel, Trouble};
use super::member::Member;
use super::messages::{AuthenticateRequest, AuthenticateResponse};
use super::tls::Tls;

/// The members, and which of them is asked at present.
pub(super) struct Session {
    members: Vec<Member>,
    /// Index of the member that is asked; one that fails passes the turn to the next.
    turn: AtomicUsize,
    login: Option<AuthenticateRequest>,
    token: Mutex<Option<HeaderValue>>,
    timeout: Duration,
}

/// Why one attempt with one member brought nothing.
enum Attempt {
    /// The question was not sent.
    NotSent(Failure),
    /// The member refused for a reason that holds for all members; nothing was done.
    Refused(Failure),
    /// Nobody knows what was done.
    Unknown(Failure),
}

impl Session {
    pub(super) fn new(settings: &Settings, tls: Option<&Tls>) -> Self {
        let login = settings.login.clone().map(|(name, password)| AuthenticateRequest { name, password });
        Session {
            members: settings.endpoints.iter().map(|endpoint| Member::new(endpoint.clone(), tls)).collect(),
            turn: AtomicUsize::new(0),
            login,
            token: Mutex::new(None),
            timeout: settings.timeout,
        }
    }

    /// Asks what may be asked twice: of each member in turn, until one answers.
    pub(super) async fn repeatable<A: Message + Default, T>(
        &self,
        method: &str,
        question: &impl Message,
        read: impl Fn(A) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let mut last = None;
        for _ in &self.members {
            match self.attempt(method, question, &read).await {
                Ok(answer) => return Ok(answer),
                Err(Attempt::Refused(failure)) => return Err(failure),
                Err(Attempt::NotSent(failure) | Attempt::Unknown(failure)) => last = Some(failure),
            }
        }
        Err(last.expect("there is at least one member"))
    }

    /// Asks what must not be asked twice: members are tried until the question could be sent to one.
    pub(super) async fn once<A: Message + Default>(
        &self,
        method: &str,
        question: &impl Message,
        read: impl Fn(A) -> Result<Outcome, String>,
    ) -> Outcome {
        let mut last = None;
        for _ in &self.members {
            match self.attempt(method, question, &read).await {
                Ok(outcome) => return outcome,
                Err(Attempt::Refused(failure)) => return Outcome::NotApplied(failure),
                Err(Attempt::Unknown(failure)) => return Outcome::Unknown(failure),
                Err(Attempt::NotSent(failure)) => last = Some(failure),
            }
        }
        Outcome::NotApplied(last.expect("there is at least one member"))
    }

    /// Asks each member, whoever's turn it is; none loses it by this.
    pub(super) async fn roll_call<A: Message + Default, T>(
        &self,
        method: &str,
        question: &impl Message,
        read: impl Fn(A) -> Result<T, String>,
    ) -> Vec<Attendance> {
        let mut attendance = Vec::with_capacity(self.members.len());
        for member in &self.members {
            let asked = self.ask(member, Instant::now() + self.timeout, method, question).await;
            let answers = asked.is_ok_and(|answer| read(answer).is_ok());
            attendance.push(Attendance { member: member.name.clone(), answers });
        }
        attendance
    }

    /// Asks the member whose turn it is. One that fails loses the turn, and its connection with it.
    async fn attempt<A: Message + Default, T>(
        &self,
        method: &str,
        question: &impl Message,
        read: impl Fn(A) -> Result<T, String>,
    ) -> Result<T, Attempt> {
        let (index, member) = self.present_member();
        let deadline = Instant::now() + self.timeout;
        let asked = self.ask(member, deadline, method, question).await;
        let read = asked
            .and_then(|answer| read(answer).map_err(|reason| self.unknown(member, Trouble::Garbled(reason))));
        if let Err(Attempt::NotSent(_) | Attempt::Unknown(_)) = read {
            self.pass_on(index);
        }
        read
    }

    async fn ask<A: Message + Default>(
        &self,
        member: &Member,
        deadline: Instant,
        method: &str,
        question: &impl Message,
    ) -> Result<A, Attempt> {
        let (channel, token) = self.prepare(member, deadline).await.map_err(Attempt::NotSent)?;
        match self.ask_on(&channel, deadline, method, question, token.as_ref()).await {
            Some(Err(trouble)) if self.login.is_some() && is_about_the_token(&trouble) => {
                // It was refused before anything was done, so it may be asked again.
                self.forget(token.as_ref());
                let (channel, token) = self.prepare(member, deadline).await.map_err(Attempt::NotSent)?;
                let second = self.ask_on(&channel, deadline, method, question, token.as_ref()).await;
                self.judge(member, second)
            }
            first => self.judge(member, first),
        }
    }

    /// `None` when time ran out.
    async fn ask_on<A: Message + Default>(
        &self,
        channel: &Channel,
        deadline: Instant,
        method: &str,
        question: &impl Message,
        token: Option<&HeaderValue>,
    ) -> Option<Result<A, Trouble>> {
        timeout_at(deadline, channel.ask(method, question, token)).await.ok()
    }

    fn judge<A>(&self, member: &Member, result: Option<Result<A, Trouble>>) -> Result<A, Attempt> {
        match result {
            None => Err(Attempt::Unknown(self.silent(member))),
            Some(Ok(answer)) => Ok(answer),
            Some(Err(trouble)) => Err(self.unknown(member, trouble)),
        }
    }

    fn unknown(&self, member: &Member, trouble: Trouble) -> Attempt {
        let refused = matches!(trouble, Trouble::Status { code, .. } if REFUSED.contains(&code));
        let failure = failure(member, trouble);
        if refused { Attempt::Refused(failure) } else { Attempt::Unknown(failure) }
    }

    /// Returns a connection to `member`, and the token for it if there is a login.
    pub(super) async fn prepare(
        &self,
        member: &Member,
        deadline: Instant,
    ) -> Result<(Channel, Option<HeaderValue>), Failure> {
        let channel = member.channel(deadline).await.map_err(|reason| match reason {
            Some(reason) => Failure::Unreachable { member: member.name.clone(), reason },
            None => self.silent(member),
        })?;
        let Some(login) = &self.login else { return Ok((channel, None)) };
        if let Some(token) = self.token().clone() {
            return Ok((channel, Some(token)));
        }
        let asked = timeout_at(deadline, channel.ask("Auth/Authenticate", login, None)).await;
        let answer: AuthenticateResponse =
            asked.map_err(|_| self.silent(member))?.map_err(|trouble| failure(member, trouble))?;
        let mut token = HeaderValue::try_from(answer.token)
            .map_err(|error| failure(member, Trouble::Garbled(error.to_string())))?;
        token.set_sensitive(true);
        *self.token() = Some(token.clone());
        Ok((channel, Some(token)))
    }

    /// The member that is asked at present, and its place in line.
    pub(super) fn present_member(&self) -> (usize, &Member) {
        let index = self.turn.load(Ordering::Relaxed) % self.members.len();
        (index, &self.members[index])
    }

    /// Lets go of a member that failed, and asks the next one from now on, unless somebody did so already.
    pub(super) fn pass_on(&self, index: usize) {
        self.members[index].give_up();
        let next = (index + 1) % self.members.len();
        let _ = self.turn.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// How long one attempt may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Drops a token that is no good any more, unless there is another already.
    pub(super) fn forget(&self, used: Option<&HeaderValue>) {
        let mut token = self.token();
        if token.as_ref() == used {
            *token = None;
        }
    }

    fn token(&self) -> MutexGuard<'_, Option<HeaderValue>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn silent(&self, member: &Member) -> Failure {
        Failure::Silent { member: member.name.clone(), within: self.timeout }
    }
}

/// gRPC's codes that mean "not done": INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED,
/// FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED and UNAUTHENTICATED. The others, UNAVAILABLE among them, also
/// come from a member that lost its leader while the question was under way.
const REFUSED: [u32; 8] = [3, 5, 7, 8, 9, 11, 12, 16];

/// Whether another token may help. Tokens expire, are lost when etcd starts again, and grow old when its users
/// are changed; etcd says so in different ways (rpctypes/error.go).
pub(super) fn is_about_the_token(trouble: &Trouble) -> bool {
    let Trouble::Status { code, message } = trouble else { return false };
    let known = ["invalid auth token", "revision of auth store is old", "user name is empty"];
    *code == 16 || known.iter().any(|known| message.contains(known))
}

pub(super) fn failure(member: &Member, trouble: Trouble) -> Failure {
    let member = member.name.clone();
    match trouble {
        Trouble::Lost(reason) => Failure::Unreachable { member, reason },
        Trouble::Status { message, .. } => Failure::Refused { member, message },
        Trouble::Garbled(reason) => Failure::Garbled { member, reason },
    }
}
