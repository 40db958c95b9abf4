//! Opening: from what a crash left to a log that ends at its last whole record and queues that have every record.
//!
//! What is known to have been on the disk comes from the checkpoint and the table, both written only after the
//! syncs they speak of. Damage behind that is a torn end: the log is cut there, wiped, and everything read is
//! written and synced again, because a readable page may never have reached the disk. Damage before it is decay:
//! it is skipped when a valid record follows, and otherwise an operator decides.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use protocol::record::RecordRef;
use runtime::disk::{Disk, File, Lock};
use runtime::{buggify, crash_point, host, planted, sometimes, tap};

use crate::config::{Config, OnDamage};
use crate::error::OpenError;
use crate::state::checkpoint::Checkpoint;
use crate::state::layout;
use crate::state::look::{Checks, Look, look, next_candidate};
use crate::state::table::{Offsets, Table};
use crate::state::unit::Unit;
use crate::store::Store;
use crate::types::{Gap, RecoveryReport};

/// What the directory holds before recovery.
#[derive(Debug)]
pub(crate) struct Files {
    segments: Vec<(u64, File)>,
    table: Option<Table>,
    checkpoint: Option<Checkpoint>,
    clean: bool,
}

impl Files {
    /// Where the log starts.
    pub(crate) fn start(&self) -> u64 {
        self.segments.first().map_or(0, |(base, _)| *base)
    }
}

/// Makes the folders and takes the lock.
pub(crate) async fn prepare(disk: &Disk) -> Result<Lock, OpenError> {
    let lock = disk.try_lock(layout::LOCK).await.map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked,
        _ => OpenError::Io { what: "cannot take the store's lock".to_owned(), source },
    })?;
    for folder in [layout::LOG, layout::QUEUES, layout::CONFIG] {
        disk.make_dir(folder).await.map_err(failed("cannot make a folder of the store"))?;
    }
    crash_point!("store.recover.prepared").await;
    Ok(lock)
}

/// Finds the files of a store and checks that they fit together.
pub(crate) async fn load(disk: &Disk, config: &Config) -> Result<Files, OpenError> {
    let clean = small(disk, layout::ABORT).await?.is_none() || planted!("M09");
    let page = small(disk, layout::CHECKPOINT).await?;
    let checkpoint = page.as_deref().and_then(Checkpoint::decode);
    let table = match small(disk, layout::TABLE).await? {
        None => None,
        Some(text) => Table::decode(&text)
            .inspect_err(|error| {
                tracing::error!(%error, file = layout::TABLE, "unreadable: the queues are made anew from the log");
            })
            .ok(),
    };
    let log_min = table.as_ref().map_or(0, |t| t.log_min);
    let mut segments: Vec<(u64, File)> = Vec::new();
    let names = disk.list(layout::LOG).await.map_err(failed("cannot list the commit log"))?;
    let bases: Vec<u64> = names.iter().filter_map(|name| layout::file_start(name)).collect();
    for (index, base) in bases.iter().copied().enumerate() {
        let path = layout::segment(base);
        if base < log_min {
            // Its deletion was decided, and cut off by a crash.
            disk.remove(&path).await.map_err(failed("cannot remove an old segment"))?;
            crash_point!("store.recover.old_removed").await;
            continue;
        }
        let file = disk.open_file(&path).await.map_err(failed("cannot open a segment"))?;
        if file.len() != config.segment_bytes {
            if index + 1 == bases.len() && file.len() < config.segment_bytes {
                // A crash came while it was made.
                disk.remove(&path).await.map_err(failed("cannot remove an unfinished segment"))?;
                crash_point!("store.recover.unfinished_removed").await;
                continue;
            }
            return Err(OpenError::Inconsistent(format!(
                "{path} has {} bytes, mappedFileSizeCommitLog says {}: set the size it was made with",
                file.len(),
                config.segment_bytes
            )));
        }
        let expected = segments.last().map_or(base, |(last, _)| last + config.segment_bytes);
        if base != expected || base % config.segment_bytes != 0 {
            return Err(OpenError::Inconsistent(format!(
                "{} is missing: the next file of the commit log is {path}; restore it",
                layout::segment(expected)
            )));
        }
        segments.push((base, file));
    }
    Ok(Files { segments, table, checkpoint, clean })
}

/// Recovers what [`load`] found into a store that nobody uses yet.
pub(crate) async fn run(store: &Arc<Store>, files: Files) -> Result<RecoveryReport, OpenError> {
    let disk = &store.log.disk;
    if files.clean {
        let pid = host::pid().to_string();
        disk.replace_small(layout::ABORT, pid.as_bytes())
            .await
            .map_err(failed("cannot make the file abort"))?;
        crash_point!("store.recover.begun").await;
    }
    sometimes!("store.recover.after_crash", !files.clean && !files.segments.is_empty());
    sometimes!("store.recover.after_clean_end", files.clean && !files.segments.is_empty());
    for (base, file) in &files.segments {
        store.log.push(*base, file.clone());
    }
    let table_position = files.table.as_ref().filter(|t| !t.rebuild).map(|t| t.position);
    let flushed = files.checkpoint.map(|c| c.flushed);
    let durable = flushed.max(table_position);
    let mut recovery = Recovery {
        store,
        durable,
        clean: files.clean,
        replay_from: 0,
        rebuild: false,
        known: Table::default(),
        window: (0, Bytes::new()),
        store_time: files.checkpoint.map_or(0, |c| c.log_time),
        index_time: files.checkpoint.map_or(0, |c| c.index_time),
        last_gap: None,
        jumps: BTreeMap::new(),
        check_minimums: false,
        tail_untouched: false,
        report: RecoveryReport {
            clean: files.clean,
            min_position: files.start(),
            durable: durable.unwrap_or(files.start()),
            ..RecoveryReport::default()
        },
    };
    recovery.check_start(&files)?;
    let truth = recovery.load_queues(files.table).await?;
    let mut end = recovery.scan().await?;
    if recovery.rebuild_needed(end) {
        // The log was cut below what the queues' files hold.
        recovery.report.gaps.clear();
        recovery.begin_rebuild(truth.clone()).await?;
        end = recovery.scan().await?;
    }
    recovery.keep_offsets(&truth);
    recovery.seal(end).await?;
    recovery.finish(end).await
}

struct Recovery<'a> {
    store: &'a Arc<Store>,
    /// Up to here the log was on the disk; None when nothing tells.
    durable: Option<u64>,
    clean: bool,
    /// Records from here on get their units.
    replay_from: u64,
    rebuild: bool,
    /// What the table told before a rebuild.
    known: Table,
    /// Bytes of the log and where they stand.
    window: (u64, Bytes),
    store_time: i64,
    index_time: i64,
    last_gap: Option<u64>,
    /// Of queues whose last gap lies between two records that follow each other: where the gap begins, and the record
    /// behind it.
    jumps: BTreeMap<(Arc<str>, i32), (u64, u64)>,
    /// Segments have gone since the table was written.
    check_minimums: bool,
    /// Leave what is behind the end as it is (a planted bug).
    tail_untouched: bool,
    report: RecoveryReport,
}

impl Recovery<'_> {
    fn check_start(&self, files: &Files) -> Result<(), OpenError> {
        let known = self.durable.unwrap_or(0);
        if files.segments.is_empty() && known > 0 && self.config().on_damage == OnDamage::Refuse {
            return Err(OpenError::Inconsistent(format!(
                "the commit log has no files although it was on the disk up to {known}: restore {}, or remove the \
                 whole store directory to begin anew",
                layout::LOG
            )));
        }
        if let Some(table) = files.table.as_ref().filter(|t| !t.rebuild && t.position < files.start()) {
            return Err(OpenError::Inconsistent(format!(
                "files of the commit log before {} are missing: the consume queues know it up to {}",
                layout::segment(files.start()),
                table.position
            )));
        }
        Ok(())
    }

    fn config(&self) -> &Config {
        &self.store.log.config
    }

    /// Makes the queues of the table, or prepares to make them anew. Returns the offsets that must not be given
    /// out again although the log may not show it.
    async fn load_queues(&mut self, table: Option<Table>) -> Result<Table, OpenError> {
        let Some(table) = table else {
            // Java keeps no table; for us it is lost. What the queue files hold is at least not too much.
            let truth = java_offsets(&self.store.log.disk, self.config()).await?;
            if truth != Table::default() || !self.store.log.segments().is_empty() {
                sometimes!("store.recover.no_table");
                self.begin_rebuild(truth.clone()).await?;
            }
            return Ok(truth);
        };
        self.store.topics.set_deleted(&table.deleted, u64::MAX);
        self.check_minimums = table.log_min < self.store.log.min();
        self.store.planned_log_min.fetch_max(table.log_min, std::sync::atomic::Ordering::AcqRel);
        if table.rebuild || !self.files_are_there(&table).await? {
            self.begin_rebuild(table.clone()).await?;
            return Ok(table);
        }
        for (topic, queues) in &table.topics {
            for (id, Offsets { min, max }) in queues {
                let min = if min == max && planted!("B42") { &0 } else { min };
                self.store.topics.load(topic, *id, *min, *max);
            }
        }
        if !table.deleted.is_empty() {
            // A crash may have come before the files of a deleted topic were gone.
            let is_deleted = |topic: &str| table.deleted.contains_key(topic);
            let is_left_over =
                |topic: &str, id| !table.topics.get(topic).is_some_and(|queues| queues.contains_key(&id));
            remove_queue_files(&self.store.log.disk, is_deleted, is_left_over)
                .await
                .map_err(failed("cannot remove the consume queues of a deleted topic"))?;
        }
        self.replay_from = table.position;
        Ok(table)
    }

    /// Whether every file that the table needs exists, whole.
    async fn files_are_there(&self, table: &Table) -> Result<bool, OpenError> {
        let per_file = self.config().queue_file_bytes / Unit::SIZE;
        for (topic, queues) in &table.topics {
            for (id, Offsets { min, max }) in queues.iter().filter(|(_, o)| o.min < o.max) {
                let folder = layout::queue(topic, *id);
                let names = match self.store.log.disk.list(&folder).await {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                    names => names.map_err(failed("cannot list a consume queue"))?,
                };
                for file in min / per_file..=(max - 1) / per_file {
                    let start = file * per_file * Unit::SIZE;
                    if names.binary_search(&layout::file_name(start)).is_err()
                        || !self.is_whole(&layout::queue_file(topic, *id, start)).await?
                    {
                        tracing::warn!(
                            topic,
                            queue = id,
                            "consume queue files are missing or cut short: all are made anew from the log"
                        );
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    async fn is_whole(&self, path: &str) -> Result<bool, OpenError> {
        let file = self.store.log.disk.open_sparse(path).await;
        Ok(file.map_err(failed("cannot open a consume queue file"))?.len() == self.config().queue_file_bytes)
    }

    /// Forgets the queues and their files; `truth` keeps offsets that must not be given out again.
    async fn begin_rebuild(&mut self, truth: Table) -> Result<(), OpenError> {
        let start = self.store.log.min();
        let deleted =
            if truth.deleted.is_empty() { self.store.topics.deleted() } else { truth.deleted.clone() };
        let table = Table { position: start, log_min: truth.log_min, rebuild: true, deleted, ..truth };
        // Before the first file goes: a crash in the middle must not leave a table that trusts the files.
        self.store.put_table(&table).await.map_err(failed("cannot write config/queues.json"))?;
        remove_queue_files(&self.store.log.disk, |_| true, |_, _| true)
            .await
            .map_err(failed("cannot remove the consume queues"))?;
        self.store.topics.clear();
        *self.store.dispatch.lock() = Default::default();
        self.known = table;
        self.rebuild = true;
        self.report.rebuilt = true;
        sometimes!("store.recover.rebuilt");
        self.replay_from = start;
        Ok(())
    }

    fn rebuild_needed(&self, end: u64) -> bool {
        !self.rebuild && end < self.replay_from
    }

    /// Reads the log from the last position that is sure to the first that is not a record, verifies it, and
    /// gives records from `replay_from` on their units.
    async fn scan(&mut self) -> Result<u64, OpenError> {
        let from = self.scan_start();
        let mut at = from;
        let mut wanted = 0;
        self.store.dispatch.lock().at = self.replay_from.max(from);
        while let Some(segment) = self.store.log.segment(at) {
            let end = segment.base + self.config().segment_bytes;
            let bytes = self.bytes(&segment.file, segment.base, at, wanted).await?;
            wanted = 0;
            let sure = self.durable.is_some_and(|durable| at < durable);
            // The planted bug leaves out both, or the second would make up for the first.
            let verify = !planted!("M10");
            let checks = Checks { checksum: verify, torn: verify && !sure && !self.clean };
            let reason = match look(&bytes, at, segment.base, end, checks) {
                Look::More(size) => {
                    wanted = size;
                    continue;
                }
                Look::Blank => {
                    sometimes!("store.recover.crossed_files");
                    at = end;
                    continue;
                }
                Look::Record(record) => match self.take(&record, sure) {
                    Ok(()) => {
                        at += u64::from(record.size);
                        self.spill_if_much().await?;
                        continue;
                    }
                    Err(reason) => reason,
                },
                Look::Unwritten if !sure => break,
                Look::Unwritten => "nothing was ever written there".to_owned(),
                Look::Damaged(reason) => reason,
            };
            match self.pass_over(at, &reason).await? {
                Some(next) => {
                    self.keep_place(&bytes, at, segment.base);
                    at = next;
                }
                None => {
                    at = self.cut(at, segment.base, reason, &bytes);
                    break;
                }
            }
        }
        self.report.scanned += at - from;
        if let Some(durable) = self.durable.filter(|durable| at < *durable && self.report.cut.is_none()) {
            let reason = "the file is missing".to_owned();
            self.refuse(at, durable, &reason)?;
            self.report.cut = Some(reason);
        }
        Ok(at)
    }

    /// The start of the segment that holds the first byte that is not sure, or needs its unit.
    fn scan_start(&self) -> u64 {
        let (min, size) = (self.store.log.min(), self.config().segment_bytes);
        let first = self.replay_from.min(self.durable.unwrap_or(min)).max(min);
        let last = self.store.log.segments().last().map_or(min, |s| s.base);
        if !self.clean && first < last && planted!("M05") {
            return last;
        }
        (first - first % size).min(last)
    }

    /// Bytes of the log from `at` on: at least `wanted`, or up to the end of the segment.
    async fn bytes(&mut self, file: &File, base: u64, at: u64, wanted: usize) -> Result<Bytes, OpenError> {
        let (start, bytes) = &self.window;
        let from = usize::try_from(at.wrapping_sub(*start)).unwrap_or(usize::MAX);
        if let Some(rest) = bytes.get(from..).filter(|rest| !rest.is_empty() && rest.len() >= wanted) {
            let from = bytes.len() - rest.len();
            return Ok(bytes.slice(from..));
        }
        let room = usize::try_from(file.len() - (at - base)).unwrap_or(usize::MAX);
        // Every record lies at the edge of what was read now and then (LOG-6).
        let window = if buggify!("store.recover.short") { SHORT_WINDOW } else { WINDOW };
        let length = wanted.max(window).min(room);
        let found = file.fetch(at - base, length).await.map_err(failed("cannot read the commit log"))?;
        self.window = (at, found.clone());
        Ok(found)
    }

    /// Accepts a record: checks its place in its queue and gives it its unit if it needs one.
    fn take(&mut self, record: &RecordRef<'_>, sure: bool) -> Result<(), String> {
        let position = record.place.position;
        if position >= self.replay_from {
            let queue = self.store.queue_of(record);
            let mut state = self.store.dispatch.lock();
            if let Some(queue) = queue {
                let (offset, next) = (record.place.queue_offset, queue.max());
                if offset > next && queue.is_unused() && (self.rebuild || sure) && self.may_begin(record) {
                    queue.begin_at(offset);
                } else if offset > next
                    && (sure || self.last_gap.is_some())
                    && offset - next <= self.most_lost()
                {
                    // Records in the gap had these offsets: they stay taken.
                    for lost in next..offset {
                        let void = Unit::void(self.last_gap.unwrap_or(position));
                        if queue.push(lost, &[void]) {
                            state.dirty.push(queue.clone());
                        }
                    }
                    self.jumps.insert((queue.topic.clone(), queue.id), (next, offset));
                } else if offset != next {
                    let (topic, id) = (record.topic, record.queue_id);
                    let text =
                        format!("a record has offset {offset} in queue {id} of {topic}, the next is {next}");
                    if !sure {
                        return Err(text);
                    }
                    // What came behind the gap lies in it: its own offset is wrong, and is not taken from those who have it.
                    let jump = self.jumps.get(&(queue.topic.clone(), queue.id)).copied();
                    let right = |(from, to)| to + 1 == next && from < offset && offset <= to;
                    if jump.is_some_and(right) && self.store.replace_unit(&queue, record) {
                        tracing::error!(position, "{text}: the one that has it is wrong");
                    } else {
                        tracing::error!(position, "{text}: it is skipped");
                    }
                    self.report.problems.push(text);
                    return Ok(());
                }
                if position.is_multiple_of(self.config().segment_bytes) && planted!("M07") {
                    state.add(&queue, offset, &[Unit::void(position)]);
                } else if self.report.dispatched == 0 && planted!("M08") {
                    self.store.add_unit(&mut state, &queue, record);
                    let mut again = *record;
                    again.place.queue_offset += 1;
                    self.store.add_unit(&mut state, &queue, &again);
                } else {
                    self.store.add_unit(&mut state, &queue, record);
                }
                self.report.dispatched += 1;
            }
            state.at = position + u64::from(record.size);
            state.store_time = record.place.store_timestamp;
        }
        self.store_time = self.store_time.max(record.place.store_timestamp);
        self.report.last_record = Some(position);
        Ok(())
    }

    /// Whether the first record that is left of a queue may have its offset: no more records can have been there before
    /// it, unless the table knew of them. The head of a record has no checksum, and one wrong bit there would hide all
    /// that follows in its queue.
    fn may_begin(&self, record: &RecordRef<'_>) -> bool {
        let known = self.known.topics.get(record.topic).and_then(|queues| queues.get(&record.queue_id));
        let most = known.map_or(0, |offsets| offsets.max).max(record.place.position / SHORTEST);
        record.place.queue_offset <= most
    }

    /// A rebuild of a long log must not hold all units in memory.
    async fn spill_if_much(&self) -> Result<(), OpenError> {
        // Files ahead of the table, should this start be cut off (LOG-2, LOG-6).
        let early = self.rebuild && buggify!("store.recover.spill");
        if !early && self.store.dispatch.lock().unsettled < self.config().settle_units {
            return Ok(());
        }
        self.store.spill().await.map_err(failed("cannot write the consume queues"))
    }

    /// Where to go on behind damage in old data; None when this is where the log ends.
    async fn pass_over(&mut self, at: u64, reason: &str) -> Result<Option<u64>, OpenError> {
        if self.durable.is_some_and(|durable| at >= durable) {
            return Ok(None);
        }
        if let Some(next) = self.next_valid(at).await? {
            tracing::error!(
                position = at,
                bytes = next - at,
                reason,
                "the commit log is damaged here: messages in these bytes are lost, what follows is kept"
            );
            self.report.gaps.push(Gap { position: at, bytes: next - at, reason: reason.to_owned() });
            self.last_gap = Some(at);
            sometimes!("store.recover.passed_over");
            return Ok(Some(next));
        }
        if let Some(durable) = self.durable {
            self.refuse(at, durable, reason)?;
        }
        Ok(None)
    }

    /// How many records of one queue may have been lost so far. The head of a record has no checksum: where one tells of
    /// more, its own offset is wrong.
    fn most_lost(&self) -> u64 {
        let bytes: u64 = self.report.gaps.iter().map(|gap| gap.bytes).sum();
        1 + self.report.problems.len() as u64 + bytes / SHORTEST
    }

    /// A record whose body alone is damaged still tells its place: nobody else gets that offset.
    fn keep_place(&self, bytes: &[u8], at: u64, base: u64) {
        let checks = Checks { checksum: false, torn: false };
        let Look::Record(record) = look(bytes, at, base, base + self.config().segment_bytes, checks) else {
            return;
        };
        let Some(queue) = self.store.queue_of(&record).filter(|_| at >= self.replay_from) else { return };
        if record.place.queue_offset == queue.max() && queue.push(queue.max(), &[Unit::void(at)]) {
            self.store.dispatch.lock().dirty.push(queue);
        }
    }

    fn refuse(&self, position: u64, durable: u64, reason: &str) -> Result<(), OpenError> {
        if self.config().on_damage == OnDamage::Cut {
            return Ok(());
        }
        let reason = reason.to_owned();
        Err(OpenError::Damaged { position, reason, durable, lost: durable - position })
    }

    /// The next position behind `at` where a record or blank stands that belongs there.
    async fn next_valid(&mut self, at: u64) -> Result<Option<u64>, OpenError> {
        let size = self.config().segment_bytes;
        let mut from = at;
        while let Some(segment) = self.store.log.segment(from) {
            let end = segment.base + size;
            if from == segment.base && from > at && self.is_valid(&segment.file, from, end).await? {
                return Ok(Some(from));
            }
            while end - from > 8 {
                let bytes = self.bytes(&segment.file, segment.base, from, SEARCH_OVERLAP).await?;
                match next_candidate(&bytes, from, end) {
                    Some(offset) => {
                        from += offset as u64;
                        if self.is_valid(&segment.file, from, end).await? {
                            return Ok(Some(from));
                        }
                    }
                    None if from + bytes.len() as u64 >= end => break,
                    None => from += (bytes.len() - SEARCH_OVERLAP + 1) as u64,
                }
            }
            from = end;
        }
        Ok(None)
    }

    async fn is_valid(&mut self, file: &File, at: u64, end: u64) -> Result<bool, OpenError> {
        let base = end - self.config().segment_bytes;
        let mut wanted = 0;
        loop {
            let bytes = self.bytes(file, base, at, wanted).await?;
            match look(&bytes, at, base, end, Checks { checksum: true, torn: true }) {
                Look::More(size) if size > bytes.len() => wanted = size,
                Look::Record(_) | Look::Blank => return Ok(true),
                _ => return Ok(false),
            }
        }
    }

    /// The log ends here because of damage.
    fn cut(&mut self, at: u64, base: u64, reason: String, bytes: &[u8]) -> u64 {
        tracing::warn!(position = at, reason, "the commit log is cut at an unfinished record");
        sometimes!("store.recover.cut");
        self.report.cut = Some(reason);
        if planted!("M11") {
            self.tail_untouched = true;
            let size = bytes.first_chunk::<4>().map_or(0, |b| u64::from(u32::from_be_bytes(*b)));
            if at + size + 8 <= base + self.config().segment_bytes {
                return at + size;
            }
        }
        at
    }

    /// Offsets that were given out stay given out, also when the log no longer shows it.
    fn keep_offsets(&self, truth: &Table) {
        let known = truth.topics.iter().flat_map(|(topic, queues)| queues.iter().map(move |q| (topic, q)));
        for (topic, (id, Offsets { max, .. })) in known {
            let Some(queue) = self.store.topics.find_or_make(topic, *id) else { continue };
            if queue.is_unused() && queue.max() < *max {
                queue.begin_at(*max);
            } else if queue.max() < *max {
                tracing::error!(
                    topic,
                    queue = id,
                    had = max,
                    has = queue.max(),
                    "records of this queue are lost"
                );
            }
        }
    }

    /// Makes the log end at `end`, on the disk too.
    async fn seal(&mut self, end: u64) -> Result<(), OpenError> {
        let log = &self.store.log;
        let size = self.config().segment_bytes;
        if !self.clean && !self.tail_untouched {
            if let Some(last) = log.segment(end) {
                last.file
                    .zero(end - last.base, last.base + size - end)
                    .await
                    .map_err(failed("cannot wipe the end"))?;
                crash_point!("store.recover.wiped").await;
            }
            for segment in log.segments().iter().rev().filter(|s| s.base > end) {
                log.disk
                    .remove(&layout::segment(segment.base))
                    .await
                    .map_err(failed("cannot remove a segment"))?;
                log.pop_last(segment.base);
                self.report.removed_segments += 1;
                sometimes!("store.recover.segment_removed");
                crash_point!("store.recover.removed").await;
            }
            let unsure = self.durable.unwrap_or(log.min()).min(end);
            sometimes!("store.recover.unsure_kept", unsure < end);
            for segment in log.segments().iter().filter(|s| s.base + size > unsure) {
                // Without a checkpoint that would be the whole log; such a directory is not ours, or very young.
                if self.durable.is_some() {
                    let (from, to) = (unsure.max(segment.base), end.min(segment.base + size));
                    self.rewrite(&segment.file, segment.base, from, to).await?;
                }
                segment.file.sync().await.map_err(failed("cannot sync the commit log"))?;
                crash_point!("store.recover.synced").await;
            }
            log.disk.sync_dir(layout::LOG).await.map_err(failed("cannot sync the commit log's folder"))?;
            crash_point!("store.recover.sealed").await;
        }
        Ok(())
    }

    /// Writes what was read once more. After a failed sync the system takes pages for clean that never reached the
    /// disk: only new writes make the next sync write them.
    async fn rewrite(&self, file: &File, base: u64, from: u64, to: u64) -> Result<(), OpenError> {
        let mut at = from;
        while at < to {
            let length = usize::try_from(to - at).unwrap_or(WINDOW).min(WINDOW);
            let bytes = file.fetch(at - base, length).await.map_err(failed("cannot read the commit log"))?;
            file.write_at(at - base, &bytes).map_err(failed("cannot write the commit log"))?;
            at += length as u64;
        }
        Ok(())
    }

    /// Opens the log for appends.
    async fn finish(mut self, end: u64) -> Result<RecoveryReport, OpenError> {
        let store = self.store;
        self.correct_minimums().await?;
        for queue in store.topics.all() {
            queue.next.fetch_max(queue.max(), std::sync::atomic::Ordering::AcqRel);
        }
        if !self.clean {
            store.topics.give_again();
        }
        let mut deleted = store.topics.deleted();
        if !deleted.is_empty() && planted!("B63") {
            deleted.clear();
        }
        let mark_behind_the_end = deleted.values().any(|position| *position > end);
        store.topics.set_deleted(&deleted, end);
        store.log.set_recovered(end);
        store.log.written.advance(end);
        store.log.flushed.advance(end);
        store.log.wanted.advance(end + self.config().segment_bytes);
        // Segments that were removed are to be made again.
        let reserved = store.log.segments().last().map_or(end, |s| s.base + self.config().segment_bytes);
        store.log.reserved.advance(reserved);
        {
            let mut state = store.dispatch.lock();
            state.at = end;
            state.store_time = self.store_time;
        }
        store.dispatched.advance(end);
        store.settled.advance(if self.rebuild { store.log.min() } else { self.replay_from.min(end) });
        *store.times.lock() = Checkpoint {
            flushed: end,
            log_time: self.store_time,
            queue_time: self.store_time,
            index_time: self.index_time,
        };
        if mark_behind_the_end {
            // Only after a cut in old data; new records will come to these positions.
            store.settle().await.map_err(failed("cannot write config/queues.json"))?;
        }
        if let Err(error) = store.write_checkpoint().await {
            tracing::warn!(%error, "the checkpoint could not be written");
        }
        crash_point!("store.recover.done").await;
        {
            let mut state = store.end.lock();
            state.at = end;
            state.segment = store.log.segment(end);
            state.store_time = self.store_time;
            state.closed = false;
        }
        sometimes!("store.recover.units_made", self.report.dispatched > 0);
        self.report.min_position = store.log.min();
        self.report.end = end;
        for queue in store.topics.all() {
            tap!(
                "queue_recovered",
                topic = queue.topic(),
                queue = queue.id(),
                min = queue.min(),
                max = queue.max()
            );
        }
        tap!("recovered", end = end, durable = self.report.durable, dispatched = self.report.dispatched);
        tracing::info!(
            clean = self.report.clean,
            end,
            scanned = self.report.scanned,
            dispatched = self.report.dispatched,
            gaps = self.report.gaps.len(),
            rebuilt = self.report.rebuilt,
            "the store is open"
        );
        Ok(self.report)
    }

    /// Records that went with their segments take their offsets with them.
    async fn correct_minimums(&self) -> Result<(), OpenError> {
        if !self.check_minimums {
            return Ok(());
        }
        let min = self.store.log.min();
        for queue in self.store.topics.all() {
            let first = queue.first_at(min).await.map_err(|error| OpenError::Io {
                what: format!("cannot read queue {} of {}", queue.id, queue.topic),
                source: io::Error::other(error),
            })?;
            queue.plan_min(first);
            queue.publish_min();
        }
        Ok(())
    }
}

async fn small(disk: &Disk, path: &str) -> Result<Option<Vec<u8>>, OpenError> {
    match disk.read_small(path).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenError::Io { what: format!("cannot read {path}"), source }),
    }
}

/// The queue files that are there of the topics that `of` chooses: topic, queue and the files' names.
async fn queue_folders(
    disk: &Disk,
    of: impl Fn(&str) -> bool,
) -> io::Result<Vec<(String, i32, Vec<String>)>> {
    let mut found = Vec::new();
    for topic in disk.list(layout::QUEUES).await?.into_iter().filter(|topic| of(topic)) {
        for name in names_in(disk, &layout::topic(&topic)).await?.unwrap_or_default() {
            let Ok(id) = name.parse() else { continue };
            if let Some(names) = names_in(disk, &layout::queue(&topic, id)).await? {
                found.push((topic.clone(), id, names));
            }
        }
    }
    Ok(found)
}

/// What is in a folder; `None` when a file stands there, which is nobody's queue and stays.
async fn names_in(disk: &Disk, folder: &str) -> io::Result<Option<Vec<String>>> {
    match disk.list(folder).await {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        names => names.map(Some),
    }
}

/// Removes the files of all queues that `of` chooses by topic and `goes` by topic and number.
async fn remove_queue_files(
    disk: &Disk,
    of: impl Fn(&str) -> bool,
    goes: impl Fn(&str, i32) -> bool,
) -> io::Result<()> {
    let folders = queue_folders(disk, &of).await?;
    for (topic, id, names) in folders.into_iter().filter(|(topic, id, _)| goes(topic, *id)) {
        let folder = layout::queue(&topic, id);
        for name in names {
            disk.remove(&format!("{folder}/{name}")).await?;
        }
        disk.remove(&folder).await?;
        crash_point!("store.recover.queue_removed").await;
    }
    for topic in disk.list(layout::QUEUES).await?.into_iter().filter(|topic| of(topic)) {
        let folder = layout::topic(&topic);
        if names_in(disk, &folder).await?.is_some_and(|names| names.is_empty()) {
            disk.remove(&folder).await?;
        }
    }
    disk.sync_dir(layout::QUEUES).await
}

/// What a directory made by Java tells only in its queue files: the next offset of queues whose records are gone.
async fn java_offsets(disk: &Disk, config: &Config) -> Result<Table, OpenError> {
    let mut topics: BTreeMap<String, BTreeMap<i32, Offsets>> = BTreeMap::new();
    let folders = queue_folders(disk, |_| true).await.map_err(failed("cannot list the consume queues"))?;
    for (topic, id, names) in folders {
        for name in names.iter().rev() {
            let Some(start) = layout::file_start(name) else { continue };
            let path = layout::queue_file(&topic, id, start);
            let file = disk.open_sparse(&path).await.map_err(failed("cannot open a consume queue file"))?;
            let length = usize::try_from(file.len().min(config.queue_file_bytes)).unwrap_or(0);
            let bytes = file.fetch(0, length).await.map_err(failed("cannot read a consume queue file"))?;
            let used = Unit::decode(&bytes).take_while(|unit| unit.size > 0).count() as u64;
            if used > 0 {
                let max = start / Unit::SIZE + used;
                topics.entry(topic.clone()).or_default().insert(id, Offsets { min: max, max });
                break;
            }
        }
    }
    Ok(Table { topics, ..Table::default() })
}

fn failed(what: &str) -> impl Fn(io::Error) -> OpenError + use<'_> {
    move |source| OpenError::Io { what: what.to_owned(), source }
}

/// No record is shorter.
const SHORTEST: u64 = 90;
/// Bytes of the log read at once.
const WINDOW: usize = 1 << 20;
/// The same, when every record shall lie at its edge now and then.
const SHORT_WINDOW: usize = 512;
/// So that no head of a record is missed between two windows.
const SEARCH_OVERLAP: usize = 64;
