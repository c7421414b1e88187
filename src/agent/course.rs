//! Decides, from what is found, how a server comes to follow the primary. Pure.

use super::control_data::ControlData;
use super::data_directory::Postmaster;
use super::leader::LeaderFacts;
use super::marker::Stage;
use super::trouble::{Kind, Trouble};

/// The way to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// It follows already: see that it does, no more.
    Verify,
    /// Its log is a part of the primary's: point it there and start it.
    Follow,
    /// It has written what the primary does not have: take that back first.
    Rewind,
    /// Copy the primary's data anew; the old data is kept beside it.
    Clone,
}

/// What is found on this host.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) control: ControlData,
    /// Whether its postmaster runs.
    pub(super) running: bool,
    /// Whether it is started as a standby.
    pub(super) standby: bool,
    /// Whether it is the very server that leads.
    pub(super) leads: bool,
    /// Whether the primary has it as a follower.
    pub(super) streams: bool,
    /// What an earlier run left.
    pub(super) stage: Option<Stage>,
}

/// Decides. `clone` is the operator's word that this server's own data is worth nothing.
///
/// # Errors
/// It cannot follow, or not without losing what only it has.
pub(super) fn decide(found: &Found, leader: &LeaderFacts, clone: bool) -> Result<Course, Trouble> {
    let own = &found.control;
    if found.leads {
        return Err(refused("this server is the primary")
            .hint("run this on the host of a server that is to follow it"));
    }
    if leader.in_recovery {
        let failure = Trouble::new(Kind::NoPrimary, "the server to follow is in recovery: it does not lead");
        return Err(failure.hint("bellwether status shows who leads"));
    }
    if leader.system_identifier != own.system_identifier {
        let cause =
            format!("system identifiers {} here, {} there", own.system_identifier, leader.system_identifier);
        return Err(refused("this is another cluster's data")
            .cause(cause)
            .hint("compare --data and --primary"));
    }
    if found.running && found.standby && found.streams {
        return Ok(Course::Verify);
    }
    if clone {
        return Ok(Course::Clone);
    }
    let only_clone = |why: &str| {
        let hint =
            "bellwether rejoin --clone copies the primary anew, and keeps this directory beside the copy";
        Err(refused("this server cannot be made to follow with the data it has").cause(why).hint(hint))
    };
    match found.stage {
        // A half-done rewind leaves a mixture of both servers (the manual of pg_rewind says so).
        Some(Stage::Rewinding) => return only_clone("an earlier rewind broke off in the middle"),
        Some(Stage::Rewound) => return Ok(Course::Follow),
        Some(Stage::Begun) | None => {}
    }
    if own.timeline > leader.timeline {
        return only_clone(&format!(
            "it was promoted later: it is on timeline {}, the primary on {}",
            own.timeline, leader.timeline
        ));
    }
    if own.timeline == leader.timeline && own.was_primary {
        // pg_rewind takes equal numbers for equal histories.
        return only_clone(&format!(
            "two servers were promoted to timeline {}, and this is the other one",
            own.timeline
        ));
    }
    match (own.was_primary, own.can_be_rewound) {
        _ if own.timeline == leader.timeline => Ok(Course::Follow),
        (_, true) => Ok(Course::Rewind),
        // Most likely it only stopped before the promotion; if it went further, the proof at the end fails.
        (false, false) => Ok(Course::Follow),
        (true, false) => only_clone("it has neither checksums nor wal_log_hints, which a rewind needs"),
    }
}

/// Whether this server, which runs, is the one that was asked. Either sign is enough: to stop the primary by mistake
/// is worse than to refuse.
pub(super) fn is_itself(control: &ControlData, own: Option<Postmaster>, leader: &LeaderFacts) -> bool {
    // The file's second is that of the first line of code, the server's own answer comes a little later.
    let same_start =
        own.is_some_and(|own| own.port == leader.port && own.started.abs_diff(leader.started) <= 5);
    let same_log = control.checkpoint == leader.checkpoint && control.timeline == leader.timeline;
    same_start || (control.was_primary && same_log)
}

fn refused(message: &str) -> Trouble {
    Trouble::new(Kind::Refused, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old_primary() -> Found {
        let control = ControlData {
            system_identifier: 7,
            timeline: 2,
            checkpoint: "0/1".into(),
            was_primary: true,
            clean: true,
            can_be_rewound: true,
        };
        Found { control, running: false, standby: false, leads: false, streams: false, stage: None }
    }

    fn leader() -> LeaderFacts {
        LeaderFacts {
            in_recovery: false,
            system_identifier: 7,
            timeline: 3,
            checkpoint: "0/2".into(),
            started: 1,
            port: 5432,
            version: "15".into(),
        }
    }

    fn course(change: impl FnOnce(&mut Found)) -> Result<Course, Kind> {
        let mut found = old_primary();
        change(&mut found);
        decide(&found, &leader(), false).map_err(|trouble| trouble.kind)
    }

    #[test]
    fn the_way_follows_from_what_is_found() {
        assert_eq!(course(|_| {}), Ok(Course::Rewind));
        assert_eq!(course(|found| found.running = true), Ok(Course::Rewind));
        assert_eq!(course(|found| found.control.was_primary = false), Ok(Course::Rewind));
        let same = |found: &mut Found| (found.control.was_primary, found.control.timeline) = (false, 3);
        assert_eq!(course(same), Ok(Course::Follow));
        let poor =
            |found: &mut Found| (found.control.was_primary, found.control.can_be_rewound) = (false, false);
        assert_eq!(course(poor), Ok(Course::Follow));
        assert_eq!(course(|found| found.stage = Some(Stage::Begun)), Ok(Course::Rewind));
        assert_eq!(course(|found| found.stage = Some(Stage::Rewound)), Ok(Course::Follow));
        let following =
            |found: &mut Found| (found.running, found.standby, found.streams) = (true, true, true);
        assert_eq!(course(following), Ok(Course::Verify));
    }

    #[test]
    fn the_primary_is_known_by_its_start_or_its_log() {
        let is = |control: &ControlData, started, port| {
            is_itself(control, Some(Postmaster { started, port }), &leader())
        };
        let other = old_primary().control;
        assert!(is(&other, 0, 5432) && is(&other, 6, 5432));
        assert!(!is(&other, 7, 5432) && !is(&other, 1, 5433) && !is_itself(&other, None, &leader()));
        let same = ControlData { timeline: 3, checkpoint: "0/2".into(), ..other.clone() };
        assert!(is(&same, 1000, 5433));
        // A standby has replayed the primary's checkpoints; one that was promoted has begun from a common one.
        assert!(!is(&ControlData { was_primary: false, ..same.clone() }, 1000, 5433));
        assert!(!is(&ControlData { timeline: 2, ..same }, 1000, 5433));
    }

    #[test]
    fn what_only_this_server_has_is_not_thrown_away() {
        let refusals: [fn(&mut Found); 6] = [
            |found| found.leads = true,
            |found| found.control.system_identifier = 8,
            |found| found.stage = Some(Stage::Rewinding),
            |found| found.control.timeline = 4,
            |found| found.control.timeline = 3,
            |found| found.control.can_be_rewound = false,
        ];
        for (place, change) in refusals.into_iter().enumerate() {
            assert_eq!(course(change), Err(Kind::Refused), "{place}");
            let mut found = old_primary();
            change(&mut found);
            // Two of them no word of the operator overrides.
            assert_eq!(decide(&found, &leader(), true).is_ok(), place > 1, "{place}");
        }
        let standby = LeaderFacts { in_recovery: true, ..leader() };
        assert_eq!(
            decide(&old_primary(), &standby, false).map_err(|trouble| trouble.kind),
            Err(Kind::NoPrimary)
        );
    }
}
