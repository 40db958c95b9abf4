//! Putting records at the end of the log: offsets are assigned, bytes encoded and copied under one lock.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::properties;
use protocol::record::{self, NewRecord, Place, sys_flag};
use runtime::time::{self, Duration, Instant};
use runtime::{buggify, clock, crash_point, planted, sometimes, tap};
use smallvec::SmallVec;

use crate::config::FlushMode;
use crate::error::{AppendError, Undurable};
use crate::log::Segment;
use crate::note::{Note, Notes};
use crate::queue::Queue;
use crate::state::keys::Keys;
use crate::state::layout;
use crate::state::unit::Unit;
use crate::store::Store;
use crate::types::{Appended, AppendedBatch};

/// The end of the log, guarded by the one lock of appends.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// The segment that holds `at`; None when `at` is the start of one that is not made yet.
    pub(crate) segment: Option<Segment>,
    /// Position of the next record.
    pub(crate) at: u64,
    /// Store time of the last record: store times grow with positions whatever the clock does.
    pub(crate) store_time: i64,
    /// Why no record is taken: before recovery is done, and after close.
    pub(crate) closed: bool,
    recent: Recent,
    scratch: Vec<u8>,
    pub(crate) notes: Notes,
}

/// Queues that took records lately, each at a place that its topic and number tell: finding one among all queues
/// costs more than the append.
#[derive(Debug, Default)]
struct Recent([Option<Arc<Queue>>; RECENT]);

impl Recent {
    fn place(topic: &str, id: i32) -> usize {
        let last = topic.as_bytes().last().copied().unwrap_or(0);
        (topic.len() ^ usize::from(last) ^ id.unsigned_abs() as usize) % RECENT
    }

    /// The queue, unless its topic was deleted.
    fn find(&self, topic: &str, id: i32) -> Option<&Arc<Queue>> {
        let found = self.0[Self::place(topic, id)].as_ref()?;
        let same = found.id == id && *found.topic == *topic;
        (same && !found.deleted.load(Ordering::Acquire)).then_some(found)
    }

    fn put(&mut self, queue: Arc<Queue>) -> &Arc<Queue> {
        let place = &mut self.0[Self::place(&queue.topic, queue.id)];
        place.insert(queue)
    }
}

impl End {
    /// Takes no records until recovery has said where the log ends.
    pub(crate) fn shut() -> Self {
        Self { closed: true, ..Self::default() }
    }
}

/// Why an append did not happen under the lock.
enum Stop {
    /// A segment up to this position is needed first.
    NeedSegment(u64),
    Refused(AppendError),
}

impl Store {
    /// Puts a record at the end of the log and of its queue. It survives the death of the process; for more, see
    /// [`Store::durable`].
    ///
    /// # Errors
    /// Each means that nothing was stored.
    pub async fn append(&self, message: &NewRecord<'_>) -> Result<Appended, AppendError> {
        self.check(std::slice::from_ref(message))?;
        self.append_all(std::slice::from_ref(message)).await
    }

    /// Puts messages of one queue at the end of the log as one append: consecutive offsets, in one segment.
    ///
    /// # Errors
    /// Each means that nothing was stored.
    pub async fn append_batch(&self, messages: &[NewRecord<'_>]) -> Result<AppendedBatch, AppendError> {
        let first = messages.first().ok_or(AppendError::BadBatch)?;
        if messages.iter().any(|m| m.topic != first.topic || m.queue_id != first.queue_id) {
            return Err(AppendError::BadBatch);
        }
        self.check(messages)?;
        let room = self.log.config.segment_bytes - self.log.written.get() % self.log.config.segment_bytes;
        let fits = |part: &[NewRecord<'_>]| room >= (size_of(part) + record::BLANK_SIZE) as u64;
        let divided = fits(&messages[..1]) && !fits(messages);
        let part = if divided && planted!("M60") { &messages[..1] } else { messages };
        let first = self.append_all(part).await?;
        let positions = messages.iter().scan(first.position, |next, message| {
            let position = *next;
            *next += message.size() as u64;
            Some(position)
        });
        Ok(AppendedBatch { first, positions: positions.collect() })
    }

    /// Puts two records of different queues at the end of the log as one append, the second right behind the first:
    /// the death of the process leaves both or none, loss of power both, none, or the first as the log's last record.
    ///
    /// # Errors
    /// Each means that nothing was stored.
    pub async fn append_pair(&self, pair: &[NewRecord<'_>; 2]) -> Result<[Appended; 2], AppendError> {
        let [first, second] = pair;
        if first.topic == second.topic && first.queue_id == second.queue_id {
            return Err(AppendError::BadBatch); // one queue is for `append_batch`
        }
        self.check(std::slice::from_ref(first))?;
        self.check(std::slice::from_ref(second))?;
        self.check_size(pair)?;
        let deletions = self.topics.deletions();
        self.admit().await?;
        loop {
            match self.try_append(std::slice::from_ref(first), Some(second), deletions) {
                Ok((all, queue_offset)) => {
                    self.log.written.advance(all.end);
                    let position = all.end - second.size() as u64;
                    let appended =
                        [Appended { end: position, ..all }, Appended { position, queue_offset, ..all }];
                    tell(first, &appended[0], 1);
                    tell(second, &appended[1], 1);
                    crash_point!("store.append.written").await;
                    return Ok(appended);
                }
                Err(Stop::NeedSegment(end)) => self.segment_ready(end).await?,
                Err(Stop::Refused(error)) => return Err(error),
            }
        }
    }

    /// Waits until everything below `end` is as durable as the flush mode promises.
    ///
    /// # Errors
    /// The records are stored, but a loss of power may take them back.
    pub async fn durable(&self, end: u64) -> Result<(), Undurable> {
        if self.log.config.flush == FlushMode::Async || planted!("M01") {
            return Ok(());
        }
        let allowed = self.log.config.sync_flush_timeout;
        match time::timeout(allowed, self.log.flushed.reach(end)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(closed)) => {
                sometimes!("store.durable.failed");
                Err(Undurable::Failed(match self.log.poisoned() {
                    Some(reason) => reason.to_owned(),
                    None => closed.to_string(),
                }))
            }
            Err(_) if planted!("B17") => Ok(()),
            Err(_) => Err(Undurable::Timeout(allowed.as_millis())),
        }
    }

    fn check(&self, messages: &[NewRecord<'_>]) -> Result<(), AppendError> {
        let config = &self.log.config;
        for message in messages {
            let max = if message.topic.starts_with(RETRY) { MAX_RETRY_TOPIC } else { config.max_topic_bytes };
            if !layout::is_folder_name(message.topic) || message.topic.len() > max {
                return Err(AppendError::TopicLength { size: message.topic.len(), max });
            }
            if message.properties_size() > record::MAX_PROPERTIES {
                let (size, max) = (message.properties_size(), record::MAX_PROPERTIES);
                return Err(AppendError::PropertiesTooLong { size, max });
            }
            // `state/look.rs` takes a zero at the edge of a sector for one that was never written.
            if properties::has_zero(message.properties) || properties::has_zero(message.added) {
                return Err(AppendError::PropertiesHoldZero);
            }
        }
        let body: usize = messages.iter().map(|m| m.body.len()).sum();
        if body > config.max_message_bytes {
            return Err(AppendError::BodyTooLong { size: body, max: config.max_message_bytes });
        }
        self.check_size(messages)
    }

    /// Records of one append stand in one segment.
    fn check_size(&self, messages: &[NewRecord<'_>]) -> Result<(), AppendError> {
        let size = size_of(messages);
        let max = self.largest_append();
        if size > max { Err(AppendError::BodyTooLong { size, max }) } else { Ok(()) }
    }

    /// Most bytes of records that one append can take.
    pub fn largest_append(&self) -> usize {
        usize::try_from(self.log.config.segment_bytes).unwrap_or(usize::MAX) - record::BLANK_SIZE
    }

    async fn append_all(&self, messages: &[NewRecord<'_>]) -> Result<Appended, AppendError> {
        let deletions = self.topics.deletions();
        self.admit().await?;
        loop {
            match self.try_append(messages, None, deletions) {
                Ok((appended, _)) => {
                    self.log.written.advance(appended.end);
                    tell(&messages[0], &appended, messages.len());
                    crash_point!("store.append.written").await;
                    return Ok(appended);
                }
                // Boxed as it is rare: every parked send of the broker costs what this future costs.
                Err(Stop::NeedSegment(end)) => match Box::pin(self.segment_ready(end)).await {
                    Err(AppendError::DiskFull(_)) if planted!("M15") => {
                        return Ok(self.unstored(&messages[0]));
                    }
                    ready => ready?,
                },
                Err(Stop::Refused(error)) => return Err(error),
            }
        }
    }

    /// What an acknowledgement of a message would say that was never stored.
    fn unstored(&self, message: &NewRecord<'_>) -> Appended {
        let end = self.end.lock();
        let queue = self.topics.find_or_make(message.topic, message.queue_id);
        let queue_offset = queue.map_or(0, |queue| queue.next.load(Ordering::Relaxed));
        Appended { position: end.at, end: end.at, queue_offset, store_timestamp: end.store_time }
    }

    /// Appends messages of one queue, and behind them perhaps one of another, unless a topic of theirs was deleted since
    /// there were so many deletions. Answers where the first stands, the end of all, and the offset of that other one.
    fn try_append(
        &self,
        messages: &[NewRecord<'_>],
        other: Option<&NewRecord<'_>>,
        deletions: u64,
    ) -> Result<(Appended, u64), Stop> {
        let size = messages.iter().chain(other).map(NewRecord::size).sum::<usize>();
        let keys: SmallVec<[Keys; 2]> = messages.iter().chain(other).map(keys_of).collect();
        let mut end = self.end.lock();
        if let Some(reason) = self.log.poisoned() {
            sometimes!("store.append.poisoned");
            return Err(Stop::Refused(AppendError::Poisoned(reason.to_owned())));
        }
        if end.closed {
            return Err(Stop::Refused(AppendError::Closed));
        }
        if self.disk_full.load(Ordering::Relaxed) {
            sometimes!("store.append.disk_full");
            return Err(Stop::Refused(AppendError::DiskFull("too little space is left".to_owned())));
        }
        // Under the lock of the end no topic is deleted.
        let stale = |topic: &str| Stop::Refused(AppendError::TopicDeleted(topic.to_owned()));
        // Who waited since then was told of a topic that is gone: it would come to the next one of its name.
        let mut topics = messages.first().into_iter().chain(other).map(|message| message.topic);
        if let Some(gone) = topics.find(|topic| self.topics.deleted_since(topic, deletions))
            && !planted!("B97")
        {
            return Err(stale(gone));
        }
        let base = self.make_room(&mut end, size)?;
        sometimes!("store.append.pair_rolled", other.is_some() && end.at == base);
        sometimes!("store.append.batch_rolled", messages.len() > 1 && end.at == base);
        let End { segment, at, store_time, recent, scratch, notes, .. } = &mut *end;
        let other = match other {
            None => None,
            Some(m) => {
                let queue = self.topics.find_or_make(m.topic, m.queue_id).ok_or_else(|| stale(m.topic))?;
                Some((m, queue))
            }
        };
        let (topic, id) = (messages[0].topic, messages[0].queue_id);
        // The long way must lead to the same queue (ACK-2).
        let queue = match recent.find(topic, id).filter(|_| !buggify!("store.append.cold_queue")) {
            Some(queue) => queue,
            None => match self.topics.find_or_make(topic, id) {
                Some(queue) => recent.put(queue),
                None => return Err(stale(topic)),
            },
        };
        let file = &segment.as_ref().expect("make_room found a segment").file;
        sometimes!("store.append.clock_behind", *store_time > clock::now_ms());
        *store_time = (*store_time).max(clock::now_ms());
        scratch.clear();
        let first_offset = queue.next.load(Ordering::Relaxed);
        let mut next = first_offset;
        let store_timestamp = *store_time;
        let mut put = |message: &NewRecord<'_>, next: u64| {
            let start = scratch.len();
            message.encode(scratch);
            let counted = is_counted(message.sys_flag);
            let queue_offset = if counted { next } else { 0 };
            let position = *at + start as u64;
            record::place(&mut scratch[start..], Place { queue_offset, position, store_timestamp });
            next + u64::from(counted)
        };
        for message in messages {
            next = put(message, next);
        }
        let other_offset = other.as_ref().map_or(0, |(_, queue)| queue.next.load(Ordering::Relaxed));
        let other = other.map(|(message, queue)| (message, put(message, other_offset), queue));
        assert_eq!(scratch.len(), size, "a record is as long as it says");
        // Size and magic last: a process that dies in between leaves nothing that looks like a record.
        let written = file
            .write_at(*at - base + 8, &scratch[8..])
            .and_then(|()| file.write_at(*at - base, &scratch[..8]));
        if let Err(error) = written {
            return Err(Stop::Refused(self.write_failed(&error)));
        }
        let position = *at;
        let mut keys = keys.into_iter();
        let mut note = |message: &NewRecord<'_>, queue: &Arc<Queue>, offset: u64| {
            let keys = keys.next().expect("those of each message");
            let tag = self.tag(message.topic, message.queue_id, store_timestamp, &keys);
            let size = message.size();
            let unit = Unit { position: *at, size: u32::try_from(size).expect("less than a segment"), tag };
            let counted = is_counted(message.sys_flag);
            let place = counted.then(|| (queue.clone(), offset));
            notes.add(Note { unit, store_time: store_timestamp, place, topic: queue.prefix, keys });
            *at += size as u64;
            offset + u64::from(counted)
        };
        messages.iter().fold(first_offset, |offset, message| note(message, queue, offset));
        queue.next.store(next, Ordering::Relaxed);
        if let Some((message, next, queue)) = other {
            note(message, &queue, other_offset);
            queue.next.store(next, Ordering::Relaxed);
        }
        let queue_offset = if is_counted(messages[0].sys_flag) { first_offset } else { 0 };
        Ok((Appended { position, end: *at, queue_offset, store_timestamp }, other_offset))
    }

    /// Makes `end.segment` the one that takes the next `size` bytes, and returns its base.
    fn make_room(&self, end: &mut End, size: usize) -> Result<u64, Stop> {
        let segment_bytes = self.log.config.segment_bytes;
        if let Some(segment) = &end.segment {
            let room = segment.base + segment_bytes - end.at;
            // Rolling over early meets blanks of every size: a wrong one (LOG-5), or a queue with a hole where its
            // record is the first of a segment (LOG-2), would else wait for a rare length.
            let next_is_there = || self.log.segment(segment.base + segment_bytes).is_some();
            let early = end.at > segment.base && buggify!("store.append.roll") && next_is_there();
            if (size + record::BLANK_SIZE) as u64 <= room && !early {
                return Ok(segment.base);
            }
            // The rest of a full segment is a blank, of which only the head is written.
            let mut blank = u32::try_from(room).expect("a segment is smaller than 4 GiB");
            if planted!("M12") {
                blank -= 8;
            }
            if let Err(error) = segment.file.write_at(end.at - segment.base, &record::blank(blank)) {
                return Err(Stop::Refused(self.write_failed(&error)));
            }
            self.log.mark_filled(segment.base, Instant::now());
            sometimes!("store.append.rolled");
            end.at = segment.base + segment_bytes;
            end.segment = None;
            self.log.written.advance(end.at);
        }
        // One more than this one, so that the next is ready before it is needed.
        self.log.wanted.advance(end.at + 2 * segment_bytes);
        match self.log.segment(end.at) {
            Some(segment) => {
                end.segment = Some(segment);
                Ok(end.at)
            }
            None => Err(Stop::NeedSegment(end.at + segment_bytes)),
        }
    }

    /// What a failed write left in the page cache is unknown, so nothing may be written behind it.
    fn write_failed(&self, error: &io::Error) -> AppendError {
        self.log.poison(format!("writing to the commit log failed: {error}"));
        AppendError::Poisoned(error.to_string())
    }

    /// Waits for the log to have a segment up to `end`.
    async fn segment_ready(&self, end: u64) -> Result<(), AppendError> {
        let allowed = self.log.config.segment_timeout;
        let deadline = Instant::now() + allowed;
        loop {
            let attempts = self.log.attempts.get();
            if self.log.reserved.get() >= end {
                return Ok(());
            }
            if let Some(shortage) = self.log.shortage() {
                sometimes!("store.append.no_segment");
                return Err(if shortage.disk_full {
                    AppendError::DiskFull(shortage.reason)
                } else {
                    AppendError::NoSegment(shortage.reason)
                });
            }
            sometimes!("store.append.waited");
            let attempt = time::timeout_at(deadline, self.log.attempts.reach(attempts + 1)).await;
            match attempt {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(AppendError::Closed),
                Err(_) => {
                    return Err(AppendError::NoSegment(format!("none within {} ms", allowed.as_millis())));
                }
            }
        }
    }

    /// Lets an append begin. Readers see a record only after its dispatch: when that falls far behind, senders wait a
    /// little for it.
    async fn admit(&self) -> Result<(), AppendError> {
        // Whatever an append is part of must be whole without it, and be tried again (TXN-1, TXN-4, DLY-2, RTY-2).
        if buggify!("store.append.refused") {
            return Err(AppendError::NoSegment("none, by chance".to_owned()));
        }
        // Others overtake this one, whose place in its queue is not given yet (LOG-3).
        if buggify!("store.append.slow") {
            time::sleep(Duration::from_millis(3)).await;
        }
        let behind = self.dispatch_behind();
        let allowed = self.log.config.dispatch_behind_bytes;
        if behind > allowed {
            let much = behind / allowed.max(1);
            Box::pin(time::sleep(Duration::from_millis(5 * much.min(10)))).await;
        }
        Ok(())
    }
}

fn tell(first: &NewRecord<'_>, appended: &Appended, count: usize) {
    tap!(
        "append",
        topic = first.topic,
        queue = first.queue_id,
        offset = appended.queue_offset,
        position = appended.position,
        end = appended.end,
        count = count
    );
    let _ = (first, appended, count);
}

fn size_of(messages: &[NewRecord<'_>]) -> usize {
    messages.iter().map(NewRecord::size).sum()
}

/// What a broker adds to a message has none.
fn keys_of(message: &NewRecord<'_>) -> Keys {
    debug_assert_eq!(Keys::of(message.added, 0), Keys::default(), "the keys stand in the client's text");
    Keys::of(message.properties, message.sys_flag)
}

/// Half and rolled-back messages have no place in a queue.
pub(crate) fn is_counted(flags: i32) -> bool {
    !matches!(flags & sys_flag::TRANSACTION_MASK, sys_flag::PREPARED | sys_flag::ROLLBACK)
}

/// Enough that the queues of a few busy topics mostly keep out of each other's places.
const RECENT: usize = 32;
const RETRY: &str = "%RETRY%";
const MAX_RETRY_TOPIC: usize = 255;
