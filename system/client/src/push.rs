//! The push consumer: one member of a group, which shares the queues and feeds a listener.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::name;
use protocol::tag::Filter;
use runtime::clock;

use crate::instance::Instance;
use crate::member::{Listener, Manners, Member};
use crate::settings::{Settings, common_setters};
use crate::state::process_queue::Limits;
use crate::wire::{self, Role};
use crate::{Allocation, MessageQueue, Received, StartError, StartFrom, Text};

/// Messages of one queue for one call of the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The queue they were read from.
    pub queue: MessageQueue,
    /// The messages, in the order of their offsets; at least one.
    pub messages: Vec<Arc<Received>>,
}

impl Batch {
    /// The messages, in the order of their offsets.
    pub fn iter(&self) -> impl Iterator<Item = &Received> {
        self.messages.iter().map(|m| &**m)
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = &'a Arc<Received>;
    type IntoIter = std::slice::Iter<'a, Arc<Received>>;
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
    common: Settings,
    subscriptions: BTreeMap<Text, String>,
    manners: Manners,
    listener: Option<Listener>,
}

impl PushConsumerBuilder {
    common_setters!();

    /// Subscribes to a topic: `*`, or tags separated by `||`. All members of a group must subscribe alike.
    #[must_use]
    pub fn subscribe(mut self, topic: impl Into<Text>, expression: &str) -> Self {
        self.subscriptions.insert(topic.into(), expression.to_owned());
        self
    }

    /// Where a group without committed offset begins; at the end of queues.
    #[must_use]
    pub fn start_from(mut self, from: StartFrom) -> Self {
        self.manners.start_from = from;
        self
    }

    /// How the members share the queues; by averages.
    #[must_use]
    pub fn allocation(mut self, by: Allocation) -> Self {
        self.manners.allocation = by;
        self
    }

    /// Calls of the listener at the same time, 1 to 1000; 20.
    #[must_use]
    pub fn concurrency(mut self, calls: u32) -> Self {
        self.manners.concurrency = calls;
        self
    }

    /// Most messages of one call of the listener, 1 to 1024; 1.
    #[must_use]
    pub fn batch_size(mut self, most: usize) -> Self {
        self.manners.batch_size = most;
        self
    }

    /// Most messages of one pull, 1 to 1024; 32.
    #[must_use]
    pub fn pull_batch(mut self, most: u32) -> Self {
        self.manners.pull_batch = most;
        self
    }

    /// Messages of one queue that may wait for the listener; 1000.
    #[must_use]
    pub fn queue_limit(mut self, most: usize) -> Self {
        self.manners.limits.count = most;
        self
    }

    /// Bytes of one queue that may wait for the listener; 100 MiB.
    #[must_use]
    pub fn queue_limit_bytes(mut self, most: usize) -> Self {
        self.manners.limits.bytes = most;
        self
    }

    /// How far one unfinished message may hold the others of its queue back, in offsets; 2000.
    #[must_use]
    pub fn span_limit(mut self, most: u64) -> Self {
        self.manners.limits.span = most;
        self
    }

    /// A call of the listener that takes longer is given up and its message delivered again; 15 minutes.
    #[must_use]
    pub fn consume_timeout(mut self, limit: Duration) -> Self {
        self.manners.consume_timeout = limit;
        self
    }

    /// How often a message is delivered again before it becomes a dead letter; 16.
    #[must_use]
    pub fn max_reconsume_times(mut self, times: u16) -> Self {
        self.manners.most_times = i32::from(times);
        self
    }

    /// How long shutdown waits for running calls of the listener; 5 s.
    #[must_use]
    pub fn shutdown_wait(mut self, limit: Duration) -> Self {
        self.manners.shutdown_wait = limit;
        self
    }

    /// The function that gets the messages. Several calls run at the same time, also for one queue.
    #[must_use]
    pub fn listen<F, R>(mut self, listener: F) -> Self
    where
        F: Fn(Batch) -> R + Send + Sync + 'static,
        R: Future<Output = Consumed> + Send + 'static,
    {
        self.listener = Some(Box::new(move |batch| Box::pin(listener(batch))));
        self
    }

    /// Checks the settings and joins the group. The cluster may come later: the member goes on asking.
    pub async fn start(self) -> Result<PushConsumer, StartError> {
        self.manners.check()?;
        let invalid = |message: String| StartError::Invalid(message);
        let Some(listener) = self.listener else {
            return Err(invalid("no listener: call listen(..)".to_owned()));
        };
        let group = self.common.group.clone();
        if &*group == "DEFAULT_CONSUMER" {
            return Err(invalid("DEFAULT_CONSUMER is reserved: choose a group of your own".to_owned()));
        }
        let retry_topic = name::retry_topic(&group);
        let mut expressions = self.subscriptions;
        if expressions.is_empty() {
            return Err(invalid("no subscription: call subscribe(topic, \"*\")".to_owned()));
        }
        expressions.insert(retry_topic.clone(), "*".to_owned());
        let (mut filters, mut told) = (BTreeMap::new(), Vec::new());
        for (topic, expression) in expressions {
            name::check_topic(&topic).map_err(|e| invalid(e.to_string()))?;
            let filter = Filter::parse(&expression).map_err(|e| invalid(e.to_string()))?;
            told.push(wire::subscription(topic.clone(), &expression, &filter, clock::now_ms()));
            filters.insert(topic, filter);
        }
        let role = Role::push(group.clone(), self.manners.start_from, told);
        let (instance, requests) = Instance::start(&self.common, role)?;
        let member = Arc::new(Member::new(instance, group, filters, retry_topic, self.manners, listener));
        requests.member.set(Arc::downgrade(&member)).expect("set once");
        member.join().await;
        Ok(PushConsumer { handle: Arc::new(Handle(member)) })
    }
}

impl Manners {
    fn check(&self) -> Result<(), StartError> {
        let within = |what: &str, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                return Ok(());
            }
            Err(StartError::Invalid(format!("{what} is {value}: it must be 1 to {most}")))
        };
        within("concurrency", self.concurrency as usize, 1000)?;
        within("batch_size", self.batch_size, 1024)?;
        within("pull_batch", self.pull_batch as usize, 1024)?;
        within("queue_limit", self.limits.count, 65_535)?;
        within("queue_limit_bytes", self.limits.bytes, 1 << 30)?;
        within("span_limit", usize::try_from(self.limits.span).unwrap_or(usize::MAX), 65_535)
    }
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            start_from: StartFrom::Last,
            allocation: Allocation::Average,
            concurrency: 20,
            batch_size: 1,
            pull_batch: 32,
            limits: Limits { count: 1000, bytes: 100 << 20, span: 2000 },
            consume_timeout: Duration::from_secs(15 * 60),
            most_times: 16,
            shutdown_wait: Duration::from_secs(5),
        }
    }
}

/// One member of a consumer group. Clones are the same member; when the last is dropped, it stops without
/// committing: call [`PushConsumer::shutdown`].
///
/// Delivery is at least once: a message is given to the group again when its member dies or loses the queue
/// before it is committed, which happens every 5 s, when a queue changes hands, and at shutdown.
#[derive(Clone)]
pub struct PushConsumer {
    handle: Arc<Handle>,
}

struct Handle(Arc<Member>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.instance.stop_loops();
    }
}

impl PushConsumer {
    /// Settings for a member of `group`.
    pub fn builder(group: impl Into<Text>) -> PushConsumerBuilder {
        PushConsumerBuilder {
            common: Settings::new(group.into()),
            subscriptions: BTreeMap::new(),
            manners: Manners::default(),
            listener: None,
        }
    }

    /// The client id by which the members know each other.
    pub fn client_id(&self) -> &str {
        &self.handle.0.instance.client_id
    }

    /// The queues this member owns now.
    pub fn queues(&self) -> Vec<MessageQueue> {
        self.handle.0.queues()
    }

    /// The offset up to which everything of a queue is done, while this member owns it.
    pub fn done_up_to(&self, queue: &MessageQueue) -> Option<u64> {
        self.handle.0.session(queue)?.commit_point()
    }

    /// Stops pulling, waits for running calls of the listener, commits, and leaves the group.
    pub async fn shutdown(&self) {
        self.handle.0.shutdown().await;
    }
}

impl std::fmt::Debug for PushConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushConsumer").field("client_id", &self.client_id()).finish_non_exhaustive()
    }
}
