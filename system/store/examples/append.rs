//! What one appended message costs inside the store: nanoseconds of one thread, with flush and dispatch running.

use std::io::Write;

use protocol::record::NewRecord;
use runtime::disk::Disk;
use runtime::task::{self, TaskSet};
use runtime::time::Instant;
use store::{Config, Store};

fn main() {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let root = folder.path().to_str().expect("a path in UTF-8").to_owned();
    runtime::run(Some(2), move || async move {
        let disk = Disk::open(&root).expect("the folder can be used");
        let config = Config { segment_bytes: 256 << 20, ..Config::default() };
        let tasks = TaskSet::new();
        let (store, _) = Store::open(disk, config, &tasks).await.expect("an empty store opens");
        let body = [b'x'; 128];
        let host = "10.0.0.1:10911".parse().expect("an address");
        for round in 0..8 {
            let started = Instant::now();
            for number in 0..COUNT {
                let message = NewRecord {
                    topic: "orders",
                    queue_id: (number % 8) as i32,
                    flag: 0,
                    sys_flag: 0,
                    born_timestamp: 1,
                    born_host: host,
                    store_host: host,
                    reconsume_times: 0,
                    prepared_offset: 0,
                    body: &body,
                    properties: b"UNIQ_KEY\x01000102030405060708090A0B0C0D0E0F10111213141516171819\x02WAIT\x01true\x02TAGS\x01a\x02",
                    added: b"CLUSTER\x01DefaultCluster\x02MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02",
                };
                store.append(&message).await.expect("the store takes messages");
                if number % 64 == 63 {
                    task::yield_now().await;
                }
            }
            let appended = started.elapsed();
            let end = store.max_position();
            store.dispatched().reach(end).await.expect("the store is open");
            let seen = started.elapsed();
            store.index_complete().await;
            let indexed = started.elapsed();
            let each = |time: std::time::Duration| time.as_nanos() as u64 / COUNT;
            writeln!(
                std::io::stdout(),
                "round {round}: append {} ns, until visible {} ns, until found by key {} ns per message, {} bytes of log",
                each(appended),
                each(seen),
                each(indexed),
                end
            )
            .expect("standard output is open");
        }
        store.close().await.expect("the disk takes everything");
    });
}

const COUNT: u64 = 500_000;
