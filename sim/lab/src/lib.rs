//! Plans, faults, histories and checkers: what a scenario is made of.

pub mod bugs;
pub mod capsule;
pub mod check;
pub mod clients;
pub mod cover;
pub mod draw;
#[cfg(madsim)]
pub mod drive;
pub mod explain;
pub mod history;
pub mod image;
pub mod moment;
pub mod op;
pub mod outcome;
pub mod plan;
pub mod report;
pub mod scenario;
pub mod shrink;
pub mod swarm;
