//! A session that goes past the proxies and writes to every primary it finds: permission does not bind it.

use super::clock::MS;
use super::happening::Happening;
use super::server::Waiter;
use super::world::World;

impl World {
    /// Writes once to each server that takes it, and comes again.
    pub fn write_directly(&mut self) {
        for node in 0..self.servers.len() {
            let server = &self.servers[node];
            if !server.is_primary() || !server.runs() {
                continue;
            }
            let (write, end) = self.wal.write(server.place.branch, 120, self.now);
            let server = &mut self.servers[node];
            (server.place.end, server.replayed) = (end, end);
            self.wait_for_standbys(node, end, Some(write), Waiter::Direct);
        }
        let again = 20 * MS + self.random.between(0..100 * MS);
        self.plan(again, Happening::WritesDirectly);
    }
}
