//! kill -9 of the broker under Java load, again and again, then an audit through a client.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use client::{PullConsumer, PullStatus};
use process::{Cluster, LONG, Program, create_topic};

const THREADS: usize = 4;
const QUEUES: i32 = 4;

/// Returns the line to print.
pub(crate) async fn under_load(flush: &str, kills: u32, version: &str) -> Result<String> {
    let config = [
        ("flushDiskType", flush),
        ("mappedFileSizeCommitLog", "1048576"),
        ("mappedFileSizeConsumeQueue", "6000"),
    ];
    let mut cluster = Cluster::start(&config)?;
    let topic = "killed";
    create_topic(&cluster.broker_address(), topic, QUEUES)?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/java/Driver.java");
    let java = golden::Java::prepare(version, &["rocketmq-client"], &source)?;
    let mut command = java.command("Driver");
    command.args(["stress", &cluster.name_server(), topic, "p", &THREADS.to_string()]);
    let mut load = Program::start("java load", &mut command)?;
    load.wait_for("ready", LONG)?;
    let mut slowest = Duration::ZERO;
    for round in 0..kills {
        let before = acknowledged(&load);
        let begun = Instant::now();
        while acknowledged(&load) < before + 200 {
            ensure!(begun.elapsed() < LONG, "{flush}: no sends are acknowledged after kill {round}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 37 % 300)).await;
        cluster.broker.kill()?;
        let begun = Instant::now();
        cluster.restart_broker().with_context(|| format!("{flush}: after kill {round}"))?;
        slowest = slowest.max(begun.elapsed());
    }
    let after_last = acknowledged(&load);
    let begun = Instant::now();
    while acknowledged(&load) < after_last + 200 {
        ensure!(begun.elapsed() < LONG, "{flush}: no sends are acknowledged after the last kill");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    load.finish(LONG)?;
    let sent = sends(&load)?;
    let stored = read_all(&cluster.name_server(), topic).await?;
    audit(flush, &sent, &stored)?;
    cluster.broker.signal("TERM")?;
    let code = cluster.broker.wait(LONG)?;
    ensure!(code == 0, "{flush}: SIGTERM ended the broker with code {code}");
    Ok(format!(
        "{flush}: {kills} kills, {} acknowledged sends of a Java {version} client all there in order, {} records in all, \
         slowest restart {} ms",
        sent.len(),
        stored.len(),
        slowest.as_millis()
    ))
}

struct Sent {
    producer: String,
    serial: u32,
    place: (String, u64),
}

fn acknowledged(load: &Program) -> usize {
    load.lines().iter().filter(|l| l.starts_with("sent\t")).count()
}

fn sends(load: &Program) -> Result<Vec<Sent>> {
    load.lines()
        .iter()
        .filter(|l| l.starts_with("sent\t"))
        .map(|line| {
            let f: Vec<&str> = line.split('\t').collect();
            let [_, serial, status, broker, queue, offset, _id, _offset_id, producer] = f[..] else {
                bail!("a line of the driver: {line}")
            };
            ensure!(status == "SEND_OK", "a send was answered {status}");
            Ok(Sent {
                producer: producer.to_owned(),
                serial: serial.parse()?,
                place: (format!("{broker}:{queue}"), offset.parse()?),
            })
        })
        .collect()
}

/// What stands at each place: producer, serial, and whether the body is the one that was sent.
async fn read_all(name_server: &str, topic: &str) -> Result<BTreeMap<(String, u64), (String, u32, bool)>> {
    let consumer = PullConsumer::builder("audit").name_servers(name_server).start().await?;
    let mut stored = BTreeMap::new();
    for queue in consumer.queues(topic).await? {
        let mut next = consumer.min_offset(&queue).await?;
        let end = consumer.max_offset(&queue).await?;
        while next < end {
            let pulled = consumer.pull(&queue, "*", next, 32).await?;
            ensure!(
                pulled.status == PullStatus::Found,
                "{queue} offset {next} of {end}: {:?}",
                pulled.status
            );
            for message in &pulled.messages {
                let producer = message.property("producer").unwrap_or_default().to_owned();
                let serial: u32 = message.property("serial").unwrap_or_default().parse()?;
                let begins = format!("{producer}-{serial} ");
                let whole = message.body.starts_with(begins.as_bytes());
                stored.insert(
                    (format!("{}:{}", queue.broker, queue.id), message.offset),
                    (producer, serial, whole),
                );
            }
            ensure!(pulled.next > next, "{queue}: a pull at {next} did not move on");
            next = pulled.next;
        }
    }
    consumer.shutdown().await;
    Ok(stored)
}

fn audit(flush: &str, sent: &[Sent], stored: &BTreeMap<(String, u64), (String, u32, bool)>) -> Result<()> {
    let mut last: BTreeMap<(&str, &str), (u32, u64)> = BTreeMap::new();
    for s in sent {
        match stored.get(&s.place) {
            Some((producer, serial, true)) if *producer == s.producer && *serial == s.serial => {}
            other => bail!(
                "{flush}: {} {} was acknowledged at {:?}, there stands {other:?}",
                s.producer,
                s.serial,
                s.place
            ),
        }
        // A thread sends one after the other, so what it was told first stands first (LOG-3).
        if let Some((serial, offset)) = last.insert((&s.producer, &s.place.0), (s.serial, s.place.1)) {
            ensure!(
                serial < s.serial && offset < s.place.1,
                "{flush}: {} sent {serial} to {} at {offset} before {} at {}",
                s.producer,
                s.place.0,
                s.serial,
                s.place.1
            );
        }
    }
    let mut queues: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (queue, offset) in stored.keys() {
        queues.entry(queue).or_default().push(*offset);
    }
    for (queue, offsets) in queues {
        ensure!(
            offsets.windows(2).all(|w| w[1] == w[0] + 1),
            "{flush}: {queue} has a gap between {} and {}",
            offsets[0],
            offsets[offsets.len() - 1]
        );
    }
    Ok(())
}
