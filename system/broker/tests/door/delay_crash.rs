//! Delayed messages while the broker is killed, loses power, and has its clock set: each comes once, in order, when
//! it is due.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "SEEDS=0..1000 runs more, and tells what was met"
)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::Deaf;
use broker::{Broker, Config};
use bytes::Bytes;
use net::{Client, Options};
use protocol::{
    Command,
    config::FlushDiskType,
    properties::{self, names},
    record::{self, Scan},
    rpc::*,
};
use runtime::disk::Disk;
use runtime::task::TaskSet;
use runtime::time::{sleep, timeout};
use world::{Crash, Node, Setup, Tap, Value, World, is_over};

/// What the test knows; it outlives the processes.
#[derive(Default)]
struct Model {
    sends: BTreeMap<u64, Send>,
    /// When a message of the schedule topic was last stored, by queue and offset.
    stored: BTreeMap<(i64, i64), Duration>,
    /// Jumps of the broker's clock, in ms.
    jumps: Vec<(Duration, i64)>,
    /// When the broker began to serve.
    served: Vec<Duration>,
    /// When it died.
    died: Vec<Duration>,
    wrong: Vec<String>,
    delivered: u64,
    quiet: bool,
}

struct Send {
    lane: u64,
    level: i64,
    acknowledged: bool,
    /// The power went after it was sent and before it can have reached the disk by itself.
    excused: bool,
    at: Duration,
}

impl Model {
    /// True when the broker died too soon after its clock was set back, or after it stored a message while store times
    /// stood still: it could not write how long the message had waited, and so it may wait once more.
    fn forgot(&self, stored: Duration) -> bool {
        let too_soon = |since: Duration| {
            self.died.iter().any(|died| *died >= since && *died < since + Duration::from_secs(3))
        };
        let mut back = self.jumps.iter().filter(|(_, jump)| *jump < 0);
        back.any(|(at, _)| too_soon(stored.max(*at)))
    }
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Model>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

const LEVELS: [i64; 3] = [1000, 3000, 10_000];
const QUEUES: u64 = 2;
const PORT: u16 = 10911;
const ADDRESS: &str = "10.0.0.1:10911";

fn config(flush: FlushDiskType) -> Config {
    Config {
        broker_name: "a".into(),
        broker_ip1: "10.0.0.1".into(),
        listen_port: PORT,
        mapped_file_size_commit_log: 64 << 10,
        mapped_file_size_consume_queue: 1000,
        message_delay_level: "1s 3s 10s".into(),
        flush_delay_offset_interval: 500,
        flush_interval_commit_log: 2000,
        flush_disk_type: flush,
        ..Config::default()
    }
}

fn client(tasks: &TaskSet) -> Client {
    Client::new(tasks, Arc::new(Deaf), Options::default())
}

/// One life of the broker.
async fn life(shared: Shared, flush: FlushDiskType) {
    let tasks = TaskSet::new();
    let started = Broker::start(config(flush), Disk::open("store").unwrap(), &tasks).await;
    let broker = match started {
        Ok(broker) => broker,
        Err(_) if is_over() => std::future::pending().await,
        Err(error) => panic!("{error}"),
    };
    shared.lock().served.push(World::current().elapsed());
    runtime::signal::shutdown().await;
    broker.stop().await;
    tasks.close().await;
}

/// One sender: its messages of one level go to one queue, one after the other, each sent once.
async fn send_lane(shared: Shared, lane: u64) {
    let tasks = TaskSet::new();
    let client = client(&tasks);
    let level = lane / QUEUES + 1;
    for number in 0.. {
        if shared.lock().quiet {
            break;
        }
        let number = lane * 1_000_000 + number;
        let send = Send {
            lane,
            level: level as i64,
            acknowledged: false,
            excused: false,
            at: World::current().elapsed(),
        };
        shared.lock().sends.insert(number, send);
        let mut text = Vec::new();
        properties::push(&mut text, names::UNIQ_KEY, &format!("{number:032}"));
        properties::push(&mut text, names::DELAY, &level.to_string());
        let request = SendMessageV2 {
            producer_group: "p".into(),
            topic: "orders".into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: QUEUES as i32,
            queue_id: (lane % QUEUES) as i32,
            properties: Some(String::from_utf8(text).unwrap().into()),
            ..SendMessageV2::default()
        };
        let body = Bytes::from(format!("{number} {}", "x".repeat((number % 200) as usize)));
        let answer = client.call(&ADDRESS.into(), &request, body, Duration::from_secs(3)).await;
        shared.lock().sends.get_mut(&number).unwrap().acknowledged = answer.is_ok();
        let pause = if answer.is_ok() { 5 + number * 7 % 60 } else { 200 };
        sleep(Duration::from_millis(pause)).await;
    }
    tasks.close().await;
}

/// The numbers in a queue of the real topic, in its order.
async fn read_queue(client: &Client, queue: u64) -> Vec<u64> {
    let mut all = Vec::new();
    let mut from = 0;
    loop {
        let request = PullMessage {
            consumer_group: "g".into(),
            topic: "orders".into(),
            queue_id: queue as i32,
            queue_offset: from,
            max_msg_nums: 32,
            sys_flag: 4,
            subscription: Some("*".into()),
            ..PullMessage::default()
        };
        let command = Command::request(&request, Bytes::new());
        let answer = client.call_raw(&ADDRESS.into(), command, Duration::from_secs(5)).await.unwrap();
        match answer.code {
            protocol::code::SUCCESS => {}
            protocol::code::FLOW_CONTROL => continue,
            _ => return all,
        }
        for bytes in record::each(answer.body.clone()) {
            let Scan::Record(found) = record::scan(&bytes, true) else { panic!("no record") };
            let body = std::str::from_utf8(found.body).unwrap();
            all.push(body.split_once(' ').unwrap().0.parse().unwrap());
            from = found.place.queue_offset as i64 + 1;
        }
    }
}

/// What the broker tells about itself, in the moment it happens.
fn listen(world: World, shared: Shared) {
    world.subscribe(move |tap: &Tap<'_>| {
        let mut model = shared.lock();
        let number = |name| tap.number(name).unwrap_or(-1);
        match tap.name {
            "append" if tap.field("topic") == Some(&Value::Text("SCHEDULE_TOPIC_XXXX".into())) => {
                model.stored.insert((number("queue"), number("offset")), tap.at);
            }
            "delay_delivered" => {
                model.delivered += 1;
                let level = number("level");
                let delay = LEVELS[level as usize - 1];
                let Some(stored) = model.stored.get(&(level - 1, number("from"))).copied() else {
                    model.wrong.push(format!("level {level} delivers what was never stored"));
                    return;
                };
                let waited = (tap.at - stored).as_millis() as i64;
                let ahead: i64 = (model.jumps.iter())
                    .filter(|(at, jump)| *at >= stored && *jump > 0)
                    .map(|(_, jump)| jump)
                    .sum();
                if waited + ahead + 1 < delay {
                    model
                        .wrong
                        .push(format!("level {level} delivered after {waited} ms, clock {ahead} ahead"));
                }
                let began = model.served.last().copied().unwrap_or_default();
                let delay = Duration::from_millis(delay as u64);
                let due = (stored + delay).max(began);
                let due = if model.forgot(stored) { due.max(began + delay) } else { due };
                // What was due meanwhile comes one after the other, from a disk made slow now and then.
                if tap.at > due + Duration::from_secs(5) {
                    model.wrong.push(format!("level {level} delivered {:?} late", tap.at - due));
                }
            }
            _ => {}
        }
    });
}

/// One seed: the broker lives and dies several times, then everything must come.
fn run(seed: u64, planted: Option<&'static str>) -> world::Outcome<u64> {
    world::run(Setup::seed(seed), move |world| async move {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let flush = if random.chance(50) { FlushDiskType::SyncFlush } else { FlushDiskType::AsyncFlush };
        if let Some(bug) = planted {
            world.plant(bug);
        }
        world.buggify("broker", 0.4, 0.05);
        world.buggify("store", 0.4, 0.05);
        // What waits behind one that is refused waits as well.
        world.buggify("store.append.refused", 0.4, 0.002);
        let shared = Shared(Arc::default());
        listen(world, shared.clone());
        let node = world.node("broker", [10, 0, 0, 1].into());
        let program = shared.clone();
        node.start(move || life(program.clone(), flush));
        let user = world.node("user", [10, 0, 0, 2].into());
        let senders: Vec<_> = (0..QUEUES * LEVELS.len() as u64)
            .map(|lane| user.spawn(send_lane(shared.clone(), lane)))
            .collect();
        for _ in 0..3 + random.below(4) {
            hurt(world, node, &mut random, &shared, flush).await;
        }
        sleep(Duration::from_millis(1000)).await;
        shared.lock().quiet = true;
        for sender in senders {
            sender.await;
        }
        // The longest level, once more behind a clock that was set back, and a little.
        sleep(Duration::from_secs(25)).await;
        let reader = user.spawn(async move {
            let tasks = TaskSet::new();
            let client = client(&tasks);
            let mut queues = Vec::new();
            for queue in 0..QUEUES {
                queues.push(read_queue(&client, queue).await);
            }
            queues
        });
        let queues = reader.await.unwrap();
        node.stop();
        timeout(Duration::from_secs(60), node.stopped()).await.expect("a broker that is asked to stop does");
        let model = shared.lock();
        judge(&model, &queues);
        model.delivered
    })
}

fn judge(model: &Model, queues: &[Vec<u64>]) {
    assert_eq!(model.wrong, Vec::<String>::new());
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for queue in queues {
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for number in queue {
            *seen.entry(*number).or_default() += 1;
            let before = last.insert(model.sends[number].lane, *number);
            assert!(before.is_none_or(|before| before < *number), "{number} comes behind {before:?}");
        }
    }
    for (number, send) in &model.sends {
        let times = seen.get(number).copied().unwrap_or(0);
        assert!(times <= 1, "{number} of level {} came {times} times", send.level);
        assert!(
            times == 1 || !send.acknowledged || send.excused,
            "{number} of level {}, sent at {:?}, never came",
            send.level,
            send.at
        );
    }
}

async fn hurt(world: World, node: Node, random: &mut Random, shared: &Shared, flush: FlushDiskType) {
    sleep(Duration::from_millis(200 + random.below(4000))).await;
    let crash = if random.chance(50) { Crash::Power } else { Crash::Process };
    match random.below(6) {
        0 | 1 => {
            let jump = [-60_000, -2000, -300, 400, 5000, 60_000][random.below(6) as usize];
            node.clock().jump_ms(jump);
            shared.lock().jumps.push((world.elapsed(), jump));
            return;
        }
        2 => {
            node.stop();
            timeout(Duration::from_secs(60), node.stopped())
                .await
                .expect("a broker that is asked to stop does");
            sleep(Duration::from_millis(random.below(5000))).await;
            node.restart();
            return;
        }
        3 => {
            node.crash(crash);
        }
        _ => {
            let points: Vec<&str> =
                world.points().into_keys().filter(|point| point.starts_with("broker.delay")).collect();
            let point = points[random.below(points.len() as u64) as usize];
            node.arm(point, 1 + random.below(20), crash);
            let _ = timeout(Duration::from_secs(3), node.stopped()).await;
            node.disarm();
            node.crash(crash);
        }
    }
    shared.lock().died.push(world.elapsed());
    if crash == Crash::Power && flush == FlushDiskType::AsyncFlush {
        // The flush of each two seconds had no chance.
        let now = world.elapsed();
        let mut model = shared.lock();
        for send in model.sends.values_mut().filter(|send| now < send.at + Duration::from_secs(4)) {
            send.excused = true;
        }
    }
    sleep(Duration::from_millis(random.below(3000))).await;
    node.restart();
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
    let (mut points, mut effects) = (BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new());
    let mut delivered = 0;
    for seed in seeds {
        let outcome = run(seed, None);
        delivered += outcome.result.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        outcome.points.into_iter().for_each(|(point, n)| *points.entry(point).or_default() += n);
        outcome.effects.into_iter().for_each(|(effect, n)| *effects.entry(effect).or_default() += n);
    }
    println!("{delivered} delivered\npoints {points:#?}\neffects {effects:#?}");
    for fault in ["disk.lost_sectors", "hook.point", "node.power", "clock.jump"] {
        assert!(effects.contains_key(fault), "no {fault} in all seeds");
    }
}

#[test]
fn each_delayed_message_comes_once_in_order_and_in_time() {
    let seeds = std::env::var("SEEDS").ok().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    sweep(seeds.unwrap_or(0..20));
}

/// Each planted bug is met and noticed within a few seeds.
#[test]
fn planted_bugs_are_noticed() {
    for bug in ["M37", "M38", "M40", "M41"] {
        let noticed = (0..200).find(|seed| run(*seed, Some(bug)).result.is_err());
        println!("{bug}: {noticed:?}");
        assert!(noticed.is_some(), "{bug} passes");
    }
}
