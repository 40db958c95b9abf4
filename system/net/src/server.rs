//! Accepts connections and runs each as one task.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use protocol::Encoding;
use runtime::{
    net::{TcpListener, TcpStream},
    select,
    sync::{Mutex, Notify},
    task::TaskSet,
    time::{Instant, sleep, timeout_at},
};

use crate::{Limits, Peer, Service, connection::drive};

/// A bound address, not yet served.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// A server that accepts connections until it is stopped or its task set is closed.
pub struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    connections: Mutex<BTreeMap<u64, Arc<Peer>>>,
    stop: Notify,
    changed: Notify,
}

impl Server {
    /// Listens at `address`; port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves connections in tasks of `tasks`.
    pub fn start<S: Service>(self, service: Arc<S>, tasks: &TaskSet, limits: Limits) -> Running {
        let shared = Arc::new(Shared {
            connections: Mutex::new(BTreeMap::new()),
            stop: Notify::new(),
            changed: Notify::new(),
        });
        let running = Running { address: self.address, shared: shared.clone() };
        let spawn = tasks.clone();
        tasks.spawn("accept", accept(self, service, spawn, limits, shared));
        running
    }
}

impl Running {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Open connections, oldest first.
    pub fn connections(&self) -> Vec<Arc<Peer>> {
        self.shared.connections.lock().values().cloned().collect()
    }

    /// Accepts no more; lets waiting writes end and answers leave, for at most `within`; then closes all connections.
    pub async fn stop(&self, within: Duration) {
        // The permit stays when the accept loop is not waiting right now.
        self.shared.stop.notify_one();
        let deadline = Instant::now() + within;
        loop {
            let changed = self.shared.changed.notified();
            let open = self.connections();
            if open.is_empty() {
                return;
            }
            open.iter().for_each(|peer| peer.close());
            if timeout_at(deadline, changed).await.is_err() {
                tracing::warn!(
                    connections = open.len(),
                    "connections still busy at the end of the stop time"
                );
                return;
            }
        }
    }
}

async fn accept<S: Service>(
    server: Server,
    service: Arc<S>,
    tasks: TaskSet,
    limits: Limits,
    shared: Arc<Shared>,
) {
    let mut next_id = 0;
    loop {
        let accepted = select! {
            () = shared.stop.notified() => return,
            accepted = server.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                // Those behind it wait too (L-2).
                if runtime::buggify!("net.accept_slow") {
                    sleep(Duration::from_millis(30)).await;
                }
                next_id += 1;
                let local = server.address_of(&stream);
                let peer = Peer::new(next_id, remote, local, None, Encoding::Json, limits.clone());
                shared.connections.lock().insert(peer.id, peer.clone());
                let entry = Entry { shared: Arc::downgrade(&shared), id: peer.id };
                let service = service.clone();
                tasks.spawn("connection", async move {
                    let _entry = entry;
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%remote, %error, "cannot set TCP_NODELAY");
                    }
                    drive(stream, &*service, &peer).await;
                });
            }
            Err(error) => {
                // Most likely out of file descriptors: those who are connected may leave.
                tracing::warn!(%error, address = %server.address, "cannot accept a connection: trying again");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Server {
    fn address_of(&self, stream: &TcpStream) -> SocketAddr {
        stream.local_addr().unwrap_or(self.address)
    }
}

/// Keeps the table of connections true also when a connection's task is cancelled.
struct Entry {
    shared: Weak<Shared>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.connections.lock().remove(&self.id);
            shared.changed.notify_waiters();
        }
    }
}
