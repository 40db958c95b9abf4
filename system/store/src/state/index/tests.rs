//! Against bytes that Java made, and against the obvious slow search.

use proptest::prelude::*;

use super::*;
use crate::state::keys::hash;

const SHAPE: Shape = Shape { slots: 7, entries: 12 };

/// The whole file, as it would stand on the disk.
fn file(table: &mut Table) -> Vec<u8> {
    let shape = table.shape;
    let mut file = vec![0; usize::try_from(shape.file_bytes()).unwrap()];
    let put = |file: &mut Vec<u8>, at: u64, bytes: &[u8]| {
        file[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    };
    let (at, bytes) = table.unwritten();
    put(&mut file, at, bytes);
    let mut page = Vec::new();
    while let Some(at) = table.take_dirty(&mut page) {
        put(&mut file, at, &page);
        page.clear();
    }
    put(&mut file, 0, &table.header.encode());
    file
}

/// Made by `IndexFile` of 4.9.7, 5.3.3 and 5.5.0 alike with the same keys, positions and times.
const BY_JAVA: &str = "0000018bcfe568000000018bcfe6c79300000000000000640000000000000514000000070000000c0000000200000008000000090000000a0000000b0000000400000007000000000000000000000000000000000000000000013ff20000000000000064000000000000000000013ff3000000000000006400000000000000000026bacf00000000000000fa00000000000000000026bacf0000000000000190000000010000000300013ff200000000000002300000003d000000010a693d9900000000000002bc0000003d0000000000013ff20000000000000384000000000000000500013ff400000000000003e80000005a0000000600013ff5000000000000044c0000005a0000000000013ff600000000000004b00000005a0000000000013ff700000000000005140000005a00000000";

#[test]
fn the_bytes_are_those_of_java() {
    let mut table = Table::new(SHAPE);
    let time = 1_700_000_000_000;
    let puts: [(&str, &str, u64, i64); 11] = [
        ("T", "a", 100, 0),
        ("T", "b", 100, 0),
        ("T", "Aa", 250, 999),
        ("T", "BB", 400, 1000),
        ("T", "a", 560, 61_500),
        ("größe", "日本", 700, 61_501),
        ("T", "a", 900, -5000),
        ("T", "c", 1000, 90_000),
        ("T", "d", 1100, 90_001),
        ("T", "e", 1200, 90_002),
        ("T", "f", 1300, 90_003),
    ];
    for (topic, key, position, after) in puts {
        assert!(!table.is_full());
        table.put(hash(topic, key), position, time + after);
    }
    assert!(table.is_full(), "Java takes one entry less than there is room for");
    let bytes: String = file(&mut table).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(bytes, BY_JAVA);
}

/// Positions of the entries with a hash, newest first.
fn chain(table: &Table, hash: u32) -> Vec<u64> {
    let mut found = Vec::new();
    let mut next = table.head(hash);
    while let Some(entry) = table.fresh(next) {
        if entry.hash == hash {
            found.push(entry.position);
        }
        next = entry.previous;
    }
    assert_eq!(next, 0, "a chain ends");
    found
}

proptest! {
    #[test]
    fn a_chain_is_what_a_search_finds(
        slots in 1u32..9,
        puts in proptest::collection::vec((0u32..20, 0u64..3, 0i64..5000), 0..60),
        used in 0usize..60,
    ) {
        let shape = Shape { slots, entries: 61 };
        let mut table = Table::new(shape);
        let (mut position, mut time, mut all) = (7, 1_000_000, Vec::new());
        for (hash, further, later) in puts {
            (position, time) = (position + further, time + later);
            table.put(hash, position, time);
            all.push((hash, position));
        }
        for hash in 0..20 {
            let expected: Vec<_> = all.iter().rev().filter(|(h, _)| *h == hash).map(|(_, p)| *p).collect();
            prop_assert_eq!(chain(&table, hash), expected);
        }
        // The first entries alone make the table whole again.
        let used = used.min(all.len());
        let bytes = file(&mut table);
        let mut again = Table::new(shape);
        let entries = &bytes[shape.entry_at(1) as usize..][..used * Entry::SIZE];
        for entry in Entry::decode(entries) {
            again.replay(&entry).unwrap();
        }
        let mut expected = Table::new(shape);
        all[..used].iter().for_each(|(hash, position)| expected.put(*hash, *position, 0));
        prop_assert_eq!(&again.slots, &expected.slots);
        prop_assert_eq!(again.header.next, expected.header.next);
        prop_assert_eq!(again.header.used_slots, expected.header.used_slots);
        prop_assert_eq!(again.header.end_position, expected.header.end_position);
    }

    #[test]
    fn an_entry_that_was_changed_is_noticed_or_harmless(
        puts in proptest::collection::vec(0u32..6, 2..20), which in 0usize..20, previous in 0u32..20
    ) {
        let shape = Shape { slots: 3, entries: 40 };
        let mut table = Table::new(shape);
        (0..).zip(&puts).for_each(|(at, hash)| table.put(*hash, at * 100, 0));
        let bytes = file(&mut table);
        let mut entries: Vec<_> =
            Entry::decode(&bytes[shape.entry_at(1) as usize..][..puts.len() * Entry::SIZE]).collect();
        let which = which % puts.len();
        let changed = entries[which].previous != previous;
        entries[which].previous = previous;
        let mut again = Table::new(shape);
        let result = entries.iter().try_for_each(|entry| again.replay(entry));
        prop_assert_eq!(result.is_err(), changed);
    }

    #[test]
    fn any_bytes_are_a_header_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let header = Header::decode(&bytes);
        prop_assert_eq!(header.is_some(), bytes.len() >= Header::SIZE);
        if let Some(header) = header {
            prop_assert_eq!(&header.encode()[..], &bytes[..Header::SIZE]);
        }
    }
}
