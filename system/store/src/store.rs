//! The store: the log, its queues and the loops that carry records from one to the other and to the disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use runtime::disk::{Disk, Lock};
use runtime::sync::{Mutex, Semaphore, Watermark};
use runtime::task::TaskSet;
use runtime::time::{Duration, timeout};
use runtime::{crash_point, host};

use crate::append::End;
use crate::config::Config;
use crate::dispatch::Dispatch;
use crate::error::OpenError;
use crate::index::Index;
use crate::log::Log;
use crate::queue::Queue;
use crate::recover;
use crate::state::checkpoint::Checkpoint;
use crate::state::layout;
use crate::state::unit::Unit;
use crate::topics::Topics;
use crate::types::{Health, RecoveryReport};

/// Commit log and consume queues in one directory.
#[derive(Debug)]
pub struct Store {
    pub(crate) log: Arc<Log>,
    pub(crate) topics: Topics,
    /// The lock of appends.
    pub(crate) end: Mutex<End>,
    pub(crate) dispatch: Mutex<Dispatch>,
    pub(crate) dispatching: AtomicBool,
    pub(crate) broken_dispatch: AtomicBool,
    /// Everything below has its unit and can be read.
    pub(crate) dispatched: Watermark,
    /// Everything below has its unit on the disk.
    pub(crate) settled: Watermark,
    /// Held by whoever writes queues and table, or deletes.
    pub(crate) settling: Semaphore,
    pub(crate) times: Mutex<Checkpoint>,
    pub(crate) checkpointed: Mutex<Option<Checkpoint>>,
    pub(crate) planned_log_min: AtomicU64,
    pub(crate) disk_full: AtomicBool,
    pub(crate) index: Index,
    /// Becomes 1 when the store closes: all loops end.
    pub(crate) closing: Watermark,
    /// Loops started, and how many of them have ended.
    loops: AtomicU64,
    ended_count: AtomicU64,
    ended: Watermark,
    lock: Mutex<Option<Lock>>,
}

/// Counts a loop as ended, however it ends.
struct Running(Arc<Store>);

impl Drop for Running {
    fn drop(&mut self) {
        let before = self.0.ended_count.fetch_add(1, Ordering::SeqCst);
        self.0.ended.advance(before + 1);
    }
}

impl Store {
    /// Opens the store in a directory, makes it when the directory is empty, and recovers what a crash left. Its
    /// loops run in `tasks`.
    ///
    /// # Errors
    /// When the directory is in use, cannot be read or written, or holds damage that must not be passed over.
    pub async fn open(
        disk: Disk,
        config: Config,
        tasks: &TaskSet,
    ) -> Result<(Arc<Self>, RecoveryReport), OpenError> {
        config.check()?;
        let lock = recover::prepare(&disk).await?;
        let files = recover::load(&disk, &config).await?;
        let log = Arc::new(Log::new(disk, config, files.start(), host::memory_bytes()));
        let store = Arc::new(Self {
            topics: Topics::new(log.clone()),
            end: Mutex::new(End::shut()),
            dispatch: Mutex::default(),
            dispatching: AtomicBool::new(false),
            broken_dispatch: AtomicBool::new(false),
            dispatched: Watermark::new(files.start()),
            settled: Watermark::new(files.start()),
            settling: Semaphore::new(1),
            times: Mutex::default(),
            checkpointed: Mutex::default(),
            planned_log_min: AtomicU64::new(files.start()),
            disk_full: AtomicBool::new(false),
            index: Index::new(),
            closing: Watermark::new(0),
            loops: AtomicU64::new(0),
            ended_count: AtomicU64::new(0),
            ended: Watermark::new(0),
            lock: Mutex::new(Some(lock)),
            log,
        });
        let report = recover::run(&store, files).await?;
        store.run(tasks, "reserve", store.clone().reserve());
        store.run(tasks, "populate", store.clone().populate());
        store.run(tasks, "flush", store.clone().flush());
        store.run(tasks, "dispatch", store.clone().dispatch());
        store.run(tasks, "settle", store.clone().settle_queues());
        store.run(tasks, "checkpoint", store.clone().checkpoint());
        store.run(tasks, "expire", store.clone().expire());
        store.run(tasks, "index", store.clone().index(report.clean));
        Ok((store, report))
    }

    fn run(
        self: &Arc<Self>,
        tasks: &TaskSet,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let running = Running(self.clone());
        self.loops.fetch_add(1, Ordering::SeqCst);
        tasks.spawn(name, async move {
            let _running = running;
            work.await;
        });
    }

    /// Takes no more records, puts everything on the disk and ends the loops.
    ///
    /// # Errors
    /// When something could not be put on the disk; the next start then recovers as after a crash.
    pub async fn close(&self) -> io::Result<()> {
        let end = {
            let mut end = self.end.lock();
            end.closed = true;
            end.at
        };
        let settled = async {
            self.flush_to(end).await?;
            self.dispatched.reach(end).await.map_err(io::Error::other)?;
            // The table that is written now speaks of a deletion that was cut off: it is not left to the next start.
            if self.log_min() > self.log.min()
                && let Err(error) = self.delete_below(self.log_min()).await
            {
                tracing::warn!(%error, "old commit log files could not be deleted: the next start removes them");
            }
            self.settle().await?;
            self.write_checkpoint().await?;
            crash_point!("store.close.settled").await;
            self.log.disk.remove(layout::ABORT).await?;
            crash_point!("store.close.removed").await;
            self.log.disk.sync_dir("").await
        }
        .await;
        self.closing.advance(1);
        self.log.written.close("the store is closed");
        self.log.flushed.close("the store is closed");
        self.log.attempts.close("the store is closed");
        // The next process may come when nobody writes here any more. A loop that hangs in the disk keeps the store,
        // and so the lock, until it or the process ends.
        let loops = self.loops.load(Ordering::SeqCst);
        match timeout(LOOPS_END, self.ended.reach(loops)).await {
            Ok(_) => *self.lock.lock() = None,
            Err(_) => tracing::warn!("the disk does not answer: the store stays locked until it does"),
        }
        settled
    }

    /// A queue that has, or had, records or readers.
    pub fn queue(&self, topic: &str, id: i32) -> Option<Arc<Queue>> {
        self.topics.find(topic, id)
    }

    /// A queue, made in memory when there is none yet, so that a reader can wait for its first record. None while
    /// its topic is being deleted.
    pub fn open_queue(&self, topic: &str, id: i32) -> Option<Arc<Queue>> {
        self.topics.find_or_make(topic, id)
    }

    /// Topics that have queues here.
    pub fn topics(&self) -> Vec<Arc<str>> {
        self.topics.names()
    }

    /// Numbers of the queues a topic has here.
    pub fn queues(&self, topic: &str) -> Vec<i32> {
        self.topics.ids(topic)
    }

    /// The record that starts at a position; None when there is none that may be read.
    ///
    /// # Errors
    /// When the disk reports one.
    pub async fn record_at(&self, position: u64) -> io::Result<Option<Bytes>> {
        let limit = self.log.readable_end();
        if position < self.log.min() || position + 4 > limit {
            return Ok(None);
        }
        let hot = position >= self.log.hot_from();
        let Some(head) = self.bytes_at(position, 4, hot).await? else { return Ok(None) };
        let size = u32::from_be_bytes(head[..].try_into().expect("four bytes were asked for"));
        if size < Unit::SIZE as u32 || position + u64::from(size) > limit {
            return Ok(None);
        }
        let record = self.bytes_at(position, size as usize, hot).await?;
        Ok(record.filter(|bytes| self.log.record(bytes, position, !hot).is_some()))
    }

    async fn bytes_at(&self, position: u64, len: usize, hot: bool) -> io::Result<Option<Bytes>> {
        if !hot {
            return self.log.fetch(position, len).await;
        }
        let mut bytes = BytesMut::new();
        Ok(self.log.copy(position, len, &mut bytes)?.then(|| bytes.freeze()))
    }

    /// When the oldest record was stored; None when there is none.
    ///
    /// # Errors
    /// When the disk reports one.
    pub async fn earliest_store_time(&self) -> io::Result<Option<i64>> {
        self.log.store_time(self.log.min()).await
    }

    /// First position of the log.
    pub fn min_position(&self) -> u64 {
        self.log.min()
    }

    /// Position of the next record.
    pub fn max_position(&self) -> u64 {
        self.log.written.get()
    }

    /// Everything below is in the page cache: survives the death of the process.
    pub fn written(&self) -> &Watermark {
        &self.log.written
    }

    /// Everything below is on the disk: survives loss of power.
    pub fn flushed(&self) -> &Watermark {
        &self.log.flushed
    }

    /// Everything below is in its queue: readers can see it.
    pub fn dispatched(&self) -> &Watermark {
        &self.dispatched
    }

    /// Whether the store can take records.
    pub fn health(&self) -> Health {
        Health {
            poisoned: self.log.poisoned().map(str::to_owned),
            disk_full: self.disk_full.load(Ordering::Relaxed)
                || self.log.shortage().is_some_and(|shortage| shortage.disk_full),
            dispatch_behind: self.dispatch_behind(),
        }
    }

    /// Bytes that readers may see and cannot see yet; see [`Store::catch_up`].
    pub fn dispatch_behind(&self) -> u64 {
        self.log.readable_end().saturating_sub(self.dispatched.get())
    }

    /// First position of the log once the deletion in progress is on the disk.
    pub(crate) fn log_min(&self) -> u64 {
        self.planned_log_min.load(Ordering::Acquire).max(self.log.min())
    }
}

const LOOPS_END: Duration = Duration::from_secs(5);
