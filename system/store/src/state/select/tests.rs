//! Which units a read takes, against the rules of results.

use super::*;

const LOG_END: u64 = 1 << 40;

fn unit(position: u64, size: u32, tag: i64) -> Unit {
    Unit { position, size, tag }
}

/// Reads from offset 100 of a queue of equal units; everything is in memory.
fn read(
    count: u32,
    bytes: u32,
    units: impl Iterator<Item = Unit>,
    accept: impl Fn(i64) -> bool,
) -> Selection {
    run(count, bytes, 0, units, accept)
}

fn run(
    count: u32,
    bytes: u32,
    hot_from: u64,
    units: impl Iterator<Item = Unit>,
    accept: impl Fn(i64) -> bool,
) -> Selection {
    let rules = Rules::new(&Config::default(), count, bytes, hot_from, 500);
    let mut selection = Selection::new(100, rules);
    let mut accept = |tag| accept(tag);
    for unit in units {
        if !selection.offer(unit, &mut accept) {
            break;
        }
    }
    selection
}

fn many(size: u32) -> impl Iterator<Item = Unit> {
    (0..5000).map(move |i| unit(1000 + i * u64::from(size), size, i64::try_from(i % 2).unwrap()))
}

#[test]
fn a_read_ends_at_the_count_asked_for_and_never_above_32() {
    assert_eq!(read(10, 1 << 20, many(200), |_| true).next, 110);
    let found = read(1000, 1 << 20, many(200), |_| true);
    assert_eq!((found.chosen.len(), found.next), (32, 132));
}

#[test]
fn a_read_ends_at_its_bytes_but_has_the_first_record_always() {
    assert_eq!(read(32, 1000, many(300), |_| true).chosen.len(), 3);
    assert_eq!(read(32, 0, many(70_000), |_| true).chosen.len(), 1);
    assert_eq!(read(32, 1 << 20, many(70_000), |_| true).chosen.len(), 3, "256 KiB out of memory");
}

#[test]
fn a_read_from_disk_is_smaller() {
    let found = run(32, 1 << 20, LOG_END, many(200), |_| true);
    assert_eq!((found.chosen.len(), found.far_behind), (8, true));
    assert_eq!(run(32, 1 << 20, LOG_END, many(20_000), |_| true).chosen.len(), 3, "64 KiB from disk");
}

#[test]
fn a_filter_that_takes_nothing_stops_after_800_units() {
    let found = read(32, 1 << 20, many(200), |tag| tag == 7);
    assert_eq!((found.chosen.len(), found.next, found.refused), (0, 900, true));
    let found = read(1000, 1 << 20, many(200), |tag| tag == 7);
    assert_eq!(found.next, 1100, "or as many as were asked for");
    assert_eq!(read(32, 1 << 20, many(200), |tag| tag == 1).next, 164);
}

#[test]
fn units_without_a_record_are_passed_over() {
    let units = [unit(100, 200, 0), Unit::void(600), unit(600, 200, 0)];
    let found = read(32, 1000, units.into_iter(), |_| true);
    assert_eq!((found.chosen.len(), found.next, found.lost), (1, 103, true));
}
