//! Topics and groups.

use anyhow::Result;
use protocol::body::SubscriptionGroupConfig;
use protocol::json;
use protocol::rpc::{
    DeleteSubscriptionGroup, DeleteTopicInBroker, GetSubscriptionGroupConfig, GetTopicConfig,
    GetTopicStatsInfo, UpdateAndCreateSubscriptionGroup, UpdateAndCreateTopic,
};

use super::{message, store};
use crate::side::Side;

pub(crate) fn topics(side: &mut Side) -> Result<()> {
    let topic = "diff-topics";
    let create = |name: &str, queues, perm| UpdateAndCreateTopic {
        topic: name.into(),
        default_topic: "TBW102".into(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm,
        topic_filter_type: "SINGLE_TAG".into(),
        topic_sys_flag: Some(0),
        order: false,
        attributes: None,
        force: None,
    };
    let look = |side: &mut Side, when: &str| -> Result<()> {
        let config = GetTopicConfig { topic: topic.into(), lo: None };
        side.ask(format!("{when}: config"), &config, "")?;
        side.ask(format!("{when}: bounds"), &GetTopicStatsInfo { topic: topic.into() }, "")?;
        Ok(())
    };
    look(side, "before")?;
    side.ask("create", &create(topic, 3, 6), "")?;
    look(side, "created")?;
    store(side, "send", &message(topic, 1, &[("UNIQ_KEY", "u")]), "x")?;
    look(side, "used")?;
    side.ask("grow", &create(topic, 5, 6), "")?;
    look(side, "grown")?;
    side.ask("read only", &create(topic, 5, 4), "")?;
    side.ask("send to a read only topic", &message(topic, 1, &[("UNIQ_KEY", "u2")]), "x")?;
    side.ask("delete", &DeleteTopicInBroker { topic: topic.into() }, "")?;
    look(side, "deleted")?;
    side.ask("delete again", &DeleteTopicInBroker { topic: topic.into() }, "")?;
    for (label, name) in [("illegal", "a b"), ("empty", ""), ("system", "TBW102"), ("long", &"t".repeat(128))]
    {
        side.ask(format!("create {label}"), &create(name, 1, 6), "")?;
        side.ask(format!("delete {label}"), &DeleteTopicInBroker { topic: name.into() }, "")?;
    }
    Ok(())
}

pub(crate) fn groups(side: &mut Side) -> Result<()> {
    let group = "diff-groups";
    let look = |side: &mut Side, when: &str| -> Result<()> {
        let config = GetSubscriptionGroupConfig { group: group.into() };
        side.ask(format!("{when}: config"), &config, "")?;
        Ok(())
    };
    let config = SubscriptionGroupConfig {
        group_name: group.into(),
        retry_max_times: 5,
        ..SubscriptionGroupConfig::default()
    };
    side.ask("create", &UpdateAndCreateSubscriptionGroup {}, json::to_vec(&config))?;
    look(side, "created")?;
    let changed = SubscriptionGroupConfig { consume_enable: false, ..config };
    side.ask("change", &UpdateAndCreateSubscriptionGroup {}, json::to_vec(&changed))?;
    look(side, "changed")?;
    let delete =
        DeleteSubscriptionGroup { group_name: group.into(), clean_offset: Some(true), remove_offset: None };
    side.ask("delete", &delete, "")?;
    side.ask("delete again", &delete, "")?;
    let bad = SubscriptionGroupConfig { group_name: "a b".into(), ..SubscriptionGroupConfig::default() };
    side.ask("illegal", &UpdateAndCreateSubscriptionGroup {}, json::to_vec(&bad))?;
    side.ask("no body", &UpdateAndCreateSubscriptionGroup {}, "")?;
    Ok(())
}
