//! The lab's own questions and orders to the cluster, from a node of its own: routes, ends of queues, topics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use client::MessageQueue;
use net::{CallError, Client, Options, Peer, Reply, Service};
use protocol::batch::Item;
use protocol::compression::Compression;
use protocol::id::OffsetId;
use protocol::name::AUTO_CREATE_TOPIC;
use protocol::record::{self, Scan};
use protocol::rpc::{
    AddWritePermOfBroker, DeleteTopicInBroker, DeleteTopicInNamesrv, GetBrokerClusterInfo, GetMaxOffset,
    GetMinOffset, GetRouteInfoByTopic, QueryConsumerOffset, QueryMessage, SendBatchMessage, SendMessageV2,
    UpdateAndCreateSubscriptionGroup, UpdateAndCreateTopic, UpdateBrokerConfig, ViewMessageById,
    WipeWritePermOfBroker,
};
use protocol::{Command, Request, Text, body, json};
use runtime::task::TaskSet;
use runtime::time::{Instant, sleep};

use super::load::Shared;
use super::locks;
use super::marks::Answer;
use super::newest;
use super::operator::{self, CARRIED_OUT, Desk, READ_AND_WRITE, READ_ONLY};
use super::reader::Reader;
use super::recorder::{Seen, compare, key_name};
use super::waits;
use crate::draw::Draw;
use crate::history::{
    ById, Fit, GroupId, Id, Keeps, Kind, MessageId, NodeId, QueueId, Register, Slot, TopicId,
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
        self.set_topic(broker, topic, (read, write), READ_AND_WRITE as u32, deadline).await
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
        let request = (new_topic(topic.into(), (read, write), perm), Bytes::new());
        let done = self.order(self.broker(broker), None, request, deadline).await;
        if done {
            self.shared.recorder.ordered(broker, topic, read, write);
        }
        done
    }

    /// Deletes a topic on a broker.
    pub async fn delete_topic(&self, broker: NodeId, topic: &str, deadline: Instant) -> bool {
        let request = (DeleteTopicInBroker { topic: topic.into() }, Bytes::new());
        self.order(self.broker(broker), None, request, deadline).await
    }

    /// Lets all name servers forget a topic.
    pub async fn delete_route(&self, topic: &str, deadline: Instant) -> bool {
        let request = (DeleteTopicInNamesrv { topic: topic.into(), cluster_name: None }, Bytes::new());
        self.order(&self.name_servers, None, request, deadline).await
    }

    /// Tells all name servers whether a broker may be written to.
    pub async fn set_writable(&self, broker: &str, on: bool, deadline: Instant) -> bool {
        let (servers, broker_name, none) = (&self.name_servers, Text::from(broker), Bytes::new());
        let about = Some((Keeps::Writing, broker.to_owned(), u64::from(on)));
        match on {
            true => self.order(servers, about, (AddWritePermOfBroker { broker_name }, none), deadline).await,
            false => {
                self.order(servers, about, (WipeWritePermOfBroker { broker_name }, none), deadline).await
            }
        }
    }

    /// Closes a broker for writing, or opens it, by its own setting.
    pub async fn set_read_only(&self, broker: NodeId, on: bool, deadline: Instant) -> bool {
        let value = if on { READ_ONLY } else { READ_AND_WRITE };
        let about = (Keeps::Permission, PERMISSION.to_owned(), value);
        let request = (UpdateBrokerConfig {}, format!("{PERMISSION}={value}").into());
        self.order(self.broker(broker), Some(about), request, deadline).await
    }

    /// A broker alone.
    fn broker(&self, broker: NodeId) -> &[Server] {
        let place = self.brokers.iter().position(|known| known.id == broker);
        place.map_or(&[], |place| &self.brokers[place..=place])
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

    /// Asks what has become of all orders that steps of the plan gave.
    pub async fn orders(&self) {
        let (shared, brokers) = (self.shared.clone(), self.brokers.clone());
        let question = async move {
            let (tasks, client) = connect();
            for register in ordered(&shared) {
                ask_register(&client, &shared, &brokers, &register).await;
            }
            tasks.close().await;
        };
        self.home.run(question).await.unwrap_or_default();
    }

    /// Gives an order to each of these servers, trying until the deadline, or until nobody waits for it any more: an order
    /// that goes on would overrule the one that takes it back. It may be about something that they keep. True: all have
    /// carried it out.
    async fn order<R: Request + Send + Sync + 'static>(
        &self,
        servers: &[Server],
        about: Option<(Keeps, String, u64)>,
        (request, body): (R, Bytes),
        deadline: Instant,
    ) -> bool {
        if servers.is_empty() {
            return false;
        }
        let wanted = Arc::new(());
        let still_wanted = Arc::downgrade(&wanted);
        let (shared, mut servers) = (self.shared.clone(), servers.to_vec());
        let question = async move {
            let (tasks, client) = connect();
            let about: Vec<_> =
                about.iter().map(|(what, name, value)| (*what, &**name, Some(*value))).collect();
            while let Some(server) = servers.last()
                && Instant::now() < deadline
                && still_wanted.strong_count() > 0
            {
                let desk = Desk { shared: &shared, server, client: &client };
                if desk.order(&about, &request, body.clone(), TIMEOUT).await {
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
            let mut newest = Draw::new(shared.plan.seed, "newest in the end");
            for _ in 0..MOST_KEYS / 4 {
                newest::ask(&client, &reader, &shared, &brokers, &mut newest).await;
            }
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
            let mut times: BTreeMap<String, u32> = BTreeMap::new();
            for (.., unique) in there.iter().chain(&gone) {
                *times.entry(unique.clone()).or_default() += 1;
            }
            // What went with its topic is asked for as often as what did not, and each that shares its key with others.
            let chosen = [there, gone].into_iter().flat_map(|ids| {
                let step = ids.len().div_ceil(MOST_IDS).max(1);
                let (alone, shared): (Vec<_>, Vec<_>) =
                    ids.into_iter().partition(|(.., unique)| times[unique] == 1);
                alone.into_iter().step_by(step).chain(shared.into_iter().take(MOST_IDS))
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

    /// Goes on waiting at the ends of queues by clients, until the node is stopped.
    pub fn wait(&self) {
        if self.shared.plan.by_client == 0 {
            return;
        }
        for number in 0..waits::CLIENTS {
            drop(self.home.run(waits::client(self.shared.clone(), self.brokers.clone(), number))); // it goes on
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
            let mut newest = Draw::new(shared.plan.seed, "newest");
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
                if newest.chance(50) {
                    newest::ask(&client, &reader, &shared, &brokers, &mut newest).await;
                }
                let queues = shared.recorder.live().queues();
                if !queues.is_empty() {
                    let queue = *draw.pick(&queues);
                    if !reader.ask_queue(&shared, &brokers, queue).await {
                        ask_queue(&client, &shared, &brokers, queue).await;
                    }
                }
                let registers = ordered(&shared);
                if !registers.is_empty() {
                    ask_register(&client, &shared, &brokers, which.pick(&registers)).await;
                }
            }
        };
        drop(self.home.run(question)); // it goes on
    }
}

/// What clients call a queue, and its broker.
pub(super) fn named(shared: &Shared, queue: QueueId) -> (MessageQueue, NodeId) {
    let live = shared.recorder.live();
    let facts = live.history.queues[queue.index()];
    let (topic, broker) = (live.history.topic_name(facts.topic), live.history.node_name(facts.broker));
    (MessageQueue::new(topic, broker, facts.number as i32), facts.broker)
}

/// Which message a stored record is, read without the client's code.
pub(super) fn read_record(shared: &Shared, bytes: &[u8]) -> Answer {
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
    let asked_ns = shared.recorder.elapsed_ns();
    let route = route_of(client, server, shared.plan.topics[0].name.as_str().into()).await?;
    let reachable = route.broker_datas.iter().filter(|broker| !broker.broker_addrs.is_empty());
    let addresses = bits(shared, reachable.map(|broker| broker.broker_name.clone()));
    let queues = bits(shared, route.queue_datas.iter().map(|queues| queues.broker_name.clone()));
    shared.recorder.push(server.id, Kind::RouteTold { queues, addresses });
    for offered in &route.queue_datas {
        let broker = shared.recorder.live().history.known_node(&offered.broker_name);
        if let Some(broker) = broker {
            let (topic, read, perm) = (TopicId(0), offered.read_queue_nums as u32, offered.perm as u32);
            shared.recorder.push(server.id, Kind::Offered { topic, broker, asked_ns, read, perm });
        }
    }
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

/// Gives an order to a broker.
async fn give(client: &Client, shared: &Shared, server: &Server, order: Order) {
    let Order { object, number, value } = order;
    let name = object.name(number);
    let what = if object == Object::Group { Keeps::Group } else { Keeps::Topic };
    let about = [(what, &*name, Some(u64::from(value)))];
    let desk = Desk { shared, server, client };
    match object {
        Object::Topic => {
            let request = new_topic(name.as_str().into(), (value, value), READ_AND_WRITE as u32);
            desk.order(&about, &request, Bytes::new(), CARRIED_OUT).await
        }
        Object::Sent => {
            let first = operator::message(&name, value);
            if number % 2 == 0 {
                desk.order(&about, &first, Bytes::from_static(b"first"), CARRIED_OUT).await
            } else {
                let mut two = BytesMut::new();
                let item = Item { flag: 0, body: Bytes::from_static(b"first"), properties: Bytes::new() };
                (0..2).for_each(|_| item.encode(&mut two));
                let batch = SendBatchMessage(SendMessageV2 { batch: Some(true), ..first });
                desk.order(&about, &batch, two.freeze(), CARRIED_OUT).await
            }
        }
        Object::Group => {
            let (request, body) =
                (UpdateAndCreateSubscriptionGroup {}, operator::settings_of(&name, u64::from(value)));
            desk.order(&about, &request, body, CARRIED_OUT).await
        }
    };
}

/// What steps of the plan gave orders about and nobody else asks for.
fn ordered(shared: &Shared) -> Vec<Register> {
    let live = shared.recorder.live();
    live.history.registers.iter().filter(|it| !operator::is_asked_for(it)).cloned().collect()
}

/// Asks what has become of orders.
async fn ask_register(client: &Client, shared: &Shared, brokers: &[Server], register: &Register) {
    if let Some(server) = brokers.iter().find(|known| known.id == register.server) {
        Desk { shared, server, client }.ask(register.what, &register.name).await;
    }
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

/// What clients may do with a broker.
const PERMISSION: &str = "brokerPermission";
/// Keys asked for in the end.
const MOST_KEYS: usize = 100;
/// Messages asked for by their ids in one run, and as many of deleted topics.
const MOST_IDS: usize = 100;
/// Longest body.
const MOST_BYTES: usize = 1 << 20;
/// Of one question.
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);
