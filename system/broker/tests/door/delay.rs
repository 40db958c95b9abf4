//! Delayed messages, retries and dead letters behind the broker's door, over real and simulated TCP.

use std::sync::Arc;

use crate::{Deaf, pull, run};
use broker::{Broker, Config};
use bytes::{Bytes, BytesMut};
use net::{Client, Options};
use protocol::{
    Command, Request,
    batch::Item,
    body::{KvTable, SubscriptionGroupConfig},
    code, json,
    properties::{self, names},
    record::{self, Scan},
    rpc::*,
};
use runtime::{
    disk::Disk,
    task::TaskSet,
    time::{Duration, Instant, sleep, timeout},
};

const LONG: Duration = Duration::from_secs(30);

/// A broker in a directory of its own, and a client of it.
struct Node {
    tasks: TaskSet,
    broker: Arc<Broker>,
    client: Client,
}

/// A stored message, as a reader sees it.
#[derive(Debug)]
struct Seen {
    body: String,
    topic: String,
    queue: i32,
    offset: u64,
    position: u64,
    stored: i64,
    born: i64,
    times: i32,
    properties: Vec<u8>,
}

impl Seen {
    fn property(&self, name: &str) -> Option<&str> {
        properties::get_str(&self.properties, name)
    }
}

fn config(levels: &str) -> Config {
    Config {
        message_delay_level: levels.into(),
        // Not in the life of a test: what is kept by then is kept without it.
        flush_delay_offset_interval: 3_600_000,
        ..crate::config()
    }
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

    async fn call<R: Request>(&self, request: &R, body: impl Into<Bytes>) -> (R::Reply, Bytes) {
        self.client.call(self.broker.address(), request, body.into(), LONG).await.unwrap()
    }

    async fn send(&self, topic: &str, queue: i32, body: &str, marks: &[(&str, &str)]) -> SendMessageReply {
        self.call(&message(topic, queue, marks), body.to_owned()).await.0
    }

    /// The message with this id.
    async fn view(&self, id: &str) -> Seen {
        let offset = i64::from_str_radix(&id[16..], 16).unwrap();
        seen(&self.call(&ViewMessageById { offset, topic: None }, "").await.1).remove(0)
    }

    /// Waits for `count` messages of a queue, and reads all there are.
    async fn until(&self, topic: &str, queue: i32, count: usize) -> Vec<Seen> {
        let all = timeout(LONG, async {
            let mut all: Vec<Seen> = Vec::new();
            while all.len() < count {
                let next = all.last().map_or(0, |last| last.offset as i64 + 1);
                let pull =
                    PullMessage { sys_flag: 6, suspend_timeout_millis: 1000, ..pull(topic, queue, next) };
                let answer = self.ask(&pull, "").await;
                if answer.code == code::SUCCESS {
                    all.extend(seen(&answer.body));
                } else {
                    sleep(Duration::from_millis(5)).await; // the topic may not be there yet
                }
            }
            all
        });
        all.await.unwrap_or_else(|_| panic!("{count} messages come to queue {queue} of {topic}"))
    }

    /// Messages in a queue now.
    async fn count(&self, topic: &str, queue: i32) -> i64 {
        let h = GetMaxOffset { topic: topic.into(), queue_id: queue, ..GetMaxOffset::default() };
        self.call(&h, "").await.0.offset
    }

    async fn send_back(&self, position: u64, level: i32, most: Option<i32>) -> Command {
        let h = ConsumerSendMsgBack {
            offset: position as i64,
            group: "g".into(),
            delay_level: level,
            max_reconsume_times: most,
            ..ConsumerSendMsgBack::default()
        };
        self.ask(&h, "").await
    }

    /// What `progress` of a level the operator sees: `next,end`.
    async fn stand(&self, level: i32) -> String {
        self.told(&format!("scheduleMessageOffset_{level}")).await
    }

    /// What the broker tells operators under a key.
    async fn told(&self, key: &str) -> String {
        let table: KvTable = json::from_slice(&self.call(&GetBrokerRuntimeInfo {}, "").await.1).unwrap();
        table.table.get(key).map(ToString::to_string).unwrap_or_default()
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

fn seen(records: &Bytes) -> Vec<Seen> {
    record::each(records.clone())
        .map(|bytes| {
            let Scan::Record(r) = record::scan(&bytes, true) else { panic!("no record") };
            Seen {
                body: String::from_utf8(r.body.to_vec()).unwrap(),
                topic: r.topic.to_owned(),
                queue: r.queue_id,
                offset: r.place.queue_offset,
                position: r.place.position,
                stored: r.place.store_timestamp,
                born: r.born_timestamp,
                times: r.reconsume_times,
                properties: r.properties.to_vec(),
            }
        })
        .collect()
}

fn message(topic: &str, queue_id: i32, marks: &[(&str, &str)]) -> SendMessageV2 {
    let mut text = Vec::new();
    properties::push(&mut text, names::TAGS, "TagA");
    properties::push(&mut text, names::UNIQ_KEY, "7F00000100002A9F0000000000001000");
    for (name, value) in marks {
        properties::push(&mut text, name, value);
    }
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

fn bodies(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|s| s.body.as_str()).collect()
}

const SCHEDULE: &str = "SCHEDULE_TOPIC_XXXX";
const OFFSETS: &str = "config/delayOffset.json";

#[test]
fn a_delayed_message_comes_when_it_is_due_and_as_it_was_sent() {
    run(|root| async move {
        let node = start(&root, config("1s 2s")).await;
        let sent = node.send("orders", 2, "late", &[(names::DELAY, "1")]).await;
        assert_eq!((sent.queue_id, sent.queue_offset), (2, 0));
        let waits = node.view(&sent.msg_id).await;
        assert_eq!((waits.topic.as_str(), waits.queue), (SCHEDULE, 0));
        assert_eq!(waits.property(names::REAL_TOPIC), Some("orders"));
        assert_eq!(waits.property(names::REAL_QUEUE_ID), Some("2"));
        let far = node.send("orders", 2, "later", &[(names::DELAY, "99")]).await;
        let far = node.view(&far.msg_id).await;
        assert_eq!((far.queue, far.property(names::DELAY)), (1, Some("2")), "the last level");
        for (level, body) in [("0", "now"), ("-1", "at once")] {
            node.send("orders", 2, body, &[(names::DELAY, level)]).await;
        }

        let come = node.until("orders", 2, 4).await;
        assert_eq!(bodies(&come), ["now", "at once", "late", "later"]);
        assert!(come[2].stored >= waits.stored + 1000, "{} after {}", come[2].stored, waits.stored);
        assert!(come[3].stored >= far.stored + 2000, "{} after {}", come[3].stored, far.stored);
        assert_eq!(come[2].properties, waits.properties, "as Java's broker delivers it");
        assert_eq!((come[2].born, come[2].times), (1_700_000_000_000, 0));
        assert_eq!(node.stand(1).await, "1,1");
        node.stop().await;
    });
}

#[test]
fn order_is_kept_within_a_level_and_a_queue() {
    run(|root| async move {
        let node = start(&root, config("1s")).await;
        let sent: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        for body in &sent {
            node.send("orders", 1, body, &[(names::DELAY, "1")]).await;
        }
        let come = node.until("orders", 1, 100).await;
        assert_eq!(bodies(&come), sent.iter().map(String::as_str).collect::<Vec<_>>());
        node.stop().await;
    });
}

#[test]
fn a_killed_broker_delivers_the_rest_and_repeats_nothing() {
    run(|root| async move {
        let node = start(&root, config("0s 2s")).await;
        for n in 0..40 {
            node.send("orders", 0, &n.to_string(), &[(names::DELAY, "1")]).await;
            node.send("orders", 1, &n.to_string(), &[(names::DELAY, "2")]).await;
        }
        node.until("orders", 0, 40).await;
        node.kill().await;

        for crash in [true, false] {
            let node = start(&root, config("0s 2s")).await;
            assert_eq!(node.until("orders", 1, 40).await.len(), 40);
            assert_eq!(node.stand(1).await, "40,40");
            // Whatever was delivered twice stands in front of what is sent now.
            node.send("orders", 0, "x", &[]).await;
            assert_eq!(node.until("orders", 0, 41).await.len(), 41);
            assert_eq!(node.count("orders", 1).await, 40);
            // The topic begins anew for the next round.
            node.call(&DeleteTopicInBroker { topic: "orders".into() }, "").await;
            for n in 0..40 {
                node.send("orders", 0, &n.to_string(), &[]).await;
                node.send("orders", 1, &n.to_string(), &[]).await;
            }
            if crash { node.kill().await } else { node.stop().await }
        }
    });
}

#[test]
fn progress_is_found_again_whatever_became_of_its_file() {
    run(|root| async move {
        let node = start(&root, config("0s 0s")).await;
        for n in 0..5 {
            node.send("orders", 0, &n.to_string(), &[(names::DELAY, "1")]).await;
            node.send("orders", 1, &n.to_string(), &[(names::DELAY, "2")]).await;
        }
        node.until("orders", 0, 5).await;
        node.until("orders", 1, 5).await;
        node.stop().await;
        let disk = Disk::open(&root).unwrap();
        let written = String::from_utf8(disk.read_small(OFFSETS).await.unwrap()).unwrap();
        assert!(written.contains("offsetTable") && written.contains("logPosition"), "{written}");

        let cases: [(&str, Option<&[u8]>); 4] = [
            ("missing", None),
            ("torn", Some(&written.as_bytes()[..written.len() / 2])),
            ("of a log that was longer", Some(br#"{"logPosition":9999999,"offsetTable":{1:900,2:1}}"#)),
            ("written before anything was delivered", Some(br#"{"logPosition":0,"offsetTable":{}}"#)),
        ];
        for (what, bytes) in cases {
            match bytes {
                Some(bytes) => disk.replace_small(OFFSETS, bytes).await.unwrap(),
                None => disk.remove(OFFSETS).await.unwrap(),
            }
            let node = start(&root, config("0s 0s")).await;
            assert_eq!([node.stand(1).await, node.stand(2).await], ["5,5", "5,5"], "{what}");
            assert_eq!(node.count("orders", 0).await, 5, "{what}");
            node.stop().await;
        }

        // Java's file tells offsets only, and is believed, but not beyond the ends of the queues.
        disk.replace_small(OFFSETS, br#"{"offsetTable":{1:4,2:700}}"#).await.unwrap();
        let node = start(&root, config("0s 0s")).await;
        assert_eq!(bodies(&node.until("orders", 0, 6).await)[5], "4", "as Java would repeat it");
        assert_eq!(node.stand(2).await, "5,5", "the level is not dead");
        node.send("orders", 1, "alive", &[(names::DELAY, "2")]).await;
        assert_eq!(bodies(&node.until("orders", 1, 6).await)[5], "alive");
        node.stop().await;
    });
}

#[test]
fn an_operator_is_told_what_a_level_does_next() {
    run(|root| async move {
        let node = start(&root, config("1h")).await;
        assert_eq!(node.told("delayLevel_1").await, "");
        for body in ["a", "b"] {
            node.send("orders", 3, body, &[(names::DELAY, "1")]).await;
        }
        node.until(SCHEDULE, 0, 2).await;
        let told = node.told("delayLevel_1").await;
        assert!(told.starts_with("2 wait; the first, at offset 0, is due in "), "{told}");
        assert!(told.ends_with(" ms and goes to queue 3 of orders"), "{told}");
        node.stop().await;
    });
}

#[test]
fn levels_may_become_longer_shorter_and_fewer() {
    run(|root| async move {
        let node = start(&root, config("1h 1s 1h")).await;
        let first = node.send("orders", 0, "first", &[(names::DELAY, "1")]).await;
        let second = node.send("orders", 1, "second", &[(names::DELAY, "2")]).await;
        let third = node.send("orders", 2, "third", &[(names::DELAY, "3")]).await;
        let first = node.view(&first.msg_id).await.stored;
        let second = node.view(&second.msg_id).await.stored;
        let third = node.view(&third.msg_id).await.stored;
        node.stop().await;

        let node = start(&root, config("1s 3s")).await;
        assert!(node.until("orders", 0, 1).await[0].stored >= first + 1000);
        assert!(node.until("orders", 1, 1).await[0].stored >= second + 3000);
        // Its level is gone: it waits as long as the last one.
        assert!(node.until("orders", 2, 1).await[0].stored >= third + 3000);
        node.stop().await;
    });
}

#[test]
fn a_message_that_cannot_be_placed_stops_no_other() {
    run(|root| async move {
        let node = start(&root, config("1s")).await;
        node.send("orders", 0, "lost", &[(names::DELAY, "1")]).await;
        node.send("paid", 0, "kept", &[(names::DELAY, "1")]).await;
        node.call(&DeleteTopicInBroker { topic: "orders".into() }, "").await;
        assert_eq!(bodies(&node.until("paid", 0, 1).await), ["kept"]);
        // A message can be read a moment before it is counted.
        let counted = async {
            while node.stand(1).await != "2,2" {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, counted).await.expect("both are counted as done");
        let still = seen(&node.ask(&pull(SCHEDULE, 0, 0), "").await.body);
        assert_eq!(still[0].body, "lost", "where the log says it can be read");
        node.stop().await;
    });
}

#[test]
fn wrong_delays_are_refused() {
    run(|root| async move {
        let wrong = Config { message_delay_level: "1s 5x".into(), ..config("") };
        let error = Broker::start(wrong, Disk::open(&root).unwrap(), &TaskSet::new()).await.unwrap_err();
        assert!(
            error.to_string().contains("messageDelayLevel") && error.to_string().contains("5x"),
            "{error}"
        );

        let node = start(&root, config("1s")).await;
        for mark in [(names::DELAY, "soon"), ("TIMER_DELAY_SEC", "1"), ("TIMER_DELIVER_MS", "1")] {
            let refused = node.ask(&message("orders", 0, &[mark]), "x").await;
            assert_eq!(refused.code, code::MESSAGE_ILLEGAL, "{mark:?}");
        }
        let batch = |level: &str| {
            let mut bytes = BytesMut::new();
            let mut text = Vec::new();
            properties::push(&mut text, names::DELAY, level);
            let (body, properties) = (Bytes::from("x"), Bytes::from(text));
            Item { flag: 0, body, properties }.encode(&mut bytes);
            bytes.freeze()
        };
        let request = SendBatchMessage(SendMessageV2 { batch: Some(true), ..message("orders", 0, &[]) });
        assert_eq!(node.ask(&request, batch("1")).await.code, code::MESSAGE_ILLEGAL);
        assert_eq!(node.ask(&request, batch("0")).await.code, code::SUCCESS);
        assert_eq!(node.count(SCHEDULE, 0).await, 0);
        node.stop().await;
    });
}

#[test]
fn a_message_is_retried_with_growing_delays_and_dies_once() {
    run(|root| async move {
        let node = start(&root, config("0s 0s 0s 1s 0s")).await;
        let sent = node.send("orders", 0, "hard", &[(names::DELAY, "2"), ("mine", "yes")]).await;
        let mut last = node.until("orders", 0, 1).await.remove(0);
        let first_id = format!("{}{:016X}", &sent.msg_id[..16], last.position);
        for times in 0..2 {
            assert_eq!(node.send_back(last.position, 0, Some(2)).await.code, code::SUCCESS);
            let before = last.stored;
            last = node.until("%RETRY%g", 0, times + 1).await.remove(times);
            assert_eq!((last.body.as_str(), last.times), ("hard", times as i32 + 1));
            assert_eq!(last.property(names::DELAY), Some(["3", "4"][times]));
            assert_eq!(last.property(names::RETRY_TOPIC), Some("orders"));
            assert_eq!(last.property(names::ORIGIN_MESSAGE_ID), Some(first_id.as_str()));
            assert_eq!(last.property(names::UNIQ_KEY), Some("7F00000100002A9F0000000000001000"));
            assert_eq!((last.property(names::TAGS), last.property("mine")), (Some("TagA"), Some("yes")));
            assert_eq!(last.property(names::WAIT), Some("false"));
            assert!(last.stored >= before + [0, 1000][times]);
        }
        let begun = Instant::now();
        assert_eq!(node.send_back(last.position, 0, Some(2)).await.code, code::SUCCESS);
        let dead = node.until("%DLQ%g", 0, 1).await.remove(0);
        assert_eq!((dead.body.as_str(), dead.times), ("hard", 3));
        assert_eq!(dead.property(names::DELAY), Some("0"), "a dead letter does not wait");
        assert!(begun.elapsed() < Duration::from_secs(20));

        // Given up at once; and to where nothing is.
        assert_eq!(node.send_back(last.position, -1, Some(16)).await.code, code::SUCCESS);
        assert_eq!(node.until("%DLQ%g", 0, 2).await[1].times, 3);
        let gone = node.send_back(1 << 40, 0, None).await;
        assert_eq!(gone.code, code::SYSTEM_ERROR);
        assert!(gone.remark.unwrap().contains("look message by offset failed"));
        assert_eq!(node.count("%RETRY%g", 0).await, 2);
        node.stop().await;
    });
}

#[test]
fn retries_that_clients_publish_wait_too_and_die_without_waiting() {
    run(|root| async move {
        let node = start(&root, config("0s 1s 1h")).await;
        let retry = |times: i32, level: &str| SendMessageV2 {
            reconsume_times: Some(times),
            max_reconsume_times: Some(2),
            ..message("%RETRY%g", 0, &[(names::DELAY, level), (names::RETRY_TOPIC, "orders")])
        };
        let sent = node.call(&retry(1, "2"), "again").await.0;
        let waits = node.view(&sent.msg_id).await;
        assert_eq!((waits.topic.as_str(), waits.queue), (SCHEDULE, 1));
        let come = node.until("%RETRY%g", 0, 1).await.remove(0);
        assert_eq!((come.body.as_str(), come.times), ("again", 1));
        assert!(come.stored >= waits.stored + 1000);

        node.call(&retry(3, "3"), "dead").await;
        let dead = node.until("%DLQ%g", 0, 1).await.remove(0);
        assert_eq!((dead.body.as_str(), dead.times), ("dead", 3));
        assert_eq!(dead.property(names::DELAY), Some("-1"));
        assert_eq!(node.count(SCHEDULE, 2).await, 0);
        node.stop().await;
    });
}

#[test]
fn limits_of_a_group_hold_until_it_is_deleted() {
    run(|root| async move {
        let node = start(&root, config("0s 0s 0s 0s")).await;
        let set = |times: i32, queues: i32| {
            json::to_vec(&SubscriptionGroupConfig {
                group_name: "g".into(),
                retry_max_times: times,
                retry_queue_nums: queues,
                ..SubscriptionGroupConfig::default()
            })
        };
        node.send("orders", 0, "x", &[]).await;
        let position = node.until("orders", 0, 1).await[0].position;
        node.call(&UpdateAndCreateSubscriptionGroup {}, set(0, 1)).await;
        assert_eq!(node.send_back(position, 0, None).await.code, code::SUCCESS);
        assert_eq!(node.until("%DLQ%g", 0, 1).await[0].times, 1);
        // The client's own limit counts for more.
        assert_eq!(node.send_back(position, 0, Some(5)).await.code, code::SUCCESS);
        assert_eq!(node.until("%RETRY%g", 0, 1).await[0].times, 1);
        node.call(&UpdateAndCreateSubscriptionGroup {}, set(16, 0)).await;
        assert_eq!(node.send_back(position, 0, None).await.code, code::SUCCESS, "no retries are wanted");
        assert_eq!(node.count("%RETRY%g", 0).await, 1);
        // Deleted, the next use makes it anew with the defaults.
        node.call(
            &DeleteSubscriptionGroup { group_name: "g".into(), ..DeleteSubscriptionGroup::default() },
            "",
        )
        .await;
        assert_eq!(node.send_back(position, 0, None).await.code, code::SUCCESS);
        assert_eq!(node.until("%RETRY%g", 0, 2).await[1].times, 1);
        node.stop().await;

        let closed = Config { auto_create_subscription_group: false, ..config("0s") };
        let node = start(&root, closed).await;
        node.call(
            &DeleteSubscriptionGroup { group_name: "g".into(), ..DeleteSubscriptionGroup::default() },
            "",
        )
        .await;
        assert_eq!(node.send_back(position, 0, None).await.code, code::SUBSCRIPTION_GROUP_NOT_EXIST);
        node.stop().await;
    });
}
