//! The same requests to genuine brokers and to ours, side by side; every field of every answer is compared.
//!
//! Each difference must stand in `differences.txt` with its reason; one that does not fails the run, and so does a line
//! there that no difference fits any more.
#![allow(clippy::print_stdout, reason = "a program that talks to a terminal")]

mod differences;
mod fields;
mod genuine;
mod index;
mod side;
mod stories;

use std::collections::BTreeSet;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use golden::Java;
use process::Cluster;

use crate::differences::Listed;
use crate::genuine::Genuine;
use crate::index::Compared;
use crate::side::{Seen, Side};
use crate::stories::Story;

/// Compares our broker with genuine ones.
#[derive(Parser)]
struct Options {
    /// Versions of the genuine broker.
    #[arg(long, value_delimiter = ',', default_values = VERSIONS)]
    versions: Vec<String>,
    /// Only stories whose names contain this.
    #[arg(long)]
    only: Option<String>,
    /// Print every field that was compared.
    #[arg(long)]
    show: bool,
}

/// The newest of each line: 4.9.8 has no server artefacts.
const VERSIONS: [&str; 3] = ["4.9.7", "5.3.3", "5.5.0"];

/// What a broker answered, story by story.
type Played = Vec<Result<Vec<Seen>>>;

fn main() -> Result<()> {
    let options = Options::parse();
    let began = Instant::now();
    let mut listed = Listed::read()?;
    let wanted = |story: &&Story| options.only.as_ref().is_none_or(|part| story.name.contains(part));
    let stories: Vec<&Story> = stories::ALL.iter().filter(wanted).collect();
    ensure!(!stories.is_empty(), "no story has such a name");
    process::binary()?;
    let java = options.versions.iter().map(|version| Java::prepare_server(version));
    let java = java.collect::<Result<Vec<_>>>()?;

    // Mostly they wait: for each other's programs to start, for delays, for checks.
    let whole = options.only.is_none();
    let (ours, theirs) = thread::scope(|scope| {
        let ours = scope.spawn(|| {
            let cluster = Cluster::start(genuine::CONFIG)?;
            anyhow::Ok(play(&cluster.broker_address(), &cluster.name_server(), &stories))
        });
        let theirs: Vec<_> =
            java.iter().map(|java| scope.spawn(|| genuine_broker(java, &stories, whole))).collect();
        let theirs: Vec<_> = theirs.into_iter().map(|one| one.join().expect("no story panics")).collect();
        (ours.join().expect("no story panics"), theirs)
    });
    let ours = ours.context("our broker")?;

    let mut told = Told::default();
    for (version, theirs) in options.versions.iter().zip(theirs) {
        let (theirs, index) = theirs.with_context(|| format!("the genuine broker {version}"))?;
        for ((story, theirs), ours) in stories.iter().zip(theirs).zip(&ours) {
            let compared = theirs.and_then(|theirs| {
                let ours = ours.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
                let unlisted = compare(version, story.name, &theirs, ours, &mut listed, options.show);
                let first = &unlisted[..unlisted.len().min(SHOWN)];
                ensure!(unlisted.is_empty(), "{} differences\n{}", unlisted.len(), first.join("\n"));
                let fields: usize = theirs.iter().map(|seen| seen.fields.len()).sum();
                Ok(format!("{} answers, {fields} fields", theirs.len()))
            });
            told.add(&format!("{version} {}", story.name), compared);
        }
        if let Some(index) = index {
            let compared = index.and_then(|index| {
                let meant = index.same || listed.covers(version, "index/made anew/bytes");
                ensure!(meant, "the index that ours makes of the same log has other bytes");
                Ok(index.what)
            });
            told.add(&format!("{version} index"), compared);
        }
    }
    if whole && VERSIONS.iter().all(|version| options.versions.iter().any(|v| v == version)) {
        for line in listed.unused() {
            told.add(
                "differences.txt",
                Err(anyhow::anyhow!("no difference fits this line any more: {line}")),
            );
        }
    }
    println!("differential took {:.1} s", began.elapsed().as_secs_f64());
    let Told { passed, failed } = told;
    println!("test result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    ensure!(failed == 0, "{failed} failed");
    Ok(())
}

/// What was said so far.
#[derive(Default)]
struct Told {
    passed: usize,
    failed: usize,
}

impl Told {
    fn add(&mut self, what: &str, outcome: Result<String>) {
        match outcome {
            Ok(text) => {
                self.passed += 1;
                println!("ok     {what}: {text}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED {what}: {error:#}");
            }
        }
    }
}

/// Plays stories to a genuine broker; the whole of them make index files worth comparing.
fn genuine_broker(
    java: &Java,
    stories: &[&Story],
    whole: bool,
) -> Result<(Played, Option<Result<Compared>>)> {
    let genuine = Genuine::start(java)?;
    let played = play(genuine.broker_address(), genuine.name_server(), stories);
    Ok((played, whole.then(|| index::compare(genuine))))
}

fn play(address: &str, name_server: &str, stories: &[&Story]) -> Played {
    stories.iter().map(|story| Side::play(address, name_server, story)).collect()
}

/// Differences of a story that are printed.
const SHOWN: usize = 50;

/// The differences that are not listed, a line each.
fn compare(
    version: &str,
    story: &str,
    theirs: &[Seen],
    ours: &[Seen],
    listed: &mut Listed,
    show: bool,
) -> Vec<String> {
    let mut unlisted = Vec::new();
    if theirs.len() != ours.len() {
        unlisted.push(format!("  {} answers there, {} here", theirs.len(), ours.len()));
    }
    for (theirs, ours) in theirs.iter().zip(ours) {
        let names = theirs.fields.keys().chain(ours.fields.keys()).collect::<BTreeSet<_>>();
        for name in names {
            let absent = || "absent".to_owned();
            let there = theirs.fields.get(name).cloned().unwrap_or_else(absent);
            let here = ours.fields.get(name).cloned().unwrap_or_else(absent);
            let place = format!("{story}/{}/{name}", theirs.label);
            if show {
                println!("  {version} {place} = {there}");
            }
            if there != here && !listed.covers(version, &place) {
                unlisted.push(format!("  {place}: genuine {there}, ours {here}"));
            }
        }
    }
    unlisted
}
