//! What a process learns about its machine; the plan may say otherwise.

use std::net::IpAddr;

use crate::{
    node::Node,
    random::Dice,
    state::{State, with},
};

/// Facts about a machine and its process.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The process number, drawn anew for each incarnation.
    pub pid: u32,
    /// Addresses of its interfaces.
    pub addresses: Vec<IpAddr>,
    /// Its memory.
    pub memory_bytes: u64,
    /// Its processors.
    pub cpus: usize,
    /// How far its local time is ahead of UTC.
    pub utc_offset_seconds: i32,
}

impl Facts {
    /// A usual machine at `ip`, in a time zone drawn for it.
    pub(crate) fn draw(ip: IpAddr, dice: &mut Dice) -> Self {
        Self {
            pid: 0, // each incarnation draws its own
            addresses: vec![ip],
            memory_bytes: 8 << 30,
            cpus: 1 + dice.below(8) as usize,
            utc_offset_seconds: (dice.below(27) as i32 - 12) * 3600,
        }
    }
}

impl Node {
    /// Changes what this node is told about its machine. The pid holds until the next start.
    pub fn facts(self, change: impl FnOnce(&mut Facts)) {
        let mut facts = with(|state| state.machine(self).facts.clone());
        change(&mut facts);
        with(|state| state.machine(self).facts = facts);
    }
}

/// A fact of the machine whose code is running.
pub(crate) fn fact<T>(take: impl FnOnce(&Facts) -> T) -> T {
    with(|state: &mut State| {
        let here = state.here();
        take(&state.machine(here.node).facts)
    })
}
