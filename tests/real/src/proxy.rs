//! A proxy in front of every server, with a door of its own for each who dials it: so every link can be cut, slowed and
//! broken alone. Who asks a name server for brokers is told the doors that are meant for him.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use lab::draw::Draw;
use protocol::Command;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// All links.
#[derive(Debug, Default)]
pub(crate) struct Net {
    links: BTreeMap<(String, String), Arc<Link>>,
    doors: JoinSet<()>,
    /// What the proxy did to others, by what it was.
    pub(crate) effects: Arc<Effects>,
}

/// What was done to what passed.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Pieces of data, connections and ends of connections that were held back.
    pub(crate) held: AtomicU64,
    /// Connections that were broken.
    pub(crate) broken: AtomicU64,
    /// Pieces of data that were late.
    pub(crate) late: AtomicU64,
    /// Requests that were sent twice.
    pub(crate) doubled: AtomicU64,
}

/// From one who dials to a server.
#[derive(Debug)]
struct Link {
    target: SocketAddr,
    /// Texts in what comes back, and what stands there instead.
    names: Vec<(String, String)>,
    /// Some sends are given to the server twice: a lie, to see that it is noticed.
    doubles: bool,
    state: Mutex<State>,
    changed: Notify,
    effects: Arc<Effects>,
}

#[derive(Debug)]
struct State {
    /// How many faults hold back what goes there, and what comes back.
    blocked: [u32; 2],
    lag: Option<(u64, u32)>,
    close_behind: [bool; 2],
    /// Grows when all connections break.
    epoch: u64,
    draw: Draw,
}

impl Net {
    /// Opens the door by which `from` reaches the server `to`.
    pub(crate) async fn open(&mut self, from: &str, to: &str, door: SocketAddr, way: Way) -> io::Result<()> {
        let Way { target, names, doubles, seed } = way;
        let draw = Draw::new(seed, &format!("link {from} {to}"));
        let state = State { blocked: [0; 2], lag: None, close_behind: [false; 2], epoch: 0, draw };
        let (state, changed, effects) = (Mutex::new(state), Notify::new(), self.effects.clone());
        let link = Arc::new(Link { target, names, doubles, state, changed, effects });
        let listener = TcpListener::bind(door).await?;
        self.links.insert((from.to_owned(), to.to_owned()), link.clone());
        self.doors.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                passing.spawn(pass(link.clone(), stream));
                while passing.try_join_next().is_some() {}
            }
        });
        Ok(())
    }

    /// Holds back what goes from one to the other, or lets it go.
    pub(crate) fn block(&self, from: &str, to: &str, on: bool) {
        for (link, way) in self.between(from, to) {
            link.change(|state| {
                let count = &mut state.blocked[way];
                *count = if on { *count + 1 } else { count.saturating_sub(1) };
            });
        }
    }

    /// Cuts a node off from everybody, or no longer.
    pub(crate) fn isolate(&self, node: &str, on: bool) {
        let others = self.links.keys().filter_map(|(a, b)| match node {
            _ if a == node => Some(b),
            _ if b == node => Some(a),
            _ => None,
        });
        for other in others {
            self.block(node, other, on);
            self.block(other, node, on);
        }
    }

    /// Breaks all connections between the two.
    pub(crate) fn reset(&self, a: &str, b: &str) {
        self.between(a, b).for_each(|(link, _)| link.change(|state| state.epoch += 1));
    }

    /// Lets what passes between the two take up to so long, and be lost and sent again in so many of 100 cases.
    pub(crate) fn lag(&self, a: &str, b: &str, lag: Option<(u64, u32)>) {
        self.between(a, b).for_each(|(link, _)| link.change(|state| state.lag = lag));
    }

    /// Closes a connection behind what next goes from one to the other.
    pub(crate) fn close_behind(&self, from: &str, to: &str) {
        self.between(from, to).for_each(|(link, way)| link.change(|state| state.close_behind[way] = true));
    }

    /// The links of two nodes, whoever dials, with the way that leads from the first to the second.
    fn between(&self, from: &str, to: &str) -> impl Iterator<Item = (&Link, usize)> {
        let link = |a: &str, b: &str| self.links.get(&(a.to_owned(), b.to_owned())).map(|link| &**link);
        let (there, back) = (link(from, to), link(to, from));
        there.map(|link| (link, THERE)).into_iter().chain(back.map(|link| (link, BACK)))
    }
}

/// Where a door leads.
#[derive(Debug)]
pub(crate) struct Way {
    /// The server's own address.
    pub(crate) target: SocketAddr,
    /// Texts in what comes back, and what stands there instead.
    pub(crate) names: Vec<(String, String)>,
    /// Some sends are given to the server twice.
    pub(crate) doubles: bool,
    /// For what is left to chance.
    pub(crate) seed: u64,
}

impl Link {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_waiters();
    }

    async fn until(&self, so: impl Fn(&State) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if so(&self.state()) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until something may pass on one way.
    async fn let_through(&self, way: usize) {
        if self.state().blocked[way] > 0 {
            self.effects.held.fetch_add(1, Ordering::Relaxed);
            self.until(|state| state.blocked[way] == 0).await;
        }
        let late_ms = {
            let mut state = self.state();
            let State { lag, draw, .. } = &mut *state;
            lag.map(|(most_ms, loss)| {
                let again_ms = if draw.chance(u64::from(loss)) { RETRANSMITTED_MS } else { 0 };
                draw.range(most_ms / 10, most_ms) + again_ms
            })
        };
        if let Some(late_ms) = late_ms {
            self.effects.late.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(late_ms)).await;
        }
    }

    /// What goes on instead of what came; frames that are not whole yet wait.
    fn changed(&self, way: usize, waiting: &mut BytesMut, came: &[u8]) -> Vec<u8> {
        if self.names.is_empty() && way == BACK || !self.doubles && way == THERE {
            return came.to_vec();
        }
        waiting.extend_from_slice(came);
        let mut out = Vec::new();
        while let Some(length) = waiting.first_chunk::<4>().map(|head| u32::from_be_bytes(*head) as usize) {
            if waiting.len() < 4 + length {
                break;
            }
            let frame = waiting.split_to(4 + length);
            let twice = way == THERE && self.is_doubled(&frame);
            let frame = if way == BACK { renamed(&frame, &self.names) } else { frame.to_vec() };
            out.extend_from_slice(&frame);
            if twice {
                self.effects.doubled.fetch_add(1, Ordering::Relaxed);
                out.extend_from_slice(&frame);
            }
        }
        out
    }

    fn is_doubled(&self, frame: &[u8]) -> bool {
        let sends = Command::decode(frame[4..].into()).is_ok_and(|command| SENDS.contains(&command.code));
        sends && self.state().draw.chance(10)
    }
}

/// A frame whose body names other addresses.
fn renamed(frame: &[u8], names: &[(String, String)]) -> Vec<u8> {
    let Some(word) = frame.get(4..8).and_then(|word| word.first_chunk::<4>()) else { return frame.to_vec() };
    let body_at = 8 + (u32::from_be_bytes(*word) & 0x00ff_ffff) as usize;
    let Some((head, body)) = frame.split_at_checked(body_at) else { return frame.to_vec() };
    let Ok(body) = std::str::from_utf8(body) else { return frame.to_vec() };
    let body = names.iter().fold(body.to_owned(), |body, (own, door)| body.replace(own, door));
    let length = (head.len() - 4 + body.len()) as u32;
    [&length.to_be_bytes(), &head[4..], body.as_bytes()].concat()
}

/// How a connection came to its end.
enum End {
    /// Both sides closed it, or the proxy closed it behind data.
    Closed,
    /// Something broke it.
    Broken,
}

async fn pass(link: Arc<Link>, mut client: TcpStream) {
    let epoch = link.state().epoch;
    // Nobody answers who dials when nothing gets through.
    if link.state().blocked != [0, 0] {
        link.effects.held.fetch_add(1, Ordering::Relaxed);
    }
    link.until(|state| state.blocked == [0, 0] || state.epoch != epoch).await;
    let Ok(mut server) = TcpStream::connect(link.target).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let end = tokio::select! {
        biased;
        () = link.until(|state| state.epoch != epoch) => {
            link.effects.broken.fetch_add(1, Ordering::Relaxed);
            End::Broken
        }
        end = both_ways(&link, &mut client, &mut server) => end,
    };
    if matches!(end, End::Broken) {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

async fn both_ways(link: &Link, client: &mut TcpStream, server: &mut TcpStream) -> End {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let there = pump(link, THERE, from_client, to_server);
    let back = pump(link, BACK, from_server, to_client);
    match tokio::try_join!(there, back) {
        Ok(_) => End::Closed,
        Err(error) if error.kind() == ErrorKind::ConnectionAborted => End::Closed,
        Err(_) => End::Broken,
    }
}

/// Carries one way until its end.
async fn pump(link: &Link, way: usize, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
    let (mut room, mut waiting) = (vec![0; ROOM], BytesMut::new());
    loop {
        let count = from.read(&mut room).await?;
        link.let_through(way).await;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&link.changed(way, &mut waiting, &room[..count])).await?;
        if std::mem::take(&mut link.state().close_behind[way]) {
            link.effects.broken.fetch_add(1, Ordering::Relaxed);
            return Err(ErrorKind::ConnectionAborted.into());
        }
    }
}

const THERE: usize = 0;
const BACK: usize = 1;
/// Read at once.
const ROOM: usize = 64 << 10;
/// A lost packet comes so much later.
const RETRANSMITTED_MS: u64 = 200;
/// Requests that send messages.
const SENDS: [i32; 3] = [10, 310, 320];
