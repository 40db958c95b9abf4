//! CPU per request of a server that only echoes: one connection, 64 requests in flight, a second process asking.
//!
//! `cargo bench -p net`. The numbers are of this machine at this moment: compare only runs made in turns.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for people, outside the system"
)]

use std::{
    env,
    io::{Read, Write},
    net::SocketAddr,
    process::Command as Process,
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use net::{Limits, Peer, Reply, Server, Service};
use protocol::{Command, Encoding, Splitter};
use runtime::{task::TaskSet, time::Instant};

fn main() {
    let words: Vec<String> = env::args().collect();
    if let Some(at) = words.iter().position(|word| word == "ask") {
        return ask(words[at + 1].parse().unwrap(), words[at + 2].parse().unwrap(), &words[at + 3]);
    }
    for encoding in ["binary", "json"] {
        for in_flight in [1, 64, 1_024] {
            let (requests, cpu, took) = runtime::run(Some(2), move || serve(in_flight, encoding));
            println!(
                "{encoding:6} {in_flight:5} in flight: {:6.3} us server CPU per request, {:9.0} requests/s",
                cpu * 1e6 / requests as f64,
                requests as f64 / took.as_secs_f64()
            );
        }
    }
}

struct Echo;

impl Service for Echo {
    async fn handle(&self, _: &Arc<Peer>, command: Command) -> Reply {
        Reply::ok().body(command.body)
    }
}

async fn serve(in_flight: usize, encoding: &'static str) -> (u64, f64, Duration) {
    let tasks = TaskSet::new();
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.local_addr();
    let _running = server.start(Arc::new(Echo), &tasks, Limits::server());
    let (before, begun) = (cpu_seconds(), Instant::now());
    let asking = move || {
        let asked = Process::new(env::current_exe().unwrap())
            .args(["ask", &address.to_string(), &in_flight.to_string(), encoding])
            .output()
            .unwrap();
        String::from_utf8(asked.stdout).unwrap().trim().parse().unwrap()
    };
    let requests: u64 = runtime::task::spawn_blocking(asking).await;
    (requests, cpu_seconds() - before, begun.elapsed())
}

/// Keeps `in_flight` requests on the way for two seconds and prints how many were answered.
fn ask(address: SocketAddr, in_flight: usize, encoding: &str) {
    let encoding = if encoding == "json" { Encoding::Json } else { Encoding::Binary };
    let mut one = BytesMut::new();
    let mut request = Command { code: 10, encoding, body: vec![7; 128].into(), ..Command::default() };
    for (key, value) in
        [("topic", "orders"), ("queueId", "3"), ("bornTimestamp", "1700000000000"), ("flag", "0")]
    {
        request.ext.push(key, value);
    }
    request.encode(&mut one).unwrap();
    let many = one.repeat(in_flight);
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&many).unwrap();
    let mut splitter = Splitter::new(1 << 20);
    let mut block = vec![0; 256 << 10];
    let (begun, mut answered) = (Instant::now(), 0_u64);
    while begun.elapsed() < Duration::from_secs(2) {
        let read = stream.read(&mut block).unwrap();
        splitter.push(&block[..read]);
        let mut frames = 0;
        while splitter.next_frame().unwrap().is_some() {
            frames += 1;
        }
        stream.write_all(&many[..frames * one.len()]).unwrap();
        answered += frames as u64;
    }
    println!("{answered}");
}

/// CPU time of all threads of this process, user and system.
fn cpu_seconds() -> f64 {
    let nanos = std::fs::read_dir("/proc/self/task").unwrap().map(|thread| {
        let statistics =
            std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap_or_default();
        statistics.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(0.0)
    });
    nanos.sum::<f64>() / 1e9
}
