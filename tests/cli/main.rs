//! What an operator sees: output and exit codes of the real program, against a scripted API and a real proxy.
// The lint is for the pure groups; a test has a clock and threads.
#![allow(clippy::disallowed_methods)]

mod api;
mod changes;
mod config;
mod ends;
mod expected;
mod program;
mod real;
mod rejoin;
mod scripted;
mod shown;
mod terminal;
