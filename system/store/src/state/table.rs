//! config/queues.json: which units are on the disk, and what the log can no longer tell.
//!
//! Position and counts stand in one file so that they change together: every record below `position` has its unit
//! in its queue's files, and the log itself was on the disk up to there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Table {
    /// All records below have their units on the disk.
    pub(crate) position: u64,
    /// Segments below may be gone: their queues do not need them.
    pub(crate) log_min: u64,
    /// The queue files are being made anew from the log and must not be trusted.
    pub(crate) rebuild: bool,
    /// Offsets by topic and queue.
    pub(crate) topics: BTreeMap<String, BTreeMap<i32, Offsets>>,
    /// Topics that were deleted: records of them below this position count no more.
    pub(crate) deleted: BTreeMap<String, u64>,
}

/// The offsets of one queue: units `min..max` are in its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offsets {
    /// Smallest offset that can be read.
    pub(crate) min: u64,
    /// Offset of the next record.
    pub(crate) max: u64,
}

impl Table {
    /// As the file's text.
    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a table of names and numbers is valid JSON")
    }

    /// From the file's text.
    pub(crate) fn decode(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }
}
