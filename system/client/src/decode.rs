//! From the bytes of a pull answer to messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol::batch;
use protocol::compression::Compression;
use protocol::properties::{self, names};
use protocol::record::{self, RecordRef, Scan, sys_flag};

use crate::{MessageQueue, Received, Text};

/// The messages of a body, in order. It ends at the first record that cannot be read, as other clients do.
pub(crate) fn messages(body: Bytes, broker: &Text) -> Vec<Arc<Received>> {
    let mut found = Vec::new();
    for bytes in record::each(body) {
        let Scan::Record(record) = record::scan(&bytes, false) else {
            unreachable!("`each` gives whole records")
        };
        let content = inflate(&record, bytes.slice_ref(record.body));
        let outer = message(&record, broker, content);
        if record.sys_flag & INNER_BATCH == INNER_BATCH {
            unwrap(outer, &mut found);
        } else {
            found.push(Arc::new(outer));
        }
    }
    found
}

fn message(record: &RecordRef<'_>, broker: &Text, body: Bytes) -> Received {
    let properties = map(record.properties);
    let offset_id = record.offset_id();
    let offset_id = Text::from(offset_id.to_string());
    let topic = Text::from(record.topic);
    Received {
        topic: properties.get(names::RETRY_TOPIC).unwrap_or(&topic).clone(),
        queue: MessageQueue { topic, broker: broker.clone(), id: record.queue_id },
        offset: record.place.queue_offset,
        position: record.place.position,
        message_id: properties.get(names::UNIQ_KEY).unwrap_or(&offset_id).clone(),
        offset_id,
        body,
        flag: record.flag,
        sys_flag: record.sys_flag & !sys_flag::COMPRESSED,
        properties,
        born_at_ms: record.born_timestamp,
        born_host: record.born_host,
        stored_at_ms: record.place.store_timestamp,
        store_host: record.store_host,
        reconsume_times: record.reconsume_times,
    }
}

/// Some senders set the bit on a body that is not compressed: what does not inflate stays as it is.
fn inflate(record: &RecordRef<'_>, body: Bytes) -> Bytes {
    match Compression::of(record.sys_flag).map(|kind| kind.decompress(&body, MAX_BODY)) {
        Some(Ok(inflated)) => inflated.into(),
        Some(Err(error)) => {
            let offset = record.place.queue_offset;
            tracing::warn!(topic = record.topic, offset, %error, "a body does not inflate, it is delivered as it is");
            body
        }
        None => body,
    }
}

/// One record that holds a whole batch: its members have the offsets that follow the record's.
fn unwrap(outer: Received, found: &mut Vec<Arc<Received>>) {
    let items = match batch::decode(outer.body.clone()) {
        Ok(items) => items,
        Err(error) => {
            tracing::warn!(queue = %outer.queue, offset = outer.offset, %error, "a batch cannot be unwrapped");
            return found.push(Arc::new(outer));
        }
    };
    for (offset, item) in (outer.offset..).zip(items) {
        let properties = map(&item.properties);
        found.push(Arc::new(Received {
            message_id: properties.get(names::UNIQ_KEY).unwrap_or(&outer.offset_id).clone(),
            offset,
            body: item.body,
            flag: item.flag,
            sys_flag: outer.sys_flag & !INNER_BATCH,
            properties,
            ..outer.clone()
        }));
    }
}

fn map(text: &[u8]) -> BTreeMap<Text, Text> {
    let text_of = |b: &[u8]| Text::from(String::from_utf8_lossy(b).into_owned());
    properties::pairs(text).map(|(name, value)| (text_of(name), text_of(value))).collect()
}

const INNER_BATCH: i32 = sys_flag::NEED_UNWRAP | sys_flag::INNER_BATCH;
/// A compressed body may not grow beyond this: brokers take 4 MiB, compressed or not.
const MAX_BODY: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Bytes {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn records_made_by_java_are_read() {
        // wire.md 12, vectors 3 and 4
        let plain = "0000006FDAA320A73610A686000000030000000000000000000000050000000000001000000000000000018BCFE56800\
                     7F000001000015B30000018BCFE568017F00000100002A9F0000000000000000000000000000000568656C6C6F015400\
                     0E6B01760254414753015461674102";
        let packed = "0000009CDAA320AB0DC465C1000000030000000000000000000000050000000000001000000003310000018BCFE5680020\
                      010DB8000000000000000000000001000015B30000018BCFE5680120010DB800000000000000000000000200002A9F000000\
                      00000000000000000000000010785ECB48CDC9C957C8402701680308B10001540017554E49515F4B45590141424302544147\
                      53015461674102";
        let both = bytes(&[plain, packed, &plain[..60]].concat().replace(' ', ""));
        let found = messages(both, &"broker-a".into());
        assert_eq!(found.len(), 2, "a record that is cut off is left out");
        assert_eq!(found[0].body, "hello");
        assert_eq!(found[0].tag(), Some("TagA"));
        assert_eq!(found[0].property("k"), Some("v"));
        assert_eq!((found[0].offset, found[0].position, found[0].queue.id), (5, 4096, 3));
        assert_eq!(&*found[0].message_id, "7F00000100002A9F0000000000001000");
        assert_eq!(found[1].body, "hello hello hello hello");
        assert_eq!(found[1].sys_flag, 816);
        assert_eq!(&*found[1].message_id, "ABC");
        assert_eq!(&*found[1].offset_id, "20010DB800000000000000000000000200002A9F0000000000001000");
    }

    #[test]
    fn members_of_an_inner_batch_have_their_own_offsets() {
        let items = bytes(
            "0000002F0000000000000000000000070000000568656C6C6F00145741495401747275650254414753015461674102\
             000000210000000000000000000000000000000162000A57414954017472756502",
        );
        let host = "127.0.0.1:10911".parse().unwrap();
        let mut out = bytes::BytesMut::new();
        let record = record::NewRecord {
            topic: "T",
            queue_id: 1,
            flag: 0,
            sys_flag: INNER_BATCH,
            born_timestamp: 1,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_offset: 0,
            body: &items,
            properties: b"",
            added: b"",
        };
        record.encode(&mut out);
        record::place(&mut out, record::Place { queue_offset: 40, position: 7, store_timestamp: 2 });
        let found = messages(out.freeze(), &"b".into());
        let seen: Vec<_> = found.iter().map(|m| (m.offset, &m.body[..], m.flag, m.tag())).collect();
        assert_eq!(seen, [(40, &b"hello"[..], 7, Some("TagA")), (41, &b"b"[..], 0, None)]);
    }
}
