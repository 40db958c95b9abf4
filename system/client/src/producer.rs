//! The producer: picks queues, retries elsewhere, and says what became of each message.

use std::time::Duration;

use protocol::compression::Compression;

use crate::{CallError, Message, MessageQueue, SendError, SendReceipt, StartError, Text};

/// Settings of a producer.
#[derive(Clone, Debug)]
pub struct ProducerBuilder {
    _group: Text,
}

impl ProducerBuilder {
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

    /// Limit of one send with all its attempts; 3 s.
    #[must_use]
    pub fn send_timeout(self, _limit: Duration) -> Self {
        unimplemented!()
    }

    /// Attempts after the first; 2.
    #[must_use]
    pub fn retries(self, _times: u32) -> Self {
        unimplemented!()
    }

    /// Bodies of at least this many bytes are compressed; 4096.
    #[must_use]
    pub fn compress_from(self, _bytes: usize) -> Self {
        unimplemented!()
    }

    /// How bodies are compressed; zlib.
    #[must_use]
    pub fn compression(self, _kind: Compression) -> Self {
        unimplemented!()
    }

    /// Checks the settings and starts the producer.
    pub async fn start(self) -> Result<Producer, StartError> {
        unimplemented!()
    }
}

/// Sends messages; clones share one connection to each broker.
#[derive(Clone, Debug)]
pub struct Producer {}

impl Producer {
    /// Settings for a producer of `group`.
    pub fn builder(group: impl Into<Text>) -> ProducerBuilder {
        ProducerBuilder { _group: group.into() }
    }

    /// Sends to a queue of the producer's choice and waits for the broker's answer.
    pub async fn send(&self, _message: Message) -> Result<SendReceipt, SendError> {
        unimplemented!()
    }

    /// Sends to this queue, one attempt.
    pub async fn send_to(&self, _message: Message, _queue: &MessageQueue) -> Result<SendReceipt, SendError> {
        unimplemented!()
    }

    /// Sends to the queue that `select` picks, one attempt.
    pub async fn send_with(
        &self,
        _message: Message,
        _select: impl FnOnce(&[MessageQueue], &Message) -> Option<usize> + Send,
    ) -> Result<SendReceipt, SendError> {
        unimplemented!()
    }

    /// Sends to the queue that the Java hash of `key` picks: equal keys, equal queue while the queues stay.
    pub async fn send_hashed(&self, _message: Message, _key: &str) -> Result<SendReceipt, SendError> {
        unimplemented!()
    }

    /// Sends messages of one topic together; all are stored or none.
    pub async fn send_batch(&self, _messages: Vec<Message>) -> Result<Vec<SendReceipt>, SendError> {
        unimplemented!()
    }

    /// Sends without waiting for an answer.
    pub async fn send_oneway(&self, _message: Message) -> Result<(), SendError> {
        unimplemented!()
    }

    /// The queues of a topic that can be written to.
    pub async fn queues(&self, _topic: &str) -> Result<Vec<MessageQueue>, CallError> {
        unimplemented!()
    }

    /// The client id.
    pub fn client_id(&self) -> &str {
        unimplemented!()
    }

    /// Tells the brokers, waits for the sends that are on their way, and stops.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}
