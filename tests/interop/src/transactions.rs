//! Transactional producers in Java, Go and Rust against the release binaries: what is committed is delivered once to
//! consumers of another language, the rest never.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use client::{Outcome, TransactionProducer};
use process::Program;

use crate::{One, content, member::Member};

/// Messages of one run.
const COUNT: u32 = 80;

/// What a serial's local transaction says, and what its checks say, one after the other.
fn plan(n: u32) -> (Outcome, &'static [Outcome]) {
    match n % 8 {
        0 | 4 => (Outcome::Commit, &[]),
        1 | 5 => (Outcome::Rollback, &[]),
        2 => (Outcome::Unknown, &[Outcome::Commit]),
        6 => (Outcome::Unknown, &[Outcome::Unknown, Outcome::Commit]),
        _ => (Outcome::Unknown, &[Outcome::Rollback]),
    }
}

fn is_delivered(n: u32) -> bool {
    n.is_multiple_of(2)
}

/// Both directions.
pub(crate) async fn run(one: &One) -> Result<()> {
    let (topic, name) = (one.topic("txj", 4)?, format!("tj-{}", one.tag));
    let client = format!("Java {}", one.java.version());
    to_rust(&client, one.java.command("Driver"), &one.name_server, &topic, &name).await?;
    rust_to_java(one).await
}

/// From a client's program to a Rust consumer.
pub(crate) async fn to_rust(
    client: &str,
    mut command: Command,
    name_server: &str,
    topic: &str,
    name: &str,
) -> Result<()> {
    let consumer = Member::rust(name_server, topic, &format!("G-{topic}"), "r").await?;
    command.args(["transact", name_server, topic, name, "0", &COUNT.to_string()]);
    let mut program = Program::start(&format!("{client} transactions"), &mut command)?;
    let asked = || -> Result<BTreeMap<u32, u32>> {
        let mut asked = BTreeMap::new();
        for line in program.lines().iter().filter(|line| line.starts_with("checked\t")) {
            let f: Vec<&str> = line.split('\t').collect();
            let [_, n, times, got_topic, tag, keys, unicode, crc, _, counted] = f[..] else {
                bail!("a line of the {client} driver has {} fields: {line}", f.len())
            };
            let n: u32 = n.parse()?;
            let marks = content::marks(n);
            ensure!(
                got_topic == topic && counted == times,
                "a check names {got_topic} and {counted} checks: {line}"
            );
            ensure!(
                (tag, keys, unicode) == (&*marks.0, &*marks.1, &*marks.2),
                "a check has other marks: {line}"
            );
            let body = crc32fast::hash(&content::body(name, n));
            ensure!(crc.parse::<u32>()? == body, "a check has another body: {line}");
            asked.insert(n, times.parse()?);
        }
        Ok(asked)
    };
    wait(topic, &consumer, || asked().map(|a| a.len())).await?;
    let asked = asked()?;
    judge(topic, name, consumer, &asked).await?;
    let halves =
        program.lines().iter().filter(|l| l.starts_with("half\t") && l.contains("\tSEND_OK\t")).count();
    ensure!(halves == COUNT as usize, "{topic}: {halves} half messages were stored");
    program.finish(Duration::from_secs(60))?;
    println!("ok {topic:<14} {COUNT} transactions from {client}, {} checked", asked.len());
    Ok(())
}

async fn rust_to_java(one: &One) -> Result<()> {
    let topic = one.topic("txr", 4)?;
    let consumer = Member::java(&one.java, &one.name_server, &topic, &format!("G-{topic}"), "j")?;
    let name = format!("tr-{}", one.tag);
    let asked = Arc::new(Mutex::new(BTreeMap::<u32, u32>::new()));
    let sink = asked.clone();
    let producer = TransactionProducer::builder(format!("PG-{name}"))
        .name_servers(&one.name_server)
        .check(move |message| {
            let n: u32 = message.property("serial").and_then(|n| n.parse().ok()).unwrap_or(u32::MAX);
            let mut asked = sink.lock().expect("no check panics");
            let times = asked.entry(n).or_insert(0);
            *times += 1;
            let outcome = plan(n).1.get(*times as usize - 1).copied().unwrap_or(Outcome::Unknown);
            async move { outcome }
        })
        .start()
        .await?;
    for n in 0..COUNT {
        let message = content::message(&topic, &name, n);
        producer.send_in_transaction(message, |_| async move { plan(n).0 }).await?;
    }
    wait(&topic, &consumer, || Ok(asked.lock().expect("no check panics").len())).await?;
    let asked = asked.lock().expect("no check panics").clone();
    judge(&topic, &name, consumer, &asked).await?;
    producer.shutdown().await;
    println!("ok {topic:<14} {COUNT} transactions from Rust, {} checked", asked.len());
    Ok(())
}

/// Waits for all that must come.
async fn wait(topic: &str, consumer: &Member, asked: impl Fn() -> Result<usize>) -> Result<()> {
    let open = (0..COUNT).filter(|n| plan(*n).0 == Outcome::Unknown).count();
    let wanted = (0..COUNT).filter(|n| is_delivered(*n)).count();
    let begun = Instant::now();
    while consumer.got()?.len() < wanted || asked()? < open {
        if begun.elapsed() > Duration::from_secs(60) {
            println!(
                "{topic}: {} of {wanted} delivered, {} of {open} checked",
                consumer.got()?.len(),
                asked()?
            );
            break; // the audit says which are missing
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await; // what must not come would come now
    Ok(())
}

/// Once each, contents intact, nothing that was rolled back, and as many checks as were needed.
async fn judge(topic: &str, producer: &str, consumer: Member, asked: &BTreeMap<u32, u32>) -> Result<()> {
    let mut got = consumer.close().await?;
    got.sort_by_key(|g| g.serial);
    for g in &got {
        ensure!(g.producer == producer, "{topic}: a message of {} came", g.producer);
        if let Some(wrong) = &g.wrong {
            bail!("{topic}: {} {wrong}", g.serial);
        }
    }
    let serials: Vec<u32> = got.iter().map(|g| g.serial).collect();
    let wanted: Vec<u32> = (0..COUNT).filter(|n| is_delivered(*n)).collect();
    ensure!(serials == wanted, "{topic}: delivered were {serials:?}");
    for n in 0..COUNT {
        let checks = plan(n).1.len();
        let times = asked.get(&n).copied().unwrap_or(0);
        ensure!(times as usize == checks, "{topic}: {n} was checked {times} times, not {checks}");
    }
    Ok(())
}
