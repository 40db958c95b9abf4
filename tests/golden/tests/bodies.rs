//! The bodies that three versions of the real Java classes write, read and written again (data/VERSION.txt).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use protocol::body::*;
use protocol::json::{self, Dialect};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn body(version: &str, name: &str) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("data/{version}.txt"));
    let text = fs::read_to_string(file).unwrap();
    let hex = text.lines().find_map(|line| line.strip_prefix(&format!("body.{name} "))).unwrap();
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// Reads a body of Java; what 5.x wrote must also come out of our writer as it was.
fn again<T: Serialize + DeserializeOwned>(version: &str, name: &str) -> T {
    let bytes = body(version, name);
    let read: T = json::from_slice(&bytes).unwrap();
    if version != "4.9.8" {
        let written = json::to_vec_in(&read, Dialect::UnquotedIntegers);
        assert_eq!(String::from_utf8(written), String::from_utf8(bytes), "{version} {name}");
    }
    read
}

#[test]
fn bodies_are_read_and_written_as_java_does() {
    for version in golden::VERSIONS {
        let route: TopicRouteData = again(version, "route");
        assert_eq!(route.broker_datas[0].broker_addrs[&1], "1.2.3.5:10911", "{version}");
        assert_eq!((route.queue_datas[0].perm, route.queue_datas[0].write_queue_nums), (6, 4));
        let cluster: ClusterInfo = again(version, "cluster_info");
        assert_eq!(cluster.cluster_addr_table["C"], ["broker-a"]);
        let heartbeat: HeartbeatData = again(version, "heartbeat");
        let subscription = &heartbeat.consumer_data_set[0].subscription_data_set[0];
        assert_eq!(subscription.code_set, [protocol::tag::hash("TagA"), protocol::tag::hash("TagB")]);
        let members: GetConsumerListByGroupBody = again(version, "consumer_list");
        assert_eq!(members.consumer_id_list, ["a", "b"]);
        let lock: LockBatchBody = again(version, "lock");
        let locked: LockBatchReplyBody = again(version, "lock_reply");
        assert_eq!(lock.mq_set, [MessageQueue::new("T", "broker-a", 3)]);
        assert_eq!(lock.mq_set, locked.lock_ok_mq_set);
    }
}

#[test]
fn both_forms_of_a_registration_of_java_say_the_same() {
    for version in golden::VERSIONS {
        let ordinal = if version == "4.9.8" { 409 } else { protocol::version::OURS };
        let (plain, packed) = (body(version, "register"), body(version, "register_compressed"));
        let plain = RegisterBrokerBody::decode(&plain, crc31(&plain), ordinal).unwrap();
        let packed = RegisterBrokerBody::decode(&packed, crc31(&packed), ordinal).unwrap();
        let topic = &plain.topic_config_serialize_wrapper.topic_config_table["orders"];
        assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (8, 6, 6));
        assert_eq!(plain.filter_server_list, packed.filter_server_list, "{version}");
        let (plain, packed) = (plain.topic_config_serialize_wrapper, packed.topic_config_serialize_wrapper);
        assert_eq!(plain.topic_config_table, packed.topic_config_table, "{version}");
        assert_eq!(plain.data_version, packed.data_version);
    }
}
