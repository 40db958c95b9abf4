//! Times as people read them.

use protocol::date::civil;

/// A moment, and how far it is from now.
pub(super) fn moment(ms: i64, now_ms: i64) -> String {
    format!("{} UTC ({})", utc(ms), from_now(ms, now_ms))
}

/// How far a moment is from now.
pub(super) fn from_now(ms: i64, now_ms: i64) -> String {
    match now_ms.saturating_sub(ms) {
        0 => "now".to_owned(),
        ago @ 1.. => format!("{} ago", span(ago)),
        ahead => format!("in {}", span(ahead.saturating_neg())),
    }
}

/// A length of time, roughly.
pub(super) fn span(ms: i64) -> String {
    let seconds = ms / 1000;
    match ms {
        ..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{seconds} s"),
        120_000..7_200_000 => with_rest(seconds / 60, "min", seconds % 60, "s"),
        7_200_000..172_800_000 => with_rest(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => with_rest(seconds / 86_400, "days", seconds / 3600 % 24, "h"),
    }
}

/// "1 message", "2 messages".
pub(super) fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn with_rest(whole: i64, unit: &str, rest: i64, small: &str) -> String {
    if rest == 0 { format!("{whole} {unit}") } else { format!("{whole} {unit} {rest} {small}") }
}

/// A moment, without a zone.
pub(super) fn utc(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:03}", rest % 1000)
}

const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_in_utc_and_say_how_far_they_are() {
        let now = 1_700_000_000_000; // 2023-11-14T22:13:20Z
        assert_eq!(moment(now, now), "2023-11-14 22:13:20.000 UTC (now)");
        assert_eq!(moment(now - 999, now), "2023-11-14 22:13:19.001 UTC (999 ms ago)");
        assert_eq!(moment(now + 90_000, now), "2023-11-14 22:14:50.000 UTC (in 90 s)");
        assert_eq!(moment(0, i64::MAX), "1970-01-01 00:00:00.000 UTC (106751991167 days 7 h ago)");
    }

    #[test]
    fn long_times_are_told_coarsely() {
        let told = [999, 1000, 119_999, 120_000, 125_000, 7_200_000, 90_000_000, 172_800_000].map(span);
        assert_eq!(told, ["999 ms", "1 s", "119 s", "2 min", "2 min 5 s", "2 h", "25 h", "2 days"]);
    }
}
