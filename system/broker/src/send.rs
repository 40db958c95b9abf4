//! Sends: a message, or a batch of them, becomes records of one queue.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicI32, Ordering},
};

use bytes::Bytes;
use net::{Peer, Reply};
use protocol::{
    batch,
    body::{TopicFilterType, perm},
    code,
    id::OffsetId,
    name,
    properties::{self, names},
    record::{NewRecord, sys_flag},
    rpc::{SendView, Sent},
    version,
};
use runtime::{buggify, clock, crash_point, planted, sometimes, tap};
use store::{AppendError, Appended, Undurable};

use crate::{
    Broker, Config,
    refusal::{Answer, Refusal},
    send_back::{DEAD_SENT, dead_letter},
    state::{
        delay,
        topics::{NoTemplate, Topic},
    },
};

impl Broker {
    /// Stores one message and answers when it is as safe as configured.
    pub(crate) async fn send(
        &self,
        peer: &Peer,
        client_version: i32,
        h: &SendView<'_>,
        body: &Bytes,
    ) -> Answer {
        if h.batch == Some(true) {
            return Box::pin(self.send_batch(peer, client_version, h, body)).await;
        }
        let settings = self.send_settings.get();
        let (topic, queue_id) = self.target(settings, h, client_version)?;
        let given = h.properties;
        let seen = Seen::of(given);
        if seen.prepared && !is_retried(h) {
            return Box::pin(self.send_half(peer, h, body, &topic, queue_id, seen.is_delayed())).await;
        }
        self.refuse_unfinished(h, &seen)?;
        let mut extended = Vec::new();
        let mut made_key = None;
        let dead = is_dead(h, &topic);
        // A dead letter does not wait.
        let at_once = dead && !planted!("M42");
        let mut text: &[u8] = if seen.needs_nothing() && !at_once {
            given
        } else {
            extended =
                if seen.pop_receipt { properties::without(given, names::POP_CK) } else { given.to_vec() };
            if at_once {
                extended = delay::with(&extended, &[DEAD_SENT]);
            }
            if seen.unique_key.is_none() {
                let key = self.unique_ids.lock().next(clock::now_ms());
                properties::push(&mut extended, names::UNIQ_KEY, &key);
                made_key = Some(key);
            }
            &extended
        };
        let mut level = 0;
        if let Some(value) = seen.delay.filter(|_| !at_once)
            && let Some(waits) = self.schedule(value, &topic.config.topic_name, queue_id, text)?
        {
            level = waits.level;
            extended = waits.properties;
            text = &extended;
        }
        // A delayed message waits in the queue of its level first.
        let stored_topic = if level > 0 { name::SCHEDULE_TOPIC } else { topic.config.topic_name.as_str() };
        let stored_queue = if level > 0 { level - 1 } else { queue_id };
        if !planted!("B37") {
            self.topics_saved.reach(topic.change).await?;
        }
        let record = NewRecord {
            topic: stored_topic,
            queue_id: stored_queue,
            flag: h.flag,
            sys_flag: message_flags(&topic, h.sys_flag),
            born_timestamp: h.born_timestamp,
            born_host: plain(peer.remote),
            store_host: self.store_host,
            reconsume_times: h.reconsume_times.unwrap_or(0),
            prepared_offset: 0,
            body,
            properties: text,
            added: self.marks.text(settings.trace_on),
        };
        check_body(body)?;
        let appended = self.store.append(&record).await?;
        drop(extended);
        self.counters.stored(1, body.len());
        if level > 0 {
            self.delay_begins(stored_queue, &appended);
        }
        crash_point!("broker.send.appended").await;
        // Whoever publishes a retry lets go of the message then, and what was given back before says not to wait.
        let code = self.settle(&appended, seen.waits || is_retried(h)).await;
        tap!(
            "acked",
            topic = if level > 0 { name::SCHEDULE_TOPIC } else { topic.config.topic_name.as_str() },
            queue = stored_queue,
            offset = appended.queue_offset,
            end = appended.end,
            code = code.0
        );
        if level > 0 {
            tap!(
                "delay_stored",
                level = level,
                offset = appended.queue_offset,
                topic = topic.config.topic_name.as_str(),
                queue = queue_id,
                stored = appended.store_timestamp,
                end = appended.end,
                code = code.0
            );
        }
        if dead {
            dead_letter(&topic, h.reconsume_times.unwrap_or(0), &appended, code.0);
        }
        let id = OffsetId { host: self.store_host, position: appended.position };
        let mut digits = [0; 56];
        let sent = Sent {
            msg_id: id.digits(&mut digits),
            queue_id,
            queue_offset: wire(appended.queue_offset),
            transaction_id: made_key.as_deref().map(str::as_bytes).or(seen.unique_key),
            msg_region: &self.region,
            trace_on: settings.trace_on,
        };
        Ok(answer(&sent, code))
    }

    /// Stores the messages of a batch at consecutive offsets, all or none.
    pub(crate) async fn send_batch(
        &self,
        peer: &Peer,
        client_version: i32,
        h: &SendView<'_>,
        body: &Bytes,
    ) -> Answer {
        let items = batch::decode(body.clone()).map_err(|error| Refusal::Message(error.to_string()))?;
        if retry_group(h.topic).is_some() {
            return Err(Refusal::Message("a batch cannot go to a retry topic".into()));
        }
        let settings = self.send_settings.get();
        let (topic, queue_id) = self.target(settings, h, client_version)?;
        for item in &items {
            check_body(&item.body)?;
            let seen = Seen::of(&item.properties);
            if seen.prepared {
                return Err(Refusal::Message("a half message cannot be part of a batch".into()));
            }
            self.refuse_unfinished(h, &seen)?;
            if seen.is_delayed() {
                return Err(Refusal::Message("a message of a batch cannot be delayed".into()));
            }
        }
        if !planted!("B83") {
            self.topics_saved.reach(topic.change).await?;
        }
        let records: Vec<_> = items
            .iter()
            .map(|item| NewRecord {
                topic: &topic.config.topic_name,
                queue_id,
                flag: item.flag,
                sys_flag: message_flags(&topic, h.sys_flag),
                born_timestamp: h.born_timestamp,
                born_host: plain(peer.remote),
                store_host: self.store_host,
                reconsume_times: 0,
                prepared_offset: 0,
                body: &item.body,
                properties: &item.properties,
                added: self.marks.text(settings.trace_on),
            })
            .collect();
        let appended = self.store.append_batch(&records).await?;
        drop(records);
        let bytes = items.iter().map(|item| item.body.len()).sum();
        self.counters.stored(items.len(), bytes);
        crash_point!("broker.send.appended").await;
        // One message that waits makes the batch wait.
        let waits = items.iter().any(|item| Seen::of(&item.properties).waits);
        let code = self.settle(&appended.first, waits).await;
        let mut ids = String::with_capacity(33 * appended.positions.len());
        for (at, position) in appended.positions.iter().enumerate() {
            tap!(
                "acked",
                topic = topic.config.topic_name.as_str(),
                queue = queue_id,
                offset = appended.first.queue_offset + at as u64,
                end = appended.first.end,
                code = code.0
            );
            if at > 0 {
                ids.push(',');
            }
            ids.push_str(OffsetId { host: self.store_host, position: *position }.write(&mut [0; 56]));
        }
        let sent = Sent {
            msg_id: ids.as_bytes(),
            queue_id,
            queue_offset: wire(appended.first.queue_offset),
            transaction_id: Seen::of(h.properties).unique_key,
            msg_region: &self.region,
            trace_on: settings.trace_on,
        };
        Ok(answer(&sent, code))
    }

    /// Waits until the record is as safe as configured: code 0, or 10 when that is not known in time.
    pub(crate) async fn settle(&self, appended: &Appended, waits: bool) -> (i32, Option<Undurable>) {
        if !waits {
            return (code::SUCCESS, None);
        }
        // Less than is true: whoever asked must not take it for lost (ACK-6, RTY-2).
        if buggify!("broker.send.unsure") {
            return (code::FLUSH_DISK_TIMEOUT, Some(Undurable::Timeout(0)));
        }
        match self.store.durable(appended.end).await {
            Ok(()) => (code::SUCCESS, None),
            Err(why) => {
                sometimes!("broker.send.degraded");
                (code::FLUSH_DISK_TIMEOUT, Some(why))
            }
        }
    }

    /// The topic and queue a send goes to; makes the topic if that is allowed.
    fn target(
        &self,
        settings: Settings,
        h: &SendView<'_>,
        client_version: i32,
    ) -> Result<(Topic, i32), Refusal> {
        if settings.permission & perm::WRITE == 0 {
            return Err(Refusal::Forbidden(format!(
                "the broker[{}] sending message is forbidden: its permission is {}",
                self.address, settings.permission
            )));
        }
        // Refused before anything was done: it must not be read, and another try must do (ACK-4, L-2).
        if buggify!("broker.send.busy") {
            return Err(Refusal::Busy("the broker is busy".into()));
        }
        if let Some(dead) = self.exhausted(h, client_version)? {
            return Ok((dead, 0));
        }
        let known = self.topics.lock().get(h.topic).cloned();
        let topic = match known {
            Some(topic) => topic,
            None => self.create_on_send(h)?,
        };
        if name::is_closed_topic(h.topic) {
            return Err(Refusal::Forbidden(format!("Sending message to topic[{}] is forbidden.", h.topic)));
        }
        if topic.config.perm & perm::WRITE == 0 {
            return Err(Refusal::Forbidden(format!(
                "sending to topic[{}] is forbidden: its permission is {}",
                h.topic, topic.config.perm
            )));
        }
        // A queue that was taken away from writers is still served while readers drain it: sends on their way to it
        // must not fail.
        let count = topic.config.write_queue_nums.max(topic.config.read_queue_nums);
        sometimes!("broker.send.to_drained_queue", h.queue_id >= topic.config.write_queue_nums);
        if h.queue_id >= count {
            sometimes!("broker.send.queue_gone");
            return Err(Refusal::NoQueue { topic: h.topic.to_string(), queue: h.queue_id, count });
        }
        let queue_id =
            if h.queue_id >= 0 { h.queue_id } else { self.any_queue(topic.config.write_queue_nums) };
        Ok((topic, queue_id))
    }

    /// Any of the first `count` queues.
    pub(crate) fn any_queue(&self, count: i32) -> i32 {
        let count = u64::try_from(count).unwrap_or(0).max(1);
        i32::try_from(self.random.lock().below(count)).expect("a queue number is below a 32-bit count")
    }

    fn create_on_send(&self, h: &SendView<'_>) -> Result<Topic, Refusal> {
        name::check_topic(h.topic).map_err(|error| Refusal::Name(error.to_string()))?;
        let now = clock::now_ms();
        let mut topics = self.topics.lock();
        let made = if retry_group(h.topic).is_some() {
            Ok(topics.ensure(h.topic, 1, false, now))
        } else {
            let automatic = self.config().auto_create_topic_enable;
            topics.create_from(h.topic, h.default_topic(), h.default_topic_queue_nums, automatic, now)
        };
        drop(topics);
        match made {
            Ok(topic) => {
                tracing::info!(topic = %h.topic, queues = topic.config.write_queue_nums, "topic created by a send");
                self.topic_set(&topic);
                Ok(topic)
            }
            Err(why) => Err(Refusal::NoTopic {
                topic: h.topic.to_string(),
                why: match why {
                    NoTemplate::Off => "autoCreateTopicEnable is false",
                    NoTemplate::Missing => "the default topic of the request does not exist",
                    NoTemplate::NotInherited => "the default topic of the request is no template",
                },
            }),
        }
    }

    /// A client publishes a retry itself when its send-back failed. One that used up its retries goes to the dead
    /// letter topic.
    fn exhausted(&self, h: &SendView<'_>, client_version: i32) -> Result<Option<Topic>, Refusal> {
        let Some(group) = retry_group(h.topic) else { return Ok(None) };
        sometimes!("broker.send.retry_published");
        let config = self.group(group)?;
        let max = match h.max_reconsume_times {
            Some(max) if client_version >= version::MAX_RECONSUME_TIMES => max,
            _ => config.retry_max_times,
        };
        let times = h.reconsume_times.unwrap_or(0);
        // An orderly consumer gives up when the count has reached the limit, others one later.
        let orderly = || self.locks.lock().any_live(group, self.uptime_ms());
        if times > max || (times == max && orderly()) {
            sometimes!("broker.send.dead");
            return Ok(Some(self.ensure_topic(&name::dlq_topic(group), 1, false)));
        }
        Ok(None)
    }

    /// Arbitrary delays come with a later version: storing such a message as a plain one would deliver it at the
    /// wrong time.
    fn refuse_unfinished(&self, h: &SendView<'_>, seen: &Seen<'_>) -> Result<(), Refusal> {
        if seen.timer {
            return Err(Refusal::Message(
                "a time of delivery (TIMER_DELAY_SEC and the like) is not supported by this broker yet: use a delay level"
                    .into(),
            ));
        }
        if h.sys_flag & sys_flag::TRANSACTION_MASK == sys_flag::PREPARED && !is_retried(h) {
            // As a plain message it would be delivered uncommitted.
            let why = "a half message must have the property TRAN_MSG with the value true";
            return Err(Refusal::Message(why.into()));
        }
        Ok(())
    }
}

/// A consumer's message for another try keeps the marks of its transaction, which is over.
fn is_retried(h: &SendView<'_>) -> bool {
    h.reconsume_times.unwrap_or(0) > 0 || retry_group(h.topic).is_some()
}

/// What a send needs of the configuration.
#[derive(Clone, Copy, Debug)]
struct Settings {
    permission: i32,
    trace_on: bool,
}

/// The same where a send reads it without a lock.
#[derive(Debug, Default)]
pub(crate) struct SendSettings {
    permission: AtomicI32,
    trace_on: AtomicBool,
}

impl SendSettings {
    pub(crate) fn of(config: &Config) -> Self {
        let settings = Self::default();
        settings.set(config);
        settings
    }

    /// Takes over a changed configuration.
    pub(crate) fn set(&self, config: &Config) {
        self.permission.store(config.broker_permission, Ordering::Relaxed);
        self.trace_on.store(config.trace_on, Ordering::Relaxed);
    }

    fn get(&self) -> Settings {
        Settings {
            permission: self.permission.load(Ordering::Relaxed),
            trace_on: self.trace_on.load(Ordering::Relaxed),
        }
    }
}

/// What the broker must know of a properties text, found in one pass.
#[derive(Debug)]
struct Seen<'a> {
    unique_key: Option<&'a [u8]>,
    waits: bool,
    /// The property DELAY.
    delay: Option<&'a [u8]>,
    timer: bool,
    prepared: bool,
    pop_receipt: bool,
}

impl<'a> Seen<'a> {
    fn of(text: &'a [u8]) -> Self {
        let mut seen = Self {
            unique_key: None,
            waits: true,
            delay: None,
            timer: false,
            prepared: false,
            pop_receipt: false,
        };
        for piece in properties::pieces(text) {
            let value = |name| properties::value_of(piece, name);
            if let Some(key) = value(names::UNIQ_KEY) {
                seen.unique_key = Some(key);
            } else if let Some(value) = value(names::WAIT) {
                seen.waits = !value.eq_ignore_ascii_case(b"false");
            } else if let Some(value) = value(names::DELAY) {
                seen.delay = Some(value);
            } else if let Some(value) = value(names::TRANSACTION_PREPARED) {
                seen.prepared = value.eq_ignore_ascii_case(b"true");
            } else if value(names::POP_CK).is_some() {
                seen.pop_receipt = true;
            } else if piece.starts_with(TIMER_PREFIX) {
                seen.timer |= properties::pairs(piece).any(|(name, _)| name.starts_with(TIMER_PREFIX));
            }
        }
        seen
    }

    /// It asks for a delay, or for something that is none.
    fn is_delayed(&self) -> bool {
        self.timer || self.delay.is_some_and(|value| !matches!(delay::level(value), Ok(None)))
    }

    /// The text can be stored as it came.
    fn needs_nothing(&self) -> bool {
        self.unique_key.is_some() && !self.pop_receipt
    }
}

/// All names of arbitrary delays begin so: TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS.
const TIMER_PREFIX: &[u8] = b"TIMER_DEL";

pub(crate) fn answer(sent: &Sent<'_>, (code, why): (i32, Option<Undurable>)) -> Reply {
    let reply = Reply::with_fields(sent.fields());
    match why {
        Some(why) => reply.code(code, why.to_string()),
        None => reply,
    }
}

/// A retry that a client sent itself goes to the dead letters when it had its tries.
fn is_dead(h: &SendView<'_>, topic: &Topic) -> bool {
    topic.config.topic_name.as_str() != h.topic
}

pub(crate) fn message_flags(topic: &Topic, flags: i32) -> i32 {
    const MULTI_TAGS: i32 = 0x2;
    // What a transaction has come to only the broker says: a record with such marks might never be delivered.
    let own = flags & !sys_flag::BROKER_OWNED & !sys_flag::TRANSACTION_MASK;
    if topic.config.topic_filter_type == TopicFilterType::MultiTag { own | MULTI_TAGS } else { own }
}

pub(crate) fn check_body(body: &[u8]) -> Result<(), Refusal> {
    if body.is_empty() {
        return Err(Refusal::Message("the message has no body".into()));
    }
    Ok(())
}

/// An IPv4 address that came through an IPv6 socket is stored as IPv4.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The group whose retry topic this is.
pub(crate) fn retry_group(topic: &str) -> Option<&str> {
    topic.strip_prefix(name::RETRY_PREFIX)
}

/// Offsets travel as signed numbers.
pub(crate) fn wire(number: u64) -> i64 {
    i64::try_from(number).expect("offsets and positions stay below 2^63")
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::BodyTooLong { .. }
            | AppendError::PropertiesTooLong { .. }
            | AppendError::PropertiesHoldZero
            | AppendError::TopicLength { .. }
            | AppendError::BadBatch => Self::Message(error.to_string()),
            AppendError::TopicDeleted(topic) => Self::NoTopic { topic, why: "It is being deleted." },
            AppendError::DiskFull(_) | AppendError::Poisoned(_) | AppendError::Closed => {
                Self::Unavailable(error.to_string())
            }
            AppendError::NoSegment(_) => Self::Failed(error.to_string()),
        }
    }
}
