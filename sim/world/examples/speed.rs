//! How fast the simulated network is: `cargo sim-test`'s flags, `--example speed`. Not a test: it measures the machine.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement for people"
)]

#[cfg(not(madsim))]
fn main() {}

#[cfg(madsim)]
fn main() {
    for (name, nodes, busy) in [("24 busy connections", 6, 4), ("384 busy connections", 6, 64)] {
        speed::measure(name, nodes, busy, false);
        speed::measure(&format!("{name}, each call with a time-out"), nodes, busy, true);
    }
    speed::idle();
}

#[cfg(madsim)]
mod speed {
    use std::{fs, time::Duration};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use world::{
        Setup,
        system::net::{TcpListener, TcpStream},
        time::{sleep, timeout},
    };

    fn cpu_seconds() -> f64 {
        let text = fs::read_to_string("/proc/self/stat").unwrap();
        let after = text.rsplit_once(')').unwrap().1;
        let ticks: Vec<f64> = after.split_whitespace().skip(11).take(2).map(|t| t.parse().unwrap()).collect();
        (ticks[0] + ticks[1]) / 100.0
    }

    pub(crate) fn measure(name: &str, nodes: u8, busy: usize, limited: bool) {
        let before = cpu_seconds();
        let outcome = world::run(Setup::seed(1), move |world| async move {
            world.net().all_links(|link| link.latency = Duration::from_millis(1)..Duration::from_millis(10));
            for number in 0..3_u8 {
                world.node(&format!("server{number}"), [10, 0, 0, number].into()).start(|| async {
                    let listener = TcpListener::bind("0.0.0.0:1000".parse().unwrap()).await.unwrap();
                    loop {
                        let (mut stream, _) = listener.accept().await.unwrap();
                        world::task::spawn("serve", async move {
                            let mut frame = [0; 256];
                            while stream.read_exact(&mut frame).await.is_ok() {
                                stream.write_all(&frame).await.unwrap();
                            }
                        });
                    }
                });
            }
            sleep(Duration::from_millis(5)).await;
            for number in 0..nodes {
                let node = world.node(&format!("client{number}"), [10, 0, 1, number].into());
                for connection in 0..busy {
                    let server = [10, 0, 0, ((usize::from(number) + connection) % 3) as u8];
                    node.spawn(async move {
                        let mut stream = TcpStream::connect((server, 1000).into()).await.unwrap();
                        let mut frame = [0; 256];
                        loop {
                            let call = async {
                                stream.write_all(&frame.clone()).await.unwrap();
                                stream.read_exact(&mut frame).await.unwrap();
                            };
                            if limited {
                                timeout(Duration::from_secs(3), call).await.unwrap();
                            } else {
                                call.await;
                            }
                        }
                    });
                }
            }
            sleep(Duration::from_secs(if busy > 10 { 10 } else { 100 })).await;
        });
        outcome.result.unwrap();
        let cpu = cpu_seconds() - before;
        let frames = outcome.counts.deliveries as f64;
        println!(
            "{name}: {frames} frames in {:?} simulated, {:.2} us CPU each, {:.0} frames per CPU second",
            outcome.elapsed,
            cpu / frames * 1e6,
            frames / cpu
        );
    }

    pub(crate) fn idle() {
        let before = cpu_seconds();
        let outcome = world::run(
            Setup { time_limit: Duration::from_secs(1 << 20), ..Setup::seed(1) },
            |world| async move {
                for number in 0..27_u8 {
                    world.node(&format!("n{number}"), [10, 0, 0, number].into()).start(|| async {
                        loop {
                            sleep(Duration::from_secs(30)).await;
                        }
                    });
                }
                sleep(Duration::from_secs(86_400)).await;
            },
        );
        let cpu = cpu_seconds() - before;
        println!(
            "27 loops of 30 s: {:.0} simulated seconds per CPU second",
            outcome.elapsed.as_secs_f64() / cpu
        );
    }
}
