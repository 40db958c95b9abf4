//! The producer: picks queues, retries elsewhere, and says what became of each message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol::compression::Compression;
use protocol::id::UniqueIds;
use protocol::name;
use protocol::properties::{self, names};
use protocol::record::{MAX_PROPERTIES, sys_flag};
use protocol::{Command, batch, code, rpc, tag};
use runtime::sync::{Mutex, Semaphore};
use runtime::time::{Instant, timeout, timeout_at};
use runtime::{buggify, clock, host, planted, random, sometimes, task};

use crate::instance::{Instance, Requests, header, refused};
use crate::settings::{Settings, common_setters};
use crate::state::choose::{Latency, Turn, choose};
use crate::state::retry::{Attempt, Next, Rules};
use crate::wire::Role;
use crate::{CallError, Fault, Message, MessageQueue, SendError, SendReceipt, SendStatus, StartError, Text};

/// Settings of a producer.
#[derive(Clone, Debug)]
pub struct ProducerBuilder {
    common: Settings,
    send_timeout: Duration,
    attempt_timeout: Option<Duration>,
    retries: u32,
    rules: Rules,
    latency_memory: bool,
    max_body: usize,
    compress_from: usize,
    compression: Compression,
    compression_level: u32,
    new_topic_queues: i32,
}

impl ProducerBuilder {
    fn new(group: Text) -> Self {
        Self {
            common: Settings::new(group),
            send_timeout: Duration::from_secs(3),
            attempt_timeout: None,
            retries: 2,
            rules: Rules::default(),
            latency_memory: false,
            max_body: 4 << 20,
            compress_from: 4096,
            compression: Compression::Zlib,
            compression_level: 5,
            new_topic_queues: 4,
        }
    }

    common_setters!();

    /// Limit of one send with all its attempts; 3 s.
    #[must_use]
    pub fn send_timeout(mut self, limit: Duration) -> Self {
        self.send_timeout = limit;
        self
    }

    /// Limit of one attempt, so that a silent broker leaves time for another; without it an attempt may
    /// take all the time that is left. The last attempt always may.
    #[must_use]
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.attempt_timeout = Some(limit);
        self
    }

    /// Attempts after the first; 2.
    #[must_use]
    pub fn retries(mut self, times: u32) -> Self {
        self.retries = times;
        self
    }

    /// Also tries another broker when a message was stored with less than was promised (not flushed or
    /// replicated in time). Each such try makes another copy. Off.
    #[must_use]
    pub fn retry_another_broker_when_not_ok(mut self, on: bool) -> Self {
        self.rules.when_not_ok = on;
        self
    }

    /// A response code that makes the producer try another broker, besides the usual ones.
    #[must_use]
    pub fn retry_code(mut self, code: i32) -> Self {
        self.rules.codes.insert(code);
        self
    }

    /// Avoids brokers for a while that answered slowly. Off.
    #[must_use]
    pub fn latency_memory(mut self, on: bool) -> Self {
        self.latency_memory = on;
        self
    }

    /// Longest body, also after inflating; 4 MiB, as brokers are set.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Bodies of at least this many bytes are compressed; 4096.
    #[must_use]
    pub fn compress_from(mut self, bytes: usize) -> Self {
        self.compress_from = bytes;
        self
    }

    /// How bodies are compressed; zlib, the only kind that Go and old Java consumers read.
    #[must_use]
    pub fn compression(mut self, kind: Compression) -> Self {
        self.compression = kind;
        self
    }

    /// Queues per broker of a topic that is made by its first message; 4.
    #[must_use]
    pub fn new_topic_queues(mut self, count: u16) -> Self {
        self.new_topic_queues = i32::from(count);
        self
    }

    /// Checks the settings and starts the producer. The cluster may come later: brokers are found when needed.
    pub async fn start(self) -> Result<Producer, StartError> {
        self.start_with().map(|(producer, _)| producer)
    }

    /// Starts it, and tells where requests of brokers come in.
    pub(crate) fn start_with(self) -> Result<(Producer, Arc<Requests>), StartError> {
        let role = Role::Producer { group: self.common.group.clone() };
        if &*self.common.group == "DEFAULT_PRODUCER" {
            return Err(StartError::Invalid(
                "DEFAULT_PRODUCER is reserved: choose a group of your own".into(),
            ));
        }
        let (instance, requests) = Instance::start(&self.common, role)?;
        let mut draws = random::stream("client.producer");
        let (salt, first) = (draws.next_u32(), draws.next_u32() as u16);
        let (salt, first) = if planted!("B103") { (0, 0) } else { (salt, first) };
        let ids = UniqueIds::new(self.common.address(), host::pid(), salt, host::utc_offset_seconds(), first);
        let open = Open {
            turn: Mutex::new(Turn::new(draws.next_u32())),
            latency: Mutex::default(),
            ids: Mutex::new(ids),
            running: Semaphore::new(MOST_SENDS as usize),
            stopped: AtomicBool::new(false),
            settings: self,
            instance,
        };
        Ok((Producer { open: Arc::new(open) }, requests))
    }
}

/// Sends messages. Clones are the same producer; when the last is dropped, it stops without a word to the brokers.
///
/// Sends run as long as their futures are polled: await them one by one, or many at the same time.
///
/// ```no_run
/// # async fn run(producer: client::Producer) -> Result<(), client::SendError> {
/// use client::Message;
/// let sends = (0..100).map(|i| producer.send(Message::new("orders", format!("order {i}"))));
/// for result in futures::future::join_all(sends).await {
///     match result {
///         Ok(receipt) => println!("{} at {}", receipt.queue, receipt.offset),
///         Err(error) if error.may_have_happened() => println!("perhaps stored: {error}"),
///         Err(error) => println!("not stored: {error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Producer {
    open: Arc<Open>,
}

struct Open {
    settings: ProducerBuilder,
    instance: Arc<Instance>,
    turn: Mutex<Turn>,
    latency: Mutex<Latency>,
    ids: Mutex<UniqueIds>,
    /// A permit per send under way.
    running: Semaphore,
    stopped: AtomicBool,
}

impl Producer {
    /// Settings for a producer of `group`.
    pub fn builder(group: impl Into<Text>) -> ProducerBuilder {
        ProducerBuilder::new(group.into())
    }

    /// Sends to a queue of the producer's choice and waits for the broker's answer. Attempts that fail are
    /// repeated on another broker while attempts and time remain; all carry the same unique id.
    pub async fn send(&self, message: Message) -> Result<SendReceipt, SendError> {
        self.send_within(message, self.open.settings.send_timeout).await
    }

    /// As [`Producer::send`], with a time limit of its own.
    pub async fn send_within(&self, message: Message, limit: Duration) -> Result<SendReceipt, SendError> {
        let _running = self.open.begin().await?;
        let parcel = self.open.pack(message).await?;
        self.open.send(&parcel, limit, Target::Any).await
    }

    /// Sends to this queue, one attempt.
    pub async fn send_to(&self, message: Message, queue: &MessageQueue) -> Result<SendReceipt, SendError> {
        let _running = self.open.begin().await?;
        if message.topic != queue.topic {
            return Err(SendError::Invalid(format!("a message of {} cannot go to {queue}", message.topic)));
        }
        let parcel = self.open.pack(message).await?;
        self.open.send(&parcel, self.open.settings.send_timeout, Target::Queue(queue)).await
    }

    /// Sends to the queue whose place in the list `select` names, one attempt.
    pub async fn send_with(
        &self,
        message: Message,
        select: impl FnOnce(&[MessageQueue], &Message) -> Option<usize> + Send,
    ) -> Result<SendReceipt, SendError> {
        let queues = self.open.writable(&message.topic, self.open.settings.send_timeout).await?;
        let chosen = select(&queues, &message).and_then(|at| queues.get(at));
        let Some(queue) = chosen else {
            return Err(SendError::Invalid(format!("the selector chose none of {} queues", queues.len())));
        };
        self.send_to(message, queue).await
    }

    /// Sends to the queue that the Java hash of `key` picks: equal keys go to one queue as long as the
    /// topic's queues stay the same.
    pub async fn send_hashed(&self, message: Message, key: &str) -> Result<SendReceipt, SendError> {
        let hash = i64::from(tag::hash(key));
        self.send_with(message, |queues, _| {
            let count = i64::try_from(queues.len()).ok().filter(|n| *n > 0)?;
            usize::try_from((hash % count).abs()).ok()
        })
        .await
    }

    /// Sends messages of one topic together: all are stored, one behind the other, or none.
    ///
    /// Batches are not compressed; together the messages may be as large as one message.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Result<Vec<SendReceipt>, SendError> {
        let _running = self.open.begin().await?;
        let count = messages.len() as u64;
        let (parcel, ids) = self.open.pack_batch(messages)?;
        let receipt = self.open.send(&parcel, self.open.settings.send_timeout, Target::Any).await?;
        let offset_ids: Vec<Text> = receipt.offset_id.split(',').map(Text::from).collect();
        let each = (0..count).zip(ids).map(|(i, message_id)| SendReceipt {
            offset: receipt.offset + i,
            message_id,
            offset_id: offset_ids.get(i as usize).unwrap_or(&receipt.offset_id).clone(),
            ..receipt.clone()
        });
        Ok(each.collect())
    }

    /// Sends without waiting for an answer: nobody learns whether it is stored.
    pub async fn send_oneway(&self, message: Message) -> Result<(), SendError> {
        let _running = self.open.begin().await?;
        let parcel = self.open.pack(message).await?;
        let queues = self.open.writable(&parcel.topic, self.open.settings.send_timeout).await?;
        let queue = self.open.choose(&queues, None);
        let none =
            || SendError::NoRoute { topic: parcel.topic.clone(), why: "no queue has a master".to_owned() };
        let address = self.open.instance.master(&queue.broker).map_err(|_| none())?;
        let request = self.open.request(&parcel, &queue, &parcel.unique_key);
        let sent = self.open.instance.oneway(&address, &request, parcel.body.clone()).await;
        sent.map_err(|fault| SendError::Refused { topic: parcel.topic.clone(), faults: vec![fault] })
    }

    /// Sends a message that its end makes visible.
    pub(crate) async fn send_half(&self, message: Message) -> Result<SendReceipt, SendError> {
        let _running = self.open.begin().await?;
        let mut parcel = self.open.pack(message).await?;
        parcel.sys_flag |= sys_flag::PREPARED;
        self.open.send(&parcel, self.open.settings.send_timeout, Target::Any).await
    }

    pub(crate) fn instance(&self) -> &Arc<Instance> {
        &self.open.instance
    }

    /// The queues of a topic that can be written to.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, CallError> {
        let queues = self.open.instance.writable(&topic.into(), self.open.settings.new_topic_queues).await?;
        Ok(queues.to_vec())
    }

    /// The client id.
    pub fn client_id(&self) -> &str {
        &self.open.instance.client_id
    }

    /// Refuses further sends, waits for those under way, tells the brokers, and stops.
    pub async fn shutdown(&self) {
        if self.open.stopped.swap(true, Ordering::SeqCst) {
            return;
        }
        if timeout(self.open.settings.send_timeout, self.open.running.acquire_many(MOST_SENDS)).await.is_err()
        {
            tracing::warn!("sends were still under way at shutdown: their outcome is unknown");
        }
        self.open.instance.leave().await;
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("client_id", &self.open.instance.client_id).finish_non_exhaustive()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.instance.stop_loops();
    }
}

/// A message as it goes on the wire, the same for every attempt.
struct Parcel {
    topic: Text,
    body: Bytes,
    flag: i32,
    sys_flag: i32,
    /// All properties but the unique key.
    properties: Vec<u8>,
    unique_key: Text,
    is_batch: bool,
}

enum Target<'a> {
    /// Any queue, another broker after each failure.
    Any,
    /// This one, once.
    Queue(&'a MessageQueue),
}

impl Open {
    async fn begin(&self) -> Result<impl Drop + '_, SendError> {
        if self.stopped.load(Ordering::SeqCst) {
            return Err(SendError::Stopped);
        }
        let permit = self.running.acquire().await.expect("never closed");
        if self.stopped.load(Ordering::SeqCst) { Err(SendError::Stopped) } else { Ok(permit) }
    }

    /// The story of a send: attempts, each on another broker than the one that failed, until one is
    /// stored, or a broker refuses for good, or attempts or time run out.
    async fn send(
        &self,
        parcel: &Parcel,
        limit: Duration,
        target: Target<'_>,
    ) -> Result<SendReceipt, SendError> {
        let deadline = Instant::now() + limit;
        let (queues, attempts) = match target {
            Target::Any => (self.writable(&parcel.topic, limit).await?, 1 + self.settings.retries),
            Target::Queue(queue) => {
                // The route tells where the queue's broker is.
                self.writable(&parcel.topic, limit).await?;
                (Arc::from([queue.clone()]), 1)
            }
        };
        let (mut failed, mut stored, mut faults, mut perhaps) = (None, None, Vec::new(), false);
        for number in 1..=attempts {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                sometimes!("client.send.no_time");
                break;
            }
            let left = match self.settings.attempt_timeout {
                Some(most) if number < attempts => left.min(most),
                _ => left,
            };
            sometimes!("client.send.again", number > 1);
            // Given up while it is stored (ACK-6, ACK-8).
            let left = if buggify!("client.send.impatient") { left.min(IMPATIENT) } else { left };
            let queue = self.choose(&queues, failed.as_ref());
            let (attempt, result) = self.attempt(parcel, &queue, left, number).await;
            perhaps |= attempt.may_be_stored();
            match result {
                Ok(receipt) => {
                    sometimes!("client.send.perhaps_twice", perhaps && number > 1);
                    stored = Some(receipt);
                }
                Err(fault) => {
                    tracing::debug!(topic = %parcel.topic, %queue, number, %fault, "a send failed");
                    faults.push(fault);
                }
            }
            if self.settings.rules.next(attempt) == Next::Return {
                break;
            }
            failed = Some(queue.broker).filter(|_| !planted!("B31"));
        }
        let topic = parcel.topic.clone();
        match stored {
            Some(receipt) => Ok(receipt),
            None if perhaps => {
                sometimes!("client.send.unknown");
                Err(SendError::Unknown { topic, faults })
            }
            None => {
                sometimes!("client.send.refused");
                Err(SendError::Refused { topic, faults })
            }
        }
    }

    async fn attempt(
        &self,
        parcel: &Parcel,
        queue: &MessageQueue,
        limit: Duration,
        number: u32,
    ) -> (Attempt, Result<SendReceipt, Fault>) {
        let Ok(address) = self.instance.master(&queue.broker) else {
            let peer = queue.broker.clone();
            return (Attempt::NoBroker, Err(Fault::NotSent { peer, why: "no address is known".into() }));
        };
        // What is under way on the old connection is answered, or unknown (ACK-4).
        if buggify!("client.send.reconnects") {
            self.instance.close(&address);
        }
        let began = self.instance.now_ms();
        // All attempts carry one id, so that consumers can tell copies from messages.
        let unique_key =
            if number > 1 && planted!("M61") { self.unique_key() } else { parcel.unique_key.clone() };
        let (request, body) = (self.request(parcel, queue, &unique_key), parcel.body.clone());
        let sent = if parcel.is_batch {
            self.instance.call_any(&address, &rpc::SendBatchMessage(request), body, limit).await
        } else {
            self.instance.call_any(&address, &request, body, limit).await
        };
        let (attempt, result) = match sent {
            Ok(answer) => self.read(parcel, queue, &address, &answer, number),
            Err(fault) => (attempt_of(&fault), Err(fault)),
        };
        let took = self.instance.now_ms() - began;
        if self.settings.latency_memory {
            let mut latency = self.latency.lock();
            latency.record(&queue.broker, took, attempt.isolates(), attempt.reachable(), began + took);
        }
        (attempt, result)
    }

    fn read(
        &self,
        parcel: &Parcel,
        queue: &MessageQueue,
        address: &Text,
        answer: &Command,
        attempts: u32,
    ) -> (Attempt, Result<SendReceipt, Fault>) {
        let status = match answer.code {
            code::SUCCESS => SendStatus::Ok,
            code::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
            code::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushSlaveTimeout,
            code::SLAVE_NOT_AVAILABLE => SendStatus::SlaveNotAvailable,
            code => return (Attempt::Refused(code), Err(refused(address, answer))),
        };
        let reply: rpc::SendMessageReply = match header(address, answer) {
            Ok(reply) => reply,
            Err(fault) => return (Attempt::NoAnswer, Err(fault)),
        };
        let Ok(offset) = u64::try_from(reply.queue_offset) else {
            let why = format!("{} is no offset", reply.queue_offset);
            return (Attempt::NoAnswer, Err(Fault::Malformed { peer: address.clone(), why }));
        };
        let receipt = SendReceipt {
            status,
            queue: MessageQueue { id: reply.queue_id, ..queue.clone() },
            offset,
            message_id: parcel.unique_key.clone(),
            offset_id: reply.msg_id.detached(),
            transaction_id: reply.transaction_id.map(|t| t.detached()),
            recall_handle: reply.recall_handle.map(|t| t.detached()),
            attempts,
        };
        (Attempt::Stored(status), Ok(receipt))
    }

    fn request(&self, parcel: &Parcel, queue: &MessageQueue, unique_key: &str) -> rpc::SendMessageV2 {
        let mut text = parcel.properties.clone();
        // Genuine brokers give the properties of a batch to all its messages, where they come last and win over their own.
        if !parcel.is_batch {
            properties::push(&mut text, names::UNIQ_KEY, unique_key);
        }
        rpc::SendMessageV2 {
            producer_group: self.settings.common.group.clone(),
            topic: parcel.topic.clone(),
            default_topic: Text::from_static("TBW102"),
            default_topic_queue_nums: self.settings.new_topic_queues,
            queue_id: queue.id,
            sys_flag: parcel.sys_flag,
            born_timestamp: clock::now_ms(),
            flag: parcel.flag,
            properties: Some(Text::from_utf8_lossy(text.into())),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(parcel.is_batch),
            broker_name: Some(queue.broker.clone()),
        }
    }

    /// The queue for the next attempt, in turn.
    fn choose(&self, queues: &[MessageQueue], failed: Option<&Text>) -> MessageQueue {
        let latency = self.latency.lock();
        let memory = self.settings.latency_memory.then_some(&*latency);
        let now = self.instance.now_ms();
        let found = choose(queues, &mut self.turn.lock(), failed.map(|f| &**f), memory, now);
        found.expect("a topic without queues has no route").clone()
    }

    async fn writable(&self, topic: &Text, limit: Duration) -> Result<Arc<[MessageQueue]>, SendError> {
        check_topic(topic)?;
        let asked = self.instance.writable(topic, self.settings.new_topic_queues);
        match timeout_at(Instant::now() + limit, asked).await {
            Ok(Ok(queues)) => Ok(queues),
            Ok(Err(CallError::NoRoute { topic, why })) => Err(SendError::NoRoute { topic, why }),
            Ok(Err(error)) => Err(SendError::NoRoute { topic: topic.clone(), why: error.to_string() }),
            Err(_) => Err(SendError::NoRoute {
                topic: topic.clone(),
                why: "no name server answered in time".into(),
            }),
        }
    }

    async fn pack(&self, mut message: Message) -> Result<Parcel, SendError> {
        check(&message, self.settings.max_body)?;
        let given = message.properties.remove(names::UNIQ_KEY);
        let (body, sys_flag) = self.compress(message.body).await;
        let parcel = Parcel {
            topic: message.topic,
            body,
            flag: message.flag,
            sys_flag,
            properties: properties_text(message.properties.iter()),
            unique_key: given.unwrap_or_else(|| self.unique_key()),
            is_batch: false,
        };
        check_properties(parcel.properties.len() + parcel.unique_key.len())?;
        Ok(parcel)
    }

    fn pack_batch(&self, messages: Vec<Message>) -> Result<(Parcel, Vec<Text>), SendError> {
        check_batch(&messages)?;
        let mut body = BytesMut::new();
        let mut ids = Vec::with_capacity(messages.len());
        let (topic, wait) = (messages[0].topic.clone(), messages[0].property_of(names::WAIT).map(Text::from));
        for mut message in messages {
            check(&message, self.settings.max_body)?;
            let id =
                message.properties.entry(names::UNIQ_KEY.into()).or_insert_with(|| self.unique_key()).clone();
            let text = properties_text(message.properties.iter());
            check_properties(text.len())?;
            batch::Item { flag: message.flag, body: message.body, properties: text.into() }.encode(&mut body);
            ids.push(id);
        }
        if body.len() > self.settings.max_body {
            return Err(too_large(body.len(), self.settings.max_body));
        }
        let name = Text::from_static(names::WAIT);
        let properties = properties_text(wait.iter().map(|value| (&name, value)));
        let unique_key = self.unique_key();
        let parcel = Parcel {
            topic,
            body: body.freeze(),
            flag: 0,
            sys_flag: 0,
            properties,
            unique_key,
            is_batch: true,
        };
        Ok((parcel, ids))
    }

    /// The body as it is sent, and its system flags. What does not get smaller is sent as it is.
    async fn compress(&self, body: Bytes) -> (Bytes, i32) {
        if body.len() < self.settings.compress_from {
            return (body, 0);
        }
        let (kind, level) = (self.settings.compression, self.settings.compression_level);
        let packed = if body.len() < COMPRESS_AWAY {
            kind.compress(&body, level)
        } else {
            let body = body.clone();
            task::spawn_blocking(move || kind.compress(&body, level)).await
        };
        match packed {
            Ok(packed) => (packed.into(), kind.bits()),
            Err(error) => {
                tracing::warn!(%error, "a body cannot be compressed, it is sent as it is");
                (body, 0)
            }
        }
    }

    fn unique_key(&self) -> Text {
        self.ids.lock().next(clock::now_ms()).into()
    }
}

fn attempt_of(fault: &Fault) -> Attempt {
    match fault {
        Fault::Refused { code, .. } => Attempt::Refused(*code),
        Fault::NotSent { .. } => Attempt::NotSent,
        Fault::NoAnswer { .. } | Fault::Malformed { .. } => Attempt::NoAnswer,
    }
}

fn check_topic(topic: &Text) -> Result<(), SendError> {
    name::check_topic(topic).map_err(|error| SendError::Invalid(error.to_string()))?;
    if name::is_closed_topic(topic) {
        return Err(SendError::Invalid(format!("topic {topic} is the system's own: choose another")));
    }
    Ok(())
}

fn check(message: &Message, max_body: usize) -> Result<(), SendError> {
    check_topic(&message.topic)?;
    if message.body.is_empty() {
        return Err(SendError::Invalid(format!("a message of {} has no body", message.topic)));
    }
    if message.body.len() > max_body {
        return Err(too_large(message.body.len(), max_body));
    }
    let bad = message.properties.iter().find(|(name, value)| {
        name.is_empty() || value.is_empty() || !properties::is_clean(name) || !properties::is_clean(value)
    });
    match bad {
        Some((name, _)) => Err(SendError::Invalid(format!(
            "property {name:?}: neither name nor value may be empty or hold the bytes 0x01 and 0x02"
        ))),
        None => Ok(()),
    }
}

fn check_batch(messages: &[Message]) -> Result<(), SendError> {
    let Some(first) = messages.first() else { return Err(SendError::Invalid("an empty batch".into())) };
    let wait = |m: &Message| m.property_of(names::WAIT).is_none_or(|w| w == "true");
    let problem = if messages.iter().any(|m| m.topic != first.topic) {
        "its messages have different topics"
    } else if messages.iter().any(|m| wait(m) != wait(first)) {
        "some of its messages wait for the store and others do not"
    } else if messages.iter().any(|m| DELAYS.iter().any(|d| m.property_of(d).is_some())) {
        "a batch cannot be delayed"
    } else if first.topic.starts_with(name::RETRY_PREFIX) {
        "a batch cannot go to a retry topic"
    } else {
        return Ok(());
    };
    Err(SendError::Invalid(format!("the batch to {} is refused: {problem}", first.topic)))
}

fn check_properties(bytes: usize) -> Result<(), SendError> {
    // Brokers add some of their own.
    if bytes + PROPERTIES_RESERVE <= MAX_PROPERTIES {
        return Ok(());
    }
    let most = MAX_PROPERTIES - PROPERTIES_RESERVE;
    Err(SendError::Invalid(format!("the properties have {bytes} bytes, more than {most}")))
}

fn too_large(bytes: usize, most: usize) -> SendError {
    SendError::Invalid(format!(
        "the body has {bytes} bytes, more than {most}: raise max_body here and at the brokers"
    ))
}

fn properties_text<'a>(map: impl Iterator<Item = (&'a Text, &'a Text)>) -> Vec<u8> {
    properties::from_map(map.map(|(name, value)| (&**name, &**value)))
}

const DELAYS: [&str; 4] = [names::DELAY, "TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS"];
/// Less than a broker and its disk may need.
const IMPATIENT: Duration = Duration::from_millis(5);
/// Sends at the same time; further ones wait.
const MOST_SENDS: u32 = 65_535;
/// Bodies from this size on are compressed away from the threads that run tasks.
const COMPRESS_AWAY: usize = 64 << 10;
const PROPERTIES_RESERVE: usize = 256;
