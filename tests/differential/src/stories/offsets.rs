//! Offsets of queues and groups.

use anyhow::Result;
use protocol::body::SubscriptionGroupConfig;
use protocol::json;
use protocol::rpc::{
    GetConsumeStats, GetEarliestMsgStoretime, GetMaxOffset, GetMinOffset, QueryConsumerOffset,
    SearchOffsetByTimestamp, UpdateAndCreateSubscriptionGroup, UpdateConsumerOffset,
};

use super::{message, store};
use crate::side::Side;

pub(crate) fn offsets(side: &mut Side) -> Result<()> {
    let (topic, group) = ("diff-offsets", "diff-offset-group");
    for number in 0..5 {
        let key = format!("u{number}");
        store(side, &format!("send {number}"), &message(topic, 0, &[("UNIQ_KEY", &key)]), "x")?;
    }
    for (label, topic, queue_id) in
        [("used", topic, 0), ("empty", topic, 1), ("beyond", topic, 9), ("unknown topic", "diff-none", 0)]
    {
        let max = GetMaxOffset { topic: topic.into(), queue_id, committed: true };
        side.ask(format!("{label}: max"), &max, "")?;
        side.ask(format!("{label}: min"), &GetMinOffset { topic: topic.into(), queue_id }, "")?;
        let earliest = GetEarliestMsgStoretime { topic: topic.into(), queue_id };
        side.ask(format!("{label}: earliest"), &earliest, "")?;
        for timestamp in [i64::MIN, -1, 0, 1_000_000_000_000, 4_000_000_000_000, i64::MAX] {
            let search =
                SearchOffsetByTimestamp { topic: topic.into(), queue_id, timestamp, boundary_type: None };
            side.ask(format!("{label}: at {timestamp}"), &search, "")?;
        }
    }
    for (label, boundary) in [("lower", "LOWER"), ("upper", "UPPER")] {
        for timestamp in [0, 4_000_000_000_000] {
            let search = SearchOffsetByTimestamp {
                topic: topic.into(),
                queue_id: 0,
                timestamp,
                boundary_type: Some(boundary.into()),
            };
            side.ask(format!("{label} at {timestamp}"), &search, "")?;
        }
    }
    let config = SubscriptionGroupConfig { group_name: group.into(), ..SubscriptionGroupConfig::default() };
    side.ask("group", &UpdateAndCreateSubscriptionGroup {}, json::to_vec(&config))?;
    let read = |queue_id, zero| QueryConsumerOffset {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id,
        set_zero_if_not_found: zero,
    };
    side.ask("none stored", &read(0, None), "")?;
    side.ask("none stored, and none assumed", &read(0, Some(false)), "")?;
    side.ask("none stored, queue beyond", &read(9, None), "")?;
    for commit_offset in [3, 5, 6, 2] {
        let commit = UpdateConsumerOffset {
            consumer_group: group.into(),
            topic: topic.into(),
            queue_id: 0,
            commit_offset,
        };
        side.ask(format!("commit {commit_offset}"), &commit, "")?;
        side.ask(format!("after commit {commit_offset}"), &read(0, None), "")?;
    }
    let unknown = UpdateConsumerOffset {
        consumer_group: group.into(),
        topic: "diff-none".into(),
        queue_id: 0,
        commit_offset: 1,
    };
    side.ask("commit to an unknown topic", &unknown, "")?;
    let stats = GetConsumeStats { consumer_group: group.into(), topic: Some(topic.into()), topic_list: None };
    side.ask("progress", &stats, "")?;
    let nobody = GetConsumeStats { consumer_group: "diff-nobody".into(), topic: None, topic_list: None };
    side.ask("progress of a group that never was", &nobody, "")?;
    Ok(())
}
