//! The real programs under kill -9, bad input and bad luck; each answer is printed.
#![allow(clippy::print_stdout, reason = "a program that talks to a terminal")]

mod bad_input;
mod kill;

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;

/// Kills the broker under load and audits what is left; feeds bad input to all programs.
#[derive(Parser)]
struct Options {
    /// Kills in each flush mode.
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Version of the Java client that makes the load.
    #[arg(long, default_value = "5.3.3")]
    client: String,
    /// Only the bad input.
    #[arg(long)]
    no_kill: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let began = Instant::now();
    let (mut passed, mut failed) = bad_input::all()?;
    if !options.no_kill {
        let (sync, async_flush) = tokio::join!(
            kill::under_load("SYNC_FLUSH", options.kills, &options.client),
            kill::under_load("ASYNC_FLUSH", options.kills, &options.client)
        );
        for result in [sync, async_flush] {
            match result {
                Ok(line) => {
                    passed += 1;
                    println!("ok     {line}");
                }
                Err(error) => {
                    failed += 1;
                    println!("FAILED {error:#}");
                }
            }
        }
    }
    println!("process took {:.1} s", began.elapsed().as_secs_f64());
    println!("test result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    ensure!(failed == 0, "{failed} checks failed");
    Ok(())
}
