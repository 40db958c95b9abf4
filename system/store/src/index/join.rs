//! Dispatch puts the keys of the records it has at hand into the file in use.

use runtime::{planted, sometimes, sync::MutexGuard, tap};

use super::{Files, Index, Last};
use crate::note::Note;

/// The index while a run of records is dispatched.
#[derive(Debug)]
pub(crate) struct Joined<'a> {
    files: MutexGuard<'a, Files>,
    /// The keys of all records below are in.
    at: u64,
}

impl Index {
    /// Takes part in a dispatch, unless the index is at work elsewhere: its loop brings it here then.
    pub(crate) fn join(&self) -> Option<Joined<'_>> {
        let files = self.files.lock();
        let free = files.trouble.is_none() && !files.following;
        free.then(|| Joined { at: files.indexed.get(), files })
    }
}

impl Joined<'_> {
    /// Puts all keys of a record in, or none: when the index stands elsewhere, or its file has no room for them.
    pub(crate) fn put(&mut self, note: &Note) {
        if self.at != note.unit.position {
            return;
        }
        let Some(Last { table, .. }) = &mut self.files.last else { return };
        let mut count = note.keys.count();
        if count > 1 && planted!("B02") {
            count = 1;
        }
        sometimes!("store.index.no_room", count > table.room());
        if count <= table.room() {
            for key in note.keys.hashes(note.topic).take(count) {
                table.put(key, note.unit.position, note.store_time);
            }
            self.at = note.end();
        }
    }

    /// Passes over a blank.
    pub(crate) fn pass(&mut self, from: u64, to: u64) {
        if self.at == from {
            self.at = to;
        }
    }
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        if self.at > self.files.indexed.get() {
            self.files.indexed.advance(self.at);
            tap!("indexed", position = self.at);
        }
    }
}
