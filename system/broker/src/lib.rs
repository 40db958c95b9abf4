//! The broker: one handler per request over small tables.
//!
//! A handler returns its answer; it makes all changes that belong together before it first waits. The tables are in
//! `state`, without waiting, clock or random. What runs beside the handlers are the named loops started here.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use net::{Client, Deadlines, Limits, Options, Running, Server};
use protocol::{Text, id::UniqueIds};
use runtime::{
    clock,
    disk::Disk,
    host, planted,
    random::{self, Rng},
    sometimes,
    sync::{Mutex, Semaphore, Watermark},
    tap,
    task::TaskSet,
    time::Instant,
};
use store::Store;

mod clients;
mod config;
mod delay;
mod groups;
mod marks;
mod offsets;
mod pull;
mod query;
mod refusal;
mod register;
mod relay;
mod saved;
mod send;
mod send_back;
mod service;
mod settings;
mod state;
mod stats;
mod topics;
mod transactions;

pub use config::{Config, DamagedCommitLog, WITHOUT_EFFECT};
pub use refusal::Refusal;

use clients::Connected;
use delay::Delays;
use marks::Marks;
use register::{Outside, Registration};
use saved::Saved;
use send::SendSettings;
use state::{groups::Groups, locks::Locks, offsets::Offsets, topics::Topics};
use stats::Counters;
use transactions::Transactions;

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {error}. Choose another listenPort or bindAddress, or stop the program that uses it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The store does not open.
    #[error("cannot open the store: {0}")]
    Store(#[from] store::OpenError),
    /// A file of the broker cannot be read or written.
    #[error("{path}: {error}. Repair it, put back a copy, or move it away to start without what it holds")]
    File {
        /// The file, relative to the store's directory.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// What is known of half messages cannot be read, or not be brought in order.
    #[error("the half messages of transactions: {0}")]
    Transactions(String),
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
}

/// A running broker.
pub struct Broker {
    name: String,
    cluster: String,
    region: Text,
    marks: Marks,
    address: Text,
    ha_address: Text,
    store_host: SocketAddr,
    config: Mutex<Arc<Config>>,
    send_settings: SendSettings,

    disk: Disk,
    store: Arc<Store>,
    topics: Mutex<Topics>,
    topics_saved: Saved,
    groups: Mutex<Groups>,
    groups_saved: Saved,
    offsets: Mutex<Offsets>,
    offsets_written: Watermark,
    writing: Semaphore,
    connected: Mutex<Connected>,
    locks: Mutex<Locks>,
    transactions: Transactions,
    delays: Delays,

    registration: Arc<Registration>,
    outside: Client,
    servers: Mutex<Vec<Running>>,
    deadlines: Deadlines,
    unique_ids: Mutex<UniqueIds>,
    random: Mutex<Rng>,
    counters: Counters,
    started: Instant,
    boot_ms: i64,
    stopping: Watermark,
}

impl Broker {
    /// Recovers the store under `disk`, listens, and registers. Returns when clients are served and every name server
    /// was tried once. Its tasks belong to `tasks`.
    pub async fn start(config: Config, disk: Disk, tasks: &TaskSet) -> Result<Arc<Self>, StartError> {
        config.check()?;
        let ip = own_address(&config)?;
        let name = if config.broker_name.is_empty() { host::name() } else { config.broker_name.clone() };
        let loaded = saved::load(&disk).await?;
        let (store, report) = Store::open(disk.clone(), config.store()?, tasks).await?;
        tracing::info!(clean = report.clean, end = report.end, scanned = report.scanned, "store recovered");
        let delays = Delays::load(&disk, &store, config.delay_levels()?).await;

        if config.message_index_safe {
            store.index_complete().await;
        }
        let (server, fast) = match listen(&config).await {
            Ok(servers) => servers,
            Err(error) => {
                close(&store).await;
                return Err(error);
            }
        };
        let store_host = SocketAddr::new(ip, server.local_addr().port());
        let boot_ms = clock::now_ms();
        let mut draws = random::stream("broker");
        let salt = draws.next_u32();
        let registration = Arc::new(Registration::new(&config.namesrv_addr));
        let broker = Arc::new(Self {
            cluster: config.broker_cluster_name.clone(),
            region: config.region_id.as_str().into(),
            marks: Marks::new(&config.broker_cluster_name, &config.region_id),
            address: store_host.to_string().into(),
            // Replication is not offered: the port 0 says so, and the field must not be empty.
            ha_address: SocketAddr::new(ip, 0).to_string().into(),
            store_host,
            disk,
            store,
            topics: Mutex::new(Topics::load(loaded.topics, loaded.topics_version)),
            topics_saved: Saved::new("the topic table"),
            groups: Mutex::new(Groups::load(loaded.groups, loaded.groups_version)),
            groups_saved: Saved::new("the table of consumer groups"),
            offsets: Mutex::new(loaded.offsets),
            offsets_written: Watermark::new(0),
            writing: Semaphore::new(1),
            connected: Mutex::default(),
            locks: Mutex::default(),
            transactions: Transactions::new(),
            delays,
            outside: Client::new(tasks, Arc::new(Outside(registration.clone())), Options::default()),
            registration,
            servers: Mutex::default(),
            deadlines: Deadlines::new(tasks),
            unique_ids: Mutex::new(UniqueIds::new(ip, host::pid(), salt, host::utc_offset_seconds(), 0)),
            random: Mutex::new(draws),
            counters: Counters::default(),
            started: Instant::now(),
            boot_ms,
            stopping: Watermark::new(0),
            send_settings: SendSettings::of(&config),
            config: Mutex::new(Arc::new(config)),
            name,
        });
        broker.rewind();
        broker.add_built_in_topics();
        broker.load_transactions(report.last_record).await?;
        // What this incarnation starts from is on the disk before anybody is served.
        broker.write_offsets().await;
        broker.write_topics().await;
        broker.write_groups().await;
        broker.write_delays().await;
        broker.run(server, fast, tasks);
        broker.registration.first_round(FIRST_ROUND).await;
        tracing::info!(broker = broker.name, address = %broker.address, "serving");
        Ok(broker)
    }

    /// Where clients reach it: `brokerIP1:listenPort`.
    pub fn address(&self) -> &Text {
        &self.address
    }

    /// The broker's name: `brokerName`, or the host's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends service: leaves the name servers, lets waiting answers go out, writes what is to be kept.
    pub async fn stop(&self) {
        tracing::info!(broker = self.name, "stopping");
        self.stopping.advance(1);
        self.unregister().await;
        let servers = std::mem::take(&mut *self.servers.lock());
        for server in &servers {
            server.stop(DRAIN).await;
        }
        self.write_topics().await;
        self.write_groups().await;
        self.advance_transactions();
        if !planted!("B30") {
            self.write_offsets().await;
        }
        if !planted!("M37") {
            self.write_delays().await;
        }
        close(&self.store).await;
        self.outside.shutdown(DRAIN).await;
        tracing::info!(broker = self.name, "stopped");
    }

    fn run(self: &Arc<Self>, server: Server, fast: Option<Server>, tasks: &TaskSet) {
        tasks.spawn("save_topics", self.clone().save_topics());
        tasks.spawn("save_groups", self.clone().save_groups());
        tasks.spawn("persist", self.clone().persist());
        tasks.spawn("persist_delays", self.clone().persist_delays());
        for queue in self.delays.queues() {
            tasks.spawn("deliver", self.clone().deliver(queue));
        }
        tasks.spawn("expire", self.clone().expire());
        tasks.spawn("sample", self.clone().sample());
        tasks.spawn("check_transactions", self.clone().check_transactions());
        let mut servers = self.servers.lock();
        for server in [Some(server), fast].into_iter().flatten() {
            servers.push(server.start(self.clone(), tasks, Limits::server()));
        }
        for server in 0..self.registration.len() {
            tasks.spawn("register", self.clone().register(server));
        }
    }

    /// After a recovery that lost messages, consumers start at the end that is left.
    fn rewind(&self) {
        let mut offsets = self.offsets.lock();
        for (key, queues) in offsets.table() {
            let (topic, group) = key.split_once('@').expect("keys were checked when they were read");
            for (queue, offset) in queues {
                tap!("offset_loaded", group = group, topic = topic, queue = queue, offset = offset);
            }
        }
        let end = |topic: &str, queue| if planted!("B16") { i64::MAX } else { self.bounds(topic, queue).max };
        let rewound = offsets.rewind(end);
        sometimes!("broker.offsets.rewound", !rewound.is_empty());
        for r in &rewound {
            tap!(
                "offset_stored",
                group = r.group.as_str(),
                topic = r.topic.as_str(),
                queue = r.queue,
                offset = r.to
            );
            tracing::warn!(
                topic = r.topic,
                group = r.group,
                queue = r.queue,
                from = r.from,
                to = r.to,
                "the queue ends below the stored offset: messages were lost in the crash; the offset is lowered to the end"
            );
        }
    }

    fn add_built_in_topics(&self) {
        let config = self.config();
        let now = clock::now_ms();
        let built_in = state::topics::built_in(&state::topics::Settings {
            cluster: &self.cluster,
            broker: &self.name,
            auto_create: config.auto_create_topic_enable,
            template_queues: config.default_topic_queue_nums,
            cluster_topic: config.cluster_topic_enable,
            broker_topic: config.broker_topic_enable,
            trace_topic: config.trace_topic_enable.then_some(config.msg_trace_topic_name.as_str()),
            delay_levels: self.delays.levels.count(),
        });
        let mut topics = self.topics.lock();
        for topic in built_in {
            topics.put(topic, now);
        }
        // Each incarnation has versions of its own: the last ones of the one before may not have reached the disk.
        topics.touch(now);
        for topic in topics.iter() {
            tap!(
                "topic_set",
                topic = topic.topic_name.as_str(),
                read = topic.read_queue_nums,
                write = topic.write_queue_nums
            );
            let _ = topic;
        }
    }

    /// The configuration as it is now; some of it may change while the broker runs.
    fn config(&self) -> Arc<Config> {
        self.config.lock().clone()
    }

    /// Milliseconds since start, on a clock that only goes forward.
    fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).expect("uptimes are short")
    }

    fn is_stopping(&self) -> bool {
        self.stopping.get() > 0
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("name", &self.name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

async fn close(store: &Store) {
    if let Err(error) = store.close().await {
        tracing::error!(%error, "the store could not be closed properly; the next start recovers as after a crash");
    }
}

/// The address clients shall use.
fn own_address(config: &Config) -> Result<IpAddr, StartError> {
    if config.broker_ip1.is_empty() {
        let found = host::addresses().into_iter().find(|ip| !ip.is_loopback());
        return Ok(found.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
    config.broker_ip1.parse().map_err(|_| {
        StartError::Config(format!(
            "brokerIP1 is {:?}: write an IP address that clients can reach",
            config.broker_ip1
        ))
    })
}

/// The main port, and the fast one two below, which some clients prefer for sends.
async fn listen(config: &Config) -> Result<(Server, Option<Server>), StartError> {
    let ip: IpAddr = config.bind_address.parse().map_err(|_| {
        StartError::Config(format!(
            "bindAddress is {:?}: write an IP address of this host",
            config.bind_address
        ))
    })?;
    let address = SocketAddr::new(ip, config.listen_port);
    let server = Server::bind(address).await.map_err(|error| StartError::Listen { address, error })?;
    let Some(port) = config.listen_port.checked_sub(2).filter(|port| *port > 0) else {
        return Ok((server, None));
    };
    match Server::bind(SocketAddr::new(ip, port)).await {
        Ok(fast) => Ok((server, Some(fast))),
        Err(error) => {
            tracing::warn!(port, %error, "the fast port cannot be listened on; clients that ask for it (vipChannelEnabled) fail");
            Ok((server, None))
        }
    }
}

/// How long the start waits for name servers.
const FIRST_ROUND: Duration = Duration::from_secs(5);

/// How long waiting answers may take at the end.
const DRAIN: Duration = Duration::from_secs(6);
