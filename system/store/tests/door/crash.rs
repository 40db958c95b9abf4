//! A store that is killed and loses power at random and at every crash point, held against a plain list of what
//! was appended: what was promised is there, what is there was appended, and in between there is no hole.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "SEEDS=0..1000 runs more, and tells what was met"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use protocol::record::{self, NewRecord, Scan};
use runtime::disk::Disk;
use runtime::task::TaskSet;
use runtime::time::{sleep, timeout};
use store::audit::audit;
use store::{AppendError, Config, FlushMode, Key, KeyQuery, Matches, RecoveryReport, Store, Undurable};
use world::disk::Access;
use world::{Crash, Node, Setup, Tap, Value, World};

/// Groups of messages with a key of their own.
const KEYS: u64 = 7;

/// What the test knows; it outlives the processes.
#[derive(Default)]
struct Model {
    /// Every record that was written, by position.
    records: BTreeMap<u64, Entry>,
    /// Messages somebody began to append.
    attempted: BTreeSet<u64>,
    /// As the store itself last said.
    flushed: u64,
    /// Ends of records that readers have seen.
    seen: u64,
    /// Syncs fail at the moment.
    disk_fails: bool,
    /// A loss of power has come since the last look.
    power: bool,
    /// A topic's deletion that may or may not have happened.
    deleting: Option<(String, u64)>,
    /// Smallest offsets seen.
    mins: BTreeMap<(String, i32), u64>,
    looks: u64,
    acknowledged: u64,
    next: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    topic: String,
    queue: i32,
    offset: u64,
    end: u64,
    /// How many records, of one append.
    count: u64,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Model>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What a seed decides.
#[derive(Clone, Copy, Debug)]
struct Plan {
    flush: FlushMode,
    writers: u64,
    retention: bool,
    deletes: bool,
    rounds: u64,
}

impl Plan {
    fn config(self) -> Config {
        Config {
            segment_bytes: 64 << 10,
            queue_file_bytes: 50 * 20,
            flush: self.flush,
            flush_interval: Duration::from_millis(50),
            settle_interval: Duration::from_millis(150),
            settle_units: 40,
            checkpoint_interval: Duration::from_millis(70),
            tail_units: 10,
            warm: self.writers % 2 == 1,
            reserved: if self.retention { Duration::from_millis(500) } else { Duration::from_secs(3600) },
            delete_hours: (0..24).collect(),
            expire_interval: Duration::from_millis(120),
            index_slots: 20,
            index_entries: 60,
            query_count: u32::MAX,
            ..Config::default()
        }
    }
}

fn body_of(number: u64) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    let length = 8 + (number.wrapping_mul(2_654_435_761) % 1500) as usize;
    body.extend((8..length).map(|i| (number as usize + i) as u8));
    body
}

fn message<'a>(number: u64, topic: &'a str, body: &'a [u8], properties: &'a str) -> NewRecord<'a> {
    let host = "10.0.0.1:10911".parse().unwrap();
    NewRecord {
        topic,
        queue_id: (number % 3) as i32,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body,
        properties: properties.as_bytes(),
        added: b"",
    }
}

fn properties_of(number: u64) -> String {
    let filler = "v".repeat((number * 37 % 900) as usize);
    format!("UNIQ_KEY\u{1}{number}\u{2}KEYS\u{1}all k{}\u{2}k\u{1}{filler}\u{2}", number % KEYS)
}

/// One life of the process: open, compare, write until it dies or is asked to stop.
async fn life(shared: Shared, plan: Plan) {
    let disk = Disk::open("store").unwrap();
    let tasks = TaskSet::new();
    let opened = Store::open(disk.clone(), plan.config(), &tasks).await;
    let (mut store, report) = excuse(opened, &shared).await;
    look(&store, &report, &shared, plan).await;
    if shared.lock().looks.is_multiple_of(3) {
        // What a second recovery finds is what the first one left.
        excuse(store.close().await, &shared).await;
        let found = excuse(audit(&disk, &plan.config()).await, &shared).await;
        assert_eq!(found.problems, [], "{report:?}");
        let opened = Store::open(disk.clone(), plan.config(), &tasks).await;
        let (again, second) = excuse(opened, &shared).await;
        assert!(
            second.clean && second.dispatched == 0 && second.cut.is_none() && second.gaps.is_empty(),
            "{second:?}"
        );
        assert_eq!(second.end, report.end);
        store = again;
        look(&store, &second, &shared, plan).await;
    }
    for writer in 0..plan.writers {
        tasks.spawn("writer", write(store.clone(), shared.clone(), plan, writer));
    }
    tasks.spawn("reader", read(store.clone(), shared.clone()));
    runtime::signal::shutdown().await;
    store.close().await.unwrap();
    tasks.close().await;
    let found = audit(&disk, &plan.config()).await.unwrap();
    assert_eq!(found.problems, []);
    assert!(found.clean);
}

/// An error while the disk fails, or of a process that is dead already, ends this life; any other is a failure.
async fn excuse<T, E: std::fmt::Display>(result: Result<T, E>, shared: &Shared) -> T {
    match result {
        Ok(value) => value,
        Err(error) => {
            runtime::task::yield_now().await;
            assert!(shared.lock().disk_fails, "{error}");
            std::future::pending().await
        }
    }
}

async fn write(store: Arc<Store>, shared: Shared, plan: Plan, writer: u64) {
    let mut random = runtime::random::stream(&format!("writer {writer}"));
    loop {
        let batch = if random.chance(0.1) { 1 + random.below(5) } else { 1 };
        let topic = ["orders", "paid", "doomed"][random.below(if plan.deletes { 3 } else { 2 }) as usize];
        if topic == "doomed" && random.chance(0.05) && shared.lock().deleting.is_none() {
            store.begin_delete(topic);
            let _ = store.finish_delete(topic).await;
            continue;
        }
        let first = {
            let mut model = shared.lock();
            let first = model.next.next_multiple_of(3) + random.below(3);
            model.next = first + 3 * batch;
            model.attempted.extend((0..batch).map(|i| first + 3 * i));
            first
        };
        let bodies: Vec<_> = (0..batch).map(|i| body_of(first + 3 * i)).collect();
        let properties: Vec<_> = (0..batch).map(|i| properties_of(first + 3 * i)).collect();
        let items: Vec<_> = (0..batch as usize)
            .map(|i| message(first + 3 * i as u64, topic, &bodies[i], &properties[i]))
            .collect();
        match store.append_batch(&items).await {
            Ok(appended) => {
                let durable = store.durable(appended.first.end).await;
                if plan.flush == FlushMode::Sync && durable.is_ok() {
                    assert!(
                        store.flushed().get() >= appended.first.end,
                        "acknowledged before it was on the disk"
                    );
                }
                assert!(!matches!(durable, Err(Undurable::Timeout(_))), "{durable:?}");
                shared.lock().acknowledged += batch;
            }
            Err(AppendError::Closed) => return,
            Err(
                AppendError::TopicDeleted(_)
                | AppendError::DiskFull(_)
                | AppendError::Poisoned(_)
                | AppendError::NoSegment(_),
            ) => {}
            Err(other) => panic!("{other}"),
        }
        sleep(Duration::from_micros(random.below(4000))).await;
    }
}

/// A consumer that follows one queue: what it saw must not vanish under sync flush.
async fn read(store: Arc<Store>, shared: Shared) {
    let Some(queue) = store.open_queue("orders", 1) else { return };
    let mut from = queue.min();
    while queue.arrived.reach(from + 1).await.is_ok() {
        let found = queue.read(from as i64, 32, 1 << 20, |_| true).await.unwrap();
        assert!(found.next > from || found.min > from, "{found:?}");
        from = found.next;
        let mut rest = &found.records[..];
        while let Scan::Record(record) = record::scan(rest, true) {
            let mut model = shared.lock();
            model.seen = model.seen.max(record.place.position + u64::from(record.size));
            rest = &rest[record.size as usize..];
        }
    }
}

/// Compares everything that can be read with the model, and makes the model what is there.
async fn look(store: &Store, report: &RecoveryReport, shared: &Shared, plan: Plan) {
    let mut found: BTreeMap<u64, (Entry, u64)> = BTreeMap::new();
    for topic in store.topics() {
        for id in store.queues(&topic) {
            read_all(store, &topic, id, &mut found, shared).await;
        }
    }
    look_up(store, &found, shared).await;
    let min = store.min_position();
    let mut model = shared.lock();
    model.looks += 1;
    assert!(report.gaps.is_empty() && report.problems.is_empty(), "{report:?}");
    let promised = match (model.power, plan.flush) {
        (false, _) => model.records.last_key_value().map_or(0, |(_, entry)| entry.end),
        (true, FlushMode::Sync) => model.flushed.max(model.seen),
        (true, FlushMode::Async) => model.flushed,
    };
    assert!(report.end >= promised, "promised up to {promised}, power lost: {}, {report:?}", model.power);
    let end = report.end;
    if let Some((topic, position)) = model.deleting.take() {
        let of_it = |at: &u64, entry: &Entry| *at < position && entry.topic == topic;
        if !found.iter().any(|(at, (entry, _))| of_it(at, entry)) {
            model.records.retain(|at, entry| !of_it(at, entry));
        }
    }
    model.records.retain(|position, _| *position >= min && *position < end);
    // A loss of power can leave the first messages of the last batch, which nobody was promised.
    let (power, torn) = (model.power, |entry: &Entry| entry.end > end);
    for (position, entry) in model.records.iter().filter(|(_, entry)| !(power && torn(entry))) {
        let records: Vec<_> = found.range(position..&entry.end).collect();
        let whole = records.len() as u64 == entry.count
            && records.first().is_some_and(|(at, _)| *at == position)
            && records.last().is_some_and(|(_, (last, _))| last.end == entry.end);
        assert!(whole, "{entry:?} at {position}: {records:?}, {report:?}");
        for (offset, (_, (record, _))) in (entry.offset..).zip(&records) {
            assert_eq!((&record.topic, record.queue, record.offset), (&entry.topic, entry.queue, offset));
        }
    }
    for (position, (entry, number)) in &found {
        assert!(model.attempted.contains(number), "nobody sent {number}");
        let known =
            model.records.range(..=position).next_back().is_some_and(|(_, known)| *position < known.end);
        assert!(
            *position < min || known || entry.end > promised,
            "{entry:?} at {position} was not there before"
        );
    }
    model.records =
        found.into_iter().filter(|(at, _)| *at >= min).map(|(at, (entry, _))| (at, entry)).collect();
    (model.flushed, model.power) = (end, false);
    model.seen = model.seen.min(end);
}

/// Every record there is can be found by its keys, and none by another's.
async fn look_up(store: &Store, found: &BTreeMap<u64, (Entry, u64)>, shared: &Shared) {
    for topic in ["orders", "paid", "doomed"] {
        for group in 0..KEYS {
            let key = format!("k{group}");
            let by_key = excuse(look_for(store, topic, Key::Any(&key)).await, shared).await;
            let min = store.min_position();
            let expected: BTreeSet<u64> = (found.range(min..))
                .filter(|(_, (entry, number))| entry.topic == topic && number % KEYS == group)
                .map(|(at, _)| *at)
                .collect();
            let seen: BTreeSet<u64> = by_key.iter().map(|(at, _)| *at).collect();
            assert_eq!(seen.len(), by_key.len(), "each is found once");
            let missing = expected.difference(&seen).next();
            assert_eq!(missing, None, "{key} of {topic}: {} of {} found", seen.len(), expected.len());
            let strange = seen.iter().find(|at| **at >= min && !expected.contains(at));
            assert_eq!(strange, None, "{key} of {topic} finds another's");
            if let Some((position, number)) = by_key.last() {
                let (unique, other) = (number.to_string(), format!("{number} "));
                let found = excuse(look_for(store, topic, Key::Unique(&unique)).await, shared).await;
                let gone = *position < store.min_position();
                assert!(gone || found == [(*position, *number)], "{number}: {found:?}");
                assert_eq!(excuse(look_for(store, topic, Key::Any(&other)).await, shared).await, []);
            }
        }
    }
}

async fn look_for(store: &Store, topic: &str, key: Key<'_>) -> Result<Vec<(u64, u64)>, String> {
    let query = KeyQuery { topic, key, begin_ms: 0, end_ms: i64::MAX, max: u32::MAX };
    let mut complete = Err("never asked".to_owned());
    for _ in 0..10 {
        complete = match store.query(&query).await {
            Ok(Matches { incomplete: None, records, count, .. }) => Ok((records, count)),
            Ok(Matches { incomplete: Some(why), .. }) => Err(why),
            Err(error) => Err(error.to_string()),
        };
        if complete.is_ok() {
            break;
        }
    }
    let (records, count) = complete?;
    let mut found = Vec::new();
    let mut rest = &records[..];
    while let Scan::Record(record) = record::scan(rest, true) {
        found.push((record.place.position, u64::from_be_bytes(record.body[..8].try_into().unwrap())));
        rest = &rest[record.size as usize..];
    }
    assert_eq!(found.len(), count as usize);
    Ok(found)
}

async fn read_all(
    store: &Store,
    topic: &str,
    id: i32,
    all: &mut BTreeMap<u64, (Entry, u64)>,
    shared: &Shared,
) {
    let queue = store.queue(topic, id).unwrap();
    let mut from = queue.min();
    if topic != "doomed" {
        let mut model = shared.lock();
        let before = model.mins.entry((topic.to_owned(), id)).or_default();
        assert!(from >= *before, "the smallest offset of {topic} {id} fell from {before} to {from}");
        *before = from;
    }
    while from < queue.max() {
        let found = queue.read(from as i64, 32, 1 << 20, |_| true).await.unwrap();
        assert!(found.next > from, "{found:?}");
        let mut rest = &found.records[..];
        let mut expected = from.max(found.min);
        while let Scan::Record(record) = record::scan(rest, true) {
            let number = u64::from_be_bytes(record.body[..8].try_into().unwrap());
            assert_eq!((record.topic, record.queue_id), (topic, id));
            assert_eq!(record.place.queue_offset, expected, "a queue has no holes");
            assert_eq!(record.body, body_of(number));
            assert_eq!(record.properties, properties_of(number).as_bytes());
            let entry = Entry {
                topic: topic.to_owned(),
                queue: id,
                offset: expected,
                end: record.place.position + u64::from(record.size),
                count: 1,
            };
            all.insert(record.place.position, (entry, number));
            expected += 1;
            rest = &rest[record.size as usize..];
        }
        from = found.next;
    }
}

/// What the store tells about itself, in the moment it happens.
fn listen(world: World, shared: Shared) {
    world.subscribe(move |tap: &Tap<'_>| {
        let mut model = shared.lock();
        let text = |name| match tap.field(name) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        };
        let number = |name| tap.number(name).unwrap_or(0) as u64;
        match tap.name {
            "append" => {
                let entry = Entry {
                    topic: text("topic"),
                    queue: number("queue") as i32,
                    offset: number("offset"),
                    end: number("end"),
                    count: number("count"),
                };
                model.records.insert(number("position"), entry);
            }
            "flush" => model.flushed = model.flushed.max(number("end")),
            "delete_topic" => model.deleting = Some((text("topic"), number("position"))),
            "topic_deleted" => {
                if let Some((topic, position)) = model.deleting.take() {
                    model.records.retain(|at, entry| *at >= position || entry.topic != topic);
                }
            }
            _ => {}
        }
    });
}

/// One seed: the store lives and dies several times.
fn run(seed: u64, planted: Option<&'static str>) -> world::Outcome<(u64, u64)> {
    let lines = std::env::var("LINES_OF").is_ok();
    world::run(Setup { lines, ..Setup::seed(seed) }, move |world| async move {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let plan = Plan {
            flush: if random.chance(60) { FlushMode::Sync } else { FlushMode::Async },
            writers: 1 + random.below(6),
            retention: random.chance(25),
            deletes: random.chance(30),
            rounds: 4 + random.below(6),
        };
        if let Some(bug) = planted {
            world.plant(bug);
        }
        world.buggify("store", 0.4, 0.05);
        let shared = Shared(Arc::default());
        listen(world, shared.clone());
        let node = world.node("broker", [10, 0, 0, 1].into());
        let program = shared.clone();
        node.start(move || life(program.clone(), plan));
        for _ in 0..plan.rounds {
            die(world, node, &mut random, &shared).await;
            node.restart();
        }
        sleep(Duration::from_millis(1500)).await;
        node.stop();
        timeout(Duration::from_secs(60), node.stopped()).await.expect("a store that is asked to close does");
        let model = shared.lock();
        (model.looks, model.acknowledged)
    })
}

async fn die(world: World, node: Node, random: &mut Random, shared: &Shared) {
    let crash = if random.chance(50) { Crash::Power } else { Crash::Process };
    let evicted = || world.effects().get("disk.evicted").copied().unwrap_or(0);
    let before = evicted();
    match random.below(5) {
        0 => {
            sleep(Duration::from_micros(random.below(20_000))).await; // often within recovery
            node.crash(crash);
        }
        1 => {
            sleep(Duration::from_micros(random.below(900_000))).await;
            node.crash(crash);
        }
        2 => {
            let known: Vec<&str> = world.points().into_keys().collect();
            let points = if known.is_empty() { vec!["store.append.written"] } else { known };
            let point = points[random.below(points.len() as u64) as usize];
            node.arm(point, 1 + random.below(10), crash);
            let _ = timeout(Duration::from_secs(2), node.stopped()).await;
            node.disarm();
            node.crash(crash);
        }
        3 => {
            // A sync fails: the page cache says clean, the disk has nothing.
            let pattern =
                ["*commitlog*", "*consumequeue*", "*queues.json*", "*index*"][random.below(4) as usize];
            sleep(Duration::from_millis(random.below(600))).await; // within recovery, or behind it
            shared.lock().disk_fails = true;
            node.disk().fail(Access::Sync, pattern, Some(1 + random.below(3)));
            sleep(Duration::from_millis(random.below(600))).await;
            node.crash(crash);
            node.disk().heal();
            shared.lock().disk_fails = false;
        }
        _ => {
            let pattern = ["*commitlog*", "*consumequeue*", "*queues.json*", "*checkpoint*", "*index*"]
                [random.below(5) as usize];
            node.disk().cut_write(pattern, 1 + random.below(60), crash);
            let _ = timeout(Duration::from_secs(2), node.stopped()).await;
            node.crash(crash);
        }
    }
    // Pages whose write-back failed and that were dropped from memory are lost as with the power.
    shared.lock().power |= crash == Crash::Power || evicted() > before;
}

/// The driver's own numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

fn sweep(seeds: Range<u64>) {
    let mut points: BTreeMap<&str, u64> = BTreeMap::new();
    let mut effects: BTreeMap<&str, u64> = BTreeMap::new();
    let mut acknowledged = 0;
    for seed in seeds {
        let outcome = run(seed, None);
        outcome.lines.iter().for_each(|line| println!("{line}"));
        let (_, count) = outcome.result.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        acknowledged += count;
        outcome.points.into_iter().for_each(|(point, n)| *points.entry(point).or_default() += n);
        outcome.effects.into_iter().for_each(|(effect, n)| *effects.entry(effect).or_default() += n);
    }
    for fault in ["disk.lost_sectors", "disk.lost_write_back", "disk.cut_write", "hook.point", "node.power"] {
        assert!(effects.contains_key(fault), "no {fault} in all seeds");
    }
    println!("{acknowledged} acknowledged\npoints {points:#?}\neffects {effects:#?}");
}

#[test]
fn what_was_promised_survives_any_crash() {
    let seeds = std::env::var("SEEDS").ok().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    sweep(seeds.unwrap_or(0..60));
}

/// Each planted bug is met and noticed within a few seeds.
#[test]
fn planted_bugs_are_noticed() {
    for bug in ["M01", "M02", "M03", "M04", "M06", "M08", "M10", "M11", "M12", "M13", "M14"] {
        let noticed = (0..100).find(|seed| run(*seed, Some(bug)).result.is_err());
        println!("{bug}: {noticed:?}");
        assert!(noticed.is_some(), "{bug} passes");
    }
}

/// Runs a story on a node and one that watches it from outside.
fn story<F, G>(
    program: impl Fn(Disk) -> F + Send + Clone + 'static,
    plan: impl FnOnce(Node) -> G + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
    G: Future<Output = ()>,
{
    let outcome = world::run(Setup::seed(7), |world| async move {
        let node = world.node("broker", [10, 0, 0, 1].into());
        node.start(move || {
            let program = program.clone();
            async move { program(Disk::open("store").unwrap()).await }
        });
        plan(node).await;
        timeout(Duration::from_secs(120), node.stopped()).await.expect("the story ends");
    });
    outcome.result.unwrap_or_else(|failure| panic!("{failure}"));
}

fn small(flush: FlushMode) -> Config {
    Plan { flush, writers: 0, retention: false, deletes: false, rounds: 0 }.config()
}

#[test]
fn a_failed_sync_is_told_to_all_who_wait_and_ends_all_writing() {
    story(
        |disk| async move {
            let tasks = TaskSet::new();
            let (store, _) = Store::open(disk, small(FlushMode::Sync), &tasks).await.unwrap();
            let mut failed = 0;
            for number in 0..1000 {
                let body = body_of(number);
                match store.append(&message(number, "orders", &body, "")).await {
                    Ok(appended) => failed += u64::from(store.durable(appended.end).await.is_err()),
                    Err(AppendError::Poisoned(_)) => break,
                    Err(other) => panic!("{other}"),
                }
            }
            assert_eq!(failed, 1, "one waited for the sync that failed, none came after it");
            assert!(store.health().poisoned.is_some());
            assert!(store.close().await.is_err());
        },
        |node| async move {
            sleep(Duration::from_millis(50)).await;
            node.disk().fail(Access::Sync, "*commitlog*", Some(1));
        },
    );
}

#[test]
fn who_knows_messages_that_are_gone_gets_all_that_came_since() {
    const LOST: u64 = 200;
    let ends: Arc<Mutex<Vec<u64>>> = Arc::default();
    let lives = ends.clone();
    story(
        move |disk| {
            let lives = lives.clone();
            async move {
                let tasks = TaskSet::new();
                let (store, _) = Store::open(disk, small(FlushMode::Async), &tasks).await.unwrap();
                let queue = store.open_queue("orders", 0).unwrap();
                let began = queue.max();
                let count = if lives.lock().unwrap().is_empty() { LOST } else { 2 };
                for number in 0..count {
                    let body = body_of(number * 3);
                    store.append(&message(number * 3, "orders", &body, "")).await.unwrap();
                    sleep(Duration::from_millis(1)).await;
                }
                store.catch_up().await;
                let found = queue.read(LOST as i64 + 1, 32, 1 << 20, |_| true).await.unwrap();
                assert_eq!(
                    (found.status, found.max),
                    (store::ReadStatus::OffsetOverflowBadly, began + count)
                );
                lives.lock().unwrap().push(found.next);
                if count < LOST {
                    assert!((1..LOST - 2).contains(&began), "the crash took a tail and not all: {began}");
                    assert_eq!(found.next, began, "the first of the new ones");
                    store.close().await.unwrap();
                }
            }
        },
        |node| async move {
            sleep(Duration::from_millis(230)).await;
            node.crash(Crash::Power);
            node.restart();
        },
    );
    assert_eq!(ends.lock().unwrap()[0], LOST, "the end, where nothing is gone");
}

#[test]
fn sends_are_refused_while_the_disk_is_full_and_taken_when_there_is_space() {
    story(
        |disk| async move {
            let tasks = TaskSet::new();
            let (store, _) = Store::open(disk, small(FlushMode::Async), &tasks).await.unwrap();
            let (mut refused, mut taken_again) = (0, 0);
            for number in 0.. {
                let body = body_of(number);
                match store.append(&message(number, "orders", &body, "")).await {
                    Ok(_) if refused > 0 => taken_again += 1,
                    Ok(_) => {}
                    Err(AppendError::DiskFull(_)) => {
                        assert!(store.health().disk_full);
                        refused += 1;
                    }
                    Err(other) => panic!("{other}"),
                }
                if taken_again == 500 {
                    break;
                }
                sleep(Duration::from_millis(5)).await;
            }
            assert!(!store.health().disk_full);
            store.close().await.unwrap();
        },
        |node| async move {
            node.disk().set_capacity(400 << 10);
            sleep(Duration::from_secs(20)).await;
            node.disk().set_capacity(64 << 20);
        },
    );
}

#[test]
fn a_deletion_that_a_full_disk_cut_off_is_finished_before_the_next_start() {
    // By the next look at old files, or by the end of the store when that comes first.
    for (interval_s, stays_s) in [(1, 5), (10, 0)] {
        story(
            move |disk| async move {
                let tasks = TaskSet::new();
                let config =
                    || Config { expire_interval: Duration::from_secs(interval_s), ..small(FlushMode::Async) };
                let (store, _) = Store::open(disk.clone(), config(), &tasks).await.unwrap();
                for number in 0..800 {
                    let body = body_of(number);
                    store.append(&message(number, "orders", &body, "")).await.unwrap();
                }
                while !store.health().disk_full {
                    sleep(Duration::from_millis(100)).await;
                }
                while store.health().disk_full {
                    sleep(Duration::from_millis(100)).await;
                }
                sleep(Duration::from_secs(stays_s)).await;
                if stays_s == 0 {
                    store.close().await.unwrap();
                }
                let min = store.min_position();
                tasks.close().await;
                drop(store);
                let (store, _) = Store::open(disk, config(), &TaskSet::new()).await.unwrap();
                assert_eq!(store.min_position(), min, "nothing goes at a start that was readable before it");
            },
            |node| async move {
                sleep(Duration::from_secs(5)).await;
                node.disk().set_capacity(node.disk().used());
                sleep(Duration::from_secs(20)).await;
                node.disk().set_capacity(64 << 30);
            },
        );
    }
}
