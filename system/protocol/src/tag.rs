//! Tags: the 32-bit Java string hash that consume queues store, and the subscription expression that selects by it.

use std::collections::BTreeSet;

/// Java's `String.hashCode` over UTF-16 code units (wire.md 2.8).
pub fn hash(text: &str) -> i32 {
    hash_on(0, text)
}

/// The hash of a text that begins with one whose hash is `begun`, and goes on with `text`.
pub fn hash_on(begun: i32, text: &str) -> i32 {
    Tail::of(text.as_bytes()).on(begun)
}

/// The end of a text, hashed before its beginning is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    hash: i32,
    /// What the hash of the beginning counts: 31 to the power of the units of this end.
    weight: i32,
}

impl Tail {
    /// Hashes the end of a text; bytes that are no UTF-8 are read as Java does.
    pub fn of(text: &[u8]) -> Self {
        if !text.is_ascii() {
            return String::from_utf8_lossy(text).encode_utf16().fold(Self::NONE, |tail, unit| {
                let hash = tail.hash.wrapping_mul(31).wrapping_add(i32::from(unit));
                Self { hash, weight: tail.weight.wrapping_mul(31) }
            });
        }
        // Four letters at once: each step waits for the one before.
        let (fours, rest) = text.as_chunks::<4>();
        let tail = fours.iter().fold(Self::NONE, |tail, four| {
            let [a, b, c, d] = four.map(i32::from);
            let added = a * (31 * 31 * 31) + b * (31 * 31) + c * 31 + d;
            let hash = tail.hash.wrapping_mul(31 * 31 * 31 * 31).wrapping_add(added);
            Self { hash, weight: tail.weight.wrapping_mul(31 * 31 * 31 * 31) }
        });
        rest.iter().fold(tail, |tail, letter| {
            let hash = tail.hash.wrapping_mul(31).wrapping_add(i32::from(*letter));
            Self { hash, weight: tail.weight.wrapping_mul(31) }
        })
    }

    /// The hash of a text that begins with one whose hash is `begun`, and ends with this.
    pub fn on(self, begun: i32) -> i32 {
        begun.wrapping_mul(self.weight).wrapping_add(self.hash)
    }

    const NONE: Self = Self { hash: 0, weight: 1 };
}

/// The tags code of a consume queue unit: the hash of the trimmed tag, sign-extended; 0 without tags.
pub fn code(tags: Option<&str>) -> i64 {
    match tags.map(str::trim) {
        None | Some("") => 0,
        Some(tag) => i64::from(hash(tag)),
    }
}

/// Which tags a subscription wants: everything, or a set of tags.
///
/// A broker compares codes only ([`Filter::accepts_code`]); two tags may share one, so the consumer
/// compares the text again ([`Filter::accepts_tag`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    tags: BTreeSet<String>,
    codes: BTreeSet<i32>,
}

impl Filter {
    /// Accepts every message.
    pub fn all() -> Self {
        Self::default()
    }

    /// Reads `*`, an empty text, or tags separated by `||`.
    ///
    /// A text of separators only is refused, as Java does.
    pub fn parse(expression: &str) -> Result<Self, BadExpression> {
        let expression = expression.trim();
        if expression.is_empty() || expression == "*" {
            return Ok(Self::all());
        }
        let tags: BTreeSet<String> =
            expression.split("||").map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect();
        if tags.is_empty() {
            return Err(BadExpression { expression: expression.to_owned() });
        }
        let codes = tags.iter().map(|t| hash(t)).collect();
        Ok(Self { tags, codes })
    }

    /// A filter from the codes a peer computed; the tags are unknown.
    pub fn from_codes(codes: impl IntoIterator<Item = i32>) -> Self {
        Self { tags: BTreeSet::new(), codes: codes.into_iter().collect() }
    }

    /// True when nothing is filtered out.
    pub fn is_all(&self) -> bool {
        self.codes.is_empty()
    }

    /// The wanted tags, sorted; empty when everything is wanted.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(String::as_str)
    }

    /// The hashes of the wanted tags, sorted.
    pub fn codes(&self) -> impl Iterator<Item = i32> {
        self.codes.iter().copied()
    }

    /// The broker's test, on the code of a consume queue unit.
    pub fn accepts_code(&self, code: i64) -> bool {
        self.is_all() || i32::try_from(code).is_ok_and(|c| self.codes.contains(&c))
    }

    /// The consumer's test, on the text itself.
    pub fn accepts_tag(&self, tag: Option<&str>) -> bool {
        self.tags.is_empty() || tag.is_some_and(|t| self.tags.contains(t.trim()))
    }
}

/// A subscription expression that names no tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the subscription expression {expression:?} names no tag; write `*` for all, or tags separated by ||"
)]
pub struct BadExpression {
    expression: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_of_java() {
        // wire.md 12, vector 13
        assert_eq!(hash("TagA"), 2_598_919);
        assert_eq!(hash("TagB"), 2_598_920);
        assert_eq!(hash(""), 0);
        // "polygenelubricants" hashes to Integer.MIN_VALUE; a surrogate pair counts as two units.
        assert_eq!(hash("polygenelubricants"), i32::MIN);
        assert_eq!(hash("\u{1F600}"), 0xD83D * 31 + 0xDE00);
        assert_eq!(
            hash_on(hash("größe \u{1F600}"), "#日本语 \u{1F600}x"),
            hash("größe \u{1F600}#日本语 \u{1F600}x")
        );
        assert_eq!(hash_on(hash("orders"), "#key-17"), hash("orders#key-17"));
        assert_eq!(code(Some(" TagA ")), 2_598_919);
        assert_eq!(code(None), 0);
    }

    #[test]
    fn equal_codes_are_told_apart_by_the_text() {
        // "Aa" and "BB" share a Java hash.
        let filter = Filter::parse("Aa || C").unwrap();
        assert!(filter.accepts_code(code(Some("BB"))));
        assert!(!filter.accepts_tag(Some("BB")));
        assert!(filter.accepts_tag(Some("Aa")));
        assert!(!filter.accepts_tag(None));
    }

    #[test]
    fn expressions_of_all_kinds() {
        assert!(Filter::parse("*").unwrap().is_all());
        assert!(Filter::parse("").unwrap().is_all());
        assert!(Filter::parse(" || ").is_err());
        assert_eq!(Filter::parse("b|| a ||").unwrap().tags().collect::<Vec<_>>(), ["a", "b"]);
        assert!(Filter::all().accepts_code(7) && Filter::all().accepts_tag(None));
    }
}
