//! What is played to both brokers. A story has topics and groups of its own, so that any of them can be played alone.

mod consume;
mod explain;
mod later;
mod offsets;
mod query;
mod send;
mod tables;
mod transactions;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use protocol::record::{Scan, scan};
use protocol::rpc::{GetMaxOffset, PullMessage, QueryMessage, SendMessageV2, ViewMessageById};
use protocol::{Command, Text, properties};

use crate::side::{Side, field};

/// A run of requests.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    pub(crate) play: fn(&mut Side) -> Result<()>,
}

/// All of them.
pub(crate) const ALL: &[Story] = &[
    Story { name: "send", play: send::send },
    Story { name: "send refused", play: send::refused },
    Story { name: "pull", play: consume::pull },
    Story { name: "members", play: consume::members },
    Story { name: "offsets", play: offsets::offsets },
    Story { name: "query", play: query::query },
    Story { name: "delays", play: later::delays },
    Story { name: "retries", play: later::retries },
    Story { name: "transactions", play: transactions::transactions },
    Story { name: "explain", play: explain::explain },
    Story { name: "topics", play: tables::topics },
    Story { name: "groups", play: tables::groups },
];

/// When messages of stories were born.
const BORN: i64 = 1_700_000_000_000;

/// A message with these properties.
fn message(topic: &str, queue_id: i32, pairs: &[(&str, &str)]) -> SendMessageV2 {
    let mut text = Vec::new();
    pairs.iter().for_each(|(name, value)| properties::push(&mut text, name, value));
    SendMessageV2 {
        producer_group: "producers".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id,
        born_timestamp: BORN,
        properties: Some(String::from_utf8(text).expect("texts are UTF-8").into()),
        ..SendMessageV2::default()
    }
}

/// Sends a message and waits until readers see it.
fn store(side: &mut Side, label: &str, request: &SendMessageV2, body: &str) -> Result<Command> {
    let answer = side.ask(label, request, body.to_owned())?;
    let end: i64 = field(&answer, "queueOffset").parse().map_or(0, |offset: i64| offset + 1);
    let seen = GetMaxOffset { topic: request.topic.clone(), queue_id: request.queue_id, committed: true };
    side.ask_until(format!("{label}, seen"), &seen, |answer| {
        field(answer, "offset").parse().is_ok_and(|offset: i64| offset >= end)
    })?;
    Ok(answer)
}

/// The position in the log that an offset message id names.
fn position(id: &Text) -> i64 {
    id.get(16..).and_then(|digits| i64::from_str_radix(digits, 16).ok()).unwrap_or(-1)
}

/// Shows the record at a position.
fn view(side: &mut Side, label: &str, offset: i64) -> Result<()> {
    side.ask(label, &ViewMessageById { offset, topic: None }, "")?;
    Ok(())
}

/// Waits until a queue has a message at an offset, shows it, and says where it stands in the log.
fn arrives(side: &mut Side, label: &str, topic: &str, queue_id: i32, offset: i64) -> Result<i64> {
    let seen = GetMaxOffset { topic: topic.into(), queue_id, committed: true };
    side.wait(label, &seen, |answer| field(answer, "offset").parse().is_ok_and(|end: i64| end > offset))?;
    let pull = PullMessage {
        consumer_group: "diff-readers".into(),
        topic: topic.into(),
        queue_id,
        queue_offset: offset,
        max_msg_nums: 1,
        sys_flag: 4,
        subscription: Some("*".into()),
        expression_type: Some("TAG".into()),
        ..PullMessage::default()
    };
    let answer = side.ask(label, &pull, "")?;
    match scan(&answer.body, true) {
        Scan::Record(record) => Ok(i64::try_from(record.place.position)?),
        _ => Ok(-1), // the answers show it
    }
}

/// A query that finds something, a little later than the send.
fn by_key(side: &mut Side, label: &str, topic: &str, key: &str, unique: bool) -> Result<()> {
    let query = QueryMessage {
        topic: topic.into(),
        key: key.into(),
        max_num: 10,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        unique_key_query: Some(unique),
    };
    side.ask_until(label, &query, |answer| answer.code == 0 && !answer.body.is_empty())?;
    Ok(())
}

/// Shows where a queue ends.
fn ends_at(side: &mut Side, label: &str, topic: &str, queue_id: i32) -> Result<()> {
    side.ask(label, &GetMaxOffset { topic: topic.into(), queue_id, committed: true }, "")?;
    Ok(())
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    i64::try_from(since.as_millis()).expect("centuries are far")
}
