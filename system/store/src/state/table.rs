//! config/queues.json: which units are on the disk, and what the log can no longer tell.
//!
//! Position and counts stand in one file so that they change together: every record below `position` has its unit
//! in its queue's files, and the log itself was on the disk up to there.

use std::collections::BTreeMap;

use protocol::record::body_crc;
use serde::{Deserialize, Serialize};

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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
    /// As the file's text: a line of JSON and a line with its checksum, for a flipped bit in a number is still JSON.
    pub(crate) fn encode(&self) -> Vec<u8> {
        with_sum(serde_json::to_vec(self).expect("a table of names and numbers is valid JSON"))
    }

    /// From the file's text.
    pub(crate) fn decode(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(without_sum(text)?).map_err(|error| error.to_string())
    }
}

/// A text with a line of its checksum behind it.
pub(crate) fn with_sum(mut text: Vec<u8>) -> Vec<u8> {
    let sum = body_crc(&text);
    text.extend_from_slice(format!("\n{sum:08x}\n").as_bytes());
    text
}

/// The text in front of a checksum that fits.
pub(crate) fn without_sum(text: &[u8]) -> Result<&[u8], String> {
    let (text, sum) = text.split_at_checked(text.len().wrapping_sub(SUM_BYTES)).ok_or("it is too short")?;
    if sum == format!("\n{:08x}\n", body_crc(text)).as_bytes() {
        Ok(text)
    } else {
        Err("its checksum does not fit".to_owned())
    }
}

const SUM_BYTES: usize = 10;
