//! The commit log: its segments, how far it is written, flushed and reserved, and reads by position.

use std::collections::VecDeque;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use protocol::record::{self, RecordRef};
use runtime::disk::{Disk, File};
use runtime::planted;
use runtime::sync::{Mutex, Watermark};
use runtime::time::Instant;

use crate::config::{Config, FlushMode};
use crate::state::look::{Checks, Look, look};

/// What append, flush, dispatch and the queues share.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) disk: Disk,
    pub(crate) config: Config,
    /// Behind the last record: everything below is in the page cache.
    pub(crate) written: Watermark,
    /// Everything below is on the disk, by the contiguous run of successful syncs.
    pub(crate) flushed: Watermark,
    /// Behind the last segment there is.
    pub(crate) reserved: Watermark,
    /// Segments are wanted up to here.
    pub(crate) wanted: Watermark,
    /// Somebody waits for `flushed` to come here.
    pub(crate) flush_wanted: Watermark,
    /// Grows with each attempt to make a segment, whatever came of it.
    pub(crate) attempts: Watermark,
    /// Bytes at the end of the log that are expected in memory.
    hot_bytes: u64,
    /// Records below were read from disk at the start: their checksums are compared when they are read.
    recovered: AtomicU64,
    /// Segments without a gap, oldest first.
    segments: Mutex<VecDeque<Segment>>,
    shortage: Mutex<Option<Shortage>>,
    poisoned: OnceLock<String>,
}

/// One file of the log.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Position of its first byte.
    pub(crate) base: u64,
    pub(crate) file: File,
    /// When its last record was written, if this process saw it.
    pub(crate) filled: Option<Instant>,
}

/// Why there is no further segment.
#[derive(Clone, Debug)]
pub(crate) struct Shortage {
    pub(crate) disk_full: bool,
    pub(crate) reason: String,
}

impl Log {
    pub(crate) fn new(disk: Disk, config: Config, start: u64, memory_bytes: u64) -> Self {
        Self {
            disk,
            written: Watermark::new(start),
            flushed: Watermark::new(start),
            reserved: Watermark::new(start),
            wanted: Watermark::new(start),
            flush_wanted: Watermark::new(start),
            attempts: Watermark::new(0),
            hot_bytes: memory_bytes / 100 * config.memory_percent,
            recovered: AtomicU64::new(0),
            segments: Mutex::default(),
            shortage: Mutex::default(),
            poisoned: OnceLock::new(),
            config,
        }
    }

    /// Position of the first record there may be.
    pub(crate) fn min(&self) -> u64 {
        self.segments.lock().front().map_or_else(|| self.written.get(), |s| s.base)
    }

    /// Behind the last record that may be read: what a crash may take back must not be seen under sync flush.
    pub(crate) fn readable_end(&self) -> u64 {
        self.readable().get()
    }

    /// The watermark that dispatch and readers follow.
    pub(crate) fn readable(&self) -> &Watermark {
        match self.config.flush {
            FlushMode::Sync => &self.flushed,
            FlushMode::Async => &self.written,
        }
    }

    /// Records at or behind this position are expected in memory.
    pub(crate) fn hot_from(&self) -> u64 {
        self.written.get().saturating_sub(self.hot_bytes)
    }

    /// The segment that holds `position`.
    pub(crate) fn segment(&self, position: u64) -> Option<Segment> {
        let segments = self.segments.lock();
        let first = segments.front()?.base;
        let index = position.checked_sub(first)? / self.config.segment_bytes;
        segments.get(usize::try_from(index).ok()?).cloned()
    }

    /// All segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        self.segments.lock().iter().cloned().collect()
    }

    /// Adds a segment behind the last; `reserved` is moved by the caller, once it is there for appends.
    pub(crate) fn push(&self, base: u64, file: File) {
        let mut segments = self.segments.lock();
        if let Some(last) = segments.back() {
            assert_eq!(last.base + self.config.segment_bytes, base, "segments follow each other");
        }
        segments.push_back(Segment { base, file, filled: None });
    }

    /// Takes the segment that starts at `base` off the list, if it is the last.
    pub(crate) fn pop_last(&self, base: u64) {
        let mut segments = self.segments.lock();
        if segments.back().is_some_and(|last| last.base == base) {
            segments.pop_back();
        }
    }

    /// Takes segments below `min` off the list; files in use stay readable.
    pub(crate) fn drop_below(&self, min: u64) {
        let mut segments = self.segments.lock();
        while segments.front().is_some_and(|s| s.base < min) {
            segments.pop_front();
        }
    }

    /// Notes that the segment that starts at `base` has got its last record.
    pub(crate) fn mark_filled(&self, base: u64, now: Instant) {
        let mut segments = self.segments.lock();
        if let Some(segment) = segments.iter_mut().find(|s| s.base == base) {
            segment.filled = Some(now);
        }
    }

    /// Why no segment could be made, if the last attempt failed.
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        self.shortage.lock().clone()
    }

    /// Notes how the last attempt to make a segment went.
    pub(crate) fn set_shortage(&self, shortage: Option<Shortage>) {
        *self.shortage.lock() = shortage;
    }

    /// Why the log takes no more records, if so.
    pub(crate) fn poisoned(&self) -> Option<&str> {
        self.poisoned.get().map(String::as_str)
    }

    /// Ends all writing: a failed sync says nothing about the bytes it was asked for, and a later success would
    /// not cover them.
    pub(crate) fn poison(&self, reason: String) {
        tracing::error!(
            reason,
            "the commit log failed: the store takes no more messages until it is restarted"
        );
        let _ = self.poisoned.set(reason); // the first reason stays
        self.flushed.close("a sync of the commit log failed");
    }

    /// Records below `end` were made by an earlier process.
    pub(crate) fn set_recovered(&self, end: u64) {
        self.recovered.store(end, Ordering::Relaxed);
    }

    /// Appends `len` bytes at `position` to `out`; false when they are not in the log any more.
    pub(crate) fn copy(&self, position: u64, len: usize, out: &mut BytesMut) -> io::Result<bool> {
        let Some(segment) = self.segment(position) else { return Ok(false) };
        let at = position - segment.base;
        if at + len as u64 > segment.file.len() {
            return Ok(false);
        }
        segment.file.read_into(out, at, len)?;
        Ok(true)
    }

    /// Reads `len` bytes at `position` from the disk; None when they are not in the log any more.
    pub(crate) async fn fetch(&self, position: u64, len: usize) -> io::Result<Option<Bytes>> {
        let Some(segment) = self.segment(position) else { return Ok(None) };
        let at = position - segment.base;
        if at + len as u64 > segment.file.len() {
            return Ok(None);
        }
        segment.file.fetch(at, len).await.map(Some)
    }

    /// The record that should stand at `position`, when `bytes` are it. What this process wrote and has in memory is
    /// taken by its head; what comes from the disk, now or when it started, also by its checksum.
    pub(crate) fn record<'a>(
        &self,
        bytes: &'a [u8],
        position: u64,
        from_disk: bool,
    ) -> Option<RecordRef<'a>> {
        let base = position - position % self.config.segment_bytes;
        let recovered = if planted!("B43") { 0 } else { self.recovered.load(Ordering::Relaxed) };
        let found_there = from_disk || position < recovered;
        // After a failed sync the system may forget pages that were written, and show what the disk has.
        let torn = self.poisoned().is_some();
        let checks = Checks { checksum: (found_there || torn) && !planted!("M10"), torn };
        match look(bytes, position, base, base + self.config.segment_bytes, checks) {
            Look::Record(record) if record.size as usize == bytes.len() => Some(record),
            _ => None,
        }
    }

    /// Store time of the record at `position`; None when there is none.
    pub(crate) async fn store_time(&self, position: u64) -> io::Result<Option<i64>> {
        let Some(segment) = self.segment(position) else { return Ok(None) };
        let at = position - segment.base;
        let len = HEAD.min(usize::try_from(segment.file.len() - at).unwrap_or(HEAD));
        let head = if position >= self.hot_from() {
            let mut head = BytesMut::with_capacity(len);
            segment.file.read_into(&mut head, at, len)?;
            head.freeze()
        } else {
            segment.file.fetch(at, len).await?
        };
        Ok(store_time(&head, position))
    }
}

/// Store time out of the head of a record.
fn store_time(head: &[u8], position: u64) -> Option<i64> {
    let number = |at: usize| head.get(at..)?.first_chunk::<8>().map(|b| i64::from_be_bytes(*b));
    let magic = u32::from_be_bytes(*head.get(4..)?.first_chunk::<4>()?);
    if !matches!(magic, record::MAGIC_V1 | record::MAGIC_V2) || number(28)? != i64::try_from(position).ok()? {
        return None;
    }
    let sys_flag = i32::from_be_bytes(*head.get(36..)?.first_chunk::<4>()?);
    number(if sys_flag & record::sys_flag::BORN_HOST_V6 == 0 { 56 } else { 68 })
}

/// Enough of a record to find its store time, whatever its hosts.
const HEAD: usize = 76;
