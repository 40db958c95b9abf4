//! One index file in memory: header, slots and entries as Java lays them out (broker-store.md 2.6).
//!
//! A file is a header of 40 bytes, then slots of 4 bytes, then entries of 20 bytes. A slot holds the number of the
//! newest entry whose hash falls into it, an entry the number of the one before it: chains from new to old. Entry 0
//! is never used. Entries are written once and never change; slots follow from them, so a file whose first entries
//! are known to be on the disk can be made whole from these alone ([`Table::replay`]).

use bytes::{Buf, BufMut};

/// How many slots and entries a file has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// `maxHashSlotNum`.
    pub(crate) slots: u32,
    /// `maxIndexNum`; one less is used.
    pub(crate) entries: u32,
}

/// The head of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Store time of the first record.
    pub(crate) begin_time: i64,
    /// Store time of the last record.
    pub(crate) end_time: i64,
    /// Position of the first record.
    pub(crate) begin_position: u64,
    /// Position of the last record.
    pub(crate) end_position: u64,
    /// Slots that have a chain.
    pub(crate) used_slots: u32,
    /// Number of the next entry: 1 in an empty file.
    pub(crate) next: u32,
}

/// One key of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Hash of topic and key.
    pub(crate) hash: u32,
    /// Where the record stands.
    pub(crate) position: u64,
    /// Seconds between the file's first record and this one.
    pub(crate) seconds: u32,
    /// Number of the older entry in the same slot; 0: none.
    pub(crate) previous: u32,
}

/// A file that grows.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) shape: Shape,
    pub(crate) header: Header,
    slots: Vec<u32>,
    /// A bit for each page of slots that differs from the file.
    dirty: Vec<u64>,
    /// Entries that are not in the file yet, and the number of the first of them.
    fresh: Vec<u8>,
    first_fresh: u32,
}

impl Shape {
    /// Bytes of a file.
    pub(crate) fn file_bytes(self) -> u64 {
        self.entry_at(self.entries)
    }

    /// Where a slot stands.
    pub(crate) fn slot_at(self, slot: u32) -> u64 {
        Header::SIZE as u64 + u64::from(slot) * SLOT_BYTES
    }

    /// Where an entry stands.
    pub(crate) fn entry_at(self, number: u32) -> u64 {
        self.slot_at(self.slots) + u64::from(number) * Entry::SIZE as u64
    }

    /// Bytes of all slots.
    pub(crate) fn slot_bytes(self) -> usize {
        self.slots as usize * SLOT_BYTES as usize
    }

    /// The slot that a hash falls into.
    pub(crate) fn slot_of(self, hash: u32) -> u32 {
        hash % self.slots
    }
}

impl Header {
    pub(crate) const SIZE: usize = 40;

    /// Of a file without entries.
    pub(crate) const EMPTY: Self =
        Self { begin_time: 0, end_time: 0, begin_position: 0, end_position: 0, used_slots: 0, next: 1 };

    pub(crate) fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let mut out = &mut bytes[..];
        out.put_i64(self.begin_time);
        out.put_i64(self.end_time);
        out.put_u64(self.begin_position);
        out.put_u64(self.end_position);
        out.put_u32(self.used_slots);
        out.put_u32(self.next);
        bytes
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= Self::SIZE).then(|| Self {
            begin_time: bytes.get_i64(),
            end_time: bytes.get_i64(),
            begin_position: bytes.get_u64(),
            end_position: bytes.get_u64(),
            used_slots: bytes.get_u32(),
            next: bytes.get_u32(),
        })
    }

    /// Whether a finished file of this shape can have such a head.
    pub(crate) fn is_plausible(&self, shape: Shape) -> bool {
        (2..=shape.entries).contains(&self.next)
            && self.used_slots <= shape.slots.min(self.next - 1)
            && self.begin_position <= self.end_position
    }

    /// Whether records stored in `begin..=end` ms may be in the file.
    pub(crate) fn overlaps(&self, begin: i64, end: i64) -> bool {
        self.begin_time <= end && self.end_time >= begin
    }

    /// Whether an entry's record may have been stored in `begin..=end` ms: the file keeps whole seconds only.
    pub(crate) fn may_be_in(&self, entry: &Entry, begin: i64, end: i64) -> bool {
        self.begin_time.saturating_add(i64::from(entry.seconds) * 1000) <= end
            && !self.is_before(entry, begin)
    }

    /// Whether an entry's record, and so every older one, was stored before `begin`.
    pub(crate) fn is_before(&self, entry: &Entry, begin: i64) -> bool {
        let capped = entry.seconds == MOST;
        !capped && self.begin_time.saturating_add(i64::from(entry.seconds) * 1000 + 999) < begin
    }
}

impl Entry {
    pub(crate) const SIZE: usize = 20;

    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        out.put_u32(self.hash);
        out.put_u64(self.position);
        out.put_u32(self.seconds);
        out.put_u32(self.previous);
    }

    /// Entries that stand one after the other.
    pub(crate) fn decode(bytes: &[u8]) -> impl Iterator<Item = Self> {
        bytes.chunks_exact(Self::SIZE).map(|mut b| Self {
            hash: b.get_u32(),
            position: b.get_u64(),
            seconds: b.get_u32(),
            previous: b.get_u32(),
        })
    }
}

impl Table {
    /// An empty one.
    pub(crate) fn new(shape: Shape) -> Self {
        let pages = (shape.slots as usize).div_ceil(PAGE_SLOTS);
        Self {
            shape,
            header: Header::EMPTY,
            slots: vec![0; shape.slots as usize],
            dirty: vec![0; pages.div_ceil(64)],
            fresh: Vec::new(),
            first_fresh: 1,
        }
    }

    /// How many entries still fit.
    pub(crate) fn room(&self) -> usize {
        self.shape.entries.saturating_sub(self.header.next) as usize
    }

    /// Whether no entry fits any more.
    pub(crate) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Adds a key of the record at `position`, which was stored at `time`. There must be room.
    pub(crate) fn put(&mut self, hash: u32, position: u64, time: i64) {
        assert!(!self.is_full(), "a full index file takes no more keys");
        let header = &mut self.header;
        if header.next == 1 {
            (header.begin_time, header.begin_position) = (time, position);
        }
        let seconds = match header.begin_time {
            1.. => (time.saturating_sub(header.begin_time) / 1000).clamp(0, i64::from(MOST)),
            _ => 0,
        };
        let seconds = u32::try_from(seconds).expect("clamped");
        (header.end_time, header.end_position) = (time, position);
        let previous = self.link(hash);
        Entry { hash, position, seconds, previous }.encode(&mut self.fresh);
    }

    /// Takes an entry from a file, the next in order; an error when it is not what [`Table::put`] would have made.
    pub(crate) fn replay(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let head = self.head(entry.hash);
        if self.is_full() {
            return Err("there are more entries than the file has room for");
        }
        if entry.hash > MOST || entry.seconds > MOST {
            return Err("an entry has numbers that Java cannot hold");
        }
        if entry.previous != head {
            return Err("an entry does not follow the one before it in its slot");
        }
        if entry.position < self.header.end_position {
            return Err("an entry is of an older record than the one before it");
        }
        if self.header.next == 1 {
            self.header.begin_position = entry.position;
        }
        self.header.end_position = entry.position;
        self.link(entry.hash);
        self.first_fresh = self.header.next;
        Ok(())
    }

    /// Makes the next entry the head of its slot; returns the one before.
    fn link(&mut self, hash: u32) -> u32 {
        let slot = self.shape.slot_of(hash) as usize;
        let previous = std::mem::replace(&mut self.slots[slot], self.header.next);
        self.header.used_slots += u32::from(previous == 0);
        self.header.next += 1;
        let page = slot / PAGE_SLOTS;
        self.dirty[page / 64] |= 1 << (page % 64);
        previous
    }

    /// Number of the newest entry in the slot of a hash; 0: none.
    pub(crate) fn head(&self, hash: u32) -> u32 {
        self.slots[self.shape.slot_of(hash) as usize]
    }

    /// An entry that is not in the file yet.
    pub(crate) fn fresh(&self, number: u32) -> Option<Entry> {
        let at = number.checked_sub(self.first_fresh)? as usize * Entry::SIZE;
        Entry::decode(self.fresh.get(at..at + Entry::SIZE)?).next()
    }

    /// Entries that are not in the file yet, and where they belong.
    pub(crate) fn unwritten(&self) -> (u64, &[u8]) {
        (self.shape.entry_at(self.first_fresh), &self.fresh)
    }

    /// The first so many bytes of [`Table::unwritten`] are in the file now.
    pub(crate) fn set_written(&mut self, bytes: usize) {
        self.fresh.drain(..bytes);
        self.first_fresh += u32::try_from(bytes / Entry::SIZE).expect("fewer than a file's entries");
    }

    /// All slots are to be written, whatever the file holds.
    pub(crate) fn distrust_slots(&mut self) {
        self.dirty.fill(u64::MAX);
    }

    /// Appends a page of slots that differs from the file to `out` and counts it as written; returns where it
    /// belongs. None when no page differs.
    pub(crate) fn take_dirty(&mut self, out: &mut Vec<u8>) -> Option<u64> {
        loop {
            let word = self.dirty.iter().position(|bits| *bits != 0)?;
            let bit = self.dirty[word].trailing_zeros();
            self.dirty[word] &= !(1 << bit);
            let first = (word * 64 + bit as usize) * PAGE_SLOTS;
            // Behind the last page there are only bits.
            if let Some(rest) = self.slots.get(first..).filter(|rest| !rest.is_empty()) {
                rest.iter().take(PAGE_SLOTS).for_each(|slot| out.put_u32(*slot));
                return Some(self.shape.slot_at(u32::try_from(first).expect("a slot's number")));
            }
        }
    }

    /// Whether a file's slots, all of them, are these.
    pub(crate) fn has_slots(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.slots.len() * SLOT_BYTES as usize
            && bytes
                .chunks_exact(SLOT_BYTES as usize)
                .zip(&self.slots)
                .all(|(mut b, slot)| b.get_u32() == *slot)
    }
}

const SLOT_BYTES: u64 = 4;
/// Slots written at once.
const PAGE_SLOTS: usize = 1024;
/// The largest number that Java can hold there: of seconds, and of a hash.
const MOST: u32 = i32::MAX as u32;

#[cfg(test)]
mod tests;
