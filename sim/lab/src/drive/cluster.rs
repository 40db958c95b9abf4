//! The cluster of a run: nodes with their addresses, and the programs on them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use protocol::config::Table as _;
use runtime::disk::Disk;
use runtime::task::TaskSet;
use runtime::time::sleep;
use world::{Node, World};

use crate::clients::{Server, Shared, consume, produce};
use crate::history::{How, Kind, MemberId};
use crate::plan::What;

/// All nodes of a run.
pub(super) struct Cluster {
    pub(super) shared: Shared,
    pub(super) name_servers: Vec<Node>,
    pub(super) brokers: Vec<Node>,
    pub(super) producers: Vec<Node>,
    pub(super) members: Vec<Node>,
    /// Where the lab's own questions come from.
    pub(super) asker: Node,
}

impl Cluster {
    /// Makes the nodes; nothing runs on them yet.
    pub(super) fn new(world: World, shared: Shared) -> Self {
        let plan = shared.plan.clone();
        let usual = plan.network;
        world.net().all_links(|link| {
            link.latency =
                Duration::from_micros(usual.latency_us.0)..Duration::from_micros(usual.latency_us.1 + 1);
            link.short_reads = usual.short_reads;
        });
        let make = |prefix: &str, count: usize, net: u8| -> Vec<Node> {
            let ip = |index: usize| IpAddr::V4(Ipv4Addr::new(10, 0, net, index as u8 + 1));
            (0..count).map(|index| world.node(&format!("{prefix}{index}"), ip(index))).collect()
        };
        let cluster = Self {
            name_servers: make("ns", plan.name_servers as usize, 0),
            brokers: make("b", plan.brokers.len(), 1),
            producers: make("p", plan.producers.len(), 2),
            members: make("c", plan.groups.iter().map(|group| group.members.len()).sum(), 3),
            asker: world.node("asker", IpAddr::V4(Ipv4Addr::new(10, 0, 9, 1))),
            shared,
        };
        for node in cluster.all() {
            cluster.shared.recorder.know(node);
        }
        for (broker, node) in plan.brokers.iter().zip(&cluster.brokers) {
            let (low, high) = broker.sync_us;
            node.disk().set_sync_latency(Duration::from_micros(low)..Duration::from_micros(high + 1));
            node.clock().set_offset_ms(broker.clock_offset_ms);
        }
        cluster
    }

    /// Every node.
    pub(super) fn all(&self) -> Vec<Node> {
        let lists = [&self.name_servers, &self.brokers, &self.producers, &self.members];
        lists.into_iter().flatten().copied().chain([self.asker]).collect()
    }

    /// The node of this name.
    pub(super) fn node(&self, name: &str) -> Node {
        self.all().into_iter().find(|node| node.name() == name).expect("plans name nodes of the cluster")
    }

    /// These nodes as servers that can be asked.
    pub(super) fn servers(&self, nodes: &[Node], port: u16) -> Vec<Server> {
        let server = |node: &Node| Server {
            id: self.shared.recorder.id(*node),
            address: format!("{}:{port}", node.ip()).into(),
        };
        nodes.iter().map(server).collect()
    }

    /// Starts name servers and brokers.
    pub(super) fn start_servers(&self) {
        for &node in &self.name_servers {
            let shared = self.shared.clone();
            node.start(move || name_server(shared.clone(), node));
        }
        for (index, &node) in self.brokers.iter().enumerate() {
            let shared = self.shared.clone();
            node.start(move || broker(shared.clone(), node, index));
        }
    }

    /// Starts all producers; they wait for the load to begin.
    pub(super) fn start_producers(&self) {
        for (index, &node) in self.producers.iter().enumerate() {
            let (shared, starts) = (self.shared.clone(), Arc::new(AtomicU32::new(0)));
            node.start(move || {
                let start = starts.fetch_add(1, Ordering::Relaxed);
                produce(shared.clone(), index as u32, start, runtime::signal::shutdown())
            });
        }
    }

    /// Starts a member.
    pub(super) fn start_member(&self, member: MemberId) {
        let node = self.members[member.index()];
        let (shared, starts) = (self.shared.clone(), Arc::new(AtomicU32::new(0)));
        node.start(move || {
            let start = starts.fetch_add(1, Ordering::Relaxed);
            consume(shared.clone(), member, node.name(), start, runtime::signal::shutdown())
        });
    }

    /// A node went down.
    pub(super) fn down(&self, node: Node, how: How) {
        let id = self.shared.recorder.id(node);
        self.shared.recorder.push(id, Kind::Down { how });
        self.shared.recorder.live().forget(id);
    }

    /// Starts a node again.
    pub(super) fn up(&self, node: Node) {
        if !node.is_up() {
            let id = self.shared.recorder.id(node);
            self.shared.recorder.push(id, Kind::Up);
            node.restart();
        }
    }

    /// Asks a node's program to end and waits until it has; kills it when it does not.
    pub(super) async fn stop(&self, node: Node) {
        if !node.is_up() {
            return;
        }
        node.stop();
        match runtime::time::timeout(STOP_WITHIN, node.stopped()).await {
            Ok(true) => self.down(node, How::Stop),
            // It died on its way at a crash point, and who lies in wait for that tells so: before it is started again.
            Ok(false) => sleep(Duration::from_millis(1)).await,
            Err(_) => {
                node.crash(world::Crash::Process);
                self.down(node, How::Process);
            }
        }
    }
}

/// The name server's program.
async fn name_server(shared: Shared, node: Node) {
    let tasks = TaskSet::new();
    let disk = Disk::open("namesrv").expect("a healthy disk opens");
    match namesrv::Namesrv::start(namesrv_config(), disk, &tasks).await {
        Ok(server) => {
            runtime::signal::shutdown().await;
            server.stop().await;
            tasks.close().await;
        }
        Err(error) => shared.recorder.failed_start(&node.name(), &error.to_string()),
    }
}

/// The broker's program.
async fn broker(shared: Shared, node: Node, index: usize) {
    let id = shared.recorder.id(node);
    loop {
        let began_ns = World::current().elapsed().as_nanos() as u64;
        let tasks = TaskSet::new();
        let disk = Disk::open(STORE).expect("a folder can always be opened");
        let config = broker_config(&shared, index, node);
        match broker::Broker::start(config, disk, &tasks).await {
            Ok(broker) => {
                runtime::signal::shutdown().await;
                broker.stop().await;
                return tasks.close().await;
            }
            // It has died in the midst of a write, and is ended or about to be.
            Err(_) if !node.is_up() || node.disk().is_dead() => return,
            // Whoever supervises the process starts it again, until somebody has repaired the disk.
            Err(_) if shared.recorder.was_sick(id, began_ns) => {
                tasks.close().await;
                sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return shared.recorder.failed_start(&node.name(), &error.to_string()),
        }
    }
}

fn namesrv_config() -> namesrv::Config {
    namesrv::Config::default()
}

fn broker_config(shared: &Shared, index: usize, node: Node) -> broker::Config {
    let own = [
        ("brokerName", node.name()),
        ("brokerIP1", node.ip().to_string()),
        ("namesrvAddr", shared.name_servers.to_string()),
    ];
    let levels = shared.recorder.levels(shared.recorder.id(node));
    let own = own.map(|(key, value)| (key.to_owned(), value));
    // Nobody makes a topic that an operator deleted, or one with other queues on a broker that comes back with an empty disk.
    let mut steps = shared.plan.steps.iter();
    let loses = steps.any(|step| matches!(step.what, What::Lose { .. } | What::DeleteTopic { .. }));
    let topics = loses.then(|| ("autoCreateTopicEnable".to_owned(), "false".to_owned()));
    let mut config = broker::Config::default();
    let drawn = shared.plan.brokers[index].properties(&levels);
    for (key, value) in own.into_iter().chain(topics).chain(drawn) {
        config.set(&key, &value).expect("plans draw keys and values that brokers know");
    }
    config
}

/// Where name servers listen.
pub(super) const NAME_SERVER_PORT: u16 = 9876;
/// Where brokers listen.
pub(super) const BROKER_PORT: u16 = 10911;
/// Folder of a broker's store on its disk.
pub(super) const STORE: &str = "store";
/// What a clean stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(60);
