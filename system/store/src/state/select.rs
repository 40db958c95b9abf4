//! Which units of a queue one read answers: the stop rules of broker-store.md 2.12, unit by unit.

use smallvec::SmallVec;

use super::unit::Unit;
use crate::config::Config;

/// The rules of one read, filled unit by unit.
#[derive(Debug)]
pub(crate) struct Selection {
    /// Units whose records belong to the answer, in order.
    pub(crate) chosen: SmallVec<[Unit; 32]>,
    /// How far behind `from` each of them was found.
    steps: SmallVec<[u32; 32]>,
    /// Bytes of their records.
    pub(crate) bytes: u64,
    /// Behind the last unit examined.
    pub(crate) next: u64,
    /// The filter refused at least one.
    pub(crate) refused: bool,
    /// A unit had no record.
    pub(crate) lost: bool,
    /// The last unit examined was not expected in memory.
    pub(crate) far_behind: bool,
    from: u64,
    rules: Rules,
}

/// The limits of one read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    max_examined: u64,
    max_count: u64,
    max_bytes: u64,
    memory: (u64, u64),
    disk: (u64, u64),
    /// Records at or behind this position are expected in memory.
    hot_from: u64,
    log_min: u64,
    /// No record is longer: a unit that says so is damaged.
    longest: u64,
}

impl Rules {
    /// For a read of at most `max_count` records and `max_bytes`.
    pub(crate) fn new(config: &Config, max_count: u32, max_bytes: u32, hot_from: u64, log_min: u64) -> Self {
        let max_count = u64::from(max_count);
        Self {
            max_examined: config.max_filter_bytes.max(max_count * Unit::SIZE).div_ceil(Unit::SIZE),
            max_count,
            max_bytes: u64::from(max_bytes).clamp(MIN_BYTES, MAX_BYTES),
            memory: (u64::from(config.memory_read_bytes), u64::from(config.memory_read_count)),
            disk: (u64::from(config.disk_read_bytes), u64::from(config.disk_read_count)),
            hot_from,
            log_min,
            longest: config.segment_bytes,
        }
    }

    /// Whether a record can be where the unit says.
    fn is_sane(&self, unit: &Unit) -> bool {
        !unit.is_void() && unit.position >= self.log_min && u64::from(unit.size) <= self.longest
    }

    /// Whether a record is expected in memory.
    pub(crate) fn is_hot(&self, unit: &Unit) -> bool {
        unit.position >= self.hot_from
    }
}

impl Selection {
    /// Nothing examined yet; the read starts at offset `from`.
    pub(crate) fn new(from: u64, rules: Rules) -> Self {
        Self {
            chosen: SmallVec::new(),
            steps: SmallVec::new(),
            bytes: 0,
            next: from,
            refused: false,
            lost: false,
            far_behind: false,
            from,
            rules,
        }
    }

    /// Examines the unit at offset `next`; false: the answer is full, this unit is not part of it.
    pub(crate) fn offer(&mut self, unit: Unit, accept: &mut impl FnMut(i64) -> bool) -> bool {
        if self.next - self.from >= self.rules.max_examined || self.is_full(&unit) {
            return false;
        }
        self.next += 1;
        self.far_behind = !self.rules.is_hot(&unit);
        if !self.rules.is_sane(&unit) {
            self.lost = true;
        } else if accept(unit.tag) {
            self.bytes += u64::from(unit.size);
            self.chosen.push(unit);
            self.steps.push(u32::try_from(self.next - 1 - self.from).expect("a read examines few units"));
        } else {
            self.refused = true;
        }
        true
    }

    /// The offset of the chosen unit at `index`.
    pub(crate) fn offset(&self, index: usize) -> u64 {
        self.from + u64::from(self.steps[index])
    }

    /// The first record is always allowed: a reader must get past one that is longer than its limit.
    fn is_full(&self, unit: &Unit) -> bool {
        let count = self.chosen.len() as u64;
        let bytes = self.bytes + if self.rules.is_sane(unit) { u64::from(unit.size) } else { 0 };
        let (place_bytes, place_count) =
            if self.rules.is_hot(unit) { self.rules.memory } else { self.rules.disk };
        count > 0
            && (count >= self.rules.max_count
                || bytes > self.rules.max_bytes
                || bytes > place_bytes
                || count >= place_count)
    }
}

const MIN_BYTES: u64 = 100;
const MAX_BYTES: u64 = 128 << 20;

#[cfg(test)]
mod tests;
