//! Finding records by key, through the store's public door, on both disks.

use std::sync::Arc;
use std::time::Duration;

use crate::on_disk;
use protocol::record::{self, NewRecord, Scan, sys_flag};
use runtime::disk::Disk;
use runtime::task::TaskSet;
use runtime::time::sleep;
use store::{Config, Key, KeyQuery, Matches, QueryError, Store};

fn small() -> Config {
    Config {
        segment_bytes: 64 << 10,
        queue_file_bytes: 50 * 20,
        index_slots: 20,
        index_entries: 100,
        ..Config::default()
    }
}

async fn open(disk: &Disk, config: Config) -> (Arc<Store>, TaskSet) {
    let tasks = TaskSet::new();
    let (store, _) = Store::open(disk.clone(), config, &tasks).await.unwrap();
    (store, tasks)
}

/// As when the process dies: nothing is written any more.
async fn die(store: Arc<Store>, tasks: TaskSet) {
    tasks.close().await;
    drop(store);
}

/// A message with properties; returns when it was stored.
async fn send(store: &Store, topic: &str, sys_flag: i32, properties: &str) -> i64 {
    let host = "10.0.0.1:10911".parse().unwrap();
    let message = NewRecord {
        topic,
        queue_id: 0,
        flag: 0,
        sys_flag,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body: &[b'x'; 100],
        properties: properties.as_bytes(),
        added: b"",
    };
    store.append(&message).await.unwrap().store_timestamp
}

/// Message n: its own unique key, and keys by its remainders.
async fn send_numbered(store: &Store, number: u64) -> i64 {
    let keys = format!("by7-{} by2-{}  all", number % 7, number % 2);
    let topic = if number.is_multiple_of(3) { "paid" } else { "orders" };
    send(store, topic, 0, &format!("UNIQ_KEY\u{1}u{number}\u{2}KEYS\u{1}{keys}\u{2}")).await
}

async fn ask(
    store: &Store,
    topic: &str,
    key: Key<'_>,
    range: (i64, i64),
    max: u32,
) -> Result<Matches, QueryError> {
    let (begin_ms, end_ms) = range;
    store.query(&KeyQuery { topic, key, begin_ms, end_ms, max }).await
}

const NOTHING: [u64; 0] = [];
const EVER: (i64, i64) = (0, i64::MAX);

/// The numbers of the messages found.
fn numbers(matches: &Matches) -> Vec<u64> {
    assert_eq!(matches.incomplete, None);
    let mut found = Vec::new();
    let mut rest = &matches.records[..];
    while let Scan::Record(record) = record::scan(rest, true) {
        found.push(record.property("UNIQ_KEY").unwrap()[1..].parse().unwrap());
        rest = &rest[record.size as usize..];
    }
    assert!(rest.is_empty() && found.len() == matches.count as usize, "whole records");
    found
}

async fn find(store: &Store, topic: &str, key: &str) -> Vec<u64> {
    numbers(&ask(store, topic, Key::Any(key), EVER, 10_000).await.unwrap())
}

/// The newest 64 of the numbers that belong there.
fn newest(numbers: std::ops::Range<u64>, topic: &str, modulus: u64, rest: u64) -> Vec<u64> {
    let wanted = |n: &u64| n.is_multiple_of(3) == (topic == "paid") && n % modulus == rest;
    let all: Vec<_> = numbers.filter(wanted).collect();
    all[all.len().saturating_sub(64)..].to_vec()
}

async fn check(store: &Store, numbers: std::ops::Range<u64>) {
    store.index_complete().await;
    for topic in ["orders", "paid"] {
        for rest in 0..7 {
            let found = find(store, topic, &format!("by7-{rest}")).await;
            assert_eq!(found, newest(numbers.clone(), topic, 7, rest), "{topic} by7-{rest}");
        }
        assert_eq!(find(store, topic, "all").await, newest(numbers.clone(), topic, 1, 0));
    }
}

/// Names of the index files.
async fn files(disk: &Disk) -> Vec<String> {
    disk.list("index").await.unwrap()
}

#[test]
fn messages_are_found_by_their_keys_at_once_and_after_any_end_of_the_process() {
    on_disk(|disk| async move {
        let (store, tasks) = open(&disk, small()).await;
        for number in 0..500 {
            send_numbered(&store, number).await;
        }
        check(&store, 0..500).await;
        assert!(files(&disk).await.len() > 15, "2000 keys fill files of 99");
        die(store, tasks).await;
        let (store, tasks) = open(&disk, small()).await;
        check(&store, 0..500).await;
        for number in 500..700 {
            send_numbered(&store, number).await;
        }
        check(&store, 0..700).await;
        store.close().await.unwrap();
        tasks.close().await;
        let before = files(&disk).await;
        let (store, _tasks) = open(&disk, small()).await;
        check(&store, 0..700).await;
        assert_eq!(files(&disk).await, before, "a closed store has nothing to make again");
    });
}

#[test]
fn a_query_takes_the_newest_within_its_range_of_time() {
    on_disk(|disk| async move {
        let (store, _tasks) = open(&disk, small()).await;
        let mut times = Vec::new();
        for number in 0..60 {
            times.push(send_numbered(&store, number).await);
            sleep(Duration::from_millis(if number % 10 == 9 { 120 } else { 1 })).await;
        }
        for (from, to) in [(0, 59), (20, 39), (13, 47), (30, 30), (59, 10)] {
            let range = (times[from], times[to]);
            let found = ask(&store, "orders", Key::Any("by2-1"), range, 5).await.unwrap();
            let inside = |n: &u64| (range.0..=range.1).contains(&times[*n as usize]);
            let all: Vec<_> = (0..60).filter(inside).filter(|n| !n.is_multiple_of(3) && n % 2 == 1).collect();
            assert_eq!(numbers(&found), all[all.len().saturating_sub(5)..], "from {from} to {to}");
        }
        for absurd in [(i64::MIN, -1), (i64::MAX, i64::MAX), (i64::MAX, i64::MIN), (0, 0)] {
            assert_eq!(ask(&store, "orders", Key::Any("all"), absurd, 64).await.unwrap().count, 0);
        }
        let whole = ask(&store, "orders", Key::Any("all"), (i64::MIN, i64::MAX), u32::MAX).await.unwrap();
        assert_eq!(whole.count, 40);
        assert_eq!(whole.last_time, times[59]);
        assert_eq!(ask(&store, "orders", Key::Any("all"), EVER, 0).await.unwrap().count, 0);
    });
}

#[test]
fn real_keys_are_compared_not_their_hashes() {
    on_disk(|disk| async move {
        let (store, _tasks) = open(&disk, small()).await;
        send(&store, "orders", 0, "UNIQ_KEY\u{1}u1\u{2}KEYS\u{1}Aa\u{2}").await;
        send(&store, "orders", 0, "UNIQ_KEY\u{1}u2\u{2}KEYS\u{1}BB Aa Aa\u{2}").await;
        send(&store, "orders#x", 0, "UNIQ_KEY\u{1}u3\u{2}KEYS\u{1}y\u{2}").await;
        send(&store, "orders", 0, "UNIQ_KEY\u{1}u4\u{2}KEYS\u{1}x#y u5\u{2}").await;
        send(&store, "orders", 0, "UNIQ_KEY\u{1}u5\u{2}").await;
        send(&store, "orders", 0, "KEYS\u{1}Aa\u{2}").await;
        send(&store, "orders", sys_flag::ROLLBACK, "UNIQ_KEY\u{1}u6\u{2}KEYS\u{1}rolled\u{2}").await;
        send(&store, "orders", sys_flag::PREPARED, "UNIQ_KEY\u{1}u7\u{2}KEYS\u{1}half\u{2}").await;
        assert_eq!(find(&store, "orders", "BB").await, [2]);
        assert_eq!(ask(&store, "orders", Key::Any("Aa"), EVER, 9).await.unwrap().count, 3);
        assert_eq!(find(&store, "orders#x", "y").await, [3]);
        assert_eq!(find(&store, "orders", "x#y").await, [4]);
        assert_eq!(find(&store, "orders", "u5").await, [4, 5]);
        let unique = ask(&store, "orders", Key::Unique("u5"), EVER, 9).await.unwrap();
        assert_eq!(numbers(&unique), [5]);
        assert_eq!(find(&store, "orders", "rolled").await, NOTHING);
        assert_eq!(find(&store, "orders", "half").await, [7]);
        for nobodys in ["", " ", "BB Aa", "a", "none"] {
            assert_eq!(find(&store, "orders", nobodys).await, NOTHING, "{nobodys:?}");
        }
    });
}

#[test]
fn what_cannot_be_trusted_is_made_again_from_the_log() {
    on_disk(|disk| async move {
        let (store, tasks) = open(&disk, small()).await;
        for number in 0..300 {
            send_numbered(&store, number).await;
        }
        check(&store, 0..300).await;
        store.close().await.unwrap();
        tasks.close().await;
        let size = 40 + 20 * 4 + 100 * 20;
        for damage in 0..7 {
            let names = files(&disk).await;
            let path = |at: usize| format!("index/{}", names[at]);
            let last = names.len() - 1;
            match damage {
                0 => disk.remove(&path(4)).await.unwrap(),
                1 => disk.remove(&path(last)).await.unwrap(),
                2 => {
                    let file = disk.open_sparse(&path(last)).await.unwrap();
                    file.write_at(40 + 20 * 4 + 20 + 16, &[0, 0, 0, 9]).unwrap(); // the first entry's chain
                }
                3 => {
                    let file = disk.open_sparse(&path(2)).await.unwrap();
                    file.write_at(36, &[0, 0, 0, 7]).unwrap(); // the count of entries
                }
                4 => disk.replace_small(&path(3), &[7; 100]).await.unwrap(),
                5 => disk.replace_small("config/index.json", b"{}\n00000000\n").await.unwrap(),
                _ => drop(disk.create_sparse("index/20991231235959999", size).await.unwrap()),
            }
            let (store, tasks) = open(&disk, small()).await;
            check(&store, 0..300).await;
            store.close().await.unwrap();
            tasks.close().await;
            assert_eq!(files(&disk).await.len(), names.len(), "damage {damage}");
        }
        // Another shape: the old files mean nothing.
        let shape = Config { index_slots: 30, ..small() };
        let (store, _tasks) = open(&disk, shape).await;
        check(&store, 0..300).await;
    });
}

#[test]
fn a_chain_that_leads_in_circles_is_noticed_and_made_again() {
    on_disk(|disk| async move {
        let (store, _tasks) = open(&disk, small()).await;
        for number in 0..100 {
            send_numbered(&store, number).await;
        }
        check(&store, 0..100).await;
        let file = disk.open_sparse(&format!("index/{}", files(&disk).await[0])).await.unwrap();
        for entry in 1..100 {
            file.write_at(40 + 20 * 4 + entry * 20 + 16, &[0, 0, 0, 99]).unwrap();
        }
        let error = ask(&store, "orders", Key::Any("all"), EVER, 64).await.unwrap_err();
        assert!(matches!(error, QueryError::Damaged(_)), "{error}");
        while matches!(ask(&store, "orders", Key::Any("all"), EVER, 64).await, Err(QueryError::Damaged(_))) {
            sleep(Duration::from_millis(200)).await;
        }
        check(&store, 0..100).await;
    });
}

#[test]
fn old_index_files_go_with_the_messages_they_name() {
    on_disk(|disk| async move {
        let config = Config {
            reserved: Duration::from_millis(300),
            delete_hours: (0..24).collect(),
            expire_interval: Duration::from_millis(50),
            settle_interval: Duration::from_millis(50),
            ..small()
        };
        let (store, tasks) = open(&disk, config.clone()).await;
        for number in 0..800 {
            send_numbered(&store, number).await;
        }
        store.index_complete().await;
        // Each message has four keys; some have gone meanwhile.
        let made = 800 * 4 / config.index_entries as usize;
        while store.min_position() == 0 || files(&disk).await.len() + 8 > made {
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(find(&store, "orders", "u1").await, NOTHING);
        assert_eq!(find(&store, "orders", "u799").await, [799]);
        die(store, tasks).await;
        let (store, _tasks) = open(&disk, config).await;
        assert_eq!(find(&store, "orders", "u799").await, [799]);
    });
}

#[test]
fn messages_of_a_deleted_topic_are_not_found() {
    on_disk(|disk| async move {
        let (store, _tasks) = open(&disk, small()).await;
        for number in 0..9 {
            send_numbered(&store, number).await;
        }
        assert_eq!(find(&store, "orders", "all").await, [1, 2, 4, 5, 7, 8]);
        store.begin_delete("orders");
        store.finish_delete("orders").await.unwrap();
        assert_eq!(find(&store, "orders", "all").await, NOTHING);
        send_numbered(&store, 10).await;
        assert_eq!(find(&store, "orders", "all").await, [10]);
        assert_eq!(find(&store, "paid", "all").await, [0, 3, 6]);
    });
}

#[test]
fn without_an_index_queries_say_so() {
    on_disk(|disk| async move {
        let (store, _tasks) = open(&disk, Config { index: false, ..small() }).await;
        send_numbered(&store, 1).await;
        let error = ask(&store, "orders", Key::Any("all"), EVER, 9).await.unwrap_err();
        assert!(matches!(error, QueryError::Disabled), "{error}");
    });
}
