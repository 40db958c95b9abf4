//! Pulls and memberships.

use anyhow::Result;
use protocol::body::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData};
use protocol::json;
use protocol::rpc::{
    GetConsumeStats, GetConsumerConnectionList, GetConsumerListByGroup, GetProducerConnectionList, Heartbeat,
    PullMessage, QuerySubscriptionByConsumer, QueryTopicConsumeByWho, QueryTopicsByConsumer,
    UnregisterClient,
};

use super::{message, store};
use crate::side::Side;

/// Bits of a pull's sysFlag.
const COMMIT: i32 = 1;
const SUSPEND: i32 = 2;
const SUBSCRIPTION: i32 = 4;

fn pulls(topic: &str, from: i64, expression: &str) -> PullMessage {
    PullMessage {
        consumer_group: "diff-pullers".into(),
        topic: topic.into(),
        queue_id: 0,
        queue_offset: from,
        max_msg_nums: 32,
        sys_flag: SUBSCRIPTION,
        subscription: Some(expression.into()),
        expression_type: Some("TAG".into()),
        ..PullMessage::default()
    }
}

pub(crate) fn pull(side: &mut Side) -> Result<()> {
    let topic = "diff-pull";
    for number in 0..10 {
        let (tag, key) = (format!("t{}", number % 3), format!("u{number}"));
        let request = message(topic, 0, &[("TAGS", &tag), ("UNIQ_KEY", &key)]);
        store(side, &format!("send {number}"), &request, &format!("body {number}"))?;
    }
    let all = |from| pulls(topic, from, "*");
    let cases = [
        ("all", all(0)),
        ("from the middle", all(4)),
        ("two", PullMessage { max_msg_nums: 2, ..all(3) }),
        ("none asked", PullMessage { max_msg_nums: 0, ..all(3) }),
        ("one tag", pulls(topic, 0, "t1")),
        ("two tags", pulls(topic, 0, "t1 || t2")),
        ("a tag that nobody has", pulls(topic, 0, "none")),
        ("an empty expression", pulls(topic, 0, "")),
        ("an expression of separators", pulls(topic, 0, "||")),
        ("at the end", all(10)),
        ("behind the end", all(11)),
        ("far behind the end", all(1 << 40)),
        ("before the begin", all(-1)),
        ("few bytes", PullMessage { max_msg_bytes: Some(250), ..all(0) }),
        ("another queue", PullMessage { queue_id: 1, ..all(0) }),
        ("another queue, further", PullMessage { queue_id: 1, ..all(5) }),
        ("a queue beyond", PullMessage { queue_id: 9, ..all(0) }),
        ("a queue below", PullMessage { queue_id: -1, ..all(0) }),
        ("an unknown topic", pulls("diff-nobody", 0, "*")),
        ("no subscription known", PullMessage { sys_flag: 0, subscription: None, ..all(0) }),
        ("SQL", PullMessage { expression_type: Some("SQL92".into()), ..pulls(topic, 0, "a = 1") }),
        (
            "waits shortly",
            PullMessage { sys_flag: SUBSCRIPTION | SUSPEND, suspend_timeout_millis: 300, ..all(10) },
        ),
        ("commits", PullMessage { sys_flag: SUBSCRIPTION | COMMIT, commit_offset: 4, ..all(5) }),
    ];
    for (label, request) in cases {
        side.ask(label, &request, "")?;
    }
    Ok(())
}

pub(crate) fn members(side: &mut Side) -> Result<()> {
    let (topic, group) = ("diff-members", "diff-group");
    store(side, "send", &message(topic, 0, &[("UNIQ_KEY", "u")]), "x")?;
    questions(side, "before", topic, group)?;
    let data = HeartbeatData {
        client_id: "client@1".into(),
        producer_data_set: vec![ProducerData { group_name: "diff-producers".into() }],
        consumer_data_set: vec![ConsumerData {
            group_name: group.into(),
            subscription_data_set: vec![SubscriptionData {
                topic: topic.into(),
                sub_string: "*".into(),
                sub_version: 1,
                ..SubscriptionData::default()
            }],
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    side.ask("heartbeat", &Heartbeat {}, json::to_vec(&data))?;
    side.ask("heartbeat again", &Heartbeat {}, json::to_vec(&data))?;
    questions(side, "with a member", topic, group)?;
    side.ask(
        "pull by the heartbeat's subscription",
        &PullMessage {
            consumer_group: group.into(),
            sys_flag: 0,
            subscription: None,
            ..pulls(topic, 0, "*")
        },
        "",
    )?;
    side.ask(
        "leave",
        &UnregisterClient {
            client_id: "client@1".into(),
            producer_group: Some("diff-producers".into()),
            consumer_group: Some(group.into()),
        },
        "",
    )?;
    questions(side, "afterwards", topic, group)?;
    Ok(())
}

/// What tools ask of a group.
fn questions(side: &mut Side, when: &str, topic: &str, group: &str) -> Result<()> {
    let list = GetConsumerListByGroup { consumer_group: group.into() };
    side.ask(format!("{when}: list"), &list, "")?;
    let connections = GetConsumerConnectionList { consumer_group: group.into() };
    side.ask(format!("{when}: connections"), &connections, "")?;
    let producers = GetProducerConnectionList { producer_group: "diff-producers".into() };
    side.ask(format!("{when}: producers"), &producers, "")?;
    let by_whom = QueryTopicConsumeByWho { topic: topic.into() };
    side.ask(format!("{when}: who consumes"), &by_whom, "")?;
    side.ask(format!("{when}: consumes what"), &QueryTopicsByConsumer { group: group.into() }, "")?;
    let subscription = QuerySubscriptionByConsumer { group: group.into(), topic: Some(topic.into()) };
    side.ask(format!("{when}: subscription"), &subscription, "")?;
    for (name, of) in [("of all topics", None), ("of the topic", Some(topic.into()))] {
        let stats = GetConsumeStats { consumer_group: group.into(), topic: of, topic_list: None };
        side.ask(format!("{when}: progress {name}"), &stats, "")?;
    }
    Ok(())
}
