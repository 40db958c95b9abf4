//! An operator who looks at groups, and changes what servers keep for him: texts in name servers, groups and their offsets
//! in brokers. What is not carried out he orders again.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use client::{Fault, MessageQueue, PullConsumer};
use net::{CallError, Client};
use protocol::body::{GetConsumerListByGroupBody, KvTable, SubscriptionGroupConfig, TopicConfig};
use protocol::name::AUTO_CREATE_TOPIC;
use protocol::rpc::{
    DeleteKvConfig, DeleteSubscriptionGroup, GetConsumerListByGroup, GetKvConfig, GetKvListByNamespace,
    GetMaxOffset, GetSubscriptionGroupConfig, GetTopicConfig, PutKvConfig, QueryConsumerOffset,
    SendMessageV2, UpdateAndCreateSubscriptionGroup, UpdateConsumerOffset,
};
use protocol::{Request, Text, json};
use runtime::time::sleep;

use super::asks::{Server, TIMEOUT, connect};
use super::load::{DONE, Shared};
use crate::draw::Draw;
use crate::history::{GroupId, Keeps, Kind, Register};

/// Puts, reads and deletes texts in the table of a name server.
pub(super) async fn name_server(shared: Shared, server: Server) {
    let (_tasks, client) = connect();
    let desk = Desk { shared: &shared, server: &server, client: &client };
    let mut draw = Draw::new(shared.plan.seed, &format!("texts of {}", server.address));
    let mut newest = 0;
    loop {
        desk.pause(&mut draw).await;
        newest += 1;
        // Of a text whose order was not answered nobody knows: there are others later.
        let key = format!("k{}", (newest / 8 + draw.below(4)) % 1000);
        let (namespace, named) = (Text::from_static(NAMESPACE), Text::from(key.as_str()));
        match draw.below(10) {
            0..4 => {
                let put = |key: Text, value: u64| {
                    let (namespace, value) = (namespace.clone(), value.to_string().into());
                    PutKvConfig { namespace, key, value }
                };
                let (value, first) = (newest, put(named, newest));
                let orders = [(Keeps::Text, &*key, Some(value))];
                let first = desk.insist(&orders, &first, Bytes::new());
                let looks = draw.chance(50);
                let first = async {
                    // What is not done yet must not be seen, or it stays.
                    let look = async {
                        if looks {
                            sleep(LOOK).await;
                            desk.ask(Keeps::Text, &key).await;
                        }
                    };
                    futures::join!(first, look)
                };
                if draw.chance(50) {
                    // The two may be served at once.
                    newest += 1;
                    let (key, second) = (format!("{key}-too"), newest);
                    let orders = [(Keeps::Text, &*key, Some(second))];
                    let second = put(key.as_str().into(), second);
                    futures::join!(first, desk.insist(&orders, &second, Bytes::new()));
                } else {
                    first.await;
                }
            }
            4..6 => {
                let delete = DeleteKvConfig { namespace, key: named };
                desk.insist(&[(Keeps::Text, &*key, None)], &delete, Bytes::new()).await;
            }
            6..8 => desk.ask(Keeps::Text, &key).await,
            _ => {
                let asked_ns = shared.recorder.elapsed_ns();
                let table = match desk.call(&GetKvListByNamespace { namespace }, Bytes::new()).await {
                    Ok((_, body)) => json::from_slice(&body).unwrap_or_default(),
                    Err(CallError::Refused { code: NOT_FOUND, .. }) => KvTable::default(),
                    Err(_) => continue,
                };
                for key in desk.texts() {
                    let value = table.table.get(&*key).and_then(|value| number(value));
                    shared.recorder.shown(server.id, (Keeps::Text, &key), asked_ns, value);
                }
            }
        }
    }
}

/// Sets, reads and deletes groups of its own on a broker, and asks it for the members of the others.
pub(super) async fn broker(shared: Shared, server: Server) {
    let (_tasks, client) = connect();
    let desk = Desk { shared: &shared, server: &server, client: &client };
    let mut draw = Draw::new(shared.plan.seed, &format!("groups of {}", server.address));
    let topic = lasting_topic(&shared);
    let mut newest = 0;
    let mut clients = BTreeMap::new();
    loop {
        desk.pause(&mut draw).await;
        desk.ask_members(&mut draw).await;
        let group = *draw.pick(GROUPS);
        newest += 1;
        if let Some(topic) = topic.as_ref().filter(|_| draw.chance(u64::from(shared.plan.by_client) / 2)) {
            if !clients.contains_key(group) {
                let builder = PullConsumer::builder(group).name_servers(&shared.name_servers);
                let Ok(client) = builder.without_joining().start().await else { continue };
                clients.insert(group, client);
            }
            desk.by_client(&clients[group], group, topic, &mut draw).await;
            continue;
        }
        match (draw.below(10), &topic) {
            (0..2, _) => {
                let orders = [(Keeps::Group, group, Some(newest))];
                let body = settings_of(group, newest);
                desk.insist(&orders, &UpdateAndCreateSubscriptionGroup {}, body).await;
            }
            (2..5, Some(topic)) => desk.commit(group, topic, &mut draw).await,
            (5..7, _) => {
                let offsets = draw.chance(60);
                let delete = DeleteSubscriptionGroup {
                    group_name: group.into(),
                    clean_offset: Some(offsets),
                    remove_offset: None,
                };
                let orders = [(Keeps::Group, group, None), (Keeps::Offset, group, None)];
                desk.insist(&orders[..1 + usize::from(offsets)], &delete, Bytes::new()).await;
            }
            _ => {
                desk.ask(Keeps::Offset, group).await;
                desk.ask(Keeps::Group, group).await;
            }
        }
    }
}

/// A server that is asked and gets orders.
pub(super) struct Desk<'a> {
    pub(super) shared: &'a Shared,
    pub(super) server: &'a Server,
    pub(super) client: &'a Client,
}

impl Desk<'_> {
    /// Gives an order about what the server keeps, each with its name and its value then, and writes down what became of it.
    /// True: it is carried out.
    pub(super) async fn order<R: Request>(
        &self,
        about: &[(Keeps, &str, Option<u64>)],
        request: &R,
        body: Bytes,
        limit: Duration,
    ) -> bool {
        let (recorder, server) = (&self.shared.recorder, self.server.id);
        let given =
            about.iter().map(|(what, name, value)| (recorder.orders(server, *what, name, *value), *value));
        let given: Vec<_> = given.collect();
        let answer = self.client.call(&self.server.address, request, body, limit).await;
        let done = answer.is_ok();
        if matches!(answer, Ok(_) | Err(CallError::Refused { .. })) {
            for (register, value) in given {
                recorder.push(server, Kind::Answered { register, value, done });
            }
        }
        done
    }

    /// Gives an order again, soon, until it is carried out or it is time for others.
    async fn insist<R: Request>(&self, about: &[(Keeps, &str, Option<u64>)], request: &R, body: Bytes) {
        for _ in 0..TRIES {
            if self.order(about, request, body.clone(), CARRIED_OUT).await {
                return;
            }
            sleep(AGAIN).await;
        }
    }

    /// Asks for something that the server keeps.
    pub(super) async fn ask(&self, what: Keeps, name: &str) {
        let (recorder, asked_ns) = (&self.shared.recorder, self.shared.recorder.elapsed_ns());
        let (named, none) = (Text::from(name), Bytes::new());
        let answer = match what {
            Keeps::Text => {
                let get = GetKvConfig { namespace: Text::from_static(NAMESPACE), key: named };
                self.call(&get, none).await.map(|(reply, _)| reply.value.as_deref().and_then(number))
            }
            Keeps::Topic => {
                let answer = self.call(&GetTopicConfig { topic: named, lo: None }, none).await;
                let topic = answer.map(|(_, body)| json::from_slice::<TopicConfig>(&body).ok());
                topic.map(|it| it.and_then(|it| u64::try_from(it.write_queue_nums).ok()))
            }
            Keeps::Group => {
                let answer = self.call(&GetSubscriptionGroupConfig { group: named }, none).await;
                let group = answer.map(|(_, body)| json::from_slice::<SubscriptionGroupConfig>(&body).ok());
                group.map(|it| it.and_then(|it| u64::try_from(it.retry_max_times).ok()))
            }
            Keeps::Offset => {
                let Some(topic) = lasting_topic(self.shared) else { return };
                let ask = QueryConsumerOffset {
                    consumer_group: named,
                    topic,
                    queue_id: 0,
                    set_zero_if_not_found: None,
                };
                // Where a group has no offset the answer may be the beginning.
                let answer = self.call(&ask, none).await;
                answer.map(|(reply, _)| u64::try_from(reply.offset).ok().filter(|it| *it > 0))
            }
            // Brokers are looked at in the end: nothing more may come to them then.
            Keeps::Permission if self.shared.phase() == DONE => return,
            Keeps::Permission => match self.call(&message(TRIED, 1), Bytes::from_static(b"may I?")).await {
                Ok(_) => Ok(Some(READ_AND_WRITE)),
                Err(CallError::Refused { code: NO_PERMISSION, .. }) => Ok(Some(READ_ONLY)),
                Err(_) => return,
            },
            // By routes.
            Keeps::Writing => return,
        };
        let value = match answer {
            Ok(value) => value,
            Err(CallError::Refused { code: NO_TOPIC | NOT_FOUND | NO_GROUP, .. }) => None,
            Err(_) => return,
        };
        recorder.shown(self.server.id, (what, name), asked_ns, value);
    }

    async fn pause(&self, draw: &mut Draw) {
        let every_ms = self.shared.plan.operator_ms;
        sleep(Duration::from_millis(draw.range(every_ms / 2, every_ms * 3 / 2))).await;
    }

    async fn call<R: Request>(&self, request: &R, body: Bytes) -> Result<(R::Reply, Bytes), CallError> {
        self.client.call(&self.server.address, request, body, TIMEOUT).await
    }

    /// Names of the texts that there ever were orders about.
    fn texts(&self) -> Vec<String> {
        let live = self.shared.recorder.live();
        let own = live.history.registers.iter();
        let own = own.filter(|it| it.server == self.server.id && it.what == Keeps::Text);
        own.map(|it| it.name.clone()).collect()
    }

    /// Moves the offset of a group in the first queue of a topic to any place there, back as well.
    async fn commit(&self, group: &str, topic: &Text, draw: &mut Draw) {
        let ask = GetMaxOffset { topic: topic.clone(), queue_id: 0, committed: true };
        let Ok((max, _)) = self.call(&ask, Bytes::new()).await else { return };
        let Some(max) = u64::try_from(max.offset).ok().filter(|max| *max > 0) else { return };
        let offset = draw.range(1, max);
        let commit = UpdateConsumerOffset {
            consumer_group: group.into(),
            topic: topic.clone(),
            queue_id: 0,
            commit_offset: offset as i64,
        };
        // Who is refused is told that there is no such group.
        self.order(&[(Keeps::Offset, group, Some(offset))], &commit, Bytes::new(), TIMEOUT).await;
    }

    /// Looks at the offset of a group and moves it to any place, as a client that pulls by itself does.
    async fn by_client(&self, client: &PullConsumer, group: &str, topic: &Text, draw: &mut Draw) {
        let (recorder, server) = (&self.shared.recorder, self.server.id);
        let broker = recorder.live().history.node_name(server).to_owned();
        let queue = MessageQueue::new(topic.clone(), broker, 0);
        let asked_ns = recorder.elapsed_ns();
        if let Ok(offset) = client.committed(&queue).await {
            recorder.shown(server, (Keeps::Offset, group), asked_ns, offset.filter(|it| *it > 0));
        }
        let Ok(max @ 1..) = client.max_offset(&queue).await else { return };
        let offset = draw.range(1, max);
        let register = recorder.orders(server, Keeps::Offset, group, Some(offset));
        let done = match client.commit(&queue, offset).await {
            Ok(()) => true,
            Err(client::CallError::Fault(Fault::Refused { .. })) => false,
            Err(_) => return,
        };
        recorder.push(server, Kind::Answered { register, value: Some(offset), done });
    }

    /// Who is in one of the groups of the load?
    async fn ask_members(&self, draw: &mut Draw) {
        let groups = &self.shared.plan.groups;
        let group = draw.below(groups.len() as u64) as u32;
        let ask = GetConsumerListByGroup { consumer_group: groups[group as usize].name.as_str().into() };
        let list = match self.call(&ask, Bytes::new()).await {
            Ok((_, body)) => json::from_slice(&body).unwrap_or_default(),
            Err(CallError::Refused { code: 1, .. }) => GetConsumerListByGroupBody::default(), // it has no member
            Err(_) => return,
        };
        self.shared.recorder.members(self.server.id, GroupId(group), &list.consumer_id_list);
    }
}

/// True for what an operator asks about himself, and for what routes tell.
pub(super) fn is_asked_for(register: &Register) -> bool {
    match register.what {
        Keeps::Text | Keeps::Offset | Keeps::Writing => true,
        Keeps::Group => GROUPS.contains(&&*register.name),
        Keeps::Topic | Keeps::Permission => false,
    }
}

/// The settings of a group that has so many retries.
pub(super) fn settings_of(name: &str, retries: u64) -> Bytes {
    let settings = SubscriptionGroupConfig {
        group_name: name.into(),
        retry_max_times: retries as i32,
        ..SubscriptionGroupConfig::default()
    };
    json::to_vec(&settings).into()
}

/// A message to a topic that comes with its first one, with so many queues.
pub(super) fn message(topic: &str, queues: u32) -> SendMessageV2 {
    SendMessageV2 {
        producer_group: "operator".into(),
        topic: topic.into(),
        default_topic: AUTO_CREATE_TOPIC.into(),
        default_topic_queue_nums: queues as i32,
        ..SendMessageV2::default()
    }
}

/// A topic that no operator deletes.
fn lasting_topic(shared: &Shared) -> Option<Text> {
    let plan = &shared.plan;
    let lasting = (0..plan.topics.len() as u32).find(|topic| !plan.deletes(*topic))?;
    Some(plan.topics[lasting as usize].name.as_str().into())
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

const NAMESPACE: &str = "LAB";
/// Names of which one begins with another.
const GROUPS: &[&str] = &["kept", "kept-too", "other"];
/// Where a message goes that only asks whether it is taken.
const TRIED: &str = "tried";
/// What clients may do: read, and write as well.
pub(super) const READ_ONLY: u64 = 4;
pub(super) const READ_AND_WRITE: u64 = 6;
/// Of an order, which waits for the disk and for name servers.
pub(super) const CARRIED_OUT: Duration = Duration::from_secs(10);
/// So long after an order somebody looks.
const LOOK: Duration = Duration::from_millis(20);
/// So often an order is given, and then so soon.
const TRIES: u32 = 5;
const AGAIN: Duration = Duration::from_secs(1);
/// Codes of answers that there is nothing, or that it is not permitted.
const NO_TOPIC: i32 = 17;
const NOT_FOUND: i32 = 22;
const NO_GROUP: i32 = 26;
const NO_PERMISSION: i32 = 16;
