//! Many OS threads on one store: appends, group commit, dispatch and reads at once; the simulator has one thread only.
#![cfg(not(madsim))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::record::{self, NewRecord, Scan};
use runtime::{disk::Disk, task::TaskSet};
use store::{Config, FlushMode, Store};

const TIME: Duration = Duration::from_secs(3);
const WRITERS: u64 = 8;
const QUEUES: i32 = 3;

/// What a writer was told: queue, offset, its own serial.
type Told = (i32, u64, u64);

async fn hammered(flush: FlushMode) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open(folder.path().to_str().unwrap()).unwrap();
    let config = Config { segment_bytes: 1 << 20, queue_file_bytes: 500 * 20, flush, ..Config::default() };
    let tasks = TaskSet::new();
    let (store, _) = Store::open(disk.clone(), config.clone(), &tasks).await.unwrap();
    let end = Instant::now() + TIME;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let mut told: Vec<Told> = Vec::new();
            for serial in 0.. {
                if Instant::now() > end {
                    break;
                }
                let queue = i32::try_from((serial + writer) % QUEUES as u64).unwrap();
                let body = [writer.to_be_bytes(), u64::to_be_bytes(serial)].concat();
                let appended = store.append(&message(queue, &body)).await.unwrap();
                store.durable(appended.end).await.unwrap();
                if matches!(flush, FlushMode::Sync) {
                    assert!(store.flushed().get() >= appended.end, "answered before it was flushed");
                }
                told.push((queue, appended.queue_offset, serial));
                if serial % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            (writer, told)
        });
    }
    let mut readers = tokio::task::JoinSet::new();
    for queue in 0..QUEUES {
        let store = store.clone();
        readers.spawn(async move { follow(&store, queue, end).await });
    }
    let mut told = Vec::new();
    while let Some(done) = writers.join_next().await {
        let (writer, mine) = done.unwrap();
        for queue in 0..QUEUES {
            let offsets: Vec<u64> = mine.iter().filter(|t| t.0 == queue).map(|t| t.1).collect();
            assert!(offsets.is_sorted_by(|a, b| a < b), "a writer's offsets rise");
        }
        told.push((writer, mine));
    }
    let total: usize = told.iter().map(|(_, mine)| mine.len()).sum();
    let mut followed = 0;
    while let Some(done) = tokio::time::timeout(Duration::from_secs(120), readers.join_next()).await.unwrap()
    {
        followed += done.unwrap();
    }
    assert!(followed > 0 && total > 500, "{followed} of {total} were seen while it ran");
    store.close().await.unwrap();
    drop(store);
    tasks.close().await;

    // Another opening of the same folder finds each at the place its writer was told.
    let tasks = TaskSet::new();
    let (store, _) = Store::open(disk, config, &tasks).await.unwrap();
    let mut stored = BTreeMap::new();
    for queue in 0..QUEUES {
        read_all(&store, queue, &mut stored).await;
    }
    assert_eq!(stored.len(), total, "nothing lost, nothing invented");
    for (writer, mine) in &told {
        for (queue, offset, serial) in mine {
            assert_eq!(stored.get(&(*queue, *offset)), Some(&(*writer, *serial)));
        }
    }
    store.close().await.unwrap();
    tasks.close().await;
}

/// Reads a queue as it grows, waiting at its end; offsets have no gap.
async fn follow(store: &Store, queue: i32, end: Instant) -> u64 {
    let mut next = 0;
    while Instant::now() < end {
        let Some(queue) = store.queue("stress", queue) else {
            tokio::task::yield_now().await;
            continue;
        };
        if tokio::time::timeout(Duration::from_millis(200), queue.arrived.reach(next + 1)).await.is_err() {
            continue;
        }
        let found = queue.read(i64::try_from(next).unwrap(), 32, 1 << 20, |_| true).await.unwrap();
        assert!(found.count > 0, "a reader that was woken for {} finds nothing", next + 1);
        for record in record::each(found.records) {
            let Scan::Record(record) = record::scan(&record, true) else { panic!("a whole record") };
            assert_eq!(record.place.queue_offset, next, "no gap");
            next += 1;
        }
    }
    next
}

async fn read_all(store: &Arc<Store>, id: i32, stored: &mut BTreeMap<(i32, u64), (u64, u64)>) {
    let queue = store.queue("stress", id).unwrap();
    let mut next = queue.min();
    while next < queue.max() {
        let found = queue.read(i64::try_from(next).unwrap(), 32, 1 << 20, |_| true).await.unwrap();
        for record in record::each(found.records) {
            let Scan::Record(record) = record::scan(&record, true) else { panic!("a whole record") };
            let number = |at: usize| u64::from_be_bytes(record.body[at..at + 8].try_into().unwrap());
            stored.insert((id, record.place.queue_offset), (number(0), number(8)));
        }
        assert!(found.next > next);
        next = found.next;
    }
}

fn message(queue_id: i32, body: &[u8]) -> NewRecord<'_> {
    let host = "10.0.0.1:10911".parse().unwrap();
    NewRecord {
        topic: "stress",
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body,
        properties: b"TAGS\x01t\x02",
        added: b"",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn group_commit_under_many_threads_keeps_all_promises() {
    hammered(FlushMode::Sync).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn async_flush_under_many_threads_keeps_all_promises() {
    hammered(FlushMode::Async).await;
}
