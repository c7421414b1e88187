//! Metrics and logging.
//!
//! Metrics are counted in cells of each worker and folded when someone looks. Absent on purpose: knowledge of
//! what rules, pins or states exist; the caller names them.

mod cells;
mod families;
mod health;
mod leadership;
pub mod logging;
mod metrics;
mod process;
mod render;
mod sources;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod values;

pub use families::Names;
pub use health::Health;
pub use leadership::{Hold, HoldEnd, Kind, Leadership, Mode, Outcome, Step, StoreCall, StoreFailure};
pub use metrics::{Direction, Format, Found, Metrics, NoServer, Origin, Worker};
pub use sources::{PoolState, Primaries, Sources};
