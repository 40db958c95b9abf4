//! What a half message says about itself: the marks in its properties, and how they are written.

use std::borrow::Cow;

use protocol::{
    name,
    properties::{self, names},
    record::RecordRef,
    rpc::EndTransaction,
};

/// A half message as it was stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct HalfRef<'a> {
    /// The record; None when only the properties are looked at.
    pub(super) record: Option<RecordRef<'a>>,
    /// Offset it was first stored at: the name of the transaction.
    pub(super) root: u64,
    /// Offset of this copy.
    pub(super) offset: u64,
    /// Topic it is meant for.
    pub(super) topic: &'a str,
    /// Queue it is meant for.
    pub(super) queue_id: i32,
    /// Producer group that can tell its outcome.
    pub(super) group: &'a str,
    /// The client's unique id.
    pub(super) key: &'a str,
    /// Checks counted.
    pub(super) checks: u32,
    /// How long it is left alone, if it says so.
    pub(super) immunity_ms: Option<u64>,
}

impl<'a> HalfRef<'a> {
    pub(super) fn of(record: RecordRef<'a>) -> Self {
        let found = Self::of_text(record.properties, record.place.queue_offset);
        Self { record: Some(record), ..found }
    }

    /// The half message with these properties at an offset of the half queue.
    pub(super) fn of_text(text: &'a [u8], offset: u64) -> Self {
        let mut found = Self {
            record: None,
            root: offset,
            offset,
            topic: "",
            queue_id: 0,
            group: "",
            key: "",
            checks: 0,
            immunity_ms: None,
        };
        for (name, value) in properties::pairs(text) {
            let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
                continue;
            };
            match name {
                names::REAL_TOPIC => found.topic = value,
                names::REAL_QUEUE_ID => found.queue_id = value.parse().unwrap_or(0).max(0),
                names::PRODUCER_GROUP => found.group = value,
                names::UNIQ_KEY => found.key = value,
                names::TRANSACTION_CHECK_TIMES => found.checks = value.parse().unwrap_or(0),
                names::TRANSACTION_PREPARED_OFFSET => found.root = value.parse().unwrap_or(offset),
                // Java: -1 is the broker's own time.
                names::CHECK_IMMUNITY_TIME => {
                    found.immunity_ms = value.parse::<u64>().ok().map(|seconds| seconds.saturating_mul(1000));
                }
                _ => {}
            }
        }
        found
    }

    /// Whether an end speaks of this half message; if not, why.
    pub(super) fn check(&self, h: &EndTransaction) -> Result<(), String> {
        if self.group != h.producer_group.as_ref() {
            return Err("The producer group wrong".into());
        }
        if u64::try_from(h.tran_state_table_offset) != Ok(self.offset) {
            return Err("The transaction state table offset wrong".into());
        }
        let named = [Some(&h.msg_id), h.transaction_id.as_ref()];
        let mut named = named.into_iter().flatten().filter(|id| !id.is_empty()).peekable();
        // Some clients name the broker's id here: the position was checked already.
        let is_ours =
            |id: &str| id == self.key || id.parse::<protocol::id::OffsetId>().is_ok_and(|id| self.is_at(&id));
        if named.peek().is_some() && !self.key.is_empty() && !named.any(|id| is_ours(id)) {
            return Err(format!("The unique key wrong: the half message there is {}", self.key));
        }
        let topic = h.topic.as_deref().filter(|topic| !topic.is_empty() && *topic != name::HALF_TOPIC);
        // Clients with a namespace leave it out here.
        if topic.is_some_and(|topic| {
            topic != self.topic && self.topic.split_once('%').is_none_or(|(_, t)| t != topic)
        }) {
            return Err(format!("The topic wrong: the half message there is for {}", self.topic));
        }
        Ok(())
    }

    fn is_at(&self, id: &protocol::id::OffsetId) -> bool {
        self.record.is_some_and(|record| record.place.position == id.position)
    }

    /// What the record of its end says: the offsets that are settled.
    pub(super) fn end_body(&self) -> String {
        if self.root == self.offset {
            format!("{}", self.offset)
        } else {
            format!("{},{}", self.root, self.offset)
        }
    }
}

/// The properties of a new half message, and its unique key, made if there is none.
pub(super) fn text<'a>(
    given: &'a [u8],
    group: &str,
    (topic, queue_id): (&str, i32),
    make_key: impl FnOnce() -> String,
) -> (Vec<u8>, Cow<'a, str>) {
    let mut text = without_marks(given, true);
    let key = match properties::get_str(given, names::UNIQ_KEY) {
        Some(key) => Cow::Borrowed(key),
        None => {
            let key = make_key();
            properties::push(&mut text, names::UNIQ_KEY, &key);
            Cow::Owned(key)
        }
    };
    if properties::get(&text, names::PRODUCER_GROUP).is_none() {
        properties::push(&mut text, names::PRODUCER_GROUP, group);
    }
    properties::push(&mut text, names::TRANSACTION_ID, &key);
    properties::push(&mut text, names::REAL_TOPIC, topic);
    properties::push(&mut text, names::REAL_QUEUE_ID, &queue_id.to_string());
    (text, key)
}

/// The properties of a copy with its checks counted.
pub(super) fn counted(text: &[u8], root: u64, checks: u32) -> Vec<u8> {
    let mut out = without_marks(text, false);
    properties::push(&mut out, names::TRANSACTION_CHECK_TIMES, &checks.to_string());
    properties::push(&mut out, names::TRANSACTION_PREPARED_OFFSET, &root.to_string());
    out
}

/// The properties as they were before any check.
pub(super) fn fresh(text: &[u8]) -> Vec<u8> {
    without_marks(text, false)
}

/// The producer does not wait for the disk.
pub(super) fn waits_not(text: &[u8]) -> bool {
    properties::get(text, names::WAIT).is_some_and(|value| value.eq_ignore_ascii_case(b"false"))
}

/// Without what only the broker may say; a client's own marks could claim another transaction.
fn without_marks(text: &[u8], from_client: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + COPY_ADDS);
    for (name, value) in properties::pairs(text) {
        let copies = [names::TRANSACTION_CHECK_TIMES, names::TRANSACTION_PREPARED_OFFSET];
        let stored = [names::REAL_TOPIC, names::REAL_QUEUE_ID, names::TRANSACTION_ID, names::POP_CK];
        let is_one = |marks: &[&str]| marks.iter().any(|mark| mark.as_bytes() == name);
        let goes = is_one(&copies) || from_client && is_one(&stored);
        if !goes {
            out.extend_from_slice(name);
            out.push(1);
            out.extend_from_slice(value);
            out.push(2);
        }
    }
    out
}

/// Bytes that the marks of a copy take: two names, two numbers and their separators.
pub(super) const COPY_ADDS: usize = 23 + 26 + 10 + 20 + 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_claim_the_place_of_another_transaction() {
        let given = b"TRAN_MSG\x01true\x02TRAN_PREPARED_QUEUE_OFFSET\x017\x02TRANSACTION_CHECK_TIMES\x019\x02REAL_TOPIC\x01x\x02k\x01v";
        let (text, key) = text(given, "g", ("orders", 3), || "made".to_owned());
        let half = HalfRef::of_text(&text, 12);
        assert_eq!((half.root, half.checks, half.topic, half.queue_id), (12, 0, "orders", 3));
        assert_eq!((half.group, half.key, key.as_ref()), ("g", "made", "made"));
        assert_eq!(properties::get_str(&text, "k"), Some("v"));
        assert_eq!(properties::get_str(&text, names::TRANSACTION_ID), Some("made"));
    }

    #[test]
    fn a_copy_counts_and_names_its_root() {
        let (text, _) =
            text(b"UNIQ_KEY\x01u\x02CHECK_IMMUNITY_TIME_IN_SECONDS\x0112\x02", "g", ("t", 0), String::new);
        assert_eq!(HalfRef::of_text(&text, 5).immunity_ms, Some(12_000));
        let copy = counted(&counted(&text, 5, 1), 5, 2);
        let half = HalfRef::of_text(&copy, 9);
        assert_eq!((half.root, half.offset, half.checks, half.end_body()), (5, 9, 2, "5,9".to_owned()));
        assert!(copy.len() <= text.len() + COPY_ADDS);
        assert_eq!(fresh(&copy), text);
    }

    #[test]
    fn an_end_must_speak_of_this_half_message() {
        let (text, _) = text(b"UNIQ_KEY\x01u\x02", "g", ("ns%t", 0), String::new);
        let half = HalfRef::of_text(&text, 5);
        let end = EndTransaction {
            producer_group: "g".into(),
            tran_state_table_offset: 5,
            msg_id: "u".into(),
            ..EndTransaction::default()
        };
        assert_eq!(half.check(&end), Ok(()));
        for good in ["t", "ns%t", "", name::HALF_TOPIC] {
            assert_eq!(half.check(&EndTransaction { topic: Some(good.into()), ..end.clone() }), Ok(()));
        }
        let wrong = [
            EndTransaction { producer_group: "h".into(), ..end.clone() },
            EndTransaction { tran_state_table_offset: 4, ..end.clone() },
            EndTransaction { tran_state_table_offset: -1, ..end.clone() },
            EndTransaction { msg_id: "other".into(), ..end.clone() },
            EndTransaction { topic: Some("other".into()), ..end },
        ];
        for wrong in wrong {
            assert!(half.check(&wrong).is_err(), "{wrong:?}");
        }
    }
}
