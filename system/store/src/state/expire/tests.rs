//! What retention deletes, stepped by hand.

use super::*;

const HOUR: i64 = 3_600_000;

fn stored_hours_ago(hours: i64) -> Old {
    Old { stored_ms: 1000 * HOUR - hours * HOUR, age_ms: None }
}

fn now(hour: u8, used_percent: u64) -> Now {
    Now { ms: 1000 * HOUR, hour, used_percent }
}

#[test]
fn expired_segments_go_at_their_hour_or_when_space_is_short() {
    let full = [stored_hours_ago(100), stored_hours_ago(72), stored_hours_ago(71)];
    let config = Config::default();
    assert_eq!(expire(&full, now(4, 10), &config), 2);
    assert_eq!(expire(&full, now(5, 75), &config), 0);
    assert_eq!(expire(&full, now(5, 76), &config), 2);
}

#[test]
fn unexpired_segments_go_only_when_the_disk_is_nearly_full() {
    let full = [stored_hours_ago(1); 15];
    let config = Config::default();
    assert_eq!(expire(&full, now(4, 85), &config), 0);
    assert_eq!(expire(&full, now(5, 86), &config), 10, "a batch at a time");
    assert_eq!(expire(&full, now(5, 86), &Config { force_expire: false, ..config }), 0);
}

#[test]
fn a_clock_that_jumps_does_not_delete_what_was_just_written() {
    let just_now = Old { stored_ms: 0, age_ms: Some(60_000) };
    assert_eq!(expire(&[just_now], now(4, 10), &Config::default()), 0);
    let future = Old { stored_ms: 2000 * HOUR, age_ms: None };
    assert_eq!(expire(&[future], now(4, 10), &Config::default()), 0);
}

#[test]
fn a_full_disk_counts_as_full_until_it_is_clearly_not() {
    let config = Config::default();
    assert!(!is_full(false, 90, &config));
    assert!(is_full(false, 91, &config));
    assert!(is_full(true, 86, &config));
    assert!(!is_full(true, 85, &config));
}
