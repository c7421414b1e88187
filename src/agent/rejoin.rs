//! Makes a server follow the primary, step by step; safe to repeat.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::clone;
use super::control_data::ControlData;
use super::course::{Course, Found, decide, is_itself};
use super::data_directory::DataDirectory;
use super::leader::{Follower, Leader, LeaderFacts};
use super::marker::{Marker, Stage};
use super::own_files;
use super::programs::{Programs, Said};
use super::trouble::{Kind, Trouble};
use crate::pg::ConnInfo;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Order {
    /// The node's name; its followers' name (`application_name`) at the primary.
    pub node: String,
    /// The data directory.
    pub data: PathBuf,
    /// The primary; one host.
    pub primary: ConnInfo,
    /// The password, where the connection string has none.
    pub password: Option<String>,
    /// Where PostgreSQL's programs are; `None` to find them.
    pub programs: Option<PathBuf>,
    /// Whether the data here may be replaced by a copy.
    pub clone: bool,
    /// Whether to start the server. Without, whoever manages it does, and a second run gives the proof.
    pub start: bool,
    /// How long to wait for it to follow.
    pub patience: Duration,
}

/// A server that has been looked at.
#[derive(Debug)]
pub struct Rejoin {
    order: Order,
    data: DataDirectory,
    programs: Programs,
    leader: Leader,
    facts: LeaderFacts,
    marker: Marker,
    stage: Option<Stage>,
    running: bool,
    course: Course,
}

/// Told of each step that is behind us, with its figure.
type Tell<'a> = &'a mut dyn FnMut(String, Option<String>);

impl Rejoin {
    /// Looks at the server and the primary and decides. Nothing is changed.
    ///
    /// # Errors
    /// It cannot follow, or not without losing what only it has.
    pub fn plan(order: Order) -> Result<Rejoin, Trouble> {
        let data = DataDirectory::open(&order.data)?;
        let programs = Programs::find(order.programs.as_deref(), &data)?;
        let leader = Leader::new(&order.primary, order.password.clone())?;
        let facts = leader.facts(&programs)?;
        if facts.version != data.version() {
            return Err(Trouble::new(Kind::Refused, "the primary runs another major version")
                .cause(format!("PostgreSQL {} here, {} there", data.version(), facts.version)));
        }
        let marker = Marker::of(&data);
        let running = is_running(&programs, &data)?;
        let control = ControlData::read(&programs, &data)?;
        let leads = running && is_itself(&control, data.postmaster(), &facts);
        let streams = running && leader.follower(&programs, &order.node, "0/0")? == Follower::CaughtUp;
        let found =
            Found { control, running, standby: data.is_standby(), leads, streams, stage: marker.stage() };
        let course = decide(&found, &facts, order.clone)?;
        if course == Course::Rewind {
            leader.check_rights(&programs)?;
        }
        Ok(Rejoin { order, data, programs, leader, facts, marker, stage: found.stage, running, course })
    }

    /// Returns the way it will go.
    pub fn course(&self) -> Course {
        self.course
    }

    /// Returns what will be done, each step with its figure.
    pub fn steps(&self) -> Vec<(String, Option<String>)> {
        let mut steps = Vec::new();
        let mut step = |what: String, note: Option<String>| steps.push((what, note));
        if self.course != Course::Verify {
            if self.running {
                step("stop the server".to_owned(), Some(self.data.path().display().to_string()));
            }
            match self.course {
                Course::Rewind => {
                    step("take back what the primary does not have".to_owned(), Some("pg_rewind".to_owned()))
                }
                Course::Clone => step(
                    "copy the primary's data".to_owned(),
                    Some("pg_basebackup; the old data is kept".to_owned()),
                ),
                Course::Follow | Course::Verify => {}
            }
            step(
                format!("make it a standby of timeline {}", self.facts.timeline),
                Some("standby.signal".to_owned()),
            );
            if self.order.start {
                step("start it".to_owned(), None);
            }
        }
        if self.order.start || self.course == Course::Verify {
            step("see it follow".to_owned(), Some(format!("within {} s", self.order.patience.as_secs())));
        }
        steps
    }

    /// Does it.
    ///
    /// # Errors
    /// A step failed; the next run goes on from there, or says what is left to do.
    pub fn carry_out(&self, tell: Tell<'_>) -> Result<String, Trouble> {
        if self.course != Course::Verify {
            self.prepare(tell)?;
            if !self.order.start {
                return Ok("prepared: start it, then run this again to see that it follows".to_owned());
            }
            self.start()?;
            tell("started".to_owned(), None);
        }
        let position = self.see_it_follow()?;
        tell(format!("{} follows", self.order.node), Some(format!("replayed {position}")));
        self.marker.remove()?;
        Ok(format!("{} follows the primary on timeline {}", self.order.node, self.facts.timeline))
    }

    fn prepare(&self, tell: Tell<'_>) -> Result<(), Trouble> {
        if self.running {
            self.stop()?;
            tell("stopped".to_owned(), None);
            self.still_leads()?;
        }
        let kept = self.marker.path().to_owned();
        if self.stage.is_none_or(|stage| stage == Stage::Begun) {
            self.marker.set(&self.data, Stage::Begun)?;
            own_files::keep(&self.data, &kept)?;
        }
        match self.course {
            Course::Rewind => self.rewind(tell)?,
            Course::Clone => return self.clone(tell),
            Course::Follow | Course::Verify => {}
        }
        self.make_standby(self.data.path())?;
        tell("made a standby".to_owned(), Some(format!("timeline {}", self.facts.timeline)));
        Ok(())
    }

    fn rewind(&self, tell: Tell<'_>) -> Result<(), Trouble> {
        self.leader.wait_for_checkpoint(&self.programs, self.facts.timeline)?;
        // Where it can be tried without touching anything, it is; after a crash the log must be replayed first.
        if ControlData::read(&self.programs, &self.data)?.clean {
            let said = self.pg_rewind(&["--dry-run"])?;
            if !said.success {
                return Err(Trouble::failed("a rewind would fail; nothing has been changed")
                    .cause(said.complaint)
                    .hint("mend that and run this again, or copy the primary anew with --clone"));
            }
        }
        self.marker.set(&self.data, Stage::Rewinding)?;
        let said = self.pg_rewind(&[])?;
        if !said.success {
            return Err(Trouble::failed("the rewind failed, and the data here must not be used as it is")
                .cause(said.complaint)
                .hint("bellwether rejoin --clone copies the primary anew, and keeps this directory beside the copy"));
        }
        self.marker.set(&self.data, Stage::Rewound)?;
        tell("rewound".to_owned(), None);
        Ok(())
    }

    fn pg_rewind(&self, more: &[&str]) -> Result<Said, Trouble> {
        let source = self.leader.to_database("postgres");
        let archived = self.has_restore_command()?;
        // From version 15 on; a server with one elsewhere and an older version must have been shut down cleanly.
        let knows_files = self.data.version().parse().is_ok_and(|version: u32| version >= 15);
        self.programs.run("pg_rewind", |command| {
            command.arg("-D").arg(self.data.path()).arg(format!("--source-server={source}")).args(more);
            if archived {
                command.arg("-c");
            }
            if let Some(file) = self.data.config_file().filter(|_| knows_files) {
                command.arg(format!("--config-file={file}"));
            }
            self.leader.password(command)
        })
    }

    fn clone(&self, tell: Tell<'_>) -> Result<(), Trouble> {
        let copy = clone::copy(&self.programs, &self.data, &self.leader)?;
        tell("copied".to_owned(), None);
        self.make_standby(&copy)?;
        let linked = self.data.path().join("pg_wal").is_symlink();
        let old = clone::exchange(&self.data, &copy)?;
        self.marker.set(&self.data, Stage::Rewound)?;
        tell("put in place".to_owned(), Some(format!("the old data is in {}", old.display())));
        if linked {
            tell("pg_wal is a plain directory now".to_owned(), Some("it was a link before".to_owned()));
        }
        Ok(())
    }

    fn make_standby(&self, target: &std::path::Path) -> Result<(), Trouble> {
        let name = &self.order.node;
        let slot = self.leader.has_slot(&self.programs, name)?.then_some(name.as_str());
        let conninfo = self.leader.to_follow(name);
        own_files::put_back(&self.data, self.marker.path(), target, &conninfo, slot)
    }

    fn has_restore_command(&self) -> Result<bool, Trouble> {
        let said = self.programs.run("postgres", |command| {
            command.args(["-C", "restore_command", "-D"]).arg(self.data.path()).args(self.data.arguments())
        })?;
        Ok(said.success && !said.output.trim().is_empty())
    }

    fn stop(&self) -> Result<(), Trouble> {
        let seconds = self.order.patience.as_secs().to_string();
        let said = self.programs.run("pg_ctl", |command| {
            command.args(["stop", "-m", "fast", "-w", "-t", &seconds, "-D"]).arg(self.data.path())
        })?;
        match said.success {
            true => Ok(()),
            false => Err(Trouble::failed("the server does not stop")
                .cause(said.complaint)
                .hint("nothing else has been done")),
        }
    }

    /// What was asked before may be of the past; and had it been this server after all, it would be silent now.
    fn still_leads(&self) -> Result<(), Trouble> {
        let hint = "nothing has been done but to stop this server: start it again, or run this again";
        let now = self.leader.facts(&self.programs).map_err(|trouble| trouble.hint(hint))?;
        match now.timeline == self.facts.timeline && !now.in_recovery {
            true => Ok(()),
            false => Err(Trouble::failed("the primary has changed meanwhile").hint(hint)),
        }
    }

    fn start(&self) -> Result<(), Trouble> {
        let log = self.data.path().join("rejoin.log");
        let quoted =
            self.data.arguments().iter().map(|argument| format!("'{}'", argument.replace('\'', r"'\''")));
        let options = quoted.collect::<Vec<_>>().join(" ");
        let seconds = self.order.patience.as_secs().to_string();
        let said = self.programs.run("pg_ctl", |command| {
            command.args(["start", "-w", "-t", &seconds, "-D"]).arg(self.data.path()).arg("-l").arg(&log);
            if options.is_empty() { command } else { command.args(["-o", &options]) }
        })?;
        match said.success {
            true => Ok(()),
            false => Err(Trouble::failed("the server does not start").cause(said.complaint).hint(format!(
                "look at its log, or at {}; run this again once that is mended",
                log.display()
            ))),
        }
    }

    /// Running is no proof: a standby of a branch that has died runs, and never gets on.
    fn see_it_follow(&self) -> Result<String, Trouble> {
        let position = self.leader.position(&self.programs)?;
        let deadline = Instant::now() + self.order.patience;
        loop {
            let seen = self.leader.follower(&self.programs, &self.order.node, &position)?;
            if seen == Follower::CaughtUp {
                return Ok(position);
            }
            if Instant::now() > deadline {
                let what = match seen {
                    Follower::Absent => "the primary does not see it",
                    _ => "it has not caught up yet",
                };
                return Err(Trouble::new(
                    Kind::Unknown,
                    format!("{} runs, but is not seen to follow", self.order.node),
                )
                .cause(format!("{what} (position {position})"))
                .hint("look at its log; run this again to see whether it follows by now"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn is_running(programs: &Programs, data: &DataDirectory) -> Result<bool, Trouble> {
    let said = programs.run("pg_ctl", |command| command.args(["status", "-D"]).arg(data.path()))?;
    match said.code {
        Some(0) => Ok(true),
        // The manual of pg_ctl: 3 for a server that does not run.
        Some(3) => Ok(false),
        _ => Err(Trouble::failed("whether the server runs cannot be told").cause(said.complaint)),
    }
}
