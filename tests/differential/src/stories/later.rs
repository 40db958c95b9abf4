//! Messages that come later: delay levels, retries, dead letters.

use anyhow::Result;
use process::create_topic;
use protocol::body::SubscriptionGroupConfig;
use protocol::rpc::{
    ConsumerSendMsgBack, DeleteSubscriptionGroup, SendMessageV2, UpdateAndCreateSubscriptionGroup,
};
use protocol::{json, name};

use super::{arrives, by_key, message, position, store, view};
use crate::side::{Side, field};

pub(crate) fn delays(side: &mut Side) -> Result<()> {
    let topic = "diff-delays";
    create_topic(&side.address, topic, 8)?;
    let waits = [("level 1", "1"), ("level 2", "2"), ("a level too high", "99")];
    for (queue_id, (label, level)) in (0..).zip(waits) {
        let pairs = [("DELAY", level), ("UNIQ_KEY", label), ("KEYS", "k"), ("TAGS", "t"), ("own", "yes")];
        let sent = side.ask(label, &message(topic, queue_id, &pairs), label)?;
        view(side, &format!("{label}, waiting"), position(&field(&sent, "msgId")))?;
    }
    for (label, level) in [("level 0", "0"), ("level -1", "-1")] {
        let pairs = [("DELAY", level), ("UNIQ_KEY", label)];
        let sent = store(side, label, &message(topic, 7, &pairs), label)?;
        view(side, &format!("{label}, stored"), position(&field(&sent, "msgId")))?;
    }
    for (label, level) in [("a level that is no number", "x"), ("a level above all numbers", "2147483648")] {
        side.ask(label, &message(topic, 6, &[("DELAY", level), ("UNIQ_KEY", label)]), label)?;
    }
    for (queue_id, (label, _)) in (0..).zip(waits) {
        arrives(side, &format!("{label}, come"), topic, queue_id, 0)?;
    }
    by_key(side, "by key while it waited", name::SCHEDULE_TOPIC, "k", false)?;
    by_key(side, "by unique key", topic, "level 1", true)
}

const GROUP: &str = "diff-retries";

fn back(offset: i64, delay_level: i32) -> ConsumerSendMsgBack {
    ConsumerSendMsgBack {
        offset,
        group: GROUP.into(),
        delay_level,
        origin_msg_id: Some("u".into()),
        origin_topic: Some("diff-retried".into()),
        unit_mode: false,
        max_reconsume_times: None,
    }
}

pub(crate) fn retries(side: &mut Side) -> Result<()> {
    let (topic, again, dead) = ("diff-retried", "%RETRY%diff-retries", "%DLQ%diff-retries");
    let config = SubscriptionGroupConfig {
        group_name: GROUP.into(),
        retry_max_times: 2,
        ..SubscriptionGroupConfig::default()
    };
    side.ask("group", &UpdateAndCreateSubscriptionGroup {}, json::to_vec(&config))?;
    let send = |side: &mut Side, label: &str| -> Result<i64> {
        let pairs = [("UNIQ_KEY", label), ("KEYS", "k"), ("TAGS", "t"), ("WAIT", "true"), ("own", "yes")];
        let sent = store(side, label, &message(topic, 0, &pairs), label)?;
        Ok(position(&field(&sent, "msgId")))
    };

    // Until it is dead.
    let mut at = send(side, "hard")?;
    for (times, level) in [(0, 0), (1, 1)] {
        side.ask(format!("hard, back {times}"), &back(at, level), "")?;
        at = arrives(side, &format!("hard, try {times}"), again, 0, times)?;
    }
    side.ask("hard, back for the last time", &back(at, 0), "")?;
    by_key(side, "hard while it waited", name::SCHEDULE_TOPIC, "hard", true)?;
    by_key(side, "hard, dead", dead, "hard", true)?;
    by_key(side, "hard, all tries", again, "hard", true)?;

    // By what the consumer says.
    let at = send(side, "hopeless")?;
    side.ask("hopeless, back", &back(at, -1), "")?;
    by_key(side, "hopeless, dead", dead, "hopeless", true)?;
    let at = send(side, "limited")?;
    side.ask("limited, back", &ConsumerSendMsgBack { max_reconsume_times: Some(0), ..back(at, 0) }, "")?;
    by_key(side, "limited, dead", dead, "limited", true)?;
    let at = send(side, "high")?;
    side.ask("high, back", &ConsumerSendMsgBack { max_reconsume_times: Some(9), ..back(at, 99) }, "")?;
    arrives(side, "high, come", again, 0, 2)?;

    published(side, again, dead)?;
    refused(side, at)
}

fn refused(side: &mut Side, at: i64) -> Result<()> {
    for (label, offset) in [("beyond the log", 1 << 40), ("beside a record", at + 1), ("below zero", -1)] {
        side.ask(format!("back from {label}"), &back(offset, 0), "")?;
    }
    let no_topic = ConsumerSendMsgBack { origin_msg_id: None, origin_topic: None, ..back(at, -1) };
    side.ask("back without its first place", &no_topic, "")?;
    let group = "diff-no-retries";
    let config = SubscriptionGroupConfig {
        group_name: group.into(),
        retry_queue_nums: 0,
        ..SubscriptionGroupConfig::default()
    };
    side.ask("group without retries", &UpdateAndCreateSubscriptionGroup {}, json::to_vec(&config))?;
    side.ask("back to it", &ConsumerSendMsgBack { group: group.into(), ..back(at, 0) }, "")?;
    side.ask("back to a bad group", &ConsumerSendMsgBack { group: "a b".into(), ..back(at, 0) }, "")?;
    let delete =
        DeleteSubscriptionGroup { group_name: group.into(), clean_offset: None, remove_offset: None };
    side.ask("delete it", &delete, "")?;
    side.ask("back to a new group", &ConsumerSendMsgBack { group: group.into(), ..back(at, -1) }, "")?;
    Ok(())
}

/// A client publishes a retry itself when its send-back failed.
fn published(side: &mut Side, again: &str, dead: &str) -> Result<()> {
    let publish = |key: &str, times: i32| SendMessageV2 {
        reconsume_times: Some(times),
        max_reconsume_times: Some(2),
        ..message(
            again,
            0,
            &[
                ("UNIQ_KEY", key),
                ("DELAY", "4"),
                ("RETRY_TOPIC", "diff-retried"),
                ("ORIGIN_MESSAGE_ID", "first"),
                ("RECONSUME_TIME", "1"),
                ("MAX_RECONSUME_TIMES", "2"),
                ("CLUSTER", "before"),
            ],
        )
    };
    let sent = side.ask("published", &publish("published", 1), "x")?;
    view(side, "published, waiting", position(&field(&sent, "msgId")))?;
    arrives(side, "published, come", again, 0, 3)?;
    let sent = side.ask("published too often", &publish("often", 3), "x")?;
    view(side, "published too often, stored", position(&field(&sent, "msgId")))?;
    by_key(side, "published too often, dead", dead, "often", true)?;
    let sent = side.ask("published at the limit", &publish("limit", 2), "x")?;
    view(side, "published at the limit, stored", position(&field(&sent, "msgId")))
}
