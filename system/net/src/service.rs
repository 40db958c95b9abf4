//! Who answers the requests of a connection.

use std::{future::Future, sync::Arc};

use protocol::Command;

use crate::{Peer, Reply};

/// A program's answers: a broker, a name server, and a client for the requests its broker sends it.
///
/// `handle` is called for each request in the order of arrival and its future is polled once at once. A future that
/// is not ready waits in its connection's own set; it costs its own size as long as it waits, so it should stay small.
/// A panic in it ends the program.
pub trait Service: Send + Sync + 'static {
    /// Answers one request; the reply to a one-way request is dropped. An unknown code is answered
    /// with [`Reply::unsupported`].
    fn handle(&self, peer: &Arc<Peer>, command: Command) -> impl Future<Output = Reply> + Send;

    /// The connection ended: all its requests have been handled or have started, nothing can be sent to it any more.
    fn closed(&self, peer: &Arc<Peer>) {
        let _ = peer;
    }

    /// Whether a waiting request of this code runs to its end although its connection is gone. Yes for a write that
    /// waits for the disk, no for a long poll whose answer nobody would read.
    fn survives_close(&self, code: i32) -> bool {
        let _ = code;
        true
    }

    /// Asked for each request while more than `Limits::max_waiting` handlers of its connection wait: the answer to
    /// give instead of starting one more. None for a request that never waits, such as a heartbeat.
    fn overloaded(&self, command: &Command) -> Option<Reply> {
        let _ = command;
        None
    }
}
