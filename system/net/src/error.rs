//! Why a call has no good answer, and whether it may have taken effect.

use std::io;

use protocol::Text;

/// A call failed. The three cases are what a caller must tell apart before it tries again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The peer answered with a code other than 0: whether it took effect is what the code says.
    #[error("refused with code {code}: {}", remark.as_deref().unwrap_or("no remark"))]
    Refused {
        /// The response code.
        code: i32,
        /// The peer's own words.
        remark: Option<Text>,
    },
    /// The request surely never reached the peer: it may be sent again, elsewhere too.
    #[error("not sent: {0}")]
    NotSent(#[source] NotSent),
    /// The request may have taken effect.
    #[error("effect unknown: {0}")]
    Unknown(#[source] Unknown),
}

/// Why a request was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The address cannot be used.
    #[error("{address} is no address that can be dialled: write host:port")]
    Address {
        /// As it was given.
        address: Text,
    },
    /// No connection could be made.
    #[error("cannot connect to {address}: {kind}")]
    Connect {
        /// Who was dialled.
        address: Text,
        /// What the network said.
        kind: io::ErrorKind,
    },
    /// The address failed a moment ago and is not dialled again yet.
    #[error("{address} could not be reached and is not tried again for {wait_ms} ms")]
    Pausing {
        /// Who would be dialled.
        address: Text,
        /// The rest of the pause.
        wait_ms: u64,
    },
    /// Too many requests wait for this peer.
    #[error("the queue of requests to this peer is full")]
    QueueFull,
    /// No peer would take so long a frame.
    #[error("a request of {bytes} bytes is longer than a frame may be")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The connection was closed before the request left.
    #[error("the connection is closed")]
    Closed,
}

/// Why the effect of a request is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No answer came in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection ended before the answer came.
    #[error("the connection ended before the answer came")]
    Broken,
    /// An answer of success came that cannot be read.
    #[error("the answer cannot be read: {0}")]
    Malformed(Text),
}
