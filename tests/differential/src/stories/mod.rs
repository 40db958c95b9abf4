//! What is played to both brokers. A story has topics and groups of its own, so that any of them can be played alone.

mod consume;
mod offsets;
mod query;
mod send;
mod tables;

use anyhow::Result;
use protocol::rpc::{GetMaxOffset, SendMessageV2};
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
