//! The protocol on sockets: connections, calls and servers.
//!
//! Both ends of a connection are the same thing (`connection.rs`): a task that handles the peer's requests with a
//! [`Service`] and sends this end's own, [`Peer::call`]. A [`Server`] accepts such connections, a [`Client`] dials them.

mod client;
mod connection;
mod deadlines;
mod error;
mod limits;
mod peer;
mod reply;
mod server;
mod service;
mod state;
mod waiting;

pub use client::{Client, Options};
pub use deadlines::{Deadline, Deadlines, TooLate};
pub use error::{CallError, NotSent, Unknown};
pub use limits::Limits;
pub use peer::Peer;
pub use reply::Reply;
pub use server::{Running, Server};
pub use service::Service;
