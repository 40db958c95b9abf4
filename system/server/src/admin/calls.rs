//! The requests that an explanation is made from, to name servers and brokers of any make.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use net::{CallError, Client, NotSent, Options, Peer, Reply, Service};
use protocol::{
    Command, Request, Text,
    body::{ClusterInfo, GroupList, KvTable, ProducerConnection, SubscriptionGroupConfig, TopicRouteData},
    code,
    config::read_properties,
    json, name,
    properties::{self, names},
    record::{self, RecordRef, Scan, sys_flag},
    rpc::{
        GetBrokerClusterInfo, GetBrokerConfig, GetBrokerRuntimeInfo, GetProducerConnectionList,
        GetRouteInfoByTopic, GetSubscriptionGroupConfig, PullMessage, PullMessageReply, QueryConsumerOffset,
        QueryMessage, QueryTopicConsumeByWho, SearchOffsetByTimestamp, ViewMessageById,
    },
};
use runtime::task::TaskSet;

use crate::failure::Failure;

/// The brokers that the name servers know, and connections to all.
pub(super) struct Cluster {
    client: Client,
    name_server: Text,
    /// Masters, by address.
    pub(super) brokers: BTreeMap<Text, Text>,
    /// Addresses of all brokers, replicas too.
    pub(super) addresses: Vec<Text>,
}

/// A message as a broker has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Address of the broker.
    pub(super) broker: Text,
    /// Its offset message id.
    pub(super) id: String,
    /// The topic it is stored in, which is not always the one it was sent to.
    pub(super) topic: String,
    pub(super) queue: i32,
    pub(super) offset: u64,
    pub(super) position: u64,
    pub(super) stored_ms: i64,
    pub(super) born_ms: i64,
    pub(super) born_host: SocketAddr,
    /// How often it was given back.
    pub(super) times: i32,
    /// Position of the half message it was made from; or the broker's mark of the delayed one, below zero.
    pub(super) prepared: i64,
    pub(super) committed: bool,
    pub(super) size_bytes: usize,
    pub(super) body: Bytes,
    pub(super) properties: BTreeMap<String, String>,
}

/// What a broker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) config: BTreeMap<String, String>,
    pub(super) runtime: BTreeMap<Text, Text>,
}

impl Cluster {
    /// Asks the name servers, one after the other, for the brokers.
    pub(super) async fn find(name_servers: &str, tasks: &TaskSet) -> Result<Self, Failure> {
        let client = Client::new(tasks, Arc::new(Deaf), Options::default());
        let mut failed = Vec::new();
        for address in name_servers.split([';', ',']).map(str::trim).filter(|address| !address.is_empty()) {
            let address = Text::from(address);
            match client.call(&address, &GetBrokerClusterInfo {}, Bytes::new(), LIMIT).await {
                Ok((_, body)) => return Self::of(client, address, &body),
                Err(error) => failed.push(unreached("name server", &address, &error)),
            }
        }
        if failed.is_empty() {
            failed.push(format!("{name_servers:?} names no name server"));
        }
        Err(Failure::answer(format!(
            "{}. Give the address of one that runs, as -n HOST:PORT",
            failed.join("\n")
        )))
    }

    fn of(client: Client, name_server: Text, body: &[u8]) -> Result<Self, Failure> {
        let info: ClusterInfo = json::from_slice(body)
            .map_err(|why| Failure::answer(format!("the answer of {name_server} cannot be read: {why}")))?;
        let (mut brokers, mut addresses) = (BTreeMap::new(), Vec::new());
        for (name, broker) in info.broker_addr_table {
            addresses.extend(broker.broker_addrs.values().cloned());
            if let Some(master) = broker.broker_addrs.get(&0) {
                brokers.insert(master.clone(), name);
            }
        }
        if brokers.is_empty() {
            return Err(Failure::answer(format!(
                "name server {name_server} knows no broker: is one running with -n {name_server}?"
            )));
        }
        Ok(Self { client, name_server, brokers, addresses })
    }

    /// A broker as people call it.
    pub(super) fn name(&self, address: &str) -> String {
        self.brokers.get(address).map_or_else(|| address.to_owned(), |name| format!("{name} ({address})"))
    }

    /// Masters with queues of a topic; None when the name server knows no such topic.
    pub(super) async fn brokers_of(&self, topic: &str) -> Result<Option<Vec<Text>>, String> {
        let request = GetRouteInfoByTopic {
            topic: topic.into(),
            accept_standard_json_only: Some(true),
            ..GetRouteInfoByTopic::default()
        };
        match self.client.call(&self.name_server, &request, Bytes::new(), LIMIT).await {
            Ok((_, body)) => {
                let route: TopicRouteData = json::from_slice(&body).map_err(|why| why.to_string())?;
                let masters = route.broker_datas.into_iter().filter_map(|mut b| b.broker_addrs.remove(&0));
                Ok(Some(masters.collect()))
            }
            Err(CallError::Refused { code: code::TOPIC_NOT_EXIST, .. }) => Ok(None),
            Err(error) => Err(unreached("name server", &self.name_server, &error)),
        }
    }

    /// The message at a position; None when there is none.
    pub(super) async fn view(&self, broker: &Text, position: i64) -> Result<Option<Stored>, String> {
        let answer = self.ask(broker, &ViewMessageById { offset: position, topic: None }).await?;
        match answer.code {
            code::SUCCESS => Ok(stored(broker, answer.body).into_iter().next()),
            code::SYSTEM_ERROR => Ok(None),
            _ => Err(self.refused(broker, &answer)),
        }
    }

    /// Messages of a topic by key, or by unique key.
    pub(super) async fn query(
        &self,
        broker: &Text,
        topic: &str,
        key: &str,
        unique: bool,
    ) -> Result<Vec<Stored>, String> {
        let request = QueryMessage {
            topic: topic.into(),
            key: key.into(),
            max_num: MOST_FOUND,
            begin_timestamp: 0,
            end_timestamp: i64::MAX,
            unique_key_query: Some(unique),
        };
        let answer = self.ask(broker, &request).await?;
        match answer.code {
            code::SUCCESS => {
                let mut found = stored(broker, answer.body);
                // A genuine broker compares only a hash.
                found.retain(|message| {
                    message.topic == topic
                        && if unique { message.unique_key() == Some(key) } else { message.has_key(key) }
                });
                Ok(found)
            }
            code::QUERY_NOT_FOUND | code::TOPIC_NOT_EXIST => Ok(Vec::new()),
            _ => Err(self.refused(broker, &answer)),
        }
    }

    /// A few messages of a queue from an offset on, and where to go on; nothing behind its end.
    pub(super) async fn pull(
        &self,
        broker: &Text,
        (topic, queue): (&str, i32),
        from: i64,
        most: i32,
    ) -> Result<(Vec<Stored>, i64), String> {
        let request = PullMessage {
            consumer_group: Text::from_static(TOOLS),
            topic: topic.into(),
            queue_id: queue,
            queue_offset: from,
            max_msg_nums: most,
            sys_flag: SUBSCRIPTION,
            subscription: Some(Text::from_static("*")),
            expression_type: Some(Text::from_static("TAG")),
            ..PullMessage::default()
        };
        let answer = self.ask(broker, &request).await?;
        let next = answer.header::<PullMessageReply>().map_or(from, |reply| reply.next_begin_offset);
        match answer.code {
            code::SUCCESS => Ok((stored(broker, answer.body), next)),
            code::PULL_OFFSET_MOVED | code::PULL_RETRY_IMMEDIATELY => Ok((Vec::new(), next)),
            code::PULL_NOT_FOUND => Ok((Vec::new(), from)),
            _ => Err(self.refused(broker, &answer)),
        }
    }

    /// First offset of a queue whose message was stored at a time or later.
    pub(super) async fn offset_at(
        &self,
        broker: &Text,
        topic: &str,
        queue: i32,
        ms: i64,
    ) -> Result<i64, String> {
        let request = SearchOffsetByTimestamp {
            topic: topic.into(),
            queue_id: queue,
            timestamp: ms,
            boundary_type: None,
        };
        let answer = self.ask(broker, &request).await?;
        let fields = answer.header::<<SearchOffsetByTimestamp as Request>::Reply>();
        match (answer.code, fields) {
            (code::SUCCESS, Ok(reply)) => Ok(reply.offset),
            _ => Err(self.refused(broker, &answer)),
        }
    }

    /// The offset a group has committed.
    pub(super) async fn committed(
        &self,
        broker: &Text,
        group: &str,
        (topic, queue): (&str, i32),
    ) -> Result<Option<i64>, String> {
        let request = QueryConsumerOffset {
            consumer_group: group.into(),
            topic: topic.into(),
            queue_id: queue,
            set_zero_if_not_found: Some(false),
        };
        let answer = self.ask(broker, &request).await?;
        let fields = answer.header::<<QueryConsumerOffset as Request>::Reply>();
        match (answer.code, fields) {
            (code::SUCCESS, Ok(reply)) => Ok(Some(reply.offset)),
            (code::QUERY_NOT_FOUND, _) => Ok(None),
            _ => Err(self.refused(broker, &answer)),
        }
    }

    /// The groups that consume a topic, without the system's own.
    pub(super) async fn groups_of(&self, broker: &Text, topic: &str) -> Result<Vec<Text>, String> {
        let answer = self.ask(broker, &QueryTopicConsumeByWho { topic: topic.into() }).await?;
        if answer.code != code::SUCCESS {
            return Err(self.refused(broker, &answer));
        }
        let mut list: GroupList = json::from_slice(&answer.body).map_err(|why| why.to_string())?;
        list.group_list.retain(|group| !name::is_system_group(group));
        Ok(list.group_list)
    }

    /// How many producers of a group are connected to a broker.
    pub(super) async fn producers(&self, broker: &Text, group: &str) -> Result<usize, String> {
        let answer = self.ask(broker, &GetProducerConnectionList { producer_group: group.into() }).await?;
        match answer.code {
            code::SUCCESS => {
                let list: ProducerConnection =
                    json::from_slice(&answer.body).map_err(|why| why.to_string())?;
                Ok(list.connection_set.len())
            }
            code::SYSTEM_ERROR => Ok(0), // it knows no producer of the group
            _ => Err(self.refused(broker, &answer)),
        }
    }

    /// How often a group may try a message; None when the broker does not tell.
    pub(super) async fn most_tries(&self, broker: &Text, group: &str) -> Option<i32> {
        let answer = self.ask(broker, &GetSubscriptionGroupConfig { group: group.into() }).await.ok()?;
        let config: SubscriptionGroupConfig = json::from_slice(&answer.body).ok()?;
        (answer.code == code::SUCCESS).then_some(config.retry_max_times)
    }

    /// A broker's settings and numbers.
    pub(super) async fn known(&self, broker: &Text) -> Result<Known, String> {
        let answer = self.ask(broker, &GetBrokerConfig {}).await?;
        if answer.code != code::SUCCESS {
            return Err(self.refused(broker, &answer));
        }
        let entries = read_properties(&answer.body).into_iter();
        let config = entries.map(|entry| (entry.key, entry.value)).collect();
        let answer = self.ask(broker, &GetBrokerRuntimeInfo {}).await?;
        let table: KvTable = json::from_slice(&answer.body).map_err(|why| why.to_string())?;
        Ok(Known { config, runtime: table.table })
    }

    async fn ask<R: Request>(&self, broker: &Text, request: &R) -> Result<Command, String> {
        let command = Command::request(request, Bytes::new());
        let answer = self.client.call_raw(broker, command, LIMIT).await;
        answer.map_err(|error| unreached("broker", &self.name(broker), &error))
    }

    fn refused(&self, broker: &Text, answer: &Command) -> String {
        let remark = answer.remark.as_deref().unwrap_or("without a reason");
        format!("broker {} refuses with code {}: {remark}", self.name(broker), answer.code)
    }
}

impl Stored {
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.property(name)?.parse().ok()
    }

    pub(super) fn unique_key(&self) -> Option<&str> {
        self.property(names::UNIQ_KEY)
    }

    fn has_key(&self, key: &str) -> bool {
        self.unique_key() == Some(key)
            || self.property(names::KEYS).is_some_and(|k| k.split(' ').any(|k| k == key))
    }

    /// The topic it is for in the end, as it stands here: a retry topic for a retry.
    pub(super) fn target(&self) -> &str {
        match &*self.topic {
            name::HALF_TOPIC | name::SCHEDULE_TOPIC | name::TRANS_CHECK_MAX_TIME_TOPIC => {
                self.property(names::REAL_TOPIC).unwrap_or(&self.topic)
            }
            topic => topic,
        }
    }

    /// The topic its producer sent it to.
    pub(super) fn sent_to(&self) -> &str {
        let target = self.target();
        match name::group_of(target) {
            Some(_) => self.property(names::RETRY_TOPIC).unwrap_or(target),
            None => target,
        }
    }

    fn of(broker: &Text, record: &RecordRef<'_>, whole: &Bytes) -> Self {
        Self {
            broker: broker.clone(),
            id: record.offset_id().to_string(),
            topic: record.topic.to_owned(),
            queue: record.queue_id,
            offset: record.place.queue_offset,
            position: record.place.position,
            stored_ms: record.place.store_timestamp,
            born_ms: record.born_timestamp,
            born_host: record.born_host,
            times: record.reconsume_times,
            prepared: record.prepared_offset,
            committed: record.sys_flag & sys_flag::TRANSACTION_MASK == sys_flag::COMMIT,
            size_bytes: record.body.len(),
            body: whole.slice_ref(record.body),
            properties: properties::to_map(record.properties),
        }
    }
}

fn stored(broker: &Text, body: Bytes) -> Vec<Stored> {
    let records = record::each(body);
    let read = records.filter_map(|bytes| match record::scan(&bytes, false) {
        Scan::Record(record) => Some(Stored::of(broker, &record, &bytes)),
        _ => None,
    });
    read.collect()
}

fn unreached(what: &str, who: &str, error: &CallError) -> String {
    match error {
        CallError::NotSent(NotSent::Connect { kind, .. }) => {
            format!("{what} {who} cannot be reached: {kind}")
        }
        CallError::NotSent(NotSent::Address { .. }) => format!("{what} {who} is no address: write host:port"),
        CallError::NotSent(why) => format!("{what} {who} cannot be asked: {why}"),
        CallError::Unknown(why) => format!("{what} {who} does not answer: {why}"),
        CallError::Refused { code, remark } => {
            format!("{what} {who} refuses with code {code}: {}", remark.as_deref().unwrap_or("no reason"))
        }
    }
}

/// Takes no requests.
struct Deaf;

impl Service for Deaf {
    async fn handle(&self, _: &Arc<Peer>, command: Command) -> Reply {
        Reply::unsupported(command.code)
    }
}

/// Every broker has this group, so that looking makes none.
const TOOLS: &str = "TOOLS_CONSUMER";
/// Bit of a pull: the expression is in the request.
const SUBSCRIPTION: i32 = 4;
pub(super) const MOST_FOUND: i32 = 64;
const LIMIT: Duration = Duration::from_secs(10);
