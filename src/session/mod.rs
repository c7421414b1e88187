//! One client's protocol machine: pipeline, transaction, prepared statements, settings, pins.
//!
//! Absent on purpose: sockets and clocks. The machine is shown the bytes of both sides and says what to write
//! where, when it needs a server, and when it can give one back.
//!
//! Each side's bytes may pass through to the other without a copy, so one outbox refers to one input at a time:
//! when [`Session::frontend`] runs, `to_client` holds no range of the server's bytes, and when
//! [`Session::backend`] runs, `to_server` holds none of the client's. The shell flushes or settles in between.
#![deny(clippy::disallowed_methods)]

mod alone;
mod answers;
mod attach;
mod backend;
mod bereft;
mod confine;
mod endpoint;
mod environment;
mod errors;
#[doc(hidden)]
pub mod exercise;
mod failure;
mod follow;
mod frontend;
mod heal;
mod hold;
mod leave;
mod lookahead;
mod machine;
mod outbox;
mod own;
mod parameters;
pub mod pins;
mod pipeline;
mod placeholders;
mod portals;
mod prepare;
mod reapply;
mod refuse;
mod replay;
mod reported;
mod run;
mod sequences;
mod server;
mod shapes;
mod statements;
mod substitute;
mod types;

pub use answers::Question;
pub use errors::Origin;
pub use frontend::WHOLE_MESSAGE;
pub use heal::Healing;
pub use leave::Parting;
pub use machine::{BackendStep, Context, FrontendStep, PoolMode, Session};
pub use outbox::Outbox;
pub use parameters::Settings;
pub use reported::Reported;
pub use server::ServerState;
pub use statements::StatementTable;
