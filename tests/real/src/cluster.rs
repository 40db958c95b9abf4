//! The cluster of a run: servers as processes, clients on threads of their own, and a door for each link.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lab::clients::{Home, Place, Recorder, Shared, consume, produce};
use lab::history::{How, Kind, MemberId, NodeId};
use lab::plan::{Plan, What};
use process::free_port;
use protocol::Text;
use tokio::task::AbortHandle;

use crate::Lie;
use crate::proxy::{Net, Way};
use crate::runner::{Runner, Stop};
use crate::servers::{Make, Role, Server};

/// Real time since a run began.
#[derive(Debug)]
pub(crate) struct Real(pub(crate) Instant);

impl Place for Real {
    fn elapsed_ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    fn written(&self, _: u64, _: u64) {}
}

/// The driver's own runtime: the lab asks from here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Here(Arc<Mutex<Vec<AbortHandle>>>);

impl Home for Here {
    fn run<T: Send + 'static>(
        &self,
        question: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Option<T>> {
        let task = tokio::spawn(question);
        held(&self.0).push(task.abort_handle());
        async move { task.await.ok() }
    }
}

impl Here {
    /// Ends all that was asked and goes on.
    pub(crate) fn close(&self) {
        held(&self.0).drain(..).for_each(|task| task.abort());
    }
}

/// All nodes of a run.
pub(crate) struct Cluster {
    /// What the lab's own questions use.
    pub(crate) shared: Shared,
    /// Servers by name.
    pub(crate) servers: BTreeMap<String, Server>,
    /// The links.
    pub(crate) net: Net,
    clients: Mutex<BTreeMap<String, Runner>>,
    /// What each client is given: names of servers as it sees them.
    views: BTreeMap<String, Shared>,
    starts: Mutex<BTreeMap<String, u32>>,
    /// Who starts or ends a node; others wait.
    turns: BTreeMap<String, tokio::sync::Mutex<()>>,
    ports: BTreeMap<String, u16>,
    /// Genuine brokers listen for replicas as well.
    ha_ports: BTreeMap<String, u16>,
    /// What the driver did, by what it was.
    pub(crate) done: Mutex<BTreeMap<&'static str, u64>>,
}

/// By which a node dials: the second byte of the doors that are its own.
fn own(index: usize) -> u8 {
    101 + index as u8
}

impl Cluster {
    /// Makes the nodes and opens the doors; nothing runs yet.
    pub(crate) async fn new(
        plan: Arc<Plan>,
        make: &Make,
        folder: &Path,
        recorder: Recorder,
        lie: Option<Lie>,
    ) -> Result<Self> {
        let names: Vec<String> = (0..plan.name_servers).map(|index| format!("ns{index}")).collect();
        let brokers: Vec<String> = (0..plan.brokers.len()).map(|index| format!("b{index}")).collect();
        let (mut servers, mut ports, mut ha_ports) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let all: Vec<&String> = names.iter().chain(&brokers).collect();
        let roles = names.iter().map(|name| (name, Role::NameServer));
        let roles: Vec<_> = roles.chain(brokers.iter().map(|name| (name, Role::Broker))).collect();
        let (door, mut targets) = (free_port()?, BTreeMap::new());
        if let Make::Running(running) = make {
            targets.extend(names.iter().cloned().zip(running.name_servers.iter().copied()));
            for (name, (called, address)) in brokers.iter().zip(&running.brokers) {
                targets.insert(name.clone(), *address);
                let mut live = recorder.live();
                let id = live.history.node(name);
                live.history.rename(id, called);
            }
        }
        // Its own address is that which the first node would dial.
        let at = |from: u8, to: usize, port: u16| {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, from, to as u8 + 1, 1)), port)
        };
        let place = |name: &String| all.iter().position(|known| *known == name).expect("it is a server");
        for (name, role) in roles.into_iter().filter(|_| !matches!(make, Make::Running(_))) {
            servers.insert(name.clone(), Server::new(make.clone(), role, folder.join(name))?);
            let port = free_port()?;
            ports.insert(name.clone(), port);
            targets.insert(name.clone(), at(OWN, place(name), port));
            if matches!((make, role), (Make::Genuine(_), Role::Broker)) {
                ha_ports.insert(name.clone(), free_port()?);
            }
        }
        let mut net = Net::default();
        let mut views = BTreeMap::new();
        let plan_clients = plan.client_nodes();
        let dialling = servers.keys().filter(|name| brokers.contains(name)).chain(&plan_clients);
        let dialling = dialling.map(String::as_str).chain([ASKER]);
        let speaks_of = |a: &str, b: &str| {
            plan.steps.iter().any(|step| match &step.what {
                What::Request { from, to, .. } => (from == a && to == b) || (from == b && to == a),
                _ => false,
            })
        };
        for (index, from) in dialling.enumerate() {
            let own = own(index);
            let door_of = |to: &String| at(own, place(to), door).to_string();
            let renamed = brokers.iter().map(|to| (targets[to].to_string(), door_of(to)));
            let renamed: Vec<_> = renamed.collect();
            let reached = all.iter().copied().filter(|to| !servers.contains_key(from) || names.contains(to));
            for to in reached {
                let is_server = names.contains(to);
                let way = Way {
                    target: targets[to],
                    names: if is_server { renamed.clone() } else { Vec::new() },
                    doubles: !is_server && lie == Some(Lie::Double),
                    framed: speaks_of(from, to),
                    seed: plan.seed,
                };
                let door = at(own, place(to), door);
                net.open(from, to, door, way).await.with_context(|| format!("cannot listen at {door}"))?;
                recorder.meet(to, &door.ip().to_string());
            }
            let doors: Vec<String> = names.iter().map(door_of).collect();
            let brokers = brokers.iter().map(|to| door_of(to).into());
            let view = Shared::new(plan.clone(), recorder.clone(), &doors, brokers);
            views.insert(from.to_owned(), view);
        }
        for name in &plan_clients {
            recorder.live().history.node(name);
        }
        // All are in the same phase.
        let shared = views[ASKER].clone();
        views.values_mut().for_each(|view| view.phase = shared.phase.clone());
        let nodes = servers.keys().chain(&plan_clients);
        let turns = nodes.map(|name| (name.clone(), tokio::sync::Mutex::default())).collect();
        let (clients, starts, done) = Default::default();
        Ok(Self { shared, servers, net, clients, views, starts, turns, ports, ha_ports, done })
    }

    /// Counts something that was done.
    pub(crate) fn count(&self, what: &'static str) {
        *held(&self.done).entry(what).or_default() += 1;
    }

    /// The history's number of a node.
    pub(crate) fn id(&self, node: &str) -> NodeId {
        self.shared.recorder.live().history.node(node)
    }

    /// Servers of a role as the lab reaches them.
    pub(crate) fn servers_of(&self, role: &str) -> Vec<lab::clients::Server> {
        let doors: Vec<Text> = match role {
            "ns" => self.shared.name_servers.split(';').map(Into::into).collect(),
            _ => self.shared.brokers.to_vec(),
        };
        let server = |(index, address)| {
            let id = self.id(&format!("{role}{index}"));
            lab::clients::Server { id, address }
        };
        doors.into_iter().enumerate().map(server).collect()
    }

    /// Starts a server and waits until it serves.
    async fn start_server(&self, name: &str) {
        let server = self.servers[name].clone();
        let settings = self.settings(name);
        let started = tokio::task::spawn_blocking(move || server.start(&settings)).await;
        if let Err(error) = started.expect("starting does not panic") {
            let lines: Vec<String> = format!("{error:#}").lines().take(3).map(str::to_owned).collect();
            self.shared.recorder.failed_start(name, &lines.join(" "));
        }
    }

    fn settings(&self, name: &str) -> Vec<(String, String)> {
        let port = self.ports[name];
        let mut settings = vec![("listenPort".to_owned(), port.to_string())];
        let Some(index) = name.strip_prefix('b').and_then(|index| index.parse::<usize>().ok()) else {
            return settings;
        };
        let plan = &self.shared.plan;
        let ip = format!("127.{OWN}.{}.1", plan.name_servers as usize + index + 1);
        let levels = self.shared.recorder.levels(self.id(name));
        settings.extend([
            ("brokerName".to_owned(), name.to_owned()),
            ("brokerClusterName".to_owned(), "real".to_owned()),
            ("brokerId".to_owned(), "0".to_owned()),
            ("brokerIP1".to_owned(), ip),
            ("namesrvAddr".to_owned(), self.views[name].name_servers.to_string()),
        ]);
        settings.extend(self.ha_ports.get(name).map(|port| ("haListenPort".to_owned(), port.to_string())));
        settings.extend(plan.brokers[index].properties(&levels));
        settings
    }

    /// Starts a producer or a member.
    fn start_client(&self, name: &str) {
        let view = self.views[name].clone();
        let start = {
            let mut starts = held(&self.starts);
            let start = starts.entry(name.to_owned()).or_insert(0);
            *start += 1;
            *start - 1
        };
        let node = name.to_owned();
        let number: u32 = name[1..].parse().expect("clients are numbered");
        let runner = if name.starts_with('p') {
            Runner::start(move |stop: Stop| produce(view, number, start, stop.asked()))
        } else {
            Runner::start(move |stop: Stop| consume(view, MemberId(number), node, start, stop.asked()))
        };
        held(&self.clients).insert(name.to_owned(), runner);
    }

    /// True while a node runs.
    pub(crate) fn is_up(&self, name: &str) -> bool {
        match self.servers.get(name) {
            Some(server) => server.is_up(),
            None => held(&self.clients).get(name).is_some_and(|runner| !runner.has_ended()),
        }
    }

    /// Starts a node that is down.
    pub(crate) async fn up(&self, name: &str) {
        let _turn = self.turns[name].lock().await;
        if !self.is_up(name) {
            self.shared.recorder.push(self.id(name), Kind::Up);
            self.start(name).await;
        }
    }

    /// Starts a node for the first time.
    pub(crate) async fn begin(&self, name: &str) {
        let _turn = self.turns[name].lock().await;
        self.start(name).await;
    }

    async fn start(&self, name: &str) {
        if self.servers.contains_key(name) {
            self.start_server(name).await;
        } else {
            self.start_client(name);
        }
    }

    fn went_down(&self, name: &str, how: How) {
        let id = self.id(name);
        self.shared.recorder.push(id, Kind::Down { how });
        self.shared.recorder.live().forget(id);
    }

    /// Ends a node at once.
    pub(crate) async fn crash(&self, name: &str) {
        let _turn = self.turns[name].lock().await;
        if !self.is_up(name) {
            return;
        }
        self.count("processes killed");
        if let Some(server) = self.servers.get(name).cloned() {
            let killed = tokio::task::spawn_blocking(move || server.kill()).await;
            killed.expect("killing does not panic").expect("a process of ours can be killed");
        } else if let Some(runner) = self.take(name) {
            let killed = tokio::task::spawn_blocking(move || runner.kill()).await;
            if !killed.unwrap_or(false) {
                self.shared.recorder.failed_start(name, "it panicked");
            }
        }
        self.went_down(name, How::Process);
    }

    fn take(&self, name: &str) -> Option<Runner> {
        held(&self.clients).remove(name)
    }

    /// Asks a node to end and waits until it has.
    pub(crate) async fn stop(&self, name: &str) {
        let _turn = self.turns[name].lock().await;
        if !self.is_up(name) {
            return;
        }
        let stopped = if let Some(server) = self.servers.get(name).cloned() {
            let stopped = tokio::task::spawn_blocking(move || server.stop()).await;
            stopped.expect("stopping does not panic").map_err(|error| format!("{error:#}"))
        } else if let Some(mut runner) = self.take(name) {
            let ended = runner.stop(STOPS_WITHIN).await;
            let sound = tokio::task::spawn_blocking(move || runner.kill()).await.unwrap_or(false);
            match (ended, sound) {
                (true, true) => Ok(()),
                (_, false) => Err("it panicked".to_owned()),
                (false, true) => Err("it did not end when it was asked to".to_owned()),
            }
        } else {
            Ok(())
        };
        self.count("processes stopped");
        if let Err(why) = stopped {
            self.shared.recorder.failed_start(name, &why);
        }
        self.went_down(name, How::Stop);
    }

    /// Lets a node stand still, or go on.
    pub(crate) fn pause(&self, name: &str, on: bool) {
        if on {
            self.count("processes paused");
        }
        match (self.servers.get(name), held(&self.clients).get(name)) {
            (Some(server), _) => drop(server.pause(on)),
            (None, Some(runner)) if on => runner.pause(),
            (None, Some(runner)) => runner.resume(),
            (None, None) => {}
        }
    }

    /// What servers did that nobody asked of them.
    pub(crate) fn unwell(&self) -> Vec<(String, String)> {
        let unwell = self.servers.iter().filter_map(|(name, server)| {
            let error = server.is_well().err()?;
            Some((name.clone(), format!("{error:#}")))
        });
        unwell.collect()
    }
}

pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The second byte of servers' own addresses.
const OWN: u8 = 100;
/// Where the lab's own questions come from.
pub(crate) const ASKER: &str = "asker";
/// What a clean stop of a client may take.
const STOPS_WITHIN: Duration = Duration::from_secs(60);
