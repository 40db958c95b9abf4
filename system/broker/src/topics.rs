//! What administrators do with topics.

use std::{mem, time::Duration};

use net::Reply;
use protocol::{
    Text,
    body::{CreateTopicListBody, TopicConfig, TopicConfigSerializeWrapper, TopicFilterType, TopicList},
    json, name,
    rpc::{DeleteTopicInBroker, GetTopicConfig, UpdateAndCreateTopic},
};
use runtime::{clock, crash_point, planted, tap};

use crate::{
    Broker,
    clients::body,
    refusal::{Answer, Refusal},
    state::topics::Topic,
};

impl Broker {
    /// Creates a topic, or changes one: more queues, fewer, other permissions. Answered when it is on the disk and the
    /// name servers know, or have had their time.
    pub(crate) async fn update_topic(&self, h: UpdateAndCreateTopic) -> Answer {
        let filter = match &*h.topic_filter_type {
            "" | "SINGLE_TAG" => TopicFilterType::SingleTag,
            "MULTI_TAG" => TopicFilterType::MultiTag,
            other => {
                return Err(Refusal::Parameter(format!(
                    "topicFilterType is {other}; SINGLE_TAG and MULTI_TAG are known"
                )));
            }
        };
        let before = self.topics.lock().get(&h.topic).map(|topic| topic.config.attributes.clone());
        let mut config = TopicConfig {
            topic_name: h.topic.detached(),
            read_queue_nums: h.read_queue_nums,
            write_queue_nums: h.write_queue_nums,
            perm: h.perm,
            topic_filter_type: filter,
            topic_sys_flag: h.topic_sys_flag.unwrap_or(0),
            order: h.order,
            attributes: before.unwrap_or_default(),
        };
        alter(&mut config, h.attributes.as_deref().unwrap_or_default())?;
        self.check_topic(&config)?;
        let change = self.put_topic(config);
        self.topics_saved.reach(change).await?;
        self.registered(change, PATIENCE).await;
        Ok(Reply::ok())
    }

    /// As above, for several at once.
    pub(crate) async fn update_topics(&self, request: &[u8]) -> Answer {
        let mut list: CreateTopicListBody = body("UPDATE_AND_CREATE_TOPIC_LIST", request)?;
        for config in &mut list.topic_config_list {
            self.take_attributes(config)?;
            self.check_topic(config)?;
        }
        let last = list.topic_config_list.into_iter().map(|config| self.put_topic(config)).max();
        if let Some(change) = last {
            self.topics_saved.reach(change).await?;
            self.registered(change, PATIENCE).await;
        }
        Ok(Reply::ok())
    }

    /// A list says of each attribute what the text of a single topic says: `+key` sets it, `-key` removes it. A bare
    /// key, as it is stored, sets it too.
    fn take_attributes(&self, config: &mut TopicConfig) -> Result<(), Refusal> {
        let known = self.topics.lock().get(&config.topic_name).map(|topic| topic.config.attributes.clone());
        for (key, value) in mem::replace(&mut config.attributes, known.unwrap_or_default()) {
            match key.strip_prefix('-') {
                Some(key) => alter_one(config, key, None)?,
                None => alter_one(config, key.strip_prefix('+').unwrap_or(&key), Some(&*value))?,
            }
        }
        Ok(())
    }

    fn check_topic(&self, config: &TopicConfig) -> Result<(), Refusal> {
        let topic = &config.topic_name;
        name::check_topic(topic).map_err(|error| Refusal::Name(error.to_string()))?;
        if self.config().validate_system_topic_when_update_topic && self.is_system_topic(topic) {
            return Err(Refusal::Parameter(format!("The topic[{topic}] is conflict with system topic.")));
        }
        if !(0..=7).contains(&config.perm) {
            return Err(Refusal::Parameter(format!(
                "perm {} is none: add 4 to read, 2 to write, 1 to inherit",
                config.perm
            )));
        }
        for (what, count) in
            [("readQueueNums", config.read_queue_nums), ("writeQueueNums", config.write_queue_nums)]
        {
            if !(1..=MAX_QUEUES).contains(&count) {
                return Err(Refusal::Parameter(format!("{what} is {count}; 1 to {MAX_QUEUES} are possible")));
            }
        }
        Ok(())
    }

    fn put_topic(&self, config: TopicConfig) -> u64 {
        let topic = self.topics.lock().put(config, clock::now_ms());
        let config = &topic.config;
        tracing::info!(
            topic = %config.topic_name,
            read = config.read_queue_nums,
            write = config.write_queue_nums,
            perm = config.perm,
            "topic set by an administrator"
        );
        self.topic_set(&topic);
        topic.change
    }

    /// A topic was made or changed: it is written and registered.
    pub(crate) fn topic_set(&self, topic: &Topic) {
        tap!(
            "topic_set",
            topic = topic.config.topic_name.as_str(),
            read = topic.config.read_queue_nums,
            write = topic.config.write_queue_nums
        );
        self.topics_saved.kick();
    }

    fn is_system_topic(&self, topic: &str) -> bool {
        name::is_system_topic(topic) || topic == self.cluster || topic == self.name
    }

    /// Deletes a topic with its queues and offsets; its bytes leave the log with the files they are in.
    pub(crate) async fn delete_topic(&self, h: DeleteTopicInBroker) -> Answer {
        if h.topic.trim().is_empty() {
            return Err(Refusal::Parameter("The specified topic is blank.".into()));
        }
        if self.is_system_topic(&h.topic) {
            return Err(Refusal::Parameter(format!("The topic[{}] is conflict with system topic.", h.topic)));
        }
        let (listed, change) = {
            let mut topics = self.topics.lock();
            (topics.remove(&h.topic, clock::now_ms()), topics.changes())
        };
        // From here on nobody sends or pulls; the rest may be repeated after a failure.
        let forgotten = {
            let mut offsets = self.offsets.lock();
            if !planted!("B23") {
                offsets.forget_topic(&h.topic);
            }
            offsets.changes()
        };
        tap!("topic_unlisted", topic = h.topic.as_str());
        if listed {
            tracing::info!(topic = %h.topic, "topic deleted");
            self.topics_saved.kick();
        }
        self.topics_saved.reach(change).await?;
        crash_point!("broker.delete_topic.unlisted").await;
        {
            let topics = self.topics.lock();
            if topics.get(&h.topic).is_some() {
                // Its messages may be new ones.
                return Err(Refusal::Failed(format!(
                    "{} was made again meanwhile: delete it once more",
                    h.topic
                )));
            }
            self.store.begin_delete(&h.topic);
        }
        let deleted = self.store.finish_delete(&h.topic).await;
        deleted
            .map_err(|error| Refusal::Failed(format!("cannot delete the queues of {}: {error}", h.topic)))?;
        self.save_offsets(forgotten).await?;
        if listed {
            self.registered(change, PATIENCE).await;
        }
        Ok(Reply::ok())
    }

    /// All topics.
    pub(crate) fn all_topics(&self) -> Answer {
        let wrapper = {
            let topics = self.topics.lock();
            TopicConfigSerializeWrapper {
                topic_config_table: topics
                    .iter()
                    .map(|topic| (topic.topic_name.clone(), TopicConfig::clone(topic)))
                    .collect(),
                data_version: topics.version(),
                ..TopicConfigSerializeWrapper::default()
            }
        };
        Ok(Reply::ok().body(json::to_vec(&wrapper)))
    }

    /// One topic.
    pub(crate) fn topic_config(&self, h: &GetTopicConfig) -> Answer {
        match self.topics.lock().get(&h.topic) {
            Some(topic) => Ok(Reply::ok().body(json::to_vec(&*topic.config))),
            None => Err(Refusal::NoTopic { topic: h.topic.to_string(), why: "" }),
        }
    }

    /// The topics that are the system's own.
    pub(crate) fn system_topics(&self) -> Answer {
        let topics = self.topics.lock();
        let list = TopicList {
            topic_list: topics
                .iter()
                .map(|topic| topic.topic_name.clone())
                .filter(|topic| self.is_system_topic(topic))
                .collect(),
            broker_addr: Some(self.address.clone()),
        };
        Ok(Reply::ok().body(json::to_vec(&list)))
    }
}

/// Applies `+key=value,-key` to the attributes of a topic.
fn alter(config: &mut TopicConfig, changes: &str) -> Result<(), Refusal> {
    for change in changes.split(',').map(str::trim).filter(|change| !change.is_empty()) {
        let (key, value) = match change.split_at(1) {
            ("+", pair) => match pair.split_once('=') {
                Some((key, value)) if !value.is_empty() => (key, Some(value)),
                _ => return Err(Refusal::Parameter(format!("attribute {change}: write +key=value"))),
            },
            ("-", key) => (key, None),
            _ => return Err(Refusal::Parameter(format!("attribute {change}: write +key=value or -key"))),
        };
        alter_one(config, key, value)?;
    }
    Ok(())
}

fn alter_one(config: &mut TopicConfig, key: &str, value: Option<&str>) -> Result<(), Refusal> {
    let Some((_, values)) = ATTRIBUTES.iter().find(|(name, _)| *name == key) else {
        let known: Vec<_> = ATTRIBUTES.iter().map(|(name, _)| *name).collect();
        return Err(Refusal::Parameter(format!(
            "attribute {key} is unknown; known are {}",
            known.join(", ")
        )));
    };
    let Some(value) = value else {
        config.attributes.remove(key);
        return Ok(());
    };
    let is_time = || values.is_empty() && value.parse::<i64>().is_ok_and(|ms| ms >= -1);
    if !values.contains(&value) && !is_time() {
        let possible = if values.is_empty() { "a number from -1".to_owned() } else { values.join(", ") };
        return Err(Refusal::Parameter(format!("attribute {key} cannot be {value}; possible is {possible}")));
    }
    config.attributes.insert(Text::from(key), Text::from(value));
    Ok(())
}

/// The attributes of topics and what this broker can keep to; none named: a time.
const ATTRIBUTES: [(&str, &[&str]); 4] = [
    ("queue.type", &["SimpleCQ"]),
    ("cleanup.policy", &["DELETE"]),
    ("message.type", &["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED"]),
    ("reserve.time", &[]),
];

/// Clients build a list of all queues of a topic; more would hurt them.
pub(crate) const MAX_QUEUES: i32 = 65_535;

/// How long an administrator's answer may wait for name servers.
const PATIENCE: Duration = Duration::from_secs(3);
