//! Where a statement goes, and why.
#![deny(clippy::disallowed_methods)]
