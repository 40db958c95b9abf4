//! From what is on the disk to an index that can go on: nothing is trusted that a finished sync does not speak for.
//!
//! Full files were synced before the mark named them. Of the file in use the first entries were; its slots and head are
//! made from these. Whatever does not fit is removed, with all that is younger, and made again from the log.

use std::io;
use std::sync::Arc;

use runtime::disk::{Disk, File};
use runtime::{crash_point, tap, task};

use super::{Full, Last};
use crate::state::index::{Entry, Header, Shape, Table};
use crate::state::index_mark::{self, Mark};
use crate::state::index_name::is_name;
use crate::state::layout;
use crate::store::Store;

/// What was found.
pub(super) struct Loaded {
    pub(super) full: Vec<Arc<Full>>,
    pub(super) last: Option<Last>,
    /// The log is to be read from here.
    pub(super) position: u64,
}

/// A load in progress.
struct Load<'a> {
    disk: &'a Disk,
    shape: Shape,
    log_min: u64,
    log_end: u64,
    found: Loaded,
}

/// Reads the index. `clean`: the store was closed properly by whoever used it last, which matters for files of Java.
pub(super) async fn load(store: &Store, clean: bool) -> io::Result<Loaded> {
    let disk = &store.log.disk;
    disk.make_dir(layout::INDEX).await?;
    disk.sync_dir("").await?;
    let mut names = disk.list(layout::INDEX).await?;
    names.retain(|name| is_name(name));
    let mut load = Load {
        disk,
        shape: store.log.config.index_shape(),
        log_min: store.log.min(),
        log_end: store.log.readable_end(),
        found: Loaded { full: Vec::new(), last: None, position: store.log.min() },
    };
    let mark = mark(disk).await?;
    let taken_over = mark.is_none();
    let kept = match mark {
        Some(mark) => load.marked(&names, &mark).await?,
        None if clean && !names.is_empty() => load.made_by_java(&names).await?,
        None => 0,
    };
    if let Some(last) = load.found.last.as_ref().filter(|_| taken_over) {
        // Java closed it with all keys of its last record.
        let position = last.table.header.end_position;
        if let Some(record) = store.record_at(position).await? {
            load.found.position = position + record.len() as u64;
        }
    }
    // The newest first: a crash in between must not leave a hole.
    for name in names[kept..].iter().rev() {
        tracing::warn!(file = name, "an index file cannot be trusted and is made again from the commit log");
        remove(disk, name).await?;
        crash_point!("store.index.distrusted").await;
    }
    if kept < names.len() {
        disk.sync_dir(layout::INDEX).await?;
    }
    let found = load.found;
    tap!("index_loaded", position = found.position, files = kept);
    tracing::info!(position = found.position, files = kept, "the index is read");
    Ok(found)
}

pub(super) async fn remove(disk: &Disk, name: &str) -> io::Result<()> {
    disk.remove(&path(name)).await
}

pub(super) fn path(name: &str) -> String {
    format!("{}/{name}", layout::INDEX)
}

async fn mark(disk: &Disk) -> io::Result<Option<Mark>> {
    match disk.read_small(layout::INDEX_MARK).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => Ok(Mark::decode(&text?)
            .inspect_err(|error| {
                tracing::error!(%error, file = layout::INDEX_MARK, "unreadable: the index is made anew from the log");
            })
            .ok()),
    }
}

impl Load<'_> {
    /// Takes the files that the mark speaks for; returns how many of `names` they are.
    async fn marked(&mut self, names: &[String], mark: &Mark) -> io::Result<usize> {
        if (Shape { slots: mark.slots, entries: mark.entries }) != self.shape {
            tracing::warn!("maxHashSlotNum or maxIndexNum was changed: the index is made anew from the log");
            return Ok(0);
        }
        // What retention removed, or was about to.
        let gone = mark.full.iter().take_while(|full| full.end_position < self.log_min).count();
        let first = mark.full.get(gone).map(|full| &full.name).or(mark.last.as_ref().map(|last| &last.name));
        let mut at = names.partition_point(|name| first.is_some_and(|first| name < first));
        for name in &names[..at] {
            remove(self.disk, name).await?;
        }
        for full in &mark.full[gone..] {
            if names.get(at) != Some(&full.name) || !self.take_full(full).await? {
                return Ok(at);
            }
            at += 1;
        }
        if let Some(last) = &mark.last {
            if names.get(at) != Some(&last.name) || !self.take_last(last).await? {
                self.found.position = last.from.max(self.log_min);
                return Ok(at);
            }
            at += 1;
        }
        // Otherwise the log was cut, and goes on behind the last record that is left.
        if mark.position <= self.log_end {
            self.found.position = mark.position.max(self.log_min);
        }
        Ok(at)
    }

    /// A full file; false when it is not what the mark says, or has records that a cut of the log took.
    async fn take_full(&mut self, known: &index_mark::Full) -> io::Result<bool> {
        let Some((file, header)) = self.open(&known.name).await? else { return Ok(false) };
        let fits = header.is_plausible(self.shape)
            && header.next == self.shape.entries
            && header.end_position == known.end_position
            && header.end_position < self.log_end;
        if fits {
            self.add_full(&known.name, file, header);
        }
        Ok(fits)
    }

    /// The file in use: its first entries, without those of records that a cut of the log took.
    async fn take_last(&mut self, known: &index_mark::Last) -> io::Result<bool> {
        let Some((file, _)) = self.open(&known.name).await? else { return Ok(false) };
        let (mut table, whole) = match self.replay(&file, known.next).await? {
            Ok(found) => found,
            Err(reason) => {
                tracing::error!(file = known.name, reason, "an index file is damaged");
                return Ok(false);
            }
        };
        if !whole && table.header.next == 1 {
            return Ok(false);
        }
        let position = if table.header.next == 1 { known.from } else { table.header.end_position };
        self.found.position = position.max(self.log_min);
        table.header.begin_time = known.begin_time;
        table.header.end_time = known.end_time;
        table.distrust_slots();
        self.found.last = Some(Last { name: known.name.clone(), file, table, from: known.from });
        Ok(true)
    }

    /// Files of a store that Java closed properly; returns how many of `names` are whole.
    async fn made_by_java(&mut self, names: &[String]) -> io::Result<usize> {
        for (at, name) in names.iter().enumerate() {
            let Some((file, header)) = self.open(name).await? else { return Ok(at) };
            let begins_after = self.found.full.last().map_or(0, |full| full.header.end_position);
            if !header.is_plausible(self.shape)
                || header.begin_position < begins_after
                || header.end_position >= self.log_end
            {
                return Ok(at);
            }
            let Ok((mut table, _)) = self.replay(&file, header.next).await? else { return Ok(at) };
            let slots = file.fetch(self.shape.slot_at(0), self.shape.slot_bytes()).await?;
            if !table.has_slots(&slots) || table.header.end_position != header.end_position {
                return Ok(at);
            }
            table.header = header;
            if table.is_full() {
                self.add_full(name, file, header);
            } else if at + 1 == names.len() {
                let from = header.begin_position;
                self.found.last = Some(Last { name: name.clone(), file, table, from });
            } else {
                return Ok(at);
            }
            self.found.position = header.end_position.max(self.log_min);
        }
        Ok(names.len())
    }

    async fn open(&self, name: &str) -> io::Result<Option<(File, Header)>> {
        let file = self.disk.open_sparse(&path(name)).await?;
        if file.len() != self.shape.file_bytes() {
            return Ok(None);
        }
        let head = file.fetch(0, Header::SIZE).await?;
        Ok(Header::decode(&head).map(|header| (file, header)))
    }

    fn add_full(&mut self, name: &str, file: File, header: Header) {
        self.found.position = header.end_position.max(self.log_min);
        self.found.full.push(Arc::new(Full { name: name.to_owned(), file, header }));
    }

    /// Makes the table of the entries below `next`; false: the log ends before the last of them.
    async fn replay(&self, file: &File, next: u32) -> io::Result<Result<(Table, bool), &'static str>> {
        let mut table = Table::new(self.shape);
        let mut number = 1;
        while number < next.min(self.shape.entries) {
            let count = ENTRIES_AT_ONCE.min(next - number);
            let bytes = file.fetch(self.shape.entry_at(number), count as usize * Entry::SIZE).await?;
            for entry in Entry::decode(&bytes) {
                if entry.position >= self.log_end {
                    return Ok(Ok((table, false)));
                }
                if let Err(reason) = table.replay(&entry) {
                    return Ok(Err(reason));
                }
            }
            number += count;
            task::yield_now().await;
        }
        Ok(Ok((table, true)))
    }
}

const ENTRIES_AT_ONCE: u32 = 1 << 15;
