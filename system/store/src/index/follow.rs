//! The index's loop: reads the log behind the readers' end, puts keys in, and settles as the queues do.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use protocol::record::RecordRef;
use runtime::sync::Watermark;
use runtime::time::{self, Duration, Instant};
use runtime::{buggify, crash_point, select, sometimes, tap, task};
use smallvec::SmallVec;

use super::load::{Loaded, load, remove};
use super::{Files, Last};
use crate::flush::pause;
use crate::state::keys::{Keys, prefix};
use crate::state::layout;
use crate::state::look::{Checks, Look, look, next_candidate};
use crate::store::Store;

/// Where the loop stands.
struct Follower<'a> {
    store: &'a Store,
    indexed: Arc<Watermark>,
    /// The record that is looked at.
    at: u64,
    /// As the mark says.
    settled: u64,
    settle_at: Instant,
    /// Retention was looked at with this first position of the log.
    log_min: u64,
    chunk: BytesMut,
    /// Bytes that the next record needs, if more than a chunk.
    wanted: usize,
}

/// What a chunk of the log told.
enum Step {
    /// All of it was used, or all up to a record that needs the log's next bytes.
    Taken,
    /// The record behind needs so many bytes.
    Needs(usize),
}

impl Store {
    /// Keeps the index; after any failure it begins again from what is on the disk.
    pub(crate) async fn index(self: Arc<Self>, clean: bool) {
        if !self.log.config.index {
            return;
        }
        loop {
            let result = match load(&self, clean).await {
                Ok(found) => Follower::new(&self, found).run().await,
                Err(error) => Err(error),
            };
            let Err(error) = result else { return };
            sometimes!("store.index.failed");
            tracing::error!(%error, "the index failed: queries by key find less until it is read again; sends are not concerned");
            {
                let mut files = self.index.files.lock();
                files.trouble = Some(error.to_string());
                files.indexed.close("the index failed");
            }
            if !pause(&self, RETRY).await {
                return;
            }
        }
    }
}

impl<'a> Follower<'a> {
    fn new(store: &'a Store, found: Loaded) -> Self {
        let indexed = Arc::new(Watermark::new(found.position));
        {
            let read = Files {
                full: found.full,
                last: found.last,
                indexed: indexed.clone(),
                following: false,
                trouble: None,
                suspect: None,
            };
            let before = std::mem::replace(&mut *store.index.files.lock(), read);
            before.indexed.close("the index was read again");
        }
        Self {
            store,
            indexed,
            at: found.position,
            settled: found.position,
            settle_at: Instant::now() + store.log.config.settle_interval,
            log_min: 0,
            chunk: BytesMut::new(),
            wanted: 0,
        }
    }

    async fn run(mut self) -> io::Result<()> {
        let store = self.store;
        loop {
            // Quiet is when nothing came for a while: dispatch keeps both ends together while messages come.
            let (more, quiet) = select! {
                _ = store.closing.reach(1) => return self.finish().await,
                more = store.dispatched.reach(self.indexed.get() + 1) => (more.is_ok(), false),
                () = time::sleep(LOOK) => (true, self.indexed.get() >= store.dispatched.get()),
            };
            if !more {
                // The log failed: nothing comes any more, and what is there can still be found.
                while self.take_chunk().await? {}
                store.closing.reach(1).await.map_err(io::Error::other)?;
                return Ok(());
            }
            // Each record by itself, beside its dispatch (IDX-1).
            if !quiet && !buggify!("store.index.eager") {
                // A message each would wake this loop each: a little later many are there.
                select! {
                    _ = store.closing.reach(1) => {}
                    _ = store.index.wanted.reach(self.indexed.get() + 1) => {}
                    () = time::sleep(LINGER) => {}
                }
            }
            while self.take_chunk().await? {
                task::yield_now().await;
                self.settle(false).await?;
                if store.closing.get() > 0 {
                    break;
                }
            }
            self.settle(quiet).await?;
            self.expire().await?;
            self.drop_suspect().await?;
        }
    }

    /// The store closes: a short rest of the log is taken in, a long one when it is opened again.
    async fn finish(&mut self) -> io::Result<()> {
        for _ in 0..CHUNKS_AT_CLOSE {
            if !self.take_chunk().await? {
                break;
            }
        }
        if self.indexed.get() > self.settled {
            self.store.settle_index(None).await?;
        }
        Ok(())
    }

    /// Takes in the next bytes of the log; false at its end.
    async fn take_chunk(&mut self) -> io::Result<bool> {
        {
            let mut files = self.store.index.files.lock();
            self.at = self.indexed.get();
            files.following = true;
        }
        let taken = self.take_next().await?;
        self.store.index.files.lock().following = false;
        Ok(taken)
    }

    async fn take_next(&mut self) -> io::Result<bool> {
        let log = &self.store.log;
        // What dispatch has not seen it will put in itself.
        let limit = self.store.dispatched.get();
        let min = log.min();
        if self.at < min {
            tracing::warn!(from = self.at, to = min, "the index was behind the retention of messages");
            self.at = min;
            self.indexed.advance(min);
        }
        if self.at >= limit {
            return Ok(false);
        }
        let base = self.at - self.at % log.config.segment_bytes;
        let end = base + log.config.segment_bytes;
        let usual = if buggify!("store.index.short") { 100 } else { CHUNK };
        let length = usual.max(self.wanted).min(usize::try_from(limit.min(end) - self.at).unwrap_or(usual));
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        let found = if self.at >= log.hot_from() {
            log.copy(self.at, length, &mut chunk)?
        } else {
            let bytes = log.fetch(self.at, length).await?;
            bytes.inspect(|bytes| chunk.extend_from_slice(bytes)).is_some()
        };
        if !found {
            return Ok(true); // retention took it: the next turn starts behind
        }
        let step = self.take_records(&chunk, base, end).await?;
        self.chunk = chunk;
        self.wanted = 0;
        if let Step::Needs(size) = step {
            if size as u64 > limit.min(end) - self.at {
                self.at += 1; // no record ends behind the log: this is damage
            } else {
                self.wanted = size;
            }
        }
        self.indexed.advance(self.at);
        tap!("indexed", position = self.at);
        // On the disk before a mark speaks of them: a start must not count them twice (IDX-1).
        let most = if buggify!("store.index.writes_early") { 0 } else { UNWRITTEN };
        let (file, much) = {
            let files = self.store.index.files.lock();
            let last = files.last.as_ref();
            (last.map(|l| l.file.clone()), last.is_some_and(|l| l.table.unwritten().1.len() > most))
        };
        if let Some(file) = file.filter(|_| much) {
            self.store.write_entries(&file).await?;
        }
        Ok(true)
    }

    async fn take_records(&mut self, chunk: &[u8], base: u64, end: u64) -> io::Result<Step> {
        let mut rest = chunk;
        while !rest.is_empty() {
            let skip = match look(rest, self.at, base, end, Checks { checksum: false, torn: false }) {
                Look::Record(record) => {
                    self.put(&record).await?;
                    record.size as usize
                }
                Look::Blank => {
                    self.at = end;
                    return Ok(Step::Taken);
                }
                Look::More(size) => return Ok(Step::Needs(size)),
                // Recovery told of it, and of what was lost: what follows is found again.
                Look::Unwritten | Look::Damaged(_) => match next_candidate(rest, self.at, end) {
                    Some(skip) => skip,
                    None if self.at + rest.len() as u64 >= end => {
                        self.at = end;
                        return Ok(Step::Taken);
                    }
                    None => rest.len().saturating_sub(CANDIDATE_OVERLAP).max(1),
                },
            };
            self.at += skip as u64;
            rest = &rest[skip..];
        }
        Ok(Step::Taken)
    }

    /// Puts all keys of a record in.
    async fn put(&self, record: &RecordRef<'_>) -> io::Result<()> {
        let keys = Keys::of(record.properties, record.sys_flag);
        let keys: SmallVec<[u32; 8]> = keys.hashes(prefix(record.topic)).collect();
        let mut rest = &keys[..];
        while !rest.is_empty() {
            rest = &rest[self.put_some(rest, record)..];
            if !rest.is_empty() {
                self.store.next_index_file(self.at).await?;
                crash_point!("store.index.next").await;
            }
        }
        Ok(())
    }

    /// Puts keys in as long as the file has room; returns how many.
    fn put_some(&self, keys: &[u32], record: &RecordRef<'_>) -> usize {
        let mut files = self.store.index.files.lock();
        let Some(Last { table, .. }) = &mut files.last else { return 0 };
        let mut put = 0;
        while put < keys.len() && !table.is_full() {
            table.put(keys[put], record.place.position, record.place.store_timestamp);
            put += 1;
        }
        put
    }

    /// Settles when it is time, or much is new, or nothing else is going on.
    async fn settle(&mut self, quiet: bool) -> io::Result<()> {
        let config = &self.store.log.config;
        let early = buggify!("store.index.settle_early");
        let new = self.indexed.get() - self.settled;
        let due = early || Instant::now() >= self.settle_at || new >= config.settle_bytes;
        if !(quiet || due) || new == 0 || self.store.log.poisoned().is_some() {
            return Ok(());
        }
        self.settled = self.store.settle_index(None).await?;
        self.settle_at = Instant::now() + config.settle_interval;
        Ok(())
    }

    /// Removes the full files that have only records which retention took.
    async fn expire(&mut self) -> io::Result<()> {
        let min = self.store.log.min();
        if min == std::mem::replace(&mut self.log_min, min) {
            return Ok(());
        }
        let old: Vec<_> = {
            let mut files = self.store.index.files.lock();
            let count = files.full.iter().take_while(|full| full.header.end_position < min).count();
            files.full.drain(..count).collect()
        };
        for full in &old {
            tracing::info!(file = full.name, "deleting an old index file");
            remove(&self.store.log.disk, &full.name).await?;
            crash_point!("store.index.expired").await;
        }
        if !old.is_empty() {
            self.store.log.disk.sync_dir(layout::INDEX).await?;
        }
        Ok(())
    }

    /// A query met a file that does not hold together: it and all that is younger are made again.
    async fn drop_suspect(&self) -> io::Result<()> {
        let names: Vec<_> = {
            let mut files = self.store.index.files.lock();
            let Some(suspect) = files.suspect.take() else { return Ok(()) };
            let all = files.full.iter().map(|full| &full.name).chain(files.last.as_ref().map(|l| &l.name));
            all.filter(|name| **name >= suspect).cloned().collect()
        };
        for name in names.iter().rev() {
            remove(&self.store.log.disk, name).await?;
        }
        self.store.log.disk.sync_dir(layout::INDEX).await?;
        Err(io::Error::other(format!("index file {} is damaged and was removed", names.join(", "))))
    }
}

/// Bytes of the log read at once.
const CHUNK: usize = 256 << 10;
/// Bytes of entries kept in memory before they are written.
const UNWRITTEN: usize = 1 << 20;
/// Enough of a record's head to tell that it is one.
const CANDIDATE_OVERLAP: usize = 64;
const LINGER: Duration = Duration::from_millis(10);
const LOOK: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(1);
const CHUNKS_AT_CLOSE: usize = 256;
