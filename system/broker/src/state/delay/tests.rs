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

/// Store times of one level that holds messages for 10 s; the process began when its clocks showed 0.
struct Clock {
    times: StoreTimes,
    now: Now,
}

const TEN: i64 = 10_000;

impl Clock {
    fn new() -> Self {
        let mut clock = Self { times: times(), now: Now { wall: 0, steady: 0 } };
        clock.times.load(0, &[], 0, 0, 0);
        clock
    }

    fn wait(&mut self, ms: i64) {
        self.now.wall += ms;
        self.now.steady += ms;
    }

    fn stored(&mut self, offset: u64, stored_ms: i64) {
        self.times.stored(0, offset, stored_ms, self.now);
    }

    fn due(&mut self, offset: u64, stored_ms: i64) -> Due {
        Due::after(self.times.left_ms(0, offset, stored_ms, TEN, self.now))
    }

    /// Another process begins; the queue holds `max` messages, the last of them stored at `last_ms`.
    fn restart(&mut self, max: u64, last_ms: i64) {
        let saved = self.times.save(self.now);
        self.times = times();
        self.now.steady = self.now.wall;
        self.times.load(0, saved.get(&0).map_or(&[][..], Vec::as_slice), max, last_ms, self.now.wall);
    }
}

fn times() -> StoreTimes {
    StoreTimes::new(&Levels::parse("10s").unwrap(), [0])
}

#[test]
fn a_message_is_due_by_the_wall_clock_to_the_millisecond() {
    let mut clock = Clock::new();
    clock.stored(0, 0);
    clock.wait(5_000);
    assert_eq!(clock.due(0, 0), Due::In(500), "it is looked at again and again");
    clock.wait(4_999);
    assert_eq!(clock.due(0, 0), Due::In(1));
    clock.wait(1);
    assert_eq!(clock.due(0, 0), Due::Now);
    assert!(!clock.times.is_unsaved(clock.now) && clock.times.save(clock.now).is_empty());
}

#[test]
fn a_clock_that_was_set_back_delays_nothing_twice() {
    let mut clock = Clock::new();
    clock.stored(0, 0);
    clock.wait(4_000);
    clock.now.wall -= 3_600_000;
    // Store times do not go back: these two stand still.
    clock.stored(1, 4_000);
    clock.wait(3_000);
    clock.stored(2, 4_000);
    clock.wait(2_999);
    assert_ne!(clock.due(0, 0), Due::Now);
    clock.wait(501);
    assert_eq!(clock.due(0, 0), Due::Now, "it has waited");
    clock.wait(3_499);
    assert_ne!(clock.due(1, 4_000), Due::Now, "this one came later");
    clock.wait(501);
    assert_eq!(clock.due(1, 4_000), Due::Now);
    clock.times.pass(0, 2);
    clock.wait(2_499);
    assert_ne!(clock.due(2, 4_000), Due::Now, "and this one later yet");
    clock.wait(501);
    assert_eq!(clock.due(2, 4_000), Due::Now);
}

#[test]
fn a_restart_knows_that_the_clock_was_set_back() {
    let mut clock = Clock::new();
    clock.stored(0, 0);
    clock.wait(2_000);
    clock.now.wall -= 600_000;
    assert!(clock.times.is_unsaved(clock.now), "it is noticed at the next look");
    clock.stored(1, 2_000);
    clock.wait(3_000);
    clock.stored(2, 2_000);
    clock.restart(3, 2_000);
    assert!(!clock.times.is_unsaved(clock.now));
    clock.wait(4_000);
    clock.restart(3, 2_000); // and once more, and 9 s have passed
    assert_ne!(clock.due(0, 0), Due::Now);
    clock.wait(1_500);
    assert_eq!(clock.due(0, 0), Due::Now, "10.5 s after it was stored");
    assert_ne!(clock.due(1, 2_000), Due::Now, "8.5 s after it was stored");
    clock.wait(2_000);
    assert_eq!(clock.due(1, 2_000), Due::Now);
    assert_ne!(clock.due(2, 2_000), Due::Now, "7.5 s after it was stored");
    clock.wait(3_000);
    assert_eq!(clock.due(2, 2_000), Due::Now);
    // A queue that lost its tail: who gets those offsets now is not thought to be older.
    clock.restart(1, 0);
    clock.stored(1, 2_000);
    assert_ne!(clock.due(1, 2_000), Due::Now);
}

#[test]
fn what_nobody_could_save_is_told_by_the_last_store_time() {
    // The clock was set back while the broker was down, or it died too soon after.
    let mut clock = Clock::new();
    clock.times = times();
    clock.now = Now { wall: -600_000, steady: -600_000 };
    clock.times.load(0, &[], 2, 8_000, clock.now.wall);
    clock.wait(1_999);
    assert_ne!(clock.due(0, 0), Due::Now);
    clock.wait(501);
    assert_eq!(clock.due(0, 0), Due::Now, "it was 8 s old when the last one came");
    clock.wait(7_499);
    assert_ne!(clock.due(1, 8_000), Due::Now);
    clock.wait(501);
    assert_eq!(clock.due(1, 8_000), Due::Now);
}

#[test]
fn shifts_of_a_long_delay_stay_few() {
    let mut times = StoreTimes::new(&Levels::parse("1d").unwrap(), [0]);
    times.load(0, &[], 0, 0, 0);
    let day = 86_400_000;
    for second in 0..day / 1000 {
        // Set back by a day when it began: store times stand still all day long.
        let now = Now { wall: second * 1000 - day, steady: second * 1000 };
        times.stored(0, second as u64, 0, now);
    }
    let shifts = times.queues[&0].list.len();
    assert!(shifts <= 20_001, "{shifts}");
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
