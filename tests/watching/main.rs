//! What is seen from outside: metrics, their documentation, the dashboard, the alert rules, on a real Prometheus.
// The lint is for the pure groups; a test has a clock and threads.
#![allow(clippy::disallowed_methods)]

mod dashboard;
mod docker;
mod exposition;
mod expressions;
mod live;
mod prometheus;
mod promtool;
mod reference;
mod rules;
