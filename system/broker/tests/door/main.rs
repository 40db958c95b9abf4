//! A broker behind its door, over real and simulated TCP: `cargo test -p broker` and `cargo sim-test -p broker`.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod bad_input;
mod delay;
#[cfg(madsim)]
mod delay_crash;
mod requests;
mod transactions;
#[cfg(madsim)]
mod transactions_crash;

use std::{future::Future, sync::Arc};

use net::{Peer, Reply, Service};
use protocol::Command;

/// A client that brokers ask in vain.
struct Deaf;

impl Service for Deaf {
    async fn handle(&self, _: &Arc<Peer>, command: Command) -> Reply {
        Reply::unsupported(command.code)
    }
}

/// Runs the test with the name of a directory of its own.
fn run<F: Future<Output = ()> + Send + 'static>(main: impl FnOnce(String) -> F + Send + 'static) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("store").to_str().unwrap().to_owned();
    runtime::run(Some(2), move || main(path));
}
