//! The broker's decisions: small tables without waiting, clock or random; `now` and draws are arguments.

pub(crate) mod clients;
pub(crate) mod delay;
pub(crate) mod groups;
pub(crate) mod locks;
pub(crate) mod offsets;
pub(crate) mod rates;
pub(crate) mod topics;
pub(crate) mod transactions;
