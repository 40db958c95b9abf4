//! The lab's own questions and orders to the cluster, from a node of its own: routes, ends of queues, topics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use net::{CallError, Client, Options, Peer, Reply, Service};
use protocol::compression::Compression;
use protocol::id::OffsetId;
use protocol::name::AUTO_CREATE_TOPIC;
use protocol::record::{self, Scan};
use protocol::rpc::{
    AddWritePermOfBroker, DeleteTopicInBroker, DeleteTopicInNamesrv, GetBrokerClusterInfo, GetMaxOffset,
    GetMinOffset, GetRouteInfoByTopic, GetSubscriptionGroupConfig, GetTopicConfig, QueryConsumerOffset,
    QueryMessage, SendMessageV2, UpdateAndCreateSubscriptionGroup, UpdateAndCreateTopic, ViewMessageById,
    WipeWritePermOfBroker,
};
use protocol::{Command, Request, Text, body, json};
use runtime::task::TaskSet;
use runtime::time::{Instant, sleep};

use super::load::Shared;
use super::marks::Answer;
use super::reader::Reader;
use super::recorder::{Seen, compare, key_name};
use super::{locks, operator};
use crate::draw::Draw;
use crate::history::{
    ById, Fit, GroupId, Id, Kind, MessageId, NodeId, QueueId, Setting, SettingId, Slot, TopicId,
};
use crate::plan::{Object, Order};

/// A server that can be asked.
#[derive(Clone, Debug)]
pub struct Server {
    /// Who it is.
    pub id: NodeId,
    /// Where it is reached from the asker's node.
    pub address: Text,
}

/// A node that the lab can let something run on.
pub trait Home {
    /// Runs it there, also when nobody waits for the end; none: the node died meanwhile.
    fn run<T: Send + 'static>(
        &self,
        question: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Option<T>>;
}

/// Asks from one node.
#[derive(Debug)]
pub struct Asker<H> {
    shared: Shared,
    home: H,
    name_servers: Vec<Server>,
    brokers: Vec<Server>,
}

/// Nobody asks the asker.
struct Silent;

impl Service for Silent {
    async fn handle(&self, _: &Arc<Peer>, command: Command) -> Reply {
        Reply::unsupported(command.code)
    }
}

impl<H: Home> Asker<H> {
    /// Will ask these servers.
    pub fn new(shared: Shared, home: H, name_servers: Vec<Server>, brokers: Vec<Server>) -> Self {
        Self { shared, home, name_servers, brokers }
    }

    /// Sets the queues of a topic on a broker, trying until the deadline.
    pub async fn set_queues(
        &self,
        broker: NodeId,
        topic: &str,
        read: u32,
        write: u32,
        deadline: Instant,
    ) -> bool {
        self.set_topic(broker, topic, (read, write), READ_AND_WRITE, deadline).await
    }

    /// Sets read and write queues of a topic on a broker, and what may be done with them.
    pub async fn set_topic(
        &self,
        broker: NodeId,
        topic: &str,
        (read, write): (u32, u32),
        perm: u32,
        deadline: Instant,
    ) -> bool {
        let request = new_topic(topic.into(), (read, write), perm);
        let Some(server) = self.brokers.iter().find(|known| known.id == broker) else { return false };
        let done = self.order(vec![server.address.clone()], request, deadline).await;
        if done {
            self.shared.recorder.ordered(broker, topic, read, write);
        }
        done
    }

    /// Deletes a topic on a broker.
    pub async fn delete_topic(&self, broker: NodeId, topic: &str, deadline: Instant) -> bool {
        let Some(server) = self.brokers.iter().find(|known| known.id == broker) else { return false };
        self.order(vec![server.address.clone()], DeleteTopicInBroker { topic: topic.into() }, deadline).await
    }

    /// Lets all name servers forget a topic.
    pub async fn delete_route(&self, topic: &str, deadline: Instant) -> bool {
        let servers = self.name_servers.iter().map(|server| server.address.clone()).collect();
        self.order(servers, DeleteTopicInNamesrv { topic: topic.into(), cluster_name: None }, deadline).await
    }

    /// Tells all name servers whether a broker may be written to.
    pub async fn set_writable(&self, broker: &str, on: bool, deadline: Instant) -> bool {
        let servers = self.name_servers.iter().map(|server| server.address.clone()).collect();
        let broker_name = Text::from(broker);
        match on {
            true => self.order(servers, AddWritePermOfBroker { broker_name }, deadline).await,
            false => self.order(servers, WipeWritePermOfBroker { broker_name }, deadline).await,
        }
    }

    /// Gives orders to a broker, all at once and each one time. One that nobody answers may be carried out at any time.
    pub async fn give(&self, broker: NodeId, orders: &[Order]) {
        let Some(server) = self.brokers.iter().find(|known| known.id == broker) else { return };
        let given = orders.iter().map(|order| {
            let (shared, server, order) = (self.shared.clone(), server.clone(), *order);
            self.home.run(async move {
                let (tasks, client) = connect();
                give(&client, &shared, &server, order).await;
                tasks.close().await;
            })
        });
        // Each goes on by itself.
        for given in given.collect::<Vec<_>>() {
            given.await;
        }
    }

    /// Asks what has become of all orders.
    pub async fn settings(&self) {
        let (shared, brokers) = (self.shared.clone(), self.brokers.clone());
        let question = async move {
            let (tasks, client) = connect();
            let settings = shared.recorder.live().history.settings.len() as u32;
            for setting in (0..settings).map(SettingId) {
                ask_setting(&client, &shared, &brokers, setting).await;
            }
            tasks.close().await;
        };
        self.home.run(question).await.unwrap_or_default();
    }

    /// Gives an order to each of these servers, trying until the deadline, or until nobody waits for it any more: an order
    /// that goes on would overrule the one that takes it back. True: all have carried it out.
    async fn order<R: Request + Send + Sync + 'static>(
        &self,
        mut servers: Vec<Text>,
        request: R,
        deadline: Instant,
    ) -> bool {
        let wanted = Arc::new(());
        let still_wanted = Arc::downgrade(&wanted);
        let question = async move {
            let (tasks, client) = connect();
            while let Some(server) = servers.last()
                && Instant::now() < deadline
                && still_wanted.strong_count() > 0
            {
                if client.call(server, &request, Bytes::new(), TIMEOUT).await.is_ok() {
                    servers.pop();
                } else {
                    sleep(Duration::from_millis(500)).await;
                }
            }
            tasks.close().await;
            servers.is_empty()
        };
        let done = self.home.run(question).await;
        drop(wanted);
        done.unwrap_or(false)
    }

    /// Waits until every name server lists every broker.
    pub async fn all_registered(&self, deadline: Instant) -> bool {
        let all = (1u64 << self.brokers.len()) - 1;
        let (shared, servers) = (self.shared.clone(), self.name_servers.clone());
        let question = async move {
            let (tasks, client) = connect();
            let mut waiting = servers;
            while !waiting.is_empty() && Instant::now() < deadline {
                let server = &waiting[waiting.len() - 1];
                if cluster(&client, &shared, server).await == Some(all) {
                    waiting.pop();
                } else {
                    sleep(Duration::from_millis(200)).await;
                }
            }
            tasks.close().await;
            waiting.is_empty()
        };
        self.home.run(question).await.unwrap_or(false)
    }

    /// Asks for many keys, when nothing goes on any more.
    pub async fn by_key(&self) {
        if self.shared.plan.queries == 0 {
            return;
        }
        let (shared, brokers) = (self.shared.clone(), self.brokers.clone());
        let question = async move {
            let (tasks, client) = connect();
            let mut draw = Draw::new(shared.plan.seed, "keys");
            let mut reader = Reader::start(&shared, "keys").await;
            for _ in 0..MOST_KEYS {
                if !reader.ask_key(&shared, &brokers, &mut draw).await {
                    ask_key(&client, &shared, &brokers, &mut draw).await;
                }
            }
            reader.stop().await;
            tasks.close().await;
        };
        self.home.run(question).await.unwrap_or_default();
    }

    /// Asks for the ends of all queues, last of all: what was deleted meanwhile, after a disk was full, is not missed.
    pub async fn ranges(&self) {
        let (shared, brokers) = (self.shared.clone(), self.brokers.clone());
        let question = async move {
            let (tasks, client) = connect();
            let queues = shared.recorder.live().queues();
            let mut reader = Reader::start(&shared, "ranges").await;
            for queue in queues {
                if !reader.ask_queue(&shared, &brokers, queue).await {
                    ask_queue(&client, &shared, &brokers, queue).await;
                }
            }
            reader.stop().await;
            tasks.close().await;
        };
        self.home.run(question).await.unwrap_or_default();
    }

    /// Asks for messages by the ids that producers were given.
    pub async fn by_id(&self) -> Vec<ById> {
        let (shared, brokers) = (self.shared.clone(), self.brokers.clone());
        let question = async move {
            let (tasks, client) = connect();
            let (there, gone): (Vec<_>, Vec<_>) = {
                let mut live = shared.recorder.live();
                let ids = std::mem::take(&mut live.ids);
                let places: BTreeMap<MessageId, Slot> = live.placed.iter().copied().collect();
                let lives = |id: &MessageId| places.get(id).is_none_or(|slot| live.history.lives(slot.queue));
                ids.into_iter().partition(|(asked, ..)| lives(asked))
            };
            // What went with its topic is asked for as often as what did not.
            let chosen = [there, gone].into_iter().flat_map(|ids| {
                let step = ids.len().div_ceil(MOST_IDS).max(1);
                ids.into_iter().step_by(step)
            });
            let mut answers = Vec::new();
            let mut reader = Reader::start(&shared, "ids").await;
            for (asked, offset_id, unique) in chosen {
                // What is not answered says nothing.
                let by_client = reader.is_next();
                let found = match by_client {
                    true => reader.by_offset(&shared, &offset_id).await,
                    false => by_offset(&client, &shared, &offset_id).await,
                };
                answers.extend(found.map(|found| ById { asked, id: Id::Offset, found }));
                let found = match by_client {
                    true => reader.by_unique(&shared, &brokers, asked, &unique).await,
                    false => by_unique(&client, &shared, &brokers, asked, &unique).await,
                };
                answers.extend(found.map(|found| ById { asked, id: Id::Unique, found }));
            }
            reader.stop().await;
            tasks.close().await;
            answers
        };
        self.home.run(question).await.unwrap_or_default()
    }

    /// Asks how far everybody is, where no taps tell: which queues of retries and dead letters there are, where all
    /// queues end, and what the groups have committed.
    pub async fn progress(&self) {
        let (shared, brokers) = (self.shared.clone(), self.brokers.clone());
        let servers = self.name_servers.clone();
        let question = async move {
            let (tasks, client) = connect();
            let groups = shared.recorder.live().history.groups.clone();
            for topic in groups.iter().flat_map(|group| [group.retry, group.dlq]) {
                for server in &servers {
                    find_queues(&client, &shared, server, topic).await;
                }
            }
            let queues = shared.recorder.live().queues();
            for queue in queues {
                ask_queue(&client, &shared, &brokers, queue).await;
                for (number, group) in groups.iter().enumerate() {
                    ask_commit(&client, &shared, &brokers, (GroupId(number as u32), &group.name), queue)
                        .await;
                }
            }
            tasks.close().await;
        };
        self.home.run(question).await.unwrap_or_default();
    }

    /// Goes on looking at groups and changing what servers keep for an operator, until the node is stopped.
    pub fn operate(&self) {
        if self.shared.plan.operator_ms == 0 {
            return;
        }
        for server in &self.name_servers {
            drop(self.home.run(operator::name_server(self.shared.clone(), server.clone()))); // it goes on
        }
        for server in &self.brokers {
            drop(self.home.run(operator::broker(self.shared.clone(), server.clone())));
        }
    }

    /// Goes on locking queues of each broker by two clients, until the node is stopped.
    pub fn lock(&self) {
        if self.shared.plan.lock_ms == 0 {
            return;
        }
        for server in &self.brokers {
            for number in 0..locks::CLIENTS {
                drop(self.home.run(locks::client(self.shared.clone(), server.clone(), number))); // it goes on
            }
        }
    }

    /// Goes on asking name servers and brokers until the node is stopped, and writes the answers into the history.
    pub fn watch(&self, every_ms: u64) {
        let (shared, servers, brokers) =
            (self.shared.clone(), self.name_servers.clone(), self.brokers.clone());
        let question = async move {
            let (_tasks, client) = connect();
            let mut draw = Draw::new(shared.plan.seed, "asker");
            let mut which = Draw::new(shared.plan.seed, "settings");
            let mut reader = Reader::start(&shared, "reader").await;
            loop {
                sleep(Duration::from_millis(draw.range(every_ms / 2, every_ms * 3 / 2))).await;
                for server in &servers {
                    // A topic that an operator deletes says nothing of brokers.
                    let whole_cluster = draw.chance(60) || shared.plan.deletes(0);
                    ask_server(&client, &shared, server, whole_cluster).await;
                }
                for _ in 0..shared.plan.queries {
                    if !reader.ask_key(&shared, &brokers, &mut draw).await {
                        ask_key(&client, &shared, &brokers, &mut draw).await;
                    }
                }
                let queues = shared.recorder.live().queues();
                if !queues.is_empty() {
                    let queue = *draw.pick(&queues);
                    if !reader.ask_queue(&shared, &brokers, queue).await {
                        ask_queue(&client, &shared, &brokers, queue).await;
                    }
                }
                let settings = shared.recorder.live().history.settings.len() as u64;
                if settings > 0 {
                    let setting = SettingId(which.below(settings) as u32);
                    ask_setting(&client, &shared, &brokers, setting).await;
                }
            }
        };
        drop(self.home.run(question)); // it goes on
    }
}

/// Which message a stored record is, read without the client's code.
fn read_record(shared: &Shared, bytes: &[u8]) -> Answer {
    let Scan::Record(record) = record::scan(bytes, true) else {
        return (None, Fit { body: false, properties: false });
    };
    let inflated = Compression::of(record.sys_flag).map(|kind| kind.decompress(record.body, MOST_BYTES));
    let body = match &inflated {
        Some(Ok(body)) => body.as_slice(),
        _ => record.body,
    };
    let seen = Seen {
        lies_in: record.topic,
        body,
        tag: record.property("TAGS"),
        key: record.property("KEYS").and_then(|keys| keys.split(' ').next()),
        who: record.property("who"),
        flag: record.flag,
        born_ms: record.born_timestamp,
        born_ip: record.born_host.ip(),
    };
    compare(&shared.recorder, shared.plan.seed, &seen)
}

/// The order to make a topic, or to change it.
fn new_topic(topic: Text, (read, write): (u32, u32), perm: u32) -> UpdateAndCreateTopic {
    UpdateAndCreateTopic {
        topic,
        default_topic: AUTO_CREATE_TOPIC.into(),
        read_queue_nums: read as i32,
        write_queue_nums: write as i32,
        perm: perm as i32,
        topic_filter_type: "SINGLE_TAG".into(),
        topic_sys_flag: None,
        order: false,
        attributes: None,
        force: None,
    }
}

pub(super) fn connect() -> (TaskSet, Client) {
    let tasks = TaskSet::new();
    let client = Client::new(&tasks, Arc::new(Silent), Options::default());
    (tasks, client)
}

async fn ask_server(client: &Client, shared: &Shared, server: &Server, whole_cluster: bool) {
    let asked_ns = shared.recorder.elapsed_ns();
    let brokers = if whole_cluster {
        cluster(client, shared, server).await
    } else {
        route(client, shared, server).await
    };
    if let Some(brokers) = brokers {
        shared.recorder.push(server.id, Kind::Routes { asked_ns, brokers, whole_cluster });
    }
}

async fn cluster(client: &Client, shared: &Shared, server: &Server) -> Option<u64> {
    let (_, body) =
        client.call(&server.address, &GetBrokerClusterInfo {}, Bytes::new(), TIMEOUT).await.ok()?;
    let info: body::ClusterInfo = json::from_slice(&body).ok()?;
    let live = info.broker_addr_table.iter().filter(|(_, data)| !data.broker_addrs.is_empty());
    Some(bits(shared, live.map(|(name, _)| name.clone())))
}

async fn route(client: &Client, shared: &Shared, server: &Server) -> Option<u64> {
    let route = route_of(client, server, shared.plan.topics[0].name.as_str().into()).await?;
    let reachable = route.broker_datas.iter().filter(|broker| !broker.broker_addrs.is_empty());
    let addresses = bits(shared, reachable.map(|broker| broker.broker_name.clone()));
    let queues = bits(shared, route.queue_datas.iter().map(|queues| queues.broker_name.clone()));
    shared.recorder.push(server.id, Kind::RouteTold { queues, addresses });
    Some(bits(shared, route.broker_datas.iter().map(|broker| broker.broker_name.clone())))
}

/// The route of a topic, without a broker when there is none.
async fn route_of(client: &Client, server: &Server, topic: Text) -> Option<body::TopicRouteData> {
    let request = GetRouteInfoByTopic {
        topic,
        accept_standard_json_only: Some(true),
        zone_name: None,
        zone_mode: None,
    };
    match client.call(&server.address, &request, Bytes::new(), TIMEOUT).await {
        Ok((_, body)) => json::from_slice(&body).ok(),
        Err(CallError::Refused { code: 17, .. }) => Some(body::TopicRouteData::default()),
        Err(_) => None,
    }
}

fn bits(shared: &Shared, names: impl Iterator<Item = Text>) -> u64 {
    let live = shared.recorder.live();
    let known = names.filter_map(|name| live.history.known_node(&name));
    let places = known.filter_map(|node| live.history.brokers.iter().position(|broker| broker.node == node));
    places.fold(0, |bits, place| bits | 1 << place)
}

async fn ask_queue(client: &Client, shared: &Shared, brokers: &[Server], queue: QueueId) {
    let asked_ns = shared.recorder.elapsed_ns();
    let (topic, number, broker) = {
        let live = shared.recorder.live();
        let facts = live.history.queues[queue.index()];
        let place = live.history.brokers.iter().position(|broker| broker.node == facts.broker);
        (Text::from(live.history.topic_name(facts.topic)), facts.number, place.map(|place| &brokers[place]))
    };
    let Some(broker) = broker else { return };
    let (address, queue_id) = (&broker.address, number as i32);
    let low = GetMinOffset { topic: topic.clone(), queue_id };
    let Ok((min, _)) = client.call(address, &low, Bytes::new(), TIMEOUT).await else { return };
    let high = GetMaxOffset { topic, queue_id, committed: true };
    let Ok((max, _)) = client.call(address, &high, Bytes::new(), TIMEOUT).await else { return };
    let (min, max) = (min.offset.max(0) as u64, max.offset.max(0) as u64);
    if !shared.recorder.live().history.lives(queue) {
        return;
    }
    shared.recorder.push(broker.id, Kind::Range { queue, asked_ns, min, max });
    shared.recorder.live().ends_at(queue, max);
}

/// Gives an order to a broker, and writes down whether it was carried out.
async fn give(client: &Client, shared: &Shared, server: &Server, order: Order) {
    let Order { object, number, value } = order;
    let (name, none) = (Text::from(object.name(number)), Bytes::new());
    let setting = {
        let mut live = shared.recorder.live();
        live.history.setting(Setting { broker: server.id, object, number })
    };
    shared.recorder.push(NodeId(0), Kind::Ordered { setting, value });
    let done = match object {
        Object::Topic => {
            let request = new_topic(name, (value, value), READ_AND_WRITE);
            client.call(&server.address, &request, none, CARRIED_OUT).await.is_ok()
        }
        Object::Sent => {
            let request = SendMessageV2 {
                producer_group: "operator".into(),
                topic: name,
                default_topic: AUTO_CREATE_TOPIC.into(),
                default_topic_queue_nums: value as i32,
                ..SendMessageV2::default()
            };
            client.call(&server.address, &request, Bytes::from_static(b"first"), CARRIED_OUT).await.is_ok()
        }
        Object::Group => {
            let config = body::SubscriptionGroupConfig {
                group_name: name,
                retry_max_times: value as i32,
                ..body::SubscriptionGroupConfig::default()
            };
            let (request, body) = (UpdateAndCreateSubscriptionGroup {}, json::to_vec(&config));
            client.call(&server.address, &request, body.into(), CARRIED_OUT).await.is_ok()
        }
    };
    if done {
        shared.recorder.push(NodeId(0), Kind::Done { setting, value });
    }
}

/// Asks what has become of an order.
async fn ask_setting(client: &Client, shared: &Shared, brokers: &[Server], setting: SettingId) {
    let asked_ns = shared.recorder.elapsed_ns();
    let Setting { broker, object, number } = shared.recorder.live().history.settings[setting.index()];
    let Some(server) = brokers.iter().find(|known| known.id == broker) else { return };
    let (name, none) = (Text::from(object.name(number)), Bytes::new());
    let shown = match object {
        Object::Topic | Object::Sent => {
            let request = GetTopicConfig { topic: name, lo: None };
            let answer = client.call(&server.address, &request, none, TIMEOUT).await;
            answer.map(|(_, body)| {
                json::from_slice(&body).ok().map(|it: body::TopicConfig| it.write_queue_nums as u32)
            })
        }
        Object::Group => {
            let request = GetSubscriptionGroupConfig { group: name };
            let answer = client.call(&server.address, &request, none, TIMEOUT).await;
            answer.map(|(_, body)| {
                json::from_slice(&body)
                    .ok()
                    .map(|it: body::SubscriptionGroupConfig| it.retry_max_times as u32)
            })
        }
    };
    let value = match shown {
        Ok(Some(value)) => Some(value),
        Err(CallError::Refused { code: 17 | 26, .. }) => None,
        _ => return,
    };
    shared.recorder.push(broker, Kind::Shown { setting, asked_ns, value });
}

/// Makes the queues known that a topic has by its route.
async fn find_queues(client: &Client, shared: &Shared, server: &Server, topic: TopicId) {
    let name = Text::from(shared.recorder.live().history.topic_name(topic));
    let Some(route) = route_of(client, server, name).await else { return };
    let mut live = shared.recorder.live();
    for queues in route.queue_datas {
        let Some(broker) = live.history.known_node(&queues.broker_name) else { continue };
        for number in 0..queues.read_queue_nums.max(0) as u32 {
            live.history.queue(topic, broker, number);
        }
    }
}

/// Asks what a group has committed in a queue that it reads.
async fn ask_commit(
    client: &Client,
    shared: &Shared,
    brokers: &[Server],
    (group, name): (GroupId, &str),
    queue: QueueId,
) {
    let (topic, queue_id, broker) = {
        let live = shared.recorder.live();
        let facts = live.history.queues[queue.index()];
        if !live.history.reads(group, queue) {
            return;
        }
        (Text::from(live.history.topic_name(facts.topic)), facts.number as i32, facts.broker)
    };
    let Some(broker) = brokers.iter().find(|known| known.id == broker) else { return };
    let request =
        QueryConsumerOffset { consumer_group: name.into(), topic, queue_id, set_zero_if_not_found: None };
    // Who has committed nothing is told so by a refusal.
    let Ok((reply, _)) = client.call(&broker.address, &request, Bytes::new(), TIMEOUT).await else { return };
    if let Ok(offset) = u64::try_from(reply.offset) {
        shared.recorder.live().committed(broker.id, group, queue, offset);
    }
}

/// An acknowledged message that is asked for.
pub(super) struct Wanted<'a> {
    pub(super) message: MessageId,
    pub(super) slot: Slot,
    /// It did not go with its topic.
    pub(super) lives: bool,
    pub(super) topic: Text,
    pub(super) key: String,
    pub(super) broker: &'a Server,
}

/// Any acknowledged message.
pub(super) fn wanted<'a>(shared: &Shared, brokers: &'a [Server], draw: &mut Draw) -> Option<Wanted<'a>> {
    let live = shared.recorder.live();
    if live.placed.is_empty() {
        return None;
    }
    let (message, slot) = *draw.pick(&live.placed);
    let facts = live.history.queues[slot.queue.index()];
    let place = live.history.brokers.iter().position(|broker| broker.node == facts.broker)?;
    let made = live.history.messages[message.index()];
    let topic = Text::from(live.history.topic_name(facts.topic));
    let (lives, key) = (live.history.lives(slot.queue), key_name(made.producer, made.serial));
    Some(Wanted { message, slot, lives, topic, key, broker: &brokers[place] })
}

/// Asks for the key of some acknowledged message.
async fn ask_key(client: &Client, shared: &Shared, brokers: &[Server], draw: &mut Draw) {
    let asked_ns = shared.recorder.elapsed_ns();
    let Some(Wanted { message, slot, lives, topic, key, broker }) = wanted(shared, brokers, draw) else {
        return;
    };
    let mut request = QueryMessage {
        topic,
        key: key.as_str().into(),
        max_num: 32,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        unique_key_query: None,
    };
    // Of any time, and then of the millisecond in which the last of what was found was stored.
    for _ in 0..2 {
        let body = match client.call(&broker.address, &request, Bytes::new(), TIMEOUT).await {
            Ok((_, body)) => body,
            Err(CallError::Refused { code: 22, .. }) => Bytes::new(), // nothing has this key
            Err(_) => return,
        };
        let (mut found, mut others, mut stored_ms) = (false, 0, None);
        for bytes in record::each(body) {
            let (read, _) = read_record(shared, &bytes);
            found |= read == Some(message);
            others += u32::from(read != Some(message));
            if let Scan::Record(record) = record::scan(&bytes, false) {
                stored_ms = Some(record.place.store_timestamp);
            }
        }
        // What is deleted meanwhile says nothing.
        if shared.recorder.live().history.lives(slot.queue) != lives {
            return;
        }
        shared.recorder.push(broker.id, Kind::Queried { message, slot, asked_ns, found, others });
        let Some(stored_ms) = stored_ms.filter(|_| found && others == 0) else { return };
        (request.begin_timestamp, request.end_timestamp) = (stored_ms, stored_ms);
    }
}

/// What an offset id leads to; none: nobody answers.
async fn by_offset(client: &Client, shared: &Shared, id: &str) -> Option<Option<Answer>> {
    let Ok(OffsetId { host, position }) = id.parse() else { return Some(None) };
    let request = ViewMessageById { offset: position as i64, topic: None };
    let address = Text::from(host.to_string());
    match client.call(&address, &request, Bytes::new(), TIMEOUT).await {
        Ok((_, record)) => Some(Some(read_record(shared, &record))),
        Err(CallError::Refused { .. }) => Some(None),
        Err(_) => None,
    }
}

/// The topic and the broker that an acknowledgement named; none: it named no place.
pub(super) fn place_of<'a>(
    shared: &Shared,
    brokers: &'a [Server],
    asked: MessageId,
) -> Option<(Text, &'a Server)> {
    let live = shared.recorder.live();
    let place = live.placed.iter().find(|(message, _)| *message == asked)?.1;
    let facts = live.history.queues[place.queue.index()];
    let broker = live.history.brokers.iter().position(|broker| broker.node == facts.broker)?;
    Some((Text::from(live.history.topic_name(facts.topic)), &brokers[broker]))
}

/// What the unique key of a message leads to on the broker that acknowledged it: the first that is something else, or
/// the message. None: it was acknowledged without a place, as what is delayed is, or nobody answers.
async fn by_unique(
    client: &Client,
    shared: &Shared,
    brokers: &[Server],
    asked: MessageId,
    unique: &str,
) -> Option<Option<Answer>> {
    let (topic, broker) = place_of(shared, brokers, asked)?;
    let request = QueryMessage {
        topic,
        key: unique.into(),
        max_num: 32,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        unique_key_query: Some(true),
    };
    let body = match client.call(&broker.address, &request, Bytes::new(), TIMEOUT).await {
        Ok((_, body)) => body,
        Err(CallError::Refused { code: 22, .. }) => return Some(None),
        Err(_) => return None,
    };
    let read: Vec<Answer> = record::each(body).map(|bytes| read_record(shared, &bytes)).collect();
    let other = read.iter().find(|answer| **answer != (Some(asked), Fit::WHOLE));
    Some(other.or(read.first()).copied())
}

/// What may usually be done with a topic.
const READ_AND_WRITE: u32 = 6;
/// Keys asked for in the end.
const MOST_KEYS: usize = 100;
/// Messages asked for by their ids in one run, and as many of deleted topics.
const MOST_IDS: usize = 100;
/// Longest body.
const MOST_BYTES: usize = 1 << 20;
/// Of one question.
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);
/// Of an order, which waits for the disk and for name servers.
const CARRIED_OUT: Duration = Duration::from_secs(10);
