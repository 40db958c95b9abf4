//! Transactions behind the broker's door, over real and simulated TCP.

use std::sync::Arc;

use crate::run;
use broker::{Broker, Config};
use bytes::Bytes;
use net::{Client, Options, Peer, Reply, Service};
use protocol::{
    Command, Header, Request,
    body::{HeartbeatData, KvTable, ProducerData},
    code, json,
    properties::{self, names},
    record::{self, RecordRef, Scan},
    rpc::*,
};
use runtime::{
    disk::Disk,
    sync::{Mutex, Notify},
    task::TaskSet,
    time::{Duration, Instant, sleep, timeout},
};

const HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const ENDS: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
const GIVEN_UP: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;
const LONG: Duration = Duration::from_secs(30);

/// A broker in a directory of its own, and a producer of it.
struct Node {
    tasks: TaskSet,
    broker: Arc<Broker>,
    client: Client,
    asked: Arc<Asked>,
}

/// The checks that the broker sent, not yet looked at.
#[derive(Default)]
struct Asked {
    checks: Mutex<Vec<Check>>,
    came: Notify,
}

/// A check: its header and the half message in it.
#[derive(Clone, Debug)]
struct Check {
    header: CheckTransactionState,
    at: Instant,
    body: Bytes,
}

impl Check {
    fn record(&self) -> RecordRef<'_> {
        match record::scan(&self.body, true) {
            Scan::Record(record) => record,
            other => panic!("no record: {other:?}"),
        }
    }
}

impl Service for Asked {
    async fn handle(&self, _: &Arc<Peer>, command: Command) -> Reply {
        if command.code == CheckTransactionState::CODE {
            assert!(command.is_oneway());
            let header = command.header().unwrap();
            self.checks.lock().push(Check { header, at: Instant::now(), body: command.body });
            self.came.notify_one();
        }
        Reply::ok()
    }
}

fn config() -> Config {
    Config { transaction_time_out: 300, transaction_check_interval: 1000, ..crate::config() }
}

async fn start(root: &str, config: Config) -> Node {
    let tasks = TaskSet::new();
    let broker = Broker::start(config, Disk::open(root).unwrap(), &tasks).await.unwrap();
    let asked = Arc::new(Asked::default());
    let client = Client::new(&tasks, asked.clone(), Options::default());
    Node { tasks, broker, client, asked }
}

impl Node {
    async fn ask<R: Request>(&self, request: &R, body: impl Into<Bytes>) -> Command {
        let command = Command::request(request, body.into());
        self.client.call_raw(self.broker.address(), command, LONG).await.unwrap()
    }

    /// Joins the producer group.
    async fn join(&self) {
        let data = HeartbeatData {
            client_id: "client".into(),
            producer_data_set: vec![ProducerData { group_name: "p".into() }],
            ..HeartbeatData::default()
        };
        assert_eq!(self.ask(&Heartbeat {}, json::to_vec(&data)).await.code, 0);
    }

    async fn half(&self, body: &str) -> Half {
        self.half_with(body, &[]).await
    }

    async fn half_with(&self, body: &str, more: &[(&str, &str)]) -> Half {
        let answer = self.ask(&half(body, more), body.to_owned()).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        let sent: SendMessageReply = answer.header().unwrap();
        assert_eq!(sent.transaction_id.as_deref(), Some(key(body).as_str()));
        let position = i64::from_str_radix(&sent.msg_id[16..], 16).unwrap();
        Half { offset: sent.queue_offset, position, key: key(body) }
    }

    /// The answer's code.
    async fn end(&self, half: &Half, decision: i32) -> i32 {
        self.ask(&end(half, decision), Bytes::new()).await.code
    }

    /// The next check that comes.
    async fn check(&self) -> Check {
        let come = async {
            loop {
                let came = self.asked.came.notified();
                let first = {
                    let mut checks = self.asked.checks.lock();
                    (!checks.is_empty()).then(|| checks.remove(0))
                };
                match first {
                    Some(check) => return check,
                    None => came.await,
                }
            }
        };
        timeout(LONG, come).await.expect("a check comes")
    }

    /// All records of queue 0, once it has as many.
    async fn records(&self, topic: &str, count: i64) -> Vec<Bytes> {
        let mut found = Vec::new();
        let mut from = 0;
        loop {
            let pull = PullMessage {
                consumer_group: "g".into(),
                topic: topic.into(),
                queue_offset: from,
                max_msg_nums: 32,
                sys_flag: if from < count { 6 } else { 4 },
                suspend_timeout_millis: 20_000,
                subscription: Some("*".into()),
                ..PullMessage::default()
            };
            let answer = self.ask(&pull, Bytes::new()).await;
            if answer.code == code::TOPIC_NOT_EXIST && count > 0 {
                sleep(Duration::from_millis(5)).await; // the broker makes it when it needs it
                continue;
            }
            if answer.code != code::SUCCESS {
                assert!(found.len() as i64 >= count, "{topic}: {:?}", answer.remark);
                return found;
            }
            from = PullMessageReply::read(&answer.ext).unwrap().next_begin_offset;
            found.extend(record::each(answer.body));
        }
    }

    /// Bodies of queue 0, once it has as many.
    async fn bodies(&self, topic: &str, count: i64) -> Vec<String> {
        let text = |bytes: &Bytes| String::from_utf8(view(bytes).body.to_vec()).unwrap();
        self.records(topic, count).await.iter().map(text).collect()
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

/// Where a half message, or a copy of it, stands.
#[derive(Clone, Debug)]
struct Half {
    offset: i64,
    position: i64,
    key: String,
}

impl Half {
    fn of(check: &Check) -> Self {
        Self {
            offset: check.header.tran_state_table_offset,
            position: check.header.commit_log_offset,
            key: check.header.msg_id.as_deref().unwrap().to_owned(),
        }
    }
}

fn key(body: &str) -> String {
    format!("KEY{body}")
}

fn view(bytes: &Bytes) -> RecordRef<'_> {
    match record::scan(bytes, true) {
        Scan::Record(record) => record,
        other => panic!("no record: {other:?}"),
    }
}

fn half(body: &str, more: &[(&str, &str)]) -> SendMessageV2 {
    let mut text = Vec::new();
    properties::push(&mut text, names::TRANSACTION_PREPARED, "true");
    properties::push(&mut text, names::PRODUCER_GROUP, "p");
    properties::push(&mut text, names::UNIQ_KEY, &key(body));
    properties::push(&mut text, names::TAGS, "tag");
    for (name, value) in more {
        properties::push(&mut text, name, value);
    }
    SendMessageV2 {
        producer_group: "p".into(),
        topic: "orders".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 1,
        sys_flag: record::sys_flag::PREPARED,
        born_timestamp: 1_700_000_000_000,
        properties: Some(String::from_utf8(text).unwrap().into()),
        ..SendMessageV2::default()
    }
}

fn end(half: &Half, decision: i32) -> EndTransaction {
    EndTransaction {
        producer_group: "p".into(),
        tran_state_table_offset: half.offset,
        commit_log_offset: half.position,
        commit_or_rollback: decision,
        msg_id: half.key.as_str().into(),
        transaction_id: Some(half.key.as_str().into()),
        ..EndTransaction::default()
    }
}

#[test]
fn a_half_message_is_delivered_once_when_it_is_committed() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let first = node.half_with("first", &[("u", "v"), ("REAL_TOPIC", "elsewhere")]).await;
        let second = node.half("second").await;
        assert_eq!((first.offset, second.offset), (0, 1));
        assert_eq!(node.records("orders", 0).await.len(), 0, "a half message is nobody's");

        assert_eq!(node.end(&second, COMMIT).await, code::SUCCESS);
        let found = node.records("orders", 1).await;
        let message = view(&found[0]);
        assert_eq!((message.body, message.topic, message.queue_id), (&b"second"[..], "orders", 0));
        assert_eq!((message.sys_flag, message.prepared_offset), (COMMIT, second.position));
        assert_eq!((message.born_timestamp, message.property(names::TAGS)), (1_700_000_000_000, Some("tag")));
        assert_eq!(message.property(names::UNIQ_KEY), Some("KEYsecond"));
        assert_eq!(message.property(names::TRANSACTION_ID), Some("KEYsecond"));

        // Whatever comes after the first decision changes nothing.
        assert_eq!(node.end(&second, COMMIT).await, code::SYSTEM_ERROR);
        assert_eq!(node.end(&second, ROLLBACK).await, code::SYSTEM_ERROR);
        assert_eq!(node.end(&first, COMMIT).await, code::SUCCESS);
        assert_eq!(node.bodies("orders", 2).await, ["second", "first"]);

        let third = node.half("third").await;
        assert_eq!(node.end(&third, 0).await, code::SUCCESS, "it stays open");
        assert_eq!(node.end(&third, ROLLBACK).await, code::SUCCESS);
        assert_eq!(node.end(&third, COMMIT).await, code::SYSTEM_ERROR);
        assert_eq!(node.bodies("orders", 2).await.len(), 2);
        let ends = node.records(ENDS, 3).await;
        assert!(ends.iter().all(|end| view(end).property(names::TAGS) == Some("d")));
        assert_eq!(node.bodies(ENDS, 3).await, ["1", "0", "2"]);
        node.stop().await;
    });
}

#[test]
fn an_end_that_does_not_speak_of_the_half_message_changes_nothing() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let sent = node.half("one").await;
        let good = end(&sent, COMMIT);
        let wrong = [
            EndTransaction { producer_group: "other".into(), ..good.clone() },
            EndTransaction { tran_state_table_offset: 1, ..good.clone() },
            EndTransaction { tran_state_table_offset: -1, ..good.clone() },
            EndTransaction { commit_log_offset: sent.position + 1, ..good.clone() },
            EndTransaction { commit_log_offset: 1 << 60, ..good.clone() },
            EndTransaction { commit_log_offset: -1, ..good.clone() },
            EndTransaction { msg_id: "KEYother".into(), transaction_id: None, ..good.clone() },
            EndTransaction { topic: Some("other".into()), ..good.clone() },
            EndTransaction { commit_or_rollback: 4, ..good.clone() },
        ];
        for wrong in wrong {
            let answer = node.ask(&wrong, Bytes::new()).await;
            assert!([code::SYSTEM_ERROR, code::INVALID_PARAMETER].contains(&answer.code), "{wrong:?}");
            assert!(!answer.remark.unwrap_or_default().is_empty());
        }
        assert_eq!(node.records(ENDS, 0).await.len() + node.records("orders", 0).await.len(), 0);

        // A position where another record stands.
        let plain = SendMessageV2 { sys_flag: 0, properties: None, ..half("plain", &[]) };
        let answer = node.ask(&plain, "plain").await;
        let at = answer.header::<SendMessageReply>().unwrap().msg_id;
        let position = i64::from_str_radix(&at[16..], 16).unwrap();
        let foreign = EndTransaction { commit_log_offset: position, ..good.clone() };
        assert_eq!(node.ask(&foreign, Bytes::new()).await.code, code::SYSTEM_ERROR);

        let gone = DeleteTopicInBroker { topic: "orders".into() };
        assert_eq!(node.ask(&gone, Bytes::new()).await.code, code::SUCCESS);
        assert_eq!(node.end(&sent, COMMIT).await, code::TOPIC_NOT_EXIST, "it stays undecided");
        node.ask(&plain, "plain").await;
        assert_eq!(node.end(&sent, COMMIT).await, code::SUCCESS);
        node.stop().await;
    });
}

#[test]
fn half_messages_that_cannot_be_kept_are_refused() {
    run(|root| async move {
        let node = start(&root, Config { max_message_size: 1 << 20, ..config() }).await;
        let code_of = async |request: SendMessageV2, body: Vec<u8>| node.ask(&request, body).await.code;
        assert_eq!(code_of(half("d", &[(names::DELAY, "3")]), b"x".to_vec()).await, code::MESSAGE_ILLEGAL);
        assert_eq!(code_of(half("e", &[]), Vec::new()).await, code::MESSAGE_ILLEGAL);
        let long = "v".repeat(32_600);
        assert_eq!(code_of(half("p", &[("k", &long)]), b"x".to_vec()).await, code::MESSAGE_ILLEGAL);
        // As long as a file of the log allows alone, but not together with its end.
        assert_eq!(code_of(half("b", &[]), vec![1; (1 << 20) - 400]).await, code::MESSAGE_ILLEGAL);
        let unmarked = SendMessageV2 { properties: None, ..half("u", &[]) };
        assert_eq!(code_of(unmarked, b"x".to_vec()).await, code::MESSAGE_ILLEGAL);
        let set = UpdateBrokerConfig {};
        assert_eq!(node.ask(&set, "rejectTransactionMessage=true").await.code, code::SUCCESS);
        assert_eq!(code_of(half("r", &[]), b"x".to_vec()).await, code::NO_PERMISSION);
        assert_eq!(node.records(HALF, 0).await.len(), 0);
        node.stop().await;
    });
}

#[test]
fn a_producer_is_asked_and_the_first_decision_counts_for_all_copies() {
    run(|root| async move {
        let node = start(&root, config()).await;
        node.join().await;
        let began = Instant::now();
        let sent = node.half("open").await;
        let check = node.check().await;
        assert!(check.at - began >= Duration::from_millis(300), "not before its time");
        let record = check.record();
        assert_eq!((record.topic, record.queue_id, record.body), ("orders", 0, &b"open"[..]));
        assert_eq!(record.property(names::TRANSACTION_CHECK_TIMES), Some("1"));
        assert_eq!(record.property(names::PRODUCER_GROUP), Some("p"));
        let copy = Half::of(&check);
        assert_eq!((copy.offset, copy.key.as_str()), (1, "KEYopen"));
        assert_eq!(record.place.position, copy.position as u64);
        assert_eq!(view(&node.records(HALF, 2).await[1]).place.position, copy.position as u64);

        // The late end of the local transaction and the answer to the check: one message.
        let (late, answer) = (end(&sent, COMMIT), end(&copy, COMMIT));
        let answer = EndTransaction { from_transaction_check: true, ..answer };
        let (a, b) = futures::join!(node.ask(&late, Bytes::new()), node.ask(&answer, Bytes::new()));
        let mut codes = [a.code, b.code];
        codes.sort_unstable();
        assert_eq!(codes, [code::SUCCESS, code::SYSTEM_ERROR]);
        assert_eq!(node.bodies("orders", 1).await, ["open"]);
        assert_eq!(node.end(&copy, ROLLBACK).await, code::SYSTEM_ERROR);
        node.stop().await;
    });
}

#[test]
fn checks_are_counted_over_restarts_and_a_message_nobody_ends_is_given_up() {
    run(|root| async move {
        let config = Config { transaction_check_max: 2, ..config() };
        let node = start(&root, config.clone()).await;
        node.join().await;
        let sent = node.half("lost").await;
        let first = node.check().await;
        assert_eq!(first.record().property(names::TRANSACTION_CHECK_TIMES), Some("1"));
        node.kill().await;

        let node = start(&root, config.clone()).await;
        node.join().await;
        // A start cannot know that the question went out.
        let repeated = node.check().await;
        assert_eq!(repeated.record().property(names::TRANSACTION_CHECK_TIMES), Some("1"));
        assert!(repeated.at - first.at >= Duration::from_millis(1000), "the interval holds over a restart");
        let second = node.check().await;
        assert_eq!(second.record().property(names::TRANSACTION_CHECK_TIMES), Some("2"));
        assert_eq!(second.record().property(names::TRANSACTION_PREPARED_OFFSET), Some("0"));
        let given_up = node.records(GIVEN_UP, 1).await;
        let message = view(&given_up[0]);
        assert_eq!((message.body, message.property(names::REAL_TOPIC)), (&b"lost"[..], Some("orders")));
        assert_eq!(node.end(&sent, COMMIT).await, code::SYSTEM_ERROR, "it was given up");
        node.kill().await;

        let node = start(&root, config).await;
        node.join().await;
        assert_eq!(node.bodies(ENDS, 1).await, ["0,2"]);
        assert_eq!(node.end(&Half::of(&second), COMMIT).await, code::SYSTEM_ERROR);
        // An operator puts it back.
        let id = format!("7F00000100000000{:016X}", message.place.position);
        let again = ResumeCheckHalfMessage { topic: None, msg_id: Some(id.as_str().into()) };
        assert_eq!(node.ask(&again, Bytes::new()).await.code, code::SUCCESS);
        let check = node.check().await;
        assert_eq!(check.record().property(names::TRANSACTION_CHECK_TIMES), Some("1"));
        assert_eq!(node.end(&Half::of(&check), COMMIT).await, code::SUCCESS);
        assert_eq!(node.bodies("orders", 1).await, ["lost"]);
        node.stop().await;
    });
}

#[test]
fn without_a_producer_nothing_is_stored_or_counted() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let alone = node.half("alone").await;
        // Another group's half message, checked meanwhile twice, shows that time passed.
        node.join().await;
        let stranger = SendMessageV2 {
            properties: Some("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}nobody\u{2}UNIQ_KEY\u{1}KEYx\u{2}".into()),
            ..half("x", &[])
        };
        assert_eq!(node.ask(&stranger, "x").await.code, code::SUCCESS);
        let facts = node.ask(&GetBrokerRuntimeInfo {}, Bytes::new()).await.body;
        let facts: KvTable = json::from_slice(&facts).unwrap();
        assert_eq!(facts.table["halfMessagesUndecided"], "2");
        assert!(facts.table["halfMessageOldest"].contains("undecided at offset 0"), "{facts:?}");
        for times in ["1", "2"] {
            let check = node.check().await;
            assert_eq!(check.header.msg_id.as_deref(), Some("KEYalone"));
            assert_eq!(check.record().property(names::TRANSACTION_CHECK_TIMES), Some(times));
        }
        assert_eq!(node.end(&alone, COMMIT).await, code::SUCCESS);
        let halves = node.records(HALF, 4).await;
        let copies = halves.iter().filter(|half| view(half).property(names::UNIQ_KEY) == Some("KEYx"));
        assert_eq!(copies.count(), 1);
        node.stop().await;
    });
}

#[test]
fn decisions_survive_a_kill_right_after_their_answers() {
    run(|root| async move {
        let node = start(&root, config()).await;
        let mut halves = Vec::new();
        for i in 0..6 {
            halves.push(node.half(&i.to_string()).await);
        }
        for (half, decision) in halves.iter().zip([COMMIT, ROLLBACK, COMMIT, ROLLBACK]) {
            assert_eq!(node.end(half, decision).await, code::SUCCESS);
        }
        node.kill().await;
        let node = start(&root, config()).await;
        for half in &halves[..4] {
            assert_eq!(node.end(half, COMMIT).await, code::SYSTEM_ERROR, "{half:?}");
        }
        node.join().await;
        for _ in 0..2 {
            let check = node.check().await;
            assert!(["KEY4", "KEY5"].contains(&check.header.msg_id.as_deref().unwrap()));
            assert_eq!(node.end(&Half::of(&check), COMMIT).await, code::SUCCESS);
        }
        let mut bodies = node.bodies("orders", 4).await;
        bodies.sort();
        assert_eq!(bodies, ["0", "2", "4", "5"]);
        node.stop().await;
    });
}
