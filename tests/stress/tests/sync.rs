//! Watermarks, watch channels and task sets under real threads: nobody sleeps on, nothing goes back.
#![cfg(not(madsim))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use runtime::{
    sync::{Watermark, watch},
    task::TaskSet,
};

const TIME: Duration = Duration::from_secs(3);

/// Many waiters for numbers just ahead, several threads that advance: a lost wake-up would hang this.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_waiter_of_a_watermark_is_woken() {
    let mark = Arc::new(Watermark::new(0));
    let next = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + TIME;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (mark, next) = (mark.clone(), next.clone());
        all.spawn(async move {
            let mut moved = 0;
            while Instant::now() < end {
                mark.advance(next.fetch_add(1, SeqCst) + 1);
                moved += 1;
                if moved % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            moved
        });
    }
    for step in 1..=16u64 {
        let mark = mark.clone();
        all.spawn(async move {
            let mut waits = 0;
            while Instant::now() < end {
                let target = mark.get() + step;
                // The advancing threads stop at the end; until then each target is reached soon.
                match tokio::time::timeout(Duration::from_secs(120), mark.reach(target)).await {
                    Ok(reached) => {
                        reached.unwrap();
                        assert!(mark.get() >= target);
                        waits += 1;
                    }
                    Err(_) => {
                        assert!(Instant::now() > end, "a waiter for {target} sleeps on at {}", mark.get())
                    }
                }
            }
            waits
        });
    }
    let mut sum = 0;
    tokio::time::sleep_until((end + Duration::from_millis(50)).into()).await;
    mark.advance(u64::MAX - 1); // those who wait for more than was reached
    while let Some(done) = all.join_next().await {
        sum += done.unwrap();
    }
    assert!(sum > 1000, "only {sum} steps");
}

/// A wait that is given up half-way leaves nothing behind and takes no other's wake-up along.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn waits_that_are_given_up_disturb_nobody() {
    let mark = Arc::new(Watermark::new(0));
    let end = Instant::now() + TIME;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mark = mark.clone();
        all.spawn(async move {
            while Instant::now() < end {
                let _ = tokio::time::timeout(Duration::from_micros(50), mark.reach(mark.get() + 2)).await;
            }
        });
    }
    let faithful = mark.clone();
    let waiter = tokio::spawn(async move {
        let mut at = 0;
        while Instant::now() < end {
            at += 1;
            faithful.reach(at).await.unwrap();
        }
        at
    });
    let mut at = 0;
    while Instant::now() < end {
        at += 1;
        mark.advance(at);
        tokio::task::yield_now().await;
    }
    mark.advance(u64::MAX - 1);
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    assert!(tokio::time::timeout(Duration::from_secs(120), waiter).await.unwrap().unwrap() > 100);
}

/// The last value of a watch channel reaches every receiver.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_value_of_a_watch_reaches_everybody() {
    let (sender, receiver) = watch::channel(0u64);
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut receiver = receiver.clone();
        all.spawn(async move {
            let mut last = 0;
            loop {
                let now = *receiver.borrow_and_update();
                assert!(now >= last, "a watch went back from {last} to {now}");
                last = now;
                if now == u64::MAX || receiver.changed().await.is_err() {
                    return last;
                }
            }
        });
    }
    let end = Instant::now() + TIME;
    let mut value = 0;
    while Instant::now() < end {
        value += 1;
        sender.send_replace(value);
        if value % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    sender.send_replace(u64::MAX);
    while let Some(done) = tokio::time::timeout(Duration::from_secs(120), all.join_next()).await.unwrap() {
        assert_eq!(done.unwrap(), u64::MAX);
    }
}

/// Closing a set while tasks are being added leaves none running.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_closed_task_set_runs_nothing() {
    let running = Arc::new(AtomicU64::new(0));
    for _ in 0..200 {
        let set = TaskSet::new();
        let adding = set.clone();
        let count = running.clone();
        let adder = tokio::spawn(async move {
            for _ in 0..50 {
                let count = count.clone();
                adding.spawn("member", async move {
                    count.fetch_add(1, SeqCst);
                    let _leave = Leave(count);
                    std::future::pending::<()>().await;
                });
                tokio::task::yield_now().await;
            }
        });
        tokio::task::yield_now().await;
        set.close().await;
        adder.await.unwrap();
        drop(set);
        let begun = Instant::now();
        while running.load(SeqCst) != 0 {
            assert!(begun.elapsed() < Duration::from_secs(120), "{} tasks still run", running.load(SeqCst));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

struct Leave(Arc<AtomicU64>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
