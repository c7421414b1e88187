//! How WAL moves: walsenders, walreceivers, replay, and the commits that wait for it.

use bellwether::cluster::Upstream;

use super::clock::{MS, SECOND, Time};
use super::happening::Happening;
use super::network::Party;
use super::server::{Promotion, Restore, Waiter, Waiting, Walreceiver};
use super::wal::{Place, WriteId};
use super::world::World;

/// `wal_receiver_timeout`.
const RECEIVER_TIMEOUT: Time = 5 * SECOND;

impl World {
    /// Whether a happening of that run of a server still concerns it.
    pub fn is_current(&self, node: usize, run: u64) -> bool {
        self.servers[node].run == run && self.servers[node].power == super::server::Power::Up
    }

    /// A transaction commits on a primary. `write` is a client's, already in the WAL.
    pub fn wait_for_standbys(&mut self, node: usize, end: u64, write: Option<WriteId>, who: Waiter) {
        self.servers[node].waiting.push(Waiting { end, write, who });
        self.pump(node);
        self.release_waiting(node);
    }

    /// Ends the waits that are over.
    pub fn release_waiting(&mut self, node: usize) {
        let server = &mut self.servers[node];
        if server.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut server.waiting);
        let (over, still): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|one| server.is_acknowledged(one.end, &self.names));
        server.waiting = still;
        for one in over {
            self.end_wait(node, one, false);
        }
    }

    /// Tells who waited. With a warning when the wait was cancelled: nobody but the server has the commit.
    pub fn end_wait(&mut self, node: usize, one: Waiting, warned: bool) {
        if let Some(write) = one.write {
            self.servers[node].visible = self.servers[node].visible.max(Some(write));
            if warned {
                self.checker.cancelled(write);
            }
        }
        self.tell_waiter(node, one, warned);
    }

    /// Sends what the standbys of `sender` do not have yet.
    pub fn pump(&mut self, sender: usize) {
        if !self.servers[sender].runs() {
            return;
        }
        let from = self.servers[sender].place;
        for to in 0..self.servers.len() {
            let server = &mut self.servers[to];
            let Some(receiver) = &mut server.receiver else { continue };
            let link = receiver.link;
            let known = self.walsender_link(sender, to) == Some(link);
            let server = &mut self.servers[to];
            let receiver = server.receiver.as_mut().expect("seen above");
            if receiver.sender != sender || receiver.busy || !known || server.place.end >= from.end {
                continue;
            }
            receiver.busy = true;
            let most = server.troubles.trickle.unwrap_or(u64::MAX);
            let end = from.end.min(server.place.end.saturating_add(most));
            let mut latency = self.network.latency(&mut self.random, Party::Node(sender), Party::Node(to));
            if most != u64::MAX {
                latency += 50 * MS;
            }
            let (run, from) = (server.run, Place { branch: from.branch, end });
            self.plan(latency, Happening::WalArrives { to, run, link, from });
        }
    }

    fn walsender_link(&self, sender: usize, standby: usize) -> Option<u64> {
        self.servers[sender].walsenders.get(&standby).map(|(link, _)| *link)
    }

    /// WAL arrives at a standby: it is flushed and acknowledged, whatever replay does.
    pub fn wal_arrives(&mut self, to: usize, link: u64, from: Place) {
        let now = self.now;
        let server = &mut self.servers[to];
        let Some(receiver) = server.receiver.as_mut().filter(|receiver| receiver.link == link) else {
            return;
        };
        let sender = receiver.sender;
        if !self.network.reaches(Party::Node(sender), Party::Node(to)) {
            // TCP tries again until the connection is given up.
            let run = server.run;
            self.plan(200 * MS, Happening::WalArrives { to, run, link, from });
            return;
        }
        (receiver.busy, receiver.heard) = (false, now);
        if from.end > server.place.end {
            if !self.wal.is_prefix(server.place, from.branch) {
                server.mixed = true;
                self.check_mixing(to, sender);
            }
            let server = &mut self.servers[to];
            server.place = Place { branch: self.wal.branch_at(from.branch, from.end), end: from.end };
            server.received = Some(from.end);
            let (run, end) = (server.run, from.end);
            let replay = server.pace.replay;
            self.plan(replay, Happening::Replays { node: to, run, end });
            self.pump(to);
        }
        self.acknowledge(to);
        self.pump(sender);
    }

    /// A walreceiver tells its sender how far it has flushed.
    pub fn acknowledge(&mut self, standby: usize) {
        let server = &self.servers[standby];
        let Some(receiver) = &server.receiver else { return };
        let (sender, link, end) = (receiver.sender, receiver.link, server.place.end);
        let run = self.servers[sender].run;
        let latency = self.network.latency(&mut self.random, Party::Node(standby), Party::Node(sender));
        self.plan(latency, Happening::FlushHeard { by: sender, run, standby, link, end });
    }

    /// A walsender hears how far its standby has flushed.
    pub fn flush_heard(&mut self, by: usize, standby: usize, link: u64, end: u64) {
        if self.walsender_link(by, standby) != Some(link) {
            return;
        }
        if !self.network.reaches(Party::Node(standby), Party::Node(by)) {
            let run = self.servers[by].run;
            return self.plan(200 * MS, Happening::FlushHeard { by, run, standby, link, end });
        }
        if let Some((known, flushed)) = self.servers[by].walsenders.get_mut(&standby)
            && *known == link
        {
            *flushed = end.max(*flushed);
            self.release_waiting(by);
        }
    }

    /// Replay has got as far as `end`.
    pub fn replays(&mut self, node: usize, end: u64) {
        let server = &mut self.servers[node];
        if server.troubles.stalled > 0 && server.promotion == Promotion::None {
            return;
        }
        let held = Place { branch: server.place.branch, end: end.min(server.place.end) };
        server.replayed = server.replayed.max(self.wal.whole(held).end);
        if server.is_idle(&self.wal) {
            self.recover(node);
        }
    }

    /// The startup process needs more WAL. Only here does it look at its settings: a standby that lags keeps its
    /// walreceiver, wherever `primary_conninfo` points by now.
    pub fn recover(&mut self, node: usize) {
        let now = self.now;
        let server = &mut self.servers[node];
        if !server.recovery || !server.runs() {
            return;
        }
        if server.restoring.is_some_and(|until| until <= now) {
            server.restoring = None;
        }
        let restore = server.conf.restore;
        if server.replayed < self.wal.whole(server.place).end {
            let paused = server.troubles.stalled > 0;
            if server.promotion == Promotion::Asked || !paused {
                let (run, end, pace) = (server.run, server.place.end, server.pace.replay);
                let takes = if paused { SECOND } else { pace };
                self.plan(takes, Happening::Replays { node, run, end });
            }
        } else if server.restoring.is_some() {
            // It ends by itself, or never.
        } else if let Some(receiver) = &server.receiver {
            if server.promotion == Promotion::Asked || receiver.upstream != server.conf.upstream {
                self.drop_receiver(node);
                self.look_again(node, 10 * MS);
            }
        } else if server.promotion == Promotion::Asked {
            if restore == Restore::Hangs {
                server.restoring = Some(Time::MAX);
                return;
            }
            server.promotion = Promotion::Ending;
            let run = server.run;
            let takes = server.pace.promote + server.troubles.slow_promotion;
            self.plan(takes, Happening::PromotionEnds { node, run });
        } else if server.promotion == Promotion::None {
            if restore == Restore::Hangs {
                server.restoring = Some(Time::MAX);
                return;
            }
            self.start_receiver(node);
        }
    }

    /// Looks again after a while, unless it looks for another reason before.
    pub fn look_again(&mut self, node: usize, after: Time) {
        let server = &mut self.servers[node];
        server.look += 1;
        let (run, look) = (server.run, server.look);
        self.plan(after, Happening::Looks { node, run, look });
    }

    fn start_receiver(&mut self, node: usize) {
        let server = &self.servers[node];
        let sender = match &server.conf.upstream {
            Upstream::Leader { node, .. } => self.names.iter().position(|name| name == node),
            Upstream::Foreign => Some(server.conf.foreign),
            Upstream::None | Upstream::DeadEnd { .. } => None,
        };
        let retry = server.pace.retry;
        match sender {
            Some(sender) if sender != node => {
                let way = self.network.latency(&mut self.random, Party::Node(node), Party::Node(sender));
                let server = &mut self.servers[node];
                server.look += 1;
                let (run, look) = (server.run, server.look);
                self.plan(2 * way, Happening::ReceiverStarts { node, run, look, sender });
            }
            _ => self.look_again(node, retry),
        }
    }

    /// A walreceiver has connected, or not.
    pub fn receiver_starts(&mut self, node: usize, sender: usize) {
        let (here, there) = (Party::Node(node), Party::Node(sender));
        let reachable = self.network.reaches(here, there) && self.network.reaches(there, here);
        let retry = self.servers[node].pace.retry;
        if !reachable || !self.servers[sender].runs() {
            return self.look_again(node, retry);
        }
        // The history file is fetched before it is found not to fit.
        let shown = self.wal.lineage(self.servers[sender].place.branch).last().timeline.0;
        let whole = self.wal.whole(self.servers[node].place);
        let fits = self.wal.lets_stream(whole, self.servers[sender].place);
        let server = &mut self.servers[node];
        server.known_timeline = server.known_timeline.max(shown);
        if !fits {
            return self.look_again(node, retry);
        }
        // It asks for the record it has a part of anew.
        server.place = whole;
        self.links += 1;
        let link = self.links;
        let upstream = server.conf.upstream.clone();
        server.receiver = Some(Walreceiver { sender, link, upstream, heard: self.now, busy: false });
        let run = server.run;
        self.servers[sender].walsenders.insert(node, (link, 0));
        self.plan(RECEIVER_TIMEOUT / 2, Happening::LinkChecked { node, run, link });
        self.story.tell(self.now, || format!("n{} streams from n{}", node + 1, sender + 1));
        self.acknowledge(node);
        self.pump(sender);
    }

    /// Ends a walreceiver. Its walsender hears of it only if the line is whole.
    pub fn drop_receiver(&mut self, node: usize) {
        let Some(receiver) = self.servers[node].receiver.take() else { return };
        let sender = receiver.sender;
        if self.network.reaches(Party::Node(node), Party::Node(sender))
            && self.walsender_link(sender, node) == Some(receiver.link)
        {
            self.servers[sender].walsenders.remove(&node);
        }
        self.story.tell(self.now, || format!("n{} no longer streams from n{}", node + 1, sender + 1));
    }

    /// Keepalives and `wal_receiver_timeout`.
    pub fn link_checked(&mut self, node: usize, link: u64) {
        let now = self.now;
        let Some(receiver) = &self.servers[node].receiver else { return };
        if receiver.link != link {
            return;
        }
        let (sender, heard) = (receiver.sender, receiver.heard);
        let alive = self.servers[sender].runs()
            && self.walsender_link(sender, node) == Some(link)
            && self.network.reaches(Party::Node(sender), Party::Node(node));
        if alive && let Some(receiver) = &mut self.servers[node].receiver {
            receiver.heard = now;
        } else if now - heard >= RECEIVER_TIMEOUT {
            return self.link_breaks(node, link);
        }
        let run = self.servers[node].run;
        self.plan(RECEIVER_TIMEOUT / 2, Happening::LinkChecked { node, run, link });
    }

    /// The connection to the sender is lost.
    pub fn link_breaks(&mut self, node: usize, link: u64) {
        if self.servers[node].receiver.as_ref().is_some_and(|receiver| receiver.link == link) {
            self.drop_receiver(node);
            let retry = self.servers[node].pace.retry;
            self.look_again(node, retry);
        }
    }
}
