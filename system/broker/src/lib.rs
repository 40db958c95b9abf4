//! The broker: one handler per request over small tables.

use std::{io, net::SocketAddr, sync::Arc};

use protocol::Text;
use runtime::{disk::Disk, task::TaskSet};

mod refusal;

pub use refusal::Refusal;

/// Settings; keys and defaults are RocketMQ's. The table of all keys follows.
#[derive(Clone, Debug)]
pub struct Config {
    /// `brokerName`; empty: the host's name.
    pub broker_name: String,
    /// `brokerClusterName`.
    pub broker_cluster_name: String,
    /// `brokerId`; 0 is the master.
    pub broker_id: i64,
    /// `namesrvAddr`: host:port, separated by semicolons.
    pub namesrv_addr: String,
    /// `brokerIP1`; empty: the first address of the host.
    pub broker_ip1: String,
    /// `listenPort`; 0: any free one.
    pub listen_port: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            broker_name: String::new(),
            broker_cluster_name: "DefaultCluster".into(),
            broker_id: 0,
            namesrv_addr: String::new(),
            broker_ip1: String::new(),
            listen_port: 10911,
        }
    }
}

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {error}. Choose another listenPort, or stop the program that uses it"
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
    /// A file of the broker cannot be read.
    #[error(
        "cannot read {path}: {error}. Repair it, put back its copy, or remove it to start without what it holds"
    )]
    File {
        /// The file, relative to the store's directory.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    address: Text,
}

impl Broker {
    /// Recovers the store under `disk`, listens, and registers. Returns when clients are served and every name server
    /// was tried once. Its tasks belong to `tasks`.
    pub async fn start(config: Config, disk: Disk, tasks: &TaskSet) -> Result<Arc<Self>, StartError> {
        let _ = (config, disk, tasks);
        Err(StartError::Config("the broker is being written".into()))
    }

    /// Where clients reach it: `brokerIP1:listenPort`.
    pub fn address(&self) -> &Text {
        &self.address
    }

    /// Ends service: leaves the name servers, lets waiting answers go out, writes what is to be kept.
    pub async fn stop(&self) {}
}
