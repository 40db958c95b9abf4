//! The same requests to a genuine broker and to ours, side by side; every field of every answer is compared.
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

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use process::Cluster;

use crate::differences::Listed;
use crate::genuine::Genuine;
use crate::side::{Seen, Side};

/// Compares our broker with a genuine one.
#[derive(Parser)]
struct Options {
    /// Versions of the genuine broker.
    #[arg(long, value_delimiter = ',', default_values = ["4.9.7", "5.3.3"])]
    versions: Vec<String>,
    /// Only stories whose names contain this.
    #[arg(long)]
    only: Option<String>,
    /// Print every field that was compared.
    #[arg(long)]
    show: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let began = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    let mut listed = Listed::read()?;
    for version in &options.versions {
        let genuine = Genuine::start(version)?;
        let cluster = Cluster::start(genuine::CONFIG)?;
        for story in stories::ALL {
            if options.only.as_ref().is_some_and(|part| !story.name.contains(part)) {
                continue;
            }
            let theirs = Side::play(genuine.broker_address(), story)?;
            let ours = Side::play(&cluster.broker_address(), story)?;
            let unlisted = compare(version, story.name, &theirs, &ours, &mut listed, options.show);
            let fields: usize = theirs.iter().map(|seen| seen.fields.len()).sum();
            if unlisted.is_empty() {
                passed += 1;
                println!("ok     {version} {}: {} answers, {fields} fields", story.name, theirs.len());
            } else {
                failed += 1;
                println!("FAILED {version} {}:\n{}", story.name, unlisted.join("\n"));
            }
        }
        if options.only.is_none() {
            match index::compare(genuine) {
                Ok(what) => {
                    passed += 1;
                    println!("ok     {version} index: {what}, the same");
                }
                Err(error) => {
                    failed += 1;
                    println!("FAILED {version} index: {error:#}");
                }
            }
        }
    }
    if options.only.is_none() {
        for line in listed.unused(&options.versions) {
            failed += 1;
            println!("FAILED no difference fits this line of differences.txt any more: {line}");
        }
    }
    println!("differential took {:.1} s", began.elapsed().as_secs_f64());
    println!("test result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    ensure!(failed == 0, "{failed} failed");
    Ok(())
}

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
        let names = theirs.fields.keys().chain(ours.fields.keys()).collect::<std::collections::BTreeSet<_>>();
        for name in names {
            let absent = || "absent".to_owned();
            let there = theirs.fields.get(name).cloned().unwrap_or_else(absent);
            let here = ours.fields.get(name).cloned().unwrap_or_else(absent);
            let place = format!("{story}/{}/{name}", theirs.label);
            if show {
                println!("  {place} = {there}");
            }
            if there != here && !listed.covers(version, &place) {
                unlisted.push(format!("  {place}: genuine {there}, ours {here}"));
            }
        }
    }
    unlisted
}
