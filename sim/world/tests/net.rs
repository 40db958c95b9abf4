//! The simulated network: what TCP does when things go wrong.
#![cfg(madsim)]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{
    cell::RefCell,
    io::{self, ErrorKind},
    rc::Rc,
    time::Duration,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{
    Crash, Node, Setup, Verdict, World,
    system::net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

const SERVER: &str = "10.0.0.1:1000";

fn sim<F: Future<Output = ()>>(main: impl FnOnce(World) -> F + Send + 'static) -> world::Outcome<()> {
    let outcome = world::run(Setup::seed(3), main);
    if let Err(failure) = &outcome.result {
        panic!("{failure}");
    }
    outcome
}

/// A server that sends back what it gets and says "bye" at the end, and a client's node.
fn echo(world: World) -> (Node, Node) {
    let server = world.node("server", "10.0.0.1".parse().unwrap());
    let client = world.node("client", "10.0.0.2".parse().unwrap());
    server.start(|| async {
        let listener = TcpListener::bind(SERVER.parse().unwrap()).await.unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            world::task::spawn("echo", async move {
                let mut buffer = [0; 100];
                loop {
                    match stream.read(&mut buffer).await {
                        Ok(0) => return drop(stream.write_all(b"bye").await),
                        Ok(count) => stream.write_all(&buffer[..count]).await.unwrap_or_default(),
                        Err(_) => return,
                    }
                }
            });
        }
    });
    (server, client)
}

async fn connect() -> io::Result<TcpStream> {
    TcpStream::connect(SERVER.parse().unwrap()).await
}

async fn connected() -> TcpStream {
    sleep(Duration::from_millis(10)).await;
    connect().await.unwrap()
}

/// Sends and waits for the echo.
async fn ask(stream: &mut TcpStream, text: &[u8]) -> io::Result<()> {
    stream.write_all(text).await?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await?;
    assert_eq!(answer, text);
    Ok(())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_connect_whose_answers_are_lost_hangs_until_the_way_is_free() {
    sim(|world| async move {
        let (server, client) = echo(world);
        sleep(seconds(1)).await;
        world.net().block(server, client);
        let task = client.spawn(async {
            let start = Instant::now();
            connect().await.unwrap();
            start.elapsed()
        });
        sleep(seconds(20)).await;
        world.net().unblock(server, client);
        let took = task.await.unwrap();
        assert!(took > seconds(30) && took < seconds(32), "the retry after 31 s gets through, not {took:?}");
        assert!(world.effects()["net.block"] >= 5);
    });
}

#[test]
fn a_connect_that_nobody_answers_times_out() {
    sim(|world| async move {
        let (server, client) = echo(world);
        sleep(seconds(1)).await;
        world.net().link(client, server, |link| link.hang_connects = true);
        let timed_out = || async {
            let start = Instant::now();
            let error = connect().await.unwrap_err();
            assert_eq!((error.kind(), start.elapsed().as_secs()), (ErrorKind::TimedOut, 127));
        };
        client.spawn(timed_out()).await.unwrap();
        assert_eq!(world.effects()["net.hang"], 6 + 1);
        world.net().heal();
        server.crash(Crash::Process);
        client
            .spawn(async {
                assert_eq!(connect().await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
            })
            .await
            .unwrap();
        server.crash(Crash::Power);
        client.spawn(timed_out()).await.unwrap();
    });
}

#[test]
fn a_power_loss_is_silent_until_the_machine_is_back() {
    sim(|world| async move {
        let (server, client) = echo(world);
        let task = client.spawn(async move {
            let mut stream = connected().await;
            ask(&mut stream, b"a").await.unwrap();
            server.crash(Crash::Power);
            stream.write_all(b"b").await.unwrap();
            let mut byte = [0];
            assert!(timeout(seconds(600), stream.read(&mut byte)).await.is_err(), "the peer hears nothing");
            server.restart();
            let error = timeout(seconds(130), stream.read(&mut byte)).await.unwrap().unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::ConnectionReset,
                "its retransmission meets a machine that knows nothing"
            );

            let mut idle = connected().await;
            ask(&mut idle, b"a").await.unwrap();
            server.crash(Crash::Power);
            server.restart();
            assert!(
                timeout(seconds(300), idle.read(&mut byte)).await.is_err(),
                "who only listens is not told"
            );
            idle.write_all(b"c").await.unwrap();
            assert_eq!(idle.read(&mut byte).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        });
        task.await.unwrap();
    });
}

#[test]
fn the_dead_send_nothing_again() {
    let heard = |crash: Option<Crash>| {
        let outcome = sim(move |world| async move {
            let (server, client) = echo(world);
            let task = client.spawn(async move {
                let mut stream = connected().await;
                ask(&mut stream, b"a").await.unwrap();
                // From now on every packet of the server is lost at first.
                world.net().link(server, client, |link| link.loss = 1.0);
                stream.write_all(b"b").await.unwrap();
                sleep(seconds(1)).await;
                if let Some(crash) = crash {
                    server.crash(crash);
                }
                let mut byte = [0];
                let heard = timeout(seconds(60), stream.read_exact(&mut byte)).await;
                assert_eq!(heard.is_ok(), crash != Some(Crash::Power), "{heard:?}");
            });
            task.await.unwrap();
        });
        assert!(outcome.effects["net.loss"] > 0);
    };
    heard(None);
    heard(Some(Crash::Process)); // its system goes on
    heard(Some(Crash::Power));
}

#[test]
fn a_reset_over_unread_bytes_takes_along_what_was_not_received() {
    let read = |blocked: bool| {
        sim(move |world| async move {
            let (server, client) = (
                world.node("server", "10.0.0.1".parse().unwrap()),
                world.node("client", "10.0.0.2".parse().unwrap()),
            );
            server.start(move || async move {
                let listener = TcpListener::bind(SERVER.parse().unwrap()).await.unwrap();
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read_exact(&mut [0]).await.unwrap();
                if blocked {
                    world.net().block(server, client);
                } else {
                    world.net().link(server, client, |link| link.loss = 1.0);
                }
                stream.write_all(b"lost").await.unwrap();
                sleep(seconds(1)).await;
                if !blocked {
                    world.net().link(server, client, |link| link.loss = 0.0);
                }
                drop(stream); // over unread bytes
                std::future::pending().await
            });
            let task = client.spawn(async move {
                let mut stream = connected().await;
                stream.write_all(b"ab").await.unwrap();
                let read = timeout(seconds(10), stream.read(&mut [0; 9])).await;
                if !blocked {
                    return assert_eq!(read.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
                }
                assert!(read.is_err(), "neither the bytes nor the reset get through");
                world.net().unblock(server, client);
                assert!(
                    timeout(seconds(300), stream.read(&mut [0; 9])).await.is_err(),
                    "nor are they sent again"
                );
                stream.write_all(b"c").await.unwrap();
                assert_eq!(stream.read(&mut [0; 9]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            });
            task.await.unwrap();
        });
    };
    read(false);
    read(true);
}

#[test]
fn a_dead_process_closes_its_connections() {
    sim(|world| async move {
        let (server, client) = echo(world);
        let task = client.spawn(async move {
            let mut stream = connected().await;
            ask(&mut stream, b"a").await.unwrap();
            server.crash(Crash::Process);
            let start = Instant::now();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            assert!(start.elapsed() < Duration::from_millis(5));
            stream.write_all(b"b").await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the end was seen before the reset");
            sleep(seconds(1)).await;
            assert_eq!(stream.write_all(b"c").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        });
        task.await.unwrap();
    });
}

#[test]
fn a_sender_gives_up_after_a_quarter_of_an_hour() {
    sim(|world| async move {
        let (server, client) = echo(world);
        let task = client.spawn(async move {
            let mut stream = connected().await;
            ask(&mut stream, b"a").await.unwrap();
            world.net().block(client, server);
            let start = Instant::now();
            stream.write_all(b"b").await.unwrap();
            let error = stream.read(&mut [0]).await.unwrap_err();
            assert_eq!((error.kind(), start.elapsed().as_secs()), (ErrorKind::TimedOut, 924));
        });
        task.await.unwrap();
    });
}

#[test]
fn a_block_holds_one_direction_and_loses_nothing() {
    sim(|world| async move {
        let (server, client) = echo(world);
        let task = client.spawn(async move {
            let mut stream = connected().await;
            ask(&mut stream, b"before").await.unwrap();
            world.net().block(server, client);
            for part in [b"one", b"two", b"six"] {
                stream.write_all(part).await.unwrap();
                sleep(seconds(1)).await;
            }
            let mut answer = [0; 9];
            assert!(timeout(seconds(7), stream.read(&mut answer)).await.is_err());
            world.net().unblock(server, client);
            let healed = Instant::now();
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"onetwosix");
            assert!(
                healed.elapsed() > Duration::from_millis(100),
                "only the next retransmission gets through"
            );
            assert!(healed.elapsed() < seconds(10), "{:?}", healed.elapsed());
        });
        task.await.unwrap();
        assert!(world.effects()["net.block"] >= 1);
    });
}

#[test]
fn lost_packets_come_late_and_in_order() {
    let outcome = sim(|world| async move {
        let (server, client) = echo(world);
        let task = client.spawn(async move {
            let mut stream = connected().await;
            world.net().all_links(|link| link.loss = 0.2);
            let start = Instant::now();
            let mut slow = 0;
            for round in 0..200_u32 {
                let sent = Instant::now();
                ask(&mut stream, &round.to_be_bytes()).await.unwrap();
                slow += u32::from(sent.elapsed() >= Duration::from_millis(200));
            }
            assert!((30..120).contains(&slow), "{slow} of 200 rounds met a loss");
            assert!(start.elapsed() < seconds(120));
        });
        task.await.unwrap();
        let _ = server;
    });
    assert!(outcome.effects["net.loss"] > 50);
    assert!(outcome.counts.deliveries >= 400);
}

#[test]
fn each_link_has_its_own_latency() {
    sim(|world| async move {
        let (server, client) = echo(world);
        let task = client.spawn(async move {
            let mut stream = connected().await;
            world.net().link(client, server, |link| {
                link.latency = Duration::from_millis(50)..Duration::from_millis(60)
            });
            for _ in 0..50 {
                let start = Instant::now();
                ask(&mut stream, b"x").await.unwrap();
                let took = start.elapsed();
                assert!((Duration::from_millis(50)..Duration::from_millis(62)).contains(&took), "{took:?}");
            }
        });
        task.await.unwrap();
    });
}

#[test]
fn a_full_window_stops_the_writer_and_short_reads_cut_anywhere() {
    let outcome = sim(|world| async move {
        let (server, client) = echo(world);
        let task = client.spawn(async move {
            world.net().all_links(|link| {
                link.window = 1000;
                link.short_reads = true;
            });
            let mut stream = connected().await;
            server.pause();
            let block = [7; 3000];
            assert!(timeout(seconds(60), stream.write_all(&block)).await.is_err(), "nobody reads");
            server.resume();
            let mut got = [0; 1000];
            stream.read_exact(&mut got).await.unwrap();
            assert_eq!(got, [7; 1000]);
        });
        task.await.unwrap();
    });
    assert!(outcome.effects["net.short_read"] > 10);
    assert_eq!(outcome.effects["node.pause"], 1);
}

#[test]
fn acknowledgements_need_the_way_back() {
    sim(|world| async move {
        let (server, client) = echo(world);
        let task = client.spawn(async move {
            let mut stream = connected().await;
            ask(&mut stream, b"x").await.unwrap();
            world.net().block(server, client);
            let block = vec![7; 200 << 10];
            assert!(
                timeout(seconds(60), stream.write_all(&block)).await.is_err(),
                "no room is reported back"
            );
            world.net().unblock(server, client);
            let (mut read, mut write) = tokio::io::split(stream);
            let reader = timeout(seconds(300), async { read.read_exact(&mut vec![0; 200 << 10]).await });
            let writer = write.write_all(&block);
            let (read, written) = futures::join!(reader, writer);
            read.unwrap().unwrap();
            written.unwrap();
        });
        task.await.unwrap();
    });
}

#[test]
fn a_reset_breaks_both_ends() {
    sim(|world| async move {
        let (server, client) = echo(world);
        let task = client.spawn(async move {
            let mut stream = connected().await;
            ask(&mut stream, b"x").await.unwrap();
            assert_eq!(world.net().reset(client, server), 1);
            assert_eq!(world.net().reset(client, server), 0);
            assert_eq!(stream.write_all(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        });
        task.await.unwrap();
        assert_eq!(world.effects()["net.reset"], 1);
    });
}

#[test]
fn a_connection_can_close_right_behind_a_delivery() {
    sim(|world| async move {
        let server = world.node("server", "10.0.0.1".parse().unwrap());
        let client = world.node("client", "10.0.0.2".parse().unwrap());
        let task = server.spawn(async {
            let listener = TcpListener::bind(SERVER.parse().unwrap()).await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            stream.write_all(b"answer").await.unwrap();
            sleep(seconds(1)).await;
            (all, stream.write_all(b"answer").await.unwrap_err().kind())
        });
        world.net().close_after_next_delivery(client, server);
        client.spawn(async {
            let mut stream = connected().await;
            stream.write_all(b"request").await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        });
        assert_eq!(task.await.unwrap(), (b"request".to_vec(), ErrorKind::ConnectionReset));
        assert_eq!(world.effects()["net.close"], 1);
    });
}

#[test]
fn an_inspector_may_edit_drop_delay_double_and_reset() {
    sim(|world| async move {
        let (server, client) = echo(world);
        let seen = Rc::new(RefCell::new(Vec::new()));
        let log = seen.clone();
        world.net().inspect(client, server, move |passage, bytes| {
            assert!(passage.by_dialler && passage.from == client && passage.to == server);
            world.record("inspected", &[u64::from(passage.connection)], bytes);
            log.borrow_mut().push(bytes.to_vec());
            match &bytes[..] {
                b"edit" => {
                    bytes.clear();
                    bytes.extend_from_slice(b"done");
                    Verdict::Pass
                }
                b"drop" => Verdict::Drop,
                b"late" => Verdict::Delay(seconds(5)),
                b"both" => Verdict::Duplicate,
                b"kill" => Verdict::Reset,
                b"last" => Verdict::Close,
                _ => Verdict::Pass,
            }
        });
        let task = client.spawn(async move {
            let mut stream = connected().await;
            let mut four = [0; 4];
            stream.write_all(b"drop").await.unwrap();
            stream.write_all(b"edit").await.unwrap();
            stream.read_exact(&mut four).await.unwrap();
            assert_eq!(&four, b"done");
            let start = Instant::now();
            ask(&mut stream, b"late").await.unwrap();
            assert_eq!(start.elapsed().as_secs(), 5);
            stream.write_all(b"both").await.unwrap();
            let mut eight = [0; 8];
            stream.read_exact(&mut eight).await.unwrap();
            assert_eq!(&eight, b"bothboth");
            stream.write_all(b"kill").await.unwrap();
            assert_eq!(stream.read(&mut four).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            let mut stream = connected().await;
            stream.write_all(b"last").await.unwrap();
            assert_eq!(stream.read(&mut four).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        });
        task.await.unwrap();
        assert_eq!(seen.borrow().len(), 6);
        let effects = world.effects();
        for kind in ["drop", "delay", "duplicate", "reset", "close"] {
            assert_eq!(effects[&*format!("net.inspect.{kind}")], 1, "{kind}");
        }
    });
}

#[test]
fn a_full_backlog_leaves_connects_without_an_answer() {
    sim(|world| async move {
        let (server, client) = echo(world);
        sleep(seconds(1)).await;
        world.net().backlog(server, 2);
        server.pause();
        let task = client.spawn(async move {
            let first = [connect().await.unwrap(), connect().await.unwrap()];
            sleep(seconds(1)).await;
            assert!(timeout(seconds(10), connect()).await.is_err());
            server.resume();
            for mut stream in first {
                ask(&mut stream, b"x").await.unwrap();
            }
            connect().await.unwrap();
        });
        task.await.unwrap();
        assert_eq!(world.effects()["net.backlog"], 4);
    });
}

#[test]
fn names_are_resolved_from_the_plan() {
    sim(|world| async move {
        let (server, client) = echo(world);
        world.add_host("names", "10.0.0.1".parse().unwrap());
        world.add_host("names", "10.0.0.9".parse().unwrap());
        let task = client.spawn(async {
            let found = world::system::net::resolve("names:9876").await.unwrap();
            assert_eq!(found, ["10.0.0.1:9876".parse().unwrap(), "10.0.0.9:9876".parse().unwrap()]);
            assert_eq!(
                world::system::net::resolve("server:1").await.unwrap(),
                ["10.0.0.1:1".parse().unwrap()]
            );
        });
        task.await.unwrap();
        let _ = server;
    });
}

#[test]
fn a_node_binds_only_its_own_addresses() {
    sim(|world| async move {
        let (server, client) = echo(world);
        let task = client.spawn(async {
            let error = TcpListener::bind(SERVER.parse().unwrap()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
            let any = TcpListener::bind("0.0.0.0:1000".parse().unwrap()).await.unwrap();
            let near = TcpStream::connect("127.0.0.1:1000".parse().unwrap()).await.unwrap();
            assert_eq!(any.accept().await.unwrap().1, near.local_addr().unwrap());
        });
        task.await.unwrap();
        let _ = server;
    });
}
