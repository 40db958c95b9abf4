//! Making the log durable: one sync covers all that was written before it.

use std::io;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use runtime::time::{self, Duration, Instant};
use runtime::{buggify, crash_point, planted, select, sometimes, tap};

use crate::config::FlushMode;
use crate::log::Log;
use crate::store::Store;

/// What a sync covers.
#[derive(Clone, Copy, Debug)]
struct Target {
    end: u64,
    store_time: i64,
}

impl Store {
    /// Waits until everything below `end` is on the disk, whatever the flush mode.
    ///
    /// # Errors
    /// When a sync failed, or the store was closed.
    pub async fn flush_to(&self, end: u64) -> io::Result<()> {
        self.log.flush_wanted.advance(end);
        self.log.flushed.reach(end).await.map_err(|closed| {
            io::Error::other(self.log.poisoned().map_or_else(|| closed.to_string(), str::to_owned))
        })
    }

    /// Syncs the log for those who wait. Several syncs may be in flight, each on a handle of its own; `flushed`
    /// moves in their order, over successes only, and the first failure ends all writing.
    pub(crate) async fn flush(self: Arc<Self>) {
        let interval = self.log.config.flush_interval;
        let mut in_flight = FuturesOrdered::new();
        let mut issued = self.log.flushed.get();
        let mut next_tick = Instant::now() + interval;
        loop {
            // One after the other, as on a disk that takes no two at once (ACK-5).
            let most = if buggify!("store.flush.single") { 1 } else { self.log.config.syncs_in_flight };
            let full = in_flight.len() >= most;
            let due = select! {
                Some(done) = in_flight.next(), if !in_flight.is_empty() => {
                    match done {
                        // After a failure no success counts: the failed pages pass for clean, and a sync that was
                        // issued earlier but came to the file later found nothing to do there.
                        Ok(_) if self.log.poisoned().is_some() => return,
                        Ok(target) => self.sync_done(target),
                        Err(_) if planted!("M04") => {}
                        Err(_) => return, // poisoned by the sync itself
                    }
                    false
                }
                _ = self.closing.reach(1) => return,
                due = self.flush_due(issued, next_tick), if !full => due,
            };
            if due {
                next_tick = Instant::now() + interval;
                let target = {
                    let end = self.end.lock();
                    Target { end: end.at, store_time: end.store_time }
                };
                if target.end > issued {
                    let log = self.log.clone();
                    in_flight.push_back(async move { log.sync(issued, target.end).await.map(|()| target) });
                    issued = target.end;
                    sometimes!("store.flush.overlapped", in_flight.len() > 1);
                }
            }
        }
    }

    /// Sync flush: as soon as something is written. Async flush: when somebody waits, or at the tick.
    async fn flush_due(&self, issued: u64, next_tick: Instant) -> bool {
        match self.log.config.flush {
            FlushMode::Sync => {
                let open = self.log.written.reach(issued + 1).await.is_ok();
                if !open {
                    std::future::pending::<()>().await;
                }
            }
            // Now, where the disk would have had half of a story until the tick (TXN-3).
            FlushMode::Async if buggify!("store.flush.eager") => {}
            FlushMode::Async => {
                select! {
                    _ = self.log.flush_wanted.reach(issued + 1) => sometimes!("store.flush.asked"),
                    () = time::sleep_until(next_tick) => {}
                }
            }
        }
        true
    }

    fn sync_done(&self, target: Target) {
        let end = if planted!("M02") { self.log.written.get() } else { target.end };
        self.note_flushed(target.store_time);
        self.log.flushed.advance(end);
        // What the sync covered, not what is taken for covered: an observer must not believe the planted bug.
        tap!("flush", end = target.end);
    }
}

impl Log {
    /// Syncs what holds `from..to`; a failure poisons the log at once, before any later success is counted.
    async fn sync(&self, from: u64, to: u64) -> io::Result<()> {
        if planted!("M03") {
            self.flushed.advance(to);
        }
        let size = self.config.segment_bytes;
        sometimes!("store.flush.two_files", from / size < (to - 1) / size);
        if buggify!("store.flush.slow") {
            time::sleep(Duration::from_millis(30)).await;
        }
        for segment in self.segments().iter().filter(|s| s.base < to && s.base + size > from) {
            crash_point!("store.flush.before_sync").await;
            if let Err(error) = segment.file.sync().await {
                sometimes!("store.flush.failed");
                if !planted!("M04") {
                    self.poison(format!("syncing the commit log at {from} failed: {error}"));
                }
                return Err(error);
            }
            crash_point!("store.flush.after_sync").await;
        }
        Ok(())
    }
}

/// Ends a loop's pause early when the store closes; false then.
pub(crate) async fn pause(store: &Store, length: Duration) -> bool {
    select! {
        _ = store.closing.reach(1) => false,
        () = time::sleep(length) => true,
    }
}
