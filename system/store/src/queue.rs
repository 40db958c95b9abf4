//! A consume queue: units in memory at its end, in files before it; and the reads that pulls are made of.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use runtime::sync::{Mutex, Watermark};
use runtime::{buggify, planted, sometimes, tap};

use crate::error::ReadError;
use crate::log::Log;
use crate::state::keys::prefix;
use crate::state::layout;
use crate::state::select::{Rules, Selection};
use crate::state::unit::Unit;
use crate::types::{Boundary, Found, ReadStatus};

/// One queue of a topic.
#[derive(Debug)]
pub struct Queue {
    /// The offset behind the last record that readers can see: what a long poll waits on.
    pub arrived: Watermark,
    pub(crate) topic: Arc<str>,
    /// What the index begins the hashes of the topic's keys with.
    pub(crate) prefix: i32,
    pub(crate) id: i32,
    /// The offset the next append gets; moved under the lock of the log's end only.
    pub(crate) next: AtomicU64,
    /// The topic was deleted: this queue takes no more records.
    pub(crate) deleted: AtomicBool,
    min: AtomicU64,
    /// The smallest offset once the deletion in progress is on the disk.
    planned_min: AtomicU64,
    /// Offsets from here on may have been those of other messages before, which went with a crash or with the topic.
    given_again: AtomicU64,
    log: Arc<Log>,
    units: Mutex<Units>,
}

/// The units of a queue that are in memory.
#[derive(Debug)]
struct Units {
    /// Offset of the first of `tail`.
    first: u64,
    tail: VecDeque<Unit>,
    /// Units below are in files and on the disk.
    settled: u64,
    /// The first offset that its files ever held.
    start: u64,
    /// It is in the list of queues with units that are not in files.
    dirty: bool,
    /// Older units that a reader asked for lately.
    block: Option<(u64, Vec<Unit>)>,
}

/// A read that either is done or has to wait for the disk.
enum Attempt<'a> {
    Done(Result<Found, ReadError>),
    Cold(Pin<Box<dyn Future<Output = Result<Found, ReadError>> + Send + 'a>>),
}

impl Queue {
    /// A queue whose files hold `min..max`.
    pub(crate) fn new(log: Arc<Log>, topic: Arc<str>, id: i32, min: u64, max: u64) -> Self {
        let per_file = log.config.queue_file_bytes / Unit::SIZE;
        let start = if min == max { max } else { min - min % per_file };
        Self {
            arrived: Watermark::new(max),
            prefix: prefix(&topic),
            topic,
            id,
            next: AtomicU64::new(max),
            deleted: AtomicBool::new(false),
            min: AtomicU64::new(min),
            planned_min: AtomicU64::new(min),
            given_again: AtomicU64::new(u64::MAX),
            log,
            units: Mutex::new(Units {
                first: max,
                tail: VecDeque::new(),
                settled: max,
                start,
                dirty: false,
                block: None,
            }),
        }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The queue's number.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// The smallest offset that can be read.
    pub fn min(&self) -> u64 {
        self.min.load(Ordering::Acquire)
    }

    /// The offset that the next record will be seen at.
    pub fn max(&self) -> u64 {
        self.arrived.get()
    }

    /// Where a reader goes on whose offset lies beyond the end. It knows messages that a crash took, or its topic's
    /// deletion, and none of those that have come since: it goes on at the first of them. When nothing of that kind
    /// happened, at the end.
    pub fn back_from_beyond(&self) -> u64 {
        let max = self.max();
        if planted!("B89") {
            return max;
        }
        self.given_again.load(Ordering::Acquire).clamp(self.min().min(max), max)
    }

    /// Offsets from `offset` on may have been those of other messages before.
    pub(crate) fn gives_again(&self, offset: u64) {
        self.given_again.store(offset, Ordering::Release);
    }

    /// Reads at most `max_count` records and `max_bytes` from offset `from`, of those whose tag code `accept`
    /// takes. Ready at once when the records are in memory.
    ///
    /// # Errors
    /// When the disk reports one.
    pub async fn read(
        &self,
        from: i64,
        max_count: u32,
        max_bytes: u32,
        accept: impl FnMut(i64) -> bool + Send,
    ) -> Result<Found, ReadError> {
        // The rare wait is boxed, so that the future of a pull that is ready at once stays small.
        match self.try_read(from, max_count, max_bytes, accept) {
            Attempt::Done(found) => found,
            Attempt::Cold(rest) => rest.await,
        }
    }

    /// The offset that belongs to a time.
    ///
    /// # Errors
    /// When the disk reports one.
    pub async fn offset_by_time(&self, time_ms: i64, boundary: Boundary) -> Result<u64, ReadError> {
        let (min, max) = (self.min(), self.max());
        // Store times grow with the offset: find the first record that is too late.
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            let before = match self.store_time(middle).await? {
                Some(time) if boundary == Boundary::Lower => {
                    time < time_ms || (time == time_ms && planted!("B01"))
                }
                Some(time) => time <= time_ms,
                None => true, // gone or unreadable: what can be read is behind it
            };
            if before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(match boundary {
            Boundary::Lower => low,
            Boundary::Upper if low == min => 0,
            Boundary::Upper => low - 1,
        })
    }

    /// When the record at an offset was stored; None when there is none.
    ///
    /// # Errors
    /// When the disk reports one.
    pub async fn store_time(&self, offset: u64) -> Result<Option<i64>, ReadError> {
        let Some(unit) = self.unit(offset).await? else { return Ok(None) };
        if unit.is_void() || unit.position < self.log.min() {
            return Ok(None);
        }
        self.log.store_time(unit.position).await.map_err(|source| ReadError::Io {
            what: "the head of a record",
            position: unit.position,
            source,
        })
    }

    fn try_read<'a>(
        &'a self,
        from: i64,
        max_count: u32,
        max_bytes: u32,
        mut accept: impl FnMut(i64) -> bool + Send + 'a,
    ) -> Attempt<'a> {
        let max = self.max();
        let min = self.min().min(max);
        let outside = |status, next| {
            let records = Bytes::new();
            Attempt::Done(Ok(Found { status, records, count: 0, next, min, max, far_behind: false }))
        };
        let Ok(from) = u64::try_from(from) else {
            let status = if max == 0 { ReadStatus::NoMessageInQueue } else { ReadStatus::OffsetTooSmall };
            return outside(status, min);
        };
        if max == 0 || (min == max && planted!("B41")) {
            return outside(ReadStatus::NoMessageInQueue, 0);
        }
        if from < min {
            return outside(ReadStatus::OffsetTooSmall, min);
        }
        if from == max {
            return outside(ReadStatus::OffsetOverflowOne, from);
        }
        if from > max {
            sometimes!("store.read.behind_end");
            let next = self.back_from_beyond();
            tap!("read_beyond", topic = &*self.topic, queue = self.id, asked = from, next = next);
            return outside(ReadStatus::OffsetOverflowBadly, next);
        }
        let rules = Rules::new(&self.log.config, max_count, max_bytes, self.log.hot_from(), self.log.min());
        let mut selection = Selection::new(from, rules);
        if !buggify!("store.read.cold")
            && self.select(&mut selection, max, &mut accept)
            && selection.chosen.iter().all(|unit| rules.is_hot(unit))
        {
            return Attempt::Done(self.copy_hot(&selection, min, max));
        }
        Attempt::Cold(Box::pin(self.read_cold(selection, min, max, accept)))
    }

    /// Examines units until the answer is full or the queue ends; false when the next unit is not in memory.
    fn select(&self, selection: &mut Selection, max: u64, accept: &mut impl FnMut(i64) -> bool) -> bool {
        let units = self.units.lock();
        while selection.next < max {
            let Some(unit) = units.get(selection.next) else { return false };
            if !selection.offer(unit, accept) {
                break;
            }
        }
        true
    }

    fn copy_hot(&self, selection: &Selection, min: u64, max: u64) -> Result<Found, ReadError> {
        let mut out = BytesMut::with_capacity(usize::try_from(selection.bytes).unwrap_or(0));
        let mut count = 0;
        for (index, unit) in selection.chosen.iter().enumerate() {
            let start = out.len();
            let copied =
                self.log.copy(unit.position, unit.size as usize, &mut out).map_err(io_error(unit))?;
            if copied && self.holds(&out[start..], unit.position, selection.offset(index), false) {
                count += 1;
                continue;
            }
            out.truncate(start);
            if self.is_in_doubt(unit) {
                return up_to(selection, index, out.freeze(), count, min, max);
            }
            self.warn_lost(unit);
        }
        Ok(found(selection, out.freeze(), count, min, max))
    }

    async fn read_cold(
        &self,
        mut selection: Selection,
        min: u64,
        max: u64,
        mut accept: impl FnMut(i64) -> bool + Send,
    ) -> Result<Found, ReadError> {
        sometimes!("store.read.cold");
        while !self.select(&mut selection, max, &mut accept) {
            self.load_block(selection.next).await?;
        }
        let mut out = BytesMut::with_capacity(usize::try_from(selection.bytes).unwrap_or(0));
        let (mut count, mut index) = (0, 0);
        for run in runs(&selection.chosen, self.log.config.segment_bytes) {
            let (first, last) = (run[0], run[run.len() - 1]);
            let length = last.position + u64::from(last.size) - first.position;
            let length = usize::try_from(length).expect("a run of records is short");
            let bytes = self.log.fetch(first.position, length).await.map_err(io_error(&first))?;
            for unit in run {
                let from = usize::try_from(unit.position - first.position).expect("inside the run");
                let record = bytes.as_ref().map(|b| &b[from..from + unit.size as usize]);
                match record.filter(|r| self.holds(r, unit.position, selection.offset(index), true)) {
                    Some(record) => {
                        out.extend_from_slice(record);
                        count += 1;
                    }
                    None if self.is_in_doubt(unit) => {
                        return up_to(&selection, index, out.freeze(), count, min, max);
                    }
                    None => self.warn_lost(unit),
                }
                index += 1;
            }
        }
        Ok(found(&selection, out.freeze(), count, min, max))
    }

    /// Whether `bytes` are the record that should stand at `position` and has this offset here. No checksum covers the
    /// head of a record: a bit of its topic, queue or offset that rotted would show it as another message.
    fn holds(&self, bytes: &[u8], position: u64, offset: u64, from_disk: bool) -> bool {
        self.log.record(bytes, position, from_disk).is_some_and(|record| {
            record.queue_id == self.id && record.place.queue_offset == offset && *record.topic == *self.topic
        })
    }

    /// Whether a restart may find a record that cannot be read now, or give its place to another message: after a
    /// failed sync the system forgets what was written. A reader who passed over it would miss that one.
    fn is_in_doubt(&self, unit: &Unit) -> bool {
        self.log.poisoned().is_some() && unit.position >= self.log.min()
    }

    fn warn_lost(&self, unit: &Unit) {
        if unit.position >= self.log.min() {
            sometimes!("store.read.unreadable");
            tracing::error!(topic = %self.topic, queue = self.id, position = unit.position,
                "a record cannot be read and is skipped: restore the commit log from a copy, or, if the log is whole, \
                 remove the folder consumequeue while the broker is stopped: it is made anew from the log");
        }
    }

    /// The unit at an offset, wherever it is.
    pub(crate) async fn unit(&self, offset: u64) -> Result<Option<Unit>, ReadError> {
        if offset < self.min() || offset >= self.max() {
            return Ok(None);
        }
        loop {
            if let Some(unit) = self.units.lock().get(offset) {
                return Ok(Some(unit));
            }
            self.load_block(offset).await?;
        }
    }

    /// The first offset in `min..max` whose record stands at or behind `position`.
    pub(crate) async fn first_at(&self, position: u64) -> Result<u64, ReadError> {
        let (mut low, mut high) = (self.min(), self.max());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.unit(middle).await? {
                Some(unit) if unit.position >= position => high = middle,
                _ => low = middle + 1,
            }
        }
        Ok(low)
    }

    /// Brings older units from their file.
    async fn load_block(&self, offset: u64) -> Result<(), ReadError> {
        let io_error = |source| ReadError::Io { what: "a consume queue file", position: offset, source };
        let (end, start) = {
            let units = self.units.lock();
            (units.first.min(units.settled), units.start)
        };
        let per_file = self.per_file();
        let file_first = offset - offset % per_file;
        // The edge of a block lies behind every unit (CON-3).
        let block = if buggify!("store.read.one_unit") { 1 } else { BLOCK };
        let wide = block.min(file_first + per_file - offset);
        let count = wide.min(end.saturating_sub(offset));
        let count = if count > 0 && count < wide && planted!("B77") { wide } else { count };
        if count == 0 || offset < start {
            return Err(io_error(io::ErrorKind::NotFound.into()));
        }
        sometimes!("store.read.block");
        let path = layout::queue_file(&self.topic, self.id, file_first * Unit::SIZE);
        let file = self.log.disk.open_sparse(&path).await.map_err(io_error)?;
        let length = usize::try_from(count * Unit::SIZE).expect("a block is small");
        let bytes = file.fetch((offset - file_first) * Unit::SIZE, length).await.map_err(io_error)?;
        self.units.lock().block = Some((offset, Unit::decode(&bytes).collect()));
        Ok(())
    }

    /// Adds the units of the records from `offset` on, which must be the next; true when the queue had no unsettled
    /// unit.
    pub(crate) fn push(&self, offset: u64, added: &[Unit]) -> bool {
        let mut units = self.units.lock();
        assert_eq!(units.first + units.tail.len() as u64, offset, "a queue has no holes");
        units.tail.extend(added);
        let first = !std::mem::replace(&mut units.dirty, true);
        drop(units);
        // The units are written before `arrived` moves: a pull that wakes must find them.
        self.arrived.advance(offset + added.len() as u64);
        first
    }

    /// Puts another unit in the place of one that is not in the files yet; false when it is.
    pub(crate) fn replace(&self, offset: u64, unit: Unit) -> bool {
        let mut units = self.units.lock();
        let index = offset.checked_sub(units.first).and_then(|index| usize::try_from(index).ok());
        let place = index.filter(|_| offset >= units.settled).and_then(|index| units.tail.get_mut(index));
        place.map(|place| *place = unit).is_some()
    }

    /// Begins at `offset` instead of 0: a queue without units whose older records are gone.
    pub(crate) fn begin_at(&self, offset: u64) {
        let mut units = self.units.lock();
        assert!(units.tail.is_empty() && units.first <= offset, "only an empty queue can begin later");
        (units.first, units.settled, units.start) = (offset, offset, offset);
        drop(units);
        self.plan_min(offset);
        self.publish_min();
        self.next.fetch_max(offset, Ordering::AcqRel);
        self.arrived.advance(offset);
    }

    /// Whether the queue never had a unit, in memory or files.
    pub(crate) fn is_unused(&self) -> bool {
        let units = self.units.lock();
        units.tail.is_empty() && self.min() == self.max()
    }

    /// Decides the smallest offset that readers will see after [`Queue::publish_min`].
    pub(crate) fn plan_min(&self, min: u64) {
        self.planned_min.fetch_max(min, Ordering::AcqRel);
    }

    /// The decided smallest offset.
    pub(crate) fn planned_min(&self) -> u64 {
        self.planned_min.load(Ordering::Acquire)
    }

    /// Shows readers the decided smallest offset, once it is on the disk and can not fall back.
    pub(crate) fn publish_min(&self) {
        self.min.fetch_max(self.planned_min(), Ordering::AcqRel);
    }

    /// Its files begin later now.
    pub(crate) fn raise_start(&self, start: u64) {
        let mut units = self.units.lock();
        units.start = units.start.max(start);
    }

    /// Units per file.
    pub(crate) fn per_file(&self) -> u64 {
        self.log.config.queue_file_bytes / Unit::SIZE
    }

    /// Offset up to which units are in files.
    pub(crate) fn settled(&self) -> u64 {
        self.units.lock().settled
    }

    /// The first offset its files hold.
    pub(crate) fn start(&self) -> u64 {
        self.units.lock().start
    }

    /// Units `from..to`, which must be in memory.
    pub(crate) fn tail(&self, from: u64, to: u64) -> Vec<Unit> {
        let units = self.units.lock();
        (from..to)
            .map(|offset| units.get(offset).expect("units that are not in files are in memory"))
            .collect()
    }

    /// Units below `to` are in files and on the disk: only the newest stay in memory.
    pub(crate) fn set_settled(&self, to: u64) {
        // Who is a little behind reads from the files (CON-3).
        let keep = if buggify!("store.tail.short") { 4 } else { self.log.config.tail_units };
        let mut units = self.units.lock();
        units.settled = units.settled.max(to);
        while units.tail.len() > keep && units.first < units.settled {
            units.tail.pop_front();
            units.first += 1;
        }
        if units.tail.capacity() > 2 * units.tail.len() + keep {
            units.tail.shrink_to_fit();
        }
    }

    /// Takes the mark of having unsettled units away; the caller now writes them.
    pub(crate) fn clear_dirty(&self) {
        self.units.lock().dirty = false;
    }

    /// Sets the mark again after a failed write; true when it was not set meanwhile.
    pub(crate) fn mark_dirty(&self) -> bool {
        !std::mem::replace(&mut self.units.lock().dirty, true)
    }
}

impl Units {
    fn get(&self, offset: u64) -> Option<Unit> {
        let at = |first: u64| usize::try_from(offset.checked_sub(first)?).ok();
        if let Some(index) = at(self.first) {
            return self.tail.get(index).copied();
        }
        let (first, block) = self.block.as_ref()?;
        block.get(at(*first)?).copied()
    }
}

fn found(selection: &Selection, records: Bytes, count: u32, min: u64, max: u64) -> Found {
    let status = match () {
        () if count > 0 => ReadStatus::Found,
        () if !selection.chosen.is_empty() || selection.lost => ReadStatus::MessageWasRemoving,
        () => ReadStatus::NoMatchedMessage,
    };
    Found { status, records, count, next: selection.next, min, max, far_behind: selection.far_behind }
}

/// What stands before the chosen unit at `index`, whose record is in doubt.
fn up_to(
    selection: &Selection,
    index: usize,
    records: Bytes,
    count: u32,
    min: u64,
    max: u64,
) -> Result<Found, ReadError> {
    if count == 0 {
        return Err(ReadError::InDoubt { position: selection.chosen[index].position });
    }
    Ok(Found { next: selection.offset(index), ..found(selection, records, count, min, max) })
}

fn io_error(unit: &Unit) -> impl Fn(io::Error) -> ReadError + use<> {
    let position = unit.position;
    move |source| ReadError::Io { what: "a record", position, source }
}

/// Neighbouring records that one read of the disk brings: near each other, not long together, in one segment.
fn runs(units: &[Unit], segment_bytes: u64) -> impl Iterator<Item = &[Unit]> {
    let mut rest = units;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        // A unit whose bytes rotted may point anywhere, also back.
        let near = |pair: &[Unit]| {
            let (before, next) = (pair[0].position + u64::from(pair[0].size), pair[1]);
            let end = next.position + u64::from(next.size);
            let behind = next.position >= before && next.position - before <= RUN_GAP;
            behind
                && end <= (first.position / segment_bytes + 1) * segment_bytes
                && end - first.position <= RUN_BYTES
        };
        let count = 1 + rest.windows(2).take_while(|pair| near(pair)).count();
        let (run, tail) = rest.split_at(count);
        rest = tail;
        Some(run)
    })
}

/// Units brought from a file at once.
const BLOCK: u64 = 512;
/// Bytes of other queues' records that are read along rather than reading twice.
const RUN_GAP: u64 = 16 << 10;
const RUN_BYTES: u64 = 1 << 20;
