//! The headers of sends as a broker reads and answers them: the same fields as in the table, in one pass and borrowed.
//!
//! A broker does this once for each message, where the general way (a look-up and a counted reference for each field)
//! costs as much as storing the message.

use crate::ext::{Decimal, ExtFields, HeaderError, Slot, Value, first_short};

/// The fields of the requests 10, 310 and 320, as they lie in their command; see [`super::SendMessageV2`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendView<'a> {
    /// `b` or `topic`.
    pub topic: &'a str,
    /// `d` or `defaultTopicQueueNums`.
    pub default_topic_queue_nums: i32,
    /// `e` or `queueId`.
    pub queue_id: i32,
    /// `f` or `sysFlag`.
    pub sys_flag: i32,
    /// `g` or `bornTimestamp`.
    pub born_timestamp: i64,
    /// `h` or `flag`.
    pub flag: i32,
    /// `i` or `properties`; empty when absent.
    pub properties: &'a [u8],
    /// `j` or `reconsumeTimes`.
    pub reconsume_times: Option<i32>,
    /// `l` or `maxReconsumeTimes`.
    pub max_reconsume_times: Option<i32>,
    /// `m` or `batch`.
    pub batch: Option<bool>,
    producer_group: &'a [u8],
    default_topic: &'a [u8],
}

impl<'a> SendView<'a> {
    /// `a` or `producerGroup`; rarely asked for.
    pub fn producer_group(&self) -> &'a str {
        text(self.producer_group)
    }

    /// `c` or `defaultTopic`; asked for by the first message of a topic.
    pub fn default_topic(&self) -> &'a str {
        text(self.default_topic)
    }

    /// Reads short names, or long ones when the first short name is absent, as the general reader does.
    pub fn read(ext: &'a ExtFields) -> Result<Self, HeaderError> {
        match Fields::in_order(ext) {
            Some(fields) => Self::of(&fields),
            None => Self::of_any_order(ext),
        }
    }

    #[cold]
    fn of_any_order(ext: &'a ExtFields) -> Result<Self, HeaderError> {
        Self::of(&Fields::find(ext))
    }

    // With the values in registers: an array of them in memory costs as much as finding them.
    #[inline(always)]
    fn of(fields: &Fields<'a>) -> Result<Self, HeaderError> {
        Ok(Self {
            producer_group: fields.bytes(0)?,
            topic: text(fields.bytes(1)?),
            default_topic: fields.bytes(2)?,
            default_topic_queue_nums: fields.read(3)?,
            queue_id: fields.read(4)?,
            sys_flag: fields.read(5)?,
            born_timestamp: fields.read(6)?,
            flag: fields.read(7)?,
            properties: fields.values[8].unwrap_or_default(),
            reconsume_times: fields.read(9)?,
            max_reconsume_times: fields.read(11)?,
            batch: fields.read(12)?,
        })
    }
}

/// What was found for each name, in the order of the short ones.
struct Fields<'a> {
    ext: &'a ExtFields,
    values: [Option<&'a [u8]>; COUNT],
    long: bool,
}

impl<'a> Fields<'a> {
    /// Short names in the order of the table and nothing else, as peers write them: some may be missing.
    #[inline(always)]
    fn in_order(ext: &'a ExtFields) -> Option<Self> {
        let mut rest = ext.entries();
        let mut next = |letter| take(&mut rest, letter);
        let values = [
            next(b'a'),
            next(b'b'),
            next(b'c'),
            next(b'd'),
            next(b'e'),
            next(b'f'),
            next(b'g'),
            next(b'h'),
            next(b'i'),
            next(b'j'),
            next(b'k'),
            next(b'l'),
            next(b'm'),
            next(b'n'),
        ];
        (rest.is_empty() && values[0].is_some()).then_some(Self { ext, values, long: false })
    }

    /// Short names, or long ones, wherever they stand.
    fn find(ext: &'a ExtFields) -> Self {
        let short = values(ext, |key| match key {
            [letter @ b'a'..=b'n'] => Some(usize::from(letter - b'a')),
            _ => None,
        });
        if short[0].is_some() {
            return Self { ext, values: short, long: false };
        }
        let values = values(ext, |key| LONG.iter().position(|long| long.as_bytes() == key));
        Self { ext, values, long: true }
    }

    fn name(&self, at: usize) -> &'static str {
        if self.long { LONG[at] } else { SHORT[at] }
    }

    #[inline(always)]
    fn read<S: Slot>(&self, at: usize) -> Result<S, HeaderError> {
        S::read(self.values[at].map(|bytes| Value::new(bytes, self.ext)), self.name(at))
    }

    #[inline(always)]
    fn bytes(&self, at: usize) -> Result<&'a [u8], HeaderError> {
        self.values[at].ok_or_else(|| HeaderError::Missing(self.name(at)))
    }
}

/// The first value of each name; `place` tells where a name stands in the table.
fn values(ext: &ExtFields, place: impl Fn(&[u8]) -> Option<usize>) -> [Option<&[u8]>; COUNT] {
    let mut values = [None; COUNT];
    for (key, value) in ext.raw_entries() {
        if let Some(at) = place(key) {
            values[at].get_or_insert(value);
        }
    }
    values
}

/// The value of the entry in front if this letter is its name; the next entry is in front then.
#[inline(always)]
fn take<'a>(rest: &mut &'a [u8], letter: u8) -> Option<&'a [u8]> {
    let (_, value, behind) = first_short(rest).filter(|(name, ..)| *name == letter)?;
    *rest = behind;
    Some(value)
}

fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).expect("entries are checked when they are taken over")
}

const COUNT: usize = 14;
const SHORT: [&str; COUNT] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"];
const LONG: [&str; COUNT] = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
    "bname",
];

/// What a stored message is answered with, written without making texts first; see [`super::SendMessageReply`].
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// `msgId`: the offset ids, separated by commas.
    pub msg_id: &'a [u8],
    /// `queueId`.
    pub queue_id: i32,
    /// `queueOffset`.
    pub queue_offset: i64,
    /// `transactionId`: the unique key.
    pub transaction_id: Option<&'a [u8]>,
    /// `MSG_REGION`.
    pub msg_region: &'a str,
    /// `TRACE_ON`.
    pub trace_on: bool,
}

impl Sent<'_> {
    /// The fields of the answer.
    pub fn fields(&self) -> ExtFields {
        let mut out = Vec::with_capacity(FIXED + self.msg_id.len() + self.msg_region.len() + 64);
        put(&mut out, b"\0\x05msgId", self.msg_id);
        put(&mut out, b"\0\x07queueId", Decimal::new(i64::from(self.queue_id)).as_bytes());
        put(&mut out, b"\0\x0bqueueOffset", Decimal::new(self.queue_offset).as_bytes());
        if let Some(key) = self.transaction_id {
            put(&mut out, b"\0\x0dtransactionId", key);
        }
        put(&mut out, b"\0\x0aMSG_REGION", self.msg_region.as_bytes());
        out.extend_from_slice(if self.trace_on {
            b"\0\x08TRACE_ON\0\0\0\x04true"
        } else {
            b"\0\x08TRACE_ON\0\0\0\x05false"
        });
        ExtFields::of_written(out)
    }
}

/// Adds an entry. A key with its length in front is known when the program is built: it needs no call to be copied.
#[inline(always)]
fn put<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: &[u8]) {
    let length = u32::try_from(value.len()).expect("a value is shorter than a frame");
    out.extend_from_slice(key);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
}

/// All names with their lengths, and two numbers.
const FIXED: usize = 150;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::Header;
    use crate::rpc::{SendMessage, SendMessageReply, SendMessageV2};
    use crate::text::Text;
    use bytes::{BufMut, Bytes};
    use proptest::prelude::*;

    /// Fields as a peer might send them: whole and in order, or with some missing, odd, repeated or out of place.
    fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
        let value = prop_oneof![
            4 => "[0-9]{1,3}",
            1 => Just("true".to_owned()),
            1 => Just(String::new()),
            1 => "[ -~\u{e4}-\u{f6}]{1,9}",
        ];
        let names = prop_oneof![Just(&SHORT), Just(&LONG)];
        let all =
            (names, proptest::collection::vec(value, COUNT), proptest::collection::vec(0..COUNT + 3, 0..4));
        all.prop_map(|(names, values, dropped)| {
            let mut fields: Vec<_> = names.iter().map(|name| (*name).to_owned()).zip(values).collect();
            for at in dropped {
                if at < fields.len() {
                    fields.remove(at);
                } else {
                    fields.reverse();
                }
            }
            fields
        })
    }

    fn received(fields: &[(String, String)]) -> ExtFields {
        let mut raw = Vec::new();
        for (key, value) in fields {
            raw.put_u16(u16::try_from(key.len()).unwrap());
            raw.put_slice(key.as_bytes());
            raw.put_u32(u32::try_from(value.len()).unwrap());
            raw.put_slice(value.as_bytes());
        }
        ExtFields::from_entries(Bytes::from(raw)).unwrap()
    }

    proptest! {
        #[test]
        fn a_view_is_what_the_table_reads(fields in fields()) {
            let ext = received(&fields);
            match (SendView::read(&ext), SendMessageV2::read(&ext)) {
                (Ok(view), Ok(slow)) => prop_assert_eq!(view, SendView {
                    producer_group: slow.producer_group.as_bytes(),
                    topic: &slow.topic,
                    default_topic: slow.default_topic.as_bytes(),
                    default_topic_queue_nums: slow.default_topic_queue_nums,
                    queue_id: slow.queue_id,
                    sys_flag: slow.sys_flag,
                    born_timestamp: slow.born_timestamp,
                    flag: slow.flag,
                    properties: slow.properties.as_ref().map_or(&b""[..], Text::as_bytes),
                    reconsume_times: slow.reconsume_times,
                    max_reconsume_times: slow.max_reconsume_times,
                    batch: slow.batch,
                }),
                (Err(view), Err(slow)) => prop_assert_eq!(view, slow),
                (view, slow) => prop_assert!(false, "{:?} is not {:?}", view, slow),
            }
            if SendMessage::read(&ext).is_ok() {
                prop_assert!(SendView::read(&ext).is_ok(), "the long names are those of request 10");
            }
        }

        #[test]
        fn an_answer_is_what_the_table_writes(
            queue_id in any::<i32>(), queue_offset in any::<i64>(), key in proptest::option::of("[A-F0-9]{1,40}"),
            trace_on: bool,
        ) {
            let sent = Sent {
                msg_id: b"7F00000100002A9F0000000000001000",
                queue_id,
                queue_offset,
                transaction_id: key.as_deref().map(str::as_bytes),
                msg_region: "DefaultRegion",
                trace_on,
            };
            let mut slow = ExtFields::new();
            SendMessageReply {
                msg_id: text(sent.msg_id).into(),
                queue_id,
                queue_offset,
                transaction_id: key.as_deref().map(Text::from),
                msg_region: Some(sent.msg_region.into()),
                trace_on: Some(if trace_on { "true" } else { "false" }.into()),
                ..SendMessageReply::default()
            }
            .write(&mut slow);
            prop_assert_eq!(sent.fields(), slow);
        }
    }
}
