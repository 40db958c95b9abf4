//! The push consumer: one member of a group, which shares the queues and feeds a listener.

use std::time::Duration;

use crate::{Allocation, MessageQueue, Received, StartError, StartFrom, Text};

/// Messages of one queue for one call of the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The queue they were read from.
    pub queue: MessageQueue,
    /// The messages, in the order of their offsets; at least one.
    pub messages: Vec<Received>,
}

impl<'a> IntoIterator for &'a Batch {
    type Item = &'a Received;
    type IntoIter = std::slice::Iter<'a, Received>;
    fn into_iter(self) -> Self::IntoIter {
        self.messages.iter()
    }
}

/// What a listener says about its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumed {
    /// All done.
    Ok,
    /// None of it: give it to the group again, later.
    Later,
    /// The first so many are done, the rest later.
    First(usize),
}

/// Settings of a push consumer.
pub struct PushConsumerBuilder {
    _group: Text,
}

impl PushConsumerBuilder {
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

    /// Subscribes to a topic: `*`, or tags separated by `||`.
    #[must_use]
    pub fn subscribe(self, _topic: impl Into<Text>, _expression: &str) -> Self {
        unimplemented!()
    }

    /// Where a group without committed offset begins; at the end of queues.
    #[must_use]
    pub fn start_from(self, _from: StartFrom) -> Self {
        unimplemented!()
    }

    /// How the members share the queues; by averages.
    #[must_use]
    pub fn allocation(self, _by: Allocation) -> Self {
        unimplemented!()
    }

    /// Calls of the listener at the same time; 20.
    #[must_use]
    pub fn concurrency(self, _calls: usize) -> Self {
        unimplemented!()
    }

    /// Most messages of one call of the listener; 1.
    #[must_use]
    pub fn batch_size(self, _most: usize) -> Self {
        unimplemented!()
    }

    /// How long shutdown waits for running calls of the listener; 5 s.
    #[must_use]
    pub fn shutdown_wait(self, _limit: Duration) -> Self {
        unimplemented!()
    }

    /// The function that gets the messages. Several calls run at the same time, also for one queue.
    #[must_use]
    pub fn listen<F, R>(self, _listener: F) -> Self
    where
        F: Fn(Batch) -> R + Send + Sync + 'static,
        R: Future<Output = Consumed> + Send + 'static,
    {
        unimplemented!()
    }

    /// Checks the settings and joins the group.
    pub async fn start(self) -> Result<PushConsumer, StartError> {
        unimplemented!()
    }
}

/// One member of a consumer group.
#[derive(Clone, Debug)]
pub struct PushConsumer {}

impl PushConsumer {
    /// Settings for a member of `group`.
    pub fn builder(group: impl Into<Text>) -> PushConsumerBuilder {
        PushConsumerBuilder { _group: group.into() }
    }

    /// The client id by which the members know each other.
    pub fn client_id(&self) -> &str {
        unimplemented!()
    }

    /// The queues this member owns now.
    pub fn queues(&self) -> Vec<MessageQueue> {
        unimplemented!()
    }

    /// The offset up to which everything of a queue is done, while this member owns it.
    pub fn done_up_to(&self, _queue: &MessageQueue) -> Option<u64> {
        unimplemented!()
    }

    /// Stops pulling, waits for running calls of the listener, commits, and leaves the group.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}
