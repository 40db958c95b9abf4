//! The JSON bodies of requests and answers. The quoted word is the name on the wire; members stand in the order of
//! the alphabet, as the reference writes them.
//!
//! Reading ignores members that are not listed and takes the default for those that are absent; see [`crate::json`]
//! for what else is understood. Members of type `Option` are not written when they are `None`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::text::Text;

#[macro_use]
mod table;
mod admin;
mod group;
mod register;
mod route;
mod topic;

pub use admin::*;
pub use group::*;
pub use register::*;
pub use route::*;
pub use topic::*;

body! {
    /// One queue of a topic on one broker. Queues are ordered by topic, broker, number, as clients divide them.
    #[derive(Eq)]
    MessageQueue {
        "brokerName" broker_name: Text,
        "queueId"    queue_id:    i32,
        "topic"      topic:       Text,
    }

    /// A table of texts.
    #[derive(Eq)]
    KvTable {
        "table" table: BTreeMap<Text, Text>,
    }

    /// When a table was last changed. Equality is on all three numbers; newer is the one with the greater state
    /// version, then counter, then time.
    #[derive(Copy, Eq)]
    DataVersion {
        "counter"      counter:       i64,
        "stateVersion" state_version: i64,
        "timestamp"    timestamp:     i64,
    }
}

impl MessageQueue {
    /// The queue `queue_id` of `topic` on the broker `broker_name`.
    pub fn new(topic: impl Into<Text>, broker_name: impl Into<Text>, queue_id: i32) -> Self {
        Self { broker_name: broker_name.into(), queue_id, topic: topic.into() }
    }
}

impl Ord for MessageQueue {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |queue: &Self| (queue.topic.clone(), queue.broker_name.clone(), queue.queue_id);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for MessageQueue {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl DataVersion {
    /// The version of a table changed at `now_ms`.
    #[must_use]
    pub fn next(self, now_ms: i64) -> Self {
        Self { counter: self.counter.wrapping_add(1), timestamp: now_ms, ..self }
    }
}

impl Ord for DataVersion {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |version: &Self| (version.state_version, version.counter, version.timestamp);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for DataVersion {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// CRC-32 of bytes, cut to 31 bits as Java's are.
pub fn crc31(bytes: &[u8]) -> i32 {
    i32::try_from(crc32fast::hash(bytes) & 0x7FFF_FFFF).expect("31 bits")
}

#[cfg(test)]
mod tests;
