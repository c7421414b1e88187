//! Authentication: SCRAM and md5, server side and client side; verifiers; host rules.
#![deny(clippy::disallowed_methods)]
