//! Listening sockets.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    task::{Poll, Waker},
};

use super::{
    stream::TcpStream,
    wire::{self, LISTENER},
};
use crate::state::{Here, State, remember, try_with, with};

/// A listening port of a node.
pub(crate) struct Listener {
    pub(super) here: Here,
    /// None listens at all addresses of the node.
    pub(super) ip: Option<IpAddr>,
    /// Connections nobody accepted yet.
    pub(super) queue: VecDeque<u32>,
    pub(super) wakers: Vec<Waker>,
}

/// A socket that accepts connections.
#[derive(Debug)]
pub struct TcpListener {
    here: Here,
    address: SocketAddr,
}

impl TcpListener {
    /// Listens at `address`; port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        with(|state| {
            let here = state.here();
            if !state.is_alive(here) {
                return Err(io::Error::other("this process is dead"));
            }
            let ip = address.ip();
            if !ip.is_unspecified() && state.host(here.node, ip) != Some(here.node) {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
            let port = if address.port() == 0 { state.free_port(here.node)? } else { address.port() };
            if state.net.listeners.contains_key(&(here.node, port)) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let ip = (!ip.is_unspecified()).then_some(ip);
            let listener = Listener { here, ip, queue: VecDeque::new(), wakers: Vec::new() };
            state.net.listeners.insert((here.node, port), listener);
            state.record(here.node, "listen", &[u64::from(port)], b"");
            Ok(Self { here, address: SocketAddr::new(address.ip(), port) })
        })
    }

    /// Waits for the next connection.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| {
            with(|state| {
                let Some(listener) = state.net.listeners.get_mut(&(self.here.node, self.address.port()))
                else {
                    return Poll::Pending; // the process is dead
                };
                if listener.here != self.here {
                    return Poll::Pending; // and another has taken its place
                }
                let Some(connection) = listener.queue.pop_front() else {
                    remember(&mut listener.wakers, cx.waker());
                    return Poll::Pending;
                };
                let stream = TcpStream::of(state, connection, LISTENER);
                let peer = stream.peer_addr()?;
                Poll::Ready(Ok((stream, peer)))
            })
        })
        .await
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        let key = (self.here.node, self.address.port());
        let closed = try_with(|state| {
            let ours = state.net.listeners.get(&key).is_some_and(|listener| listener.here == self.here);
            ours.then(|| state.net.listeners.remove(&key)).flatten()
        });
        if let Some(Some(listener)) = closed {
            wire::refuse(listener);
        }
    }
}

impl State {
    /// A port that the system chooses.
    pub(super) fn free_port(&mut self, node: crate::node::Node) -> io::Result<u16> {
        for _ in crate::node::FIRST_PORT..=LAST_PORT {
            let next = &mut self.machines[node.index()].next_port;
            let port = *next;
            *next = if port == LAST_PORT { crate::node::FIRST_PORT } else { port + 1 };
            if !self.net.listeners.contains_key(&(node, port)) {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

/// Where Linux stops to give out ports of its own choice.
const LAST_PORT: u16 = 60_999;
