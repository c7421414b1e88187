//! What can be typed: arguments and operator verbs.
//!
//! Absent on purpose: building the proxy or the demo, which `main` does with the arguments read here.

pub mod args;
pub mod config;
