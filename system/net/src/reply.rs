//! What a handler returns: the answer to one request.

use bytes::{Bytes, BytesMut};
use protocol::{Command, Encoding, ExtFields, Header, Text, code};

/// An answer before it has a connection's number and encoding.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Response code, `protocol::code`.
    pub code: i32,
    /// Free text for people.
    pub remark: Option<Text>,
    /// Header fields.
    pub ext: ExtFields,
    /// Body; empty means none.
    pub body: Bytes,
}

impl Reply {
    /// Success without fields.
    pub fn ok() -> Self {
        Self { code: code::SUCCESS, remark: None, ext: ExtFields::default(), body: Bytes::new() }
    }

    /// Success with the fields of `header`.
    pub fn with<H: Header>(header: &H) -> Self {
        let mut reply = Self::ok();
        header.write(&mut reply.ext);
        reply
    }

    /// Success with these fields.
    pub fn with_fields(ext: ExtFields) -> Self {
        Self { ext, ..Self::ok() }
    }

    /// The same reply with a body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The same reply with another code and remark: some codes other than 0 carry fields too.
    pub fn code(mut self, code: i32, remark: impl Into<Text>) -> Self {
        self.code = code;
        self.remark = Some(remark.into());
        self
    }

    /// A refusal without fields.
    pub fn refuse(code: i32, remark: impl Into<Text>) -> Self {
        Self::ok().code(code, remark)
    }

    /// The answer to a request nobody here handles.
    pub fn unsupported(request: i32) -> Self {
        Self::refuse(code::REQUEST_CODE_NOT_SUPPORTED, format!(" request type {request} not supported"))
    }

    /// The answer of a server with too much to do.
    pub fn busy(remark: &'static str) -> Self {
        Self::refuse(code::SYSTEM_BUSY, Text::from_static(remark))
    }

    /// Appends the answer's frame. One that no peer would take becomes an error the peer can read.
    pub(crate) fn encode(self, opaque: i32, encoding: Encoding, out: &mut BytesMut) {
        let Self { code, remark, ext, body } = self;
        let answer = Command { remark, ext, body, encoding, ..Command::response(opaque, code) };
        if let Err(error) = answer.encode(out) {
            tracing::warn!(%error, code, "answer not sent");
            let refusal = Self::refuse(code::SYSTEM_ERROR, error.to_string());
            let answer =
                Command { remark: refusal.remark, encoding, ..Command::response(opaque, refusal.code) };
            answer.encode(out).expect("a short answer fits");
        }
    }
}
