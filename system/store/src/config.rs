//! What can be set about a store; defaults are RocketMQ's own (broker-store.md 5.3).

use std::time::Duration;

use crate::error::OpenError;
use crate::state::index::Shape;
use crate::state::keys::Keys;
use crate::state::unit::Unit;

/// When an append counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// When it is on the disk: survives power loss.
    Sync,
    /// When it is in the page cache: survives the death of the process.
    Async,
}

/// What to do at open when records that were once durable cannot be read and nothing readable follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDamage {
    /// Refuse to open: an operator decides.
    Refuse,
    /// Cut the log there and go on with what is in front of the damage.
    Cut,
}

/// A topic whose queues hold records for a time: a unit there tells when its record is due, not its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    /// The topic.
    pub topic: String,
    /// How long each queue holds a record, ms, by queue number; further queues hold theirs as long as the last one.
    pub delays_ms: Vec<i64>,
}

impl Timed {
    /// When a record of a queue that was stored at `store_time` is due, ms.
    pub fn due(&self, queue: i32, store_time: i64) -> i64 {
        let queue = usize::try_from(queue).unwrap_or(0);
        let delay = self.delays_ms.get(queue).or(self.delays_ms.last()).copied().unwrap_or(0);
        store_time.saturating_add(delay)
    }
}

/// Settings of one store.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of one commit log file (`mappedFileSizeCommitLog`).
    pub segment_bytes: u64,
    /// Bytes of one consume queue file, a multiple of 20 (`mappedFileSizeConsumeQueue`).
    pub queue_file_bytes: u64,
    /// When an append counts as done (`flushDiskType`).
    pub flush: FlushMode,
    /// Pause between flushes without a waiter (`flushIntervalCommitLog`).
    pub flush_interval: Duration,
    /// How long an append waits for its sync (`syncFlushTimeout`).
    pub sync_flush_timeout: Duration,
    /// Syncs of the commit log that may be in flight at once.
    pub syncs_in_flight: usize,
    /// How long an append waits for a new segment.
    pub segment_timeout: Duration,
    /// Bytes ahead of the end of the log that are faulted in beforehand.
    pub populate_bytes: u64,
    /// Whether that is all of each new segment, long before it is needed (`warmMapedFileEnable`).
    pub warm: bool,
    /// Pause between two complete writes of the queues (`flushConsumeQueueThoroughInterval`).
    pub settle_interval: Duration,
    /// Bytes of log after which the queues are written without waiting for the interval: bounds what a start re-reads.
    pub settle_bytes: u64,
    /// Units held in memory only after which the queues are written.
    pub settle_units: u64,
    /// Units each queue keeps in memory for its readers after they were written.
    pub tail_units: usize,
    /// Pause between two writes of the flushed position.
    pub checkpoint_interval: Duration,
    /// Longest body (`maxMessageSize`).
    pub max_message_bytes: usize,
    /// Longest topic that is not a retry topic (`maxTopicLength`).
    pub max_topic_bytes: usize,
    /// A pull examines this many bytes of units, at least (`maxFilterMessageSize`).
    pub max_filter_bytes: u64,
    /// Most bytes of a read from memory (`maxTransferBytesOnMessageInMemory`).
    pub memory_read_bytes: u32,
    /// Most records of a read from memory (`maxTransferCountOnMessageInMemory`).
    pub memory_read_count: u32,
    /// Most bytes of a read from disk (`maxTransferBytesOnMessageInDisk`).
    pub disk_read_bytes: u32,
    /// Most records of a read from disk (`maxTransferCountOnMessageInDisk`).
    pub disk_read_count: u32,
    /// Share of the machine's memory that the newest part of the log is expected in, percent (`accessMessageInMemoryMaxRatio`).
    pub memory_percent: u64,
    /// Dispatch may be this far behind before sends are slowed down.
    pub dispatch_behind_bytes: u64,
    /// How long a segment is kept (`fileReservedTime`).
    pub reserved: Duration,
    /// Hours of the day at which expired segments are deleted (`deleteWhen`).
    pub delete_hours: Vec<u8>,
    /// Pause between two looks for expired segments (`cleanResourceInterval`).
    pub expire_interval: Duration,
    /// Segments deleted in one look at most (`deleteFileBatchMax`).
    pub expire_batch: usize,
    /// Disk use above which expired segments go at any hour, percent (`diskMaxUsedSpaceRatio`).
    pub disk_max_percent: u64,
    /// Disk use above which segments go before they expire, percent (`diskSpaceCleanForciblyRatio`).
    pub disk_force_percent: u64,
    /// Disk use above which sends are refused, percent (`diskSpaceWarningLevelRatio`).
    pub disk_full_percent: u64,
    /// Whether unexpired segments may go at all (`cleanFileForciblyEnable`).
    pub force_expire: bool,
    /// Damage that no valid record follows.
    pub on_damage: OnDamage,
    /// Whether records can be found by their keys (`messageIndexEnable`).
    pub index: bool,
    /// Slots of an index file (`maxHashSlotNum`).
    pub index_slots: u32,
    /// Entries of an index file, one of which is never used (`maxIndexNum`).
    pub index_entries: u32,
    /// Most records of an answer to a query (`maxMsgsNumBatch`).
    pub query_count: u32,
    /// The topic that holds records for a time, if there is one.
    pub timed: Option<Timed>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            queue_file_bytes: 6_000_000,
            flush: FlushMode::Async,
            flush_interval: Duration::from_millis(500),
            sync_flush_timeout: Duration::from_secs(5),
            syncs_in_flight: 4,
            segment_timeout: Duration::from_secs(5),
            populate_bytes: 16 << 20,
            warm: false,
            settle_interval: Duration::from_secs(60),
            settle_bytes: 256 << 20,
            settle_units: 1 << 20,
            tail_units: 1024,
            checkpoint_interval: Duration::from_secs(1),
            max_message_bytes: 4 << 20,
            max_topic_bytes: 127,
            max_filter_bytes: 16_000,
            memory_read_bytes: 256 << 10,
            memory_read_count: 32,
            disk_read_bytes: 64 << 10,
            disk_read_count: 8,
            memory_percent: 40,
            dispatch_behind_bytes: 64 << 20,
            reserved: Duration::from_secs(72 * 3600),
            delete_hours: vec![4],
            expire_interval: Duration::from_secs(10),
            expire_batch: 10,
            disk_max_percent: 75,
            disk_force_percent: 85,
            disk_full_percent: 90,
            force_expire: true,
            on_damage: OnDamage::Refuse,
            index: true,
            index_slots: 5_000_000,
            index_entries: 20_000_000,
            query_count: 64,
            timed: None,
        }
    }
}

impl Config {
    /// What the unit of a record that was stored at `store_time` tells about it: when it is due, or the code of its
    /// tags.
    pub(crate) fn tag(&self, topic: &str, queue: i32, store_time: i64, keys: &Keys) -> i64 {
        match &self.timed {
            Some(timed) if timed.topic == topic => timed.due(queue, store_time),
            _ => keys.tags,
        }
    }

    /// Refuses settings that cannot work together.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let refuse = |text: String| Err(OpenError::Config(text));
        if self.queue_file_bytes == 0 || !self.queue_file_bytes.is_multiple_of(Unit::SIZE) {
            return refuse(format!(
                "mappedFileSizeConsumeQueue is {}: it must be a multiple of {} and not 0",
                self.queue_file_bytes,
                Unit::SIZE
            ));
        }
        if !(MIN_SEGMENT..=u64::from(u32::MAX)).contains(&self.segment_bytes) {
            return refuse(format!(
                "mappedFileSizeCommitLog is {}: it must be between {MIN_SEGMENT} and {}",
                self.segment_bytes,
                u32::MAX
            ));
        }
        if !(1..=MOST_SLOTS).contains(&self.index_slots) {
            return refuse(format!(
                "maxHashSlotNum is {}: it must be between 1 and {MOST_SLOTS}",
                self.index_slots
            ));
        }
        // Java maps an index file as a whole, which it can up to 2 GiB.
        if self.index_entries < 2 || self.index_shape().file_bytes() > i32::MAX as u64 {
            return refuse(format!(
                "maxIndexNum is {}: it must be at least 2, and an index file of 40 bytes, 4 for each of \
                 maxHashSlotNum and 20 for each of maxIndexNum may have 2147483647 bytes at most",
                self.index_entries
            ));
        }
        if self.syncs_in_flight == 0 {
            return refuse("at least one sync must be allowed in flight".to_owned());
        }
        Ok(())
    }

    /// The shape of an index file.
    pub(crate) fn index_shape(&self) -> Shape {
        Shape { slots: self.index_slots, entries: self.index_entries }
    }
}

const MIN_SEGMENT: u64 = 4096;
const MOST_SLOTS: u32 = 500_000_000;
