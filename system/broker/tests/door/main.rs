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

use broker::Config;
use net::{Peer, Reply, Service};
use protocol::{Command, rpc::PullMessage};

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

/// Small files, on a port of its own.
fn config() -> Config {
    Config {
        broker_name: "a".into(),
        broker_ip1: "127.0.0.1".into(),
        bind_address: "127.0.0.1".into(),
        listen_port: 0,
        mapped_file_size_commit_log: 1 << 20,
        mapped_file_size_consume_queue: 20_000,
        ..Config::default()
    }
}

fn pull(topic: &str, queue_id: i32, from: i64) -> PullMessage {
    PullMessage {
        consumer_group: "g".into(),
        topic: topic.into(),
        queue_id,
        queue_offset: from,
        max_msg_nums: 32,
        sys_flag: 4,
        subscription: Some("*".into()),
        ..PullMessage::default()
    }
}
