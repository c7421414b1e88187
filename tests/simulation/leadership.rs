//! The sources that decide who leads, built once more: optimised, and without the rest of the house.
//!
//! They are the very files of `src`. Unoptimised the simulator would take far longer, and the whole library has seven
//! times the source to build.

#[path = "../../src/cluster/mod.rs"]
pub mod cluster;
#[path = "../../src/pg/mod.rs"]
pub mod pg;
#[path = "../../src/topology/mod.rs"]
pub mod topology;
