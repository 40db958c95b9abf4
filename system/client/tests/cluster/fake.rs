//! The smallest cluster a client can talk to: brokers that are name servers too, in memory, with scripted misbehaviour.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use net::{CallError, Limits, Peer, Reply, Server, Service};
use protocol::body::{BrokerData, GetConsumerListByGroupBody, HeartbeatData, QueueData, TopicRouteData};
use protocol::record::{NewRecord, Place, place};
use protocol::{Command, Request, Text, batch, code, json, rpc};
use runtime::clock;
use runtime::sync::Mutex;
use runtime::task::TaskSet;
use runtime::time::{Duration, Instant, sleep};

/// What a broker does with the next request of a code instead of the usual.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Answers with this code; nothing is done.
    Refuse(i32),
    /// Does nothing and never answers.
    Silent,
    /// Does it and never answers.
    DoneSilent,
}

#[derive(Default)]
struct State {
    addresses: BTreeMap<Text, Text>,
    /// Read and write queues of a topic by broker.
    topics: BTreeMap<Text, BTreeMap<Text, (i32, i32)>>,
    queues: BTreeMap<(Text, Text, i32), Vec<Bytes>>,
    offsets: BTreeMap<(Text, Text, Text, i32), u64>,
    members: BTreeMap<(Text, Text), BTreeMap<Text, Arc<Peer>>>,
    script: VecDeque<(i32, Act)>,
    returned: Vec<u64>,
    ends: Vec<rpc::EndTransaction>,
    /// Young queues have offset 0 also without a commit.
    young_is_zero: bool,
    log: Vec<(Text, i32)>,
}

/// The cluster; clones are the same.
#[derive(Clone)]
pub(crate) struct Cluster {
    state: Arc<Mutex<State>>,
    _tasks: TaskSet,
    pub(crate) name_servers: String,
}

struct Broker {
    name: Text,
    state: Arc<Mutex<State>>,
    address: OnceLock<Text>,
}

impl Cluster {
    /// Starts brokers of these names.
    pub(crate) async fn start(names: &[&str]) -> Self {
        let (state, tasks) =
            (Arc::new(Mutex::new(State { young_is_zero: true, ..State::default() })), TaskSet::new());
        let mut addresses = Vec::new();
        for name in names {
            let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
            let address = Text::from(server.local_addr().to_string());
            state.lock().addresses.insert(Text::from(*name), address.clone());
            let broker = Broker {
                name: Text::from(*name),
                state: state.clone(),
                address: OnceLock::from(address.clone()),
            };
            server.start(Arc::new(broker), &tasks, Limits::server());
            addresses.push(address.to_string());
        }
        Self { state, _tasks: tasks, name_servers: addresses.join(";") }
    }

    /// Makes or changes a topic on all brokers.
    pub(crate) fn topic(&self, topic: &str, read: i32, write: i32) {
        let mut state = self.state.lock();
        let brokers = state.addresses.keys().map(|b| (b.clone(), (read, write))).collect();
        state.topics.insert(topic.into(), brokers);
    }

    /// Takes a broker out of the route of a topic.
    pub(crate) fn leave(&self, topic: &str, broker: &str) {
        let mut state = self.state.lock();
        let brokers = state.topics.get_mut(topic).expect("a topic of the test");
        brokers.retain(|known, _| &**known != broker);
    }

    /// The next request of this code, at any broker, is treated so.
    pub(crate) fn script(&self, code: i32, act: Act) {
        self.state.lock().script.push_back((code, act));
    }

    /// The committed offset.
    pub(crate) fn committed(&self, group: &str, queue: &client::MessageQueue) -> Option<u64> {
        let key = (Text::from(group), queue.topic.clone(), queue.broker.clone(), queue.id);
        self.state.lock().offsets.get(&key).copied()
    }

    /// How many records a queue has.
    pub(crate) fn count(&self, queue: &client::MessageQueue) -> u64 {
        let key = (queue.topic.clone(), queue.broker.clone(), queue.id);
        self.state.lock().queues.get(&key).map_or(0, |q| q.len() as u64)
    }

    /// Positions of messages that were given back.
    pub(crate) fn returned(&self) -> Vec<u64> {
        self.state.lock().returned.clone()
    }

    /// What was said of transactions.
    pub(crate) fn ends(&self) -> Vec<rpc::EndTransaction> {
        self.state.lock().ends.clone()
    }

    /// The broker of each request of this code, in order.
    pub(crate) fn asked(&self, code: i32) -> Vec<Text> {
        self.state.lock().log.iter().filter(|(_, c)| *c == code).map(|(b, _)| b.clone()).collect()
    }

    /// A stored record.
    pub(crate) fn record(&self, queue: &client::MessageQueue, offset: usize) -> Bytes {
        let key = (queue.topic.clone(), queue.broker.clone(), queue.id);
        self.state.lock().queues[&key][offset].clone()
    }

    /// Asks the first member of a group, as a broker does for a tool.
    pub(crate) async fn ask_member<R: Request>(
        &self,
        group: &str,
        request: &R,
        body: Bytes,
    ) -> Result<Bytes, CallError> {
        let peer = {
            let state = self.state.lock();
            let of_group =
                state.members.iter().find(|((_, g), members)| &**g == group && !members.is_empty());
            of_group.unwrap().1.values().next().unwrap().clone()
        };
        peer.call(request, body, Duration::from_secs(60)).await.map(|(_, body)| body)
    }

    /// The ids of a group's members, at any broker.
    pub(crate) fn members(&self, group: &str) -> BTreeSet<Text> {
        let state = self.state.lock();
        let of_group = state.members.iter().filter(|((_, g), _)| &**g == group);
        of_group.flat_map(|(_, members)| members.keys().cloned()).collect()
    }
}

impl Service for Broker {
    async fn handle(&self, peer: &Arc<Peer>, command: Command) -> Reply {
        let act = {
            let mut state = self.state.lock();
            state.log.push((self.name.clone(), command.code));
            let at = state.script.iter().position(|(code, _)| *code == command.code);
            at.and_then(|at| state.script.remove(at)).map(|(_, act)| act)
        };
        match act {
            Some(Act::Refuse(code)) => Reply::refuse(code, "scripted"),
            Some(Act::Silent) => pending().await,
            Some(Act::DoneSilent) => {
                self.serve(peer, command).await;
                pending().await
            }
            None => self.serve(peer, command).await,
        }
    }

    fn closed(&self, peer: &Arc<Peer>) {
        for ((broker, _), members) in &mut self.state.lock().members {
            if *broker == self.name {
                members.retain(|_, p| p.id != peer.id);
            }
        }
    }
}

impl Broker {
    /// Asks back at once about a half message whose outcome is unknown.
    fn check(&self, peer: &Arc<Peer>, end: rpc::EndTransaction) {
        let key = end.msg_id.as_bytes();
        let record = {
            let state = self.state.lock();
            let mut records = state.queues.iter().filter(|((_, broker, _), _)| *broker == self.name);
            let holds = |bytes: &&Bytes| bytes.windows(key.len()).any(|part| part == key);
            records.find_map(|(_, records)| records.iter().find(holds).cloned()).unwrap()
        };
        let asked = rpc::CheckTransactionState {
            tran_state_table_offset: end.tran_state_table_offset,
            commit_log_offset: end.commit_log_offset,
            msg_id: Some(end.msg_id),
            transaction_id: end.transaction_id,
            broker_name: Some(self.name.clone()),
            ..rpc::CheckTransactionState::default()
        };
        assert!(peer.oneway(&asked, record));
    }

    async fn serve(&self, peer: &Arc<Peer>, command: Command) -> Reply {
        match command.code {
            rpc::GetRouteInfoByTopic::CODE => self.route(&command.header().unwrap()),
            rpc::Heartbeat::CODE => self.heartbeat(peer, &command.body),
            rpc::UnregisterClient::CODE => {
                let header: rpc::UnregisterClient = command.header().unwrap();
                if let Some(group) = header.consumer_group {
                    self.members_changed(group, |members| members.remove(&header.client_id).is_some());
                }
                Reply::ok()
            }
            rpc::GetConsumerListByGroup::CODE => {
                let header: rpc::GetConsumerListByGroup = command.header().unwrap();
                let state = self.state.lock();
                let ids = state
                    .members
                    .get(&(self.name.clone(), header.consumer_group))
                    .map(|m| m.keys().cloned().collect());
                let body = GetConsumerListByGroupBody { consumer_id_list: ids.unwrap_or_default() };
                Reply::ok().body(json::to_vec(&body))
            }
            rpc::SendMessageV2::CODE | rpc::SendBatchMessage::CODE => self.append(peer, &command),
            rpc::PullMessage::CODE => self.pull(&command.header().unwrap()).await,
            rpc::QueryConsumerOffset::CODE => self.query(&command.header().unwrap()),
            rpc::UpdateConsumerOffset::CODE => {
                let header: rpc::UpdateConsumerOffset = command.header().unwrap();
                let key = (header.consumer_group, header.topic, self.name.clone(), header.queue_id);
                self.state.lock().offsets.insert(key, u64::try_from(header.commit_offset).unwrap());
                Reply::ok()
            }
            rpc::EndTransaction::CODE => {
                let end: rpc::EndTransaction = command.header().unwrap();
                self.state.lock().ends.push(end.clone());
                if end.commit_or_rollback == 0 {
                    self.check(peer, end);
                }
                Reply::ok()
            }
            rpc::GetMaxOffset::CODE => {
                let header: rpc::GetMaxOffset = command.header().unwrap();
                let offset = self.records(&header.topic, header.queue_id).len() as i64;
                Reply::with(&rpc::GetMaxOffsetReply { offset })
            }
            rpc::GetMinOffset::CODE => Reply::with(&rpc::GetMinOffsetReply { offset: 0 }),
            rpc::ConsumerSendMsgBack::CODE => {
                let header: rpc::ConsumerSendMsgBack = command.header().unwrap();
                self.state.lock().returned.push(u64::try_from(header.offset).unwrap());
                Reply::ok()
            }
            other => Reply::unsupported(other),
        }
    }

    fn route(&self, header: &rpc::GetRouteInfoByTopic) -> Reply {
        let state = self.state.lock();
        let Some(brokers) = state.topics.get(&header.topic) else {
            return Reply::refuse(code::TOPIC_NOT_EXIST, "no route");
        };
        let queues = brokers.iter().map(|(broker, (read, write))| QueueData {
            broker_name: broker.clone(),
            perm: 7,
            read_queue_nums: *read,
            write_queue_nums: *write,
            topic_sys_flag: 0,
        });
        let brokers = brokers.keys().map(|broker| BrokerData {
            broker_name: broker.clone(),
            broker_addrs: BTreeMap::from([(0, state.addresses[broker].clone())]),
            ..BrokerData::default()
        });
        let body = TopicRouteData {
            queue_datas: queues.collect(),
            broker_datas: brokers.collect(),
            ..Default::default()
        };
        Reply::ok().body(json::to_vec(&body))
    }

    fn heartbeat(&self, peer: &Arc<Peer>, body: &[u8]) -> Reply {
        let data: HeartbeatData = json::from_slice(body).unwrap();
        for group in data.consumer_data_set {
            self.members_changed(group.group_name, |members| {
                members.insert(data.client_id.clone(), peer.clone()).is_none()
            });
        }
        Reply::ok()
    }

    fn members_changed(&self, group: Text, change: impl FnOnce(&mut BTreeMap<Text, Arc<Peer>>) -> bool) {
        let mut state = self.state.lock();
        let members = state.members.entry((self.name.clone(), group.clone())).or_default();
        if change(members) {
            for peer in members.values() {
                peer.oneway(&rpc::NotifyConsumerIdsChanged { consumer_group: group.clone() }, Bytes::new());
            }
        }
    }

    fn append(&self, peer: &Arc<Peer>, command: &Command) -> Reply {
        let header: rpc::SendMessageV2 = command.header().unwrap();
        let mut state = self.state.lock();
        if !state.topics.contains_key(&header.topic) {
            let template = state.topics[&header.default_topic].clone();
            state.topics.insert(header.topic.clone(), template);
        }
        let properties = header.properties.clone().unwrap_or_default().into_bytes();
        let items = if header.batch == Some(true) {
            // As genuine brokers do: what the batch says comes behind what its messages say.
            let mut items = batch::decode(command.body.clone()).unwrap();
            for item in &mut items {
                item.properties = [&item.properties[..], &properties[..]].concat().into();
            }
            items
        } else {
            vec![batch::Item { flag: header.flag, body: command.body.clone(), properties }]
        };
        let mut ids = Vec::new();
        let mut first = None;
        for item in items {
            let queue =
                state.queues.entry((header.topic.clone(), self.name.clone(), header.queue_id)).or_default();
            let offset = queue.len() as u64;
            let mut bytes = BytesMut::new();
            let record = NewRecord {
                topic: &header.topic,
                queue_id: header.queue_id,
                flag: item.flag,
                sys_flag: header.sys_flag,
                born_timestamp: header.born_timestamp,
                born_host: peer.remote,
                store_host: self.address.get().unwrap().parse().unwrap(),
                reconsume_times: 0,
                prepared_offset: 0,
                body: &item.body,
                properties: &item.properties,
                added: b"",
            };
            record.encode(&mut bytes);
            let position = offset * 1000 + u64::try_from(header.queue_id).unwrap();
            place(&mut bytes, Place { queue_offset: offset, position, store_timestamp: clock::now_ms() });
            queue.push(bytes.freeze());
            first.get_or_insert(offset as i64);
            ids.push(format!("{position:032X}"));
        }
        Reply::with(&rpc::SendMessageReply {
            msg_id: ids.join(",").into(),
            queue_id: header.queue_id,
            queue_offset: first.unwrap(),
            ..Default::default()
        })
    }

    async fn pull(&self, header: &rpc::PullMessage) -> Reply {
        let from = usize::try_from(header.queue_offset).unwrap();
        if header.sys_flag & 1 != 0 {
            let key =
                (header.consumer_group.clone(), header.topic.clone(), self.name.clone(), header.queue_id);
            self.state.lock().offsets.insert(key, u64::try_from(header.commit_offset).unwrap());
        }
        let hold = if header.sys_flag & 2 != 0 { header.suspend_timeout_millis } else { 0 };
        let deadline = Instant::now() + Duration::from_millis(u64::try_from(hold).unwrap());
        loop {
            let records = self.records(&header.topic, header.queue_id);
            let (next, found, code) = if from > records.len() {
                (records.len(), Vec::new(), code::PULL_OFFSET_MOVED)
            } else if from < records.len() {
                let to = records.len().min(from + usize::try_from(header.max_msg_nums).unwrap());
                (to, records[from..to].concat(), code::SUCCESS)
            } else if Instant::now() >= deadline {
                (from, Vec::new(), code::PULL_NOT_FOUND)
            } else {
                sleep(Duration::from_millis(5)).await;
                continue;
            };
            let reply = rpc::PullMessageReply {
                next_begin_offset: next as i64,
                max_offset: records.len() as i64,
                ..Default::default()
            };
            return Reply::with(&reply).code(code, "").body(found);
        }
    }

    fn query(&self, header: &rpc::QueryConsumerOffset) -> Reply {
        let key = (header.consumer_group.clone(), header.topic.clone(), self.name.clone(), header.queue_id);
        let state = self.state.lock();
        let young = state.young_is_zero && header.set_zero_if_not_found != Some(false);
        match state.offsets.get(&key).copied().or(young.then_some(0)) {
            Some(offset) => Reply::with(&rpc::QueryConsumerOffsetReply { offset: offset as i64 }),
            None => Reply::refuse(code::QUERY_NOT_FOUND, "no offset"),
        }
    }

    fn records(&self, topic: &Text, id: i32) -> Vec<Bytes> {
        self.state.lock().queues.get(&(topic.clone(), self.name.clone(), id)).cloned().unwrap_or_default()
    }
}

/// For tests that take long: only in simulated time.
#[cfg(madsim)]
impl Cluster {
    /// Whether a queue without commit that still has its first message counts as committed at 0.
    pub(crate) fn set_young_is_zero(&self, on: bool) {
        self.state.lock().young_is_zero = on;
    }

    /// As after a restart, but without breaking connections.
    pub(crate) fn forget_members(&self) {
        self.state.lock().members.clear();
    }
}

/// Where names of hosts are looked up: not in simulated time.
#[cfg(not(madsim))]
impl Cluster {
    /// Routes call brokers by the name of the host.
    pub(crate) fn call_by_name(&self) {
        let mut state = self.state.lock();
        for address in state.addresses.values_mut() {
            *address = address.replace("127.0.0.1", "localhost").into();
        }
    }

    /// Closes the connections of all members, which are none then.
    pub(crate) fn hang_up(&self) {
        let members = std::mem::take(&mut self.state.lock().members);
        members.into_values().flatten().for_each(|(_, peer)| peer.close());
    }
}
