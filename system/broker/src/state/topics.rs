//! The topics of this broker and the rules by which sends, heartbeats and administrators make them.

use std::{collections::BTreeMap, sync::Arc};

use protocol::{
    body::{DataVersion, TopicConfig, perm},
    name,
};

/// Topics by name.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    table: BTreeMap<String, Topic>,
    version: DataVersion,
    changes: u64,
}

/// One topic and the change that made it what it is.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    /// Its configuration.
    pub(crate) config: Arc<TopicConfig>,
    /// Which change of the table it came with: no message may be acknowledged before that one is on disk.
    pub(crate) change: u64,
}

/// Why a send does not create its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTemplate {
    /// Automatic creation is off.
    Off,
    /// The topic named as template does not exist.
    Missing,
    /// The topic named as template is none.
    NotInherited,
}

impl Topics {
    /// Takes over what a file held.
    pub(crate) fn load(table: BTreeMap<String, TopicConfig>, version: DataVersion) -> Self {
        let table = table
            .into_iter()
            .map(|(name, config)| {
                let config = Arc::new(TopicConfig { topic_name: name.as_str().into(), ..config });
                (name, Topic { config, change: 0 })
            })
            .collect();
        Self { table, version, changes: 0 }
    }

    /// The topic, if it exists.
    pub(crate) fn get(&self, name: &str) -> Option<&Topic> {
        self.table.get(name)
    }

    /// All topics in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<TopicConfig>> {
        self.table.values().map(|topic| &topic.config)
    }

    /// The version that name servers compare.
    pub(crate) fn version(&self) -> DataVersion {
        self.version
    }

    /// How often the table changed since start.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// A registration carries the configuration of the broker too: its change makes a new version.
    pub(crate) fn touch(&mut self, now_ms: i64) {
        self.changes += 1;
        self.version = self.version.next(now_ms);
    }

    /// Creates or replaces a topic. An equal one stays as it is.
    pub(crate) fn put(&mut self, config: TopicConfig, now_ms: i64) -> Topic {
        if let Some(known) = self.table.get(config.topic_name.as_ref())
            && *known.config == config
        {
            return known.clone();
        }
        self.touch(now_ms);
        let topic = Topic { config: Arc::new(config), change: self.changes };
        self.table.insert(topic.config.topic_name.to_string(), topic.clone());
        topic
    }

    /// Deletes a topic. False: there was none.
    pub(crate) fn remove(&mut self, name: &str, now_ms: i64) -> bool {
        let removed = self.table.remove(name).is_some();
        if removed {
            self.touch(now_ms);
        }
        removed
    }

    /// Makes the topic of a send from the template that the producer named.
    ///
    /// It gets as many queues as the producer asks for, at most those of the template, and the
    /// template's permission without the inherit bit.
    pub(crate) fn create_from(
        &mut self,
        name: &str,
        template: &str,
        asked_queues: i32,
        automatic: bool,
        now_ms: i64,
    ) -> Result<Topic, NoTemplate> {
        if !automatic && template == name::AUTO_CREATE_TOPIC {
            return Err(NoTemplate::Off);
        }
        let from = &self.table.get(template).ok_or(NoTemplate::Missing)?.config;
        if from.perm & perm::INHERIT == 0 {
            return Err(NoTemplate::NotInherited);
        }
        let queues = asked_queues.min(from.write_queue_nums).max(1);
        let config = TopicConfig {
            perm: from.perm & !perm::INHERIT,
            topic_sys_flag: 0,
            topic_filter_type: from.topic_filter_type,
            ..sized(name, queues, perm::READ | perm::WRITE)
        };
        Ok(self.put(config, now_ms))
    }

    /// Makes the retry or dead letter topic of a group unless it exists.
    pub(crate) fn ensure(&mut self, name: &str, queues: i32, unit: bool, now_ms: i64) -> Topic {
        match self.table.get(name) {
            Some(topic) => topic.clone(),
            None => {
                let flags = if unit { UNIT_SUBSCRIPTION } else { 0 };
                let plain = sized(name, queues.max(1), perm::READ | perm::WRITE);
                self.put(TopicConfig { topic_sys_flag: flags, ..plain }, now_ms)
            }
        }
    }
}

/// Bit of a topic's flags: a group of a unit reads it.
const UNIT_SUBSCRIPTION: i32 = 2;

/// A topic with the same number of read and write queues.
pub(crate) fn sized(name: &str, queues: i32, perm: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.into(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm,
        ..TopicConfig::default()
    }
}

/// The topic that sends make others from.
pub(crate) fn template(queues: i32) -> TopicConfig {
    sized(name::AUTO_CREATE_TOPIC, queues, ALL)
}

/// What decides about the topics that exist from the start.
pub(crate) struct Settings<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) broker: &'a str,
    pub(crate) auto_create: bool,
    pub(crate) template_queues: i32,
    pub(crate) cluster_topic: bool,
    pub(crate) broker_topic: bool,
    pub(crate) trace_topic: Option<&'a str>,
    pub(crate) delay_levels: i32,
}

/// The topics every broker has (broker-store.md 4.2).
pub(crate) fn built_in(s: &Settings<'_>) -> Vec<TopicConfig> {
    let reply = name::reply_topic(s.cluster);
    let revive = name::revive_topic(s.cluster);
    let members = name::member_topic(s.broker);
    let mut topics = vec![
        sized(name::SELF_TEST_TOPIC, 1, RW),
        sized(name::BENCHMARK_TOPIC, 1024, RW),
        sized(s.cluster, 16, if s.cluster_topic { ALL } else { perm::INHERIT }),
        sized(s.broker, 1, if s.broker_topic { ALL } else { perm::INHERIT }),
        sized(name::OFFSET_MOVED_EVENT, 1, RW),
        sized(name::SCHEDULE_TOPIC, s.delay_levels.max(18), RW),
        sized(&reply, 1, RW),
        sized(&revive, 8, RW),
        sized(&members, 1, perm::INHERIT),
        sized(name::HALF_TOPIC, 1, RW),
        sized(name::OP_HALF_TOPIC, 1, RW),
    ];
    if s.auto_create {
        topics.push(template(s.template_queues));
    }
    if let Some(trace) = s.trace_topic {
        topics.push(sized(trace, 1, RW));
    }
    topics
}

const RW: i32 = perm::READ | perm::WRITE;
const ALL: i32 = RW | perm::INHERIT;

#[cfg(test)]
mod tests {
    use super::*;

    fn with_template() -> Topics {
        let mut topics = Topics::default();
        topics.put(sized(name::AUTO_CREATE_TOPIC, 8, 7), 1);
        topics
    }

    #[test]
    fn a_send_creates_its_topic_from_the_template() {
        let mut topics = with_template();
        let made = topics.create_from("orders", name::AUTO_CREATE_TOPIC, 4, true, 2).unwrap();
        assert_eq!((made.config.read_queue_nums, made.config.write_queue_nums, made.config.perm), (4, 4, 6));
        let wide = topics.create_from("wide", name::AUTO_CREATE_TOPIC, 100, true, 2).unwrap();
        assert_eq!(wide.config.write_queue_nums, 8, "at most the template's queues");
        assert!(wide.change > made.change);
    }

    #[test]
    fn without_a_template_nothing_is_created() {
        let mut topics = with_template();
        topics.put(sized("plain", 4, 6), 1);
        assert_eq!(topics.create_from("a", "nowhere", 4, true, 2).unwrap_err(), NoTemplate::Missing);
        assert_eq!(topics.create_from("a", "plain", 4, true, 2).unwrap_err(), NoTemplate::NotInherited);
        assert_eq!(
            topics.create_from("a", name::AUTO_CREATE_TOPIC, 4, false, 2).unwrap_err(),
            NoTemplate::Off
        );
        assert!(topics.get("a").is_none());
    }

    #[test]
    fn every_change_makes_a_new_version_and_an_equal_topic_none() {
        let mut topics = with_template();
        let before = topics.version().counter;
        topics.put(sized("a", 4, 6), 5);
        assert_eq!((topics.version().counter, topics.version().timestamp), (before + 1, 5));
        topics.put(sized("a", 4, 6), 6);
        assert_eq!(topics.version().counter, before + 1);
        assert!(topics.remove("a", 7));
        assert!(!topics.remove("a", 8));
        assert_eq!(topics.version().counter, before + 2);
    }
}
