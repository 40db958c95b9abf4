//! The name server: which broker serves which topic.
//!
//! Brokers register with every name server and clients ask any one of them; name servers do not know each other.
//! Routes live in memory only and come back with the next registrations; the KV table is on the disk.

mod config;
mod serve;
mod state;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use net::{Client, Limits, Options, Peer, Reply, Running, Server, Service};
use protocol::rpc::NotifyMinBrokerIdChange;
use protocol::{Command, Text, json};
use runtime::disk::Disk;
use runtime::sync::{Mutex, Semaphore, mpsc};
use runtime::task::TaskSet;
use runtime::time::{Instant, sleep, timeout};
use std::collections::BTreeMap;
use thiserror::Error;

pub use config::{Config, WITHOUT_EFFECT};
use state::kv::Kv;
use state::routes::{MinIdChange, Table};

/// A running name server. Dropping it ends its loops; its connections are tasks of the set it was started with.
pub struct Namesrv {
    running: Running,
    shared: Arc<Shared>,
    loops: TaskSet,
}

/// Why a name server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address to listen at is none.
    #[error("bindAddress {0:?} is not an IP address; use 0.0.0.0 for all, or the address of one interface")]
    BindAddress(Text),
    /// The address cannot be listened at.
    #[error(
        "cannot listen at {address}: {error}; is another name server running? listenPort chooses another port"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The KV table cannot be read.
    #[error("the KV table {path} cannot be read: {error}")]
    KvFile {
        /// Its file.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// The KV table is damaged.
    #[error(
        "the KV table {path} is damaged ({error}); restore it, or move it away to start with an empty one"
    )]
    KvDamaged {
        /// Its file.
        path: String,
        /// What is wrong.
        error: json::Error,
    },
}

/// What all connections share.
struct Shared {
    config: Mutex<Config>,
    routes: Mutex<Table>,
    kv: Mutex<Kv>,
    /// Connections on which brokers spoke.
    peers: Mutex<BTreeMap<u64, Arc<Peer>>>,
    disk: Disk,
    /// Held while something is written to the disk.
    writing: Semaphore,
    /// For the brokers that are to be told something.
    news: mpsc::Sender<MinIdChange>,
    started: Instant,
}

impl Shared {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Namesrv {
    /// Reads the KV table and listens. Connections become tasks of `tasks`.
    pub async fn start(config: Config, disk: Disk, tasks: &TaskSet) -> Result<Self, StartError> {
        let address = serve::listen_address(&config)
            .map_err(|_| StartError::BindAddress(config.bind_address.clone()))?;
        let kv = load_kv(&disk, &config.kv_config_path).await?;
        let server = Server::bind(address).await.map_err(|error| StartError::Listen { address, error })?;
        let (news, heard) = mpsc::channel(NEWS_MAX);
        let shared = Arc::new(Shared {
            config: Mutex::new(config),
            routes: Mutex::new(Table::default()),
            kv: Mutex::new(kv),
            peers: Mutex::new(BTreeMap::new()),
            disk,
            writing: Semaphore::new(1),
            news,
            started: Instant::now(),
        });
        let loops = TaskSet::new();
        loops.spawn("expire", expire(shared.clone()));
        loops.spawn("tell", tell(heard, Client::new(tasks, Arc::new(Nobody), Options::default())));
        let running = server.start(shared.clone(), tasks, Limits::server());
        tracing::info!(address = %running.local_addr(), "name server listens");
        Ok(Self { running, shared, loops })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running.local_addr()
    }

    /// Its settings now; requests may have changed them.
    pub fn config(&self) -> Config {
        self.shared.config.lock().clone()
    }

    /// Accepts no more, lets answers leave, and closes all connections.
    pub async fn stop(&self) {
        self.running.stop(STOP_TIME).await;
        self.loops.close().await;
    }
}

/// Looks for silent brokers, again and again.
async fn expire(shared: Arc<Shared>) {
    loop {
        let pause = shared.config.lock().scan_not_active_broker_interval;
        sleep(Duration::from_millis(pause.max(1))).await;
        shared.expire();
    }
}

/// Tells brokers that the smallest id of their name changed. What does not arrive they find out themselves.
async fn tell(mut news: mpsc::Receiver<MinIdChange>, client: Client) {
    while let Some(change) = news.recv().await {
        let request = NotifyMinBrokerIdChange {
            min_broker_id: Some(change.min_id),
            broker_name: Some(change.name),
            min_broker_addr: Some(change.min_address),
            offline_broker_addr: change.offline_address,
            ha_broker_addr: change.ha_address,
        };
        for address in change.tell {
            let told = timeout(TELL_TIME, client.oneway(&address, &request, Bytes::new())).await;
            if !matches!(told, Ok(Ok(()))) {
                tracing::debug!(%address, "broker not told of the smallest id");
            }
        }
    }
}

/// What brokers ask on connections that the name server dialled: nothing.
struct Nobody;

impl Service for Nobody {
    async fn handle(&self, _: &Arc<Peer>, command: Command) -> Reply {
        Reply::unsupported(command.code)
    }
}

/// The KV table; if there is no file, that of the reference's copy beside it, which it keeps while it writes.
async fn load_kv(disk: &Disk, path: &str) -> Result<Kv, StartError> {
    for path in [path.to_owned(), format!("{path}.bak")] {
        match disk.read_small(on_disk(&path)).await {
            Ok(bytes) => return Kv::from_file(&bytes).map_err(|error| StartError::KvDamaged { path, error }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StartError::KvFile { path, error }),
        }
    }
    Ok(Kv::default())
}

/// The name by which the disk knows a file of the configuration: from its root, without a slash in front.
pub(crate) fn on_disk(path: &str) -> &str {
    path.trim_start_matches('/')
}

const STOP_TIME: Duration = Duration::from_secs(3);
const TELL_TIME: Duration = Duration::from_millis(300);
const NEWS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::rpc::PutKvConfig;

    #[test]
    fn a_waiting_request_costs_little() {
        runtime::run(Some(1), || async {
            let tasks = TaskSet::new();
            #[cfg(not(madsim))]
            let folder = tempfile::tempdir().unwrap();
            #[cfg(not(madsim))]
            let disk = Disk::open(folder.path().to_str().unwrap()).unwrap();
            #[cfg(madsim)]
            let disk = Disk::open("/namesrv").unwrap();
            let config = Config { bind_address: "127.0.0.1".into(), listen_port: 0, ..Config::default() };
            let namesrv = Namesrv::start(config, disk, &tasks).await.unwrap();
            let peer = Peer::detached(1, namesrv.address(), namesrv.address());
            let command = Command::request(&PutKvConfig::default(), Bytes::new());
            let size = size_of_val(&namesrv.shared.handle(&peer, command));
            assert!(size <= 1024, "{size}");
        });
    }
}
