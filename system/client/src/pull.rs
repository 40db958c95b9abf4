//! The pull consumer: queues and offsets are the caller's business.

use std::sync::Arc;
use std::time::Duration;

use protocol::tag::Filter;
use runtime::clock;

use crate::calls::Pull;
use crate::instance::Instance;
use crate::settings::{Settings, common_setters};
use crate::state::route::MASTER;
use crate::wire::{self, Role};
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
    pub messages: Vec<Arc<Received>>,
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
    common: Settings,
    hold: Duration,
    joins: bool,
}

impl PullConsumerBuilder {
    common_setters!();

    /// How long a broker holds a waiting pull; 20 s.
    #[must_use]
    pub fn hold(mut self, limit: Duration) -> Self {
        self.hold = limit;
        self
    }

    /// Reads without being a member of the group: for tools and audits. A member that pulls counts when the
    /// members of the group share queues.
    #[must_use]
    pub fn without_joining(mut self) -> Self {
        self.joins = false;
        self
    }

    /// Checks the settings and starts the consumer. The cluster may come later.
    pub async fn start(self) -> Result<PullConsumer, StartError> {
        let role = if self.joins { Role::pull(self.common.group.clone()) } else { Role::Visitor };
        let (instance, _) = Instance::start(&self.common, role)?;
        let group = self.common.group;
        Ok(PullConsumer { handle: Arc::new(Handle { instance, group, hold: self.hold }) })
    }
}

/// Reads queues at offsets of the caller's choice. Clones are the same consumer.
///
/// ```no_run
/// # async fn run(consumer: client::PullConsumer) -> Result<(), client::CallError> {
/// for queue in consumer.queues("orders").await? {
///     let mut offset = consumer.committed(&queue).await?.unwrap_or(0);
///     loop {
///         let pulled = consumer.pull(&queue, "*", offset, 32).await?;
///         if pulled.messages.is_empty() && pulled.next == offset {
///             break;
///         }
///         offset = pulled.next;
///     }
///     consumer.commit(&queue, offset).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PullConsumer {
    handle: Arc<Handle>,
}

struct Handle {
    instance: Arc<Instance>,
    group: Text,
    hold: Duration,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.instance.stop_loops();
    }
}

impl PullConsumer {
    /// Settings for a consumer of `group`.
    pub fn builder(group: impl Into<Text>) -> PullConsumerBuilder {
        PullConsumerBuilder {
            common: Settings::new(group.into()),
            hold: Duration::from_secs(20),
            joins: true,
        }
    }

    /// The client id.
    pub fn client_id(&self) -> &str {
        &self.handle.instance.client_id
    }

    /// The queues of a topic that can be read.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, CallError> {
        Ok(self.handle.instance.readable(&topic.into()).await?.to_vec())
    }

    /// Asks the name servers again for a topic's route, which otherwise happens every 30 s.
    pub async fn refresh(&self, topic: &str) -> Result<(), CallError> {
        self.handle.instance.refresh(&topic.into()).await.map(drop)
    }

    /// Up to `most` messages from `offset`; answers at once. `expression` is `*` or tags separated by `||`.
    pub async fn pull(
        &self,
        queue: &MessageQueue,
        expression: &str,
        offset: u64,
        most: u32,
    ) -> Result<Pulled, CallError> {
        self.pull_held(queue, expression, offset, most, None).await
    }

    /// As [`PullConsumer::pull`], but at the end of the queue the broker waits for a message.
    pub async fn pull_wait(
        &self,
        queue: &MessageQueue,
        expression: &str,
        offset: u64,
        most: u32,
    ) -> Result<Pulled, CallError> {
        self.pull_held(queue, expression, offset, most, Some(self.handle.hold)).await
    }

    async fn pull_held(
        &self,
        queue: &MessageQueue,
        expression: &str,
        offset: u64,
        most: u32,
        hold: Option<Duration>,
    ) -> Result<Pulled, CallError> {
        let filter = Filter::parse(expression).map_err(|e| CallError::Invalid(e.to_string()))?;
        if most == 0 {
            return Err(CallError::Invalid("a pull of at most 0 messages".to_owned()));
        }
        let handle = &self.handle;
        handle.instance.readable(&queue.topic).await?;
        let topic = queue.topic.clone();
        handle.instance.role.lock().subscribe(wire::subscription(
            topic,
            "*",
            &Filter::all(),
            clock::now_ms(),
        ));
        let mut answer = handle
            .instance
            .pull(Pull {
                group: &handle.group,
                queue,
                offset,
                most,
                commit: None,
                hold,
                expression: Some(expression),
                version: 0,
                replica: MASTER,
            })
            .await?;
        answer.messages.retain(|m| filter.accepts_tag(m.tag()));
        let status = match answer.status {
            PullStatus::Found if answer.messages.is_empty() => PullStatus::NoneMatched,
            status => status,
        };
        Ok(Pulled { status, messages: answer.messages, next: answer.next, min: answer.min, max: answer.max })
    }

    /// The offset the group committed, if any.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<u64>, CallError> {
        self.handle.instance.readable(&queue.topic).await?;
        self.handle.instance.committed(&self.handle.group, queue, false).await
    }

    /// Commits the offset of the next message to read, and waits for the broker's word. From a member of the
    /// group, brokers ignore an offset that is lower than the one before.
    pub async fn commit(&self, queue: &MessageQueue, offset: u64) -> Result<(), CallError> {
        self.handle.instance.readable(&queue.topic).await?;
        self.handle.instance.commit_sure(&self.handle.group, queue, offset).await
    }

    /// The smallest offset.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<u64, CallError> {
        self.handle.instance.readable(&queue.topic).await?;
        self.handle.instance.min_offset(queue).await
    }

    /// One more than the largest offset.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<u64, CallError> {
        self.handle.instance.readable(&queue.topic).await?;
        self.handle.instance.max_offset(queue).await
    }

    /// The offset of the first message stored at or after a time, ms since 1970.
    pub async fn offset_at(&self, queue: &MessageQueue, time_ms: i64) -> Result<u64, CallError> {
        self.handle.instance.readable(&queue.topic).await?;
        self.handle.instance.offset_at(queue, time_ms).await
    }

    pub(crate) fn instance(&self) -> &Instance {
        &self.handle.instance
    }

    /// Tells the brokers and stops.
    pub async fn shutdown(&self) {
        self.handle.instance.leave().await;
    }
}

impl std::fmt::Debug for PullConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullConsumer").field("client_id", &self.client_id()).finish_non_exhaustive()
    }
}
