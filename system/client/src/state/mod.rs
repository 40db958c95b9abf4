//! The decisions of a client, without waiting, clocks or chance: times and draws come in as arguments.

pub(crate) mod allocate;
pub(crate) mod beats;
pub(crate) mod choose;
mod md5;
pub(crate) mod offsets;
pub(crate) mod process_queue;
pub(crate) mod rebalance;
pub(crate) mod retry;
pub(crate) mod route;
