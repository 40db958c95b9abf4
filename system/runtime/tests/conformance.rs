//! What both modes promise: run on tokio by `cargo test -p runtime`, in simulation by `cargo sim-test -p runtime`.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use runtime::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Closed, Mutex, Watermark, watch},
    task::{TaskSet, spawn_blocking, yield_now},
    time::{Duration, Instant, sleep, sleep_until, timeout, timeout_at},
};

fn run<F: Future<Output = ()> + Send + 'static>(main: impl FnOnce() -> F + Send + 'static) {
    runtime::run(Some(2), main);
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// A connection, both ends.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = listen().await;
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, from) = listener.accept().await.unwrap();
    assert_eq!(from, near.local_addr().unwrap());
    assert_eq!(far.peer_addr().unwrap(), near.local_addr().unwrap());
    assert_eq!(near.peer_addr().unwrap(), far.local_addr().unwrap());
    near.set_nodelay(true).unwrap();
    (near, far)
}

#[test]
fn bytes_arrive_in_order_without_a_flush() {
    run(|| async {
        let (mut near, mut far) = pair().await;
        near.write_all(b"one ").await.unwrap();
        near.write_all(b"two").await.unwrap();
        let mut got = [0; 7];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"one two");
        far.write_all(b"three").await.unwrap();
        let mut got = [0; 5];
        near.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"three");
    });
}

#[test]
fn a_half_closed_connection_still_carries_the_answer() {
    run(|| async {
        let (mut near, mut far) = pair().await;
        near.write_all(b"question").await.unwrap();
        near.shutdown().await.unwrap();
        let mut question = Vec::new();
        far.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        far.write_all(b"answer").await.unwrap();
        drop(far);
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
        assert!(near.write_all(b"more").await.is_err(), "nothing may be written after shutdown");
    });
}

#[test]
fn closing_with_unread_bytes_resets_the_peer() {
    run(|| async {
        let (mut near, mut far) = pair().await;
        near.write_all(b"never read, more than one byte").await.unwrap();
        let mut one = [0];
        far.read_exact(&mut one).await.unwrap();
        drop(far);
        let error = near.read(&mut one).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn writing_to_a_closed_peer_fails_after_a_while() {
    run(|| async {
        let (mut near, far) = pair().await;
        drop(far);
        let failed = timeout(LONG, async {
            while near.write_all(b"is anybody there").await.is_ok() {
                sleep(Duration::from_millis(5)).await;
            }
        });
        failed.await.expect("the reset comes back");
    });
}

#[test]
fn a_writer_waits_for_a_reader_that_does_not_read() {
    run(|| async {
        let (mut near, mut far) = pair().await;
        let block = vec![7_u8; 1 << 20];
        let mut sent = 0;
        while let Ok(written) = timeout(Duration::from_millis(300), near.write(&block)).await {
            sent += written.unwrap();
            assert!(sent < 64 << 20, "the window has no bound");
        }
        let tasks = TaskSet::new();
        tasks.spawn("write the rest", async move { near.write_all(b"end").await.unwrap() });
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), sent + 3);
        assert!(got.ends_with(b"end"));
    });
}

#[test]
fn connecting_where_nobody_listens_is_refused() {
    run(|| async {
        let address = listen().await.local_addr().unwrap();
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_port_has_one_listener() {
    run(|| async {
        let first = listen().await;
        let address = first.local_addr().unwrap();
        let error = TcpListener::bind(address).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        drop(first);
        TcpListener::bind(address).await.unwrap();
    });
}

#[test]
fn connections_are_accepted_in_the_order_they_came() {
    run(|| async {
        let listener = listen().await;
        let mut near = Vec::new();
        for _ in 0..5 {
            near.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            sleep(Duration::from_millis(20)).await;
        }
        for stream in &near {
            assert_eq!(listener.accept().await.unwrap().1, stream.local_addr().unwrap());
        }
    });
}

#[test]
fn names_are_resolved() {
    run(|| async {
        let found = runtime::net::resolve("127.0.0.1:9876").await.unwrap();
        assert_eq!(found, ["127.0.0.1:9876".parse().unwrap()]);
        assert!(runtime::net::resolve("localhost:80").await.unwrap().iter().all(|a| a.ip().is_loopback()));
        assert!(runtime::net::resolve("no-such-host.invalid:1").await.is_err());
    });
}

#[test]
fn time_passes_and_limits_hold() {
    run(|| async {
        let start = Instant::now();
        sleep(Duration::from_millis(20)).await;
        sleep_until(start + Duration::from_millis(40)).await;
        assert!(start.elapsed() >= Duration::from_millis(40));
        assert!(timeout(Duration::from_millis(10), std::future::pending::<()>()).await.is_err());
        assert!(
            timeout_at(start, std::future::pending::<()>()).await.is_err(),
            "a deadline in the past is over"
        );
        let poll_once = |mut nap: std::pin::Pin<Box<runtime::time::Sleep>>| {
            std::future::poll_fn(move |cx| std::task::Poll::Ready(nap.as_mut().poll(cx).is_ready()))
        };
        assert!(poll_once(Box::pin(sleep_until(start))).await, "it is over at once, without a tick");
        assert!(!poll_once(Box::pin(sleep(LONG))).await);
        assert_eq!(timeout(Duration::ZERO, async { 7 }).await, Ok(7), "what is ready wins over its limit");
        let wall = runtime::clock::now_ms();
        sleep(Duration::from_millis(50)).await;
        assert!(runtime::clock::now_ms() >= wall + 40);
    });
}

#[test]
fn a_sleep_can_move_between_tasks() {
    run(|| async {
        let mut nap = Box::pin(sleep(Duration::from_millis(30)));
        // Polled here once, so that it knows this task.
        let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(nap.as_mut().poll(cx))).await;
        let tasks = TaskSet::new();
        let (done, waits) = runtime::sync::oneshot::channel();
        tasks.spawn("sleep on", async move {
            nap.await;
            done.send(()).unwrap();
        });
        timeout(LONG, waits).await.expect("it wakes its new task").unwrap();
    });
}

#[test]
fn select_takes_the_first_branch_that_is_ready() {
    run(|| async {
        for _ in 0..100 {
            let taken = runtime::select! {
                _ = async {} => 1,
                _ = async {} => 2,
            };
            assert_eq!(taken, 1);
        }
    });
}

#[test]
fn a_task_set_counts_and_cancels_its_tasks() {
    run(|| async {
        struct Gone(Arc<AtomicU64>);
        impl Drop for Gone {
            fn drop(&mut self) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        let gone = Arc::new(AtomicU64::new(0));
        let tasks = TaskSet::new();
        for _ in 0..10 {
            let token = Gone(gone.clone());
            tasks.spawn("forever", async move {
                std::future::pending::<()>().await;
                drop(token);
            });
        }
        tasks.spawn("short", async {});
        while tasks.len() > 10 {
            yield_now().await;
        }
        assert_eq!(gone.load(SeqCst), 0);
        tasks.close().await;
        assert_eq!(gone.load(SeqCst), 10);
        assert!(tasks.is_empty());
        let token = Gone(gone.clone());
        tasks.spawn("too late", async move { drop(token) });
        assert_eq!(gone.load(SeqCst), 11);

        let tasks = TaskSet::new();
        let token = Gone(gone.clone());
        let other = tasks.clone();
        other.spawn("forever", async move {
            std::future::pending::<()>().await;
            drop(token);
        });
        drop(tasks);
        sleep(Duration::from_millis(20)).await;
        assert_eq!(gone.load(SeqCst), 11, "a clone keeps the set");
        drop(other);
        until(|| gone.load(SeqCst) == 12).await;
    });
}

#[test]
fn a_task_set_survives_many_short_tasks_and_a_close_in_their_midst() {
    run(|| async {
        for _ in 0..20 {
            let (tasks, started) = (TaskSet::new(), Arc::new(AtomicU64::new(0)));
            for _ in 0..4 {
                let (set, started) = (tasks.clone(), started.clone());
                tasks.spawn("spawner", async move {
                    loop {
                        let started = started.clone();
                        set.spawn("short", async move {
                            started.fetch_add(1, SeqCst);
                        });
                        yield_now().await;
                    }
                });
            }
            while started.load(SeqCst) < 500 {
                yield_now().await;
            }
            timeout(LONG, tasks.close()).await.expect("all end");
            assert!(tasks.is_empty());
            let ended = started.load(SeqCst);
            sleep(Duration::from_millis(1)).await;
            assert_eq!(started.load(SeqCst), ended, "nothing runs after the close");
        }
    });
}

#[test]
fn blocking_work_gives_its_result() {
    run(|| async { assert_eq!(spawn_blocking(|| 6 * 7).await, 42) });
}

#[test]
fn a_watermark_wakes_exactly_those_it_has_reached() {
    run(|| async {
        let mark = Arc::new(Watermark::new(5));
        assert_eq!(mark.reach(5).await, Ok(()));
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks = TaskSet::new();
        for value in [9, 7, 8, 7, 100] {
            let (mark, order) = (mark.clone(), order.clone());
            tasks.spawn("wait", async move {
                let result = mark.reach(value).await;
                order.lock().push((value, result.is_ok()));
            });
        }
        sleep(Duration::from_millis(20)).await;
        mark.advance(6);
        mark.advance(3);
        assert_eq!(mark.get(), 6, "it never goes back");
        sleep(Duration::from_millis(20)).await;
        assert!(order.lock().is_empty());
        mark.advance(8);
        until(|| order.lock().len() == 3).await;
        order.lock().sort_unstable();
        assert_eq!(*order.lock(), [(7, true), (7, true), (8, true)]);
        mark.close("over");
        until(|| order.lock().len() == 5).await;
        order.lock().sort_unstable();
        assert_eq!(*order.lock(), [(7, true), (7, true), (8, true), (9, false), (100, false)]);
        assert_eq!(mark.reach(9).await, Err(Closed { reason: "over" }));
        assert_eq!(mark.reach(8).await, Ok(()), "what was reached stays reached");
    });
}

#[test]
fn a_wait_for_a_watermark_can_move_between_tasks_and_be_given_up() {
    run(|| async {
        let mark: &'static Watermark = Box::leak(Box::new(Watermark::new(0)));
        let mut wait = Box::pin(mark.reach(1));
        assert!(timeout(Duration::from_millis(5), &mut wait).await.is_err());
        assert!(timeout(Duration::from_millis(5), mark.reach(1)).await.is_err(), "given up");
        let (done, waits) = runtime::sync::oneshot::channel();
        let tasks = TaskSet::new();
        tasks.spawn("wait on", async move { done.send(wait.await).unwrap() });
        sleep(Duration::from_millis(20)).await;
        mark.advance(1);
        assert_eq!(timeout(LONG, waits).await.expect("woken").unwrap(), Ok(()));
    });
}

#[test]
fn a_watermark_loses_nobody_under_contention() {
    run(|| async {
        let mark = Arc::new(Watermark::new(0));
        let answered = Arc::new(AtomicU64::new(0));
        let tasks = TaskSet::new();
        for first in 1..=8_u64 {
            let (mark, answered) = (mark.clone(), answered.clone());
            tasks.spawn("wait", async move {
                for value in (first..=20_000).step_by(8) {
                    mark.reach(value).await.unwrap();
                    assert!(mark.get() >= value);
                }
                answered.fetch_add(1, SeqCst);
            });
        }
        tasks.spawn("advance", async move {
            for value in 1..=20_000 {
                mark.advance(value);
                if value % 64 == 0 {
                    yield_now().await;
                }
            }
        });
        until(|| tasks.is_empty()).await;
        assert_eq!(answered.load(SeqCst), 8);
    });
}

#[test]
fn a_watch_shows_the_last_value_and_its_end() {
    run(|| async {
        let (sender, mut receiver) = watch::channel(0);
        let mut other = sender.subscribe();
        sender.send_replace(1);
        sender.send_modify(|value| *value += 1);
        receiver.changed().await.unwrap();
        assert_eq!(*receiver.borrow_and_update(), 2);
        assert!(
            timeout(Duration::from_millis(5), receiver.changed()).await.is_err(),
            "both changes are seen"
        );
        assert_eq!(*other.borrow_and_update(), 2);
        let tasks = TaskSet::new();
        tasks.spawn("send", async move {
            sleep(Duration::from_millis(10)).await;
            sender.send_replace(3);
            sleep(Duration::from_millis(10)).await;
        });
        other.changed().await.unwrap();
        assert_eq!(*other.borrow(), 3);
        assert_eq!(other.changed().await, Err(watch::Closed));
    });
}

#[test]
fn random_streams_differ_and_draws_stay_in_range() {
    run(|| async {
        let (mut one, mut two) = (runtime::random::stream("same"), runtime::random::stream("same"));
        assert_ne!(one.next_u64(), two.next_u64(), "each stream is its own");
        let mut seen = [0_u32; 7];
        for _ in 0..7_000 {
            seen[one.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1_200).contains(&n)), "{seen:?}");
        assert!((0..1_000).all(|_| (3..5).contains(&one.range(3, 5))));
        assert!(!one.chance(0.0) && one.chance(1.0));
        let mut items: Vec<u32> = (0..50).collect();
        one.shuffle(&mut items);
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
        assert!(items.contains(one.pick(&items)));
        let mut derived = runtime::random::Rng::derived(1, "plan");
        assert_eq!(derived.next_u64(), runtime::random::Rng::derived(1, "plan").next_u64());
    });
}

#[test]
fn the_host_has_a_name_addresses_and_memory() {
    run(|| async {
        assert!(runtime::host::pid() > 0);
        assert!(!runtime::host::name().is_empty());
        assert!(runtime::host::addresses().iter().all(|address| !address.is_loopback()));
        assert!(runtime::host::memory_bytes() > 1 << 20);
        assert!(runtime::host::cpus() > 0);
        assert!(runtime::host::utc_offset_seconds().abs() <= 14 * 3600);
    });
}

#[test]
fn hooks_are_off_unless_a_plan_asks() {
    run(|| async {
        runtime::crash_point!("conformance.point").await;
        let hooks = [runtime::buggify!("conformance.site"), runtime::planted!("M00")];
        assert_eq!(hooks, [false, false]);
        let queue = 3;
        runtime::tap!("conformance", queue = queue, name = "x");
        runtime::sometimes!("conformance.state");
        runtime::sometimes!("conformance.other_state", queue > 2);
    });
}

/// Waits for what must come, however slow the machine is.
async fn until(mut holds: impl FnMut() -> bool) {
    let waits = timeout(LONG, async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    waits.await.expect("it must come to that");
}

const LONG: Duration = Duration::from_secs(120);
