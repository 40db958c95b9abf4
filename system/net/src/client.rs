//! Connections by address, dialled when first needed and again after they broke.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use protocol::{Command, Encoding, Request, Text};
use runtime::{
    net::{TcpStream, resolve},
    random::{self, Rng},
    sometimes,
    sync::{Mutex, Notify, oneshot},
    task::TaskSet,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    CallError, Limits, NotSent, Peer, Service, connection::drive, peer::read_answer, state::backoff::Backoff,
};

/// How a client dials and talks.
#[derive(Clone, Debug)]
pub struct Options {
    /// Longest time one attempt to connect may take.
    pub connect_timeout: Duration,
    /// Header encoding of requests; answers are read in either.
    pub encoding: Encoding,
    /// Bounds of each connection.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(3), encoding: Encoding::Json, limits: Limits::client() }
    }
}

/// Calls to any number of addresses (`host:port`), one connection each. Clones share the connections; when the last
/// clone is dropped they close.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    tasks: TaskSet,
    options: Options,
    lines: Mutex<BTreeMap<Text, Line>>,
    changed: Notify,
    draws: Mutex<Rng>,
    ids: AtomicU64,
    /// Runs a connection with this client's service, whose type stays out of the client's own.
    run: Box<dyn Fn(TcpStream, Arc<Peer>, Ended) + Send + Sync>,
}

/// What is known of one address.
struct Line {
    backoff: Backoff<Instant>,
    link: Link,
}

enum Link {
    Down,
    /// Those who wait for the attempt under way.
    Dialling(Vec<oneshot::Sender<Result<Arc<Peer>, NotSent>>>),
    Up(Arc<Peer>),
}

impl Client {
    /// A client whose connections are tasks of `tasks` and whose `service` handles what servers ask.
    pub fn new<S: Service>(tasks: &TaskSet, service: Arc<S>, options: Options) -> Self {
        let spawn = tasks.clone();
        let run = move |stream, peer: Arc<Peer>, ended| {
            let service = service.clone();
            spawn.spawn("connection", async move {
                let _ended: Ended = ended;
                drive(stream, &*service, &peer).await;
            });
        };
        Self {
            shared: Arc::new(Shared {
                tasks: tasks.clone(),
                options,
                lines: Mutex::new(BTreeMap::new()),
                changed: Notify::new(),
                draws: Mutex::new(random::stream("net.reconnect")),
                ids: AtomicU64::new(0),
                run: Box::new(run),
            }),
        }
    }

    /// Calls `address`; an answer with a code other than 0 is `CallError::Refused`. The time-out covers dialling.
    pub async fn call<R: Request>(
        &self,
        address: &Text,
        request: &R,
        body: Bytes,
        timeout: Duration,
    ) -> Result<(R::Reply, Bytes), CallError> {
        let deadline = Instant::now() + timeout;
        let peer = self.peer_before(address, deadline).await?;
        let command = peer.command(request, body);
        read_answer::<R>(peer.call_raw(command, deadline.saturating_duration_since(Instant::now())).await?)
    }

    /// Calls `address`; any answer is a success here, also one with a code other than 0.
    pub async fn call_raw(
        &self,
        address: &Text,
        command: Command,
        timeout: Duration,
    ) -> Result<Command, CallError> {
        let deadline = Instant::now() + timeout;
        let peer = self.peer_before(address, deadline).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let left = if runtime::planted!("B92") { timeout } else { left };
        peer.call_raw(command, left).await
    }

    /// Queues a request that nobody answers, waiting for the connection and for room in its queue.
    pub async fn oneway<R: Request>(
        &self,
        address: &Text,
        request: &R,
        body: Bytes,
    ) -> Result<(), CallError> {
        let deadline = Instant::now() + self.shared.options.connect_timeout;
        let peer = self.peer_before(address, deadline).await?;
        let command = peer.command(request, body);
        peer.send(command, deadline).await.map_err(CallError::NotSent)
    }

    /// The connection to `address`, dialled if there is none.
    pub async fn peer(&self, address: &Text) -> Result<Arc<Peer>, CallError> {
        // Resolving the name and each attempt have their own bounds.
        self.peer_before(address, Instant::now() + self.shared.options.connect_timeout * 2).await
    }

    /// The connection to `address` if it stands now.
    pub fn connected(&self, address: &Text) -> Option<Arc<Peer>> {
        match &self.shared.lines.lock().get(address)?.link {
            Link::Up(peer) if !peer.is_closed() => Some(peer.clone()),
            _ => None,
        }
    }

    /// Closes the connection to `address` when what is queued has been written; the next call dials again.
    pub fn close(&self, address: &Text) {
        if let Some(peer) = self.connected(address) {
            peer.close();
        }
    }

    /// Closes all connections, for at most `within`, and waits until they are gone.
    pub async fn shutdown(&self, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            let changed = self.shared.changed.notified();
            let mut any = false;
            for line in self.shared.lines.lock().values() {
                if let Link::Up(peer) = &line.link {
                    peer.close();
                    any = true;
                }
            }
            if !any || timeout_at(deadline, changed).await.is_err() {
                return;
            }
        }
    }

    async fn peer_before(&self, address: &Text, deadline: Instant) -> Result<Arc<Peer>, CallError> {
        let dialled = match self.begin(address)? {
            Begun::Up(peer) => return Ok(peer),
            Begun::Dialling(dialled) => dialled,
        };
        match timeout_at(deadline, dialled).await {
            Ok(Ok(result)) => result.map_err(CallError::NotSent),
            Ok(Err(_)) => Err(CallError::NotSent(NotSent::Closed)),
            Err(_) => Err(CallError::NotSent(NotSent::Connect {
                address: address.clone(),
                kind: std::io::ErrorKind::TimedOut,
            })),
        }
    }

    fn begin(&self, address: &Text) -> Result<Begun, CallError> {
        let mut lines = self.shared.lines.lock();
        let line = match lines.get_mut(address) {
            Some(line) => line,
            None => lines.entry(address.clone()).or_insert_with(Line::new),
        };
        if let Link::Up(peer) = &line.link {
            if !peer.is_closed() {
                return Ok(Begun::Up(peer.clone()));
            }
            line.link = Link::Down;
        }
        let (waiter, dialled) = oneshot::channel();
        if let Link::Dialling(waiters) = &mut line.link {
            waiters.push(waiter);
            sometimes!("net.dial_shared");
            return Ok(Begun::Dialling(dialled));
        }
        let now = Instant::now();
        if let Err(at) = line.backoff.ready(now) {
            sometimes!("net.pausing");
            let wait_ms = u64::try_from((at - now).as_millis()).unwrap_or(u64::MAX);
            return Err(CallError::NotSent(NotSent::Pausing { address: address.clone(), wait_ms }));
        }
        line.link = Link::Dialling(vec![waiter]);
        drop(lines);
        // In a task of its own: the caller that happened to be first may give up.
        let shared = Arc::downgrade(&self.shared);
        let (address, connect_timeout) = (address.clone(), self.shared.options.connect_timeout);
        self.shared.tasks.spawn("dial", async move {
            // Others join the wait, and some give it up (L-2).
            if runtime::buggify!("net.dial_slow") {
                sleep(Duration::from_millis(100)).await;
            }
            let dialled = dial(&address, connect_timeout).await;
            if let Some(shared) = shared.upgrade() {
                Shared::dialled(&shared, address, dialled);
            }
        });
        Ok(Begun::Dialling(dialled))
    }
}

enum Begun {
    Up(Arc<Peer>),
    Dialling(oneshot::Receiver<Result<Arc<Peer>, NotSent>>),
}

impl Shared {
    fn dialled(shared: &Arc<Self>, address: Text, dialled: Result<(TcpStream, SocketAddr), NotSent>) {
        let result = dialled.map(|(stream, remote)| {
            let id = shared.ids.fetch_add(1, Ordering::Relaxed) + 1;
            let local = stream.local_addr().unwrap_or(remote);
            let (encoding, limits) = (shared.options.encoding, shared.options.limits.clone());
            let peer = Peer::new(id, remote, local, Some(address.clone()), encoding, limits);
            (stream, peer)
        });
        let draw = shared.draws.lock().next_u64();
        let mut lines = shared.lines.lock();
        let line = lines.entry(address.clone()).or_insert_with(Line::new);
        let before = std::mem::replace(&mut line.link, Link::Down);
        match &result {
            Ok((_, peer)) => {
                line.backoff.succeeded();
                line.link = Link::Up(peer.clone());
            }
            Err(_) => line.backoff.failed(Instant::now(), draw),
        }
        drop(lines);
        let answer = match result {
            Ok((stream, peer)) => {
                let ended = Ended { shared: Arc::downgrade(shared), address, id: peer.id };
                (shared.run)(stream, peer.clone(), ended);
                Ok(peer)
            }
            Err(error) => Err(error),
        };
        if let Link::Dialling(waiters) = before {
            for waiter in waiters {
                let _ = waiter.send(answer.clone());
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for line in self.lines.lock().values() {
            if let Link::Up(peer) = &line.link {
                peer.close();
            }
        }
    }
}

impl Line {
    fn new() -> Self {
        Self { backoff: Backoff::new(), link: Link::Down }
    }
}

/// Takes a connection out of the table when its task ends, however it ends.
struct Ended {
    shared: Weak<Shared>,
    address: Text,
    id: u64,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut lines = shared.lines.lock();
        if matches!(lines.get(&self.address), Some(Line { link: Link::Up(peer), .. }) if peer.id == self.id) {
            lines.remove(&self.address);
        }
        drop(lines);
        shared.changed.notify_waiters();
    }
}

async fn dial(address: &Text, connect_timeout: Duration) -> Result<(TcpStream, SocketAddr), NotSent> {
    let failed = |kind| NotSent::Connect { address: address.clone(), kind };
    let found = match timeout(connect_timeout, resolve(address)).await {
        Ok(found) => found.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidInput => NotSent::Address { address: address.clone() },
            kind => failed(kind),
        })?,
        Err(_) => return Err(failed(std::io::ErrorKind::TimedOut)),
    };
    let mut last = NotSent::Address { address: address.clone() };
    for remote in found {
        match timeout(connect_timeout, TcpStream::connect(remote)).await {
            Ok(Ok(stream)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%remote, %error, "cannot set TCP_NODELAY");
                }
                return Ok((stream, remote));
            }
            Ok(Err(error)) => {
                sometimes!("net.dial_refused");
                last = failed(error.kind());
            }
            Err(_) => {
                sometimes!("net.dial_timed_out");
                last = failed(std::io::ErrorKind::TimedOut);
            }
        }
    }
    Err(last)
}
