//! The same seed is the same run: hash, time, counts and effects, whatever else the process does.
#![cfg(madsim)]
#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(clippy::disallowed_methods, reason = "runs on several threads are what is tested")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, mpsc},
};
use world::{
    Crash, Logs, Setup, World,
    random::Dice,
    system::{
        disk::Disk,
        net::{TcpListener, TcpStream},
    },
    time::{sleep, timeout},
};

/// Much that could go astray: contended wake-ups, time-outs, crashes, partitions, losses, cut reads.
async fn story(world: World) -> u64 {
    let server = world.node("server", "10.0.0.1".parse().unwrap());
    server.start(|| async {
        let notify = Arc::new(Notify::new());
        let (send, mut receive) = mpsc::channel::<u64>(4);
        for number in 0..4 {
            let (notify, send) = (notify.clone(), send.clone());
            world::task::spawn("waiter", async move {
                loop {
                    notify.notified().await;
                    if send.send(number).await.is_err() {
                        return;
                    }
                }
            });
        }
        world::task::spawn("adder", async move {
            let mut sum = 0_u64;
            while let Some(number) = receive.recv().await {
                sum = sum.wrapping_mul(31).wrapping_add(number);
                tracing::info!(sum, "added");
            }
        });
        let disk = Disk::open("/data").unwrap();
        let file = match disk.open_file("log").await {
            Ok(file) => file,
            Err(_) => disk.create("log", 1 << 16).await.unwrap(),
        };
        let mut found = BytesMut::new();
        file.read_into(&mut found, 0, 1 << 16).unwrap();
        tracing::info!(zeros = found.iter().filter(|&&byte| byte == 0).count(), "recovered");
        let flusher = file.clone();
        world::task::spawn("flush", async move {
            loop {
                sleep(Duration::from_millis(20)).await;
                flusher.sync().await.unwrap();
            }
        });
        let mut at = 0;
        let listener = TcpListener::bind("0.0.0.0:1000".parse().unwrap()).await.unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (notify, file) = (notify.clone(), file.clone());
            at = (at + 1000) % (1 << 16);
            let mut at = at;
            world::task::spawn("connection", async move {
                let mut buffer = [0; 64];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    at = (at + 64) % ((1 << 16) - 64);
                    file.write_at(at, &buffer[..count]).unwrap();
                    notify.notify_waiters();
                    if stream.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let mut clients = Vec::new();
    for number in 0..3_u8 {
        let client = world.node(&format!("client{number}"), [10, 0, 1, number].into());
        clients.push(client);
        client.start(move || async move {
            loop {
                let call = async {
                    let mut stream = TcpStream::connect("10.0.0.1:1000".parse().unwrap()).await?;
                    loop {
                        stream.write_all(&[number; 40]).await?;
                        stream.read_exact(&mut [0; 40]).await?;
                    }
                };
                let result: Result<std::io::Result<()>, _> = timeout(Duration::from_secs(3), call).await;
                tracing::debug!(?result, "call ended");
                sleep(Duration::from_millis(100)).await;
            }
        });
    }
    world.net().all_links(|link| {
        link.loss = 0.001;
        link.short_reads = true;
    });
    let mut keys = world.key("plan");
    for round in 0..12 {
        sleep(Duration::from_millis(300 + u64::from(keys[round]) * 4)).await;
        let client = clients[usize::from(keys[round + 12]) % 3];
        keys[0] = keys[0].wrapping_add(1);
        match keys[round] % 6 {
            0 => drop(server.crash(Crash::Power)),
            1 => drop(client.crash(Crash::Process)),
            2 => world.net().block(client, server),
            3 => drop(world.net().reset(client, server)),
            4 => server.slow(3),
            _ => world.net().heal(),
        }
        sleep(Duration::from_millis(200)).await;
        server.restart();
        client.restart();
    }
    world.counts().deliveries
}

#[derive(Debug, PartialEq)]
struct Seen {
    trace: [u8; 16],
    elapsed: Duration,
    result: u64,
    effects: BTreeMap<&'static str, u64>,
}

fn play(setup: Setup) -> Seen {
    let outcome = world::run(setup, story);
    Seen {
        trace: outcome.trace,
        elapsed: outcome.elapsed,
        result: outcome.result.unwrap(),
        effects: outcome.effects,
    }
}

#[test]
fn a_seed_repeats_after_others_on_two_threads_with_and_without_logs() {
    let alone: Vec<Seen> = (0..8).map(|seed| play(Setup::seed(seed))).collect();
    for pair in alone.windows(2) {
        assert_ne!(pair[0].trace, pair[1].trace, "two seeds are two runs");
    }
    let threads: Vec<_> = [(0..8).collect::<Vec<u64>>(), (0..8).rev().collect()]
        .into_iter()
        .map(|seeds| {
            std::thread::spawn(move || {
                seeds.into_iter().map(|seed| (seed, play(Setup::seed(seed)))).collect()
            })
        })
        .collect();
    for thread in threads {
        let seen: Vec<(u64, Seen)> = thread.join().unwrap();
        for (seed, seen) in seen {
            assert_eq!(seen, alone[seed as usize], "seed {seed} beside another thread");
        }
    }
    for (seed, seen) in alone.iter().enumerate() {
        let logs = Logs::Keep(tracing::Level::DEBUG);
        let setup = Setup { lines: true, detail: true, logs, ..Setup::seed(seed as u64) };
        assert_eq!(&play(setup), seen, "seed {seed} with logs, lines and details");
    }
    assert!(alone.iter().any(|seen| seen.effects.contains_key("node.power")));
    assert!(alone.iter().all(|seen| seen.result > 100), "there was load");
}

#[test]
fn lines_and_logs_tell_time_and_node() {
    let setup = Setup { lines: true, logs: Logs::Keep(tracing::Level::INFO), ..Setup::seed(1) };
    let outcome = world::run(setup, story);
    assert!(outcome.lines.iter().any(|line| line.contains("client0") && line.contains("connect")));
    assert!(outcome.lines[0].trim_start().starts_with("0.000000"), "{}", outcome.lines[0]);
    assert!(
        outcome.logs.iter().any(|line| line.contains("server") && line.contains("added sum=")),
        "{:?}",
        outcome.logs.first()
    );
    assert!(!outcome.logs.iter().any(|line| line.contains("call ended")), "debug lines were not asked for");
}

#[test]
fn details_tell_what_was_sent_and_what_a_loss_of_power_took() {
    let told: Vec<_> = (0..8)
        .filter_map(|seed| world::run(Setup { detail: true, ..Setup::seed(seed) }, story).detail)
        .collect();
    let falls: Vec<_> = told.iter().flat_map(|detail| &detail.falls).filter(|fall| fall.power).collect();
    assert!(falls.iter().any(|fall| fall.files.iter().any(|file| file.after.as_ref() != Some(&file.before))));
    for detail in &told {
        assert!(!detail.cut_off && detail.nodes.iter().any(|(name, _)| name == "server"));
        let bytes = |kind| {
            let notes = detail.notes.iter().filter(|note| note.kind == kind);
            notes.map(|note| note.bytes.len()).sum::<usize>()
        };
        assert!(bytes("arrive") > 0 && bytes("arrive") <= bytes("sent"));
    }
    assert_eq!(world::run(Setup::seed(1), story).detail.map(|detail| detail.notes), None);
}

#[test]
fn dice_are_fair() {
    let fair = world::run(Setup::seed(1), |world| async move {
        let node = world.node("n", "10.0.0.1".parse().unwrap());
        let mut dice: Dice = world::random::for_node(node, "x");
        let mut seen = [0; 6];
        for _ in 0..6000 {
            seen[dice.below(6) as usize] += 1;
        }
        seen.iter().all(|&count| (850..1150).contains(&count))
    });
    assert!(fair.result.unwrap());
}

#[test]
fn runs_leave_no_memory_behind() {
    let resident = || -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    for seed in 0..10 {
        play(Setup::seed(seed));
    }
    let before = resident();
    for seed in 10..70 {
        play(Setup::seed(seed));
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 8 << 20, "60 runs left {grown} bytes");
}
