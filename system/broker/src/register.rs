//! Registration with the name servers: one loop each, so that a dead one delays no other.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use net::{Peer, Reply, Service};
use protocol::{
    Command, Text,
    body::{KvTable, RegisterBrokerBody, TopicConfig, TopicConfigSerializeWrapper, crc31, perm},
    json,
    rpc::{RegisterBroker, UnregisterBroker},
};
use runtime::{
    clock, planted, sometimes,
    sync::{Notify, Watermark},
    tap,
    time::{Instant, sleep_until, timeout},
};

use crate::Broker;

/// The name servers and what they know.
#[derive(Debug)]
pub(crate) struct Registration {
    servers: Vec<NameServer>,
}

#[derive(Debug)]
struct NameServer {
    address: Text,
    changed: Notify,
    /// A connection to one of the name servers ended, perhaps the one to this.
    lost: Notify,
    /// The last change of the topics that it was told.
    knows: Watermark,
    /// 1 once the first try has ended, whatever its outcome.
    tried: Watermark,
}

impl Registration {
    /// `addresses` as configured: separated by semicolons.
    pub(crate) fn new(addresses: &str) -> Self {
        let servers = addresses
            .split([';', ','])
            .map(str::trim)
            .filter(|address| !address.is_empty())
            .map(|address| NameServer {
                address: address.into(),
                changed: Notify::new(),
                lost: Notify::new(),
                knows: Watermark::new(0),
                tried: Watermark::new(0),
            })
            .collect();
        Self { servers }
    }

    pub(crate) fn len(&self) -> usize {
        self.servers.len()
    }

    /// Topics or permissions changed: register now.
    pub(crate) fn changed(&self) {
        let told = if planted!("B82") { 1 } else { self.servers.len() };
        self.servers.iter().take(told).for_each(|server| server.changed.notify_one());
    }

    /// A connection to a name server ended: whichever it was has dropped the broker from its routes.
    fn lost(&self) {
        self.servers.iter().for_each(|server| server.lost.notify_one());
    }

    /// Waits until each server was tried once.
    pub(crate) async fn first_round(&self, most: Duration) {
        let all = join_all(self.servers.iter().map(|server| server.tried.reach(1)));
        if timeout(most, all).await.is_err() {
            tracing::warn!("not every name server has answered yet; the broker serves its clients meanwhile");
        }
    }
}

impl Broker {
    /// Registers with one name server at start, at every change, every 30 s, and when the connection to it was lost.
    pub(crate) async fn register(self: Arc<Self>, server: usize) {
        let server = &self.registration.servers[server];
        let mut failures = 0_u32;
        loop {
            let failed_before = failures > 0;
            let known = self.register_once(server, &mut failures).await;
            server.tried.advance(1);
            let mut period =
                Duration::from_millis(self.config().register_name_server_period.clamp(10_000, 60_000));
            if failed_before && known && planted!("B46") {
                period *= 1000;
            }
            // Once more, soon: a registration that meets the removal of the one before must win (NS-2).
            let again = runtime::buggify!("broker.register.again");
            let mut next = Instant::now() + if known && !again { period } else { RETRY };
            loop {
                runtime::select! {
                    _ = self.stopping.reach(1) => return,
                    () = server.changed.notified() => break,
                    () = server.lost.notified() => {
                        if self.outside.connected(&server.address).is_none() {
                            next = next.min(Instant::now() + SOON);
                        }
                    }
                    () = sleep_until(next) => break,
                }
            }
        }
    }

    async fn register_once(&self, server: &NameServer, failures: &mut u32) -> bool {
        let (changes, request, body) = self.registration_request();
        // A lost answer must not cost a whole period.
        let patience = Duration::from_millis(self.config().register_broker_timeout_mills).min(LONGEST);
        match self.outside.call(&server.address, &request, body, patience).await {
            Ok((_, body)) => {
                sometimes!("broker.register.again_known", *failures > 0);
                if *failures > 0 || server.tried.get() == 0 {
                    tracing::info!(name_server = %server.address, "registered");
                }
                *failures = 0;
                tap!("registration", server = server.address.as_str(), changes = changes);
                server.knows.advance(changes);
                self.take_order_topics(&body);
                true
            }
            Err(error) => {
                *failures += 1;
                sometimes!("broker.register.failed");
                // Once per outage, then once in a while.
                if failures.is_power_of_two() {
                    tracing::warn!(
                        name_server = %server.address,
                        failures,
                        "cannot register: {error}. Clients that ask this name server do not find the broker"
                    );
                }
                false
            }
        }
    }

    fn registration_request(&self) -> (u64, RegisterBroker, Bytes) {
        let config = self.config();
        let (changes, wrapper) = {
            let topics = self.topics.lock();
            let own = config.broker_permission;
            let full = perm::READ | perm::WRITE;
            let table = topics
                .iter()
                .map(|topic| {
                    let mut topic = TopicConfig::clone(topic);
                    // A broker closed for writing or reading says so in the routes of all its topics.
                    if own & full != full {
                        topic.perm &= own | perm::INHERIT;
                    }
                    (topic.topic_name.clone(), topic)
                })
                .collect();
            let wrapper = TopicConfigSerializeWrapper {
                topic_config_table: table,
                data_version: topics.version(),
                ..TopicConfigSerializeWrapper::default()
            };
            (topics.changes(), wrapper)
        };
        let body = json::to_vec(&RegisterBrokerBody {
            topic_config_serialize_wrapper: wrapper,
            ..RegisterBrokerBody::default()
        });
        let request = RegisterBroker {
            broker_name: self.name.as_str().into(),
            broker_addr: self.address.clone(),
            cluster_name: self.cluster.as_str().into(),
            ha_server_addr: self.ha_address.clone(),
            broker_id: config.broker_id,
            body_crc32: crc31(&body),
            ..RegisterBroker::default()
        };
        (changes, request, body.into())
    }

    /// The name server says which topics are ordered.
    fn take_order_topics(&self, body: &Bytes) {
        if body.is_empty() {
            return;
        }
        let Ok(ordered) = json::from_slice::<KvTable>(body) else { return };
        let mut topics = self.topics.lock();
        let unaware: Vec<TopicConfig> = topics
            .iter()
            .filter(|topic| !topic.order && ordered.table.contains_key(&topic.topic_name))
            .map(|topic| TopicConfig { order: true, ..TopicConfig::clone(topic) })
            .collect();
        let any = !unaware.is_empty();
        for topic in unaware {
            topics.put(topic, clock::now_ms());
        }
        drop(topics);
        if any {
            self.topics_saved.kick();
        }
    }

    /// Waits until all name servers know a change, or for so long.
    pub(crate) async fn registered(&self, change: u64, most: Duration) {
        let all = join_all(self.registration.servers.iter().map(|server| server.knows.reach(change)));
        let _ = timeout(most, all).await;
    }

    /// Tells the name servers that the broker leaves.
    pub(crate) async fn unregister(&self) {
        let request = UnregisterBroker {
            broker_name: self.name.as_str().into(),
            broker_addr: self.address.clone(),
            cluster_name: self.cluster.as_str().into(),
            broker_id: self.config().broker_id,
        };
        join_all(self.registration.servers.iter().map(|server| async {
            let done = self.outside.call(&server.address, &request, Bytes::new(), GOODBYE).await;
            if let Err(error) = done {
                tracing::warn!(name_server = %server.address, "cannot unregister: {error}");
            }
        }))
        .await;
    }
}

/// The broker's end of its connections to name servers: it takes no requests there.
pub(crate) struct Outside(pub(crate) Arc<Registration>);

impl Service for Outside {
    async fn handle(&self, _: &Arc<Peer>, command: Command) -> Reply {
        Reply::unsupported(command.code)
    }

    fn closed(&self, _: &Arc<Peer>) {
        self.0.lost();
    }
}

/// Pause before the next registration when a connection was lost: a name server that closes them all is not flooded.
const SOON: Duration = Duration::from_secs(1);

/// Pause after a failed registration.
const RETRY: Duration = Duration::from_secs(5);

/// Longest wait for the answer to a registration.
const LONGEST: Duration = Duration::from_secs(10);

/// Longest wait for the answer to a goodbye.
const GOODBYE: Duration = Duration::from_secs(3);
