//! Pulls, and the waiting of those that find nothing yet.

use std::{sync::Arc, time::Duration};

use net::{Peer, Reply};
use protocol::{
    body::{MessageModel, perm},
    code,
    rpc::{PullMessage, PullMessageReply},
    tag::Filter,
};
use runtime::{
    buggify, planted, sometimes,
    task::yield_now,
    time::{Instant, sleep},
};
use store::{Found, Queue, ReadStatus};

use crate::{
    Broker,
    offsets::unreadable,
    refusal::{Answer, Refusal},
    send::{retry_group, wire},
    state::offsets::Committer,
    transactions,
};

/// Bits of a pull's sysFlag.
mod flag {
    pub(super) const COMMIT: i32 = 1;
    pub(super) const SUSPEND: i32 = 2;
    pub(super) const SUBSCRIPTION: i32 = 4;
    pub(super) const CLASS_FILTER: i32 = 8;
    pub(super) const LITE: i32 = 16;
}

/// What a pull reads, once it was let in.
struct Admitted {
    queue: Arc<Queue>,
    filter: Filter,
    topic_flags: i32,
    group_flags: i32,
}

impl Broker {
    /// A pull at the end of its queue waits here, as an await, for the queue's watermark.
    pub(crate) async fn pull(&self, peer: &Peer, h: &PullMessage) -> Answer {
        let Admitted { queue, filter, topic_flags, group_flags } = self.admit_pull(peer, h)?;
        // A member that is asked for a pause must come back for the same (CON-3, L-4).
        if buggify!("broker.pull.busy") {
            return Ok(Reply::refuse(code::FLOW_CONTROL, "too many pulls"));
        }
        if h.sys_flag & flag::COMMIT != 0 && h.commit_offset >= 0 && !transactions::owns(&h.consumer_group) {
            let who = Committer::Member;
            self.commit(&h.consumer_group, &h.topic, h.queue_id, h.commit_offset, who);
        }
        let from = h.queue_offset;
        let hold = self.hold(h);
        let most_bytes = h.max_msg_bytes.map_or(u32::MAX, |bytes| u32::try_from(bytes).unwrap_or(0));
        // Less than was asked for, as a broker in need gives (CON-3).
        let asked = if buggify!("broker.pull.one") { 1 } else { h.max_msg_nums };
        let most = u32::try_from(asked).unwrap_or(0).max(1);
        // An answer that ends within a batch (CON-3, ACK-7).
        let most_bytes = if buggify!("broker.pull.few_bytes") { 1 } else { most_bytes };
        // Boxed as it is rare: every parked pull costs what this future costs.
        if self.store.dispatch_behind() > 0 && u64::try_from(from).is_ok_and(|from| from >= queue.max()) {
            Box::pin(self.store.catch_up()).await;
        }
        let deadline = Instant::now() + hold;
        let mut waited = false;
        loop {
            let found = queue.read(from, most, most_bytes, |code| filter.accepts_code(code)).await;
            let mut found = found.map_err(unreadable)?;
            if found.status == ReadStatus::NoMatchedMessage && planted!("B05") {
                found.next += 1;
            }
            let code = answer_code(found.status, from);
            // An answer of nothing before its time, as older brokers give it: the client must ask again, from the
            // same place, and not in a circle without a pause (CON-3, L-11).
            let early = code == code::PULL_NOT_FOUND && buggify!("broker.pull.early");
            if code != code::PULL_NOT_FOUND || hold.is_zero() || waited || early {
                match code {
                    code::SUCCESS => self.counters.pulled(found.count, found.records.len()),
                    _ => self.counters.missed(),
                }
                sometimes!("broker.pull.offset_moved", code == code::PULL_OFFSET_MOVED);
                sometimes!("broker.pull.none_matched", code == code::PULL_RETRY_IMMEDIATELY);
                return Ok(pulled(found, code, topic_flags, group_flags));
            }
            sometimes!("broker.pull.parked");
            // A look between which and the wait others have a turn (L-11).
            if buggify!("broker.pull.looks_again") {
                yield_now().await;
                continue;
            }
            // `reach` is ready at once if the message came between the read and here, so none is missed.
            let mut wanted = u64::try_from(from).unwrap_or(0) + 1;
            if planted!("M27") {
                sleep(Duration::from_millis(2)).await;
                wanted = queue.max() + 1;
            }
            if planted!("B07") {
                wanted += 1;
            }
            match self.deadlines.limit(deadline, queue.arrived.reach(wanted)).await {
                Ok(Ok(())) => sometimes!("broker.pull.woken"),
                Err(_) => {
                    sometimes!("broker.pull.hold_over");
                    waited = true;
                }
                Ok(Err(_)) if self.is_stopping() => return Err(Refusal::Stopping(self.name.clone())),
                Ok(Err(_)) => {
                    return Err(Refusal::NoTopic { topic: h.topic.to_string(), why: "It was deleted." });
                }
            }
        }
    }

    /// How long a pull may wait: as it asks, when it asks.
    fn hold(&self, h: &PullMessage) -> Duration {
        if h.sys_flag & flag::SUSPEND == 0 {
            return Duration::ZERO;
        }
        let config = self.config();
        let asked = u64::try_from(h.suspend_timeout_millis).unwrap_or(0);
        Duration::from_millis(if config.long_polling_enable {
            asked
        } else {
            config.short_polling_time_mills
        })
    }

    /// Checks a pull in the order of broker-store.md 4.7.
    fn admit_pull(&self, peer: &Peer, h: &PullMessage) -> Result<Admitted, Refusal> {
        let config = self.config();
        if config.broker_permission & perm::READ == 0 {
            return Err(Refusal::Forbidden(format!(
                "the broker[{}] pulling message is forbidden: its permission is {}",
                self.address, config.broker_permission
            )));
        }
        if h.sys_flag & flag::LITE != 0 && !config.lite_pull_message_enable {
            return Err(Refusal::Forbidden(format!(
                "the broker[{}] lite pulling message is forbidden: litePullMessageEnable is false",
                self.address
            )));
        }
        let group = self.group(&h.consumer_group)?;
        if !group.consume_enable {
            return Err(Refusal::Forbidden(format!(
                "subscription group no permission, {}: consumeEnable is false",
                h.consumer_group
            )));
        }
        let topic = self.topics.lock().get(&h.topic).cloned();
        let topic = topic.ok_or_else(|| no_topic(&h.topic))?.config;
        if topic.perm & perm::READ == 0 {
            return Err(Refusal::Forbidden(format!(
                "the topic[{}] pulling message is forbidden: its permission is {}",
                h.topic, topic.perm
            )));
        }
        if h.queue_id < 0 || h.queue_id >= topic.read_queue_nums {
            sometimes!("broker.pull.queue_gone");
            let count = topic.read_queue_nums;
            return Err(Refusal::NoQueue { topic: h.topic.to_string(), queue: h.queue_id, count });
        }
        if h.sys_flag & flag::CLASS_FILTER != 0 {
            return Err(Refusal::Failed("class filters are not supported".into()));
        }
        let filter = self.filter(peer, h, group.consume_broadcast_enable)?;
        // None while the topic is being deleted.
        let queue = self.store.open_queue(&h.topic, h.queue_id).ok_or_else(|| no_topic(&h.topic))?;
        Ok(Admitted { queue, filter, topic_flags: topic.topic_sys_flag, group_flags: group.group_sys_flag })
    }

    /// The filter in the request, or the one the group subscribed with.
    fn filter(&self, peer: &Peer, h: &PullMessage, broadcast_allowed: bool) -> Result<Filter, Refusal> {
        if h.sys_flag & flag::SUBSCRIPTION != 0 {
            by_tag(h.expression_type.as_deref())?;
            return parse(h.subscription.as_deref().unwrap_or_default());
        }
        let connected = self.connected.lock();
        let Some(group) = connected.clients.consumer_group(&h.consumer_group) else {
            sometimes!("broker.pull.no_group");
            return Err(Refusal::NoSubscription(format!(
                "the consumer's group info not exist: no member of {} has sent a heartbeat (asked from {})",
                h.consumer_group, peer.remote
            )));
        };
        if group.model == MessageModel::Broadcasting && !broadcast_allowed {
            return Err(Refusal::Forbidden(format!(
                "the consumer group[{}] can not consume by broadcast way: consumeBroadcastEnable is false",
                h.consumer_group
            )));
        }
        let Some(known) = group.subscriptions.get(h.topic.as_str()) else {
            return Err(Refusal::NoSubscription(format!(
                "the consumer's subscription not exist: {} has not subscribed to {}",
                h.consumer_group, h.topic
            )));
        };
        if known.sub_version < h.sub_version {
            return Err(Refusal::OldSubscription {
                group: h.consumer_group.to_string(),
                topic: h.topic.to_string(),
                known: known.sub_version,
                asked: h.sub_version,
            });
        }
        by_tag(Some(&known.expression_type))?;
        parse(&known.sub_string)
    }

    /// The answer to a pull when too many of its connection wait already: nothing, ask again.
    pub(crate) fn refuse_to_hold(&self, h: &PullMessage) -> Reply {
        let queue = self.store.queue(&h.topic, h.queue_id);
        let (min, max) = queue.map_or((0, 0), |queue| (queue.min(), queue.max()));
        let reply = PullMessageReply {
            next_begin_offset: h.queue_offset,
            min_offset: wire(min),
            max_offset: wire(max),
            ..PullMessageReply::default()
        };
        Reply::with(&reply).code(code::PULL_NOT_FOUND, "too many pulls of this connection wait already")
    }
}

/// Which code a read leads to (broker-store.md 2.12).
fn answer_code(status: ReadStatus, from: i64) -> i32 {
    match status {
        ReadStatus::Found => code::SUCCESS,
        ReadStatus::NoMatchedMessage | ReadStatus::MessageWasRemoving => code::PULL_RETRY_IMMEDIATELY,
        ReadStatus::NoMessageInQueue if from == 0 => code::PULL_NOT_FOUND,
        ReadStatus::OffsetOverflowOne => code::PULL_NOT_FOUND,
        ReadStatus::NoMessageInQueue | ReadStatus::OffsetTooSmall | ReadStatus::OffsetOverflowBadly => {
            code::PULL_OFFSET_MOVED
        }
    }
}

/// Clients read all four offsets with each of the codes 0, 19, 20 and 21.
fn pulled(found: Found, code: i32, topic_flags: i32, group_flags: i32) -> Reply {
    let header = PullMessageReply {
        suggest_which_broker_id: 0,
        next_begin_offset: wire(found.next),
        min_offset: wire(found.min),
        max_offset: wire(found.max),
        topic_sys_flag: Some(topic_flags),
        group_sys_flag: Some(group_flags),
        ..PullMessageReply::default()
    };
    let status = match found.status {
        ReadStatus::Found => "FOUND",
        ReadStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
        ReadStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
        ReadStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
        ReadStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
        ReadStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
        ReadStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
    };
    Reply::with(&header).body(found.records).code(code, protocol::Text::from_static(status))
}

fn by_tag(expression_type: Option<&str>) -> Result<(), Refusal> {
    match expression_type {
        None | Some("" | "TAG") => Ok(()),
        Some(other) => {
            Err(Refusal::Failed(format!("The broker does not support consumer to filter message by {other}")))
        }
    }
}

fn parse(expression: &str) -> Result<Filter, Refusal> {
    Filter::parse(expression).map_err(|error| Refusal::Expression(error.to_string()))
}

/// The refusal for a topic that somebody reads from.
pub(crate) fn no_topic(topic: &str) -> Refusal {
    let why = if retry_group(topic).is_some() { "Its group has not sent a heartbeat." } else { "" };
    Refusal::NoTopic { topic: topic.to_owned(), why }
}
