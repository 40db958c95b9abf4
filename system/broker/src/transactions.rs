//! Transactions: half messages are stored aside and become messages when their producer commits them.
//!
//! A half message stands in the half queue under its own record, with the topic it is meant for as a property. Its
//! end, commit or rollback, is a record in the queue of ends that names its offset; a commit stores the real message
//! and that record as one append, so that no crash parts them (but for the last two records of the log, which the
//! start mends). `state/transactions.rs` knows which are undecided; `check` asks their producers; `load` brings the
//! table back at start.

use bytes::Bytes;
use net::{Peer, Reply};
use protocol::{
    Command, code,
    id::OffsetId,
    name,
    record::{NewRecord, RecordRef, Scan, scan, sys_flag},
    rpc::{EndTransaction, ResumeCheckHalfMessage, SendView, Sent},
};
use runtime::{
    buggify, clock, crash_point, planted, sometimes,
    sync::{Mutex, Semaphore},
    tap,
    time::{Duration, sleep},
};
use store::AppendError;

use crate::{
    Broker,
    refusal::{Answer, Refusal},
    send::{answer, check_body, message_flags, plain, wire},
    state::{
        topics::Topic,
        transactions::{Copy, Ends, Halves},
    },
};

mod check;
mod half;
mod load;

use half::HalfRef;

/// What the broker knows of transactions.
#[derive(Debug)]
pub(crate) struct Transactions {
    pub(crate) halves: Mutex<Halves>,
    ends: Mutex<Ends>,
    /// Whoever ends a half message or puts it back holds one of these, chosen by its root, until the table knows.
    turns: Vec<Semaphore>,
}

impl Transactions {
    pub(crate) fn new() -> Self {
        Self {
            halves: Mutex::new(Halves::new(0)),
            ends: Mutex::new(Ends::new(0)),
            turns: (0..TURNS).map(|_| Semaphore::new(1)).collect(),
        }
    }

    async fn turn(&self, root: u64) -> impl Drop + '_ {
        let turn = &self.turns[usize::try_from(root % TURNS).expect("a small number")];
        sometimes!("broker.transaction.met_another", turn.available_permits() == 0);
        turn.acquire().await.expect("the semaphore is never closed")
    }
}

/// Whether the offsets of a group are the broker's own: they say up to where transactions are done with, and a start
/// would forget those that were not.
pub(crate) fn owns(group: &str) -> bool {
    group == check::GROUP
}

/// What becomes of a half message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Commit,
    Rollback,
}

impl Broker {
    /// Stores a half message where no consumer looks.
    pub(crate) async fn send_half(
        &self,
        peer: &Peer,
        h: &SendView<'_>,
        body: &Bytes,
        topic: &Topic,
        queue_id: i32,
        delayed: bool,
    ) -> Answer {
        let config = self.config();
        if config.reject_transaction_message {
            return Err(Refusal::Forbidden(format!(
                "the broker[{}] sending transaction message is forbidden",
                self.address
            )));
        }
        if delayed {
            // Java's broker delays the half message, and drops it when its time has come.
            return Err(Refusal::Message("a half message cannot be delayed".into()));
        }
        check_body(body)?;
        let undecided = self.transactions.halves.lock().len();
        if undecided >= MOST_HALVES {
            return Err(Refusal::Busy(format!(
                "{undecided} half messages are undecided: their producers must end them first"
            )));
        }
        let real = (&*topic.config.topic_name, queue_id);
        let make_key = || self.unique_ids.lock().next(clock::now_ms());
        let (text, key) = half::text(h.properties, h.producer_group(), real, make_key);
        let record = NewRecord {
            topic: name::HALF_TOPIC,
            queue_id: 0,
            flag: h.flag,
            sys_flag: message_flags(topic, h.sys_flag),
            born_timestamp: h.born_timestamp,
            born_host: plain(peer.remote),
            store_host: self.store_host,
            reconsume_times: h.reconsume_times.unwrap_or(0),
            prepared_offset: 0,
            body,
            properties: &text,
            added: self.marks.text(config.trace_on),
        };
        self.check_room(&record)?;
        self.topics_saved.reach(topic.change).await?;
        if planted!("M31") {
            let (topic, queue_id) = real;
            self.store.append(&NewRecord { topic, queue_id, ..record }).await?;
        }
        crash_point!("broker.transaction.half").await;
        let appended = self.store.append(&record).await?;
        let view = HalfRef::of_text(&text, appended.queue_offset);
        let immunity = view.immunity_ms.unwrap_or(config.transaction_time_out);
        let wait = if planted!("M35") { 0 } else { immunity };
        let now = self.uptime_ms();
        {
            let copy = Copy { offset: appended.queue_offset, position: appended.position, end: appended.end };
            let mut halves = self.transactions.halves.lock();
            let kept_until = now + self.kept_for(0);
            halves.add(copy.offset, copy, view.group, 0, now.saturating_add(wait), kept_until);
        }
        tap!(
            "half_stored",
            key = key.as_ref(),
            topic = real.0,
            queue = real.1,
            group = view.group,
            offset = appended.queue_offset,
            position = appended.position,
            end = appended.end,
            immunity_ms = immunity
        );
        self.counters.stored(1, body.len());
        crash_point!("broker.transaction.half_stored").await;
        let code = self.settle(&appended, !half::waits_not(&text)).await;
        let id = OffsetId { host: self.store_host, position: appended.position };
        let mut digits = [0; 56];
        let sent = Sent {
            msg_id: id.digits(&mut digits),
            queue_id,
            queue_offset: wire(appended.queue_offset),
            transaction_id: Some(key.as_bytes()),
            msg_region: &self.region,
            trace_on: config.trace_on,
        };
        Ok(answer(&sent, code))
    }

    /// A half message must still fit when its checks are counted in it, and together with the record of its end.
    fn check_room(&self, record: &NewRecord<'_>) -> Result<(), Refusal> {
        let most = protocol::record::MAX_PROPERTIES - half::COPY_ADDS;
        let size = record.properties_size();
        if size > most {
            let error = AppendError::PropertiesTooLong { size, max: most };
            return Err(Refusal::Message(format!("{error} in a half message")));
        }
        let (size, most) = (record.size() + END_ROOM, self.store.largest_append());
        if size > most {
            return Err(Refusal::Message(format!(
                "the half message and its end take {size} bytes, at most {most} are possible"
            )));
        }
        Ok(())
    }

    /// Milliseconds until retention takes a record of this age.
    fn kept_for(&self, age_ms: u64) -> u64 {
        let hours = self.config().file_reserved_time;
        match hours.saturating_mul(3_600_000).saturating_sub(RETENTION_MARGIN_MS) {
            0 => NEVER,
            whole => whole.saturating_sub(age_ms),
        }
    }

    /// A producer says what became of its transaction: commit, rollback, or that it does not know. The first
    /// decision counts; whatever comes later changes nothing.
    pub(crate) async fn end_transaction(&self, command: &Command, h: EndTransaction) -> Answer {
        let decision = match h.commit_or_rollback {
            sys_flag::COMMIT => Decision::Commit,
            sys_flag::ROLLBACK => Decision::Rollback,
            0 => {
                let remark = command.remark.as_deref().unwrap_or_default();
                tracing::debug!(group = %h.producer_group, key = %h.msg_id, checked = h.from_transaction_check, remark,
                    "the producer does not know the outcome of its transaction yet");
                return Ok(Reply::ok());
            }
            other => {
                return Err(Refusal::Parameter(format!(
                    "commitOrRollback is {other}: 8 commits, 12 rolls back, 0 leaves open"
                )));
            }
        };
        let bytes = self.half_at(h.commit_log_offset).await?;
        let found = view(&bytes)?;
        found.check(&h).map_err(Refusal::Failed)?;
        let turn = self.transactions.turn(found.root).await;
        // A check or a second end meets this one (TXN-2, TXN-3).
        if buggify!("broker.transaction.end_slow") {
            sleep(Duration::from_millis(20)).await;
        }
        let newest = self.transactions.halves.lock().find(found.root).map(|half| half.offset);
        sometimes!("broker.transaction.older_copy", newest.is_some_and(|newest| newest != found.offset));
        let undecided = newest.is_some();
        if !undecided && !planted!("M33") {
            sometimes!("broker.transaction.ended_before");
            return Err(Refusal::Failed(format!(
                "the transaction of half message {} was ended before: nothing changes",
                found.key
            )));
        }
        sometimes!("broker.transaction.checked_ended", found.checks > 0);
        let end = match decision {
            Decision::Commit => self.commit_half(&found).await,
            Decision::Rollback => self.store_end(&found).await,
        };
        if end.is_err() && planted!("B85") {
            self.transactions.halves.lock().ended(found.root, self.store.max_position());
        }
        let end = end?;
        self.note_end(&found, end, decision);
        drop(turn);
        crash_point!("broker.transaction.ended").await;
        match self.store.durable(end).await {
            Ok(()) => Ok(Reply::ok()),
            Err(why) => Ok(Reply::ok().code(code::FLUSH_DISK_TIMEOUT, why.to_string())),
        }
    }

    /// The half message at a position that a producer gave.
    async fn half_at(&self, position: i64) -> Result<Bytes, Refusal> {
        let missing = || Refusal::Failed("Find prepared transaction message failed".into());
        let at = u64::try_from(position).map_err(|_| missing())?;
        if at < self.store.written().get() {
            sometimes!("broker.transaction.before_flush", at >= self.store.flushed().get());
            // A producer that did not wait for the disk may be quicker than it; records before the flush are not read.
            let _ = self.store.durable(at + 1).await;
        }
        let bytes = self.record_at(position).await?;
        sometimes!("broker.transaction.half_missing", bytes.is_none());
        let bytes = bytes.ok_or_else(missing)?;
        view(&bytes)?;
        Ok(bytes)
    }

    /// Stores the message and its end; returns the position behind both.
    async fn commit_half(&self, found: &HalfRef<'_>) -> Result<u64, Refusal> {
        let topic = self.topics.lock().get(found.topic).cloned();
        let gone = "It was deleted after the half message was sent, which stays undecided.";
        let topic =
            topic.ok_or_else(|| Refusal::NoTopic { topic: found.topic.to_owned(), why: gone })?.config;
        let queues = topic.read_queue_nums.max(topic.write_queue_nums).max(1);
        sometimes!("broker.transaction.queue_gone", found.queue_id >= queues);
        let record = found.record.expect("a half message that was read");
        let real = NewRecord {
            topic: found.topic,
            // Queues were taken away since it was sent: it must come where consumers look.
            queue_id: found.queue_id % queues,
            flag: record.flag,
            sys_flag: (record.sys_flag & !sys_flag::TRANSACTION_MASK) | sys_flag::COMMIT,
            born_timestamp: record.born_timestamp,
            born_host: if planted!("B64") { self.store_host } else { record.born_host },
            store_host: self.store_host,
            reconsume_times: record.reconsume_times,
            prepared_offset: wire(record.place.position),
            body: record.body,
            properties: record.properties,
            added: b"",
        };
        crash_point!("broker.transaction.commit").await;
        let end = if planted!("M32") {
            self.store.append(&real).await?.end
        } else {
            let body = settled(found);
            self.store.append_pair(&[real, self.end_record(&body)]).await?[1].end
        };
        self.counters.stored(1, real.body.len());
        Ok(end)
    }

    /// Stores the record that settles a half message; returns the position behind it.
    async fn store_end(&self, found: &HalfRef<'_>) -> Result<u64, Refusal> {
        crash_point!("broker.transaction.end").await;
        let body = settled(found);
        Ok(self.store.append(&self.end_record(&body)).await?.end)
    }

    fn end_record<'a>(&self, body: &'a str) -> NewRecord<'a> {
        NewRecord {
            topic: name::OP_HALF_TOPIC,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: clock::now_ms(),
            born_host: self.store_host,
            store_host: self.store_host,
            reconsume_times: 0,
            prepared_offset: 0,
            body: body.as_bytes(),
            properties: END_PROPERTIES,
            added: b"",
        }
    }

    fn note_end(&self, found: &HalfRef<'_>, end: u64, decision: Decision) {
        if decision == Decision::Commit || !planted!("B18") {
            self.transactions.halves.lock().ended(found.root, end);
        }
        tap!(
            "half_ended",
            key = found.key,
            root = found.root,
            topic = found.topic,
            group = found.group,
            end = end,
            decision = if decision == Decision::Commit { "commit" } else { "rollback" },
            mended = false
        );
        tracing::debug!(
            key = found.key,
            topic = found.topic,
            root = found.root,
            ?decision,
            "transaction ended"
        );
    }

    /// An operator puts a given-up message back among the half messages, with all its checks before it.
    pub(crate) async fn resume_checks(&self, h: ResumeCheckHalfMessage) -> Answer {
        let id: OffsetId = h
            .msg_id
            .as_deref()
            .unwrap_or_default()
            .parse()
            .map_err(|error: protocol::id::BadId| Refusal::Parameter(error.to_string()))?;
        let bytes = self.record_at(wire(id.position)).await?;
        let bytes =
            bytes.ok_or_else(|| Refusal::Failed(format!("there is no message at {}", id.position)))?;
        let record = match scan(&bytes, true) {
            Scan::Record(record) if record.topic == name::TRANS_CHECK_MAX_TIME_TOPIC => record,
            _ => return Err(Refusal::Failed("only messages that were given up are put back".into())),
        };
        let text = half::fresh(record.properties);
        let again =
            NewRecord { topic: name::HALF_TOPIC, queue_id: 0, properties: &text, ..self.again(&record) };
        let appended = self.store.append(&again).await?;
        let view = HalfRef::of_text(&text, appended.queue_offset);
        let now = self.uptime_ms();
        {
            let copy = Copy { offset: appended.queue_offset, position: appended.position, end: appended.end };
            let mut halves = self.transactions.halves.lock();
            halves.add(copy.offset, copy, view.group, 0, now, now + self.kept_for(0));
        }
        tracing::info!(key = view.key, topic = view.topic, "a given-up half message is checked again");
        let (code, why) = self.settle(&appended, true).await;
        Ok(Reply::ok().code(code, why.map(|why| why.to_string()).unwrap_or_default()))
    }

    /// A record to be stored again under another place.
    fn again<'a>(&self, record: &RecordRef<'a>) -> NewRecord<'a> {
        NewRecord {
            topic: record.topic,
            queue_id: record.queue_id,
            flag: record.flag,
            sys_flag: record.sys_flag,
            born_timestamp: record.born_timestamp,
            born_host: record.born_host,
            store_host: self.store_host,
            reconsume_times: record.reconsume_times,
            prepared_offset: record.prepared_offset,
            body: record.body,
            properties: record.properties,
            added: b"",
        }
    }
}

/// Reads a half message.
fn view(bytes: &[u8]) -> Result<HalfRef<'_>, Refusal> {
    match scan(bytes, true) {
        Scan::Record(record) if record.topic == name::HALF_TOPIC => Ok(HalfRef::of(record)),
        _ => Err(Refusal::Failed("Find prepared transaction message failed".into())),
    }
}

/// What the record of an end says.
fn settled(found: &HalfRef<'_>) -> String {
    if planted!("B33") { found.offset.to_string() } else { found.end_body() }
}

/// Tag of the records in the queue of ends: the half message is to be removed.
const END_PROPERTIES: &[u8] = b"TAGS\x01d\x02";

/// Room that the record of an end takes at most: its fixed part, topic, properties, and two offsets.
const END_ROOM: usize = 256;

/// Half messages that may be undecided: each takes some 200 bytes of memory.
const MOST_HALVES: usize = 1_000_000;

const TURNS: u64 = 64;

/// Half messages that nobody ends are given up a little before their records go with the files.
const RETENTION_MARGIN_MS: u64 = 60_000;
/// Centuries.
const NEVER: u64 = 1 << 50;
