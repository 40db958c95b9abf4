//! The calls of consumers: pulls, offsets and members.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::{code, rpc};
use runtime::{planted, sometimes};

use crate::instance::{Instance, SHORT, header, malformed, refused};
use crate::state::route::MASTER;
use crate::{CallError, Fault, MessageQueue, PullStatus, Received, Text, decode, wire};

/// What to pull and how.
pub(crate) struct Pull<'a> {
    pub(crate) group: &'a Text,
    pub(crate) queue: &'a MessageQueue,
    pub(crate) offset: u64,
    pub(crate) most: u32,
    /// The commit point to report on the way.
    pub(crate) commit: Option<u64>,
    /// How long the broker may hold the pull.
    pub(crate) hold: Option<Duration>,
    /// Without it the broker takes the expression of the heartbeat.
    pub(crate) expression: Option<&'a str>,
    pub(crate) version: i64,
    /// The broker id that the answer before named.
    pub(crate) replica: i64,
}

/// What a pull brought.
pub(crate) struct Answer {
    pub(crate) status: PullStatus,
    pub(crate) messages: Vec<Arc<Received>>,
    pub(crate) next: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
    /// The broker id to pull from next.
    pub(crate) replica: i64,
}

impl Instance {
    pub(crate) async fn pull(&self, pull: Pull<'_>) -> Result<Answer, CallError> {
        let MessageQueue { topic, broker, id } = pull.queue;
        let (address, is_master) = self.locate(pull.queue, pull.replica).await?;
        // Only a master keeps offsets: a replica's copy would be overwritten.
        let commit = pull.commit.filter(|_| is_master);
        let mut sys_flag = 0;
        if commit.is_some() {
            sys_flag |= COMMIT;
        }
        if pull.hold.is_some() {
            sys_flag |= SUSPEND;
        }
        if pull.expression.is_some() {
            sys_flag |= SUBSCRIPTION;
        }
        let request = rpc::PullMessage {
            consumer_group: pull.group.clone(),
            topic: topic.clone(),
            queue_id: *id,
            queue_offset: signed(pull.offset),
            max_msg_nums: i32::try_from(pull.most).unwrap_or(i32::MAX),
            sys_flag,
            commit_offset: commit.map_or(0, signed),
            suspend_timeout_millis: pull.hold.map_or(0, |h| i64::try_from(h.as_millis()).unwrap_or(i64::MAX)),
            subscription: pull.expression.map(Text::from),
            sub_version: pull.version,
            expression_type: Some(Text::from_static("TAG")),
            max_msg_bytes: Some(PULL_BYTES),
            request_source: None,
            proxy_forward_client_id: None,
        };
        let limit = pull.hold.map_or(PULL_LIMIT, |h| h + HELD_PULL_MORE);
        let answer = self.call_any(&address, &request, Bytes::new(), limit).await?;
        let status = match answer.code {
            code::SUCCESS => PullStatus::Found,
            code::PULL_NOT_FOUND => PullStatus::NothingNew,
            code::PULL_RETRY_IMMEDIATELY => PullStatus::NoneMatched,
            code::PULL_OFFSET_MOVED => PullStatus::OffsetMoved,
            code::SUBSCRIPTION_NOT_EXIST | code::SUBSCRIPTION_NOT_LATEST => {
                sometimes!("client.pull.not_known");
                // The broker does not know this member, or an older subscription of it.
                self.unknown(&address);
                return Err(refused(&address, &answer).into());
            }
            _ => return Err(refused(&address, &answer).into()),
        };
        let reply: rpc::PullMessageReply = header(&address, &answer)?;
        let messages =
            if status == PullStatus::Found { decode::messages(answer.body, broker) } else { Vec::new() };
        Ok(Answer {
            status,
            messages,
            next: offset(&address, reply.next_begin_offset)?,
            min: offset(&address, reply.min_offset)?,
            max: offset(&address, reply.max_offset)?,
            replica: reply.suggest_which_broker_id,
        })
    }

    /// The committed offset; `None` when the group has none. With `young_is_zero` the broker answers 0 for
    /// a queue that still has its first message.
    pub(crate) async fn committed(
        &self,
        group: &Text,
        queue: &MessageQueue,
        young_is_zero: bool,
    ) -> Result<Option<u64>, CallError> {
        let request = rpc::QueryConsumerOffset {
            consumer_group: group.clone(),
            topic: queue.topic.clone(),
            queue_id: queue.id,
            set_zero_if_not_found: (!young_is_zero).then_some(false),
        };
        let (address, _) = self.locate(queue, MASTER).await?;
        match self.call(&address, &request, Bytes::new(), OFFSET_LIMIT).await {
            Ok((reply, _)) => Ok(u64::try_from(reply.offset).ok()),
            Err(Fault::Refused { code: code::QUERY_NOT_FOUND, .. }) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Commits an offset as a member of the group does: one way.
    ///
    /// Brokers let tools move an offset back, members not. They know a tool by a call that wants an answer
    /// over a connection without heartbeat, which is also what a member looks like that has just reconnected:
    /// its late commit would move back what the new owner of the queue has done.
    pub(crate) async fn commit(
        &self,
        group: &Text,
        queue: &MessageQueue,
        offset: u64,
    ) -> Result<(), CallError> {
        let (address, _) = self.for_reading(&queue.broker, MASTER)?;
        Ok(self.oneway(&address, &update(group, queue, offset), Bytes::new()).await?)
    }

    /// Commits an offset and waits for the broker's word.
    pub(crate) async fn commit_sure(
        &self,
        group: &Text,
        queue: &MessageQueue,
        offset: u64,
    ) -> Result<(), CallError> {
        let (address, _) = self.locate(queue, MASTER).await?;
        if planted!("B100") {
            return self.commit(group, queue, offset).await;
        }
        self.call(&address, &update(group, queue, offset), Bytes::new(), OFFSET_LIMIT).await?;
        Ok(())
    }

    pub(crate) async fn min_offset(&self, queue: &MessageQueue) -> Result<u64, CallError> {
        let request = rpc::GetMinOffset { topic: queue.topic.clone(), queue_id: queue.id };
        let address = self.located_master(queue).await?;
        let (reply, _) = self.call(&address, &request, Bytes::new(), OFFSET_LIMIT).await?;
        offset(&address, reply.offset)
    }

    pub(crate) async fn max_offset(&self, queue: &MessageQueue) -> Result<u64, CallError> {
        let request = rpc::GetMaxOffset { topic: queue.topic.clone(), queue_id: queue.id, committed: true };
        let address = self.located_master(queue).await?;
        let (reply, _) = self.call(&address, &request, Bytes::new(), OFFSET_LIMIT).await?;
        offset(&address, reply.offset)
    }

    pub(crate) async fn offset_at(&self, queue: &MessageQueue, time_ms: i64) -> Result<u64, CallError> {
        let request = rpc::SearchOffsetByTimestamp {
            topic: queue.topic.clone(),
            queue_id: queue.id,
            timestamp: time_ms,
            boundary_type: None,
        };
        let address = self.located_master(queue).await?;
        let (reply, _) = self.call(&address, &request, Bytes::new(), OFFSET_LIMIT).await?;
        offset(&address, reply.offset)
    }

    /// The client ids of a group, as all brokers of a topic together know them.
    ///
    /// Asking one of them, as Java does, lets two members act on two different lists for as long as one
    /// broker has not heard of everybody; the union of all answers is the same for all.
    pub(crate) async fn members(&self, group: &Text, topic: &Text) -> Result<Vec<Text>, CallError> {
        let request = rpc::GetConsumerListByGroup { consumer_group: group.clone() };
        let brokers = self.routes.lock().brokers_of(topic);
        let asked = brokers.iter().map(|broker| async {
            let (address, _) = self.for_reading(broker, MASTER)?;
            match self.call(&address, &request, Bytes::new(), SHORT).await {
                Ok((_, body)) => wire::consumer_list(&body).map_err(|why| malformed(&address, why)),
                Err(Fault::Refused { code: code::SYSTEM_ERROR, .. }) => Ok(Vec::new()), // it knows no member
                Err(fault) => Err(fault.into()),
            }
        });
        let mut last = None;
        let (mut members, mut answers) = (Vec::new(), 0);
        for answer in futures::future::join_all(asked).await {
            match answer {
                Ok(some) => {
                    members.extend(some);
                    answers += 1;
                }
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) if answers == 0 => Err(error),
            Some(_) => {
                sometimes!("client.members.some_silent");
                Ok(members)
            }
            _ => Ok(members),
        }
    }

    pub(crate) fn master(&self, broker: &Text) -> Result<Text, CallError> {
        self.routes.lock().master(broker).ok_or_else(|| CallError::NoBroker { broker: broker.clone() })
    }

    /// The address of a queue's broker. A broker that is not known is asked for: it may have registered since the
    /// last look at the routes, up to 30 s ago.
    async fn locate(&self, queue: &MessageQueue, replica: i64) -> Result<(Text, bool), CallError> {
        match self.for_reading(&queue.broker, replica) {
            Err(CallError::NoBroker { .. }) => {
                self.refresh(&queue.topic).await?;
                self.for_reading(&queue.broker, replica)
            }
            known => known,
        }
    }

    /// As [`Instance::locate`], for what only a master answers.
    async fn located_master(&self, queue: &MessageQueue) -> Result<Text, CallError> {
        match self.master(&queue.broker) {
            Err(CallError::NoBroker { .. }) => {
                self.refresh(&queue.topic).await?;
                self.master(&queue.broker)
            }
            known => known,
        }
    }

    pub(crate) fn for_reading(&self, broker: &Text, replica: i64) -> Result<(Text, bool), CallError> {
        let found = self.routes.lock().for_reading(broker, replica);
        found.ok_or_else(|| CallError::NoBroker { broker: broker.clone() })
    }
}

fn update(group: &Text, queue: &MessageQueue, offset: u64) -> rpc::UpdateConsumerOffset {
    rpc::UpdateConsumerOffset {
        consumer_group: group.clone(),
        topic: queue.topic.clone(),
        queue_id: queue.id,
        commit_offset: signed(offset),
    }
}

pub(crate) fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

fn offset(address: &Text, offset: i64) -> Result<u64, CallError> {
    u64::try_from(offset).map_err(|_| malformed(address, format!("{offset} is no offset")))
}

const COMMIT: i32 = 1;
const SUSPEND: i32 = 2;
const SUBSCRIPTION: i32 = 4;
const PULL_BYTES: i32 = 256 << 10;
const PULL_LIMIT: Duration = Duration::from_secs(10);
/// A held pull is given up so much later than the broker should answer.
const HELD_PULL_MORE: Duration = Duration::from_secs(15);
pub(crate) const OFFSET_LIMIT: Duration = Duration::from_secs(5);
