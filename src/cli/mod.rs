//! Command-line arguments and verbs.
