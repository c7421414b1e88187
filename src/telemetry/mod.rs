//! Metrics and logging.
//!
//! Metrics are counted in cells of each worker and folded when someone looks. Absent on purpose: knowledge of
//! what rules, pins or states exist; the caller names them.

mod cells;
mod families;
pub mod logging;
mod metrics;
mod render;
#[cfg(test)]
mod tests;

pub use families::Names;
pub use metrics::{Direction, Format, Found, Metrics, PoolSource, ServerConnections, Worker};
