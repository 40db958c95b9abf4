//! Messages that a consumer could not handle come back here: they wait for another try in the group's retry topic,
//! or become dead letters when they had their tries.

use net::Reply;
use protocol::{
    body::{SubscriptionGroupConfig, perm},
    id, name,
    properties::{self, names},
    record::{NewRecord, RecordRef, Scan, scan, sys_flag},
    rpc::ConsumerSendMsgBack,
    version,
};
use runtime::{buggify, clock, crash_point, planted, sometimes, tap};
use store::Appended;

use crate::{
    Broker,
    refusal::{Answer, Refusal},
    state::{delay, topics::Topic},
};

/// What becomes of a message that came back.
enum Fate {
    /// It is consumed again after the delay of a level.
    Retry(i32),
    /// Nobody gets it any more.
    Dead,
}

impl Broker {
    /// Stores a copy of the message for another try, or as a dead letter when it had its tries.
    pub(crate) async fn send_back(&self, client_version: i32, h: ConsumerSendMsgBack) -> Answer {
        let group = self.group(&h.group)?;
        // The consumer has to bring it back in another way (RTY-2).
        if buggify!("broker.send_back.busy") {
            return Err(Refusal::Busy("the broker is busy".into()));
        }
        if self.config().broker_permission & perm::WRITE == 0 {
            return Err(Refusal::Forbidden(format!(
                "the broker[{}] sending message is forbidden",
                self.address
            )));
        }
        if group.retry_queue_nums <= 0 {
            tracing::warn!(
                group = %h.group,
                position = h.offset,
                "a message that was sent back is dropped: retryQueueNums of its group is 0"
            );
            return Ok(Reply::ok());
        }
        let stored = self.record_at(h.offset).await?;
        let missing = || Refusal::Failed(format!("look message by offset failed, {}", h.offset));
        sometimes!("broker.send_back.missing", stored.is_none());
        let stored = stored.ok_or_else(missing)?;
        let Scan::Record(message) = scan(&stored, true) else { return Err(missing()) };
        if name::is_closed_topic(message.topic) {
            // No consumer got it from there: a half message would become visible that way.
            return Err(Refusal::Forbidden(format!(
                "what waits in topic[{}] cannot be sent back",
                message.topic
            )));
        }
        if !is_meant(&h, &message) {
            return Err(Refusal::Failed(format!(
                "look message by offset failed, {}: another message than {} stands there",
                h.offset,
                h.origin_msg_id.as_deref().unwrap_or_default()
            )));
        }

        let fate = fate(&h, &group, client_version, message.reconsume_times - i32::from(planted!("B15")));
        if matches!(fate, Fate::Dead) && planted!("M44") {
            return Ok(Reply::ok());
        }
        sometimes!("broker.send_back.dead", matches!(fate, Fate::Dead));
        sometimes!("broker.send_back.retried_again", message.reconsume_times > 0);
        let (topic, queue_id) = self.place_for(&fate, &group, h.unit_mode);
        if topic.config.perm & perm::WRITE == 0 {
            return Err(Refusal::Forbidden(format!(
                "the topic[{}] sending message is forbidden: its permission is {}",
                topic.config.topic_name, topic.config.perm
            )));
        }
        self.topics_saved.reach(topic.change).await?;

        let mut kept = kept_properties(&message);
        if planted!("B09") {
            kept = properties::without(&kept, names::KEYS);
        }
        if planted!("B87") {
            let own = message.offset_id().to_string();
            kept = delay::with(&kept, &[(names::ORIGIN_MESSAGE_ID, &own)]);
        }
        if planted!("B66") {
            kept = properties::without(&kept, names::UNIQ_KEY);
        }
        if message.topic.starts_with(name::RETRY_PREFIX) && planted!("B14") {
            kept = delay::with(&kept, &[(names::RETRY_TOPIC, message.topic)]);
        }
        let level = match fate {
            Fate::Retry(level) => Some(level),
            Fate::Dead if planted!("M42") => {
                let value = properties::get(&kept, names::DELAY);
                value.and_then(|value| delay::level(value).ok().flatten())
            }
            Fate::Dead => None,
        };
        let name = topic.config.topic_name.as_str();
        let most = self.delays.levels.count() - 1;
        let level = level.map(|level| if level > most && planted!("B11") { most } else { level });
        let scheduled = level.map(|level| self.delays.levels.schedule(level, name, queue_id, &kept));
        let dead = delay::with(&kept, &[DEAD_BACK]);
        let (stored_topic, stored_queue, text) = match &scheduled {
            Some(waits) => (name::SCHEDULE_TOPIC, waits.queue, &waits.properties[..]),
            None => (name, queue_id, &dead[..]),
        };
        let times =
            if planted!("M43") { message.reconsume_times } else { message.reconsume_times.saturating_add(1) };
        let copy = NewRecord {
            topic: stored_topic,
            queue_id: stored_queue,
            flag: message.flag,
            // Its transaction has ended: the record of the commit is not this one.
            sys_flag: message.sys_flag & !sys_flag::TRANSACTION_MASK,
            born_timestamp: if planted!("B59") { clock::now_ms() } else { message.born_timestamp },
            born_host: message.born_host,
            store_host: self.store_host,
            reconsume_times: times,
            prepared_offset: 0,
            body: message.body,
            properties: text,
            added: b"",
        };
        let appended = self.store.append(&copy).await?;
        self.counters.stored(1, copy.body.len());
        if let Some(waits) = &scheduled {
            self.delay_begins(waits.queue, &appended);
        }
        crash_point!("broker.send_back.appended").await;
        let (code, why) = self.settle(&appended, true).await;
        tap!(
            "acked",
            topic = stored_topic,
            queue = stored_queue,
            offset = appended.queue_offset,
            end = appended.end,
            code = code
        );
        if let Some(waits) = &scheduled {
            tap!(
                "delay_stored",
                level = waits.level,
                offset = appended.queue_offset,
                topic = name,
                queue = queue_id,
                stored = appended.store_timestamp,
                end = appended.end,
                code = code
            );
        }
        tap!(
            "sent_back",
            group = h.group.as_str(),
            topic = message.topic,
            queue = message.queue_id,
            offset = message.place.queue_offset,
            times = times,
            level = scheduled.as_ref().map_or(0, |waits| waits.level),
            to = name,
            to_queue = queue_id,
            at = appended.queue_offset,
            end = appended.end,
            code = code
        );
        if matches!(fate, Fate::Dead) {
            dead_letter(&topic, times, &appended, code);
        }
        match why {
            None => Ok(Reply::ok()),
            // The consumer keeps the message and tries again: a repeat is better than a loss.
            Some(why) => {
                sometimes!("broker.send_back.degraded");
                Err(Refusal::Failed(format!("the message that was sent back is {why}")))
            }
        }
    }

    /// The topic and queue where it is consumed next.
    fn place_for(&self, fate: &Fate, group: &SubscriptionGroupConfig, unit: bool) -> (Topic, i32) {
        match fate {
            Fate::Dead => (self.ensure_topic(&name::dlq_topic(&group.group_name), 1, false), 0),
            Fate::Retry(_) => {
                let queues = group.retry_queue_nums;
                let topic = self.ensure_topic(&name::retry_topic(&group.group_name), queues, unit);
                let queue = self.any_queue(queues.min(topic.config.write_queue_nums));
                (topic, queue)
            }
        }
    }

    /// The topic, made if it is missing; `unit`: for a group of a unit.
    pub(crate) fn ensure_topic(&self, topic: &str, queues: i32, unit: bool) -> Topic {
        let (found, made) = {
            let mut topics = self.topics.lock();
            let made = topics.get(topic).is_none();
            (topics.ensure(topic, queues, unit, clock::now_ms()), made)
        };
        if made {
            tracing::info!(topic, queues, "topic created");
            self.topic_set(&found);
        }
        found
    }
}

/// Whether the message at the position is the one that the client names, by its unique key or its offset id. A loss of
/// power may have taken what the client got from there, and another got its place. Only what has the form of an id can
/// name another message: the reference looks at the position alone.
fn is_meant(h: &ConsumerSendMsgBack, message: &RecordRef<'_>) -> bool {
    let Some(named) = h.origin_msg_id.as_deref().filter(|named| id::has_form(named)) else { return true };
    let Some(unique) = properties::get(message.properties, names::UNIQ_KEY) else { return true };
    named.as_bytes().eq_ignore_ascii_case(unique)
        || named.eq_ignore_ascii_case(message.offset_id().write(&mut [0; 56]))
}

/// Another try, or none: the limit is the client's where it tells one, else the group's; level 0 leaves the delay to
/// the broker, and it grows with the tries.
fn fate(h: &ConsumerSendMsgBack, group: &SubscriptionGroupConfig, client_version: i32, times: i32) -> Fate {
    let most = match h.max_reconsume_times {
        Some(most) if client_version >= version::MAX_RECONSUME_TIMES => most,
        _ => group.retry_max_times,
    };
    if times >= most || h.delay_level < 0 {
        Fate::Dead
    } else if h.delay_level == 0 {
        // A producer may have stored any count.
        Fate::Retry(FIRST_RETRY_LEVEL.saturating_add(times.max(0)))
    } else {
        Fate::Retry(h.delay_level)
    }
}

/// What is kept of a message that comes back: where it was first, and its first id.
fn kept_properties(message: &RecordRef<'_>) -> Vec<u8> {
    let id = message.offset_id();
    let known = |name| properties::get_str(message.properties, name);
    let first_topic = known(names::RETRY_TOPIC).unwrap_or(message.topic);
    let mut buffer = [0; 56];
    let first_id = known(names::ORIGIN_MESSAGE_ID).unwrap_or_else(|| id.write(&mut buffer));
    delay::with(
        message.properties,
        &[(names::RETRY_TOPIC, first_topic), (names::ORIGIN_MESSAGE_ID, first_id), (names::WAIT, "false")],
    )
}

/// Tells that a message died.
pub(crate) fn dead_letter(topic: &Topic, times: i32, appended: &Appended, code: i32) {
    tracing::info!(
        topic = %topic.config.topic_name,
        offset = appended.queue_offset,
        tries = times,
        "a message became a dead letter"
    );
    tap!(
        "dead_letter",
        topic = topic.config.topic_name.as_str(),
        offset = appended.queue_offset,
        times = times,
        end = appended.end,
        code = code
    );
}

/// The first retry comes after the delay of this level.
const FIRST_RETRY_LEVEL: i32 = 3;

/// A dead letter waits for nothing, whatever it waited for before. It carries the same marks as Java's: one for
/// those that were sent back ...
const DEAD_BACK: (&str, &str) = (names::DELAY, "0");
/// ... and one for those that a client published.
pub(crate) const DEAD_SENT: (&str, &str) = (names::DELAY, "-1");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_comes_back_twice_keeps_its_first_topic_and_id() {
        let record = |topic: &str, position: u64, text: &[u8]| {
            let host = "127.0.0.1:10911".parse().unwrap();
            let mut bytes = bytes::BytesMut::new();
            NewRecord {
                topic,
                queue_id: 0,
                flag: 0,
                sys_flag: 0,
                born_timestamp: 0,
                born_host: host,
                store_host: host,
                reconsume_times: 0,
                prepared_offset: 0,
                body: b"x",
                properties: text,
                added: b"",
            }
            .encode(&mut bytes);
            let place = protocol::record::Place { queue_offset: 0, position, store_timestamp: 0 };
            protocol::record::place(&mut bytes, place);
            bytes
        };
        let kept = |bytes: &[u8]| {
            let Scan::Record(found) = scan(bytes, true) else { panic!("a record") };
            kept_properties(&found)
        };
        let once = kept(&record("orders", 100, b"KEYS\x01k\x02WAIT\x01true\x02"));
        let twice = kept(&record("%RETRY%g", 4096, &once));
        assert_eq!(properties::to_map(&once), properties::to_map(&twice));
        assert_eq!(properties::get_str(&twice, names::RETRY_TOPIC), Some("orders"));
        assert_eq!(
            properties::get_str(&twice, names::ORIGIN_MESSAGE_ID),
            Some("7F00000100002A9F0000000000000064")
        );
        assert_eq!(properties::get_str(&twice, names::WAIT), Some("false"));
    }

    #[test]
    fn tries_end_at_the_limit_of_the_client_or_of_the_group() {
        let group = SubscriptionGroupConfig { retry_max_times: 5, ..SubscriptionGroupConfig::default() };
        let level = |level: i32, most: Option<i32>, version: i32, times: i32| {
            let h = ConsumerSendMsgBack {
                offset: 0,
                group: "g".into(),
                delay_level: level,
                origin_msg_id: None,
                origin_topic: None,
                unit_mode: false,
                max_reconsume_times: most,
            };
            match fate(&h, &group, version, times) {
                Fate::Retry(level) => level,
                Fate::Dead => -1,
            }
        };
        let (new, old) = (version::MAX_RECONSUME_TIMES, version::MAX_RECONSUME_TIMES - 1);
        assert_eq!([0, 1, 2].map(|times| level(0, Some(2), new, times)), [3, 4, -1], "the client's limit");
        assert_eq!([2, 4, 5].map(|times| level(0, Some(2), old, times)), [5, 7, -1], "too old to tell one");
        assert_eq!([4, 5].map(|times| level(0, None, new, times)), [7, -1], "the group's limit");
        assert_eq!(level(1, Some(16), new, 9), 1, "a level that was asked for");
        assert_eq!(level(-1, Some(16), new, 0), -1, "the consumer gives it up at once");
    }
}
