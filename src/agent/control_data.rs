//! What the control file says of a server, by `pg_controldata`.

use super::data_directory::DataDirectory;
use super::programs::Programs;
use super::trouble::Trouble;

/// The part that matters for following another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ControlData {
    pub(super) system_identifier: u64,
    /// The timeline of the latest checkpoint or, for a standby, of what it must have replayed.
    pub(super) timeline: u32,
    /// Where the latest checkpoint lies.
    pub(super) checkpoint: String,
    /// Whether it wrote as a primary last; whatever is between two states counts as that.
    pub(super) was_primary: bool,
    /// Whether it was shut down in order.
    pub(super) clean: bool,
    /// Whether a rewind can tell which pages differ: checksums, or `wal_log_hints`.
    pub(super) can_be_rewound: bool,
}

impl ControlData {
    pub(super) fn read(programs: &Programs, data: &DataDirectory) -> Result<ControlData, Trouble> {
        let said = programs.run("pg_controldata", |command| command.arg("-D").arg(data.path()))?;
        let failed = |cause: &str| {
            Trouble::failed(format!("the control file of {} cannot be read", data.path().display()))
                .cause(cause)
        };
        match said.success {
            true => ControlData::parse(&said.output)
                .ok_or_else(|| failed("what pg_controldata says is not understood")),
            false => Err(failed(&said.complaint)),
        }
    }

    fn parse(text: &str) -> Option<ControlData> {
        let value = |key: &str| {
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.strip_prefix(key)?.strip_prefix(':')?.trim())
        };
        let checkpoint: u32 = value("Latest checkpoint's TimeLineID")?.parse().ok()?;
        let replayed: u32 = value("Min recovery ending loc's timeline")?.parse().ok()?;
        let state = value("Database cluster state")?;
        Some(ControlData {
            system_identifier: value("Database system identifier")?.parse().ok()?,
            timeline: checkpoint.max(replayed),
            checkpoint: value("Latest checkpoint location")?.to_owned(),
            was_primary: !matches!(state, "shut down in recovery" | "in archive recovery"),
            clean: matches!(state, "shut down" | "shut down in recovery"),
            can_be_rewound: value("wal_log_hints setting")? == "on"
                || value("Data page checksum version")? != "0",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_file_is_understood() {
        let text = |state: &str, hints: &str| {
            format!(
                "Database system identifier:           7277694203142172922\nDatabase cluster state:               {state}\n\
                 Latest checkpoint location:           0/3000060\nLatest checkpoint's TimeLineID:       3\nMin recovery ending loc's timeline:   4\n\
                 wal_log_hints setting:                {hints}\nData page checksum version:           0\n"
            )
        };
        let expected = ControlData {
            system_identifier: 7_277_694_203_142_172_922,
            timeline: 4,
            checkpoint: "0/3000060".to_owned(),
            was_primary: true,
            clean: true,
            can_be_rewound: false,
        };
        assert_eq!(ControlData::parse(&text("shut down", "off")), Some(expected.clone()));
        let crashed = ControlData { clean: false, ..expected.clone() };
        assert_eq!(ControlData::parse(&text("in crash recovery", "off")), Some(crashed));
        let standby = ControlData { was_primary: false, can_be_rewound: true, ..expected };
        assert_eq!(ControlData::parse(&text("shut down in recovery", "on")), Some(standby));
        assert_eq!(ControlData::parse("nonsense"), None);
    }
}
