//! Servers start, stop, are promoted, are rewound.

use bellwether::cluster::{SyncNames, Upstream};

use super::clock::MS;
use super::happening::Happening;
use super::network::Party;
use super::server::{Power, Promotion};
use super::wal::Place;
use super::world::World;

/// `wal_segment_size`.
const SEGMENT: u64 = 16 << 20;

impl World {
    /// Ends every process of a server. With `dark` the host goes too, and nobody is told.
    pub fn stop_server(&mut self, node: usize, dark: bool) {
        let now = self.now;
        let server = &mut self.servers[node];
        if matches!(server.power, Power::Up | Power::Starting) {
            self.story
                .tell(now, || format!("n{} stops{}", node + 1, if dark { ", with its host" } else { "" }));
        }
        server.power = if dark { Power::Dark } else { Power::Stopped };
        server.waiting.clear();
        server.walsenders.clear();
        server.owner = None;
        server.restoring = None;
        server.promotion = Promotion::None;
        server.look += 1;
        self.parked_nodes[node].clear();
        if self.servers[node].receiver.is_some() {
            self.drop_receiver(node);
        }
        if dark {
            return;
        }
        for standby in 0..self.servers.len() {
            let server = &self.servers[standby];
            let Some(receiver) = server.receiver.as_ref().filter(|receiver| receiver.sender == node) else {
                continue;
            };
            if self.network.reaches(Party::Node(node), Party::Node(standby)) {
                let (run, link) = (server.run, receiver.link);
                self.plan(MS, Happening::LinkBreaks { node: standby, run, link });
            }
        }
        self.reset_connections(node);
    }

    /// Starts a server: as what it was, a primary as a primary.
    pub fn start_server(&mut self, node: usize) {
        let server = &mut self.servers[node];
        if matches!(server.power, Power::Up | Power::Starting) {
            return;
        }
        server.power = Power::Starting;
        server.run += 1;
        let (run, takes) = (server.run, server.pace.boot);
        self.plan(takes, Happening::Boots { node, run });
    }

    /// The server takes connections.
    pub fn boots(&mut self, node: usize, run: u64) {
        let server = &mut self.servers[node];
        if server.run != run || server.power != Power::Starting {
            return;
        }
        server.power = Power::Up;
        server.sync_names = server.conf.sync_names.clone();
        if server.recovery {
            // Where streaming would begin again: the start of a segment, behind what was replayed.
            server.received = Some(server.place.end / SEGMENT * SEGMENT);
            self.recover(node);
        } else {
            // What waited for standbys before is visible to all now.
            server.replayed = server.place.end;
            server.visible = self.wal.last_write(server.place);
        }
        let what = if self.servers[node].recovery { "standby" } else { "primary" };
        self.story.tell(self.now, || format!("n{} is up again as a {what}", node + 1));
    }

    /// A promotion is through.
    pub fn promotion_ends(&mut self, node: usize) {
        let server = &mut self.servers[node];
        if server.promotion != Promotion::Ending {
            return;
        }
        server.promotion = Promotion::None;
        server.recovery = false;
        let from = self.wal.whole(server.place);
        server.known_timeline =
            server.known_timeline.max(self.wal.lineage(from.branch).last().timeline.0) + 1;
        server.place = self.wal.fork(from, server.known_timeline);
        server.replayed = server.place.end;
        server.visible = self.wal.last_write(server.place);
        let timeline = server.known_timeline;
        self.story.tell(self.now, || {
            format!("n{} is a primary now, on timeline {timeline} from {}", node + 1, from.end)
        });
        self.check_promotion(node);
        self.pump(node);
    }

    /// The settings were read again: names for synchronous commit come into force when the checkpointer has seen
    /// them, the rest when the startup process looks.
    pub fn reload(&mut self, node: usize) {
        let server = &self.servers[node];
        let (run, takes) = (server.run, server.pace.reload);
        let takes = self.random.between(0..takes + 1);
        self.plan(takes, Happening::NamesApply { node, run });
        // A walreceiver lives on for 16 to 29 ms even when replay is idle.
        let wakes = self.random.between(MS..30 * MS);
        self.look_again(node, wakes);
    }

    /// New names for synchronous commit are in force.
    pub fn names_apply(&mut self, node: usize) {
        let server = &mut self.servers[node];
        if server.sync_names != server.conf.sync_names {
            server.sync_names = server.conf.sync_names.clone();
            let text = match &self.servers[node].sync_names {
                SyncNames::Nobody => "nobody".to_owned(),
                names => names.to_string(),
            };
            self.story.tell(self.now, || format!("n{} waits for {text} from now on", node + 1));
            self.release_waiting(node);
        }
    }

    /// An operator rewinds a server to follow `leader`, and starts it as a standby.
    pub fn rewind(&mut self, node: usize, leader: usize) {
        self.stop_server(node, false);
        self.check_wipe(node);
        let (theirs, mixed) = (self.servers[leader].place, self.servers[leader].mixed);
        // pg_rewind brings the node to the leader's end; it must replay up to there before it lets readers in.
        let server = &mut self.servers[node];
        server.place = Place { branch: self.wal.branch_at(theirs.branch, theirs.end), end: theirs.end };
        (server.mixed, server.replayed) = (mixed, theirs.end);
        self.story.tell(self.now, || format!("operator: n{} rewound to n{}", node + 1, leader + 1));
        self.demote(node, leader);
    }

    /// An operator starts a server as a standby of `leader`, its data as it is.
    pub fn demote(&mut self, node: usize, leader: usize) {
        self.stop_server(node, false);
        let server = &mut self.servers[node];
        server.recovery = true;
        server.conf.upstream = Upstream::Foreign;
        server.conf.foreign = leader;
        server.conf.sync_names = SyncNames::Nobody;
        self.story.tell(self.now, || {
            format!("operator: n{} is a standby of n{} from now on", node + 1, leader + 1)
        });
        self.start_server(node);
    }
}
