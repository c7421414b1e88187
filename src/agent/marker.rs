//! The directory beside the data directory that says how far an earlier run came, and holds what a rewind replaces.
//!
//! Beside it, because pg_rewind removes from the data directory whatever the primary does not have.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::data_directory::DataDirectory;
use super::trouble::Trouble;

/// How far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing of the data has been touched.
    Begun,
    /// A rewind was begun, and has not been seen to end.
    Rewinding,
    /// The rewind is done; files of our own may still be the primary's.
    Rewound,
}

const STAGES: [(Stage, &str); 3] =
    [(Stage::Begun, "begun"), (Stage::Rewinding, "rewinding"), (Stage::Rewound, "rewound")];

/// The directory.
#[derive(Clone, Debug)]
pub(super) struct Marker {
    path: PathBuf,
}

impl Marker {
    /// Names it; nothing is made yet.
    pub(super) fn of(data: &DataDirectory) -> Marker {
        let mut name = data.path().as_os_str().to_owned();
        name.push(".rejoin");
        Marker { path: name.into() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what an earlier run left; something unreadable counts as the worst.
    pub(super) fn stage(&self) -> Option<Stage> {
        if !self.path.exists() {
            return None;
        }
        match fs::read_to_string(self.path.join("stage")) {
            // The directory is made first, and the data touched last.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Stage::Begun),
            text => {
                let text = text.unwrap_or_default();
                let known = STAGES.iter().find(|(_, word)| *word == text.trim()).map(|(stage, _)| *stage);
                Some(known.unwrap_or(Stage::Rewinding))
            }
        }
    }

    /// Makes the directory and says how far we are; on disk when it returns.
    pub(super) fn set(&self, data: &DataDirectory, stage: Stage) -> Result<(), Trouble> {
        let word = STAGES.iter().find(|(known, _)| *known == stage).map_or("", |(_, word)| word);
        let write = || -> io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
            data.own(&self.path)?;
            let (new, name) = (self.path.join("stage.new"), self.path.join("stage"));
            let mut file = File::create(&new)?;
            file.write_all(word.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &name)?;
            data.own(&name)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|error| {
            Trouble::failed(format!("cannot write to {}", self.path.display()))
                .cause(error)
                .hint("the directory above the data directory must be writable for its owner")
        })
    }

    /// Forgets it: all has been proven.
    pub(super) fn remove(&self) -> Result<(), Trouble> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Trouble::failed(format!("cannot remove {}", self.path.display())).cause(error))
            }
            _ => Ok(()),
        }
    }
}
