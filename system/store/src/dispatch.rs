//! From the log to the queues and the index: every record gets its unit and its keys, in the order of the log.
//! Appends leave notes of what they wrote; where there is none, the log is read.

use std::sync::Arc;

use bytes::BytesMut;
use protocol::record::RecordRef;
use runtime::time::{self, Duration};
use runtime::{buggify, planted, select, sometimes, tap, task};
use std::sync::atomic::Ordering;

use crate::append::is_counted;
use crate::index::Joined;
use crate::note::{Note, Notes};
use crate::queue::Queue;
use crate::state::keys::Keys;
use crate::state::look::{Checks, Look, look};
use crate::state::unit::Unit;
use crate::store::Store;

/// Where dispatch stands, guarded by its own lock.
#[derive(Debug, Default)]
pub(crate) struct Dispatch {
    /// Everything below has its unit.
    pub(crate) at: u64,
    /// Store time of the last record.
    pub(crate) store_time: i64,
    /// Queues with units that are not in files.
    pub(crate) dirty: Vec<Arc<Queue>>,
    /// Units that are not in files.
    pub(crate) unsettled: u64,
    notes: Notes,
    chunk: BytesMut,
}

impl Store {
    /// Follows the log; see [`Store::dispatch_some`].
    pub(crate) async fn dispatch(self: Arc<Self>) {
        loop {
            let at = self.dispatched.get();
            select! {
                _ = self.closing.reach(1) => return,
                more = self.log.readable().reach(at + 1) => if more.is_err() { return },
            }
            // Acknowledged and not readable yet: nobody may take it for lost (CON-3, IDX-1).
            if buggify!("store.dispatch.late") {
                time::sleep(Duration::from_millis(3)).await;
            }
            while self.dispatch_some() {
                task::yield_now().await;
            }
            if self.broken_dispatch.load(Ordering::Relaxed) {
                return; // what it waits for is there already: it would turn without end
            }
            if self.dispatched.get() == at {
                task::yield_now().await; // somebody else is at it
            }
        }
    }

    /// Gives the next records, at most about 1 MiB of them, their units, unless somebody else is at it; true when
    /// there are more. A connection may call it after its appends to save waiting readers a hop.
    pub fn dispatch_some(&self) -> bool {
        if self.dispatching.swap(true, Ordering::Acquire) {
            return false;
        }
        let more = self.dispatch_chunk();
        self.dispatching.store(false, Ordering::Release);
        more
    }

    /// Waits until readers see everything that had been acknowledged when this was called: who asks for the end of a
    /// queue must find there what somebody was told before (LOG-3).
    pub async fn catch_up(&self) {
        let end = self.log.readable_end();
        if self.dispatched.get() < end {
            self.dispatch_some();
        }
        if self.dispatched.get() < end {
            sometimes!("store.dispatch.waited_for");
            // Closed: nothing more will be seen, and what is there is told.
            let _ = self.dispatched.reach(end).await;
        }
    }

    fn dispatch_chunk(&self) -> bool {
        if self.broken_dispatch.load(Ordering::Relaxed) {
            return false;
        }
        let mut state = self.dispatch.lock();
        let limit = self.log.readable_end();
        let mut wanted = if buggify!("store.dispatch.short") { 100 } else { CHUNK };
        // After the limit: all records below it have left their notes.
        state.notes.take_all(&mut self.end.lock().notes);
        // What the log says must be the same (LOG-2, IDX-1).
        if buggify!("store.dispatch.no_notes") {
            state.notes.clear();
        }
        while state.at < limit {
            if self.dispatch_notes(&mut state, limit, wanted) {
                self.dispatched.advance(state.at);
                return state.at < limit;
            }
            let limit = state.notes.first().map_or(limit, |noted| noted.min(limit));
            let base = state.at - state.at % self.log.config.segment_bytes;
            let end = base + self.log.config.segment_bytes;
            let start = state.at;
            let length = wanted.min(usize::try_from(limit.min(end) - start).unwrap_or(wanted));
            let mut chunk = std::mem::take(&mut state.chunk);
            chunk.clear();
            let copied = self.log.copy(start, length, &mut chunk);
            let found = match copied {
                Ok(true) => self.dispatch_records(&mut state, &chunk, base, end),
                Ok(false) => Err("the segment is gone".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            state.chunk = chunk;
            self.dispatched.advance(state.at);
            match found {
                Ok(_) if state.at > start => return state.at < limit,
                Ok(more) if more > length => wanted = more,
                Ok(_) => return self.break_dispatch(state.at, "a record ends behind the log"),
                Err(reason) => return self.break_dispatch(state.at, &reason),
            }
        }
        false
    }

    /// What this process wrote cannot be read back: nothing behind it can get its offset.
    fn break_dispatch(&self, at: u64, reason: &str) -> bool {
        self.broken_dispatch.store(true, Ordering::Relaxed);
        self.log.poison(format!("dispatch cannot read the commit log at {at}: {reason}"));
        self.dispatched.close("dispatch cannot read the commit log");
        false
    }

    /// Dispatches records of which there are notes, up to `limit` and about as many bytes as wanted; true when it was
    /// at least one.
    fn dispatch_notes(&self, state: &mut Dispatch, limit: u64, wanted: usize) -> bool {
        let until = limit.min(state.at + wanted as u64);
        let next = |state: &mut Dispatch| (state.at < until).then(|| state.notes.next(state.at)).flatten();
        let Some(mut note) = next(state) else { return false };
        let mut run = Run::default();
        let mut index = self.join_index();
        loop {
            self.dispatch_note(state, &mut run, &mut index, note);
            let Some(more) = next(state) else { break };
            note = more;
        }
        run.end(state);
        sometimes!("store.dispatch.noted");
        true
    }

    /// Gives a record its unit and its keys.
    fn dispatch_note(
        &self,
        state: &mut Dispatch,
        run: &mut Run,
        index: &mut Option<Joined<'_>>,
        mut note: Note,
    ) {
        if let Some(index) = index {
            index.put(&note);
        }
        state.store_time = note.store_time;
        state.at = note.end();
        // A topic that was deleted since has no queues.
        let place = note.place.take().filter(|(queue, _)| !queue.deleted.load(Ordering::Acquire));
        if let Some((queue, offset)) = place {
            tell(&queue, offset, &note.unit);
            // Records of one queue often follow each other.
            if !run.queue.as_ref().is_some_and(|same| Arc::ptr_eq(same, &queue)) {
                run.end(state);
                run.queue = Some(queue);
            }
            run.put(offset, note.unit);
        }
    }

    /// The index, unless it comes after and must find all keys by itself (IDX-1).
    fn join_index(&self) -> Option<Joined<'_>> {
        let index = self.index.join().filter(|_| !buggify!("store.dispatch.no_join"));
        sometimes!("store.dispatch.index_busy", index.is_none() && self.log.config.index);
        index
    }

    /// Dispatches the whole records of a chunk; returns how many bytes the one behind them needs.
    fn dispatch_records(
        &self,
        state: &mut Dispatch,
        chunk: &[u8],
        base: u64,
        end: u64,
    ) -> Result<usize, String> {
        let mut run = Run::default();
        let found = self.read_records(state, &mut run, chunk, base, end);
        run.end(state);
        found
    }

    fn read_records(
        &self,
        state: &mut Dispatch,
        run: &mut Run,
        chunk: &[u8],
        base: u64,
        end: u64,
    ) -> Result<usize, String> {
        let mut rest = chunk;
        let mut index = self.join_index();
        while !rest.is_empty() {
            match look(rest, state.at, base, end, Checks { checksum: false, torn: false }) {
                Look::Record(record) => {
                    let note = self.note(&record, self.queue_of(&record));
                    self.dispatch_note(state, run, &mut index, note);
                    rest = &rest[record.size as usize..];
                }
                Look::Blank => {
                    sometimes!("store.dispatch.blank");
                    if let Some(index) = &mut index {
                        index.pass(state.at, end);
                    }
                    state.at = end;
                    return Ok(0);
                }
                Look::More(bytes) => {
                    sometimes!("store.dispatch.partial");
                    return Ok(bytes);
                }
                Look::Unwritten => return Err("nothing is written there".to_owned()),
                Look::Damaged(reason) => return Err(reason),
            }
        }
        Ok(0)
    }

    /// The queue that a record has a place in.
    pub(crate) fn queue_of(&self, record: &RecordRef<'_>) -> Option<Arc<Queue>> {
        if !is_counted(record.sys_flag) {
            return None;
        }
        self.topics.route(record.topic, record.queue_id, record.place.position)
    }

    /// Puts a record's unit at the end of its queue.
    pub(crate) fn add_unit(&self, state: &mut Dispatch, queue: &Arc<Queue>, record: &RecordRef<'_>) {
        let Note { unit, .. } = self.note(record, Some(queue.clone()));
        let offset = record.place.queue_offset;
        tell(queue, offset, &unit);
        state.add(queue, offset, &[unit]);
    }

    /// Gives a record its place, which another one claims. False: the unit there is in the files already.
    pub(crate) fn replace_unit(&self, queue: &Arc<Queue>, record: &RecordRef<'_>) -> bool {
        let Note { unit, .. } = self.note(record, None);
        let replaced = queue.replace(record.place.queue_offset, unit);
        if replaced {
            tell(queue, record.place.queue_offset, &unit);
        }
        replaced
    }

    fn note(&self, record: &RecordRef<'_>, queue: Option<Arc<Queue>>) -> Note {
        let keys = Keys::of(record.properties, record.sys_flag);
        let tag = self.tag(record.topic, record.queue_id, record.place.store_timestamp, &keys);
        Note::of(record, queue, tag, keys)
    }

    /// See [`crate::Config::tag`].
    pub(crate) fn tag(&self, topic: &str, queue: i32, store_time: i64, keys: &Keys) -> i64 {
        if planted!("B04") { 0 } else { self.log.config.tag(topic, queue, store_time, keys) }
    }
}

fn tell(queue: &Queue, offset: u64, unit: &Unit) {
    tap!("dispatch", topic = &*queue.topic, queue = queue.id, offset = offset, position = unit.position);
    let _ = (queue, offset, unit);
}

impl Dispatch {
    pub(crate) fn add(&mut self, queue: &Arc<Queue>, offset: u64, units: &[Unit]) {
        self.unsettled += units.len() as u64;
        if queue.push(offset, units) {
            self.dirty.push(queue.clone());
        }
    }
}

/// Records of one queue that follow each other in the log: their units come to the queue at once.
#[derive(Default)]
struct Run {
    queue: Option<Arc<Queue>>,
    /// Offset of the first of `units`.
    first: u64,
    units: Vec<Unit>,
}

impl Run {
    fn put(&mut self, offset: u64, unit: Unit) {
        if self.units.is_empty() {
            self.first = offset;
        }
        assert_eq!(self.first + self.units.len() as u64, offset, "a queue has no holes");
        self.units.push(unit);
    }

    fn end(&mut self, state: &mut Dispatch) {
        if let Some(queue) = self.queue.as_ref().filter(|_| !self.units.is_empty()) {
            state.add(queue, self.first, &self.units);
            self.units.clear();
        }
    }
}

const CHUNK: usize = 1 << 20;
