//! Connections as the system holds them.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::{self, DIALLER};
use crate::{
    node::Node,
    state::{Here, State, here, try_with, with},
    time,
};

/// A connection: one of its ends.
#[derive(Debug)]
pub struct TcpStream {
    here: Here,
    connection: u32,
    end: usize,
    local: SocketAddr,
    peer: SocketAddr,
}

impl TcpStream {
    /// Connects. May take two minutes to fail when nobody answers: put a time-out around it.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let here = here();
        let mut wait = FIRST_RETRY;
        let began = time::elapsed();
        loop {
            let sent = time::elapsed();
            match attempt(here.node, address).await {
                Answer::Accepts(peer) => return with(|state| Self::open(state, here, peer, address)),
                Answer::Refuses => return Err(io::ErrorKind::ConnectionRefused.into()),
                Answer::Nothing => {}
            }
            if wait > LAST_RETRY {
                time::pass((began + GIVE_UP).saturating_sub(time::elapsed())).await;
                return Err(io::ErrorKind::TimedOut.into());
            }
            time::pass((sent + wait).saturating_sub(time::elapsed())).await;
            wait *= 2;
        }
    }

    fn open(state: &mut State, here: Here, peer: Node, address: SocketAddr) -> io::Result<Self> {
        if !state.is_alive(here) {
            return Err(io::Error::other("this process is dead"));
        }
        let ip = if address.ip().is_loopback() { address.ip() } else { state.machine(here.node).ip };
        let local = SocketAddr::new(ip, state.free_port(here.node)?);
        let connection = state.open(here, local, peer, address);
        Ok(Self::of(state, connection, DIALLER))
    }

    /// The handle of one end.
    pub(super) fn of(state: &State, connection: u32, end: usize) -> Self {
        let ends = state.ends(connection);
        Self { here: ends[end].here, connection, end, local: ends[end].address, peer: ends[1 - end].address }
    }

    /// This side's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    /// The other side's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }

    /// Whether small writes leave at once. Here they always do.
    pub fn set_nodelay(&self, _nodelay: bool) -> io::Result<()> {
        Ok(())
    }
}

enum Answer {
    Accepts(Node),
    Refuses,
    Nothing,
}

/// One packet that asks to connect, and its answer.
async fn attempt(from: Node, address: SocketAddr) -> Answer {
    let Some((to, latency)) = with(|state| {
        let to = state.host(from, address.ip())?;
        Some((to, state.ask(from, to, true)?))
    }) else {
        return Answer::Nothing;
    };
    time::pass(latency).await;
    let Some((accepts, latency)) = with(|state| {
        let accepts = state.accepts(to, address)?;
        Some((accepts, state.ask(to, from, false)?))
    }) else {
        return Answer::Nothing;
    };
    time::pass(latency).await;
    if accepts { Answer::Accepts(to) } else { Answer::Refuses }
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        wire::poll_read(self.here, self.connection, self.end, cx, out)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        wire::poll_write(self.here, self.connection, self.end, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(wire::shutdown(self.here, self.connection, self.end))
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        // The connections of a dead process were closed when it died.
        if try_with(|state| state.is_alive(self.here)) == Some(true) {
            wire::close(self.connection, self.end);
        }
    }
}

/// Linux asks after 1, 3, 7, 15, 31 and 63 s again and gives up after 127 s.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(32);
const GIVE_UP: Duration = Duration::from_secs(127);
