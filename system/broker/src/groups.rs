//! What administrators do with consumer groups, and who consumes what.

use net::Reply;
use protocol::{
    Text,
    body::{
        Connection, ConsumerConnection, ConsumerOffsets, GroupList, ProducerConnection, ProducerInfo,
        ProducerTableInfo, QuerySubscriptionReplyBody, SubscriptionGroupConfig, SubscriptionGroupList,
        SubscriptionGroupWrapper, TopicList,
    },
    json,
    rpc::{
        CloneGroupOffset, DeleteSubscriptionGroup, GetConsumerConnectionList, GetProducerConnectionList,
        GetSubscriptionGroupConfig, QuerySubscriptionByConsumer, QueryTopicConsumeByWho,
        QueryTopicsByConsumer,
    },
};
use runtime::{clock, planted};

use crate::{
    Broker,
    clients::{Connected, body, check_group},
    offsets::not_theirs,
    refusal::{Answer, Refusal},
    state::clients::{Member, PeerId},
    topics::MAX_QUEUES,
    transactions,
};

impl Broker {
    /// Creates or changes a group.
    pub(crate) async fn update_group(&self, request: &[u8]) -> Answer {
        let config: SubscriptionGroupConfig = body("UPDATE_AND_CREATE_SUBSCRIPTIONGROUP", request)?;
        self.put_groups(vec![config]).await
    }

    /// As above, for several at once.
    pub(crate) async fn update_groups(&self, request: &[u8]) -> Answer {
        let list: SubscriptionGroupList = body("UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST", request)?;
        self.put_groups(list.group_config_list).await
    }

    async fn put_groups(&self, configs: Vec<SubscriptionGroupConfig>) -> Answer {
        for config in &configs {
            check_group(&config.group_name)?;
            if config.retry_queue_nums < 0 || config.retry_max_times < -1 {
                return Err(Refusal::Parameter(format!(
                    "retryQueueNums {} or retryMaxTimes {} of {} is negative",
                    config.retry_queue_nums, config.retry_max_times, config.group_name
                )));
            }
            if config.retry_queue_nums > MAX_QUEUES {
                return Err(Refusal::Parameter(format!(
                    "retryQueueNums of {} is {}; 0 to {MAX_QUEUES} are possible",
                    config.group_name, config.retry_queue_nums
                )));
            }
        }
        let change = {
            let mut groups = self.groups.lock();
            for config in configs {
                tracing::info!(group = %config.group_name, "consumer group set by an administrator");
                groups.put(config, clock::now_ms());
            }
            groups.changes()
        };
        self.groups_saved.kick();
        let change = change.saturating_sub(u64::from(planted!("B36")));
        self.groups_saved.reach(change).await?;
        Ok(Reply::ok())
    }

    /// Deletes a group, and its offsets if asked to.
    pub(crate) async fn delete_group(&self, h: DeleteSubscriptionGroup) -> Answer {
        let (listed, change) = {
            let mut groups = self.groups.lock();
            (groups.remove(&h.group_name, clock::now_ms()), groups.changes())
        };
        if h.removes_offsets() && !planted!("B56") {
            self.offsets.lock().forget_group(&h.group_name);
            if planted!("B57") {
                let all: Vec<Text> = self.groups.lock().iter().map(|it| it.group_name.clone()).collect();
                let alike = all.iter().filter(|name| name.starts_with(&*h.group_name));
                alike.for_each(|name| self.offsets.lock().forget_group(name));
            }
        }
        if planted!("B58") {
            return Ok(Reply::ok());
        }
        if !listed && planted!("B67") {
            return Ok(Reply::ok());
        }
        let forgotten = self.offsets.lock().changes();
        if listed {
            tracing::info!(group = %h.group_name, offsets = h.removes_offsets(), "consumer group deleted");
            self.groups_saved.kick();
        }
        // One that is not listed any more may have been deleted a moment ago, and still be on the disk.
        self.groups_saved.reach(change).await?;
        self.save_offsets(forgotten).await?;
        Ok(Reply::ok())
    }

    /// All groups.
    pub(crate) fn all_groups(&self) -> Answer {
        let wrapper = {
            let groups = self.groups.lock();
            SubscriptionGroupWrapper {
                subscription_group_table: groups
                    .iter()
                    .map(|group| (group.group_name.clone(), SubscriptionGroupConfig::clone(group)))
                    .collect(),
                data_version: groups.version(),
                ..SubscriptionGroupWrapper::default()
            }
        };
        Ok(Reply::ok().body(json::to_vec(&wrapper)))
    }

    /// One group.
    pub(crate) fn group_config(&self, h: &GetSubscriptionGroupConfig) -> Answer {
        let found = self.groups.lock().get(&h.group).cloned();
        let found = found.ok_or_else(|| Refusal::NoGroup(h.group.to_string()))?;
        Ok(Reply::ok().body(json::to_vec(&*found)))
    }

    /// Who consumes in a group, and what.
    pub(crate) fn consumer_connections(&self, h: &GetConsumerConnectionList) -> Answer {
        let connected = self.connected.lock();
        let Some(group) = connected.clients.consumer_group(&h.consumer_group) else {
            return Err(Refusal::NotOnline(format!("the consumer group[{}] not online", h.consumer_group)));
        };
        let answer = ConsumerConnection {
            connection_set: connections(&connected, &group.members),
            consume_type: group.consume_type,
            message_model: group.model,
            consume_from_where: group.from_where,
            subscription_table: group
                .subscriptions
                .iter()
                .map(|(topic, data)| (Text::from(topic.as_str()), data.clone()))
                .collect(),
        };
        Ok(Reply::ok().body(json::to_vec(&answer)))
    }

    /// Who produces in a group.
    pub(crate) fn producer_connections(&self, h: &GetProducerConnectionList) -> Answer {
        let connected = self.connected.lock();
        let Some(members) = connected.clients.producers(&h.producer_group) else {
            return Err(Refusal::Failed(format!("the producer group[{}] not exist", h.producer_group)));
        };
        let answer = ProducerConnection { connection_set: connections(&connected, members) };
        Ok(Reply::ok().body(json::to_vec(&answer)))
    }

    /// All producers.
    pub(crate) fn all_producers(&self) -> Answer {
        let now = self.uptime_ms();
        let wall = clock::now_ms();
        let connected = self.connected.lock();
        let data = connected
            .clients
            .producer_groups()
            .map(|(group, members)| {
                let infos = members
                    .iter()
                    .map(|(id, member)| ProducerInfo {
                        client_id: member.client_id.as_str().into(),
                        remote_ip: address(&connected, *id),
                        language: member.language,
                        version: member.version,
                        last_update_timestamp: wall - i64::try_from(now - member.seen_ms).unwrap_or(0),
                    })
                    .collect();
                (Text::from(group), infos)
            })
            .collect();
        Ok(Reply::ok().body(json::to_vec(&ProducerTableInfo { data })))
    }

    /// Groups that consume a topic now or have an offset in it.
    pub(crate) fn groups_of_topic(&self, h: &QueryTopicConsumeByWho) -> Answer {
        let mut groups = self.offsets.lock().groups_of(&h.topic);
        let connected = self.connected.lock();
        let online = connected.clients.consumer_groups();
        groups.extend(
            online
                .filter(|(_, group)| group.subscriptions.contains_key(h.topic.as_str()))
                .map(|(name, _)| name.to_owned()),
        );
        groups.sort();
        groups.dedup();
        let list = GroupList { group_list: groups.into_iter().map(Text::from).collect() };
        Ok(Reply::ok().body(json::to_vec(&list)))
    }

    /// Topics in which a group has an offset.
    pub(crate) fn topics_of_group(&self, h: &QueryTopicsByConsumer) -> Answer {
        let topics = self.offsets.lock().topics_of(&h.group);
        let list = TopicList {
            topic_list: topics.into_iter().map(Text::from).collect(),
            broker_addr: Some(self.address.clone()),
        };
        Ok(Reply::ok().body(json::to_vec(&list)))
    }

    /// What a group subscribed to in one topic.
    pub(crate) fn subscription_of_group(&self, h: &QuerySubscriptionByConsumer) -> Answer {
        let connected = self.connected.lock();
        let topic = h.topic.as_deref().unwrap_or_default();
        let found =
            connected.clients.consumer_group(&h.group).and_then(|group| group.subscriptions.get(topic));
        let answer = QuerySubscriptionReplyBody {
            group: h.group.clone(),
            topic: Text::from(topic),
            subscription_data: found.cloned(),
        };
        Ok(Reply::ok().body(json::to_vec(&answer)))
    }

    /// All consumer offsets, as the file has them.
    pub(crate) fn all_offsets(&self) -> Answer {
        let table = self.offsets.lock().table();
        let answer = ConsumerOffsets {
            offset_table: table.into_iter().map(|(key, queues)| (key.into(), queues)).collect(),
            data_version: None,
        };
        Ok(Reply::ok().body(json::to_vec(&answer)))
    }

    /// Lets a group begin where another one is. Answered when that is on the disk.
    pub(crate) async fn clone_offsets(&self, h: CloneGroupOffset) -> Answer {
        let only = h.topic.as_deref().filter(|topic| !topic.is_empty());
        if only.is_some_and(|topic| self.topics.lock().get(topic).is_none()) {
            return Err(Refusal::NoTopic { topic: only.unwrap_or_default().to_owned(), why: "" });
        }
        if transactions::owns(&h.dest_group) {
            return Err(not_theirs(&h.dest_group));
        }
        let change = {
            let mut offsets = self.offsets.lock();
            offsets.clone_group(&h.src_group, &h.dest_group, only);
            offsets.changes()
        };
        self.save_offsets(change).await?;
        Ok(Reply::ok())
    }
}

fn connections(
    connected: &Connected,
    members: &std::collections::BTreeMap<PeerId, Member>,
) -> Vec<Connection> {
    members
        .iter()
        .map(|(id, member)| Connection {
            client_id: member.client_id.as_str().into(),
            client_addr: address(connected, *id),
            language: member.language,
            version: member.version,
        })
        .collect()
}

fn address(connected: &Connected, id: PeerId) -> Text {
    connected.peer(id).map(|peer| Text::from(peer.remote.to_string())).unwrap_or_default()
}
