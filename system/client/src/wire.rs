//! Bodies as this client reads and writes them.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerData, GetConsumerListByGroupBody, HeartbeatData, MessageModel,
    ProducerData, ResetOffsetBody, SubscriptionData, TopicRouteData,
};
use protocol::json;
use protocol::tag::Filter;

use crate::state::route::{Queues, Route};
use crate::{MessageQueue, StartFrom, Text};

/// What the client is to its brokers.
pub(crate) enum Role {
    Producer {
        group: Text,
    },
    Consumer(ConsumerData),
    /// Asks and leaves no trace: a tool.
    Visitor,
}

impl Role {
    pub(crate) fn push(group: Text, from: StartFrom, subscriptions: Vec<SubscriptionData>) -> Self {
        let consume_from_where = match from {
            StartFrom::Last => ConsumeFromWhere::LastOffset,
            StartFrom::First => ConsumeFromWhere::FirstOffset,
            StartFrom::Time(_) => ConsumeFromWhere::Timestamp,
        };
        Self::Consumer(ConsumerData {
            consume_from_where,
            consume_type: ConsumeType::Passively,
            group_name: group,
            message_model: MessageModel::Clustering,
            subscription_data_set: subscriptions,
            unit_mode: false,
        })
    }

    pub(crate) fn pull(group: Text) -> Self {
        let consume_type = ConsumeType::Actively;
        Self::Consumer(ConsumerData { consume_type, group_name: group, ..ConsumerData::default() })
    }

    /// A producer needs masters only.
    pub(crate) fn is_producer(&self) -> bool {
        matches!(self, Self::Producer { .. })
    }

    pub(crate) fn is_visitor(&self) -> bool {
        matches!(self, Self::Visitor)
    }

    /// The producer group and the consumer group.
    pub(crate) fn groups(&self) -> (Option<Text>, Option<Text>) {
        match self {
            Self::Producer { group } => (Some(group.clone()), None),
            Self::Consumer(data) => (None, Some(data.group_name.clone())),
            Self::Visitor => (None, None),
        }
    }

    /// The subscribed topics.
    pub(crate) fn topics(&self) -> Vec<Text> {
        self.subscriptions().iter().map(|s| s.topic.clone()).collect()
    }

    pub(crate) fn subscriptions(&self) -> &[SubscriptionData] {
        match self {
            Self::Consumer(data) => &data.subscription_data_set,
            _ => &[],
        }
    }

    /// Adds a topic; nothing changes when it is there.
    pub(crate) fn subscribe(&mut self, new: SubscriptionData) {
        if let Self::Consumer(data) = self
            && !data.subscription_data_set.iter().any(|s| s.topic == new.topic)
        {
            data.subscription_data_set.push(new);
        }
    }
}

/// A subscription as brokers are told of it; `version` is when it was made, ms.
pub(crate) fn subscription(topic: Text, expression: &str, filter: &Filter, version: i64) -> SubscriptionData {
    SubscriptionData {
        code_set: filter.codes().collect(),
        sub_string: if filter.is_all() { Text::from_static("*") } else { expression.into() },
        sub_version: version,
        tags_set: filter.tags().map(Text::from).collect(),
        topic,
        ..SubscriptionData::default()
    }
}

pub(crate) fn heartbeat(client_id: &Text, role: &Role) -> Bytes {
    let mut data = HeartbeatData { client_id: client_id.clone(), ..HeartbeatData::default() };
    match role {
        Role::Producer { group } => data.producer_data_set.push(ProducerData { group_name: group.clone() }),
        Role::Consumer(consumer) => data.consumer_data_set.push(consumer.clone()),
        Role::Visitor => {}
    }
    json::to_vec(&data).into()
}

pub(crate) fn route(body: &[u8]) -> Result<Route, String> {
    let data: TopicRouteData = json::from_slice(body).map_err(|e| e.to_string())?;
    let queues = data.queue_datas.into_iter().map(|q| {
        (q.broker_name, Queues { read: q.read_queue_nums, write: q.write_queue_nums, permission: q.perm })
    });
    let brokers = data.broker_datas.into_iter().map(|b| (b.broker_name, b.broker_addrs));
    Ok(Route {
        queues: queues.collect(),
        brokers: brokers.collect(),
        order: data.order_topic_conf.map(String::from),
    })
}

pub(crate) fn consumer_list(body: &[u8]) -> Result<Vec<Text>, String> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let list: GetConsumerListByGroupBody = json::from_slice(body).map_err(|e| e.to_string())?;
    Ok(list.consumer_id_list)
}

pub(crate) fn reset_offsets(body: &[u8]) -> Result<Vec<(MessageQueue, u64)>, String> {
    let body: ResetOffsetBody = json::from_slice(body).map_err(|e| e.to_string())?;
    let known = body.offset_table.into_iter().filter_map(|(q, offset)| {
        let queue = MessageQueue { topic: q.topic, broker: q.broker_name, id: q.queue_id };
        u64::try_from(offset).ok().map(|offset| (queue, offset))
    });
    Ok(known.collect())
}

/// A table by queue, as bodies have it.
pub(crate) fn by_queue<T>(
    entries: impl IntoIterator<Item = (MessageQueue, T)>,
) -> BTreeMap<protocol::body::MessageQueue, T> {
    let named = |q: MessageQueue| protocol::body::MessageQueue::new(q.topic, q.broker, q.id);
    entries.into_iter().map(|(queue, value)| (named(queue), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heartbeat_is_that_of_java() {
        // wire.md 12, vector 13, without its producer
        let filter = Filter::parse("TagA || TagB").unwrap();
        let told = subscription("T".into(), "TagA || TagB", &filter, 1_700_000_000_000);
        let role = Role::push("CG".into(), StartFrom::Last, vec![told]);
        let text = r#"{"clientID":"10.0.0.1@1234","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"CG","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919,2598920],"expressionType":"TAG","subString":"TagA || TagB","subVersion":1700000000000,"tagsSet":["TagA","TagB"],"topic":"T"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[],"withoutSub":false}"#;
        assert_eq!(heartbeat(&"10.0.0.1@1234".into(), &role), text);
    }

    #[test]
    fn both_forms_of_a_route_are_read() {
        // wire.md 12, vector 11
        let standard = r#"{"brokerDatas":[{"brokerAddrs":{"0":"1.2.3.4:10911","1":"1.2.3.5:10911"},"brokerName":"broker-a","cluster":"C","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;
        let old = standard.replace(r#""0":"#, "0:").replace(r#""1":"#, "1:");
        let found = route(standard.as_bytes()).unwrap();
        assert_eq!(route(old.as_bytes()).unwrap(), found);
        assert_eq!(&*found.brokers["broker-a"][&1], "1.2.3.5:10911");
        assert_eq!(found.queues["broker-a"], Queues { read: 4, write: 4, permission: 6 });
        assert!(route(b"{").is_err());
    }
}
