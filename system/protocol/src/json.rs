//! The JSON of bodies: a lenient reader and a writer in the dialects peers need.
//!
//! Java's writers give what no standard reader takes: unquoted integer names (`{0:"x"}`), objects as names
//! (`{{"queueId":0}:5}`) and references to parts already written (`{"$ref":"$.a"}`). Its readers, and those of other
//! languages, in turn need some of it. Beside that the reader takes numbers written as text and text written as
//! numbers, nulls for lists, and of a repeated name the last.

mod read;
mod write;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// A body that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("body: {message}")]
pub struct Error {
    message: String,
}

/// How names are written that are not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Integers as names are quoted. Objects as names stay objects, the only form that all readers take.
    Standard,
    /// Integers as names are not quoted: what old clients, above all Go's before 2.1.2, understand in a route.
    UnquotedIntegers,
}

/// Reads a body.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    T::deserialize(read::parse(bytes)?)
}

/// Writes a body in the standard dialect. Members without a value are left out.
pub fn to_vec<T: Serialize + ?Sized>(body: &T) -> Vec<u8> {
    to_vec_in(body, Dialect::Standard)
}

/// Writes a body in a dialect.
pub fn to_vec_in<T: Serialize + ?Sized>(body: &T, dialect: Dialect) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    body.serialize(&mut write::Writer::new(&mut out, dialect))
        .expect("bodies hold nothing that has no JSON form");
    out
}

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl serde::de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

impl serde::ser::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

#[cfg(test)]
mod tests;
