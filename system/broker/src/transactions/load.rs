//! What a start must find out: which half messages are undecided, and whether a crash parted the last commit from
//! its end.

use std::collections::BTreeSet;

use protocol::{
    name,
    properties::names,
    record::{self, RecordRef, Scan, scan, sys_flag},
};
use runtime::{buggify, clock, crash_point, planted, sometimes, tap};
use store::Queue;

use super::{HalfRef, check::GROUP, view};
use crate::{
    Broker, StartError,
    send::wire,
    state::transactions::{Copy, Ends, Halves, named},
};

impl Broker {
    /// Reads the half messages that are not done with, and those ends that may speak of them.
    pub(crate) async fn load_transactions(&self, last_record: Option<u64>) -> Result<(), StartError> {
        let dispatched = self.store.dispatched().reach(self.store.max_position()).await;
        dispatched.map_err(|closed| failed(closed.to_string()))?;
        let missing = || failed("their queues cannot be opened".into());
        let half_queue = self.store.open_queue(name::HALF_TOPIC, 0).ok_or_else(missing)?;
        let end_queue = self.store.open_queue(name::OP_HALF_TOPIC, 0).ok_or_else(missing)?;
        let (halves_done, ends_done) = (self.done_of(&half_queue), self.done_of(&end_queue));

        let mut ended = BTreeSet::new();
        for_each(&end_queue, ends_done, |record| ended.extend(named(record.body))).await?;
        let mut halves = Halves::new(halves_done);
        let mut at = halves_done;
        let now = clock::now_ms();
        for_each(&half_queue, halves_done, |record| {
            let found = HalfRef::of(*record);
            // Records that cannot be read leave holes.
            (at..found.offset).for_each(|lost| halves.pass(lost));
            at = found.offset + 1;
            if ended.contains(&found.offset) || ended.contains(&found.root) {
                sometimes!("broker.transaction.loaded_ended");
                halves.pass(found.offset);
            } else {
                self.load(&mut halves, &found, now);
            }
        })
        .await?;
        (at..half_queue.max()).for_each(|lost| halves.pass(lost));
        if halves.len() > 0 || !ended.is_empty() {
            let (undecided, read, ends) =
                (halves.len(), half_queue.max() - halves_done, end_queue.max() - ends_done);
            tracing::info!(undecided, read, ends, "half messages were read");
        }
        let mut ends = Ends::new(ends_done);
        ends.mark(end_queue.max(), half_queue.max());
        *self.transactions.halves.lock() = halves;
        *self.transactions.ends.lock() = ends;
        self.mend_last(last_record).await?;
        tap!("halves_loaded", count = self.transactions.halves.lock().len() as u64);
        Ok(())
    }

    /// Up to where a queue was done with before.
    fn done_of(&self, queue: &Queue) -> u64 {
        let stored = self.offsets.lock().get(queue.topic(), GROUP, 0);
        let stored = stored.and_then(|offset| u64::try_from(offset).ok()).unwrap_or(0);
        stored.clamp(queue.min().min(queue.max()), queue.max())
    }

    /// No clock tells how long the broker was away, so that the waiting times begin anew. Nothing tells either whether
    /// the last check that was counted went out: it is sent once more, under its number.
    fn load(&self, halves: &mut Halves, found: &HalfRef<'_>, now_ms: i64) {
        let record = found.record.expect("a half message that was read");
        tap!("half_loaded", key = found.key, root = found.root, offset = found.offset, checks = found.checks);
        let copy = Copy { offset: found.offset, position: record.place.position, end: 0 };
        let now = self.uptime_ms();
        if halves.find(found.root).is_some() {
            sometimes!("broker.transaction.loaded_copy");
            halves.put_back(found.root, copy, found.checks);
        } else {
            let immunity = found.immunity_ms.filter(|_| !planted!("B60"));
            let immunity = immunity.unwrap_or(self.config().transaction_time_out);
            let age = u64::try_from(now_ms.saturating_sub(record.place.store_timestamp)).unwrap_or(0);
            let (due, kept_until) = (now.saturating_add(immunity), now + self.kept_for(age));
            halves.add(found.root, copy, found.group, found.checks, due, kept_until);
        }
        if found.checks > 0 {
            // Whichever copy was met first, its producer was asked: the immunity is over, and the interval counts.
            halves.look_after(found.root, now, self.check_interval());
            halves.set_owed(found.root, true);
        }
    }

    /// When power was lost between a committed or given-up message and its end, it is the log's last record: the
    /// end is stored now, before anything else is.
    async fn mend_last(&self, last_record: Option<u64>) -> Result<(), StartError> {
        let Some(position) = last_record else { return Ok(()) };
        let Some(bytes) = self.record_for_start(position).await? else { return Ok(()) };
        let Scan::Record(last) = scan(&bytes, true) else { return Ok(()) };
        let committed = last.sys_flag & sys_flag::TRANSACTION_MASK == sys_flag::COMMIT;
        if !committed && last.topic != name::TRANS_CHECK_MAX_TIME_TOPIC {
            return Ok(());
        }
        let Ok(half_position) = u64::try_from(last.prepared_offset) else { return Ok(()) };
        let Some(bytes) = self.record_for_start(half_position).await? else { return Ok(()) };
        let Ok(found) = view(&bytes) else { return Ok(()) };
        let undecided = self.transactions.halves.lock().find(found.root).is_some();
        let same = last.property(names::UNIQ_KEY).unwrap_or_default() == found.key;
        if !undecided || !same || planted!("M32") {
            return Ok(());
        }
        crash_point!("broker.transaction.mend").await;
        let body = found.end_body();
        let end = self.store.append(&self.end_record(&body)).await.map_err(|e| failed(e.to_string()))?.end;
        self.store.durable(end).await.map_err(|why| failed(why.to_string()))?;
        self.transactions.halves.lock().ended(found.root, end);
        if committed {
            tap!(
                "half_ended",
                key = found.key,
                root = found.root,
                topic = found.topic,
                group = found.group,
                end = end,
                decision = "commit",
                mended = true
            );
        } else {
            tap!(
                "half_given_up",
                key = found.key,
                root = found.root,
                checks = found.checks,
                offset = last.place.queue_offset,
                position = position,
                end = end,
                mended = true
            );
        }
        tracing::warn!(
            key = found.key,
            position,
            "the crash parted a message from the end of its transaction: it was added"
        );
        Ok(())
    }

    async fn record_for_start(&self, position: u64) -> Result<Option<bytes::Bytes>, StartError> {
        self.record_at(wire(position)).await.map_err(|why| failed(why.to_string()))
    }
}

/// Gives every record of a queue from an offset to its end to `take`.
async fn for_each(queue: &Queue, from: u64, mut take: impl FnMut(&RecordRef<'_>)) -> Result<(), StartError> {
    let mut at = from;
    while at < queue.max() {
        // One by one, none may be missed (TXN-4).
        let most = if buggify!("broker.transaction.reads_few") { 1 } else { READ };
        let found = queue.read(wire(at), most, u32::MAX, |_| true).await;
        let found = found.map_err(|error| failed(error.to_string()))?;
        for bytes in record::each(found.records) {
            if let Scan::Record(record) = scan(&bytes, false) {
                take(&record);
            }
        }
        at = found.next.max(at + 1);
    }
    Ok(())
}

fn failed(why: String) -> StartError {
    StartError::Transactions(why)
}

/// Records read at once.
const READ: u32 = 256;
