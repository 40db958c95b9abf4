//! TCP between nodes: our own, because the executor's has no resets, no half-close, no window and no hanging connect.
//!
//! `wire` moves packets along connections, `stream` and `listener` are what the system holds, this file is what
//! the plan turns: links with latency, loss, blocks and inspectors.

mod listener;
mod stream;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    ops::Range,
    time::Duration,
};

use bytes::BytesMut;

pub(crate) use listener::Listener;
pub use listener::TcpListener;
pub use stream::TcpStream;
pub(crate) use wire::{arrive, give_up, machine_answers, machine_falls_silent, process_ends};

use crate::{
    node::Node,
    random::Dice,
    state::{State, with},
};

/// How the way from one node to another behaves.
#[derive(Clone, Debug)]
pub struct Link {
    /// How long a packet takes.
    pub latency: Range<Duration>,
    /// The share of packets that are lost; TCP sends them again, so they come late.
    pub loss: f64,
    /// Whether reads and writes are cut at random places.
    pub short_reads: bool,
    /// How many bytes may be sent but not yet read.
    pub window: usize,
    /// Whether attempts to connect get no answer.
    pub hang_connects: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Duration::from_micros(200)..Duration::from_micros(1_000),
            loss: 0.0,
            short_reads: false,
            window: 64 << 10,
            hang_connects: false,
        }
    }
}

/// What an inspector sees of a write besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The connection, numbered from 0 in the order they were made.
    pub connection: u32,
    /// The node that writes.
    pub from: Node,
    /// The node that will read.
    pub to: Node,
    /// Whether the writer made the connection (requests, mostly), not accepted it.
    pub by_dialler: bool,
}

/// What an inspector lets happen to the bytes of a write (as it left them: it may edit or hold back some).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They go on.
    Pass,
    /// They vanish, as if they had been delivered.
    Drop,
    /// They, and all behind them, come this much later.
    Delay(Duration),
    /// They come twice.
    Duplicate,
    /// They are lost, and the connection is reset at both ends.
    Reset,
    /// They are delivered, and right behind them the connection closes.
    Close,
}

type Inspector = Box<dyn FnMut(&Passage, &mut BytesMut) -> Verdict>;

#[derive(Default)]
pub(crate) struct Net {
    usual: Link,
    /// Made when first needed; places of `links`.
    places: BTreeMap<(Node, Node), usize>,
    links: Vec<Way>,
    connections: Vec<Option<Box<wire::Connection>>>,
    listeners: BTreeMap<(Node, u16), Listener>,
    hosts: BTreeMap<IpAddr, Node>,
    names: BTreeMap<String, BTreeSet<IpAddr>>,
}

/// A link and what is going on with it.
struct Way {
    from: Node,
    to: Node,
    link: Link,
    blocked: bool,
    /// How many of the next deliveries are followed by the end of their connection.
    closes: u32,
    inspector: Option<Inspector>,
    latency: Dice,
    loss: Dice,
    cuts: Dice,
}

impl Net {
    pub(crate) fn add_host(&mut self, name: &str, ip: IpAddr, node: Node) {
        let before = self.hosts.insert(ip, node);
        assert!(before.is_none(), "the address {ip} is taken");
        self.add_name(name, ip);
    }

    pub(crate) fn add_name(&mut self, name: &str, ip: IpAddr) {
        self.names.entry(name.to_owned()).or_default().insert(ip);
    }
}

impl State {
    /// The node at an address, seen from `here`.
    fn host(&self, here: Node, ip: IpAddr) -> Option<Node> {
        if ip.is_loopback() { Some(here) } else { self.net.hosts.get(&ip).copied() }
    }

    fn way(&mut self, from: Node, to: Node) -> usize {
        if let Some(&place) = self.net.places.get(&(from, to)) {
            return place;
        }
        let peer = self.machines[to.index()].name.clone();
        let dice = |purpose| self.dice(from, &format!("{purpose} to {peer}"));
        let (latency, loss, cuts) = (dice("latency"), dice("loss"), dice("cuts"));
        let mut link = self.net.usual.clone();
        if from == to {
            link.latency = Duration::from_micros(10)..Duration::from_micros(50);
            link.loss = 0.0;
        }
        let way = Way { from, to, link, blocked: false, closes: 0, inspector: None, latency, loss, cuts };
        let place = self.net.links.len();
        self.net.links.push(way);
        self.net.places.insert((from, to), place);
        place
    }
}

/// The network, for the plan: a handle without content.
#[derive(Clone, Copy, Debug)]
pub struct Network(pub(crate) ());

impl Network {
    /// From now on nothing gets from `a` to `b`. What is sent meanwhile comes late, or the connection gives up.
    pub fn block(self, a: Node, b: Node) {
        with(|state| {
            state.record(a, "fault.block", &[u64::from(b.number())], b"");
            let way = state.way(a, b);
            state.net.links[way].blocked = true;
        });
    }

    /// The way from `a` to `b` is free again.
    pub fn unblock(self, a: Node, b: Node) {
        with(|state| {
            state.record(a, "fault.unblock", &[u64::from(b.number())], b"");
            let way = state.way(a, b);
            state.net.links[way].blocked = false;
        });
        wire::way_is_free(|from, to| (from, to) == (a, b));
    }

    /// Takes away every block, every odd link and every inspector.
    pub fn heal(self) {
        let inspectors = with(|state| {
            state.record(Node::DRIVER, "fault.heal", &[], b"");
            let usual = state.net.usual.clone();
            let mut inspectors = Vec::new();
            for way in &mut state.net.links {
                let latency = way.link.latency.clone();
                way.link = usual.clone();
                if way.from == way.to {
                    way.link.latency = latency;
                }
                way.blocked = false;
                way.closes = 0;
                inspectors.extend(way.inspector.take());
            }
            inspectors
        });
        drop(inspectors);
        wire::way_is_free(|_, _| true);
    }

    /// Changes how the way from `a` to `b` behaves.
    pub fn link(self, a: Node, b: Node, change: impl FnOnce(&mut Link)) {
        let mut link = with(|state| {
            let way = state.way(a, b);
            state.net.links[way].link.clone()
        });
        change(&mut link);
        with(|state| {
            state.record(a, "fault.link", &[u64::from(b.number())], format!("{link:?}").as_bytes());
            let way = state.way(a, b);
            state.net.links[way].link = link;
        });
    }

    /// Changes how all ways between different nodes behave, those not used yet included.
    pub fn all_links(self, change: impl Fn(&mut Link)) {
        let (mut usual, mut links) = with(|state| {
            let links: Vec<Link> = state.net.links.iter().map(|way| way.link.clone()).collect();
            (state.net.usual.clone(), links)
        });
        change(&mut usual);
        links.iter_mut().for_each(&change);
        with(|state| {
            state.record(Node::DRIVER, "fault.links", &[], format!("{usual:?}").as_bytes());
            state.net.usual = usual;
            for (way, link) in state.net.links.iter_mut().zip(links) {
                if way.from != way.to {
                    way.link = link;
                }
            }
        });
    }

    /// Resets every connection between the two, in both directions. Says how many there were.
    pub fn reset(self, a: Node, b: Node) -> usize {
        with(|state| state.record(a, "fault.reset", &[u64::from(b.number())], b""));
        wire::reset(|from, to| (from, to) == (a, b) || (from, to) == (b, a))
    }

    /// The next time something from `a` reaches `b`, the connection closes right behind it.
    pub fn close_after_next_delivery(self, a: Node, b: Node) {
        with(|state| {
            state.record(a, "fault.close", &[u64::from(b.number())], b"");
            let way = state.way(a, b);
            state.net.links[way].closes += 1;
        });
    }

    /// How many connections of a node may wait for acceptance (usually 1024); more are left without an answer.
    pub fn backlog(self, node: Node, connections: usize) {
        with(|state| {
            state.record(node, "fault.backlog", &[connections as u64], b"");
            state.machine(node).backlog = connections;
        });
    }

    /// Shows every write from `a` to `b` to `inspector` before it leaves, in place of an earlier inspector.
    pub fn inspect(
        self,
        a: Node,
        b: Node,
        inspector: impl FnMut(&Passage, &mut BytesMut) -> Verdict + 'static,
    ) {
        let before = with(|state| {
            let way = state.way(a, b);
            state.net.links[way].inspector.replace(Box::new(inspector))
        });
        drop(before);
    }

    /// Takes the inspector from `a` to `b` away.
    pub fn uninspect(self, a: Node, b: Node) {
        let before = with(|state| {
            let way = state.way(a, b);
            state.net.links[way].inspector.take()
        });
        drop(before);
    }
}

/// The addresses of `host:port`: an address, a node's name, a name the plan gave, or localhost.
pub async fn resolve(host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host_and_port.parse() {
        return Ok(vec![address]);
    }
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("no host:port: {host_and_port:?}"));
    let (host, port) = host_and_port.rsplit_once(':').ok_or_else(invalid)?;
    let port: u16 = port.parse().map_err(|_| invalid())?;
    if host == "localhost" {
        return Ok(vec![SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)]);
    }
    let found = with(|state| {
        let node = state.here().node;
        state.record(node, "resolve", &[], host.as_bytes());
        state.net.names.get(host).cloned()
    });
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("the host {host:?} is not known"));
    Ok(found.ok_or_else(unknown)?.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}
