//! Bodies against the vectors of Java and against arbitrary bytes.

use proptest::prelude::*;

use super::*;
use crate::compression::Compression;
use crate::json;

/// Vectors 11 to 15 of the specification, made by the reference classes.
const ROUTE: &str = r#"{"brokerDatas":[{"brokerAddrs":{"0":"1.2.3.4:10911","1":"1.2.3.5:10911"},"brokerName":"broker-a","cluster":"C","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;
const OLD_ROUTE: &str = r#"{"brokerDatas":[{"brokerAddrs":{0:"1.2.3.4:10911",1:"1.2.3.5:10911"},"brokerName":"broker-a","cluster":"C","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;
const STATS: &str = r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:{"lastUpdateTimestamp":5,"maxOffset":10,"minOffset":1}},"topicPutTps":0.0}"#;
const HEARTBEAT: &str = r#"{"clientID":"10.0.0.1@1234","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"CG","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919,2598920],"expressionType":"TAG","subString":"TagA || TagB","subVersion":1700000000000,"tagsSet":["TagA","TagB"],"topic":"T"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"PG"}],"withoutSub":false}"#;
const ACKS: &str = r#"{"acks":[{"b":"CQI=","c":"CG","it":60000,"pt":1700000000000,"q":1,"r":"0","rq":2,"so":100,"t":"T"}],"brokerName":"broker-a"}"#;
const COMPRESSED: &str = "78DA636060B0A8564ACE2FCD2B492D52B232D7512A2E492C490D4B2D2ACECCCF53B232D0512AC9CC4D050AE6162859199A1B20402D0303032310EB84289800A19942B0A79FBB8F6B7C88A3BB42B512504F71627AAA5E496541AA9295929F7F90AFA38F12480F53742C90640000144F1F8B";

fn again<T: Serialize + serde::de::DeserializeOwned>(written: &str) -> T {
    let body: T = json::from_slice(written.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(json::to_vec(&body)).unwrap(), written);
    body
}

#[test]
fn bodies_are_written_as_the_reference_writes_them() {
    let route: TopicRouteData = again(ROUTE);
    assert_eq!(route.broker_datas[0].broker_addrs[&1], "1.2.3.5:10911");
    let old = json::to_vec_in(&route, json::Dialect::UnquotedIntegers);
    assert_eq!(String::from_utf8(old).unwrap(), OLD_ROUTE);
    assert_eq!(json::from_slice::<TopicRouteData>(OLD_ROUTE.as_bytes()), Ok(route));

    let stats: TopicStatsTable = again(STATS);
    assert_eq!(stats.offset_table[&MessageQueue::new("T", "broker-a", 0)].max_offset, 10);

    let heartbeat: HeartbeatData = again(HEARTBEAT);
    assert_eq!(heartbeat.consumer_data_set[0].message_model, MessageModel::Clustering);

    let acks: BatchAckBody = again(ACKS);
    assert_eq!(acks.acks[0].bits.iter().map(|bit| 100 + bit).collect::<Vec<_>>(), [100, 103, 109]);
    assert_eq!(acks.acks[0].bits, AckBits::new([0, 3, 9]));
}

#[test]
fn what_go_writes_means_the_same() {
    let go = br#"{"clientID":"c","producerDataSet":[],"consumerDataSet":[{"groupName":"cg","consumeType":"CONSUME_PASSIVELY","messageModel":"Clustering","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","subscriptionDataSet":[{"classFilterMode":false,"topic":"T","subString":"TagA","tagsSet":["TagA"],"codeSet":["2598919"],"subVersion":1700000000000000000,"expressionType":"TAG"},{"topic":"U","subString":"*","tagsSet":null,"codeSet":null}],"unitMode":false}]}"#;
    let heartbeat: HeartbeatData = json::from_slice(go).unwrap();
    let consumer = &heartbeat.consumer_data_set[0];
    assert_eq!(
        (consumer.message_model, consumer.consume_type, consumer.consume_from_where),
        (MessageModel::Clustering, ConsumeType::Passively, ConsumeFromWhere::FirstOffset)
    );
    assert_eq!(consumer.subscription_data_set[0].code_set, [2_598_919]);
    assert_eq!(consumer.subscription_data_set[0].sub_version, 1_700_000_000_000_000_000);
    assert!(consumer.subscription_data_set[1].tags_set.is_empty());

    let second = br#"{"consumerDataSet":[{"messageModel":0,"consumeType":"new","consumeFromWhere":5}],"isWithoutSub":true}"#;
    let heartbeat: HeartbeatData = json::from_slice(second).unwrap();
    assert!(heartbeat.without_sub);
    let consumer = &heartbeat.consumer_data_set[0];
    assert_eq!(
        (consumer.message_model, consumer.consume_from_where, consumer.consume_type),
        (MessageModel::Broadcasting, ConsumeFromWhere::Timestamp, ConsumeType::default())
    );
    let acks: BatchAckBody = json::from_slice(br#"{"acks":[{"b":[9,-128],"consumerGroup":"g"}]}"#).unwrap();
    assert_eq!(acks.acks[0].bits.iter().collect::<Vec<_>>(), [0, 3, 15]);
    assert_eq!(acks.acks[0].consumer_group, "g");
}

#[test]
fn a_compressed_registration_is_the_references() {
    let bytes = unhex(COMPRESSED);
    assert_eq!(crc31(&bytes), 963_994_378);
    let body = RegisterBrokerBody::decode(&bytes, 963_994_378, 479).unwrap();
    let wrapper = &body.topic_config_serialize_wrapper;
    assert_eq!(
        wrapper.data_version,
        DataVersion { counter: 7, state_version: 0, timestamp: 1_700_000_000_000 }
    );
    let topic = &wrapper.topic_config_table["T"];
    assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (4, 4, 6));
    assert_eq!(topic.attributes["message.type"], "NORMAL");
    assert_eq!(body.filter_server_list, Some(vec![]));
    assert_eq!(wrapper.topic_queue_mapping_info_map, Some(BTreeMap::new()));

    let inflate = |bytes: &[u8]| Compression::Zlib.decompress(bytes, 1 << 20).unwrap();
    assert_eq!(inflate(&body.encode_compressed(479)), inflate(&bytes));
    let old = body.encode_compressed(409);
    let again = RegisterBrokerBody::decode(&old, 0, 409).unwrap();
    assert_eq!(again.topic_config_serialize_wrapper.topic_queue_mapping_info_map, None);

    let wrong = RegisterBrokerBody::decode(&bytes, 1, 479).unwrap_err().to_string();
    assert!(wrong.starts_with("crc32 not match"), "{wrong}");
}

#[test]
fn old_and_plain_registrations_are_understood() {
    let plain = br#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"timestamp":2},"mappingDataVersion":{"$ref":"$.topicConfigSerializeWrapper.dataVersion"},"topicConfigTable":{"T":{"topicName":"T","perm":6,"readQueueNums":4}}}}"#;
    let body = RegisterBrokerBody::decode(plain, crc31(plain), 413).unwrap();
    let wrapper = body.topic_config_serialize_wrapper;
    assert_eq!(wrapper.mapping_data_version, Some(wrapper.data_version));
    assert_eq!(wrapper.topic_config_table["T"].write_queue_nums, 16, "the default of the reference's class");
    let bare = br#"{"dataVersion":{"counter":1,"timestamp":2},"topicConfigTable":{"T":{"topicName":"T"}}}"#;
    let body = RegisterBrokerBody::decode(bare, 0, 36).unwrap();
    assert_eq!(body.filter_server_list, None);
    assert!(body.topic_config_serialize_wrapper.topic_config_table.contains_key("T"));
}

#[test]
fn data_versions_and_queues_are_ordered_as_peers_order_them() {
    let version = |state_version, counter, timestamp| DataVersion { counter, state_version, timestamp };
    assert!(version(1, 0, 0) > version(0, 9, 9));
    assert!(version(0, 2, 0) > version(0, 1, 9));
    assert_eq!(version(0, 1, 5).next(9), version(0, 2, 9));
    assert!(MessageQueue::new("a", "z", 9) < MessageQueue::new("b", "a", 0));
    assert!(MessageQueue::new("a", "a", 9) < MessageQueue::new("a", "b", 0));
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

proptest! {
    #[test]
    fn reading_a_registration_is_total(mut bytes in prop::collection::vec(any::<u8>(), 0..80), cut in 0usize..200, at in 0usize..200, version in prop::sample::select(vec![36, 409, 479])) {
        let _ = RegisterBrokerBody::decode(&bytes, 0, version);
        let whole = Compression::Zlib.decompress(&unhex(COMPRESSED), 1 << 20).unwrap();
        bytes.insert(0, 0);
        let mut broken = whole[..cut.min(whole.len())].to_vec();
        if let Some(byte) = broken.get_mut(at) { *byte ^= bytes[0] ^ 0x81 }
        let _ = RegisterBrokerBody::decode(&Compression::Zlib.compress(&broken, 1).unwrap(), 0, version);
    }
}
