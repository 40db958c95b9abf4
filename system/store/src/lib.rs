//! Commit log, consume queues, flush, dispatch and recovery.

mod config;
mod error;
mod types;

pub use config::{Config, FlushMode, OnDamage};
pub use error::{AppendError, OpenError, ReadError, Undurable};
pub use types::{Appended, AppendedBatch, Boundary, Found, Gap, Health, ReadStatus, RecoveryReport};
