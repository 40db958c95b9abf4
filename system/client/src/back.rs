//! Giving a message back to its group: by the broker that has it, or else as a new message to the group's retry topic.

use bytes::Bytes;
use protocol::properties::{self, names};
use protocol::{code, name, rpc};
use runtime::{buggify, clock, sometimes, tap};

use crate::calls::{OFFSET_LIMIT, signed};
use crate::instance::{Instance, refused};
use crate::{CallError, MessageQueue, Received, Text};

impl Instance {
    /// Gives a message back: the group gets it again, later. When the broker that has it does not do that, a copy goes
    /// to the retry topic; should both have happened, the group sees the message once more, which it must bear.
    pub(crate) async fn send_back(
        &self,
        group: &Text,
        message: &Received,
        delay_level: i32,
        most_times: i32,
    ) -> Result<(), CallError> {
        let asked = match buggify!("client.back.copies") {
            // By a copy alone (RTY-1, RTY-4).
            true => Err(CallError::NoBroker { broker: message.queue.broker.clone() }),
            false => self.ask_back(group, message, delay_level, most_times).await,
        };
        let Err(error) = asked else { return Ok(()) };
        tracing::debug!(queue = %message.queue, offset = message.offset, %error,
            "not taken back by its broker: a copy is sent to the retry topic");
        match self.send_again(group, message, most_times).await {
            Ok(()) => Ok(()),
            Err(why) => {
                sometimes!("client.back.nowhere");
                tracing::debug!(queue = %message.queue, offset = message.offset, error = %why, "nor is the copy");
                Err(error)
            }
        }
    }

    async fn ask_back(
        &self,
        group: &Text,
        message: &Received,
        delay_level: i32,
        most_times: i32,
    ) -> Result<(), CallError> {
        let request = rpc::ConsumerSendMsgBack {
            offset: signed(message.position),
            group: group.clone(),
            delay_level,
            origin_msg_id: Some(message.message_id.clone()),
            origin_topic: Some(message.topic.clone()),
            unit_mode: false,
            max_reconsume_times: Some(most_times),
        };
        let address =
            self.master(&message.queue.broker).unwrap_or_else(|_| Text::from(message.store_host.to_string()));
        self.call(&address, &request, Bytes::new(), OFFSET_LIMIT).await?;
        Ok(())
    }

    /// Sends a copy to one queue of each broker that has the retry topic, in turn, until one has stored it.
    async fn send_again(&self, group: &Text, message: &Received, most_times: i32) -> Result<(), CallError> {
        let topic = Text::from(format!("{}{group}", name::RETRY_PREFIX));
        let queues = self.writable(&topic, RETRY_QUEUES).await?;
        let mut tried: Vec<&MessageQueue> = Vec::new();
        let mut last = CallError::NoBroker { broker: message.queue.broker.clone() };
        for queue in queues.iter() {
            if tried.iter().any(|before| before.broker == queue.broker) {
                continue;
            }
            tried.push(queue);
            let sent = async {
                let address = self.master(&queue.broker)?;
                let request = copy(queue, message, most_times);
                tell(group, message, queue, false);
                let answer = self.call_any(&address, &request, message.body.clone(), OFFSET_LIMIT).await?;
                match answer.code {
                    // One that is not surely on the disk of its broker may be gone tomorrow (RTY-5).
                    code::SUCCESS | code::FLUSH_SLAVE_TIMEOUT | code::SLAVE_NOT_AVAILABLE => Ok(()),
                    _ => Err(CallError::from(refused(&address, &answer))),
                }
            };
            match sent.await {
                Ok(()) => {
                    sometimes!("client.back.copied");
                    tell(group, message, queue, true);
                    return Ok(());
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Tells an observer that a copy goes to a broker, or that it is there.
fn tell(group: &Text, message: &Received, to: &MessageQueue, done: bool) {
    tap!(
        "client.copied_back",
        group = &**group,
        topic = &*message.queue.topic,
        broker = &*message.queue.broker,
        queue = message.queue.id,
        offset = message.offset,
        times = message.reconsume_times.saturating_add(1),
        to = &*to.broker,
        done = done
    );
    let _ = (group, message, to, done);
}

/// The message as a new one of the retry topic, one try further.
fn copy(queue: &MessageQueue, message: &Received, most_times: i32) -> rpc::SendMessageV2 {
    let times = message.reconsume_times.saturating_add(1);
    let origin = message.property(names::ORIGIN_MESSAGE_ID).unwrap_or(&message.message_id);
    let own = [
        (names::ORIGIN_MESSAGE_ID, origin.to_owned()),
        (names::RETRY_TOPIC, message.topic.to_string()),
        (names::RECONSUME_TIME, times.to_string()),
        (names::MAX_RECONSUME_TIMES, most_times.to_string()),
        (names::DELAY, FIRST_LEVEL.saturating_add(message.reconsume_times).to_string()),
    ];
    // One that came back before says that nobody waits for the disk; here somebody does.
    let dropped = |name: &str| name == names::TRANSACTION_PREPARED || name == names::WAIT;
    let replaced = |name: &str| dropped(name) || own.iter().any(|(other, _)| name == *other);
    let kept = message.properties.iter().map(|(name, value)| (&**name, &**value));
    let kept = kept.filter(|(name, _)| !replaced(name));
    let text = properties::from_map(kept.chain(own.iter().map(|(name, value)| (*name, &**value))));
    rpc::SendMessageV2 {
        producer_group: Text::from_static("CLIENT_INNER_PRODUCER"),
        topic: queue.topic.clone(),
        default_topic: Text::from_static("TBW102"),
        default_topic_queue_nums: RETRY_QUEUES,
        queue_id: queue.id,
        sys_flag: 0, // the body was inflated
        born_timestamp: clock::now_ms(),
        flag: message.flag,
        properties: Some(Text::from_utf8_lossy(text.into())),
        reconsume_times: Some(times),
        unit_mode: Some(false),
        max_reconsume_times: Some(most_times),
        batch: Some(false),
        broker_name: Some(queue.broker.clone()),
    }
}

/// Queues of a retry topic that is made by its first message.
const RETRY_QUEUES: i32 = 1;
/// The delay level of the first repeat.
const FIRST_LEVEL: i32 = 3;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    /// Any number may stand in a record.
    #[test]
    fn a_message_that_had_all_tries_there_are_is_given_back_too() {
        let queue = MessageQueue::new("topic", "broker", 0);
        let host = SocketAddr::from((Ipv4Addr::LOCALHOST, 10911));
        let message = Received {
            topic: "topic".into(),
            queue: queue.clone(),
            offset: 0,
            position: 0,
            message_id: "id".into(),
            offset_id: "id".into(),
            body: Bytes::new(),
            flag: 0,
            sys_flag: 0,
            properties: BTreeMap::new(),
            born_at_ms: 0,
            born_host: host,
            stored_at_ms: 0,
            store_host: host,
            reconsume_times: i32::MAX,
        };
        runtime::run(Some(1), move || async move {
            let copied = copy(&queue, &message, 16);
            let text = format!("{}\u{1}{}\u{2}", names::DELAY, i32::MAX);
            let properties = copied.properties.unwrap_or_default();
            assert!(properties.contains(&text), "{properties:?}");
        });
    }
}
