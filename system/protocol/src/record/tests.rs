//! Records against the bytes that Java made, and against damage.

use super::*;
use crate::compression::Compression;
use bytes::BytesMut;
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// wire.md 12, vector 3
const V1: &str = "0000006FDAA320A73610A686000000030000000000000000000000050000000000001000000000000000018BCFE568007F000001000015B30000018BCFE568017F00000100002A9F0000000000000000000000000000000568656C6C6F0154000E6B01760254414753015461674102";
/// wire.md 12, vector 4
const V2: &str = "0000009CDAA320AB0DC465C1000000030000000000000000000000050000000000001000000003310000018BCFE5680020010DB8000000000000000000000001000015B30000018BCFE5680120010DB800000000000000000000000200002A9F00000000000000000000000000000010785ECB48CDC9C957C8402701680308B10001540017554E49515F4B4559014142430254414753015461674102";

fn example<'a>() -> NewRecord<'a> {
    NewRecord {
        topic: "T",
        queue_id: 3,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: "127.0.0.1:5555".parse().unwrap(),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_offset: 0,
        body: b"hello",
        properties: b"k\x01v\x02TAGS\x01TagA\x02",
        added: b"",
    }
}

const PLACE: Place = Place { queue_offset: 5, position: 4096, store_timestamp: 1_700_000_000_001 };

#[test]
fn the_bytes_are_those_of_java() {
    let mut out = BytesMut::new();
    let size = example().encode(&mut out);
    place(&mut out, PLACE);
    assert_eq!(out, bytes(V1));
    assert_eq!(size, 111);
    let Scan::Record(record) = scan(&out, true) else { panic!("a record") };
    assert_eq!((record.topic, record.place, record.body_crc), ("T", PLACE, 907_060_870));
    assert_eq!(record.property("TAGS"), Some("TagA"));
}

#[test]
fn a_v2_record_with_ipv6_hosts_and_a_compressed_body_is_read() {
    let stored = bytes(V2);
    let Scan::Record(record) = scan(&stored, true) else { panic!("a record") };
    assert_eq!(record.sys_flag, 816 | 1);
    assert_eq!(record.store_host, "[2001:db8::2]:10911".parse().unwrap());
    let kind = Compression::of(record.sys_flag).unwrap();
    assert_eq!(kind.decompress(record.body, 100).unwrap(), b"hello hello hello hello");
    assert_eq!(record.place, PLACE);
}

#[test]
fn a_long_topic_makes_a_v2_record_and_the_place_is_found_behind_an_ipv6_host() {
    let topic = "t".repeat(200);
    let new = NewRecord { topic: &topic, born_host: "[::1]:7".parse().unwrap(), ..example() };
    let mut out = BytesMut::new();
    new.encode(&mut out);
    place(&mut out, PLACE);
    assert_eq!(out[4..8], MAGIC_V2.to_be_bytes());
    let Scan::Record(record) = scan(&out, true) else { panic!("a record") };
    assert_eq!((record.topic, record.place), (topic.as_str(), PLACE));
}

#[test]
fn a_cut_record_ends_the_list_without_an_error() {
    let mut body = bytes(V1);
    body.extend_from_slice(&bytes(V1)[..50]);
    assert_eq!(each(Bytes::from(body)).count(), 1);
}

#[test]
fn blanks_and_unwritten_bytes_are_told_apart() {
    assert_eq!(scan(&blank(300), true), Scan::Blank(300));
    assert_eq!(scan(&[0; 20], true), Scan::Unwritten);
    assert_eq!(scan(&[0; 3], true), Scan::Unwritten);
    assert_eq!(scan(&bytes(V1)[..60], true), Scan::Short(111));
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(tail in proptest::collection::vec(any::<u8>(), 0..200), which in 0usize..3) {
        let head: &[u8] = match which { 0 => &[], 1 => &[0, 0, 0, 120, 0xDA, 0xA3, 0x20, 0xA7], _ => &[0, 0, 0, 120, 0xDA, 0xA3, 0x20, 0xAB] };
        let mut all = head.to_vec();
        all.extend(tail);
        let _ = scan(&all, true);
        let _ = each(Bytes::from(all)).count();
    }

    #[test]
    fn a_flipped_body_bit_is_noticed(bit in 0usize..40) {
        let mut stored = bytes(V1);
        stored[88 + bit / 8] ^= 1 << (bit % 8);
        let noticed = matches!(scan(&stored, true), Scan::Damaged(Damage::Checksum { .. }));
        prop_assert!(noticed);
    }

    #[test]
    fn what_is_written_is_read(topic in "[a-zA-Z0-9_%-]{1,200}", body in proptest::collection::vec(any::<u8>(), 0..300),
        properties in "[a-z]{0,50}\u{2}?", added in "([a-z]\u{1}[a-z]\u{2}){0,2}", queue_id in 0i32..1000, queue_offset in 0u64..1 << 40, v6 in any::<bool>()) {
        let host: SocketAddr = if v6 { "[2001:db8::7]:1".parse().unwrap() } else { "10.0.0.7:1".parse().unwrap() };
        let new = NewRecord { topic: &topic, body: &body, properties: properties.as_bytes(), added: added.as_bytes(), queue_id, born_host: host, ..example() };
        let mut out = BytesMut::new();
        let size = new.encode(&mut out);
        prop_assert_eq!(size, out.len());
        let at = Place { queue_offset, ..PLACE };
        place(&mut out, at);
        let Scan::Record(r) = scan(&out, true) else { return Err(TestCaseError::fail("a record")) };
        let close = if added.is_empty() || properties.is_empty() || properties.ends_with('\u{2}') { "" } else { "\u{2}" };
        let all = format!("{properties}{close}{added}");
        prop_assert_eq!((r.topic, r.body, r.properties, r.queue_id, r.place, r.born_host), (topic.as_str(), &body[..], all.as_bytes(), queue_id, at, host));
        for cut in 8..out.len() {
            prop_assert_eq!(scan(&out[..cut], true), Scan::Short(u32::try_from(size).unwrap()));
        }
    }
}
