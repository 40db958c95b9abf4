//! Days of the Gregorian calendar, for names of files and for people.

/// Year, month and day of a day since 1970. The calendar's cycle of 400 years has 146,097 days; years are counted from
/// March here, so that the leap day is the last.
pub fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + DAYS_TO_1970;
    let (cycle, day) = (shifted.div_euclid(CYCLE), shifted.rem_euclid(CYCLE));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + carry, month, day)
}

/// The day since 1970 of a date.
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    cycle * CYCLE + 365 * year + year / 4 - year / 100 + day_of_year - DAYS_TO_1970
}

const CYCLE: i64 = 146_097;
/// From March 1 of the year 0.
const DAYS_TO_1970: i64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_is_read_back() {
        assert_eq!((civil(0), civil(19_782)), ((1970, 1, 1), (2024, 2, 29)));
        for day in (-700_000..2_000_000).step_by(13) {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), day, "{year}-{month}-{date}");
        }
    }
}
