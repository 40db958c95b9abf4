//! The checkpoint page: Java's five numbers, and behind them the position up to which the log was on the disk.

use bytes::{Buf, BufMut};

/// What the page tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Everything below was synced successfully. Only ever taken from a finished sync.
    pub(crate) flushed: u64,
    /// Store time of the last flushed record, for Java.
    pub(crate) log_time: i64,
    /// Store time up to which the queues are on the disk, for Java.
    pub(crate) queue_time: i64,
    /// Store time up to which the index is on the disk, for Java.
    pub(crate) index_time: i64,
}

impl Checkpoint {
    /// The page's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(PAGE);
        page.put_i64(self.log_time);
        page.put_i64(self.queue_time);
        page.put_i64(self.index_time);
        page.put_u64(0);
        page.put_u64(0);
        page.put_u64(MAGIC);
        page.put_u64(self.flushed);
        page.put_u64(!self.flushed);
        page.resize(PAGE, 0);
        page
    }

    /// Reads a page; None for one that Java wrote or that is damaged.
    pub(crate) fn decode(mut page: &[u8]) -> Option<Self> {
        if page.len() < 64 {
            return None;
        }
        let (log_time, queue_time, index_time) = (page.get_i64(), page.get_i64(), page.get_i64());
        page.advance(16);
        let (magic, flushed, check) = (page.get_u64(), page.get_u64(), page.get_u64());
        (magic == MAGIC && check == !flushed).then_some(Self { flushed, log_time, queue_time, index_time })
    }
}

const PAGE: usize = 4096;
const MAGIC: u64 = u64::from_be_bytes(*b"REPRISE1");
