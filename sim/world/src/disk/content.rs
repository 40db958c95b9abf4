//! The bytes of one file twice over: as the page cache has them and as the medium will have them after a power loss.
//!
//! Each page keeps what its writes since the last sync have overwritten. Undoing all of them gives the durable
//! bytes, undoing some gives what was there in between, and a sync forgets the writes it covered. An append to
//! fresh space overwrites nothing and so costs one small entry and one copy.

use crate::random::Dice;

/// The smallest unit that a power loss leaves whole.
pub(super) const SECTOR: usize = 512;
pub(super) const PAGE: usize = 4096;

/// The content of a file. Pages that were never written take no memory.
#[derive(Default)]
pub(super) struct Content {
    len: u64,
    leaves: Vec<Option<Box<Leaf>>>,
    /// How many pages there are.
    pages: u64,
    /// Pages that the next sync will write, in the order they became so.
    dirty: Vec<u32>,
    /// Number of the latest write.
    writes: u64,
}

/// What a power loss did to a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    /// Sectors that fell back to their durable bytes.
    pub(super) lost: u64,
    /// Sectors that ended between two writes.
    pub(super) between: u64,
}

struct Leaf {
    pages: [Option<Box<Page>>; LEAF],
}

impl Default for Leaf {
    fn default() -> Self {
        Self { pages: [const { None }; LEAF] }
    }
}

impl Default for Page {
    fn default() -> Self {
        Self { data: [0; PAGE], used: 0, dirty: false, undo: Vec::new(), overwritten: Vec::new(), base: None }
    }
}

struct Page {
    data: [u8; PAGE],
    /// Behind this nothing was ever written.
    used: usize,
    dirty: bool,
    /// What was written since the durable state, oldest first; none: the page is durable.
    undo: Vec<Undo>,
    /// What the entries of `undo` have overwritten, one after the other.
    overwritten: Vec<u8>,
    /// The durable bytes, once the oldest entries had to be dropped from `undo`.
    base: Option<Box<Base>>,
}

struct Undo {
    write: u64,
    at: u16,
    len: u16,
    /// False when nothing but the zeros of fresh space was overwritten.
    kept: bool,
}

struct Base {
    data: [u8; PAGE],
    /// The oldest write that is no longer in `undo`.
    dropped: u64,
}

impl Content {
    pub(super) fn new(len: u64) -> Self {
        Self { len, ..Self::default() }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Number of the latest write: a sync that starts now covers up to it.
    pub(super) fn latest(&self) -> u64 {
        self.writes
    }

    /// How many pages hold something.
    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    /// How many pages a write to this range would add.
    pub(super) fn missing_pages(&self, at: u64, len: u64) -> u64 {
        let numbers = at / PAGE as u64..(at + len).div_ceil(PAGE as u64);
        numbers.filter(|number| self.page(*number as u32).is_none()).count() as u64
    }

    /// How many pages the next sync will write.
    pub(super) fn dirty_pages(&self) -> usize {
        self.dirty.len()
    }

    /// Writes into the page cache; the caller has checked the range.
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        self.writes += 1;
        let mut rest = bytes;
        let mut at = at;
        while !rest.is_empty() {
            let (number, within) = place(at);
            let step = rest.len().min(PAGE - within);
            let write = self.writes;
            let page = self.page_mut(number);
            page.write(write, within, &rest[..step]);
            if !page.dirty {
                page.dirty = true;
                self.dirty.push(number);
            }
            rest = &rest[step..];
            at += step as u64;
        }
    }

    /// Writes zeros, touching only pages that exist.
    pub(super) fn zero(&mut self, at: u64, len: u64) {
        self.writes += 1;
        let (mut at, end) = (at, at + len);
        while at < end {
            let (number, within) = place(at);
            let step = ((end - at) as usize).min(PAGE - within);
            if self.leaves.get(number as usize / LEAF).is_none_or(Option::is_none) {
                at = (number as u64 / LEAF as u64 + 1) * (LEAF * PAGE) as u64;
                continue;
            }
            if self.page(number).is_some_and(|page| page.used > within) {
                let write = self.writes;
                let page = self.page_mut(number);
                page.write(write, within, &ZEROS[..step]);
                if !page.dirty {
                    page.dirty = true;
                    self.dirty.push(number);
                }
            }
            at += step as u64;
        }
    }

    /// Hands the bytes of a range, piece by piece, to `out`; the caller has checked the range.
    pub(super) fn read(&self, at: u64, len: usize, mut out: impl FnMut(&[u8])) {
        let (mut at, mut left) = (at, len);
        while left > 0 {
            let (number, within) = place(at);
            let step = left.min(PAGE - within);
            out(self.page(number).map_or(&ZEROS[..step], |page| &page.data[within..within + step]));
            left -= step;
            at += step as u64;
        }
    }

    /// Makes every write up to number `covered` durable, if its page still counts as dirty.
    pub(super) fn make_durable(&mut self, covered: u64) {
        self.for_dirty(|page| page.make_durable(covered));
    }

    /// A write-back of everything up to number `covered` has failed: the pages count as clean all the same, so that
    /// no later sync writes them unless they are written to again. Answers how many.
    pub(super) fn fail_write_back(&mut self, covered: u64) -> u64 {
        let mut failed = 0;
        self.for_dirty(|page| {
            if page.undo.last().is_some_and(|last| last.write <= covered) {
                page.dirty = false;
                failed += 1;
            }
        });
        failed
    }

    /// The system drops some of the pages that count as clean though they never reached the medium: whoever reads
    /// them next gets what the medium has. Answers how many.
    pub(super) fn evict(&mut self, dice: &mut Dice) -> u64 {
        let mut evicted = 0;
        for page in self.leaves.iter_mut().flatten().flat_map(|leaf| leaf.pages.iter_mut()).flatten() {
            if !page.dirty && !page.undo.is_empty() && dice.chance(EVICTED) {
                page.data = page.durable();
                page.settle();
                evicted += 1;
            }
        }
        evicted
    }

    /// The power goes: each sector that is not durable survives with probability `rate`, as its newest or as an
    /// intermediate version, and falls back to its durable bytes otherwise. At rate 1 all is as it was.
    pub(super) fn lose_power(&mut self, rate: f64, dice: &mut Dice) -> Loss {
        let mut loss = Loss::default();
        for page in self.leaves.iter_mut().flatten().flat_map(|leaf| leaf.pages.iter_mut()).flatten() {
            page.lose_power(rate, dice, &mut loss);
        }
        self.dirty.clear();
        loss
    }

    /// Cuts the file off, as when the length was not durable.
    pub(super) fn truncate(&mut self, len: u64) {
        let (number, within) = place(len);
        for (index, leaf) in self.leaves.iter_mut().enumerate() {
            let Some(leaf) = leaf else { continue };
            for (inner, slot) in leaf.pages.iter_mut().enumerate() {
                let this = (index * LEAF + inner) as u32;
                if this > number || (this == number && within == 0) {
                    self.pages -= u64::from(slot.take().is_some());
                } else if let (true, Some(page)) = (this == number, slot) {
                    page.data[within..].fill(0);
                    page.used = page.used.min(within);
                }
            }
        }
        self.dirty.retain(|page| (u64::from(*page) * PAGE as u64) < len);
        self.len = len;
    }

    /// Turns one bit of the durable bytes in a range, chosen among the pages that are durable and hold something.
    pub(super) fn rot(&mut self, from: u64, to: u64, dice: &mut Dice) -> Option<u64> {
        let mut candidates = Vec::new();
        for (index, leaf) in self.leaves.iter().enumerate() {
            let Some(leaf) = leaf else { continue };
            for (inner, page) in leaf.pages.iter().enumerate() {
                let start = ((index * LEAF + inner) * PAGE) as u64;
                let Some(page) = page else { continue };
                let (low, high) = (from.max(start), to.min(start + page.used as u64));
                if page.undo.is_empty() && low < high {
                    candidates.push((low, high));
                }
            }
        }
        let bytes = candidates.iter().map(|(low, high)| high - low).sum::<u64>();
        if bytes == 0 {
            return None;
        }
        let mut chosen = dice.below(bytes);
        let at = candidates.iter().find_map(|(low, high)| {
            if chosen < high - low {
                return Some(low + chosen);
            }
            chosen -= high - low;
            None
        })?;
        let (number, within) = place(at);
        self.page_mut(number).data[within] ^= 1 << dice.below(8);
        Some(at)
    }

    /// The durable bytes of a range: what a power loss would leave if nothing unsynced survived.
    pub(super) fn durable(&self, at: u64, len: usize) -> Vec<u8> {
        let mut found = Vec::with_capacity(len);
        let mut at = at;
        while found.len() < len {
            let (number, within) = place(at);
            let step = (len - found.len()).min(PAGE - within);
            match self.page(number) {
                Some(page) => found.extend_from_slice(&page.durable()[within..within + step]),
                None => found.resize(found.len() + step, 0),
            }
            at += step as u64;
        }
        found
    }

    fn page(&self, number: u32) -> Option<&Page> {
        self.leaves.get(number as usize / LEAF)?.as_ref()?.pages[number as usize % LEAF].as_deref()
    }

    fn page_mut(&mut self, number: u32) -> &mut Page {
        let (leaf, inner) = (number as usize / LEAF, number as usize % LEAF);
        if self.leaves.len() <= leaf {
            self.leaves.resize_with(leaf + 1, || None);
        }
        let slot = &mut self.leaves[leaf].get_or_insert_default().pages[inner];
        self.pages += u64::from(slot.is_none());
        slot.get_or_insert_default()
    }

    fn for_dirty(&mut self, mut step: impl FnMut(&mut Page)) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.retain(|number| {
            let page = self.page_mut(*number);
            step(page);
            page.dirty
        });
        self.dirty = dirty;
    }
}

impl Page {
    fn write(&mut self, write: u64, at: usize, bytes: &[u8]) {
        if self.undo.len() >= UNDO_ENTRIES || self.overwritten.len() >= UNDO_BYTES {
            self.drop_older_half();
        }
        let end = at + bytes.len();
        let kept = at < self.used;
        if kept {
            self.overwritten.extend_from_slice(&self.data[at..end]);
        }
        self.undo.push(Undo { write, at: at as u16, len: bytes.len() as u16, kept });
        self.data[at..end].copy_from_slice(bytes);
        self.used = self.used.max(end);
    }

    fn drop_older_half(&mut self) {
        let half = self.undo.len().div_ceil(2);
        if self.base.is_none() {
            self.base = Some(Box::new(Base { data: self.rewound(0), dropped: self.undo[0].write }));
        }
        self.forget(half);
    }

    /// Drops the oldest `count` entries.
    fn forget(&mut self, count: usize) {
        let bytes: usize =
            self.undo[..count].iter().filter(|entry| entry.kept).map(|entry| entry.len as usize).sum();
        self.overwritten.drain(..bytes);
        self.undo.drain(..count);
    }

    fn make_durable(&mut self, covered: u64) {
        let count = self.undo.partition_point(|entry| entry.write <= covered);
        if count == self.undo.len() {
            self.settle();
            return;
        }
        self.forget(count);
        // When entries that the sync covers were dropped, the oldest state still known is the durable one: it
        // may hold later writes too, and a real disk may have written those as well.
        if count > 0 || self.base.as_ref().is_some_and(|base| base.dropped <= covered) {
            self.base = None;
        }
    }

    /// The page as it was when only the first `keep` entries of `undo` were written.
    fn rewound(&self, keep: usize) -> [u8; PAGE] {
        let mut data = self.data;
        let mut end = self.overwritten.len();
        for entry in self.undo[keep..].iter().rev() {
            let range = entry.at as usize..entry.at as usize + entry.len as usize;
            if entry.kept {
                let start = end - entry.len as usize;
                data[range].copy_from_slice(&self.overwritten[start..end]);
                end = start;
            } else {
                data[range].fill(0);
            }
        }
        data
    }

    fn durable(&self) -> [u8; PAGE] {
        self.base.as_ref().map_or_else(|| self.rewound(0), |base| base.data)
    }

    fn lose_power(&mut self, rate: f64, dice: &mut Dice, loss: &mut Loss) {
        if self.undo.is_empty() {
            return;
        }
        let (newest, durable) = (self.data, self.durable());
        for start in (0..PAGE).step_by(SECTOR) {
            let range = start..start + SECTOR;
            let touched =
                self.undo.iter().any(|e| (e.at as usize) < range.end && (e.at + e.len) as usize > start);
            if !touched && newest[range.clone()] == durable[range.clone()] {
                continue;
            }
            if !dice.chance(rate) {
                loss.lost += u64::from(newest[range.clone()] != durable[range.clone()]);
                self.data[range.clone()].copy_from_slice(&durable[range]);
            } else if rate < 1.0 && dice.chance(INTERMEDIATE) {
                let keep = dice.below(self.undo.len() as u64 + 1) as usize;
                // `data` changes sector by sector, but no sector before its turn.
                let version = self.rewound(keep);
                loss.between += u64::from(version[range.clone()] != newest[range.clone()]);
                self.data[range.clone()].copy_from_slice(&version[range]);
            }
        }
        self.settle();
    }

    /// What is in the page cache is durable: most pages stay so, and keep no memory for it.
    fn settle(&mut self) {
        self.undo = Vec::new();
        self.overwritten = Vec::new();
        self.base = None;
        self.dirty = false;
    }
}

fn place(at: u64) -> (u32, usize) {
    let number = u32::try_from(at / PAGE as u64).expect("simulated files are smaller than 16 TiB");
    (number, (at % PAGE as u64) as usize)
}

const LEAF: usize = 256;
const ZEROS: [u8; PAGE] = [0; PAGE];
/// How often a sector that survives does so as one of its intermediate versions.
const INTERMEDIATE: f64 = 0.25;
/// How often a page whose write-back failed is dropped from memory.
const EVICTED: f64 = 0.25;
const UNDO_ENTRIES: usize = 64;
const UNDO_BYTES: usize = 4 * PAGE;

#[cfg(test)]
mod tests;
