//! Why a program ends early: a sentence for people and an exit code for scripts.

use std::fmt;

/// The end of a program that did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    text: String,
}

impl Failure {
    /// The configuration is wrong: RocketMQ's -3.
    pub(crate) fn config(text: impl Into<String>) -> Self {
        Self { code: 253, text: text.into() }
    }

    /// A question has no answer.
    pub(crate) fn answer(text: impl Into<String>) -> Self {
        Self { code: 1, text: text.into() }
    }

    /// It could not start or go on: RocketMQ's -1.
    pub(crate) fn start(text: impl Into<String>) -> Self {
        Self { code: 255, text: text.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
