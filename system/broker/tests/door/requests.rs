//! Messages, groups, locks, topics, restarts and operators, over real and simulated TCP.

use std::sync::Arc;

use crate::{pull, run};
use broker::{Broker, Config};
use bytes::{Bytes, BytesMut};
use net::{CallError, Client, Limits, Options, Peer, Reply, Running, Server, Service};
use protocol::{
    Command, Header, Request, Text,
    batch::Item,
    body::{
        ConsumeStats, ConsumerConnection, ConsumerData, GetConsumerListByGroupBody, HeartbeatData, KvTable,
        LockBatchBody, LockBatchReplyBody, MessageQueue, ProducerConnection, ProducerData,
        RegisterBrokerBody, SubscriptionData, SubscriptionGroupConfig, TopicConfig, TopicStatsTable,
    },
    code,
    config::FlushDiskType,
    json,
    properties::{self, names},
    record::{self, Scan},
    rpc::*,
};
use runtime::{
    disk::Disk,
    sync::Mutex,
    task::TaskSet,
    time::{Duration, Instant, sleep, timeout},
};

/// Longer than any pause of a slow machine.
const LONG: Duration = Duration::from_secs(120);

/// A broker in a directory of its own, and a client of it.
struct Node {
    tasks: TaskSet,
    broker: Arc<Broker>,
    client: Client,
    heard: Arc<Heard>,
}

/// What servers told the client, in the order it came.
#[derive(Default)]
struct Heard(Mutex<Vec<Command>>);

impl Service for Heard {
    async fn handle(&self, _: &Arc<Peer>, command: Command) -> Reply {
        self.0.lock().push(command);
        Reply::ok()
    }
}

impl Heard {
    fn notices(&self) -> usize {
        self.0.lock().iter().filter(|command| command.code == NotifyConsumerIdsChanged::CODE).count()
    }

    async fn until_notices(&self, count: usize) {
        timeout(LONG, async {
            while self.notices() < count {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("the notice comes");
    }
}

fn config() -> Config {
    Config { max_hash_slot_num: 50, max_index_num: 200, ..crate::config() }
}

async fn start(root: &str, config: Config) -> Node {
    let tasks = TaskSet::new();
    let broker = Broker::start(config, Disk::open(root).unwrap(), &tasks).await.unwrap();
    let heard = Arc::new(Heard::default());
    let client = Client::new(&tasks, heard.clone(), Options::default());
    Node { tasks, broker, client, heard }
}

impl Node {
    async fn call<R: Request>(&self, request: &R) -> Result<(R::Reply, Bytes), CallError> {
        self.client.call(self.broker.address(), request, Bytes::new(), LONG).await
    }

    async fn call_with<R: Request>(
        &self,
        request: &R,
        body: impl Into<Bytes>,
    ) -> Result<(R::Reply, Bytes), CallError> {
        self.client.call(self.broker.address(), request, body.into(), LONG).await
    }

    /// The code of the answer and its fields, whatever the code is.
    async fn ask<R: Request>(&self, request: &R, body: impl Into<Bytes>) -> Command {
        let command = Command::request(request, body.into());
        self.client.call_raw(self.broker.address(), command, LONG).await.unwrap()
    }

    async fn send(&self, topic: &str, queue_id: i32, body: &str) -> SendMessageReply {
        self.send_tagged(topic, queue_id, body, "").await
    }

    async fn send_tagged(&self, topic: &str, queue_id: i32, body: &str, tag: &str) -> SendMessageReply {
        self.call_with(&message(topic, queue_id, tag), body.to_owned()).await.unwrap().0
    }

    async fn pull(&self, topic: &str, queue_id: i32, from: i64) -> Pulled {
        self.pull_with(&pull(topic, queue_id, from)).await
    }

    async fn pull_with(&self, request: &PullMessage) -> Pulled {
        let answer = self.ask(request, Bytes::new()).await;
        let header = PullMessageReply::read(&answer.ext).unwrap_or_default();
        let bodies = record::each(answer.body)
            .map(|bytes| match record::scan(&bytes, true) {
                Scan::Record(found) => String::from_utf8(found.body.to_vec()).unwrap(),
                other => panic!("no record: {other:?}"),
            })
            .collect();
        Pulled { code: answer.code, remark: answer.remark.unwrap_or_default(), header, bodies }
    }

    async fn heartbeat(&self, client_id: &str, group: &str, topic: &str) {
        self.call_with(&Heartbeat {}, heartbeat(client_id, group, topic, "*")).await.unwrap();
    }

    async fn offset(&self, group: &str, topic: &str) -> Result<i64, i32> {
        let asked = QueryConsumerOffset {
            consumer_group: group.into(),
            topic: topic.into(),
            queue_id: 0,
            set_zero_if_not_found: None,
        };
        match self.call(&asked).await {
            Ok((reply, _)) => Ok(reply.offset),
            Err(CallError::Refused { code, .. }) => Err(code),
            Err(other) => panic!("{other}"),
        }
    }

    async fn commit(&self, group: &str, topic: &str, offset: i64) {
        let commit = UpdateConsumerOffset {
            consumer_group: group.into(),
            topic: topic.into(),
            queue_id: 0,
            commit_offset: offset,
        };
        self.call(&commit).await.unwrap();
    }

    async fn stop(self) {
        self.broker.stop().await;
        self.tasks.close().await;
    }

    /// Ends it without a goodbye: what reached the page cache stays.
    async fn kill(self) {
        self.tasks.close().await;
    }
}

#[derive(Debug)]
struct Pulled {
    code: i32,
    remark: Text,
    header: PullMessageReply,
    bodies: Vec<String>,
}

fn message(topic: &str, queue_id: i32, tag: &str) -> SendMessageV2 {
    let mut text = Vec::new();
    if !tag.is_empty() {
        properties::push(&mut text, names::TAGS, tag);
    }
    properties::push(&mut text, names::UNIQ_KEY, "7F00000100002A9F0000000000001000");
    SendMessageV2 {
        producer_group: "p".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id,
        born_timestamp: 1_700_000_000_000,
        properties: Some(String::from_utf8(text).unwrap().into()),
        ..SendMessageV2::default()
    }
}

/// A pull that brings its subscription along and does not wait.
fn heartbeat(client_id: &str, group: &str, topic: &str, expression: &str) -> Vec<u8> {
    let subscription = |topic: String, expression: &str| SubscriptionData {
        topic: topic.into(),
        sub_string: expression.into(),
        sub_version: 1,
        ..SubscriptionData::default()
    };
    json::to_vec(&HeartbeatData {
        client_id: client_id.into(),
        consumer_data_set: vec![ConsumerData {
            group_name: group.into(),
            subscription_data_set: vec![
                subscription(topic.to_owned(), expression),
                subscription(format!("%RETRY%{group}"), "*"),
            ],
            ..ConsumerData::default()
        }],
        producer_data_set: vec![ProducerData { group_name: "p".into() }],
        ..HeartbeatData::default()
    })
}

#[test]
fn a_send_creates_its_topic_and_a_pull_brings_the_message_back() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let sent = node.send("orders", 2, "hello").await;
        assert_eq!((sent.queue_id, sent.queue_offset), (2, 0));
        assert_eq!(sent.msg_id.len(), 32);
        assert_eq!(sent.transaction_id.as_deref(), Some("7F00000100002A9F0000000000001000"));
        assert_eq!(sent.msg_region.as_deref(), Some("DefaultRegion"));
        assert_eq!(sent.trace_on.as_deref(), Some("true"));
        let asked = GetTopicConfig { topic: "orders".into(), lo: None };
        let topic: TopicConfig = json::from_slice(&node.call(&asked).await.unwrap().1).unwrap();
        assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (4, 4, 6));

        let pulled = node
            .pull_with(&PullMessage { suspend_timeout_millis: 60_000, sys_flag: 6, ..pull("orders", 2, 0) })
            .await;
        assert_eq!((pulled.code, pulled.bodies), (code::SUCCESS, vec!["hello".to_owned()]));
        let offsets = pulled.header;
        assert_eq!((offsets.next_begin_offset, offsets.min_offset, offsets.max_offset), (1, 0, 1));

        let at = i64::from_str_radix(&sent.msg_id[16..], 16).unwrap();
        let (_, seen) = node.call(&ViewMessageById { offset: at, topic: None }).await.unwrap();
        let Scan::Record(seen) = record::scan(&seen, true) else { panic!("no record") };
        assert_eq!((seen.body, seen.topic), (&b"hello"[..], "orders"));
        assert_eq!(seen.store_host.to_string(), node.broker.address().as_str());
        node.stop().await;
    });
}

#[test]
fn a_message_without_a_unique_key_gets_one_and_a_broker_chooses_the_queue() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let bare = SendMessageV2 { properties: None, sys_flag: 0xF0, ..message("orders", -1, "") };
        let sent = node.call_with(&bare, "x").await.unwrap().0;
        assert!((0..4).contains(&sent.queue_id));
        let key = sent.transaction_id.unwrap();
        let request =
            PullMessage { suspend_timeout_millis: 60_000, sys_flag: 6, ..pull("orders", sent.queue_id, 0) };
        let answer = node.ask(&request, Bytes::new()).await;
        let Scan::Record(found) = record::scan(&answer.body, true) else { panic!("no record") };
        assert_eq!(found.property(names::UNIQ_KEY), Some(key.as_str()));
        assert_eq!(found.sys_flag, 0, "bits that are the broker's own are not taken from a client");
        node.stop().await;
    });
}

#[test]
fn a_waiting_pull_gets_the_message_that_arrives() {
    run(|root| async move {
        let node = start(&root, config()).await;
        node.send("orders", 0, "first").await;
        let waiting = PullMessage { sys_flag: 6, suspend_timeout_millis: 60_000, ..pull("orders", 1, 0) };
        let began = Instant::now();
        let (pulled, ()) = futures::join!(node.pull_with(&waiting), async {
            sleep(Duration::from_millis(100)).await;
            node.send("orders", 1, "second").await;
        });
        assert_eq!(pulled.bodies, ["second"]);
        assert!(began.elapsed() < Duration::from_secs(50), "not only at the end of its time");
        node.stop().await;
    });
}

#[test]
fn a_waiting_pull_ends_with_nothing_and_all_four_offsets() {
    run(|root| async move {
        let node = start(&root, config()).await;
        for body in ["a", "b"] {
            node.send("orders", 0, body).await;
        }
        node.pull_with(&PullMessage { sys_flag: 6, suspend_timeout_millis: 60_000, ..pull("orders", 0, 1) })
            .await;
        let waiting = PullMessage { sys_flag: 6, suspend_timeout_millis: 200, ..pull("orders", 0, 2) };
        let began = Instant::now();
        let pulled = node.pull_with(&waiting).await;
        assert!(began.elapsed() >= Duration::from_millis(200));
        assert_eq!(pulled.code, code::PULL_NOT_FOUND);
        assert_eq!(
            pulled.header,
            PullMessageReply {
                next_begin_offset: 2,
                min_offset: 0,
                max_offset: 2,
                topic_sys_flag: Some(0),
                group_sys_flag: Some(0),
                ..PullMessageReply::default()
            }
        );
        node.stop().await;
    });
}

#[test]
fn pulls_outside_the_queue_are_told_where_to_go() {
    run(|root| async move {
        let node = start(&root, config()).await;
        node.send("orders", 0, "a").await;
        node.pull_with(&PullMessage { sys_flag: 6, suspend_timeout_millis: 60_000, ..pull("orders", 0, 0) })
            .await;
        let cases = [
            (0, 1, code::PULL_NOT_FOUND, 1, "OFFSET_OVERFLOW_ONE"),
            (0, 7, code::PULL_OFFSET_MOVED, 1, "OFFSET_OVERFLOW_BADLY"),
            (0, -1, code::PULL_OFFSET_MOVED, 0, "OFFSET_TOO_SMALL"),
            (1, 0, code::PULL_NOT_FOUND, 0, "NO_MESSAGE_IN_QUEUE"),
            (1, 5, code::PULL_OFFSET_MOVED, 0, "NO_MESSAGE_IN_QUEUE"),
        ];
        for (queue, from, code, next, remark) in cases {
            let pulled = node.pull("orders", queue, from).await;
            let got = (pulled.code, pulled.header.next_begin_offset, pulled.remark.as_str());
            assert_eq!(got, (code, next, remark), "queue {queue} from {from}");
        }
        assert_eq!(node.pull("orders", 4, 0).await.code, code::INVALID_PARAMETER);
        assert_eq!(node.pull("nowhere", 0, 0).await.code, code::TOPIC_NOT_EXIST);
        node.stop().await;
    });
}

#[test]
fn only_messages_with_a_wanted_tag_are_delivered() {
    run(|root| async move {
        let node = start(&root, config()).await;
        for (body, tag) in [("1", "red"), ("2", "blue"), ("3", "green"), ("4", "red")] {
            node.send_tagged("orders", 0, body, tag).await;
        }
        node.pull_with(&PullMessage { sys_flag: 6, suspend_timeout_millis: 60_000, ..pull("orders", 0, 3) })
            .await;
        let some = PullMessage { subscription: Some("red || green".into()), ..pull("orders", 0, 0) };
        assert_eq!(node.pull_with(&some).await.bodies, ["1", "3", "4"]);
        // Asked to wait, a pull that found only others still answers at once, or its consumer would never move on.
        let none = PullMessage {
            subscription: Some("black".into()),
            sys_flag: 6,
            suspend_timeout_millis: 60_000,
            ..pull("orders", 0, 0)
        };
        let pulled = node.pull_with(&none).await;
        assert_eq!((pulled.code, pulled.header.next_begin_offset), (code::PULL_RETRY_IMMEDIATELY, 4));
        let broken = PullMessage { subscription: Some("||".into()), ..pull("orders", 0, 0) };
        assert_eq!(node.pull_with(&broken).await.code, code::SUBSCRIPTION_PARSE_FAILED);
        node.stop().await;
    });
}

#[test]
fn a_pull_without_its_subscription_uses_the_one_of_the_heartbeat() {
    run(|root| async move {
        let node = start(&root, config()).await;
        node.send_tagged("orders", 0, "1", "red").await;
        node.send_tagged("orders", 0, "2", "blue").await;
        let bare = PullMessage {
            sys_flag: 2,
            suspend_timeout_millis: 60_000,
            sub_version: 1,
            ..pull("orders", 0, 0)
        };
        assert_eq!(node.pull_with(&bare).await.code, code::SUBSCRIPTION_NOT_EXIST);
        node.call_with(&Heartbeat {}, heartbeat("c1", "g", "orders", "blue")).await.unwrap();
        let newer = PullMessage { sub_version: 2, ..bare.clone() };
        assert_eq!(node.pull_with(&newer).await.code, code::SUBSCRIPTION_NOT_LATEST);
        let mut pulled = node.pull_with(&bare).await;
        if pulled.code == code::PULL_RETRY_IMMEDIATELY {
            pulled =
                node.pull_with(&PullMessage { queue_offset: pulled.header.next_begin_offset, ..bare }).await;
        }
        assert_eq!(pulled.bodies, ["2"]);
        node.stop().await;
    });
}

#[test]
fn a_batch_takes_consecutive_offsets() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let mut body = BytesMut::new();
        for text in ["a", "b", "c"] {
            let item = Item {
                flag: 0,
                body: Bytes::from_static(text.as_bytes()),
                properties: Bytes::from_static(b"k\x01v\x02"),
            };
            item.encode(&mut body);
        }
        node.send("orders", 0, "first").await;
        let batch = SendBatchMessage(SendMessageV2 { batch: Some(true), ..message("orders", 0, "") });
        let sent = node.call_with(&batch, body.freeze()).await.unwrap().0;
        assert_eq!((sent.queue_offset, sent.msg_id.split(',').count()), (1, 3));
        node.pull_with(&PullMessage { sys_flag: 6, suspend_timeout_millis: 60_000, ..pull("orders", 0, 3) })
            .await;
        assert_eq!(node.pull("orders", 0, 0).await.bodies, ["first", "a", "b", "c"]);
        let torn = node.ask(&batch, "torn").await;
        assert_eq!(torn.code, code::MESSAGE_ILLEGAL);
        node.stop().await;
    });
}

#[test]
fn messages_carry_the_cluster_the_region_and_the_trace_switch_of_their_broker() {
    run(|root| async move {
        let marked = Config {
            broker_cluster_name: "blue".into(),
            region_id: "north".into(),
            trace_on: false,
            ..config()
        };
        let node = start(&root, marked).await;
        let unclosed = "CLUSTER\u{1}red\u{2}TRACE_ON\u{1}true\u{2}k\u{1}v";
        let plain = SendMessageV2 { properties: Some(unclosed.into()), ..message("orders", 0, "") };
        let half = SendMessageV2 {
            properties: Some("TRAN_MSG\u{1}true\u{2}k\u{1}v".into()),
            sys_flag: 4,
            ..message("orders", 0, "")
        };
        let delayed = SendMessageV2 {
            properties: Some("DELAY\u{1}1\u{2}k\u{1}v\u{2}".into()),
            ..message("orders", 0, "")
        };
        let mut ids = Vec::new();
        for request in [plain, half, delayed] {
            ids.push(node.call_with(&request, "x").await.unwrap().0.msg_id);
        }
        let item =
            Item { flag: 0, body: Bytes::from_static(b"x"), properties: Bytes::from_static(b"k\x01v\x02") };
        let mut body = BytesMut::new();
        item.encode(&mut body);
        let batch = SendBatchMessage(SendMessageV2 { batch: Some(true), ..message("orders", 0, "") });
        ids.push(node.call_with(&batch, body.freeze()).await.unwrap().0.msg_id);
        for id in ids {
            let offset = i64::from_str_radix(&id[16..], 16).unwrap();
            let (_, stored) = node.call(&ViewMessageById { offset, topic: None }).await.unwrap();
            let Scan::Record(stored) = record::scan(&stored, true) else { panic!("no record") };
            let all = properties::to_map(stored.properties);
            for (name, value) in [
                (names::CLUSTER, "blue"),
                (names::MSG_REGION, "north"),
                (names::TRACE_ON, "false"),
                ("k", "v"),
            ] {
                assert_eq!(all.get(name).map(String::as_str), Some(value), "{name} of {}", stored.topic);
            }
        }
        node.stop().await;
    });
}

#[test]
fn a_young_queue_is_consumed_from_its_first_message_by_a_new_group() {
    run(|root| async move {
        let node = start(&root, config()).await;
        node.send("orders", 0, "a").await;
        assert_eq!(node.offset("new", "orders").await, Ok(0));
        let asked = QueryConsumerOffset {
            consumer_group: "new".into(),
            topic: "orders".into(),
            queue_id: 0,
            set_zero_if_not_found: Some(false),
        };
        assert_eq!(node.ask(&asked, Bytes::new()).await.code, code::QUERY_NOT_FOUND);
        node.stop().await;
    });
}

#[test]
fn a_members_commit_only_raises_and_a_tool_may_lower() {
    run(|root| async move {
        let node = start(&root, config()).await;
        for body in ["a", "b", "c"] {
            node.send("orders", 0, body).await;
        }
        node.pull_with(&PullMessage { sys_flag: 6, suspend_timeout_millis: 60_000, ..pull("orders", 0, 2) })
            .await;
        node.heartbeat("c1", "g", "orders").await;
        node.commit("g", "orders", 3).await;
        node.commit("g", "orders", 1).await;
        assert_eq!(node.offset("g", "orders").await, Ok(3), "a late commit of a former owner");
        node.commit("g", "orders", 9).await;
        assert_eq!(node.offset("g", "orders").await, Ok(3), "nothing stands beyond the end");
        let tool = Client::new(&node.tasks, Arc::new(Heard::default()), Options::default());
        let commit = UpdateConsumerOffset {
            consumer_group: "g".into(),
            topic: "orders".into(),
            queue_id: 0,
            commit_offset: 1,
        };
        tool.call(node.broker.address(), &commit, Bytes::new(), LONG).await.unwrap();
        assert_eq!(node.offset("g", "orders").await, Ok(1));
        let unknown = UpdateConsumerOffset { consumer_group: "nobody".into(), ..commit.clone() };
        assert_eq!(node.ask(&unknown, Bytes::new()).await.code, code::SUBSCRIPTION_GROUP_NOT_EXIST);
        let unknown = UpdateConsumerOffset { topic: "nowhere".into(), ..commit };
        assert_eq!(node.ask(&unknown, Bytes::new()).await.code, code::TOPIC_NOT_EXIST);
        node.stop().await;
    });
}

#[test]
fn members_of_a_group_hear_of_each_other() {
    run(|root| async move {
        let node = start(&root, config()).await;
        node.heartbeat("c1", "g", "orders").await;
        assert_eq!(node.heard.notices(), 1, "the new member hears of it before the answer");
        let retry = GetTopicConfig { topic: "%RETRY%g".into(), lo: None };
        assert!(node.call(&retry).await.is_ok(), "its retry topic is there");
        node.heartbeat("c1", "g", "orders").await;
        assert_eq!(node.heard.notices(), 1, "nothing new");

        let heard = Arc::new(Heard::default());
        let second = Client::new(&node.tasks, heard.clone(), Options::default());
        let body = heartbeat("c0", "g", "orders", "*");
        second.call(node.broker.address(), &Heartbeat {}, body.into(), LONG).await.unwrap();
        node.heard.until_notices(2).await;
        assert_eq!(heard.notices(), 1);
        let list = GetConsumerListByGroup { consumer_group: "g".into() };
        let ids: GetConsumerListByGroupBody = json::from_slice(&node.call(&list).await.unwrap().1).unwrap();
        assert_eq!(ids.consumer_id_list, [Text::from("c0"), Text::from("c1")]);

        second.close(node.broker.address());
        node.heard.until_notices(3).await;
        let ids: GetConsumerListByGroupBody = json::from_slice(&node.call(&list).await.unwrap().1).unwrap();
        assert_eq!(ids.consumer_id_list, [Text::from("c1")]);
        let leave = UnregisterClient {
            client_id: "c1".into(),
            producer_group: None,
            consumer_group: Some("g".into()),
        };
        node.call(&leave).await.unwrap();
        assert_eq!(node.ask(&list, Bytes::new()).await.code, code::SYSTEM_ERROR);
        node.stop().await;
    });
}

#[test]
fn a_queue_is_locked_by_one_client() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let lock = |client: &str| {
            json::to_vec(&LockBatchBody {
                client_id: client.into(),
                consumer_group: "g".into(),
                mq_set: vec![MessageQueue::new("orders", "a", 0), MessageQueue::new("orders", "a", 1)],
                ..LockBatchBody::default()
            })
        };
        let held =
            |answer: &[u8]| json::from_slice::<LockBatchReplyBody>(answer).unwrap().lock_ok_mq_set.len();
        assert_eq!(held(&node.call_with(&LockBatchMq {}, lock("c1")).await.unwrap().1), 2);
        assert_eq!(held(&node.call_with(&LockBatchMq {}, lock("c2")).await.unwrap().1), 0);
        node.call_with(&UnlockBatchMq {}, lock("c1")).await.unwrap();
        assert_eq!(held(&node.call_with(&LockBatchMq {}, lock("c2")).await.unwrap().1), 2);
        node.stop().await;
    });
}

#[test]
fn a_message_that_comes_back_is_retried_and_then_dead() {
    run(|root| async move {
        let node = start(&root, Config { message_delay_level: "0s 0s 0s 0s".into(), ..config() }).await;
        let sent = node.send("orders", 0, "hard").await;
        node.heartbeat("c1", "g", "orders").await;
        let back = ConsumerSendMsgBack {
            offset: i64::from_str_radix(&sent.msg_id[16..], 16).unwrap(),
            group: "g".into(),
            max_reconsume_times: Some(1),
            ..ConsumerSendMsgBack::default()
        };
        // Power loss may have given the place to another message than the one the consumer got from there.
        let another = "7F0000010A0B0C0D0E0F000000010000";
        let another = ConsumerSendMsgBack { origin_msg_id: Some(another.into()), ..back.clone() };
        let answer = node.ask(&another, Bytes::new()).await;
        assert_eq!(answer.code, code::SYSTEM_ERROR, "{:?}", answer.remark);
        // Clients name it by its unique key, or by its offset id.
        let named = Some(sent.msg_id.as_str().into());
        node.call(&ConsumerSendMsgBack { origin_msg_id: named, ..back.clone() }).await.unwrap();
        let request = PullMessage { sys_flag: 6, suspend_timeout_millis: 60_000, ..pull("%RETRY%g", 0, 0) };
        let answer = node.ask(&request, Bytes::new()).await;
        let Scan::Record(retry) = record::scan(&answer.body, true) else { panic!("no record") };
        assert_eq!((retry.body, retry.reconsume_times), (&b"hard"[..], 1));
        assert_eq!(retry.property(names::RETRY_TOPIC), Some("orders"));
        assert_eq!(retry.property(names::ORIGIN_MESSAGE_ID), Some(sent.msg_id.as_str()));

        let back = ConsumerSendMsgBack {
            offset: retry.place.position as i64,
            origin_msg_id: retry.property(names::UNIQ_KEY).map(Into::into),
            ..back
        };
        node.call(&back).await.unwrap();
        let request = PullMessage { sys_flag: 6, suspend_timeout_millis: 60_000, ..pull("%DLQ%g", 0, 0) };
        let answer = node.ask(&request, Bytes::new()).await;
        let Scan::Record(dead) = record::scan(&answer.body, true) else { panic!("no record") };
        assert_eq!((dead.body, dead.reconsume_times), (&b"hard"[..], 2));
        assert_eq!(
            node.ask(&ConsumerSendMsgBack { offset: 1 << 40, ..back }, Bytes::new()).await.code,
            code::SYSTEM_ERROR
        );
        node.stop().await;
    });
}

#[test]
fn a_topic_grows_shrinks_and_goes() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let set = |read, write| UpdateAndCreateTopic {
            topic: "orders".into(),
            default_topic: "TBW102".into(),
            read_queue_nums: read,
            write_queue_nums: write,
            perm: 6,
            topic_filter_type: "SINGLE_TAG".into(),
            ..UpdateAndCreateTopic::default()
        };
        node.call(&set(2, 2)).await.unwrap();
        assert_eq!(node.ask(&message("orders", 3, ""), "x").await.code, code::INVALID_PARAMETER);
        node.call(&set(4, 4)).await.unwrap();
        node.send("orders", 3, "x").await;
        // Writers leave first: readers still drain the queue, and a send on its way is taken.
        node.call(&set(4, 2)).await.unwrap();
        node.send("orders", 3, "late").await;
        for _ in 0..20 {
            assert!(node.send("orders", -1, "y").await.queue_id < 2);
        }
        node.call(&set(2, 2)).await.unwrap();
        assert_eq!(node.pull("orders", 3, 0).await.code, code::INVALID_PARAMETER);
        node.call(&set(4, 4)).await.unwrap();
        node.pull_with(&PullMessage { sys_flag: 6, suspend_timeout_millis: 60_000, ..pull("orders", 3, 1) })
            .await;
        assert_eq!(node.pull("orders", 3, 0).await.bodies, ["x", "late"], "what was in it is due again");

        let waiting = PullMessage { sys_flag: 6, suspend_timeout_millis: 60_000, ..pull("orders", 3, 2) };
        let (pulled, ()) = futures::join!(node.pull_with(&waiting), async {
            sleep(Duration::from_millis(100)).await;
            node.call(&DeleteTopicInBroker { topic: "orders".into() }).await.unwrap();
        });
        assert_eq!(pulled.code, code::TOPIC_NOT_EXIST);
        assert_eq!(node.pull("orders", 3, 0).await.code, code::TOPIC_NOT_EXIST);
        node.call(&set(4, 4)).await.unwrap();
        assert_eq!(node.pull("orders", 3, 0).await.code, code::PULL_NOT_FOUND, "a new topic is empty");
        for body in ["a", "b"] {
            node.send("orders", 3, body).await;
        }
        let beyond = node.pull("orders", 3, 3).await;
        assert_eq!(
            (beyond.code, beyond.header.next_begin_offset, beyond.header.max_offset),
            (code::PULL_OFFSET_MOVED, 0, 2),
            "who knows the old topic gets what came since"
        );
        node.stop().await;
    });
}

#[test]
fn one_pull_too_many_on_a_connection_is_told_to_come_again_for_the_same() {
    run(|root| async move {
        let node = start(&root, config()).await;
        node.send("orders", 0, "a").await;
        node.pull_with(&PullMessage { sys_flag: 6, suspend_timeout_millis: 60_000, ..pull("orders", 0, 0) })
            .await;
        let waits = PullMessage { sys_flag: 6, suspend_timeout_millis: 100_000, ..pull("orders", 0, 1) };
        let most = Limits::server().max_waiting;
        let waiting = futures::future::join_all((0..most).map(|_| node.pull_with(&waits)));
        let (woken, ()) = futures::join!(waiting, async {
            let refused = loop {
                let pulled = node.pull("orders", 0, 0).await;
                if pulled.code != code::SUCCESS {
                    break pulled;
                }
                sleep(Duration::from_millis(10)).await;
            };
            assert_eq!((refused.code, refused.header.next_begin_offset), (code::PULL_NOT_FOUND, 0));
            let other = Client::new(&node.tasks, node.heard.clone(), Options::default());
            let sent = other.call(node.broker.address(), &message("orders", 0, ""), "b".into(), LONG).await;
            assert_eq!(sent.unwrap().0.queue_offset, 1);
        });
        assert!(woken.iter().all(|pulled| pulled.bodies == ["b"]), "who waited was not sent away");
        node.stop().await;
    });
}

#[test]
fn bad_requests_are_told_what_is_wrong() {
    run(|root| async move {
        let node =
            start(&root, Config { auto_create_topic_enable: false, max_message_size: 1000, ..config() })
                .await;
        let unknown =
            node.client.call_raw(node.broker.address(), Command { code: 4711, ..Command::default() }, LONG);
        let unknown = unknown.await.unwrap();
        assert_eq!((unknown.code, unknown.remark.as_deref()), (3, Some(" request type 4711 not supported")));

        let missing = Command { code: PullMessage::CODE, ..Command::default() };
        let missing = node.client.call_raw(node.broker.address(), missing, LONG).await.unwrap();
        assert_eq!(missing.code, code::SYSTEM_ERROR);
        assert!(missing.remark.unwrap().contains("consumerGroup"));

        let absent = node.ask(&message("orders", 0, ""), "x").await;
        assert_eq!(absent.code, code::TOPIC_NOT_EXIST);
        assert!(absent.remark.unwrap().contains("autoCreateTopicEnable"));

        let topic = |name: &str| UpdateAndCreateTopic {
            topic: name.into(),
            read_queue_nums: 1,
            write_queue_nums: 1,
            perm: 6,
            ..UpdateAndCreateTopic::default()
        };
        assert_eq!(node.ask(&topic("no spaces"), "").await.code, code::INVALID_PARAMETER);
        assert_eq!(
            node.ask(&UpdateAndCreateTopic { perm: 9, ..topic("t") }, "").await.code,
            code::INVALID_PARAMETER
        );
        assert_eq!(
            node.ask(&UpdateAndCreateTopic { read_queue_nums: 0, ..topic("t") }, "").await.code,
            code::INVALID_PARAMETER
        );
        node.call(&topic("t")).await.unwrap();
        let long = node.ask(&message("t", 0, ""), vec![b'x'; 1001]).await;
        assert_eq!(long.code, code::MESSAGE_ILLEGAL);
        assert!(long.remark.unwrap().contains("1000"));
        assert_eq!(node.ask(&message("t", 0, ""), "").await.code, code::MESSAGE_ILLEGAL);
        assert_eq!(node.ask(&message("SCHEDULE_TOPIC_XXXX", 0, ""), "x").await.code, code::NO_PERMISSION);
        let group = json::to_vec(&SubscriptionGroupConfig {
            group_name: "a b".into(),
            ..SubscriptionGroupConfig::default()
        });
        assert_eq!(node.ask(&UpdateAndCreateSubscriptionGroup {}, group).await.code, code::INVALID_PARAMETER);
        assert_eq!(node.ask(&Heartbeat {}, "{").await.code, code::SYSTEM_ERROR);
        node.stop().await;
    });
}

#[test]
fn a_restart_keeps_everything() {
    run(|root| async move {
        let node = start(&root, config()).await;
        for body in ["a", "b", "c"] {
            node.send("orders", 0, body).await;
        }
        node.heartbeat("c1", "g", "orders").await;
        node.pull_with(&PullMessage { sys_flag: 6, suspend_timeout_millis: 60_000, ..pull("orders", 0, 2) })
            .await;
        node.commit("g", "orders", 2).await;
        let group = SubscriptionGroupConfig {
            group_name: "h".into(),
            retry_max_times: 3,
            ..SubscriptionGroupConfig::default()
        };
        node.call_with(&UpdateAndCreateSubscriptionGroup {}, json::to_vec(&group)).await.unwrap();
        node.stop().await;

        let node = start(&root, config()).await;
        assert_eq!(node.offset("g", "orders").await, Ok(2));
        assert_eq!(node.pull("orders", 0, 0).await.bodies, ["a", "b", "c"]);
        assert_eq!(node.send("orders", 0, "d").await.queue_offset, 3);
        let asked = GetSubscriptionGroupConfig { group: "h".into() };
        let kept: SubscriptionGroupConfig = json::from_slice(&node.call(&asked).await.unwrap().1).unwrap();
        assert_eq!(kept.retry_max_times, 3);
        node.stop().await;
    });
}

#[test]
fn a_killed_broker_keeps_what_it_acknowledged() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let mut positions = Vec::new();
        for n in 0..50 {
            positions.push(node.send("orders", n % 4, &format!("message {n}")).await);
        }
        node.kill().await;

        let node = start(&root, config()).await;
        for (n, sent) in positions.iter().enumerate() {
            let pulled = node.pull("orders", sent.queue_id, sent.queue_offset).await;
            assert_eq!(pulled.bodies.first(), Some(&format!("message {n}")));
        }
        node.stop().await;
    });
}

#[test]
fn a_sync_flushing_broker_acknowledges_and_keeps() {
    run(|root| async move {
        let config = || Config { flush_disk_type: FlushDiskType::SyncFlush, ..config() };
        let node = start(&root, config()).await;
        let sends = (0..20).map(|n| node.send("orders", 0, if n % 2 == 0 { "even" } else { "odd" }));
        let sent = futures::future::join_all(sends).await;
        let mut offsets: Vec<_> = sent.iter().map(|reply| reply.queue_offset).collect();
        offsets.sort_unstable();
        assert_eq!(offsets, (0..20).collect::<Vec<_>>());
        node.kill().await;
        let node = start(&root, config()).await;
        assert_eq!(node.pull("orders", 0, 0).await.bodies.len(), 20);
        node.stop().await;
    });
}

#[test]
fn offsets_survive_a_kill_once_they_were_written() {
    run(|root| async move {
        let config = || Config { flush_consumer_offset_interval: 100, ..config() };
        let node = start(&root, config()).await;
        for body in ["a", "b"] {
            node.send("orders", 0, body).await;
        }
        node.pull_with(&PullMessage { sys_flag: 6, suspend_timeout_millis: 60_000, ..pull("orders", 0, 1) })
            .await;
        node.heartbeat("c1", "g", "orders").await;
        node.commit("g", "orders", 2).await;
        let disk = Disk::open(&root).unwrap();
        let written = async || {
            let text = disk.read_small("config/consumerOffset.json").await.unwrap_or_default();
            String::from_utf8(text).unwrap().contains(r#""0":2"#)
        };
        timeout(LONG, async {
            while !written().await {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the offset is written");
        node.kill().await;
        let node = start(&root, config()).await;
        assert_eq!(node.offset("g", "orders").await, Ok(2));
        node.stop().await;
    });
}

#[test]
fn offsets_beyond_the_end_are_lowered_at_start_and_files_of_java_are_read() {
    run(|root| async move {
        let disk = Disk::open(&root).unwrap();
        disk.make_dir("config").await.unwrap();
        // Integer keys without quotes, as Java writes them; the main file was lost while it was replaced.
        let offsets = br#"{"dataVersion":{"counter":1,"timestamp":1},"offsetTable":{"orders@g":{0:50,1:0}}}"#;
        disk.replace_small("config/consumerOffset.json.bak", offsets).await.unwrap();
        let topics = br#"{"dataVersion":{"counter":1,"timestamp":1},"topicConfigTable":{"orders":{"order":false,"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"orders","topicSysFlag":0,"writeQueueNums":2}}}"#;
        disk.replace_small("config/topics.json", topics).await.unwrap();
        drop(disk);
        let node = start(&root, config()).await;
        assert_eq!(node.offset("g", "orders").await, Ok(0));
        assert_eq!(node.send("orders", 1, "x").await.queue_offset, 0);
        node.kill().await;
        let node = start(&root, config()).await;
        assert_eq!(node.offset("g", "orders").await, Ok(0), "the lowered offset was written at once");
        node.stop().await;
    });
}

/// A name server that only listens.
#[derive(Default)]
struct Names {
    registered: Mutex<Vec<(RegisterBroker, RegisterBrokerBody)>>,
    left: Mutex<Vec<UnregisterBroker>>,
}

impl Service for Names {
    async fn handle(&self, _: &Arc<Peer>, command: Command) -> Reply {
        match command.code {
            RegisterBroker::CODE => {
                let header: RegisterBroker = command.header().unwrap();
                let body =
                    RegisterBrokerBody::decode(&command.body, header.body_crc32, command.version).unwrap();
                self.registered.lock().push((header, body));
                Reply::with(&RegisterBrokerReply::default())
            }
            UnregisterBroker::CODE => {
                self.left.lock().push(command.header().unwrap());
                Reply::ok()
            }
            other => Reply::unsupported(other),
        }
    }
}

async fn names(tasks: &TaskSet) -> (Arc<Names>, Running) {
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let names = Arc::new(Names::default());
    let running = server.start(names.clone(), tasks, Limits::server());
    (names, running)
}

#[test]
fn every_name_server_knows_the_broker_and_its_changes() {
    run(|root| async move {
        let tasks = TaskSet::new();
        let (first, at) = names(&tasks).await;
        let (second, also) = names(&tasks).await;
        // The third one is dead: nobody waits for it for long.
        let namesrv_addr = format!("{};127.0.0.1:1;{}", at.local_addr(), also.local_addr());
        let node = start(&root, Config { namesrv_addr, ..config() }).await;
        for names in [&first, &second] {
            let registered = names.registered.lock();
            let (header, body) = registered.last().expect("registered at start");
            assert_eq!((header.broker_name.as_str(), header.broker_id), ("a", 0));
            assert_eq!(header.broker_addr, *node.broker.address());
            let topics = &body.topic_config_serialize_wrapper.topic_config_table;
            assert!(topics.contains_key("TBW102") && topics.contains_key("a"));
        }
        node.send("orders", 0, "x").await;
        let knows = |names: &Names, topic: &str| {
            let registered = names.registered.lock();
            let (_, body) = registered.last().unwrap();
            body.topic_config_serialize_wrapper.topic_config_table.contains_key(topic)
        };
        timeout(Duration::from_secs(25), async {
            while !knows(&first, "orders") || !knows(&second, "orders") {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("a new topic is registered at once, not after 30 s");
        let counters = |names: &Names| -> Vec<i64> {
            let registered = names.registered.lock();
            registered
                .iter()
                .map(|(_, body)| body.topic_config_serialize_wrapper.data_version.counter)
                .collect()
        };
        assert!(counters(&first).is_sorted());
        node.heartbeat("c1", "g", "orders").await;
        assert!(knows(&first, "%RETRY%g"), "known before the heartbeat is answered");
        node.stop().await;
        assert_eq!((first.left.lock().len(), second.left.lock().len()), (1, 1));
        tasks.close().await;
    });
}

#[test]
fn clients_are_served_while_no_name_server_answers() {
    run(|root| async move {
        let node = start(&root, Config { namesrv_addr: "127.0.0.1:1".into(), ..config() }).await;
        assert_eq!(node.send("orders", 0, "x").await.queue_offset, 0);
        node.stop().await;
    });
}

#[test]
fn a_parked_call_costs_at_most_a_kilobyte() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let here = "127.0.0.1:1".parse().unwrap();
        let peer = Peer::detached(1, here, here);
        let size = size_of_val(&node.broker.handle(&peer, Command::default()));
        assert!(size <= 1024, "{size} bytes");
        node.stop().await;
    });
}

#[test]
fn operators_see_topics_groups_clients_and_settings() {
    run(|root| async move {
        let node = start(&root, config()).await;
        for body in ["a", "b", "c"] {
            node.send("orders", 0, body).await;
        }
        node.pull_with(&PullMessage { sys_flag: 6, suspend_timeout_millis: 60_000, ..pull("orders", 0, 2) })
            .await;
        node.heartbeat("c1", "g", "orders").await;
        node.commit("g", "orders", 1).await;

        let queue = MessageQueue::new("orders", "a", 0);
        let asked = GetTopicStatsInfo { topic: "orders".into() };
        let stats: TopicStatsTable = json::from_slice(&node.call(&asked).await.unwrap().1).unwrap();
        assert_eq!((stats.offset_table.len(), stats.offset_table[&queue].max_offset), (4, 3));
        let asked = GetConsumeStats { consumer_group: "g".into(), ..GetConsumeStats::default() };
        let stats: ConsumeStats = json::from_slice(&node.call(&asked).await.unwrap().1).unwrap();
        let at = &stats.offset_table[&queue];
        assert_eq!((at.broker_offset, at.consumer_offset), (3, 1));

        let asked = GetConsumerConnectionList { consumer_group: "g".into() };
        let online: ConsumerConnection = json::from_slice(&node.call(&asked).await.unwrap().1).unwrap();
        assert_eq!(online.connection_set[0].client_id, "c1");
        assert_eq!(online.subscription_table.len(), 2);
        let asked = GetConsumerConnectionList { consumer_group: "h".into() };
        assert_eq!(node.ask(&asked, "").await.code, code::CONSUMER_NOT_ONLINE);
        let asked = GetProducerConnectionList { producer_group: "p".into() };
        let online: ProducerConnection = json::from_slice(&node.call(&asked).await.unwrap().1).unwrap();
        assert_eq!(online.connection_set.len(), 1);

        let info: KvTable = json::from_slice(&node.call(&GetBrokerRuntimeInfo {}).await.unwrap().1).unwrap();
        assert_eq!(info.table["putMessageTimesTotal"], "3");
        assert_eq!(info.table["getTotalTps"].split(' ').count(), 3);

        let (_, text) = node.call(&GetBrokerConfig {}).await.unwrap();
        assert!(String::from_utf8(text.to_vec()).unwrap().contains("brokerPermission=6\n"));
        node.call_with(&UpdateBrokerConfig {}, "brokerPermission=4\n").await.unwrap();
        assert_eq!(node.ask(&message("orders", 0, ""), "x").await.code, code::NO_PERMISSION);
        let wrong = node.ask(&UpdateBrokerConfig {}, "brokerPermision=6\n").await;
        assert_eq!(wrong.code, code::INVALID_PARAMETER);
        assert!(wrong.remark.unwrap().contains("brokerPermission"));
        let fixed = node.ask(&UpdateBrokerConfig {}, "listenPort=1\n").await;
        assert_eq!(fixed.code, code::INVALID_PARAMETER);
        let closed = node.ask(&UpdateBrokerConfig {}, "configBlackList=x\n").await;
        assert_eq!(closed.code, code::NO_PERMISSION);
        node.stop().await;
    });
}

#[test]
fn a_start_that_cannot_work_says_why() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let port = node.broker.address().rsplit(':').next().unwrap().parse().unwrap();
        let other = format!("{root}-other");
        let failed = |root: String, config: Config| async move {
            let tasks = TaskSet::new();
            Broker::start(config, Disk::open(&root).unwrap(), &tasks).await.unwrap_err().to_string()
        };
        let taken = failed(other.clone(), Config { listen_port: port, ..config() }).await;
        assert!(taken.contains("listenPort"), "{taken}");
        let locked = failed(root.clone(), config()).await;
        assert!(locked.contains("in use by another process"), "{locked}");
        let hours = failed(other.clone(), Config { delete_when: "25".into(), ..config() }).await;
        assert!(hours.contains("deleteWhen"), "{hours}");
        let disk = Disk::open(&other).unwrap();
        disk.make_dir("config").await.unwrap();
        disk.replace_small("config/topics.json", b"{torn").await.unwrap();
        let torn = failed(other, config()).await;
        assert!(torn.contains("config/topics.json"), "{torn}");
        node.stop().await;
    });
}

fn query(key: &str, max_num: i32, unique: bool) -> QueryMessage {
    QueryMessage {
        topic: "orders".into(),
        key: key.into(),
        max_num,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        unique_key_query: Some(unique),
    }
}

#[test]
fn messages_are_found_by_key_as_soon_as_their_sends_are_answered() {
    run(|root| async move {
        let node = start(&root, config()).await;
        for number in 0..100 {
            let mut text = Vec::new();
            properties::push(&mut text, names::KEYS, &format!("all n{}", number % 4));
            properties::push(&mut text, names::UNIQ_KEY, &format!("u{number}"));
            let properties = Some(Text::from(String::from_utf8(text).unwrap()));
            let send = SendMessageV2 { properties, ..message("orders", 0, "") };
            let sent = node.call_with(&send, number.to_string()).await.unwrap().0;
            let last = i64::from_str_radix(&sent.msg_id[16..], 16).unwrap();
            let (reply, found) = node.call(&query(&format!("u{number}"), 1, true)).await.unwrap();
            assert_eq!(bodies(found), [number.to_string()]);
            assert_eq!(reply.index_last_update_phyoffset, last);
            assert!(reply.index_last_update_timestamp > 1_000_000_000_000);
        }
        let found = bodies(node.call(&query("n3", 5, false)).await.unwrap().1);
        assert_eq!(found, ["83", "87", "91", "95", "99"], "the newest, oldest first");
        let found = bodies(node.call(&query("all", i32::MAX, false)).await.unwrap().1);
        assert_eq!((found.len(), &*found[0], &*found[63]), (64, "36", "99"), "maxMsgsNumBatch");

        let nothing = [
            (query("n9", 5, false), "can not find message, maybe time range not correct"),
            (
                query("n3", 0, false),
                "can not find message, no message was asked for, maxNum must be at least 1",
            ),
            (
                query("n3", -7, false),
                "can not find message, no message was asked for, maxNum must be at least 1",
            ),
            (
                QueryMessage { topic: "nobody".into(), ..query("n3", 5, false) },
                "can not find message, maybe time range not correct",
            ),
            (
                QueryMessage { begin_timestamp: i64::MAX, ..query("n3", 5, false) },
                "can not find message, maybe time range not correct",
            ),
            (
                QueryMessage { end_timestamp: i64::MIN, ..query("n3", 5, false) },
                "can not find message, the range of time ends before it begins",
            ),
        ];
        for (asked, why) in nothing {
            let refused = node.call(&asked).await.unwrap_err();
            let remark = Some(why.into());
            assert_eq!(refused, CallError::Refused { code: code::QUERY_NOT_FOUND, remark }, "{asked:?}");
        }
        let answer = node.ask(&query("n9", 5, false), Bytes::new()).await;
        let header = QueryMessageReply::read(&answer.ext).unwrap();
        assert_eq!(header, QueryMessageReply::default(), "as Java answers, and clients read it");
        node.stop().await;
    });
}

fn bodies(records: Bytes) -> Vec<String> {
    record::each(records)
        .map(|bytes| match record::scan(&bytes, true) {
            Scan::Record(found) => String::from_utf8(found.body.to_vec()).unwrap(),
            other => panic!("no record: {other:?}"),
        })
        .collect()
}

#[test]
fn a_question_to_a_consumer_is_passed_on_or_answered_for_it() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let sent = node.send("orders", 0, "now").await;
        let asked = ConsumeMessageDirectly {
            consumer_group: "g".into(),
            client_id: Some("c".into()),
            msg_id: Some(sent.msg_id.clone()),
            topic: Some("orders".into()),
            ..ConsumeMessageDirectly::default()
        };
        let code_of = |answer: Result<_, CallError>| match answer {
            Err(CallError::Refused { code, remark }) => (code, remark.unwrap_or_default()),
            other => panic!("{other:?}"),
        };
        let (code, remark) = code_of(node.call(&asked).await.map(drop));
        assert_eq!((code, remark.as_str()), (code::SYSTEM_ERROR, "The Consumer <g> <c> not online"));
        node.heartbeat("c", "g", "orders").await;
        node.call(&asked).await.unwrap();
        let heard = node.heard.0.lock().pop().unwrap();
        assert_eq!(bodies(heard.body.clone()), ["now"]);
        let told: ConsumeMessageDirectly = heard.header().unwrap();
        let flags = (Some(0), Some(0));
        assert_eq!((told.topic_sys_flag, told.group_sys_flag), flags);
        assert_eq!(
            told,
            ConsumeMessageDirectly {
                broker_name: Some("a".into()),
                topic_sys_flag: flags.0,
                group_sys_flag: flags.1,
                ..asked.clone()
            }
        );
        let info = GetConsumerRunningInfo {
            consumer_group: "g".into(),
            client_id: "c".into(),
            jstack_enable: Some(true),
        };
        node.call(&info).await.unwrap();
        assert_eq!(node.heard.0.lock().pop().unwrap().header(), Ok(info));
        let missing = ConsumeMessageDirectly { msg_id: None, ..asked.clone() };
        assert_eq!(code_of(node.call(&missing).await.map(drop)).0, code::INVALID_PARAMETER);
        let strange = ConsumeMessageDirectly { msg_id: Some("x".into()), ..asked.clone() };
        assert_eq!(code_of(node.call(&strange).await.map(drop)).0, code::INVALID_PARAMETER);
        let gone = format!("{}{:016X}", &sent.msg_id[..16], 123_456_789);
        let gone = ConsumeMessageDirectly { msg_id: Some(gone.into()), ..asked.clone() };
        assert_eq!(code_of(node.call(&gone).await.map(drop)).0, code::SYSTEM_ERROR);
        node.stop().await;
    });
}
