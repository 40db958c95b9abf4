//! What the store hands back: where a record stands, what a read found, how it feels.

use bytes::Bytes;

/// Where a record was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position of its first byte in the log.
    pub position: u64,
    /// Position behind its last byte: durable once `flushed` has reached it.
    pub end: u64,
    /// Its offset in its queue.
    pub queue_offset: u64,
    /// When it was stored, ms.
    pub store_timestamp: i64,
}

/// Where a batch was appended: consecutive records, consecutive offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendedBatch {
    /// The first record, but with the end of the last.
    pub first: Appended,
    /// Position of every record.
    pub positions: Vec<u64>,
}

/// How a read of a queue went (broker-store.md 2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStatus {
    /// At least one record.
    Found,
    /// Records were there, the filter took none.
    NoMatchedMessage,
    /// The records are gone from the log or cannot be read.
    MessageWasRemoving,
    /// The queue never had a record.
    NoMessageInQueue,
    /// Asked below the smallest offset.
    OffsetTooSmall,
    /// Asked at the end.
    OffsetOverflowOne,
    /// Asked beyond the end.
    OffsetOverflowBadly,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How it went.
    pub status: ReadStatus,
    /// Stored records back to back, a copy.
    pub records: Bytes,
    /// How many.
    pub count: u32,
    /// Offset to ask for next.
    pub next: u64,
    /// Smallest offset of the queue.
    pub min: u64,
    /// Offset the next record will get, as readers see it.
    pub max: u64,
    /// The reader is so far behind that the log is not expected in memory there.
    pub far_behind: bool,
}

/// Which of two neighbours a search by time answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// The first record stored at or after the time; the end when there is none.
    Lower,
    /// The last record stored at or before the time; 0 when there is none.
    Upper,
}

/// Whether the store can take records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why the log takes no more records, if so.
    pub poisoned: Option<String>,
    /// Appends are refused until there is space.
    pub disk_full: bool,
    /// Bytes of log whose records are not in their queues yet.
    pub dispatch_behind: u64,
}

/// What opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The store was closed properly before.
    pub clean: bool,
    /// First position of the log.
    pub min_position: u64,
    /// Position of the next record.
    pub end: u64,
    /// Up to here everything was known to be on the disk before.
    pub durable: u64,
    /// Bytes read and verified.
    pub scanned: u64,
    /// Position of the last record that recovery read; None when it had to read none.
    pub last_record: Option<u64>,
    /// Records put into their queues again.
    pub dispatched: u64,
    /// Why the log ends where it does, when not at untouched space.
    pub cut: Option<String>,
    /// Log files behind the end that were removed, reserved ones included.
    pub removed_segments: u64,
    /// Damage inside old data that was skipped: position, bytes, reason.
    pub gaps: Vec<Gap>,
    /// Records in old data that do not fit into their queue and were left out.
    pub problems: Vec<String>,
    /// Queues were rebuilt from the whole log.
    pub rebuilt: bool,
}

/// Unreadable bytes with valid records behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First unreadable byte.
    pub position: u64,
    /// Bytes up to the next valid record.
    pub bytes: u64,
    /// What is wrong there.
    pub reason: String,
}
