//! Bringing keys into the file in use and the file to the disk; the mark comes last.

use std::io;

use runtime::disk::File;
use runtime::{clock, crash_point, host, sometimes, tap, task};

use super::load::path;
use super::{Files, Full, Last};
use crate::state::index::{Shape, Table};
use crate::state::index_mark::{self, Mark};
use crate::state::index_name::next_name;
use crate::state::layout;
use crate::store::Store;

impl Store {
    /// Makes a new file, after the one in use was put on the disk, for keys of records from `at` on.
    pub(super) async fn next_index_file(&self, at: u64) -> io::Result<()> {
        self.settle_index(Some(at)).await?;
        let name = {
            let mut files = self.index.files.lock();
            if let Some(Last { name, file, table, .. }) = files.last.take_if(|last| last.table.is_full()) {
                files.full.push(Full { name, file, header: table.header }.into());
                sometimes!("store.index.rolled");
            }
            let now_ms = clock::now_ms() + i64::from(host::utc_offset_seconds()) * 1000;
            next_name(now_ms, files.full.last().map(|full| full.name.as_str()))
        };
        let disk = &self.log.disk;
        let shape = self.log.config.index_shape();
        let file = disk.create_sparse(&path(&name), shape.file_bytes()).await?;
        crash_point!("store.index.created").await;
        disk.sync_dir(layout::INDEX).await?;
        let table = Table::new(shape);
        self.index.files.lock().last = Some(Last { name, file, table, from: at });
        Ok(())
    }

    /// Puts the index on the disk, and the mark that says so; returns the mark's position. Every key of the records
    /// below `at` is in it; None: below where the index stands.
    pub(super) async fn settle_index(&self, at: Option<u64>) -> io::Result<u64> {
        // Taken first: keys that dispatch puts in from now on are none of this mark's.
        let (mark, file) = {
            let files = self.index.files.lock();
            let at = at.unwrap_or_else(|| files.indexed.get());
            (files.mark(at, self.log.config.index_shape()), files.last.as_ref().map(|last| last.file.clone()))
        };
        // A mark must not speak of records that a crash may take back.
        self.flush_to(mark.position).await?;
        crash_point!("store.index.settle").await;
        if let Some(file) = file {
            self.write_index(&file).await?;
            crash_point!("store.index.written").await;
            file.sync().await?;
        }
        crash_point!("store.index.synced").await;
        self.log.disk.replace_small(layout::INDEX_MARK, &mark.encode()).await?;
        crash_point!("store.index.marked").await;
        if let Some(last) = &mark.last {
            self.times.lock().index_time = last.end_time;
        }
        let entries = mark.last.as_ref().map_or(0, |last| last.next - 1);
        tap!("index_settled", position = mark.position, entries = entries);
        Ok(mark.position)
    }

    /// Writes entries, slots and head into the file in use: at least what it has now. Dispatch may put in more.
    async fn write_index(&self, file: &File) -> io::Result<()> {
        self.write_entries(file).await?;
        let mut bytes = Vec::new();
        for turn in 1.. {
            bytes.clear();
            let taken =
                self.index.files.lock().last.as_mut().and_then(|last| last.table.take_dirty(&mut bytes));
            let Some(place) = taken else { break };
            file.write_at(place, &bytes)?;
            if turn % PAGES_AT_ONCE == 0 {
                crash_point!("store.index.slots").await;
                task::yield_now().await;
            }
        }
        let header = self.index.files.lock().last.as_ref().map(|last| last.table.header);
        header.map_or(Ok(()), |header| file.write_at(0, &header.encode()))
    }

    /// Writes the entries that are only in memory.
    pub(super) async fn write_entries(&self, file: &File) -> io::Result<()> {
        let unwritten = self.index.files.lock().last.as_ref().map(|last| {
            let (place, bytes) = last.table.unwritten();
            (place, bytes.to_vec())
        });
        let Some((place, bytes)) = unwritten else { return Ok(()) };
        file.write_at(place, &bytes)?;
        crash_point!("store.index.entries").await;
        if let Some(last) = &mut self.index.files.lock().last {
            last.table.set_written(bytes.len());
        }
        Ok(())
    }
}

impl Files {
    fn mark(&self, position: u64, shape: Shape) -> Mark {
        let full = self
            .full
            .iter()
            .map(|full| index_mark::Full { name: full.name.clone(), end_position: full.header.end_position });
        let last = self.last.as_ref().map(|last| index_mark::Last {
            name: last.name.clone(),
            from: last.from,
            next: last.table.header.next,
            begin_time: last.table.header.begin_time,
            end_time: last.table.header.end_time,
        });
        Mark { position, slots: shape.slots, entries: shape.entries, full: full.collect(), last }
    }
}

const PAGES_AT_ONCE: u32 = 64;
