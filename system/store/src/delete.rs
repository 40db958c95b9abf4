//! Deleting: topics at once, old segments by time and space.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use runtime::time::Instant;
use runtime::{buggify, clock, crash_point, host, planted, sometimes, tap};

use crate::flush::pause;
use crate::log::Segment;
use crate::queue::Queue;
use crate::state::expire::{Now, Old, expire, is_full};
use crate::state::layout;
use crate::state::unit::Unit;
use crate::store::Store;

impl Store {
    /// Begins to delete a topic: its records are no messages any more, and it takes none until [`Store::finish_delete`] has
    /// made that durable. A topic without queues here is fine.
    pub fn begin_delete(&self, topic: &str) {
        let begun = {
            let end = self.end.lock();
            self.topics.begin_delete(topic, end.at).then_some(end.at)
        };
        if let Some(position) = begun {
            tap!("delete_topic", topic = topic, position = position);
        }
    }

    /// Makes the deletion of a topic durable, if one has begun; a topic of the same name starts at offset 0 then. Answers
    /// false when there was nothing to do.
    ///
    /// # Errors
    /// When it could not be made durable. It is tried again until it is.
    pub async fn finish_delete(&self, topic: &str) -> io::Result<bool> {
        let _alone = self.settling.acquire().await.expect("never closed");
        // Who was faster may have finished it, and what was made with its name meanwhile stays.
        let Some(position) = self.topics.deleting_below(topic) else { return Ok(false) };
        crash_point!("store.delete.marked").await;
        // It is begun, and carried out some time later (L-2).
        if buggify!("store.delete.refused") {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the disk"));
        }
        // A log that ended below the mark after a crash would give new records positions that count as deleted.
        self.flush_to(position).await?;
        // The name must not take new records before the mark is on the disk: a start could not tell the old from the new.
        if !planted!("B24") {
            self.settle_alone().await?;
        }
        crash_point!("store.delete.durable").await;
        let queues = self.topics.finish_delete(topic);
        for queue in &queues {
            queue.arrived.close("the topic was deleted");
        }
        tap!("topic_deleted", topic = topic);
        if let Err(error) = self.remove_topic_files(topic, &queues).await {
            tracing::warn!(%error, topic, "files of a deleted topic are left over");
        }
        Ok(true)
    }

    /// Goes on with the deletions that could not be made durable.
    pub(crate) async fn retry_deletions(&self) {
        for topic in self.topics.deleting() {
            match self.finish_delete(&topic).await {
                Ok(done) => sometimes!("store.delete.retried", done),
                Err(error) => tracing::warn!(%error, %topic, "a topic could not be deleted yet"),
            }
        }
    }

    async fn remove_topic_files(&self, topic: &str, queues: &[Arc<Queue>]) -> io::Result<()> {
        let disk = &self.log.disk;
        for queue in queues {
            let folder = layout::queue(topic, queue.id);
            match disk.list(&folder).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                names => {
                    for name in names? {
                        disk.remove(&format!("{folder}/{name}")).await?;
                        crash_point!("store.delete.removed").await;
                    }
                }
            }
            disk.remove(&folder).await?;
        }
        match disk.remove(&layout::topic(topic)).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => {
                removed?;
                disk.sync_dir(layout::QUEUES).await
            }
        }
    }

    /// Looks at the disk and at old segments from time to time.
    pub(crate) async fn expire(self: Arc<Self>) {
        let interval = self.log.config.expire_interval;
        let mut due = Instant::now() + interval;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            let full = self.disk_full.load(Ordering::Relaxed);
            if !pause(&self, if full { left.min(WHILE_FULL) } else { left }).await {
                return;
            }
            let looked = if Instant::now() < due {
                self.look_at_space().await.map(drop)
            } else {
                due = Instant::now() + interval;
                self.expire_once().await
            };
            if let Err(error) = looked {
                tracing::warn!(%error, "old commit log files could not be deleted");
            }
        }
    }

    /// Whether there is space for messages; tells how many of a hundred bytes are used.
    async fn look_at_space(&self) -> io::Result<u64> {
        let space = self.log.disk.space().await?;
        let used_percent = used_percent(space.total, space.free);
        let was = self.disk_full.load(Ordering::Relaxed);
        let full = is_full(was, used_percent, &self.log.config);
        if full != was {
            self.disk_full.store(full, Ordering::Relaxed);
            match full {
                true => {
                    sometimes!("store.space.full");
                    tracing::error!(
                        used_percent,
                        "the disk is nearly full: messages are refused until there is space"
                    );
                }
                false => {
                    sometimes!("store.space.again");
                    tracing::info!(used_percent, "there is space on the disk again: messages are taken");
                }
            }
        }
        Ok(used_percent)
    }

    async fn expire_once(&self) -> io::Result<()> {
        let used_percent = self.look_at_space().await?;
        let now_ms = clock::now_ms();
        let hour = (now_ms / 1000 + i64::from(host::utc_offset_seconds())).rem_euclid(DAY) / 3600;
        let now = Now { ms: now_ms, hour: u8::try_from(hour).expect("an hour of a day"), used_percent };
        let (segments, old) = self.old_segments().await?;
        let count = expire(&old, now, &self.log.config);
        // A deletion that failed half-way is finished: the table on the disk may speak of it already, and then the
        // next start would carry it out, when nobody expects it any more.
        let decided = self.log_min();
        let below = if count == 0 { decided } else { segments[count].base.max(decided) };
        if below == self.log.min() {
            return Ok(());
        }
        self.delete_below(below).await
    }

    /// The segments that nobody writes to and whose queues are on the disk, oldest first; and one more segment.
    async fn old_segments(&self) -> io::Result<(Vec<Segment>, Vec<Old>)> {
        let segments = self.log.segments();
        let settled = self.settled.get();
        let now = Instant::now();
        let mut old = Vec::new();
        for pair in segments.windows(2) {
            let next = pair[1].base;
            if next > settled || next >= self.log.written.get() {
                break;
            }
            // Its first record is younger than all of the segment before.
            let Some(stored_ms) = self.log.store_time(next).await? else { break };
            let filled = pair[0].filled.filter(|_| !planted!("B28"));
            let age_ms = filled.map(|filled| u64::try_from((now - filled).as_millis()).unwrap_or(u64::MAX));
            old.push(Old { stored_ms, age_ms });
        }
        Ok((segments, old))
    }

    /// Deletes the segments below `min`. What the log then can no longer tell about queues is on the disk before.
    pub(crate) async fn delete_below(&self, min: u64) -> io::Result<()> {
        let _alone = self.settling.acquire().await.expect("never closed");
        let queues = self.topics.all();
        if !planted!("M14") {
            for queue in &queues {
                let first = queue.first_at(min).await.map_err(io::Error::other)?;
                queue.plan_min(first + u64::from(first < queue.max() && planted!("B03")));
            }
        }
        self.planned_log_min.fetch_max(min, Ordering::AcqRel);
        self.settle_alone().await?;
        crash_point!("store.expire.planned").await;
        let gone: Vec<_> = self.log.segments().into_iter().filter(|s| s.base < min).collect();
        for queue in &queues {
            queue.publish_min();
        }
        for segment in &gone {
            tracing::info!(position = segment.base, "deleting an old commit log file");
            self.log.disk.remove(&layout::segment(segment.base)).await?;
            crash_point!("store.expire.removed").await;
            // Only now: what the disk refuses to remove is tried again.
            self.log.drop_below(segment.base + self.log.config.segment_bytes);
        }
        self.log.disk.sync_dir(layout::LOG).await?;
        crash_point!("store.expire.synced").await;
        tap!("expire", position = min);
        self.topics.forget_deleted(if planted!("B39") { u64::MAX } else { min });
        for queue in queues {
            self.remove_queue_files(&queue).await?;
        }
        Ok(())
    }

    /// Removes the files whose units are all below the queue's smallest offset, but never the last.
    async fn remove_queue_files(&self, queue: &Queue) -> io::Result<()> {
        let per_file = queue.per_file();
        let keep_from = queue.min().min(queue.settled().saturating_sub(1)) / per_file;
        if queue.start() / per_file >= keep_from {
            return Ok(());
        }
        let folder = layout::queue(&queue.topic, queue.id);
        let mut removed = BTreeSet::new();
        for name in self.log.disk.list(&folder).await? {
            if layout::file_start(&name).is_some_and(|start| start / Unit::SIZE / per_file < keep_from) {
                self.log.disk.remove(&format!("{folder}/{name}")).await?;
                crash_point!("store.expire.queue_removed").await;
                removed.insert(name);
            }
        }
        if !removed.is_empty() {
            self.log.disk.sync_dir(&folder).await?;
            queue.raise_start(keep_from * per_file);
        }
        Ok(())
    }
}

fn used_percent(total: u64, free: u64) -> u64 {
    if total == 0 { 0 } else { 100 - (u128::from(free) * 100 / u128::from(total)).min(100) as u64 }
}

const DAY: i64 = 24 * 3600;
/// While messages are refused: what is due must not wait long for space that is there again.
const WHILE_FULL: Duration = Duration::from_secs(1);
