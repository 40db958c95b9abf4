//! The RocketMQ remoting protocol and message formats: pure codecs without a runtime.
