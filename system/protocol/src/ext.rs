//! The string-to-string fields that every command's header carries, and their typed views.
//!
//! The fields lie in one buffer in the layout of the binary header (key length, key, value length, value). Reading
//! walks it: peers write fields in the order of our table, so nearly every look-up hits at the first probe, and
//! neither a map nor a string per field is built. Writing appends to it.

use bytes::{BufMut, Bytes};
use thiserror::Error;

use crate::text::Text;

/// The fields of one header. A key should be there once; if a peer repeats it, either value may be read.
#[derive(Clone, Default)]
pub struct ExtFields {
    raw: Raw,
}

#[derive(Clone)]
enum Raw {
    /// As it came: checked to be whole entries of UTF-8.
    Read(Bytes, Keys),
    Written(Vec<u8>),
}

/// Which keys may be there, a bit for each that look alike: an absent field is nearly always told without a walk.
#[derive(Clone, Copy, Default)]
struct Keys(u64);

impl Keys {
    #[inline]
    fn bit(key: &[u8]) -> u64 {
        1 << (key.first().map_or(0, |first| usize::from(*first) + 7 * key.len()) % 64)
    }

    fn add(&mut self, key: &[u8]) {
        self.0 |= Self::bit(key);
    }

    fn may_have(self, key: &[u8]) -> bool {
        self.0 & Self::bit(key) != 0
    }
}

/// A header that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// A required field is not there.
    #[error("the header field `{0}` is missing")]
    Missing(&'static str),
    /// A field's text does not fit its type.
    #[error("the header field `{field}` cannot be {value:?}")]
    Invalid {
        /// The field's name on the wire.
        field: &'static str,
        /// What stood there (its beginning).
        value: String,
    },
}

/// The typed view of a command's fields.
pub trait Header: Sized {
    /// Takes the fields this header knows and ignores all others.
    fn read(ext: &ExtFields) -> Result<Self, HeaderError>;
    /// Adds this header's fields; absent ones are not written.
    fn write(&self, ext: &mut ExtFields);
}

/// A header that asks for something; its code and its reply come from the table in [`crate::rpc`].
pub trait Request: Header {
    /// The request code.
    const CODE: i32;
    /// The name in the table, for logs and reports.
    const NAME: &'static str;
    /// The header of the answer.
    type Reply: Header;
}

impl ExtFields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over entries that were just written from text.
    pub(crate) fn of_written(entries: Vec<u8>) -> Self {
        Self { raw: Raw::Written(entries) }
    }

    /// Takes over entries in the binary layout; `None` if they are not whole. Values that are not UTF-8 get
    /// replacement characters.
    pub(crate) fn from_entries(entries: Bytes) -> Option<Self> {
        let mut keys = Keys::default();
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let (key, _, next) = first(rest)?;
            keys.add(key);
            rest = next;
        }
        // Short lengths look like ASCII too, so one look at all bytes mostly spares one at each text.
        let is_text = |bytes| std::str::from_utf8(bytes).is_ok();
        if is_ascii(&entries) || each(&entries).all(|(key, value)| is_text(key) && is_text(value)) {
            return Some(Self { raw: Raw::Read(entries, keys) });
        }
        let mut fixed = Self::new();
        for (key, value) in each(&entries) {
            fixed.push(&String::from_utf8_lossy(key), &String::from_utf8_lossy(value));
        }
        Some(fixed)
    }

    /// Takes over entries that were written by us from text that was checked.
    pub(crate) fn of_own_entries(entries: Bytes) -> Self {
        let mut keys = Keys::default();
        each(&entries).for_each(|(key, _)| keys.add(key));
        Self { raw: Raw::Read(entries, keys) }
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// The field `key`; a field with an empty value counts as there.
    pub fn get(&self, key: &str) -> Option<&str> {
        Some(utf8(self.next(&mut 0, key)?.bytes))
    }

    /// The field `key` as a text that shares this header's buffer.
    pub fn text(&self, key: &str) -> Option<Text> {
        Text::parse(self.next(&mut 0, key)?)
    }

    /// All fields in the order they have on the wire.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.raw_entries().map(|(key, value)| (utf8(key), utf8(value)))
    }

    #[inline]
    pub(crate) fn raw_entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        each(self.entries())
    }

    /// Adds a field.
    #[inline]
    pub fn push(&mut self, key: &str, value: &str) {
        self.push_with(key, |out| out.extend_from_slice(value.as_bytes()));
    }

    /// Adds a field whose value `print` appends.
    fn push_with(&mut self, key: &str, print: impl FnOnce(&mut Vec<u8>)) {
        let out = self.written();
        let length = u16::try_from(key.len()).expect("keys are names of a few letters");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(key.as_bytes());
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        print(out);
        let length = u32::try_from(out.len() - at - 4).expect("a value is shorter than a frame");
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// The entries in the binary layout.
    #[inline]
    pub(crate) fn entries(&self) -> &[u8] {
        match &self.raw {
            Raw::Read(bytes, _) => bytes,
            Raw::Written(bytes) => bytes,
        }
    }

    fn written(&mut self) -> &mut Vec<u8> {
        if let Raw::Read(bytes, _) = &self.raw {
            let mut own = Vec::with_capacity(bytes.len() + 224);
            own.extend_from_slice(bytes);
            self.raw = Raw::Written(own);
        }
        match &mut self.raw {
            Raw::Written(bytes) => bytes,
            Raw::Read(..) => unreachable!("just replaced"),
        }
    }

    /// The value of `key`, looked for first at `cursor`, then everywhere; the cursor moves behind a hit.
    #[doc(hidden)]
    #[inline]
    pub fn next(&self, cursor: &mut usize, key: &str) -> Option<Value<'_>> {
        let found = match entry(self.entries(), *cursor) {
            Some((k, value, next)) if same(k, key.as_bytes()) => Some((value, next)),
            _ => self.search(key.as_bytes()),
        };
        let (bytes, next) = found?;
        *cursor = next;
        Some(Value { bytes, ext: self })
    }

    /// The value of `key`, wherever it stands, and where the entry behind it begins.
    fn search(&self, key: &[u8]) -> Option<(&[u8], usize)> {
        if let Raw::Read(_, keys) = &self.raw
            && !keys.may_have(key)
        {
            return None;
        }
        let entries = self.entries();
        let mut at = 0;
        loop {
            let (k, value, next) = entry(entries, at)?;
            if same(k, key) {
                return Some((value, next));
            }
            at = next;
        }
    }
}

impl Default for Raw {
    fn default() -> Self {
        Self::Read(Bytes::new(), Keys::default())
    }
}

impl PartialEq for ExtFields {
    fn eq(&self, other: &Self) -> bool {
        self.entries() == other.entries()
    }
}

impl Eq for ExtFields {}

impl std::fmt::Debug for ExtFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The value of one field as it stands in its header.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    bytes: &'a [u8],
    ext: &'a ExtFields,
}

impl<'a> Value<'a> {
    /// A value of one of the fields of `ext`.
    pub(crate) fn new(bytes: &'a [u8], ext: &'a ExtFields) -> Self {
        Self { bytes, ext }
    }

    #[cold]
    fn refused(&self, field: &'static str) -> HeaderError {
        let shown = &self.bytes[..self.bytes.len().min(60)];
        HeaderError::Invalid { field, value: String::from_utf8_lossy(shown).into_owned() }
    }
}

/// A type one field of a header can have.
#[doc(hidden)]
pub trait Field: Sized {
    fn parse(value: Value<'_>) -> Option<Self>;
    fn print(&self, out: &mut Vec<u8>);
}

impl Field for Text {
    #[inline]
    fn parse(value: Value<'_>) -> Option<Self> {
        let bytes = match &value.ext.raw {
            Raw::Read(all, _) => all.slice_ref(value.bytes),
            Raw::Written(_) => Bytes::copy_from_slice(value.bytes),
        };
        Self::from_utf8(bytes).ok()
    }
    fn print(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl Field for i32 {
    #[inline]
    fn parse(value: Value<'_>) -> Option<Self> {
        Self::try_from(i64::parse(value)?).ok()
    }
    fn print(&self, out: &mut Vec<u8>) {
        put_decimal(out, i64::from(*self));
    }
}

impl Field for i64 {
    #[inline]
    fn parse(value: Value<'_>) -> Option<Self> {
        let (digits, negative) = match value.bytes {
            [digit @ b'0'..=b'9'] => return Some(Self::from(digit - b'0')),
            [b'-', digits @ ..] => (digits, true),
            [b'+', digits @ ..] => (digits, false),
            digits => (digits, false),
        };
        if digits.is_empty() {
            return None;
        }
        if digits.len() < LONGEST_SURE {
            let mut number = 0;
            for digit in digits {
                let digit = digit.wrapping_sub(b'0');
                if digit > 9 {
                    return None;
                }
                number = number * 10 + Self::from(digit);
            }
            return Some(if negative { -number } else { number });
        }
        // Counted down from 0, because the smallest number has no positive counterpart.
        let number = digits.iter().try_fold(0i64, |number, digit| {
            let digit = digit.wrapping_sub(b'0');
            if digit > 9 { None } else { number.checked_mul(10)?.checked_sub(Self::from(digit)) }
        })?;
        if negative { Some(number) } else { number.checked_neg() }
    }
    fn print(&self, out: &mut Vec<u8>) {
        put_decimal(out, *self);
    }
}

// As in Java: only "true", in any case, is true, and nothing is an error.
impl Field for bool {
    #[inline]
    fn parse(value: Value<'_>) -> Option<Self> {
        Some(value.bytes.eq_ignore_ascii_case(b"true"))
    }
    fn print(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

/// A field with its rule for absence: `T` is required, `Option<T>` is not.
#[doc(hidden)]
pub trait Slot: Sized {
    fn read(value: Option<Value<'_>>, key: &'static str) -> Result<Self, HeaderError>;
    fn write(&self, key: &'static str, ext: &mut ExtFields);
}

impl<T: Field> Slot for T {
    #[inline]
    fn read(value: Option<Value<'_>>, key: &'static str) -> Result<Self, HeaderError> {
        let Some(value) = value else { return Err(HeaderError::Missing(key)) };
        match T::parse(value) {
            Some(read) => Ok(read),
            None => Err(value.refused(key)),
        }
    }
    fn write(&self, key: &'static str, ext: &mut ExtFields) {
        ext.push_with(key, |out| self.print(out));
    }
}

// An empty value is absent: the binary header cannot tell the two apart, and Java reads it as null there.
impl<T: Field> Slot for Option<T> {
    #[inline]
    fn read(value: Option<Value<'_>>, key: &'static str) -> Result<Self, HeaderError> {
        match value {
            Some(value) if !value.bytes.is_empty() => T::read(Some(value), key).map(Some),
            _ => Ok(None),
        }
    }
    fn write(&self, key: &'static str, ext: &mut ExtFields) {
        if let Some(value) = self {
            value.write(key, ext);
        }
    }
}

/// Whether two keys are the same: they are so short that a call would cost more than the look.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b)
}

/// The entry at `at`: its key, its value, and where the next one begins.
#[inline]
fn entry(entries: &[u8], at: usize) -> Option<(&[u8], &[u8], usize)> {
    let (key, value, rest) = first(entries.get(at..)?)?;
    Some((key, value, entries.len() - rest.len()))
}

/// All entries in order.
#[inline]
fn each(mut entries: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (key, value, rest) = first(entries)?;
        entries = rest;
        Some((key, value))
    })
}

/// The entry in front if its key is one letter, as those of sends and pulls: the letter, its value, and what follows.
#[inline(always)]
pub(crate) fn first_short(entries: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ([0, 1, letter, length @ ..], rest) = entries.split_first_chunk::<7>()? else { return None };
    let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    Some((*letter, value, rest))
}

/// The entry in front: its key, its value, and what follows.
#[inline]
fn first(entries: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    if let Some((_, value, rest)) = first_short(entries) {
        return Some((&entries[2..3], value, rest));
    }
    let (length, rest) = entries.split_first_chunk::<2>()?;
    let (key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    Some((key, value, rest))
}

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("entries are checked when they are taken over")
}

/// Whether no byte has its top bit set, by words: the library looks at up to 31 bytes one by one.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let all = words.iter().fold(0, |all, word| all | u64::from_ne_bytes(*word));
    rest.iter().fold(all, |all, byte| all | u64::from(*byte)) & 0x8080_8080_8080_8080 == 0
}

/// Digits that a number may have and never be too large for 64 bits, and one more.
const LONGEST_SURE: usize = 19;

/// A number as decimal text.
pub(crate) struct Decimal {
    digits: [u8; 20],
    at: usize,
}

impl Decimal {
    #[inline]
    pub(crate) fn new(number: i64) -> Self {
        let mut text = Self { digits: [0; 20], at: 20 };
        let mut rest = number.unsigned_abs();
        loop {
            text.push(b"0123456789"[usize::try_from(rest % 10).expect("one digit")]);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            text.push(b'-');
        }
        text
    }

    /// In front of what is there.
    #[inline]
    fn push(&mut self, digit: u8) {
        self.at -= 1;
        self.digits[self.at] = digit;
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.at..]
    }
}

/// Appends a number as decimal text.
pub(crate) fn put_decimal(out: &mut impl BufMut, number: i64) {
    out.put_slice(Decimal::new(number).as_bytes());
}
