//! Members of a consumer group, written in Java or in Rust, that tell what they got in one form.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use client::{Consumed, PushConsumer, Received, StartFrom};
use golden::Java;
use process::{LONG, Program};

use crate::content;

/// One delivery.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Got {
    pub(crate) producer: String,
    pub(crate) serial: u32,
    /// Broker and queue as `name:id`.
    pub(crate) queue: String,
    pub(crate) offset: u64,
    pub(crate) reconsumed: i32,
    /// What is wrong with its content, if anything.
    pub(crate) wrong: Option<String>,
    /// When it was seen here, for the order of two deliveries.
    pub(crate) order: Duration,
}

/// A running member.
pub(crate) struct Member {
    pub(crate) name: String,
    kind: Kind,
}

enum Kind {
    Java { program: Program, begun: Instant },
    Rust { consumer: PushConsumer, got: Arc<Mutex<Vec<Got>>> },
}

impl Member {
    pub(crate) fn java(java: &Java, name_server: &str, topic: &str, group: &str, name: &str) -> Result<Self> {
        let mut command = java.command("Driver");
        command.args(["consume", name_server, topic, group, name, "*"]);
        let mut program = Program::start(&format!("java {} consumer {name}", java.version()), &mut command)?;
        program.wait_for("ready", LONG)?;
        Ok(Self { name: name.to_owned(), kind: Kind::Java { program, begun: Instant::now() } })
    }

    pub(crate) async fn rust(name_server: &str, topic: &str, group: &str, name: &str) -> Result<Self> {
        let got = Arc::new(Mutex::new(Vec::new()));
        let (sink, begun) = (got.clone(), Instant::now());
        let consumer = PushConsumer::builder(group)
            .name_servers(name_server)
            .instance_name(name)
            .start_from(StartFrom::First)
            .subscribe(topic, "*")
            .listen(move |batch| {
                let all: Vec<Got> = batch.messages.iter().map(|m| of_rust(m, begun.elapsed())).collect();
                sink.lock().expect("no listener panics").extend(all);
                async { Consumed::Ok }
            })
            .start()
            .await?;
        Ok(Self { name: name.to_owned(), kind: Kind::Rust { consumer, got } })
    }

    /// Everything delivered to it so far.
    pub(crate) fn got(&self) -> Result<Vec<Got>> {
        match &self.kind {
            Kind::Rust { got, .. } => Ok(got.lock().expect("no listener panics").clone()),
            Kind::Java { program, .. } => {
                program.lines().iter().filter(|l| l.starts_with("got\t")).map(|l| of_java(l)).collect()
            }
        }
    }

    /// The queues it owns now.
    pub(crate) fn owns(&self) -> BTreeSet<String> {
        match &self.kind {
            Kind::Rust { consumer, .. } => consumer
                .queues()
                .iter()
                .filter(|q| !q.topic.starts_with("%RETRY%"))
                .map(|q| format!("{}:{}", q.broker, q.id))
                .collect(),
            Kind::Java { program, .. } => program
                .lines()
                .iter()
                .rev()
                .find_map(|l| l.strip_prefix("owns\t").or((l == "owns").then_some("")))
                .unwrap_or_default()
                .split(',')
                .filter(|q| !q.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }

    /// How long the member ran, for messages.
    pub(crate) fn language(&self) -> &'static str {
        match &self.kind {
            Kind::Java { .. } => "Java",
            Kind::Rust { .. } => "Rust",
        }
    }

    /// Leaves the group in order.
    pub(crate) async fn close(self) -> Result<Vec<Got>> {
        match self.kind {
            Kind::Rust { consumer, got } => {
                consumer.shutdown().await;
                let got = got.lock().expect("no listener panics");
                Ok(got.clone())
            }
            Kind::Java { mut program, begun } => {
                let name = self.name;
                program.finish(LONG).with_context(|| format!("{name} ran for {:?}", begun.elapsed()))?;
                program.lines().iter().filter(|l| l.starts_with("got\t")).map(|l| of_java(l)).collect()
            }
        }
    }
}

fn of_rust(message: &Received, order: Duration) -> Got {
    let serial = message.property("serial").and_then(|s| s.parse().ok()).unwrap_or(u32::MAX);
    let keys: Vec<&str> = message.keys().collect();
    Got {
        producer: message.property("producer").unwrap_or_default().to_owned(),
        serial,
        queue: format!("{}:{}", message.queue.broker, message.queue.id),
        offset: message.offset,
        reconsumed: message.reconsume_times,
        wrong: wrong(
            message.property("producer").unwrap_or_default(),
            serial,
            message.tag().unwrap_or_default(),
            &keys.join(" "),
            message.property("größe").unwrap_or_default(),
            crc32fast::hash(&message.body),
        ),
        order,
    }
}

fn of_java(line: &str) -> Result<Got> {
    let f: Vec<&str> = line.split('\t').collect();
    let [_, producer, serial, broker, queue, offset, reconsumed, tag, keys, unicode, crc, _id] = f[..] else {
        bail!("a line of the Java driver has {} fields: {line}", f.len())
    };
    let serial = serial.parse()?;
    Ok(Got {
        producer: producer.to_owned(),
        serial,
        queue: format!("{broker}:{queue}"),
        offset: offset.parse()?,
        reconsumed: reconsumed.parse()?,
        wrong: wrong(producer, serial, tag, keys, unicode, crc.parse()?),
        order: Duration::ZERO,
    })
}

fn wrong(producer: &str, serial: u32, tag: &str, keys: &str, unicode: &str, crc: u32) -> Option<String> {
    let marks = content::marks(serial);
    if (tag, keys, unicode) != (marks.0.as_str(), marks.1.as_str(), marks.2.as_str()) {
        return Some(format!("has tag {tag:?}, keys {keys:?}, property {unicode:?}, expected {marks:?}"));
    }
    (crc != crc32fast::hash(&content::body(producer, serial)))
        .then(|| "has another body than was sent".to_owned())
}

/// A Java producer's run: what it says it sent, by serial.
pub(crate) fn produce_java(
    java: &Java,
    name_server: &str,
    topic: &str,
    producer: &str,
    serials: std::ops::Range<u32>,
    mode: &str,
) -> Result<Vec<Sent>> {
    let mut command = java.command("Driver");
    command.args(["produce", name_server, topic, producer]);
    command.args([serials.start.to_string(), serials.len().to_string(), mode.to_owned()]);
    let output = golden::run(&mut command)?;
    let sent = output
        .lines()
        .filter(|l| l.starts_with("sent\t") || l.starts_with("failed\t"))
        .map(|line| {
            let f: Vec<&str> = line.split('\t').collect();
            if f[0] == "failed" {
                bail!("a Java {} producer failed: {line}", java.version());
            }
            if f[2] != "SEND_OK" {
                bail!("a Java {} send was answered {}", java.version(), f[2]);
            }
            Ok(Sent {
                producer: producer.to_owned(),
                serial: f[1].parse()?,
                queue: format!("{}:{}", f[3], f[4]),
                offset: f[5].parse()?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    if sent.len() != serials.len() {
        bail!("a Java {} producer sent {} of {}:\n{}", java.version(), sent.len(), serials.len(), output);
    }
    Ok(sent)
}

/// A Rust producer's run, 32 sends in flight at most.
pub(crate) async fn produce_rust(
    name_server: &str,
    topic: &str,
    producer: &str,
    serials: std::ops::Range<u32>,
) -> Result<Vec<Sent>> {
    let client = client::Producer::builder(format!("PG-{producer}"))
        .name_servers(name_server)
        .instance_name(producer)
        .send_timeout(LONG)
        .start()
        .await?;
    let mut sent = Vec::new();
    let all: Vec<u32> = serials.collect();
    for (index, chunk) in all.chunks(32).enumerate() {
        let receipts = if index % 4 == 3 {
            client.send_batch(chunk.iter().map(|n| content::message(topic, producer, *n)).collect()).await?
        } else {
            let mut receipts = Vec::new();
            let mut running = tokio::task::JoinSet::new();
            for (at, n) in chunk.iter().enumerate() {
                let (client, message) = (client.clone(), content::message(topic, producer, *n));
                running.spawn(async move { (at, client.send(message).await) });
            }
            while let Some(done) = running.join_next().await {
                let (at, receipt) = done?;
                receipts.push((at, receipt?));
            }
            receipts.sort_by_key(|(at, _)| *at);
            receipts.into_iter().map(|(_, receipt)| receipt).collect()
        };
        sent.extend(chunk.iter().zip(receipts).map(|(n, r)| Sent {
            producer: producer.to_owned(),
            serial: *n,
            queue: format!("{}:{}", r.queue.broker, r.queue.id),
            offset: r.offset,
        }));
    }
    client.shutdown().await;
    Ok(sent)
}

/// One acknowledged send.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sent {
    pub(crate) producer: String,
    pub(crate) serial: u32,
    pub(crate) queue: String,
    pub(crate) offset: u64,
}

/// The driver compiled for a version.
pub(crate) fn driver(version: &str) -> Result<Java> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/Driver.java");
    Java::prepare(version, &["rocketmq-client"], &source)
}
