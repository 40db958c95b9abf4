//! One command, request or response: the fixed fields, the header fields and a body, in either header encoding.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::ext::{ExtFields, Header, HeaderError, Request};
use crate::text::Text;
use crate::{frame, version};

mod json;

/// How a header is written; every peer reads both, frame by frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Text, the default of every client.
    #[default]
    Json = 0,
    /// Lengths and bytes; codes have 16 bits in it.
    Binary = 1,
}

macro_rules! languages {
    ($($(#[$doc:meta])* $number:literal $variant:ident $name:literal)*) => {
        /// What a peer is written in.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Language { $($(#[$doc])* $variant = $number),* }

        impl Language {
            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
            /// The language of this name; one we do not know is [`Language::Other`].
            pub fn from_name(name: &str) -> Self {
                match name { $($name => Self::$variant,)* _ => Self::Other }
            }
            /// The language of this number in a binary header.
            pub fn from_number(number: i64) -> Self {
                match number { $($number => Self::$variant,)* _ => Self::Other }
            }
        }
    };
}

languages! {
    /// The default when a header names none.
    #[default]
    0 Java "JAVA"
    /// C++.
    1 Cpp "CPP"
    /// .NET.
    2 Dotnet "DOTNET"
    /// Python.
    3 Python "PYTHON"
    /// Delphi.
    4 Delphi "DELPHI"
    /// Erlang.
    5 Erlang "ERLANG"
    /// Ruby.
    6 Ruby "RUBY"
    /// Anything else.
    7 Other "OTHER"
    /// A plain HTTP gateway.
    8 Http "HTTP"
    /// Go.
    9 Go "GO"
    /// PHP.
    10 Php "PHP"
    /// OpenMessaging.
    11 Oms "OMS"
    /// Rust: we.
    12 Rust "RUST"
    /// Node.js.
    13 NodeJs "NODE_JS"
}

impl serde::Serialize for Language {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Language {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(|name| Self::from_name(&name))
    }
}

/// One request or response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Request code, or response code when the response bit is set.
    pub code: i32,
    /// What the sender is written in.
    pub language: Language,
    /// The sender's version, see [`crate::version`].
    pub version: i32,
    /// Chosen by the asker, copied by the answer. The two directions of a connection have their own.
    pub opaque: i32,
    /// Bits: [`RESPONSE`] and [`ONEWAY`].
    pub flag: i32,
    /// Why a request was refused, or free text.
    pub remark: Option<Text>,
    /// The header fields.
    pub ext: ExtFields,
    /// The body; empty means that there is none.
    pub body: Bytes,
    /// How the header came, or will be written.
    pub encoding: Encoding,
}

/// Bit of [`Command::flag`]: this is an answer.
pub const RESPONSE: i32 = 1;
/// Bit of [`Command::flag`]: no answer is wanted, and none may be sent.
pub const ONEWAY: i32 = 2;

/// The bytes of a frame are no command: the connection has to be closed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// A length points behind the end.
    #[error("the frame ends before its {0}")]
    Truncated(&'static str),
    /// The header's encoding is none that we know.
    #[error("unknown header encoding {0}")]
    Encoding(u8),
    /// A JSON header that cannot be read.
    #[error("header: {what} at byte {at}")]
    Json {
        /// What is wrong.
        what: &'static str,
        /// Where in the header.
        at: usize,
    },
}

/// A command that no peer would take, as its frame were too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a command of {bytes} bytes is above the limit of {max}", max = frame::MAX_BYTES)]
pub struct TooLong {
    /// How long the frame, or its header, would be.
    pub bytes: usize,
}

impl Command {
    /// A request from us; whoever sends it sets [`Command::opaque`].
    pub fn request<R: Request>(header: &R, body: Bytes) -> Self {
        let mut ext = ExtFields::new();
        header.write(&mut ext);
        Self { code: R::CODE, language: Language::Rust, version: version::OURS, ext, body, ..Self::default() }
    }

    /// Our answer to the request with this opaque.
    pub fn response(opaque: i32, code: i32) -> Self {
        Self {
            code,
            language: Language::Rust,
            version: version::OURS,
            opaque,
            flag: RESPONSE,
            ..Self::default()
        }
    }

    /// The same with a header.
    pub fn with<H: Header>(mut self, header: &H) -> Self {
        header.write(&mut self.ext);
        self
    }

    /// The typed view of the header fields.
    pub fn header<H: Header>(&self) -> Result<H, HeaderError> {
        H::read(&self.ext)
    }

    /// Whether this is an answer.
    pub fn is_response(&self) -> bool {
        self.flag & RESPONSE != 0
    }

    /// Whether this request wants no answer.
    pub fn is_oneway(&self) -> bool {
        self.flag & ONEWAY != 0
    }

    /// Appends the whole frame, its length field included. On an error nothing was appended.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), TooLong> {
        let start = out.len();
        out.reserve(256 + self.ext.entries().len() + self.body.len());
        out.put_u64(0);
        match self.encoding {
            Encoding::Json => json::write(self, out),
            Encoding::Binary => self.encode_binary(out),
        }
        let header = out.len() - start - 8;
        let total = 8 + header + self.body.len();
        if header > HEADER_MAX || total > frame::MAX_BYTES {
            out.truncate(start);
            return Err(TooLong { bytes: total });
        }
        if !self.body.is_empty() {
            out.put_slice(&self.body);
        }
        out[start..start + 4].copy_from_slice(&length(total - 4).to_be_bytes());
        let mark = length(header) | (self.encoding as u32) << 24;
        out[start + 4..start + 8].copy_from_slice(&mark.to_be_bytes());
        Ok(())
    }

    /// Reads a frame without its length field, as [`crate::Splitter`] gives it. What is read shares its memory.
    pub fn decode(mut raw: BytesMut) -> Result<Self, DecodeError> {
        let mark = raw.try_get_u32().map_err(|_| DecodeError::Truncated("header length"))?;
        let (encoding, length) = frame::mark(mark);
        if length as usize > raw.len() {
            return Err(DecodeError::Truncated("header"));
        }
        let header = raw.split_to(length as usize);
        let mut command = match encoding {
            0 => json::read(header)?,
            1 => Self::decode_binary(header.freeze())?,
            other => return Err(DecodeError::Encoding(other)),
        };
        command.body = raw.freeze();
        Ok(command)
    }

    fn encode_binary(&self, out: &mut BytesMut) {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "this encoding has 16 bits for codes and versions"
        )]
        let (code, version) = (self.code as i16, self.version as i16);
        let remark = self.remark.as_ref().map_or(&[][..], Text::as_bytes);
        let entries = self.ext.entries();
        let mut head = [0; 21];
        head[..2].copy_from_slice(&code.to_be_bytes());
        head[2] = self.language as u8;
        head[3..5].copy_from_slice(&version.to_be_bytes());
        head[5..9].copy_from_slice(&self.opaque.to_be_bytes());
        head[9..13].copy_from_slice(&self.flag.to_be_bytes());
        head[13..17].copy_from_slice(&length(remark.len()).to_be_bytes());
        head[17..].copy_from_slice(&length(entries.len()).to_be_bytes());
        if remark.is_empty() {
            out.put_slice(&head);
        } else {
            out.put_slice(&head[..17]);
            out.put_slice(remark);
            out.put_slice(&head[17..]);
        }
        out.put_slice(entries);
    }

    fn decode_binary(mut header: Bytes) -> Result<Self, DecodeError> {
        let (fixed, rest) = match header.split_first_chunk::<13>() {
            Some((fixed, rest)) if header.len() >= 21 => (fixed, rest),
            _ => return Err(DecodeError::Truncated("header")),
        };
        let code = i32::from(i16::from_be_bytes([fixed[0], fixed[1]]));
        let language = Language::from_number(i64::from(fixed[2]));
        let version = i32::from(i16::from_be_bytes([fixed[3], fixed[4]]));
        let opaque = i32::from_be_bytes([fixed[5], fixed[6], fixed[7], fixed[8]]);
        let flag = i32::from_be_bytes([fixed[9], fixed[10], fixed[11], fixed[12]]);
        let (remark, rest) = piece(rest, "remark")?;
        let (entries, _) = piece(rest, "fields")?;
        let (length, start) = (entries.len(), header.len() - rest.len() + 4);
        let remark = (!remark.is_empty()).then(|| Text::from_utf8_lossy(header.slice_ref(remark)));
        header.advance(start);
        header.truncate(length);
        let ext = ExtFields::from_entries(header).ok_or(DecodeError::Truncated("fields"))?;
        let code = if flag & RESPONSE == 0 { widened(code) } else { code };
        let encoding = Encoding::Binary;
        Ok(Self { code, language, version, opaque, flag, remark, ext, body: Bytes::new(), encoding })
    }
}

/// The request codes above 16 bits lose their upper half in this encoding; their lower halves are used by nothing
/// else, so they can be told.
fn widened(code: i32) -> i32 {
    match code {
        3442..=3448 | 3543 => code + 0x3_0000,
        other => other,
    }
}

/// What stands behind its length, and the rest.
fn piece<'a>(raw: &'a [u8], what: &'static str) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
    let (length, rest) = raw.split_first_chunk::<4>().ok_or(DecodeError::Truncated(what))?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(DecodeError::Truncated(what))
}

// What is too long for a frame is refused after it was written, so until then a length only must not panic.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

const HEADER_MAX: usize = 0x00FF_FFFF;

#[cfg(test)]
mod tests;
