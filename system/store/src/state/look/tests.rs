//! Looking at bytes of the log, against damage.

use bytes::BytesMut;
use proptest::prelude::*;
use protocol::record::{self, NewRecord, Place};

use super::*;

const END: u64 = 65_536;
const STRICT: Checks = Checks { checksum: true, torn: true };

fn record(position: u64, body: &[u8], properties: &[u8]) -> Vec<u8> {
    let host = "10.0.0.1:10911".parse().unwrap();
    let new = NewRecord {
        topic: "orders",
        queue_id: 3,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 5,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body,
        properties,
        added: b"",
    };
    let mut out = BytesMut::new();
    new.encode(&mut out);
    record::place(&mut out, Place { queue_offset: 7, position, store_timestamp: 6 });
    out.to_vec()
}

fn at(bytes: &[u8], position: u64) -> Look<'_> {
    look(bytes, position, 0, END, STRICT)
}

#[test]
fn a_record_is_one_only_at_its_position() {
    let bytes = record(1024, b"hello", b"TAGS\x01a\x02");
    assert!(matches!(at(&bytes, 1024), Look::Record(r) if r.place.queue_offset == 7));
    assert!(matches!(at(&bytes, 2048), Look::Damaged(_)), "a copy of a record elsewhere is none");
    assert_eq!(at(&bytes[..60], 1024), Look::More(bytes.len()));
    assert_eq!(at(&bytes[..3], 1024), Look::More(8));
}

#[test]
fn a_record_leaves_room_for_a_blank() {
    let fits = END - record(0, b"hello", b"").len() as u64 - 8;
    assert!(matches!(at(&record(fits, b"hello", b""), fits), Look::Record(_)));
    assert!(matches!(at(&record(fits + 1, b"hello", b""), fits + 1), Look::Damaged(_)));
}

#[test]
fn a_blank_ends_exactly_with_its_file() {
    assert_eq!(at(&record::blank(36), END - 36), Look::Blank);
    assert!(matches!(at(&record::blank(28), END - 36), Look::Damaged(_)));
    assert_eq!(at(&[0; 8], END - 8), Look::Unwritten);
}

#[test]
fn a_sector_of_the_properties_that_was_never_written_is_noticed() {
    let properties = format!("k\x01{}\x02", "v".repeat(1500));
    let whole = record(0, b"hello", properties.as_bytes());
    assert!(matches!(at(&whole, 0), Look::Record(_)));
    let mut torn = whole;
    torn[512..1024].fill(0);
    assert!(matches!(at(&torn, 0), Look::Damaged(_)));
    let sure = Checks { checksum: true, torn: false };
    assert!(
        matches!(look(&torn, 0, 0, END, sure), Look::Record(_)),
        "the checksum does not cover properties"
    );
}

#[test]
fn the_next_record_behind_damage_is_found() {
    let mut bytes = record(0, b"first", b"");
    let second = bytes.len();
    bytes.extend(record(second as u64, b"second", b""));
    bytes[5] ^= 1;
    assert_eq!(next_candidate(&bytes, 0, END), Some(second));
    assert_eq!(next_candidate(&bytes[..second + 20], 0, END), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_torn_sector_never_passes_for_another_message(
        start in 0_u64..2048,
        body in proptest::collection::vec(1_u8..255, 1..1500),
        value in "[a-z]{1,1500}",
        sector in 0_u64..8,
        keep in 0_usize..512,
    ) {
        let whole = record(start, &body, format!("k\x01{value}\x02").as_bytes());
        let end = start + whole.len() as u64;
        // The sector keeps its first bytes only: what a power loss leaves of fresh space.
        let from = ((start / 512 + sector) * 512 + keep as u64).max(start);
        let to = ((start / 512 + sector + 1) * 512).min(end);
        prop_assume!(from < to);
        let mut torn = whole.clone();
        torn[(from - start) as usize..(to - start) as usize].fill(0);
        prop_assume!(torn != whole);
        // A few bytes of times and hosts can be lost unseen, as no checksum covers them; a lost queue offset is
        // noticed by its queue.
        if let (Look::Record(found), Look::Record(wanted)) = (at(&torn, start), at(&whole, start)) {
            prop_assert_eq!((found.body, found.topic, found.properties), (wanted.body, wanted.topic, wanted.properties));
            prop_assert!(from - start >= 12 && to - start <= 88, "{from}..{to} of {start}..{end}");
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), position in 0_u64..END) {
        let _ = look(&bytes, position.min(END - 1), 0, END, STRICT);
        let _ = next_candidate(&bytes, position.min(END - 400), END);
    }
}
