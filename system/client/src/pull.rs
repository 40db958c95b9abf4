//! The pull consumer: queues and offsets are the caller's business.

use std::time::Duration;

use crate::{CallError, MessageQueue, Received, StartError, Text};

/// What a pull found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    /// Messages.
    Found,
    /// Nothing new at this offset.
    NothingNew,
    /// Only messages the expression does not select.
    NoneMatched,
    /// The offset is outside the queue; go on at `next`.
    OffsetMoved,
}

/// The answer to a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// What was found.
    pub status: PullStatus,
    /// The messages, in the order of their offsets.
    pub messages: Vec<Received>,
    /// Where to go on.
    pub next: u64,
    /// Smallest offset of the queue.
    pub min: u64,
    /// One more than the largest offset of the queue.
    pub max: u64,
}

/// Settings of a pull consumer.
#[derive(Clone, Debug)]
pub struct PullConsumerBuilder {
    _group: Text,
}

impl PullConsumerBuilder {
    /// Addresses of the name servers, separated by `;`.
    #[must_use]
    pub fn name_servers(self, _addresses: &str) -> Self {
        unimplemented!()
    }

    /// Part of the client id; without it a unique one is made.
    #[must_use]
    pub fn instance_name(self, _name: &str) -> Self {
        unimplemented!()
    }

    /// How long a broker holds a waiting pull; 20 s.
    #[must_use]
    pub fn hold(self, _limit: Duration) -> Self {
        unimplemented!()
    }

    /// Checks the settings and starts the consumer.
    pub async fn start(self) -> Result<PullConsumer, StartError> {
        unimplemented!()
    }
}

/// Reads queues at offsets of the caller's choice.
#[derive(Clone, Debug)]
pub struct PullConsumer {}

impl PullConsumer {
    /// Settings for a consumer of `group`.
    pub fn builder(group: impl Into<Text>) -> PullConsumerBuilder {
        PullConsumerBuilder { _group: group.into() }
    }

    /// The queues of a topic that can be read.
    pub async fn queues(&self, _topic: &str) -> Result<Vec<MessageQueue>, CallError> {
        unimplemented!()
    }

    /// Up to `most` messages from `offset`; answers at once.
    pub async fn pull(
        &self,
        _queue: &MessageQueue,
        _expression: &str,
        _offset: u64,
        _most: u32,
    ) -> Result<Pulled, CallError> {
        unimplemented!()
    }

    /// As [`PullConsumer::pull`], but at the end of the queue the broker waits for a message.
    pub async fn pull_wait(
        &self,
        _queue: &MessageQueue,
        _expression: &str,
        _offset: u64,
        _most: u32,
    ) -> Result<Pulled, CallError> {
        unimplemented!()
    }

    /// The offset the group committed, if any.
    pub async fn committed(&self, _queue: &MessageQueue) -> Result<Option<u64>, CallError> {
        unimplemented!()
    }

    /// Commits the offset of the next message to read.
    pub async fn commit(&self, _queue: &MessageQueue, _offset: u64) -> Result<(), CallError> {
        unimplemented!()
    }

    /// The smallest offset.
    pub async fn min_offset(&self, _queue: &MessageQueue) -> Result<u64, CallError> {
        unimplemented!()
    }

    /// One more than the largest offset.
    pub async fn max_offset(&self, _queue: &MessageQueue) -> Result<u64, CallError> {
        unimplemented!()
    }

    /// The offset of the first message stored at or after a time, ms since 1970.
    pub async fn offset_at(&self, _queue: &MessageQueue, _time_ms: i64) -> Result<u64, CallError> {
        unimplemented!()
    }

    /// Tells the brokers and stops.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}
