//! config/index.json: how much of the index is on the disk, and up to where in the log it is complete.
//!
//! Written after the syncs it speaks of. What a crash leaves of the file in use beyond the entries counted here is
//! not trusted: the log is read again from `position`.

use serde::{Deserialize, Serialize};

use super::table::{with_sum, without_sum};

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mark {
    /// Every key of every record below is in the files.
    pub(crate) position: u64,
    /// Slots of each file.
    pub(crate) slots: u32,
    /// Entries of each file.
    pub(crate) entries: u32,
    /// Full files, oldest first.
    pub(crate) full: Vec<Full>,
    /// The file in use.
    pub(crate) last: Option<Last>,
}

/// A full file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Full {
    pub(crate) name: String,
    /// Position of its last record.
    pub(crate) end_position: u64,
}

/// The file in use: of its head only what is told here counts, a later write of it may be torn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Last {
    pub(crate) name: String,
    /// The log has to be read from here if the file is lost.
    pub(crate) from: u64,
    /// Number of the entry behind the last that is on the disk.
    pub(crate) next: u32,
    /// Store time of its first record.
    pub(crate) begin_time: i64,
    /// Store time of the last record.
    pub(crate) end_time: i64,
}

impl Mark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        with_sum(serde_json::to_vec(self).expect("numbers and names are valid JSON"))
    }

    pub(crate) fn decode(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(without_sum(text)?).map_err(|error| error.to_string())
    }
}
