//! The configuration: read, checked, turned into the settings the other groups declare.
//!
//! One table (`keys.rs`) holds every key with its default, unit and reason; the reference file, `config show`
//! and the checks are made from it. Sources come in four layers, each replacing what the one before said:
//! defaults, the file, the environment, the command line. What was written ([`Written`]) and what the program
//! runs with ([`Config`]) are two types with one conversion between them (`check.rs`), where all validation is.
//!
//! Absent on purpose: a global getter. `main` hands each group its own settings.

mod check;
mod env;
mod file;
mod interface;
mod key;
mod keys;
mod leading;
mod load;
mod lookup;
mod problem;
mod reference;
mod settings;
#[cfg(test)]
mod tests;
mod times;
mod units;
mod url;
mod value;
mod written;

pub use env::is_variable;
pub use interface::{Interface, interface};
pub use key::{Applies, Key, KeyPath, Kind};
pub use keys::KEYS;
pub use load::{Flag, Loaded, Reloaded, Sources, load, reload};
pub(crate) use problem::nearest;
pub use problem::{Origin, Problem, Problems, Source};
pub use reference::{effective, reference_file, reference_table};
pub use settings::*;
pub use times::{display_time, parse_time};
pub use units::{parse_duration, parse_size};
pub use value::{Item, Secret, Value};
pub use written::{Entry, Written};

use value::Misfit;

/// Turns a value that does not fit into a problem that names key and place.
fn misfit(path: &KeyPath, misfit: Misfit, place: Origin) -> Problem {
    let place = place.at(misfit.span);
    let problem = Problem::new(format!("invalid value for `{path}`")).at(place).cause(misfit.cause);
    Problem { key: Some(path.pattern), hint: misfit.hint, ..problem }
}
