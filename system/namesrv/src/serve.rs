//! The requests a name server answers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use net::{Peer, Reply, Service};
use protocol::body::{GetBrokerMemberGroupBody, KvTable, RegisterBrokerBody, TopicList, TopicRouteData};
use protocol::json::{self, Dialect};
use protocol::rpc::*;
use protocol::{Command, HeaderError, Request, Text, body, code, config, version};
use runtime::{buggify, crash_point, planted, sometimes, tap, time::sleep};
use serde::Serialize;
use thiserror::Error;

use crate::state::kv::ORDER_TOPIC_CONFIG;
use crate::state::routes::{self, Incomplete, Key, MinIdChange, Registration, Removed};
use crate::{Shared, on_disk};

/// Why a request is refused.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Header(#[from] HeaderError),
    #[error("{0}")]
    Registration(#[from] body::BadRegistration),
    #[error("{0}")]
    Body(#[from] json::Error),
    #[error(
        "register broker failed: the first registration of a broker must carry all its topics, this one has a single one"
    )]
    Incomplete,
    #[error(
        "the name server is not ready: it waits {seconds} s after its start for brokers to register (waitSecondsForService)"
    )]
    NotReady { seconds: u64 },
    #[error(
        "no route to topic {topic}: no broker has registered it; create it, or check that its brokers know this name server"
    )]
    NoRoute { topic: Text },
    #[error("no value for key {key} in namespace {namespace}")]
    NoValue { namespace: Text, key: Text },
    #[error("no keys in namespace {namespace}")]
    NoNamespace { namespace: Text },
    #[error("the list is disabled by {by}=false")]
    Disabled { by: &'static str },
    #[error("{key} is in configBlackList and cannot be changed by a request")]
    BlackListed { key: String },
    #[error("{0}")]
    Config(#[from] config::Problems),
    #[error("not changed: {path} cannot be written: {error}")]
    Unwritable { path: Text, error: io::Error },
    #[error(" request type {0} not supported")]
    Unsupported(i32),
}

impl Refusal {
    fn code(&self) -> i32 {
        match self {
            Self::NoRoute { .. } => code::TOPIC_NOT_EXIST,
            Self::NoValue { .. } | Self::NoNamespace { .. } => code::QUERY_NOT_FOUND,
            Self::BlackListed { .. } => code::NO_PERMISSION,
            Self::Config(_) => code::INVALID_PARAMETER,
            Self::Unsupported(_) => code::REQUEST_CODE_NOT_SUPPORTED,
            _ => code::SYSTEM_ERROR,
        }
    }
}

impl From<Incomplete> for Refusal {
    fn from(Incomplete: Incomplete) -> Self {
        Self::Incomplete
    }
}

impl Service for Shared {
    async fn handle(&self, peer: &Arc<Peer>, command: Command) -> Reply {
        let code = command.code;
        let answer = match code {
            // Only these wait, for the disk; the box keeps what all others cost small.
            PutKvConfig::CODE | DeleteKvConfig::CODE | UpdateNamesrvConfig::CODE => {
                Box::pin(self.change(&command)).await
            }
            _ => self.answer(peer, &command),
        };
        answer.unwrap_or_else(|refusal| {
            tracing::debug!(code, peer = %peer.remote, %refusal, "refused");
            Reply::refuse(refusal.code(), refusal.to_string())
        })
    }

    /// The brokers that were last heard on the connection are gone.
    fn closed(&self, peer: &Arc<Peer>) {
        if planted!("M28") {
            return;
        }
        let mut gone = Vec::new();
        {
            let mut routes = self.routes.lock();
            for key in routes.close(peer.id) {
                // A broker that was heard elsewhere since is not gone.
                sometimes!("namesrv.heard_elsewhere", !routes.was_heard_on(&key, peer.id));
                if routes.was_heard_on(&key, peer.id) || planted!("M29") {
                    sometimes!("namesrv.closed");
                    gone.extend(routes.remove(&key));
                }
            }
            tap!("route.peer_closed", peer = peer.id);
            gone.iter().for_each(|removed| tap_removed(removed, "closed"));
        }
        self.tell_of(gone, "its connection closed");
        self.peers.lock().remove(&peer.id);
    }
}

impl Shared {
    fn answer(&self, peer: &Arc<Peer>, command: &Command) -> Result<Reply, Refusal> {
        match command.code {
            GetRouteInfoByTopic::CODE => self.route(command),
            RegisterBroker::CODE => self.register(peer, command),
            UnregisterBroker::CODE => self.unregister(peer, &command.header()?),
            BrokerHeartbeat::CODE => {
                let h: BrokerHeartbeat = command.header()?;
                self.hear(peer, &key_of(&h.cluster_name, &h.broker_addr));
                Ok(Reply::ok())
            }
            QueryDataVersion::CODE => self.query_version(peer, command),
            GetBrokerMemberGroup::CODE => {
                let h: GetBrokerMemberGroup = command.header()?;
                let members = self.routes.lock().members(&h.cluster_name, &h.broker_name);
                Ok(with_body(&GetBrokerMemberGroupBody { broker_member_group: Some(members) }))
            }
            GetBrokerClusterInfo::CODE => Ok(with_body(&self.routes.lock().cluster_info())),
            RegisterTopicInNamesrv::CODE => {
                let h: RegisterTopicInNamesrv = command.header()?;
                let route: TopicRouteData = json::from_slice(&command.body)?;
                self.routes.lock().register_topic(h.topic.detached(), route.queue_datas);
                Ok(Reply::ok())
            }
            DeleteTopicInNamesrv::CODE => {
                let h: DeleteTopicInNamesrv = command.header()?;
                self.routes.lock().delete_topic(&h.topic, h.cluster_name.as_deref());
                Ok(Reply::ok())
            }
            WipeWritePermOfBroker::CODE => {
                let h: WipeWritePermOfBroker = command.header()?;
                let count = self.routes.lock().wipe_write(&h.broker_name);
                tracing::info!(broker = %h.broker_name, topics = count, "write permission taken");
                Ok(Reply::with(&WipeWritePermOfBrokerReply { wipe_topic_count: count_of(count) }))
            }
            AddWritePermOfBroker::CODE => {
                let h: AddWritePermOfBroker = command.header()?;
                let count = self.routes.lock().add_write(&h.broker_name);
                tracing::info!(broker = %h.broker_name, topics = count, "write permission given");
                Ok(Reply::with(&AddWritePermOfBrokerReply { add_topic_count: count_of(count) }))
            }
            GetKvConfig::CODE => {
                let GetKvConfig { namespace, key } = command.header()?;
                match self.kv.lock().get(&namespace, &key) {
                    Some(value) => Ok(Reply::with(&GetKvConfigReply { value: Some(value.clone()) })),
                    None => Err(Refusal::NoValue { namespace, key }),
                }
            }
            GetKvListByNamespace::CODE => {
                let GetKvListByNamespace { namespace } = command.header()?;
                match self.kv.lock().list(&namespace) {
                    Some(table) => Ok(with_body(&KvTable { table: table.clone() })),
                    None => Err(Refusal::NoNamespace { namespace }),
                }
            }
            GetNamesrvConfig::CODE => Ok(Reply::ok().body(config::print(&[&*self.config.lock()]))),
            code => self.list_topics(code, command),
        }
    }

    fn route(&self, command: &Command) -> Result<Reply, Refusal> {
        let h: GetRouteInfoByTopic = command.header()?;
        let (rules, ordered) = {
            let config = self.config.lock();
            let seconds = config.wait_seconds_for_service;
            if config.need_wait_for_service && self.now() < Duration::from_secs(seconds) {
                return Err(Refusal::NotReady { seconds });
            }
            (rules_of(&config), config.order_message_enable)
        };
        let Some(mut route) = self.routes.lock().answer(&h.topic, rules) else {
            sometimes!("namesrv.no_route");
            return Err(Refusal::NoRoute { topic: h.topic });
        };
        if let [_, .., last] = &mut *route.broker_datas
            && planted!("B26")
        {
            last.broker_addrs.clear();
        }
        let writable = |queue: &body::QueueData| queue.perm & body::perm::WRITE != 0;
        if !route.queue_datas.iter().all(writable) && planted!("B98") {
            route.queue_datas.retain(writable);
        }
        if ordered {
            route.order_topic_conf = self.kv.lock().get(ORDER_TOPIC_CONFIG, &h.topic).cloned();
        }
        if let (Some(true), Some(zone)) = (h.zone_mode, &h.zone_name) {
            routes::keep_zone(&mut route, zone);
        }
        let standard =
            command.version >= version::STANDARD_JSON_ROUTE || h.accept_standard_json_only == Some(true);
        let dialect = if standard { Dialect::Standard } else { Dialect::UnquotedIntegers };
        Ok(Reply::ok().body(json::to_vec_in(&route, dialect)))
    }

    fn register(&self, peer: &Arc<Peer>, command: &Command) -> Result<Reply, Refusal> {
        let h: RegisterBroker = command.header()?;
        let body = RegisterBrokerBody::decode(&command.body, h.body_crc32, command.version)?;
        let (rules, with_order) = {
            let config = self.config.lock();
            (rules_of(&config), config.return_order_topic_config_to_broker)
        };
        let name = h.broker_name.detached();
        let mut registration = Registration {
            key: key_of(&h.cluster_name, &h.broker_addr),
            name: name.clone(),
            id: h.broker_id,
            ha_address: h.ha_server_addr.detached(),
            timeout: h
                .heartbeat_timeout_millis
                .and_then(|millis| u64::try_from(millis).ok())
                .map_or(SILENCE, Duration::from_millis),
            acting_master: h.enable_acting_master,
            zone: h.zone_name.as_ref().map(Text::detached),
            topics: body.topic_config_serialize_wrapper,
            filters: body.filter_server_list,
        };
        let (key, version) = (registration.key.clone(), registration.topics.data_version);
        self.peers.lock().insert(peer.id, peer.clone());
        let (registered, known) = {
            let mut routes = self.routes.lock();
            let before = routes.version(&key);
            let known = before.is_some();
            if let Some(before) = before.filter(|it| *it != version && it.counter == version.counter)
                && planted!("B72")
            {
                registration.topics.data_version = before;
            }
            if routes.is_late(&key, peer.id) && planted!("B32") {
                routes.unregister(&key, u64::MAX);
            }
            let registered = routes.register(registration, peer.id, self.now(), rules)?;
            if before == Some(version) && planted!("B68") {
                routes.add_write(&name);
            }
            if !registered.overruled {
                tap!(
                    "route.register",
                    broker = &*name,
                    address = &*key.address,
                    id = h.broker_id,
                    version = version.counter,
                    made_ms = version.timestamp,
                    peer = peer.id
                );
            }
            (registered, known)
        };
        if registered.overruled {
            sometimes!("namesrv.overruled");
            tracing::warn!(broker = %name, address = %key.address, id = h.broker_id,
                "registration ignored: there is a newer one of this broker, or of another with this id in a newer term");
        } else if !known {
            tracing::info!(broker = %name, address = %key.address, id = h.broker_id, cluster = %key.cluster,
                "broker registered");
        }
        self.notify(registered.min_id);
        let reply = Reply::with(&RegisterBrokerReply {
            ha_server_addr: registered.ha_address,
            master_addr: registered.master_address,
        });
        match self.kv.lock().list(ORDER_TOPIC_CONFIG).filter(|_| with_order) {
            Some(table) => Ok(reply.body(json::to_vec(&KvTable { table: table.clone() }))),
            None => Ok(reply),
        }
    }

    fn unregister(&self, peer: &Arc<Peer>, h: &UnregisterBroker) -> Result<Reply, Refusal> {
        let key = key_of(&h.cluster_name, &h.broker_addr);
        let removed = {
            let mut routes = self.routes.lock();
            let removed =
                if planted!("M29") { routes.remove(&key) } else { routes.unregister(&key, peer.id) };
            removed.iter().for_each(|removed| tap_removed(removed, "unregistered"));
            removed
        };
        sometimes!("namesrv.late_goodbye", removed.is_none());
        sometimes!("namesrv.goodbye", removed.is_some());
        self.tell_of(removed, "it said good-bye");
        Ok(Reply::ok())
    }

    fn query_version(&self, peer: &Arc<Peer>, command: &Command) -> Result<Reply, Refusal> {
        let h: QueryDataVersion = command.header()?;
        let asked: body::DataVersion = json::from_slice(&command.body)?;
        let key = key_of(&h.cluster_name, &h.broker_addr);
        self.hear(peer, &key);
        let known = self.routes.lock().version(&key);
        let reply = Reply::with(&QueryDataVersionReply { changed: known != Some(asked) });
        Ok(match known {
            Some(known) => reply.body(json::to_vec(&known)),
            None => reply,
        })
    }

    /// A sign of life of a broker.
    fn hear(&self, peer: &Arc<Peer>, key: &Key) {
        self.peers.lock().insert(peer.id, peer.clone());
        if self.routes.lock().refresh(key, peer.id, self.now()) {
            tap!("route.heard", address = &*key.address, peer = peer.id);
        }
    }

    fn list_topics(&self, code: i32, command: &Command) -> Result<Reply, Refusal> {
        let (allowed, by) = {
            let config = self.config.lock();
            match code {
                GetAllTopicListFromNamesrv::CODE => (config.enable_all_topic_list, "enableAllTopicList"),
                _ => (config.enable_topic_list, "enableTopicList"),
            }
        };
        let unit = |flag: i32| flag & UNIT != 0;
        let unit_sub = |flag: i32| flag & UNIT_SUB != 0;
        let routes = self.routes.lock();
        let mut list = TopicList::default();
        list.topic_list = match code {
            GetAllTopicListFromNamesrv::CODE => routes.topics(),
            GetTopicsByCluster::CODE => routes.topics_of(&command.header::<GetTopicsByCluster>()?.cluster),
            GetSystemTopicListFromNamesrv::CODE => {
                let (topics, address) = routes.system_topics();
                list.broker_addr = address;
                topics
            }
            GetUnitTopicList::CODE => routes.topics_with(unit),
            GetHasUnitSubTopicList::CODE => routes.topics_with(unit_sub),
            GetHasUnitSubUnUnitTopicList::CODE => routes.topics_with(|flag| !unit(flag) && unit_sub(flag)),
            code => return Err(Refusal::Unsupported(code)),
        };
        if allowed { Ok(with_body(&list)) } else { Err(Refusal::Disabled { by }) }
    }

    /// Requests that change what is on the disk, one after the other: an answer means that the change is durable.
    async fn change(&self, command: &Command) -> Result<Reply, Refusal> {
        let early = if planted!("B88") { Some(self.kv.lock().clone()) } else { None };
        let _one = self.writing.acquire().await.expect("it is never closed");
        if command.code == UpdateNamesrvConfig::CODE {
            self.change_config(&command.body).await?;
            return Ok(Reply::ok());
        }
        let mut kv = early.unwrap_or_else(|| self.kv.lock().clone());
        let mut forgets = false;
        if command.code == PutKvConfig::CODE {
            let h: PutKvConfig = command.header()?;
            kv.put(h.namespace.detached(), h.key.detached(), h.value.detached());
            forgets |= planted!("B52");
        } else {
            let h: DeleteKvConfig = command.header()?;
            kv.delete(&h.namespace, &h.key);
            forgets |= planted!("B53");
        }
        let path = self.config.lock().kv_config_path.clone();
        if planted!("B99") {
            *self.kv.lock() = kv.clone();
        }
        if !forgets {
            self.write(path, &kv.to_file()).await?;
        }
        *self.kv.lock() = kv;
        Ok(Reply::ok())
    }

    async fn change_config(&self, properties: &[u8]) -> Result<(), Refusal> {
        let mut changed = self.config.lock().clone();
        let black_list = changed.config_black_list.clone();
        let is_closed = |key: &str| {
            ALWAYS_CLOSED.contains(&key) || black_list.split(';').any(|listed| listed.trim() == key)
        };
        let mut entries = config::read_properties(properties).into_iter();
        if let Some(entry) = entries.find(|entry| is_closed(&entry.key)) {
            return Err(Refusal::BlackListed { key: entry.key });
        }
        let changes = config::update(&mut [&mut changed], &config::Source::strict("request"), properties)?;
        if changes.is_empty() {
            return Ok(());
        }
        let path = changed.config_store_path.clone();
        let printed = config::print(&[&changed]);
        self.write(path, printed.as_bytes()).await?;
        for change in changes {
            tracing::info!(key = change.key, from = change.from, to = change.to, "setting changed");
        }
        *self.config.lock() = changed;
        Ok(())
    }

    async fn write(&self, path: Text, bytes: &[u8]) -> Result<(), Refusal> {
        let written = async {
            let file = on_disk(&path);
            if let Some((folder, _)) = file.rsplit_once('/') {
                self.disk.make_dir(folder).await?;
            }
            // Who reads meanwhile must not see it (NS-4).
            if buggify!("namesrv.file.slow") {
                sleep(Duration::from_millis(300)).await;
            }
            crash_point!("namesrv.file.write").await;
            if buggify!("namesrv.file.refused") {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the disk"));
            }
            self.disk.replace_small(file, bytes).await?;
            crash_point!("namesrv.file.written").await;
            Ok(())
        };
        written.await.map_err(|error| {
            tracing::warn!(%path, %error, "cannot write");
            Refusal::Unwritable { path: path.clone(), error }
        })
    }

    /// Removes the brokers that have been silent for too long, and closes their connections.
    pub(crate) fn expire(&self) {
        if planted!("M28") {
            return;
        }
        let removed = {
            let mut routes = self.routes.lock();
            let early = Duration::from_secs(if planted!("B19") { 95 } else { 0 });
            let removed = routes.expire(self.now() + early);
            removed.iter().for_each(|removed| tap_removed(removed, "expired"));
            removed
        };
        for connection in removed.iter().filter_map(|removed| removed.connection) {
            if let Some(peer) = self.peers.lock().remove(&connection) {
                peer.close();
            }
        }
        self.tell_of(removed, "it was silent for too long");
    }

    /// Logs removals, and tells the brokers left behind.
    fn tell_of(&self, removed: impl IntoIterator<Item = Removed>, why: &'static str) {
        for Removed { key, name, min_id, .. } in removed {
            let name = name.unwrap_or_default();
            tracing::info!(broker = %name, address = %key.address, cluster = %key.cluster, why, "broker removed");
            self.notify(min_id);
        }
    }

    fn notify(&self, change: Option<MinIdChange>) {
        if let Some(change) = change.filter(|_| self.config.lock().notify_min_broker_id_changed)
            && self.news.try_send(change).is_err()
        {
            tracing::warn!("too much news for brokers: one about a smallest id was dropped");
        }
    }
}

/// The address to listen at.
pub(crate) fn listen_address(config: &crate::Config) -> Result<SocketAddr, std::net::AddrParseError> {
    let ip: IpAddr = config.bind_address.parse()?;
    Ok(SocketAddr::new(ip, config.listen_port))
}

fn tap_removed(removed: &Removed, why: &'static str) {
    tap!(
        "route.remove",
        broker = removed.name.as_deref().unwrap_or_default(),
        address = &*removed.key.address,
        why = why
    );
}

fn rules_of(config: &crate::Config) -> routes::Rules {
    routes::Rules {
        support_acting_master: config.support_acting_master,
        delete_topic_with_broker_registration: config.delete_topic_with_broker_registration,
    }
}

/// What is kept must not keep the buffer alive that the request came in.
fn key_of(cluster: &Text, address: &Text) -> Key {
    Key { cluster: cluster.detached(), address: address.detached() }
}

fn with_body<T: Serialize>(body: &T) -> Reply {
    Reply::ok().body(json::to_vec(body))
}

fn count_of(topics: usize) -> i32 {
    i32::try_from(topics).unwrap_or(i32::MAX)
}

/// How long a broker may be silent that does not say.
const SILENCE: Duration = Duration::from_secs(120);
/// Bits of a topic's flags.
const UNIT: i32 = 1;
const UNIT_SUB: i32 = 2;
/// Keys that a request can never change.
const ALWAYS_CLOSED: [&str; 3] = ["rocketmqHome", "kvConfigPath", "configStorePath"];
