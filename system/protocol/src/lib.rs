//! The RocketMQ remoting protocol and message formats: pure codecs without a runtime.

pub mod batch;
pub mod compression;
pub mod id;
pub mod properties;
pub mod record;
pub mod tag;
