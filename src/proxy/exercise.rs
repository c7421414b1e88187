//! Feeds arbitrary bytes to what reads a client's wishes before its login. For fuzz targets and their replay.

use super::startup;
use crate::sql::OWN_PREFIX;
use crate::wire::startup::{FirstPacket, parse_first_packet};

/// Reads `data` as the first packet of a connection, and what it asks for.
///
/// Panics when a request has no user or database, or hands one of our own settings on to servers.
pub fn first_packet(data: &[u8]) {
    let Ok(FirstPacket::Startup(packet)) = parse_first_packet(data) else { return };
    let Ok(request) = startup::read(&packet) else { return };
    assert!(!request.user.is_empty() && !request.database.is_empty());
    let ours = |name: &str| name.to_ascii_lowercase().starts_with(OWN_PREFIX);
    assert!(!request.settings.iter().any(|(name, _)| ours(name)));
}
