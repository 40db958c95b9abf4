//! Connections and the packets on them.
//!
//! A connection has two ends and two pipes; pipe `i` carries what end `i` writes. Packets arrive one after the other,
//! each by an event of the world's timers, so a reader is woken only when there is something to read.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::io::ReadBuf;

use super::{Listener, Passage, Verdict};
use crate::{
    node::Node,
    state::{Here, State, with},
    timer::{Event, Key},
};

pub(super) const DIALLER: usize = 0;
pub(super) const LISTENER: usize = 1;

pub(super) struct Connection {
    ends: [End; 2],
    pipes: [Pipe; 2],
}

pub(super) struct End {
    pub(super) here: Here,
    pub(super) address: SocketAddr,
    /// The way that this end's packets take.
    way: usize,
    /// Closed by its owner, or its process or machine is dead.
    gone: bool,
    /// What reads (of what has not come yet) and writes give from now on.
    broken: Option<io::ErrorKind>,
}

/// What one end has written and the other has not read.
#[derive(Default)]
struct Pipe {
    flight: VecDeque<Packet>,
    last_arrival: u64,
    timer: Option<Key>,
    /// Since when the first packet has been sent in vain.
    stalled_since: Option<u64>,
    inbox: BytesMut,
    /// Bytes that count against the window: in flight, not read, or read but not yet acknowledged.
    used: usize,
    /// Read, but the acknowledgement cannot get through.
    unacknowledged: usize,
    finished: bool,
    at_end: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Packet {
    at: u64,
    /// Lost when it was first sent: it comes late, and only if its sender lives to send it again.
    again: bool,
    load: Load,
}

enum Load {
    /// The last step of connecting: the connection comes up for acceptance.
    Open,
    Data(BytesMut),
    /// Nothing more will come.
    Finish,
    /// The connection closes here and now, by a fault.
    Sever,
    Reset,
}

/// Those to be woken once nothing is borrowed any more.
#[derive(Default)]
struct Woken(Vec<Waker>);

impl Woken {
    fn add(&mut self, waker: &mut Option<Waker>) {
        self.0.extend(waker.take());
    }

    fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

impl Connection {
    /// Makes an end fail from now on.
    fn break_end(&mut self, end: usize, why: io::ErrorKind, woken: &mut Woken) {
        self.ends[end].broken.get_or_insert(why);
        woken.add(&mut self.pipes[end].writer);
        woken.add(&mut self.pipes[1 - end].reader);
    }
}

impl State {
    fn connection(&mut self, connection: u32) -> Option<&mut Connection> {
        self.net.connections[connection as usize].as_deref_mut()
    }

    pub(super) fn ends(&self, connection: u32) -> &[End; 2] {
        &self.net.connections[connection as usize].as_ref().expect("it has an owner").ends
    }

    /// One packet outside any connection: how long it takes, unless it is lost.
    pub(super) fn ask(&mut self, from: Node, to: Node, connects: bool) -> Option<Duration> {
        let way = self.way(from, to);
        let way = &mut self.net.links[way];
        let lost = if way.blocked {
            Some("net.block")
        } else if connects && way.link.hang_connects {
            Some("net.hang")
        } else if way.link.loss > 0.0 && way.loss.chance(way.link.loss) {
            Some("net.loss")
        } else {
            None
        };
        if let Some(why) = lost {
            self.effect(from, why);
            return None;
        }
        let latency = way.latency.between(&way.link.latency);
        if latency >= self.net.usual.latency.end {
            self.effect(from, "net.late");
        }
        Some(latency)
    }

    /// Whether a machine accepts connections at an address; None when it does not answer.
    pub(super) fn accepts(&mut self, node: Node, address: SocketAddr) -> Option<bool> {
        if !self.machine(node).powered {
            return None;
        }
        let backlog = self.machine(node).backlog;
        match self.listener(node, address) {
            Some(listener) if listener.queue.len() >= backlog => {
                self.effect(node, "net.backlog");
                None
            }
            found => Some(found.is_some()),
        }
    }

    fn listener(&mut self, node: Node, address: SocketAddr) -> Option<&mut Listener> {
        let listener = self.net.listeners.get_mut(&(node, address.port()))?;
        listener.ip.is_none_or(|ip| ip == address.ip()).then_some(listener)
    }

    /// Makes a connection, as its dialler sees it: the listener learns of it a packet later.
    pub(super) fn open(&mut self, here: Here, local: SocketAddr, peer: Node, address: SocketAddr) -> u32 {
        let connection = self.net.connections.len() as u32;
        let ways = [self.way(here.node, peer), self.way(peer, here.node)];
        // Who accepts is known when the last packet arrives.
        let nobody = Here { node: peer, incarnation: u32::MAX };
        let end = |here, address, way| End { here, address, way, gone: false, broken: None };
        let ends = [end(here, local, ways[0]), end(nobody, address, ways[1])];
        self.net.connections.push(Some(Box::new(Connection { ends, pipes: Default::default() })));
        self.counts.connections += 1;
        self.record(here.node, "connect", &[u64::from(connection)], format!("{local} {address}").as_bytes());
        self.send(connection, DIALLER, Load::Open, Duration::ZERO);
        connection
    }

    /// Sends a packet along pipe `end`.
    fn send(&mut self, connection: u32, end: usize, load: Load, delay: Duration) {
        let now = self.now();
        let Some(Some(found)) = self.net.connections.get_mut(connection as usize) else { return };
        let way = &mut self.net.links[found.ends[end].way];
        let mut latency = way.latency.between(&way.link.latency);
        let late = way.from != way.to && latency >= self.net.usual.latency.end;
        latency += delay;
        let mut lost = 0;
        if way.link.loss > 0.0 {
            while lost < 6 && way.loss.chance(way.link.loss) {
                latency += RETRANSMIT * (1 << lost);
                lost += 1;
            }
        }
        let (from, again) = (way.from, lost > 0);
        if again && matches!(load, Load::Reset) {
            return self.effect(from, "net.loss"); // a reset is sent once
        }
        let pipe = &mut found.pipes[end];
        let at = pipe.last_arrival.max(now + latency.as_nanos() as u64);
        pipe.last_arrival = at;
        match (pipe.flight.back_mut(), load) {
            // In the shadow of a slower packet: they arrive together.
            (Some(Packet { at: same, again: alike, load: Load::Data(before) }), Load::Data(data))
                if (*same, *alike) == (at, again) =>
            {
                before.extend_from_slice(&data);
            }
            (_, load) => pipe.flight.push_back(Packet { at, again, load }),
        }
        if pipe.timer.is_none() {
            let key = self.timers.add(&self.time, at, Event::Arrive { connection, end });
            pipe.timer = Some(key);
        }
        for _ in 0..lost {
            self.effect(from, "net.loss");
        }
        if late {
            self.effect(from, "net.late");
        }
    }

    /// Forgets a connection when nothing can happen on it any more.
    fn forget(&mut self, connection: u32) {
        let Some(found) = self.connection(connection) else { return };
        let over =
            found.ends.iter().all(|end| end.gone) && found.pipes.iter().all(|pipe| pipe.flight.is_empty());
        if !over {
            return;
        }
        let timers = found.pipes.each_mut().map(|pipe| pipe.timer.take());
        self.net.connections[connection as usize] = None;
        for key in timers.into_iter().flatten() {
            self.timers.remove(key);
        }
    }

    /// Closes an end as a system does for its process: what is not read is lost, and the peer is told by a reset.
    fn close_end(&mut self, connection: u32, end: usize) {
        let Some(found) = self.connection(connection) else { return };
        if found.ends[end].gone {
            return;
        }
        found.ends[end].gone = true;
        let unread = !found.pipes[1 - end].inbox.is_empty();
        let broken = found.ends[end].broken.is_some();
        let finished = std::mem::replace(&mut found.pipes[end].finished, true);
        found.pipes[1 - end].inbox = BytesMut::new();
        let node = found.ends[end].here.node;
        self.record(node, "close", &[u64::from(connection), end as u64], b"");
        if !broken && unread {
            self.drop_unsent(connection, end);
            self.send(connection, end, Load::Reset, Duration::ZERO);
        } else if !broken && !finished {
            self.send(connection, end, Load::Finish, Duration::ZERO);
        }
        self.forget(connection);
    }

    /// What end `end` has not brought on its way never goes there: from the first packet on that would be sent again.
    fn drop_unsent(&mut self, connection: u32, end: usize) {
        let Some(found) = self.connection(connection) else { return };
        let pipe = &mut found.pipes[end];
        let left = match pipe.stalled_since.take() {
            Some(_) => 0,
            None => pipe.flight.iter().position(|packet| packet.again).unwrap_or(pipe.flight.len()),
        };
        pipe.flight.truncate(left);
        pipe.last_arrival = pipe.flight.back().map_or(0, |last| last.at);
        let timer = if left == 0 { pipe.timer.take() } else { None };
        if let Some(key) = timer {
            self.timers.remove(key);
        }
    }

    /// Whether packets of this end get anywhere now.
    fn passes(&self, found: &Connection, end: usize) -> bool {
        let way = &self.net.links[found.ends[end].way];
        !way.blocked && self.machines[way.to.index()].powered
    }

    /// All connections, by number.
    fn all_connections(&self) -> Vec<u32> {
        (0_u32..)
            .zip(&self.net.connections)
            .filter(|(_, found)| found.is_some())
            .map(|(number, _)| number)
            .collect()
    }
}

/// The packets of pipe `end` whose time has come arrive.
pub(crate) fn arrive(connection: u32, end: usize) {
    let mut woken = Woken::default();
    with(|state| {
        let now = state.now();
        if let Some(found) = state.connection(connection) {
            found.pipes[end].timer = None;
        }
        while let Some(found) = state.net.connections[connection as usize].as_deref() {
            let pipe = &found.pipes[end];
            let Some(first) = pipe.flight.front() else { break };
            if first.at > now {
                let (at, event) = (first.at, Event::Arrive { connection, end });
                let key = state.at(at, event);
                if let Some(found) = state.connection(connection) {
                    found.pipes[end].timer = Some(key);
                }
                break;
            }
            if !state.passes(found, end) && !matches!(first.load, Load::Reset) {
                state.stall(connection, end, now);
                break;
            }
            let passes = state.passes(found, end);
            let Some(found) = state.connection(connection) else { break };
            let pipe = &mut found.pipes[end];
            let Some(packet) = pipe.flight.pop_front() else { break };
            if passes {
                pipe.stalled_since = None;
                state.deliver(connection, end, packet, &mut woken);
            } // else: a reset is sent once
        }
        state.forget(connection);
    });
    woken.wake();
}

impl State {
    /// The first packet does not get through: it is sent again when the way is free, until the sender gives up.
    fn stall(&mut self, connection: u32, end: usize, now: u64) {
        let Some(found) = self.connection(connection) else { return };
        let new = found.pipes[end].stalled_since.is_none();
        let since = *found.pipes[end].stalled_since.get_or_insert(now);
        let way = found.ends[end].way;
        let key = self.at(since + PATIENCE.as_nanos() as u64, Event::GiveUp { connection, end });
        if let Some(found) = self.connection(connection) {
            found.pipes[end].timer = Some(key);
        }
        let way = &self.net.links[way];
        let (from, blocked) = (way.from, way.blocked);
        if new && blocked {
            self.effect(from, "net.block");
        }
    }

    fn deliver(&mut self, connection: u32, end: usize, packet: Packet, woken: &mut Woken) {
        let Some(found) = self.net.connections[connection as usize].as_deref_mut() else { return };
        let reader = 1 - end;
        if found.ends[reader].gone {
            // Nobody is there (any more): whoever sends is told so, by a packet that may get lost itself.
            let told = matches!(packet.load, Load::Reset | Load::Finish);
            if !told && !found.ends[end].gone {
                self.send(connection, reader, Load::Reset, Duration::ZERO);
            }
            return;
        }
        match packet.load {
            Load::Open => self.come_up(connection, packet.at, woken),
            Load::Data(data) => {
                let node = found.ends[reader].here.node;
                let pipe = &mut found.pipes[end];
                woken.add(&mut pipe.reader);
                let close = {
                    let closes = &mut self.net.links[found.ends[end].way].closes;
                    let close = *closes > 0;
                    *closes -= u32::from(close);
                    close
                };
                self.counts.deliveries += 1;
                self.counts.bytes += data.len() as u64;
                self.record(node, "arrive", &[u64::from(connection), end as u64], &data);
                let Some(found) = self.net.connections[connection as usize].as_deref_mut() else { return };
                let pipe = &mut found.pipes[end];
                if pipe.inbox.is_empty() {
                    pipe.inbox = data;
                } else {
                    pipe.inbox.extend_from_slice(&data);
                }
                if close {
                    self.sever(connection, end, woken);
                }
            }
            Load::Finish => {
                found.pipes[end].at_end = true;
                woken.add(&mut found.pipes[end].reader);
            }
            Load::Sever => self.sever(connection, end, woken),
            Load::Reset => {
                found.break_end(reader, io::ErrorKind::ConnectionReset, woken);
                // What the broken end had under way is of no interest to anybody.
                found.pipes[reader].flight.clear();
                found.ends[end].gone = true;
            }
        }
    }

    /// The writer's end of pipe `end` closes right behind what it wrote.
    fn sever(&mut self, connection: u32, end: usize, woken: &mut Woken) {
        let Some(found) = self.connection(connection) else { return };
        let node = found.ends[end].here.node;
        found.pipes[end].at_end = true;
        found.pipes[end].flight.clear();
        woken.add(&mut found.pipes[end].reader);
        found.break_end(end, io::ErrorKind::ConnectionReset, woken);
        found.ends[end].gone = true;
        self.effect(node, "net.close");
    }

    /// A new connection reaches its listener.
    fn come_up(&mut self, connection: u32, at: u64, woken: &mut Woken) {
        let ends = self.ends(connection);
        let (node, address) = (ends[LISTENER].here.node, ends[LISTENER].address);
        let backlog = self.machine(node).backlog;
        let Some(listener) = self.listener(node, address) else {
            if let Some(found) = self.connection(connection) {
                found.ends[LISTENER].gone = true;
            }
            self.send(connection, LISTENER, Load::Reset, Duration::ZERO);
            return;
        };
        if listener.queue.len() >= backlog {
            // Not taken up: the last step is repeated later, and all that was sent meanwhile waits behind it.
            let Some(found) = self.connection(connection) else { return };
            let at = at + ACCEPT_RETRY.as_nanos() as u64;
            let packet = Packet { at, again: false, load: Load::Open };
            found.pipes[DIALLER].flight.push_front(packet);
            return;
        }
        listener.queue.push_back(connection);
        let here = listener.here;
        woken.0.append(&mut listener.wakers);
        if let Some(found) = self.connection(connection) {
            found.ends[LISTENER].here = here;
        }
    }
}

/// The sender of pipe `end` has sent in vain for a quarter of an hour.
pub(crate) fn give_up(connection: u32, end: usize) {
    let mut woken = Woken::default();
    with(|state| {
        let Some(found) = state.connection(connection) else { return };
        found.pipes[end].timer = None;
        found.pipes[end].flight.clear();
        found.break_end(end, io::ErrorKind::TimedOut, &mut woken);
        let node = found.ends[end].here.node;
        state.record(node, "give up", &[u64::from(connection), end as u64], b"");
        state.forget(connection);
    });
    woken.wake();
}

/// Ways may be free again: what stalled on them is sent once more when TCP's doubling pauses say so.
pub(super) fn way_is_free(chosen: impl Fn(Node, Node) -> bool) {
    let mut woken = Woken::default();
    with(|state| {
        let now = state.now();
        for connection in state.all_connections() {
            for end in [DIALLER, LISTENER] {
                let Some(found) = state.net.connections[connection as usize].as_deref_mut() else { continue };
                let way = &state.net.links[found.ends[end].way];
                if !chosen(way.from, way.to) || way.blocked {
                    continue;
                }
                // Acknowledgements of what this end has read travel the same way.
                let other = &mut found.pipes[1 - end];
                let acknowledged = std::mem::take(&mut other.unacknowledged);
                if acknowledged > 0 {
                    other.used -= acknowledged;
                    woken.add(&mut other.writer);
                }
                let Some(since) = found.pipes[end].stalled_since else { continue };
                if let Some(key) = found.pipes[end].timer.take() {
                    state.timers.remove(key);
                }
                let key = state.at(next_try(since, now), Event::Arrive { connection, end });
                if let Some(found) = state.connection(connection) {
                    found.pipes[end].timer = Some(key);
                }
            }
        }
    });
    woken.wake();
}

/// When a packet first sent at `since` is sent again after `now`.
fn next_try(since: u64, now: u64) -> u64 {
    let (mut at, mut pause) = (since, RETRANSMIT);
    while at <= now {
        at += pause.as_nanos() as u64;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    at
}

/// Resets the connections between chosen ends, at both ends at once.
pub(super) fn reset(chosen: impl Fn(Node, Node) -> bool) -> usize {
    let mut woken = Woken::default();
    let count = with(|state| {
        let mut count = 0;
        for connection in state.all_connections() {
            let ends = state.ends(connection);
            if chosen(ends[0].here.node, ends[1].here.node) {
                count += usize::from(state.reset(connection, "net.reset", &mut woken));
            }
        }
        count
    });
    woken.wake();
    count
}

impl State {
    fn reset(&mut self, connection: u32, why: &'static str, woken: &mut Woken) -> bool {
        let Some(found) = self.connection(connection) else { return false };
        let node = found.ends[DIALLER].here.node;
        let mut any = false;
        for end in [DIALLER, LISTENER] {
            any |= !found.ends[end].gone && found.ends[end].broken.is_none();
            found.break_end(end, io::ErrorKind::ConnectionReset, woken);
            // A connection not accepted yet still comes up, broken.
            found.pipes[end].flight.retain(|packet| matches!(packet.load, Load::Open));
        }
        if any {
            self.effect(node, why);
            self.note(node, "reset", &[u64::from(connection)], b"");
        }
        self.forget(connection);
        any
    }
}

/// A process has ended: its system closes all it had open.
pub(crate) fn process_ends(here: Here) {
    for listener in take_listeners(here.node) {
        refuse(listener);
    }
    with(|state| {
        for connection in state.all_connections() {
            for end in [DIALLER, LISTENER] {
                if state.connection(connection).is_some_and(|found| found.ends[end].here == here) {
                    state.close_end(connection, end);
                }
            }
        }
    });
}

/// Connections that nobody will accept are reset.
pub(super) fn refuse(listener: Listener) {
    with(|state| {
        for connection in listener.queue {
            if let Some(found) = state.connection(connection) {
                found.ends[LISTENER].gone = true;
                state.send(connection, LISTENER, Load::Reset, Duration::ZERO);
            }
        }
    });
}

/// A machine has lost its power: its ends are gone, and nobody is told.
pub(crate) fn machine_falls_silent(node: Node) {
    drop(take_listeners(node));
    with(|state| {
        for connection in state.all_connections() {
            for end in [DIALLER, LISTENER] {
                let Some(found) = state.connection(connection) else { continue };
                if found.ends[end].here.node != node {
                    continue;
                }
                found.ends[end].gone = true;
                found.pipes[1 - end].inbox = BytesMut::new();
                state.drop_unsent(connection, end);
                state.forget(connection);
            }
        }
    });
}

/// A machine is back: it answers those who still send to its former life, by resets.
pub(crate) fn machine_answers(node: Node) {
    way_is_free(|_, to| to == node);
}

fn take_listeners(node: Node) -> Vec<Listener> {
    with(|state| {
        let ports: Vec<_> =
            state.net.listeners.range((node, 0)..=(node, u16::MAX)).map(|(key, _)| *key).collect();
        ports.iter().filter_map(|key| state.net.listeners.remove(key)).collect()
    })
}

/// The owner closes its end.
pub(super) fn close(connection: u32, end: usize) {
    with(|state| state.close_end(connection, end));
}

/// The owner will write no more.
pub(super) fn shutdown(here: Here, connection: u32, end: usize) -> io::Result<()> {
    with(|state| {
        if !state.is_alive(here) {
            return Ok(());
        }
        let Some(found) = state.connection(connection) else { return Ok(()) };
        if let Some(broken) = found.ends[end].broken {
            return Err(broken.into());
        }
        if !std::mem::replace(&mut found.pipes[end].finished, true) {
            state.send(connection, end, Load::Finish, Duration::ZERO);
        }
        Ok(())
    })
}

pub(super) fn poll_read(
    here: Here,
    connection: u32,
    end: usize,
    cx: &mut Context<'_>,
    out: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let mut woken = Woken::default();
    let result = with(|state| {
        if !state.is_alive(here) {
            return Poll::Pending;
        }
        let Some(found) = state.net.connections[connection as usize].as_deref_mut() else {
            return Poll::Pending;
        };
        let pipe = &mut found.pipes[1 - end];
        if pipe.inbox.is_empty() {
            if let Some(broken) = found.ends[end].broken {
                return Poll::Ready(Err(broken.into()));
            }
            if pipe.at_end {
                return Poll::Ready(Ok(()));
            }
            if !pipe.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
                pipe.reader = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let mut count = pipe.inbox.len().min(out.remaining());
        let way = &mut state.net.links[found.ends[1 - end].way];
        let cut = way.link.short_reads && count > 1;
        let whole = count;
        if cut {
            count = 1 + way.cuts.below(count as u64) as usize;
        }
        out.put_slice(&pipe.inbox[..count]);
        pipe.inbox.advance(count);
        // The room it leaves is known to the writer once the acknowledgement gets through.
        let blocked = state.net.links[found.ends[end].way].blocked;
        let first_blocked = blocked && pipe.unacknowledged == 0;
        if blocked {
            pipe.unacknowledged += count;
        } else {
            pipe.used -= count;
            if pipe.used <= state.net.links[found.ends[1 - end].way].link.window / 2 {
                woken.add(&mut pipe.writer);
            }
        }
        if count < whole {
            state.effect(here.node, "net.short_read");
        }
        if first_blocked {
            state.effect(here.node, "net.block");
        }
        Poll::Ready(Ok(()))
    });
    woken.wake();
    result
}

pub(super) fn poll_write(
    here: Here,
    connection: u32,
    end: usize,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    // Taken out while it runs: it may call the world.
    let (taken, inspector, passage) = match with(|state| state.admit(here, connection, end, cx, bytes.len()))
    {
        Admission::Taken(count, inspector, passage) => (count, inspector, passage),
        Admission::Wait => return Poll::Pending,
        Admission::Refused(kind) => return Poll::Ready(Err(kind.into())),
    };
    let mut data = BytesMut::from(&bytes[..taken]);
    let Some(mut inspector) = inspector else {
        with(|state| state.write(connection, end, data, Duration::ZERO));
        return Poll::Ready(Ok(taken));
    };
    let verdict = inspector(&passage, &mut data);
    let mut woken = Woken::default();
    with(|state| {
        let way = state.way(passage.from, passage.to);
        state.net.links[way].inspector.get_or_insert(inspector);
        state.judge(&passage, end, data, verdict, &mut woken);
    });
    woken.wake();
    Poll::Ready(Ok(taken))
}

enum Admission {
    Taken(usize, Option<super::Inspector>, Passage),
    Wait,
    Refused(io::ErrorKind),
}

impl State {
    /// How much of a write there is room for.
    fn admit(
        &mut self,
        here: Here,
        connection: u32,
        end: usize,
        cx: &mut Context<'_>,
        len: usize,
    ) -> Admission {
        if !self.is_alive(here) {
            return Admission::Wait;
        }
        let Some(found) = self.net.connections[connection as usize].as_deref_mut() else {
            return Admission::Wait;
        };
        if let Some(broken) = found.ends[end].broken {
            return Admission::Refused(broken);
        }
        let pipe = &mut found.pipes[end];
        if pipe.finished {
            return Admission::Refused(io::ErrorKind::BrokenPipe);
        }
        let way = &mut self.net.links[found.ends[end].way];
        let mut count = way.link.window.saturating_sub(pipe.used).min(len);
        if count == 0 && len > 0 {
            if !pipe.writer.as_ref().is_some_and(|writer| writer.will_wake(cx.waker())) {
                pipe.writer = Some(cx.waker().clone());
            }
            return Admission::Wait;
        }
        if way.link.short_reads && count > 1 && way.cuts.chance(0.25) {
            count = 1 + way.cuts.below(count as u64) as usize;
        }
        let passage = Passage { connection, from: way.from, to: way.to, by_dialler: end == DIALLER };
        Admission::Taken(count, way.inspector.take(), passage)
    }

    fn write(&mut self, connection: u32, end: usize, data: BytesMut, delay: Duration) {
        if data.is_empty() {
            return;
        }
        if let Some(found) = self.connection(connection) {
            found.pipes[end].used += data.len();
            let node = found.ends[end].here.node;
            self.note(node, "sent", &[u64::from(connection), end as u64], &data);
        }
        self.send(connection, end, Load::Data(data), delay);
    }

    /// Does with a write what an inspector said.
    fn judge(&mut self, passage: &Passage, end: usize, data: BytesMut, verdict: Verdict, woken: &mut Woken) {
        let connection = passage.connection;
        let effect = match verdict {
            Verdict::Pass => None,
            Verdict::Drop => Some("net.inspect.drop"),
            Verdict::Delay(_) => Some("net.inspect.delay"),
            Verdict::Duplicate => Some("net.inspect.duplicate"),
            Verdict::Reset => Some("net.inspect.reset"),
            Verdict::Close => Some("net.inspect.close"),
        };
        if let Some(effect) = effect {
            self.effect(passage.from, effect);
        }
        match verdict {
            Verdict::Pass => self.write(connection, end, data, Duration::ZERO),
            Verdict::Drop => {}
            Verdict::Delay(delay) => self.write(connection, end, data, delay),
            Verdict::Duplicate => {
                self.write(connection, end, data.clone(), Duration::ZERO);
                self.write(connection, end, data, Duration::ZERO);
            }
            Verdict::Reset => {
                self.reset(connection, "net.reset", woken);
            }
            Verdict::Close => {
                self.write(connection, end, data, Duration::ZERO);
                self.send(connection, end, Load::Sever, Duration::ZERO);
            }
        }
    }
}

const ACCEPT_RETRY: Duration = Duration::from_secs(1);
/// TCP sends again after this, then after twice as long, and so on up to the longest pause, and gives up when its
/// patience is over (Linux: 200 ms, 120 s, 15 times or about 924 s).
const RETRANSMIT: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(924);
