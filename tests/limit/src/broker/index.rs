//! The least of an index by key: slots and entries in memory, as many as a broker's file has slots, used round and round.

/// The entries by the hash of topic and unique key.
pub(super) struct Index {
    slots: Vec<u32>,
    entries: Vec<[u8; 20]>,
    next: usize,
}

impl Index {
    pub(super) fn new() -> Self {
        // Not zero, so that the pages are there before the first message.
        Self { slots: vec![1; SLOTS], entries: vec![[1; 20]; ENTRIES], next: 0 }
    }

    /// Puts the message's key in and returns it.
    pub(super) fn put<'a>(
        &mut self,
        topic: &[u8],
        properties: &'a [u8],
        position: u64,
        now: u64,
    ) -> Option<&'a [u8]> {
        let key = properties.split(|b| *b == 2).find_map(|pair| pair.strip_prefix(b"UNIQ_KEY\x01"))?;
        let hash = absolute(hash(hash(hash(0, topic), b"#"), key));
        let slot = &mut self.slots[hash as usize % SLOTS];
        let entry = &mut self.entries[self.next % ENTRIES];
        entry[..4].copy_from_slice(&hash.to_be_bytes());
        entry[4..12].copy_from_slice(&position.to_be_bytes());
        entry[12..16].copy_from_slice(&((now / 1000) as u32).to_be_bytes());
        entry[16..].copy_from_slice(&slot.to_be_bytes());
        *slot = self.next as u32;
        self.next += 1;
        Some(key)
    }
}

/// Java's hash of a text, four letters at once.
fn hash(begun: u32, text: &[u8]) -> u32 {
    let (fours, rest) = text.as_chunks::<4>();
    let begun = fours.iter().fold(begun, |h, four| {
        let [a, b, c, d] = four.map(u32::from);
        h.wrapping_mul(31 * 31 * 31 * 31).wrapping_add(a * (31 * 31 * 31) + b * (31 * 31) + c * 31 + d)
    });
    rest.iter().fold(begun, |h, letter| h.wrapping_mul(31).wrapping_add(u32::from(*letter)))
}

fn absolute(hash: u32) -> u32 {
    (hash as i32).unsigned_abs()
}

const SLOTS: usize = 5_000_000;
const ENTRIES: usize = 1 << 20;
