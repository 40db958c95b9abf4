//! Simulated machines: how they die, what the dead can still do, clocks, facts, hooks and streams.
#![cfg(madsim)]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{
    Crash, Failure, Node, Outcome, Setup, Value, World, hooks,
    system::{
        clock, host,
        net::{TcpListener, TcpStream},
        signal,
    },
    time::{Instant, sleep, timeout},
};

fn sim<F: Future<Output = ()>>(main: impl FnOnce(World) -> F + Send + 'static) -> Outcome<()> {
    let outcome = world::run(Setup::seed(5), main);
    if let Err(failure) = &outcome.result {
        panic!("{failure}");
    }
    outcome
}

fn node(world: World, number: u8) -> Node {
    world.node(&format!("node{number}"), [10, 0, 0, number].into())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What several tasks note down, in order.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, note: impl ToString) {
        self.0.lock().unwrap().push(note.to_string());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[test]
fn a_program_starts_anew_after_each_end() {
    sim(|world| async move {
        let (node, notes) = (node(world, 1), Notes::default());
        let log = notes.clone();
        node.start(move || {
            let log = log.clone();
            async move {
                log.add(format!(
                    "start of {} as {}",
                    world::here().node.name(),
                    world::here().node.incarnation()
                ));
                signal::shutdown().await;
                log.add("asked to stop");
            }
        });
        sleep(seconds(1)).await;
        assert_eq!(notes.take(), ["start of node1 as 0"]);
        node.stop();
        node.stopped().await;
        assert!(!node.is_up());
        assert_eq!(notes.take(), ["asked to stop"]);
        node.restart();
        sleep(seconds(1)).await;
        assert!(node.crash(Crash::Process));
        assert!(!node.crash(Crash::Process), "it is dead already");
        assert!(node.crash(Crash::Power), "but the machine can still lose its power");
        assert!(!node.crash(Crash::Power));
        assert!(node.spawn(async {}).await.is_none(), "nothing runs there");
        sleep(seconds(1)).await;
        node.restart();
        sleep(seconds(1)).await;
        assert_eq!(notes.take(), ["start of node1 as 1", "start of node1 as 2"]);
        assert_eq!(world.effects()["node.crash"], 1);
        assert_eq!(world.effects()["node.power"], 1);
    });
}

#[test]
fn the_dead_have_no_effect() {
    struct Ghost(Option<TcpStream>, #[expect(dead_code, reason = "only dropped")] Option<TcpListener>, Notes);
    impl Drop for Ghost {
        fn drop(&mut self) {
            self.2.add(format!("dropped, alive: {}", world::here().is_alive()));
            let mut stream = self.0.take().unwrap();
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let sent = tokio::io::AsyncWrite::poll_write(
                std::pin::Pin::new(&mut stream),
                &mut cx,
                b"from the grave",
            );
            assert!(sent.is_pending());
            hooks::tap("grave", &[]);
        }
    }
    sim(|world| async move {
        let (dying, peer, notes) = (node(world, 1), node(world, 2), Notes::default());
        let log = notes.clone();
        world.subscribe(move |tap| log.add(tap.name));
        let log = notes.clone();
        dying.start(move || {
            let log = log.clone();
            async move {
                let listener = TcpListener::bind("10.0.0.1:1".parse().unwrap()).await.unwrap();
                let (stream, _) = listener.accept().await.unwrap();
                let _ghost = Ghost(Some(stream), Some(listener), log);
                pending::<()>().await;
            }
        });
        let task = peer.spawn(async move {
            sleep(seconds(1)).await;
            let mut stream = TcpStream::connect("10.0.0.1:1".parse().unwrap()).await.unwrap();
            sleep(seconds(1)).await;
            dying.crash(Crash::Power);
            dying.restart();
            assert!(
                timeout(seconds(100), stream.read(&mut [0])).await.is_err(),
                "nothing comes from the dead"
            );
            // The new process has its port, although the dead one dropped its listener after the restart.
            TcpStream::connect("10.0.0.1:1".parse().unwrap()).await.unwrap();
        });
        task.await.unwrap();
        assert_eq!(notes.take(), ["dropped, alive: false"]);
    });
}

#[test]
fn a_crash_point_kills_at_the_chosen_pass() {
    sim(|world| async move {
        let (node, notes) = (node(world, 1), Notes::default());
        let log = notes.clone();
        node.start(move || {
            let log = log.clone();
            async move {
                for step in 0..5 {
                    log.add(step);
                    hooks::crash_point("step").await;
                }
            }
        });
        node.arm("step", 3, Crash::Power);
        node.stopped().await;
        assert_eq!(notes.take(), ["0", "1", "2"]);
        node.restart();
        node.stopped().await;
        assert_eq!(notes.take().len(), 5, "a point kills once");
        assert_eq!(world.points()["step"], 8);
        assert_eq!(world.effects()["hook.point"], 1);
        assert_eq!(world.effects()["node.power"], 1);
    });
}

#[test]
fn deaths_at_one_crash_point_are_counted_and_taken_back_each_for_itself() {
    sim(|world| async move {
        let (node, notes) = (node(world, 1), Notes::default());
        let log = notes.clone();
        let first = node.arm("step", 2, Crash::Process);
        let second = node.arm("step", 4, Crash::Process);
        let third = node.arm("step", 4, Crash::Process);
        let elsewhere = node.arm("elsewhere", 1, Crash::Process);
        node.start(move || {
            let log = log.clone();
            async move {
                for step in 0..5 {
                    log.add(step);
                    hooks::crash_point("step").await;
                }
            }
        });
        node.stopped().await;
        assert_eq!(notes.take().len(), 2);
        assert!(!first.is_pending() && second.is_pending() && third.is_pending());
        node.restart();
        node.stopped().await;
        assert_eq!(notes.take().len(), 2, "passages count for all deaths at a point");
        assert!(!second.is_pending() && third.is_pending());
        node.restart();
        node.stopped().await;
        assert_eq!(notes.take().len(), 1, "two are not one");
        elsewhere.take_back();
        assert!(!elsewhere.is_pending());
        let (taken, left) = (node.arm("step", 1, Crash::Process), node.arm("step", 3, Crash::Process));
        taken.take_back();
        node.restart();
        node.stopped().await;
        assert_eq!(notes.take().len(), 3);
        assert!(!left.is_pending());
    });
}

#[test]
fn a_paused_node_stands_still_and_a_slow_one_limps() {
    sim(|world| async move {
        let (node, notes) = (node(world, 1), Notes::default());
        let log = notes.clone();
        node.start(move || {
            let log = log.clone();
            async move {
                loop {
                    sleep(Duration::from_millis(1)).await;
                    log.add("tick");
                }
            }
        });
        sleep(seconds(1)).await;
        let usual = notes.take().len();
        assert!(usual > 900);
        node.pause();
        sleep(seconds(10)).await;
        assert!(notes.take().len() <= 1);
        node.resume();
        node.slow(10);
        sleep(seconds(1)).await;
        let slow = notes.take().len();
        assert!(slow > usual / 20 && slow < usual / 4, "{slow} instead of {usual}");
        node.crash(Crash::Process);
        node.restart();
        sleep(seconds(1)).await;
        assert!(notes.take().len() < usual / 4, "the machine stays slow");
        node.slow(1);
        sleep(seconds(1)).await;
        assert!(notes.take().len() > 900);
        assert!(world.effects()["node.slow"] > 50);
    });
}

#[test]
fn a_paused_node_can_be_killed() {
    sim(|world| async move {
        let node = node(world, 1);
        node.start(|| async { sleep(Duration::from_millis(10)).await });
        node.pause();
        sleep(seconds(1)).await;
        assert!(node.is_up());
        node.crash(Crash::Process);
        node.restart();
        node.stopped().await; // a new process is not paused
    });
}

#[test]
fn each_node_has_its_own_wall_clock() {
    sim(|world| async move {
        let (right, wrong) = (node(world, 1), node(world, 2));
        let ahead = || async move {
            let (right, wrong) =
                (right.spawn(async { clock::now_ms() }), wrong.spawn(async { clock::now_ms() }));
            wrong.await.unwrap() - right.await.unwrap()
        };
        assert_eq!(right.clock().now_ms(), world.wall_ms());
        assert!(ahead().await.abs() <= 1);
        wrong.clock().set_offset_ms(-60_000);
        assert!((ahead().await + 60_000).abs() <= 1);
        assert_eq!(world.effects()["clock.offset"], 1, "counted when the node looks");
        wrong.clock().set_drift_ppm(1000);
        sleep(seconds(1000)).await;
        assert!((ahead().await + 59_000).abs() <= 1);
        wrong.clock().jump_ms(3_600_000);
        let start = wrong.spawn(async { Instant::now() }).await.unwrap();
        sleep(seconds(1)).await;
        let monotonic = wrong.spawn(async move { start.elapsed() }).await.unwrap();
        assert_eq!(monotonic.as_millis(), 1000, "the monotonic clock stays sane");
        assert!((ahead().await - 3_541_001).abs() <= 1);
        wrong.clock().set_drift_ppm(0);
        sleep(seconds(100)).await;
        assert!((ahead().await - 3_541_001).abs() <= 1);
        wrong.crash(Crash::Power);
        wrong.restart();
        assert!((ahead().await - 3_541_001).abs() <= 1, "it belongs to the machine");
        assert!(!world.effects().contains_key("clock.unread"));
    });
}

#[test]
fn host_facts_come_from_the_plan() {
    sim(|world| async move {
        let node = node(world, 1);
        node.facts(|facts| {
            facts.memory_bytes = 1 << 30;
            facts.utc_offset_seconds = -3600;
        });
        let facts = || async move {
            node.spawn(async {
                assert_eq!((host::memory_bytes(), host::utc_offset_seconds()), (1 << 30, -3600));
                assert_eq!(host::addresses(), ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
                assert_eq!(host::name(), "node1");
                host::pid()
            })
            .await
            .unwrap()
        };
        let first = facts().await;
        assert_eq!(facts().await, first);
        node.crash(Crash::Process);
        node.restart();
        assert_ne!(facts().await, first, "a new process has a new number");
    });
}

#[test]
fn planted_bugs_buggify_and_taps_are_the_runs_own() {
    let outcome = sim(|world| async move {
        let (node, notes) = (node(world, 1), Notes::default());
        world.plant("M01");
        world.buggify("store.", 1.0, 0.5);
        let log = notes.clone();
        world.subscribe(move |tap| {
            world.record("tap", &[tap.number("offset").unwrap() as u64], b"");
            log.add(format!("{:?} {} {:?}", tap.node, tap.name, tap.fields));
        });
        let task = node.spawn(async {
            assert!(hooks::planted("M01") && hooks::planted("M01") && !hooks::planted("M02"));
            let fired = (0..1000).filter(|_| hooks::buggify("store.rare")).count();
            assert!((400..600).contains(&fired), "{fired}");
            hooks::sometimes("store.rare_state");
            assert!(!(0..1000).any(|_| hooks::buggify("net.rare")));
            assert!(hooks::is_tapped());
            hooks::tap("append", &[("offset", Value::from(7_u64)), ("topic", Value::from("orders"))]);
        });
        task.await.unwrap();
        assert_eq!(notes.take(), [r#"node 1 append [("offset", Number(7)), ("topic", Text("orders"))]"#]);
    });
    assert_eq!(outcome.planted["M01"], 2);
    assert_eq!(outcome.met, [("store.rare_state", 1)].into());
    assert_eq!(
        outcome.fired.into_keys().collect::<Vec<_>>(),
        ["store.rare"],
        "what never fires is not there"
    );
}

#[test]
fn an_inactive_site_never_fires() {
    let active = |seed| {
        world::run(Setup::seed(seed), |world| async move {
            world.buggify("", 0.5, 0.5);
            (0..100).any(|_| hooks::buggify("site"))
        })
        .result
        .unwrap()
    };
    let count = (0..40).filter(|&seed| active(seed)).count();
    assert!((10..30).contains(&count), "{count} of 40 runs");
}

#[test]
fn streams_are_separate_by_purpose_node_and_incarnation() {
    let draw = |extra: bool| {
        let outcome = world::run(Setup::seed(9), move |world| async move {
            let (one, two) = (node(world, 1), node(world, 2));
            let key = |purpose: &'static str| async move { world::random::key_here(purpose) };
            let mut keys = Vec::new();
            if extra {
                one.spawn(key("another purpose")).await.unwrap();
            }
            for node in [one, two, one] {
                keys.push(node.spawn(key("purpose")).await.unwrap());
            }
            one.crash(Crash::Process);
            one.restart();
            keys.push(one.spawn(key("purpose")).await.unwrap());
            keys.push(world.key("purpose"));
            keys
        });
        outcome.result.unwrap()
    };
    let keys = draw(false);
    for (i, key) in keys.iter().enumerate() {
        assert!(!keys[..i].contains(key), "key {i} is used twice");
    }
    assert_eq!(keys, draw(true), "a new purpose shifts nobody");
}

#[test]
fn a_panic_is_reported_with_node_and_time() {
    let outcome: Outcome<()> = world::run(Setup::seed(1), |world| async move {
        node(world, 7).start(|| async {
            sleep(seconds(3)).await;
            panic!("broken by design");
        });
        pending().await
    });
    let Err(Failure::Panic { at, node, message }) = outcome.result else { panic!("no panic") };
    assert_eq!((at.as_secs(), &*node), (3, "node7"));
    assert!(message.starts_with("broken by design (") && message.contains("nodes.rs:"), "{message}");
}

#[test]
fn a_run_that_waits_for_ever_ends_at_its_limit() {
    let setup = Setup { time_limit: seconds(77), ..Setup::seed(1) };
    let outcome: Outcome<()> = world::run(setup, |_| pending());
    assert_eq!(outcome.result, Err(Failure::TimeLimit(seconds(77))));
    assert_eq!(outcome.elapsed.as_secs(), 77);
}

#[test]
fn a_run_in_circles_is_noticed() {
    let outcome: Outcome<()> = world::run(Setup::seed(1), |world| async move {
        node(world, 1).start(|| async {
            loop {
                world::task::yield_now().await;
            }
        });
        pending().await
    });
    let Err(Failure::Panic { message, .. }) = outcome.result else { panic!("{:?}", outcome.result) };
    assert!(message.contains("circles"), "{message}");
    let setup = Setup { cpu_limit: Duration::from_millis(200), ..Setup::seed(1) };
    let outcome: Outcome<()> = world::run(setup, |_| async {
        loop {
            world::task::yield_now().await;
        }
    });
    assert_eq!(outcome.result, Err(Failure::Stuck(Duration::from_millis(200))));
}

#[test]
fn connections_of_a_node_that_never_listened_are_refused_at_once() {
    sim(|world| async move {
        let (one, two) = (node(world, 1), node(world, 2));
        let task = one.spawn(async move {
            let start = Instant::now();
            let error = TcpStream::connect((two.ip(), 5).into()).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
            assert!(start.elapsed() < Duration::from_millis(10));
            let mut own = TcpListener::bind("10.0.0.1:9".parse().unwrap()).await.unwrap();
            let mut near = TcpStream::connect("10.0.0.1:9".parse().unwrap()).await.unwrap();
            near.write_all(b"x").await.unwrap();
            sleep(Duration::from_millis(1)).await;
            own = {
                drop(own);
                TcpListener::bind("10.0.0.1:9".parse().unwrap()).await.unwrap()
            };
            assert_eq!(near.read(&mut [0]).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
            drop(own);
        });
        task.await.unwrap();
    });
}
