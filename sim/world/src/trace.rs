//! The fingerprint of a run: one hash over all that happened, and what each fault changed.
//!
//! The world and the lab write it, never a tracing subscriber. It holds virtual time, node, kind and payload of each
//! event, no address, no thread, no number that other runs of the process could have moved.

use std::fmt::Write as _;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::{
    node::Node,
    state::{State, with},
};

/// Hashes the events and, when asked, keeps a readable line for each.
pub(crate) struct Trace {
    hasher: Xxh3,
    pub(crate) lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(lines: bool) -> Self {
        Self { hasher: Xxh3::new(), lines: lines.then(Vec::new) }
    }

    pub(crate) fn digest(&self) -> [u8; 16] {
        self.hasher.digest128().to_be_bytes()
    }
}

impl State {
    pub(crate) fn record(&mut self, node: Node, kind: &'static str, numbers: &[u64], bytes: &[u8]) {
        let now = self.now();
        // Lengths go in too, so that no two different events give the same bytes.
        let mut head = [0_u8; HEAD + 8 * NUMBERS];
        head[..8].copy_from_slice(&now.to_le_bytes());
        head[8..12].copy_from_slice(&node.number().to_le_bytes());
        head[12..16].copy_from_slice(&(kind.len() as u32).to_le_bytes());
        head[16..20].copy_from_slice(&(numbers.len() as u32).to_le_bytes());
        head[20..HEAD].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        let mut end = HEAD;
        for number in numbers {
            head[end..end + 8].copy_from_slice(&number.to_le_bytes());
            end += 8;
        }
        self.trace.hasher.update(&head[..end]);
        self.trace.hasher.update(kind.as_bytes());
        self.trace.hasher.update(bytes);
        if let Some(lines) = &mut self.trace.lines {
            lines.push(line(now, &self.machines[node.index()].name, kind, numbers, bytes));
        }
        self.note(node, kind, numbers, bytes);
    }

    /// Counts that a fault changed something.
    pub(crate) fn effect(&mut self, node: Node, kind: &'static str) {
        self.effects(node, kind, 1);
    }

    /// Counts that a fault changed so many things at once.
    pub(crate) fn effects(&mut self, node: Node, kind: &'static str, count: u64) {
        *self.effects.entry(kind).or_default() += count;
        self.record(node, "effect", &[count], kind.as_bytes());
    }
}

/// Adds an event of `node` to the trace: up to 8 numbers, any bytes.
pub fn record(node: Node, kind: &'static str, numbers: &[u64], bytes: &[u8]) {
    with(|state| state.record(node, kind, numbers, bytes));
}

/// Counts that a fault of this kind changed something for `node`.
pub fn effect(node: Node, kind: &'static str) {
    with(|state| state.effect(node, kind));
}

/// Counts that a fault of this kind changed so many things for `node` at once.
pub(crate) fn effects(node: Node, kind: &'static str, count: u64) {
    with(|state| state.effects(node, kind, count));
}

fn line(now: u64, node: &str, kind: &str, numbers: &[u64], bytes: &[u8]) -> String {
    let mut line = format!("{:>7}.{:09} {node:<12} {kind}", now / 1_000_000_000, now % 1_000_000_000);
    for number in numbers {
        let _ = write!(line, " {number}");
    }
    match std::str::from_utf8(bytes) {
        Ok("") => {}
        Ok(text) if text.len() <= 160 && !text.contains(char::is_control) => {
            let _ = write!(line, " {text}");
        }
        _ => {
            let _ = write!(line, " [{} bytes {:016x}]", bytes.len(), xxh3_64(bytes));
        }
    }
    line
}

const HEAD: usize = 24;
const NUMBERS: usize = 8;
