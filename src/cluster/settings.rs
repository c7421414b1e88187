//! What the machines are told once: durations, limits, and how far they may go on their own.

use std::collections::BTreeMap;
use std::time::Duration;

use super::key::ProxyName;
use super::mutation::Mutated;
use super::records::{Durability, Member};
use crate::topology::NodeName;

/// Durations of the protocol. [`check`](Self::check) holds what must be true between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Timings {
    /// How long a permission lasts, from the moment the reading it rests on was asked for (V).
    pub permission: Duration,
    /// How often a proxy renews its permission (R).
    pub renew: Duration,
    /// How long one call to the store may take before it counts as failed.
    pub store_timeout: Duration,
    /// The longest the store needs to elect a leader of its own.
    pub store_election: Duration,
    /// By how many millionths clocks of two processes may differ in rate.
    pub clock_error_ppm: u32,
    /// How late a process may act on its own timer.
    pub slack: Duration,
    /// How often the leader is probed; followers four times as seldom while all is well.
    pub probe: Duration,
    /// After how many probes without an answer a node is silent.
    pub probe_misses: u32,
    /// How often the active coordinator shows that it lives.
    pub beat: Duration,
    /// After how long without a beat another coordinator takes over.
    pub beat_stale: Duration,
    /// How often an observer repeats what it sees, so that it is known to be there.
    pub observe: Duration,
    /// After how long without a word an observer does not count.
    pub observe_stale: Duration,
    /// For how long a follower that heard from the leader bears witness that it lives.
    pub witness: Duration,
    /// For how long a leader that is starting up or recovering counts as alive.
    pub restart_grace: Duration,
    /// How long a switchover waits for running transactions before it is given up.
    pub drain: Duration,
    /// How long followers may go on fetching from an old leader that is still there, and how long the candidate of
    /// a switchover may take to reach the old leader's end.
    pub catch_up: Duration,
    /// How long the choice waits for followers that answer but are not recruited yet.
    pub recruit: Duration,
    /// How long a candidate may take to be promoted and proven before another is sought (C11).
    pub promote: Duration,
    /// How long a command to a node may take before its outcome counts as unknown.
    pub command: Duration,
    /// How long a client's statement is held at most.
    pub hold: Duration,
    /// The least time between two failovers, unless the new leader is gone by hard evidence.
    pub between_failovers: Duration,
    /// After how long without progress a voter for synchronous commit is replaced.
    pub voter_stall: Duration,
    /// After how long without a word a proxy is evicted, so that it does not slow the next failover down.
    pub evict: Duration,
    /// How often the leader is made to write, so that idle followers hear from it.
    pub heartbeat: Duration,
}

impl Timings {
    /// Without agents beside the servers: a permission must outlast an election of the store.
    pub const fn agentless() -> Self {
        const fn ms(ms: u64) -> Duration {
            Duration::from_millis(ms)
        }
        Timings {
            permission: ms(4000),
            renew: ms(500),
            store_timeout: ms(500),
            store_election: ms(1000),
            clock_error_ppm: 5000,
            slack: ms(50),
            probe: ms(150),
            probe_misses: 3,
            beat: ms(150),
            beat_stale: ms(700),
            observe: ms(500),
            observe_stale: ms(2000),
            witness: ms(1000),
            restart_grace: ms(2000),
            drain: ms(2000),
            catch_up: ms(2000),
            recruit: ms(3000),
            promote: ms(4000),
            command: ms(2000),
            hold: ms(10_000),
            between_failovers: ms(60_000),
            voter_stall: ms(3000),
            evict: ms(10_000),
            heartbeat: ms(500),
        }
    }

    /// Returns how long a freeze lasts, from its answer on, until every permission of at most `longest` has ended
    /// on whatever clock (rule C4).
    pub fn fence_wait(&self, longest: Duration) -> Duration {
        let error = longest.saturating_mul(self.clock_error_ppm).saturating_mul(2) / 1_000_000;
        longest.saturating_add(error).saturating_add(self.slack)
    }

    /// Returns how long it takes at most until a silent leader is called silent.
    pub fn detection(&self) -> Duration {
        self.probe.saturating_mul(self.probe_misses + 1)
    }

    /// Checks what must be true between these durations. Errs with the first that is not.
    pub fn check(&self) -> Result<(), TimingError> {
        let must = |rule, name, is: Duration, least: Duration| {
            if is < least { Err(TimingError { name, rule, is, least }) } else { Ok(()) }
        };
        must(
            "3 x renew + store_timeout, so that two lost renewals do no harm",
            "permission",
            self.permission,
            self.renew * 3 + self.store_timeout,
        )?;
        must(
            "2 x store_election + renew, so that an election of the store does no harm",
            "permission",
            self.permission,
            self.store_election * 2 + self.renew,
        )?;
        must("4 x beat", "beat_stale", self.beat_stale, self.beat * 4)?;
        must("3 x observe", "observe_stale", self.observe_stale, self.observe * 3)?;
        must("2 x heartbeat", "witness", self.witness, self.heartbeat * 2)?;
        must("observe_stale + permission", "evict", self.evict, self.observe_stale + self.permission)?;
        must("restart_grace + permission", "hold", self.hold, self.restart_grace + self.permission)?;
        let failover =
            self.detection() + self.fence_wait(self.permission) + self.promote + Duration::from_secs(1);
        must("detection, fence, promotion and a second", "hold", self.hold, failover)
    }
}

/// A duration that is too short for the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {} ms and must be at least {} ms: {rule}", .is.as_millis(), .least.as_millis())]
pub struct TimingError {
    /// Which one, as [`Timings`] calls it.
    pub name: &'static str,
    /// What it must be at least, in words.
    pub rule: &'static str,
    /// What it is.
    pub is: Duration,
    /// What it must be at least.
    pub least: Duration,
}

/// How much a failover may lose, and when a switchover may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The furthest a candidate may trail the last known end of the leader, in bytes (rule C6).
    pub max_lag_bytes: u64,
    /// How long ago a candidate may have been level with the leader (rule C6).
    pub max_lag_age: Duration,
    /// The furthest the candidate of a switchover may trail when it begins, in bytes.
    pub switch_lag_bytes: u64,
}

impl Default for Limits {
    /// 1 MiB and 10 seconds: what an operator would call "hardly anything". Raise the bytes where a standby far
    /// away is the last resort.
    fn default() -> Self {
        Limits { max_lag_bytes: 1 << 20, max_lag_age: Duration::from_secs(10), switch_lag_bytes: 1 << 20 }
    }
}

/// How far the coordinators go on their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A verdict leads to a failover.
    Automatic,
    /// Only operators begin anything.
    Manual,
}

/// What a coordinator is told when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The proxy it lives in.
    pub me: ProxyName,
    /// This run of it: another number with each start.
    pub incarnation: u64,
    /// Whether it may be the active one; otherwise it only observes.
    pub may_lead: bool,
    /// How far it goes on its own.
    pub mode: Mode,
    /// The servers of a cluster that is not in the store yet.
    pub nodes: BTreeMap<NodeName, Member>,
    /// What an acknowledged commit is worth in a cluster that is not in the store yet.
    pub durability: Durability,
    /// What may be lost.
    pub limits: Limits,
    /// Durations.
    pub timings: Timings,
    /// A bug, for tests.
    pub mutated: Mutated,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_their_own_rules() {
        let timings = Timings::agentless();
        assert_eq!(timings.check(), Ok(()));
        assert_eq!(timings.fence_wait(timings.permission), Duration::from_millis(4090));
        let hasty = Timings { permission: Duration::from_millis(1900), ..timings };
        let error = hasty.check().expect_err("too short").to_string();
        assert!(
            error.starts_with("permission is 1900 ms and must be at least 2000 ms: 3 x renew"),
            "{error}"
        );
    }
}
