//! The loop that asks producers about half messages they did not end, gives up those that nobody ends, and notes how
//! far the queues are done with.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use protocol::{
    Text,
    id::OffsetId,
    name,
    record::{NewRecord, Place, place},
    rpc::CheckTransactionState,
};
use runtime::{buggify, crash_point, planted, sometimes, tap, time::sleep};

use super::{HalfRef, half, view};
use crate::{
    Broker,
    refusal::Refusal,
    send::wire,
    state::{
        offsets::{Bounds, Committer},
        transactions::{Copy, Half},
    },
};

/// A check that is counted and now to be sent.
struct Check {
    root: u64,
    copy: Copy,
    store_timestamp: i64,
    checks: u32,
    /// The half message as an older copy has it.
    bytes: Bytes,
}

/// What came of a look at half messages that were due.
#[derive(Default)]
struct Looked {
    checks: Vec<Check>,
    count: usize,
    bytes: usize,
    failed: usize,
    first_failure: Option<Refusal>,
    /// Only with a planted bug.
    stuck: bool,
}

impl Broker {
    /// Looks every second for half messages that are due.
    pub(crate) async fn check_transactions(self: Arc<Self>) {
        while self.pause(TICK).await {
            // A round that comes late must not count two checks for one (TXN-5).
            if buggify!("broker.transaction.skips_round") {
                continue;
            }
            self.check_round().await;
        }
    }

    async fn check_round(&self) {
        let now = self.uptime_ms();
        self.wake_deserted(now);
        loop {
            let looked = self.look_at_due(now).await;
            if looked.stuck {
                return;
            }
            if let Some(why) = &looked.first_failure {
                let (failed, looked) = (looked.failed, looked.count);
                tracing::warn!(failed, looked, first = %why, "half messages could not be checked; they are tried again later");
            }
            self.send_checks(looked.checks).await;
            self.advance_transactions();
            if looked.count == 0 {
                return;
            }
        }
    }

    /// Half messages whose producers came back are due again.
    fn wake_deserted(&self, now: u64) {
        let deserted: Vec<_> =
            self.transactions.halves.lock().deserted().map(|(group, count)| (group.clone(), count)).collect();
        for (group, count) in deserted {
            if self.connected.lock().has_producer(&group) {
                tracing::info!(
                    group = &*group,
                    count,
                    "a producer is back: its half messages are checked again"
                );
                sometimes!("broker.transaction.producer_back");
                self.transactions.halves.lock().producer_came(&group, now);
            }
        }
    }

    /// Counts a check for each of the half messages that have been due the longest.
    async fn look_at_due(&self, now: u64) -> Looked {
        let mut looked = Looked::default();
        // The round goes on where it ended (TXN-4).
        let most = if buggify!("broker.transaction.few") { 1 } else { ROUND_COUNT };
        while looked.count < most && looked.bytes < ROUND_BYTES {
            let root = {
                let mut halves = self.transactions.halves.lock();
                let Some(root) = halves.first_due(now) else { break };
                // Whatever goes wrong with this one, it comes after the others.
                halves.look_after(root, now, self.check_interval());
                root
            };
            looked.count += 1;
            match self.prepare_check(root, now).await {
                Ok(Some(check)) => {
                    looked.bytes += check.bytes.len();
                    looked.checks.push(check);
                }
                Ok(None) => {}
                Err(_) if planted!("M36") => {
                    self.transactions.halves.lock().look_after(root, now, 0);
                    looked.stuck = true;
                    break;
                }
                Err(why) => {
                    looked.failed += 1;
                    sometimes!("broker.transaction.check_failed");
                    looked.first_failure.get_or_insert(why);
                }
            }
        }
        looked
    }

    pub(super) fn check_interval(&self) -> u64 {
        self.config().transaction_check_interval.max(1000)
    }

    /// Counts a check: a copy that says so is stored behind, and takes the place of the older one.
    async fn prepare_check(&self, root: u64, now: u64) -> Result<Option<Check>, Refusal> {
        let turn = self.transactions.turn(root).await;
        let _turn = (!planted!("B81")).then_some(turn);
        let Some(half) = self.transactions.halves.lock().find(root).cloned() else { return Ok(None) };
        if half.position < self.store.min_position() {
            self.lose(root, &half);
            return Ok(None);
        }
        let most = self.config().transaction_check_max;
        let read = self.record_at(wire(half.position)).await?;
        let bytes =
            read.ok_or_else(|| Refusal::Failed(format!("no half message can be read at {}", half.position)))?;
        let found = view(&bytes)?;
        if now >= half.kept_until_ms || (half.checks >= most && !half.owed) {
            self.give_up(root, &half, &found).await?;
            return Ok(None);
        }
        if !self.connected.lock().has_producer(&half.group) {
            if planted!("M36") {
                return Err(Refusal::NotOnline(format!("no producer of {}", half.group)));
            }
            self.leave_alone(root, &half);
            return Ok(None);
        }
        let record = found.record.expect("a half message that was read");
        if half.owed {
            sometimes!("broker.transaction.owed");
            let copy = Copy { offset: half.offset, position: half.position, end: 0 };
            let store_timestamp = record.place.store_timestamp;
            return Ok(Some(Check { root, copy, store_timestamp, checks: half.checks, bytes }));
        }
        let checks = half.checks + 1;
        let text = half::counted(record.properties, root, checks);
        if planted!("M34") {
            let same = Copy { offset: half.offset, position: half.position, end: 0 };
            self.transactions.halves.lock().put_back(root, same, half.checks);
            self.advance_transactions();
        }
        // Whoever ends it meanwhile has to wait and must be heard (TXN-2, TXN-3).
        if buggify!("broker.transaction.check_slow") {
            sleep(Duration::from_millis(20)).await;
        }
        crash_point!("broker.transaction.put_back").await;
        let appended = self.store.append(&NewRecord { properties: &text, ..self.again(&record) }).await?;
        let copy = Copy { offset: appended.queue_offset, position: appended.position, end: appended.end };
        {
            let mut halves = self.transactions.halves.lock();
            if planted!("B81") && halves.find(root).is_none() {
                halves.add(root, copy, &half.group, checks, now, half.kept_until_ms);
            } else {
                halves.put_back(root, copy, checks);
            }
            halves.set_owed(root, true);
        }
        tap!(
            "half_put_back",
            key = found.key,
            root = root,
            from = half.offset,
            offset = copy.offset,
            position = copy.position,
            end = copy.end,
            checks = checks
        );
        crash_point!("broker.transaction.put_back_stored").await;
        Ok(Some(Check { root, copy, store_timestamp: appended.store_timestamp, checks, bytes }))
    }

    /// Sends checks when the copies that count them are as safe as the half messages themselves.
    async fn send_checks(&self, checks: Vec<Check>) {
        let Some(end) = checks.iter().map(|check| check.copy.end).max() else { return };
        if let Err(why) = self.store.durable(end).await {
            sometimes!("broker.transaction.count_unsure");
            tracing::warn!(%why, checks = checks.len(), "the counts of checks are not on the disk: they are sent later");
            return;
        }
        for check in checks {
            self.send_check(check).await;
        }
    }

    /// Asks one producer of the group, any of them.
    async fn send_check(&self, check: Check) {
        let _turn = self.transactions.turn(check.root).await;
        let half = self.transactions.halves.lock().find(check.root).cloned();
        sometimes!("broker.transaction.decided_meanwhile", half.is_none());
        let Some(half) = half else { return };
        let Ok(found) = view(&check.bytes) else { return };
        let (header, body) = self.question(&check, &found);
        let mut producers = self.connected.lock().producers(&half.group);
        if !producers.is_empty() {
            let first = self.random.lock().below(producers.len() as u64);
            producers.rotate_left(usize::try_from(first).expect("below a length"));
        }
        let asked = producers.iter().find(|peer| peer.oneway(&header, body.clone()));
        let Some(peer) = asked else {
            self.leave_alone(check.root, &half);
            return;
        };
        {
            let mut halves = self.transactions.halves.lock();
            halves.set_owed(check.root, false);
            // Waiting for the disk took some of the interval, which is the producer's.
            halves.look_after(check.root, self.uptime_ms(), self.check_interval());
        }
        tap!(
            "half_checked",
            key = found.key,
            root = check.root,
            group = found.group,
            checks = check.checks,
            peer = peer.remote.to_string()
        );
        let most = self.config().transaction_check_max;
        tracing::debug!(key = found.key, peer = %peer.remote, state = %half.explain(self.uptime_ms(), most),
            "a producer was asked for the outcome of its transaction");
    }

    /// The request that asks, with the half message as it would be delivered.
    fn question(&self, check: &Check, found: &HalfRef<'_>) -> (CheckTransactionState, Bytes) {
        let record = found.record.expect("a half message that was read");
        let text = half::counted(record.properties, check.root, check.checks);
        let real = NewRecord {
            topic: found.topic,
            queue_id: found.queue_id,
            properties: &text,
            ..self.again(&record)
        };
        let mut body = BytesMut::new();
        real.encode(&mut body);
        place(
            &mut body,
            Place {
                queue_offset: check.copy.offset,
                position: check.copy.position,
                store_timestamp: check.store_timestamp,
            },
        );
        let id = OffsetId { host: self.store_host, position: check.copy.position };
        let key = Some(Text::from(found.key)).filter(|key| !key.is_empty());
        let header = CheckTransactionState {
            tran_state_table_offset: wire(check.copy.offset),
            commit_log_offset: wire(check.copy.position),
            msg_id: key.clone(),
            transaction_id: key,
            offset_msg_id: Some(Text::from(id.write(&mut [0; 56]))),
            topic: Some(Text::from_static(name::HALF_TOPIC)),
            broker_name: Some(Text::from(self.name.as_str())),
        };
        (header, body.freeze())
    }

    /// No producer of the group is here: nothing is counted or stored until one comes.
    fn leave_alone(&self, root: u64, half: &Half) {
        let mut halves = self.transactions.halves.lock();
        if halves.deserted().all(|(group, _)| *group != half.group) {
            tracing::info!(
                group = &*half.group,
                "half messages wait for a producer of their group: none is connected"
            );
        }
        halves.wait_for_producer(root);
        sometimes!("broker.transaction.deserted");
    }

    /// Moves a half message that nobody ends to the topic for those.
    async fn give_up(&self, root: u64, half: &Half, found: &HalfRef<'_>) -> Result<(), Refusal> {
        sometimes!("broker.transaction.gives_up");
        let topic = self.ensure_topic(name::TRANS_CHECK_MAX_TIME_TOPIC, 1, false);
        self.topics_saved.reach(topic.change).await?;
        let record = found.record.expect("a half message that was read");
        let kept = NewRecord {
            topic: name::TRANS_CHECK_MAX_TIME_TOPIC,
            queue_id: 0,
            prepared_offset: wire(record.place.position),
            ..self.again(&record)
        };
        let body = found.end_body();
        crash_point!("broker.transaction.give_up").await;
        tap!("half_giving_up", key = found.key, checks = half.checks);
        let [kept, end] = self.store.append_pair(&[kept, self.end_record(&body)]).await?;
        self.transactions.halves.lock().ended(root, end.end);
        tap!(
            "half_given_up",
            key = found.key,
            root = root,
            checks = half.checks,
            offset = kept.queue_offset,
            position = kept.position,
            end = end.end,
            mended = false
        );
        tracing::warn!(
            key = found.key,
            topic = found.topic,
            group = found.group,
            checks = half.checks,
            offset = kept.queue_offset,
            "nobody ended this transaction: its message was moved to {}; mqadmin resumeCheckHalfMessage puts it back",
            name::TRANS_CHECK_MAX_TIME_TOPIC
        );
        crash_point!("broker.transaction.given_up").await;
        Ok(())
    }

    /// For operators: how many half messages are undecided, how many of them wait for a producer, and what becomes of
    /// the oldest.
    pub(crate) fn transaction_facts(&self) -> [(&'static str, String); 3] {
        let most = self.config().transaction_check_max;
        let halves = self.transactions.halves.lock();
        let asleep: usize = halves.deserted().map(|(_, count)| count).sum();
        let oldest =
            halves.first().map_or_else(|| "none".to_owned(), |half| half.explain(self.uptime_ms(), most));
        [
            ("halfMessagesUndecided", halves.len().to_string()),
            ("halfMessagesWithoutProducer", asleep.to_string()),
            ("halfMessageOldest", oldest),
        ]
    }

    /// Retention took the record, which happens only when the disk was too full to wait.
    fn lose(&self, root: u64, half: &Half) {
        self.transactions.halves.lock().ended(root, 0);
        tap!("half_lost", root = root, position = half.position);
        tracing::error!(
            group = &*half.group,
            root,
            position = half.position,
            "an undecided half message went with an expired file of the commit log: it can not be committed any more"
        );
    }

    /// Notes how far the queues of half messages and of ends are done with: where the next start begins to read.
    pub(crate) fn advance_transactions(&self) {
        // The next start finds what was ended long ago (TXN-3, TXN-6).
        if buggify!("broker.transaction.noted_late") {
            return;
        }
        let flushed = self.store.flushed().get();
        let (halves_queue, ends_queue) =
            (self.bounds(name::HALF_TOPIC, 0), self.bounds(name::OP_HALF_TOPIC, 0));
        let (done, ends_done) = {
            let mut halves = self.transactions.halves.lock();
            let mut ends = self.transactions.ends.lock();
            let done = halves.done(flushed);
            ends.mark(u64::try_from(ends_queue.max).unwrap_or(0), halves.end());
            (done, ends.done(done))
        };
        let moved = self.note_done(name::HALF_TOPIC, done, halves_queue);
        self.note_done(name::OP_HALF_TOPIC, ends_done, ends_queue);
        if moved {
            tap!("half_offset", offset = done, ends = ends_done, flushed = flushed);
        }
    }

    /// True when the offset grew.
    fn note_done(&self, topic: &str, done: u64, bounds: Bounds) -> bool {
        let done = wire(done).min(bounds.max);
        let mut offsets = self.offsets.lock();
        if offsets.get(topic, GROUP, 0).is_some_and(|stored| stored >= done) {
            return false;
        }
        offsets.commit(topic, GROUP, 0, done, bounds, Committer::Tool);
        true
    }
}

/// The group under which the progress of the two queues is kept, as Java's brokers keep it.
pub(super) const GROUP: &str = "CID_RMQ_SYS_TRANS";

const TICK: Duration = Duration::from_secs(1);
/// Half messages looked at before the progress is noted and what waits for the disk is sent.
const ROUND_COUNT: usize = 256;
/// Bytes of them that are in memory at a time.
const ROUND_BYTES: usize = 4 << 20;
