//! What a member answers when a broker asks it something.

use std::sync::Arc;

use bytes::Bytes;
use net::Reply;
use protocol::body::{
    ConsumeMessageDirectlyResult, ConsumeResult, ConsumerRunningInfo, GetConsumerStatusBody, ProcessQueueInfo,
};
use protocol::{Command, Request, Text, code, json, rpc};
use runtime::time::Instant;

use crate::member::Member;
use crate::{Batch, Consumed, decode, wire};

impl Member {
    /// Brokers ask few things; whatever else comes is answered with "not supported".
    pub(crate) async fn answer(self: &Arc<Self>, command: Command) -> Reply {
        match command.code {
            rpc::NotifyConsumerIdsChanged::CODE => {
                self.wake.notify_one();
                Reply::ok()
            }
            rpc::ResetConsumerClientOffset::CODE => self.answer_reset(&command).await,
            rpc::GetConsumerStatusFromClient::CODE => self.answer_status(&command),
            rpc::GetConsumerRunningInfo::CODE => self.answer_running(&command),
            rpc::ConsumeMessageDirectly::CODE => self.answer_consume(command).await,
            other => Reply::unsupported(other),
        }
    }

    async fn answer_reset(self: &Arc<Self>, command: &Command) -> Reply {
        let Ok(header) = command.header::<rpc::ResetConsumerClientOffset>() else { return bad("header") };
        if header.group != self.group {
            return self.stranger(&header.group);
        }
        match wire::reset_offsets(&command.body) {
            Ok(offsets) => {
                tracing::info!(group = %self.group, topic = %header.topic, "offsets are reset");
                self.reset(offsets).await;
                Reply::ok()
            }
            Err(why) => Reply::refuse(code::SYSTEM_ERROR, why),
        }
    }

    fn answer_status(&self, command: &Command) -> Reply {
        let Ok(header) = command.header::<rpc::GetConsumerStatusFromClient>() else { return bad("header") };
        if header.group != self.group {
            return self.stranger(&header.group);
        }
        let sessions = self.sessions().into_iter().filter(|s| s.queue.topic == header.topic);
        let points = sessions.filter_map(|s| Some((s.queue.clone(), signed(s.commit_point()?))));
        let body =
            GetConsumerStatusBody { message_queue_table: wire::by_queue(points), ..Default::default() };
        Reply::ok().body(json::to_vec(&body))
    }

    fn answer_running(&self, command: &Command) -> Reply {
        let Ok(header) = command.header::<rpc::GetConsumerRunningInfo>() else { return bad("header") };
        if header.consumer_group != self.group {
            return self.stranger(&header.consumer_group);
        }
        let queues = self.sessions().into_iter().map(|s| {
            let (count, bytes) = s.cached();
            let info = ProcessQueueInfo {
                commit_offset: s.commit_point().map_or(-1, signed),
                cached_msg_count: i32::try_from(count).unwrap_or(i32::MAX),
                cached_msg_size_in_mib: i32::try_from(bytes >> 20).unwrap_or(i32::MAX),
                dropped: s.is_dropped(),
                ..ProcessQueueInfo::default()
            };
            (s.queue.clone(), info)
        });
        let properties = [
            ("PROP_CONSUME_TYPE", Text::from_static("CONSUME_PASSIVELY")),
            ("PROP_CONSUMEORDERLY", Text::from_static("false")),
            ("PROP_CLIENT_VERSION", Text::from(protocol::version::describe(protocol::version::OURS))),
            ("PROP_THREADPOOL_CORE_SIZE", Text::from(self.manners.concurrency.to_string())),
        ];
        let body = ConsumerRunningInfo {
            mq_table: wire::by_queue(queues),
            properties: properties
                .into_iter()
                .map(|(name, value)| (Text::from_static(name), value))
                .collect(),
            subscription_set: self.instance.role.lock().subscriptions().to_vec(),
            ..ConsumerRunningInfo::default()
        };
        Reply::ok().body(json::to_vec(&body))
    }

    /// Runs the listener on one message that a tool chose. Offsets do not move.
    async fn answer_consume(&self, command: Command) -> Reply {
        let Ok(header) = command.header::<rpc::ConsumeMessageDirectly>() else { return bad("header") };
        if header.consumer_group != self.group {
            return self.stranger(&header.consumer_group);
        }
        let broker = header.broker_name.unwrap_or_default();
        let mut messages = decode::messages(Bytes::clone(&command.body), &broker);
        messages.truncate(1);
        let Some(message) = messages.first() else { return bad("record") };
        let began = Instant::now();
        let verdict =
            (self.listener)(Batch { queue: message.queue.clone(), messages: messages.clone() }).await;
        let body = ConsumeMessageDirectlyResult {
            auto_commit: true,
            consume_result: match verdict {
                Consumed::Ok | Consumed::First(1..) => ConsumeResult::Success,
                Consumed::Later | Consumed::First(0) => ConsumeResult::Later,
            },
            spent_time_millis: i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX),
            ..ConsumeMessageDirectlyResult::default()
        };
        Reply::ok().body(json::to_vec(&body))
    }

    fn stranger(&self, group: &str) -> Reply {
        Reply::refuse(code::SYSTEM_ERROR, format!("this client is in group {}, not in {group}", self.group))
    }
}

fn bad(what: &str) -> Reply {
    Reply::refuse(code::SYSTEM_ERROR, format!("the {what} of the request cannot be read"))
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
