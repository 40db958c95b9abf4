//! Consumer offsets and the bounds of queues.

use bytes::Bytes;
use net::{Peer, Reply};
use protocol::rpc::{
    GetEarliestMsgStoretime, GetEarliestMsgStoretimeReply, GetMaxOffset, GetMaxOffsetReply, GetMinOffset,
    GetMinOffsetReply, QueryConsumerOffset, QueryConsumerOffsetReply, SearchOffsetByTimestamp,
    SearchOffsetByTimestampReply, UpdateConsumerOffset, ViewMessageById,
};
use runtime::{planted, sometimes, tap};
use store::{Boundary, Queue, ReadError};

use crate::{
    Broker,
    clients::key,
    pull::no_topic,
    refusal::{Answer, Refusal},
    send::wire,
    state::offsets::{Bounds, Committed, Committer},
    transactions,
};

impl Broker {
    /// How far a group has come in a queue.
    pub(crate) async fn query_offset(&self, h: QueryConsumerOffset) -> Answer {
        let stored = self.offsets.lock().get(&h.topic, &h.consumer_group, h.queue_id);
        if let Some(offset) = stored {
            return Ok(Reply::with(&QueryConsumerOffsetReply { offset }));
        }
        let unknown = || {
            Refusal::NotFound(format!(
                "Not found, do not know the offset of {} in queue {} of {}, maybe this group consumer boot first",
                h.consumer_group, h.queue_id, h.topic
            ))
        };
        sometimes!("broker.offset.unknown");
        if h.set_zero_if_not_found == Some(false) {
            return Err(unknown());
        }
        // A queue that still has its first message, and not long ago: a new group starts there whatever it asked
        // for. Clients depend on it, and a queue added by expansion is consumed from its first message.
        let young = match self.store.queue(&h.topic, h.queue_id) {
            None => true,
            Some(queue) => queue.min() == 0 && self.is_recent(&queue).await?,
        };
        if young { Ok(Reply::with(&QueryConsumerOffsetReply { offset: 0 })) } else { Err(unknown()) }
    }

    /// Whether the first message of a queue lies in the part of the log that is expected in memory.
    async fn is_recent(&self, queue: &Queue) -> Result<bool, Refusal> {
        let first = queue.read(0, 1, u32::MAX, |_| true).await;
        let first = first.map_err(unreadable)?;
        Ok(!first.far_behind)
    }

    /// A member, or a tool, says how far the group has come.
    pub(crate) fn update_offset(&self, peer: &Peer, oneway: bool, h: &UpdateConsumerOffset) -> Answer {
        if self.topics.lock().get(&h.topic).is_none() {
            return Err(no_topic(&h.topic));
        }
        if self.groups.lock().get(&h.consumer_group).is_none() {
            return Err(Refusal::NoGroup(h.consumer_group.to_string()));
        }
        if h.queue_id < 0 || h.commit_offset < 0 {
            return Err(Refusal::Parameter(format!(
                "queueId {} and commitOffset {} must not be negative",
                h.queue_id, h.commit_offset
            )));
        }
        if transactions::owns(&h.consumer_group) {
            return Err(not_theirs(&h.consumer_group));
        }
        let who = self.committer(peer, oneway, h);
        self.commit(&h.consumer_group, &h.topic, h.queue_id, h.commit_offset, who);
        Ok(Reply::ok())
    }

    fn committer(&self, peer: &Peer, oneway: bool, h: &UpdateConsumerOffset) -> Committer {
        let client = {
            let connected = self.connected.lock();
            let group = connected.clients.consumer_group(&h.consumer_group);
            group.and_then(|group| group.members.get(&key(peer))).map(|member| member.client_id.clone())
        };
        match client {
            None if oneway => Committer::Member,
            None => Committer::Tool,
            Some(client) => {
                let locks = self.locks.lock();
                match locks.holder(&h.consumer_group, &h.topic, h.queue_id, self.uptime_ms()) {
                    Some(holder) if holder == client => Committer::LockHolder,
                    _ => Committer::Member,
                }
            }
        }
    }

    /// Stores an offset, unless it may not go backwards.
    pub(crate) fn commit(&self, group: &str, topic: &str, queue: i32, offset: i64, who: Committer) {
        let other = || self.offsets.lock().groups_of(topic).into_iter().find(|other| other != group);
        let other = planted!("B06").then(other).flatten();
        let group = other.as_deref().unwrap_or(group);
        let bounds = self.bounds(topic, queue);
        let done = self.offsets.lock().commit(topic, group, queue, offset, bounds, who);
        let stored = match done {
            Committed::Same => return,
            Committed::Ignored { stored } => {
                sometimes!("broker.offset.ignored");
                tap!(
                    "offset_ignored",
                    group = group,
                    topic = topic,
                    queue = queue,
                    offset = offset,
                    kept = stored
                );
                tracing::warn!(
                    group,
                    topic,
                    queue,
                    offset,
                    stored,
                    "a commit that would take the group back was ignored"
                );
                self.counters.commit_ignored();
                return;
            }
            Committed::Stored => offset,
            Committed::Lowered { from, to } => {
                tracing::info!(group, topic, queue, from, to, "consumer offset went back");
                to
            }
            Committed::Capped { to } => {
                sometimes!("broker.offset.capped");
                tracing::warn!(
                    group,
                    topic,
                    queue,
                    offset,
                    to,
                    "a commit beyond the end of its queue: its member knows messages that are gone"
                );
                to
            }
        };
        tap!("offset_stored", group = group, topic = topic, queue = queue, offset = stored);
        let _ = stored;
    }

    /// The offsets that can be read in a queue; none have been written to one that the store does not know.
    pub(crate) fn bounds(&self, topic: &str, queue: i32) -> Bounds {
        match self.store.queue(topic, queue) {
            Some(queue) => Bounds {
                min: wire(queue.min()),
                max: wire(queue.max()),
                beyond: wire(queue.back_from_beyond()),
            },
            None => Bounds { min: 0, max: 0, beyond: 0 },
        }
    }

    /// The offset the next message of a queue gets.
    pub(crate) async fn max_offset(&self, h: GetMaxOffset) -> Answer {
        self.check_queue(&h.topic, h.queue_id)?;
        self.store.catch_up().await;
        Ok(Reply::with(&GetMaxOffsetReply { offset: self.bounds(&h.topic, h.queue_id).max }))
    }

    /// The offset of the oldest message of a queue.
    pub(crate) fn min_offset(&self, h: &GetMinOffset) -> Answer {
        self.check_queue(&h.topic, h.queue_id)?;
        Ok(Reply::with(&GetMinOffsetReply { offset: self.bounds(&h.topic, h.queue_id).min }))
    }

    /// The first message stored at or after a time, or the last before it.
    pub(crate) async fn offset_by_time(&self, h: SearchOffsetByTimestamp) -> Answer {
        self.check_queue(&h.topic, h.queue_id)?;
        let upper = h.boundary_type.as_deref().is_some_and(|text| text.eq_ignore_ascii_case("UPPER"));
        let boundary = if upper { Boundary::Upper } else { Boundary::Lower };
        self.store.catch_up().await;
        let offset = match self.store.queue(&h.topic, h.queue_id) {
            None => 0,
            Some(queue) => {
                let found = queue.offset_by_time(h.timestamp, boundary).await;
                wire(found.map_err(unreadable)?)
            }
        };
        Ok(Reply::with(&SearchOffsetByTimestampReply { offset }))
    }

    /// When the oldest message of a queue was stored.
    pub(crate) async fn earliest_time(&self, h: GetEarliestMsgStoretime) -> Answer {
        self.check_queue(&h.topic, h.queue_id)?;
        let timestamp = match self.store.queue(&h.topic, h.queue_id) {
            None => None,
            Some(queue) => queue.store_time(queue.min()).await.map_err(unreadable)?,
        };
        Ok(Reply::with(&GetEarliestMsgStoretimeReply { timestamp: timestamp.unwrap_or(-1) }))
    }

    /// One message by its position in the log.
    pub(crate) async fn view_message(&self, h: ViewMessageById) -> Answer {
        match self.record_at(h.offset).await? {
            Some(record) => Ok(Reply::ok().body(record)),
            None => Err(Refusal::Failed(format!("can not find message by the offset, {}", h.offset))),
        }
    }

    /// The record that begins at a position that a peer gave.
    pub(crate) async fn record_at(&self, position: i64) -> Result<Option<Bytes>, Refusal> {
        let Ok(position) = u64::try_from(position) else { return Ok(None) };
        let found = self.store.record_at(position).await;
        found.map_err(|error| Refusal::Failed(format!("cannot read the log at {position}: {error}")))
    }

    fn check_queue(&self, topic: &str, queue: i32) -> Result<(), Refusal> {
        let known = self.topics.lock().get(topic).cloned();
        let config = known.ok_or_else(|| no_topic(topic))?.config;
        let count = config.read_queue_nums.max(config.write_queue_nums);
        if queue < 0 || queue >= count {
            // Queues taken away by shrinking keep their messages and may be looked at.
            if self.store.queue(topic, queue).is_none() {
                return Err(Refusal::NoQueue { topic: topic.to_owned(), queue, count });
            }
        }
        Ok(())
    }
}

/// The refusal for an offset of a group that is the broker itself.
pub(crate) fn not_theirs(group: &str) -> Refusal {
    Refusal::Forbidden(format!(
        "the offsets of {group} are the broker's own: they say which transactions are done with"
    ))
}

/// The refusal for a queue that the disk does not give.
pub(crate) fn unreadable(error: ReadError) -> Refusal {
    Refusal::Failed(format!("cannot read the queue: {error}"))
}
