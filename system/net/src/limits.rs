//! The bounds of one connection.

use std::time::Duration;

/// Bounds of one connection; every queue and every turn of its loop has one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Frames handled before other connections get their turn.
    pub turn_frames: usize,
    /// Bytes of frames handled before other connections get their turn.
    pub turn_bytes: usize,
    /// Longest frame accepted, with its length field.
    pub max_frame_bytes: usize,
    /// Unsent bytes above which nothing more is read.
    pub max_unsent_bytes: usize,
    /// A client reads on whatever it has not sent, so that two ends with full windows cannot wait for each other.
    pub always_read: bool,
    /// Waiting handlers above which the service is asked for an answer instead; at twice as many all are refused.
    pub max_waiting: usize,
    /// Requests to the peer that wait for the writer.
    pub max_queued_frames: usize,
    /// Bytes of requests to the peer that wait for the writer.
    pub max_queued_bytes: usize,
    /// A call that finds the queue full waits for room as long as its time-out (a client), or fails at once.
    pub wait_for_room: bool,
    /// A connection that moved nothing in either direction for so long is closed.
    pub idle: Duration,
    /// A connection that took none of the bytes it was offered for so long is closed.
    pub stalled: Duration,
    /// Close when a call timed out and the peer sent nothing since it began: the other end may be gone silently.
    pub close_when_silent: bool,
}

impl Limits {
    /// For connections that were accepted.
    pub const fn server() -> Self {
        Self {
            turn_frames: 1_024,
            turn_bytes: 256 << 10,
            max_frame_bytes: 16 << 20,
            max_unsent_bytes: 1 << 20,
            always_read: false,
            max_waiting: 4_096,
            max_queued_frames: 1_024,
            max_queued_bytes: 4 << 20,
            wait_for_room: false,
            idle: Duration::from_secs(120),
            stalled: Duration::from_secs(60),
            close_when_silent: false,
        }
    }

    /// For connections that were dialled.
    pub const fn client() -> Self {
        Self { always_read: true, wait_for_room: true, close_when_silent: true, ..Self::server() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::server()
    }
}
