//! Message properties: the text `name 0x01 value 0x02 ...` of send headers, records and batch items (wire.md 2.3).
//!
//! The broker passes the text through as bytes and looks single names up; only clients build maps.

use std::collections::BTreeMap;

const BETWEEN: u8 = 1;
/// Closes a pair.
pub(crate) const AFTER: u8 = 2;

/// Every pair of the text in order. Pieces of fewer than three bytes, without separator, or with an
/// empty name or value are skipped, as Java readers do.
pub fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    pieces(text).filter_map(|piece| {
        let at = position(piece, BETWEEN)?;
        (at > 0 && at + 1 < piece.len()).then(|| (&piece[..at], &piece[at + 1..]))
    })
}

/// What stands between the ends of pairs: for looks at a few names, each by [`value_of`].
#[inline]
pub fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = position(rest, AFTER).unwrap_or(rest.len());
        let piece = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(piece)
    })
}

/// The value if the piece is a pair of this name.
#[inline(always)]
pub fn value_of<'a>(piece: &'a [u8], name: &str) -> Option<&'a [u8]> {
    match piece.strip_prefix(name.as_bytes())? {
        [BETWEEN, value @ ..] if !value.is_empty() => Some(value),
        _ => None,
    }
}

/// Where the byte stands first. Names and values are short: they are done before a search for long texts has begun.
#[inline(always)]
fn position(text: &[u8], byte: u8) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        // The lowest bit that is set belongs to the first byte that is 0 now.
        let word = u64::from_le_bytes(*word) ^ (ONES * u64::from(byte));
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            return Some(8 * at + zeros.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|b| *b == byte).map(|at| 8 * words.len() + at)
}

/// Whether a zero byte stands in the text.
pub fn has_zero(text: &[u8]) -> bool {
    memchr::memchr(0, text).is_some()
}

/// The value of `name`; the last one when it stands more than once.
pub fn get<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pairs(text).filter(|(n, _)| *n == name.as_bytes()).last().map(|(_, v)| v)
}

/// As [`get`], when the value is UTF-8.
pub fn get_str<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    get(text, name).and_then(|v| std::str::from_utf8(v).ok())
}

/// Appends one pair, closing an unclosed last pair first.
pub fn push(text: &mut Vec<u8>, name: &str, value: &str) {
    push_bytes(text, name.as_bytes(), value.as_bytes());
}

/// As [`push`], for a pair out of another text.
pub fn push_bytes(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if text.last().is_some_and(|b| *b != AFTER) {
        text.push(AFTER);
    }
    text.extend_from_slice(name);
    text.push(BETWEEN);
    text.extend_from_slice(value);
    text.push(AFTER);
}

/// The text without any pair called `name`, every other pair kept byte for byte.
pub fn without(text: &[u8], name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for (n, v) in pairs(text).filter(|(n, _)| *n != name.as_bytes()) {
        push_bytes(&mut out, n, v);
    }
    out
}

/// All properties as a map; values that are not UTF-8 have their bad bytes replaced.
pub fn to_map(text: &[u8]) -> BTreeMap<String, String> {
    let owned = |b| String::from_utf8_lossy(b).into_owned();
    pairs(text).map(|(n, v)| (owned(n), owned(v))).collect()
}

/// The text of a map, in the order of its names.
pub fn from_map<'a>(map: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in map {
        push(&mut text, name, value);
    }
    text
}

/// True when the text can be part of a property: neither separator may stand in it.
pub fn is_clean(text: &str) -> bool {
    !text.bytes().any(|b| b == BETWEEN || b == AFTER)
}

/// The value of `__CRC32#`: ten decimal digits, the least significant first.
pub fn crc_digits(crc: u32) -> [u8; 10] {
    let mut rest = crc;
    std::array::from_fn(|_| {
        let digit = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
        digit
    })
}

/// Reserved names (wire.md 2.9), those this system reads or writes.
pub mod names {
    /// Keys of the message, separated by blanks.
    pub const KEYS: &str = "KEYS";
    /// The tag.
    pub const TAGS: &str = "TAGS";
    /// "false": the sender does not wait for the flush.
    pub const WAIT: &str = "WAIT";
    /// Delay level, 1 based.
    pub const DELAY: &str = "DELAY";
    /// Unique id made by the client.
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    /// Sharding key of ordered sends.
    pub const SHARDING_KEY: &str = "__SHARDINGKEY";
    /// Producer group.
    pub const PRODUCER_GROUP: &str = "PGROUP";
    /// Cluster.
    pub const CLUSTER: &str = "CLUSTER";
    /// Region of the broker.
    pub const MSG_REGION: &str = "MSG_REGION";
    /// Whether tracing is on.
    pub const TRACE_ON: &str = "TRACE_ON";
    /// Offset id of the first delivery.
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    /// Topic a retried message came from.
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    /// Topic a rewritten message belongs to.
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    /// Queue a rewritten message belongs to.
    pub const REAL_QUEUE_ID: &str = "REAL_QID";
    /// How often the client saw the message already.
    pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
    /// Most retries before the dead letter queue.
    pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
    /// When the listener began, ms.
    pub const CONSUME_START_TIME: &str = "CONSUME_START_TIME";
    /// Topic of a dead letter before it died.
    pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
    /// Offset id of a dead letter before it died.
    pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
    /// "true" on half messages.
    pub const TRANSACTION_PREPARED: &str = "TRAN_MSG";
    /// Offset that a half message was first stored at, on its copies.
    pub const TRANSACTION_PREPARED_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
    /// How often the producers of a half message were asked.
    pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
    /// Seconds before a half message is checked.
    pub const CHECK_IMMUNITY_TIME: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    /// Transaction id.
    pub const TRANSACTION_ID: &str = "__transactionId__";
    /// Smallest offset of the queue, added by consumers.
    pub const MIN_OFFSET: &str = "MIN_OFFSET";
    /// Largest offset of the queue, added by consumers.
    pub const MAX_OFFSET: &str = "MAX_OFFSET";
    /// Instance of the sender.
    pub const INSTANCE_ID: &str = "INSTANCE_ID";
    /// Receipt of a pop.
    pub const POP_CK: &str = "POP_CK";
    /// Checksum of the whole record.
    pub const CRC32: &str = "__CRC32#";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn java_parsing_rules_hold() {
        // wire.md 12, vector 7
        let text = b"a\x01\x02b\x011\x02c\x01xx\x01y\x02noeq\x02d\x01z";
        let map = to_map(text);
        assert_eq!(
            map.into_iter().collect::<Vec<_>>(),
            [("b", "1"), ("c", "xx\x01y"), ("d", "z")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        assert_eq!(get_str(b"k\x01one\x02k\x01two", "k"), Some("two"));
    }

    #[test]
    fn a_pair_is_added_after_an_unclosed_one() {
        let mut text = b"a\x01b".to_vec();
        push(&mut text, "c", "d");
        assert_eq!(text, b"a\x01b\x02c\x01d\x02");
        assert_eq!(without(&text, "a"), b"c\x01d\x02");
    }

    #[test]
    fn crc_digits_run_backwards() {
        assert_eq!(&crc_digits(1_234_567_890), b"0987654321");
        assert_eq!(&crc_digits(7), b"7000000000");
    }

    proptest! {
        #[test]
        fn any_bytes_parse(bytes in proptest::collection::vec(0u8..4, 0..64)) {
            let _ = to_map(&bytes);
        }

        #[test]
        fn a_value_is_found_in_its_piece_as_among_all_pairs(bytes in proptest::collection::vec(0u8..4, 0..24)) {
            for name in ["\u{3}", "\u{3}\u{3}", "\0"] {
                let found = pieces(&bytes).filter_map(|piece| value_of(piece, name)).collect::<Vec<_>>();
                let pairs = pairs(&bytes).filter(|(n, _)| *n == name.as_bytes());
                prop_assert_eq!(found, pairs.map(|(_, value)| value).collect::<Vec<_>>());
            }
        }

        #[test]
        fn a_byte_is_found_where_it_stands_first(bytes in proptest::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..40)) {
            for byte in [BETWEEN, AFTER, 0, 0x80, 0xFF] {
                prop_assert_eq!(position(&bytes, byte), bytes.iter().position(|b| *b == byte));
            }
        }

        #[test]
        fn a_map_comes_back(map in proptest::collection::btree_map("[a-zA-Z_]{2,8}", "[ -~\u{e4}-\u{f6}]{1,12}", 0..8)) {
            let text = from_map(map.iter().map(|(k, v)| (k.as_str(), v.as_str())));
            prop_assert_eq!(to_map(&text), map);
        }
    }
}
