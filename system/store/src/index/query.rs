//! Queries by key: chains are walked from new to old, real keys and times are compared, work and bytes are bounded.

use std::io;

use bytes::{Bytes, BytesMut};
use protocol::record::{self, Scan};
use runtime::disk::File;
use runtime::time::{Duration, Instant, timeout};
use runtime::{buggify, planted, sometimes, task, time};

use super::Key;
use super::load::path;
use crate::state::index::{Entry, Header, Shape};
use crate::state::keys::hash;
use crate::state::layout;
use crate::store::Store;

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub struct KeyQuery<'a> {
    /// Records of this topic.
    pub topic: &'a str,
    /// With this key.
    pub key: Key<'a>,
    /// Stored at this time or later, ms.
    pub begin_ms: i64,
    /// Stored at this time or earlier, ms.
    pub end_ms: i64,
    /// At most so many, the newest ones; never more than `maxMsgsNumBatch`.
    pub max: u32,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// Stored records back to back, in the order of the log.
    pub records: Bytes,
    /// How many.
    pub count: u32,
    /// Store time of the last record with a key in the index.
    pub last_time: i64,
    /// Position of that record.
    pub last_position: u64,
    /// Why there may be more than was found.
    pub incomplete: Option<String>,
}

/// Why a query has no answer: not even that nothing was found.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// There is no index.
    #[error("messages are not indexed here: messageIndexEnable is false")]
    Disabled,
    /// Nothing was found, and the index does not have all of the log.
    #[error("the index of messages has the log up to {indexed} of {end} only: {why}; ask again later")]
    Behind {
        /// Everything below is in the index.
        indexed: u64,
        /// What readers can see of the log.
        end: u64,
        /// Why it is behind.
        why: String,
    },
    /// The search was given up.
    #[error("{0} keys with the same hash were looked at without an end: narrow the range of time")]
    TooMuch(u64),
    /// The index does not hold together.
    #[error("index file {0} is damaged; it is being made again from the log, ask again later")]
    Damaged(String),
    /// The disk reported an error.
    #[error("the index cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// A file as it was when the query began.
struct View {
    name: String,
    file: File,
    shape: Shape,
    header: Header,
    /// Where the chain begins; None: the slot is to be read.
    head: Option<u32>,
    /// The part of the chain that was only in memory, newest first.
    recent: Vec<Entry>,
}

/// One walk down a chain.
struct Walk<'a> {
    view: &'a View,
    next: u32,
    recent: usize,
    /// Entries as they stand in the file, and where.
    window: (u64, Bytes),
}

/// What was found so far.
struct Found {
    positions: Vec<u64>,
    records: Vec<Bytes>,
    bytes: usize,
    examined: u64,
    reads: u64,
    incomplete: Option<String>,
}

impl Store {
    /// The newest records with a key.
    ///
    /// # Errors
    /// When it cannot be said what there is.
    pub async fn query(&self, query: &KeyQuery<'_>) -> Result<Matches, QueryError> {
        if !self.log.config.index {
            return Err(QueryError::Disabled);
        }
        let behind = self.index_behind().await;
        let hash = hash(query.topic, query.key.text());
        let (newest, views) = self.views(query, hash);
        let mut found = Found {
            positions: Vec::new(),
            records: Vec::new(),
            bytes: 0,
            examined: 0,
            reads: 0,
            incomplete: None,
        };
        sometimes!("store.query.two_files", views.len() > 1);
        for view in &views {
            if !self.search(query, hash, view, &mut found).await? {
                break;
            }
        }
        if planted!("B93") {
            let newer = found.records.len().saturating_sub(query.max as usize);
            found.records.drain(..newer);
        }
        let incomplete = found.incomplete.take().or(match behind {
            Some(error) if found.records.is_empty() => return Err(error),
            other => other.map(|error| error.to_string()),
        });
        let count = u32::try_from(found.records.len()).expect("at most maxMsgsNumBatch");
        Ok(Matches {
            records: found.joined(),
            count,
            last_time: newest.map_or(0, |header| header.end_time),
            last_position: newest.map_or(0, |header| header.end_position),
            incomplete,
        })
    }

    /// Waits a little until the index has what readers may see; an error when it does not come so far.
    async fn index_behind(&self) -> Option<QueryError> {
        let end = self.log.readable_end();
        self.index.wanted.advance(end);
        sometimes!("store.query.waited", self.index.files.lock().indexed.get() < end);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let indexed = self.index.files.lock().indexed.clone();
            let came = timeout(deadline - Instant::now(), indexed.reach(end)).await;
            let trouble = self.index.files.lock().trouble.clone();
            match came {
                Ok(Ok(())) => return None,
                Ok(Err(_)) if trouble.is_none() => {} // it was read again meanwhile
                _ => {
                    sometimes!("store.query.behind");
                    let why = trouble.unwrap_or_else(|| "it is still being made".to_owned());
                    return Some(QueryError::Behind { indexed: indexed.get(), end, why });
                }
            }
        }
    }

    /// Waits until everything that readers may see now is in the index, or the store closes.
    pub async fn index_complete(&self) {
        while self.log.config.index && self.closing.get() == 0 && self.index_behind().await.is_some() {
            time::sleep(PATIENCE).await;
        }
    }

    /// The files to look into, newest first.
    fn views(&self, query: &KeyQuery<'_>, hash: u32) -> (Option<Header>, Vec<View>) {
        let shape = self.log.config.index_shape();
        let files = self.index.files.lock();
        let mut views = Vec::new();
        if let Some(last) = &files.last {
            let mut head = last.table.head(hash);
            let mut recent = Vec::new();
            while let Some(entry) = last.table.fresh(head) {
                head = entry.previous;
                recent.push(entry);
            }
            sometimes!("store.query.fresh_chain", !recent.is_empty());
            let (name, file, header) = (last.name.clone(), last.file.clone(), last.table.header);
            views.push(View { name, file, shape, header, head: Some(head), recent });
        }
        views.extend(files.full.iter().rev().map(|full| View {
            name: full.name.clone(),
            file: full.file.clone(),
            shape,
            header: full.header,
            head: None,
            recent: Vec::new(),
        }));
        views.retain(|view| view.header.overlaps(query.begin_ms, query.end_ms));
        (files.newest(), views)
    }

    /// Looks into one file; false when the answer is full.
    async fn search(
        &self,
        query: &KeyQuery<'_>,
        hash: u32,
        view: &View,
        found: &mut Found,
    ) -> Result<bool, QueryError> {
        let asked = if planted!("B93") { u32::MAX } else { query.max };
        let max = asked.min(self.log.config.query_count) as usize;
        let mut walk = Walk::begin(view, hash).await?;
        loop {
            if found.records.len() >= max {
                return Ok(false);
            }
            let entry = match walk.entry().await {
                Ok(None) => return Ok(true),
                Ok(Some(entry)) => entry,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::error!(file = view.name, "a query found an index file damaged");
                    self.index.files.lock().suspect = Some(view.name.clone());
                    return Err(QueryError::Damaged(path(&view.name)));
                }
                Err(error) => return Err(error.into()),
            };
            found.examined += 1;
            if found.examined.is_multiple_of(EXAMINED_AT_ONCE) {
                task::yield_now().await;
            }
            let begin_ms = query.begin_ms.saturating_add(if planted!("B29") { 999 } else { 0 });
            if view.header.is_before(&entry, begin_ms) || entry.position < self.log.min() {
                return Ok(true); // and so is every older one
            }
            sometimes!("store.query.chain_shared", entry.hash != hash);
            if entry.hash != hash && planted!("M13") {
                return Ok(true);
            }
            if entry.hash != hash || !view.header.may_be_in(&entry, begin_ms, query.end_ms) {
                if found.examined < MOST_EXAMINED {
                    continue;
                }
                return found.give_up();
            }
            if !self.look_at(query, entry.position, found).await? {
                return Ok(false);
            }
            if found.reads >= MOST_READ {
                return found.give_up();
            }
        }
    }

    /// Takes the record at a position if it is one that is looked for; false when the answer has no room for it.
    async fn look_at(&self, query: &KeyQuery<'_>, position: u64, found: &mut Found) -> io::Result<bool> {
        if found.positions.last() == Some(&position) {
            return Ok(true); // it has the key more than once
        }
        found.reads += 1;
        let Some(bytes) = self.record_at(position).await? else { return Ok(true) };
        let Scan::Record(record) = record::scan(&bytes, false) else { return Ok(true) };
        let stored = record.place.store_timestamp;
        let matches = record.topic == query.topic
            && (query.begin_ms..=query.end_ms).contains(&stored)
            && query.key.is_of(&record)
            && !self.topics.is_deleted(record.topic, position);
        if !matches {
            return Ok(true);
        }
        if found.bytes + bytes.len() > MOST_BYTES && !found.records.is_empty() {
            found.incomplete = Some(format!("the answer is full with {} bytes", found.bytes));
            return Ok(false);
        }
        found.bytes += bytes.len();
        found.positions.push(position);
        found.records.push(bytes);
        Ok(true)
    }
}

impl Found {
    /// The search takes too long: what was found is the answer, but nothing would be a wrong one.
    fn give_up(&mut self) -> Result<bool, QueryError> {
        let error = QueryError::TooMuch(self.examined);
        if self.records.is_empty() {
            return Err(error);
        }
        self.incomplete = Some(error.to_string());
        Ok(false)
    }

    /// Oldest first, as Java answers.
    fn joined(self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.bytes);
        self.records.iter().rev().for_each(|record| out.extend_from_slice(record));
        out.freeze()
    }
}

impl<'a> Walk<'a> {
    async fn begin(view: &'a View, hash: u32) -> io::Result<Self> {
        let next = match view.head {
            Some(head) => head,
            None => {
                let slot = view.shape.slot_at(view.shape.slot_of(hash));
                let bytes = view.file.fetch(slot, 4).await?;
                u32::from_be_bytes(bytes[..].try_into().expect("four bytes were asked for"))
            }
        };
        let walk = Self { view, next, recent: 0, window: (0, Bytes::new()) };
        if next < view.header.next { Ok(walk) } else { Err(damaged()) }
    }

    /// The next older entry of the chain, whatever its hash.
    async fn entry(&mut self) -> io::Result<Option<Entry>> {
        if let Some(entry) = self.view.recent.get(self.recent) {
            self.recent += 1;
            return Ok(Some(*entry));
        }
        if self.next == 0 {
            return Ok(None);
        }
        let at = self.view.shape.entry_at(self.next);
        if self.within(at).is_none() {
            // Older entries stand before it.
            let window = if buggify!("store.query.one_entry") { 0 } else { WINDOW };
            let start = at.saturating_sub(window).max(self.view.shape.entry_at(0));
            let length = usize::try_from(at - start).expect("a window is small") + Entry::SIZE;
            self.window = (start, self.view.file.fetch(start, length).await?);
        }
        let entry = self.within(at).expect("it was read just now");
        if entry.previous >= self.next {
            return Err(damaged());
        }
        self.next = entry.previous;
        Ok(Some(entry))
    }

    fn within(&self, at: u64) -> Option<Entry> {
        let from = usize::try_from(at.checked_sub(self.window.0)?).ok()?;
        Entry::decode(self.window.1.get(from..from + Entry::SIZE)?).next()
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a chain in {} does not end", layout::INDEX))
}

/// How long a query waits for records that were just sent.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of an answer: Java takes frames of 16 MiB.
const MOST_BYTES: usize = 12 << 20;
/// Entries of one chain that a query looks at.
const MOST_EXAMINED: u64 = 2_000_000;
/// Records that a query reads.
const MOST_READ: u64 = 10_000;
const EXAMINED_AT_ONCE: u64 = 1000;
/// Bytes read before an entry: a chain of one frequent key is a run of neighbours.
const WINDOW: u64 = 4000;
