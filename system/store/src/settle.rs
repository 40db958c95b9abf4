//! Putting the queues on the disk: units into their files, then the table that says so.
//!
//! Units stay in memory until a settling writes and syncs them, so a file never holds anything whose sync is
//! still open. The table names a position of the log taken before the files are written, and is written after
//! all of them are synced and the log itself is on the disk up to there: it never claims more than is durable.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BufMut;
use futures::future::try_join_all;
use runtime::disk::File;
use runtime::sync::Mutex;
use runtime::time::{Duration, Instant};
use runtime::{buggify, crash_point, planted, select, sometimes, tap, time};

use crate::flush::pause;
use crate::queue::Queue;
use crate::state::checkpoint::Checkpoint;
use crate::state::layout;
use crate::state::table::{Offsets, Table};
use crate::state::unit::Unit;
use crate::store::Store;

/// A queue and the offset up to which it is written this time.
struct Work {
    queue: Arc<Queue>,
    to: u64,
}

/// Work on its way: whoever fails, or is dropped in its midst, leaves the queues to the next settling. Otherwise the
/// next table would say that they are settled.
struct Taken<'a> {
    store: &'a Store,
    work: Vec<Work>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        sometimes!("store.settle.given_back", !self.work.is_empty());
        self.store.give_back(std::mem::take(&mut self.work));
    }
}

impl Store {
    /// Settles the queues at their interval; earlier when much is unsettled, or when nothing else is going on.
    pub(crate) async fn settle_queues(self: Arc<Self>) {
        let config = &self.log.config;
        // What recovery found is put on the disk at once: the next start is the quicker for it.
        let mut next = Instant::now();
        let mut seen = self.dispatched.get();
        loop {
            let behind = self.settled.get() + config.settle_bytes;
            select! {
                _ = self.closing.reach(1) => return,
                much = self.dispatched.reach(behind) => if much.is_err() { return },
                () = time::sleep_until(next.min(Instant::now() + LOOK)) => {}
            }
            self.retry_deletions().await;
            let (much, quiet) = {
                let state = self.dispatch.lock();
                let quiet = state.at == std::mem::replace(&mut seen, state.at) && !state.dirty.is_empty();
                let early = buggify!("store.settle.early");
                (early || state.unsettled >= config.settle_units || state.at >= behind, quiet)
            };
            let due = Instant::now() >= next;
            if due {
                next = Instant::now() + config.settle_interval;
            }
            // A table far behind the log makes the next start work for its queues (LOG-2).
            let late = buggify!("store.settle.late");
            if late || !(much || quiet || due) || self.is_settled() {
                continue;
            }
            if let Err(error) = self.settle().await {
                if self.log.poisoned().is_some() {
                    return;
                }
                sometimes!("store.settle.failed");
                tracing::warn!(%error, "the consume queues could not be written and stay in memory: a restart takes longer");
                if !pause(&self, RETRY).await {
                    return;
                }
                next = Instant::now();
            }
        }
    }

    /// Whether everything dispatched is on the disk already.
    fn is_settled(&self) -> bool {
        let state = self.dispatch.lock();
        state.dirty.is_empty() && state.at == self.settled.get()
    }

    /// Puts all units there are on the disk, and the table that says so.
    pub(crate) async fn settle(&self) -> io::Result<()> {
        let _alone = self.settling.acquire().await.expect("never closed");
        self.settle_alone().await
    }

    /// As [`Store::settle`], for a caller who is alone already.
    pub(crate) async fn settle_alone(&self) -> io::Result<()> {
        crash_point!("store.settle.begin").await;
        let (at, queue_time, mut taken) = self.take_work();
        self.flush_to(at).await?;
        if planted!("M06") {
            self.write_table(at, &taken.work).await?;
        }
        self.write_units(&taken.work).await?;
        self.write_table(at, &taken.work).await?;
        let mut settled = 0;
        for Work { queue, to } in std::mem::take(&mut taken.work) {
            settled += to - queue.settled();
            queue.set_settled(to);
        }
        let mut state = self.dispatch.lock();
        state.unsettled = state.unsettled.saturating_sub(settled);
        drop(state);
        self.settled.advance(at);
        self.times.lock().queue_time = queue_time;
        tap!("settle", position = at);
        Ok(())
    }

    /// The queues that have units in memory only, and how far dispatch was at that moment.
    fn take_work(&self) -> (u64, i64, Taken<'_>) {
        let mut state = self.dispatch.lock();
        let work = std::mem::take(&mut state.dirty)
            .into_iter()
            .map(|queue| {
                queue.clear_dirty();
                Work { to: queue.max(), queue }
            })
            .collect();
        (state.at, state.store_time, Taken { store: self, work })
    }

    fn give_back(&self, work: Vec<Work>) {
        let mut state = self.dispatch.lock();
        for Work { queue, .. } in work {
            if queue.mark_dirty() {
                state.dirty.push(queue);
            }
        }
    }

    /// Writes what is in memory into the files without saying so in the table: a rebuild in progress.
    pub(crate) async fn spill(&self) -> io::Result<()> {
        let (_, _, mut taken) = self.take_work();
        self.write_units(&taken.work).await?;
        std::mem::take(&mut taken.work).iter().for_each(|w| w.queue.set_settled(w.to));
        self.dispatch.lock().unsettled = 0;
        Ok(())
    }

    async fn write_units(&self, work: &[Work]) -> io::Result<()> {
        let folders = Mutex::new(BTreeSet::new());
        // A crash may come between any two files (LOG-2).
        let at_once = if buggify!("store.settle.one_by_one") { 1 } else { AT_ONCE };
        for together in work.chunks(at_once) {
            try_join_all(together.iter().map(|w| self.write_queue(w, &folders))).await?;
        }
        crash_point!("store.settle.files").await;
        let folders: Vec<_> = folders.into_inner().into_iter().collect();
        for together in folders.chunks(AT_ONCE) {
            try_join_all(together.iter().map(|folder| self.log.disk.sync_dir(folder))).await?;
        }
        crash_point!("store.settle.units").await;
        Ok(())
    }

    /// Writes the units of one queue; folders that got a new name go into `folders`.
    async fn write_queue(&self, work: &Work, folders: &Mutex<BTreeSet<String>>) -> io::Result<()> {
        let Work { queue, to } = work;
        if queue.deleted.load(Ordering::Acquire) {
            return Ok(());
        }
        let per_file = queue.per_file();
        let mut from = queue.settled();
        while from < *to {
            let first = from - from % per_file;
            sometimes!("store.settle.queue_rolled", first + per_file < *to);
            let end = (first + per_file).min(*to);
            let file = self.queue_file(queue, from, folders).await?;
            let units = queue.tail(from, end);
            let mut bytes = Vec::with_capacity((units.len() + 1) * Unit::SIZE as usize);
            units.iter().for_each(|unit| unit.encode(&mut bytes));
            if end < first + per_file {
                // Whatever an earlier life left behind the last unit must not look like more units.
                bytes.put_bytes(0, Unit::SIZE as usize);
            }
            file.write_at((from - first) * Unit::SIZE, &bytes)?;
            crash_point!("store.queue.written").await;
            file.sync().await?;
            crash_point!("store.queue.synced").await;
            from = end;
        }
        Ok(())
    }

    /// The file that takes the unit at `offset`, made when that is the first unit in it.
    async fn queue_file(
        &self,
        queue: &Queue,
        offset: u64,
        folders: &Mutex<BTreeSet<String>>,
    ) -> io::Result<File> {
        let disk = &self.log.disk;
        let first = offset - offset % queue.per_file();
        let path = layout::queue_file(&queue.topic, queue.id, first * Unit::SIZE);
        if offset != first && offset != queue.start() {
            return disk.open_sparse(&path).await;
        }
        let folder = layout::queue(&queue.topic, queue.id);
        match disk.remove(&path).await {
            // A crash came between the making of this file and the table that would have said so.
            Ok(()) => sometimes!("store.settle.file_left_over"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.make_dir(&folder).await?,
            Err(error) => return Err(error),
        }
        let file = disk.create_sparse(&path, self.log.config.queue_file_bytes).await?;
        crash_point!("store.queue.created").await;
        if offset != first {
            let mut bytes = Vec::new();
            (first..offset).for_each(|_| Unit::void(0).encode(&mut bytes));
            file.write_at(0, &bytes)?;
        }
        folders.lock().insert(folder);
        Ok(file)
    }

    async fn write_table(&self, at: u64, work: &[Work]) -> io::Result<()> {
        let mut table = Table { position: at, log_min: self.log_min(), ..Table::default() };
        for queue in self.topics.all() {
            let offsets = Offsets { min: queue.planned_min(), max: queue.settled() };
            table.topics.entry(queue.topic.to_string()).or_default().insert(queue.id, offsets);
        }
        for Work { queue, to } in work {
            let found = table.topics.get_mut(&*queue.topic).and_then(|t| t.get_mut(&queue.id));
            // Not there: its topic is being deleted.
            if let Some(offsets) = found {
                offsets.max = *to;
            }
        }
        table.deleted = self.topics.deleted();
        if planted!("B38") {
            table.deleted.values_mut().for_each(|mark| *mark = self.log.written.get());
        }
        self.put_table(&table).await
    }

    pub(crate) async fn put_table(&self, table: &Table) -> io::Result<()> {
        crash_point!("store.table.before").await;
        self.log.disk.replace_small(layout::TABLE, &table.encode()).await?;
        crash_point!("store.table.after").await;
        Ok(())
    }

    /// Keeps the flushed position on the disk: a start reads the log from there.
    pub(crate) async fn checkpoint(self: Arc<Self>) {
        while pause(&self, self.log.config.checkpoint_interval).await {
            // An old checkpoint must cost a longer recovery and nothing else (LOG-6).
            if buggify!("store.checkpoint.late") {
                continue;
            }
            if let Err(error) = self.write_checkpoint().await {
                sometimes!("store.checkpoint.failed");
                tracing::warn!(%error, "the checkpoint could not be written: a restart takes longer");
            }
        }
    }

    pub(crate) async fn write_checkpoint(&self) -> io::Result<()> {
        let page = {
            let times = self.times.lock();
            Checkpoint { flushed: self.log.flushed.get(), ..*times }
        };
        if self.checkpointed.lock().as_ref() == Some(&page) {
            return Ok(());
        }
        crash_point!("store.checkpoint.before").await;
        self.log.disk.replace_small(layout::CHECKPOINT, &page.encode()).await?;
        crash_point!("store.checkpoint.after").await;
        *self.checkpointed.lock() = Some(page);
        Ok(())
    }

    /// Notes the store time of the last record that a sync covered.
    pub(crate) fn note_flushed(&self, store_time: i64) {
        self.times.lock().log_time = store_time;
    }
}

/// Queue files or folders synced at the same time: a disk takes many syncs at once in about the time of one.
const AT_ONCE: usize = 32;
const LOOK: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(1);
