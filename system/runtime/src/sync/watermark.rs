//! A number that only grows, and those who wait for it: the one waiting primitive of log, queues and replicas.
//!
//! Waiters are woken in the order of what they wait for, then of their arrival, so that a run can be replayed. The
//! fast paths matter: `reach` of a number already there neither locks nor allocates, and `advance` below the lowest
//! awaited number does not lock.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use super::Mutex;

/// A number that only grows.
#[derive(Debug)]
pub struct Watermark {
    value: AtomicU64,
    /// The lowest number somebody waits for; `NOBODY` when nobody does. Written under the lock of `waiters`.
    lowest: AtomicU64,
    waiters: Mutex<Waiters>,
    closed: OnceLock<&'static str>,
}

#[derive(Debug, Default)]
struct Waiters {
    next: u64,
    /// By awaited number, then by arrival.
    queue: BTreeMap<(u64, u64), Waker>,
}

/// The watermark was closed before it reached the number: it will never grow again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("closed: {reason}")]
pub struct Closed {
    /// Why it was closed, in words for a log.
    pub reason: &'static str,
}

impl Watermark {
    /// Starts at `value`.
    pub fn new(value: u64) -> Self {
        Self {
            value: AtomicU64::new(value),
            lowest: AtomicU64::new(NOBODY),
            waiters: Mutex::default(),
            closed: OnceLock::new(),
        }
    }

    /// The number as it is now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.value.load(SeqCst)
    }

    /// Grows to `value`; does nothing when it is already there or beyond.
    #[inline]
    pub fn advance(&self, value: u64) {
        // Both sides write their number first and look at the other's second, in one total order (SeqCst): either
        // this sees the waiter in `lowest`, or the waiter sees the new value.
        self.value.fetch_max(value, SeqCst);
        if value >= self.lowest.load(SeqCst) {
            self.wake(value);
        }
    }

    /// Waits until the number is at least `value`, or nobody will move it any more.
    #[inline]
    pub fn reach(&self, value: u64) -> Reach<'_> {
        Reach { mark: self, value, ticket: None }
    }

    /// Tells all who wait, now or later, for a number not yet reached that it never will be. The first reason stays.
    pub fn close(&self, reason: &'static str) {
        let _ = self.closed.set(reason);
        self.wake(u64::MAX);
    }

    #[cold]
    fn wake(&self, value: u64) {
        let mut ready = Vec::new();
        {
            let mut waiters = self.waiters.lock();
            while let Some(first) = waiters.queue.first_entry().filter(|first| first.key().0 <= value) {
                ready.push(first.remove());
            }
            self.publish_lowest(&waiters);
        }
        // Woken without the lock: the woken may look at the watermark at once, on another thread.
        ready.into_iter().for_each(Waker::wake);
    }

    fn publish_lowest(&self, waiters: &Waiters) {
        let lowest = waiters.queue.first_key_value().map_or(NOBODY, |(key, _)| key.0);
        self.lowest.store(lowest, SeqCst);
    }

    fn look(&self, value: u64) -> Option<Result<(), Closed>> {
        if self.get() >= value {
            return Some(Ok(()));
        }
        self.closed.get().map(|reason| Err(Closed { reason }))
    }
}

/// The wait of [`Watermark::reach`]. It registers its waker anew on each poll, so it may move between tasks.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Reach<'a> {
    mark: &'a Watermark,
    value: u64,
    ticket: Option<u64>,
}

impl Future for Reach<'_> {
    type Output = Result<(), Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(done) = self.mark.look(self.value) {
            return Poll::Ready(done);
        }
        let mark = self.mark;
        let ticket = {
            let mut waiters = mark.waiters.lock();
            let ticket = self.ticket.unwrap_or(waiters.next);
            waiters.next = waiters.next.max(ticket + 1);
            match waiters.queue.get_mut(&(self.value, ticket)) {
                Some(waker) => waker.clone_from(cx.waker()),
                None => drop(waiters.queue.insert((self.value, ticket), cx.waker().clone())),
            }
            mark.publish_lowest(&waiters);
            ticket
        };
        self.ticket = Some(ticket);
        // The number may have moved, or the end come, between the first look and the entry.
        mark.look(self.value).map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Reach<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let waker = {
                let mut waiters = self.mark.waiters.lock();
                let waker = waiters.queue.remove(&(self.value, ticket));
                self.mark.publish_lowest(&waiters);
                waker
            };
            drop(waker); // without the lock: it may be the last owner of a task
        }
    }
}

const NOBODY: u64 = u64::MAX;
