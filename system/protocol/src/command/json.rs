//! The JSON header: read in one pass and in place, written straight into the frame.

use bytes::{BufMut, BytesMut};

use super::{Command, DecodeError, Encoding, Language};
use crate::ext::{ExtFields, put_decimal};
use crate::text::Text;

/// Appends the header. Values of fields are always strings: Go decodes nothing else.
pub(super) fn write(command: &Command, out: &mut BytesMut) {
    out.put_slice(b"{\"code\":");
    put_decimal(out, i64::from(command.code));
    let mut fields = command.ext.iter();
    if let Some((key, value)) = fields.next() {
        out.put_slice(b",\"extFields\":{");
        put_string(out, key);
        out.put_u8(b':');
        put_string(out, value);
        for (key, value) in fields {
            out.put_u8(b',');
            put_string(out, key);
            out.put_u8(b':');
            put_string(out, value);
        }
        out.put_u8(b'}');
    }
    out.put_slice(b",\"flag\":");
    put_decimal(out, i64::from(command.flag));
    out.put_slice(b",\"language\":\"");
    out.put_slice(command.language.name().as_bytes());
    out.put_slice(b"\",\"opaque\":");
    put_decimal(out, i64::from(command.opaque));
    if let Some(remark) = &command.remark {
        out.put_slice(b",\"remark\":");
        put_string(out, remark);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_decimal(out, i64::from(command.version));
    out.put_u8(b'}');
}

/// Reads the header. Any order, any unknown member, nulls, and numbers or booleans as fields are taken.
pub(super) fn read(header: BytesMut) -> Result<Command, DecodeError> {
    if let Err(error) = std::str::from_utf8(&header) {
        return Err(DecodeError::Json { what: "bytes that are not UTF-8", at: error.valid_up_to() });
    }
    let mut reader = Reader { bytes: header, at: 0 };
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
            _ => {
                reader.skip()?;
            }
        }
    }
    reader.end()?;
    let header = reader.bytes.freeze();
    let cut = |span: Span| header.slice(span.from..span.to);
    command.remark = remark.map(|span| Text::from_utf8_lossy(cut(span)));
    command.ext = ExtFields::of_own_entries(cut(fields));
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
struct Reader {
    bytes: BytesMut,
    at: usize,
}

impl Reader {
    fn wrong<T>(&self, what: &'static str) -> Result<T, DecodeError> {
        Err(DecodeError::Json { what, at: self.at })
    }

    fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.from..span.to]
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

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
    fn string(&mut self) -> Result<Span, DecodeError> {
        let (raw, escaped) = self.raw_string()?;
        if escaped { self.unescape(raw) } else { Ok(raw) }
    }

    /// A string as it is written, and whether there are escapes in it.
    fn raw_string(&mut self) -> Result<(Span, bool), DecodeError> {
        let from = self.at + 1;
        let mut at = from;
        let mut escaped = false;
        loop {
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += 2;
                }
                Some(_) => at += 1,
                None => return self.wrong("a string without end"),
            }
        }
        self.at = at + 1;
        Ok((Span { from, to: at }, escaped))
    }

    fn unescape(&mut self, raw: Span) -> Result<Span, DecodeError> {
        let (mut from, mut to) = (raw.from, raw.from);
        while from < raw.to {
            let byte = self.bytes[from];
            if byte != b'\\' {
                self.bytes[to] = byte;
                (from, to) = (from + 1, to + 1);
                continue;
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
        Ok(Span { from: raw.from, to })
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
        if self.peek() != Some(b'{') {
            return match self.text()? {
                None => Ok(Span::default()),
                Some(_) => self.wrong("fields that are not an object"),
            };
        }
        let from = self.at;
        let mut to = self.at;
        self.open()?;
        while let Some(key) = self.key()? {
            if let Some(value) = self.text()? {
                to = self.entry(to, key, value)?;
            }
        }
        Ok(Span { from, to })
    }

    /// Writes one entry at `to`, behind which all up to the reader is used up, and tells where it ends.
    fn entry(&mut self, to: usize, mut key: Span, mut value: Span) -> Result<usize, DecodeError> {
        let Ok(key_length) = u16::try_from(key.len()) else {
            return self.wrong("a field with an endless name");
        };
        let value_length = u32::try_from(value.len()).expect("a header has less than 2^24 bytes");
        let end = to + 6 + key.len() + value.len();
        if end > self.at {
            // A value without quotes takes less than its entry. This much room is enough for all that follow.
            let room = self.bytes.len() - to;
            self.make_room(to, room);
            for position in [&mut key.from, &mut key.to, &mut value.from, &mut value.to, &mut self.at] {
                *position += room;
            }
        }
        // The key moves first, to the left; the value may move right, over its own length field's place.
        self.bytes.copy_within(key.from..key.to, to + 2);
        self.bytes.copy_within(value.from..value.to, to + 6 + key.len());
        self.bytes[to..to + 2].copy_from_slice(&key_length.to_be_bytes());
        self.bytes[to + 2 + key.len()..to + 6 + key.len()].copy_from_slice(&value_length.to_be_bytes());
        Ok(end)
    }

    fn make_room(&mut self, at: usize, room: usize) {
        let mut wider = BytesMut::zeroed(self.bytes.len() + room);
        wider[..at].copy_from_slice(&self.bytes[..at]);
        wider[at + room..].copy_from_slice(&self.bytes[at..]);
        self.bytes = wider;
    }
}

fn literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_')
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_u8(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= b' ' && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.put_slice(&bytes[plain..at]);
        plain = at + 1;
        match byte {
            b'"' | b'\\' => out.put_slice(&[b'\\', *byte]),
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
    out.put_slice(&bytes[plain..]);
    out.put_u8(b'"');
}
