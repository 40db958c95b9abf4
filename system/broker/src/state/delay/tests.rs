//! Levels, marks, waiting and progress, stepped by hand.

use proptest::prelude::*;

use super::*;

#[test]
fn levels_are_read_as_the_configuration_of_java_has_them() {
    let levels = Levels::parse("1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h").unwrap();
    assert_eq!(levels.count(), 18);
    assert_eq!([0, 4, 17].map(|queue| levels.of_queue(queue)), [1000, 60_000, 7_200_000]);
    assert_eq!(levels.of_queue(40), 7_200_000, "a queue without a level waits as the last one");
    assert_eq!(Levels::parse(" 1d  0s ").unwrap().delays_ms(), [86_400_000, 0]);
    for wrong in ["", "5", "s", "1x", "-1s", "1s,2s", "1.5s", "99999999999s", "5 s", "5ß"] {
        assert!(Levels::parse(wrong).is_err(), "{wrong:?}");
    }
    assert!(Levels::parse("5x").unwrap_err().contains("30s"), "it says what to write");
}

#[test]
fn a_level_above_the_last_is_the_last() {
    let levels = Levels::parse("1s 2s 3s").unwrap();
    let text = b"DELAY\x0199\x02KEYS\x01k\x02REAL_TOPIC\x01old\x02";
    let waits = levels.schedule(99, "orders", 7, text);
    assert_eq!((waits.level, waits.queue), (3, 2));
    let map = properties::to_map(&waits.properties);
    let expected = [("DELAY", "3"), ("KEYS", "k"), ("REAL_QID", "7"), ("REAL_TOPIC", "orders")];
    assert_eq!(map.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
}

#[test]
fn only_levels_above_zero_delay() {
    assert_eq!([&b"1"[..], b"+2", b"0", b"-1"].map(|v| level(v).unwrap()), [Some(1), Some(2), None, None]);
    assert!(level(b"soon").is_err());
    assert!(level(b"99999999999").is_err());
}

#[test]
fn a_message_is_due_by_the_wall_clock_to_the_millisecond() {
    let mut waits = Waits::new(10_000);
    waits.note(0, 1, 0);
    assert_eq!(waits.due(0, 50_000, 49_999, 9_999), Due::In(1));
    assert_eq!(waits.due(0, 50_000, 50_000, 9_999), Due::Now);
    assert_eq!(waits.due(0, 50_000, 45_000, 5_000), Due::In(500), "it is looked at again and again");
}

#[test]
fn a_clock_that_was_set_back_delays_nothing_twice() {
    let mut waits = Waits::new(10_000);
    waits.note(0, 3, 1_000); // 0, 1 and 2 are there
    waits.note(0, 4, 1_100); // too soon for a mark of its own
    waits.note(0, 5, 1_600);
    let an_hour_behind = -3_600_000;
    assert_ne!(waits.due(2, 10_000, an_hour_behind, 10_999), Due::Now);
    assert_eq!(waits.due(2, 10_000, an_hour_behind, 11_000), Due::Now, "it has waited");
    assert_ne!(waits.due(3, 10_000, an_hour_behind, 11_000), Due::Now, "this one came later");
    assert_eq!(waits.due(3, 10_000, an_hour_behind, 11_600), Due::Now);
    waits.note(3, 5, 11_000);
    assert_eq!(
        waits.due(3, 10_000, an_hour_behind, 11_600),
        Due::Now,
        "passing the first ones changes nothing"
    );
    waits.note(5, 5, 12_000);
    assert_eq!(waits.marks.len(), 0);
}

#[test]
fn marks_of_a_long_delay_stay_few() {
    let day = 86_400_000;
    let mut waits = Waits::new(day);
    for second in 0..day as u64 / 1000 {
        waits.note(0, second + 1, second * 1000);
    }
    assert!(waits.marks.len() <= 20_001, "{}", waits.marks.len());
}

#[test]
fn progress_that_is_written_counts_all_in_front_of_its_position() {
    let mut progress = Progress::default();
    progress.set(2, 7);
    progress.begin(2, 1000);
    progress.begin(3, 1200);
    assert_eq!(
        progress.snapshot(2000),
        ([(2, 7), (3, 0)].into(), 1000),
        "what is under way is not counted yet"
    );
    progress.end(2, 9);
    assert_eq!(progress.snapshot(2000), ([(2, 9), (3, 0)].into(), 1200));
    progress.end(3, 0);
    assert_eq!(progress.snapshot(2000).1, 2000);
    progress.found(Origin { queue: 2, offset: 4 });
    progress.found(Origin { queue: 3, offset: 4 });
    assert_eq!([2, 3].map(|queue| progress.next(queue)), [9, 5], "it never falls");
}

proptest! {
    #[test]
    fn a_mark_comes_back_and_is_no_transaction(queue in 0..QUEUES, offset in 0..OFFSETS as u64) {
        let origin = Origin { queue, offset };
        prop_assert!(origin.mark() < 0);
        prop_assert_eq!(Origin::read(origin.mark()), Some(origin));
    }

    #[test]
    fn any_number_can_be_read(mark: i64) {
        let read = Origin::read(mark);
        prop_assert_eq!(read.map_or(mark, Origin::mark), mark);
        prop_assert!(mark < 0 || read.is_none());
    }
}
