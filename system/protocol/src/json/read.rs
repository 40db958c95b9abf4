//! The lenient reader: text to a tree, and the tree to serde.

use std::borrow::Cow;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::Error;

/// One value. Names of members are values too: Java writes objects as names.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    /// As it is written.
    Number(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

pub(super) fn parse(bytes: &[u8]) -> Result<Value<'_>, Error> {
    let text = std::str::from_utf8(bytes).map_err(|error| Error::new(error.to_string()))?;
    let mut parser = Parser { text, at: 0, references: false };
    let value = parser.value(0)?;
    if parser.peek().is_some() {
        return parser.wrong("something behind the value");
    }
    if parser.references { Resolver { root: &value, copied: 0 }.resolve(&value) } else { Ok(value) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    references: bool,
}

impl<'a> Parser<'a> {
    fn wrong<T>(&self, what: &str) -> Result<T, Error> {
        Err(Error::new(format!("{what} at byte {}", self.at)))
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
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

    fn value(&mut self, depth: usize) -> Result<Value<'a>, Error> {
        if depth > DEPTH_MAX {
            return self.wrong("values in values too deep");
        }
        match self.peek() {
            Some(b'"') => self.string().map(Value::Text),
            Some(b'[') => self.list(depth),
            Some(b'{') => self.map(depth),
            _ => self.scalar(),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, Error> {
        let mut items = Vec::new();
        self.at += 1;
        loop {
            while self.take(b',') {}
            if self.take(b']') {
                return Ok(Value::List(items));
            }
            items.push(self.value(depth + 1)?);
            if !matches!(self.peek(), Some(b',' | b']')) {
                return self.wrong("no comma after an item");
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value<'a>, Error> {
        let mut members = Vec::new();
        self.at += 1;
        loop {
            while self.take(b',') {}
            if self.take(b'}') {
                keep_last(&mut members);
                return Ok(Value::Map(members));
            }
            let name = match self.peek() {
                Some(b'"' | b'{' | b'[') => self.value(depth + 1)?,
                _ => Value::Text(Cow::Borrowed(self.word()?)),
            };
            self.references |= matches!(&name, Value::Text(name) if name == "$ref");
            if !self.take(b':') {
                return self.wrong("no colon after a name");
            }
            members.push((name, self.value(depth + 1)?));
            if !matches!(self.peek(), Some(b',' | b'}')) {
                return self.wrong("no comma after a member");
            }
        }
    }

    /// Letters and digits without quotes.
    fn word(&mut self) -> Result<&'a str, Error> {
        let bytes = self.text.as_bytes();
        let from = self.at;
        while bytes
            .get(self.at)
            .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | b'_' | b'$'))
        {
            self.at += 1;
        }
        if from == self.at { self.wrong("no value") } else { Ok(&self.text[from..self.at]) }
    }

    fn scalar(&mut self) -> Result<Value<'a>, Error> {
        let from = self.at;
        let word = self.word()?;
        match word {
            "null" => Ok(Value::Null),
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ if word.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit())
                && word.parse::<f64>().is_ok() =>
            {
                Ok(Value::Number(word))
            }
            _ => {
                self.at = from;
                self.wrong("neither text nor number")
            }
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        self.at += 1;
        let bytes = self.text.as_bytes();
        let mut plain = self.at;
        let mut text = Cow::Borrowed("");
        loop {
            match bytes.get(self.at) {
                None => return self.wrong("a string without end"),
                Some(b'"') => {
                    text += &self.text[plain..self.at];
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    text += &self.text[plain..self.at];
                    text.to_mut().push(self.escape()?);
                    plain = self.at;
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// The character of the escape the parser stands at. Half a pair is replaced.
    fn escape(&mut self) -> Result<char, Error> {
        let byte = self.text.as_bytes().get(self.at + 1).copied();
        let character = match byte {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            Some(other @ (b'"' | b'\\' | b'/' | b'\'')) => char::from(other),
            _ => return self.wrong("an unknown escape"),
        };
        self.at += 2;
        Ok(character)
    }

    fn unicode(&mut self) -> Result<char, Error> {
        let Some(first) = self.unit() else { return self.wrong("a wrong unicode escape") };
        if !(0xD800..0xDC00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let behind = self.at;
        match self.unit() {
            Some(second @ 0xDC00..0xE000) => {
                let both = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                Ok(char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            _ => {
                self.at = behind;
                Ok(char::REPLACEMENT_CHARACTER)
            }
        }
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 6)?.strip_prefix(b"\\u")?;
        let unit =
            digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))?;
        self.at += 6;
        Some(unit)
    }
}

/// Of members with the same name the last counts, at its place.
fn keep_last(members: &mut Vec<(Value<'_>, Value<'_>)>) {
    let mut order: Vec<usize> =
        (0..members.len()).filter(|at| matches!(members[*at].0, Value::Text(_))).collect();
    let name = |at: usize| match &members[at].0 {
        Value::Text(name) => name.as_ref(),
        _ => "",
    };
    // A stable sort: equal names stay in the order of their places.
    order.sort_by(|a, b| name(*a).cmp(name(*b)));
    let mut overruled: Vec<usize> =
        order.windows(2).filter(|pair| name(pair[0]) == name(pair[1])).map(|pair| pair[0]).collect();
    if overruled.is_empty() {
        return;
    }
    overruled.sort_unstable();
    let mut at = 0;
    members.retain(|_| {
        let keep = overruled.binary_search(&at).is_err();
        at += 1;
        keep
    });
}

/// Puts what references mean in their place.
struct Resolver<'v, 'a> {
    root: &'v Value<'a>,
    copied: usize,
}

impl<'a> Resolver<'_, 'a> {
    fn resolve(&mut self, value: &Value<'a>) -> Result<Value<'a>, Error> {
        Ok(match value {
            Value::List(items) => {
                Value::List(items.iter().map(|item| self.resolve(item)).collect::<Result<_, _>>()?)
            }
            Value::Map(members) => match path_of(members) {
                Some(path) => self.target(path)?,
                None => {
                    let resolved =
                        members.iter().map(|(name, value)| Ok((self.resolve(name)?, self.resolve(value)?)));
                    Value::Map(resolved.collect::<Result<_, Error>>()?)
                }
            },
            scalar => scalar.clone(),
        })
    }

    fn target(&mut self, path: &str) -> Result<Value<'a>, Error> {
        let refuse = |why: &str| Err(Error::new(format!("the reference {path:?} {why}")));
        let Some(steps) = steps(path) else { return refuse("is of a kind that is not understood") };
        let mut value = self.root;
        for step in &steps {
            let next = match value {
                Value::List(items) => step.parse().ok().and_then(|at: usize| items.get(at)),
                Value::Map(members) => members
                    .iter()
                    .find(|(name, _)| matches!(name, Value::Text(n) if n == step))
                    .map(|(_, v)| v),
                _ => None,
            };
            let Some(next) = next else { return refuse("points nowhere") };
            value = next;
        }
        // A target with references in it could grow without end, and Java hardly writes one.
        if !self.count(value) {
            return refuse("points at references, or at too much");
        }
        Ok(value.clone())
    }

    /// Counts what is copied; false when it holds a reference or the limit is passed.
    fn count(&mut self, value: &Value<'_>) -> bool {
        self.copied += 1;
        self.copied <= COPIES_MAX
            && match value {
                Value::List(items) => items.iter().all(|item| self.count(item)),
                Value::Map(members) => {
                    path_of(members).is_none()
                        && members.iter().all(|(name, v)| self.count(name) && self.count(v))
                }
                _ => true,
            }
    }
}

fn path_of<'v>(members: &'v [(Value<'_>, Value<'_>)]) -> Option<&'v str> {
    match members {
        [(Value::Text(name), Value::Text(path))] if name == "$ref" => Some(path),
        _ => None,
    }
}

/// The steps of a path from the root: `$.a.b[0]`, special characters behind a backslash, or `["a"]`.
fn steps(path: &str) -> Option<Vec<String>> {
    let mut rest = path.strip_prefix('$')?.chars().peekable();
    let mut steps = Vec::new();
    while let Some(start) = rest.next() {
        let mut step = String::new();
        match start {
            '.' => {
                while let Some(c) = rest.next_if(|c| !matches!(c, '.' | '[')) {
                    step.push(if c == '\\' { rest.next()? } else { c });
                }
            }
            '[' => {
                let quote = rest.next_if(|c| matches!(c, '"' | '\''));
                let end = quote.unwrap_or(']');
                loop {
                    match rest.next()? {
                        c if c == end => break,
                        '\\' => step.push(rest.next()?),
                        c => step.push(c),
                    }
                }
                if quote.is_some() && rest.next()? != ']' {
                    return None;
                }
            }
            _ => return None,
        }
        if step.is_empty() {
            return None;
        }
        steps.push(step);
    }
    (!steps.is_empty()).then_some(steps)
}

impl Value<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }

    fn not<T>(&self, wanted: &str) -> Result<T, Error> {
        let shown = match self {
            Self::Number(number) => number,
            Self::Text(text) => text.as_ref(),
            other => return Err(Error::new(format!("{} where {wanted} is expected", other.kind()))),
        };
        let shown: String = shown.chars().take(40).collect();
        Err(Error::new(format!("{shown:?} where {wanted} is expected")))
    }

    /// A whole number, also written as text; null and empty text are 0, as they leave a Java field at its default.
    fn integer(&self) -> Result<i64, Error> {
        let written = match self {
            Self::Null => return Ok(0),
            Self::Bool(yes) => return Ok(i64::from(*yes)),
            Self::Number(number) => number,
            Self::Text(text) => text.trim(),
            _ => return self.not("a number"),
        };
        if written.is_empty() {
            return Ok(0);
        }
        if let Ok(number) = written.parse::<i64>() {
            return Ok(number);
        }
        match written.parse::<f64>() {
            #[allow(clippy::cast_possible_truncation, reason = "the fraction is dropped, as Java does")]
            Ok(number) if number.abs() < 9.2e18 => Ok(number as i64),
            _ => self.not("a number of 64 bits"),
        }
    }

    fn float(&self) -> Result<f64, Error> {
        match self {
            Self::Null => Ok(0.0),
            Self::Number(number) => number.parse().or_else(|_| self.not("a number")),
            Self::Text(text) => text.trim().parse().or_else(|_| self.not("a number")),
            _ => self.not("a number"),
        }
    }
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_i64(self.integer()?)
        })*
    };
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Error;

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(yes) => visitor.visit_bool(yes),
            Self::Number(number) => match number.parse() {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => visitor.visit_f64(self.float()?),
            },
            Self::Text(text) => visitor.visit_str(&text),
            Self::List(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter())),
            Self::Map(members) => visitor.visit_map(MapDeserializer::new(members.into_iter())),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self {
            Self::Null => visitor.visit_bool(false),
            Self::Bool(yes) => visitor.visit_bool(*yes),
            Self::Text(text) => visitor.visit_bool(text.eq_ignore_ascii_case("true") || text == "1"),
            Self::Number(_) => visitor.visit_bool(self.integer()? != 0),
            _ => self.not("a boolean"),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self {
            Self::Null => visitor.visit_str(""),
            Self::Bool(yes) => visitor.visit_str(if *yes { "true" } else { "false" }),
            Self::Number(number) => visitor.visit_str(number),
            Self::Text(text) => visitor.visit_str(text),
            _ => self.not("text"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_none(),
            value => visitor.visit_some(value),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<Self>())),
            Self::List(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter())),
            other => other.not("a list"),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_map(MapDeserializer::new(std::iter::empty::<(Self, Self)>())),
            Self::Map(members) => visitor.visit_map(MapDeserializer::new(members.into_iter())),
            other => other.not("an object"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

impl<'de> IntoDeserializer<'de, Error> for Value<'de> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

// Each level takes stack; bodies of peers have less than ten.
const DEPTH_MAX: usize = 64;
// More than any body of Java repeats, less than what would hurt.
const COPIES_MAX: usize = 1 << 18;
