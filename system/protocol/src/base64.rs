//! Base 64 with padding, in the standard alphabet; reading takes the one for addresses too.

/// The text of bytes.
pub fn encode(bytes: &[u8]) -> String {
    encode_in(bytes, STANDARD)
}

/// The text of bytes in the alphabet for addresses (`-` and `_`).
pub fn encode_url(bytes: &[u8]) -> String {
    encode_in(bytes, URL)
}

/// The bytes of a text in either alphabet, with or without padding; `None` when it is neither.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for symbol in text.trim_end_matches('=').bytes() {
        bits = bits << 6 | value(symbol)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_le_bytes()[0]);
            bits &= (1 << count) - 1;
        }
    }
    // Six bits alone are no byte.
    (count < 6).then_some(bytes)
}

fn encode_in(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let symbol = alphabet[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { char::from(symbol) } else { '=' });
        }
    }
    text
}

fn value(symbol: u8) -> Option<u32> {
    let value = match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_handle_and_all_lengths_round_trip() {
        let handle = "djEgVCBicm9rZXItYSAxNzAwMDAwMDAwMDAwIElE";
        assert_eq!(encode_url(b"v1 T broker-a 1700000000000 ID"), handle);
        assert_eq!(decode(handle).as_deref(), Some(&b"v1 T broker-a 1700000000000 ID"[..]));
        let bytes: Vec<u8> = (0..=255).rev().collect();
        for length in 0..bytes.len() {
            for text in [encode(&bytes[..length]), encode_url(&bytes[..length])] {
                assert_eq!(text.len() % 4, 0);
                assert_eq!(decode(&text).as_deref(), Some(&bytes[..length]));
            }
        }
        assert_eq!(encode(b"\xfb\xff\xfe"), "+//+");
        assert_eq!(decode("A"), None);
        assert_eq!(decode("AB!="), None);
    }
}
