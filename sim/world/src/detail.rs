//! What a run keeps for people when it is asked to: who sent what to whom, and what each death did to the disk.
//!
//! It is never hashed and nothing in the run looks at it, so a run with it and one without have the same trace.

use std::net::IpAddr;

use crate::{
    node::{Crash, Node},
    state::{State, try_with},
};

/// Everything kept of one run.
#[derive(Debug, Default)]
pub struct Detail {
    /// Name and address of each node by its number; number 0 is the driver.
    pub nodes: Vec<(String, IpAddr)>,
    /// In the order it happened.
    pub notes: Vec<Note>,
    /// What deaths did to disks.
    pub falls: Vec<Fall>,
    /// There was more than is kept.
    pub cut_off: bool,
    bytes: usize,
}

/// One event: those of the trace, and besides `sent` (connection, end; what was written to it), `reset` (connection),
/// `disk.open` (file; its path) and `disk.sync_begin` (file, write covered).
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// Since the run began.
    pub at_ns: u64,
    /// Number of the node.
    pub node: u32,
    /// What.
    pub kind: &'static str,
    /// With which numbers.
    pub numbers: Vec<u64>,
    /// With which bytes.
    pub bytes: Vec<u8>,
}

/// The death of a process or a machine, and the files in which something was not synced then.
#[derive(Clone, Debug, PartialEq)]
pub struct Fall {
    /// Since the run began.
    pub at_ns: u64,
    /// Number of the node.
    pub node: u32,
    /// The machine lost its power.
    pub power: bool,
    /// Files with something at risk.
    pub files: Vec<Fallen>,
    /// How many others there were.
    pub others: usize,
}

/// One file at a death.
#[derive(Clone, Debug, PartialEq)]
pub struct Fallen {
    /// Its path from the top of the disk.
    pub path: String,
    /// As the running system saw it.
    pub before: Vec<u8>,
    /// What of it was synced.
    pub synced: Vec<u8>,
    /// As it was found afterwards; none: its name was lost too.
    pub after: Option<Vec<u8>>,
}

impl Detail {
    fn note(&mut self, note: Note) {
        self.bytes += note.bytes.len();
        if self.notes.len() >= MOST_NOTES || self.bytes > MOST_BYTES {
            self.cut_off = true;
            return;
        }
        self.notes.push(note);
    }
}

impl State {
    /// Keeps an event for people, when anybody asked for that.
    pub(crate) fn note(&mut self, node: Node, kind: &'static str, numbers: &[u64], bytes: &[u8]) {
        let at_ns = self.now();
        if let Some(detail) = &mut self.detail {
            let (numbers, bytes) = (numbers.to_vec(), bytes.to_vec());
            detail.note(Note { at_ns, node: node.number(), kind, numbers, bytes });
        }
    }

    pub(crate) fn take_detail(&mut self) -> Option<Detail> {
        let nodes = self.machines.iter().map(|machine| (machine.name.clone(), machine.ip)).collect();
        self.detail.take().map(|detail| Detail { nodes, ..*detail })
    }
}

/// Keeps an event for people, when anybody asked for that.
pub(crate) fn note(node: Node, kind: &'static str, numbers: &[u64], bytes: &[u8]) {
    try_with(|state| state.note(node, kind, numbers, bytes));
}

/// Whether anybody asked for details.
pub(crate) fn is_on() -> bool {
    try_with(|state| state.detail.is_some()).unwrap_or(false)
}

/// Files before and after a death.
pub(crate) fn fall(node: Node, crash: Crash, mut files: Vec<Fallen>) {
    let all = files.len();
    files.retain(|file| file.before != file.synced);
    try_with(|state| {
        let at_ns = state.now();
        if let Some(detail) = &mut state.detail {
            detail.bytes += files.iter().map(|file| file.before.len() * 3).sum::<usize>();
            if detail.bytes > MOST_BYTES {
                detail.cut_off = true;
                return;
            }
            let (power, others) = (crash == Crash::Power, all - files.len());
            detail.falls.push(Fall { at_ns, node: node.number(), power, files, others });
        }
    });
}

const MOST_NOTES: usize = 1_000_000;
const MOST_BYTES: usize = 256 << 20;
