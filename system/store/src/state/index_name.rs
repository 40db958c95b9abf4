//! Names of index files: the local time at which they were made, `yyyyMMddHHmmssSSS`.

use protocol::date::{civil, days};

/// The name of a file made at `now_ms` of local time, behind `last`: files are in the order of their names, also
/// when the clock was set back.
pub(crate) fn next_name(now_ms: i64, last: Option<&str>) -> String {
    let name = format(now_ms);
    match last.filter(|last| name.as_str() <= *last).and_then(parse) {
        Some(last) => format(last + 1),
        None => name,
    }
}

/// Whether a file may be an index file.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() == DIGITS && name.bytes().all(|b| b.is_ascii_digit())
}

fn format(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil(days);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, ms) = (rest / 1000 % 60, rest % 1000);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}{ms:03}")
}

fn parse(name: &str) -> Option<i64> {
    if !is_name(name) {
        return None;
    }
    let number = |from: usize, to: usize| name[from..to].parse::<i64>().ok();
    let days = days(number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let seconds = (number(8, 10)? * 60 + number(10, 12)?) * 60 + number(12, 14)?;
    Some(days * DAY_MS + seconds * 1000 + number(14, 17)?)
}

const DIGITS: usize = 17;
const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_time_of_its_making() {
        assert_eq!(next_name(0, None), "19700101000000000");
        assert_eq!(next_name(1_709_210_096_789, None), "20240229123456789");
        assert_eq!(next_name(1_798_761_599_999, None), "20261231235959999");
        assert!(is_name("20261231235959999") && !is_name("2026123123595999x") && !is_name(""));
    }

    #[test]
    fn names_grow_whatever_the_clock_does() {
        assert_eq!(next_name(0, Some("20240229235959999")), "20240301000000000");
        let mut last = next_name(5_000_000_000_000, None);
        for now in [0, 5_000_000_000_000, 4_999_999_999_999, 86_400_000] {
            let name = next_name(now, Some(&last));
            assert!(name > last, "{name} comes after {last}");
            last = name;
        }
    }
}
