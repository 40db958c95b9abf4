//! Messages are found: by mqadmin of each version, and by the Rust client.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use client::PullConsumer;
use golden::Java;
use process::Program;

/// A message as its sender knows it.
pub(crate) struct Sent {
    pub(crate) unique: String,
    pub(crate) offset_id: String,
    pub(crate) queue: String,
    pub(crate) offset: String,
}

/// Sends messages from Java and finds them by every command of mqadmin, and through the Rust client.
pub(crate) async fn all_kinds(version: &str, name_server: &str, topic: &str) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/Queries.java");
    let java = Java::prepare(version, &["rocketmq-client", "rocketmq-tools"], &source)?;
    let mut command = java.command("Queries");
    command.args([name_server, topic, &format!("G-{topic}"), &MESSAGES.to_string()]);
    let mut program = Program::start(&format!("java {version} queries"), &mut command)?;
    program.wait_for("closed", Duration::from_secs(120))?;
    let sent = sent(&program)?;
    ensure!(sent.len() == MESSAGES, "{topic}: {} of {MESSAGES} were sent", sent.len());
    by_mqadmin(topic, &program, &sent)?;
    by_rust(name_server, topic, &sent).await?;
    println!("ok {topic:<14} {MESSAGES} sent, found by mqadmin {version} and the Rust client");
    Ok(())
}

pub(crate) fn sent(program: &Program) -> Result<Vec<Sent>> {
    let lines = program.lines();
    let parse = |line: &String| {
        let fields: Vec<_> = line.split('\t').collect();
        let [_, _, unique, offset_id, _, queue, offset] = fields[..] else { return None };
        let [unique, offset_id, queue, offset] = [unique, offset_id, queue, offset].map(str::to_owned);
        Some(Sent { unique, offset_id, queue, offset })
    };
    let found = lines.iter().filter(|line| line.starts_with("sent\t"));
    found.map(|line| parse(line).with_context(|| line.clone())).collect()
}

fn by_mqadmin(topic: &str, program: &Program, sent: &[Sent]) -> Result<()> {
    let lines = program.lines();
    let printed = |name: &str| {
        let head = format!("printed\t{name}\t");
        lines.iter().find_map(|line| line.strip_prefix(&head)).unwrap_or_default()
    };
    let last = sent.last().context("messages were sent")?;
    let key = format!("key-{}", sent.len() - 1);
    for (name, expected) in [
        ("by id", last.offset_id.as_str()),
        ("by id", &key),
        ("by unique key", &last.unique),
        ("by unique key", &key),
        ("by offset", &last.offset_id),
        ("by nobody's key", "208"),
        ("consumed directly", "CR_SUCCESS"),
        ("doings", "#Consumer Properties#"),
        ("progress", topic),
        ("progress of nobody", "CODE: 17"),
    ] {
        let found = printed(name);
        ensure!(found.contains(expected), "{topic}, {name}: no {expected} in {found:?}");
    }
    let of_queue = |sent: &&Sent| sent.queue == last.queue;
    for (name, expected) in [
        ("by key", vec![last]),
        ("by shared key", sent.iter().collect()),
        ("all", sent.iter().collect()),
        ("all of a queue", sent.iter().filter(of_queue).collect()),
    ] {
        let expected: BTreeSet<_> = expected.into_iter().map(|sent| &sent.unique).collect();
        let text = printed(name);
        let found: BTreeSet<_> =
            sent.iter().map(|sent| &sent.unique).filter(|unique| text.contains(*unique)).collect();
        ensure!(found == expected, "{topic}, {name}: {} of {} in {text:?}", found.len(), expected.len());
    }
    Ok(())
}

pub(crate) async fn by_rust(name_server: &str, topic: &str, sent: &[Sent]) -> Result<()> {
    let reader = PullConsumer::builder("finders").name_servers(name_server).without_joining().start().await?;
    let all = reader.query_by_key(topic, "all", 0..=i64::MAX, 1000).await?;
    ensure!(all.incomplete.is_none(), "{topic}: {:?}", all.incomplete);
    let found: BTreeSet<_> = all.messages.iter().map(|message| message.message_id.as_str()).collect();
    let expected: BTreeSet<_> = sent.iter().map(|sent| sent.unique.as_str()).collect();
    ensure!(found == expected, "{topic}: the Rust client finds {} of {}", found.len(), expected.len());
    let last = sent.last().context("messages were sent")?;
    let by_unique = reader.query_by_unique_key(topic, &last.unique).await?;
    let by_unique = by_unique.with_context(|| format!("{} is not found", last.unique))?;
    let viewed = reader.view(&last.offset_id).await?;
    ensure!(by_unique == viewed && viewed.offset_id == *last.offset_id, "{by_unique:?} is not {viewed:?}");
    ensure!(reader.query_by_unique_key(topic, "nobody").await?.is_none(), "somebody has nobody's key");
    reader.shutdown().await;
    Ok(())
}

/// Fewer than a broker answers at once.
pub(crate) const MESSAGES: usize = 40;
