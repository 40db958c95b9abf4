//! The reader of a store against a store it wrote itself.

use bytes::BytesMut;
use protocol::record::{NewRecord, Place, place};

use super::*;
use crate::history::{END, RECOVERED};

fn record(queue_offset: u64, position: u64, body: &str) -> Vec<u8> {
    let host = "10.0.0.1:10911".parse().unwrap();
    let record = NewRecord {
        topic: "t",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 5,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body: body.as_bytes(),
        properties: b"KEYS\x01k\x02TAGS\x01tag0\x02",
        added: b"",
    };
    let mut out = BytesMut::new();
    record.encode(&mut out);
    place(&mut out, Place { queue_offset, position, store_timestamp: 7 });
    out.to_vec()
}

fn unit(position: u64, size: u32) -> Vec<u8> {
    let tag = i64::from(protocol::tag::hash("tag0"));
    [&position.to_be_bytes()[..], &size.to_be_bytes()[..], &tag.to_be_bytes()[..]].concat()
}

fn padded(parts: &[Vec<u8>], len: usize) -> Vec<u8> {
    let mut bytes = parts.concat();
    bytes.resize(len, 0);
    bytes
}

fn look(files: &[(&str, Vec<u8>)]) -> Image {
    look_at(files, END)
}

fn look_at(files: &[(&str, Vec<u8>)], when: &'static str) -> Image {
    let mut history = History::default();
    let node = history.node("b0");
    let topic = history.topic("t");
    history.queue(topic, node, 0);
    let files: Vec<_> = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone())).collect();
    read(&history, node, 0, when, &files)
}

const FIRST: &str = "commitlog/00000000000000000000";
const SECOND: &str = "commitlog/00000000000000000512";

fn two_files() -> Vec<(&'static str, Vec<u8>)> {
    let first = record(0, 0, "one");
    let at = first.len();
    let blank = [((512 - at) as u32).to_be_bytes(), BLANK.to_be_bytes()].concat();
    let second = record(1, 512, "two");
    let units = [unit(0, at as u32), unit(512, second.len() as u32)].concat();
    vec![
        (FIRST, padded(&[first, blank], 512)),
        (SECOND, padded(&[second], 512)),
        ("consumequeue/t/0/00000000000000000000", padded(&[units], 200)),
    ]
}

#[test]
fn whole_files_are_read_to_their_end() {
    let image = look(&two_files());
    assert_eq!((image.faults.len(), image.behind.len()), (0, 0), "{image:?}");
    assert_eq!(image.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 1]);
    assert!(image.records.iter().all(|record| record.intact && record.says_position == record.position));
    assert_eq!(image.end, 512 + u64::from(image.records[1].size));
    let units = &image.queues[0];
    assert_eq!((units.first, units.units.len()), (0, 2));
    assert_eq!(units.units[1].0, 512);
    assert_eq!(units.units[1].2, image.records[1].tag_hash);
}

#[test]
fn a_damaged_body_shows() {
    let mut files = two_files();
    let body = files[0].1.windows(3).position(|bytes| bytes == b"one").unwrap();
    files[0].1[body] ^= 1;
    let image = look(&files);
    assert!(!image.records[0].intact && image.records[1].intact);
}

#[test]
fn a_queue_goes_on_behind_an_entry_whose_size_rotted_away() {
    let mut files = two_files();
    files[2].1[8..12].fill(0);
    files[2].1[7] = 1;
    assert_eq!(look(&files).queues[0].units.len(), 2);
}

#[test]
fn a_torn_record_and_what_lies_behind_the_end_show() {
    let mut files = two_files();
    files[1].1[4..8].fill(0xAA);
    assert_eq!(look(&files).faults.len(), 1);

    let mut files = two_files();
    files[1].1[400] = 1;
    let image = look(&files);
    assert_eq!((image.faults.len(), image.behind.len()), (0, 1));

    let mut files = two_files();
    files[0].1.fill(0);
    let image = look(&files);
    assert_eq!((image.records.len(), image.behind.len()), (0, 1), "the second file is not empty");
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let mut draw = crate::draw::Draw::new(1, "garbage");
    for _ in 0..2000 {
        let mut files = two_files();
        for _ in 0..draw.range(1, 20) {
            let file = draw.below(3) as usize;
            let at = draw.below(files[file].1.len() as u64) as usize;
            files[file].1[at] = draw.next_u64() as u8;
        }
        look(&files);
    }
}

#[test]
fn after_a_recovery_only_what_the_table_counts_is_looked_at() {
    let mut files = two_files();
    let counted = |files: &[(&str, Vec<u8>)], when| look_at(files, when).queues[0].units.len();
    assert_eq!((counted(&files, END), counted(&files, RECOVERED)), (2, 0));
    let table =
        br#"{"position":512,"logMin":0,"rebuild":false,"topics":{"t":{"0":{"min":0,"max":1}}},"deleted":{}}"#;
    files.push(("config/queues.json", [&table[..], b"\n00000000\n"].concat()));
    assert_eq!((counted(&files, END), counted(&files, RECOVERED)), (2, 1));
}
