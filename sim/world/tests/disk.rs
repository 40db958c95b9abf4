//! What a plan can do to the disk of a node, and what the process on it sees.
#![cfg(madsim)]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use world::{
    Crash, Node, Setup, World,
    disk::{Access, Disk, Lock},
    time::{sleep, timeout},
};

/// Tells the story of one node; answers also what its faults have changed.
fn run<T, F>(seed: u64, story: impl FnOnce(Node) -> F + Send + 'static) -> (T, BTreeMap<&'static str, u64>)
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let outcome = world::run(Setup::seed(seed), |world: World| {
        let node = world.node("store", Ipv4Addr::new(10, 0, 0, 1).into());
        async move { story(node).await }
    });
    match outcome.result {
        Ok(value) => (value, outcome.effects),
        Err(failure) => panic!("{failure}"),
    }
}

/// Runs `code` as the process of the node, to its end.
async fn on<T: Send + 'static>(node: Node, code: impl Future<Output = T> + Send + 'static) -> T {
    node.spawn(code).await.expect("the node lives")
}

fn reboot(node: Node, crash: Crash) {
    assert!(node.crash(crash));
    node.restart();
}

#[test]
fn handles_and_locks_of_a_dead_process_are_dead_and_the_next_one_can_take_them() {
    let ((), effects) = run(1, |node| async move {
        let kept: Arc<Mutex<Option<(Disk, world::disk::File, Lock)>>> = Arc::default();
        let keep = kept.clone();
        on(node, async move {
            let disk = Disk::open("store").unwrap();
            let file = disk.create("f", 100).await.unwrap();
            file.write_at(0, b"old").unwrap();
            let lock = disk.try_lock("lock").await.unwrap();
            assert_eq!(disk.try_lock("lock").await.unwrap_err().kind(), ErrorKind::WouldBlock);
            *keep.lock().unwrap() = Some((disk, file, lock));
        })
        .await;
        reboot(node, Crash::Process);
        let (disk, file, lock) = kept.lock().unwrap().take().unwrap();
        on(node, async move {
            let new = Disk::open("store").unwrap();
            let held = new.try_lock("lock").await.unwrap();
            assert!(file.write_at(0, b"zombie").is_err());
            assert!(file.read_into(&mut bytes::BytesMut::new(), 0, 1).is_err());
            assert!(file.sync().await.is_err() && file.fetch(0, 1).await.is_err());
            assert!(disk.list("").await.is_err() && disk.remove("f").await.is_err());
            drop((lock, file, disk));
            assert_eq!(new.try_lock("lock").await.unwrap_err().kind(), ErrorKind::WouldBlock);
            assert_eq!(new.read_small("f").await.unwrap()[..3], b"old"[..]);
            drop(held);
        })
        .await;
    });
    assert_eq!(effects, [("node.crash", 1)].into());
}

#[test]
fn a_write_cut_short_ends_the_process_at_once() {
    let (passed, effects) = run(2, |node| async move {
        node.disk().cut_write("store/log", 3, Crash::Process);
        node.crash(Crash::Process); // another end before it changes nothing
        node.restart();
        let passed = Arc::new(AtomicU64::new(0));
        let count = passed.clone();
        let ended = node.spawn(async move {
            let file = Disk::open("store").unwrap().create("log", 1_000).await.unwrap();
            for i in 0..10 {
                if file.write_at(i * 10, &[1; 10]).is_ok() {
                    count.fetch_add(1, SeqCst);
                }
            }
            sleep(Duration::from_millis(1)).await;
            count.fetch_add(100, SeqCst);
        });
        assert!(ended.await.is_none() && !node.is_up() && !node.disk().cut_is_pending());
        node.restart();
        let bytes = node.disk().contents("store/log").unwrap();
        let written = bytes.iter().filter(|byte| **byte == 1).count();
        assert!((20..=30).contains(&written) && bytes[..written].iter().all(|byte| *byte == 1));
        passed.load(SeqCst)
    });
    assert_eq!(passed, 2);
    assert_eq!((effects["disk.cut_write"], effects["node.crash"]), (1, 2));
}

#[test]
fn a_slow_disk_makes_syncs_wait_and_healing_ends_it() {
    let (took, effects) = run(3, |node| async move {
        node.disk().set_sync_latency(Duration::from_secs(2)..Duration::from_secs(3));
        on(node, async move {
            let file = Disk::open("").unwrap().create("f", 10).await.unwrap();
            assert!(timeout(Duration::from_secs(1), file.sync()).await.is_err());
            let start = world::time::Instant::now();
            file.sync().await.unwrap();
            node.disk().heal();
            timeout(Duration::from_millis(5), file.sync()).await.unwrap().unwrap();
            start.elapsed()
        })
        .await
    });
    assert!((2..4).contains(&took.as_secs()));
    assert_eq!(effects["disk.slow_sync"], 2);
}

#[test]
fn a_failed_sync_is_told_to_every_sync_in_flight() {
    let (failed, effects) = run(4, |node| async move {
        on(node, async move {
            let file = Disk::open("").unwrap().create("f", 10_000).await.unwrap();
            let (first, second) = futures::join!(file.sync(), file.sync()); // two handles are open from now on
            first.and(second).unwrap();
            file.write_at(0, b"lost").unwrap();
            node.disk().fail(Access::Sync, "*", Some(1));
            let (first, second) = futures::join!(file.sync(), file.sync());
            let failed = [first, second].iter().filter(|result| result.is_err()).count();
            file.sync().await.expect("a new handle hears nothing");
            assert_eq!(node.disk().durable("f").unwrap()[..4], [0; 4], "and nothing was repaired");
            failed
        })
        .await
    });
    assert_eq!((failed, effects["disk.lost_write_back"]), (2, 1));
}

#[test]
fn a_small_file_is_old_or_new_whatever_happens_while_it_is_replaced() {
    let mut found = BTreeSet::new();
    for seed in 0..120 {
        let (content, _) = run(seed, move |node| async move {
            let (old, new) = (vec![1; 3_000], vec![2; 5_000]);
            let first = old.clone();
            on(node, async move { Disk::open("c").unwrap().replace_small("f", &first).await.unwrap() }).await;
            let done = Arc::new(AtomicU64::new(0));
            let (then, note) = (new.clone(), done.clone());
            let _replacing = node.spawn(async move {
                Disk::open("c").unwrap().replace_small("f", &then).await.unwrap();
                note.store(1, SeqCst);
            });
            sleep(Duration::from_micros(1_000 + seed * 80)).await;
            reboot(node, if seed % 2 == 0 { Crash::Power } else { Crash::Process });
            let content = on(node, async { Disk::open("c").unwrap().read_small("f").await.unwrap() }).await;
            assert!(content == old || content == new, "seed {seed}");
            assert!(done.load(SeqCst) == 0 || content == new, "seed {seed}: what was answered is durable");
            (content == new, done.load(SeqCst))
        });
        found.insert(content);
    }
    assert_eq!(found, [(false, 0), (true, 0), (true, 1)].into(), "each outcome was met");
}

#[test]
fn a_folder_that_was_made_is_there_after_a_power_loss_with_all_above_it() {
    for seed in 0..40 {
        run(seed, move |node| async move {
            // The first attempt dies somewhere; the second finds some of the folders and makes them durable too.
            let cut_off = node.spawn(async { Disk::open("s").unwrap().make_dir("a/b/c").await });
            sleep(Duration::from_micros(seed * 300)).await;
            reboot(node, Crash::Process);
            drop(cut_off);
            on(node, async {
                let disk = Disk::open("s").unwrap();
                disk.make_dir("a/b/c").await.unwrap();
                disk.make_dir("a/b").await.unwrap();
            })
            .await;
            reboot(node, Crash::Power);
            on(node, async { assert!(Disk::open("s").unwrap().list("a/b/c").await.unwrap().is_empty()) })
                .await;
        });
    }
}

#[test]
fn what_a_plan_does_to_a_disk_is_in_the_trace() {
    let trace = |act: fn(Node)| {
        let outcome = world::run(Setup::seed(1), move |world: World| {
            let node = world.node("store", Ipv4Addr::new(10, 0, 0, 1).into());
            async move { act(node) }
        });
        outcome.result.unwrap();
        outcome.trace
    };
    let acts: [fn(Node); 9] = [
        |_| {},
        |node| node.disk().fail(Access::Sync, "*", Some(1)),
        |node| node.disk().heal(),
        |node| node.disk().set_sync_latency(Duration::from_secs(1)..Duration::from_secs(2)),
        |node| node.disk().set_fetch_latency(Duration::from_secs(1)..Duration::from_secs(2)),
        |node| node.disk().set_capacity(1 << 20),
        |node| node.disk().cut_write("*", 1, Crash::Power),
        |node| node.disk().replace(),
        |node| node.disk().put("f", b"x").unwrap(),
    ];
    let all = acts.map(trace);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "each leaves its mark");
}

#[test]
fn a_full_disk_keeps_the_old_small_file_and_recovers() {
    let ((), effects) = run(5, |node| async move {
        on(node, async move {
            let disk = Disk::open("c").unwrap();
            disk.replace_small("f", b"old").await.unwrap();
            node.disk().set_capacity(4_096);
            let error = disk.replace_small("f", b"new").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
            assert_eq!(disk.read_small("f").await.unwrap(), b"old");
            assert_eq!(disk.list("").await.unwrap(), ["f"]);
            assert_eq!(disk.space().await.unwrap().free, 0);
            node.disk().set_capacity(1 << 20);
            disk.replace_small("f", b"new").await.unwrap();
            node.disk().fail(Access::Sync, "c/f*", Some(1));
            disk.replace_small("f", b"newer").await.unwrap_err();
            assert_eq!(disk.read_small("f").await.unwrap(), b"new");
            assert_eq!(disk.list("").await.unwrap(), ["f"]);
        })
        .await;
    });
    assert_eq!((effects["disk.full"], effects["disk.failed_sync"]), (1, 1));
}

/// A log of numbers, one per sector-crossing record; `honest` waits for the sync before it acknowledges.
async fn keep_a_log(acknowledged: Arc<AtomicU64>, honest: bool) {
    const RECORD: u64 = 200;
    let disk = Disk::open("log").unwrap();
    let file = match disk.open_file("0").await {
        Ok(file) if file.len() == 400_000 => file,
        found => {
            assert_eq!(acknowledged.load(SeqCst), 0, "a file with acknowledged numbers is there and whole");
            if found.is_ok() {
                disk.remove("0").await.unwrap();
            }
            disk.create("0", 400_000).await.unwrap()
        }
    };
    let mut next = 1;
    while file.fetch((next - 1) * RECORD, RECORD as usize).await.unwrap()[..] == [next as u8; RECORD as usize]
    {
        next += 1;
    }
    file.zero((next - 1) * RECORD, file.len() - (next - 1) * RECORD).await.unwrap();
    // Also what was found: a process that died before may have written it, and its name, without a sync.
    file.sync().await.unwrap();
    disk.sync_dir("").await.unwrap();
    assert!(next > acknowledged.load(SeqCst), "lost");
    while next < 250 {
        let group = next + 5;
        while next < group {
            file.write_at((next - 1) * RECORD, &[next as u8; RECORD as usize]).unwrap();
            next += 1;
        }
        if honest {
            file.sync().await.unwrap();
        }
        acknowledged.store(next - 1, SeqCst);
        sleep(Duration::from_millis(1)).await;
    }
}

fn log_survives(seed: u64, honest: bool) -> bool {
    let outcome = world::run(Setup::seed(seed), move |world: World| {
        let node = world.node("store", Ipv4Addr::new(10, 0, 0, 1).into());
        async move {
            let mut dice = world::random::for_node(node, "plan");
            let acknowledged = Arc::new(AtomicU64::new(0));
            node.start(move || keep_a_log(acknowledged.clone(), honest));
            for _ in 0..4 {
                sleep(dice.between(&(Duration::from_millis(5)..Duration::from_millis(40)))).await;
                reboot(node, if dice.chance(0.7) { Crash::Power } else { Crash::Process });
            }
            node.stopped().await;
        }
    });
    outcome.result.is_ok()
}

#[test]
fn an_honest_log_survives_every_crash_and_one_that_acknowledges_early_does_not() {
    let honest = (0..150).filter(|seed| log_survives(*seed, true)).count();
    assert_eq!(honest, 150);
    let early = (0..50).filter(|seed| log_survives(*seed, false)).count();
    assert!(early < 25, "{early} of 50 seeds did not notice");
}

#[test]
fn the_same_seed_leaves_the_same_trace_and_another_one_another() {
    let trace = |seed| {
        let story = |world: World| {
            let node = world.node("store", Ipv4Addr::new(10, 0, 0, 1).into());
            async move {
                let acknowledged = Arc::new(AtomicU64::new(0));
                node.start(move || keep_a_log(acknowledged.clone(), true));
                sleep(Duration::from_millis(20)).await;
                reboot(node, Crash::Power);
                node.stopped().await;
            }
        };
        world::run(Setup::seed(seed), story).trace
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}
