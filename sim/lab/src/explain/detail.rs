//! What one run told beside its history: pieces of data on connections, files at each death, effects of faults, log
//! lines. Plain data: where it comes from does not matter here.

/// Everything kept of one run.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// Name and address of each node, by the number that notes use.
    pub nodes: Vec<(String, String)>,
    /// In the order it happened.
    pub notes: Vec<Note>,
    /// What deaths did to files.
    pub falls: Vec<Fall>,
    /// Log lines of the system: seconds, node, level, text.
    pub logs: Vec<String>,
    /// There was more than was kept.
    pub cut_off: bool,
}

/// One event of the world.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// Virtual time.
    pub at_ns: u64,
    /// Number of the node.
    pub node: usize,
    /// What.
    pub kind: &'static str,
    /// With which numbers.
    pub numbers: Vec<u64>,
    /// With which bytes.
    pub bytes: Vec<u8>,
}

/// The death of a process or a machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Fall {
    /// Virtual time.
    pub at_ns: u64,
    /// Its name.
    pub node: String,
    /// The machine lost its power.
    pub power: bool,
    /// Files with something that was not synced.
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
    /// The name of a node.
    #[must_use]
    pub fn name(&self, node: usize) -> &str {
        self.nodes.get(node).map_or("?", |(name, _)| name)
    }

    /// The node with an address, port included.
    #[must_use]
    pub fn at(&self, address: &str) -> Option<usize> {
        let ip = address.rsplit_once(':')?.0;
        self.nodes.iter().position(|(_, of)| of == ip)
    }
}
