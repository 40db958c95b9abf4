//! Simulation: the same names, answered by the world crate.

pub use world::system::{clock, disk, host, net, run, signal, time};

/// What a task set needs from the runtime below it.
pub(crate) mod task {
    pub(crate) use world::task::{Abort, spawn, spawn_blocking, yield_now};
}
