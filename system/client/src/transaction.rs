//! Transactions: a message that is delivered when, and only when, something local was done.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use net::Peer;
use protocol::id::OffsetId;
use protocol::properties::names;
use protocol::record::sys_flag;
use protocol::{Command, rpc};
use runtime::sync::Semaphore;
use runtime::{planted, tap, time};

use crate::instance::Instance;
use crate::{
    CallError, Message, Producer, ProducerBuilder, Received, SendError, SendReceipt, SendStatus, StartError,
    Text, decode,
};

/// What became of the local part of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done: the message is delivered.
    Commit,
    /// It was not done and will not be: the message is dropped.
    Rollback,
    /// Not known now: the broker asks again.
    Unknown,
}

impl Outcome {
    fn flag(self) -> i32 {
        match self {
            Self::Commit => sys_flag::COMMIT,
            Self::Rollback => sys_flag::ROLLBACK,
            Self::Unknown => 0,
        }
    }
}

type Checker = Box<dyn Fn(Arc<Received>) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// Settings of a transaction producer.
pub struct TransactionProducerBuilder {
    producer: ProducerBuilder,
    group: Text,
    topics: Vec<Text>,
    check: Option<Checker>,
    check_concurrency: u32,
}

impl TransactionProducerBuilder {
    /// Addresses of the name servers, separated by `;`.
    #[must_use]
    pub fn name_servers(self, addresses: &str) -> Self {
        self.producer(|producer| producer.name_servers(addresses))
    }

    /// Changes any other setting of the producer.
    #[must_use]
    pub fn producer(mut self, change: impl FnOnce(ProducerBuilder) -> ProducerBuilder) -> Self {
        self.producer = change(self.producer);
        self
    }

    /// A topic whose brokers hear of this producer from the start. A producer that was restarted is asked about
    /// what it left open as soon as brokers know it, without it only after its first message.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<Text>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// How many checks run at the same time; 1.
    #[must_use]
    pub fn check_concurrency(mut self, calls: u32) -> Self {
        self.check_concurrency = calls.max(1);
        self
    }

    /// The function that brokers ask for the outcome of a transaction whose end they did not hear. They ask any
    /// producer of the group, so it must look where all of them can: at the state the local part left.
    #[must_use]
    pub fn check<F, R>(mut self, check: F) -> Self
    where
        F: Fn(Arc<Received>) -> R + Send + Sync + 'static,
        R: Future<Output = Outcome> + Send + 'static,
    {
        self.check = Some(Box::new(move |message| Box::pin(check(message))));
        self
    }

    /// Checks the settings and starts the producer. The cluster may come later: brokers are found when needed.
    pub async fn start(self) -> Result<TransactionProducer, StartError> {
        let Some(check) = self.check else {
            return Err(StartError::Invalid("no check: call check(|message| async { .. })".to_owned()));
        };
        let (producer, requests) = self.producer.start_with()?;
        let checks = Arc::new(Checks {
            group: self.group.clone(),
            check,
            running: Semaphore::new(self.check_concurrency as usize),
            waiting: Semaphore::new(MOST_CHECKS),
        });
        requests.checks.set(Arc::downgrade(&checks)).expect("set once");
        for topic in self.topics {
            let instance = Arc::downgrade(producer.instance());
            producer.instance().spawn("find_brokers", find_brokers(instance, topic));
        }
        Ok(TransactionProducer { producer, group: self.group, _checks: checks })
    }
}

/// Sends messages that belong to a local transaction. Clones are the same producer.
///
/// The message is stored first where no consumer sees it. Then the local part runs. Its outcome goes to the broker,
/// which delivers or drops the message; if that word is lost, or the producer dies, the broker asks any producer of
/// the group.
///
/// ```no_run
/// # async fn reserve(_: &str) -> bool { true }
/// # async fn is_reserved(_: &str) -> Option<bool> { None }
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use client::{Message, Outcome, TransactionProducer};
///
/// let producer = TransactionProducer::builder("order-service")
///     .name_servers("127.0.0.1:9876")
///     .topic("orders")
///     .check(|message| async move {
///         let order = message.keys().next().unwrap_or_default().to_owned();
///         match is_reserved(&order).await {
///             Some(true) => Outcome::Commit,
///             Some(false) => Outcome::Rollback,
///             None => Outcome::Unknown,
///         }
///     })
///     .start()
///     .await?;
/// let message = Message::new("orders", "one coffee").key("order-1");
/// let sent = producer
///     .send_in_transaction(message, |_receipt| async {
///         if reserve("order-1").await { Outcome::Commit } else { Outcome::Rollback }
///     })
///     .await?;
/// assert_eq!(sent.outcome, Outcome::Commit);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TransactionProducer {
    producer: Producer,
    group: Text,
    _checks: Arc<Checks>,
}

/// How a message and its local transaction went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionReceipt {
    /// Where the half message was stored; its offset is not that of the delivered message.
    pub half: SendReceipt,
    /// What the broker was told.
    pub outcome: Outcome,
}

impl TransactionProducer {
    /// Settings for a producer of `group`.
    pub fn builder(group: impl Into<Text>) -> TransactionProducerBuilder {
        let group = group.into();
        TransactionProducerBuilder {
            producer: Producer::builder(group.clone()),
            group,
            topics: Vec::new(),
            check: None,
            check_concurrency: 1,
        }
    }

    /// Stores the message out of sight, runs `local`, and tells the broker its outcome.
    ///
    /// `local` does not run when the half message is not stored as promised; the broker then drops it. When this
    /// future is dropped while `local` runs, the broker asks later.
    ///
    /// # Errors
    /// `local` did not run, and the message is not delivered unless a check says so.
    pub async fn send_in_transaction<F, R>(
        &self,
        mut message: Message,
        local: F,
    ) -> Result<TransactionReceipt, SendError>
    where
        F: FnOnce(SendReceipt) -> R + Send,
        R: Future<Output = Outcome> + Send,
    {
        let delays = [names::DELAY, "TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS"];
        if delays.iter().any(|name| message.properties.contains_key(*name)) {
            return Err(SendError::Invalid("a message of a transaction cannot be delayed".into()));
        }
        let topic = message.topic.clone();
        message = message.property(names::TRANSACTION_PREPARED, "true");
        message = message.property(names::PRODUCER_GROUP, self.group.clone());
        let half = self.producer.send_half(message).await?;
        tap!("client.half", key = &*half.message_id, offset = half.offset);
        let outcome = match half.status {
            SendStatus::Ok => local(half.clone()).await,
            _ => Outcome::Rollback,
        };
        tap!("client.outcome", key = &*half.message_id, outcome = outcome.flag());
        if let Err(error) = self.end(&topic, &half, outcome).await {
            tracing::debug!(key = %half.message_id, %error, "the end of a transaction was not sent: the broker will ask");
        }
        Ok(TransactionReceipt { half, outcome })
    }

    /// One way: an end that is lost is asked for.
    async fn end(&self, topic: &Text, half: &SendReceipt, outcome: Outcome) -> Result<(), CallError> {
        let id: OffsetId = half.offset_id.parse().map_err(|error| CallError::Invalid(format!("{error}")))?;
        let request = rpc::EndTransaction {
            producer_group: self.group.clone(),
            tran_state_table_offset: signed(half.offset),
            commit_log_offset: signed(id.position),
            commit_or_rollback: outcome.flag(),
            from_transaction_check: false,
            msg_id: half.message_id.clone(),
            transaction_id: half.transaction_id.clone(),
            topic: Some(topic.clone()),
        };
        let instance = self.producer.instance();
        let address = instance.master(&half.queue.broker)?;
        Ok(instance.oneway(&address, &request, Bytes::new()).await?)
    }

    /// The client id.
    pub fn client_id(&self) -> &str {
        self.producer.client_id()
    }

    /// Refuses further sends, waits for those under way, tells the brokers, and stops. What is undecided then is
    /// asked of the other producers of the group.
    pub async fn shutdown(&self) {
        self.producer.shutdown().await;
    }
}

impl std::fmt::Debug for TransactionProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionProducer").field("client_id", &self.client_id()).finish_non_exhaustive()
    }
}

/// Answers checks.
pub(crate) struct Checks {
    group: Text,
    check: Checker,
    /// A permit per call of the listener.
    running: Semaphore,
    /// A permit per check that waits or runs: too many are dropped, the broker asks again.
    waiting: Semaphore,
}

impl Checks {
    /// Runs the listener and tells its verdict on the connection that asked.
    pub(crate) async fn answer(&self, peer: &Arc<Peer>, command: Command) {
        let Ok(asked) = command.header::<rpc::CheckTransactionState>() else { return };
        let broker = asked.broker_name.clone().unwrap_or_default();
        let found = decode::messages(command.body, &broker);
        let Some(message) = found.into_iter().next() else { return };
        let ours = message.property(names::PRODUCER_GROUP) == Some(&*self.group);
        let Some(_waiting) = self.waiting.try_acquire().ok().filter(|_| ours) else {
            tracing::warn!(key = %message.message_id, "a check of a transaction is not for this group, or one too many");
            return;
        };
        let key = message.message_id.clone();
        tap!("client.check_came", key = &*key, broker = &*broker);
        let outcome = {
            let _turn = self.running.acquire().await.expect("never closed");
            (self.check)(message).await
        };
        tap!("client.check", key = &*key, outcome = outcome.flag());
        let verdict = rpc::EndTransaction {
            producer_group: self.group.clone(),
            tran_state_table_offset: asked.tran_state_table_offset,
            commit_log_offset: asked.commit_log_offset,
            commit_or_rollback: outcome.flag(),
            from_transaction_check: true,
            msg_id: key.clone(),
            transaction_id: asked.transaction_id,
            topic: asked.topic,
        };
        if !peer.oneway(&verdict, Bytes::new()) {
            tracing::debug!(%key, "the answer to a check was not sent: the broker asks again");
            if planted!("B61") {
                self.running.acquire().await.expect("never closed").forget();
            }
        }
    }
}

/// Asks for the route of a topic until there is one; its brokers then get heartbeats.
async fn find_brokers(instance: Weak<Instance>, topic: Text) {
    loop {
        let Some(instance) = instance.upgrade() else { return };
        match instance.refresh(&topic).await {
            Ok(_) => return,
            Err(error) => tracing::debug!(%topic, %error, "no route yet"),
        }
        drop(instance);
        time::sleep(FIND_PERIOD).await;
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("offsets and positions come from signed numbers")
}

const MOST_CHECKS: usize = 2000;
const FIND_PERIOD: Duration = Duration::from_secs(1);
