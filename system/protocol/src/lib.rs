//! The RocketMQ remoting protocol and message formats: pure codecs without a runtime.
//!
//! Every codec here is total: bytes a peer sent give a value or an error, never a panic, and a length is checked
//! before it is trusted. Nothing here blocks, sleeps, reads a clock or spawns.
#![warn(clippy::cast_possible_truncation)]

pub mod base64;
pub mod batch;
pub mod body;
pub mod code;
pub mod command;
pub mod compression;
pub mod config;
pub mod date;
pub mod ext;
pub mod frame;
pub mod id;
pub mod json;
pub mod name;
pub mod properties;
pub mod record;
pub mod rpc;
pub mod tag;
pub mod text;
pub mod version;

pub use command::{Command, DecodeError, Encoding, Language, TooLong};
pub use ext::{ExtFields, Header, HeaderError, Request};
pub use frame::{FrameError, Splitter};
pub use text::Text;
