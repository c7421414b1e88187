//! One postmaster, from beside it: what needs the file system of its host.
//!
//! [`Rejoin`] makes a server that has lost the lead, or fallen out, follow the primary: it looks (`data_directory`,
//! `control_data`, `leader`), decides (`course`, pure), and goes step by step, with a `marker` that a later run
//! understands. PostgreSQL's own programs do the work (`programs`), as the owner of the data directory.
//! Everything here blocks. Absent on purpose: who should lead; that is told.

mod clone;
mod control_data;
mod course;
mod data_directory;
mod leader;
mod marker;
mod own_files;
mod programs;
mod rejoin;
mod trouble;

pub use course::Course;
pub use rejoin::{Order, Rejoin};
pub use trouble::{Kind, Trouble};
