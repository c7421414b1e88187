//! One client's protocol machine: pipeline, transaction, prepared statements, settings, pins.
#![deny(clippy::disallowed_methods)]
