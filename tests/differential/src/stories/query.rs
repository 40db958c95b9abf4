//! Queries by key, by unique key, by position.

use anyhow::Result;
use protocol::Command;
use protocol::rpc::{QueryMessage, ViewMessageById};

use super::{message, position, store};
use crate::side::{Side, field};

pub(crate) fn query(side: &mut Side) -> Result<()> {
    let topic = "diff-query";
    let mut last = 0;
    for number in 0..80 {
        let keys = format!("all by3-{}  spaced", number % 3);
        let unique = format!("u{number}");
        let request = message(topic, number % 4, &[("KEYS", &keys), ("UNIQ_KEY", &unique)]);
        let answer = store(side, &format!("send {number}"), &request, &format!("body {number}"))?;
        last = position(&field(&answer, "msgId"));
    }
    let odd = [("Aa", "c1"), ("BB", "c2"), ("a#b diff-query#c", "c0"), ("Aa Aa", "c3")];
    for (keys, unique) in odd {
        let request = message(topic, 0, &[("KEYS", keys), ("UNIQ_KEY", unique)]);
        let answer = store(side, &format!("send {keys}"), &request, keys)?;
        last = position(&field(&answer, "msgId"));
    }
    // The genuine broker indexes a little later than it answers.
    let asks = |key: &str, max_num, unique| QueryMessage {
        topic: topic.into(),
        key: key.into(),
        max_num,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        unique_key_query: unique,
    };
    let indexed = |answer: &Command| {
        field(answer, "indexLastUpdatePhyoffset").parse().is_ok_and(|position: i64| position >= last)
    };
    side.ask_until("the last one", &asks("c3", 32, Some(true)), indexed)?;
    let cases = [
        ("by key", asks("by3-1", 10, Some(false))),
        ("by key, no flag", asks("by3-1", 10, None)),
        ("more than a batch", asks("all", 1000, Some(false))),
        ("one", asks("all", 1, Some(false))),
        ("none asked", asks("all", 0, Some(false))),
        ("less than none", asks("all", -1, Some(false))),
        ("unique", asks("u7", 1, Some(true))),
        ("unique as key", asks("u7", 10, Some(false))),
        ("key as unique", asks("by3-1", 10, Some(true))),
        ("nobody's key", asks("nobody", 10, Some(false))),
        ("nobody's unique key", asks("nobody", 10, Some(true))),
        ("empty key", asks("", 10, Some(false))),
        ("two keys", asks("all by3-1", 10, Some(false))),
        ("blank", asks(" ", 10, Some(false))),
        ("key with the index's separator", asks("a#b", 10, Some(false))),
        ("key that looks like another topic's", asks("diff-query#c", 10, Some(false))),
        ("half of it", asks("b", 10, Some(false))),
        ("separators of properties", asks("u1\u{2}KEYS\u{1}all", 10, Some(false))),
        ("long key", asks(&"k".repeat(40_000), 10, Some(false))),
        ("as many as there are numbers", asks("by3-1", i32::MAX, Some(false))),
        ("same hash", asks("Aa", 10, Some(false))),
        ("same hash, other", asks("BB", 10, Some(false))),
        ("another topic", QueryMessage { topic: "diff-other".into(), ..asks("all", 10, Some(false)) }),
        ("past", QueryMessage { end_timestamp: 1_000_000_000_000, ..asks("all", 10, Some(false)) }),
        ("future", QueryMessage { begin_timestamp: 4_000_000_000_000, ..asks("all", 10, Some(false)) }),
        (
            "backwards",
            QueryMessage {
                begin_timestamp: 4_000_000_000_000,
                end_timestamp: 0,
                ..asks("all", 10, Some(false))
            },
        ),
        (
            "all of time backwards",
            QueryMessage {
                begin_timestamp: i64::MAX,
                end_timestamp: i64::MIN,
                ..asks("all", 10, Some(false))
            },
        ),
        ("everything", QueryMessage { begin_timestamp: i64::MIN, ..asks("all", 3, Some(false)) }),
    ];
    for (label, request) in cases {
        side.ask(label, &request, "")?;
    }
    side.ask("view the last", &ViewMessageById { offset: last, topic: Some(topic.into()) }, "")?;
    side.ask("view beside it", &ViewMessageById { offset: last + 1, topic: None }, "")?;
    Ok(())
}
