//! The JSON header: read in one pass and in place, written straight into the frame.

use bytes::{BufMut, BytesMut};

use super::{Command, DecodeError, Encoding, Language};
use crate::ext::{ExtFields, put_decimal};
use crate::text::Text;

/// Appends the header. Values of fields are always strings: Go decodes nothing else.
pub(super) fn write(command: &Command, out: &mut BytesMut) {
    out.put_slice(b"{\"code\":");
    put_decimal(out, i64::from(command.code));
    let mut open: &[u8] = b",\"extFields\":{\"";
    for (key, value) in command.ext.raw_entries() {
        out.put_slice(open);
        put_escaped(out, key);
        out.put_slice(b"\":\"");
        put_escaped(out, value);
        open = b"\",\"";
    }
    out.put_slice(if command.ext.is_empty() { b",\"flag\":" } else { b"\"},\"flag\":" });
    put_decimal(out, i64::from(command.flag));
    out.put_slice(b",\"language\":\"");
    out.put_slice(command.language.name().as_bytes());
    out.put_slice(b"\",\"opaque\":");
    put_decimal(out, i64::from(command.opaque));
    if let Some(remark) = &command.remark {
        out.put_slice(b",\"remark\":\"");
        put_escaped(out, remark.as_bytes());
        out.put_u8(b'"');
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_decimal(out, i64::from(command.version));
    out.put_u8(b'}');
}

/// Reads the header. Any order, any unknown member, nulls, and numbers or booleans as fields are taken.
pub(super) fn read(mut header: BytesMut) -> Result<Command, DecodeError> {
    if let Err(error) = std::str::from_utf8(&header) {
        return Err(DecodeError::Json { what: "bytes that are not UTF-8", at: error.valid_up_to() });
    }
    let mut reader = Reader { bytes: &mut header, at: 0, overflow: Vec::new() };
    let mut command = Command { encoding: Encoding::Json, ..Command::default() };
    let mut fields = Span::default();
    let mut remark = None;
    reader.open()?;
    while let Some(key) = reader.key()? {
        match reader.slice(key) {
            b"code" => command.code = reader.integer()?.unwrap_or(0),
            b"flag" => command.flag = reader.integer()?.unwrap_or(0),
            b"opaque" => command.opaque = reader.integer()?.unwrap_or(0),
            b"version" => command.version = reader.integer()?.unwrap_or(0),
            b"language" => command.language = reader.language()?,
            b"remark" => remark = reader.text()?,
            b"extFields" => fields = reader.fields()?,
            _ => drop(reader.skip()?),
        }
    }
    reader.end()?;
    let overflow = reader.overflow;
    let header = header.freeze();
    let cut = |span: Span| header.slice(span.from..span.to);
    command.remark = remark.map(|span| Text::from_utf8_lossy(cut(span)));
    let entries = if overflow.is_empty() { cut(fields) } else { overflow.into() };
    command.ext = ExtFields::of_own_entries(entries);
    Ok(command)
}

#[derive(Clone, Copy, Default)]
struct Span {
    from: usize,
    to: usize,
}

impl Span {
    fn len(self) -> usize {
        self.to - self.from
    }
}

/// Reads JSON that it may overwrite behind itself: no text gets longer by resolving its escapes.
struct Reader<'a> {
    bytes: &'a mut [u8],
    at: usize,
    /// The entries of fields, when they have no room in the place where they were read.
    overflow: Vec<u8>,
}

impl Reader<'_> {
    #[cold]
    fn wrong<T>(&self, what: &'static str) -> Result<T, DecodeError> {
        Err(DecodeError::Json { what, at: self.at })
    }

    #[inline]
    fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.from..span.to]
    }

    /// The next byte that is not white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn open(&mut self) -> Result<(), DecodeError> {
        if self.take(b'{') { Ok(()) } else { self.wrong("not an object") }
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        if self.peek().is_none() { Ok(()) } else { self.wrong("something behind the object") }
    }

    /// The name of the next member, the reader standing at its value; `None` at the end of the object. Commas are
    /// only told from the rest, not counted, as Java does.
    #[inline]
    fn key(&mut self) -> Result<Option<Span>, DecodeError> {
        while self.take(b',') {}
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                Ok(None)
            }
            Some(b'"') => {
                let key = self.string()?;
                if self.take(b':') { Ok(Some(key)) } else { self.wrong("no colon after a name") }
            }
            _ => self.wrong("no name of a member"),
        }
    }

    /// The text of a string, its escapes resolved in its place.
    #[inline]
    fn string(&mut self) -> Result<Span, DecodeError> {
        let (raw, escaped) = self.raw_string()?;
        if escaped { self.unescape(raw) } else { Ok(raw) }
    }

    /// A string as it is written, and whether there are escapes in it.
    #[inline]
    fn raw_string(&mut self) -> Result<(Span, bool), DecodeError> {
        let from = self.at + 1;
        let mut at = from;
        let mut escaped = false;
        loop {
            at += plain(self.bytes.get(at..).unwrap_or_default());
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += 2;
                }
                Some(_) => at += 1, // a control character that should have been escaped
                None => return self.wrong("a string without end"),
            }
        }
        self.at = at + 1;
        Ok((Span { from, to: at }, escaped))
    }

    fn unescape(&mut self, raw: Span) -> Result<Span, DecodeError> {
        let (mut from, mut to) = (raw.from, raw.from);
        loop {
            let run =
                self.bytes[from..raw.to].iter().position(|byte| *byte == b'\\').unwrap_or(raw.to - from);
            self.bytes.copy_within(from..from + run, to);
            (from, to) = (from + run, to + run);
            if from == raw.to {
                return Ok(Span { from: raw.from, to });
            }
            let (character, used) = match self.bytes[from + 1] {
                b'b' => ('\u{8}', 2),
                b'f' => ('\u{c}', 2),
                b'n' => ('\n', 2),
                b'r' => ('\r', 2),
                b't' => ('\t', 2),
                b'u' => match self.unicode(from, raw.to) {
                    Some(found) => found,
                    None => return self.wrong("a wrong unicode escape"),
                },
                other @ (b'"' | b'\\' | b'/' | b'\'') => (char::from(other), 2),
                _ => return self.wrong("an unknown escape"),
            };
            let mut utf8 = [0; 4];
            let utf8 = character.encode_utf8(&mut utf8).as_bytes();
            self.bytes[to..to + utf8.len()].copy_from_slice(utf8);
            (from, to) = (from + used, to + utf8.len());
        }
    }

    /// The character of the escape at `at`, and how long the escape is. Half a pair is replaced.
    fn unicode(&self, at: usize, end: usize) -> Option<(char, usize)> {
        let first = self.unit(at, end)?;
        if !(0xD800..0xDC00).contains(&first) {
            return Some((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6));
        }
        match self.unit(at + 6, end) {
            Some(second @ 0xDC00..0xE000) => {
                let both = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                Some((char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER), 12))
            }
            _ => Some((char::REPLACEMENT_CHARACTER, 6)),
        }
    }

    fn unit(&self, at: usize, end: usize) -> Option<u32> {
        let escape = self.bytes.get(at..at + 6).filter(|_| at + 6 <= end)?;
        if &escape[..2] != b"\\u" {
            return None;
        }
        escape[2..].iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    }

    /// A string, or nothing where there is a null. A value of another type stands as it is written.
    #[inline]
    fn text(&mut self) -> Result<Option<Span>, DecodeError> {
        if self.peek() == Some(b'"') {
            return self.string().map(Some);
        }
        let raw = self.skip()?;
        Ok((self.slice(raw) != b"null").then_some(raw))
    }

    fn integer(&mut self) -> Result<Option<i32>, DecodeError> {
        let Some(raw) = self.text()? else { return Ok(None) };
        let number = std::str::from_utf8(self.slice(raw)).ok().and_then(|digits| digits.parse().ok());
        match number {
            Some(number) => Ok(Some(number)),
            None => self.wrong("not a number of 32 bits"),
        }
    }

    fn language(&mut self) -> Result<Language, DecodeError> {
        let Some(raw) = self.text()? else { return Ok(Language::Other) };
        let name = std::str::from_utf8(self.slice(raw)).unwrap_or_default();
        Ok(name.parse().map_or_else(|_| Language::from_name(name), Language::from_number))
    }

    /// Goes over one value, of any kind and depth.
    fn skip(&mut self) -> Result<Span, DecodeError> {
        self.peek();
        let from = self.at;
        let mut depth = 0u32;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.raw_string()?;
                }
                Some(b'{' | b'[') => {
                    self.at += 1;
                    depth += 1;
                }
                Some(b'}' | b']') if depth > 0 => {
                    self.at += 1;
                    depth -= 1;
                }
                Some(b',' | b':') if depth > 0 => self.at += 1,
                Some(byte) if literal(byte) => {
                    while self.bytes.get(self.at).is_some_and(|byte| literal(*byte)) {
                        self.at += 1;
                    }
                }
                _ => return self.wrong("no value"),
            }
            if depth == 0 {
                return Ok(Span { from, to: self.at });
            }
        }
    }

    /// Turns the object of fields, in its own place, into entries in the layout of the binary header. An entry takes
    /// six bytes beside its texts, and so does a member between strings (four quotes, colon, comma).
    fn fields(&mut self) -> Result<Span, DecodeError> {
        self.overflow.clear();
        if self.peek() != Some(b'{') {
            return match self.text()? {
                None => Ok(Span::default()),
                Some(_) => self.wrong("fields that are not an object"),
            };
        }
        let mut entries = Span { from: self.at, to: self.at };
        self.open()?;
        loop {
            // Nearly every member is of this shape; the rest of the loop reads them all.
            while let Some((key, value)) = self.plain_member() {
                self.add(&mut entries, key, value)?;
            }
            let Some(key) = self.key()? else { return Ok(entries) };
            if let Some(value) = self.text()? {
                self.add(&mut entries, key, value)?;
            }
        }
    }

    /// A member of two strings without escapes and without white space, its comma in front of it or behind the last.
    #[inline]
    fn plain_member(&mut self) -> Option<(Span, Span)> {
        let start = self.at + usize::from(self.bytes.get(self.at) == Some(&b','));
        let key = self.bytes.get(start..)?.strip_prefix(b"\"")?;
        let key_length = plain(key);
        let value = key[key_length..].strip_prefix(b"\":\"")?;
        let value_length = plain(value);
        if value.get(value_length) != Some(&b'"') {
            return None;
        }
        let key = Span { from: start + 1, to: start + 1 + key_length };
        let value = Span { from: key.to + 3, to: key.to + 3 + value_length };
        self.at = value.to + 1;
        Some((key, value))
    }

    /// Adds an entry. All behind the entries so far, up to where the reader stands, is used up.
    #[inline]
    fn add(&mut self, entries: &mut Span, key: Span, value: Span) -> Result<(), DecodeError> {
        let Ok(key_length) = u16::try_from(key.len()) else {
            return self.wrong("a field with an endless name");
        };
        let value_length = u32::try_from(value.len()).expect("a header has less than 2^24 bytes");
        let end = entries.to + 6 + key.len() + value.len();
        if end > self.at || !self.overflow.is_empty() {
            // A value without quotes takes less than its entry: from here on the entries are copied.
            if self.overflow.is_empty() {
                self.overflow.extend_from_slice(&self.bytes[entries.from..entries.to]);
            }
            self.overflow.extend_from_slice(&key_length.to_be_bytes());
            self.overflow.extend_from_slice(&self.bytes[key.from..key.to]);
            self.overflow.extend_from_slice(&value_length.to_be_bytes());
            self.overflow.extend_from_slice(&self.bytes[value.from..value.to]);
            return Ok(());
        }
        // The key moves first, to the left or not at all; the value may move right, over the place of its length.
        let key_at = entries.to + 2;
        let value_at = key_at + key.len() + 4;
        if key.from != key_at {
            self.bytes.copy_within(key.from..key.to, key_at);
        }
        self.bytes.copy_within(value.from..value.to, value_at);
        self.bytes[entries.to..key_at].copy_from_slice(&key_length.to_be_bytes());
        self.bytes[value_at - 4..value_at].copy_from_slice(&value_length.to_be_bytes());
        entries.to = end;
        Ok(())
    }
}

fn literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_')
}

/// Appends the inside of a string.
fn put_escaped(out: &mut BytesMut, text: &[u8]) {
    let mut rest = text;
    loop {
        let run = plain(rest);
        out.put_slice(&rest[..run]);
        let Some((special, behind)) = rest[run..].split_first() else { return };
        rest = behind;
        match special {
            b'"' | b'\\' => out.put_slice(&[b'\\', *special]),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (HEX[usize::from(control >> 4)], HEX[usize::from(control & 15)]);
                out.put_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
    }
}

/// How many bytes at the front are neither quote, backslash nor control character. Eight at a time: a byte that is
/// wanted borrows from its top bit in one of the differences, and the lowest such byte is right.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        let found = quote.wrapping_sub(ONES) & !quote
            | backslash.wrapping_sub(ONES) & !backslash
            | word.wrapping_sub(ONES * b' ' as u64) & !word;
        if found & TOPS != 0 {
            return at * 8 + ((found & TOPS).trailing_zeros() / 8) as usize;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
    words.len() * 8 + rest.iter().position(special).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn special_bytes_are_found_wherever_they_are() {
        for byte in 0..=255u8 {
            for length in 0..20 {
                for at in 0..length {
                    let mut bytes =
                        [b'x', 0xE9, b'!', 0x7F, b'#', 0x80, b'[', b']'].repeat(3)[..length].to_vec();
                    bytes[at] = byte;
                    let expected = if matches!(byte, b'"' | b'\\' | 0..b' ') { at } else { length };
                    assert_eq!(plain(&bytes), expected, "{byte} at {at} of {length}");
                }
            }
        }
    }
}
