//! Message ids: the offset id that a broker gives, and the unique id that a client makes (wire.md 2.4).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// Where a message is stored: the broker's address and the position in its log, as upper-case hex.
///
/// 32 characters with an IPv4 address, 56 with IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetId {
    /// Address of the broker; clients connect to it to view the message.
    pub host: SocketAddr,
    /// Position in its log.
    pub position: u64,
}

impl OffsetId {
    /// Writes the id into `out` without an allocation and returns the used part.
    pub fn write<'a>(&self, out: &'a mut [u8; 56]) -> &'a str {
        std::str::from_utf8(self.digits(out)).expect("hex digits are ASCII")
    }

    /// The same as bytes.
    pub fn digits<'a>(&self, out: &'a mut [u8; 56]) -> &'a [u8] {
        let mut raw = [0u8; 28];
        let at = match self.host.ip() {
            IpAddr::V4(ip) => {
                raw[..4].copy_from_slice(&ip.octets());
                4
            }
            IpAddr::V6(ip) => {
                raw[..16].copy_from_slice(&ip.octets());
                16
            }
        };
        raw[at..at + 4].copy_from_slice(&u32::from(self.host.port()).to_be_bytes());
        raw[at + 4..at + 12].copy_from_slice(&self.position.to_be_bytes());
        let used = &mut out[..2 * (at + 12)];
        for (pair, byte) in used.as_chunks_mut::<2>().0.iter_mut().zip(raw) {
            *pair = PAIRS[usize::from(byte)];
        }
        used
    }
}

impl fmt::Display for OffsetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.write(&mut [0; 56]))
    }
}

/// A text that is no message id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no offset message id: it must have 32 or 56 hexadecimal digits")]
pub struct BadId(String);

impl FromStr for OffsetId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId(text.to_owned());
        let raw = unhex(text.as_bytes()).ok_or_else(bad)?;
        let (ip, rest): (IpAddr, &[u8]) = match raw.len() {
            16 => (Ipv4Addr::from(*raw.first_chunk::<4>().ok_or_else(bad)?).into(), &raw[4..]),
            28 => (Ipv6Addr::from(*raw.first_chunk::<16>().ok_or_else(bad)?).into(), &raw[16..]),
            _ => return Err(bad()),
        };
        let (port, position) = rest.split_at(4);
        let port = u32::from_be_bytes(port.try_into().map_err(|_| bad())?);
        let position = u64::from_be_bytes(position.try_into().map_err(|_| bad())?);
        let host = SocketAddr::new(ip, u16::try_from(port).map_err(|_| bad())?);
        Ok(Self { host, position })
    }
}

/// Whether the text could be an offset id or a unique id: 32 or 56 hexadecimal digits.
pub fn has_form(text: &str) -> bool {
    matches!(text.len(), 32 | 56) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Makes unique ids: the host's address, the process, a salt per generator, milliseconds since the
/// month began (local time), and a counter.
#[derive(Clone, Debug)]
pub struct UniqueIds {
    prefix: String,
    utc_offset_seconds: i32,
    counter: u16,
}

impl UniqueIds {
    /// `salt` tells several generators of one process apart, as Java's class loader hash does.
    pub fn new(ip: IpAddr, pid: u32, salt: u32, utc_offset_seconds: i32, first: u16) -> Self {
        let mut prefix = String::with_capacity(44);
        let mut push = |bytes: &[u8]| bytes.iter().for_each(|b| push_hex(&mut prefix, *b));
        match ip {
            IpAddr::V4(ip) => push(&ip.octets()),
            IpAddr::V6(ip) => push(&ip.octets()),
        }
        push(&pid.to_be_bytes()[2..]);
        push(&salt.to_be_bytes());
        Self { prefix, utc_offset_seconds, counter: first }
    }

    /// The next id.
    pub fn next(&mut self, now_ms: i64) -> String {
        let since = now_ms.wrapping_sub(month_start_ms(now_ms, self.utc_offset_seconds));
        let mut id = String::with_capacity(self.prefix.len() + 12);
        id.push_str(&self.prefix);
        // Only the low 32 bits travel; they last for more than a month.
        since.to_be_bytes()[4..]
            .iter()
            .chain(&self.counter.to_be_bytes())
            .for_each(|b| push_hex(&mut id, *b));
        self.counter = self.counter.wrapping_add(1);
        id
    }
}

fn push_hex(out: &mut String, byte: u8) {
    out.extend(PAIRS[usize::from(byte)].map(char::from));
}

/// Local midnight of the month's first day, in ms since the epoch.
fn month_start_ms(now_ms: i64, utc_offset_seconds: i32) -> i64 {
    const DAY: i64 = 86_400_000;
    let offset = i64::from(utc_offset_seconds) * 1000;
    let local_day = (now_ms + offset).div_euclid(DAY);
    // Days are counted from 1 March 0000, so that the leap day is the last of its year.
    let day = local_day + 719_468;
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5;
    (local_day - of_month) * DAY - offset
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";
/// Both digits of each byte.
const PAIRS: &[[u8; 2]; 256] = &{
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [HEX[byte >> 4], HEX[byte & 15]];
        byte += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offset_ids_are_those_of_java() {
        // wire.md 12, vectors 3 and 4
        let v4 = OffsetId { host: "127.0.0.1:10911".parse().unwrap(), position: 4096 };
        assert_eq!(v4.to_string(), "7F00000100002A9F0000000000001000");
        let v6 = OffsetId { host: "[2001:db8::2]:10911".parse().unwrap(), position: 4096 };
        assert_eq!(v6.to_string(), "20010DB800000000000000000000000200002A9F0000000000001000");
        assert_eq!("7f00000100002a9f0000000000001000".parse(), Ok(v4));
        assert_eq!(v6.to_string().parse(), Ok(v6));
    }

    #[test]
    fn a_unique_id_counts_from_the_local_start_of_the_month() {
        // 2023-11-14T22:13:20Z is 14 November in UTC and the 15th two hours further east.
        let now = 1_700_000_000_000;
        assert_eq!(month_start_ms(now, 0), 1_698_796_800_000); // 2023-11-01T00:00:00Z
        assert_eq!(month_start_ms(now, 7200), 1_698_796_800_000 - 7_200_000);
        assert_eq!(month_start_ms(1_709_251_199_999, 0), 1_706_745_600_000); // last ms of 29 February 2024
        let mut ids = UniqueIds::new("10.0.0.1".parse().unwrap(), 0x1_2345, 0xABCD_EF01, 0, u16::MAX);
        assert_eq!(ids.next(1_698_796_800_001), "0A0000012345ABCDEF0100000001FFFF");
        assert_eq!(ids.next(1_698_796_800_001), "0A0000012345ABCDEF01000000010000");
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,60}") {
            let _ = text.parse::<OffsetId>();
        }
    }
}
