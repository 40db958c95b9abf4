//! Delayed messages: they wait in the schedule topic, one queue per level, and are delivered in order when due.
//!
//! Each queue has a loop of its own. It appends the message to its real queue and then counts it as delivered; both
//! facts are one record of the log, because the delivered message names the place it was made from. The file
//! `delayOffset.json` only tells how far the log need not be read at start: nothing is lost or repeated by a crash,
//! and nothing is trusted that the log does not confirm.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use protocol::{
    body::{DataVersion, DelayOffsets},
    json, name,
    properties::names,
    record::{NewRecord, RecordRef, Scan, scan, sys_flag},
};
use runtime::{
    buggify, clock, crash_point,
    disk::Disk,
    planted, sometimes,
    sync::{Mutex, Semaphore},
    tap,
    task::yield_now,
    time::timeout,
};
use store::{AppendError, Appended, Queue, ReadError, ReadStatus, Store};

use crate::{
    Broker,
    refusal::Refusal,
    saved,
    send::{retry_group, wire},
    state::delay::{self, Due, Levels, Now, Origin, Progress, Scheduled, StoreTimes},
};

/// What the broker knows of delayed messages.
#[derive(Debug)]
pub(crate) struct Delays {
    /// How long each level holds a message.
    pub(crate) levels: Levels,
    progress: Mutex<Progress>,
    times: Mutex<StoreTimes>,
    writing: Semaphore,
    /// The changes of `progress` that are in the file, and the position of the log there, once it was written.
    written: Mutex<Option<(u64, u64)>>,
}

/// How a look at a queue ended.
enum Turn {
    /// There may be more to do.
    More,
    /// Nothing waits in the queue.
    Empty,
    /// Nothing is due; look again in so many milliseconds.
    Wait(u64),
}

/// Why a message is not delivered.
enum Unplaced {
    /// It never can be.
    Never(String),
    /// Not now.
    NotNow(AppendError),
}

/// Why a look at a queue failed.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("{0}")]
    Append(AppendError),
}

impl Delays {
    /// Finds out how far each level has got, from its file and the log.
    pub(crate) async fn load(disk: &Disk, store: &Store, levels: Levels) -> Self {
        let mut progress = Progress::default();
        let mut saved = BTreeMap::new();
        if let Some(from) = read_file(disk, store, &mut progress, &mut saved).await {
            let walked = store.walk(from, |record| {
                if let Some(origin) = origin(record) {
                    sometimes!("broker.delay.found_delivered");
                    progress.found(origin);
                }
            });
            match walked.await {
                Ok(end) => {
                    tracing::info!(from, end, "the log was read for delayed messages that were delivered")
                }
                Err(error) => tracing::error!(
                    from,
                    %error,
                    "the log cannot be read for delayed messages that were delivered: some may be delivered again"
                ),
            }
        }
        let queues: Vec<i32> = (0..levels.count()).chain(store.queues(name::SCHEDULE_TOPIC)).collect();
        let mut times = StoreTimes::new(&levels, queues.iter().copied());
        for queue in queues {
            let (min, max) = bounds(store, queue);
            let last_ms = last_stored(store, queue, max).await;
            let saved = saved.get(&(queue + 1)).map_or(&[][..], Vec::as_slice);
            times.load(queue, saved, max, last_ms, clock::now_ms());
            let known = progress.next(queue);
            sometimes!("broker.delay.level_gone", queue >= levels.count() && known < max);
            let next = if planted!("M38") { known } else { known.clamp(min, max) };
            if next != known && known > 0 {
                tracing::warn!(
                    level = queue + 1,
                    known,
                    next,
                    "progress of a delay level lies outside of its queue: corrected"
                );
            }
            progress.set(queue, next);
            tap!("delay_offset", level = queue + 1, offset = next, why = "loaded");
        }
        Self {
            levels,
            progress: Mutex::new(progress),
            times: Mutex::new(times),
            writing: Semaphore::new(1),
            written: Mutex::default(),
        }
    }

    /// Queues of the schedule topic: those of the levels, and older ones in which something may be left.
    pub(crate) fn queues(&self) -> Vec<i32> {
        self.progress.lock().queues().collect()
    }

    /// Where each level stands: the next offset and the end of its queue, by level.
    pub(crate) fn stand(&self, store: &Store) -> Vec<(i32, u64, u64)> {
        let progress = self.progress.lock();
        let stand = |queue: i32| (queue + 1, progress.next(queue), bounds(store, queue).1);
        progress.queues().map(stand).collect()
    }
}

impl Broker {
    /// Where a message waits whose property DELAY has this value; None when it is not delayed.
    pub(crate) fn schedule(
        &self,
        value: &[u8],
        topic: &str,
        queue: i32,
        properties: &[u8],
    ) -> Result<Option<Scheduled>, Refusal> {
        let level = delay::level(value).map_err(Refusal::Message)?;
        Ok(level.map(|level| self.delays.levels.schedule(level, topic, queue, properties)))
    }

    /// A message was stored in a queue of the schedule topic.
    pub(crate) fn delay_begins(&self, queue: i32, stored: &Appended) {
        let (offset, stored_ms) = (stored.queue_offset, stored.store_timestamp);
        self.delays.times.lock().stored(queue, offset, stored_ms, self.moment());
    }

    /// Now, on the wall clock and on a clock that only goes forward.
    fn moment(&self) -> Now {
        let uptime = i64::try_from(self.uptime_ms()).expect("uptimes are short");
        Now { wall: clock::now_ms(), steady: self.boot_ms.saturating_add(uptime) }
    }

    /// Delivers the messages of one queue of the schedule topic when they are due.
    pub(crate) async fn deliver(self: Arc<Self>, queue: i32) {
        let mut failures = 0;
        let Some(queue) = self.store.open_queue(name::SCHEDULE_TOPIC, queue) else { return };
        while !self.is_stopping() {
            let go_on = match self.deliver_due(&queue).await {
                Ok(Turn::More) => {
                    yield_now().await;
                    true
                }
                // Woken before it is due: it must look and wait again (DLY-1).
                Ok(Turn::Wait(ms)) if buggify!("broker.delay.early") => {
                    self.pause(Duration::from_millis(ms / 2)).await
                }
                Ok(Turn::Wait(ms)) => self.pause(Duration::from_millis(ms)).await,
                Ok(Turn::Empty) => {
                    let next = self.delays.progress.lock().next(queue.id());
                    runtime::select! {
                        _ = self.stopping.reach(1) => false,
                        come = queue.arrived.reach(next + 1) => come.is_ok(),
                    }
                }
                Err(trouble) => {
                    sometimes!("broker.delay.trouble");
                    failures += 1;
                    tracing::error!(
                        level = queue.id() + 1,
                        failures,
                        "delayed messages cannot be delivered now, trying again: {trouble}"
                    );
                    if !self.pause(AFTER_TROUBLE * failures.min(MOST_PAUSES)).await {
                        return;
                    }
                    continue;
                }
            };
            failures = 0;
            if !go_on {
                return;
            }
        }
    }

    /// Delivers what is due, a few messages at most.
    async fn deliver_due(&self, queue: &Queue) -> Result<Turn, Trouble> {
        let id = queue.id();
        let next = self.delays.progress.lock().next(id);
        self.delays.times.lock().pass(id, next);
        let count = if buggify!("broker.delay.short") { 1 } else { BATCH };
        // The first is needed to learn when it is due; the times in the queue tell which others are worth reading.
        let now = clock::now_ms();
        let (mut first, mut open) = (true, true);
        let accept = move |due: i64| {
            let take = open && (std::mem::take(&mut first) || due <= now);
            open = take;
            take
        };
        let found = queue.read(wire(next), count, BATCH_BYTES, accept).await?;
        match found.status {
            ReadStatus::Found => {}
            ReadStatus::NoMessageInQueue | ReadStatus::OffsetOverflowOne => return Ok(Turn::Empty),
            ReadStatus::NoMatchedMessage => unreachable!("the first message is always taken"),
            ReadStatus::OffsetOverflowBadly if planted!("M38") => return Ok(Turn::Empty),
            ReadStatus::OffsetTooSmall | ReadStatus::MessageWasRemoving => {
                self.pass_over(
                    id,
                    next,
                    found.next,
                    "they are not in the log any more: retention removed them, or the log is damaged",
                );
                return Ok(Turn::More);
            }
            ReadStatus::OffsetOverflowBadly => {
                tracing::error!(
                    level = id + 1,
                    next,
                    max = found.max,
                    "progress of a delay level lies behind its queue: corrected"
                );
                self.delays.progress.lock().set(id, found.max);
                return Ok(Turn::More);
            }
        }
        self.delays.progress.lock().begin(id, self.store.max_position());
        let mut at = next;
        let outcome = self.deliver_records(id, &mut at, &found.records).await;
        self.delays.progress.lock().end(id, at);
        outcome
    }

    /// Delivers the records that are due; `at` is behind the last one that is done with.
    async fn deliver_records(&self, id: i32, at: &mut u64, records: &[u8]) -> Result<Turn, Trouble> {
        let mut rest = records;
        while let Scan::Record(message) = scan(rest, false) {
            rest = &rest[message.size as usize..];
            let offset = message.place.queue_offset;
            if offset > *at {
                self.pass_over(id, *at, offset, "they cannot be read");
                *at = offset;
            }
            if let Due::In(ms) = self.due(id, &message) {
                return Ok(Turn::Wait(ms));
            }
            match self.deliver_one(id, &message).await {
                Ok(()) => {}
                Err(Unplaced::NotNow(error)) => {
                    if planted!("B84") {
                        *at = self.delays.progress.lock().next(id);
                    }
                    return Err(Trouble::Append(error));
                }
                Err(Unplaced::Never(why)) => {
                    tracing::error!(
                        level = id + 1,
                        offset,
                        position = message.place.position,
                        topic = message.property(names::REAL_TOPIC),
                        unique_key = message.property(names::UNIQ_KEY),
                        "a delayed message cannot be delivered and is passed over: {why}. It can be read as offset \
                         {offset} of queue {id} of {} until retention removes it",
                        name::SCHEDULE_TOPIC
                    );
                    tap!("delay_skipped", level = id + 1, offset = offset, why = why.as_str());
                }
            }
            *at = offset + 1;
        }
        Ok(Turn::More)
    }

    fn due(&self, id: i32, message: &RecordRef<'_>) -> Due {
        let (stored, delay) = (message.place.store_timestamp, self.delays.levels.of_queue(id));
        let now = self.moment();
        let (due, wall) = (stored.saturating_add(delay), now.wall);
        if planted!("M40") && wall / 1000 >= due / 1000 {
            return Due::Now;
        }
        if planted!("M41") && wall < due {
            // Only the wall clock counts, and it counts anew when it was set back.
            let late = due.max(wall + if wall < stored { delay } else { 0 });
            return Due::In(u64::try_from(late - wall).unwrap_or(0).min(500));
        }
        Due::after(self.left_ms(id, message, now))
    }

    /// In how many milliseconds a message is due.
    fn left_ms(&self, id: i32, message: &RecordRef<'_>, now: Now) -> i64 {
        let (place, delay) = (message.place, self.delays.levels.of_queue(id));
        self.delays.times.lock().left_ms(id, place.queue_offset, place.store_timestamp, delay, now)
    }

    /// Appends a message to the queue it is meant for.
    async fn deliver_one(&self, id: i32, message: &RecordRef<'_>) -> Result<(), Unplaced> {
        let (topic, queue_id) = self.real_place(message).map_err(Unplaced::Never)?;
        let queue_id = if queue_id > 0 && planted!("B08") { 0 } else { queue_id };
        let offset = message.place.queue_offset;
        if planted!("M41")
            && clock::now_ms() > message.place.store_timestamp + self.delays.levels.of_queue(id) + 5000
        {
            return Ok(()); // as if the clock had jumped over it
        }
        let copy = NewRecord {
            topic: &topic,
            queue_id,
            flag: if planted!("B65") { 0 } else { message.flag },
            // It was committed before it began to wait: the record of the commit is not this one.
            sys_flag: message.sys_flag & !sys_flag::TRANSACTION_MASK,
            born_timestamp: message.born_timestamp,
            born_host: message.born_host,
            store_host: self.store_host,
            reconsume_times: message.reconsume_times,
            prepared_offset: Origin { queue: id, offset }.mark(),
            body: message.body,
            properties: message.properties,
            added: b"",
        };
        let appended = self.store.append(&copy).await.map_err(|error| match error {
            AppendError::BodyTooLong { .. }
            | AppendError::PropertiesTooLong { .. }
            | AppendError::PropertiesHoldZero
            | AppendError::TopicLength { .. }
            | AppendError::BadBatch => Unplaced::Never(error.to_string()),
            AppendError::TopicDeleted(_)
            | AppendError::DiskFull(_)
            | AppendError::Poisoned(_)
            | AppendError::Closed
            | AppendError::NoSegment(_) => Unplaced::NotNow(error),
        })?;
        self.counters.stored(1, copy.body.len());
        tap!(
            "delay_delivered",
            level = id + 1,
            from = offset,
            topic = &*topic,
            queue = queue_id,
            offset = appended.queue_offset,
            stored = message.place.store_timestamp,
            end = appended.end
        );
        tracing::debug!(
            level = id + 1,
            from = offset,
            %topic,
            queue = queue_id,
            offset = appended.queue_offset,
            "delayed message delivered"
        );
        crash_point!("broker.delay.delivered").await;
        Ok(())
    }

    /// The topic and queue that a delayed message is meant for, or why there is none.
    fn real_place(&self, message: &RecordRef<'_>) -> Result<(String, i32), String> {
        let topic = message.property(names::REAL_TOPIC).ok_or("it names no topic")?;
        let queue = message.property(names::REAL_QUEUE_ID).and_then(|id| id.parse::<i32>().ok());
        let queue = queue.filter(|queue| *queue >= 0).ok_or("it names no queue")?;
        if name::is_closed_topic(topic) {
            return Err(format!("{topic} takes no messages of clients"));
        }
        let known = self.topics.lock().get(topic).cloned();
        let known = match (known, retry_group(topic)) {
            (Some(known), _) => known,
            // A group's retries live as long as the group does.
            (None, Some(group)) => {
                let group = self.groups.lock().get(group).cloned();
                let group = group.ok_or_else(|| format!("the group of {topic} does not exist any more"))?;
                self.ensure_topic(topic, group.retry_queue_nums, false)
            }
            (None, None) => return Err(format!("topic {topic} does not exist any more")),
        };
        let count = known.config.write_queue_nums.max(known.config.read_queue_nums).max(1);
        sometimes!("broker.delay.queue_gone", queue >= count);
        Ok((
            topic.to_owned(),
            if queue < count || planted!("B62") {
                queue
            } else {
                queue % known.config.write_queue_nums.max(1)
            },
        ))
    }

    /// What each level in which something waits does next, for operators.
    pub(crate) async fn explain_delays(&self) -> Vec<(i32, String)> {
        let mut told = Vec::new();
        for (level, next, end) in self.delays.stand(&self.store) {
            let Some(queue) = self.store.queue(name::SCHEDULE_TOPIC, level - 1) else { continue };
            let Ok(found) = queue.read(wire(next), 1, BATCH_BYTES, |_| true).await else { continue };
            let Scan::Record(message) = scan(&found.records, false) else { continue };
            let left_ms = self.left_ms(level - 1, &message, self.moment());
            let topic = message.property(names::REAL_TOPIC).unwrap_or("?");
            let to = message.property(names::REAL_QUEUE_ID).unwrap_or("?");
            told.push((level, delay::explain(end.saturating_sub(next), next, left_ms, topic, to)));
        }
        told
    }

    fn pass_over(&self, id: i32, from: u64, to: u64, why: &str) {
        tracing::error!(level = id + 1, from, to, "delayed messages are lost: {why}");
        for offset in from..to {
            tap!("delay_skipped", level = id + 1, offset = offset, why = "lost");
        }
        self.delays.progress.lock().set(id, to);
    }

    /// Writes the progress every few seconds, and soon when the wall clock was set back: a restart must know of it.
    pub(crate) async fn persist_delays(self: Arc<Self>) {
        let mut last = self.uptime_ms();
        loop {
            let interval = self.config().flush_delay_offset_interval;
            if !self.pause(Duration::from_millis(interval).min(LOOK)).await {
                return;
            }
            let now = self.uptime_ms();
            // Old progress when the end comes (DLY-2); a clock that was set back is told all the same.
            let late = buggify!("broker.delay.written_late");
            if (!late && now >= last.saturating_add(interval))
                || self.delays.times.lock().is_unsaved(self.moment())
            {
                last = now;
                self.write_delays().await;
            }
        }
    }

    /// Writes the progress, if there is any, if the log has grown much since the last time, or if the wall clock was
    /// set back.
    pub(crate) async fn write_delays(&self) {
        let delays = &self.delays;
        let _turn = delays.writing.acquire().await.expect("the semaphore is never closed");
        let end = self.store.max_position();
        let set_back = delays.times.lock().is_unsaved(self.moment());
        sometimes!("broker.delay.set_back", set_back);
        let (changes, table, position) = {
            let progress = delays.progress.lock();
            let (changes, written) = (progress.changes(), *delays.written.lock());
            if written.is_some_and(|(same, position)| changes == same && end < position + MUCH) && !set_back {
                return;
            }
            let (table, position) = progress.snapshot(end);
            (changes, table, position)
        };
        let ahead = delays.times.lock().save(self.moment());
        // What the file counts as delivered must not be taken back by a loss of power: it would never be delivered.
        if !planted!("M38") {
            match timeout(FLUSH, self.store.flush_to(end)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    sometimes!("broker.delay.not_written");
                    delays.times.lock().not_saved(set_back);
                    return tracing::warn!(%error, "progress of delayed messages is not written: the log is not on the disk");
                }
                Err(_) => {
                    delays.times.lock().not_saved(set_back);
                    return tracing::warn!(
                        "progress of delayed messages is not written: the disk takes too long"
                    );
                }
            }
        }
        crash_point!("broker.delay.write").await;
        let bytes = file(&table, position, changes, ahead);
        match self.disk.replace_small(OFFSETS, &bytes).await {
            Ok(()) => {
                *delays.written.lock() = Some((changes, position));
                for (queue, next) in &table {
                    tap!("delay_offset", level = queue + 1, offset = *next, why = "written");
                }
                crash_point!("broker.delay.written").await;
            }
            Err(error) => {
                sometimes!("broker.delay.failed_write");
                delays.times.lock().not_saved(set_back);
                tracing::error!(
                    path = OFFSETS,
                    %error,
                    "cannot write the progress of delayed messages; trying again. Until then a start takes longer"
                );
            }
        }
    }
}

/// The place in the schedule topic that a record was made from, if it was.
fn origin(record: &RecordRef<'_>) -> Option<Origin> {
    Origin::read(record.prepared_offset)
}

/// Takes what the file tells of offsets and store times; the position from which the log must be read for more, if it
/// must.
async fn read_file(
    disk: &Disk,
    store: &Store,
    progress: &mut Progress,
    ahead: &mut BTreeMap<i32, Vec<(u64, i64)>>,
) -> Option<u64> {
    let unused = store.queues(name::SCHEDULE_TOPIC).into_iter().all(|queue| bounds(store, queue).1 == 0);
    let whole_log = (!unused).then(|| store.min_position());
    let file: DelayOffsets = match saved::read(disk, OFFSETS).await {
        Ok(Some(file)) => file,
        Ok(None) => {
            if !unused {
                tracing::warn!(
                    path = OFFSETS,
                    "the file is missing: the whole log is read for the delayed messages that were delivered"
                );
            }
            return whole_log;
        }
        Err(error) => {
            tracing::error!("{error}. The whole log is read for the delayed messages that were delivered");
            return whole_log;
        }
    };
    *ahead = file.ahead.unwrap_or_default();
    if file.log_position.is_some_and(|position| position > store.max_position()) && !planted!("M38") {
        tracing::error!(
            path = OFFSETS,
            "the log is shorter than when the file was written: what it counts as delivered may be lost. \
             The whole log is read for the delayed messages that were delivered"
        );
        return whole_log;
    }
    for (level, next) in file.offset_table {
        if level >= 1 {
            progress.set(level - 1, u64::try_from(next).unwrap_or(0));
        }
    }
    // Java wrote it: nothing in the log names what it was made from.
    file.log_position.filter(|_| !planted!("M37"))
}

fn bounds(store: &Store, queue: i32) -> (u64, u64) {
    store.queue(name::SCHEDULE_TOPIC, queue).map_or((0, 0), |queue| (queue.min(), queue.max()))
}

/// When the last message of a queue of the schedule topic was stored; 0 when there is none.
async fn last_stored(store: &Store, queue: i32, max: u64) -> i64 {
    let Some(queue) = store.queue(name::SCHEDULE_TOPIC, queue).filter(|queue| queue.min() < max) else {
        return 0;
    };
    let Ok(found) = queue.read(wire(max - 1), 1, BATCH_BYTES, |_| true).await else { return 0 };
    match scan(&found.records, false) {
        Scan::Record(message) => message.place.store_timestamp,
        _ => 0,
    }
}

fn file(
    table: &BTreeMap<i32, u64>,
    position: u64,
    changes: u64,
    ahead: BTreeMap<i32, Vec<(u64, i64)>>,
) -> Vec<u8> {
    json::to_vec(&DelayOffsets {
        ahead: (!ahead.is_empty())
            .then(|| ahead.into_iter().map(|(queue, shifts)| (queue + 1, shifts)).collect()),
        data_version: Some(DataVersion {
            counter: i64::try_from(changes).unwrap_or(0),
            ..DataVersion::default()
        }),
        log_position: Some(position),
        offset_table: table.iter().map(|(queue, next)| (queue + 1, wire(*next))).collect(),
    })
}

/// How far the delay levels are.
const OFFSETS: &str = "config/delayOffset.json";

/// Messages delivered before others have their turn.
const BATCH: u32 = 32;
const BATCH_BYTES: u32 = 1 << 20;

const AFTER_TROUBLE: Duration = Duration::from_millis(200);
const MOST_PAUSES: u32 = 10;

/// A clock that is set back is noticed so soon.
const LOOK: Duration = Duration::from_secs(1);

/// How long the log may take to reach the disk.
const FLUSH: Duration = Duration::from_secs(5);

/// The log is read from the position in the file on: it must not fall far behind.
const MUCH: u64 = 16 << 20;
