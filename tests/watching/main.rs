//! What is seen from outside: metrics, their documentation, the dashboard, the alert rules, on a real Prometheus.
// The lint is for the pure groups; a test has a clock and threads.
#![allow(clippy::disallowed_methods)]

mod exposition;
mod promtool;
mod reference;
