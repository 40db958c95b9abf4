//! Unmodified Java clients of three versions and the Go client against the release binaries, beside the Rust client.
#![allow(clippy::print_stdout, reason = "a program that talks to a terminal")]

mod audit;
mod content;
mod go;
mod later;
mod member;
mod queries;
mod transactions;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use clap::Parser;
use member::{Member, Sent, produce_java, produce_rust};
use process::{Cluster, LONG};

/// Java, Go and Rust clients send to and consume from our programs.
#[derive(Parser)]
struct Options {
    /// Versions of the Java client.
    #[arg(long, value_delimiter = ',', default_values = golden::VERSIONS)]
    versions: Vec<String>,
    /// Without the Go client.
    #[arg(long)]
    skip_go: bool,
    /// Messages in each direction.
    #[arg(long, default_value_t = 10_000)]
    messages: u32,
    /// How long each queue must have one owner before a mixed group gets messages.
    #[arg(long, default_value_t = 40)]
    stable_seconds: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let cluster = Cluster::start(&[("transactionTimeOut", "1500"), ("transactionCheckInterval", "2000")])?;
    let began = Instant::now();
    let runtime = tokio::runtime::Runtime::new()?;
    // Each client has a thread of its own, as a run also blocks, on programs it waits for: on the runtime's threads
    // that would stop the Rust clients.
    let results: Vec<(String, Result<usize>)> = thread::scope(|scope| {
        let go = scope.spawn(|| match options.skip_go {
            true => Ok(0),
            false => {
                runtime.block_on(go::Go::prepare()?.run(cluster.name_server(), cluster.broker_address()))
            }
        });
        let java: Vec<_> = options
            .versions
            .iter()
            .map(|version| {
                let (options, cluster, runtime) = (&options, &cluster, &runtime);
                let run = scope.spawn(move || {
                    let one = One {
                        java: member::driver(version)?,
                        tag: version.replace('.', "_"),
                        name_server: cluster.name_server(),
                        broker: cluster.broker_address(),
                        messages: options.messages,
                        stable: Duration::from_secs(options.stable_seconds),
                    };
                    runtime.block_on(one.run())
                });
                (format!("Java {version}"), run)
            })
            .collect();
        let all = java.into_iter().chain([("Go".to_owned(), go)]);
        all.map(|(name, run)| (name, run.join().unwrap_or_else(|_| bail!("the run panicked")))).collect()
    });
    let (mut passed, mut failed) = (0, 0);
    for (client, result) in results {
        match result {
            Ok(count) => passed += count,
            Err(error) => {
                failed += 1;
                println!("FAILED {client}: {error:#}");
            }
        }
    }
    println!("interop took {:.1} s", began.elapsed().as_secs_f64());
    println!("test result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    ensure!(failed == 0, "{failed} of the clients failed");
    Ok(())
}

/// All runs with one version of the Java client.
struct One {
    java: golden::Java,
    tag: String,
    name_server: String,
    broker: String,
    messages: u32,
    stable: Duration,
}

impl One {
    async fn run(&self) -> Result<usize> {
        // The mixed group's members come first: their queues settle while the plain directions run.
        let mixed = self.topic("mixed", 8)?;
        let members = vec![
            Member::java(&self.java, &self.name_server, &mixed, &format!("G-{mixed}"), "java-1")?,
            Member::rust(&self.name_server, &mixed, &format!("G-{mixed}"), "rust-1").await?,
            Member::java(&self.java, &self.name_server, &mixed, &format!("G-{mixed}"), "java-2")?,
        ];
        let settling = Instant::now();
        let later = {
            let (command, server) = (self.java.command("Driver"), self.name_server.clone());
            let (topic, group) = (format!("later-{}", self.tag), format!("G-later-{}", self.tag));
            tokio::task::spawn_blocking(move || later::run(command, &server, &topic, &group))
        };
        self.java_to_rust().await?;
        self.rust_to_java().await?;
        self.java_to_java().await?;
        self.mixed_group(&mixed, members, settling).await?;
        self.member_joins_midway().await?;
        let topic = self.topic("found", 4)?;
        queries::all_kinds(self.java.version(), &self.name_server, &topic).await?;
        transactions::run(self).await?;
        later.await??;
        Ok(9)
    }

    /// A topic of this version with so many queues, made by an admin request.
    fn topic(&self, name: &str, queues: i32) -> Result<String> {
        let topic = format!("{name}-{}", self.tag);
        process::create_topic(&self.broker, &topic, queues)?;
        Ok(topic)
    }

    async fn java_to_rust(&self) -> Result<()> {
        let topic = format!("j2r-{}", self.tag); // made by the first send
        let third = self.messages / 3;
        let mut sent = self.java_sends(&topic, "ja", 0..third, "one").await?;
        audit::in_order(&topic, &sent)?;
        let consumer = Member::rust(&self.name_server, &topic, &format!("G-{topic}"), "r").await?;
        sent.extend(self.java_sends(&topic, "jb", third..2 * third, "async").await?);
        sent.extend(self.java_sends(&topic, "jc", 2 * third..self.messages, "batch").await?);
        self.drained(&topic, &sent, &[consumer]).await
    }

    async fn rust_to_java(&self) -> Result<()> {
        let topic = self.topic("r2j", 4)?;
        let consumer = Member::java(&self.java, &self.name_server, &topic, &format!("G-{topic}"), "j")?;
        let sent = produce_rust(&self.name_server, &topic, "ra", 0..self.messages).await?;
        self.drained(&topic, &sent, &[consumer]).await
    }

    async fn java_to_java(&self) -> Result<()> {
        let topic = self.topic("j2j", 4)?;
        let consumer = Member::java(&self.java, &self.name_server, &topic, &format!("G-{topic}"), "j")?;
        let sent = self.java_sends(&topic, "jj", 0..self.messages, "threads").await?;
        self.drained(&topic, &sent, &[consumer]).await
    }

    async fn mixed_group(&self, topic: &str, members: Vec<Member>, mut settled: Instant) -> Result<()> {
        let deadline = Instant::now() + self.stable + LONG;
        let mut last = Vec::new();
        loop {
            let now: Vec<_> = members.iter().map(Member::owns).collect();
            let queues: usize = now.iter().map(|q| q.len()).sum();
            let once = now.iter().flatten().collect::<std::collections::BTreeSet<_>>().len();
            if now != last || queues != 8 || once != 8 {
                settled = if last.is_empty() { settled } else { Instant::now() };
                last = now;
            } else if settled.elapsed() >= self.stable {
                break;
            }
            if Instant::now() > deadline {
                bail!("{topic}: the queues did not settle, they are owned so: {last:?}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        for (member, queues) in members.iter().zip(&last) {
            ensure!(queues.len() >= 2, "{topic}: {} owns {queues:?} of 8 queues", member.name);
        }
        let half = self.messages / 2;
        let (java, rust) = tokio::join!(
            self.java_sends(topic, "mj", 0..half, "threads"),
            produce_rust(&self.name_server, topic, "mr", half..self.messages)
        );
        let sent = [java?, rust?].concat();
        self.drained(topic, &sent, &members).await?;
        for member in &members {
            ensure!(
                !member.got()?.is_empty(),
                "{topic}: {} ({}) got nothing",
                member.name,
                member.language()
            );
        }
        Ok(())
    }

    async fn member_joins_midway(&self) -> Result<()> {
        let topic = self.topic("midway", 8)?;
        let group = format!("G-{topic}");
        let mut members = vec![Member::java(&self.java, &self.name_server, &topic, &group, "first")?];
        let third = self.messages / 3;
        let mut sent = produce_rust(&self.name_server, &topic, "a", 0..third).await?;
        members.push(Member::rust(&self.name_server, &topic, &group, "joins").await?);
        // Sends go on until the newcomer owns queues, so that the hand-over meets traffic.
        let begun = Instant::now();
        let mut next = third;
        while members[1].owns().is_empty() || next < 2 * third {
            sent.extend(produce_rust(&self.name_server, &topic, "b", next..next + 100).await?);
            next += 100;
            ensure!(begun.elapsed() < LONG, "{topic}: the newcomer owns nothing after {LONG:?}");
        }
        sent.extend(produce_rust(&self.name_server, &topic, "c", next..next + third).await?);
        self.wait_for(&topic, &sent, &members).await?;
        let mut got = Vec::new();
        for member in members {
            let name = member.name.clone();
            got.push((name, member.close().await?));
        }
        let flat: Vec<_> = got.iter().flat_map(|(_, g)| g.clone()).collect();
        audit::at_least_once(&topic, &sent, &flat)?;
        let repeats = audit::repeats_have_a_cause(&topic, &got)?;
        println!(
            "ok {:<14} {} sent, {} got by the newcomer, {repeats} repeats, each at a change of owner",
            topic,
            sent.len(),
            got[1].1.len()
        );
        ensure!(!got[1].1.is_empty(), "{topic}: the newcomer got nothing");
        Ok(())
    }

    async fn java_sends(
        &self,
        topic: &str,
        name: &str,
        serials: std::ops::Range<u32>,
        mode: &'static str,
    ) -> Result<Vec<Sent>> {
        let (java, server, topic, name) =
            (self.java.clone(), self.name_server.clone(), topic.to_owned(), name.to_owned());
        tokio::task::spawn_blocking(move || produce_java(&java, &server, &topic, &name, serials, mode))
            .await?
    }

    /// Waits until everything was delivered, and a while for repeats; then everything must be there once.
    async fn drained(&self, what: &str, sent: &[Sent], members: &[Member]) -> Result<()> {
        self.wait_for(what, sent, members).await?;
        let mut got = Vec::new();
        for member in members {
            got.extend(member.got()?);
        }
        audit::exactly_once(what, sent, &got)?;
        let queues: std::collections::BTreeSet<_> = sent.iter().map(|s| &s.queue).collect();
        println!("ok {what:<14} {} sent, {} got, {} queues", sent.len(), got.len(), queues.len());
        Ok(())
    }

    async fn wait_for(&self, what: &str, sent: &[Sent], members: &[Member]) -> Result<()> {
        let begun = Instant::now();
        loop {
            let mut got = 0;
            for member in members {
                got += member.got()?.len();
            }
            if got >= sent.len() {
                break;
            }
            if begun.elapsed() > LONG {
                println!("{what}: {got} of {} were delivered within {LONG:?}", sent.len());
                break; // the audit says which are missing
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await; // repeats would come now
        Ok(())
    }
}
