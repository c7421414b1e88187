//! Why a session keeps its server, and until when.

use crate::sql::SessionState;
use crate::wire::backend;
use crate::wire::frame::Malformed;

/// The kinds of pins with the names they are counted under.
///
/// The first five last until the server says the state is gone; the others until DISCARD ALL or the end of the
/// session, because no server can be asked about them.
pub const PINS: [(SessionState, &str); 11] = [
    (SessionState::TEMP_OBJECT, "temp_object"),
    (SessionState::ADVISORY_LOCK, "advisory_lock"),
    (SessionState::LISTEN, "listen"),
    (SessionState::HOLD_CURSOR, "hold_cursor"),
    (SessionState::SQL_PREPARED, "sql_prepared"),
    (SessionState::SEQUENCE, "sequence"),
    (SessionState::RANDOM_SEED, "random_seed"),
    (SessionState::LIBRARY, "library"),
    (SessionState::DBLINK, "dblink"),
    (SessionState::UNTRACKED_SETTING, "untracked_setting"),
    (LARGE_STATEMENT, "large_statement"),
];

/// A prepared statement too large to be kept, so it exists on one server only. Not an effect that `sql` finds.
pub const LARGE_STATEMENT: SessionState = SessionState(1 << 11);

/// State that a server can be asked about.
pub const ASKABLE: SessionState = SessionState::TEMP_OBJECT
    .union(SessionState::ADVISORY_LOCK)
    .union(SessionState::LISTEN)
    .union(SessionState::HOLD_CURSOR)
    .union(SessionState::SQL_PREPARED);

/// Asks for [`ASKABLE`], one column each, in the order of [`PINS`]. Every name is qualified: the client decides the
/// search path. `pg_temp` types and functions are counted by their dependency on the schema.
pub const PROBE: &str = "SELECT \
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_depend d \
      WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
        AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()),\
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks l \
      WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()),\
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_listening_channels()),\
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_cursors c WHERE c.is_holdable),\
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_statements p WHERE p.from_sql)";

/// Reads the row that [`PROBE`] returns.
pub fn read_probe(row: &[u8]) -> Result<SessionState, Malformed> {
    let mut found = SessionState::NONE;
    backend::data_row(row, |column, value| {
        if let (Some(value), Some((pin, _))) = (value, PINS.get(column))
            && value != b"0"
        {
            found = found.union(*pin);
        }
    })?;
    Ok(found)
}

/// Returns the names of the pins in `state`.
pub fn names(state: SessionState) -> impl Iterator<Item = &'static str> {
    PINS.iter().filter(move |(pin, _)| state.intersects(*pin)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::write;

    #[test]
    fn the_probe_row_names_what_is_left() {
        let mut row = Vec::new();
        write::text_row(&mut row, ["0", "2", "0", "1", "0"].map(Some).into_iter());
        let found = read_probe(&row[5..]).expect("a row we wrote");
        assert_eq!(names(found).collect::<Vec<_>>(), ["advisory_lock", "hold_cursor"]);
        assert_eq!(read_probe(b"\0\x05"), Err(Malformed::Short));
        assert!(found.without(ASKABLE).is_empty());
    }
}
