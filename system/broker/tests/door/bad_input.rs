//! Requests that cannot be meant: ends of transactions that are none, delays out of range, messages given back that
//! are not there, queries without sense, keys with separators. Each has its answer, nothing is lost, nobody falls.

use std::{fmt::Debug, sync::Arc};

use crate::{Deaf, config, run};
use broker::{Broker, Config};
use bytes::Bytes;
use net::{Client, Options};
use protocol::{
    Command, Request, code, name,
    properties::{self, names},
    record::{self, Scan, sys_flag},
    rpc::*,
};
use runtime::{
    disk::Disk,
    task::TaskSet,
    time::{Duration, sleep, timeout},
};

const LONG: Duration = Duration::from_secs(30);

struct Node {
    tasks: TaskSet,
    broker: Arc<Broker>,
    client: Client,
}

/// A stored message, as a reader sees it.
#[derive(Debug)]
struct Seen {
    body: String,
    queue: i32,
    times: i32,
    position: i64,
    properties: Vec<u8>,
}

async fn start(root: &str, config: Config) -> Node {
    let tasks = TaskSet::new();
    let broker = Broker::start(config, Disk::open(root).unwrap(), &tasks).await.unwrap();
    let client = Client::new(&tasks, Arc::new(Deaf), Options::default());
    Node { tasks, broker, client }
}

impl Node {
    async fn ask<R: Request>(&self, request: &R, body: impl Into<Bytes>) -> Command {
        let command = Command::request(request, body.into());
        self.client.call_raw(self.broker.address(), command, LONG).await.unwrap()
    }

    /// Stores a message and returns its position.
    async fn store(&self, request: &SendMessageV2, body: &str) -> i64 {
        let answer = self.ask(request, body.to_owned()).await;
        assert_eq!(answer.code, code::SUCCESS, "{:?}", answer.remark);
        let sent: SendMessageReply = answer.header().unwrap();
        i64::from_str_radix(&sent.msg_id[16..], 16).unwrap()
    }

    /// Refused with this code and these words, and others are served.
    async fn refuses<R: Request + Debug>(&self, request: &R, body: &str, code: i32, words: &str) {
        let answer = self.ask(request, body.to_owned()).await;
        let remark = answer.remark.unwrap_or_default();
        assert_eq!(answer.code, code, "{request:?}: {remark}");
        assert!(remark.contains(words), "{request:?} is told {remark:?}, which does not say {words:?}");
        self.store(&message(&[]), "alive").await;
    }

    /// Everything in a queue now, once there is so much.
    async fn until(&self, topic: &str, queue: i32, count: usize) -> Vec<Seen> {
        let all = timeout(LONG, async {
            loop {
                let pull = PullMessage {
                    consumer_group: "g".into(),
                    topic: topic.into(),
                    queue_id: queue,
                    max_msg_nums: 1000,
                    sys_flag: 4,
                    subscription: Some("*".into()),
                    ..PullMessage::default()
                };
                let answer = self.ask(&pull, "").await;
                let found = if answer.code == code::SUCCESS { seen(answer.body) } else { Vec::new() };
                if found.len() >= count {
                    return found;
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        all.await.unwrap_or_else(|_| panic!("{count} messages come to queue {queue} of {topic}"))
    }

    async fn query(&self, asked: &QueryMessage) -> (i32, Vec<String>, String) {
        let answer = self.ask(asked, "").await;
        let bodies = seen(answer.body).into_iter().map(|seen| seen.body).collect();
        (answer.code, bodies, answer.remark.unwrap_or_default().to_string())
    }

    async fn stop(self) {
        self.broker.stop().await;
        self.tasks.close().await;
    }
}

fn seen(records: Bytes) -> Vec<Seen> {
    record::each(records)
        .map(|bytes| {
            let Scan::Record(r) = record::scan(&bytes, true) else { panic!("no record") };
            Seen {
                body: String::from_utf8(r.body.to_vec()).unwrap(),
                queue: r.queue_id,
                times: r.reconsume_times,
                position: r.place.position as i64,
                properties: r.properties.to_vec(),
            }
        })
        .collect()
}

fn message(marks: &[(&str, &str)]) -> SendMessageV2 {
    let mut text = Vec::new();
    for (name, value) in marks {
        properties::push(&mut text, name, value);
    }
    SendMessageV2 {
        producer_group: "p".into(),
        topic: "orders".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 1,
        properties: Some(String::from_utf8(text).unwrap().into()),
        ..SendMessageV2::default()
    }
}

fn half(key: &str, more: &[(&str, &str)]) -> SendMessageV2 {
    let marks = [(names::TRANSACTION_PREPARED, "true"), (names::PRODUCER_GROUP, "p"), (names::UNIQ_KEY, key)];
    SendMessageV2 { sys_flag: sys_flag::PREPARED, ..message(&[&marks[..], more].concat()) }
}

fn back(offset: i64) -> ConsumerSendMsgBack {
    ConsumerSendMsgBack { offset, group: "g".into(), ..ConsumerSendMsgBack::default() }
}

fn query(key: &str) -> QueryMessage {
    QueryMessage {
        topic: "orders".into(),
        key: key.into(),
        max_num: 32,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        unique_key_query: Some(false),
    }
}

#[test]
fn an_end_of_what_is_no_transaction_is_refused() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let plain = node.store(&message(&[]), "plain").await;
        let other = node.store(&half("OTHER", &[]), "other").await;
        let position = node.store(&half("KEY", &[]), "half").await;
        let good = EndTransaction {
            producer_group: "p".into(),
            tran_state_table_offset: 1,
            commit_log_offset: position,
            commit_or_rollback: sys_flag::COMMIT,
            msg_id: "KEY".into(),
            ..EndTransaction::default()
        };
        let group = EndTransaction { producer_group: "foreign".into(), ..good.clone() };
        node.refuses(&group, "", code::SYSTEM_ERROR, "The producer group wrong").await;
        let id = EndTransaction { msg_id: "NONE".into(), ..good.clone() };
        node.refuses(&id, "", code::SYSTEM_ERROR, "The unique key wrong").await;
        let another = EndTransaction { commit_log_offset: other, ..good.clone() };
        node.refuses(&another, "", code::SYSTEM_ERROR, "The transaction state table offset wrong").await;
        for offset in [-1, 0, 2, i64::MIN, i64::MAX] {
            let wrong = EndTransaction { tran_state_table_offset: offset, ..good.clone() };
            node.refuses(&wrong, "", code::SYSTEM_ERROR, "The transaction state table offset wrong").await;
        }
        // A message that is none of a transaction, places inside and behind records, and numbers that are no places.
        for place in [plain, position + 1, position + 90, 1 << 40, -1, i64::MIN, i64::MAX, i64::MAX - 3] {
            let wrong = EndTransaction { commit_log_offset: place, ..good.clone() };
            node.refuses(&wrong, "", code::SYSTEM_ERROR, "Find prepared transaction message failed").await;
        }
        for decision in [1, 4, -8, i32::MAX] {
            let wrong = EndTransaction { commit_or_rollback: decision, ..good.clone() };
            node.refuses(&wrong, "", code::INVALID_PARAMETER, "8 commits, 12 rolls back, 0 leaves open")
                .await;
        }
        let before = node.until("orders", 0, 1).await;
        assert!(
            before.iter().all(|seen| ["plain", "alive"].contains(&seen.body.as_str())),
            "nothing was committed"
        );
        assert_eq!(node.ask(&good, "").await.code, code::SUCCESS, "the right one still counts");
        assert_eq!(node.until("orders", 0, before.len() + 1).await.pop().unwrap().body, "half");
        node.stop().await;
    });
}

#[test]
fn a_delay_that_is_none_delays_nothing_and_one_too_long_is_the_longest() {
    run(|root| async move {
        let node = start(&root, Config { message_delay_level: "1h 2h".into(), ..config() }).await;
        for level in ["1", "2", "99", "soon"] {
            node.refuses(
                &half(level, &[(names::DELAY, level)]),
                "x",
                code::MESSAGE_ILLEGAL,
                "cannot be delayed",
            )
            .await;
        }
        for level in ["soon", "1.5", "0x3", "99999999999", "-99999999999", "1 ", ""] {
            let asked = message(&[(names::DELAY, level)]);
            if level.is_empty() {
                node.store(&asked, "none").await; // an empty property is none
            } else {
                node.refuses(&asked, "x", code::MESSAGE_ILLEGAL, "is no number").await;
            }
        }
        for level in ["0", "-1", "-2147483648"] {
            node.store(&message(&[(names::DELAY, level)]), level).await;
        }
        let now: Vec<String> = node.until("orders", 0, 4).await.into_iter().map(|seen| seen.body).collect();
        for level in ["none", "0", "-1", "-2147483648"] {
            assert!(now.iter().any(|body| body == level), "level {level} is no delay: {now:?}");
        }
        for level in ["3", "19", "2147483647"] {
            node.store(&message(&[(names::DELAY, level)]), level).await;
        }
        let late = node.until(name::SCHEDULE_TOPIC, 1, 3).await;
        let late: Vec<_> =
            late.iter().map(|s| (&*s.body, properties::get_str(&s.properties, names::DELAY))).collect();
        assert_eq!(late, [("3", Some("2")), ("19", Some("2")), ("2147483647", Some("2"))]);
        node.stop().await;
    });
}

#[test]
fn a_message_that_is_not_there_cannot_be_given_back() {
    run(|root| async move {
        let automatic = Config { auto_create_subscription_group: false, ..config() };
        let node = start(&root, automatic).await;
        let position = node.store(&message(&[]), "x").await;
        node.refuses(&back(position), "", code::SUBSCRIPTION_GROUP_NOT_EXIST, "group [g] does not exist")
            .await;
        node.stop().await;

        let node = start(&root, config()).await;
        for place in [position + 1, 1 << 40, -1, i64::MIN, i64::MAX] {
            let words = format!("look message by offset failed, {place}");
            node.refuses(&back(place), "", code::SYSTEM_ERROR, &words).await;
        }
        let group = ConsumerSendMsgBack { group: "no such group!".into(), ..back(position) };
        node.refuses(&group, "", code::INVALID_PARAMETER, "no such group!").await;
        // What no consumer can have got: it would come to one that way.
        let half = node.store(&half("KEY", &[]), "half").await;
        node.refuses(&back(half), "", code::NO_PERMISSION, name::HALF_TOPIC).await;
        let waits = node.store(&message(&[(names::DELAY, "18")]), "later").await;
        node.refuses(&back(waits), "", code::NO_PERMISSION, name::SCHEDULE_TOPIC).await;
        assert_eq!(node.ask(&back(position), "").await.code, code::SUCCESS);
        node.stop().await;
    });
}

#[test]
fn what_retention_removed_cannot_be_given_back() {
    run(|root| async move {
        let hours: Vec<String> = (0..24).map(|hour| format!("{hour:02}")).collect();
        let short = Config {
            file_reserved_time: 0,
            delete_when: hours.join(";"),
            clean_resource_interval: 10,
            flush_consume_queue_thorough_interval: 10,
            ..config()
        };
        let node = start(&root, short).await;
        let first = node.store(&message(&[]), "first").await;
        let gone = timeout(LONG, async {
            loop {
                node.store(&message(&[]), &"fill".repeat(50_000)).await;
                if node.ask(&ViewMessageById { offset: first, topic: None }, "").await.code != code::SUCCESS {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        gone.await.expect("the first file goes");
        node.refuses(&back(first), "", code::SYSTEM_ERROR, "look message by offset failed").await;
        let view = ViewMessageById { offset: first, topic: None };
        node.refuses(&view, "", code::SYSTEM_ERROR, "can not find message by the offset").await;
        node.stop().await;
    });
}

#[test]
fn counts_that_no_consumer_has_are_taken_as_the_nearest() {
    run(|root| async move {
        let node = start(&root, Config { message_delay_level: "0s 0s 0s 1h".into(), ..config() }).await;
        for times in [-5, i32::MIN, i32::MAX] {
            let sent = SendMessageV2 { reconsume_times: Some(times), ..message(&[]) };
            let position = node.store(&sent, &times.to_string()).await;
            let back = ConsumerSendMsgBack { group: format!("g{times}").as_str().into(), ..back(position) };
            assert_eq!(node.ask(&back, "").await.code, code::SUCCESS, "{times}");
        }
        let back = node.until("%RETRY%g-5", 0, 1).await;
        assert_eq!((back[0].times, back[0].queue), (-4, 0));
        assert_eq!(node.until("%RETRY%g-2147483648", 0, 1).await[0].times, i32::MIN + 1);
        let dead = node.until("%DLQ%g2147483647", 0, 1).await;
        assert_eq!(dead[0].times, i32::MAX);
        // And once more, from where the dead are.
        let again = ConsumerSendMsgBack { delay_level: i32::MAX, ..self::back(dead[0].position) };
        assert_eq!(node.ask(&again, "").await.code, code::SUCCESS);
        let again = ConsumerSendMsgBack { delay_level: i32::MIN, ..self::back(dead[0].position) };
        assert_eq!(node.ask(&again, "").await.code, code::SUCCESS);
        assert_eq!(node.until("%DLQ%g", 0, 2).await[1].times, i32::MAX);
        node.store(&message(&[]), "alive").await;
        node.stop().await;
    });
}

#[test]
fn a_query_without_sense_has_an_answer() {
    run(|root| async move {
        let node = start(&root, config()).await;
        node.store(&message(&[(names::KEYS, "k"), (names::UNIQ_KEY, "U")]), "x").await;
        let found = |asked: QueryMessage| {
            let node = &node;
            async move {
                let (code, bodies, remark) = node.query(&asked).await;
                assert_eq!((code, &*bodies), (code::SUCCESS, &["x".to_owned()][..]), "{asked:?}: {remark}");
            }
        };
        let nothing = |asked: QueryMessage, words: &'static str| {
            let node = &node;
            async move {
                let (code, _, remark) = node.query(&asked).await;
                assert_eq!(code, code::QUERY_NOT_FOUND, "{asked:?}: {remark}");
                assert!(remark.contains(words), "{asked:?} is told {remark:?}, which does not say {words:?}");
            }
        };
        found(query("k")).await;
        found(QueryMessage { begin_timestamp: i64::MIN, ..query("k") }).await;
        found(QueryMessage { max_num: i32::MAX, ..query("k") }).await;
        // 4.9 clients ask for one message by its unique key, some for none.
        found(QueryMessage { max_num: 0, unique_key_query: Some(true), ..query("U") }).await;
        let backwards = "the range of time ends before it begins";
        nothing(QueryMessage { begin_timestamp: 2, end_timestamp: 1, ..query("k") }, backwards).await;
        let widest = QueryMessage { begin_timestamp: i64::MAX, end_timestamp: i64::MIN, ..query("k") };
        nothing(widest, backwards).await;
        nothing(QueryMessage { begin_timestamp: i64::MAX, ..query("k") }, "maybe time range").await;
        nothing(QueryMessage { begin_timestamp: i64::MIN, end_timestamp: -1, ..query("k") }, "maybe time")
            .await;
        for most in [0, -1, i32::MIN] {
            nothing(QueryMessage { max_num: most, ..query("k") }, "maxNum must be at least 1").await;
        }
        nothing(query(""), "can not find message").await;
        nothing(QueryMessage { topic: "".into(), ..query("k") }, "can not find message").await;
        nothing(QueryMessage { topic: "no such/topic".into(), ..query("k") }, "can not find message").await;
        nothing(query(&"k".repeat(100_000)), "can not find message").await;
        node.stop().await;
    });
}

#[test]
fn keys_with_separators_are_found_as_they_were_stored() {
    run(|root| async move {
        let node = start(&root, Config { max_index_num: 64, max_hash_slot_num: 16, ..config() }).await;
        let store = async |keys: &str, body: &str| node.store(&message(&[(names::KEYS, keys)]), body).await;
        let one = async |key: &str, body: &str| {
            let (code, bodies, remark) = node.query(&query(key)).await;
            assert_eq!((code, bodies), (code::SUCCESS, vec![body.to_owned()]), "{key:?}: {remark}");
        };
        let none = async |key: &str| {
            let (code, _, remark) = node.query(&query(key)).await;
            assert_eq!(code, code::QUERY_NOT_FOUND, "{key:?}: {remark}");
        };
        store("  left   right ", "blanks").await;
        one("left", "blanks").await;
        one("right", "blanks").await;
        for key in ["left   right", " ", "  left   right "] {
            none(key).await;
        }
        store("a#b #", "sharp").await;
        one("a#b", "sharp").await;
        one("#", "sharp").await;
        none("b").await;
        // The byte between a name and its value may stand in a value; the one behind it ends it.
        store("in\u{1}side", "one").await;
        one("in\u{1}side", "one").await;
        none("in").await;
        store("before\u{2}behind", "two").await;
        one("before", "two").await;
        none("before\u{2}behind").await;
        store("größe\t日本", "words").await;
        one("größe\t日本", "words").await;
        let long = "k".repeat(32_000);
        store(&long, "long").await;
        one(&long, "long").await;
        none(&long[1..]).await;
        let too_long = message(&[(names::KEYS, &"k".repeat(33_000))]);
        node.refuses(&too_long, "x", code::MESSAGE_ILLEGAL, "properties").await;
        // More keys than an index file has room for.
        let many: Vec<String> = (0..300).map(|n| format!("many{n}")).collect();
        store(&many.join(" "), "many").await;
        for n in [0, 63, 64, 150, 299] {
            one(&many[n], "many").await;
        }
        store(&"same ".repeat(300), "same").await;
        one("same", "same").await;
        node.stop().await;

        let node = start(&root, Config { max_index_num: 64, max_hash_slot_num: 16, ..config() }).await;
        for (key, body) in [("left", "blanks"), ("many150", "many"), ("same", "same"), ("a#b", "sharp")] {
            let (code, bodies, remark) = node.query(&query(key)).await;
            assert_eq!(
                (code, bodies),
                (code::SUCCESS, vec![body.to_owned()]),
                "{key} after a restart: {remark}"
            );
        }
        node.stop().await;
    });
}

/// A half message whose producer never comes back goes to those that were given up before its file goes.
#[cfg(madsim)]
#[test]
fn a_half_message_is_kept_from_retention_whatever_it_waits_for() {
    run(|root| async move {
        let config = Config { file_reserved_time: 1, message_index_enable: false, ..config() };
        let node = start(&root, config).await;
        node.store(&half("ALONE", &[]), "without a producer").await;
        node.store(&half("LATER", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "999999999999")]), "left alone").await;
        node.store(&half("BEHIND", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "7000")]), "behind").await;
        sleep(Duration::from_secs(3600 - 120)).await;
        assert_eq!(
            node.ask(&GetMaxOffset { topic: GIVEN_UP.into(), ..GetMaxOffset::default() }, "").await.code,
            code::TOPIC_NOT_EXIST
        );
        sleep(Duration::from_secs(70)).await;
        let mut kept: Vec<String> =
            node.until(GIVEN_UP, 0, 3).await.into_iter().map(|seen| seen.body).collect();
        kept.sort();
        assert_eq!(kept, ["behind", "left alone", "without a producer"]);
        node.stop().await;
    });
}

#[cfg(madsim)]
const GIVEN_UP: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

#[test]
fn a_group_cannot_have_more_retry_queues_than_a_topic_may_have() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let group = |queues: i32| format!(r#"{{"groupName":"g","retryQueueNums":{queues}}}"#);
        for queues in [-1, 65_536, i32::MAX] {
            let request = UpdateAndCreateSubscriptionGroup {};
            node.refuses(&request, &group(queues), code::INVALID_PARAMETER, "retryQueueNums").await;
        }
        let answer = node.ask(&UpdateAndCreateSubscriptionGroup {}, group(65_535)).await;
        assert_eq!(answer.code, code::SUCCESS, "{:?}", answer.remark);
        node.stop().await;
    });
}

#[test]
fn nobody_moves_the_offsets_that_say_which_transactions_are_done() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let group = "CID_RMQ_SYS_TRANS";
        let sent: SendMessageReply = node.ask(&half("u", &[]), "open").await.header().unwrap();
        let pull = PullMessage {
            consumer_group: group.into(),
            topic: name::HALF_TOPIC.into(),
            max_msg_nums: 32,
            sys_flag: 1 | 4,
            commit_offset: 1,
            ..PullMessage::default()
        };
        assert_eq!(node.ask(&pull, "").await.code, code::SUCCESS, "who looks makes the group");
        let update = UpdateConsumerOffset {
            consumer_group: group.into(),
            topic: name::HALF_TOPIC.into(),
            queue_id: 0,
            commit_offset: 1,
        };
        node.refuses(&update, "", code::NO_PERMISSION, "broker's own").await;
        let clone = CloneGroupOffset {
            src_group: "g".into(),
            dest_group: group.into(),
            ..CloneGroupOffset::default()
        };
        node.refuses(&clone, "", code::NO_PERMISSION, "broker's own").await;
        node.stop().await;

        let node = start(&root, config()).await;
        let end = EndTransaction {
            producer_group: "p".into(),
            tran_state_table_offset: sent.queue_offset,
            commit_log_offset: i64::from_str_radix(&sent.msg_id[16..], 16).unwrap(),
            commit_or_rollback: sys_flag::COMMIT,
            msg_id: "u".into(),
            ..EndTransaction::default()
        };
        let answer = node.ask(&end, "").await;
        assert_eq!(answer.code, code::SUCCESS, "{:?}", answer.remark);
        node.stop().await;
    });
}

#[test]
fn attributes_that_a_topic_cannot_keep_to_are_refused() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let topic = |attributes: &str| UpdateAndCreateTopic {
            topic: "orders".into(),
            read_queue_nums: 1,
            write_queue_nums: 1,
            perm: 6,
            attributes: Some(attributes.into()),
            ..UpdateAndCreateTopic::default()
        };
        let list = |attributes: &str| {
            format!(
                r#"{{"topicConfigList":[{{"topicName":"orders","readQueueNums":1,"writeQueueNums":1,"perm":6,
                "attributes":{attributes}}}]}}"#
            )
        };
        let told = async || {
            let request = GetTopicConfig { topic: "orders".into(), ..GetTopicConfig::default() };
            String::from_utf8(node.ask(&request, "").await.body.to_vec()).unwrap()
        };
        let refused = [
            ("+message.type=NOPE", r#"{"+message.type":"NOPE"}"#, "possible is UNSPECIFIED"),
            ("+cleanup.policy=COMPACTION", r#"{"cleanup.policy":"COMPACTION"}"#, "possible is DELETE"),
            ("+queue.type=BatchCQ", r#"{"+queue.type":"BatchCQ"}"#, "possible is SimpleCQ"),
            ("+reserve.time=-2", r#"{"+reserve.time":"soon"}"#, "a number from -1"),
            ("+x=y", r#"{"x":"y"}"#, "attribute x is unknown"),
        ];
        for (text, in_list, words) in refused {
            node.refuses(&topic(text), "", code::INVALID_PARAMETER, words).await;
            let request = UpdateAndCreateTopicList {};
            node.refuses(&request, &list(in_list), code::INVALID_PARAMETER, words).await;
        }
        let answer = node.ask(&topic("+message.type=FIFO,+reserve.time=-1"), "").await;
        assert_eq!(answer.code, code::SUCCESS, "{:?}", answer.remark);
        let change = r#"{"+message.type":"NORMAL","-reserve.time":"","cleanup.policy":"DELETE"}"#;
        assert_eq!(node.ask(&UpdateAndCreateTopicList {}, list(change)).await.code, code::SUCCESS);
        let attributes = r#""attributes":{"cleanup.policy":"DELETE","message.type":"NORMAL"}"#;
        assert!(told().await.contains(attributes), "{}", told().await);
        node.stop().await;
    });
}

#[test]
fn automatic_topics_can_be_switched_on_while_the_broker_runs() {
    run(|root| async move {
        let node = start(&root, Config { auto_create_topic_enable: false, ..config() }).await;
        let missing = node.ask(&message(&[]), "x").await;
        assert_eq!(missing.code, code::TOPIC_NOT_EXIST, "{:?}", missing.remark);
        let answer = node.ask(&UpdateBrokerConfig {}, "autoCreateTopicEnable=true\n").await;
        assert_eq!(answer.code, code::SUCCESS, "{:?}", answer.remark);
        node.store(&message(&[]), "x").await;
        node.stop().await;
    });
}
