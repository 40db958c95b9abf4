//! Producers and consumers against a cluster in memory: `cargo test -p client` and `cargo sim-test -p client`.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod fake;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use client::{
    Batch, Compression, Consumed, Fault, Message, MessageQueue, Outcome, Producer, PullConsumer, PullStatus,
    PushConsumer, PushConsumerBuilder, SendError, SendStatus, StartError, StartFrom, Text,
    TransactionProducer,
};
use fake::{Act, Cluster};
use protocol::{Request, code, rpc};
use runtime::sync::Mutex;
use runtime::time::{Duration, Instant, sleep};

const SEND: i32 = rpc::SendMessageV2::CODE;
const BACK: i32 = rpc::ConsumerSendMsgBack::CODE;

fn run<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce() -> F + Send + 'static) {
    runtime::run(Some(2), test);
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(100);
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn producer(cluster: &Cluster) -> Producer {
    let builder = Producer::builder("senders").name_servers(&cluster.name_servers);
    builder.send_timeout(Duration::from_secs(60)).start().await.unwrap()
}

async fn reader(cluster: &Cluster) -> PullConsumer {
    PullConsumer::builder("readers").name_servers(&cluster.name_servers).start().await.unwrap()
}

/// What a listener was given: offsets by queue, in the order of the calls.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<MessageQueue, Vec<u64>>>>);

impl Seen {
    fn note(&self, batch: &Batch) {
        let mut seen = self.0.lock();
        seen.entry(batch.queue.clone()).or_default().extend(batch.iter().map(|m| m.offset));
    }

    fn count(&self) -> usize {
        self.0.lock().values().map(Vec::len).sum()
    }

    fn sorted(&self, queue: &MessageQueue) -> Vec<u64> {
        let mut offsets = self.0.lock().get(queue).cloned().unwrap_or_default();
        offsets.sort_unstable();
        offsets
    }
}

fn member(cluster: &Cluster, seen: &Seen) -> PushConsumerBuilder {
    let seen = seen.clone();
    PushConsumer::builder("group").name_servers(&cluster.name_servers).subscribe("orders", "*").listen(
        move |batch| {
            seen.note(&batch);
            async { Consumed::Ok }
        },
    )
}

#[test]
fn what_is_sent_can_be_read_where_the_receipt_says() {
    run(|| async {
        let cluster = Cluster::start(&["a", "b"]).await;
        cluster.topic("orders", 2, 2);
        let (producer, reader) = (producer(&cluster).await, reader(&cluster).await);
        let large = "0123456789 Grüße \u{1F600} ".repeat(400);
        let mut places = BTreeSet::new();
        for (number, body) in [large.as_str(), "short", &large, "b"].into_iter().enumerate() {
            let message = Message::new("orders", body.to_owned())
                .tag("Größe")
                .key("k1")
                .key("k2")
                .property("table", "vier")
                .flag(7);
            let receipt = producer.send(message).await.unwrap();
            assert_eq!((receipt.status, receipt.attempts), (SendStatus::Ok, 1));
            let pulled = reader.pull(&receipt.queue, "*", receipt.offset, 1).await.unwrap();
            let found = &pulled.messages[0];
            assert_eq!(found.body, body, "message {number}");
            assert_eq!((found.offset, &found.queue), (receipt.offset, &receipt.queue));
            assert_eq!(found.message_id, receipt.message_id);
            assert_eq!((found.tag(), found.property("table"), found.flag), (Some("Größe"), Some("vier"), 7));
            assert_eq!(found.keys().collect::<Vec<_>>(), ["k1", "k2"]);
            assert!(places.insert((receipt.queue, receipt.offset)), "each has a place of its own");
        }
        assert_eq!(places.iter().map(|(q, _)| q.broker.clone()).collect::<BTreeSet<_>>().len(), 2);
        producer.shutdown().await;
        assert_eq!(producer.send(Message::new("orders", "x")).await, Err(SendError::Stopped));
    });
}

#[test]
fn a_broker_that_came_back_is_found_at_once() {
    run(|| async {
        let cluster = Cluster::start(&["a", "b"]).await;
        cluster.topic("orders", 1, 1);
        cluster.leave("orders", "b");
        let reader = reader(&cluster).await;
        assert_eq!(reader.queues("orders").await.unwrap().len(), 1);
        let queue = MessageQueue::new("orders", "b", 0);
        assert!(reader.max_offset(&queue).await.is_err());
        cluster.topic("orders", 1, 1);
        // Long before the next look at the routes.
        assert_eq!(reader.max_offset(&queue).await, Ok(0));
        assert_eq!(reader.pull(&queue, "*", 0, 1).await.unwrap().status, PullStatus::NothingNew);
    });
}

#[test]
fn every_compression_is_inflated_by_readers() {
    run(|| async {
        let cluster = Cluster::start(&["a"]).await;
        cluster.topic("orders", 1, 1);
        let reader = reader(&cluster).await;
        for kind in [Compression::Zlib, Compression::Lz4, Compression::Zstd] {
            let builder = Producer::builder("senders").name_servers(&cluster.name_servers).compression(kind);
            let producer = builder.compress_from(10).start().await.unwrap();
            let receipt = producer.send(Message::new("orders", vec![b'x'; 100_000])).await.unwrap();
            let pulled = reader.pull(&receipt.queue, "*", receipt.offset, 1).await.unwrap();
            assert_eq!(pulled.messages[0].body, vec![b'x'; 100_000]);
            assert_eq!(pulled.messages[0].sys_flag, kind.bits() & !1);
        }
    });
}

#[test]
fn a_retry_goes_to_another_broker_with_the_same_id() {
    run(|| async {
        let cluster = Cluster::start(&["a", "b"]).await;
        cluster.topic("orders", 1, 1);
        let (producer, reader) = (producer(&cluster).await, reader(&cluster).await);
        cluster.script(SEND, Act::Refuse(code::SYSTEM_BUSY));
        let receipt = producer.send(Message::new("orders", "x")).await.unwrap();
        assert_eq!(receipt.attempts, 2);
        let asked = cluster.asked(SEND);
        assert_ne!(asked[0], asked[1]);
        assert_eq!(receipt.queue.broker, asked[1]);
        let pulled = reader.pull(&receipt.queue, "*", receipt.offset, 1).await.unwrap();
        assert_eq!(pulled.messages[0].message_id, receipt.message_id);

        // Stored, but the answer is lost: the copy on the other broker has the same id.
        let builder = Producer::builder("senders").name_servers(&cluster.name_servers);
        let builder = builder.send_timeout(Duration::from_secs(60));
        let patient = builder.attempt_timeout(Duration::from_secs(1)).start().await.unwrap();
        cluster.script(SEND, Act::DoneSilent);
        let receipt = patient.send(Message::new("orders", "twice")).await.unwrap();
        let mut ids = BTreeSet::new();
        for queue in reader.queues("orders").await.unwrap() {
            let all = reader.pull(&queue, "*", 0, 32).await.unwrap().messages;
            ids.extend(
                all.iter().filter(|m| m.body == "twice").map(|m| (m.queue.clone(), m.message_id.clone())),
            );
        }
        assert_eq!(ids.len(), 2);
        assert!(ids.iter().all(|(_, id)| *id == receipt.message_id));
    });
}

#[test]
fn an_error_tells_whether_the_message_may_be_stored() {
    run(|| async {
        let cluster = Cluster::start(&["a", "b"]).await;
        cluster.topic("orders", 1, 1);
        let producer = producer(&cluster).await;
        let send = || producer.send(Message::new("orders", "x"));

        cluster.script(SEND, Act::Refuse(code::MESSAGE_ILLEGAL));
        let error = send().await.unwrap_err();
        assert!(!error.may_have_happened());
        assert!(
            matches!(&error, SendError::Refused { faults, .. }
            if matches!(&faults[..], [Fault::Refused { code: code::MESSAGE_ILLEGAL, .. }])),
            "{error}"
        );

        (0..3).for_each(|_| cluster.script(SEND, Act::Refuse(code::SYSTEM_BUSY)));
        let error = send().await.unwrap_err();
        assert_eq!((error.may_have_happened(), error.attempts()), (false, 3));

        cluster.script(SEND, Act::Refuse(code::SYSTEM_ERROR));
        (0..2).for_each(|_| cluster.script(SEND, Act::Refuse(code::SYSTEM_BUSY)));
        assert!(send().await.unwrap_err().may_have_happened(), "code 1 does not say when it went wrong");

        cluster.script(SEND, Act::Silent);
        let builder = Producer::builder("senders").name_servers(&cluster.name_servers);
        let hasty =
            builder.send_timeout(Duration::from_secs(1)).instance_name("hasty").start().await.unwrap();
        let began = Instant::now();
        assert!(hasty.send(Message::new("orders", "x")).await.unwrap_err().may_have_happened());
        let in_time = began.elapsed() < Duration::from_millis(1_100);
        assert!(in_time || cfg!(not(madsim)), "the limit covers all attempts");

        let error = producer.send(Message::new("unknown", "x")).await.unwrap_err();
        assert!(matches!(error, SendError::NoRoute { .. }), "{error}");
        for (topic, body) in [("bad topic", "x"), ("orders", ""), ("SCHEDULE_TOPIC_XXXX", "x")] {
            let error = producer.send(Message::new(topic, body.to_owned())).await.unwrap_err();
            assert!(matches!(error, SendError::Invalid(_)), "{error}");
        }
        assert!(matches!(
            Producer::builder("bad group").name_servers("h:1").start().await,
            Err(StartError::Invalid(_))
        ));
        assert_eq!(Producer::builder("g").start().await.unwrap_err(), StartError::NoNameServer);
    });
}

#[test]
fn a_topic_is_made_by_its_first_message() {
    run(|| async {
        let cluster = Cluster::start(&["a"]).await;
        cluster.topic("TBW102", 8, 8);
        let producer = producer(&cluster).await;
        assert_eq!(producer.queues("fresh").await.unwrap().len(), 4);
        let receipt = producer.send(Message::new("fresh", "x")).await.unwrap();
        assert_eq!(reader(&cluster).await.pull(&receipt.queue, "*", 0, 9).await.unwrap().messages.len(), 1);
    });
}

#[test]
fn batches_hashed_oneway_and_chosen_queues() {
    run(|| async {
        let cluster = Cluster::start(&["a"]).await;
        cluster.topic("orders", 4, 4);
        let (producer, reader) = (producer(&cluster).await, reader(&cluster).await);
        let batch = (0..3).map(|i| Message::new("orders", format!("m{i}")).tag("t")).collect();
        let receipts = producer.send_batch(batch).await.unwrap();
        let pulled = reader.pull(&receipts[0].queue, "t", receipts[0].offset, 9).await.unwrap();
        for (i, (receipt, message)) in receipts.iter().zip(&pulled.messages).enumerate() {
            assert_eq!((&message.body[..], message.offset), (format!("m{i}").as_bytes(), receipt.offset));
            assert_eq!(message.message_id, receipt.message_id);
        }
        assert_eq!(receipts.iter().map(|r| &r.offset_id).collect::<BTreeSet<_>>().len(), 3);
        let mixed = vec![Message::new("orders", "x"), Message::new("others", "x")];
        assert!(matches!(producer.send_batch(mixed).await, Err(SendError::Invalid(_))));

        // "TagA" hashes to 2598919: 2598919 % 4 = 3, as Java would choose.
        let receipt = producer.send_hashed(Message::new("orders", "x"), "TagA").await.unwrap();
        assert_eq!(receipt.queue.id, 3);
        let queue = MessageQueue::new("orders", "a", 1);
        assert_eq!(producer.send_to(Message::new("orders", "x"), &queue).await.unwrap().queue, queue);
        let none = producer.send_with(Message::new("orders", "x"), |_, _| None).await;
        assert!(matches!(none, Err(SendError::Invalid(_))));

        let before: u64 = (0..4).map(|id| cluster.count(&MessageQueue::new("orders", "a", id))).sum();
        producer.send_oneway(Message::new("orders", "x")).await.unwrap();
        let count = || (0..4).map(|id| cluster.count(&MessageQueue::new("orders", "a", id))).sum::<u64>();
        until("the one-way message arrives", || count() == before + 1).await;
    });
}

#[test]
fn a_waiting_pull_gets_the_message_that_arrives() {
    run(|| async {
        let cluster = Cluster::start(&["a"]).await;
        cluster.topic("orders", 1, 1);
        let (producer, reader) = (producer(&cluster).await, reader(&cluster).await);
        let queue = MessageQueue::new("orders", "a", 0);
        assert_eq!(reader.pull(&queue, "*", 0, 9).await.unwrap().status, PullStatus::NothingNew);
        assert_eq!(reader.pull(&queue, "*", 5, 9).await.unwrap().status, PullStatus::OffsetMoved);
        let (pulled, sent) = futures::join!(reader.pull_wait(&queue, "*", 0, 9), async {
            sleep(Duration::from_millis(300)).await;
            producer.send(Message::new("orders", "x").tag("t")).await
        });
        let pulled = pulled.unwrap();
        assert_eq!((pulled.messages.len(), pulled.next, pulled.max), (1, 1, 1));
        assert_eq!(pulled.messages[0].message_id, sent.unwrap().message_id);
        // The fake broker does not filter: the client does.
        assert_eq!(reader.pull(&queue, "other", 0, 9).await.unwrap().status, PullStatus::NoneMatched);
        assert_eq!(reader.committed(&queue).await.unwrap(), None);
        reader.commit(&queue, 1).await.unwrap();
        assert_eq!(reader.committed(&queue).await.unwrap(), Some(1));
        assert_eq!(
            (reader.min_offset(&queue).await.unwrap(), reader.max_offset(&queue).await.unwrap()),
            (0, 1)
        );
    });
}

#[test]
fn a_member_consumes_each_message_once_and_commits_at_shutdown() {
    run(|| async {
        let cluster = Cluster::start(&["a", "b"]).await;
        cluster.topic("orders", 2, 2);
        let (producer, seen) = (producer(&cluster).await, Seen::default());
        let consumer = member(&cluster, &seen).start().await.unwrap();
        for i in 0..100 {
            producer.send(Message::new("orders", format!("m{i}"))).await.unwrap();
        }
        until("all are consumed", || seen.count() >= 100).await;
        assert_eq!(consumer.queues().len(), 4);
        consumer.shutdown().await;
        for queue in producer.queues("orders").await.unwrap() {
            let all: Vec<u64> = (0..cluster.count(&queue)).collect();
            assert_eq!(seen.sorted(&queue), all);
            assert_eq!(cluster.committed("group", &queue), Some(all.len() as u64));
        }
        assert!(cluster.members("group").is_empty());

        // A new member goes on where the old one stopped.
        let again = Seen::default();
        let consumer = member(&cluster, &again).start_from(StartFrom::First).start().await.unwrap();
        let receipt = producer.send(Message::new("orders", "more")).await.unwrap();
        until("the new message is consumed", || again.count() >= 1).await;
        assert_eq!(again.sorted(&receipt.queue), [receipt.offset]);
        consumer.shutdown().await;
        assert_eq!(again.count(), 1);
    });
}

#[test]
fn a_failed_message_is_given_back_or_stays_here() {
    run(|| async {
        let cluster = Cluster::start(&["a"]).await;
        cluster.topic("orders", 1, 1);
        let producer = producer(&cluster).await;
        let times = Arc::new(Mutex::new(Vec::new()));
        let noted = times.clone();
        let consumer = PushConsumer::builder("group")
            .name_servers(&cluster.name_servers)
            .subscribe("orders", "*")
            .listen(move |batch| {
                let message = &batch.messages[0];
                noted.lock().push((message.offset, message.reconsume_times));
                let fails = message.body.starts_with(b"bad") && message.reconsume_times == 0;
                async move { if fails { Consumed::Later } else { Consumed::Ok } }
            })
            .start()
            .await
            .unwrap();
        let queue = MessageQueue::new("orders", "a", 0);
        producer.send(Message::new("orders", "bad, given back")).await.unwrap();
        until("it is given back", || cluster.returned() == [0]).await;
        // There is no retry topic to send a copy to either.
        cluster.script(BACK, Act::Refuse(code::SYSTEM_ERROR));
        producer.send(Message::new("orders", "bad, stays")).await.unwrap();
        producer.send(Message::new("orders", "good")).await.unwrap();
        until("the good one is consumed", || times.lock().len() >= 3).await;
        let done = consumer.done_up_to(&queue);
        // The message that stays comes again after 5 s.
        assert!(done == Some(1) || times.lock().len() > 3, "it holds the commit point: {done:?}");
        until("it comes again here", || times.lock().last() == Some(&(1, 1))).await;
        until("then all is done", || consumer.done_up_to(&queue) == Some(3)).await;
        assert_eq!(cluster.returned(), [0]);
        consumer.shutdown().await;
        assert_eq!(cluster.committed("group", &queue), Some(3));
    });
}

#[test]
fn what_is_done_does_not_wait_for_what_is_being_given_back() {
    run(|| async {
        let cluster = Cluster::start(&["a"]).await;
        cluster.topic("orders", 1, 1);
        let producer = producer(&cluster).await;
        for body in ["good", "bad"] {
            producer.send(Message::new("orders", body)).await.unwrap();
        }
        cluster.script(BACK, Act::Silent);
        let consumer = PushConsumer::builder("group")
            .name_servers(&cluster.name_servers)
            .subscribe("orders", "*")
            .start_from(StartFrom::First)
            .batch_size(2)
            .listen(|_| async { Consumed::First(1) })
            .start()
            .await
            .unwrap();
        until("one is on its way back", || !cluster.asked(BACK).is_empty()).await;
        let queue = MessageQueue::new("orders", "a", 0);
        assert_eq!(consumer.done_up_to(&queue), Some(1), "the good one need not come again");
        consumer.shutdown().await;
        assert_eq!(cluster.committed("group", &queue), Some(1));
    });
}

#[test]
fn a_message_that_its_broker_does_not_take_back_goes_to_the_retry_topic() {
    run(|| async {
        let cluster = Cluster::start(&["a"]).await;
        cluster.topic("orders", 1, 1);
        cluster.topic("%RETRY%group", 1, 1);
        let producer = producer(&cluster).await;
        let got = Arc::new(Mutex::new(Vec::new()));
        let noted = got.clone();
        let consumer = PushConsumer::builder("group")
            .name_servers(&cluster.name_servers)
            .subscribe("orders", "*")
            .listen(move |batch| {
                noted.lock().extend(batch.messages.iter().cloned());
                let again = batch.messages[0].property("RETRY_TOPIC").is_some();
                async move { if again { Consumed::Ok } else { Consumed::Later } }
            })
            .start()
            .await
            .unwrap();
        cluster.script(BACK, Act::Refuse(code::SYSTEM_ERROR));
        let message = Message::new("orders", "bad").tag("t").key("k").property("table", "vier");
        let receipt = producer.send(message).await.unwrap();
        until("its copy is consumed", || got.lock().len() == 2).await;
        let queue = MessageQueue::new("orders", "a", 0);
        until("the message itself is done", || consumer.done_up_to(&queue) == Some(1)).await;
        let (first, copy) = {
            let got = got.lock();
            (got[0].clone(), got[1].clone())
        };
        assert_eq!((&copy.topic, &copy.queue.topic), (&first.topic, &Text::from("%RETRY%group")));
        assert_eq!((&copy.body, copy.tag(), copy.property("table")), (&first.body, Some("t"), Some("vier")));
        assert_eq!(copy.message_id, receipt.message_id, "it can be told from a new message");
        let told = ["ORIGIN_MESSAGE_ID", "RECONSUME_TIME", "MAX_RECONSUME_TIMES", "DELAY"]
            .map(|name| copy.property(name).unwrap_or_default());
        assert_eq!(told, [&*receipt.message_id, "1", "16", "3"]);
        assert!(cluster.returned().is_empty());
        consumer.shutdown().await;
    });
}

#[test]
fn a_member_tells_tools_what_it_does_and_lets_them_move_its_offsets() {
    run(|| async {
        let cluster = Cluster::start(&["a"]).await;
        cluster.topic("orders", 1, 1);
        let (producer, seen) = (producer(&cluster).await, Seen::default());
        let consumer = member(&cluster, &seen).start().await.unwrap();
        for _ in 0..3 {
            producer.send(Message::new("orders", "x")).await.unwrap();
        }
        let queue = MessageQueue::new("orders", "a", 0);
        until("all are consumed", || consumer.done_up_to(&queue) == Some(3)).await;
        let id = cluster.members("group").pop_first().unwrap();

        // 307: what it runs.
        let asked = rpc::GetConsumerRunningInfo {
            consumer_group: "group".into(),
            client_id: id.clone(),
            jstack_enable: None,
        };
        let body = cluster.ask_member("group", &asked, Bytes::new()).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("CONSUME_PASSIVELY") && text.contains(r#""commitOffset":3"#), "{text}");

        // 221: its commit points.
        let asked = rpc::GetConsumerStatusFromClient { topic: "orders".into(), group: "group".into() };
        let body = cluster.ask_member("group", &asked, Bytes::new()).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains(r#""messageQueueTable""#) && text.contains(":3"), "{text}");

        // 309: one message that a tool chose; offsets do not move.
        let asked = rpc::ConsumeMessageDirectly {
            consumer_group: "group".into(),
            client_id: Some(id),
            msg_id: None,
            broker_name: Some("a".into()),
            topic: None,
            topic_sys_flag: None,
            group_sys_flag: None,
        };
        let body = cluster.ask_member("group", &asked, cluster.record(&queue, 1)).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("CR_SUCCESS"), "{text}");
        assert_eq!(seen.sorted(&queue), [0, 1, 1, 2]);
        assert_eq!(consumer.done_up_to(&queue), Some(3));

        // 220: back to the second message.
        let asked = rpc::ResetConsumerClientOffset {
            topic: "orders".into(),
            group: "group".into(),
            timestamp: 0,
            is_force: true,
        };
        let table = r#"{"offsetTable":{{"brokerName":"a","queueId":0,"topic":"orders"}:1}}"#;
        cluster.ask_member("group", &asked, table.into()).await.unwrap();
        until("it reads from there", || seen.count() == 6).await;
        assert_eq!(seen.sorted(&queue), [0, 1, 1, 1, 2, 2]);
        let other = rpc::GetConsumerRunningInfo {
            consumer_group: "other".into(),
            client_id: "x".into(),
            jstack_enable: None,
        };
        assert!(cluster.ask_member("group", &other, Bytes::new()).await.is_err());
        consumer.shutdown().await;
    });
}

#[test]
fn members_share_the_queues_and_late_verdicts_have_no_effect() {
    run(|| async {
        let cluster = Cluster::start(&["a", "b"]).await;
        cluster.topic("orders", 2, 2);
        let producer = producer(&cluster).await;
        let gate = Arc::new(Mutex::new(false));
        let (open, seen) = (gate.clone(), Seen::default());
        let noted = seen.clone();
        // The first member's listener does not come back before the gate opens.
        let slow = PushConsumer::builder("group")
            .name_servers(&cluster.name_servers)
            .instance_name("1")
            .subscribe("orders", "*")
            .shutdown_wait(Duration::from_millis(50))
            .listen(move |batch| {
                let open = open.clone();
                noted.note(&batch);
                async move {
                    while !*open.lock() {
                        sleep(Duration::from_millis(10)).await;
                    }
                    Consumed::Ok
                }
            })
            .start()
            .await
            .unwrap();
        for _ in 0..4 {
            producer.send(Message::new("orders", "x")).await.unwrap();
        }
        until("the first member has all", || seen.count() == 4).await;
        let others = Seen::default();
        let second = member(&cluster, &others).instance_name("2").start().await.unwrap();
        until("each has two queues", || slow.queues().len() == 2 && second.queues().len() == 2).await;
        let ids = |consumer: &PushConsumer| -> Vec<(Text, i32)> {
            consumer.queues().into_iter().map(|q| (q.broker, q.id)).collect()
        };
        // Ids sort as "...@1" and "...@2": the first has broker a, the second broker b, as in Java.
        assert_eq!(ids(&slow), [("a".into(), 0), ("a".into(), 1)]);
        assert_eq!(ids(&second), [("b".into(), 0), ("b".into(), 1)]);
        until("the second got what the first did not finish", || others.count() == 2).await;
        let moved = MessageQueue::new("orders", "b", 0);
        until("it commits", || cluster.committed("group", &moved) == Some(1)).await;
        for _ in 0..4 {
            producer.send(Message::new("orders", "y")).await.unwrap();
        }
        until("the second goes on", || second.done_up_to(&moved) == Some(2)).await;
        *gate.lock() = true;
        let done = |consumer: &PushConsumer, queue: (&str, i32)| {
            consumer.done_up_to(&MessageQueue::new("orders", queue.0, queue.1)) == Some(2)
        };
        until("each goes on with its own", || {
            [0, 1].iter().all(|id| done(&slow, ("a", *id)) && done(&second, ("b", *id)))
        })
        .await;
        slow.shutdown().await;
        assert!(
            cluster.committed("group", &moved) >= Some(1),
            "a late verdict of the first moved nothing back"
        );
        until("the second takes over", || second.queues().len() == 4).await;
        second.shutdown().await;
        for queue in producer.queues("orders").await.unwrap() {
            assert_eq!(cluster.committed("group", &queue), Some(2));
        }
    });
}

/// Takes half a minute: only in simulated time.
#[cfg(madsim)]
#[test]
fn a_queue_that_is_added_is_read_from_its_first_message() {
    for young_is_zero in [true, false] {
        run(move || async move {
            let cluster = Cluster::start(&["a"]).await;
            cluster.topic("orders", 1, 1);
            cluster.set_young_is_zero(young_is_zero);
            let seen = Seen::default();
            let first = member(&cluster, &seen).start().await.unwrap();
            until("the first queue is taken", || first.queues().len() == 1).await;
            sleep(Duration::from_secs(2)).await;
            cluster.topic("orders", 3, 3);
            let producer = producer(&cluster).await;
            for id in 0..3 {
                producer
                    .send_to(Message::new("orders", "x"), &MessageQueue::new("orders", "a", id))
                    .await
                    .unwrap();
            }
            // One that joins later has not seen the queue come.
            let second = member(&cluster, &seen).start().await.unwrap();
            until("all are consumed", || seen.count() == 3).await;
            first.shutdown().await;
            second.shutdown().await;
            for id in 0..3 {
                assert_eq!(seen.sorted(&MessageQueue::new("orders", "a", id)), [0]);
            }
        });
    }
}

/// Takes most of a minute: only in simulated time.
#[cfg(madsim)]
#[test]
fn a_broker_that_forgot_its_members_hears_of_them_again() {
    run(|| async {
        let cluster = Cluster::start(&["a"]).await;
        cluster.topic("orders", 1, 1);
        let seen = Seen::default();
        let consumer = member(&cluster, &seen).start().await.unwrap();
        until("the queue is taken", || !consumer.queues().is_empty()).await;
        cluster.forget_members();
        let began = Instant::now();
        until("it is told again", || !cluster.members("group").is_empty()).await;
        assert!(began.elapsed() < Duration::from_secs(32));
        assert_eq!(consumer.queues().len(), 1, "nothing was given away meanwhile");
        // The first pull is held for 15 s; then it is known that there is nothing before offset 0.
        sleep(Duration::from_secs(16)).await;
        let commits = cluster.asked(rpc::UpdateConsumerOffset::CODE).len();
        sleep(Duration::from_secs(20)).await;
        let more = cluster.asked(rpc::UpdateConsumerOffset::CODE).len() - commits;
        assert!((3..=5).contains(&more), "a commit every 5 s, also without news: {more}");
        consumer.shutdown().await;
    });
}

/// Only where names of hosts are looked up.
#[cfg(not(madsim))]
#[test]
fn a_broker_that_is_called_by_name_hears_of_its_members_at_once_when_connections_broke() {
    run(|| async {
        let cluster = Cluster::start(&["a"]).await;
        cluster.topic("orders", 1, 1);
        cluster.call_by_name();
        let reader = reader(&cluster).await;
        assert_eq!(reader.queues("orders").await.unwrap().len(), 1);
        until("it is told", || !cluster.members("readers").is_empty()).await;
        cluster.hang_up();
        let began = Instant::now();
        until("it is told again", || !cluster.members("readers").is_empty()).await;
        assert!(began.elapsed() < Duration::from_secs(10), "not with the next heartbeat that is due");
        reader.shutdown().await;
    });
}

#[test]
fn the_outcome_of_a_transaction_is_told_and_asked_for() {
    run(|| async {
        let cluster = Cluster::start(&["a"]).await;
        cluster.topic("orders", 1, 1);
        let builder = TransactionProducer::builder("senders").name_servers(&cluster.name_servers);
        assert!(
            matches!(builder.start().await, Err(StartError::Invalid(_))),
            "without a check nobody can answer"
        );
        let producer = TransactionProducer::builder("senders")
            .name_servers(&cluster.name_servers)
            .topic("orders")
            .check(|message| async move {
                if message.body.ends_with(b"done") { Outcome::Commit } else { Outcome::Rollback }
            })
            .start()
            .await
            .unwrap();
        let mut told = Vec::new();
        for (body, outcome) in [
            ("paid", Outcome::Commit),
            ("dropped", Outcome::Rollback),
            ("open, done", Outcome::Unknown),
            ("open", Outcome::Unknown),
        ] {
            let message = Message::new("orders", body);
            let sent = producer.send_in_transaction(message, |_| async move { outcome }).await.unwrap();
            assert_eq!(sent.outcome, outcome);
            told.push((sent.half.message_id, sent.half.offset));
        }
        until("all ends", || cluster.ends().len() == 6).await;
        let ends = cluster.ends();
        let of = |at: usize| {
            let (key, offset) = &told[at];
            let ends = ends.iter().filter(|end| end.msg_id == *key);
            ends.map(|end| {
                assert_eq!((end.tran_state_table_offset, &*end.producer_group), (*offset as i64, "senders"));
                (end.commit_or_rollback, end.from_transaction_check)
            })
            .collect::<Vec<_>>()
        };
        assert_eq!((of(0), of(1)), (vec![(8, false)], vec![(12, false)]));
        assert_eq!((of(2), of(3)), (vec![(0, false), (8, true)], vec![(0, false), (12, true)]));
        let delayed = Message::new("orders", "late").delay_level(3);
        let refused = producer.send_in_transaction(delayed, |_| async { Outcome::Commit }).await;
        assert!(matches!(refused, Err(SendError::Invalid(_))));
        producer.shutdown().await;
    });
}
