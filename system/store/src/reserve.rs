//! Segments made one ahead, and the pages in front of the end of the log brought in before they are written.

use std::io;
use std::sync::Arc;

use runtime::time::Duration;
use runtime::{buggify, crash_point, select, time};

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
                        tracing::info!("a new commit log file could be made: messages are taken again");
                    }
                    self.log.set_shortage(None);
                    self.log.attempts.advance(self.log.attempts.get() + 1);
                }
                Err(error) => {
                    let disk_full = error.kind() == io::ErrorKind::StorageFull;
                    tracing::warn!(%error, "no new commit log file can be made: free some space");
                    self.log.set_shortage(Some(Shortage { disk_full, reason: error.to_string() }));
                    self.log.attempts.advance(self.log.attempts.get() + 1);
                    if !pause(&self, RETRY).await {
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
        self.log.push(base, file);
        self.log.reserved.advance(base + self.log.config.segment_bytes);
        Ok(())
    }

    /// Keeps a window ahead of the end of the log in memory: a fault in the middle of an append costs more than the
    /// append.
    pub(crate) async fn populate(self: Arc<Self>) {
        let window = self.log.config.populate_bytes;
        let step = (window / 4).max(1);
        let mut done = self.log.written.get();
        loop {
            let written = self.log.written.get();
            done = done.max(written);
            while done < written + window {
                let Some(segment) = self.log.segment(done) else { break };
                let length = step.min(segment.base + self.log.config.segment_bytes - done);
                segment.file.populate(done - segment.base, length).await;
                done += length;
            }
            // Either half of the window was used, or the next segment came.
            let target = (done + step).saturating_sub(window).max(written + 1);
            select! {
                _ = self.closing.reach(1) => return,
                reached = self.log.written.reach(target) => if reached.is_err() { return },
            }
        }
    }
}

const RETRY: Duration = Duration::from_secs(1);
