//! Commit log, consume queues, flush, dispatch and recovery.
//!
//! The log is the only truth: `append` puts records at its end, `flush` makes it durable, `dispatch` derives the
//! queues from it, `settle` puts those on the disk, `recover` brings all of it back after a crash. `index` finds records by key, on
//! its own: nothing else waits for it.

mod append;
pub mod audit;
mod config;
mod delete;
mod dispatch;
mod error;
mod flush;
mod index;
mod log;
mod note;
mod queue;
mod recover;
mod reserve;
mod settle;
mod state;
mod store;
mod topics;
mod types;
mod walk;

pub use config::{Config, FlushMode, OnDamage, Timed};
pub use error::{AppendError, OpenError, ReadError, Undurable};
pub use index::{Key, KeyQuery, Matches, QueryError};
pub use queue::Queue;
pub use store::Store;
pub use types::{Appended, AppendedBatch, Boundary, Found, Gap, Health, ReadStatus, RecoveryReport};
