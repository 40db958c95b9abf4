//! Segments made one ahead, and the pages in front of the end of the log brought in before they are written.

use std::io;
use std::sync::Arc;

use runtime::time::Duration;
use runtime::{buggify, crash_point, planted, select, sometimes, time};

use crate::flush::pause;
use crate::log::Shortage;
use crate::state::layout;
use crate::store::Store;

impl Store {
    /// Makes the segments that appends ask for. A full disk is tried again: service returns by itself.
    pub(crate) async fn reserve(self: Arc<Self>) {
        loop {
            let reserved = self.log.reserved.get();
            select! {
                _ = self.closing.reach(1) => return,
                asked = self.log.wanted.reach(reserved + 1) => if asked.is_err() { return },
            }
            match self.make_segment(reserved).await {
                Ok(()) => {
                    if self.log.shortage().is_some() {
                        sometimes!("store.segment.again");
                        tracing::info!("a new commit log file could be made: messages are taken again");
                    }
                    if !planted!("B90") {
                        self.log.set_shortage(None);
                    }
                    self.log.attempts.advance(self.log.attempts.get() + 1);
                }
                Err(error) => {
                    sometimes!("store.segment.none");
                    let disk_full = error.kind() == io::ErrorKind::StorageFull;
                    tracing::warn!(%error, "no new commit log file can be made: free some space");
                    self.log.set_shortage(Some(Shortage { disk_full, reason: error.to_string() }));
                    self.log.attempts.advance(self.log.attempts.get() + 1);
                    let again = if planted!("B40") { RETRY * 30 } else { RETRY };
                    if !pause(&self, again).await {
                        return;
                    }
                }
            }
        }
    }

    /// Makes the segment that starts at `base`; its name and length are durable before the first record comes.
    async fn make_segment(&self, base: u64) -> io::Result<()> {
        if buggify!("store.segment.slow") {
            time::sleep(Duration::from_millis(700)).await;
        }
        let path = layout::segment(base);
        let file = match self.log.disk.create(&path, self.log.config.segment_bytes).await {
            // Left over from an attempt that failed half-way: it holds nothing.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.log.disk.remove(&path).await?;
                self.log.disk.create(&path, self.log.config.segment_bytes).await?
            }
            created => created?,
        };
        crash_point!("store.segment.created").await;
        let durable = match file.sync().await {
            Ok(()) => {
                crash_point!("store.segment.synced").await;
                self.log.disk.sync_dir(layout::LOG).await
            }
            failed => failed,
        };
        if let Err(error) = durable {
            let _ = self.log.disk.remove(&path).await; // the next attempt removes it too
            return Err(error);
        }
        crash_point!("store.segment.durable").await;
        // On the disk, and nobody has written to it: a start must not take it for the end (LOG-6).
        if buggify!("store.segment.late") {
            time::sleep(Duration::from_millis(50)).await;
        }
        self.log.push(base, file);
        self.log.reserved.advance(base + self.log.config.segment_bytes);
        Ok(())
    }

    /// Keeps pages ahead of the end of the log in memory, a window or all there are: a fault in the middle of an append
    /// costs more than the append.
    pub(crate) async fn populate(self: Arc<Self>) {
        let step = (self.log.config.populate_bytes / 4).max(1);
        let window = if self.log.config.warm { u64::MAX } else { self.log.config.populate_bytes };
        let mut done = 0;
        loop {
            done = done.max(self.log.written.get());
            let Some(segment) = self.log.segment(done) else {
                select! {
                    _ = self.closing.reach(1) => return,
                    made = self.log.reserved.reach(done + 1) => if made.is_err() { return },
                }
                continue;
            };
            let end = segment.base + self.log.config.segment_bytes;
            let length = step.min(end - done);
            select! {
                _ = self.closing.reach(1) => return,
                near = self.log.written.reach((done + length).saturating_sub(window)) => if near.is_err() { return },
            }
            segment.file.populate(done - segment.base, length).await;
            done += length;
            if done == end && self.log.config.warm {
                tracing::info!(file = layout::segment(segment.base), "the commit log file is in memory");
            }
        }
    }
}

const RETRY: Duration = Duration::from_secs(1);
