//! What the system stands on when it is simulated: executor, TCP, disk, clocks, faults; knows no RocketMQ.
//!
//! A run lives on one thread of its own. Everything about it is one `state::State` kept for that thread, so sockets,
//! nodes and the `World` itself are small handles that hold numbers, not pointers: they may be sent, cloned and
//! dropped at any time, also by the code of a node that is already dead, which then finds that it is dead.
//!
//! Empty without cfg(madsim).
#![cfg(madsim)]

mod clock;
mod detail;
mod host;
mod logs;
mod named;
mod net;
mod node;
mod run;
mod state;
mod timer;

pub mod disk;
pub mod hooks;
pub mod random;
pub mod system;
pub mod task;
pub mod time;
pub mod trace;

pub use clock::Clock;
pub use detail::{Detail, Fall, Fallen, Note};
pub use hooks::{Tap, Value};
pub use host::Facts;
pub use logs::Logs;
pub use net::{Link, Network, Passage, Verdict};
pub use node::{Crash, Node, Spawned, crash_here};
pub use run::{Counts, Failure, Outcome, Setup, World, is_over, run};
pub use state::{Here, here};
pub use trace::effect;
