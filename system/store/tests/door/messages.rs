//! Appending, reading, deleting, restarting.

use std::sync::Arc;
use std::time::Duration;

use crate::on_disk;
use protocol::record::{self, NewRecord, Scan};
use runtime::disk::Disk;
use runtime::task::TaskSet;
use store::audit::{Audit, audit};
use store::{
    AppendError, Boundary, Config, FlushMode, OnDamage, OpenError, ReadStatus, RecoveryReport, Store, Timed,
};

fn small() -> Config {
    Config {
        segment_bytes: 64 << 10,
        queue_file_bytes: 50 * 20,
        flush_interval: Duration::from_millis(20),
        tail_units: 20,
        ..Config::default()
    }
}

fn sync() -> Config {
    Config { flush: FlushMode::Sync, ..small() }
}

async fn open(disk: &Disk, config: Config) -> (Arc<Store>, RecoveryReport, TaskSet) {
    let tasks = TaskSet::new();
    let (store, report) = Store::open(disk.clone(), config, &tasks).await.unwrap();
    (store, report, tasks)
}

async fn refused(disk: &Disk, config: Config) -> OpenError {
    Store::open(disk.clone(), config, &TaskSet::new()).await.expect_err("this store must not open")
}

/// As when the process dies: nothing is written any more.
async fn die(store: Arc<Store>, tasks: TaskSet) {
    tasks.close().await;
    drop(store);
}

fn message<'a>(topic: &'a str, queue_id: i32, body: &'a [u8], properties: &'a [u8]) -> NewRecord<'a> {
    let host = "10.0.0.1:10911".parse().unwrap();
    NewRecord {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body,
        properties,
        added: b"",
    }
}

/// Appends `count` messages over three queues of two topics; bodies are their numbers, padded.
async fn fill(store: &Store, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let mut body = number.to_be_bytes().to_vec();
        body.resize(8 + (number % 700) as usize, b'x');
        let (topic, queue) = if number % 3 == 0 { ("paid", 0) } else { ("orders", (number % 3) as i32) };
        let tags = format!("TAGS\u{1}t{}\u{2}", number % 2);
        let appended = store.append(&message(topic, queue, &body, tags.as_bytes())).await.unwrap();
        store.durable(appended.end).await.unwrap();
    }
    store.dispatched().reach(store.max_position()).await.unwrap();
}

fn numbers(records: &[u8]) -> Vec<u64> {
    let mut rest = records;
    let mut found = Vec::new();
    while let Scan::Record(record) = record::scan(rest, true) {
        found.push(u64::from_be_bytes(record.body[..8].try_into().unwrap()));
        rest = &rest[record.size as usize..];
    }
    assert!(rest.is_empty(), "an answer is whole records");
    found
}

/// Everything in a queue, by reads as a consumer makes them.
async fn drain(store: &Store, topic: &str, id: i32) -> Vec<u64> {
    let queue = store.queue(topic, id).unwrap();
    let mut all = Vec::new();
    let mut from = queue.min();
    while from < queue.max() {
        let found = queue.read(from as i64, 32, 1 << 20, |_| true).await.unwrap();
        assert!(found.next > from, "a read makes progress: {found:?}");
        all.extend(numbers(&found.records));
        from = found.next;
    }
    all
}

async fn all_queues(store: &Store) -> Vec<(String, i32, u64, u64, Vec<u64>)> {
    let mut all = Vec::new();
    for topic in store.topics() {
        for id in store.queues(&topic) {
            let queue = store.queue(&topic, id).unwrap();
            all.push((topic.to_string(), id, queue.min(), queue.max(), drain(store, &topic, id).await));
        }
    }
    all
}

fn expected(numbers: std::ops::Range<u64>, topic: &str, queue: i32) -> Vec<u64> {
    numbers.filter(|n| if topic == "paid" { n % 3 == 0 } else { n % 3 == queue as u64 }).collect()
}

async fn check_all(store: &Store, numbers: std::ops::Range<u64>) {
    for (topic, queue) in [("paid", 0), ("orders", 1), ("orders", 2)] {
        let (found, wanted) = (drain(store, topic, queue).await, expected(numbers.clone(), topic, queue));
        let first = found.iter().zip(&wanted).find(|(found, wanted)| found != wanted);
        assert_eq!((found.len(), first), (wanted.len(), None), "{topic} {queue}");
    }
}

async fn clean_audit(disk: &Disk, config: &Config) -> Audit {
    let audit = audit(disk, config).await.unwrap();
    assert_eq!(audit.problems, [], "{audit:?}");
    audit
}

#[test]
fn who_asks_after_an_answer_finds_what_it_told() {
    on_disk(|disk| async move {
        for config in [small(), sync()] {
            let (store, _, tasks) = open(&disk, config).await;
            for number in 0..50_u64 {
                let appended = store.append(&message("orders", 0, &number.to_be_bytes(), b"")).await.unwrap();
                store.durable(appended.end).await.unwrap();
                store.catch_up().await;
                let queue = store.queue("orders", 0).unwrap();
                assert_eq!(queue.max(), appended.queue_offset + 1);
            }
            store.close().await.unwrap();
            tasks.close().await;
        }
    });
}

#[test]
fn what_is_appended_is_read_from_its_queue_in_order() {
    on_disk(|disk| async move {
        let (store, report, _tasks) = open(&disk, small()).await;
        assert!(report.clean && report.end == 0 && !report.rebuilt, "{report:?}");
        fill(&store, 0..900).await;
        check_all(&store, 0..900).await;
        store.close().await.unwrap();
        let audit = clean_audit(&disk, &small()).await;
        assert_eq!((audit.records.len(), audit.clean), (900, true));
        assert!(audit.end > 3 * (64 << 10), "the log has rolled over");
        assert_eq!(audit.queues[&("orders".to_owned(), 1)], (0, 300));
    });
}

#[test]
fn a_store_opens_as_it_was_closed() {
    on_disk(|disk| async move {
        for round in 0..4 {
            let (store, report, _tasks) = open(&disk, small()).await;
            assert!(report.clean && report.dispatched == 0 && report.cut.is_none(), "{report:?}");
            if round > 0 {
                check_all(&store, 0..round * 300).await;
            }
            fill(&store, round * 300..(round + 1) * 300).await;
            store.close().await.unwrap();
            clean_audit(&disk, &small()).await;
        }
    });
}

#[test]
fn a_killed_process_loses_nothing_that_was_appended() {
    on_disk(|disk| async move {
        for round in 0..4 {
            let (store, report, tasks) = open(&disk, small()).await;
            assert_eq!(report.clean, round == 0);
            if round > 0 {
                check_all(&store, 0..round * 300).await;
            }
            fill(&store, round * 300..(round + 1) * 300).await;
            die(store, tasks).await;
            let audit = clean_audit(&disk, &small()).await;
            assert_eq!(audit.records.len() as u64, (round + 1) * 300);
        }
    });
}

#[test]
fn queues_made_anew_from_the_log_are_the_same() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        fill(&store, 0..900).await;
        let before = all_queues(&store).await;
        store.close().await.unwrap();
        for id in ["paid/0", "orders/1", "orders/2"] {
            let folder = format!("consumequeue/{id}");
            for name in disk.list(&folder).await.unwrap() {
                disk.remove(&format!("{folder}/{name}")).await.unwrap();
            }
        }
        let (store, report, _tasks) = open(&disk, small()).await;
        assert!(report.rebuilt && report.dispatched == 900, "{report:?}");
        assert_eq!(all_queues(&store).await, before);
        store.close().await.unwrap();
        clean_audit(&disk, &small()).await;
        for path in ["config/queues.json", "checkpoint"] {
            disk.remove(path).await.unwrap();
        }
        let (store, report, _tasks) = open(&disk, small()).await;
        assert!(report.rebuilt, "{report:?}");
        assert_eq!(all_queues(&store).await, before);
        fill(&store, 900..1000).await;
        check_all(&store, 0..1000).await;
    });
}

#[test]
fn each_case_of_a_read_has_its_status_and_next_offset() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        let queue = store.open_queue("orders", 1).unwrap();
        let read = async |from| {
            let found = queue.read(from, 32, 1 << 20, |_| true).await.unwrap();
            (found.status, found.next, found.count)
        };
        assert_eq!(read(0).await, (ReadStatus::NoMessageInQueue, 0, 0));
        fill(&store, 0..90).await;
        assert_eq!(read(0).await, (ReadStatus::Found, 30, 30));
        assert_eq!(read(-1).await, (ReadStatus::OffsetTooSmall, 0, 0));
        assert_eq!(read(30).await, (ReadStatus::OffsetOverflowOne, 30, 0));
        assert_eq!(read(31).await, (ReadStatus::OffsetOverflowBadly, 30, 0));
        let none = queue.read(0, 32, 1 << 20, |_| false).await.unwrap();
        assert_eq!((none.status, none.next), (ReadStatus::NoMatchedMessage, 30));
        let tag = i64::from(protocol::tag::hash("t1"));
        let odd = queue.read(0, 32, 1 << 20, |code| code == tag).await.unwrap();
        assert_eq!(numbers(&odd.records), (1..90).step_by(6).collect::<Vec<u64>>());
        assert_eq!((odd.next, odd.min, odd.max), (30, 0, 30));
    });
}

#[test]
fn a_reader_far_from_the_end_gets_old_records_from_the_disk() {
    on_disk(|disk| async move {
        let config = Config { memory_percent: 0, ..small() };
        let (store, _, _tasks) = open(&disk, config.clone()).await;
        fill(&store, 0..900).await;
        store.close().await.unwrap();
        let (store, _, _tasks) = open(&disk, config).await;
        check_all(&store, 0..900).await;
        let found = store.queue("orders", 1).unwrap().read(5, 32, 1 << 20, |_| true).await.unwrap();
        assert_eq!((found.count, found.far_behind), (8, true));
    });
}

#[test]
fn a_batch_is_one_append() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        let body = [7_u8; 900];
        for round in 0..60_u64 {
            let items = vec![message("orders", 1, &body, b""); 5];
            let batch = store.append_batch(&items).await.unwrap();
            assert_eq!(batch.first.queue_offset, round * 5);
            assert_eq!(batch.positions.len(), 5);
            let segments: Vec<_> = batch.positions.iter().map(|p| p / (64 << 10)).collect();
            assert!(segments.windows(2).all(|s| s[0] == s[1]), "a batch stays in one file");
        }
        assert_eq!(store.append_batch(&[]).await, Err(AppendError::BadBatch));
        let mixed = [message("orders", 1, b"a", b""), message("orders", 2, b"a", b"")];
        assert_eq!(store.append_batch(&mixed).await, Err(AppendError::BadBatch));
        store.close().await.unwrap();
        assert_eq!(clean_audit(&disk, &small()).await.records.len(), 300);
    });
}

#[test]
fn what_is_too_long_is_refused_and_leaves_nothing() {
    on_disk(|disk| async move {
        let config = Config { max_message_bytes: 1000, ..small() };
        let (store, _, _tasks) = open(&disk, config.clone()).await;
        let long = "t".repeat(128);
        let retry = format!("%RETRY%{}", "g".repeat(248));
        let properties = vec![b'p'; 32_768];
        let body = vec![0; 1001];
        let refusal = async |m: NewRecord<'_>| store.append(&m).await.unwrap_err();
        assert!(matches!(
            refusal(message(&long, 0, b"", b"")).await,
            AppendError::TopicLength { size: 128, max: 127 }
        ));
        assert!(matches!(refusal(message("", 0, b"", b"")).await, AppendError::TopicLength { .. }));
        assert!(matches!(refusal(message("a/b", 0, b"", b"")).await, AppendError::TopicLength { .. }));
        assert!(matches!(
            refusal(message("t", 0, b"", &properties)).await,
            AppendError::PropertiesTooLong { .. }
        ));
        assert!(matches!(
            refusal(message("t", 0, &body, b"")).await,
            AppendError::BodyTooLong { size: 1001, max: 1000 }
        ));
        assert_eq!(store.max_position(), 0);
        store.append(&message(&retry, 0, &body[..1000], &properties[..32_767])).await.unwrap();
        store.close().await.unwrap();
        assert_eq!(clean_audit(&disk, &config).await.records.len(), 1);
    });
}

#[test]
fn a_time_leads_to_its_offset() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        let mut times = Vec::new();
        for _ in 0..30 {
            times.push(store.append(&message("orders", 1, b"x", b"")).await.unwrap().store_timestamp);
            runtime::time::sleep(Duration::from_millis(3)).await;
        }
        store.dispatched().reach(store.max_position()).await.unwrap();
        let queue = store.queue("orders", 1).unwrap();
        for time in times[0] - 2..times[29] + 3 {
            let lower = times.iter().position(|t| *t >= time).unwrap_or(30) as u64;
            let upper = times.iter().rposition(|t| *t <= time).unwrap_or(0) as u64;
            assert_eq!(queue.offset_by_time(time, Boundary::Lower).await.unwrap(), lower);
            assert_eq!(queue.offset_by_time(time, Boundary::Upper).await.unwrap(), upper);
        }
        assert_eq!(store.earliest_store_time().await.unwrap(), Some(times[0]));
    });
}

#[test]
fn a_record_is_found_at_its_position_only() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        let first = store.append(&message("orders", 1, b"first", b"")).await.unwrap();
        let second = store.append(&message("orders", 1, b"second", b"")).await.unwrap();
        let found = store.record_at(second.position).await.unwrap().unwrap();
        assert!(matches!(record::scan(&found, true), Scan::Record(r) if r.body == b"second"));
        for position in [first.position + 1, second.end, second.end + 4000, 1 << 40] {
            assert_eq!(store.record_at(position).await.unwrap(), None);
        }
    });
}

#[test]
fn a_deleted_topic_begins_anew_and_stays_deleted() {
    on_disk(|disk| async move {
        let (store, _, tasks) = open(&disk, small()).await;
        fill(&store, 0..300).await;
        let waiting = store.queue("orders", 1).unwrap();
        store.begin_delete("orders");
        store.finish_delete("orders").await.unwrap();
        assert!(waiting.arrived.reach(1000).await.is_err(), "who waits for a deleted queue is told");
        assert_eq!(store.queues("orders"), [0_i32; 0]);
        let again = store.append(&message("orders", 1, &500_u64.to_be_bytes(), b"")).await.unwrap();
        assert_eq!(again.queue_offset, 0);
        store.dispatched().reach(again.end).await.unwrap();
        assert_eq!(drain(&store, "orders", 1).await, [500]);
        die(store, tasks).await;
        let (store, _, _tasks) = open(&disk, small()).await;
        assert_eq!(drain(&store, "orders", 1).await, [500]);
        assert_eq!(drain(&store, "paid", 0).await, expected(0..300, "paid", 0));
        store.close().await.unwrap();
        clean_audit(&disk, &small()).await;
        // The deletion is truth: making the queues anew must not bring the old records back.
        for name in disk.list("consumequeue/orders/1").await.unwrap() {
            disk.remove(&format!("consumequeue/orders/1/{name}")).await.unwrap();
        }
        let (store, report, _tasks) = open(&disk, small()).await;
        assert!(report.rebuilt);
        assert_eq!(drain(&store, "orders", 1).await, [500]);
    });
}

#[test]
fn a_deletion_takes_nothing_that_came_after_it() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        fill(&store, 0..30).await;
        store.begin_delete("orders");
        let early = store.append(&message("orders", 1, &500_u64.to_be_bytes(), b"")).await;
        assert!(matches!(early, Err(AppendError::TopicDeleted(_))), "{early:?}");
        assert!(
            store.queue("orders", 1).is_none() && store.queues("orders").is_empty(),
            "nobody goes on in it"
        );
        store.finish_delete("orders").await.unwrap();
        let new = store.append(&message("orders", 1, &501_u64.to_be_bytes(), b"")).await.unwrap();
        assert_eq!(new.queue_offset, 0);
        // Somebody else was at the same deletion, and is late.
        store.finish_delete("orders").await.unwrap();
        store.dispatched().reach(new.end).await.unwrap();
        assert_eq!(drain(&store, "orders", 1).await, [501]);
    });
}

/// Under the simulator only: it takes a disk that is slower than the appends.
#[cfg(madsim)]
#[test]
fn who_waited_while_its_topic_was_deleted_does_not_come_to_the_next_of_its_name() {
    use futures::FutureExt as _;

    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        let body = vec![b'x'; 16_000];
        let (record, new) = (message("orders", 1, &body, b""), message("new", 1, &body, b""));
        store.append(&record).await.unwrap();
        // Until there is no log file for it.
        let waits = loop {
            let mut append = Box::pin(store.append(&record));
            match append.as_mut().now_or_never() {
                Some(appended) => drop(appended.unwrap()),
                None => break append,
            }
        };
        store.begin_delete("orders");
        store.finish_delete("orders").await.unwrap();
        let late = waits.await;
        assert!(matches!(late, Err(AppendError::TopicDeleted(_))), "{late:?}");
        assert!(store.queue("orders", 1).is_none(), "it did not make the topic anew");
        assert_eq!(store.append(&record).await.unwrap().queue_offset, 0);

        // The first record of a topic.
        let waits = loop {
            let mut first = Box::pin(store.append(&new));
            match store.append(&record).now_or_never() {
                Some(appended) => drop(appended.unwrap()),
                None if first.as_mut().now_or_never().is_none() => break first,
                None => unreachable!("there is no room for it"),
            }
        };
        store.begin_delete("new");
        assert!(matches!(waits.await, Err(AppendError::TopicDeleted(_))));
    });
}

/// Under the simulator only: on tokio an operation of the disk that nobody waits for runs to its end, beside the next.
#[cfg(madsim)]
#[test]
fn a_deletion_that_is_given_up_takes_no_units_of_other_queues_along() {
    for given_up_after in 0..12 {
        on_disk(move |disk| async move {
            // Nothing is settled before the deletion settles it.
            let config = Config { settle_interval: Duration::from_secs(3600), ..small() };
            let (store, _, _tasks) = open(&disk, config.clone()).await;
            fill(&store, 0..60).await;
            let limit = Duration::from_micros(1 << given_up_after);
            store.begin_delete("paid");
            let _ = runtime::time::timeout(limit, store.finish_delete("paid")).await;
            store.close().await.unwrap();
            drop(store);
            let (store, _, _tasks) = open(&disk, config).await;
            assert_eq!(drain(&store, "orders", 1).await, expected(0..60, "orders", 1));
            store.close().await.unwrap();
        });
    }
}

#[test]
fn expired_segments_go_and_offsets_stay() {
    on_disk(|disk| async move {
        let config = Config {
            reserved: Duration::ZERO,
            delete_hours: (0..24).collect(),
            expire_interval: Duration::from_millis(50),
            settle_interval: Duration::from_millis(20),
            ..small()
        };
        let (store, _, _tasks) = open(&disk, config.clone()).await;
        store.append(&message("quiet", 0, b"only", b"")).await.unwrap();
        fill(&store, 0..900).await;
        // Up to the segment that is written to: nothing goes after that.
        let last = store.max_position() - store.max_position() % config.segment_bytes;
        while store.min_position() < last {
            runtime::time::sleep(Duration::from_millis(50)).await;
        }
        let queue = store.queue("orders", 1).unwrap();
        let (min, max) = (queue.min(), queue.max());
        assert!(min > 0 && max == 300, "{min} {max}");
        assert_eq!(drain(&store, "orders", 1).await, expected(0..900, "orders", 1)[min as usize..]);
        let quiet = store.queue("quiet", 0).unwrap();
        assert_eq!((quiet.min(), quiet.max()), (1, 1));
        let found = queue.read(0, 32, 1 << 20, |_| true).await.unwrap();
        assert_eq!((found.status, found.next), (ReadStatus::OffsetTooSmall, min));
        store.close().await.unwrap();
        clean_audit(&disk, &config).await;
        let first = disk.list("consumequeue/orders/1").await.unwrap()[0].clone();
        assert_eq!(first.parse::<u64>().unwrap(), min / 50 * 1000, "files below are gone");
        // Also when the queues are made anew, offsets of records that are gone are not given out again.
        disk.remove(&format!("consumequeue/orders/1/{first}")).await.unwrap();
        let (store, report, _tasks) = open(&disk, small()).await;
        assert!(report.rebuilt);
        let queue = store.queue("orders", 1).unwrap();
        assert!(queue.min() >= min && queue.max() == 300);
        let appended = store.append(&message("quiet", 0, b"next", b"")).await.unwrap();
        assert_eq!(appended.queue_offset, 1);
    });
}

#[test]
fn one_flipped_bit_in_old_data_loses_one_message() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        fill(&store, 0..900).await;
        let end = store.max_position();
        store.close().await.unwrap();
        let victim = clean_audit(&disk, &small())
            .await
            .records
            .iter()
            .rfind(|r| r.position < end - 4000)
            .cloned()
            .unwrap();
        let base = victim.position / (64 << 10) * (64 << 10);
        let file = disk.open_file(&format!("commitlog/{base:020}")).await.unwrap();
        let at = victim.position - base + 90;
        let byte = file.fetch(at, 1).await.unwrap()[0];
        file.write_at(at, &[byte ^ 4]).unwrap();
        drop(file);
        let (store, report, _tasks) = open(&disk, small()).await;
        assert_eq!(report.gaps.len(), 1, "{report:?}");
        assert_eq!(
            (report.gaps[0].position, report.gaps[0].bytes),
            (victim.position, u64::from(victim.size))
        );
        assert_eq!(report.end, end);
        let mut seen: Vec<u64> = all_queues(&store).await.into_iter().flat_map(|q| q.4).collect();
        seen.sort_unstable();
        assert_eq!(seen.len(), 899, "the damaged record is not served, all others are");
        store.close().await.unwrap();
    });
}

#[test]
fn one_flipped_bit_in_an_entry_of_a_queue_hides_one_message() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        fill(&store, 0..300).await;
        let all = drain(&store, "orders", 1).await;
        store.close().await.unwrap();
        let name = format!("consumequeue/orders/1/{:020}", 0);
        // Bits of the position and of the size: far away, back, a little off; longer than a file, and longer than what is left.
        for (byte, bit) in [(0, 7), (5, 4), (6, 5), (7, 3), (8, 6), (9, 0), (10, 3), (11, 0)] {
            let flip = async || {
                let (file, at) = (disk.open_sparse(&name).await.unwrap(), 20 * 20 + byte);
                let was = file.fetch(at, 1).await.unwrap()[0];
                file.write_at(at, &[was ^ (1 << bit)]).unwrap();
            };
            flip().await;
            let (store, _, _tasks) = open(&disk, small()).await;
            let rest = drain(&store, "orders", 1).await;
            assert_eq!((&rest[..20], &rest[20..]), (&all[..20], &all[21..]), "byte {byte}, bit {bit}");
            store.close().await.unwrap();
            flip().await;
        }
    });
}

#[test]
fn one_flipped_bit_in_the_head_of_a_record_hides_one_message() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        fill(&store, 0..300).await;
        let all = drain(&store, "orders", 1).await;
        let record = store.queue("orders", 1).unwrap().read(20, 1, 1 << 20, |_| true).await.unwrap().records;
        let Scan::Record(victim) = record::scan(&record, true) else { panic!("a record") };
        let position = victim.place.position;
        let topic_at =
            u64::from(victim.size) - victim.properties.len() as u64 - 2 - victim.topic.len() as u64;
        let name = format!("commitlog/{:020}", position / (64 << 10) * (64 << 10));
        let file = disk.open_file(&name).await.unwrap();
        // Of the queue, of the offset, of the topic.
        for at in [15, 20, 27, topic_at] {
            let at = position % (64 << 10) + at;
            let was = file.fetch(at, 1).await.unwrap()[0];
            file.write_at(at, &[was ^ 2]).unwrap();
            let rest = drain(&store, "orders", 1).await;
            assert_eq!((&rest[..20], &rest[20..]), (&all[..20], &all[21..]), "byte {at}");
            file.write_at(at, &[was]).unwrap();
        }
        assert_eq!(drain(&store, "orders", 1).await, all);
        store.close().await.unwrap();
    });
}

#[test]
fn one_flipped_bit_in_the_offset_of_a_record_hides_one_message_also_when_queues_are_made_anew() {
    // Offset 20 becomes 21, 22, 16 or 52.
    for bit in [1, 2, 4, 32] {
        on_disk(move |disk| async move {
            let (store, _, tasks) = open(&disk, small()).await;
            fill(&store, 0..300).await;
            let all = drain(&store, "orders", 1).await;
            let record =
                store.queue("orders", 1).unwrap().read(20, 1, 1 << 20, |_| true).await.unwrap().records;
            let Scan::Record(victim) = record::scan(&record, true) else { panic!("a record") };
            let position = victim.place.position;
            die(store, tasks).await;
            // This start knows the log to be on the disk, and the next one makes its units anew all the same.
            let (store, _, tasks) = open(&disk, small()).await;
            die(store, tasks).await;
            let name = format!("commitlog/{:020}", position / (64 << 10) * (64 << 10));
            let (file, at) = (disk.open_file(&name).await.unwrap(), position % (64 << 10) + 27);
            file.write_at(at, &[20 ^ bit]).unwrap();
            drop(file);
            let (store, report, _tasks) = open(&disk, small()).await;
            let rest = drain(&store, "orders", 1).await;
            assert_eq!((&rest[..20], &rest[20..]), (&all[..20], &all[21..]), "{bit}: {report:?}");
            store.close().await.unwrap();
        });
    }
}

#[test]
fn the_offset_of_a_damaged_record_is_not_given_out_again() {
    on_disk(|disk| async move {
        let (store, _, tasks) = open(&disk, small()).await;
        fill(&store, 0..200).await;
        die(store, tasks).await;
        // This start knows the log to be on the disk, and the next one makes its units anew all the same.
        let (store, _, tasks) = open(&disk, small()).await;
        let queue = store.queue("orders", 2).unwrap();
        let max = queue.max();
        let last = queue.read(max as i64 - 1, 1, 1 << 20, |_| true).await.unwrap().records;
        let Scan::Record(victim) = record::scan(&last, true) else { panic!("a record") };
        let (position, file) = (victim.place.position, victim.place.position / (64 << 10) * (64 << 10));
        drop(queue);
        die(store, tasks).await;
        let file_name = format!("commitlog/{file:020}");
        disk.open_file(&file_name).await.unwrap().write_at(position - file + 95, b"?").unwrap();
        let (store, report, _tasks) = open(&disk, small()).await;
        assert_eq!(report.gaps.len(), 1, "{report:?}");
        let appended = store.append(&message("orders", 2, b"next", b"")).await.unwrap();
        assert_eq!(appended.queue_offset, max);
    });
}

#[test]
fn damage_that_nothing_valid_follows_is_for_an_operator() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, sync()).await;
        fill(&store, 0..200).await;
        let end = store.max_position();
        store.close().await.unwrap();
        let last = clean_audit(&disk, &sync()).await.records.last().cloned().unwrap();
        let base = last.position / (64 << 10) * (64 << 10);
        let file = disk.open_file(&format!("commitlog/{base:020}")).await.unwrap();
        file.write_at(last.position - base + 95, b"?").unwrap();
        drop(file);
        let error = refused(&disk, sync()).await;
        assert!(
            matches!(error, OpenError::Damaged { position, durable, .. }
            if position == last.position && durable == end),
            "{error}"
        );
        let (store, report, _tasks) = open(&disk, Config { on_damage: OnDamage::Cut, ..sync() }).await;
        assert_eq!((report.end, report.rebuilt), (last.position, true));
        check_all(&store, 0..199).await;
        fill(&store, 199..250).await;
        check_all(&store, 0..250).await;
        store.close().await.unwrap();
        clean_audit(&disk, &sync()).await;
    });
}

#[test]
fn a_missing_segment_is_told_by_name() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        fill(&store, 0..900).await;
        store.close().await.unwrap();
        disk.remove(&format!("commitlog/{:020}", 64 << 10)).await.unwrap();
        let error = refused(&disk, small()).await.to_string();
        assert!(error.contains("commitlog/00000000000000065536 is missing"), "{error}");
    });
}

#[test]
fn queue_files_that_were_cut_short_are_made_anew() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        fill(&store, 0..900).await;
        store.close().await.unwrap();
        let file = format!("consumequeue/orders/1/{:020}", 1000);
        let whole = disk.read_small(&file).await.unwrap();
        disk.replace_small(&file, &whole[..333]).await.unwrap();
        let (store, report, _tasks) = open(&disk, small()).await;
        assert!(report.rebuilt);
        check_all(&store, 0..900).await;
    });
}

#[test]
fn what_is_no_queue_may_lie_among_the_queues() {
    on_disk(|disk| async move {
        let (store, _, tasks) = open(&disk, small()).await;
        fill(&store, 0..100).await;
        die(store, tasks).await;
        disk.make_dir("consumequeue/orders/notes").await.unwrap();
        for file in ["consumequeue/readme", "consumequeue/orders/7", "consumequeue/orders/notes/a"] {
            disk.replace_small(file, b"note").await.unwrap();
        }
        disk.remove("config/queues.json").await.ok();
        let (store, report, _tasks) = open(&disk, small()).await;
        assert!(report.rebuilt);
        check_all(&store, 0..100).await;
        store.close().await.unwrap();
        assert_eq!(disk.read_small("consumequeue/orders/notes/a").await.unwrap(), b"note");
    });
}

#[test]
fn a_store_is_open_once() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        assert!(matches!(refused(&disk, small()).await, OpenError::Locked));
        store.close().await.unwrap();
        assert_eq!(store.append(&message("t", 0, b"", b"")).await, Err(AppendError::Closed));
        let (_store, _, _tasks) = open(&disk, small()).await;
    });
}

#[test]
fn sizes_that_do_not_fit_the_files_are_refused() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        fill(&store, 0..10).await;
        store.close().await.unwrap();
        let error = refused(&disk, Config { segment_bytes: 32 << 10, ..small() }).await.to_string();
        assert!(error.contains("has 65536 bytes, mappedFileSizeCommitLog says 32768"), "{error}");
        assert!(matches!(
            refused(&disk, Config { queue_file_bytes: 30, ..small() }).await,
            OpenError::Config(_)
        ));
    });
}

#[test]
fn the_longest_message_passes() {
    on_disk(|disk| async move {
        let config = Config { segment_bytes: 16 << 20, ..Config::default() };
        let (store, _, tasks) = open(&disk, config.clone()).await;
        let body = vec![3_u8; 4 << 20];
        let properties = vec![b'p'; 32_767];
        for _ in 0..9 {
            store.append(&message("orders", 1, &body, &properties)).await.unwrap();
            store.append(&message("orders", 1, b"short", b"")).await.unwrap();
        }
        store.dispatched().reach(store.max_position()).await.unwrap();
        die(store, tasks).await;
        let (store, report, _tasks) = open(&disk, config).await;
        assert_eq!(report.dispatched, 18);
        let queue = store.queue("orders", 1).unwrap();
        let found = queue.read(0, 32, 100, |_| true).await.unwrap();
        assert_eq!((found.count, found.next), (1, 1), "the first record is given whatever its size");
        assert!(matches!(record::scan(&found.records, true), Scan::Record(r) if r.body.len() == 4 << 20));
    });
}

#[test]
fn hosts_of_both_families_are_stored() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        let six = "[2001:db8::1]:10911".parse().unwrap();
        let record = NewRecord { born_host: six, store_host: six, ..message("orders", 1, b"six", b"") };
        let appended = store.append(&record).await.unwrap();
        store.dispatched().reach(appended.end).await.unwrap();
        let queue = store.queue("orders", 1).unwrap();
        assert_eq!(queue.store_time(0).await.unwrap(), Some(appended.store_timestamp));
        let found = queue.read(0, 32, 1000, |_| true).await.unwrap();
        assert!(matches!(record::scan(&found.records, true), Scan::Record(r) if r.born_host == six));
    });
}

#[test]
fn half_messages_have_no_place_in_a_queue() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        let half = NewRecord { sys_flag: record::sys_flag::PREPARED, ..message("orders", 1, b"half", b"") };
        let first = store.append(&half).await.unwrap();
        let second = store.append(&message("orders", 1, &8_u64.to_be_bytes(), b"")).await.unwrap();
        assert_eq!((first.queue_offset, second.queue_offset), (0, 0));
        store.dispatched().reach(second.end).await.unwrap();
        assert_eq!(drain(&store, "orders", 1).await, [8]);
        store.close().await.unwrap();
        clean_audit(&disk, &small()).await;
    });
}

/// Appends one message to each of `count` queues.
async fn fill_queues(store: &Store, count: i32) {
    for id in 0..count {
        store.append(&message("many", id, b"x", b"")).await.unwrap();
    }
    store.dispatched().reach(store.max_position()).await.unwrap();
}

#[test]
fn ten_thousand_queues_are_seen_at_once_and_after_a_kill() {
    on_disk(|disk| async move {
        let config = Config { segment_bytes: 4 << 20, ..small() };
        let (store, _, tasks) = open(&disk, config.clone()).await;
        fill_queues(&store, 10_000).await;
        assert!((0..10_000).all(|id| store.queue("many", id).is_some_and(|queue| queue.max() == 1)));
        die(store, tasks).await;
        let (store, _, tasks) = open(&disk, config.clone()).await;
        assert_eq!(store.queues("many").len(), 10_000);
        let found = store.queue("many", 9_999).unwrap().read(0, 32, 1000, |_| true).await.unwrap();
        assert_eq!(found.count, 1);
        die(store, tasks).await;
    });
}

#[test]
fn queues_that_were_put_on_the_disk_need_no_log_to_be_opened() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        fill_queues(&store, 200).await;
        store.close().await.unwrap();
        clean_audit(&disk, &small()).await;
        let (store, report, _tasks) = open(&disk, small()).await;
        assert!(report.clean && report.dispatched == 0, "{report:?}");
        assert!((0..200).all(|id| store.queue("many", id).is_some_and(|queue| queue.max() == 1)));
    });
}

#[test]
fn many_tasks_append_and_follow_at_once() {
    on_disk(|disk| async move {
        let (store, _, tasks) = open(&disk, sync()).await;
        let (send, mut ends) = runtime::sync::mpsc::channel(100);
        for writer in 0..6_u64 {
            let (store, send) = (store.clone(), send.clone());
            tasks.spawn("writer", async move {
                let mut last = 0;
                for number in 0..300_u64 {
                    let body = (writer * 1000 + number).to_be_bytes();
                    let appended = store.append(&message("orders", 1, &body, b"")).await.unwrap();
                    store.durable(appended.end).await.unwrap();
                    assert!(
                        number == 0 || appended.queue_offset > last,
                        "a sender's messages keep their order"
                    );
                    last = appended.queue_offset;
                    store.dispatch_some();
                }
                send.send(()).await.unwrap();
            });
        }
        let queue = store.open_queue("orders", 1).unwrap();
        let mut seen = Vec::new();
        while seen.len() < 1800 {
            queue.arrived.reach(seen.len() as u64 + 1).await.unwrap();
            let found = queue.read(seen.len() as i64, 32, 1 << 20, |_| true).await.unwrap();
            assert_eq!(found.status, ReadStatus::Found, "who is woken finds something");
            seen.extend(numbers(&found.records));
        }
        for _ in 0..6 {
            ends.recv().await.unwrap();
        }
        for writer in 0..6 {
            let of_one: Vec<_> = seen.iter().filter(|n| **n / 1000 == writer).map(|n| n % 1000).collect();
            assert_eq!(of_one, (0..300).collect::<Vec<_>>());
        }
        store.close().await.unwrap();
        clean_audit(&disk, &sync()).await;
    });
}

#[test]
fn a_pair_stands_together_and_each_in_its_queue() {
    on_disk(|disk| async move {
        let (store, _, tasks) = open(&disk, small()).await;
        let big = [7; 20_000];
        store.append(&message("a", 0, b"x", b"")).await.unwrap();
        for i in 1..8 {
            let pair = [message("a", 0, &big, b""), message("b", 3, b"end", b"")];
            let [first, second] = store.append_pair(&pair).await.unwrap();
            assert_eq!((first.queue_offset, second.queue_offset), (i, i - 1));
            assert_eq!(first.end, second.position, "right behind, also where the file changes");
            assert_eq!(store.max_position(), second.end);
        }
        let same = [message("a", 0, b"1", b""), message("a", 0, b"2", b"")];
        assert_eq!(store.append_pair(&same).await, Err(AppendError::BadBatch));
        let too_long = [1; 64 << 10];
        let pair = [message("a", 0, &too_long, b""), message("b", 3, b"end", b"")];
        assert!(matches!(store.append_pair(&pair).await, Err(AppendError::BodyTooLong { .. })));
        assert_eq!(store.open_queue("b", 3).unwrap().arrived.reach(7).await, Ok(()));
        die(store, tasks).await;
        let (store, report, tasks) = open(&disk, small()).await;
        let last = store.record_at(report.last_record.unwrap()).await.unwrap().unwrap();
        assert!(matches!(record::scan(&last, true), Scan::Record(r) if r.body == b"end"));
        die(store, tasks).await;
    });
}

#[test]
fn units_of_a_timed_topic_tell_when_their_records_are_due() {
    on_disk(|disk| async move {
        let timed = Timed { topic: "later".to_owned(), delays_ms: vec![1000, 60_000] };
        let config = Config { timed: Some(timed), ..small() };
        let (store, _, tasks) = open(&disk, config.clone()).await;
        let mut due = Vec::new();
        for (queue, delay) in [(0, 1000), (1, 60_000), (7, 60_000)] {
            let appended = store.append(&message("later", queue, b"x", b"TAGS\x01t\x02")).await.unwrap();
            due.push((queue, appended.store_timestamp + delay));
        }
        store.dispatched().reach(store.max_position()).await.unwrap();
        die(store, tasks).await;
        let (store, _, tasks) = open(&disk, config.clone()).await;
        for (queue, expected) in due {
            let mut told = 0;
            let note = |time| {
                told = time;
                true
            };
            store.queue("later", queue).unwrap().read(0, 1, 1000, note).await.unwrap();
            assert_eq!(told, expected, "queue {queue}");
        }
        store.close().await.unwrap();
        tasks.close().await;
        clean_audit(&disk, &config).await;
    });
}

#[test]
fn the_log_is_read_record_by_record_from_any_of_them() {
    on_disk(|disk| async move {
        let (store, _, _tasks) = open(&disk, small()).await;
        fill(&store, 0..500).await; // several segments
        let mut all = Vec::new();
        let end = store.walk(0, |record| all.push(record.place.position)).await.unwrap();
        assert_eq!((all.len(), end), (500, store.max_position()));
        for from in [1, 137, 499] {
            let mut rest = Vec::new();
            store.walk(all[from], |record| rest.push(record.place.position)).await.unwrap();
            assert_eq!(rest, all[from..]);
        }
        assert_eq!(store.walk(end, |_| panic!("nothing is there")).await.unwrap(), end);
        let mut rest = Vec::new();
        store.walk(all[3] + 1, |record| rest.push(record.place.position)).await.unwrap();
        assert_eq!(rest, all[4..], "what is no record is passed over");
    });
}
