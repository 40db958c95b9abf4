//! What dispatch needs of a record. Appends note it down, so that nothing is read again that has just been written;
//! records without a note are read from the log.

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::record::RecordRef;

use crate::queue::Queue;
use crate::state::keys::{Keys, prefix};
use crate::state::unit::Unit;

/// What queues and index are given of one record.
#[derive(Debug)]
pub(crate) struct Note {
    /// Where it stands, its size, and its tag.
    pub(crate) unit: Unit,
    /// When it was stored, ms.
    pub(crate) store_time: i64,
    /// Its queue and its offset there; None: it has no place in one.
    pub(crate) place: Option<(Arc<Queue>, u64)>,
    /// The [`prefix`] of its topic.
    pub(crate) topic: i32,
    pub(crate) keys: Keys,
}

impl Note {
    /// Of a record that was read from the log.
    pub(crate) fn of(record: &RecordRef<'_>, queue: Option<Arc<Queue>>, tag: i64, keys: Keys) -> Self {
        Self {
            unit: Unit { position: record.place.position, size: record.size, tag },
            store_time: record.place.store_timestamp,
            topic: queue.as_ref().map_or_else(|| prefix(record.topic), |queue| queue.prefix),
            place: queue.map(|queue| (queue, record.place.queue_offset)),
            keys,
        }
    }

    /// Position of the next record.
    pub(crate) fn end(&self) -> u64 {
        self.unit.position + u64::from(self.unit.size)
    }
}

/// The notes of the records at the end of the log, in their order. Some may be missing: when there are many, no more
/// are taken.
#[derive(Debug, Default)]
pub(crate) struct Notes(VecDeque<Note>);

impl Notes {
    pub(crate) fn add(&mut self, note: Note) {
        if self.0.len() < MOST {
            self.0.push_back(note);
        }
    }

    /// Takes over all notes of another, which are of later records.
    pub(crate) fn take_all(&mut self, later: &mut Self) {
        if self.0.is_empty() {
            std::mem::swap(self, later);
        } else {
            self.0.append(&mut later.0);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The note of the record at `position`; what is older is forgotten.
    pub(crate) fn next(&mut self, position: u64) -> Option<Note> {
        while self.0.front()?.unit.position < position {
            self.0.pop_front();
        }
        self.0.pop_front_if(|note| note.unit.position == position)
    }

    /// Position of the first record that has a note.
    pub(crate) fn first(&self) -> Option<u64> {
        self.0.front().map(|note| note.unit.position)
    }
}

/// About 2 MiB: what one chunk of the log has, and what comes in meanwhile.
const MOST: usize = 16 << 10;
