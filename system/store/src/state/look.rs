//! What stands at a position of the log: the judgement that recovery, audit and reads of old data rest on.
//!
//! A record's checksum covers its body alone. What a torn write does to the rest is found otherwise: the
//! position field must be the position, the lengths must add up, and no sector of topic or properties may
//! begin or end in zeros where nothing was known to be on the disk.

use protocol::record::{self, RecordRef, Scan};

/// What was found at a position.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look<'a> {
    /// A record that belongs here.
    Record(RecordRef<'a>),
    /// The rest of the segment is blank.
    Blank,
    /// Zeros: nothing was written here.
    Unwritten,
    /// The record can be judged with this many bytes.
    More(usize),
    /// Anything else.
    Damaged(String),
}

/// How closely to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checks {
    /// Compare bodies with their checksums.
    pub(crate) checksum: bool,
    /// The bytes may come from a write that never was completed.
    pub(crate) torn: bool,
}

/// Looks at `bytes`, which stand at `position` in the segment `[base, end)`; they may end before the segment does.
pub(crate) fn look(bytes: &[u8], position: u64, base: u64, end: u64, checks: Checks) -> Look<'_> {
    let room = end - position;
    let short = |wanted: usize| {
        if wanted as u64 + record::BLANK_SIZE as u64 > room {
            Look::Damaged(format!(
                "a record of {wanted} bytes does not fit into the {room} bytes of its file"
            ))
        } else {
            Look::More(wanted)
        }
    };
    match record::scan(bytes, checks.checksum) {
        Scan::Record(found) if found.place.position != position => {
            Look::Damaged(format!("a record of position {} stands here", found.place.position))
        }
        Scan::Record(found) if u64::from(found.size) + record::BLANK_SIZE as u64 > room => {
            short(found.size as usize)
        }
        Scan::Record(found) if checks.torn && lost_sector(&found, position - base) => {
            Look::Damaged("a part of the record was never written".to_owned())
        }
        Scan::Record(found) => Look::Record(found),
        Scan::Blank(size) if u64::from(size) == room => Look::Blank,
        Scan::Blank(size) => Look::Damaged(format!("a blank of {size} bytes where the file has {room}")),
        Scan::Unwritten if bytes.len() < record::BLANK_SIZE && room > bytes.len() as u64 => {
            Look::More(record::BLANK_SIZE)
        }
        Scan::Unwritten => Look::Unwritten,
        Scan::Short(_) if bytes.len() < record::BLANK_SIZE => Look::More(record::BLANK_SIZE),
        Scan::Short(size) => short(size as usize),
        Scan::Damaged(damage) => Look::Damaged(damage.to_string()),
    }
}

/// The next place in `bytes` where a record or blank may start that says so itself: its magic and its position
/// field. `bytes` stand at `position`; the first byte is not looked at.
pub(crate) fn next_candidate(bytes: &[u8], position: u64, end: u64) -> Option<usize> {
    (1..bytes.len().saturating_sub(7)).find(|&at| {
        let word = |from: usize| bytes.get(at + from..)?.first_chunk::<4>().map(|b| u32::from_be_bytes(*b));
        match word(4) {
            Some(record::MAGIC_V1 | record::MAGIC_V2) => bytes
                .get(at + 28..)
                .and_then(|b| b.first_chunk::<8>())
                .is_some_and(|b| u64::from_be_bytes(*b) == position + at as u64),
            Some(record::MAGIC_BLANK) => {
                word(0).is_some_and(|size| u64::from(size) == end - position - at as u64)
            }
            _ => false,
        }
    })
}

/// A sector that was not written is zero (or, torn, begins or ends in zeros). In the head of a record that breaks
/// the lengths, in the body the checksum; texts and hosts can hide it.
fn lost_sector(record: &RecordRef<'_>, start: u64) -> bool {
    if record.store_host.port() == 0 || record.place.store_timestamp == 0 {
        return true;
    }
    let end = start + u64::from(record.size);
    let properties = end - record.properties.len() as u64;
    let topic = properties - 2 - record.topic.len() as u64;
    zero_at_sector_edge(record.topic.as_bytes(), topic) || zero_at_sector_edge(record.properties, properties)
}

fn zero_at_sector_edge(text: &[u8], at: u64) -> bool {
    let mut rest = text;
    let mut at = at;
    while !rest.is_empty() {
        let piece = (SECTOR - at % SECTOR).min(rest.len() as u64) as usize;
        if rest[0] == 0 || rest[piece - 1] == 0 {
            return true;
        }
        rest = &rest[piece..];
        at += piece as u64;
    }
    false
}

const SECTOR: u64 = 512;

#[cfg(test)]
mod tests;
