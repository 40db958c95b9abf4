//! Our codecs against the bytes of the real Java classes (data/VERSION.txt).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, fs, path::Path};

use bytes::{Bytes, BytesMut};
use protocol::{
    Command, Encoding, Request, batch,
    record::{self, Scan},
    rpc::{PullMessage, SendMessage, SendMessageV2, UpdateConsumerOffset},
    tag,
};

fn golden(version: &str) -> BTreeMap<String, Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("data/{version}.txt"));
    fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(|line| {
            let (name, hex) = line.split_once(' ').unwrap();
            let bytes = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap());
            (name.to_owned(), bytes.collect())
        })
        .collect()
}

fn decode(frame: &[u8]) -> Command {
    let length = u32::from_be_bytes(*frame.first_chunk().unwrap()) as usize;
    assert_eq!(length, frame.len() - 4, "one whole frame");
    Command::decode(BytesMut::from(&frame[4..])).unwrap()
}

fn each(check: impl Fn(&str, &BTreeMap<String, Vec<u8>>)) {
    for version in golden::VERSIONS {
        let all = golden(version);
        assert!(all.len() > 30, "{version} has {} entries", all.len());
        check(version, &all);
    }
}

/// A frame of Java, in either encoding, read and written again: the same fixed fields, the same set of fields, and in
/// the binary encoding the same bytes when we write the fields in the order in which they came.
#[test]
fn frames_are_read_and_written_as_java_does() {
    each(|version, all| {
        for (name, bytes) in all.iter().filter(|(n, _)| n.starts_with("frame.") || n.starts_with("response."))
        {
            let command = decode(bytes);
            assert_eq!(command.version, 0x1DF, "{version} {name}");
            let mut out = BytesMut::new();
            command.encode(&mut out).unwrap();
            if name.ends_with(".rocketmq") && !name.starts_with("response.error") {
                // An empty value is null in the binary header; Java leaves the entry out, so do we when we wrote it.
                assert_eq!(out, bytes[..], "{version} {name}");
            }
            let again = decode(&out);
            assert_eq!(fields(&again), fields(&command), "{version} {name}");
            assert_eq!(
                (again.code, again.opaque, again.flag, &again.remark, &again.body, again.language),
                (
                    command.code,
                    command.opaque,
                    command.flag,
                    &command.remark,
                    &command.body,
                    command.language
                )
            );
        }
    });
}

fn fields(command: &Command) -> BTreeMap<String, String> {
    command.ext.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn both_encodings_of_a_frame_say_the_same() {
    each(|version, all| {
        for (name, bytes) in all.iter().filter(|(n, _)| n.ends_with(".json")) {
            let json = decode(bytes);
            let binary = decode(&all[&name.replace(".json", ".rocketmq")]);
            assert_eq!((json.encoding, binary.encoding), (Encoding::Json, Encoding::Binary));
            assert_eq!(fields(&json), fields(&binary), "{version} {name}");
            assert_eq!(
                (json.code, json.opaque, json.remark, json.body),
                (binary.code, binary.opaque, binary.remark, binary.body)
            );
        }
    });
}

#[test]
fn typed_headers_come_out_of_java_frames() {
    each(|version, all| {
        for encoding in ["json", "rocketmq"] {
            let get = |name: &str| decode(&all[&format!("frame.{name}.{encoding}")]);
            let send = get("send");
            assert_eq!(send.code, SendMessage::CODE);
            let long: SendMessage = send.header().unwrap();
            assert_eq!(
                (&*long.topic, long.queue_id, long.born_timestamp, long.flag),
                ("T", 3, 1_700_000_000_000, 5)
            );
            assert_eq!(long.properties.as_deref(), Some("KEYS\u{1}k\u{2}quote\u{1}\"\\/ü\u{2}"), "{version}");
            let short: SendMessageV2 = get("send_v2").header().unwrap();
            assert_eq!(
                (&short.topic, short.queue_id, &short.properties),
                (&long.topic, long.queue_id, &long.properties)
            );
            let pull: PullMessage = get("pull").header().unwrap();
            assert_eq!(
                (pull.queue_offset, pull.commit_offset, pull.subscription.as_deref()),
                (1 << 40, -1, Some("A || B"))
            );
            let update: UpdateConsumerOffset = get("offset_update").header().unwrap();
            assert_eq!((&*update.consumer_group, update.commit_offset), ("CG", 77));
        }
    });
}

#[test]
fn an_error_answer_keeps_its_remark() {
    each(|_, all| {
        for encoding in ["json", "rocketmq"] {
            let answer = decode(&all[&format!("response.error.{encoding}")]);
            assert_eq!(answer.remark.as_deref(), Some("bad \"thing\"\n\t\\ ü 日 \u{1F600} \u{1}"));
            assert_eq!((answer.code, answer.opaque, &answer.body[..]), (1, i32::MAX, &[1, 2, 3][..]));
            assert!(answer.is_response());
        }
    });
}

#[test]
fn records_of_java_are_read_and_written_again_byte_for_byte() {
    each(|version, all| {
        for name in ["record.v4", "record.v6", "record.zlib"] {
            let bytes = &all[name];
            let Scan::Record(r) = record::scan(bytes, false) else { panic!("{version} {name}: a record") };
            assert_eq!(
                (r.topic, r.queue_id, r.reconsume_times, r.prepared_offset, r.flag),
                ("orders", 2, 4, 99, 3)
            );
            assert_eq!(
                r.place,
                record::Place {
                    queue_offset: 41,
                    position: 123_456_789_012,
                    store_timestamp: 1_700_000_000_005
                }
            );
            assert_eq!(r.property("grüße"), Some("日本語 \u{1F600}"));
            assert_eq!(r.property("TAGS"), Some("TagA"));
            let mut out = BytesMut::new();
            record::NewRecord {
                topic: r.topic,
                queue_id: r.queue_id,
                flag: r.flag,
                sys_flag: r.sys_flag,
                born_timestamp: r.born_timestamp,
                born_host: r.born_host,
                store_host: r.store_host,
                reconsume_times: r.reconsume_times,
                prepared_offset: r.prepared_offset,
                body: r.body,
                properties: r.properties,
                added: b"",
            }
            .encode(&mut out);
            record::place(&mut out, r.place);
            if name == "record.zlib" {
                // Java's class keeps the checksum it was given, of the body before compression.
                out[8..12].copy_from_slice(&bytes[8..12]);
                let kind = protocol::compression::Compression::of(r.sys_flag).unwrap();
                assert_eq!(kind.decompress(r.body, 1 << 20).unwrap(), vec![b'x'; 5000]);
            } else {
                assert_eq!(r.check(), Ok(()));
            }
            assert_eq!(out, bytes[..], "{version} {name}");
        }
    });
}

#[test]
fn batches_and_hashes_are_those_of_java() {
    each(|version, all| {
        let items = batch::decode(Bytes::from(all["batch"].clone())).unwrap();
        assert_eq!(
            items.iter().map(|i| (i.flag, &i.body[..])).collect::<Vec<_>>(),
            [(7, &b"hello"[..]), (0, "grüße".as_bytes())]
        );
        let mut out = BytesMut::new();
        items.iter().for_each(|i| i.encode(&mut out));
        assert_eq!(out, all["batch"][..], "{version}");
        for (name, text) in all.iter().filter_map(|(n, t)| Some((n.strip_prefix("hash.")?, t))) {
            assert_eq!(
                tag::hash(std::str::from_utf8(text).unwrap()),
                name.parse::<i32>().unwrap(),
                "{version}"
            );
        }
    });
}
