//! Messages on their way out and in, and what a broker says about a stored one.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use protocol::properties::names;

use crate::Text;

/// One queue of a topic on one broker.
///
/// The derived order (topic, broker, number) is the order in which members share queues.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageQueue {
    /// Topic.
    pub topic: Text,
    /// Name of the broker group.
    pub broker: Text,
    /// Number of the queue on that broker.
    pub id: i32,
}

impl MessageQueue {
    /// The queue `id` of `topic` on the brokers called `broker`.
    pub fn new(topic: impl Into<Text>, broker: impl Into<Text>, id: i32) -> Self {
        Self { topic: topic.into(), broker: broker.into(), id }
    }
}

impl std::fmt::Display for MessageQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.broker, self.id)
    }
}

/// A message to be sent.
///
/// ```
/// let message = client::Message::new("orders", "one coffee").tag("drinks").key("order-1").property("table", "4");
/// assert_eq!(message.property_of("table"), Some("4"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic.
    pub topic: Text,
    /// Content; sent compressed when it is large.
    pub body: Bytes,
    /// A number of the sender's that brokers pass through.
    pub flag: i32,
    /// Properties by name; see [`Message::property`].
    pub properties: BTreeMap<Text, Text>,
}

impl Message {
    /// A message without tag, keys or properties.
    pub fn new(topic: impl Into<Text>, body: impl Into<Bytes>) -> Self {
        Self { topic: topic.into(), body: body.into(), flag: 0, properties: BTreeMap::new() }
    }

    /// Sets the tag that subscriptions select by.
    #[must_use]
    pub fn tag(self, tag: impl Into<Text>) -> Self {
        self.property(names::TAGS, tag)
    }

    /// Adds a key by which the message can be looked up.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        let keys = match self.property_of(names::KEYS) {
            Some(before) => format!("{before} {key}"),
            None => key.to_owned(),
        };
        self.property(names::KEYS, keys)
    }

    /// Sets a property. Neither name nor value may be empty or hold the bytes 0x01 and 0x02.
    #[must_use]
    pub fn property(mut self, name: impl Into<Text>, value: impl Into<Text>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Sets the flag.
    #[must_use]
    pub fn flag(mut self, flag: i32) -> Self {
        self.flag = flag;
        self
    }

    /// Delivers the message later: level 1 is 1 s, 18 is 2 h (as the broker is configured).
    #[must_use]
    pub fn delay_level(self, level: u32) -> Self {
        self.property(names::DELAY, level.to_string())
    }

    /// With `false` the broker answers before the message is flushed or replicated, whatever its configuration.
    #[must_use]
    pub fn wait_store(self, wait: bool) -> Self {
        self.property(names::WAIT, if wait { "true" } else { "false" })
    }

    /// The value of a property.
    pub fn property_of(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(|v| &**v)
    }

    /// The unique id, once the message has one: sending sets it, and every retry keeps it.
    pub fn unique_key(&self) -> Option<&str> {
        self.property_of(names::UNIQ_KEY)
    }
}

/// How a broker stored a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendStatus {
    /// Stored as the broker's configuration promises.
    Ok,
    /// Stored, but not flushed to disk within the broker's limit.
    FlushDiskTimeout,
    /// Stored by the master; a replica did not confirm in time.
    FlushSlaveTimeout,
    /// Stored by the master; there was no replica to confirm.
    SlaveNotAvailable,
}

/// A broker's answer to a stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendReceipt {
    /// How far the broker's promise was met.
    pub status: SendStatus,
    /// The queue that holds it.
    pub queue: MessageQueue,
    /// Its offset there.
    pub offset: u64,
    /// The unique id, made by the client (property `UNIQ_KEY`).
    pub message_id: Text,
    /// The id made by the broker: its address and the position in its log.
    pub offset_id: Text,
    /// The transaction id, if the broker gave one.
    pub transaction_id: Option<Text>,
    /// The handle to take a delayed message back with, if the broker gave one.
    pub recall_handle: Option<Text>,
    /// Attempts it took, 1 or more. Each earlier one may have stored another copy.
    pub attempts: u32,
}

/// A message as a consumer gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The topic the sender named; for a retried message not that of [`Received::queue`].
    pub topic: Text,
    /// The queue it was read from.
    pub queue: MessageQueue,
    /// Its offset there.
    pub offset: u64,
    /// Its position in the broker's log.
    pub position: u64,
    /// The unique id if the sender made one, else the broker's id.
    pub message_id: Text,
    /// The broker's id: its address and the position in its log.
    pub offset_id: Text,
    /// Content, inflated.
    pub body: Bytes,
    /// The sender's flag.
    pub flag: i32,
    /// System flags, see wire format.
    pub sys_flag: i32,
    /// All properties.
    pub properties: BTreeMap<Text, Text>,
    /// When the sender made it, ms since 1970 by the sender's clock.
    pub born_at_ms: i64,
    /// Where it came from.
    pub born_host: SocketAddr,
    /// When the broker stored it, ms since 1970 by the broker's clock.
    pub stored_at_ms: i64,
    /// The broker that stored it.
    pub store_host: SocketAddr,
    /// How often it was given to the group before.
    pub reconsume_times: i32,
}

impl Received {
    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.property(names::TAGS)
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.property(names::KEYS).unwrap_or_default().split_ascii_whitespace()
    }

    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(|v| &**v)
    }
}
