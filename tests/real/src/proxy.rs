//! A proxy in front of every server, with a door of its own for each who dials it: so every link can be cut, slowed and
//! broken alone. Who asks a name server for brokers is told the doors that are meant for him.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use lab::draw::Draw;
use lab::plan::{Harm, parts};
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
    /// Requests that were sent twice: a lie.
    pub(crate) doubled: AtomicU64,
    /// Requests and answers that the plan meant, by what happened to them.
    pub(crate) harmed: Mutex<BTreeMap<&'static str, u64>>,
}

/// A request that something is to happen to, or the answer to it.
#[derive(Debug)]
pub(crate) struct Sought {
    /// The step of the plan that it belongs to.
    pub(crate) step: usize,
    /// Code of the request.
    pub(crate) code: i32,
    /// The answer is meant.
    pub(crate) answer: bool,
    /// So many of them from now on, this one included.
    pub(crate) left: u64,
    /// What happens to it.
    pub(crate) harm: Harm,
}

/// From one who dials to a server.
#[derive(Debug)]
struct Link {
    target: SocketAddr,
    /// Texts in what comes back, and what stands there instead.
    names: Vec<(String, String)>,
    /// Some sends are given to the server twice: a lie, to see that it is noticed.
    doubles: bool,
    /// The plan speaks of requests on this link: what passes is cut into frames, from its first byte on.
    framed: bool,
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
    /// By the way that the request goes.
    sought: [Vec<Sought>; 2],
    /// Grows when all connections break.
    epoch: u64,
    draw: Draw,
}

impl Net {
    /// Opens the door by which `from` reaches the server `to`.
    pub(crate) async fn open(&mut self, from: &str, to: &str, door: SocketAddr, way: Way) -> io::Result<()> {
        let Way { target, names, doubles, framed, seed } = way;
        let draw = Draw::new(seed, &format!("link {from} {to}"));
        let (sought, epoch) = Default::default();
        let state = State { blocked: [0; 2], lag: None, close_behind: [false; 2], sought, epoch, draw };
        let (state, changed, effects) = (Mutex::new(state), Notify::new(), self.effects.clone());
        let link = Arc::new(Link { target, names, doubles, framed, state, changed, effects });
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

    /// Holds back what goes between nodes that are in circles but not together in any, or lets it go.
    pub(crate) fn part(&self, circles: &[Vec<String>], on: bool) {
        for (from, to) in parted(circles) {
            self.block(from, to, on);
        }
    }

    /// Looks for a request from one to the other, or the answer to it.
    pub(crate) fn seek(&self, from: &str, to: &str, sought: impl Fn() -> Sought) {
        for (link, way) in self.between(from, to) {
            link.change(|state| state.sought[way].push(sought()));
        }
    }

    /// Waits until what a step of the plan meant has been found on a link of the two.
    pub(crate) async fn found(&self, from: &str, to: &str, step: usize) {
        for (link, way) in self.between(from, to) {
            link.until(|state| state.sought[way].iter().all(|sought| sought.step != step)).await;
        }
    }

    /// Looks no more for what a step meant.
    pub(crate) fn forget(&self, from: &str, to: &str, step: usize) {
        for (link, way) in self.between(from, to) {
            link.change(|state| state.sought[way].retain(|sought| sought.step != step));
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

/// Who does not reach whom.
fn parted(circles: &[Vec<String>]) -> Vec<(&str, &str)> {
    let nodes: BTreeSet<&str> = circles.iter().flatten().map(String::as_str).collect();
    let ways = nodes.iter().flat_map(|from| nodes.iter().map(|to| (*from, *to)));
    ways.filter(|(from, to)| parts(circles, from, to)).collect()
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
    /// The plan speaks of requests on this link.
    pub(crate) framed: bool,
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
    fn changed(&self, way: usize, open: &Open, waiting: &mut BytesMut, came: &[u8]) -> Vec<Part> {
        let plain = match way {
            THERE => !self.doubles,
            _ => self.names.is_empty(),
        };
        if plain && !self.framed {
            return vec![Part::Bytes(came.to_vec())];
        }
        waiting.extend_from_slice(came);
        let mut parts = Vec::new();
        while let Some(length) = waiting.first_chunk::<4>().map(|head| u32::from_be_bytes(*head) as usize) {
            if waiting.len() < 4 + length {
                break;
            }
            let frame = waiting.split_to(4 + length);
            let twice = way == THERE && self.is_doubled(&frame);
            let harm = if self.framed { self.harm(way, open, &frame) } else { None };
            let frame = if way == BACK { renamed(&frame, &self.names) } else { frame.to_vec() };
            if twice {
                self.effects.doubled.fetch_add(1, Ordering::Relaxed);
                parts.push(Part::Bytes(frame.clone()));
            }
            match harm {
                None => parts.push(Part::Bytes(frame)),
                Some(Harm::Lost) => {}
                Some(Harm::Twice) => parts.extend([Part::Bytes(frame.clone()), Part::Bytes(frame)]),
                Some(Harm::Late { ms }) => {
                    parts.extend([Part::Wait(Duration::from_millis(ms)), Part::Bytes(frame)]);
                }
                Some(Harm::Broken) => {
                    parts.push(Part::Break);
                    break;
                }
            }
        }
        parts
    }

    /// What happens to a request or answer, if anything.
    fn harm(&self, way: usize, open: &Open, frame: &[u8]) -> Option<Harm> {
        let command = Command::decode(frame[4..].into()).ok()?;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = command.is_response();
        let asked = if answer { 1 - way } else { way };
        let code = if answer {
            open.remove(&(asked, command.opaque))?
        } else {
            open.insert((asked, command.opaque), command.code);
            command.code
        };
        let mut state = self.state();
        let all = &mut state.sought[asked];
        for sought in all.iter_mut().filter(|it| (it.code, it.answer) == (code, answer)) {
            sought.left = sought.left.saturating_sub(1);
        }
        let place = all.iter().position(|it| it.left == 0)?;
        let Sought { harm, .. } = all.remove(place);
        drop(state);
        self.changed.notify_waiters();
        let mut harmed = self.effects.harmed.lock().unwrap_or_else(PoisonError::into_inner);
        *harmed.entry(in_words(harm)).or_default() += 1;
        Some(harm)
    }

    fn is_doubled(&self, frame: &[u8]) -> bool {
        if !self.doubles {
            return false;
        }
        let sends = Command::decode(frame[4..].into()).is_ok_and(|command| SENDS.contains(&command.code));
        sends && self.state().draw.chance(10)
    }
}

/// Codes of requests whose answers have not been seen, by the way they went and their number: of one connection.
type Open = Mutex<BTreeMap<(usize, i32), i32>>;

/// What the proxy does next.
#[derive(Debug, PartialEq)]
enum Part {
    /// These go on.
    Bytes(Vec<u8>),
    /// What follows is late.
    Wait(Duration),
    /// The connection breaks.
    Break,
}

/// What is counted for a harm.
fn in_words(harm: Harm) -> &'static str {
    match harm {
        Harm::Lost => "requests or answers lost by the proxy",
        Harm::Late { .. } => "requests or answers delayed by the proxy",
        Harm::Twice => "requests or answers doubled by the proxy",
        Harm::Broken => "requests or answers broken off by the proxy",
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
    let open = Open::default();
    let there = pump(link, THERE, &open, from_client, to_server);
    let back = pump(link, BACK, &open, from_server, to_client);
    match tokio::try_join!(there, back) {
        Ok(_) => End::Closed,
        Err(error) if error.kind() == ErrorKind::ConnectionAborted => End::Closed,
        Err(_) => End::Broken,
    }
}

/// Carries one way until its end.
async fn pump(
    link: &Link,
    way: usize,
    open: &Open,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> io::Result<()> {
    let (mut room, mut waiting) = (vec![0; ROOM], BytesMut::new());
    loop {
        let count = from.read(&mut room).await?;
        link.let_through(way).await;
        if count == 0 {
            return to.shutdown().await;
        }
        for part in link.changed(way, open, &mut waiting, &room[..count]) {
            match part {
                Part::Bytes(bytes) => to.write_all(&bytes).await?,
                Part::Wait(late) => tokio::time::sleep(late).await,
                Part::Break => {
                    link.effects.broken.fetch_add(1, Ordering::Relaxed);
                    return Err(ErrorKind::ConnectionReset.into());
                }
            }
        }
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use protocol::{Encoding, Request as _, rpc};

    use super::*;

    fn link(sought: impl IntoIterator<Item = Sought>) -> Link {
        let (names, effects) = Default::default();
        let state = State {
            blocked: [0; 2],
            lag: None,
            close_behind: [false; 2],
            sought: [sought.into_iter().collect(), Vec::new()],
            epoch: 0,
            draw: Draw::new(1, "link"),
        };
        let (state, changed) = (Mutex::new(state), Notify::new());
        let target = "127.0.0.1:1".parse().expect("an address");
        Link { target, names, doubles: false, framed: true, state, changed, effects }
    }

    fn request(code: i32, opaque: i32, encoding: Encoding) -> Vec<u8> {
        let command =
            Command { code, opaque, encoding, body: Bytes::from_static(b"body"), ..Command::default() };
        frame(&command)
    }

    fn answer(opaque: i32, encoding: Encoding) -> Vec<u8> {
        frame(&Command { opaque, flag: 1, encoding, ..Command::default() })
    }

    fn frame(command: &Command) -> Vec<u8> {
        let mut out = BytesMut::new();
        command.encode(&mut out).expect("it is short");
        out.to_vec()
    }

    const SOUGHT: Sought = Sought { step: 0, code: 11, answer: false, left: 2, harm: Harm::Lost };

    #[test]
    fn the_request_that_is_meant_is_lost_whatever_its_header_is_written_in() {
        for encoding in [Encoding::Json, Encoding::Binary] {
            let (link, open) = (link([SOUGHT]), Open::default());
            let all = [request(11, 1, encoding), request(10, 2, encoding), request(11, 3, encoding)];
            let more = request(11, 4, encoding);
            let came = [all.concat(), more.clone()].concat();
            let mut waiting = BytesMut::new();
            // In pieces that end in the midst of a frame.
            let mut out = Vec::new();
            for piece in came.chunks(7) {
                out.extend(link.changed(THERE, &open, &mut waiting, piece));
            }
            let kept = [&all[0], &all[1], &more].map(|it| Part::Bytes(it.clone()));
            assert_eq!(out, kept);
        }
    }

    #[test]
    fn an_answer_is_known_by_the_number_of_its_request() {
        let meant = Sought { answer: true, left: 1, harm: Harm::Late { ms: 5 }, ..SOUGHT };
        let (link, open) = (link([meant]), Open::default());
        let mut waiting = BytesMut::new();
        let passes = |way, waiting: &mut BytesMut, bytes: &[u8]| link.changed(way, &open, waiting, bytes);
        for (code, opaque) in [(10, 1), (11, 2)] {
            passes(THERE, &mut waiting, &request(code, opaque, Encoding::Json));
        }
        let (first, second) = (answer(1, Encoding::Json), answer(2, Encoding::Json));
        assert_eq!(passes(BACK, &mut waiting, &first), [Part::Bytes(first.clone())]);
        let late = [Part::Wait(Duration::from_millis(5)), Part::Bytes(second.clone())];
        assert_eq!(passes(BACK, &mut waiting, &second), late);
        // A request of the server that has the same number is another one.
        let own = request(rpc::NotifyConsumerIdsChanged::CODE, 2, Encoding::Json);
        assert_eq!(passes(BACK, &mut waiting, &own), [Part::Bytes(own.clone())]);
    }

    #[test]
    fn what_comes_before_a_request_that_is_broken_off_goes_on() {
        let (link, open) = (link([Sought { harm: Harm::Broken, ..SOUGHT }]), Open::default());
        let (first, second) = (request(11, 1, Encoding::Json), request(11, 2, Encoding::Json));
        let parts = link.changed(THERE, &open, &mut BytesMut::new(), &[&*first, &second].concat());
        assert_eq!(parts, [Part::Bytes(first), Part::Break]);
    }

    #[test]
    fn who_is_in_two_circles_hears_both() {
        let circle = |nodes: &[&str]| nodes.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let bridge = [circle(&["b0", "c0"]), circle(&["c0", "p0"])];
        assert_eq!(parted(&bridge), [("b0", "p0"), ("p0", "b0")]);
    }
}
