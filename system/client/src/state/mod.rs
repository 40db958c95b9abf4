//! The decisions of a client, without waiting, clocks or chance: times and draws come in as arguments.

pub(crate) mod allocate;
pub(crate) mod offsets;
