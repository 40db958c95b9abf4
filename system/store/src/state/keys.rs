//! The keys of a record, as Java finds and hashes them (broker-store.md 2.6).

use protocol::properties::{self, names};
use protocol::record::{RecordRef, sys_flag};
use protocol::tag::{self, Tail};
use smallvec::SmallVec;

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
        let marks = Marks::of(record.properties);
        let words = || String::from_utf8_lossy(marks.words.unwrap_or_default());
        // Bytes that are no UTF-8 are read as Java does.
        marks.unique.is_some_and(|unique| String::from_utf8_lossy(unique) == self.text())
            || matches!(self, Self::Any(key) if split(&words()).any(|word| word == *key))
    }
}

/// The properties that the store looks at: the last one of a name counts, as Java reads them.
#[derive(Clone, Copy, Debug, Default)]
struct Marks<'a> {
    tags: Option<&'a [u8]>,
    unique: Option<&'a [u8]>,
    words: Option<&'a [u8]>,
}

impl<'a> Marks<'a> {
    /// Finds them in one pass.
    fn of(properties: &'a [u8]) -> Self {
        let mut marks = Self::default();
        for piece in properties::pieces(properties) {
            if let Some(value) = properties::value_of(piece, names::UNIQ_KEY) {
                marks.unique = Some(value);
            } else if let Some(value) = properties::value_of(piece, names::TAGS) {
                marks.tags = Some(value);
            } else if let Some(value) = properties::value_of(piece, names::KEYS) {
                marks.words = Some(value);
            }
        }
        marks
    }
}

/// What the index and a queue find a record by, as far as its properties tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The code of its tags.
    pub(crate) tags: i64,
    /// In Java's order: the unique key, then the words of KEYS.
    tails: SmallVec<[Tail; 4]>,
}

impl Keys {
    /// Finds them; `sys_flag` is the record's.
    pub(crate) fn of(properties: &[u8], sys_flag: i32) -> Self {
        let marks = Marks::of(properties);
        let tags = tag::code(marks.tags.and_then(|tags| std::str::from_utf8(tags).ok()));
        let mut tails = SmallVec::new();
        if sys_flag & sys_flag::TRANSACTION_MASK != sys_flag::ROLLBACK {
            tails.extend(marks.unique.map(Tail::of));
            if let Some(words) = marks.words {
                let words = String::from_utf8_lossy(words);
                tails.extend(split(&words).map(|word| Tail::of(word.as_bytes())));
            }
        }
        Self { tags, tails }
    }

    /// Entries in the index.
    pub(crate) fn count(&self) -> usize {
        self.tails.len()
    }

    /// The hashes that the index has; `topic` is the [`prefix`] of the record's topic.
    pub(crate) fn hashes(&self, topic: i32) -> impl Iterator<Item = u32> {
        self.tails.iter().map(move |tail| absolute(tail.on(topic)))
    }
}

/// What all keys of a topic have in common: Java's hash of the topic and a `#`.
pub(crate) fn prefix(topic: &str) -> i32 {
    tag::hash_on(tag::hash(topic), "#")
}

/// The hash under which a key of a topic is found.
pub(crate) fn hash(topic: &str, key: &str) -> u32 {
    absolute(tag::hash_on(prefix(topic), key))
}

fn split(words: &str) -> impl Iterator<Item = &str> {
    words.split(' ').filter(|word| !word.is_empty())
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
        assert_eq!(absolute(tag::hash("polygenelubricants")), 0);
        assert_eq!(hash("T", "Aa"), hash("T", "BB"));
        // "TopicTest#key-1".hashCode() in Java.
        assert_eq!(tag::hash("a#b"), i32::from(b'a') * 961 + i32::from(b'#') * 31 + i32::from(b'b'));
        assert_eq!(hash("größe", "日本"), absolute(tag::hash("größe#日本")));
    }
}
