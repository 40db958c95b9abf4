//! The keys of a record, as Java finds and hashes them (broker-store.md 2.6).

use std::borrow::Cow;

use protocol::properties::{self, names};
use protocol::record::{RecordRef, sys_flag};

/// What a query looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// One of the words of KEYS, or the unique key.
    Any(&'a str),
    /// The unique key.
    Unique(&'a str),
}

impl<'a> Key<'a> {
    /// The key itself.
    pub fn text(&self) -> &'a str {
        match self {
            Self::Any(text) | Self::Unique(text) => text,
        }
    }

    /// Whether a record has it: hashes alone may lie.
    pub(crate) fn is_of(&self, record: &RecordRef<'_>) -> bool {
        let (unique, words) = texts(record.properties);
        unique.is_some_and(|unique| unique == self.text())
            || matches!(self, Self::Any(key) if words.is_some_and(|w| split(&w).any(|word| word == *key)))
    }
}

/// Calls `found` with the hash of each key of a record, in Java's order: the unique key, then the words of KEYS.
pub(crate) fn hashes(record: &RecordRef<'_>, mut found: impl FnMut(u32)) {
    if record.sys_flag & sys_flag::TRANSACTION_MASK == sys_flag::ROLLBACK {
        return;
    }
    let (unique, words) = texts(record.properties);
    if unique.is_none() && words.is_none() {
        return;
    }
    let topic = add(add(0, record.topic), "#");
    if let Some(unique) = unique {
        found(absolute(add(topic, &unique)));
    }
    if let Some(words) = words {
        split(&words).for_each(|word| found(absolute(add(topic, word))));
    }
}

/// The hash under which a key of a topic is found.
pub(crate) fn hash(topic: &str, key: &str) -> u32 {
    absolute(add(add(add(0, topic), "#"), key))
}

/// Unique key and KEYS; the last one counts when a name stands twice. Bytes that are no UTF-8 are read as Java does.
fn texts(text: &[u8]) -> (Option<Cow<'_, str>>, Option<Cow<'_, str>>) {
    let (mut unique, mut words) = (None, None);
    for (name, value) in properties::pairs(text) {
        if name == names::UNIQ_KEY.as_bytes() {
            unique = Some(value);
        } else if name == names::KEYS.as_bytes() {
            words = Some(value);
        }
    }
    (unique.map(String::from_utf8_lossy), words.map(String::from_utf8_lossy))
}

fn split(words: &str) -> impl Iterator<Item = &str> {
    words.split(' ').filter(|word| !word.is_empty())
}

/// Goes on with Java's hash of a string.
fn add(hash: i32, text: &str) -> i32 {
    text.encode_utf16().fold(hash, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

fn absolute(hash: i32) -> u32 {
    // The smallest number has no positive counterpart: Java takes 0 for it.
    u32::try_from(hash.wrapping_abs()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        // "polygenelubricants".hashCode() is the smallest int; here with "T#" in front of what follows it.
        assert_eq!(absolute(add(0, "polygenelubricants")), 0);
        assert_eq!(hash("T", "Aa"), hash("T", "BB"));
        // "TopicTest#key-1".hashCode() in Java.
        assert_eq!(add(0, "a#b"), i32::from(b'a') * 961 + i32::from(b'#') * 31 + i32::from(b'b'));
        assert_eq!(hash("größe", "日本"), absolute(protocol::tag::hash("größe#日本")));
    }
}
