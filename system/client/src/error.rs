//! Errors, each telling whether the call may have taken effect.

use crate::Text;

/// Why a client could not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// A name or setting is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// No name server is configured.
    #[error("no name server address: call name_servers(\"host:9876\")")]
    NoNameServer,
    /// The first calls failed.
    #[error("cannot start: {0}")]
    Call(#[from] CallError),
}

/// What went wrong with one call to one peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The peer answered with a code that is not a success.
    #[error("{peer} refused with code {code}: {remark}")]
    Refused {
        /// Address of the peer.
        peer: Text,
        /// Response code.
        code: i32,
        /// The peer's words.
        remark: Text,
    },
    /// Nothing was sent.
    #[error("{peer} was not reached: {why}")]
    NotSent {
        /// Address of the peer.
        peer: Text,
        /// What the connection said.
        why: String,
    },
    /// It was sent, but no answer came: a time-out or a broken connection.
    #[error("{peer} did not answer: {why}")]
    NoAnswer {
        /// Address of the peer.
        peer: Text,
        /// What the connection said.
        why: String,
    },
    /// The answer cannot be understood.
    #[error("the answer of {peer} is malformed: {why}")]
    Malformed {
        /// Address of the peer.
        peer: Text,
        /// What is wrong with it.
        why: String,
    },
}

/// Why a call other than a send failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// An argument is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// The name servers know no route of the topic.
    #[error("no route for topic {topic}: {why}")]
    NoRoute {
        /// The topic.
        topic: Text,
        /// What the name servers said.
        why: String,
    },
    /// No address of the broker is known.
    #[error("no broker called {broker} is known")]
    NoBroker {
        /// Name of the broker.
        broker: Text,
    },
    /// It was not found, and may be there.
    #[error("not found, but there may be more: {why}")]
    Incomplete {
        /// A broker's words.
        why: String,
    },
    /// The call itself failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The client was shut down.
    #[error("the client is shut down")]
    Stopped,
}

/// Why a message has no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The message or its topic breaks a rule; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// Nobody to send to; nothing was sent.
    #[error("no route for topic {topic}: {why}")]
    NoRoute {
        /// The topic.
        topic: Text,
        /// What the name servers said.
        why: String,
    },
    /// No attempt took effect: each was refused before it stored anything, or was never sent.
    #[error("{topic} was not stored after {} attempts, last: {}", faults.len(), last(faults))]
    Refused {
        /// The topic.
        topic: Text,
        /// What went wrong, attempt by attempt.
        faults: Vec<Fault>,
    },
    /// At least one attempt may have been stored.
    #[error("{topic} may or may not be stored after {} attempts, last: {}", faults.len(), last(faults))]
    Unknown {
        /// The topic.
        topic: Text,
        /// What went wrong, attempt by attempt.
        faults: Vec<Fault>,
    },
    /// The producer was shut down; nothing was sent.
    #[error("the producer is shut down")]
    Stopped,
}

impl SendError {
    /// True when the message may be stored although the send failed.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// How many attempts reached a broker or may have.
    pub fn attempts(&self) -> usize {
        match self {
            Self::Refused { faults, .. } | Self::Unknown { faults, .. } => faults.len(),
            _ => 0,
        }
    }
}

fn last(faults: &[Fault]) -> String {
    faults.last().map_or_else(|| "no time left".to_owned(), ToString::to_string)
}
