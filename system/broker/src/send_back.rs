//! Messages that a consumer could not handle come back here and go to the group's retry or dead letter topic.
//!
//! Delay levels come with a later version: a retry is stored without its delay and consumed again at once.

use net::Reply;
use protocol::{
    body::perm,
    id::OffsetId,
    name,
    properties::{self, names},
    record::{NewRecord, Scan, scan},
    rpc::ConsumerSendMsgBack,
    version,
};
use runtime::{clock, tap};

use crate::{
    Broker,
    refusal::{Answer, Refusal},
    state::topics::Topic,
};

impl Broker {
    /// Stores a copy of the message for another try, or as a dead letter when it had its tries.
    pub(crate) async fn send_back(&self, client_version: i32, h: ConsumerSendMsgBack) -> Answer {
        let group = self.groups.lock().get(&h.group).cloned();
        let group = group.ok_or_else(|| Refusal::NoGroup(h.group.to_string()))?;
        if self.config().broker_permission & perm::WRITE == 0 {
            return Err(Refusal::Forbidden(format!(
                "the broker[{}] sending message is forbidden",
                self.address
            )));
        }
        if group.retry_queue_nums <= 0 {
            return Ok(Reply::ok());
        }
        let stored = self.record_at(h.offset).await?;
        let missing = || Refusal::Failed(format!("look message by offset failed, {}", h.offset));
        let stored = stored.ok_or_else(missing)?;
        let Scan::Record(message) = scan(&stored, true) else { return Err(missing()) };

        let most = match h.max_reconsume_times {
            Some(most) if client_version >= version::MAX_RECONSUME_TIMES => most,
            _ => group.retry_max_times,
        };
        let dead = message.reconsume_times >= most || h.delay_level < 0;
        let (topic, queue_id) = if dead {
            (self.ensure_topic(&name::dlq_topic(&h.group), 1), 0)
        } else {
            let topic = self.ensure_topic(&name::retry_topic(&h.group), group.retry_queue_nums);
            let queues = group.retry_queue_nums.min(topic.config.write_queue_nums);
            (topic, self.any_queue(queues))
        };
        if topic.config.perm & perm::WRITE == 0 {
            return Err(Refusal::Forbidden(format!(
                "the topic[{}] sending message is forbidden: its permission is {}",
                topic.config.topic_name, topic.config.perm
            )));
        }
        self.topics_saved.reach(topic.change).await?;

        let id = OffsetId { host: message.store_host, position: message.place.position };
        let text = retry_properties(message.properties, message.topic, &id);
        let copy = NewRecord {
            topic: &topic.config.topic_name,
            queue_id,
            flag: message.flag,
            sys_flag: message.sys_flag,
            born_timestamp: message.born_timestamp,
            born_host: message.born_host,
            store_host: self.store_host,
            reconsume_times: message.reconsume_times + 1,
            prepared_offset: 0,
            body: message.body,
            properties: &text,
        };
        let appended = self.store.append(&copy).await?;
        self.counters.stored(1, copy.body.len());
        let (code, why) = self.settle(&appended, true).await;
        tap!(
            "acked",
            topic = topic.config.topic_name.as_str(),
            queue = queue_id,
            offset = appended.queue_offset,
            end = appended.end,
            code = code
        );
        match why {
            None => Ok(Reply::ok()),
            // The consumer keeps the message and tries again: a repeat is better than a loss.
            Some(why) => Err(Refusal::Failed(format!("the message that was sent back is {why}"))),
        }
    }

    /// The topic, made if it is missing.
    pub(crate) fn ensure_topic(&self, topic: &str, queues: i32) -> Topic {
        let (found, made) = {
            let mut topics = self.topics.lock();
            let made = topics.get(topic).is_none();
            (topics.ensure(topic, queues, clock::now_ms()), made)
        };
        if made {
            tracing::info!(topic, queues, "topic created");
            self.topic_set(&found);
        }
        found
    }
}

/// What is kept of a message that comes back: where it was first, and its first id.
fn retry_properties(text: &[u8], topic: &str, id: &OffsetId) -> Vec<u8> {
    let mut out = properties::without(text, names::DELAY);
    out = properties::without(&out, names::WAIT);
    if properties::get(&out, names::RETRY_TOPIC).is_none() {
        properties::push(&mut out, names::RETRY_TOPIC, topic);
    }
    if properties::get(&out, names::ORIGIN_MESSAGE_ID).is_none() {
        properties::push(&mut out, names::ORIGIN_MESSAGE_ID, id.write(&mut [0; 56]));
    }
    properties::push(&mut out, names::WAIT, "false");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_comes_back_twice_keeps_its_first_topic_and_id() {
        let first = OffsetId { host: "127.0.0.1:10911".parse().unwrap(), position: 0 };
        let second = OffsetId { position: 4096, ..first };
        let once = retry_properties(b"KEYS\x01k\x02DELAY\x013\x02", "orders", &first);
        let twice = retry_properties(&once, "%RETRY%g", &second);
        assert_eq!(properties::to_map(&once), properties::to_map(&twice));
        assert_eq!(properties::get_str(&twice, names::RETRY_TOPIC), Some("orders"));
        assert_eq!(properties::get_str(&twice, names::ORIGIN_MESSAGE_ID), Some(first.to_string().as_str()));
        assert_eq!(properties::get(&twice, names::DELAY), None);
    }
}
